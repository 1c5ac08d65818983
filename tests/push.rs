//! The write side of the API, by the specification and its conformance suite: uploads and mounts. Manifests are in
//! `push_manifests`, lists and deletes in `hosted`.

use std::time::Duration;

use crate::support::{
    hash::{sha256, sha512},
    http::{BodyEnd, Request},
    images::{Blob, Format, Image},
    server::{Server, Setup},
    uploads::{OCTETS, Target},
    wait_until,
};

pub(crate) const REPOSITORY: &str = "team/app";
pub(crate) const OTHER: &str = "team/other";

pub(crate) fn fixture() -> (Server, Target) {
    let server = Setup::hosting().start();
    let target = server.target();
    (server, target)
}

/// Bytes derived from a name, so that each case has its own.
pub(crate) fn bytes(name: &str, length: usize) -> Blob {
    Blob::new(name.bytes().cycle().take(length).collect::<Vec<_>>())
}

/// The blob is served completely at its own URL, under the requested digest.
pub(crate) fn is_served(target: &Target, repository: &str, digest: &str, bytes: &[u8]) {
    let path = format!("{repository}/blobs/{digest}");
    let head = target.request("HEAD", &path).send();
    let wanted = (200, Some(bytes.len() as u64), Some(digest));
    assert_eq!((head.status, head.length(), head.header("docker-content-digest")), wanted, "HEAD {path}");
    let get = target.request("GET", &path).send();
    assert_eq!((get.status, get.length(), get.header("docker-content-digest")), wanted, "GET {path}");
    let body = get.body();
    assert_eq!((body.end, body.bytes == bytes), (BodyEnd::Complete, true), "GET {path}");
}

/// The 201 of an upload: the digest in the client's form, and the `Location` of the bytes.
pub(crate) fn is_created(target: &Target, response: &crate::support::http::Response, digest: &str, bytes: &[u8]) {
    assert_eq!((response.status, response.header("docker-content-digest")), (201, Some(digest)));
    let there = Request::new("GET", &target.follow(response)).send();
    assert_eq!((there.status, there.body().bytes == bytes), (200, true), "what the Location leads to");
}

/// Every method of uploading a blob, under both algorithms.
#[test]
fn every_kind_of_upload_stores_a_blob() {
    let (_server, target) = fixture();
    for algorithm in [sha256 as fn(&[u8]) -> String, sha512] {
        let in_one = |name: &str| {
            let blob = bytes(name, 3067);
            (algorithm(&blob.bytes), blob.bytes)
        };
        let (digest, content) = in_one("post");
        let post = target.request("POST", &format!("{REPOSITORY}/blobs/uploads/?digest={digest}"));
        is_created(&target, &post.body(OCTETS, &content).send(), &digest, &content);

        let (digest, content) = in_one("post and put");
        is_created(&target, &target.begin(REPOSITORY).put(&digest, &content), &digest, &content);

        let (digest, content) = in_one("post, patch, put");
        let mut session = target.begin(REPOSITORY);
        let patch = session.patch(None, &content);
        assert_eq!((patch.status, patch.header("range")), (202, Some("0-3066")));
        is_created(&target, &session.put(&digest, b""), &digest, &content);

        let (digest, content) = in_one("post, patch, patch, put with the last");
        let mut session = target.begin(REPOSITORY);
        for start in [0, 1024] {
            let patch = session.patch(Some(start), &content[start..start + 1024]);
            assert_eq!((patch.status, patch.header("range")), (202, Some(format!("0-{}", start + 1023).as_str())));
        }
        let put = session.closing(&digest).header("Content-Range", "2048-3066").body(OCTETS, &content[2048..]).send();
        is_created(&target, &put, &digest, &content);

        let (digest, content) = in_one("in chunks of HTTP");
        let mut session = target.begin(REPOSITORY);
        let mut patch = session.request("PATCH").header("Content-Type", OCTETS).begin(None);
        content.chunks(100).for_each(|piece| patch.write(piece).unwrap());
        let patch = patch.finish().unwrap();
        assert_eq!((patch.status, patch.header("range")), (202, Some("0-3066")));
        session.moved(&patch);
        is_created(&target, &session.put(&digest, b""), &digest, &content);

        let (digest, content) = in_one("put in chunks of HTTP");
        let mut put = target.begin(REPOSITORY).closing(&digest).begin(None);
        content.chunks(1000).for_each(|piece| put.write(piece).unwrap());
        is_created(&target, &put.finish().unwrap(), &digest, &content);
    }
}

