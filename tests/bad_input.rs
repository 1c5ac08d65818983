//! Invalid input is refused with the specification's codes, and nothing of it is stored.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    hash::sha256,
    http::Response,
    images::{Blob, Format, Image, Manifest},
    scratch,
    server::{Server, Setup},
    uploads::{OCTETS, Target},
    wait_until,
};

const REPOSITORY: &str = "team/app";

/// A server, and the content it had before the invalid input.
struct Fixture {
    server: Server,
    target: Target,
    before: Vec<PathBuf>,
}

/// With one good image, whose blobs bad manifests may name.
fn fixture(image: &Image) -> Fixture {
    let server = Setup::hosting().start();
    let target = server.target();
    target.image(REPOSITORY, "good", image);
    let before = stored(&server);
    Fixture { server, target, before }
}

/// Blobs, links and staged bytes on disk: everything except the index, the lock and upload sessions.
fn stored(server: &Server) -> Vec<PathBuf> {
    let none = |path: &PathBuf| !path.starts_with("index") && !path.ends_with("entrepot.lock");
    let session = |path: &PathBuf| path.iter().any(|part| part == "_uploads");
    scratch::files(server.data()).into_iter().filter(|path| none(path) && !session(path)).collect()
}

impl Fixture {
    /// Waits until nothing is stored beyond the earlier content.
    fn nothing_is_stored(&self, what: &str) {
        wait_until(&format!("nothing to be left of {what}"), Duration::from_secs(5), || {
            stored(&self.server) == self.before
        });
    }

    fn refused(&self, what: &str, response: Response, statuses: &[u16], codes: &[&str]) {
        let status = response.status;
        assert!(statuses.contains(&status), "{what}: {status}");
        let code = response.error_code();
        assert!(codes.contains(&code.as_str()), "{what}: {status} {code}");
        self.nothing_is_stored(what);
    }

    fn refuses_manifest(&self, what: &str, manifest: &Manifest, statuses: &[u16], codes: &[&str]) {
        for reference in ["bad", &manifest.digest] {
            self.refused(what, self.target.manifest(REPOSITORY, reference, manifest), statuses, codes);
        }
        assert_eq!(self.target.json(&format!("{REPOSITORY}/tags/list"))["tags"], json!(["good"]), "{what}");
    }
}

/// A wrong digest, in each form of upload.
#[test]
fn a_wrong_digest() {
    let fixture = fixture(&Image::single(Format::Oci, 10));
    let (wrong, blob) = (sha256(b"something else"), Blob::noise(10, 5000));
    let post = format!("{REPOSITORY}/blobs/uploads/?digest={wrong}");
    let invalid: &[&str] = &["DIGEST_INVALID"];
    fixture.refused("POST", fixture.target.request("POST", &post).body(OCTETS, &blob.bytes).send(), &[400], invalid);
    fixture.refused("PUT", fixture.target.begin(REPOSITORY).put(&wrong, &blob.bytes), &[400], invalid);
    let mut session = fixture.target.begin(REPOSITORY);
    session.patch(Some(0), &blob.bytes);
    fixture.refused("PATCH, PUT", session.put(&wrong, b""), &[400], invalid);
    let mut session = fixture.target.begin(REPOSITORY);
    session.patch(None, &blob.bytes[..4000]);
    fixture.refused("PATCH, PUT with more", session.put(&wrong, &blob.bytes[4000..]), &[400], invalid);
    for digest in [&wrong, &blob.digest] {
        assert_eq!(fixture.target.head(&format!("{REPOSITORY}/blobs/{digest}")), 404);
    }
}

/// Invalid digests, and unknown algorithms.
#[test]
fn an_unknown_digest() {
    let fixture = fixture(&Image::single(Format::Oci, 11));
    let upper = sha256(b"x").to_uppercase().replace("SHA256", "sha256");
    for digest in ["md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:short", "sha256", "", ":", &upper, "sha256:../../x"]
    {
        let put = fixture.target.begin(REPOSITORY).put(digest, b"x");
        fixture.refused(&format!("PUT ?digest={digest}"), put, &[400], &["DIGEST_INVALID"]);
        if !digest.is_empty() {
            let post = fixture.target.request("POST", &format!("{REPOSITORY}/blobs/uploads/?digest={digest}"));
            fixture.refused(
                &format!("POST ?digest={digest}"),
                post.body(OCTETS, b"x").send(),
                &[400],
                &["DIGEST_INVALID"],
            );
        }
    }
    let put = fixture.target.begin(REPOSITORY).request("PUT").body(OCTETS, b"x").send();
    fixture.refused("PUT without a digest", put, &[400], &["DIGEST_INVALID"]);
    for digest in ["md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:short"] {
        let codes = ["DIGEST_INVALID", "MANIFEST_UNKNOWN", "TAG_INVALID", "BLOB_UNKNOWN", "MANIFEST_INVALID"];
        for (method, path) in [("GET", "blobs"), ("DELETE", "blobs"), ("GET", "manifests"), ("DELETE", "manifests")] {
            let response = fixture.target.request(method, &format!("{REPOSITORY}/{path}/{digest}")).send();
            fixture.refused(&format!("{method} {path}/{digest}"), response, &[400, 404], &codes);
        }
        let config = json!({ "mediaType": OCTETS, "digest": digest, "size": 1 });
        fixture.refuses_manifest(
            "a descriptor's digest",
            &image(&config, &[]),
            &[400],
            &["MANIFEST_INVALID", "DIGEST_INVALID"],
        );
    }
}

