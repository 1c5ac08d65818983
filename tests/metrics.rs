//! The metrics: they are exposed, they are right, and Prometheus and the dashboards can use them.

mod prometheus;

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    http,
    images::{Blob, Format, Image},
    ports::Port,
    process,
    scrape::Scrape,
    server::{Server, Setup, entrepot},
    tls::{Authority, Mounted},
    upstream::{Cut, Fault, Kind, Rule, Upstream},
    wait_until,
};

const REPOSITORY: &str = "library/metrics";

/// Allocated blocks, once per inode.
fn du(path: &Path) -> u64 {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return 0 };
    let below = std::fs::read_dir(path).into_iter().flatten().map(|entry| du(&entry.unwrap().path()));
    meta.blocks() * 512 + if meta.is_dir() { below.sum() } else { 0 }
}

/// The metrics agree with the disk, class by class; the files of the index and the records beside it, which count as
/// index, change by themselves.
fn agrees(server: &Server, debug: &Port, when: &str) {
    let index = ["index", "uses", "pins", "pulls"].map(|name| server.data().join(name));
    let mut last = (0, 0);
    // Uses are reported, and emptied folders removed, a moment after the response.
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let scrape = Scrape::of(&debug.url());
        let class = |class: &str| scrape.sum("entrepot_storage_bytes", &[&format!("class=\"{class}\"")]);
        let exposed = scrape.sum("entrepot_storage_bytes", &[]) - class("index");
        last = (exposed, du(server.data()) - index.iter().map(|path| du(path)).sum::<u64>());
        let mirrored = class("mirrored") + class("pinned");
        let by_upstream = scrape.sum("entrepot_storage_mirrored_bytes", &[]);
        if last.0 == last.1 && mirrored == by_upstream && scrape.sum("entrepot_storage_counted", &[]) == 1 {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{when}: exposed {}, found {}:\n{}", last.0, last.1, Scrape::of(&debug.url()).text);
}

fn image(seed: u64, length: usize) -> Image {
    Image::of_size(Format::Oci, seed, length)
}

/// A mirror of 60 MB that evicts as soon as it must, and takes pushes.
fn small(upstream: &Upstream, debug: &Port) -> Server {
    small_setup(upstream, debug).start()
}

fn small_setup(upstream: &Upstream, debug: &Port) -> Setup {
    Setup::both(&upstream.url())
        .hosted("[team/**]")
        .watched(debug)
        .variable("REGISTRY_STORAGE_QUOTA", "60MB")
        .variable("REGISTRY_STORAGE_LEASE", "0s")
        .variable("REGISTRY_STORAGE_PINNED", "[library/pinned]")
}

/// At quiet points between pulls, pushes, deletes and evictions, the metrics agree with `du`.
#[test]
fn the_disk_usage_agrees_with_du() {
    let (upstream, debug) = (Upstream::plain(), Port::reserve());
    let server = small(&upstream, &debug);
    agrees(&server, &debug, "empty");
    let pinned = image(900, 3_000_000);
    upstream.add("library/pinned", "latest", &pinned);
    server.pull("library/pinned", "latest", &pinned);
    agrees(&server, &debug, "one is pinned");
    let pushed = image(901, 5_000_000);
    server.target().image("team/app", "latest", &pushed);
    agrees(&server, &debug, "one is pushed");
    for round in 0..4 {
        for seed in 0..3 {
            let (name, image) = (format!("library/m{round}-{seed}"), image(910 + round * 3 + seed, 6_000_000));
            upstream.add(&name, "latest", &image);
            server.pull(&name, "latest", &image);
        }
        agrees(&server, &debug, &format!("after round {round}"));
    }
    let scrape = Scrape::of(&debug.url());
    assert!(scrape.sum("entrepot_evicted_bytes_total", &["reason=\"room\""]) > 10_000_000, "{}", scrape.text);
    let objects = scrape.sum("entrepot_evicted_objects_total", &["reason=\"room\""]);
    assert_eq!(scrape.sum("entrepot_evicted_idle_seconds_count", &["reason=\"room\""]), objects);
    assert!(scrape.sum("entrepot_storage_bytes", &["class=\"pinned\""]) > 3_000_000);
    assert!(scrape.sum("entrepot_storage_bytes", &["class=\"hosted\""]) > 5_000_000);
    assert_eq!(scrape.sum("entrepot_storage_quota_bytes", &[]), 60_000_000);
    let mirrored = scrape.sum("entrepot_storage_bytes", &["class=\"mirrored\""]);
    assert_eq!(scrape.sum("entrepot_storage_reclaimable_bytes", &[]), mirrored);
    assert_eq!(server.target().delete(&format!("team/app/manifests/{}", pushed.digest())), 202);
    agrees(&server, &debug, "after a delete");
}

/// The figures are kept at a clean stop, and counted again after a kill.
#[test]
fn the_disk_usage_outlives_the_process() {
    let (upstream, debug) = (Upstream::plain(), Port::reserve());
    let mut server = small(&upstream, &debug);
    let pinned = image(920, 1_000_000);
    upstream.add("library/pinned", "latest", &pinned);
    server.pull("library/pinned", "latest", &pinned);
    let bytes = |class: &str| Scrape::of(&debug.url()).sum("entrepot_storage_bytes", &[class]);
    let before = bytes("class=\"pinned\"");
    assert!(before > 1_000_000);
    assert!(server.stop().0.success());
    server.restart();
    assert_eq!(bytes("class=\"pinned\""), before, "after a clean stop");
    agrees(&server, &debug, "after a clean stop");
    server.restart();
    agrees(&server, &debug, "after a kill");
    assert_eq!(bytes("class=\"pinned\""), before, "after a kill");
}

/// One fetch for many clients is one miss, some collapsed requests, and bytes saved.
#[test]
fn collapsed_requests_are_counted() {
    let (upstream, debug) = (Upstream::plain(), Port::reserve());
    let blob = Blob::noise(930, 2_000_000);
    upstream.add_blob(REPOSITORY, &blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Delay(Duration::from_millis(300))));
    let server = Setup::mirroring(&upstream.url()).watched(&debug).start();
    let pull = || assert_eq!(server.blob(REPOSITORY, &blob.digest).send().summary().digest, blob.digest);
    thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(pull))));
    pull();
    let scrape = Scrape::of(&debug.url());
    let answers = |result: &str| {
        let result = format!("result=\"{result}\"");
        scrape.sum("entrepot_cache_answers_total", &["upstream=\"docker.io\"", "kind=\"blob\"", &result])
    };
    assert_eq!((answers("miss"), answers("collapsed"), answers("hit")), (1, 7, 1));
    assert_eq!(scrape.sum("entrepot_mirror_served_bytes_total", &["kind=\"blob\""]), 9 * 2_000_000);
    assert_eq!(scrape.sum("entrepot_upstream_fetched_bytes_total", &["kind=\"blob\""]), 2_000_000);
    assert_eq!(scrape.sum("entrepot_fills_total", &["result=\"stored\""]), 1);
    assert_eq!(scrape.sum("entrepot_http_requests_total", &["route=\"blobs\"", "method=\"GET\"", "code=\"200\""]), 9);
    assert_eq!(scrape.sum("entrepot_http_response_bytes_total", &["route=\"blobs\""]), 9 * 2_000_000);
    assert_eq!(scrape.sum("entrepot_http_request_duration_seconds_count", &["route=\"blobs\""]), 9);
}

