//! The mirrors of an upstream: they answer for it when it fails, and what it says itself comes first.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{NAME, digest, with_upstreams};
use crate::support::{
    images::{Format, Image},
    ports::Port,
    server::Setup,
    tls::{Authority, Mounted},
    upstream::{Cut, Fault, Gate, Kind, Rule, Upstream},
    wire::{self, Request, Service},
};

/// The section of an upstream with one mirror.
fn mirrored(itself: &Upstream, mirror: &str, more: &str) -> String {
    format!("{{docker.io: {{url: '{}', mirrors: ['{mirror}']{more}}}}}", itself.url())
}

/// An upstream that fails is replaced by its mirrors, in their order; one that says no is not.
#[test]
fn a_mirror_answers_for_an_upstream_that_fails() {
    let (itself, first, second) = (Upstream::plain(), Upstream::plain(), Upstream::plain());
    let (image, other) = (Image::of_size(Format::Oci, 1350, 200_000), Image::single(Format::Oci, 1351));
    for upstream in [&itself, &second] {
        upstream.add(NAME, "1", &image);
    }
    itself.add("org/only-here", "1", &other);
    let sections = format!(
        "{{docker.io: {{url: '{}', mirrors: ['{}', '{}'], freshness: 1s}}}}",
        itself.url(),
        first.url(),
        second.url()
    );
    let server = with_upstreams(&sections).start();
    assert_eq!(digest(&server, "org/unknown", "1", None), None);
    assert_eq!(first.requests().len() + second.requests().len(), 0, "a 404 of the upstream itself is an answer");
    itself.fault(Rule::on_all(Fault::Status(503)));
    server.pull(NAME, "1", &image);
    assert!(!first.requests().is_empty(), "the first mirror was asked first");
    assert!(second.sent(Kind::Blob) >= 200_000, "the second has it");
    itself.stop();
    let gone = server.manifest("org/only-here", "1").send();
    assert_eq!(gone.status, 502, "a mirror's 404 is no answer");
    itself.heal();
    itself.resume();
    assert_eq!(digest(&server, "org/only-here", "1", None).as_deref(), Some(other.digest()));
}

