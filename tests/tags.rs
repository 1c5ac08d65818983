//! Tags, the upstream's responses about them, and the requests that a pull may cost. Failing upstreams are in `outage`.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use serde_json::json;

use crate::support::{
    http,
    images::{Format, Image},
    server::{Server, Setup},
    upstream::{Auth, Fault, Kind, Rule, Settings, Upstream},
};

pub(crate) const REPOSITORY: &str = "library/tags";

/// Just over the freshness of [`stale`].
pub(crate) const STALE: Duration = Duration::from_millis(1100);

pub(crate) fn upstream_with(image: &Image) -> Upstream {
    let upstream = Upstream::plain();
    upstream.add(REPOSITORY, "latest", image);
    upstream
}

/// A server that has the image, and whose tag is stale.
pub(crate) fn stale(upstream: &Upstream, image: &Image) -> Server {
    let server = Setup::mirroring(&upstream.url()).freshness("1s").start();
    server.pull(REPOSITORY, "latest", image);
    thread::sleep(STALE);
    server
}

pub(crate) fn cache_status(response: &http::Response) -> &str {
    let value = response.header("cache-status").unwrap_or_else(|| panic!("no Cache-Status on a {}", response.status));
    value.strip_prefix("entrepot").unwrap_or_else(|| panic!("not ours: {value}"))
}

/// 100 pulls of one cached tag by 20 threads: no counted request upstream, at most a handful of HEADs.
#[test]
fn a_hundred_pulls_cost_the_hub_nothing() {
    let image = Image::index(Format::Oci, 5, 100_000);
    let upstream = upstream_with(&image);
    let server = Server::mirroring(&upstream);
    server.pull(REPOSITORY, "latest", &image);
    let (counted, heads, left) = (upstream.counted(), upstream.count("HEAD", Kind::Manifest), AtomicUsize::new(100));
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                    server.pull(REPOSITORY, "latest", &image);
                }
            });
        }
    });
    assert_eq!(upstream.counted(), counted, "no counted request");
    assert!(upstream.count("HEAD", Kind::Manifest) <= heads + 5, "a handful of HEADs");
}

/// A cold pull is counted once for each manifest, for any number of concurrent requests for the tag.
#[test]
fn an_uncached_tag_is_fetched_once_for_all_requests() {
    let image = Image::single(Format::Docker, 50);
    let upstream = upstream_with(&image);
    upstream.fault(Rule::on(Kind::Manifest, Fault::Delay(Duration::from_millis(300))));
    let server = Server::mirroring(&upstream);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| server.pull(REPOSITORY, "latest", &image));
        }
    });
    assert_eq!(upstream.counted(), 1);
}

/// Stale: one HEAD upstream for any number of waiting requests, and no GET if the tag has not moved.
#[test]
fn a_stale_tag_costs_one_head_for_all_requests() {
    let image = Image::single(Format::Oci, 51);
    let upstream = upstream_with(&image);
    let server = stale(&upstream, &image);
    let (counted, heads) = (upstream.counted(), upstream.count("HEAD", Kind::Manifest));
    upstream.fault(Rule::on(Kind::Manifest, Fault::Delay(Duration::from_millis(400))));
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(server.manifest(REPOSITORY, "latest").send().status, 200));
        }
    });
    assert_eq!(upstream.counted(), counted);
    assert_eq!(upstream.count("HEAD", Kind::Manifest), heads + 1);
}

/// Stale and moved: the new one, for one GET.
#[test]
fn a_moved_tag_is_followed() {
    let (old, new) = (Image::single(Format::Oci, 52), Image::single(Format::Oci, 53));
    let upstream = upstream_with(&old);
    let server = stale(&upstream, &old);
    upstream.add(REPOSITORY, "latest", &new);
    let counted = upstream.counted();
    server.pull(REPOSITORY, "latest", &new);
    assert_eq!(upstream.counted(), counted + 1);
    server.pull(REPOSITORY, old.digest(), &old);
    assert_eq!(upstream.counted(), counted + 1, "the old one is still here by digest");
}

/// Digests are immutable: each is requested once, without a check of its existence.
#[test]
fn a_digest_is_asked_once() {
    let image = Image::index(Format::Oci, 54, 1000);
    let upstream = upstream_with(&image);
    let server = stale(&upstream, &image);
    let asked = upstream.requests().len();
    server.pull(REPOSITORY, image.digest(), &image);
    assert_eq!(upstream.requests().len(), asked);
}

/// 404 drops the tag, and is cached shortly; the tag's manifest is still here by digest.
#[test]
fn a_tag_that_is_gone_is_gone() {
    let image = Image::single(Format::Oci, 71);
    let upstream = upstream_with(&image);
    let server = stale(&upstream, &image);
    upstream.remove_tag(REPOSITORY, "latest");
    let response = server.manifest(REPOSITORY, "latest").send();
    assert_eq!((response.status, response.error_code().as_str()), (404, "MANIFEST_UNKNOWN"));
    server.pull(REPOSITORY, image.digest(), &image);
    let asked = upstream.count("HEAD", Kind::Manifest) + upstream.count("GET", Kind::Manifest);
    for _ in 0..10 {
        assert_eq!(server.manifest(REPOSITORY, "latest").send().status, 404);
    }
    let asked_more = upstream.count("HEAD", Kind::Manifest) + upstream.count("GET", Kind::Manifest) - asked;
    assert_eq!(asked_more, 0, "the 404 is remembered");
    upstream.stop();
    assert_ne!(server.manifest(REPOSITORY, "latest").send().status, 200, "the tag was dropped");
}

