//! Accepted spellings of paths, and requests that need no password: as in registry:2, for its users' scripts and
//! probes.

use serde_json::json;

use crate::support::{
    http::{self, Request, Response},
    images::{Format, Image},
    server::{Server, Setup},
    upstream::Upstream,
    users::{Users, password},
};

const REPOSITORY: &str = "team/app";

fn fixture(seed: u64) -> (Server, Image) {
    let (server, image) = (Setup::hosting().start(), Image::single(Format::Oci, seed));
    server.target().image(REPOSITORY, "1", &image);
    (server, image)
}

fn ask(server: &Server, method: &str, target: &str) -> Response {
    Request::new(method, server.url()).send_target(target)
}

/// `/` is 200 to every client, with users too, and for any prefix: charts and load balancers request it.
#[test]
fn the_root_asks_for_no_password() {
    let users = Users::named(&["ann"]);
    let upstream = Upstream::plain();
    let plain = Setup::hosting().variable("REGISTRY_HTTP_PREFIX", "/some/path/");
    let setups = [users.alone(Setup::hosting()), users.alone(plain), Setup::mirroring(&upstream.url())];
    for server in setups.map(Setup::start) {
        for method in ["GET", "HEAD"] {
            let root = ask(&server, method, "/");
            assert_eq!((root.status, root.header("www-authenticate")), (200, None), "{method}");
        }
        assert_eq!(ask(&server, "POST", "/").status, 405);
    }
    let server = users.alone(Setup::hosting()).start();
    assert_eq!(ask(&server, "GET", "/?x=/v2/_catalog").text(), "");
    for target in ["/v2/", "/v2/_catalog", "//v2/_catalog/.", "/elsewhere"] {
        assert_ne!(ask(&server, "GET", target).status, 200, "{target}");
    }
}

/// A preflight comes without the password that the browser would send next; it returns the methods of a path, for any
/// client, and nothing about its content.
#[test]
fn a_preflight_asks_for_no_password() {
    let users = Users::named(&["ann"]);
    let setup =
        Setup::hosting().variable("REGISTRY_HTTP_HEADERS", "{Access-Control-Allow-Origin: ['https://ui.test']}");
    let (server, image) = (users.alone(setup).start(), Image::single(Format::Oci, 860));
    server.target().as_user("ann", &password("ann")).image(REPOSITORY, "1", &image);
    for (path, allow) in [
        ("", "GET, HEAD"),
        ("_catalog", "GET, HEAD"),
        ("team/app/tags/list", "GET, HEAD"),
        ("team/app/manifests/1", "GET, HEAD, PUT, DELETE"),
        ("team/none/manifests/1", "GET, HEAD, PUT, DELETE"),
        ("team/app/blobs/uploads/", "POST"),
    ] {
        for request in [
            Request::new("OPTIONS", &server.v2(path)),
            Request::new("OPTIONS", &server.v2(path)).header("Authorization", "Basic bm9ib2R5OndpdGhvdXQ="),
        ] {
            let preflight = request.header("Origin", "https://ui.test").send();
            assert_eq!((preflight.status, preflight.header("allow")), (200, Some(allow)), "{path}");
            assert_eq!(preflight.header("access-control-allow-origin"), Some("https://ui.test"), "{path}");
            assert_eq!(preflight.header("www-authenticate"), None, "{path}");
            assert_eq!(preflight.text(), "", "{path}");
        }
    }
    assert_eq!(http::get(&server.v2("team/app/tags/list")).send().status, 401, "and everything else does");
}