/// While an upstream with a mirror hangs, requests do not wait for it again and again.
#[test]
fn a_hanging_upstream_is_waited_for_once() {
    let (itself, mirror) = (Upstream::plain(), Upstream::plain());
    for seed in 0..4 {
        mirror.add(&format!("org/app{seed}"), "1", &Image::single(Format::Oci, 1360 + seed));
    }
    itself.fault(Rule::on_all(Fault::Hang));
    let sections = format!("{{docker.io: {{url: '{}', mirrors: ['{}']}}}}", itself.url(), mirror.url());
    let server = with_upstreams(&sections).start();
    assert!(digest(&server, "org/app0", "1", None).is_some());
    let began = Instant::now();
    for seed in 1..4 {
        assert!(digest(&server, &format!("org/app{seed}"), "1", None).is_some());
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// The upstream cuts a download and refuses once to go on, while its mirror does not have the blob. The download goes
/// on at the upstream for all clients.
#[test]
fn a_download_goes_on_at_the_upstream_if_its_mirror_lacks_the_blob() {
    let (itself, mirror) = (Upstream::plain(), Upstream::plain());
    let image = Image::of_size(Format::Oci, 1352, 400_000);
    itself.add(NAME, "1", &image);
    let layer = &image.layer().digest;
    let on_layer = |fault| Rule::on(Kind::Blob, fault).method("GET").path(layer).times(1);
    let gate = Gate::new();
    itself.fault(on_layer(Fault::Gate(50_000, gate.clone())));
    itself.fault(on_layer(Fault::CutAfter(100_000, Cut::Fin)));
    let server = with_upstreams(&mirrored(&itself, &mirror.url(), "")).start();
    assert_eq!(digest(&server, NAME, "1", None).as_deref(), Some(image.digest()));
    let (first, second) = (server.blob(NAME, layer).send(), server.blob(NAME, layer).send());
    itself.fault(on_layer(Fault::Status(503)));
    gate.open();
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!((first.summary().digest, second.summary().digest), (layer.clone(), layer.clone()));
    assert_eq!(mirror.count("GET", Kind::Blob), 1, "the mirror was asked meanwhile");
}

/// While the upstream is thought to be down, its mirror is asked first. If that fails, the upstream's own 404 is told.
#[test]
fn the_upstreams_404_is_told_after_a_mirrors_failure() {
    let (itself, mirror) = (Upstream::plain(), Upstream::plain());
    let image = Image::single(Format::Oci, 1353);
    mirror.add(NAME, "1", &image);
    let server = with_upstreams(&mirrored(&itself, &mirror.url(), "")).start();
    itself.stop();
    assert_eq!(digest(&server, NAME, "1", None).as_deref(), Some(image.digest()), "the upstream is found down");
    itself.resume();
    mirror.fault(Rule::on_all(Fault::Status(503)));
    let asked = mirror.requests().len();
    let unknown = server.blob("org/unknown", &image.layer().digest).send();
    assert_eq!((unknown.status, unknown.error_code().as_str()), (404, "BLOB_UNKNOWN"));
    assert_eq!(mirror.requests().len(), asked + 1, "the mirror was asked first");
    itself.stop();
    assert_eq!(server.manifest("org/nowhere", "1").send().status, 502, "the upstream is found down again");
    itself.resume();
    let asked = mirror.requests().len();
    let unknown = server.manifest("org/unknown", "1").send();
    assert_eq!((unknown.status, unknown.error_code().as_str()), (404, "MANIFEST_UNKNOWN"));
    assert_eq!(mirror.requests().len(), asked + 1, "the mirror was asked first");
}

/// `insecure` is about the upstream's own server: a mirror at another host needs a certificate.
#[test]
fn a_mirror_elsewhere_needs_a_certificate() {
    let (itself, behind) = (Upstream::plain(), Upstream::plain());
    let image = Image::single(Format::Oci, 1354);
    behind.add(NAME, "1", &image);
    let files = Mounted::new(&Authority::new("nobody's").server());
    let mirror = Setup::mirroring(&behind.url())
        .variable("REGISTRY_HTTP_TLS_CERTIFICATE", files.path("tls.crt").to_str().unwrap())
        .variable("REGISTRY_HTTP_TLS_KEY", files.path("tls.key").to_str().unwrap())
        .start();
    itself.fault(Rule::on_all(Fault::Status(503)));
    let with_password = mirror.url().replace("://", "://user:secret@");
    let server = with_upstreams(&mirrored(&itself, &with_password, ", insecure: true")).start();
    assert_eq!(server.manifest(NAME, "1").send().status, 502);
    assert!(!mirror.log().contains("/v2/org/app"), "no request reached it: {}", mirror.log());
}

/// `realm` is about the upstream's own token service: a mirror at another host cannot have passwords sent there.
#[test]
fn a_mirror_elsewhere_sends_no_password_to_the_realm() {
    let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
    let noted = Arc::clone(&asked);
    let realm = Service::start(Port::reserve(), move |stream| {
        wire::converse(&stream, |request| {
            noted.lock().unwrap().push(request.clone());
            wire::reply(&stream, 200, &[], br#"{"token": "t"}"#)
        });
    });
    let elsewhere = realm.url().replace("127.0.0.1", "localhost");
    let challenge = ("WWW-Authenticate".to_owned(), format!("Bearer realm=\"{elsewhere}/token\""));
    let mirror = Service::start(Port::reserve(), move |stream| {
        wire::converse(&stream, |_| wire::reply(&stream, 401, std::slice::from_ref(&challenge), b""));
    });
    let itself = Upstream::plain();
    itself.fault(Rule::on_all(Fault::Status(503)));
    let with_password = mirror.url().replace("://", "://user:secret@");
    let section = mirrored(&itself, &with_password, &format!(", realm: '{elsewhere}'"));
    let server = with_upstreams(&section).start();
    assert_eq!(server.manifest(NAME, "1").send().status, 502);
    let asked = asked.lock().unwrap();
    assert!(asked.is_empty(), "{asked:?}");
}

/// Of endpoints that are all down, the client waits long for the last alone.
#[test]
fn endpoints_that_are_down_are_waited_for_shortly() {
    let (itself, mirror) = (Upstream::plain(), Upstream::plain());
    let server = with_upstreams(&mirrored(&itself, &mirror.url(), "")).start();
    let both = [&itself, &mirror];
    both.iter().for_each(|upstream| upstream.stop());
    assert_eq!(server.manifest(NAME, "1").send().status, 502, "both are found down");
    both.iter().for_each(|upstream| upstream.fault(Rule::on_all(Fault::Hang)));
    both.iter().for_each(|upstream| upstream.resume());
    let began = Instant::now();
    assert_eq!(server.manifest(NAME, "2").send().status, 504);
    assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
}
