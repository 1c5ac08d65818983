//! Long work for one client, or in the background, does not delay other clients.

use std::{fs, time::Duration};

use serde_json::Value;

use crate::support::{
    http,
    images::{Blob, Format, Image},
    loads::{self, LOADS, MIRRORED, Measured, Place, Sizes, Volume, mount_everywhere, referrer},
    ports::Port,
    scrape::Scrape,
    server::{Server, Setup},
    upstream::Upstream,
    wait_until,
};

/// A small request may take longer than on an idle server by this factor and this addition.
const RATIO: u32 = 5;
const SLACK: Duration = Duration::from_millis(50);
/// The time for which small requests are measured without load, before each load.
const PEACE: Duration = Duration::from_millis(400);

/// Bytes that a server has read so far, from files and sockets.
fn bytes_read(server: &Server) -> u64 {
    let counts = fs::read_to_string(format!("/proc/{}/io", server.id())).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// A promotion reads the whole blob: all waiting requests share one.
#[test]
fn forty_mounts_of_one_mirrored_blob_hash_it_once() {
    let (upstream, blob) = (Upstream::plain(), Blob::noise(4040, 64 << 20));
    upstream.add_blob(MIRRORED, &blob);
    let server = Setup::both(&upstream.url()).start();
    assert_eq!(server.blob(MIRRORED, &blob.digest).send().summary().digest, blob.digest);
    let before = bytes_read(&server);
    mount_everywhere(&server, &blob, 40);
    let read = bytes_read(&server) - before;
    assert!(read < 2 * blob.len() as u64, "{read} bytes were read for a blob of {}", blob.len());
    for number in [0, 39] {
        assert_eq!(server.target().head(&format!("team/app{number}/blobs/{}", blob.digest)), 200);
    }
}

/// Every descriptor of a list, page after page.
fn referrers(server: &Server, image: &Image, query: &str) -> Vec<Value> {
    let mut url = server.v2(&format!("team/app/referrers/{}{query}", image.digest()));
    let mut found = Vec::new();
    loop {
        let page = http::get(&url).send();
        assert_eq!(page.status, 200, "{url}");
        let next = page.header("link").map(|link| link[1..link.find('>').unwrap()].to_owned());
        found.extend(page.json()["manifests"].as_array().unwrap().iter().cloned());
        match next {
            Some(next) => url = format!("{}{next}", server.url()),
            None => return found,
        }
    }
}

/// The descriptor of a referrer is made once, when its manifest arrives: a list reads no manifest, unless its
/// annotations are too long for the index.
#[test]
fn a_list_of_referrers_reads_no_manifest() {
    const EACH: usize = 1 << 20;
    let image = Image::single(Format::Oci, 4041);
    let debug = Port::reserve();
    let mut server = Setup::hosting().watched(&debug).start();
    let target = server.target();
    target.image("team/app", "1", &image);
    let manifests: Vec<_> = (0..20).map(|number| referrer(&image, number, EACH, false)).collect();
    let annotated = referrer(&image, 20, EACH, true);
    for manifest in manifests.iter().chain([&annotated]) {
        assert_eq!(target.manifest("team/app", &manifest.digest, manifest).status, 201);
    }
    // The memory cache of manifests is dropped; the start reads each manifest once, for the index.
    server.stop();
    server.restart();
    let complete = || Scrape::of(&debug.url()).find("entrepot_index_complete", &[]) == Some(1.);
    wait_until("the index to be complete", Duration::from_secs(30), complete);
    let before = bytes_read(&server);
    let found = referrers(&server, &image, "?artifactType=application/vnd.other");
    assert!(found.is_empty());
    let read = bytes_read(&server) - before;
    assert!(read < EACH as u64, "{read} bytes were read for a list of nothing");
    let found = referrers(&server, &image, "?artifactType=application/vnd.example.sbom");
    let read = bytes_read(&server) - before;
    assert!(read < 4 * EACH as u64, "{read} bytes were read for a list of {} manifests", found.len());
    for manifest in manifests.iter().chain([&annotated]) {
        let listed = found.iter().find(|listed| listed["digest"] == manifest.digest.as_str()).expect("it is listed");
        let document: Value = serde_json::from_slice(&manifest.bytes).unwrap();
        assert_eq!(listed["size"], manifest.bytes.len());
        assert_eq!(listed["annotations"], document["annotations"]);
    }
}

/// All tags without paging: streamed, not built as one document while others wait.
#[test]
fn all_tags_are_told_piece_by_piece() {
    const TAGS: usize = 5_500;
    let image = Image::single(Format::Oci, 4042);
    let debug = Port::reserve();
    let mut server = Setup::hosting().watched(&debug).start();
    server.target().image("team/app", "zero", &image);
    server.stop();
    let volume = Volume::at(server.data());
    (0..TAGS).for_each(|number| volume.tag("team/app", &format!("{number:07}"), image.digest()));
    server.restart();
    let complete = || Scrape::of(&debug.url()).find("entrepot_index_complete", &[]) == Some(1.);
    let names = |list: &Value| -> Vec<String> {
        list["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
    };
    wait_until("the index to be complete", Duration::from_secs(60), complete);
    let all = http::get(&server.v2("team/app/tags/list")).send();
    assert_eq!((all.status, all.header("transfer-encoding"), all.length()), (200, Some("chunked"), None));
    let list = all.json();
    let wanted: Vec<_> = (0..TAGS).map(|number| format!("{number:07}")).chain(["zero".to_owned()]).collect();
    assert_eq!((list["name"].as_str(), names(&list) == wanted), (Some("team/app"), true));
    let rest = http::get(&server.v2("team/app/tags/list?last=0003999")).send().json();
    assert!(names(&rest) == wanted[4_000..]);
    let page = http::get(&server.v2("team/app/tags/list?n=3&last=0005498")).send();
    assert!(page.length().is_some());
    assert_eq!(names(&page.json()), ["0005499", "zero"]);
}

/// For a second each, in a debug build.
fn small() -> Sizes {
    Sizes {
        mounted: 1,
        layer: 256 << 20,
        filling: 64 << 20,
        bandwidth: 4_000_000,
        ahead: 48 << 20,
        clients: 20,
        taken: 512 << 10,
        network: 12_500_000,
        idle: 200,
        disk: 32,
        repositories: 100,
        volume: 64,
        referrers: 20,
        referrer: 1 << 20,
        tags: 5_500,
        uploads: 3,
        upload: 128 << 20,
        lasting: Duration::from_secs(1),
        patience: Duration::from_secs(1),
    }
}

/// Under each kind of long work, a small blob and a probe take about as long as on an idle server. `--nocapture` shows
/// the figures; `cargo bench --bench liveness` has the loads as large as in production.
#[test]
fn long_work_keeps_nobody_waiting() {
    let (_server, bystander) = loads::bystander();
    for (name, load) in LOADS {
        keeps_nobody_waiting(name, &load(&small()).measure(PEACE, &bystander));
    }
}

#[allow(clippy::print_stderr, reason = "figures for whoever looks")]
fn keeps_nobody_waiting(load: &str, measured: &Measured) {
    eprintln!("{load}: {:.1?}; {}", measured.took, measured.outcome);
    let waits = measured.loaded.iter().zip(&measured.peace).zip(&measured.beside);
    for (kind, ((loaded, peace), beside)) in Place::KINDS.iter().zip(waits) {
        let figures = format!("{kind} during {load}: {loaded}; in peace {peace}; beside it {beside}");
        eprintln!("    {figures}");
        for share in [0.5, 0.9] {
            let usual = peace.quantile(share).max(beside.quantile(share));
            assert!(loaded.quantile(share) < usual * RATIO + SLACK, "{figures}");
        }
    }
}
