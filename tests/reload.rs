//! The configuration is read again, on SIGHUP and when a file changes: upstreams and their accounts without a restart.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    images::{Format, Image},
    scratch,
    server::{Server, Setup},
    upstream::{Auth, Settings, Upstream},
};

const NAME: &str = "org/app";
const LIMIT: Duration = Duration::from_secs(20);

/// Writes a configuration file with these sections of `proxy.upstreams`.
fn write(file: &Path, sections: &[String]) {
    let text = format!("version: 0.1\nproxy:\n  upstreams:\n{}", sections.concat());
    fs::write(file, text).unwrap();
}

fn section(domain: &str, upstream: &Upstream) -> String {
    format!("    {domain}: {{url: '{}'}}\n", upstream.url())
}

fn upstream_with(image: &Image) -> Upstream {
    let upstream = Upstream::plain();
    upstream.add(NAME, "1", image);
    upstream
}

/// Two upstreams, each with an image of its own.
fn two_upstreams(seed: u64) -> (Upstream, Upstream) {
    let [first, second] = [seed, seed + 1].map(|seed| upstream_with(&Image::single(Format::Oci, seed)));
    (first, second)
}

fn hangup(server: &Server) {
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(server.id().cast_signed()).unwrap(),
        rustix::process::Signal::HUP,
    )
    .unwrap();
}

fn status(server: &Server, ns: &str) -> u16 {
    server.manifest(NAME, &format!("1?ns={ns}")).send().status
}

