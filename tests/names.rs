//! The registry that a name belongs to: the Hub, until the first manifest pushed under it claims it for this registry,
//! which needs the Hub's confirmation that it has no such repository.

mod claims;
mod real_clients;

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    hash::sha256,
    http::Response,
    images::{Format, Image},
    server::{Server, Setup},
    uploads::{OCTETS, Target},
    upstream::{Auth, Fault, Kind, Rule, Settings, Upstream},
    wait_until,
};

/// A repository of the upstream.
const THEIRS: &str = "grafana/app";
/// A repository that the upstream does not have.
const FREE: &str = "team/app";
const SOON: Duration = Duration::from_secs(30);

/// An upstream that has [`THEIRS`], and a server that mirrors it and takes pushes.
fn fixture(theirs: &Image) -> (Upstream, Server) {
    let upstream = Upstream::plain();
    upstream.add(THEIRS, "1", theirs);
    let server = Setup::both(&upstream.url()).start();
    (upstream, server)
}

/// Pushes as far as the server lets it, and returns the response to the manifest.
fn push(target: &Target, repository: &str, image: &Image) -> Response {
    for blob in &image.blobs {
        let begun = target.request("POST", &format!("{repository}/blobs/uploads/")).send();
        if begun.status == 202 {
            target.session(&begun).put(&blob.digest, &blob.bytes);
        }
    }
    target.manifest(repository, "1", &image.top)
}

fn denied(response: Response) {
    assert_eq!(response.status, 403);
    let error = response.json()["errors"][0].clone();
    assert_eq!(error["code"], "DENIED");
    let message = error["message"].as_str().unwrap();
    for part in ["clients must go on getting what they asked for", "proxy.hosted", "another name"] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

/// The number of requests that ask whether the upstream has a repository.
fn questions(upstream: &Upstream, repository: &str) -> usize {
    let wanted = format!("/v2/{repository}/tags/list");
    upstream.requests().iter().filter(|each| each.request.path == wanted && each.request.query == "n=1").count()
}

fn catalog(server: &Server) -> serde_json::Value {
    server.target().json("_catalog")["repositories"].clone()
}

fn unavailable(response: Response) {
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some_and(|after| after.parse::<u64>().unwrap() > 0));
    assert!(response.text().contains("proxy.unproven"), "it says which key changes that");
}

fn claim_of(server: &Server, name: &str) -> PathBuf {
    server.data().join("docker/registry/v2/repositories").join(name).join("_hosted/claim")
}

/// Through the mirror, clients get the upstream's content of the name, in spite of any push before.
#[test]
fn a_name_that_the_hub_has_cannot_be_pushed() {
    let (theirs, ours) = (Image::single(Format::Oci, 1101), Image::single(Format::Oci, 1102));
    let (_upstream, server) = fixture(&theirs);
    let target = server.target();
    denied(push(&target, THEIRS, &ours));
    server.pull(THEIRS, "1", &theirs);
    denied(target.manifest(THEIRS, "1", &ours.top));
    denied(target.request("POST", &format!("{THEIRS}/blobs/uploads/")).send());
    server.pull(THEIRS, "1", &theirs);
    assert_eq!(catalog(&server), json!([]));
}

/// A manifest that arrives before the Hub's response waits for it.
#[test]
fn a_manifest_waits_for_the_answer_of_the_hub() {
    let theirs = Image::single(Format::Oci, 1128);
    let (upstream, server) = fixture(&theirs);
    upstream.fault(Rule::on(Kind::Tags, Fault::Delay(Duration::from_secs(1))));
    let empty = crate::push_manifests::index(&[], &[]);
    denied(server.target().manifest(THEIRS, "1", &empty));
    assert_eq!(server.target().manifest(FREE, "1", &empty).status, 201);
    assert!(fs::read_to_string(claim_of(&server, FREE)).unwrap().starts_with("proven "));
    server.pull(THEIRS, "1", &theirs);
}