/// RFC 9211: the cache's result.
#[test]
fn cache_status_names_the_source() {
    let image = Image::single(Format::Oci, 73);
    let upstream = upstream_with(&image);
    let server = Setup::mirroring(&upstream.url()).freshness("1s").start();
    server.blob(REPOSITORY, &image.config).send().summary();
    let miss = server.manifest(REPOSITORY, "latest").send();
    assert!(cache_status(&miss).contains("fwd=") && cache_status(&miss).contains("stored"), "{}", cache_status(&miss));
    assert!(cache_status(&server.manifest(REPOSITORY, "latest").send()).contains("; hit"));
    let blob = server.blob(REPOSITORY, &image.layer().digest).send();
    assert!(cache_status(&blob).contains("fwd=miss"), "{}", cache_status(&blob));
    blob.summary();
    assert!(cache_status(&server.blob(REPOSITORY, &image.layer().digest).send()).contains("; hit"));
    upstream.stop();
    thread::sleep(STALE);
    assert!(cache_status(&server.manifest(REPOSITORY, "latest").send()).contains("fwd=stale"));
}

/// `If-None-Match` of the current value is 304; of any other, the manifest.
#[test]
fn an_unchanged_manifest_is_304() {
    let image = Image::single(Format::Oci, 74);
    let upstream = upstream_with(&image);
    let server = Server::mirroring(&upstream);
    let etag = server.manifest(REPOSITORY, "latest").send().header("etag").unwrap().to_owned();
    assert_eq!(etag, format!("\"{}\"", image.digest()));
    for reference in ["latest", image.digest()] {
        let response = server.manifest(REPOSITORY, reference).header("If-None-Match", &etag).send();
        assert_eq!((response.status, response.header("etag")), (304, Some(etag.as_str())));
        let response = server.manifest(REPOSITORY, reference).header("If-None-Match", "\"other\"").send();
        assert_eq!(response.status, 200);
    }
}

/// `tags/list` comes from upstream, page by page through this server, and from memory if the upstream cannot respond.
#[test]
fn tags_are_listed_through_the_mirror() {
    for absolute in [false, true] {
        let image = Image::single(Format::Oci, 75);
        let upstream = Upstream::plain();
        let tags = ["a", "b", "c", "d", "e"];
        tags.iter().for_each(|tag| upstream.add(REPOSITORY, tag, &image));
        upstream.options(|options| (options.page, options.absolute_links) = (Some(2), absolute));
        let server = Server::mirroring(&upstream);
        let first = format!("/v2/{REPOSITORY}/tags/list");
        assert_eq!(walk(&server, &upstream, first.clone()), tags);
        upstream.stop();
        assert_eq!(http::get(&format!("{}{first}", server.url())).send().json()["tags"], json!(["a", "b"]));
    }
}

/// Follows `Link` as a client would.
fn walk(server: &Server, upstream: &Upstream, mut path: String) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let response = http::get(&format!("{}{path}", server.url())).send();
        assert_eq!(response.status, 200, "{path}");
        let link = response.header("link").map(str::to_owned);
        let page = response.json();
        assert_eq!(page["name"], REPOSITORY);
        all.extend(page["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()));
        let Some(link) = link else { return all };
        assert!(!link.contains(&upstream.url()), "the link leads around the mirror: {link}");
        assert!(link.ends_with("; rel=\"next\""), "{link}");
        let target = link.split(['<', '>']).nth(1).unwrap();
        path = target.strip_prefix(server.url()).unwrap_or(target).to_owned();
    }
}

/// The upstream's response about an unknown repository.
#[test]
fn tags_of_an_unknown_repository_are_unknown() {
    let upstream = Upstream::plain();
    let server = Server::mirroring(&upstream);
    let response = http::get(&server.v2("library/nowhere/tags/list")).send();
    assert_eq!((response.status, response.error_code().as_str()), (404, "NAME_UNKNOWN"));
}

/// `?ns=` and the Hub's other names mean the same; an unlisted name is unknown, and no upstream is asked.
#[test]
fn the_hubs_names_are_one() {
    let image = Image::single(Format::Oci, 76);
    let upstream = upstream_with(&image);
    let server = Server::mirroring(&upstream);
    let at = |ns: &str| http::get(&server.v2(&format!("{REPOSITORY}/manifests/latest?ns={ns}"))).send();
    for ns in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
        assert_eq!(at(ns).summary().digest, image.digest(), "{ns}");
    }
    assert_eq!(upstream.counted(), 1, "one repository under all names");
    let asked = upstream.requests().len();
    let stranger = at("registry.example.net");
    assert!([400, 403, 404].contains(&stranger.status), "{}", stranger.status);
    stranger.error_code();
    let somewhere =
        http::get(&server.v2(&format!("{REPOSITORY}/blobs/{}?ns=registry.example.net", image.layer().digest)));
    assert!([400, 403, 404].contains(&somewhere.send().status));
    assert_eq!(upstream.requests().len(), asked);
}

