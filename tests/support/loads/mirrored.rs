//! Loads on mirrored content.

use std::{
    fs::{self, File},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{Scene, Sizes, large, quiet, small};
use crate::support::{
    disk::{Disk, MIB},
    images::{Blob, Format, Image},
    pace::Pace,
    ports::Port,
    scrape::Scrape,
    server::{Server, Setup},
    upstream::{Fault, Kind, Rule, Upstream},
    wait_until,
};

pub(crate) const MIRRORED: &str = "library/big";
const WARM: &str = "library/warm";
const LIMIT: Duration = Duration::from_secs(600);

/// A mirror that takes pushes, with the warm blob.
fn start(upstream: &Upstream, setup: impl FnOnce(Setup) -> Setup) -> Server {
    let warm = small();
    upstream.add_blob(WARM, &warm);
    let server = setup(quiet(Setup::both(&upstream.url())).hosted("team/*")).start();
    assert_eq!(server.blob(WARM, &warm.digest).send().summary().digest, warm.digest);
    server
}

/// Mounts a mirrored blob into this many repositories at once.
pub(crate) fn mount_everywhere(server: &Server, blob: &Blob, repositories: usize) {
    thread::scope(|scope| {
        for number in 0..repositories {
            let target = server.target();
            scope.spawn(move || {
                let path = format!("team/app{number}/blobs/uploads/?mount={}&from={MIRRORED}", blob.digest);
                let mounted = target.request("POST", &path).patience(LIMIT).send();
                assert_eq!(mounted.status, 201, "into the repository {number}");
            });
        }
    });
}

/// Mounts of large mirrored blobs: each is hashed again, and made durable.
pub(super) fn mounts(sizes: &Sizes) -> Scene {
    let (upstream, blobs) =
        (Upstream::plain(), (0..sizes.mounted).map(|number| large(number as u64, sizes.layer)).collect::<Vec<_>>());
    blobs.iter().for_each(|blob| upstream.add_blob(MIRRORED, blob));
    let server = start(&upstream, |setup| setup);
    for blob in &blobs {
        assert_eq!(server.blob(MIRRORED, &blob.digest).send().summary().digest, blob.digest);
    }
    Scene::new(server, WARM, small(), move |server| {
        let _upstream = upstream;
        blobs.iter().for_each(|blob| mount_everywhere(server, blob, 40));
        String::new()
    })
}

/// A mirror that has begun to fetch a large blob, for a client that reads until it is stopped.
fn filling(sizes: &Sizes, act: impl FnOnce(&Server, &Upstream, &Blob) -> String + 'static) -> Scene {
    let (upstream, blob) = (Upstream::plain(), large(100, sizes.filling));
    upstream.add_blob(MIRRORED, &blob);
    let server = start(&upstream, |setup| setup);
    upstream.fault(Rule::on(Kind::Blob, Fault::Bandwidth(sizes.bandwidth)).path(MIRRORED));
    Scene::new(server, WARM, small(), move |server| {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut whole = server.blob(MIRRORED, &blob.digest).send();
            let (over, mut left) = (&over, blob.len());
            scope.spawn(move || {
                while left > 0 && !over.load(Relaxed) {
                    left -= whole.exactly(left.min(64 << 10)).len();
                }
            });
            let done = act(server, &upstream, &blob);
            over.store(true, Relaxed);
            done
        })
    })
}

/// Many clients that request the end of a blob during the fill of its beginning.
pub(super) fn ranges(sizes: &Sizes) -> Scene {
    let (clients, ahead, taken, network) = (sizes.clients, sizes.ahead, sizes.taken, sizes.network);
    filling(sizes, move |server, upstream, blob| {
        thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    let get = server.blob(MIRRORED, &blob.digest).header("Range", &format!("bytes={ahead}-"));
                    let mut range = get.patience(LIMIT).send();
                    assert_eq!(range.status, 206);
                    let mut pace = Pace::of(network / clients as u64);
                    for piece in blob.bytes[ahead..ahead + taken].chunks(64 << 10) {
                        pace.wait(piece.len() as u64);
                        assert!(range.exactly(piece.len()) == piece, "other bytes came");
                    }
                });
            }
        });
        format!("{} GETs upstream", upstream.count("GET", Kind::Blob))
    })
}

