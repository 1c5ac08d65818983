//! Redirects: the permitted targets, and the headers that are sent there.

use std::time::{Duration, Instant};

use super::{
    BLOB, Error, UpstreamOptions, latest, name, options, read, remote, remote_with,
    server::{Server, reply},
    threads, with_credentials,
};
use crate::upstream::Remote;

fn to(location: &str) -> Vec<super::server::Step> {
    reply("307 Temporary Redirect", &format!("Location: {location}\r\nSet-Cookie: a=b\r\n"), "moved")
}

#[tokio::test]
async fn a_cdn_gets_the_question_and_nothing_else() {
    let cdn = Server::start(|asked, _| match asked.header("authorization").or(asked.header("cookie")) {
        Some(_) => reply("400 Bad Request", "", "only one way to authorize"),
        None => reply("200 OK", "", BLOB),
    });
    let location = format!("{}/blob?signature=secret", cdn.url("localhost"));
    let server = Server::start(move |asked, _| match asked.header("authorization") {
        Some("Basic bWU6aHVudGVyMg==") => to(&location),
        _ => reply("401 Unauthorized", "WWW-Authenticate: Basic\r\n", ""),
    });
    let (threads, remote) = (threads(1), remote_with(&server, with_credentials()));
    for _ in 0..2 {
        assert_eq!(read(&threads, &remote, 0, None).await.unwrap().bytes, BLOB);
    }
    assert_eq!(cdn.asked()[0].target, "/blob?signature=secret");
    assert_eq!(cdn.asked()[0].header("host"), Some(format!("localhost:{}", cdn.port()).as_str()));
    assert_eq!((server.connections(), cdn.connections()), (1, 1), "both connections are used again");
    assert_eq!(server.asked().len(), 3, "each time the upstream is asked where it is");
}

#[tokio::test]
async fn another_port_of_the_same_host_gets_no_credentials() {
    let other = Server::start(|_, _| reply("200 OK", "", BLOB));
    let location = other.url("127.0.0.1");
    let server = Server::start(move |asked, _| match asked.header("authorization") {
        Some(_) => to(&location),
        None => reply("401 Unauthorized", "WWW-Authenticate: Basic\r\n", ""),
    });
    let remote = remote_with(&server, with_credentials());
    assert_eq!(read(&threads(1), &remote, 0, None).await.unwrap().bytes, BLOB);
    assert_eq!(other.asked()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_location_may_be_relative_and_a_manifest_may_move() {
    let server = Server::start(|asked, _| match asked.target.as_str() {
        "/v2/library/thing/manifests/latest" => to("/a/b"),
        "/a/b" => to("c?d"),
        _ => reply("200 OK", "", asked.target.as_bytes()),
    });
    let got = remote(&server).get_manifest(&threads(1), &name(), &latest()).await.unwrap();
    assert_eq!(got.bytes, "/a/c?d");
    assert!(server.asked()[2].header("accept").is_some());
}

#[tokio::test]
async fn an_end_is_put_to_circles() {
    let server = Server::start(|_, _| to("/again"));
    let got = read(&threads(1), &remote(&server), 0, None).await;
    assert!(matches!(got, Err(Error::Redirect(_))));
    assert_eq!(server.asked().len(), 6);
}

#[tokio::test]
async fn private_addresses_are_not_connected_to() {
    for location in [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "https://192.168.1.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://[fd00::1]/",
        "http://0.0.0.0:1/",
        "http://0xa9fea9fe/",
        "//user:password@172.16.0.1:99999/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
    ] {
        let server = Server::start(move |_, _| to(location));
        let started = Instant::now();
        let got = read(&threads(1), &remote(&server), 0, None).await;
        assert!(matches!(got, Err(Error::Redirect(_))), "{location}");
        assert!(started.elapsed() < Duration::from_millis(900), "{location}");
    }
}

#[tokio::test]
async fn a_public_upstream_opens_no_local_address() {
    // This upstream gets no request: only the address policy of its redirects is tested.
    let public = |redirects: &[&str]| {
        let redirects = redirects.iter().map(|host| (*host).to_owned()).collect();
        let options = UpstreamOptions { redirects, ..options() };
        Remote::new("r.example".parse().unwrap(), "https://192.0.2.1".parse().unwrap(), options).unwrap()
    };
    let loopback = std::net::IpAddr::from([127, 0, 0, 1]);
    let allows =
        async |remote: Remote, url: &str| remote.address_policy(&url.parse().unwrap(), true).await.allows(loopback);
    assert!(!allows(public(&[]), "https://cdn.example/x").await);
    assert!(allows(public(&["cdn.example"]), "https://cdn.example:444/x").await);
    assert!(allows(public(&["cdn.example:444"]), "https://cdn.example:444/x").await);
    assert!(!allows(public(&["cdn.example:444"]), "https://cdn.example/x").await);
    assert!(!allows(public(&["cdn.example"]), "https://a.cdn.example/x").await);
}

#[tokio::test]
async fn a_refusal_at_the_cdn_is_not_the_upstreams() {
    let server =
        Server::start(|asked, _| if asked.target == "/cdn" { reply("404 Not Found", "", "") } else { to("/cdn") });
    assert_eq!(read(&threads(1), &remote(&server), 0, None).await.err(), Some(Error::NotFound));
    let cdn = Server::start(|_, _| reply("403 Forbidden", "", "<Error>expired</Error>"));
    let location = cdn.url("localhost");
    let server = Server::start(move |_, _| to(&location));
    let got = read(&threads(1), &remote(&server), 0, None).await;
    assert!(matches!(got, Err(Error::Status { code: 403, .. })));
}