/// A hundred pulls of uncached images are under way while upstreams come and go. None fails, and the new one answers.
#[test]
fn a_new_upstream_answers_and_no_pull_fails() {
    let dir = scratch::dir("reload");
    let file = dir.path().join("config.yml");
    let (image, other) = (Image::single(Format::Oci, 1400), Image::single(Format::Oci, 1401));
    let (hub, ghcr) = (upstream_with(&image), upstream_with(&other));
    let images: Vec<_> = (0..100).map(|seed| Image::of_size(Format::Oci, 1500 + seed, 100_000)).collect();
    for (number, image) in images.iter().enumerate() {
        hub.add(&format!("org/app{number}"), "1", image);
    }
    write(&file, &[section("docker.io", &hub)]);
    let mut server = Setup::bare().config(&file).start();
    assert_eq!(status(&server, "ghcr.io"), 404);
    let (pulled, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for chunk in images.chunks(10).enumerate() {
            let (server, pulled) = (&server, &pulled);
            scope.spawn(move || {
                for (number, image) in chunk.1.iter().enumerate() {
                    server.pull(&format!("org/app{}", chunk.0 * 10 + number), "1", image);
                    pulled.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        scope.spawn(|| {
            // It ends after a while, too, if a pull fails.
            for turn in 0..600 {
                let with_ghcr = turn % 2 == 0;
                let more = if with_ghcr { vec![section("ghcr.io", &ghcr)] } else { vec![section("quay.io", &ghcr)] };
                write(&file, &[vec![section("docker.io", &hub)], more].concat());
                hangup(&server);
                thread::sleep(Duration::from_millis(100));
                if pulled.load(Ordering::SeqCst) == images.len() {
                    break;
                }
            }
            done.store(true, Ordering::SeqCst);
        });
    });
    assert!(done.load(Ordering::SeqCst));
    write(&file, &[section("docker.io", &hub), section("ghcr.io", &ghcr)]);
    hangup(&server);
    crate::support::wait_until("the new upstream", LIMIT, || status(&server, "ghcr.io") == 200);
    assert_eq!(server.manifest(NAME, "1?ns=ghcr.io").send().summary().digest, other.digest());
    server.wait_for_log("upstreams new or changed: ghcr.io", LIMIT);
    assert!(!server.log().contains("panicked"));
}

/// A file that changes is read without a signal. One with an error changes nothing, and the log tells of it.
#[test]
fn a_changed_file_is_read_and_a_bad_one_changes_nothing() {
    let dir = scratch::dir("changed");
    let file = dir.path().join("config.yml");
    let (hub, ghcr) = two_upstreams(1410);
    write(&file, &[section("docker.io", &hub)]);
    let mut server = Setup::bare().config(&file).start();
    write(&file, &[section("docker.io", &hub), section("ghcr.io", &ghcr)]);
    crate::support::wait_until("the new upstream", LIMIT, || status(&server, "ghcr.io") == 200);
    hangup(&server);
    server.wait_for_log("upstreams new or changed: none; removed: none", LIMIT);
    write(&file, &["    ghcr.io: {url: 'ftp://nowhere'}\n".to_owned()]);
    server.wait_for_log("the configuration from before stays in effect", LIMIT);
    assert!(server.log().contains("proxy.upstreams.ghcr.io.url"), "the log names the key");
    assert_eq!((status(&server, "ghcr.io"), status(&server, "docker.io")), (200, 200));
    // A setting that only a restart applies is told of.
    let text = fs::read_to_string(&file).unwrap();
    let fixed = text.replace("    ghcr.io: {url: 'ftp://nowhere'}\n", &section("docker.io", &hub));
    fs::write(&file, format!("{fixed}http:\n  draintimeout: 1s\n")).unwrap();
    server.wait_for_log("at the next start, such as http.draintimeout: 1s", LIMIT);
    fs::write(&file, format!("{fixed}  prefetch: false\n")).unwrap();
    server.wait_for_log("at the next start, such as proxy.prefetch: false", LIMIT);
    assert_eq!(status(&server, "ghcr.io"), 404, "ghcr is gone");
}

/// `proxy.enabled` needs a restart: until then the upstreams stay, and the log names the line.
#[test]
fn a_mirror_that_is_turned_off_mirrors_until_the_next_start() {
    let dir = scratch::dir("off");
    let file = dir.path().join("config.yml");
    let hub = upstream_with(&Image::single(Format::Oci, 1430));
    write(&file, &[section("docker.io", &hub)]);
    let mut server = Setup::bare().config(&file).start();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("proxy:\n", "proxy:\n  enabled: false\n")).unwrap();
    server.wait_for_log("at the next start, such as proxy.enabled: false", LIMIT);
    assert_eq!(server.manifest(NAME, "1").send().status, 200, "not cached, and mirrored");
    server.restart();
    assert_eq!(server.manifest(NAME, "1").send().status, 404, "nothing is mirrored now");
}

/// The log names the setting that needs a restart, although others have the same value, and one that is gone.
#[test]
fn the_setting_that_needs_a_restart_is_named() {
    let dir = scratch::dir("lines");
    let file = dir.path().join("config.yml");
    let hub = upstream_with(&Image::single(Format::Oci, 1431));
    write(&file, &[section("docker.io", &hub)]);
    let without = fs::read_to_string(&file).unwrap();
    let with = format!("{without}http:\n  host: https://registry.example\n");
    let mut server = Setup::bare().config(&file).start();
    for (text, named) in [
        (format!("{without}storage:\n  delete:\n    enabled: true\n"), "storage.delete.enabled: true"),
        (with.clone(), "http.host: https://registry.example/"),
    ] {
        fs::write(&file, text).unwrap();
        server.wait_for_log(&format!("at the next start, such as {named}"), LIMIT);
    }
    assert_eq!(server.log().matches("at the next start").count(), 2, "{}", server.log());
    server.restart();
    fs::write(&file, &without).unwrap();
    server.wait_for_log("at the next start, such as http.host (removed)", LIMIT);
}

/// A file that is written in pieces is read when it is complete: when two looks, a second apart, see the same.
#[test]
fn a_file_that_is_half_written_is_not_read() {
    let dir = scratch::dir("half");
    let file = dir.path().join("config.yml");
    let (hub, ghcr) = two_upstreams(1440);
    write(&file, &[section("docker.io", &hub)]);
    let mut server = Setup::bare().config(&file).start();
    let half = fs::read_to_string(&file).unwrap();
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    for line in 0..12 {
        let comment = format!("    # {line}\n");
        fs::write(&file, format!("{}{comment}", half.replace("docker.io", "quay.io"))).unwrap();
        longest = longest.max(last.elapsed());
        last = Instant::now();
        thread::sleep(Duration::from_millis(300));
    }
    let read = server.log().matches("configuration read again").count();
    write(&file, &[section("docker.io", &hub), section("ghcr.io", &ghcr)]);
    // On a machine that is too slow, the file was the same for a second.
    assert!(read == 0 || longest > Duration::from_millis(900), "{}", server.log());
    server.wait_for_log("upstreams new or changed: ghcr.io", LIMIT);
    assert_eq!((status(&server, "ghcr.io"), status(&server, "docker.io")), (200, 200));
}

/// A shorter time to live is kept to soon, although the interval of the job was long before.
#[test]
fn a_new_lifetime_is_kept_to() {
    let dir = scratch::dir("lifetime");
    let file = dir.path().join("config.yml");
    let image = Image::single(Format::Oci, 1450);
    let hub = upstream_with(&image);
    write(&file, &[section("docker.io", &hub)]);
    let mut server = Setup::bare().config(&file).lease("1s").start();
    server.pull(NAME, "1", &image);
    write(&file, &[format!("    docker.io: {{url: '{}', ttl: 2s}}\n", hub.url())]);
    server.wait_for_log("upstreams new or changed: docker.io", LIMIT);
    let repository = server.data().join(format!("mirrors/docker.io/repositories/{NAME}"));
    crate::support::wait_until("the image to expire", LIMIT, || !repository.exists());
}

/// A configuration that was refused for a file that is not there is read again when it is.
#[test]
fn a_file_that_was_missing_is_looked_for() {
    let dir = scratch::dir("missing");
    let (file, password) = (dir.path().join("config.yml"), dir.path().join("password"));
    let hub = upstream_with(&Image::single(Format::Oci, 1460));
    let ghcr = Settings::default().auth(Auth::basic("user", "secret")).start();
    ghcr.add(NAME, "1", &Image::single(Format::Oci, 1461));
    write(&file, &[section("docker.io", &hub)]);
    let mut server = Setup::bare().config(&file).start();
    let account = format!("username: user, passwordfile: {}", password.display());
    let more = format!("    ghcr.io: {{url: '{}', {account}}}\n", ghcr.url());
    write(&file, &[section("docker.io", &hub), more]);
    server.wait_for_log("the configuration from before stays in effect", LIMIT);
    // Two looks pass, and nothing has changed.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(server.log().matches("stays in effect").count(), 1, "{}", server.log());
    fs::write(&password, "secret\n").unwrap();
    server.wait_for_log("upstreams new or changed: ghcr.io", LIMIT);
    assert_eq!(status(&server, "ghcr.io"), 200);
}

/// A password file that is replaced, as Kubernetes does with a mounted secret, takes effect without a restart.
#[test]
fn a_new_password_is_used() {
    let dir = scratch::dir("password");
    let (file, password) = (dir.path().join("config.yml"), dir.path().join("password"));
    let (old, new) = (Settings::default().auth(Auth::basic("user", "new")).start(), Image::single(Format::Oci, 1420));
    old.add(NAME, "1", &new);
    fs::write(&password, "old\n").unwrap();
    let account = format!("username: user, passwordfile: {}", password.display());
    let off = "    docker.io: {enabled: false}\n".to_owned();
    write(&file, &[off, format!("    ghcr.io: {{url: '{}', {account}}}\n", old.url())]);
    let mut server = Setup::bare().config(&file).start();
    assert_eq!(status(&server, "ghcr.io"), 404, "the old password is refused");
    fs::write(&password, "new\n").unwrap();
    server.wait_for_log("upstreams new or changed: ghcr.io", LIMIT);
    assert_eq!(status(&server, "ghcr.io"), 200);
    assert!(!server.log().contains("old\n"));
}
