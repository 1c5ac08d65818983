//! The `gc` and `verify` sections: scheduled garbage collection and verification.

use std::time::Duration;

use super::{
    Error, Setting,
    dump::Line,
    duration, key,
    node::Node,
    size,
    used_keys::{GC_GRACE, GC_INTERVAL, GC_UNTAGGED, VERIFY_INTERVAL, VERIFY_RATE},
};

/// The settings of garbage collection.
#[derive(Clone, Debug)]
pub struct Gc {
    /// `gc.interval`: time between two runs; zero: never.
    pub interval: Setting<Duration>,
    /// `gc.grace`: minimum age of an unreferenced blob, counted from the last push to its repository.
    pub grace: Setting<Duration>,
    /// `gc.untagged`: manifests without a tag are removed too.
    pub untagged: Setting<bool>,
}

impl Gc {
    pub(super) fn read(root: &Node) -> Result<Self, Error> {
        Ok(Self {
            interval: Setting::read(root, &GC_INTERVAL, duration::parse)?,
            grace: Setting::read(root, &GC_GRACE, duration::parse)?,
            untagged: Setting::read(root, &GC_UNTAGGED, key::flag)?,
        })
    }

    pub(super) fn lines(&self) -> [Line; 3] {
        [
            Line::new(&self.interval, duration::write(*self.interval)),
            Line::new(&self.grace, duration::write(*self.grace)),
            Line::new(&self.untagged, self.untagged.to_string()),
        ]
    }
}

/// The settings of verification, which hashes stored blobs again.
#[derive(Clone, Debug)]
pub struct Verify {
    /// `verify.interval`: time in which every blob is hashed once; zero: never.
    pub interval: Setting<Duration>,
    /// `verify.rate`: the limit in bytes per second; never zero.
    pub rate: Setting<u64>,
}

impl Verify {
    pub(super) fn read(root: &Node) -> Result<Self, Error> {
        let rate = Setting::read(root, &VERIFY_RATE, size::bytes)?;
        if *rate == 0 {
            return Err(rate.error("more than that"));
        }
        Ok(Self { interval: Setting::read(root, &VERIFY_INTERVAL, duration::parse)?, rate })
    }

    pub(super) fn lines(&self) -> [Line; 2] {
        [Line::new(&self.interval, duration::write(*self.interval)), Line::new(&self.rate, size::write(*self.rate))]
    }
}