/// Each failure of an upstream has a label.
#[test]
fn upstream_requests_are_counted_by_outcome() {
    let (upstream, debug) = (Upstream::plain(), Port::reserve());
    upstream.options(|options| options.rate_limit = Some(100));
    let image = Image::single(Format::Oci, 940);
    upstream.add(REPOSITORY, "latest", &image);
    let server = Setup::mirroring(&upstream.url()).freshness("1s").watched(&debug).start();
    server.pull(REPOSITORY, "latest", &image);
    let scrape = Scrape::of(&debug.url());
    let left = scrape.sum("entrepot_upstream_budget_remaining", &["upstream=\"docker.io\""]);
    assert_eq!(scrape.sum("entrepot_upstream_budget_limit", &[]), 100);
    assert!(left < 100, "{left}");
    for (status, outcome) in [(500, "server_error"), (429, "too_many"), (403, "denied")] {
        upstream.fault(Rule::on(Kind::Manifest, Fault::Status(status)));
        server.manifest(REPOSITORY, &format!("none-{status}")).send();
        upstream.heal();
        let outcome = format!("outcome=\"{outcome}\"");
        let counted =
            Scrape::of(&debug.url()).sum("entrepot_upstream_requests_total", &["kind=\"manifest\"", &outcome]);
        assert!(counted >= 1, "{status}");
    }
    thread::sleep(Duration::from_millis(1100));
    upstream.stop();
    assert_eq!(server.manifest(REPOSITORY, "latest").send().status, 200);
    let scrape = Scrape::of(&debug.url());
    assert_eq!(scrape.sum("entrepot_cache_answers_total", &["kind=\"manifest\"", "result=\"stale\""]), 1);
    assert_eq!(scrape.sum("entrepot_upstream_up", &["upstream=\"docker.io\""]), 0);
    assert!(scrape.sum("entrepot_upstream_requests_total", &["outcome=\"unreachable\""]) >= 1);
}

