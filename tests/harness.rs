//! Tests of the test support itself, without the server.

use std::time::{Duration, Instant};

use crate::support::{
    clients::{self, Client, Pulled, STARTS, Skopeo, Start, What},
    egress_trap::EgressTrap,
    hash::sha256,
    http::{self, BodyEnd},
    images::{Blob, Format, Image},
    registry2::{OnVolume, Registry2},
    rounds, scratch,
    upstream::{Auth, Cdn, Cut, Fault, Gate, Kind, Rule, Settings, Upstream},
    wait_until,
};

const REPOSITORY: &str = "library/harness";

fn with_image(upstream: &Upstream) -> Image {
    let image = Image::index(Format::Oci, 1, 300_000);
    upstream.add(REPOSITORY, "latest", &image);
    image
}

fn pulls(client: &dyn Client, image: &Image, trap: &EgressTrap) {
    let wanted = Pulled { digest: image.digest().to_owned(), config: image.config.clone() };
    assert_eq!(client.pull(&format!("{REPOSITORY}:latest")), wanted, "{} by tag", client.name());
    assert_eq!(client.pull(&format!("{REPOSITORY}@{}", image.digest())), wanted, "{} by digest", client.name());
    assert_eq!(trap.breaches(), [""; 0], "{} left the mirror", client.name());
}

#[test]
fn docker_pulls_from_the_scripted_upstream() {
    let (upstream, trap) = (Upstream::plain(), EgressTrap::new());
    pulls(&*clients::docker(&upstream.url(), &trap), &with_image(&upstream), &trap);
}

#[test]
fn containerd_pulls_from_the_scripted_upstream() {
    let (upstream, trap) = (Upstream::plain(), EgressTrap::new());
    pulls(&*clients::containerd(&upstream.url(), &trap), &with_image(&upstream), &trap);
}

#[test]
fn podman_pulls_from_the_scripted_upstream() {
    let (upstream, trap) = (Upstream::plain(), EgressTrap::new());
    pulls(&*clients::podman(&upstream.url(), &trap), &with_image(&upstream), &trap);
}

#[test]
fn buildah_pulls_from_the_scripted_upstream() {
    let (upstream, trap) = (Upstream::plain(), EgressTrap::new());
    pulls(&*clients::buildah(&upstream.url(), &trap), &with_image(&upstream), &trap);
}

#[test]
fn skopeo_pulls_from_the_scripted_upstream_through_its_cdn() {
    let cdn = Cdn::links_living(Duration::from_secs(60));
    let upstream = Settings::default().auth(Auth::anonymous()).cdn(cdn).start();
    let trap = EgressTrap::new();
    pulls(&*clients::skopeo(&upstream.url(), &trap), &with_image(&upstream), &trap);
    assert!(upstream.count("GET", Kind::Cdn) > 0, "blobs came from the CDN");
}

/// No test can succeed by bypassing the mirror: the egress trap catches direct connections.
#[test]
fn the_egress_trap_catches_clients_that_bypass_the_mirror() {
    let upstream = Upstream::plain();
    for start in STARTS {
        let trap = EgressTrap::new();
        let client = start(&upstream.url(), &trap);
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client.pull("library/nowhere:latest")));
        assert!(tried.is_err(), "{} pulled what is nowhere", client.name());
        assert!(!trap.breaches().is_empty(), "{} went elsewhere", client.name());
    }
}

#[test]
fn the_real_upstream_wants_a_token_and_gives_the_image() {
    let (mut registry, trap) = (Registry2::start(), EgressTrap::new());
    let image = Image::index(Format::Docker, 2, 300_000);
    registry.push(REPOSITORY, "latest", &image);
    let issued = registry.tokens.issued();
    assert_eq!(http::get(&format!("{}/v2/", registry.url())).send().status, 401);
    pulls(&*clients::skopeo(&registry.url(), &trap), &image, &trap);
    assert!(registry.tokens.issued() > issued, "tokens were fetched");
    registry.stop();
    assert!(http::get(&registry.url()).try_send().is_err(), "the stopped registry refuses connections");
}

#[test]
fn an_image_layout_is_what_skopeo_reads() {
    let (image, trap, layout) = (Image::index(Format::Oci, 3, 5000), EgressTrap::new(), scratch::dir("layout"));
    image.write_layout(layout.path(), "latest");
    let skopeo = Skopeo::new("http://127.0.0.1:1", &trap);
    let (outcome, copied) = skopeo.copy(&["--all"], &format!("oci:{}:latest", layout.path().display()));
    outcome.expect_success("skopeo copy");
    assert_eq!(sha256(&std::fs::read(copied.path().join("manifest.json")).unwrap()), image.digest());
}

/// A blob of the scripted upstream, fetched without a mirror.
fn fetch(upstream: &Upstream, blob: &Blob) -> http::Request {
    upstream.add_blob(REPOSITORY, blob);
    http::get(&format!("{}/v2/{REPOSITORY}/blobs/{}", upstream.url(), blob.digest))
}

#[test]
fn cuts_are_seen_as_cuts_and_counted() {
    let (upstream, blob) = (Upstream::plain(), Blob::noise(4, 3_000_000));
    for cut in [Cut::Fin, Cut::Rst] {
        upstream.fault(Rule::on(Kind::Blob, Fault::CutAfter(1_000_000, cut)).times(1));
        let before = upstream.sent(Kind::Blob);
        let body = fetch(&upstream, &blob).send().summary();
        assert_eq!((body.end, body.length), (BodyEnd::Cut, 1_000_000), "{cut:?}");
        assert_eq!(upstream.sent(Kind::Blob) - before, 1_000_000);
        let rest = fetch(&upstream, &blob).header("Range", "bytes=1000000-").send();
        assert_eq!((rest.status, rest.header("content-range")), (206, Some("bytes 1000000-2999999/3000000")));
        assert_eq!(rest.body().bytes, blob.bytes[1_000_000..]);
    }
}

