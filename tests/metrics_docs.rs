//! docs/metrics.md is generated from the definitions of the metrics. Dashboards and alerts use existing metrics, and
//! every metric is used. `ENTREPOT_WRITE_DOCS=1 cargo test metrics_docs` writes the page.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use entrepot::metrics::{METRICS, Metric, MetricKind};

use crate::support::{
    images::{Format, Image},
    ports::Port,
    prometheus::dashboards,
    receiver::{Mode, Receiver},
    scrape::Scrape,
    server::Setup,
    upstream::Upstream,
};

const INTRODUCTION: &str = "\
# Metrics

Prometheus scrapes them at `/metrics` of `http.debug.addr`, a second listener that serves only metrics and health checks; with
`http.metrics: true`, at `/metrics` of the main listener, too: with `auth`, only to users (`basic_auth` of the scrape configuration).
The cost of a scrape does not depend on the amount of stored data. The disk usage is read at the scrape, and is what `du` reports of
the data directory, less what has changed since; counters begin at 0 with the process.

```yaml
http:
  debug:
    addr: 127.0.0.1:5001
```

The dashboards (`dashboards/storage.json`, `dashboards/traffic.json`) and the alerts (`dashboards/alerts.yml`) use them all.
No label holds what a client or an upstream said: `upstream` is a name the operator configured.

This page is made from the source; a test holds the two together.
";

fn metrics() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().flat_map(|group| group.metrics.iter().copied())
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for group in METRICS {
        let _ = write!(page, "\n## {}\n\n| metric | labels | |\n|---|---|---|\n", group.title);
        for metric in group.metrics {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let kind = match metric.kind {
                MetricKind::Counter => "Counter",
                MetricKind::Gauge => "Gauge",
                MetricKind::Histogram(_) => "Histogram",
            };
            let _ = writeln!(page, "| `{}` | {} | {kind}. {} |", metric.name, labels.join(", "), metric.help);
        }
    }
    page
}

#[test]
fn the_page_has_every_definition() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os("ENTREPOT_WRITE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, page()).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), page(), "write it: ENTREPOT_WRITE_DOCS=1 cargo test metrics_docs");
}

/// The names of Entrepot's metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("entrepot_"));
    let base = |word: &str| {
        let histogram = |name: &&str| metrics().any(|metric| metric.name == *name);
        let parts = ["_bucket", "_count", "_sum"].iter().filter_map(|end| word.strip_suffix(end));
        parts.clone().find(histogram).unwrap_or(word).to_owned()
    };
    ours.map(base).collect()
}

#[test]
fn dashboards_and_alerts_name_what_exists_and_all_of_it() {
    let ours: BTreeSet<_> =
        metrics().map(|metric| metric.name.to_owned()).filter(|name| name.starts_with("entrepot_")).collect();
    let files = ["storage.json", "traffic.json", "alerts.yml", "alerts_test.yml"];
    let read = |file: &str| fs::read_to_string(dashboards().join(file)).unwrap();
    let used: BTreeSet<_> = files.iter().flat_map(|file| named(&read(file))).collect();
    assert_eq!(used, ours);
}

#[test]
fn a_scrape_has_every_defined_metric() {
    let (upstream, debug) = (Upstream::plain(), Port::reserve());
    upstream.options(|options| options.rate_limit = Some(100));
    let image = Image::single(Format::Oci, 995);
    upstream.add("library/docs", "latest", &image);
    let setup = Setup::mirroring(&upstream.url()).variable("REGISTRY_STORAGE_QUOTA", "1GB").watched(&debug);
    let receiver = Receiver::start(Mode::Takes);
    let endpoint = format!("[{{name: hook, url: \"{}\"}}]", receiver.url());
    let server = setup.variable("REGISTRY_NOTIFICATIONS_ENDPOINTS", &endpoint).start();
    server.pull("library/docs", "latest", &image);
    let scrape = Scrape::of(&debug.url());
    let scraped: BTreeSet<_> = scrape.names().into_iter().collect();
    // There is no certificate without TLS.
    let known: BTreeSet<_> =
        metrics().map(|metric| metric.name).filter(|name| !name.contains("_certificate_")).collect();
    assert_eq!(scraped, known);
    for metric in metrics().filter(|metric| !metric.name.contains("_certificate_")) {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram(_) => "histogram",
        };
        assert!(scrape.text.contains(&format!("# TYPE {} {kind}\n", metric.name)), "{} is no {kind}", metric.name);
    }
}
