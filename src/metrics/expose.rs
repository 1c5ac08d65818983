//! Creates the metrics of the definitions and writes them in Prometheus' text format.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};

use super::{
    Error, GaugeValues, Metrics,
    definitions::{CERTIFICATE, Metric, MetricKind},
    gauges::single,
    process,
    record::seconds,
};

/// The content type of what [`Metrics::expose`] writes.
pub const TEXT: &str = prometheus::TEXT_FORMAT;

/// Creates the metrics of the definitions.
pub(super) struct Maker<'a>(pub(super) &'a Registry);

impl Maker<'_> {
    pub(super) fn counters(&self, metric: &Metric) -> Result<IntCounterVec, Error> {
        self.add(IntCounterVec::new(options(metric), metric.labels)?)
    }

    pub(super) fn counter(&self, metric: &Metric) -> Result<IntCounter, Error> {
        self.add(IntCounter::with_opts(options(metric))?)
    }

    pub(super) fn gauge(&self, metric: &Metric) -> Result<IntGauge, Error> {
        self.add(IntGauge::with_opts(options(metric))?)
    }

    pub(super) fn gauges(&self, metric: &Metric) -> Result<IntGaugeVec, Error> {
        self.add(IntGaugeVec::new(options(metric), metric.labels)?)
    }

    pub(super) fn histograms(&self, metric: &Metric) -> Result<HistogramVec, Error> {
        let buckets = match metric.kind {
            MetricKind::Histogram(buckets) => buckets.to_vec(),
            MetricKind::Counter | MetricKind::Gauge => Vec::new(),
        };
        let options = HistogramOpts { common_opts: options(metric), buckets };
        self.add(HistogramVec::new(options, metric.labels)?)
    }

    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, Error> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }
}

fn options(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

impl Metrics {
    /// Writes all metrics. The cost does not depend on the amount of stored data.
    ///
    /// # Errors
    /// [`Error`] if Prometheus refuses a metric, which is a bug.
    pub fn expose(&self, values: &GaugeValues) -> Result<String, Error> {
        let mut families = values.families()?;
        families.extend(single(&CERTIFICATE, self.certificate.lock().map(seconds))?);
        families.extend(process::families()?);
        families.extend(self.registry.gather());
        Ok(TextEncoder::new().encode_to_string(&families)?)
    }
}
