//! Upstreams that fail, hang, refuse or are unreachable: law 7 of ARCHITECTURE.md.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    support::{
        http,
        images::{Format, Image, Manifest},
        server::{Server, Setup},
        upstream::{Cut, Fault, Kind, Rule, Upstream},
    },
    tags::{REPOSITORY, STALE, cache_status, stale, upstream_with},
};

/// Cached content is served for any failure of the upstream except 404.
#[test]
fn a_failing_upstream_never_fails_a_cached_pull() {
    let image = Image::index(Format::Oci, 70, 1000);
    let upstream = upstream_with(&image);
    let server = stale(&upstream, &image);
    let statuses = [401, 403, 429, 500, 502, 503].map(Fault::Status);
    for fault in statuses.into_iter().chain([Fault::CutAfter(0, Cut::Rst), Fault::Raw(b"nonsense\r\n\r\n")]) {
        let what = format!("{fault:?}");
        upstream.fault(Rule::on_all(fault));
        let response = server.manifest(REPOSITORY, "latest").send();
        assert_eq!(response.status, 200, "{what}");
        assert!(what.starts_with("CutAfter") || cache_status(&response).contains("fwd=stale"), "{what}");
        assert_eq!(response.summary().digest, image.digest(), "{what}");
        upstream.heal();
        thread::sleep(STALE);
    }
    upstream.stop();
    server.pull(REPOSITORY, "latest", &image);
}

/// Without cached content, each failure has its own code.
#[test]
fn an_upstream_failure_has_its_own_status() {
    for (upstream_says, status, code) in [
        (401, 404, Some("MANIFEST_UNKNOWN")),
        (403, 404, Some("MANIFEST_UNKNOWN")),
        (404, 404, Some("MANIFEST_UNKNOWN")),
        (429, 429, Some("TOOMANYREQUESTS")),
        (500, 502, None),
        (503, 502, None),
    ] {
        let upstream = Upstream::plain();
        upstream.fault(Rule::on(Kind::Manifest, Fault::Status(upstream_says)));
        let server = Server::mirroring(&upstream);
        let response = server.manifest(REPOSITORY, "latest").send();
        assert_eq!(response.status, status, "upstream says {upstream_says}");
        let reported = response.error_code();
        assert!(code.is_none_or(|code| code == reported), "{upstream_says}: {reported}");
    }
}

/// An unreachable upstream is 502.
#[test]
fn an_unreachable_upstream_is_502() {
    let upstream = Upstream::plain();
    let server = Server::mirroring(&upstream);
    upstream.stop();
    let response = server.manifest(REPOSITORY, "latest").send();
    assert!([502, 504].contains(&response.status), "{}", response.status);
    response.error_code();
}

/// 429 without cached content carries the upstream's `Retry-After`; also the Hub's plain-text one with bare line feeds.
#[test]
fn a_429_keeps_its_retry_after() {
    let plain = b"HTTP/1.1 429 Too Many Requests\nRetry-After: 60\nContent-Type: text/plain\n\
                  Content-Length: 18\nConnection: close\n\nToo Many Requests\n";
    let upstream = Upstream::plain();
    for (tag, fault, seconds) in
        [("one", Fault::StatusWith(429, "Retry-After", "17".into()), "17"), ("two", Fault::Raw(plain), "60")]
    {
        let server = Server::mirroring(&upstream);
        upstream.fault(Rule::on(Kind::Manifest, fault));
        let response = server.manifest(REPOSITORY, tag).send();
        assert_eq!((response.status, response.header("retry-after")), (429, Some(seconds)), "{tag}");
        assert_eq!(response.error_code(), "TOOMANYREQUESTS");
        upstream.heal();
    }
}

/// The upstream hangs for 40 s: a cached image pulls in under 12 s, the next one at once.
#[test]
fn a_hanging_upstream_costs_one_wait() {
    let (image, other) = (Image::index(Format::Oci, 6, 1000), Image::single(Format::Oci, 60));
    let upstream = upstream_with(&image);
    upstream.add("library/other", "latest", &other);
    let server = Setup::mirroring(&upstream.url()).freshness("1s").start();
    server.pull("library/other", "latest", &other);
    server.pull(REPOSITORY, "latest", &image);
    thread::sleep(STALE);
    upstream.fault(Rule::on_all(Fault::Hang));
    let start = Instant::now();
    server.pull(REPOSITORY, "latest", &image);
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    let again = Instant::now();
    server.pull(REPOSITORY, "latest", &image);
    server.pull("library/other", "latest", &other);
    assert!(again.elapsed() < Duration::from_secs(2), "known as down: {:?}", again.elapsed());
}