/// A body whose length differs from its announcement: a chunk, and a descriptor's size.
#[test]
fn a_wrong_length() {
    let good = Image::single(Format::Oci, 12);
    let fixture = fixture(&good);
    let session = fixture.target.begin(REPOSITORY);
    let patch = session.request("PATCH").header("Content-Range", "0-199").body(OCTETS, &[1; 100]).send();
    fixture.refused(
        "a Content-Range too long",
        patch,
        &[400, 416],
        &["SIZE_INVALID", "RANGE_INVALID", "BLOB_UPLOAD_INVALID"],
    );
    let mut config = good.blobs[1].descriptor(Format::Oci.config());
    for size in [json!(0), json!(good.blobs[1].len() + 1), json!(-1), json!(1.5), json!("1"), Value::Null] {
        config["size"] = size.clone();
        let what = format!("a descriptor's size of {size}");
        fixture.refuses_manifest(&what, &image(&config, &[]), &[400], &["MANIFEST_INVALID", "SIZE_INVALID"]);
    }
}

/// An image manifest with this configuration and these layers.
fn image(config: &Value, layers: &[Value]) -> Manifest {
    let body = json!({ "schemaVersion": 2, "mediaType": Format::Oci.manifest(), "config": config, "layers": layers });
    Manifest::new(Format::Oci.manifest(), &body)
}

/// An empty manifest, one that is not JSON, not an object, or not a manifest.
#[test]
fn a_manifest_that_is_none() {
    let good = Image::single(Format::Oci, 13);
    let fixture = fixture(&good);
    let config = good.blobs[1].descriptor(Format::Oci.config());
    let texts = [
        String::new(),
        "not JSON".into(),
        "{\"schemaVersion\":2".into(),
        "[]".into(),
        "null".into(),
        "{}".into(),
        "\u{0}".into(),
        json!({ "schemaVersion": 2, "mediaType": Format::Oci.manifest() }).to_string(),
        json!({ "schemaVersion": 2, "mediaType": Format::Oci.manifest(), "layers": [] }).to_string(),
        json!({ "schemaVersion": 1, "mediaType": Format::Oci.manifest(), "config": config, "layers": [] }).to_string(),
        json!({ "schemaVersion": 2, "mediaType": Format::Oci.manifest(), "config": config, "layers": {} }).to_string(),
        json!({ "schemaVersion": 2, "mediaType": Format::Oci.manifest(), "config": [], "layers": [] }).to_string(),
        "[".repeat(100_000),
    ];
    for text in texts {
        let what = format!("{text:.60}");
        let mut manifest = Manifest::new(Format::Oci.manifest(), &json!({}));
        manifest.digest = sha256(text.as_bytes());
        manifest.bytes = text.into();
        fixture.refuses_manifest(&what, &manifest, &[400], &["MANIFEST_INVALID"]);
    }
    let mut not_unicode = Manifest::new(Format::Oci.manifest(), &json!({}));
    not_unicode.bytes = b"{\"schemaVersion\":2,\"a\":\"\xff\xfe\"}".as_slice().into();
    not_unicode.digest = sha256(&not_unicode.bytes);
    fixture.refuses_manifest("bytes that are no text", &not_unicode, &[400], &["MANIFEST_INVALID"]);
}

