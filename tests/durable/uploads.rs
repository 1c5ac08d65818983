//! Uploads that are not committed yet, and commits without a client, across a kill.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{content, send};
use crate::support::{
    hash::{Hasher, sha256},
    http::BodyEnd,
    images::Blob,
    rounds,
    server::Setup,
    uploads::OCTETS,
};

/// A partial upload of 1 GiB continues after a restart at the offset that the server returns: after a kill during a
/// PATCH, and after a stop.
#[test]
fn a_half_done_upload_goes_on_after_a_restart() {
    let whole = (rounds(1024) as u64) << 20;
    let mut server = Setup::hosting().start();
    let mut session = server.target().begin("team/large");
    let mut received = 0;
    for (part, killed) in [(1, true), (2, false)] {
        let until = whole * part / 3;
        let patch = session.request("PATCH").header("Content-Type", OCTETS);
        let mut patch =
            patch.header("Content-Range", &format!("{received}-{}", whole - 1)).begin(Some(whole - received));
        send(&mut patch, received, until);
        thread::sleep(Duration::from_millis(200));
        if killed {
            server.kill9();
        } else {
            server.ask_to_stop();
            drop(patch);
            server.wait_for_end(Duration::from_secs(15));
        }
        let took = server.restart();
        assert!(took < Duration::from_secs(3), "a session is no reason to start late: {took:?}");
        session = session.at(&server.target());
        let now = session.received();
        assert!(now > received && now <= until, "{now} of {until} bytes, killed: {killed}");
        received = now;
    }
    let mut patch = session.request("PATCH").header("Content-Type", OCTETS).begin(None);
    send(&mut patch, received, whole);
    let patch = patch.finish().unwrap();
    assert_eq!((patch.status, patch.header("range")), (202, Some(format!("0-{}", whole - 1).as_str())));
    session.moved(&patch);
    let mut hasher = Hasher::default();
    content(0, whole, |piece| hasher.update(piece));
    let digest = hasher.finish();
    assert_eq!(session.put(&digest, b"").status, 201);
    let got = server.blob("team/large", &digest).send().summary();
    assert_eq!((got.end, got.length, got.digest), (BodyEnd::Complete, whole, digest));
}

/// Empty sessions and announced ones survive too; a finished one does not come back.
#[test]
fn small_sessions_survive_a_kill() {
    let mut server = Setup::hosting().start();
    let (empty, mut some, ended) = (server.target().begin("a"), server.target().begin("a"), server.target().begin("a"));
    assert_eq!(some.patch(Some(0), b"seven b").status, 202);
    assert_eq!(ended.put(&sha256(b"ended"), b"ended").status, 201);
    let begun = Instant::now();
    server.kill9();
    server.restart();
    assert!(begun.elapsed() < Duration::from_secs(5));
    let target = server.target();
    assert_eq!((empty.at(&target).received(), some.at(&target).received()), (0, 7));
    assert_eq!(ended.at(&target).request("GET").send().status, 404);
    let mut some = some.at(&target);
    assert_eq!(some.patch(Some(6), b"x").status, 416);
    assert_eq!(some.patch(Some(7), b"ytes").status, 202);
    assert_eq!(some.put(&sha256(b"seven bytes"), b"").status, 201);
    assert_eq!(empty.at(&target).put(&sha256(b"empty"), b"empty").status, 201);
}

/// A client that disconnects during a commit does not release the session: the next writer is refused or finds it
/// ended, and the published blob matches its digest.
#[test]
fn a_commit_is_whole_though_its_client_leaves() {
    let server = Setup::hosting().start();
    let target = server.target();
    for round in 0..rounds(100) {
        let blob = Blob::noise(1000 + round as u64, 2_000_000);
        let mut session = target.begin("team/app");
        assert_eq!(session.patch(None, &blob.bytes).status, 202);
        let mut again = session.clone();
        drop(session.closing(&blob.digest).begin(Some(0)));
        let late = again.patch(None, b"junk").status;
        assert!([202, 404, 416].contains(&late), "{late}");
        let path = format!("team/app/blobs/{}", blob.digest);
        std::thread::sleep(Duration::from_millis(round as u64 % 7));
        let got = target.request("GET", &path).send();
        if got.status == 200 {
            let got = got.summary();
            assert!(got.digest == blob.digest && got.length == 2_000_000, "wrong bytes under a digest");
        }
    }
}
