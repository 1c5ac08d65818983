//! The life of a claim: unproven, settled later, kept by an empty name, freed, and read again after an upgrade.

use std::{fs, thread, time::Duration};

use serde_json::json;

use super::{FREE, SOON, THEIRS, catalog, claim_of, denied, fixture, push, questions};
use crate::support::{
    images::{Blob, Format, Image},
    ports::Port,
    scrape::Scrape,
    server::{Server, Setup, entrepot},
    uploads::Target,
    upstream::Upstream,
    wait_until,
};

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
fn an_empty_name_stays_hosted_until_it_is_freed() {
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