/// Very many clients of a blob being filled that read nothing, every second of them from another offset, while uncached
/// images are pulled.
pub(super) fn idle(sizes: &Sizes) -> Scene {
    let (clients, lasting) = (sizes.idle, sizes.lasting);
    filling(sizes, move |server, upstream, blob| {
        let begin = |number: usize| {
            let get = server.blob(MIRRORED, &blob.digest).window(4096).patience(LIMIT);
            let get = match number % 2 {
                0 => get,
                _ => get.header("Range", &format!("bytes={}-", blob.len() / clients * number)),
            };
            get.send()
        };
        let mut all: Vec<_> = (0..clients).step_by(2).map(begin).collect();
        let next = AtomicUsize::new(1);
        let ahead = thread::scope(|scope| {
            let begin_some = || {
                let numbers =
                    std::iter::from_fn(|| Some(next.fetch_add(2, Relaxed)).filter(|number| *number < clients));
                numbers.map(begin).collect::<Vec<_>>()
            };
            let beginning: Vec<_> = (0..16).map(|_| scope.spawn(begin_some)).collect();
            beginning.into_iter().flat_map(|some| some.join().unwrap()).collect::<Vec<_>>()
        });
        all.extend(ahead);
        assert!(all.iter().all(|response| [200, 206].contains(&response.status)));
        let (begun, mut pulls, mut longest) = (Instant::now(), 0, Duration::ZERO);
        while begun.elapsed() < lasting {
            let (name, image) = (format!("library/new{pulls}"), Image::single(Format::Oci, 6000 + pulls));
            upstream.add(&name, "latest", &image);
            let start = Instant::now();
            server.pull(&name, "latest", &image);
            longest = longest.max(start.elapsed());
            pulls += 1;
        }
        let connections = upstream.connections();
        format!("{pulls} pulls, {longest:.0?} at most; {connections} connections upstream")
    })
}

/// Misses on a full disk of old content, with the default lease.
pub(super) fn evictions(sizes: &Sizes) -> Scene {
    const KEPT: usize = 48 << 10;
    const MISSED: usize = 192 << 10;
    let (upstream, disk, port) = (Upstream::plain(), Disk::ext4(sizes.disk), Port::reserve());
    let whole = usize::try_from(sizes.disk * MIB).unwrap();
    let some = |length: usize, bytes: usize, from: usize| {
        let blobs: Vec<_> = (0..bytes / length).map(|number| Blob::window(from + number * 1000, length)).collect();
        blobs.iter().for_each(|blob| upstream.add_blob(MIRRORED, blob));
        blobs
    };
    let (kept, missed) = (some(KEPT, whole * 7 / 10, 0), some(MISSED, whole * 3 / 10, 1));
    let mut server = start(&upstream, |setup| setup.on(&disk).watched(&port));
    get_all(&server, &kept);
    server.stop();
    // None of it has been used since yesterday, by all that is on the disk.
    fs::remove_dir_all(server.data().join("index")).unwrap();
    fs::remove_file(server.data().join("uses")).unwrap();
    let blobs = server.data().join("docker/registry/v2/blobs");
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    for file in crate::support::scratch::files(&blobs) {
        File::options().write(true).open(blobs.join(file)).unwrap().set_modified(yesterday).unwrap();
    }
    server.restart();
    wait_until("the index to be complete", LIMIT, || {
        Scrape::of(&port.url()).find("entrepot_index_complete", &[]) == Some(1.)
    });
    let act = move |server: &Server| {
        let _upstream = upstream;
        get_all(server, &missed);
        let evicted = Scrape::of(&port.url()).find("entrepot_evicted_objects_total", &[]).unwrap_or_default();
        assert!(evicted > 0., "nothing was evicted");
        format!("{} misses, {evicted} evicted", missed.len())
    };
    Scene::new(server, WARM, small(), act).on(disk)
}

/// Eight clients get all of these.
fn get_all(server: &Server, blobs: &[Blob]) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(blob) = blobs.get(next.fetch_add(1, Relaxed)) {
                    assert_eq!(server.blob(MIRRORED, &blob.digest).send().summary().digest, blob.digest);
                }
            });
        }
    });
}

/// Fifty clients that request an unknown name, of an upstream that does not respond.
pub(super) fn silence(sizes: &Sizes) -> Scene {
    let (upstream, patience) = (Upstream::plain(), sizes.patience);
    let server = start(&upstream, |setup| setup);
    upstream.fault(Rule::on_all(Fault::Hang));
    Scene::new(server, WARM, small(), move |server| {
        let ask = || server.manifest("library/absent", "latest").patience(patience).try_send();
        let mut answers: Vec<_> = thread::scope(|scope| {
            let clients: Vec<_> = (0..50).map(|_| scope.spawn(ask)).collect();
            clients.into_iter().filter_map(|client| Some(client.join().unwrap().ok()?.status)).collect()
        });
        answers.dedup();
        format!("answers: {answers:?}; {} connections upstream", upstream.connections())
    })
}
