//! A CDN for blobs: another port under another host name, reached by links that expire.
//!
//! As the stores behind real registries do, it answers 400 to any `Authorization` and refuses HEAD.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{
    State,
    answer::{blob, content_etag},
    deliver::Reply,
    record::Kind,
};
use crate::support::wire::Request;

/// Blobs answer 307 to the CDN.
pub(crate) struct Cdn {
    lifetime: Duration,
}

impl Cdn {
    /// Links that are valid for this time.
    pub(crate) fn links_living(lifetime: Duration) -> Self {
        Self { lifetime }
    }
}

/// The issued links: the signature is their time of creation.
pub(super) struct Links {
    port: u16,
    lifetime: Duration,
    epoch: Instant,
    made: AtomicU64,
}

impl Links {
    pub(super) fn new(port: u16, cdn: &Cdn) -> Self {
        Self { port, lifetime: cdn.lifetime, epoch: Instant::now(), made: AtomicU64::new(0) }
    }

    /// The registry is `127.0.0.1`, this is `localhost`: another host for clients that compare names.
    pub(super) fn redirect(&self, digest: &str) -> Reply {
        let (made, number) = (self.epoch.elapsed().as_micros(), self.made.fetch_add(1, Ordering::SeqCst));
        let link =
            format!("http://localhost:{}/cdn/{digest}?X-Number={number}&X-Signature=presigned-{made}", self.port);
        Reply::empty(307).with("Location", &link)
    }

    fn is_alive(&self, request: &Request) -> bool {
        let signature = request.parameter("X-Signature").unwrap_or_default();
        let made = signature.strip_prefix("presigned-").and_then(|micros| micros.parse().ok());
        made.is_some_and(|made| self.epoch.elapsed() <= Duration::from_micros(made) + self.lifetime)
    }
}

/// The CDN's own answers.
pub(super) fn answer(state: &State, request: &Request, _: Kind) -> Reply {
    if request.header("authorization").is_some() {
        return Reply::error(400, "only one auth mechanism allowed");
    }
    if request.method != "GET" || !state.cdn.as_ref().is_some_and(|links| links.is_alive(request)) {
        return Reply::error(403, "SignatureDoesNotMatch");
    }
    let digest = request.path.rsplit('/').next().unwrap();
    let bytes = state.content.lock().unwrap().any_blob(digest);
    bytes.map_or_else(
        || Reply::error(404, "NoSuchKey"),
        |bytes| blob(request, &content_etag(digest), digest, bytes, false),
    )
}
