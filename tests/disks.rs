//! A data directory on several disks: blobs, repositories or a part of either are on other disks, by symbolic links or
//! mount points. Files are staged on the disk they are published on, so that no rename crosses disks.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::support::{
    disk::{Disk, Kind},
    fault::Fault,
    images::{Format, Image},
    reachability,
    server::{Server, Setup},
    upstream::Upstream,
};

/// A folder of the data directory that is a symbolic link to an empty folder on that disk.
fn lies_on(data: &Path, folder: &str, disk: &Disk) {
    let (place, there) = (data.join(folder), disk.data().join("there"));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::create_dir(&there).unwrap();
    symlink(there, place).unwrap();
}

/// Pushes in one request, in chunks and by mount, and pulls; mirrored content is cached: the upstream is asked once.
fn works(server: &mut Server, upstream: &Upstream, repository: &str, seed: u64) {
    let target = server.target();
    let (pushed, mirrored) =
        (Image::of_size(Format::Oci, seed, 300_000), Image::of_size(Format::Oci, seed + 1, 300_000));
    target.image(repository, "1", &pushed);
    let piece = pushed.layer();
    let mut session = target.begin("team/pieces");
    assert_eq!(session.patch(Some(0), &piece.bytes[..1000]).status, 202);
    assert_eq!(session.put(&piece.digest, &piece.bytes[1000..]).status, 201);
    let hub = format!("hub/image{seed}");
    upstream.add(&hub, "1", &mirrored);
    server.pull(&hub, "1", &mirrored);
    let asked = upstream.counted();
    server.restart();
    server.pull(&hub, "1", &mirrored);
    assert_eq!(upstream.counted(), asked, "what is mirrored was not kept");
    server.pull(repository, "1", &pushed);
}

fn both(upstream: &Upstream) -> Setup {
    Setup::both(&upstream.url()).hosted("team/*").lease("0").freshness("1h")
}

#[test]
fn each_part_may_lie_on_a_disk_of_its_own() {
    let cases: [&[&str]; 4] = [
        &["docker"],
        &["docker/registry/v2/blobs"],
        &["docker/registry/v2/repositories"],
        &["docker/registry/v2/repositories/team", "docker/registry/v2/blobs/sha256"],
    ];
    for (number, folders) in cases.into_iter().enumerate() {
        let upstream = Upstream::plain();
        let setup = both(&upstream);
        let disks: Vec<_> = folders.iter().map(|_| Disk::new(Kind::Tmpfs, 64)).collect();
        folders.iter().zip(&disks).for_each(|(folder, disk)| lies_on(setup.data(), folder, disk));
        let mut server = setup.start();
        works(&mut server, &upstream, "team/app", 100 * number as u64);
        assert!(!server.log().contains("cross-device"), "{folders:?}");
    }
}

/// Damaged bytes are moved to the quarantine on their own disk.
#[test]
fn damaged_bytes_are_set_aside_on_their_own_disk() {
    let (upstream, disk) = (Upstream::plain(), Disk::new(Kind::Tmpfs, 64));
    let setup = both(&upstream);
    lies_on(setup.data(), "docker", &disk);
    let mut server = setup.start();
    let image = Image::single(Format::Oci, 7);
    server.target().image("team/app", "1", &image);
    server.stop();
    let layer = image.layer();
    let path = server.data().join("docker/registry/v2").join(reachability::data(&layer.digest));
    fs::write(&path, vec![0; layer.bytes.len()]).unwrap();
    server.restart();
    assert_ne!(server.blob("team/app", &layer.digest).send().status, 200);
    let aside: PathBuf = server.data().join("docker/quarantine").join(layer.digest.replace(':', "-"));
    assert!(aside.is_file(), "nothing is at {aside:?}: {}", server.log());
    server.target().blob("team/app", layer);
    server.pull("team/app", "1", &image);
    assert!(!aside.exists());
}

/// A disk that is not writable is reported at the start, with its path, and not at the first push.
#[test]
fn a_disk_that_takes_nothing_stops_the_start() {
    let (upstream, disk) = (Upstream::plain(), Disk::new(Kind::Tmpfs, 64));
    let setup = both(&upstream);
    lies_on(setup.data(), "docker", &disk);
    let staging = setup.data().join("docker/staging");
    let data = setup.data().to_str().unwrap();
    let faulty = Fault::always("mkdir", "EROFS", &staging)
        .run(&["serve", "--data", data], &[("REGISTRY_HTTP_ADDR", "127.0.0.1:0")]);
    assert!(faulty.happened());
    let said = &faulty.outcome.output;
    assert!(!faulty.outcome.status.success() && said.contains(staging.to_str().unwrap()), "{said}");
}
