//! A disk that another program fills: pulls continue and are right, nothing crashes, and everything recovers when space
//! returns.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::support::{
    admin,
    disk::{Disk, Kind, MIB},
    images::{Blob, Format, Image},
    rounds, scratch,
    server::{Server, Setup},
    upstream::{self, Upstream},
    volume_check::VolumeCheck,
    wait_until,
};

const KIB: usize = 1 << 10;
const MEBI: usize = 1 << 20;
/// Longer than the interval of any periodic check.
const SOON: Duration = Duration::from_secs(30);

fn mirror(upstream: &Upstream, disk: &Disk) -> Setup {
    Setup::both(&upstream.url()).on(disk).lease("0s").freshness("1h")
}

fn blob_fetches(upstream: &Upstream) -> usize {
    upstream.count("GET", upstream::Kind::Blob)
}

/// New content is cached again: the second pull asks the upstream for no blob.
fn caches_again(server: &Server, upstream: &Upstream, seed: u64) {
    let mut number = 0;
    wait_until("what is pulled to be kept again", SOON, || {
        let (name, image) =
            (format!("library/again{seed}-{number}"), Image::of_size(Format::Oci, seed * 1000 + number, 200 * KIB));
        number += 1;
        upstream.add(&name, "latest", &image);
        server.pull(&name, "latest", &image);
        let asked = blob_fetches(upstream);
        server.pull(&name, "latest", &image);
        thread::sleep(Duration::from_millis(200));
        blob_fetches(upstream) == asked
    });
}

/// 64 MiB, filled by another program to the last block, at rest and during pulls.
fn a_disk_that_another_fills(kind: Kind) {
    let (disk, upstream) = (Disk::new(kind, 64), Upstream::plain());
    let (old, new) = (Image::of_size(Format::Oci, 760, 6 * MEBI), Image::of_size(Format::Docker, 761, 5 * MEBI));
    let pushed = Image::of_size(Format::Oci, 762, 2 * MEBI);
    upstream.add("library/old", "latest", &old);
    upstream.add("library/new", "latest", &new);
    let mut server = mirror(&upstream, &disk).start();
    server.target().image("team/app", "1", &pushed);
    server.pull("library/old", "latest", &old);

    let mut filler = disk.fill(0);
    for _ in 0..3 {
        server.pull("library/new", "latest", &new);
        server.pull("library/old", "latest", &old);
        server.pull("team/app", "1", &pushed);
        // The other program takes the space of evicted content.
        filler.leave(0);
    }
    let refused = server.target().request("POST", "team/app/blobs/uploads/").send();
    assert!([202, 403].contains(&refused.status), "{}", refused.status);
    drop(filler);
    caches_again(&server, &upstream, 77);
    server.pull("library/new", "latest", &new);
    server.target().image("team/app", "2", &new);
    VolumeCheck::new(server.data()).is_whole();

    let filler = disk.fill(0);
    server.kill9();
    drop(filler);
    server.restart();
    server.pull("team/app", "1", &pushed);
    server.pull("team/app", "2", &new);
    server.pull("library/old", "latest", &old);
    VolumeCheck::new(server.data()).is_whole();
}

#[test]
fn another_program_fills_an_ext4() {
    a_disk_that_another_fills(Kind::Ext4);
}

#[test]
fn another_program_fills_a_tmpfs() {
    a_disk_that_another_fills(Kind::Tmpfs);
}

/// The disk is full at the start already: the server starts, serves its content, and recovers.
#[test]
fn it_starts_on_a_full_disk() {
    let (disk, upstream) = (Disk::ext4(64), Upstream::plain());
    let (kept, new) = (Image::of_size(Format::Oci, 770, MEBI), Image::of_size(Format::Oci, 771, MEBI));
    let pushed = Image::of_size(Format::Oci, 772, MEBI);
    upstream.add("library/kept", "latest", &kept);
    upstream.add("library/new", "latest", &new);
    let mut server = mirror(&upstream, &disk).start();
    server.target().image("team/app", "1", &pushed);
    server.pull("library/kept", "latest", &kept);
    for clean in [true, false] {
        if clean {
            server.stop();
        } else {
            server.kill9();
        }
        let filler = disk.fill(0);
        server.restart();
        server.pull("team/app", "1", &pushed);
        server.pull("library/kept", "latest", &kept);
        server.pull("library/new", "latest", &new);
        drop(filler);
        caches_again(&server, &upstream, if clean { 78 } else { 79 });
    }
    VolumeCheck::new(server.data()).is_whole();
}

