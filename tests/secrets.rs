//! Credentials are sent only to their own registry and token service, and appear in no log.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::support::{
    images::{Format, Image},
    server::{Server, Setup, entrepot},
    upstream::{Auth, Cdn, Cut, Fault, Kind, Rule, Settings, Upstream},
};

const REPOSITORY: &str = "someone/secret";
const USER: &str = "hub-user";
const PASSWORD: &str = "correct-horse-battery-staple";

fn with_credentials(upstream: &Upstream, formatter: &str) -> Server {
    Setup::mirroring(&upstream.url())
        .variable("REGISTRY_PROXY_USERNAME", USER)
        .variable("REGISTRY_PROXY_PASSWORD", PASSWORD)
        .variable("REGISTRY_LOG_LEVEL", "debug")
        .variable("REGISTRY_LOG_FORMATTER", formatter)
        .start()
}

/// The secrets, and their encodings in transit.
fn secrets(upstream: &Upstream) -> Vec<String> {
    let basic = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    [PASSWORD.to_owned(), basic].into_iter().chain(upstream.tokens()).collect()
}

fn assert_log_keeps_quiet(server: &Server, upstream: &Upstream) {
    let log = server.log();
    assert!(log.to_lowercase().contains("debug"), "the log is at debug");
    for secret in secrets(upstream) {
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "a secret in the log");
    }
}

/// The access token and the password appear in no log line at `debug`, and in no request to the CDN.
#[test]
fn secrets_stay_out_of_the_log_and_the_cdn() {
    for formatter in ["text", "json"] {
        let cdn = Cdn::links_living(Duration::from_secs(60));
        let upstream = Settings::default().auth(Auth::basic(USER, PASSWORD)).cdn(cdn).start();
        let image = Image::index(Format::Oci, 9, 100_000);
        upstream.add(REPOSITORY, "latest", &image);
        let server = with_credentials(&upstream, formatter);
        server.pull(REPOSITORY, "latest", &image);
        assert!(!upstream.tokens().is_empty(), "a token was fetched with the credentials");
        assert_log_keeps_quiet(&server, &upstream);
        let requests = upstream.requests();
        let to_cdn: Vec<_> = requests.iter().filter(|recorded| recorded.kind == Kind::Cdn).collect();
        assert_eq!(to_cdn.len(), image.blobs.len(), "each blob came from the CDN");
        for recorded in to_cdn {
            let sent = format!("{:?}", recorded.request);
            assert_eq!(recorded.request.header("authorization"), None);
            assert!(!secrets(&upstream).iter().any(|secret| sent.contains(secret)), "a secret at the CDN: {sent}");
        }
    }
}

/// The same for failures: wrong password, errors, cuts; the signatures of links are secrets as well.
#[test]
fn secrets_stay_out_of_the_log_when_things_fail() {
    let cdn = Cdn::links_living(Duration::from_secs(60));
    let upstream = Settings::default().auth(Auth::basic(USER, PASSWORD)).cdn(cdn).start();
    let image = Image::single(Format::Oci, 90);
    upstream.add(REPOSITORY, "latest", &image);
    let server = with_credentials(&upstream, "text");
    for fault in [Fault::Status(500), Fault::Status(403), Fault::Raw(b"nonsense\r\n\r\n"), Fault::CutAfter(3, Cut::Rst)]
    {
        upstream.fault(Rule::on_all(fault));
        server.manifest(REPOSITORY, "latest").send().body();
        server.blob(REPOSITORY, &image.layer().digest).send().body();
        upstream.heal();
    }
    upstream.fault(Rule::on(Kind::Cdn, Fault::Status(500)));
    server.blob(REPOSITORY, &image.layer().digest).send().body();
    assert_log_keeps_quiet(&server, &upstream);
    assert!(!server.log().contains("presigned-"), "a link's signature in the log");
}

