//! The gauges whose values are read at each scrape instead of being counted as events occur.

use std::time::Duration;

use prometheus::{Gauge, GaugeVec, Opts, core::Collector, proto::MetricFamily};

use super::{
    Error,
    definitions::{
        ALLOWED, BUDGET_LIMIT, BUDGET_REMAINING, BUDGET_WINDOW, COUNTED, FILESYSTEM_FREE, FILESYSTEM_SIZE,
        FILLS_UNDER_WAY, HEADROOM, HOSTED_NAMES, INDEX_COMPLETE, MIRRORED_BYTES, MIRRORED_OBJECTS, Metric, PROMISED,
        QUOTA, RECLAIMABLE, STORAGE_BYTES, STORAGE_OBJECTS, UPLOADS_OPEN, UPSTREAM_UP,
    },
};

/// The disk usage, in allocated bytes.
#[derive(Clone, Debug, Default)]
pub struct DiskGauges {
    /// Bytes by class.
    pub bytes: Vec<(&'static str, u64)>,
    /// Blobs by class.
    pub objects: Vec<(&'static str, u64)>,
    /// Content of each upstream: its name, bytes, blobs.
    pub upstreams: Vec<(String, u64, u64)>,
    /// Bytes that eviction could free.
    pub reclaimable: u64,
    /// Bytes reserved for writes in progress.
    pub promised: u64,
    /// The quota, if there is one.
    pub quota: Option<u64>,
    /// The space that must stay free.
    pub headroom: u64,
    /// The filesystem's size and its free space.
    pub filesystem: (u64, u64),
    /// True if the scan of the disk is complete.
    pub counted: bool,
}

/// An upstream.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// True if the last request reached it.
    pub up: bool,
    /// Its pull-rate limits by account, as its responses stated them.
    pub budgets: Vec<(String, PullRateLimit)>,
}

/// The state of an upstream's pull-rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRateLimit {
    /// Requests that a window allows.
    pub limit: u64,
    /// Requests that are left in it.
    pub remaining: u64,
    /// The length of the window, if the upstream states it.
    pub window: Option<Duration>,
    /// The account or address that the upstream counts the requests for, if it states it.
    pub source: Option<String>,
}

/// The values of all gauges at a scrape.
#[derive(Clone, Debug, Default)]
pub struct GaugeValues {
    /// The disk.
    pub disk: DiskGauges,
    /// The upstreams.
    pub upstreams: Vec<Upstream>,
    /// Fills in progress.
    pub fills: usize,
    /// Open upload sessions.
    pub uploads: usize,
    /// True if the index is complete.
    pub index_complete: bool,
    /// Hosted names that the upstream has not confirmed to be free, by state.
    pub names: [(&'static str, usize); 2],
}

impl DiskGauges {
    /// All stored bytes.
    fn total(&self) -> u64 {
        self.bytes.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The bytes that can be stored without an eviction.
    fn room(&self) -> u64 {
        let free = self.filesystem.1.saturating_sub(self.headroom);
        self.quota.map_or(free, |quota| free.min(quota.saturating_sub(self.total())))
    }

    fn families(&self) -> Result<Vec<MetricFamily>, Error> {
        let counted = u64::from(self.counted);
        let (size, free) = self.filesystem;
        let by_upstream = |of: fn(&(String, u64, u64)) -> u64| -> Vec<(&str, f64)> {
            self.upstreams.iter().map(|each| (each.0.as_str(), as_float(of(each)))).collect()
        };
        Ok([
            labelled(&STORAGE_BYTES, self.bytes.iter().map(|(class, bytes)| (*class, as_float(*bytes))))?,
            labelled(&STORAGE_OBJECTS, self.objects.iter().map(|(class, count)| (*class, as_float(*count))))?,
            labelled(&MIRRORED_BYTES, by_upstream(|each| each.1))?,
            labelled(&MIRRORED_OBJECTS, by_upstream(|each| each.2))?,
            single(&RECLAIMABLE, Some(self.reclaimable))?,
            single(&PROMISED, Some(self.promised))?,
            single(&QUOTA, self.quota)?,
            single(&ALLOWED, Some(self.total().saturating_add(self.room())))?,
            single(&HEADROOM, Some(self.headroom))?,
            single(&COUNTED, Some(counted))?,
            single(&FILESYSTEM_SIZE, Some(size))?,
            single(&FILESYSTEM_FREE, Some(free))?,
        ]
        .concat())
    }
}

impl GaugeValues {
    pub(super) fn families(&self) -> Result<Vec<MetricFamily>, Error> {
        let up = self.upstreams.iter().map(|upstream| (upstream.name.as_str(), f64::from(u8::from(upstream.up))));
        let count = |count: usize| Some(u64::try_from(count).unwrap_or(u64::MAX));
        let names =
            self.names.iter().map(|(claim, names)| (*claim, as_float(u64::try_from(*names).unwrap_or(u64::MAX))));
        Ok([
            self.disk.families()?,
            single(&INDEX_COMPLETE, Some(u64::from(self.index_complete)))?,
            labelled(&HOSTED_NAMES, names)?,
            labelled(&UPSTREAM_UP, up)?,
            self.budgets(&BUDGET_LIMIT, |budget| Some(as_float(budget.limit)))?,
            self.budgets(&BUDGET_REMAINING, |budget| Some(as_float(budget.remaining)))?,
            self.budgets(&BUDGET_WINDOW, |budget| budget.window.map(|window| window.as_secs_f64()))?,
            single(&FILLS_UNDER_WAY, count(self.fills))?,
            single(&UPLOADS_OPEN, count(self.uploads))?,
        ]
        .concat())
    }

    fn budgets(&self, metric: &Metric, part: fn(&PullRateLimit) -> Option<f64>) -> Result<Vec<MetricFamily>, Error> {
        let of = |upstream: &Upstream| -> Vec<([String; 2], f64)> {
            let value = |(account, budget): &(String, PullRateLimit)| {
                Some(([upstream.name.clone(), account.clone()], part(budget)?))
            };
            upstream.budgets.iter().filter_map(value).collect()
        };
        with_labels(metric, self.upstreams.iter().flat_map(of))
    }
}

/// A gauge of one value; none if the value is unknown.
pub(super) fn single(metric: &Metric, value: Option<u64>) -> Result<Vec<MetricFamily>, Error> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let gauge = Gauge::new(metric.name, metric.help)?;
    gauge.set(as_float(value));
    Ok(gauge.collect())
}

/// A gauge with one label.
pub(super) fn labelled(
    metric: &Metric,
    values: impl IntoIterator<Item = (impl AsRef<str>, f64)>,
) -> Result<Vec<MetricFamily>, Error> {
    with_labels(metric, values.into_iter().map(|(label, value)| ([label], value)))
}

/// A gauge with any number of labels.
fn with_labels<const N: usize>(
    metric: &Metric,
    values: impl IntoIterator<Item = ([impl AsRef<str>; N], f64)>,
) -> Result<Vec<MetricFamily>, Error> {
    let gauges = GaugeVec::new(Opts::new(metric.name, metric.help), metric.labels)?;
    for (labels, value) in values {
        gauges.get_metric_with_label_values(&labels.each_ref().map(AsRef::as_ref))?.set(value);
    }
    // A family without a value would be exposed as an empty one.
    Ok(gauges.collect().into_iter().filter(|family| !family.get_metric().is_empty()).collect())
}

/// Converts a number to the type of Prometheus' values: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(super) fn as_float(bytes: u64) -> f64 {
    bytes as f64
}