/// Clients test their right to push in advance, and some disconnect in the middle: the name stays mirrored.
#[test]
fn an_upload_alone_claims_nothing() {
    let (theirs, ours) = (Image::single(Format::Oci, 1103), Image::single(Format::Oci, 1104));
    let (upstream, mut server) = fixture(&theirs);
    let hold = Fault::Delay(Duration::from_secs(2));
    upstream.fault(Rule::on(Kind::Tags, hold));
    let target = server.target();
    let uploads = format!("{THEIRS}/blobs/uploads/");
    let cancelled = target.begin(THEIRS);
    assert_eq!(cancelled.request("DELETE").send().status, 204);
    let left = target.begin(THEIRS);
    drop(left.request("PATCH").header("Content-Type", OCTETS).begin(Some(1_000_000)));
    let wrong = target.request("POST", &format!("{uploads}?digest={}", sha256(b"other")));
    assert_eq!(wrong.body(OCTETS, b"this").send().status, 400);
    target.blob(THEIRS, ours.layer());
    for again in [false, true] {
        assert_eq!(catalog(&server), json!([]), "restarted: {again}");
        server.pull(THEIRS, "1", &theirs);
        server.restart();
    }
    denied(server.target().manifest(THEIRS, "1", &ours.top));
}

/// docker checks for a blob after it uploaded it, and other clients check for the manifest before: the blob is here,
/// the manifest is not.
#[test]
fn a_blob_is_there_before_its_name_is_claimed() {
    let ours = Image::single(Format::Oci, 1105);
    let (upstream, mut server) = fixture(&ours);
    for again in [false, true] {
        let target = server.target();
        for blob in &ours.blobs {
            if !again {
                target.blob(FREE, blob);
            }
            let path = format!("{FREE}/blobs/{}", blob.digest);
            assert_eq!(target.head(&path), 200, "restarted: {again}");
            let got = server.blob(FREE, &blob.digest).send();
            assert_eq!((got.status, got.summary().digest), (200, blob.digest.clone()));
            assert_eq!(target.head(&format!("{path}?ns=docker.io")), 404, "the Hub's has no such blob");
        }
        assert_eq!(target.head(&format!("{FREE}/manifests/1")), 404);
        server.restart();
    }
    let target = server.target();
    assert!(upstream.count("HEAD", Kind::Manifest) > 0, "the name is the Hub's so far");
    assert_eq!(target.mount("team/other", &ours.layer().digest, Some(FREE)).status, 201, "and can be mounted from");
    assert_eq!(target.manifest(FREE, "1", &ours.top).status, 201);
    let asked = upstream.requests().len();
    server.pull(FREE, "1", &ours);
    assert_eq!(upstream.requests().len(), asked, "from here on it is ours");
}

/// One request to the upstream for each name, for any number of concurrent blobs and tags; it starts with the first
/// upload.
#[test]
fn the_hub_is_asked_once_for_a_name() {
    let ours = Image::index(Format::Oci, 1106, 5000);
    let (upstream, server) = fixture(&Image::single(Format::Oci, 1107));
    upstream.fault(Rule::on(Kind::Tags, Fault::Delay(Duration::from_millis(300))));
    thread::scope(|scope| {
        for blob in &ours.blobs {
            scope.spawn(|| server.target().blob(FREE, blob));
        }
    });
    wait_until("the question", SOON, || questions(&upstream, FREE) == 1);
    for tag in ["1", "2"] {
        server.target().image(FREE, tag, &ours);
    }
    server.target().image("alone", "1", &ours);
    assert_eq!((questions(&upstream, FREE), questions(&upstream, "alone")), (1, 0));
    assert_eq!(catalog(&server), json!(["alone", FREE]));
    // A repository that is registered there later changes nothing here.
    upstream.add(FREE, "1", &Image::single(Format::Oci, 1108));
    server.target().image(FREE, "3", &ours);
    server.pull(FREE, "3", &ours);
    assert_eq!(questions(&upstream, FREE), 1);
}

