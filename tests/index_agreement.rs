//! The index that a server keeps up to date and the one that is made anew from the disk agree in every record.

use std::{thread, time::Duration};

use crate::support::{
    admin,
    images::{Blob, Format, Image},
    index_records, scratch,
    server::{Server, Setup},
    upstream::Upstream,
};

/// The time after which mirrored content goes.
const TTL: u64 = 6;

/// Pulls, pushes, evictions of whole images, deletes and a collection.
fn use_all(server: &Server, upstream: &Upstream) {
    let base = Blob::noise(8301, 40_000);
    let images = [
        ("library/gone", Image::index(Format::Oci, 8310, 9000)),
        ("library/shared", Image::of_layers(Format::Oci, &[base.clone(), Blob::noise(8320, 5000)])),
        ("base/pinned", Image::of_size(Format::Docker, 8330, 7000)),
        ("library/stays", Image::of_layers(Format::Docker, &[base.clone(), Blob::noise(8340, 6000)])),
        ("library/index", Image::index(Format::Docker, 8350, 8000)),
    ];
    images.iter().for_each(|(name, image)| upstream.add(name, "latest", image));
    images[..3].iter().for_each(|(name, image)| server.pull(name, "latest", image));
    let target = server.target();
    let pushed = [8400, 8410, 8420].map(|seed| Image::of_size(Format::Oci, seed, 10_000));
    target.image("team/app", "1", &pushed[0]);
    target.image("team/app", "2", &pushed[1]);
    target.image("team/gone", "1", &pushed[2]);
    target.image("team/index", "1", &Image::index(Format::Oci, 8430, 4000));
    // Mirrored content that is pushed as well.
    target.image("team/shared", "1", &images[1].1);
    thread::sleep(Duration::from_secs(TTL + 3));
    images[2..].iter().for_each(|(name, image)| server.pull(name, "latest", image));
    assert_eq!(target.delete(&format!("team/app/manifests/{}", pushed[1].digest())), 202);
    assert_eq!(target.delete(&format!("team/gone/manifests/{}", pushed[2].digest())), 202);
    assert_eq!(target.delete("team/index/manifests/1"), 202);
    admin::gc(server.data(), true, Some(0));
}

#[test]
fn a_running_index_is_the_one_that_is_made_anew() {
    let (upstream, data) = (Upstream::plain(), scratch::dir("data"));
    let setup = Setup::both(&upstream.url()).data_at(data.path()).lease("0s").freshness("1h");
    let setup = setup.variable("REGISTRY_STORAGE_PINNED", "[\"base/*\"]");
    let mut server = setup.clone().variable("REGISTRY_PROXY_TTL", &format!("{TTL}s")).start();
    use_all(&server, &upstream);
    server.stop();
    let running = index_records::records(data.path());
    let has = |part: &str| running.iter().any(|line| line.contains(part));
    assert!(has("library/stays") && has("base/pinned") && has("team/app"), "{running:#?}");
    index_records::equal_those_made_anew(data.path(), setup);
}
