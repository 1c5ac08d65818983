//! The registry that a name belongs to: the Hub, until the first manifest pushed under it claims it for this registry,
//! which needs the Hub's confirmation that it has no such repository.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    clients::{self, Client, Pulled, Start},
    egress_trap::EgressTrap,
    hash::sha256,
    http::Response,
    images::{Blob, Format, Image},
    ports::Port,
    scrape::Scrape,
    server::{Server, Setup, entrepot},
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
fn a_manifest_waits_for_the_hubs_word() {
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
        ("a429", Fault::StatusWith(429, "Retry-After", "60".into()), false),
        ("a500", Fault::Status(500), false),
        ("aportal", Fault::Raw(portal), false),
        ("alate", Fault::Hang, false),
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

fn unavailable(response: Response) {
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some_and(|after| after.parse::<u64>().unwrap() > 0));
    assert!(response.text().contains("proxy.unproven"), "it says which key changes that");
}

fn claim_of(server: &Server, name: &str) -> PathBuf {
    server.data().join("docker/registry/v2/repositories").join(name).join("_hosted/claim")
}

/// A push that the upstream could not be asked about is checked later: a conflict is reported, by an error in the log
/// and a metric, across restarts, until the operator decides. Clients of the Hub get the Hub's content all the time.
#[test]
fn what_was_taken_unproven_is_asked_about_later() {
    let (theirs, ours) = (Image::single(Format::Oci, 1110), Image::single(Format::Oci, 1111));
    let (upstream, debug) = (Upstream::plain(), Port::reserve());
    upstream.add(THEIRS, "1", &theirs);
    upstream.stop();
    let setup = Setup::both(&upstream.url()).variable("REGISTRY_HTTP_MIRROR_ADDR", "127.0.0.1:0").watched(&debug);
    let mut server = setup.clone().start();
    for name in [THEIRS, FREE] {
        server.target().image(name, "1", &ours);
    }
    let figure = |claim: &str| Scrape::of(&debug.url()).sum("entrepot_hosted_names", &[&format!("claim=\"{claim}\"")]);
    assert_eq!((figure("unproven"), figure("conflicting")), (2, 0));
    server.restart();
    wait_until("the names to be known again", SOON, || figure("unproven") == 2);
    upstream.resume();
    wait_until("both to be asked about", SOON, || (figure("unproven"), figure("conflicting")) == (0, 1));
    assert!(fs::read_to_string(claim_of(&server, FREE)).unwrap().starts_with("proven "));
    for again in [false, true] {
        wait_until("the conflict to be told", SOON, || figure("conflicting") == 1);
        let log = server.log();
        let line = log.lines().find(|line| line.contains("ERROR") && line.contains(THEIRS));
        let line = line.unwrap_or_else(|| panic!("restarted: {again}, no error in\n{log}"));
        assert!(line.contains("entrepot rm") && line.contains("proxy.hosted"), "{line}");
        server.pull(THEIRS, "1", &ours);
        let there = server.manifest(THEIRS, "1?ns=docker.io").send();
        assert_eq!(there.header("docker-content-digest"), Some(theirs.digest()));
        let mirrored = Target::open(&server.mirror_url()).request("GET", &format!("{THEIRS}/manifests/1")).send();
        assert_eq!(mirrored.header("docker-content-digest"), Some(theirs.digest()));
        server.restart();
    }
    let asked = questions(&upstream, THEIRS);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(questions(&upstream, THEIRS), asked, "an answer ends the asking");
    drop(server);
    let decided = setup.hosted("[grafana/*]").start();
    wait_until("the server to know its names", SOON, || figure("conflicting") == 0);
    decided.pull(THEIRS, "1", &ours);
}

/// A name that held a manifest stays hosted without one, although no list has it, until the operator frees it.
#[test]
fn an_empty_name_stays_ours_until_it_is_freed() {
    let (theirs, ours) = (Image::single(Format::Oci, 1112), Image::single(Format::Oci, 1113));
    let (upstream, mut server) = fixture(&theirs);
    let target = server.target();
    target.image(FREE, "1", &ours);
    target.image("team/collected", "1", &ours);
    upstream.add(FREE, "1", &theirs);
    assert_eq!(catalog(&server), json!([FREE, "team/collected"]));
    assert_eq!(target.delete(&format!("{FREE}/manifests/{}", ours.digest())), 202);
    assert_eq!(target.delete("team/collected/manifests/1"), 202);
    assert_eq!(catalog(&server), json!(["team/collected"]));
    server.stop();
    let gc = entrepot(&["gc", "--untagged", "--data", server.data().to_str().unwrap()], &[]);
    assert!(gc.status.success(), "{}", gc.output);
    for index in [true, false] {
        if !index {
            fs::remove_dir_all(server.data().join("index")).unwrap();
        }
        server.restart();
        let asked = upstream.requests().len();
        assert_eq!(server.manifest(FREE, "1").send().status, 404, "with its index: {index}");
        wait_until("the index", SOON, || catalog(&server) == json!([]));
        assert_eq!(server.manifest(FREE, "1").send().status, 404);
        assert_eq!(upstream.requests().len(), asked, "nobody else is asked for it");
        server.stop();
    }
    server.restart();
    free(&server, FREE);
    server.pull(FREE, "1", &theirs);
    denied(push(&server.target(), FREE, &ours));
}

