//! The page for browsers: what it shows to whom, and the headers that keep browsers safe.

use std::time::Duration;

use crate::support::{
    http::{self, Response},
    images::{Blob, Format, Image},
    server::{Server, Setup},
    upstream::Upstream,
    users::{Users, password},
    wait_until,
};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn page(server: &Server, path: &str) -> http::Request {
    http::get(&format!("{}{path}", server.url())).header("Accept", BROWSER)
}

fn shown(response: Response) -> String {
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = response.header("content-security-policy").unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    response.text()
}

/// Probes get what registry:2 answers at the root; only a browser gets the page.
#[test]
fn the_root_is_a_page_for_browsers_alone() {
    let server = Setup::hosting().start();
    for accept in ["*/*", "application/json"] {
        let response = http::get(server.url()).header("Accept", accept).send();
        assert_eq!((response.status, response.header("content-type").map(ToOwned::to_owned)), (200, None));
        assert_eq!(response.text(), "");
    }
    let root = shown(page(&server, "/").send());
    assert!(root.contains("<h1>Overview</h1>"), "{root}");
    assert_eq!(shown(page(&server, "/ui").send()).len(), root.len());
    let style = http::get(&format!("{}/ui/style.css", server.url())).send();
    assert_eq!(style.header("content-type"), Some("text/css; charset=utf-8"));
}

/// The overview has the figures of the metrics, and tells of evictions.
#[test]
fn the_overview_tells_what_is_stored_and_what_was_evicted() {
    let upstream = Upstream::plain();
    let mut server = Setup::both(&upstream.url()).quota("40MB").lease("0s").start();
    server.target().image("team/app", "1", &Image::single(Format::Oci, 7));
    for seed in 0..4 {
        let blob = Blob::noise(seed, 9_000_000);
        upstream.add_blob("library/base", &blob);
        assert_eq!(server.blob("library/base", &blob.digest).send().summary().digest, blob.digest);
    }
    let overview = shown(page(&server, "/").send());
    assert!(overview.contains("of 40.0 MB (storage.quota)"), "{overview}");
    assert!(overview.contains("evicted, to make room"), "{overview}");
    assert!(overview.contains("docker.io/library/base"), "{overview}");
    assert!(overview.contains(r#"<th scope="row">docker.io</th><td>reachable</td>"#), "{overview}");
    // Activity is recorded at the end, too, and outlives a restart.
    server.stop();
    server.restart();
    wait_until("the charts to have the pulls", Duration::from_secs(20), || {
        shown(page(&server, "/?period=hour").send()).contains("0 % of 4 requests answered from the cache")
    });
}

/// A user sees what it may pull; totals and upstreams are for those who may pull everything.
#[test]
fn the_page_shows_what_its_user_may_pull() {
    let upstream = Upstream::plain();
    let users = Users::named(&["ann", "root"]);
    let rules =
        "access: [{who: ann, may: [pull], where: 'team/*'}, {who: root, may: [pull, push, delete], where: '**'}]";
    let server = users.with(Setup::both(&upstream.url()).quota("40MB").lease("0s"), rules).start();
    let response = page(&server, "/").send();
    assert_eq!((response.status, response.header("www-authenticate")), (401, Some(r#"Basic realm="entrepot""#)));
    assert_eq!(http::get(server.url()).send().status, 200, "probes need no user");
    let target = |name: &str| server.target().as_user(name, &password(name));
    for seed in 0..4 {
        let blob = Blob::noise(seed, 9_000_000);
        upstream.add_blob("library/base", &blob);
        let path = format!("library/base/blobs/{}", blob.digest);
        assert_eq!(target("root").request("GET", &path).send().summary().digest, blob.digest);
    }
    let seen = |name: &str| shown(page(&server, "/").header("Authorization", target(name).authorization()).send());
    let (all, part) = (seen("root"), seen("ann"));
    assert!(all.contains("docker.io/library/base") && all.contains("(storage.quota)") && all.contains(">root<"));
    assert!(!part.contains("library/base") && !part.contains("storage.quota") && part.contains(">ann<"), "{part}");
}

/// The mirror listener is open to all who reach it, and has no page.
#[test]
fn the_mirror_listener_has_no_page() {
    let upstream = Upstream::plain();
    let server = Setup::both(&upstream.url()).variable("REGISTRY_HTTP_MIRROR_ADDR", "127.0.0.1:0").start();
    let response = http::get(&server.mirror_url()).header("Accept", BROWSER).send();
    assert_eq!((response.status, response.text().as_str()), (200, ""));
    let response = http::get(&format!("{}/ui", server.mirror_url())).header("Accept", BROWSER).send();
    assert_eq!(response.status, 404);
}
