//! The write side of the API, as the specification has it and as its conformance suite reads it: uploads, mounts,
//! manifests, deletes, lists.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    hash::{hex, sha256, sha512},
    http::{Ending, Request},
    images::{Blob, Format, Image, Manifest},
    server::{Server, Setup},
    uploads::{OCTETS, Target},
    wait_until,
};

const REPOSITORY: &str = "team/app";
const OTHER: &str = "team/other";

fn house() -> (Server, Target) {
    let server = Setup::hosting().start();
    let target = server.target();
    (server, target)
}

/// Bytes with a name, so that each case has its own.
fn bytes(name: &str, length: usize) -> Blob {
    Blob::new(name.bytes().cycle().take(length).collect::<Vec<_>>())
}

/// The blob is served whole at its own URL, under the digest it is asked by.
fn is_served(target: &Target, repository: &str, digest: &str, bytes: &[u8]) {
    let path = format!("{repository}/blobs/{digest}");
    let head = target.request("HEAD", &path).send();
    let wanted = (200, Some(bytes.len() as u64), Some(digest));
    assert_eq!((head.status, head.length(), head.header("docker-content-digest")), wanted, "HEAD {path}");
    let get = target.request("GET", &path).send();
    assert_eq!((get.status, get.length(), get.header("docker-content-digest")), wanted, "GET {path}");
    let body = get.body();
    assert_eq!((body.ending, body.bytes == bytes), (Ending::Complete, true), "GET {path}");
}

/// The 201 of an upload: the digest as the client named it, and a `Location` where the bytes are.
fn is_created(target: &Target, response: &crate::support::http::Response, digest: &str, bytes: &[u8]) {
    assert_eq!((response.status, response.header("docker-content-digest")), (201, Some(digest)));
    let there = Request::new("GET", &target.follow(response)).send();
    assert_eq!((there.status, there.body().bytes == bytes), (200, true), "what the Location leads to");
}

