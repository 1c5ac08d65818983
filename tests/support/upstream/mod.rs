//! The scriptable upstream: a registry over raw TCP with faults chosen by the test, which records every request and
//! every byte sent.
//!
//! `content` is its content, `faults` its faults, `auth` its tokens, `cdn` the separate host for blobs, `answer`
//! decides a response, `deliver` sends it, `record` counts.

mod answer;
mod auth;
mod cdn;
mod content;
mod deliver;
mod faults;
mod record;
pub(crate) mod registry2;
pub(crate) mod token_service;
mod vendors;

use std::{
    collections::{HashSet, VecDeque},
    net::TcpStream,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use super::{images::Image, ports::Port, wire};

pub(crate) use auth::Auth;
pub(crate) use cdn::Cdn;
pub(crate) use faults::{Cut, Fault, Gate, Rule};
pub(crate) use record::{Kind, Recorded};
pub(crate) use vendors::Vendor;

/// The shared state of all connections.
struct State {
    url: String,
    content: Mutex<content::Content>,
    faults: faults::Faults,
    auth: Option<auth::Tokens>,
    cdn: Option<cdn::Links>,
    options: Mutex<Options>,
    record: record::Record,
    counted: AtomicU64,
    /// The times of the GETs of manifests within the window of `pull_limit`.
    pulls: Mutex<VecDeque<Instant>>,
}

/// Peculiarities of the registry as a whole that are not faults.
#[derive(Default)]
pub(crate) struct Options {
    /// The maximum number of tags on a page of `tags/list`, with or without `n`.
    pub(crate) page: Option<usize>,
    /// `Link` carries a whole URL rather than a path.
    pub(crate) absolute_links: bool,
    /// Sent as `ratelimit-limit: N;w=21600` with every manifest, and counted down by GETs.
    pub(crate) rate_limit: Option<u64>,
    /// The number of GETs of manifests within a window; more are 429 until the first of them is as old as the window.
    pub(crate) pull_limit: Option<(u64, Duration)>,
    /// The accounts that may pull, each with its own rate limit. They authenticate by Basic.
    pub(crate) accounts: Vec<Account>,
    /// The user and password that every request has to send by Basic.
    pub(crate) basic: Option<(&'static str, &'static str)>,
    /// Repositories that are 401 even with a fresh token, like private and missing ones of the Hub.
    pub(crate) denied: HashSet<String>,
    /// Blobs are sent completely, for any `Range`.
    pub(crate) ignores_ranges: bool,
    /// Every response with a blob has another `ETag`, so that no `If-Range` matches.
    pub(crate) new_etags: bool,
    /// The public registry whose peculiarities it has.
    pub(crate) vendor: Option<Vendor>,
    /// Neither HEAD nor GET of a manifest returns its digest, and HEAD is 404 (as in ECR Public and others).
    pub(crate) no_digest_header: bool,
}

/// An account with a rate limit, beyond which a GET of a manifest is 429.
pub(crate) struct Account {
    pub(crate) user: &'static str,
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
}

/// The running upstream. Stopped on drop.
pub(crate) struct Upstream {
    service: wire::Service,
    state: Arc<State>,
    _cdn: Option<wire::Service>,
}

/// The settings before the start.
#[derive(Default)]
pub(crate) struct Settings {
    auth: Option<Auth>,
    cdn: Option<Cdn>,
    everywhere: bool,
}

impl Settings {
    pub(crate) fn auth(mut self, auth: Auth) -> Self {
        self.auth = Some(auth);
        self
    }

    pub(crate) fn cdn(mut self, cdn: Cdn) -> Self {
        self.cdn = Some(cdn);
        self
    }

    /// On all addresses: [`Upstream::url_at`] each.
    pub(crate) fn everywhere(mut self) -> Self {
        self.everywhere = true;
        self
    }

    pub(crate) fn start(self) -> Upstream {
        let port = if self.everywhere { Port::reserve_everywhere() } else { Port::reserve() };
        let cdn_port = self.cdn.map(|cdn| (Port::reserve(), cdn));
        let links = cdn_port.as_ref().map(|(port, cdn)| cdn::Links::new(port.addr().port(), cdn));
        let state = Arc::new(State {
            url: port.url(),
            content: Mutex::default(),
            faults: faults::Faults::default(),
            auth: self.auth.map(auth::Tokens::new),
            cdn: links,
            options: Mutex::default(),
            record: record::Record::default(),
            counted: AtomicU64::new(0),
            pulls: Mutex::default(),
        });
        let _cdn = cdn_port.map(|(port, _)| start(port, &state, cdn::answer));
        Upstream { service: start(port, &state, answer::answer), state, _cdn }
    }
}

fn start(port: Port, state: &Arc<State>, answer: fn(&State, &wire::Request, Kind) -> deliver::Reply) -> wire::Service {
    let state = Arc::clone(state);
    wire::Service::start(port, move |stream: Arc<TcpStream>| {
        // A small send buffer: a reset would lose bytes that were counted as sent.
        let _ = socket2::SockRef::from(&*stream).set_send_buffer_size(128 << 10);
        let mut closing = None;
        wire::converse(&stream, |request| {
            let kind = Kind::of(&request.path);
            let entry = state.record.note(kind, request);
            let reply = answer(&state, request, kind);
            closing = Some(deliver::deliver(&state, &stream, request, kind, reply, entry));
            closing == Some(deliver::Next::Keep)
        });
        if closing == Some(deliver::Next::Reset) {
            let _ = socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
        }
    })
}

impl Upstream {
    /// An upstream without tokens, with blobs on its own host, and without faults.
    pub(crate) fn plain() -> Self {
        Settings::default().start()
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        self.service.url()
    }

    /// `http://ADDRESS:PORT`
    pub(crate) fn url_at(&self, address: &str) -> String {
        format!("http://{address}:{}", self.service.port())
    }

    /// Refuses connections and cuts those that are open.
    pub(crate) fn stop(&self) {
        self.service.stop();
    }

    /// Listens on the same port again.
    pub(crate) fn resume(&self) {
        self.service.resume();
    }

    /// Adds `image` under `repository:tag`, and all its content by digest.
    pub(crate) fn add(&self, repository: &str, tag: &str, image: &Image) {
        self.state.content.lock().unwrap().add(repository, tag, image);
    }

    /// As [`Upstream::add`], in place of all that the repository has.
    pub(crate) fn replace(&self, repository: &str, tag: &str, image: &Image) {
        let mut content = self.state.content.lock().unwrap();
        content.remove(repository);
        content.add(repository, tag, image);
    }

    /// Removes a repository with all its content.
    pub(crate) fn remove(&self, repository: &str) {
        self.state.content.lock().unwrap().remove(repository);
    }

    /// Removes the tag, but not its manifest.
    pub(crate) fn remove_tag(&self, repository: &str, tag: &str) {
        self.state.content.lock().unwrap().remove_tag(repository, tag);
    }

    pub(crate) fn add_blob(&self, repository: &str, blob: &super::images::Blob) {
        self.state.content.lock().unwrap().add_blob(repository, blob);
    }

    /// Answers `referrers/<subject>` with this index.
    pub(crate) fn set_referrers(&self, repository: &str, subject: &str, index: &serde_json::Value) {
        self.state.content.lock().unwrap().set_referrers(repository, subject, index);
    }

    pub(crate) fn options(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.state.options.lock().unwrap());
    }

    /// Adds a rule. Rules apply in the order they were added, and all that match apply.
    pub(crate) fn fault(&self, rule: Rule) {
        self.state.faults.add(rule);
    }

    /// Removes all faults. Responses that already hang keep hanging.
    pub(crate) fn heal(&self) {
        self.state.faults.clear();
    }

    /// The number of requests of this method and kind.
    pub(crate) fn count(&self, method: &str, kind: Kind) -> usize {
        self.requests().iter().filter(|recorded| recorded.kind == kind && recorded.request.method == method).count()
    }

    /// The requests that the Hub would count: GETs of manifests.
    pub(crate) fn counted(&self) -> usize {
        self.count("GET", Kind::Manifest)
    }

    /// Body bytes of this kind put on the wire since the start.
    pub(crate) fn sent(&self, kind: Kind) -> u64 {
        self.requests().iter().filter(|recorded| recorded.kind == kind).map(|recorded| recorded.sent).sum()
    }

    /// The number of open connections to it, as the kernel shows them.
    pub(crate) fn connections(&self) -> usize {
        let remote = format!(":{:04X} 01", self.service.port());
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let leads_here = |line: &&str| {
            let mut fields = line.split_whitespace().skip(2);
            format!("{} {}", fields.next().unwrap_or_default(), fields.next().unwrap_or_default()).ends_with(&remote)
        };
        sockets.lines().filter(leads_here).count()
    }

    /// Every request so far, including the CDN's.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.state.record.all()
    }

    /// Every issued token.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.state.auth.as_ref().map(auth::Tokens::issued).unwrap_or_default()
    }

    /// From now on gives tokens for these credentials alone.
    pub(crate) fn accept(&self, user: &str, password: &str) {
        self.state.auth.as_ref().unwrap().accept(user, password);
    }

    /// Invalidates every token issued so far.
    pub(crate) fn revoke_tokens(&self) {
        self.state.auth.as_ref().unwrap().revoke();
    }
}
