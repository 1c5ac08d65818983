//! Tokens and credentials: how often they are requested, and the hosts that receive them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join_all;

use super::{
    Error, UpstreamOptions, latest, name, options, remote, remote_with,
    server::{ReceivedRequest, Server, Step, reply, say},
    threads, with_credentials,
};
use crate::upstream::Phase;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";

/// Returns a 401 with a challenge for a realm, with a placeholder for its scope.
fn challenge(realm: &str) -> Vec<Step> {
    let header = format!(r#"Bearer realm="{realm}",service="a, b",scope="repository:user/image:pull""#);
    reply("401 Unauthorized", &format!("WWW-Authenticate: {header}\r\n"), "")
}

fn token(value: &str, life: u64) -> Vec<Step> {
    reply("200 OK", "", format!(r#"{{"token":"{value}","expires_in":{life}}}"#))
}

/// Starts a registry that requires a token of `grant`, which gets the number of tokens it made before.
fn registry(
    accepts: impl Fn(&str) -> bool + Send + Sync + 'static,
    grant: impl Fn(&ReceivedRequest, usize) -> Vec<Step> + Send + Sync + 'static,
) -> Server {
    let granted = AtomicUsize::new(0);
    Server::start(move |asked, _| {
        if asked.target.starts_with("/token") {
            return grant(asked, granted.fetch_add(1, SeqCst));
        }
        match asked.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
            Some(value) if accepts(value) => say(HEAD),
            _ => challenge("/token?keep=1"),
        }
    })
}

#[tokio::test]
async fn a_token_is_fetched_and_kept() {
    let server = registry(|value| value == "t0", |_, number| token(&format!("t{number}"), 300));
    let (threads, remote) = (threads(1), remote_with(&server, with_credentials()));
    for _ in 0..3 {
        remote.head_manifest(&threads, &name(), &latest()).await.unwrap();
    }
    let asked = server.asked();
    let targets: Vec<_> = asked.iter().map(|asked| asked.target.as_str()).collect();
    let manifest = "/v2/library/thing/manifests/latest";
    let scope = "/token?keep=1&service=a%2C+b&scope=repository%3Alibrary%2Fthing%3Apull";
    assert_eq!(targets, [manifest, scope, manifest, manifest, manifest]);
    assert_eq!(asked[0].header("authorization"), None, "nothing before it is asked for");
    assert_eq!(asked[1].header("authorization"), Some("Basic bWU6aHVudGVyMg=="));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_token_is_fetched_once_for_all_requests() {
    let server = registry(|value| value == "t", |_, _| [vec![Step::Wait(200)], token("t", 300)].concat());
    let (threads, remote) = (threads(4), remote(&server));
    let (name, reference, other) = (name(), latest(), "other".parse().unwrap());
    let heads = join_all((0..32).map(|_| remote.head_manifest(&threads, &name, &reference))).await;
    assert!(heads.into_iter().all(|head| head.is_ok()));
    assert_eq!(server.count("/token"), 1);
    remote.head_manifest(&threads, &other, &reference).await.unwrap();
    assert_eq!(server.count("/token"), 2, "another repository, another token");
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let era = Arc::new(AtomicUsize::new(0));
    let (valid, granting) = (Arc::clone(&era), Arc::clone(&era));
    let server = registry(
        move |value| value == format!("t{}", valid.load(SeqCst)),
        move |_, _| token(&format!("t{}", granting.load(SeqCst)), 300),
    );
    let (threads, remote) = (threads(4), remote(&server));
    let (name, reference) = (name(), latest());
    remote.head_manifest(&threads, &name, &reference).await.unwrap();
    era.store(1, SeqCst);
    let heads = join_all((0..16).map(|_| remote.head_manifest(&threads, &name, &reference))).await;
    assert!(heads.into_iter().all(|head| head.is_ok()));
    assert_eq!(server.count("/token"), 2);
}

#[tokio::test]
async fn a_token_is_not_used_to_its_last_second() {
    let server = registry(|_| true, |_, _| token("t", 1));
    let (threads, remote) = (threads(1), remote(&server));
    remote.head_manifest(&threads, &name(), &latest()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    remote.head_manifest(&threads, &name(), &latest()).await.unwrap();
    assert_eq!(server.count("/token"), 2);
}

#[tokio::test]
async fn refused_with_a_fresh_token_is_denied() {
    let server = registry(|_| false, |_, number| token(&format!("t{number}"), 300));
    let (threads, remote) = (threads(1), remote(&server));
    let error = remote.head_manifest(&threads, &name(), &latest()).await.unwrap_err();
    assert!(matches!(error, Error::Denied(_)), "{error}");
    assert_eq!((server.count("/token"), server.count("/v2/")), (1, 2));
}

#[tokio::test]
async fn the_error_of_the_token_service_is_passed_on() {
    type Case = (Vec<Step>, fn(&Error) -> bool);
    let cases: [Case; 7] = [
        (
            reply("429 Too Many Requests", "Retry-After: 7\r\n", ""),
            |error| matches!(error, Error::RateLimited { retry_after: Some(wait), .. } if wait.as_secs() == 7),
        ),
        (reply("503 Service Unavailable", "", ""), |error| matches!(error, Error::Status { code: 503, .. })),
        (reply("401 Unauthorized", "", "incorrect username or password"), |error| matches!(error, Error::Denied(_))),
        (reply("400 Bad Request", "", ""), |error| matches!(error, Error::Denied(_))),
        (reply("302 Found", "Location: /x\r\n", ""), |error| matches!(error, Error::Token(_))),
        (reply("200 OK", "", "<html>"), |error| matches!(error, Error::Token(_))),
        (vec![Step::Wait(5000)], |error| *error == Error::Timeout { phase: Phase::Token } && error.is_unreachable()),
    ];
    for (answer, fits) in cases {
        let server = registry(|_| true, move |_, _| answer.clone());
        let error = remote(&server).head_manifest(&threads(1), &name(), &latest()).await.unwrap_err();
        assert!(fits(&error), "{error:?}");
    }
}

#[tokio::test]
async fn a_failure_is_shared_by_all_requests() {
    let server = registry(|_| true, |_, _| [vec![Step::Wait(200)], reply("503 Busy", "", "")].concat());
    let (threads, remote) = (threads(4), remote(&server));
    let (name, reference) = (name(), latest());
    let heads = join_all((0..16).map(|_| remote.head_manifest(&threads, &name, &reference))).await;
    assert!(heads.into_iter().all(|head| matches!(head, Err(Error::Status { code: 503, .. }))));
    assert_eq!(server.count("/token"), 1);
    assert!(remote.head_manifest(&threads, &name, &reference).await.is_err());
    assert_eq!(server.count("/token"), 2, "later it is tried again");
}

#[tokio::test]
async fn basic_is_sent_when_it_is_asked_for() {
    let server = Server::start(|asked, _| match asked.header("authorization") {
        Some("Basic bWU6aHVudGVyMg==") => say(HEAD),
        _ => reply("401 Unauthorized", "WWW-Authenticate: Basic realm=\"r\"\r\n", ""),
    });
    let threads = threads(1);
    let with = remote_with(&server, with_credentials());
    for _ in 0..2 {
        with.head_manifest(&threads, &name(), &latest()).await.unwrap();
    }
    assert_eq!(server.asked().len(), 3, "the second time it is sent at once");
    let without = remote(&server).head_manifest(&threads, &name(), &latest()).await;
    assert!(matches!(without, Err(Error::Denied(_))));
}

#[tokio::test]
async fn a_realm_on_another_domain_is_asked_only_if_it_is_named() {
    let realm = Server::start(|_, _| token("t", 300));
    let elsewhere = realm.url("localhost");
    let at = elsewhere.clone();
    let server = Server::start(move |asked, _| match asked.header("authorization") {
        Some("Bearer t") => say(HEAD),
        _ => challenge(&format!("{at}/token")),
    });
    let threads = threads(1);
    for options in [with_credentials(), options()] {
        let refused = remote_with(&server, options).head_manifest(&threads, &name(), &latest()).await.unwrap_err();
        assert!(matches!(&refused, Error::Token(why) if why.contains("proxy.realm")), "{refused}");
    }
    assert_eq!(realm.connections(), 0);

    let named = UpstreamOptions { realm: Some(elsewhere.parse().unwrap()), ..with_credentials() };
    remote_with(&server, named).head_manifest(&threads, &name(), &latest()).await.unwrap();
    assert_eq!(realm.asked()[0].header("authorization"), Some("Basic bWU6aHVudGVyMg=="));
}

#[tokio::test]
async fn a_realm_must_be_one() {
    for realm in ["ftp://127.0.0.1/token", "", "http://169.254.169.254/token", "http://"] {
        let server = Server::start(move |_, _| challenge(realm));
        let timeouts = options();
        let error = remote_with(&server, timeouts).head_manifest(&threads(1), &name(), &latest()).await.unwrap_err();
        let expected = matches!(error, Error::Token(_) | Error::Redirect(_) | Error::Denied(_));
        assert!(expected, "{realm}: {error:?}");
    }
}
