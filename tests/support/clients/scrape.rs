//! The metrics of a server, parsed as Prometheus does.

use crate::support::{http, ports::Port, server::Setup};

/// One scrape.
pub(crate) struct Scrape {
    pub(crate) text: String,
}

impl Scrape {
    pub(crate) fn of(url: &str) -> Self {
        let response = http::get(&format!("{url}/metrics")).send();
        assert_eq!(response.status, 200);
        let kind = response.header("content-type").unwrap().to_owned();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        Self { text: response.text() }
    }

    /// Each series with its value: `name{label="value"}`.
    pub(crate) fn series(&self) -> impl Iterator<Item = (&str, f64)> {
        let lines = self.text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').map(|(series, value)| (series, value.parse().unwrap())).unwrap())
    }

    /// The sum of the series of this name that have all these labels, `label="value"`; `None` if there is none.
    pub(crate) fn find(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let wanted = |series: &str| {
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.iter().all(|label| rest.contains(label))
        };
        let found: Vec<f64> = self.series().filter(|(series, _)| wanted(series)).map(|(_, value)| value).collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }

    /// As [`Self::find`], for an existing series, in whole numbers.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let found = self.find(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in\n{}", self.text));
        assert!(found.fract() == 0.0 && found >= 0.0, "{name} is {found}");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is neither")]
        let whole = found as u64;
        whole
    }

    /// The names of all metrics.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
    }
}

impl Setup {
    /// With a debug listener at this port.
    pub(crate) fn watched(self, debug: &Port) -> Self {
        self.variable("REGISTRY_HTTP_DEBUG_ADDR", &debug.addr().to_string())
    }
}
