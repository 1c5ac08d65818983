//! The `http.debug` section and `http.metrics`: the debug listener and the metrics endpoint.

use super::{
    Error, ListenAddress, Setting,
    dump::Line,
    key,
    node::Node,
    used_http_keys::{DEBUG_ADDR, HTTP_METRICS, PROMETHEUS_ENABLED, PROMETHEUS_PATH},
};

/// The settings for monitoring the server.
#[derive(Clone, Debug)]
pub struct Debug {
    /// `http.debug.addr`: the debug listener; `None` for none.
    pub addr: Setting<Option<ListenAddress>>,
    /// `http.debug.prometheus.enabled`: true if the debug listener serves metrics.
    pub prometheus: Setting<bool>,
    /// `http.debug.prometheus.path`: the path of the metrics. Begins with `/`.
    pub path: Setting<String>,
    /// `http.metrics`: true if the main listener serves metrics too.
    pub metrics: Setting<bool>,
}

impl Debug {
    pub(super) fn read(root: &Node) -> Result<Self, Error> {
        Ok(Self {
            addr: Setting::read_optional(root, &DEBUG_ADDR, ListenAddress::parse)?,
            prometheus: Setting::read(root, &PROMETHEUS_ENABLED, key::flag)?,
            path: Setting::read(root, &PROMETHEUS_PATH, path)?,
            metrics: Setting::read(root, &HTTP_METRICS, key::flag)?,
        })
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let addr = self.addr.as_ref().map(|addr| Line::new(&self.addr, addr.to_string()));
        let rest = [
            Line::new(&self.prometheus, self.prometheus.to_string()),
            Line::new(&self.path, self.path.as_str()),
            Line::new(&self.metrics, self.metrics.to_string()),
        ];
        addr.into_iter().chain(rest).collect()
    }
}

/// A path of plain segments that is not one of the health checks.
fn path(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~');
    let taken = matches!(text, "/healthz" | "/readyz" | "/debug/health");
    (text.starts_with('/') && text.bytes().all(plain) && !taken).then(|| text.to_owned())
}
