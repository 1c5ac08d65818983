//! The state of a running registry at one moment, for people.

use crate::{
    lanes::Blocking,
    metrics::GaugeValues,
    oci::{Digest, Repository},
    registry::{
        Registry,
        fill::{fill_handle::Fill, progress::FillProgress},
        store::recent_events::SpaceEvent,
    },
};

/// The state of a registry.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Usage of the disk, upstreams and counts.
    pub gauges: GaugeValues,
    /// The fills under way, the largest first.
    pub fills: Vec<FillState>,
    /// The latest evictions and blobs that were not stored, the latest first.
    pub events: Vec<SpaceEvent>,
}

/// A fill under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillState {
    /// The blob.
    pub digest: Digest,
    /// The repository in whose name it is fetched.
    pub repository: Repository,
    /// Its length in bytes; `None` until the upstream has answered.
    pub size: Option<u64>,
    /// Bytes that have arrived.
    pub written: u64,
    /// Requests that follow it.
    pub readers: usize,
}

impl Registry {
    /// Returns the state of this moment. Blocks briefly.
    #[must_use]
    pub fn overview(&self, io: &Blocking) -> Overview {
        let mut fills: Vec<_> = self.fills.list().iter().filter_map(|fill| state(fill)).collect();
        fills.sort_by_key(|fill| std::cmp::Reverse(fill.size));
        Overview { gauges: self.gauge_values(io), fills, events: self.store.space.recent_events.latest() }
    }
}

/// Returns the state of a fill; `None` if it has ended.
fn state(fill: &Fill) -> Option<FillState> {
    let (size, written) = match *fill.progress.borrow() {
        FillProgress::Connecting => (None, 0),
        FillProgress::Filling { size, written } => (Some(size), written),
        FillProgress::Verified { .. } | FillProgress::Failed(_) => return None,
    };
    let readers = fill.progress.receiver_count();
    Some(FillState { digest: *fill.digest(), repository: fill.source().repository.clone(), size, written, readers })
}
