//! State after a restart: nothing damaged, nothing left over, nothing fetched twice.

use std::time::Duration;

use crate::support::{
    fault,
    hash::hex,
    http::BodyEnd,
    images::{Blob, Format, Image},
    ports::Port,
    rounds,
    scrape::Scrape,
    scratch,
    server::{Server, Setup},
    upstream::{Fault, Gate, Kind, Rule, Upstream},
};

const REPOSITORY: &str = "library/restart";
const MB: usize = 1_000_000;

/// Bytes in files below the data directory, the index aside.
fn stored(server: &Server) -> u64 {
    let files = scratch::files(server.data()).into_iter().filter(|path| !path.starts_with("index"));
    files.filter_map(|path| server.data().join(path).metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn upstream_with(image: &Image) -> Upstream {
    let upstream = Upstream::plain();
    upstream.add(REPOSITORY, "latest", image);
    upstream
}

/// GETs of content, tags aside.
fn fetched(upstream: &Upstream) -> usize {
    upstream.count("GET", Kind::Manifest) + upstream.count("GET", Kind::Blob)
}

/// The first request to a new volume finds it counted, however long that takes on a busy machine: until then, nothing
/// is cached.
#[test]
fn a_new_volume_is_counted_before_the_first_answer() {
    let (debug, dir) = (Port::reserve(), scratch::dir("slow"));
    let (setup, trace) = (Setup::hosting().watched(&debug), dir.path().join("calls"));
    let slow = fault::Fault::slow("getdents64", Duration::from_secs(1), setup.data());
    let _server = setup.faulty(slow, &trace).start();
    assert_eq!(Scrape::of(&debug.url()).sum("entrepot_storage_counted", &[]), 1);
    assert!(fault::happened(&trace), "the count takes a second");
}

/// The server starts, and serves its content, with the upstream unreachable.
#[test]
fn it_starts_and_serves_without_its_upstream() {
    let image = Image::index(Format::Oci, 7, MB);
    let upstream = upstream_with(&image);
    let mut server = Setup::mirroring(&upstream.url()).freshness("1s").start();
    server.pull(REPOSITORY, "latest", &image);
    let (status, _) = server.stop();
    assert!(status.success(), "an orderly end is a success: {status}");
    upstream.stop();
    server.restart();
    server.pull(REPOSITORY, "latest", &image);
    server.pull(REPOSITORY, image.digest(), &image);
}

/// `kill -9` in the middle of a fill and a restart: no damage, no leftovers, the pull works.
#[test]
fn a_kill_in_mid_fill_leaves_nothing() {
    let (image, gate) = (Image::of_size(Format::Oci, 8, 20 * MB), Gate::new());
    let upstream = upstream_with(&image);
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(10 * MB as u64, gate.clone())).path(&image.layer().digest));
    let mut server = Server::mirroring(&upstream);
    let mut cut = server.blob(REPOSITORY, &image.layer().digest).send();
    cut.exactly(5 * MB);
    server.kill9();
    assert_eq!(cut.summary().end, BodyEnd::Cut);
    upstream.heal();
    gate.open();
    server.restart();
    assert!(stored(&server) < MB as u64, "left over: {:?}", scratch::files(server.data()));
    server.pull(REPOSITORY, "latest", &image);
    let asked = fetched(&upstream);
    server.pull(REPOSITORY, "latest", &image);
    assert_eq!(fetched(&upstream), asked, "and is cached");
}

/// At any moment: content served after a kill is right, and complete content is still there.
#[test]
fn kills_at_any_moment_do_no_damage() {
    let image = Image::of_size(Format::Docker, 80, 12 * MB);
    let upstream = upstream_with(&image);
    upstream.fault(Rule::on(Kind::Blob, Fault::Bandwidth(100 * MB as u64)));
    let mut server = Server::mirroring(&upstream);
    for round in 0..rounds(60) {
        let more = Blob::noise(8000 + round as u64, 4 * MB);
        upstream.add_blob(REPOSITORY, &more);
        let mut response = server.blob(REPOSITORY, &more.digest).send();
        response.exactly((round * 7919 * 101) % (4 * MB - 1));
        server.kill9();
        drop(response);
        server.restart();
        server.pull(REPOSITORY, "latest", &image);
        assert_eq!(server.blob(REPOSITORY, &more.digest).send().summary().digest, more.digest);
    }
    let layer = &image.layer().digest;
    let fetches = upstream.requests().iter().filter(|recorded| recorded.request.path.contains(layer)).count();
    assert_eq!(fetches, 1, "the image's own layer came once");
}

/// With the index folder deleted, nothing cached is fetched again by digest.
#[test]
fn a_deleted_index_costs_nothing_upstream() {
    let image = Image::index(Format::Oci, 81, 3 * MB);
    let upstream = upstream_with(&image);
    let mut server = Server::mirroring(&upstream);
    server.pull(REPOSITORY, "latest", &image);
    let asked = fetched(&upstream);
    for (how, kill) in [("stopped", false), ("killed", true)] {
        if kill {
            server.kill9();
        } else {
            server.stop();
        }
        std::fs::remove_dir_all(server.data().join("index")).unwrap();
        server.restart();
        server.pull(REPOSITORY, image.digest(), &image);
        assert_eq!(fetched(&upstream), asked, "{how}: fetched again");
    }
    upstream.stop();
    server.pull(REPOSITORY, "latest", &image);
}

/// A damaged index prevents neither the start nor right responses.
#[test]
fn a_damaged_index_is_rebuilt() {
    let image = Image::index(Format::Oci, 82, MB);
    let upstream = upstream_with(&image);
    let mut server = Server::mirroring(&upstream);
    server.pull(REPOSITORY, "latest", &image);
    server.kill9();
    let index = server.data().join("index");
    for file in scratch::files(&index) {
        let path = index.join(file);
        let length = path.metadata().unwrap().len();
        let damaged: Vec<u8> = std::fs::read(&path).unwrap().iter().map(|byte| byte ^ 0xa5).collect();
        std::fs::write(&path, &damaged[..damaged.len() - usize::try_from(length / 3).unwrap()]).unwrap();
    }
    let asked = fetched(&upstream);
    server.restart();
    server.pull(REPOSITORY, image.digest(), &image);
    assert_eq!(fetched(&upstream), asked);
}

/// Bytes that changed on the disk are not served: a blob is checked again if its file is not the known one.
#[test]
fn a_file_changed_on_disk_is_never_a_complete_wrong_body() {
    let image = Image::of_size(Format::Oci, 83, MB);
    let upstream = upstream_with(&image);
    let mut server = Server::mirroring(&upstream);
    server.pull(REPOSITORY, "latest", &image);
    server.stop();
    let digest = &image.layer().digest;
    let path =
        scratch::files(server.data()).into_iter().find(|path| path.ends_with(format!("{}/data", hex(digest)))).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let path = server.data().join(path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    server.restart();
    let response = server.blob(REPOSITORY, digest).send();
    let (status, got) = (response.status, response.summary());
    assert!(status != 200 || got.end == BodyEnd::Cut || got.digest == *digest, "{got:?}");
}