/// A manifest whose type differs from its Content-Type.
#[test]
fn a_manifest_that_contradicts_itself() {
    let good = Image::single(Format::Oci, 14);
    let fixture = fixture(&good);
    let image = image(&good.blobs[1].descriptor(Format::Oci.config()), &[]);
    let index = Manifest::new(
        Format::Oci.index(),
        &json!({ "schemaVersion": 2, "mediaType": Format::Oci.index(), "manifests": [] }),
    );
    let mut neither =
        json!({ "schemaVersion": 2, "config": good.blobs[1].descriptor(Format::Oci.config()), "layers": [] });
    neither["manifests"] = json!([]);
    for (what, mut manifest, media_type) in [
        ("an image as an index", image.clone(), Format::Oci.index()),
        ("an image as Docker's", image.clone(), Format::Docker.manifest()),
        ("an index as an image", index, Format::Oci.manifest()),
        ("an image and an index at once", Manifest::new("", &neither), Format::Oci.manifest()),
    ] {
        media_type.clone_into(&mut manifest.media_type);
        fixture.refuses_manifest(what, &manifest, &[400], &["MANIFEST_INVALID"]);
    }
    for media_type in ["application/octet-stream", "text/html", "nonsense", "application/json"] {
        let mut honest = serde_json::from_slice::<Value>(&image.bytes).unwrap();
        honest["mediaType"] = json!(media_type);
        fixture.refuses_manifest(media_type, &Manifest::new(media_type, &honest), &[400], &["MANIFEST_INVALID"]);
        let mut unknown = image.clone();
        media_type.clone_into(&mut unknown.media_type);
        let statuses = [400, 415];
        fixture.refuses_manifest(media_type, &unknown, &statuses, &["MANIFEST_INVALID", "UNSUPPORTED"]);
    }
}

/// 64 MiB of manifest, announced and not: refused as too large, and not held in memory.
#[test]
fn a_manifest_too_large() {
    const CODES: [&str; 2] = ["MANIFEST_INVALID", "SIZE_INVALID"];
    let fixture = fixture(&Image::single(Format::Oci, 15));
    let (length, piece) = (64 << 20, vec![b' '; 1 << 20]);
    let before = fixture.server.forget_peak_memory();
    for announced in [Some(length), None] {
        let put = fixture.target.request("PUT", &format!("{REPOSITORY}/manifests/bad"));
        let mut put = put.header("Content-Type", Format::Oci.manifest()).begin(announced);
        for _ in 0..64 {
            if put.write(&piece).is_err() {
                break;
            }
        }
        let response = put.finish().unwrap();
        fixture.refused(&format!("64 MiB, announced: {announced:?}"), response, &[413], &CODES);
    }
    let more = fixture.server.peak_above(before);
    assert!(more < 32 << 20, "{more} bytes more");
}

/// Invalid names.
#[test]
fn a_name_that_is_none() {
    let fixture = fixture(&Image::single(Format::Oci, 16));
    let long = "a/".repeat(149) + "aa";
    assert_eq!(long.len(), 300);
    let bad = ["UPPER/case", "under_/score", "-dash", "a/.hidden", "tr%20ail", "a:b", "a/_uploads", "a%00b"];
    for name in bad.into_iter().chain([long.as_str()]) {
        for (method, path) in
            [("POST", "blobs/uploads/"), ("PUT", "manifests/1"), ("GET", "tags/list"), ("GET", "manifests/1")]
        {
            let target = format!("/v2/{name}/{path}");
            let response = fixture.target.request(method, "").send_target(&target);
            let known = ["NAME_INVALID", "NAME_UNKNOWN", "UNSUPPORTED"];
            let statuses: &[u16] = if name == long { &[400] } else { &[400, 404, 405] };
            fixture.refused(&format!("{method} {target:.60}"), response, statuses, &known);
        }
    }
}

/// An empty segment is no part of a name: registry:2's router redirects to the path without it.
#[test]
fn a_name_with_an_empty_segment() {
    let fixture = fixture(&Image::single(Format::Oci, 16));
    for (method, path) in [("POST", "blobs/uploads/"), ("PUT", "manifests/1"), ("GET", "tags/list")] {
        let response = fixture.target.request(method, "").send_target(&format!("/v2/double//slash/{path}"));
        assert_eq!(response.status, 301, "{method}");
        assert_eq!(response.header("location"), Some(&*format!("/v2/double/slash/{path}")), "{method}");
        fixture.nothing_is_stored(path);
    }
}