/// Every way to bring a blob, under both algorithms.
#[test]
fn every_way_to_upload_a_blob() {
    let (_server, target) = house();
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

/// The empty blob is a blob: also by a single POST, where nothing comes in the body.
#[test]
fn an_empty_blob_is_a_blob() {
    let (_server, target) = house();
    for (repository, digest) in [(REPOSITORY, sha256(b"")), (OTHER, sha512(b""))] {
        let post = target.request("POST", &format!("{repository}/blobs/uploads/?digest={digest}"));
        is_created(&target, &post.send(), &digest, b"");
        is_served(&target, repository, &digest, b"");
    }
    assert_eq!(target.begin("team/third").put(&sha256(b""), b"").status, 201);
}

/// Nobody's parameters: crane sends a type with the POST, the newest specification names the algorithm in advance.
#[test]
fn an_upload_may_announce_its_algorithm() {
    let (_server, target) = house();
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

/// A gap, an overlap, a start elsewhere: 416 for PATCH and PUT alike; the session tells where it is and goes on.
#[test]
fn chunks_come_in_order() {
    let (_server, target) = house();
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

/// A `Content-Range` that is none, and one that is not as long as its body: nothing of the chunk is kept.
#[test]
fn a_chunk_is_what_it_says() {
    let (_server, target) = house();
    for range in ["0-", "x", "5-1", "0-49", "0-100", "-", "0-99-", "bytes 0-49/*"] {
        let mut session = target.begin(REPOSITORY);
        let patch = session.request("PATCH").header("Content-Range", range).body(OCTETS, &[7; 100]).send();
        assert!([400, 416].contains(&patch.status), "{range}: {}", patch.status);
        assert_eq!(session.received(), 0, "{range}: kept");
    }
}

/// One writer at a time: a second is refused while the first is at it, and does it no harm.
#[test]
fn a_session_has_one_writer() {
    let (_server, target) = house();
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

/// Cancelled, a session is gone; so is one that ended, and one that never was.
#[test]
fn a_session_that_is_over_is_unknown() {
    let (_server, target) = house();
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
    for never in ["00000000-0000-4000-8000-000000000000", "nonsense", "..%2f..%2fx"] {
        let response = target.request("GET", &format!("{REPOSITORY}/blobs/uploads/{never}")).send();
        assert!([400, 404].contains(&response.status), "{never}: {}", response.status);
    }
    let foreign = target.begin(REPOSITORY);
    let (path, query) = (format!("{REPOSITORY}/blobs/"), foreign.request("GET").send());
    let elsewhere = target.follow(&query).replace(&path, &format!("{OTHER}/blobs/"));
    assert_eq!(Request::new("GET", &elsewhere).send().status, 404, "a session belongs to its repository");
}

/// Left alone, a session is purged by its last activity.
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

/// Mounted from where it is said to be, from anywhere, and not from where it is not.
#[test]
fn a_blob_is_mounted() {
    let (_server, target) = house();
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

/// What cannot be mounted becomes an upload.
#[test]
fn a_blob_that_is_nowhere_is_uploaded() {
    let (_server, target) = house();
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

/// `ns` means nothing to a write: what is pushed is hosted, whoever it says it is meant for.
#[test]
fn a_namespace_is_ignored_on_writes() {
    let (_server, target) = house();
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

/// A manifest is stored and returned byte for byte, under the type it came with, by tag and by digest.
#[test]
fn a_manifest_is_kept_byte_for_byte() {
    let (server, target) = house();
    for (number, format) in [Format::Oci, Format::Docker].into_iter().enumerate() {
        let image = Image::index(format, 40 + number as u64, 2000);
        let repository = format!("team/bytes{number}");
        target.image(&repository, "latest", &image);
        server.pull(&repository, "latest", &image);
        for (reference, manifest) in [("latest", &image.top), (image.digest(), &image.top)]
            .into_iter()
            .chain(image.children.iter().map(|child| (child.digest.as_str(), child)))
        {
            let response = server.manifest(&repository, reference).send();
            assert_eq!(response.header("content-type"), Some(manifest.media_type.as_str()));
            assert_eq!(response.header("docker-content-digest"), Some(manifest.digest.as_str()));
            assert!(response.body().bytes == manifest.bytes, "{reference}");
        }
        for reference in ["latest", image.digest()] {
            let put = target.manifest(&repository, reference, &image.top);
            assert_eq!((put.status, put.header("docker-content-digest")), (201, Some(image.digest())), "once more");
            let there = Request::new("GET", &target.follow(&put)).header("Accept", format.index()).send();
            assert_eq!((there.status, there.summary().digest.as_str()), (200, image.digest()));
        }
    }
}

/// The suite's shapes: in chunks of HTTP, with parameters on the type, of nearly 4 MiB.
#[test]
fn a_manifest_comes_in_many_shapes() {
    let (_server, target) = house();
    let image = Image::single(Format::Oci, 50);
    image.blobs.iter().for_each(|blob| target.blob(REPOSITORY, blob));
    let mut body: Value = serde_json::from_slice(&image.top.bytes).unwrap();
    let notes = (0..390).map(|number| (format!("note-{number}"), json!("A".repeat(10_000))));
    body["annotations"] = notes.collect::<serde_json::Map<_, _>>().into();
    let large = Manifest::new(Format::Oci.manifest(), &body);
    let mut put = target
        .request("PUT", &format!("{REPOSITORY}/manifests/large"))
        .header("Content-Type", &format!("{}; charset=utf-8", Format::Oci.manifest()))
        .begin(None);
    large.bytes.chunks(50_000).for_each(|piece| put.write(piece).unwrap());
    assert_eq!(put.finish().unwrap().status, 201);
    let got = target.request("GET", &format!("{REPOSITORY}/manifests/large")).send();
    assert_eq!(got.header("content-type"), Some(Format::Oci.manifest()), "without parameters");
    assert_eq!(got.summary().digest, large.digest);
}

/// A manifest of these configuration and layers, and more that a test wants in it.
fn manifest(config: &Value, layers: &[Value], more: &[(&str, Value)]) -> Manifest {
    let mut body =
        json!({ "schemaVersion": 2, "mediaType": Format::Oci.manifest(), "config": config, "layers": layers });
    more.iter().for_each(|(key, value)| body[*key] = value.clone());
    Manifest::new(Format::Oci.manifest(), &body)
}

/// An index of these manifests.
fn index(manifests: &[Value], more: &[(&str, Value)]) -> Manifest {
    let mut body = json!({ "schemaVersion": 2, "mediaType": Format::Oci.index(), "manifests": manifests });
    more.iter().for_each(|(key, value)| body[*key] = value.clone());
    Manifest::new(Format::Oci.index(), &body)
}

/// `{}`, the configuration of what is no image.
fn nothing(target: &Target, repository: &str) -> Value {
    let blob = Blob::new(b"{}".as_slice());
    target.blob(repository, &blob);
    blob.descriptor("application/vnd.oci.empty.v1+json")
}

/// Artifacts, empty lists, data within descriptors, fields nobody knows, indexes of indexes: all are manifests.
#[test]
fn unusual_manifests_are_taken() {
    let (server, target) = house();
    let empty = nothing(&target, REPOSITORY);
    let mut with_data = empty.clone();
    with_data["data"] = json!("e30=");
    let unknown = [("org.example.unknown", json!({ "a": [1, 2.5, null] })), ("artifactType", json!("application/x"))];
    let plain = manifest(&empty, &[], &[]);
    let inner = index(&[plain.descriptor()], &[]);
    for (tag, manifest) in [
        ("no-layers", plain),
        ("same-blob-twice", manifest(&empty, std::slice::from_ref(&empty), &[])),
        ("data", manifest(&with_data, &[with_data.clone(), with_data.clone()], &[])),
        ("unknown-fields", manifest(&nothing(&target, REPOSITORY), &[], &unknown)),
        ("no-manifests", index(&[], &[])),
        ("inner", inner.clone()),
        ("outer", index(&[inner.descriptor()], &unknown)),
    ] {
        let put = target.manifest(REPOSITORY, tag, &manifest);
        assert_eq!((put.status, put.header("docker-content-digest")), (201, Some(manifest.digest.as_str())), "{tag}");
        let got = server.manifest(REPOSITORY, tag).send();
        assert!(got.body().bytes == manifest.bytes, "{tag}");
    }
}

/// Every descriptor is looked up in the repository; each one that is missing is named.
#[test]
fn every_missing_blob_is_named() {
    let (_server, target) = house();
    let (there, missing) = (bytes("there", 300), [bytes("a", 300), bytes("b", 300), bytes("c", 300)]);
    target.blob(REPOSITORY, &there);
    target.blob(OTHER, &missing[0]);
    let layers: Vec<_> = [&there, &missing[0], &missing[1]].map(|blob| blob.descriptor(Format::Oci.layer())).into();
    let top = manifest(&missing[2].descriptor(Format::Oci.config()), &layers, &[]);
    let child = manifest(&there.descriptor(Format::Oci.config()), &[], &[]);
    for (tag, pushed, wanted) in [
        ("image", &top, missing.iter().map(|blob| blob.digest.clone()).collect::<Vec<_>>()),
        ("index", &index(&[child.descriptor(), top.descriptor()], &[]), vec![child.digest.clone(), top.digest.clone()]),
    ] {
        let response = target.manifest(REPOSITORY, tag, pushed);
        assert!([400, 404].contains(&response.status), "{tag}: {}", response.status);
        let errors = response.json()["errors"].as_array().unwrap().clone();
        assert!(errors.iter().all(|error| error["code"] == "MANIFEST_BLOB_UNKNOWN"), "{errors:?}");
        let named = |digest: &String| errors.iter().filter(|error| error.to_string().contains(digest)).count();
        assert!(wanted.iter().all(|digest| named(digest) == 1), "{tag}: {errors:#?}");
        assert_eq!(errors.len(), wanted.len(), "{tag}: {errors:#?}");
        for reference in [tag, &pushed.digest] {
            assert_eq!(target.head(&format!("{REPOSITORY}/manifests/{reference}")), 404, "nothing came of it");
        }
    }
}

/// An index some of whose platforms are elsewhere, where the operator wants that.
#[test]
fn a_sparse_index_is_a_choice() {
    let sparse = |target: &Target| {
        let there = manifest(&nothing(target, REPOSITORY), &[], &[]);
        assert_eq!(target.manifest(REPOSITORY, &there.digest, &there).status, 201);
        let entry = |digest: &str, architecture| {
            let platform = json!({ "os": "linux", "architecture": architecture });
            json!({ "mediaType": Format::Oci.manifest(), "digest": digest, "size": there.bytes.len(), "platform": platform })
        };
        let nowhere = sha256(b"nowhere");
        index(&[entry(&there.digest, "amd64"), entry(&nowhere, "arm64")], &[])
    };
    let list = "REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST";
    for (platforms, required, status) in [
        ("all", None, None),
        ("none", None, Some(201)),
        ("list", Some("[{architecture: amd64, os: linux}]"), Some(201)),
        ("list", Some("[{architecture: arm64, os: linux}]"), None),
    ] {
        let mut setup = Setup::hosting().variable("REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMS", platforms);
        if let Some(required) = required {
            setup = setup.variable(list, required);
        }
        let server = setup.start();
        let (target, pushed) = (server.target(), sparse(&server.target()));
        let response = target.manifest(REPOSITORY, "sparse", &pushed);
        match status {
            Some(status) => assert_eq!(response.status, status, "{platforms} {required:?}"),
            None => assert_eq!(response.error_code(), "MANIFEST_BLOB_UNKNOWN", "{platforms} {required:?}"),
        }
    }
}

/// Layers that may not be distributed are elsewhere: where is for `validation.manifests.urls` to allow.
#[test]
fn foreign_layers_are_where_the_operator_allows() {
    let foreign = |target: &Target, url: &str| {
        let layer = json!({
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "digest": sha256(url.as_bytes()), "size": 123_456, "urls": [url],
        });
        manifest(&nothing(target, REPOSITORY), &[layer], &[])
    };
    let (allow, deny) = ("REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW", "REGISTRY_VALIDATION_MANIFESTS_URLS_DENY");
    let server = Setup::hosting()
        .variable(allow, r"['^https?://([^/]+\.)?example\.com/']")
        .variable(deny, r"['^https?://www\.example\.com/']")
        .start();
    let target = server.target();
    for (url, status) in [
        ("https://store.example.com/blobs/1", 201),
        ("https://www.example.com/blobs/1", 400),
        ("https://elsewhere.test/blobs/1", 400),
    ] {
        let response = target.manifest(REPOSITORY, "foreign", &foreign(&target, url));
        assert_eq!(response.status, status, "{url}");
        if status == 400 {
            assert!(["MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN"].contains(&response.error_code().as_str()), "{url}");
        }
    }
}

/// Docker's first format is refused by its name: skopeo tries it last, and its user sees this answer.
#[test]
fn schema1_is_refused_by_name() {
    let (_server, target) = house();
    for media_type in [
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v1+json",
    ] {
        let body =
            json!({ "schemaVersion": 1, "name": REPOSITORY, "tag": "1", "architecture": "amd64", "fsLayers": [] });
        let response = target.manifest(REPOSITORY, "1", &Manifest::new(media_type, &body));
        assert_eq!(response.status, 400);
        let text = response.text();
        assert!(text.contains("schema1") || text.contains("schema 1"), "{text}");
        assert!(text.contains("MANIFEST_INVALID") || text.contains("UNSUPPORTED"), "{text}");
    }
}

/// Under sha512: blobs, manifests that name them, and the tag that a parameter gives such a manifest.
#[test]
fn sha512_goes_all_the_way() {
    let (_server, target) = house();
    let layer = bytes("sha512", 900);
    let digest = sha512(&layer.bytes);
    assert_eq!(target.begin(REPOSITORY).put(&digest, &layer.bytes).status, 201);
    let descriptor = json!({ "mediaType": Format::Oci.layer(), "digest": digest, "size": 900 });
    let image = manifest(&descriptor, std::slice::from_ref(&descriptor), &[]);
    let name = sha512(&image.bytes);
    let put = target.manifest(REPOSITORY, &format!("{name}?tag=a&tag=b"), &image);
    assert_eq!((put.status, put.header("docker-content-digest")), (201, Some(name.as_str())));
    let accepted: Vec<_> =
        put.headers.iter().filter(|(key, _)| key == "oci-tag").map(|(_, tags)| tags.as_str()).collect();
    let accepted = accepted.join(",").replace(' ', "");
    assert_eq!(accepted, "a,b", "OCI-Tag");
    for reference in [&name, "a", "b"] {
        let got = target.request("GET", &format!("{REPOSITORY}/manifests/{reference}")).send();
        assert_eq!((got.status, got.header("docker-content-digest")), (200, Some(name.as_str())), "{reference}");
        assert!(got.body().bytes == image.bytes);
    }
    assert_eq!(target.json(&format!("{REPOSITORY}/tags/list"))["tags"], json!(["a", "b"]));
    assert_eq!(target.delete(&format!("{REPOSITORY}/manifests/{name}")), 202);
    for reference in [&name, "a", "b"] {
        assert_eq!(target.head(&format!("{REPOSITORY}/manifests/{reference}")), 404, "{reference}");
    }
}

/// A digest that is not the body's: nothing is stored, under either name.
#[test]
fn a_manifest_is_what_its_digest_says() {
    let (_server, target) = house();
    let image = manifest(&nothing(&target, REPOSITORY), &[], &[]);
    let mut padded = image.clone();
    padded.bytes = [&image.bytes[..], b"  "].concat().into();
    for digest in [image.digest.clone(), sha512(&image.bytes), "sha256:baddigeststring".to_owned()] {
        let response = target.manifest(REPOSITORY, &digest, &padded);
        assert_eq!((response.status, response.error_code().as_str()), (400, "DIGEST_INVALID"), "{digest}");
        assert!([400, 404].contains(&target.request("GET", &format!("{REPOSITORY}/manifests/{digest}")).send().status));
    }
}

/// Deleted means gone with the answer: a tag alone, a manifest with its tags, a blob from its repository.
#[test]
fn what_is_deleted_is_gone() {
    let (server, target) = house();
    let image = Image::single(Format::Oci, 60);
    target.image(REPOSITORY, "one", &image);
    assert_eq!(target.manifest(REPOSITORY, "two", &image.top).status, 201);
    assert_eq!(target.manifest(REPOSITORY, "three", &image.top).status, 201);
    let manifests = |reference: &str| format!("{REPOSITORY}/manifests/{reference}");
    assert_eq!(target.delete(&manifests("one")), 202);
    assert_eq!(target.head(&manifests("one")), 404);
    server.pull(REPOSITORY, "two", &image);
    assert_eq!(target.json(&format!("{REPOSITORY}/tags/list"))["tags"], json!(["three", "two"]));
    assert_eq!(target.delete(&manifests(image.digest())), 202);
    for reference in ["two", "three", image.digest()] {
        assert_eq!(target.head(&manifests(reference)), 404, "{reference}");
    }
    for blob in &image.blobs {
        let path = format!("{REPOSITORY}/blobs/{}", blob.digest);
        assert_eq!((target.delete(&path), target.head(&path)), (202, 404));
        assert_eq!(target.delete(&path), 404, "twice");
    }
    assert_eq!((target.delete(&manifests("one")), target.delete(&manifests(image.digest()))), (404, 404), "twice");
    assert_eq!(target.json(&format!("{REPOSITORY}/tags/list"))["tags"], json!([]));
    target.image(REPOSITORY, "one", &image);
    server.pull(REPOSITORY, "one", &image);
}

/// Where deleting is not enabled, it is refused.
#[test]
fn deleting_is_for_the_operator_to_enable() {
    let server = Setup::hosting().variable("REGISTRY_STORAGE_DELETE_ENABLED", "false").start();
    let (target, image) = (server.target(), Image::single(Format::Oci, 61));
    target.image(REPOSITORY, "1", &image);
    for path in [
        format!("{REPOSITORY}/manifests/1"),
        format!("{REPOSITORY}/manifests/{}", image.digest()),
        format!("{REPOSITORY}/blobs/{}", image.layer().digest),
    ] {
        let response = target.request("DELETE", &path).send();
        assert_eq!((response.status, response.error_code().as_str()), (405, "UNSUPPORTED"), "{path}");
    }
    server.pull(REPOSITORY, "1", &image);
}

/// An artifact about `subject`, with a note of this length.
fn about(target: &Target, subject: &Value, kind: &str, note: &str) -> Manifest {
    let more = [("artifactType", json!(kind)), ("subject", subject.clone()), ("annotations", json!({ "note": note }))];
    let more = if kind.is_empty() { &more[1..] } else { &more[..] };
    let artifact = manifest(&nothing(target, REPOSITORY), &[], more);
    let put = target.manifest(REPOSITORY, &artifact.digest, &artifact);
    assert_eq!((put.status, put.header("oci-subject")), (201, subject["digest"].as_str()));
    artifact
}

/// The digests that a list of referrers has.
fn digests(list: &[Value]) -> Vec<&str> {
    let mut digests: Vec<_> = list.iter().map(|entry| entry["digest"].as_str().unwrap()).collect();
    digests.sort_unstable();
    digests
}

fn sorted<'a>(manifests: &[&'a Manifest]) -> Vec<&'a str> {
    let mut digests: Vec<_> = manifests.iter().map(|manifest| manifest.digest.as_str()).collect();
    digests.sort_unstable();
    digests
}

/// Who refers to a manifest: known or not, by image and by index, filtered by type, gone when deleted.
#[test]
fn referrers_are_listed() {
    let (_server, target) = house();
    let subject = manifest(&nothing(&target, REPOSITORY), &[], &[]);
    let path = format!("{REPOSITORY}/referrers/{}", subject.digest);
    let response = target.request("GET", &path).send();
    assert_eq!((response.status, response.header("content-type")), (200, Some(Format::Oci.index())), "nobody, nowhere");
    assert_eq!(response.json(), json!({ "schemaVersion": 2, "mediaType": Format::Oci.index(), "manifests": [] }));
    let early = about(&target, &subject.descriptor(), "application/vnd.example.sbom+json", "before its subject");
    assert_eq!(target.manifest(REPOSITORY, "subject", &subject).status, 201);
    let signature = about(&target, &subject.descriptor(), "application/vnd.example.signature", "signed");
    let typeless = about(&target, &subject.descriptor(), "", "its configuration tells what it is");
    let list = index(&[], &[("subject", subject.descriptor()), ("annotations", json!({ "of": "index" }))]);
    let put = target.manifest(REPOSITORY, "list", &list);
    assert_eq!((put.status, put.header("oci-subject")), (201, Some(subject.digest.as_str())));
    let all = target.json(&path)["manifests"].as_array().unwrap().clone();
    assert_eq!(digests(&all), sorted(&[&early, &signature, &typeless, &list]));
    let entry = |manifest: &Manifest| all.iter().find(|entry| entry["digest"] == manifest.digest).unwrap();
    let mut wanted = signature.descriptor();
    wanted["artifactType"] = json!("application/vnd.example.signature");
    wanted["annotations"] = json!({ "note": "signed" });
    assert_eq!(*entry(&signature), wanted);
    assert_eq!(entry(&typeless)["artifactType"], "application/vnd.oci.empty.v1+json");
    assert_eq!((entry(&list).get("artifactType"), &entry(&list)["annotations"]), (None, &json!({ "of": "index" })));
    let filtered = target.request("GET", &format!("{path}?artifactType=application%2Fvnd.example.sbom%2Bjson")).send();
    assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"));
    assert_eq!(digests(filtered.json()["manifests"].as_array().unwrap()), sorted(&[&early]));
    assert_eq!(target.delete(&format!("{REPOSITORY}/manifests/{}", early.digest)), 202);
    let left = target.json(&path)["manifests"].as_array().unwrap().clone();
    assert_eq!(digests(&left), sorted(&[&signature, &typeless, &list]));
    assert_eq!(target.request("GET", &format!("{REPOSITORY}/referrers/sha256:short")).send().status, 400);
}

/// No page is larger than clients read a manifest (4 MiB); each leads to the next, with the filter kept.
#[test]
fn referrers_are_paged() {
    let (_server, target) = house();
    let subject = json!({ "mediaType": Format::Oci.manifest(), "digest": sha256(b"subject"), "size": 7 });
    let long = "n".repeat(300_000);
    let notes: Vec<_> =
        (0..20).map(|number| about(&target, &subject, "application/x", &format!("{number}{long}"))).collect();
    let others: Vec<_> = (0..3).map(|number| about(&target, &subject, "application/y", &number.to_string())).collect();
    let path = format!("{REPOSITORY}/referrers/{}", sha256(b"subject"));
    let page = target.request("GET", &path).send().body();
    assert!(page.bytes.len() <= 4 << 20, "{} bytes", page.bytes.len());
    let (all, pages) = target.pages(&path, "manifests");
    assert!(pages > 1, "6 MB in one page");
    assert_eq!(digests(&all), sorted(&notes.iter().chain(&others).collect::<Vec<_>>()));
    let (filtered, _) = target.pages(&format!("{path}?artifactType=application/x"), "manifests");
    assert_eq!(digests(&filtered), sorted(&notes.iter().collect::<Vec<_>>()));
}

/// What a client without the referrers API lists under the tag `sha256-<hex>` is a tag like any other: who has a subject
/// is listed, once; who is only said to have one is not (distribution-spec, "Enabling the Referrers API").
#[test]
fn the_referrers_tag_is_honoured() {
    let (server, target) = house();
    let subject = manifest(&nothing(&target, REPOSITORY), &[], &[("annotations", json!({ "name": "subject" }))]);
    assert_eq!(target.manifest(REPOSITORY, "subject", &subject).status, 201);
    let known = about(&target, &subject.descriptor(), "application/x", "has a subject");
    let stranger = manifest(&nothing(&target, REPOSITORY), &[], &[("annotations", json!({ "name": "has none" }))]);
    assert_eq!(target.manifest(REPOSITORY, &stranger.digest, &stranger).status, 201);
    let list = index(&[known.descriptor(), stranger.descriptor()], &[]);
    let tag = format!("sha256-{}", hex(&subject.digest));
    assert_eq!(target.manifest(REPOSITORY, &tag, &list).status, 201);
    assert!(server.manifest(REPOSITORY, &tag).send().body().bytes == list.bytes);
    let all = target.json(&format!("{REPOSITORY}/referrers/{}", subject.digest));
    assert_eq!(digests(all["manifests"].as_array().unwrap()), sorted(&[&known]));
}

/// Tags come sorted by their bytes, in pages of `n` from after `last`, each with the way to the next.
#[test]
fn tags_are_listed_in_pages() {
    let server = Setup::hosting().variable("REGISTRY_TAGS_MAXTAGS", "8").start();
    let target = server.target();
    let image = manifest(&nothing(&target, REPOSITORY), &[], &[]);
    let mut tags = ["a", "B", "1.10", "1.9", "_x", "latest", "b", "a-b", "a.b", "Z", "z", "0"].map(String::from);
    for tag in &tags {
        assert_eq!(target.manifest(REPOSITORY, tag, &image).status, 201);
    }
    tags.sort();
    let list = format!("{REPOSITORY}/tags/list");
    let first = target.json(&format!("{list}?n=5"));
    assert_eq!(first, json!({ "name": REPOSITORY, "tags": &tags[..5] }));
    for (query, wanted, more) in [
        ("?n=5&last=B", &tags[tags.iter().position(|tag| tag == "B").unwrap() + 1..][..5], true),
        ("?last=a", &tags[tags.iter().position(|tag| tag == "a").unwrap() + 1..], false),
        ("?last=a0", &tags[tags.iter().position(|tag| tag == "b").unwrap()..], false),
        ("?n=0", &[], false),
        ("?last=zz", &[], false),
        ("?n=5&last=latest", &tags[tags.iter().position(|tag| tag == "latest").unwrap() + 1..], false),
    ] {
        let response = target.request("GET", &format!("{list}{query}")).send();
        assert_eq!(response.header("link").is_some(), more, "{query}");
        assert_eq!(response.json()["tags"], json!(wanted), "{query}");
    }
    for query in ["", "?n=5", "?n=1", "?n=1000"] {
        assert_eq!(target.pages(&format!("{list}{query}"), "tags").0, tags, "{query}");
    }
    assert!(target.json(&format!("{list}?n=1000"))["tags"].as_array().unwrap().len() <= 8, "tags.maxtags");
    for query in ["?n=-1", "?n=x"] {
        let response = target.request("GET", &format!("{list}{query}")).send();
        assert_eq!(response.status, 400, "{query}");
        response.error_code();
    }
    let response = target.request("GET", "no/such/tags/list").send();
    assert_eq!((response.status, response.error_code().as_str()), (404, "NAME_UNKNOWN"));
}

/// The catalog lists what is hosted, in pages.
#[test]
fn repositories_are_listed_in_pages() {
    let server = Setup::hosting().variable("REGISTRY_CATALOG_MAXENTRIES", "4").start();
    let target = server.target();
    assert_eq!(target.json("_catalog"), json!({ "repositories": [] }));
    let mut names = ["b", "a/b/c", "a/b", "a-b", "a", "z9/y", "team/app"].map(String::from);
    for name in &names {
        let image = manifest(&nothing(&target, name), &[], &[]);
        assert_eq!(target.manifest(name, "1", &image).status, 201);
    }
    names.sort();
    let order = target.pages("_catalog", "repositories").0;
    let mut all: Vec<_> = order.iter().map(|name| name.as_str().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, names);
    for query in ["?n=2", "?n=1", "?n=4", "?n=1000"] {
        assert_eq!(target.pages(&format!("_catalog{query}"), "repositories").0, order, "{query}");
    }
    let last = order[2].as_str().unwrap().replace('/', "%2F");
    let response = target.request("GET", &format!("_catalog?n=2&last={last}")).send();
    assert!(response.header("link").is_some_and(|link| link.contains("n=2")));
    assert_eq!(response.json()["repositories"], json!(&order[3..5]));
    assert_eq!(target.json("_catalog?n=3&last=zz")["repositories"], json!([]));
}
