//! The scriptable upstream: a registry over raw TCP whose every fault is chosen by the test, and which remembers
//! every request it got and every byte it sent.
//!
//! `content` is what it has, `faults` what goes wrong, `auth` who may, `cdn` where blobs are when they are elsewhere,
//! `answer` decides a response, `deliver` puts it on the wire, `record` keeps the books.

mod answer;
mod auth;
mod cdn;
mod content;
mod deliver;
mod faults;
mod record;

use std::{
    collections::HashSet,
    net::TcpStream,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use super::{images::Image, ports::Port, wire};

pub(crate) use auth::Auth;
pub(crate) use cdn::Cdn;
pub(crate) use faults::{Cut, Fault, Gate, Rule};
pub(crate) use record::{Kind, Recorded};

/// What every connection's thread looks at.
struct State {
    url: String,
    content: Mutex<content::Content>,
    faults: faults::Faults,
    auth: Option<auth::Tokens>,
    cdn: Option<cdn::Links>,
    options: Mutex<Options>,
    record: record::Record,
    counted: AtomicU64,
}

/// Peculiarities of the registry as a whole that are not faults.
#[derive(Default)]
pub(crate) struct Options {
    /// At most this many tags on a page of `tags/list`, asked or not.
    pub(crate) page: Option<usize>,
    /// `Link` carries a whole URL rather than a path.
    pub(crate) absolute_links: bool,
    /// Sent as `ratelimit-limit: N;w=21600` with every manifest, and counted down by GETs.
    pub(crate) rate_limit: Option<u64>,
    /// Repositories that are 401 even with a fresh token, as the Hub has it for private and missing ones.
    pub(crate) denied: HashSet<String>,
    /// Blobs are sent whole whatever `Range` says.
    pub(crate) ignores_ranges: bool,
    /// Neither HEAD nor GET of a manifest names its digest, and HEAD is 404 (ECR Public's and others' ways).
    pub(crate) no_digest_header: bool,
}

/// The running upstream. Stopped when dropped.
pub(crate) struct Upstream {
    service: wire::Service,
    state: Arc<State>,
    _cdn: Option<wire::Service>,
}

/// What is chosen before the start.
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
        });
        let _cdn = cdn_port.map(|(port, _)| start(port, &state, cdn::answer));
        Upstream { service: start(port, &state, answer::answer), state, _cdn }
    }
}

fn start(port: Port, state: &Arc<State>, answer: fn(&State, &wire::Request, Kind) -> deliver::Reply) -> wire::Service {
    let state = Arc::clone(state);
    wire::Service::start(port, move |stream: Arc<TcpStream>| {
        // Little of what is sent may sit in this side's buffer, or a reset would lose what was counted as sent.
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
    /// One that wants no token, has blobs on its own host, and works.
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

    /// On the same port again.
    pub(crate) fn resume(&self) {
        self.service.resume();
    }

    /// Has `image` under `repository:tag`, and all that belongs to it by digest.
    pub(crate) fn add(&self, repository: &str, tag: &str, image: &Image) {
        self.state.content.lock().unwrap().add(repository, tag, image);
    }

    /// Forgets the tag, not what it pointed to.
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

    /// From now on; rules are tried in the order they came, and all that match apply.
    pub(crate) fn fault(&self, rule: Rule) {
        self.state.faults.add(rule);
    }

    /// Everything works again. What already hangs keeps hanging.
    pub(crate) fn heal(&self) {
        self.state.faults.clear();
    }

    /// How many requests of this method and kind came.
    pub(crate) fn count(&self, method: &str, kind: Kind) -> usize {
        self.requests().iter().filter(|recorded| recorded.kind == kind && recorded.request.method == method).count()
    }

    /// What the Hub would charge: GETs of manifests.
    pub(crate) fn counted(&self) -> usize {
        self.count("GET", Kind::Manifest)
    }

    /// Body bytes of this kind put on the wire since the start.
    pub(crate) fn sent(&self, kind: Kind) -> u64 {
        self.requests().iter().filter(|recorded| recorded.kind == kind).map(|recorded| recorded.sent).sum()
    }

    /// How many connections to it are open now, as the kernel shows them.
    pub(crate) fn connections(&self) -> usize {
        let remote = format!(":{:04X} 01", self.service.port());
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let leads_here = |line: &&str| {
            let mut fields = line.split_whitespace().skip(2);
            format!("{} {}", fields.next().unwrap_or_default(), fields.next().unwrap_or_default()).ends_with(&remote)
        };
        sockets.lines().filter(leads_here).count()
    }

    /// Every request so far, the CDN's included.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.state.record.all()
    }

    /// Every token handed out.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.state.auth.as_ref().map(auth::Tokens::issued).unwrap_or_default()
    }

    /// No token handed out so far is good any longer.
    pub(crate) fn revoke_tokens(&self) {
        self.state.auth.as_ref().unwrap().revoke();
    }
}
