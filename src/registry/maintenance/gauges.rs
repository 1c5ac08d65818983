//! The gauges of a scrape, read at the time of the request. Nothing here walks the disk or the index.

use crate::{
    index::Amount,
    lanes::Blocking,
    metrics::{DiskGauges, Error, GaugeValues, Upstream},
    oci::Domain,
    registry::{
        Registry,
        fill::{endpoint::Endpoint, upstream::Upstream as MirroredUpstream},
        store::blob_store::BlockingStore,
    },
    storage::Usage,
};

/// The label of a budget without an account.
const ANONYMOUS: &str = "anonymous";

impl Registry {
    /// Returns all metrics in the Prometheus text format. Blocks briefly.
    ///
    /// # Errors
    /// [`Error`] if they cannot be encoded, which is a bug.
    pub fn scrape(&self, io: &Blocking) -> Result<String, Error> {
        self.metrics.expose(&self.gauge_values(io))
    }

    pub(super) fn gauge_values(&self, io: &Blocking) -> GaugeValues {
        GaugeValues {
            disk: self.disk(io),
            upstreams: self.upstreams.all().values().map(upstream).collect(),
            fills: self.fills.under_way(),
            uploads: self.sessions.open(),
            index_complete: self.store.volume.index.is_complete(),
            names: self.unsettled_names(),
        }
    }

    /// Returns the disk usage, with an entry for every configured upstream and every former one with content.
    fn disk(&self, io: &Blocking) -> DiskGauges {
        let mut disk = disk_usage(&self.store.with(io));
        for domain in self.upstreams.all().keys() {
            if !disk.upstreams.iter().any(|(name, ..)| name == domain.as_str()) {
                disk.upstreams.push((domain.to_string(), 0, 0));
            }
        }
        disk
    }
}

fn disk_usage(store: &BlockingStore<'_>) -> DiskGauges {
    let usage = store.disk.usage();
    let by_upstream = store.index.upstream_usage();
    let all = Amount { bytes: usage.mirrored.bytes(), blobs: usage.mirrored.objects() };
    // The totals and the sums by upstream are not read atomically.
    let pinned =
        Amount { bytes: by_upstream.pinned.bytes.min(all.bytes), blobs: by_upstream.pinned.blobs.min(all.blobs) };
    let mirrored = Amount { bytes: all.bytes - pinned.bytes, blobs: all.blobs - pinned.blobs };
    let known = by_upstream.upstreams.into_iter().filter(|(domain, amount)| domain.is_some() || amount.blobs > 0);
    let named = |domain: Option<Domain>| domain.map_or_else(|| "unknown".to_owned(), |domain| domain.to_string());
    DiskGauges {
        bytes: bytes_by_class(&usage, mirrored, pinned),
        objects: objects_by_class(&usage, mirrored, pinned),
        upstreams: known.map(|(domain, amount)| (named(domain), amount.bytes, amount.blobs)).collect(),
        reclaimable: mirrored.bytes,
        promised: usage.promised,
        quota: usage.quota,
        headroom: usage.headroom,
        filesystem: (usage.filesystem.size, usage.filesystem.free),
        counted: usage.known,
    }
}

fn bytes_by_class(usage: &Usage, mirrored: Amount, pinned: Amount) -> Vec<(&'static str, u64)> {
    vec![
        ("hosted", usage.hosted.bytes()),
        ("mirrored", mirrored.bytes),
        ("pinned", pinned.bytes),
        ("staged", usage.staged),
        ("links", usage.links),
        ("index", usage.index),
        ("quarantined", usage.quarantined.bytes()),
        ("other", usage.other),
    ]
}

fn objects_by_class(usage: &Usage, mirrored: Amount, pinned: Amount) -> Vec<(&'static str, u64)> {
    vec![
        ("hosted", usage.hosted.objects()),
        ("mirrored", mirrored.blobs),
        ("pinned", pinned.blobs),
        ("quarantined", usage.quarantined.objects()),
    ]
}

fn upstream(upstream: &MirroredUpstream) -> Upstream {
    let budget = |endpoint: &Endpoint| {
        let account = endpoint.remote.username().unwrap_or_else(|| ANONYMOUS.to_owned());
        Some((account, endpoint.remote.pull_rate_limit(|limit, _| limit.clone())?))
    };
    Upstream {
        name: upstream.domain().to_string(),
        up: !upstream.is_down(),
        budgets: upstream.endpoints().iter().filter(|endpoint| endpoint.is_itself).filter_map(budget).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tempfile::TempDir;

    use super::*;
    use crate::{
        index::{Index, Link},
        lanes::{Blocking, Lanes},
        metrics::Metrics,
        oci::{Digest, Domain, Repository},
        registry::{EvictionRules, store::blob_store::BlobStore},
        storage::{SpaceLimits, Storage},
    };

    /// The number of blobs: a million in a soak test.
    fn many() -> u32 {
        if std::env::var_os("ENTREPOT_SOAK").is_some_and(|value| !value.is_empty()) { 1_000_000 } else { 10_000 }
    }

    #[test]
    fn a_scrape_costs_the_same_whatever_is_stored() {
        let dir = TempDir::new().unwrap();
        let storage = Storage::open(Blocking::in_test(), dir.path(), SpaceLimits::default()).unwrap();
        let index = Index::open(&storage.index_dir());
        let metrics = Metrics::new().unwrap();
        let store = BlobStore::new(
            storage,
            index,
            EvictionRules::default(),
            std::time::Duration::ZERO,
            Metrics::new().unwrap().into(),
            Lanes::new().unwrap(),
        );
        let place = Repository { domain: Some(Domain::docker_hub()), name: "library/many".parse().unwrap() };
        for number in 0..many() {
            let digest = Digest::sha256(&number.to_be_bytes());
            store.volume.index.discovered(&digest, 4096, 1);
            store.volume.index.linked(&place, &digest, Link { layer: true, ..Link::default() });
        }
        let scrape = || {
            let began = Instant::now();
            let text = metrics
                .expose(&GaugeValues { disk: disk_usage(&store.with(Blocking::in_test())), ..GaugeValues::default() })
                .unwrap();
            assert!(text.contains(&format!("entrepot_storage_mirrored_objects{{upstream=\"docker.io\"}} {}", many())));
            began.elapsed()
        };
        let quickest = (0..20).map(|_| scrape()).min().unwrap();
        assert!(quickest < Duration::from_millis(50), "{quickest:?}");
    }
}