/// `..`, plain and escaped, is not a name and cannot leave the volume.
#[test]
fn a_name_that_climbs() {
    let fixture = fixture(&Image::single(Format::Oci, 17));
    let digest = sha256(b"x");
    for up in [
        "..",
        "%2e%2e",
        "%2E%2E",
        "..%2f..",
        "%2e%2e%2f%2e%2e",
        ".%2e",
        "%252e%252e",
        "a/../..",
        "a/%2e%2e/%2e%2e/%2e%2e",
    ] {
        for (method, path) in [
            ("POST", format!("{up}/x/blobs/uploads/?digest={digest}")),
            ("POST", format!("x/{up}/blobs/uploads/?digest={digest}")),
            ("PUT", format!("{up}/{up}/x/manifests/1")),
            ("PUT", format!("{REPOSITORY}/manifests/{up}")),
            ("GET", format!("{up}/{up}/_catalog/manifests/1")),
            ("GET", format!("{REPOSITORY}/blobs/uploads/{up}")),
            ("DELETE", format!("{REPOSITORY}/manifests/{up}")),
        ] {
            let request = fixture.target.request(method, "");
            let request = if method == "GET" { request } else { request.body(OCTETS, b"x") };
            let response = request.send_target(&format!("/v2/{path}"));
            let status = response.status;
            // As in registry:2's router: a path with `..` is redirected to the path that it resolves to.
            let is_redirected = status == 301 && response.header("location").is_some_and(|plain| !plain.contains(".."));
            assert!([400, 404, 405].contains(&status) || is_redirected, "{method} /v2/{path}: {status}");
            fixture.nothing_is_stored(&path);
        }
    }
    let dir = fixture.server.data();
    assert!(
        !dir.join("docker/registry/v2/x").exists()
            && !dir.join("docker/registry/x").exists()
            && !dir.join("x").exists()
    );
}

/// Invalid tags.
#[test]
fn a_tag_that_is_none() {
    let good = Image::single(Format::Oci, 18);
    let fixture = fixture(&good);
    for tag in ["-x", ".x", &"t".repeat(129), "a%20b", "a@b", "%C3%A4"] {
        let put = fixture.target.request("PUT", "").body(&good.top.media_type, &good.top.bytes);
        let response = put.send_target(&format!("/v2/{REPOSITORY}/manifests/{tag}"));
        fixture.refused(
            tag,
            response,
            &[400, 404],
            &["TAG_INVALID", "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "DIGEST_INVALID"],
        );
    }
}

/// A client that leaves mid-upload: nothing is stored.
#[test]
fn a_client_that_leaves() {
    let fixture = fixture(&Image::single(Format::Oci, 19));
    let blob = Blob::noise(19, 2_000_000);
    for (what, request) in [
        ("POST", fixture.target.request("POST", &format!("{REPOSITORY}/blobs/uploads/?digest={}", blob.digest))),
        ("PUT", fixture.target.begin(REPOSITORY).closing(&blob.digest)),
        ("PUT manifest", fixture.target.request("PUT", &format!("{REPOSITORY}/manifests/bad"))),
    ] {
        let mut leaving = request.header("Content-Type", Format::Oci.manifest()).begin(Some(2_000_000));
        leaving.write(&blob.bytes[..1_000_000]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        drop(leaving);
        fixture.nothing_is_stored(what);
        assert_eq!(fixture.target.head(&format!("{REPOSITORY}/blobs/{}", blob.digest)), 404, "{what}");
    }
}

/// A client that resumes a session finds exactly the bytes that were received.
#[test]
fn a_client_that_leaves_a_session() {
    let blob = Blob::noise(20, 2_000_000);
    for length in [Some(2_000_000), None] {
        let fixture = fixture(&Image::single(Format::Oci, 20));
        let mut session = fixture.target.begin(REPOSITORY);
        let mut leaving = session.request("PATCH").header("Content-Type", OCTETS).begin(length);
        leaving.write(&blob.bytes[..1_000_000]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        drop(leaving);
        fixture.nothing_is_stored("PATCH");
        wait_until("the session to be free", Duration::from_secs(5), || {
            let received = usize::try_from(session.received()).unwrap();
            assert!(received <= 1_000_000, "{received}");
            session.patch(Some(received), &blob.bytes[received..]).status == 202
        });
        assert_eq!(session.put(&blob.digest, b"").status, 201);
    }
}

/// A layer requested as a manifest is refused without being read into memory.
#[test]
fn a_layer_is_no_manifest() {
    let upstream = crate::support::upstream::Upstream::plain();
    let server = Setup::both(&upstream.url()).start();
    let layer = Blob::noise(95, 100_000_000);
    server.target().blob("team/app", &layer);
    let before = server.forget_peak_memory();
    for repository in ["team/app", "library/any"] {
        for _ in 0..3 {
            let got =
                crate::support::http::head(&server.v2(&format!("{repository}/manifests/{}", layer.digest))).send();
            assert_eq!(got.status, 404, "{repository}");
        }
    }
    let more = server.peak_above(before);
    assert!(more < 32_000_000, "{more} bytes more");
}
