//! The accounts of an upstream: several, refused ones, and those that a credential helper prints.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{NAME, digest, with_upstreams};
use crate::support::{
    images::{Format, Image},
    scratch,
    server::Server,
    upstream::{Account, Auth, Fault, Kind, Recorded, Rule, Settings, Upstream},
};

/// The least age of a helper's account that is forgotten when it is refused, and a bit.
const FORGETTABLE: Duration = Duration::from_millis(10_500);

/// Writes a credential helper, which has the registry it is asked about in `$server`.
fn helper(dir: &Path, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let program = dir.join("docker-credential-test");
    fs::write(&program, format!("#!/bin/sh\nread -r server; {script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// The command by which a helper prints an account.
fn printing(secret: &str) -> String {
    format!("echo \"{{\\\"Username\\\":\\\"user\\\",\\\"Secret\\\":\\\"{secret}\\\"}}\"")
}

/// Of several accounts, the one with the most pulls left is used.
#[test]
fn accounts_are_used_by_what_they_have_left() {
    let upstream = Upstream::plain();
    upstream.options(|options| {
        let account = |user, remaining| Account { user, limit: 10, remaining };
        options.accounts = vec![account("poor", 4), account("rich", 9)];
    });
    let images: Vec<_> = (0..12).map(|seed| Image::single(Format::Oci, 1370 + seed)).collect();
    for (number, image) in images.iter().enumerate() {
        upstream.add("org/app", &number.to_string(), image);
    }
    let accounts = "[{username: poor, password: a}, {username: rich, password: b}]";
    let server = with_upstreams(&format!("{{docker.io: {{url: '{}', accounts: {accounts}}}}}", upstream.url())).start();
    for number in 0..11 {
        assert!(digest(&server, "org/app", &number.to_string(), None).is_some(), "{number}");
    }
    let used = |user: &str| {
        let counted = |seen: &&Recorded| {
            seen.kind == Kind::Manifest
                && seen.request.method == "GET"
                && seen.request.basic().is_some_and(|(name, _)| name == user)
        };
        upstream.requests().iter().filter(counted).count()
    };
    assert!((2..=4).contains(&used("poor")) && used("rich") >= 7, "{} and {}", used("poor"), used("rich"));
}

/// A docker credential helper prints the account.
#[test]
fn a_credential_helper_is_asked_for_the_account() {
    let upstream = Settings::default().auth(Auth::basic("user", "helped")).start();
    let image = Image::single(Format::Oci, 1390);
    upstream.add(NAME, "1", &image);
    let dir = scratch::dir("helper");
    let asked = dir.path().join("asked");
    let program = helper(dir.path(), &format!("echo \"$1 $server\" >> {}; {}", asked.display(), printing("helped")));
    let exec = format!("{{command: {}}}", program.display());
    let server = with_upstreams(&format!("{{ghcr.io: {{url: '{}', exec: {exec}}}}}", upstream.url())).start();
    upstream.add("org/other", "1", &image);
    server.pull(&format!("ghcr.io/{NAME}"), "1", &image);
    server.pull("ghcr.io/org/other", "1", &image);
    assert_eq!(fs::read_to_string(asked).unwrap(), "get ghcr.io\n");
}

/// A refused account says nothing of the content: the next one is asked in the same request.
#[test]
fn the_second_account_is_used_if_the_first_is_refused() {
    let image = Image::of_size(Format::Oci, 1371, 50_000);
    let tokens = Settings::default().auth(Auth::basic("right", "b")).start();
    let basic = Upstream::plain();
    basic.options(|options| options.basic = Some(("right", "b")));
    let accounts = "[{username: wrong, password: a}, {username: right, password: b}]";
    let section = |domain: &str, upstream: &Upstream| {
        upstream.add(NAME, "1", &image);
        format!("{domain}: {{url: '{}', accounts: {accounts}}}", upstream.url())
    };
    let sections = format!("{{{}, {}}}", section("ghcr.io", &tokens), section("quay.io", &basic));
    let server = with_upstreams(&sections).start();
    for domain in ["ghcr.io", "quay.io"] {
        let pulled = digest(&server, &format!("{domain}/{NAME}"), "1", None);
        assert_eq!(pulled.as_deref(), Some(image.digest()), "{domain}");
        let blob = server.blob(&format!("{domain}/{NAME}"), &image.layer().digest).send();
        assert_eq!((blob.status, blob.summary().digest.as_str()), (200, image.layer().digest.as_str()), "{domain}");
    }
}

/// A refused account is not asked first again and again, and the log tells of it once.
#[test]
fn a_refused_account_is_asked_last() {
    let tokens = Settings::default().auth(Auth::basic("right", "b")).start();
    let basic = Upstream::plain();
    basic.options(|options| options.basic = Some(("right", "b")));
    let accounts = "[{username: wrong, password: a}, {username: right, password: b}]";
    let section =
        |domain: &str, upstream: &Upstream| format!("{domain}: {{url: '{}', accounts: {accounts}}}", upstream.url());
    let sections = format!("{{{}, {}}}", section("ghcr.io", &tokens), section("quay.io", &basic));
    let mut server = with_upstreams(&sections).start();
    for (domain, upstream) in [("ghcr.io", &tokens), ("quay.io", &basic)] {
        for seed in 0..4 {
            let (name, image) = (format!("org/app{seed}"), Image::single(Format::Oci, 1380 + seed));
            upstream.add(&name, "1", &image);
            assert!(digest(&server, &format!("{domain}/{name}"), "1", None).is_some(), "{domain}/{name}");
        }
        let is_wrong = |seen: &&Recorded| seen.request.basic().is_some_and(|(user, _)| user == "wrong");
        assert_eq!(upstream.requests().iter().filter(is_wrong).count(), 1, "{domain}");
        server.wait_for_log("upstream refuses the account", Duration::from_secs(5));
    }
    assert_eq!(server.log().matches("upstream refuses the account").count(), 2, "{}", server.log());
}

/// The pull that finds a helper's password refused asks the helper again, and succeeds with the new one.
#[test]
fn a_password_that_changes_is_used_by_the_pull_that_finds_the_old_one_refused() {
    let (before, after) = (Image::single(Format::Oci, 1391), Image::single(Format::Oci, 1392));
    let tokens = Settings::default().auth(Auth::basic("user", "old")).start();
    let basic = Upstream::plain();
    basic.options(|options| options.basic = Some(("user", "old")));
    let dir = scratch::dir("rotated");
    let password = dir.path().join("password");
    fs::write(&password, "old").unwrap();
    let program = helper(dir.path(), &printing(&format!("$(cat {})", password.display())));
    let section = |domain: &str, upstream: &Upstream| {
        upstream.add("org/before", "1", &before);
        upstream.add("org/after", "1", &after);
        format!("{domain}: {{url: '{}', exec: {{command: {}}}}}", upstream.url(), program.display())
    };
    let sections = format!("{{{}, {}}}", section("ghcr.io", &tokens), section("quay.io", &basic));
    let server = with_upstreams(&sections).start();
    let pull = |server: &Server, name: &str, image: &Image| {
        for domain in ["ghcr.io", "quay.io"] {
            let pulled = digest(server, &format!("{domain}/{name}"), "1", None);
            assert_eq!(pulled.as_deref(), Some(image.digest()), "{domain}/{name}");
        }
    };
    pull(&server, "org/before", &before);
    thread::sleep(FORGETTABLE);
    fs::write(&password, "new").unwrap();
    tokens.accept("user", "new");
    basic.options(|options| options.basic = Some(("user", "new")));
    pull(&server, "org/after", &after);
}

/// A refused account says nothing of the content: the failure of the other one is the answer.
#[test]
fn a_refused_second_account_does_not_hide_the_failure_of_the_first() {
    let accounts = "[{username: right, password: a}, {username: wrong, password: b}]";
    let image = Image::single(Format::Oci, 1393);
    for (fault, status) in [(Fault::Status(503), 502), (Fault::StatusWith(429, "Retry-After", "60".into()), 429)] {
        let upstream = Upstream::plain();
        upstream.options(|options| options.accounts = vec![Account { user: "right", limit: 10, remaining: 10 }]);
        upstream.add(NAME, "1", &image);
        let sections = format!("{{docker.io: {{url: '{}', accounts: {accounts}}}}}", upstream.url());
        let (server, knowing) = (with_upstreams(&sections).start(), with_upstreams(&sections).start());
        assert_eq!(
            knowing.manifest(NAME, "1").send().status,
            200,
            "its layer may be fetched without asking for its size"
        );
        upstream.fault(Rule::on(Kind::Blob, fault.clone()).user("right"));
        upstream.fault(Rule::on(Kind::Manifest, fault).user("right"));
        let layer = |server: &Server| server.blob(NAME, &image.layer().digest).send();
        let manifest = server.manifest(NAME, "1").send();
        let refused = |seen: &Recorded| seen.request.basic().is_some_and(|(user, _)| user == "wrong");
        assert!(upstream.requests().iter().any(refused), "the second account was tried");
        for (asked, answer) in [("manifest", manifest), ("size", layer(&server)), ("layer", layer(&knowing))] {
            assert_eq!(answer.status, status, "{asked}");
            assert_eq!(answer.header("retry-after").is_some(), status == 429, "{asked}");
        }
    }
}

/// A helper that is slower than the request which waits for it goes on, and the next request has its account.
#[test]
fn a_slow_helper_outlives_the_request_that_waits_for_it() {
    let upstream = Settings::default().auth(Auth::basic("user", "helped")).start();
    let (mirror, image) = (Upstream::plain(), Image::single(Format::Oci, 1394));
    upstream.add(NAME, "1", &image);
    let dir = scratch::dir("slow");
    let program = helper(dir.path(), &format!("sleep 4; {}", printing("helped")));
    let exec = format!("exec: {{command: {}}}", program.display());
    let section = format!("{{ghcr.io: {{url: '{}', mirrors: ['{}'], {exec}}}}}", upstream.url(), mirror.url());
    let server = with_upstreams(&section).start();
    let name = format!("ghcr.io/{NAME}");
    mirror.stop();
    upstream.stop();
    assert_eq!(server.manifest(&name, "1").send().status, 502, "both are found down");
    upstream.resume();
    // An endpoint that was down gets less time to answer.
    assert_eq!(server.manifest(&name, "1").send().status, 504);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(digest(&server, &name, "1", None).as_deref(), Some(image.digest()));
}

/// The log tells of a helper that fails, since the request that it was for may have ended before.
#[test]
fn the_log_has_the_failure_of_a_helper() {
    let upstream = Settings::default().auth(Auth::basic("user", "helped")).start();
    let dir = scratch::dir("failing");
    let program = helper(dir.path(), "echo no such account; exit 1");
    let exec = format!("exec: {{command: {}}}", program.display());
    let mut server = with_upstreams(&format!("{{ghcr.io: {{url: '{}', {exec}}}}}", upstream.url())).start();
    assert_eq!(server.manifest(&format!("ghcr.io/{NAME}"), "1").send().status, 502);
    server.wait_for_log("credential helper failed", Duration::from_secs(5));
    assert!(server.log().contains("docker-credential-test"));
}
