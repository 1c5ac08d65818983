//! The record of requests, with the bytes sent in response to each.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use crate::support::wire::Request;

/// The subject of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Ping,
    Token,
    Manifest,
    Blob,
    Tags,
    Referrers,
    /// A blob, requested from the CDN.
    Cdn,
    Other,
}

impl Kind {
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/v2/" => Self::Ping,
            "/token" | "/v2/token" => Self::Token,
            path if path.starts_with("/cdn/") || path.starts_with("/artifacts-downloads/") => Self::Cdn,
            path if path.contains("/manifests/") => Self::Manifest,
            path if path.contains("/blobs/") => Self::Blob,
            path if path.ends_with("/tags/list") => Self::Tags,
            path if path.contains("/referrers/") => Self::Referrers,
            _ => Self::Other,
        }
    }
}

/// A request and its response so far.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) kind: Kind,
    pub(crate) request: Request,
    /// Body bytes sent in response so far.
    pub(crate) sent: u64,
}

struct Entry {
    kind: Kind,
    request: Request,
    sent: Arc<AtomicU64>,
}

#[derive(Default)]
pub(super) struct Record(Mutex<Vec<Entry>>);

impl Record {
    /// Records a request; the returned counter takes the bytes sent in response.
    pub(super) fn note(&self, kind: Kind, request: &Request) -> Arc<AtomicU64> {
        let sent = Arc::default();
        self.0.lock().unwrap().push(Entry { kind, request: request.clone(), sent: Arc::clone(&sent) });
        sent
    }

    pub(super) fn all(&self) -> Vec<Recorded> {
        let entries = self.0.lock().unwrap();
        let recorded = |entry: &Entry| Recorded {
            kind: entry.kind,
            request: entry.request.clone(),
            sent: entry.sent.load(Ordering::SeqCst),
        };
        entries.iter().map(recorded).collect()
    }
}