/// The empty blob is valid: also by a single POST without a body.
#[test]
fn an_empty_blob_is_a_blob() {
    let (_server, target) = fixture();
    for (repository, digest) in [(REPOSITORY, sha256(b"")), (OTHER, sha512(b""))] {
        let post = target.request("POST", &format!("{repository}/blobs/uploads/?digest={digest}"));
        is_created(&target, &post.send(), &digest, b"");
        is_served(&target, repository, &digest, b"");
    }
    assert_eq!(target.begin("team/third").put(&sha256(b""), b"").status, 201);
}

/// Unused parameters: crane sends a type with the POST, the newest specification announces the algorithm.
#[test]
fn an_upload_may_announce_its_algorithm() {
    let (_server, target) = fixture();
    let blob = bytes("announced", 500);
    let digest = sha512(&blob.bytes);
    let post = target.request("POST", &format!("{REPOSITORY}/blobs/uploads/?digest-algorithm=sha512"));
    let response = post.header("Content-Type", "application/json").send();
    assert_eq!(response.status, 202);
    assert!(response.header("docker-upload-uuid").is_some(), "registry:2 names the session");
    let mut url = url::Url::parse(&target.follow(&response)).unwrap();
    url.query_pairs_mut().append_pair("digest", &digest);
    let put = Request::new("PUT", url.as_str()).body(OCTETS, &blob.bytes).send();
    is_created(&target, &put, &digest, &blob.bytes);
}

/// A gap, an overlap, a wrong start: 416 for PATCH and PUT alike; the session returns its offset and continues.
#[test]
fn chunks_come_in_order() {
    let (_server, target) = fixture();
    let blob = bytes("out of order", 3000);
    let refused = |response: &crate::support::http::Response| assert_eq!(response.status, 416);
    let mut session = target.begin(REPOSITORY);
    refused(&session.patch(Some(1000), &blob.bytes[1000..2000]));
    let status = session.request("GET").send();
    assert_eq!((status.status, status.header("range")), (204, Some("0-0")), "nothing has come");
    session.moved(&status);
    for start in [0, 1000] {
        assert_eq!(session.patch(Some(start), &blob.bytes[start..start + 1000]).status, 202);
        for wrong in [0, start, start + 999, 2500] {
            refused(&session.patch(Some(wrong), &blob.bytes[wrong..wrong + 100]));
            assert_eq!(session.received(), start as u64 + 1000, "a refused chunk counts for nothing");
        }
    }
    for wrong in ["0-999", "1999-2999", "2001-2999"] {
        let put = session.closing(&blob.digest).header("Content-Range", wrong).body(OCTETS, &blob.bytes[..]).send();
        assert!([400, 416].contains(&put.status), "{wrong}: {}", put.status);
    }
    let put = session.closing(&blob.digest).header("Content-Range", "2500-2999").body(OCTETS, &blob.bytes[2500..]);
    refused(&put.send());
    let mut asked = url::Url::parse(&target.follow(&session.request("GET").send())).unwrap();
    asked.query_pairs_mut().append_pair("digest", &blob.digest);
    assert_eq!(Request::new("GET", asked.as_str()).send().status, 204, "a status asked with the PUT's own URL");
    let last = session.closing(&blob.digest).header("Content-Range", "2000-2999").body(OCTETS, &blob.bytes[2000..]);
    is_created(&target, &last.send(), &blob.digest, &blob.bytes);
}

/// An invalid `Content-Range`, and one whose length differs from its body's: nothing of the chunk is kept.
#[test]
fn a_chunk_has_its_announced_range() {
    let (_server, target) = fixture();
    for range in ["0-", "x", "5-1", "0-49", "0-100", "-", "0-99-", "bytes 0-49/*"] {
        let mut session = target.begin(REPOSITORY);
        let patch = session.request("PATCH").header("Content-Range", range).body(OCTETS, &[7; 100]).send();
        assert!([400, 416].contains(&patch.status), "{range}: {}", patch.status);
        assert_eq!(session.received(), 0, "{range}: kept");
    }
}

