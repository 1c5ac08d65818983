//! An external token service (`auth.token`, as in `registry:2`): its tokens are accepted, and no others.

use serde_json::json;

use crate::{
    access_clients::outside,
    access_tokens::{challenge, claims, forgeries, part},
    support::{
        http,
        images::{Format, Image},
        scratch,
        server::Setup,
        token_service::TokenService,
        uploads::Target,
    },
};

/// `registry:2`'s `auth.token`: the rights in the service's tokens hold, and no others.
#[test]
fn an_outside_service_decides() {
    let dir = scratch::dir("outside");
    let service = TokenService::start(dir.path());
    let server = outside(Setup::hosting(), &service).start();
    let (image, scope) = (Image::single(Format::Oci, 713), "repository:team/app:pull,push");
    let refused = server.target().request("POST", "team/app/blobs/uploads/").send();
    assert_eq!(part(&refused, "realm"), Some(service.realm()));
    assert_eq!(
        (part(&refused, "service").as_deref(), part(&refused, "scope").as_deref()),
        (Some("registry.test"), Some(scope))
    );
    assert_eq!(part(&http::get(&server.v2("")).send(), "scope"), None);
    let push = Target::with_token(server.url(), &service.push_token("team/app"));
    push.image("team/app", "1", &image);
    assert_eq!(push.request("GET", "").send().status, 200);
    for (method, path) in [("GET", "team/other/manifests/1"), ("DELETE", "team/app/manifests/1"), ("GET", "_catalog")] {
        assert_eq!(part(&push.request(method, path).send(), "error").as_deref(), Some("insufficient_scope"), "{path}");
    }
    let alone = json!([{ "type": "repository", "name": "team/app", "actions": ["push"] }]);
    let alone = Target::with_token(server.url(), &service.sign(&alone, &json!({})));
    assert_eq!(alone.request("POST", "team/app/blobs/uploads/").send().status, 401, "a push takes both");
    let all = json!([{ "type": "registry", "name": "catalog", "actions": ["*"] }, { "type": "repository", "name": "team/app", "actions": ["*"] }]);
    let all = Target::with_token(server.url(), &service.sign(&all, &json!({})));
    assert_eq!(all.json("_catalog")["repositories"], json!(["team/app"]));
    assert_eq!(all.delete("team/app/manifests/1"), 202);
    let basic = server.target().as_user("ann", "pw-of-ann").request("GET", "").send();
    assert_eq!(challenge(&basic).len(), 2, "no password is good here");
}

/// A token with a wrong issuer, audience, time or signature is refused.
#[test]
fn what_the_outside_service_did_not_make_is_none() {
    let dir = scratch::dir("outside");
    let service = TokenService::start(dir.path());
    let server = outside(Setup::hosting(), &service).start();
    let access = json!([{ "type": "repository", "name": "team/app", "actions": ["pull", "push"] }]);
    let status = |token: &str| Target::with_token(server.url(), token).request("GET", "").send().status;
    let now = claims(&service.push_token("a"))["iat"].as_u64().unwrap();
    for (other, wanted) in [
        (json!({}), 200),
        (json!({ "aud": ["another", "registry.test"] }), 200),
        (json!({ "exp": now - 30 }), 200),
        (json!({ "nbf": now + 30 }), 200),
        (json!({ "iss": "another" }), 401),
        (json!({ "aud": "another" }), 401),
        (json!({ "aud": [] }), 401),
        (json!({ "exp": now - 90 }), 401),
        (json!({ "nbf": now + 600 }), 401),
        (json!({ "exp": null }), 401),
        (json!({ "iss": null }), 401),
        (json!({ "aud": null }), 401),
        (json!({ "exp": "soon" }), 401),
    ] {
        assert_eq!(status(&service.sign(&access, &other)), wanted, "{other}");
    }
    let good = service.push_token("team/app");
    let certificate = std::fs::read(&service.certificate).unwrap();
    for forged in forgeries(&good, &claims(&good), Some(&certificate)) {
        if !forged.ends_with(good.rsplit('.').next().unwrap()) || claims(&forged) != claims(&good) {
            assert_eq!(status(&forged), 401, "{forged}");
        }
    }
}

/// The challenge names the service on the host that the client used.
#[test]
fn an_outside_service_beside_us_is_found_by_our_name() {
    let dir = scratch::dir("outside");
    let service = TokenService::start(dir.path());
    let setup = outside(Setup::hosting(), &service);
    let server = setup.variable("REGISTRY_AUTH_TOKEN_AUTOREDIRECT", "true").start();
    assert_eq!(part(&http::get(&server.v2("")).send(), "realm"), Some(format!("{}/auth/token/", server.url())));
}

#[test]
fn a_token_service_without_keys_stops_the_start() {
    let dir = scratch::dir("outside");
    let service = TokenService::start(dir.path());
    for text in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&service.certificate, text).unwrap();
        let outcome = outside(Setup::hosting(), &service).run();
        assert_eq!(outcome.status.code(), Some(2), "{}", outcome.output);
        assert!(outcome.output.contains("no token could be believed by this file"), "{}", outcome.output);
    }
    std::fs::remove_file(&service.certificate).unwrap();
    assert_eq!(outside(Setup::hosting(), &service).run().status.code(), Some(2));
}