/// Referrers and the tags cosign and oras use in their place pass through.
#[test]
fn referrers_pass_through() {
    let (image, signature) = (Image::single(Format::Oci, 77), Image::single(Format::Oci, 78));
    let upstream = upstream_with(&image);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": Format::Oci.index(),
        "manifests": [{
            "mediaType": Format::Oci.manifest(),
            "digest": signature.digest(),
            "size": signature.top.bytes.len(),
            "artifactType": "application/vnd.example.signature",
        }],
    });
    upstream.set_referrers(REPOSITORY, image.digest(), &index);
    let fallback = image.digest().replace(':', "-");
    upstream.add(REPOSITORY, &format!("{fallback}.sig"), &signature);
    let server = Server::mirroring(&upstream);
    let url = server.v2(&format!("{REPOSITORY}/referrers/{}", image.digest()));
    let response = http::get(&url).send();
    assert_eq!((response.status, response.header("content-type")), (200, Some(Format::Oci.index())));
    assert_eq!(response.json(), index);
    let asked = upstream.count("GET", Kind::Referrers);
    assert_eq!(http::get(&url).send().json(), index);
    assert_eq!(upstream.count("GET", Kind::Referrers), asked, "with a tag's freshness");
    server.pull(REPOSITORY, &format!("{fallback}.sig"), &signature);
}

/// The token is fetched once for any number of waiting requests, and once more after the upstream rejects it.
#[test]
fn a_token_is_fetched_once() {
    let image = Image::index(Format::Oci, 79, 1000);
    for auth in [Auth::anonymous(), Auth::anonymous().named_access_token().announced(None)] {
        let upstream = Settings::default().auth(auth).start();
        upstream.add(REPOSITORY, "latest", &image);
        let server = Setup::mirroring(&upstream.url()).freshness("1s").start();
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| server.pull(REPOSITORY, "latest", &image));
            }
        });
        assert_eq!(upstream.count("GET", Kind::Token), 1);
        upstream.revoke_tokens();
        let other = Image::single(Format::Oci, 790);
        upstream.add(REPOSITORY, "other", &other);
        server.pull(REPOSITORY, "other", &other);
        assert_eq!(upstream.count("GET", Kind::Token), 2);
    }
}

/// Tokens that live shorter than a pull: each 401 is met with a fresh one.
#[test]
fn an_expired_token_is_renewed() {
    let auth = Auth::anonymous().lifetime(Duration::from_millis(300));
    let (upstream, image) = (Settings::default().auth(auth).start(), Image::index(Format::Oci, 791, 1000));
    upstream.add(REPOSITORY, "latest", &image);
    let server = Server::mirroring(&upstream);
    assert_eq!(server.manifest(REPOSITORY, "latest").send().status, 200);
    thread::sleep(Duration::from_millis(400));
    server.pull(REPOSITORY, "latest", &image);
}

/// A repository that is 401 with a fresh token is 404 to the client; and no challenge reaches it.
#[test]
fn a_denied_repository_is_404_without_a_challenge() {
    let upstream = Settings::default().auth(Auth::anonymous()).start();
    upstream.options(|options| options.denied = ["someone/private".to_owned()].into());
    let server = Server::mirroring(&upstream);
    let response = server.manifest("someone/private", "latest").send();
    assert_eq!((response.status, response.header("www-authenticate")), (404, None));
    assert!(upstream.count("GET", Kind::Token) <= 2);
}

/// An upstream without digest headers and HEAD: the digest is computed here.
#[test]
fn an_upstream_without_digest_headers_is_mirrored() {
    let image = Image::index(Format::Oci, 792, 1000);
    let upstream = upstream_with(&image);
    upstream.options(|options| options.no_digest_header = true);
    upstream.fault(Rule::on(Kind::Manifest, Fault::Chunked).method("GET"));
    let server = Server::mirroring(&upstream);
    server.pull(REPOSITORY, "latest", &image);
    let response = server.manifest(REPOSITORY, "latest").send();
    assert_eq!(response.header("docker-content-digest"), Some(image.digest()));
}

/// A HEAD named a manifest that is gone at the GET: the tag still exists, and names another.
#[test]
fn a_tag_outlives_its_cached_digest() {
    let (image, newer) = (Image::single(Format::Oci, 93), Image::single(Format::Oci, 94));
    let upstream = upstream_with(&image);
    let server = Setup::mirroring(&upstream.url()).freshness("1h").start();
    assert_eq!(http::head(&server.v2(&format!("{REPOSITORY}/manifests/latest"))).send().status, 200);
    upstream.add(REPOSITORY, "latest", &newer);
    upstream.fault(Rule::on(Kind::Manifest, Fault::Status(404)).path(image.digest()));
    let served = server.manifest(REPOSITORY, "latest").send();
    assert_eq!((served.status, served.summary().digest.as_str()), (200, newer.digest()));
}