fn free(server: &Server, name: &str) {
    let freed = entrepot(&["rm", name, "--data", server.data().to_str().unwrap()], &[]);
    assert!(freed.status.success(), "{}", freed.output);
}

/// `entrepot rm`: through the server and without one; blobs that other repositories link stay.
#[test]
fn a_name_is_freed_with_and_without_a_server() {
    let (theirs, ours) = (Image::single(Format::Oci, 1114), Image::index(Format::Oci, 1115, 5000));
    let (upstream, mut server) = fixture(&theirs);
    for name in [FREE, "team/two", "team/kept"] {
        server.target().image(name, "1", &ours);
    }
    upstream.add(FREE, "1", &theirs);
    upstream.add("team/two", "1", &theirs);
    let data = server.data().to_str().unwrap().to_owned();
    let dry = entrepot(&["rm", FREE, "--dry-run", "--data", &data], &[]);
    assert!(dry.status.success() && dry.output.contains("would remove 1 tags, 3 manifests"), "{}", dry.output);
    server.pull(FREE, "1", &ours);
    free(&server, FREE);
    assert_eq!(catalog(&server), json!(["team/kept", "team/two"]));
    server.pull(FREE, "1", &theirs);
    server.stop();
    let freed = entrepot(&["rm", "team/two", "--json", "--data", &data], &[]);
    let expected = r#"{"answer":"removed","repository":"team/two","tags":1,"manifests":3,"#;
    assert!(freed.status.success() && freed.output.contains(expected), "{}", freed.output);
    let again = entrepot(&["rm", "team/two", "--data", &data], &[]);
    assert!(!again.status.success() && again.output.contains("nothing of team/two is here"), "{}", again.output);
    let gc = entrepot(&["gc", "--data", &data], &[]);
    assert!(gc.status.success(), "{}", gc.output);
    server.restart();
    server.pull("team/two", "1", &theirs);
    server.pull("team/kept", "1", &ours);
    assert_eq!(catalog(&server), json!(["team/kept"]));
}

/// A volume of registry:2, and one of an older version: pushed names are claimed.
#[test]
fn what_was_pushed_before_is_claimed() {
    let (theirs, ours) = (Image::single(Format::Oci, 1116), Image::single(Format::Oci, 1117));
    let (upstream, mut server) = fixture(&theirs);
    for name in [FREE, "team/empty"] {
        server.target().image(name, "1", &ours);
    }
    assert_eq!(server.target().delete(&format!("team/empty/manifests/{}", ours.digest())), 202);
    for name in [FREE, "team/empty"] {
        upstream.add(name, "1", &theirs);
    }
    server.stop();
    fs::remove_dir_all(claim_of(&server, FREE).parent().unwrap()).unwrap();
    fs::remove_file(claim_of(&server, "team/empty")).unwrap();
    // The class of the volume's content is decided: the start does not ask.
    fs::write(server.data().join("scheduler-state.json.adopted"), "").unwrap();
    for index in [true, false] {
        if !index {
            fs::remove_dir_all(server.data().join("index")).unwrap();
        }
        server.restart();
        let asked = upstream.requests().len();
        server.pull(FREE, "1", &ours);
        assert_eq!(server.manifest("team/empty", "1").send().status, 404);
        assert_eq!(upstream.requests().len(), asked);
        server.stop();
    }
    server.restart();
    let target = server.target();
    target.image(FREE, "2", &ours);
    assert_eq!(target.delete(&format!("{FREE}/manifests/{}", ours.digest())), 202);
    server.restart();
    assert_eq!(server.manifest(FREE, "1").send().status, 404, "and stays so when it is empty");
    assert_eq!(questions(&upstream, FREE), 1);
}