/// Another program grows: mirrored content is evicted until the headroom is free again.
#[test]
fn mirrored_content_is_evicted_for_another_program() {
    let (disk, upstream) = (Disk::ext4(128), Upstream::plain());
    let server = mirror(&upstream, &disk).variable("REGISTRY_STORAGE_HEADROOM", "8MiB").start();
    for number in 0..12 {
        let (name, image) = (format!("library/part{number}"), Image::of_size(Format::Oci, 780 + number, 5 * MEBI));
        upstream.add(&name, "latest", &image);
        server.pull(&name, "latest", &image);
    }
    let filler = disk.fill(2 * MIB);
    wait_until("the headroom to be free again", SOON, || disk.free() >= 8 * MIB);
    drop(filler);
    VolumeCheck::new(server.data()).is_whole();
}

/// The index runs out of space again and again: pulls and lists continue, and when space returns pulled content is
/// cached again.
#[test]
fn the_index_runs_out_of_space() {
    let (disk, upstream) = (Disk::ext4(64), Upstream::plain());
    let pushed = Image::of_size(Format::Oci, 790, MEBI);
    let mut server = mirror(&upstream, &disk).start();
    let target = server.target();
    target.image("team/app", "1", &pushed);
    for round in 0..rounds(20) as u64 {
        let (over, number) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let number = number.fetch_add(1, Ordering::SeqCst);
                    let image = Image::of_size(Format::Oci, 80_000 + round * 1000 + number, 9 * KIB);
                    let name = format!("library/r{round}-{number}");
                    upstream.add(&name, "latest", &image);
                    server.pull(&name, "latest", &image);
                    server.pull("team/app", "1", &pushed);
                    assert_eq!(target.json("team/app/tags/list")["tags"], serde_json::json!(["1"]));
                }
            });
            thread::sleep(Duration::from_millis(300));
            let mut filler = disk.fill(0);
            for _ in 0..20 {
                // sled writes its changes every half second.
                thread::sleep(Duration::from_millis(100));
                filler.leave(0);
            }
            drop(filler);
            over.store(true, Ordering::SeqCst);
        });
        assert!(number.load(Ordering::SeqCst) > 3, "nothing went on");
        caches_again(&server, &upstream, 90 + round);
    }
    VolumeCheck::new(server.data()).is_whole();
    server.stop();
    server.restart();
    server.pull("team/app", "1", &pushed);
    caches_again(&server, &upstream, 99);
}

/// A push during which space runs out is refused, and works when there is space again.
#[test]
fn a_push_on_a_full_disk_is_refused_and_works_later() {
    let (disk, upstream) = (Disk::ext4(64), Upstream::plain());
    let server = mirror(&upstream, &disk).start();
    let (target, blob) = (server.target(), Blob::window(91, 8 * MEBI));
    let mut session = target.begin("team/app");
    assert_eq!(session.patch(None, &blob.bytes[..2 * MEBI]).status, 202);
    let filler = disk.fill(0);
    let refused = session.clone().patch(Some(2 * MEBI), &blob.bytes[2 * MEBI..]);
    assert_eq!(refused.status, 403);
    let message = refused.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("no space left on device"), "{message}");
    drop(filler);
    let received = usize::try_from(session.received()).unwrap();
    assert!(received >= 2 * MEBI, "{received}");
    assert_eq!(session.patch(Some(received), &blob.bytes[received..]).status, 202);
    assert_eq!(session.put(&blob.digest, b"").status, 201);
    assert_eq!(server.blob("team/app", &blob.digest).send().summary().digest, blob.digest);
}