/// A push refused for lack of space causes no request, and many names at once leave the upstream's connections to
/// pulls.
#[test]
fn questions_about_names_are_bounded() {
    let theirs = Image::single(Format::Oci, 1129);
    let upstream = Upstream::plain();
    upstream.add(THEIRS, "1", &theirs);
    let begin = |server: &Server, name: &str| server.target().request("POST", &format!("{name}/blobs/uploads/")).send();
    let limited = Setup::both(&upstream.url()).variable("REGISTRY_HTTP_LIMITS_UPLOADS", "1").start();
    assert_eq!(begin(&limited, FREE).status, 202);
    wait_until("the question", SOON, || questions(&upstream, FREE) == 1);
    assert_eq!(begin(&limited, "team/refused").status, 429);
    let server = Setup::both(&upstream.url()).start();
    upstream.fault(Rule::on(Kind::Tags, Fault::Hang));
    let asked = || upstream.count("GET", Kind::Tags);
    let before = asked();
    for number in 0..40 {
        assert_eq!(begin(&server, &format!("random/n{number}")).status, 202);
    }
    wait_until("some questions", SOON, || asked() > before);
    server.pull(THEIRS, "1", &theirs);
    thread::sleep(Duration::from_secs(1));
    assert!(asked() <= before + 8, "{} at once", asked() - before);
    assert_eq!(questions(&upstream, "team/refused"), 0);
}

/// 404, 401 and 403 confirm that it has no such repository; any other response does not.
#[test]
fn what_counts_as_an_answer() {
    let ours = Image::single(Format::Oci, 1109);
    let upstream = Upstream::plain();
    let server = Setup::both(&upstream.url()).start();
    let refusing = Setup::both(&upstream.url()).variable("REGISTRY_PROXY_UNPROVEN", "refuse").start();
    let portal = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    let answers = [
        ("a404", Fault::Status(404), true),
        ("a401", Fault::Status(401), true),
        ("a403", Fault::Status(403), true),
        ("a500", Fault::Status(500), false),
        ("aportal", Fault::Raw(portal), false),
        ("alate", Fault::Hang, false),
        // The last one, since nothing is asked after it.
        ("a429", Fault::StatusWith(429, "Retry-After", "60".into()), false),
    ];
    for (name, fault, is_answer) in answers {
        let name = format!("team/{name}");
        upstream.fault(Rule::on(Kind::Tags, fault).path(&name));
        let began = Instant::now();
        server.target().image(&name, "1", &ours);
        assert!(began.elapsed() < Duration::from_secs(5), "{name} took {:?}", began.elapsed());
        let claim = fs::read_to_string(claim_of(&server, &name)).unwrap();
        assert!(claim.starts_with(if is_answer { "proven 20" } else { "unproven 20" }), "{name} is {claim}");
        if is_answer {
            refusing.target().image(&name, "1", &ours);
        } else {
            unavailable(refusing.target().request("POST", &format!("{name}/blobs/uploads/")).send());
            unavailable(refusing.target().manifest(&name, "1", &ours.top));
        }
    }
}

/// If the upstream does not accept this server's own user, its response says nothing about its repositories.
#[test]
fn a_wrong_password_is_no_answer() {
    let upstream = Settings::default().auth(Auth::basic("hub-user", "right")).start();
    upstream.add(THEIRS, "1", &Image::single(Format::Oci, 1126));
    let setup = |password: &str| {
        let setup = Setup::both(&upstream.url()).variable("REGISTRY_PROXY_USERNAME", "hub-user");
        setup.variable("REGISTRY_PROXY_PASSWORD", password).variable("REGISTRY_PROXY_UNPROVEN", "refuse").start()
    };
    let ours = Image::single(Format::Oci, 1127);
    unavailable(push(&setup("wrong").target(), THEIRS, &ours));
    let known = setup("right");
    denied(push(&known.target(), THEIRS, &ours));
    known.target().image(FREE, "1", &ours);
}