/// An unreadable claim is not a missing one: the request fails, and the Hub's image is not served instead.
#[test]
fn a_claim_that_cannot_be_read_is_no_absence() {
    let (theirs, ours) = (Image::single(Format::Oci, 1118), Image::single(Format::Oci, 1119));
    let (upstream, mut server) = fixture(&theirs);
    server.target().image(FREE, "1", &ours);
    upstream.add(FREE, "1", &theirs);
    server.stop();
    let claim = claim_of(&server, FREE);
    fs::remove_file(&claim).unwrap();
    std::os::unix::fs::symlink("claim", &claim).unwrap();
    server.restart();
    let asked = upstream.requests().len();
    for _ in 0..2 {
        assert_eq!(server.manifest(FREE, "1").send().status, 500);
        let put = server.target().manifest(FREE, "2", &ours.top);
        assert_eq!(put.status, 500);
    }
    assert_eq!(upstream.requests().len(), asked);
    assert!(server.log().contains(claim.to_str().unwrap()), "the log names the path");
}

/// For any content pushed under a name of the Hub, docker and podman get the Hub's through the mirror, before and after
/// other clients pulled it.
#[test]
fn a_push_cannot_change_what_docker_pulls() {
    no_push_changes_a_pull(clients::docker);
}

#[test]
fn a_push_cannot_change_what_podman_pulls() {
    no_push_changes_a_pull(clients::podman);
}

fn no_push_changes_a_pull(start: Start) {
    let (theirs, ours) = (Image::of_size(Format::Docker, 1120, 50_000), Image::of_size(Format::Docker, 1121, 50_000));
    let upstream = Upstream::plain();
    for name in [THEIRS, "grafana/second", "grafana/third"] {
        upstream.add(name, "1", &theirs);
    }
    let setup = || Setup::both(&upstream.url()).variable("REGISTRY_HTTP_MIRROR_ADDR", "127.0.0.1:0");
    let (server, trap) = (setup().start(), EgressTrap::new());
    let refusing = setup().variable("REGISTRY_PROXY_UNPROVEN", "refuse").start();
    let (client, behind_the_door) = (start(server.url(), &trap), start(&server.mirror_url(), &trap));
    let behind_refusal = start(refusing.url(), &trap);
    let wanted = || Pulled { digest: theirs.digest().to_owned(), config: theirs.config.clone() };
    let gets_theirs = |client: &dyn Client, name: &str| {
        assert_eq!(client.pull(&format!("{name}:1")), wanted(), "{} of {name}", client.name());
    };
    for pulled in [false, true] {
        denied(push(&server.target(), THEIRS, &ours));
        gets_theirs(&*client, THEIRS);
        assert_eq!(catalog(&server), json!([]), "pulled before: {pulled}");
    }
    upstream.stop();
    assert_eq!(push(&server.target(), "grafana/second", &ours).status, 201, "there is nobody to ask");
    unavailable(push(&refusing.target(), "grafana/third", &ours));
    upstream.resume();
    gets_theirs(&*behind_the_door, "grafana/second");
    gets_theirs(&*behind_refusal, "grafana/third");
    let named = server.manifest("grafana/second", "1?ns=docker.io").send();
    assert_eq!(named.header("docker-content-digest"), Some(theirs.digest()), "as containerd asks");
    assert_eq!(trap.breaches(), [""; 0], "nobody left the mirror");
}

/// containerd names the registry: it gets that one's image although another is hosted under the name.
#[test]
fn a_push_cannot_change_what_containerd_pulls() {
    let (theirs, ours) = (Image::of_size(Format::Oci, 1122, 50_000), Image::of_size(Format::Oci, 1123, 50_000));
    let (upstream, server) = fixture(&theirs);
    upstream.stop();
    assert_eq!(push(&server.target(), THEIRS, &ours).status, 201);
    upstream.resume();
    let trap = EgressTrap::new();
    let pulled = clients::containerd(server.url(), &trap).pull(&format!("{THEIRS}:1"));
    assert_eq!(pulled, Pulled { digest: theirs.digest().to_owned(), config: theirs.config.clone() });
}

/// The bytes of an abandoned upload are collected, although no name was claimed for them.
#[test]
fn what_was_pushed_without_a_claim_is_collected() {
    let (upstream, mut server) = fixture(&Image::single(Format::Oci, 1124));
    let blob = Blob::noise(1125, 5000);
    server.target().blob(FREE, &blob);
    server.stop();
    let gc = entrepot(&["gc", "--data", server.data().to_str().unwrap()], &[]);
    assert!(gc.status.success() && gc.output.contains("removed 0 manifests, 1 links, 1 blobs"), "{}", gc.output);
    server.restart();
    assert_eq!(server.target().head(&format!("{FREE}/blobs/{}", blob.digest)), 404);
    assert_eq!(upstream.counted(), 0);
}
