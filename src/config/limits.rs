//! The `http.limits` section: limits for each client and for all. 0 means no limit, for every key.

use std::time::Duration;

use super::{
    Error, Setting,
    dump::Line,
    duration,
    key::Key,
    node::Node,
    size,
    used_http_keys::{
        LIMIT_BODYPAUSE, LIMIT_CONNECTIONS, LIMIT_HEADERS, LIMIT_HEADTIME, LIMIT_MANIFEST, LIMIT_PERADDRESS,
        LIMIT_RATE, LIMIT_REQUESTS, LIMIT_SENDPAUSE, LIMIT_UPLOADS,
    },
};

/// The HTTP library's own limit for a request's head, in bytes.
const MAX_HEAD_BYTES: u64 = 128 << 10;

/// `http.limits`. `None` means no limit.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// `manifest`: bytes of a pushed manifest.
    pub manifest: Setting<Option<u64>>,
    /// `headers`: bytes of a request's headers.
    pub headers: Setting<Option<u64>>,
    /// `requests`: requests on one connection.
    pub requests: Setting<Option<u64>>,
    /// `connections`: open connections, in all.
    pub connections: Setting<Option<u64>>,
    /// `peraddress`: open connections of one client.
    pub per_address: Setting<Option<u64>>,
    /// `headtime`: time from the first byte of a request's head to its last.
    pub head_time: Setting<Option<Duration>>,
    /// `bodypause`: time between two pieces of a request body.
    pub body_pause: Setting<Option<Duration>>,
    /// `sendpause`: time for a client to read the next piece of a response.
    pub send_pause: Setting<Option<Duration>>,
    /// `uploads`: open upload sessions of one client.
    pub uploads: Setting<Option<u64>>,
    /// `rate`: requests per second of one client.
    pub rate: Setting<Option<u64>>,
}

impl LimitsConfig {
    pub(super) fn read(root: &Node) -> Result<Self, Error> {
        let headers = size(root, &LIMIT_HEADERS)?;
        if headers.is_some_and(|bytes| bytes > MAX_HEAD_BYTES) {
            return Err(headers.error("a size of 128KiB at most"));
        }
        Ok(Self {
            manifest: size(root, &LIMIT_MANIFEST)?,
            headers,
            requests: count(root, &LIMIT_REQUESTS)?,
            connections: count(root, &LIMIT_CONNECTIONS)?,
            per_address: count(root, &LIMIT_PERADDRESS)?,
            head_time: time(root, &LIMIT_HEADTIME)?,
            body_pause: time(root, &LIMIT_BODYPAUSE)?,
            send_pause: time(root, &LIMIT_SENDPAUSE)?,
            uploads: count(root, &LIMIT_UPLOADS)?,
            rate: count(root, &LIMIT_RATE)?,
        })
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let number = |setting: &Setting<Option<u64>>| Line::new(setting, setting.unwrap_or(0).to_string());
        let time = |setting: &Setting<Option<Duration>>| {
            Line::new(setting, duration::write(setting.unwrap_or(Duration::ZERO)))
        };
        vec![
            number(&self.manifest),
            number(&self.headers),
            number(&self.requests),
            number(&self.connections),
            number(&self.per_address),
            time(&self.head_time),
            time(&self.body_pause),
            time(&self.send_pause),
            number(&self.uploads),
            number(&self.rate),
        ]
    }
}

fn size(root: &Node, key: &'static Key) -> Result<Setting<Option<u64>>, Error> {
    let said = Setting::read(root, key, size::bytes)?;
    let value = (*said > 0).then_some(*said);
    Ok(said.with(value))
}

fn count(root: &Node, key: &'static Key) -> Result<Setting<Option<u64>>, Error> {
    let said = Setting::read(root, key, |text| text.parse::<u64>().ok())?;
    let value = (*said > 0).then_some(*said);
    Ok(said.with(value))
}

fn time(root: &Node, key: &'static Key) -> Result<Setting<Option<Duration>>, Error> {
    let said = Setting::read(root, key, duration::parse)?;
    let value = (!said.is_zero()).then_some(*said);
    Ok(said.with(value))
}