/// A broken fetch that is resumed, and one whose bytes are wrong.
#[test]
fn fills_are_counted_by_result() {
    let (upstream, debug) = (Upstream::plain(), Port::reserve());
    let (broken, wrong) = (Blob::noise(950, 900_000), Blob::noise(951, 900_000));
    upstream.add_blob(REPOSITORY, &broken);
    upstream.add_blob(REPOSITORY, &wrong);
    upstream.fault(Rule::on(Kind::Blob, Fault::CutAfter(300_000, Cut::Rst)).path(&broken.digest).times(1));
    upstream.fault(Rule::on(Kind::Blob, Fault::Corrupt(450_000)).path(&wrong.digest));
    let server = Setup::mirroring(&upstream.url()).watched(&debug).start();
    assert_eq!(server.blob(REPOSITORY, &broken.digest).send().summary().digest, broken.digest);
    let _cut = server.blob(REPOSITORY, &wrong.digest).send().summary();
    let scrape = Scrape::of(&debug.url());
    assert_eq!(scrape.sum("entrepot_fills_resumed_total", &["upstream=\"docker.io\""]), 1);
    assert_eq!(scrape.sum("entrepot_digest_mismatches_total", &["kind=\"blob\""]), 1);
    assert_eq!(scrape.sum("entrepot_fills_total", &["result=\"mismatch\""]), 1);
    assert_eq!(scrape.sum("entrepot_fills_total", &["result=\"stored\""]), 1);
    assert_eq!(scrape.sum("entrepot_fills_in_flight", &[]), 0);
}

/// Pushed bytes are counted as they arrive; a session counts as open until it has ended.
#[test]
fn uploads_are_counted() {
    let debug = Port::reserve();
    let server = Setup::hosting().watched(&debug).start();
    let (target, blob) = (server.target(), Blob::noise(960, 500_000));
    let mut session = target.begin("team/app");
    assert_eq!(Scrape::of(&debug.url()).sum("entrepot_uploads_open", &[]), 1);
    session.patch(None, &blob.bytes);
    assert_eq!(session.put(&blob.digest, b"").status, 201);
    let scrape = Scrape::of(&debug.url());
    assert_eq!(scrape.sum("entrepot_uploads_open", &[]), 0);
    assert_eq!(scrape.sum("entrepot_http_request_bytes_total", &["route=\"uploads\""]), 500_000);
    assert_eq!(scrape.sum("entrepot_storage_objects", &["class=\"hosted\""]), 1);
    assert!(scrape.find("entrepot_storage_quota_bytes", &[]).is_none(), "there is no quota");
}