/// One writer at a time: a second is refused during a write, and does not disturb it.
#[test]
fn a_session_has_one_writer() {
    let (_server, target) = fixture();
    let blob = bytes("two writers", 200_000);
    let session = target.begin(REPOSITORY);
    let mut first = session.request("PATCH").begin(Some(200_000));
    first.write(&blob.bytes[..100_000]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(session.clone().patch(None, b"second").status, 416, "someone else is writing");
    first.write(&blob.bytes[100_000..]).unwrap();
    assert_eq!(first.finish().unwrap().status, 202);
    assert_eq!(session.put(&blob.digest, b"").status, 201);
}

/// A small body is collected before it is written: meanwhile nobody else writes to the session, and if its client
/// leaves, what had arrived is kept.
#[test]
fn a_small_body_whose_client_leaves_is_kept() {
    let (_server, target) = fixture();
    let blob = bytes("left alone", 100);
    let mut session = target.begin(REPOSITORY);
    let mut first = session.request("PATCH").begin(Some(100));
    first.write(&blob.bytes[..40]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(session.clone().patch(None, b"second").status, 416, "someone else is writing");
    drop(first);
    wait_until("the first bytes", Duration::from_secs(5), || session.received() == 40);
    assert_eq!(session.patch(Some(40), &blob.bytes[40..]).status, 202);
    assert_eq!(session.put(&blob.digest, b"").status, 201);
    assert_eq!(target.head(&format!("{REPOSITORY}/blobs/{}", blob.digest)), 200);
}

/// Bodies around the length up to which they are collected, in one request and in two.
#[test]
fn a_body_of_any_length_arrives_whole() {
    const SMALL: usize = 64 << 10;
    let (server, target) = fixture();
    for (length, first) in
        [SMALL - 1, SMALL, SMALL + 1, 3 * SMALL].into_iter().flat_map(|length| [(length, 0), (length, 2)])
    {
        let blob = bytes(&format!("{length} bytes, {first} of them first"), length);
        let mut session = target.begin(REPOSITORY);
        if first > 0 {
            assert_eq!(session.patch(None, &blob.bytes[..first]).status, 202);
            assert_eq!(session.received(), first as u64);
        }
        assert_eq!(session.put(&blob.digest, &blob.bytes[first..]).status, 201);
        assert_eq!(server.blob(REPOSITORY, &blob.digest).send().summary().digest, blob.digest);
    }
}

/// Cancelled, a session is gone; so is one that ended, and one that never was.
#[test]
fn a_session_that_is_over_is_unknown() {
    let (_server, target) = fixture();
    let (mut cancelled, ended) = (target.begin(REPOSITORY), target.begin(REPOSITORY));
    assert_eq!(cancelled.patch(None, b"some").status, 202);
    assert_eq!(cancelled.request("DELETE").header("Content-Length", "0").send().status, 204);
    assert_eq!(ended.put(&sha256(b"all"), b"all").status, 201);
    for session in [&cancelled, &ended] {
        for method in ["GET", "PATCH", "DELETE", "PUT"] {
            let request = if method == "PUT" {
                session.closing(&sha256(b"x")).body(OCTETS, b"x")
            } else {
                session.request(method)
            };
            let response = request.send();
            assert_eq!((response.status, response.error_code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"), "{method}");
        }
    }
    for never in ["00000000-0000-4000-8000-000000000000", "nonsense"] {
        let response = target.request("GET", &format!("{REPOSITORY}/blobs/uploads/{never}")).send();
        assert!([400, 404].contains(&response.status), "{never}: {}", response.status);
    }
    let climbing = target.request("GET", &format!("{REPOSITORY}/blobs/uploads/..%2f..%2fx")).send();
    assert_eq!((climbing.status, climbing.header("location")), (301, Some(&*format!("/v2/{REPOSITORY}/x"))));
    let foreign = target.begin(REPOSITORY);
    let (path, query) = (format!("{REPOSITORY}/blobs/"), foreign.request("GET").send());
    let elsewhere = target.follow(&query).replace(&path, &format!("{OTHER}/blobs/"));
    for method in ["GET", "PATCH", "DELETE"] {
        assert_eq!(Request::new(method, &elsewhere).send().status, 404, "a session belongs to its repository");
    }
    assert_eq!(foreign.put(&sha256(b"here"), b"here").status, 201);
}

/// An idle session is purged by its last activity.
#[test]
fn a_session_left_alone_is_purged() {
    let purging = "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING";
    let server = Setup::hosting()
        .variable(&format!("{purging}_ENABLED"), "true")
        .variable(&format!("{purging}_AGE"), "2s")
        .variable(&format!("{purging}_INTERVAL"), "1s")
        .start();
    let (mut left, mut busy) = (server.target().begin(REPOSITORY), server.target().begin(REPOSITORY));
    left.patch(None, b"left");
    wait_until("the purge", Duration::from_secs(20), || {
        assert_eq!(busy.patch(None, b"+").status, 202, "it is in use");
        std::thread::sleep(Duration::from_millis(200));
        left.request("GET").send().status == 404
    });
}

/// Mounted from the named repository, or from any, but not from one that does not have it.
#[test]
fn a_blob_is_mounted() {
    let (_server, target) = fixture();
    for algorithm in [sha256 as fn(&[u8]) -> String, sha512] {
        let blob = bytes("mounted", 700);
        let digest = algorithm(&blob.bytes);
        assert_eq!(target.begin(REPOSITORY).put(&digest, &blob.bytes).status, 201);
        assert_eq!(target.head(&format!("{OTHER}/blobs/{digest}")), 404);
        is_created(&target, &target.mount(OTHER, &digest, Some(REPOSITORY)), &digest, &blob.bytes);
        is_created(&target, &target.mount("team/third", &digest, None), &digest, &blob.bytes);
        let escaped = format!("origin=h&from=team%2Fapp&mount={}", digest.replace(':', "%3A"));
        let crane = target.request("POST", &format!("team/fourth/blobs/uploads/?{escaped}")).send();
        is_created(&target, &crane, &digest, &blob.bytes);
        assert_eq!(target.delete(&format!("{OTHER}/blobs/{digest}")), 202);
        assert_eq!(target.head(&format!("{OTHER}/blobs/{digest}")), 404);
        is_served(&target, REPOSITORY, &digest, &blob.bytes);
    }
}

/// A failed mount becomes an upload.
#[test]
fn a_blob_that_is_nowhere_is_uploaded() {
    let (_server, target) = fixture();
    for (number, from) in [Some(OTHER), None, Some("no/such"), Some("..")].into_iter().enumerate() {
        let blob = bytes("nowhere", 100 + number);
        let response = target.mount(REPOSITORY, &blob.digest, from);
        assert_eq!(response.status, 202, "from {from:?}");
        let mut url = url::Url::parse(&target.follow(&response)).unwrap();
        url.query_pairs_mut().append_pair("digest", &blob.digest);
        let put = Request::new("PUT", url.as_str()).body(OCTETS, &blob.bytes).send();
        is_created(&target, &put, &blob.digest, &blob.bytes);
    }
}

/// `ns` is ignored for writes: pushed content is hosted, for any `ns`.
#[test]
fn a_namespace_is_ignored_on_writes() {
    let (_server, target) = fixture();
    let image = Image::single(Format::Oci, 31);
    for blob in &image.blobs {
        let post = target.request("POST", &format!("{REPOSITORY}/blobs/uploads/?ns=docker.io&digest={}", blob.digest));
        assert_eq!(post.body(OCTETS, &blob.bytes).send().status, 201);
    }
    let put = target.request("PUT", &format!("{REPOSITORY}/manifests/1?ns=docker.io"));
    assert_eq!(put.body(&image.top.media_type, &image.top.bytes).send().status, 201);
    assert_eq!(target.head(&format!("{REPOSITORY}/manifests/1")), 200);
    assert_eq!(target.delete(&format!("{REPOSITORY}/manifests/1?ns=docker.io")), 202);
    assert_eq!(target.head(&format!("{REPOSITORY}/manifests/1")), 404);
}