#[test]
fn faults_befall_whom_they_name() {
    let (upstream, blob) = (Upstream::plain(), Blob::noise(5, 200_000));
    upstream.fault(Rule::on(Kind::Blob, Fault::Corrupt(7)).times(1));
    assert_ne!(fetch(&upstream, &blob).send().summary().digest, blob.digest);
    upstream.fault(Rule::on(Kind::Blob, Fault::Bandwidth(400_000)).times(1));
    let start = Instant::now();
    assert_eq!(fetch(&upstream, &blob).send().summary().digest, blob.digest);
    assert!(start.elapsed() > Duration::from_millis(400), "the bandwidth is kept");
    upstream.fault(Rule::on(Kind::Blob, Fault::Chunked).times(1));
    let chunked = fetch(&upstream, &blob).send();
    assert_eq!((chunked.length(), chunked.summary().digest), (None, blob.digest.clone()));
    upstream.fault(Rule::on(Kind::Manifest, Fault::Status(500)));
    assert_eq!(fetch(&upstream, &blob).send().status, 200, "another kind");
    upstream.fault(Rule::on_all(Fault::StatusWith(429, "Retry-After", "7".into())).method("HEAD").path("/blobs/"));
    assert_eq!(fetch(&upstream, &blob).send().status, 200, "another method");
    upstream.heal();
    assert_eq!(http::get(&format!("{}/v2/x/manifests/y", upstream.url())).send().status, 404);
}

#[test]
fn hangs_stalls_and_gates_hold_and_let_go() {
    let (upstream, blob, gate) = (Upstream::plain(), Blob::noise(6, 500_000), Gate::new());
    upstream.fault(Rule::on(Kind::Blob, Fault::Hang).times(1));
    let patience = Duration::from_millis(100);
    assert!(fetch(&upstream, &blob).patience(patience).try_send().is_err(), "a hang has no head");
    upstream.fault(Rule::on(Kind::Blob, Fault::Stall(100_000)).times(1));
    assert_eq!(fetch(&upstream, &blob).patience(patience).send().summary().length, 100_000);
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(100_000, gate.clone())).times(1));
    let mut gated = fetch(&upstream, &blob).send();
    gated.exactly(100_000);
    gate.open();
    assert_eq!(gated.exactly(400_000), blob.bytes[100_000..]);
    upstream.fault(Rule::on(Kind::Blob, Fault::Hang).times(1));
    let hanging = fetch(&upstream, &blob);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| hanging.try_send().is_err());
        wait_until("the request", Duration::from_secs(5), || upstream.count("GET", Kind::Blob) == 4);
        upstream.stop();
        assert!(waiting.join().unwrap(), "stopping cuts what hangs");
    });
    assert!(http::get(&upstream.url()).try_send().is_err());
    upstream.resume();
    assert_eq!(fetch(&upstream, &blob).send().status, 200);
}

#[test]
fn the_cdn_refuses_credentials_heads_and_old_links() {
    let upstream = Settings::default().cdn(Cdn::links_living(Duration::from_millis(300))).start();
    let blob = Blob::noise(8, 1000);
    let redirect = fetch(&upstream, &blob).send();
    assert_eq!(redirect.status, 307);
    let link = redirect.header("location").unwrap().to_owned();
    assert!(link.starts_with("http://localhost:"));
    assert_eq!(http::get(&link).send().summary().digest, blob.digest);
    assert_eq!(http::get(&link).header("Authorization", "Bearer x").send().status, 400);
    assert_eq!(http::head(&link).send().status, 403);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(http::get(&link).send().status, 403);
}

#[test]
fn rounds_shrink_without_soak() {
    assert!([10, 100].contains(&rounds(100)));
}

/// An image pushed to the real registry and pulled again is unchanged.
fn pushes(start: Start) {
    let (volume, trap) = (scratch::dir("volume"), EgressTrap::new());
    let registry = OnVolume::start(volume.path());
    let client = start("http://127.0.0.1:1", &trap);
    let (image, name) =
        (Image::of_size(Format::Oci, 9, 400_000), format!("{}/team/app:1", registry.target().authority()));
    let digest = client.push(What::Own(&image), &name);
    let wanted = Pulled { digest, config: image.config.clone() };
    assert_eq!(client.pull_from(&name), wanted, "{}", client.name());
}

#[test]
fn docker_pushes_to_the_real_registry() {
    pushes(clients::docker);
}

#[test]
fn containerd_pushes_to_the_real_registry() {
    pushes(clients::containerd);
}

#[test]
fn podman_buildah_and_skopeo_push_to_the_real_registry() {
    for start in [clients::podman, clients::buildah, clients::skopeo] as [Start; 3] {
        pushes(start);
    }
}

#[test]
fn an_image_goes_to_the_real_registry_by_hand() {
    let volume = scratch::dir("volume");
    let registry = OnVolume::start(volume.path());
    let image = Image::index(Format::Oci, 10, 50_000);
    registry.target().image("team/app", "1", &image);
    assert_eq!(registry.target().json("team/app/tags/list")["tags"], serde_json::json!(["1"]));
    let mut session = registry.target().begin("team/app");
    assert_eq!((session.received(), session.patch(Some(0), b"twelve bytes").status, session.received()), (0, 202, 12));
    let mut chunked = session.request("PATCH").begin(None);
    chunked.write(b", and ten.").unwrap();
    session.moved(&chunked.finish().unwrap());
    assert_eq!(session.put(&sha256(b"twelve bytes, and ten."), b"").status, 201);
}