/// A hang without cached content ends as 504, or 502, in time for the client to try another registry.
#[test]
fn a_hanging_upstream_is_504() {
    let upstream = Upstream::plain();
    upstream.fault(Rule::on_all(Fault::Hang));
    let server = Server::mirroring(&upstream);
    let response = server.manifest(REPOSITORY, "latest").send();
    assert!([502, 504].contains(&response.status), "{}", response.status);
    assert!(response.waited < Duration::from_secs(25), "{:?}", response.waited);
    response.error_code();
}

/// While its upstream is down, a platform manifest is served only with its blobs: a missing manifest is better than a
/// missing blob.
#[test]
fn a_manifest_without_its_blobs_is_no_answer() {
    let image = Image::single(Format::Oci, 72);
    let upstream = upstream_with(&image);
    let server = Setup::mirroring(&upstream.url()).freshness("1s").start();
    assert_eq!(server.manifest(REPOSITORY, "latest").send().summary().digest, image.digest());
    upstream.stop();
    thread::sleep(STALE);
    let response = server.manifest(REPOSITORY, "latest").send();
    assert!([502, 504].contains(&response.status), "{}", response.status);
}

/// An incomplete image is refused at its manifest while the upstream is down. A client that asks by digest alone, and
/// gets 404, asks for nothing else that would show that the upstream is back.
#[test]
fn digests_alone_notice_that_upstream_is_back() {
    let image = Image::single(Format::Oci, 92);
    let upstream = upstream_with(&image);
    let server = Server::mirroring(&upstream);
    let manifest = || server.manifest(REPOSITORY, image.digest()).send().status;
    assert_eq!(manifest(), 200);
    upstream.stop();
    assert!([502, 504].contains(&server.blob(REPOSITORY, &image.layer().digest).send().status));
    assert_eq!(manifest(), 502);
    upstream.resume();
    crate::support::wait_until("the manifest to be served again", Duration::from_secs(45), || {
        thread::sleep(Duration::from_millis(500));
        manifest() == 200
    });
}

/// dockerd and containerd send HEAD first, and then ask by digest: after an outage, HEADs alone must detect the
/// recovery.
#[test]
fn heads_alone_notice_that_upstream_is_back() {
    let (image, newer) = (Image::single(Format::Oci, 90), Image::single(Format::Oci, 91));
    let upstream = upstream_with(&image);
    let server = stale(&upstream, &image);
    let head = || http::head(&server.v2(&format!("{REPOSITORY}/manifests/latest"))).send();
    upstream.stop();
    assert!(cache_status(&head()).contains("fwd=stale"));
    upstream.resume();
    upstream.add(REPOSITORY, "latest", &newer);
    let noticed = || head().header("docker-content-digest") == Some(newer.digest());
    crate::support::wait_until("a HEAD that tells of the newer image", Duration::from_secs(45), || {
        thread::sleep(Duration::from_millis(500));
        noticed()
    });
}

/// A 429 with a `Retry-After`: no request before that time, then one, and after its success all.
#[test]
fn a_429_is_asked_once_when_its_time_is_over() {
    const ASKERS: usize = 20;
    let (image, other) = (Image::single(Format::Oci, 120), Image::single(Format::Oci, 121));
    let upstream = upstream_with(&image);
    (0..ASKERS).for_each(|tag| upstream.add(REPOSITORY, &tag.to_string(), &other));
    let server = stale(&upstream, &image);
    assert_eq!(server.manifest(REPOSITORY, "0").send().status, 200);
    upstream.fault(Rule::on(Kind::Manifest, Fault::StatusWith(429, "Retry-After", "3".into())));
    let (asked_at, asked) = (Instant::now(), || upstream.requests().len());
    assert_eq!(server.manifest(REPOSITORY, "missing").send().status, 429);
    let crowd = || -> Vec<u16> {
        thread::scope(|scope| {
            let ask = |tag: usize| server.manifest(REPOSITORY, &format!("not-{tag}")).send();
            let asking: Vec<_> = (0..ASKERS).map(|tag| scope.spawn(move || ask(tag))).collect();
            let reported = asking.into_iter().map(|asking| asking.join().unwrap());
            reported
                .map(|response| {
                    let status = response.status;
                    if status == 429 {
                        let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
                        assert!((1..=4).contains(&seconds), "{seconds}");
                        assert_eq!(response.error_code(), "TOOMANYREQUESTS");
                    }
                    status
                })
                .collect()
        })
    };
    let before = asked();
    assert_eq!(crowd(), [429; ASKERS]);
    for _ in 0..3 {
        assert!(cache_status(&server.manifest(REPOSITORY, "latest").send()).contains("fwd=stale"));
    }
    assert_eq!(asked(), before, "nobody asks before the time is over");
    // Blobs do not count for the pull-rate limit.
    assert_eq!(server.blob(REPOSITORY, &other.config).send().status, 200);
    thread::sleep(Duration::from_millis(3500).saturating_sub(asked_at.elapsed()));
    let before = asked();
    assert_eq!(crowd(), [429; ASKERS]);
    assert_eq!(asked(), before + 1, "one asks, and hears the same");
    thread::sleep(Duration::from_millis(3500));
    upstream.heal();
    assert_eq!(crowd(), [404; ASKERS]);
    assert_eq!(server.manifest(REPOSITORY, "1").send().status, 200);
}