/// Damage is counted, and damaged hosted blobs are in the quarantine.
#[test]
fn damage_is_counted() {
    let (upstream, debug) = (Upstream::plain(), Port::reserve());
    let (mirrored, pushed) = (Blob::noise(970, 50_000), Blob::noise(971, 50_000));
    upstream.add_blob(REPOSITORY, &mirrored);
    let server = Setup::both(&upstream.url()).hosted("[team/**]").watched(&debug).start();
    server.target().blob("team/app", &pushed);
    server.blob(REPOSITORY, &mirrored.digest).send().summary();
    for blob in [&mirrored, &pushed] {
        let hex = blob.digest.strip_prefix("sha256:").unwrap();
        let path = server.data().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
        std::fs::write(path, vec![0; 50_000]).unwrap();
    }
    assert_eq!(server.blob(REPOSITORY, &mirrored.digest).send().summary().digest, mirrored.digest);
    assert_eq!(server.blob("team/app", &pushed.digest).send().status, 404);
    let scrape = Scrape::of(&debug.url());
    assert_eq!(scrape.sum("entrepot_damaged_blobs_total", &["class=\"mirrored\""]), 1);
    assert_eq!(scrape.sum("entrepot_damaged_blobs_total", &["class=\"hosted\""]), 1);
    assert_eq!(scrape.sum("entrepot_storage_objects", &["class=\"quarantined\""]), 1);
}

/// The events of verification and collection are counted.
#[test]
fn maintenance_is_counted() {
    let debug = Port::reserve();
    let server = Setup::hosting().watched(&debug).variable("REGISTRY_VERIFY_INTERVAL", "0").start();
    server.target().image("team/app", "latest", &image(974, 20_000));
    server.target().image("team/app", "latest", &image(975, 20_000));
    let data = server.data().to_str().unwrap();
    entrepot(&["gc", "--untagged", "--grace", "0s", "--data", data], &[]).expect_success("gc");
    entrepot(&["verify", "--data", data], &[]).expect_success("verify");
    let scrape = Scrape::of(&debug.url());
    // A manifest, its config and its layer.
    assert_eq!(scrape.sum("entrepot_collected_objects_total", &["kind=\"manifest\""]), 1);
    assert_eq!(scrape.sum("entrepot_collected_objects_total", &["kind=\"blob\""]), 3);
    assert!(scrape.sum("entrepot_collected_bytes_total", &[]) > 20_000);
    assert_eq!(scrape.sum("entrepot_verified_blobs_total", &[]), 3);
    assert!(scrape.sum("entrepot_verified_bytes_total", &[]) > 20_000);
    for ended in ["entrepot_collect_ended_timestamp_seconds", "entrepot_verify_ended_timestamp_seconds"] {
        assert!(scrape.sum(ended, &[]) > 1_700_000_000, "{ended}");
    }
}

/// The expiry of the server's certificate, as long as there is one.
#[test]
fn the_expiry_of_the_certificate_is_exposed() {
    let (debug, files) = (Port::reserve(), Mounted::new(&Authority::new("test").server()));
    let path = |name| files.path(name).to_str().unwrap().to_owned();
    let server = Setup::hosting()
        .watched(&debug)
        .variable("REGISTRY_HTTP_TLS_CERTIFICATE", &path("tls.crt"))
        .variable("REGISTRY_HTTP_TLS_KEY", &path("tls.key"))
        .start();
    let end = || Scrape::of(&debug.url()).find("entrepot_certificate_expiry_timestamp_seconds", &[]);
    wait_until("the certificate's end", Duration::from_secs(5), || end().is_some());
    let mut openssl = process::command("sh");
    openssl.args(["-c", "date +%s --date \"$(openssl x509 -noout -enddate -in $0 | cut -d= -f2)\"", &path("tls.crt")]);
    let said = process::run("openssl", openssl, Duration::from_secs(20)).expect_success("openssl x509").output;
    assert_eq!(end(), said.trim().parse().ok(), "as openssl reads it");
    drop(server);
    let _plain = Setup::hosting().watched(&debug).start();
    assert_eq!(end(), None, "there is no certificate");
}