/// Doubled slashes, dots and a slash at the end lead to the plain path, with the query kept.
#[test]
fn odd_slashes_lead_to_the_plain_path() {
    let (server, image) = fixture(861);
    let (digest, layer) = (image.digest(), &image.layer().digest);
    for (odd, plain) in [
        ("//v2/".to_owned(), "/v2/".to_owned()),
        ("//v2/team/app/tags/list".into(), "/v2/team/app/tags/list".into()),
        ("/v2/team/app/tags/list/".into(), "/v2/team/app/tags/list".into()),
        ("/v2/team//app/tags/list?n=5&last=a%2Fb".into(), "/v2/team/app/tags/list?n=5&last=a%2Fb".into()),
        ("/v2/_catalog/".into(), "/v2/_catalog".into()),
        ("/v2/./team/x/../app/manifests/1".into(), "/v2/team/app/manifests/1".into()),
        (format!("/v2/team/app/manifests/{digest}/"), format!("/v2/team/app/manifests/{digest}")),
        (format!("/v2//team/app/blobs/{layer}"), format!("/v2/team/app/blobs/{layer}")),
        (format!("/v2/team/app/referrers/{digest}/"), format!("/v2/team/app/referrers/{digest}")),
    ] {
        for method in ["GET", "HEAD"] {
            let moved = ask(&server, method, &odd);
            assert_eq!((moved.status, moved.header("location")), (301, Some(plain.as_str())), "{method} {odd}");
            assert_eq!(ask(&server, method, &plain).status, 200, "{method} {plain}");
        }
    }
    for plain in ["/v2", "/v2/", "/v2/team/app/blobs/uploads", "/v2/team/app/blobs/uploads/"] {
        let method = if plain.contains("uploads") { "POST" } else { "GET" };
        assert!([200, 202].contains(&ask(&server, method, plain).status), "{plain} is plain");
    }
}

/// An escaped slash is a slash: `owner%2Fimage` is `owner/image`, to pull and to push.
#[test]
fn an_escaped_slash_is_a_slash() {
    let (server, image) = fixture(862);
    for name in ["team%2Fapp", "team%2fapp"] {
        assert_eq!(ask(&server, "GET", &format!("/v2/{name}/tags/list")).json()["tags"], json!(["1"]), "{name}");
        let manifest = ask(&server, "GET", &format!("/v2/{name}/manifests/1"));
        assert_eq!(manifest.summary().digest, image.digest(), "{name}");
        let blob = ask(&server, "GET", &format!("/v2/{name}%2Fblobs%2F{}", image.layer().digest));
        assert_eq!(blob.summary().digest, image.layer().digest, "{name}");
        let post = ask(&server, "POST", &format!("/v2/{name}/blobs/uploads/"));
        assert!(
            post.status == 202 && post.header("location").unwrap().contains("/v2/team/app/blobs/uploads/"),
            "{name}"
        );
        let next = ask(&server, "GET", &format!("/v2/{name}/tags/list?n=0"));
        assert_eq!(next.status, 200, "{name}");
    }
    assert_eq!(ask(&server, "GET", "/v2/team%252Fapp/tags/list").status, 400, "one that is escaped twice is none");
}

/// A cache that takes no pushes lists its cached repositories, as registry:2 does; otherwise pushed ones are listed.
#[test]
fn the_catalog_of_a_cache_lists_what_is_cached() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Oci, 863));
    let names = ["library/a", "library/b", "org/c", "org/d"];
    names.iter().for_each(|name| upstream.add(name, "latest", &image));
    let cache = Setup::mirroring(&upstream.url()).start();
    assert_eq!(cache.target().json("_catalog"), json!({ "repositories": [] }));
    names.iter().for_each(|name| cache.pull(name, "latest", &image));
    assert_eq!(cache.target().json("_catalog"), json!({ "repositories": names }));
    for query in ["?n=1", "?n=2", "?n=3", "?n=1000"] {
        assert_eq!(cache.target().pages(&format!("_catalog{query}"), "repositories").0, names, "{query}");
    }
    assert_eq!(cache.target().json("_catalog?ns=localhost:5001")["repositories"], json!([]), "this registry's own");
    let both = Setup::both(&upstream.url()).start();
    both.pull("library/a", "latest", &image);
    both.target().image("team/app", "1", &image);
    assert_eq!(both.target().json("_catalog"), json!({ "repositories": ["team/app"] }));
}
