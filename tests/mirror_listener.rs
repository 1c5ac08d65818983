//! The mirror listener, and addresses that no listener lets a client reach.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::support::{
    clients::{self, Pulled},
    egress_trap::EgressTrap,
    hash::sha256,
    http::{self, Request},
    images::{Format, Image},
    network, scratch,
    server::{ACCEPT, Server, Setup},
    tap::Tap,
    uploads::{self, OCTETS},
    upstream::{Auth, Fault, Kind, Rule, Settings, Upstream},
    users::{Users, password},
    wait_until,
};

const SOON: Duration = Duration::from_secs(30);
const USER: &str = "hub-user";
const PASSWORD: &str = "the-hubs-own-password";

fn with_mirror_listener(setup: Setup) -> Setup {
    setup.variable("REGISTRY_HTTP_MIRROR_ADDR", "127.0.0.1:0").variable("REGISTRY_LOG_LEVEL", "debug")
}

fn ask(method: &str, listener: &str, path: &str) -> Request {
    Request::new(method, &format!("{listener}/v2/{path}")).header("Accept", ACCEPT)
}

/// A dockerd whose user is logged in to the Hub pulls from the mirror listener although the main one requires
/// authentication. It is never challenged, so it never sends the password, and nothing of it is in the log or at the
/// upstream.
#[test]
fn dockerd_with_a_login_pulls_through_the_mirror_listener() {
    let upstream = Settings::default().auth(Auth::anonymous()).start();
    let image = Image::index(Format::Docker, 401, 3_000_000);
    upstream.add("library/ubuntu", "18.04", &image);
    let empty = scratch::dir("users");
    let server = with_mirror_listener(Setup::mirroring(&upstream.url()))
        .variable("REGISTRY_AUTH_HTPASSWD_REALM", "here")
        .variable("REGISTRY_AUTH_HTPASSWD_PATH", empty.path().to_str().unwrap())
        .start();
    assert_eq!(http::get(&server.v2("")).send().status, 401, "the main listener is shut");
    let (tap, trap) = (Tap::before(&server.mirror_url()), EgressTrap::new());
    let docker = clients::docker_with_login(&tap.url(), &trap, USER, PASSWORD);
    let wanted = Pulled { digest: image.digest().to_owned(), config: image.config.clone() };
    assert_eq!(docker.pull("library/ubuntu:18.04"), wanted);
    assert_eq!(trap.breaches(), [""; 0], "it did not leave the mirror");
    let (asked, answered) = (tap.asked(), tap.answered());
    assert!(asked.contains("get /v2/") && answered.contains("http/1.1 200"), "it went through the tap");
    assert!(!answered.contains("www-authenticate") && !answered.contains("http/1.1 401"), "it was challenged");
    assert!(!asked.contains("authorization:"), "it sent the password");
    assert_nothing_leaked(&server, &upstream);
}

fn assert_nothing_leaked(server: &Server, upstream: &Upstream) {
    let basic = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for secret in [PASSWORD, &basic] {
        assert!(!server.log().contains(secret), "{secret} in the log");
        assert!(upstream.requests().iter().all(|recorded| !format!("{:?}", recorded.request).contains(secret)));
    }
}

/// A client that sends credentials all the same is served like any other: the mirror listener does not check them, even
/// if the main one does.
#[test]
fn credentials_are_not_looked_at() {
    let upstream = Upstream::plain();
    let image = Image::single(Format::Oci, 402);
    upstream.add("library/app", "1", &image);
    let users = Users::named(&["ann"]);
    let server = users.alone(with_mirror_listener(Setup::mirroring(&upstream.url()))).start();
    let listener = server.mirror_url();
    let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let right = uploads::basic("ann", &password("ann"));
    let others = ["Bearer the-hubs-own-password", "Digest x", "nonsense the-hubs-own-password", right.as_str()];
    for authorization in others.into_iter().chain([basic.as_str()]) {
        for path in ["", "library/app/manifests/1", &format!("library/app/blobs/{}", image.layer().digest)] {
            let response = ask("GET", &listener, path).header("Authorization", authorization).send();
            assert_eq!((response.status, response.header("www-authenticate")), (200, None), "{path}");
        }
    }
    let main = http::get(&server.v2("")).header("Authorization", &basic).send();
    assert_eq!(main.status, 401);
    wait_until("the one login", SOON, || server.log().contains("\"action\":\"login\""));
    assert_eq!(server.log().matches("\"action\":\"login\"").count(), 1, "at the main listener");
    assert_nothing_leaked(&server, &upstream);
}