/// The disk is full while everything is leased, so that the index fails: once the leases are over, content is evicted
/// without an index, for as long as the disk stays full, and after a restart as well.
#[test]
fn a_failed_index_prevents_no_eviction() {
    let (disk, upstream) = (Disk::ext4(64), Upstream::plain());
    let pushed = Image::of_size(Format::Oci, 795, 2 * MEBI);
    let mut server = mirror(&upstream, &disk).lease("5s").freshness("0s").start();
    server.target().image("team/app", "1", &pushed);
    for number in 0..30 {
        let (name, image) = (format!("library/kept{number}"), Image::of_size(Format::Oci, 81_000 + number, MEBI));
        upstream.add(&name, "latest", &image);
        server.pull(&name, "latest", &image);
    }
    let blobs = server.data().join("docker/registry/v2/blobs");
    let count = || scratch::files(&blobs).len();
    let mut filler = disk.fill(0);
    for restarted in [false, true] {
        if restarted {
            server.kill9();
            filler.leave(0);
            server.restart();
        } else {
            // Requests to the upstream are recorded until the index has no space for them.
            wait_until("the index to fail", 2 * SOON, || {
                filler.leave(0);
                (0..30).for_each(|number| drop(server.manifest(&format!("library/kept{number}"), "latest").send()));
                server.log().contains("the index failed")
            });
        }
        let before = count();
        wait_until("room to be made", SOON, || {
            // The other program takes the space of evicted content.
            filler.leave(0);
            count() + 5 < before
        });
        server.pull("team/app", "1", &pushed);
    }
    drop(filler);
    caches_again(&server, &upstream, 81);
    server.pull("team/app", "1", &pushed);
    VolumeCheck::new(server.data()).is_whole();
}

/// A name without a stored claim, as on a volume of `registry:2`: its last manifest is removed from a disk without a
/// free block, by a delete or by a collection, and the name stays hosted.
#[test]
fn a_delete_on_a_full_disk_works() {
    let (disk, upstream) = (Disk::new(Kind::Tmpfs, 64), Upstream::plain());
    let image = Image::of_size(Format::Oci, 770, MEBI);
    let names = ["team/deleted", "team/collected"];
    names.iter().for_each(|name| upstream.add(name, "1", &Image::of_size(Format::Oci, 771, KIB)));
    let setup = || mirror(&upstream, &disk).hosted("team/*").variable("REGISTRY_GC_INTERVAL", "0");
    let mut server = setup().start();
    names.iter().for_each(|name| server.target().image(name, "1", &image));
    assert_eq!(server.target().delete("team/collected/manifests/1"), 202);
    let home = server.data().join("docker/registry/v2/repositories");
    let claim = |name: &str| home.join(name).join("_hosted");
    server.stop();
    let mut server = mirror(&upstream, &disk).variable("REGISTRY_GC_INTERVAL", "0").start();
    names.iter().for_each(|name| std::fs::remove_dir_all(claim(name)).unwrap());
    let filler = disk.fill(0);
    assert!(std::fs::write(server.data().join("probe"), [1; 10]).is_err(), "there is room: this shows nothing");
    let manifest = format!("team/deleted/manifests/{}", image.digest());
    assert_eq!(server.target().delete(&manifest), 202, "a delete needs no room");
    admin::gc(server.data(), true, Some(0));
    drop(filler);
    for restarted in [false, true] {
        if restarted {
            server.restart();
        }
        for name in names {
            assert!(claim(name).is_dir(), "{name} is claimed");
            assert!(scratch::files(&home.join(name).join("_manifests/revisions")).is_empty(), "{name} has no manifest");
            assert_eq!(server.manifest(name, "1").send().status, 404, "{name} is not the upstream's");
        }
    }
    server.target().image("team/deleted", "1", &image);
    server.pull("team/deleted", "1", &image);
}