/// A wrong password is not the client's fault: it gets 404, and the log names the registry without the password.
#[test]
fn a_wrong_upstream_password_is_logged_only() {
    let upstream = Settings::default().auth(Auth::basic(USER, "another")).start();
    let server = with_credentials(&upstream, "text");
    let response = server.manifest(REPOSITORY, "latest").send();
    assert!([404, 502].contains(&response.status), "{}", response.status);
    let body = response.text();
    assert!(!body.contains(USER) && !body.contains(PASSWORD), "{body}");
    assert_log_keeps_quiet(&server, &upstream);
}

/// A realm on another domain than the upstream's gets no credentials and no request, for any challenge; the log names
/// the setting that would allow it.
#[test]
fn a_foreign_realm_gets_nothing() {
    let (upstream, stranger) = (Upstream::plain(), Settings::default().auth(Auth::anonymous()).start());
    let elsewhere = stranger.url().replace("127.0.0.1", "localhost");
    let challenge = format!("Bearer realm=\"{elsewhere}/token\",service=\"x\",scope=\"repository:{REPOSITORY}:pull\"");
    upstream.fault(Rule::on_all(Fault::StatusWith(401, "WWW-Authenticate", challenge)));
    let mut server = with_credentials(&upstream, "text");
    let response = server.manifest(REPOSITORY, "latest").send();
    assert!([404, 502].contains(&response.status), "{}", response.status);
    assert_eq!(stranger.requests().len(), 0);
    server.wait_for_log("set proxy.realm to it", Duration::from_secs(10));
    assert_log_keeps_quiet(&server, &stranger);
}

/// A registry that answers with a Basic challenge gets the password only if it is the upstream.
#[test]
fn a_redirected_manifest_takes_no_credentials_along() {
    let (upstream, stranger) = (Settings::default().auth(Auth::basic(USER, PASSWORD)).start(), Upstream::plain());
    let image = Image::single(Format::Oci, 91);
    stranger.add(REPOSITORY, "latest", &image);
    upstream.add(REPOSITORY, "latest", &image);
    let elsewhere = stranger.url().replace("127.0.0.1", "localhost");
    let location = format!("{elsewhere}/v2/{REPOSITORY}/manifests/latest");
    let server = with_credentials(&upstream, "text");
    server.blob(REPOSITORY, &image.layer().digest).send().summary();
    upstream.fault(Rule::on(Kind::Manifest, Fault::StatusWith(307, "Location", location)));
    server.manifest(REPOSITORY, "latest").send().body();
    assert!(!stranger.requests().is_empty(), "it went there");
    for recorded in stranger.requests() {
        assert_eq!(recorded.request.header("authorization"), None, "{:?}", recorded.request);
    }
}

/// A redirect in a circle, or to an invalid address, ends as an error and not in a hang.
#[test]
fn redirects_that_lead_nowhere_end() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Oci, 92));
    upstream.add(REPOSITORY, "latest", &image);
    let blob = format!("/v2/{REPOSITORY}/blobs/{}", image.layer().digest);
    let circle = format!("{}{blob}", upstream.url());
    for location in [circle, blob, "file:///etc/passwd".to_owned(), "http://".to_owned(), String::new()] {
        let server = Server::mirroring(&upstream);
        upstream.fault(Rule::on(Kind::Blob, Fault::StatusWith(307, "Location", location.clone())));
        let response = server.blob(REPOSITORY, &image.layer().digest).patience(Duration::from_secs(30)).send();
        assert!([502, 504].contains(&response.status), "{location}: {}", response.status);
        assert!(upstream.count("GET", Kind::Blob) < 100, "it went round and round");
        upstream.heal();
    }
}

/// The printed configuration masks secrets.
#[test]
fn the_shown_configuration_masks_secrets() {
    let variables = [("REGISTRY_PROXY_USERNAME", USER), ("REGISTRY_PROXY_PASSWORD", PASSWORD)];
    let shown = entrepot(&["config"], &variables).expect_success("entrepot config").output;
    assert!(shown.contains("password:"), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
}