/// Every request except GET and HEAD is UNSUPPORTED there, on any path.
#[test]
fn the_mirror_listener_is_read_only() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Oci, 403));
    let server = with_mirror_listener(Setup::both(&upstream.url())).start();
    let (listener, digest) = (server.mirror_url(), image.layer().digest.clone());
    let session = server.target().request("POST", "team/app/blobs/uploads/").send();
    let session = server.target().follow(&session).rsplit('/').next().unwrap().to_owned();
    let paths = [
        String::new(),
        "_catalog".into(),
        "team/app/blobs/uploads/".into(),
        format!("team/app/blobs/uploads/?mount={digest}&from=library/app"),
        format!("team/app/blobs/uploads/{session}?digest={digest}"),
        "team/app/manifests/1".into(),
        format!("team/app/blobs/{digest}"),
        "team/app/tags/list".into(),
        "elsewhere".into(),
    ];
    for path in paths {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let refused = ask(method, &listener, &path).body(OCTETS, b"x").send();
            assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")), "{method} {path}");
            assert_eq!(refused.error_code(), "UNSUPPORTED", "{method} {path}");
        }
    }
    assert_eq!(ask("GET", &listener, &format!("team/app/blobs/uploads/{session}")).send().status, 404);
    let asked = upstream.requests();
    assert!(
        asked.iter().all(|each| each.kind == Kind::Tags),
        "nothing was asked for it but whose the name is: {asked:?}"
    );
}

/// Pushed content is not served there, by any name; mirrored content is not listed.
#[test]
fn the_mirror_listener_serves_nothing_hosted() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Oci, 404));
    let same = Image::single(Format::Oci, 405);
    let server = with_mirror_listener(Setup::both(&upstream.url()))
        .hosted("[ours/**]")
        .variable("REGISTRY_HTTP_NAMES", "here.example");
    let server = server.start();
    let listener = server.mirror_url();
    for name in ["ours/app", "team/app", "both/app"] {
        server.target().image(name, "1", &image);
    }
    upstream.add("both/app", "1", &same);
    for path in ["manifests/1", &format!("manifests/{}", image.digest()), &format!("blobs/{}", image.layer().digest)] {
        for method in ["GET", "HEAD"] {
            let refused = ask(method, &listener, &format!("ours/app/{path}")).send();
            assert_eq!(refused.status, 404, "{method} {path}");
            let blob = ask(method, &listener, &format!("team/app/{path}")).send();
            assert_eq!(blob.status, 404, "{method} {path}: the upstream has no such thing");
        }
        assert_eq!(ask("GET", &listener, &format!("ours/app/{path}")).send().error_code(), "NAME_UNKNOWN");
        assert_eq!(
            ask("GET", &listener, &format!("ours/app/{path}?ns=here.example")).send().error_code(),
            "NAME_UNKNOWN"
        );
    }
    for path in
        ["ours/app/tags/list", &format!("ours/app/referrers/{}", image.digest()), "_catalog", "_catalog?ns=docker.io"]
    {
        assert_eq!(ask("GET", &listener, path).send().error_code(), "NAME_UNKNOWN", "{path}");
    }
    let asked = upstream.requests();
    assert!(
        asked.iter().all(|recorded| !recorded.request.path.contains("/ours/")),
        "a hosted name was told the upstream"
    );
    // One name, hosted and mirrored: each listener serves its own.
    let digest = |url: &str| {
        sha256(&http::get(&format!("{url}/v2/both/app/manifests/1")).header("Accept", ACCEPT).send().body().bytes)
    };
    assert_eq!((digest(&listener).as_str(), digest(server.url()).as_str()), (same.digest(), image.digest()));
}

/// A blob that is here because it was pushed is served as mirrored only if the upstream has it.
#[test]
fn the_mirror_listener_serves_no_pushed_bytes() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Oci, 406));
    let server = with_mirror_listener(Setup::both(&upstream.url())).start();
    server.target().image("team/secret", "1", &image);
    let listener = server.mirror_url();
    let path = format!("library/other/blobs/{}", image.layer().digest);
    for method in ["GET", "HEAD"] {
        assert_eq!(ask(method, &listener, &path).send().status, 404, "{method}");
    }
    upstream.add_blob("library/other", image.layer());
    assert_eq!(ask("GET", &listener, &path).send().summary().digest, image.layer().digest);
}

/// No request makes the server connect to a host of the client's choice.
#[test]
fn no_request_reaches_another_host() {
    let (upstream, witness) = (Upstream::plain(), EgressTrap::new());
    let image = Image::single(Format::Oci, 407);
    upstream.add("library/app", "1", &image);
    let server = with_mirror_listener(Setup::both(&upstream.url())).start();
    let other = witness.url().strip_prefix("http://").unwrap().to_owned();
    let digest = &image.layer().digest;
    for listener in [server.url().to_owned(), server.mirror_url()] {
        for ns in [
            other.clone(),
            format!("http://{other}"),
            format!("docker.io@{other}"),
            format!("{other}/x"),
            "localhost".into(),
        ] {
            for path in ["library/app/manifests/1", "library/app/tags/list", &format!("library/app/blobs/{digest}")] {
                let response = ask("GET", &listener, &format!("{path}?ns={ns}")).send();
                assert_eq!(response.status, 404, "{ns} {path}");
                let code = response.error_code();
                // On the main listener a local name is this registry itself, which has nothing of that name.
                let is_itself = listener == server.url() && (ns == other || ns == "localhost");
                assert!(code == "NAME_UNKNOWN" || is_itself, "{ns} {path}: {code}");
            }
        }
        for header in ["Host", "X-Forwarded-Host", "X-Forwarded-For", "Forwarded", "Referer"] {
            let value = if header == "Forwarded" { format!("host={other};for={other}") } else { other.clone() };
            let response = ask("GET", &listener, "library/app/manifests/1").header(header, &value).send();
            assert!([200, 400].contains(&response.status), "{header}: {}", response.status);
        }
        let absolute = format!("{}/v2/library/app/manifests/1", witness.url());
        http::get(&listener).header("Accept", ACCEPT).send_target(&absolute);
    }
    for from in [
        other.clone(),
        format!("{other}/library/app"),
        format!("{}/library/app", witness.url()),
        format!("library/app?ns={other}"),
    ] {
        let response = server.target().mount("team/app", digest, Some(&from));
        assert!([202, 400].contains(&response.status), "{from}: {}", response.status);
    }
    assert_eq!(witness.breaches(), [""; 0]);
}