/// crane and oras check for a tag before they push it. That must not depend on the upstream's health.
#[test]
fn a_push_does_not_need_the_upstream() {
    let (image, mirrored) = (Image::single(Format::Oci, 122), Image::single(Format::Oci, 123));
    let upstream = Upstream::plain();
    upstream.add("team/mirrored", "1", &mirrored);
    let server = Setup::both(&upstream.url()).freshness("1s").start();
    server.pull("team/mirrored", "1", &mirrored);
    let head = |path: &str| http::head(&server.v2(path)).send().status;
    let refuse = || upstream.fault(Rule::on_all(Fault::Status(503)));
    for fail in [&refuse as &dyn Fn(), &|| upstream.stop()] {
        fail();
        assert_eq!(head("team/app/manifests/1"), 404);
        assert_eq!(head(&format!("team/app/manifests/{}", image.digest())), 404);
        assert_eq!(head("team/app/manifests/1?ns=docker.io"), 502, "who names the registry hears of it");
        assert_eq!(server.manifest("team/app", "1").send().status, 502, "and so does who wants it");
        assert_eq!(head("library/app/manifests/1"), 502, "nothing is pushed there");
        assert_eq!(head("team/mirrored/manifests/2"), 502, "nor there");
    }
    server.target().image("team/app", "1", &image);
    server.pull("team/app", "1", &image);
}

/// containerd 2.1 requests every platform's manifest and config, and the layers of its own platform. It can repeat that
/// without the upstream; a client of another platform gets an error at the manifest, once a client has requested its
/// layers in vain.
#[test]
fn other_platforms_manifests_need_no_layers() {
    let image = Image::index(Format::Oci, 124, 5000);
    let upstream = upstream_with(&image);
    let server = Setup::mirroring(&upstream.url()).freshness("1s").start();
    let names = |manifest: &Manifest| {
        let manifest: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap();
        let digest = |descriptor: &serde_json::Value| descriptor["digest"].as_str().unwrap().to_owned();
        let layers: Vec<_> = manifest["layers"].as_array().unwrap().iter().map(digest).collect();
        (digest(&manifest["config"]), layers)
    };
    let status = |manifest: &Manifest| server.manifest(REPOSITORY, &manifest.digest).send().status;
    let pull = || {
        assert_eq!(server.manifest(REPOSITORY, "latest").send().summary().digest, image.digest());
        for child in &image.children {
            assert_eq!((status(child), server.blob(REPOSITORY, &names(child).0).send().status), (200, 200));
        }
        for layer in names(&image.children[0]).1 {
            assert_eq!(server.blob(REPOSITORY, &layer).send().status, 200);
        }
    };
    pull();
    upstream.stop();
    thread::sleep(STALE);
    pull();
    let (own, other) = (names(&image.children[0]).1, names(&image.children[1]).1);
    assert_ne!(server.blob(REPOSITORY, &other[0]).send().status, 200);
    assert_eq!((status(&image.children[0]), status(&image.children[1])), (200, 502));
    // A layer that was cached, and is gone.
    let hex = own[1].trim_start_matches("sha256:");
    let bytes = server.data().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    std::fs::remove_file(bytes).unwrap();
    assert_eq!(status(&image.children[0]), 502);
}
