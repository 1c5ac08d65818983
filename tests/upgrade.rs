//! A start on a volume that an earlier release wrote: its index is converted, so that nothing is hashed again, the
//! order of eviction stays, and tags stay fresh.
//!
//! The volume is `tests/data/volume-index3.ext4.gz`: a filesystem image, since the index knows files by their inodes.
//! Beside it, `volume-index3.json` holds what that release's index said. Both are written by the ignored test below,
//! run in a checkout of the release:
//!
//! ```text
//! VOLUME=volume-index3 cargo test --test main -- --ignored upgrade::writes_the_volume
//! ```

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, UNIX_EPOCH},
};

use entrepot::{
    index::Index,
    oci::{Domain, Repository},
};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::{Value, json};

use crate::support::{
    disk::Disk,
    images::{Format, Image},
    ports::Port,
    scrape::Scrape,
    scratch,
    server::Setup,
    upstream::Upstream,
};

/// The names of the mirrored images, and how often each is pulled.
const MIRRORED: [(&str, usize); 4] =
    [("library/once", 1), ("library/often", 4), ("library/large", 2), ("library/index", 2)];
const HOSTED: &str = "team/app";

fn mirrored() -> Vec<(&'static str, usize, Image)> {
    let images = [
        Image::of_size(Format::Oci, 900, 30_000),
        Image::of_size(Format::Docker, 901, 30_000),
        Image::of_size(Format::Oci, 902, 60_000),
        Image::index(Format::Oci, 903, 10_000),
    ];
    MIRRORED.iter().zip(images).map(|((name, pulls), image)| (*name, *pulls, image)).collect()
}

fn hosted() -> Image {
    Image::of_size(Format::Oci, 907, 20_000)
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The records of an index that evictions and requests depend on. Opens a copy, since opening changes the files.
fn records(index: &Path, blobs: &[String]) -> Value {
    let copy = scratch::dir("index");
    for file in scratch::files(index) {
        fs::create_dir_all(copy.path().join(&file).parent().unwrap()).unwrap();
        fs::copy(index.join(&file), copy.path().join(&file)).unwrap();
    }
    let index = Index::open(&copy.path().join("v1"));
    assert!(index.was_complete(), "it is the one that was closed");
    let queue: Vec<_> = index.next_in_queue(None, 1000).0.iter().map(ToString::to_string).collect();
    let entry = |digest: &String| {
        let entry = index.blob_entry(&digest.parse().unwrap()).unwrap();
        json!([digest, format!("{:?}", entry.owner), entry.used, entry.uses, entry.allocated])
    };
    let checked = |(name, ..): &(&str, usize)| {
        let place = Repository { domain: Some(Domain::docker_hub()), name: name.parse().unwrap() };
        let fact = index.tag(&place, &"latest".parse().unwrap()).unwrap();
        json!([name, fact.checked().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64])
    };
    json!({
        "queue": queue,
        "blobs": blobs.iter().map(entry).collect::<Vec<_>>(),
        "tags": MIRRORED.iter().map(checked).collect::<Vec<_>>(),
    })
}

/// The digests of all blobs and manifests of the volume.
fn digests() -> Vec<String> {
    let images: Vec<_> = mirrored().into_iter().map(|(.., image)| image).chain([hosted()]).collect();
    let of = |image: &Image| {
        let manifests = image.manifests().map(|manifest| manifest.digest.clone());
        manifests.chain(image.blobs.iter().map(|blob| blob.digest.clone())).collect::<Vec<_>>()
    };
    images.iter().flat_map(of).collect()
}

#[test]
#[ignore = "writes files of this folder; run it at the release whose volume they shall be"]
fn writes_the_volume() {
    let name = std::env::var("VOLUME").unwrap();
    let (disk, upstream) = (Disk::ext4(16), Upstream::plain());
    let mut server = Setup::both(&upstream.url()).on(&disk).lease("0s").start();
    for (name, _, image) in mirrored() {
        upstream.add(name, "latest", &image);
        server.pull(name, "latest", &image);
    }
    for (name, pulls, image) in mirrored() {
        for _ in 1..pulls {
            // Uses are recorded each second, and the last one by the second.
            thread::sleep(Duration::from_millis(1100));
            server.pull(name, "latest", &image);
        }
    }
    server.target().image(HOSTED, "1", &hosted());
    thread::sleep(Duration::from_millis(1100));
    server.stop();
    let records = serde_json::to_string_pretty(&records(&disk.data().join("index"), &digests())).unwrap();
    fs::write(data(&format!("{name}.json")), records + "\n").unwrap();
    let mut packed = GzEncoder::new(File::create(data(&format!("{name}.ext4.gz"))).unwrap(), Compression::best());
    packed.write_all(&disk.into_image()).unwrap();
    packed.finish().unwrap();
}

/// The volume that release wrote, and what its index said.
fn unpacked(name: &str) -> (Disk, Value) {
    let mut image = Vec::new();
    GzDecoder::new(File::open(data(&format!("{name}.ext4.gz"))).unwrap()).read_to_end(&mut image).unwrap();
    let said = serde_json::from_str(&fs::read_to_string(data(&format!("{name}.json"))).unwrap()).unwrap();
    (Disk::of_image(&image), said)
}

/// Every record of the earlier release's index is there: owners, sizes, last uses, the order of eviction, tag times.
#[test]
fn the_index_of_an_earlier_release_is_taken_over() {
    let (disk, said) = unpacked("volume-index3");
    assert_eq!(records(&disk.data().join("index"), &digests()), said);
}

/// The server answers from the volume at once: no blob is hashed again, and no tag is asked for.
#[test]
fn after_an_upgrade_nothing_is_hashed_again_and_tags_are_fresh() {
    let (disk, _) = unpacked("volume-index3");
    let upstream = Upstream::plain();
    // The tags were checked when the volume was written; unknown times would be those of 1970.
    let debug = Port::reserve();
    let server = Setup::both(&upstream.url()).on(&disk).freshness("260000h").watched(&debug).start();
    let layers = mirrored().into_iter().map(|(name, _, image)| (name, "latest", image));
    for (name, tag, image) in layers.chain([(HOSTED, "1", hosted())]) {
        server.pull(name, tag, &image);
    }
    // Bytes that the index does not know as verified are hashed by a fill.
    let hashed = Scrape::of(&debug.url()).find("entrepot_fills_total", &["result=\"local\""]);
    assert_eq!(hashed.unwrap_or_default(), 0.);
    assert_eq!(upstream.requests().len(), 0, "what the upstream was asked");
    assert!(!server.log().contains("begun anew"), "{}", server.log());
}
