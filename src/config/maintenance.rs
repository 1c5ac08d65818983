//! The `gc` and `verify` sections: what a server does by itself about what nothing reaches, and about its bytes' health.

use std::time::Duration;

use super::{
    Error, Setting,
    dump::Line,
    duration, keys,
    known_keys::{GC_GRACE, GC_INTERVAL, GC_UNTAGGED, VERIFY_INTERVAL, VERIFY_RATE},
    node::Node,
    size,
};

/// When what nothing reaches is removed.
#[derive(Clone, Debug)]
pub struct Gc {
    /// `gc.interval`: how often; zero is never.
    pub interval: Setting<Duration>,
    /// `gc.grace`: how long what nothing names yet is left alone after the last push to its repository.
    pub grace: Setting<Duration>,
    /// `gc.untagged`: manifests without a tag go, too.
    pub untagged: Setting<bool>,
}

impl Gc {
    pub(super) fn read(root: &Node) -> Result<Self, Error> {
        Ok(Self {
            interval: Setting::read(root, &GC_INTERVAL, duration::parse)?,
            grace: Setting::read(root, &GC_GRACE, duration::parse)?,
            untagged: Setting::read(root, &GC_UNTAGGED, keys::flag)?,
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

/// When what is stored is hashed again.
#[derive(Clone, Debug)]
pub struct Verify {
    /// `verify.interval`: in how long all of it is, once; zero is never.
    pub interval: Setting<Duration>,
    /// `verify.rate`: bytes a second, at most; never zero.
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