/// Nor does an upstream, unless it is private itself: a redirect or a token service at an address that only this
/// machine, or its cloud, can reach is refused without a connection.
#[test]
fn no_upstream_leads_to_private_addresses() {
    network::on_its_own("mirror_listener::no_upstream_leads_to_private_addresses", || {
        let (upstream, witness) = (Settings::default().everywhere().start(), EgressTrap::everywhere());
        let image = Image::single(Format::Oci, 408);
        upstream.add("library/app", "1", &image);
        let path = format!("library/app/blobs/{}", image.layer().digest);
        let [(own, _), others @ ..] = network::NAMES;
        let mirroring = || Setup::mirroring(&upstream.url_at(own));
        // The upstream's own domain is asked for tokens at any address of it; bare addresses and other domains are not.
        let here = ["127.0.0.1", "127.8.8.8", "localhost", "[::1]", "0.0.0.0"];
        for address in network::INSIDE.into_iter().chain(here).chain(others.map(|(name, _)| name)) {
            let target = format!("http://{address}:{}/latest/meta-data", witness.port());
            let server = with_mirror_listener(mirroring()).start();
            let blob = || ask("GET", &server.mirror_url(), &path).patience(SOON).send().status;
            upstream.fault(Rule::on(Kind::Blob, Fault::StatusWith(307, "Location", target.clone())));
            assert_eq!(blob(), 502, "{target}");
            upstream.heal();
            let challenge = format!("Bearer realm=\"{target}\",service=\"x\"");
            upstream.fault(Rule::on_all(Fault::StatusWith(401, "WWW-Authenticate", challenge)));
            assert_eq!(blob(), 502, "{target}");
            upstream.heal();
            assert_eq!(witness.breaches(), [""; 0], "{address} was asked");
            // It exists, and is asked if the operator allows it.
            let server =
                with_mirror_listener(mirroring().variable("REGISTRY_PROXY_REDIRECTS", &format!("['{address}']")))
                    .start();
            upstream.fault(Rule::on(Kind::Blob, Fault::StatusWith(307, "Location", target)));
            ask("GET", &server.mirror_url(), &path).patience(SOON).send();
            upstream.heal();
            assert!(witness.take_breaches().contains(&"GET /latest/meta-data HTTP/1.1".to_owned()), "{address}");
        }
    });
}

/// A token service on another domain is asked only if `proxy.realm` names it; then it gets the password.
#[test]
fn a_realm_that_is_named_gets_the_password() {
    let service = Settings::default().auth(Auth::basic(USER, PASSWORD)).start();
    let elsewhere = service.url().replace("127.0.0.1", "localhost");
    let asked = |named: bool| {
        let upstream = Upstream::plain();
        let challenge =
            format!("Bearer realm=\"{elsewhere}/token\",service=\"x\",scope=\"repository:library/app:pull\"");
        upstream.fault(Rule::on_all(Fault::StatusWith(401, "WWW-Authenticate", challenge)));
        let setup = Setup::mirroring(&upstream.url())
            .variable("REGISTRY_PROXY_USERNAME", USER)
            .variable("REGISTRY_PROXY_PASSWORD", PASSWORD);
        let setup = if named { setup.variable("REGISTRY_PROXY_REALM", &elsewhere) } else { setup };
        let server = setup.start();
        let before = service.requests().len();
        server.manifest("library/app", "1").send();
        service.requests().split_off(before).iter().map(|recorded| recorded.request.basic()).collect::<Vec<_>>()
    };
    assert!(asked(true).contains(&Some((USER.to_owned(), PASSWORD.to_owned()))));
    assert_eq!(asked(false), []);
}

/// A mirror listener without a mirror is an error at the start; so is an address in use.
#[test]
fn a_mirror_listener_without_a_mirror_is_refused() {
    let outcome = with_mirror_listener(Setup::hosting()).run();
    assert_eq!(outcome.status.code(), Some(2));
    assert!(
        outcome.output.contains("http.mirror.addr") && outcome.output.contains("proxy.enabled"),
        "{}",
        outcome.output
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let outcome = Setup::mirroring("http://127.0.0.1:1").variable("REGISTRY_HTTP_MIRROR_ADDR", &address).run();
    assert_eq!(outcome.status.code(), Some(2));
    assert!(outcome.output.contains("http.mirror.addr is"), "{}", outcome.output);
}