/// The debug listener is for operators; the main listener exposes metrics only if configured.
#[test]
fn listeners_expose_what_is_configured() {
    let debug = Port::reserve();
    let status = |url: String| http::get(&url).send().status;
    let server = Setup::hosting().watched(&debug).start();
    assert_eq!(status(format!("{}/metrics", server.url())), 404);
    assert_eq!(status(format!("{}/metrics", debug.url())), 200);
    assert_eq!(status(format!("{}/v2/", debug.url())), 404, "no content");
    drop(server);
    let server = Setup::hosting()
        .watched(&debug)
        .variable("REGISTRY_HTTP_METRICS", "true")
        .variable("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "false")
        .start();
    assert_eq!(status(format!("{}/metrics", server.url())), 200);
    assert_eq!(status(format!("{}/metrics", debug.url())), 404);
    drop(server);
    let server = Setup::hosting().watched(&debug).variable("REGISTRY_HTTP_DEBUG_PROMETHEUS_PATH", "/here").start();
    assert_eq!(status(format!("{}/here", debug.url())), 200);
    assert_eq!(status(format!("{}/metrics", server.url())), 404);
}

/// Health checks need no password and are not logged; an upstream that is down does not affect readiness, storage that
/// is not writable only that for pushes.
#[test]
fn probes_are_answered() {
    let (upstream, debug) = (Upstream::plain(), Port::reserve());
    let mut server = Setup::both(&upstream.url())
        .watched(&debug)
        .variable("REGISTRY_AUTH", "{htpasswd: {realm: r, path: /}}")
        .start();
    upstream.stop();
    assert_eq!(http::get(&server.v2("")).send().status, 401, "the debug listener is locked");
    let both =
        |path: &str| [server.url().to_owned(), debug.url()].map(|url| http::get(&format!("{url}{path}")).send().status);
    assert_eq!((both("/healthz"), both("/readyz")), ([200; 2], [200; 2]));
    assert_eq!(http::head(&format!("{}/readyz", server.url())).send().status, 200);
    let health = http::get(&format!("{}/debug/health", debug.url())).send();
    assert_eq!((health.status, health.text().as_str()), (200, "{}"));
    let staging = server.data().join("staging");
    let aside = server.data().join("aside");
    std::fs::rename(&staging, &aside).unwrap();
    assert_eq!((both("/healthz"), both("/readyz")), ([200; 2], [200; 2]), "pulls can be answered");
    for query in ["for=push", "x=1&for=push", "for=push&x=1", "for=pus%68"] {
        assert_eq!(both(&format!("/readyz?{query}")), [503; 2], "{query}");
    }
    assert_eq!((both("/readyz?for=pull&x=1"), both("/readyz?x=1&for=it")), ([200; 2], [400; 2]));
    assert_eq!(http::get(&format!("{}/debug/health", debug.url())).send().status, 503);
    std::fs::rename(&aside, &staging).unwrap();
    assert_eq!(
        (both("/readyz?for=push"), both("/readyz?for=pull"), both("/readyz?for=it")),
        ([200; 2], [200; 2], [400; 2])
    );
    let (data, gone) = (server.data().to_owned(), server.data().with_extension("gone"));
    std::fs::rename(&data, &gone).unwrap();
    assert_eq!((both("/healthz"), both("/readyz")), ([200; 2], [503; 2]));
    std::fs::rename(&gone, &data).unwrap();
    assert_eq!(both("/readyz"), [200; 2]);
    server.wait_for_log("/v2/", Duration::from_secs(5));
    assert!(!server.log().contains("healthz"), "probes leave no line:\n{}", server.log());
}
