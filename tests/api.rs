//! The read side of the API: headers, ranges, and the specification's error codes.

use crate::support::{
    http::{self, BodyEnd},
    images::{Format, Image},
    server::Server,
    upstream::Upstream,
};

const REPOSITORY: &str = "library/api";

struct Fixture {
    _upstream: Upstream,
    server: Server,
    image: Image,
}

/// A server whose upstream has one image.
fn fixture() -> Fixture {
    let (upstream, image) = (Upstream::plain(), Image::of_size(Format::Oci, 1, 100_000));
    upstream.add(REPOSITORY, "latest", &image);
    let server = Server::mirroring(&upstream);
    Fixture { _upstream: upstream, server, image }
}

/// `GET /v2/` is 200 without a challenge: dockerd would send its user's Hub password to a mirror that challenges.
#[test]
fn the_ping_is_open() {
    let fixture = fixture();
    for request in [http::get(&fixture.server.v2("")), http::head(&fixture.server.v2(""))] {
        let response = request.send();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("docker-distribution-api-version"), Some("registry/2.0"));
        assert_eq!(response.header("www-authenticate"), None);
    }
}

/// The headers of every manifest, cold and warm, by GET and by HEAD.
#[test]
fn a_manifest_has_its_headers() {
    let Fixture { server, image, _upstream } = fixture();
    let url = server.v2(&format!("{REPOSITORY}/manifests/latest"));
    for (what, request) in [("cold HEAD", http::head(&url)), ("GET", http::get(&url)), ("warm HEAD", http::head(&url))]
    {
        let response = request.header("Accept", Format::Oci.manifest()).header("Accept-Encoding", "gzip").send();
        assert_eq!(response.status, 200, "{what}");
        for (name, value) in [
            ("content-type", Format::Oci.manifest()),
            ("docker-content-digest", image.digest()),
            ("etag", &format!("\"{}\"", image.digest())),
            ("content-length", &image.top.bytes.len().to_string()),
            ("docker-distribution-api-version", "registry/2.0"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(response.header(name), Some(value), "{what}: {name}");
        }
        assert_eq!(response.header("content-encoding"), None, "{what}");
        let body = response.body().bytes;
        assert!(what.ends_with("HEAD") || body == image.top.bytes, "{what}: the stored bytes");
    }
    let without_accept = http::head(&server.v2(&format!("{REPOSITORY}/manifests/{}", image.digest()))).send();
    assert_eq!((without_accept.status, without_accept.header("content-type")), (200, Some(Format::Oci.manifest())));
}

/// dockerd sends several `Accept` lines.
#[test]
fn several_accept_lines_are_one_list() {
    let Fixture { server, image, _upstream } = fixture();
    let request = http::get(&server.v2(&format!("{REPOSITORY}/manifests/latest")));
    let request = request.header("Accept", Format::Docker.manifest()).header("Accept", Format::Oci.manifest());
    assert_eq!(request.send().summary().digest, image.digest());
}

/// The headers of every blob.
#[test]
fn a_blob_has_its_headers() {
    let Fixture { server, image, _upstream } = fixture();
    let layer = image.layer();
    for what in ["cold", "warm"] {
        let response = server.blob(REPOSITORY, &layer.digest).header("Accept-Encoding", "gzip, zstd").send();
        assert_eq!(response.status, 200, "{what}");
        for (name, value) in [
            ("content-length", layer.len().to_string().as_str()),
            ("docker-content-digest", &layer.digest),
            ("etag", &format!("\"{}\"", layer.digest)),
            ("accept-ranges", "bytes"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(response.header(name), Some(value), "{what}: {name}");
        }
        assert_eq!(response.header("content-encoding"), None, "{what}");
        assert_eq!(response.body().bytes, layer.bytes, "{what}");
    }
    let head = http::head(&server.v2(&format!("{REPOSITORY}/blobs/{}", layer.digest))).send();
    assert_eq!((head.status, head.length()), (200, Some(layer.len() as u64)));
    let etag = format!("\"{}\"", layer.digest);
    assert_eq!(server.blob(REPOSITORY, &layer.digest).header("If-None-Match", &etag).send().status, 304);
}

/// Ranges of a cached blob: `N-`, `a-b`, `-n`, past the end, and 416.
#[test]
fn ranges_are_served() {
    let Fixture { server, image, _upstream } = fixture();
    let layer = image.layer();
    server.blob(REPOSITORY, &layer.digest).send().summary();
    let size = layer.len();
    for (range, from, to) in [
        ("bytes=0-".to_owned(), 0, size),
        ("bytes=5000-".to_owned(), 5000, size),
        ("bytes=10-19".to_owned(), 10, 20),
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=-7".to_owned(), size - 7, size),
        (format!("bytes=-{}", size + 5), 0, size),
        (format!("bytes=100-{}", size + 5), 100, size),
    ] {
        let response = server.blob(REPOSITORY, &layer.digest).header("Range", &range).send();
        let wanted = format!("bytes {from}-{}/{size}", to - 1);
        assert_eq!((response.status, response.header("content-range")), (206, Some(wanted.as_str())), "{range}");
        let body = response.body();
        assert_eq!(body.end, BodyEnd::Complete, "{range}");
        assert!(body.bytes == layer.bytes[from..to], "{range}");
    }
    for range in [format!("bytes={size}-"), "bytes=-0".to_owned()] {
        let response = server.blob(REPOSITORY, &layer.digest).header("Range", &range).send();
        let wanted = format!("bytes */{size}");
        assert_eq!((response.status, response.header("content-range")), (416, Some(wanted.as_str())), "{range}");
    }
    for nonsense in ["bytes=x-", "lines=1-2", "bytes=9-3"] {
        let response = server.blob(REPOSITORY, &layer.digest).header("Range", nonsense).send();
        assert!([200, 416].contains(&response.status), "{nonsense}: {}", response.status);
    }
    let other = server.blob(REPOSITORY, &layer.digest).header("Range", "bytes=5-").header("If-Range", "\"other\"");
    assert_eq!(other.send().status, 200, "If-Range of something else");
}

/// A server with `proxy.remoteurl` and without `proxy.push` takes no pushes: a cache that is open because it is
/// read-only stays so.
#[test]
fn a_configured_mirror_takes_no_pushes() {
    let Fixture { server, image, _upstream } = fixture();
    for (method, path) in [
        ("POST", format!("{REPOSITORY}/blobs/uploads/")),
        ("POST", format!("{REPOSITORY}/blobs/uploads/?digest={}", image.digest())),
        ("PATCH", format!("{REPOSITORY}/blobs/uploads/123")),
        ("PUT", format!("{REPOSITORY}/blobs/uploads/123?digest={}", image.digest())),
        ("PUT", format!("{REPOSITORY}/manifests/latest")),
        ("DELETE", format!("{REPOSITORY}/manifests/latest")),
        ("DELETE", format!("{REPOSITORY}/blobs/{}", image.layer().digest)),
    ] {
        let response = http::Request::new(method, &server.v2(&path)).send();
        assert_eq!(response.status, 403, "{method} {path}");
        assert_eq!(response.error_code(), "DENIED", "{method} {path}");
    }
}

/// Invalid names, tags and digests are refused with the specification's codes, and the upstream is not asked.
#[test]
fn impossible_names_are_refused() {
    let Fixture { server, image, _upstream: upstream } = fixture();
    let digest = &image.layer().digest;
    for (path, codes) in [
        ("UPPER/case/manifests/latest".to_owned(), &["NAME_INVALID"][..]),
        ("a..b/manifests/latest".to_owned(), &["NAME_INVALID"]),
        ("-a/tags/list".to_owned(), &["NAME_INVALID"]),
        (format!("a_-_b/blobs/{digest}"), &["NAME_INVALID"]),
        (format!("{}/manifests/latest", "a/".repeat(200) + "a"), &["NAME_INVALID"]),
        (format!("{REPOSITORY}/blobs/sha256:123"), &["DIGEST_INVALID"]),
        (format!("{REPOSITORY}/blobs/nonsense"), &["DIGEST_INVALID"]),
        (format!("{REPOSITORY}/blobs/{}", digest.to_uppercase()), &["DIGEST_INVALID"]),
        (format!("{REPOSITORY}/manifests/sha256:123"), &["DIGEST_INVALID", "MANIFEST_INVALID", "TAG_INVALID"]),
        (format!("{REPOSITORY}/manifests/.dot"), &["MANIFEST_INVALID", "TAG_INVALID", "MANIFEST_UNKNOWN"]),
        (
            format!("{REPOSITORY}/manifests/{}", "x".repeat(129)),
            &["MANIFEST_INVALID", "TAG_INVALID", "MANIFEST_UNKNOWN"],
        ),
        (format!("{REPOSITORY}/referrers/latest"), &["DIGEST_INVALID"]),
    ] {
        let response = http::get(&server.v2(&path)).send();
        assert!([400, 404].contains(&response.status), "{path}: {}", response.status);
        let code = response.error_code();
        assert!(codes.contains(&code.as_str()), "{path}: {code}");
    }
    assert_eq!(upstream.requests().len(), 0, "nobody was asked");
}

/// Paths that would leave the data directory, in spellings that no client library sends.
#[test]
fn paths_do_not_climb() {
    let fixture = fixture();
    for target in [
        "/v2/../../../etc/passwd",
        "/v2/library/../../../../etc/manifests/passwd",
        "/v2/library//api/manifests/latest",
        "/v2/library/api/manifests/..%2f..%2fetc",
        "/v2/%2e%2e/%2e%2e/manifests/latest",
        "/v2/library%2Fapi/manifests/latest%00",
        "/v2",
        "/",
        "/v2/library/api",
        "/v2/_catalog/nowhere",
    ] {
        let response = http::get(fixture.server.url()).send_target(target);
        assert!(
            (300..500).contains(&response.status) || (target == "/" || target == "/v2"),
            "{target}: {}",
            response.status
        );
        assert!(response.status < 500, "{target}: {}", response.status);
        assert!(!response.text().contains("root:"), "{target}");
    }
}
