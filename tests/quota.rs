//! The quota: stored bytes never exceed it, and clients notice nothing but delays.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    access_log,
    support::{
        disk::{Disk, Kind, MIB},
        http::{self, Response},
        image_set::{ImageSet, figures, figures_equal_du},
        images::{Blob, Format, Image},
        rng::Rng,
        rounds, scratch,
        server::{Server, Setup, entrepot},
        uploads::{OCTETS, Target},
        upstream::{self, Upstream},
        volume_check::VolumeCheck,
        wait_until,
    },
};

const KIB: usize = 1 << 10;
const MEBI: usize = 1 << 20;

/// A mirror that takes pushes, on a disk larger than its quota, with content evictable at once after it was served.
pub(crate) fn within(upstream: &Upstream, disk: &Disk, quota: &str) -> Setup {
    let setup = Setup::both(&upstream.url()).on(disk).quota(quota).lease("0s").freshness("1h");
    setup.variable("REGISTRY_STORAGE_HEADROOM", "4MiB")
}

/// The images that clients pushed, and whether each was acknowledged.
type Pushed = Mutex<Vec<(String, Image, bool)>>;

/// Fifty clients pull ten times the quota and push, big and small; the filesystem is checked every 10 ms.
#[test]
fn a_storm_never_exceeds_the_quota() {
    const QUOTA: u64 = 96 * MIB;
    const CLIENTS: usize = 50;
    let set = ImageSet::of(960);
    assert!(set.bytes() >= 10 * QUOTA);
    let (disk, upstream) = (Disk::ext4(512), Upstream::plain());
    set.at(&upstream);
    let server = within(&upstream, &disk, "96MiB").start();
    let (watch, pushed, pulled, requests) = (disk.watch(), Pushed::default(), AtomicU64::new(0), AtomicU64::new(0));
    let (begun, long) = (Instant::now(), Duration::from_secs(rounds(120) as u64));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (server, set, pushed, pulled, requests) = (&server, &set, &pushed, &pulled, &requests);
            scope.spawn(move || {
                let mut rng = Rng::new(client as u64);
                for turn in 0.. {
                    let (name, image) = &set.images[rng.throw(set.images.len())];
                    server.pull(name, "latest", image);
                    requests.fetch_add((image.manifests().count() + image.blobs.len()) as u64, Ordering::Relaxed);
                    if turn < 2 {
                        let (name, image) = own_image(client * 2 + turn);
                        let taken = bring(server, &name, &image);
                        pushed.lock().unwrap().push((name, image, taken));
                    }
                    let size: usize = image.blobs.iter().map(Blob::len).sum();
                    let pulled = pulled.fetch_add(size as u64, Ordering::Relaxed);
                    if begun.elapsed() > long && pulled > 4 * QUOTA {
                        return;
                    }
                }
            });
        }
    });
    let most = watch.most();
    assert!(watch.looks() > 100, "{} looks", watch.looks());
    assert!(most <= QUOTA, "{most} bytes were used, {} more than allowed", most - QUOTA);
    assert!(most > QUOTA / 2, "only {most} bytes were ever used");
    let brought = upstream.sent(upstream::Kind::Blob);
    assert!(brought > 2 * QUOTA, "{brought} bytes are no storm");
    let pushed = pushed.into_inner().unwrap();
    let taken = pushed.iter().filter(|(.., taken)| *taken).count();
    assert!(taken >= CLIENTS / 2, "only {taken} of {} pushes were taken", pushed.len());
    for (name, image, taken) in &pushed {
        // A refused push found all space reserved for fills in progress: now there are none.
        assert!(*taken || bring(&server, name, image), "{name} is refused in all quiet");
        server.pull(name, "1", image);
    }
    VolumeCheck::new(server.data()).is_whole();
    figures_equal_du(&server, "after the storm");
    // Its own log can be replayed: each pull of mirrored content is in it once.
    assert_eq!(access_log::simulate(&server.log())["requests"], requests.into_inner());
}

/// An image of one client.
fn own_image(number: usize) -> (String, Image) {
    let size = if number.is_multiple_of(20) { 2 * MEBI } else { 100 * KIB } + number;
    let layer = Blob::window(40 * MEBI + number * 4096, size);
    (format!("team/app{number}"), Image::of_layers(Format::Docker, &[layer]))
}

/// Pushes an image; returns `false` if it was refused for lack of space.
fn bring(server: &Server, name: &str, image: &Image) -> bool {
    let target = server.target();
    let refused = image.blobs.iter().map(|blob| push_blob(&target, name, blob)).find(|put| put.status != 201);
    let put = refused.unwrap_or_else(|| target.manifest(name, "1", &image.top));
    let taken = put.status == 201;
    if !taken {
        is_refused_for_room(put);
    }
    taken
}

/// Pushes a blob; returns the final response.
fn push_blob(target: &Target, repository: &str, blob: &Blob) -> Response {
    let post = target.request("POST", &format!("{repository}/blobs/uploads/")).send();
    if post.status == 202 { target.session(&post).put(&blob.digest, &blob.bytes) } else { post }
}

/// 403 DENIED with the figures in its text. Returns the figures.
fn is_refused_for_room(response: Response) {
    assert_eq!(response.status, 403, "refused for lack of room");
    let error = &response.json()["errors"][0];
    assert_eq!(error["code"], "DENIED");
    let (used, allowed, needed) = figures(error["message"].as_str().unwrap());
    assert!(used + needed > allowed || used > allowed / 2, "{error}");
}

/// A blob larger than the quota is pulled uncached, every time from upstream, and nothing is evicted for it.
#[test]
fn a_blob_beyond_the_quota_pulls_uncached() {
    let (disk, upstream) = (Disk::ext4(256), Upstream::plain());
    let (small, huge) = (Image::single(Format::Oci, 700), Blob::window(3, 44 * MEBI));
    upstream.add("library/small", "latest", &small);
    upstream.add_blob("library/huge", &huge);
    let server = within(&upstream, &disk, "40MiB").start();
    server.pull("library/small", "latest", &small);
    let (counted, watch) = (upstream.counted(), disk.watch());
    for time in 1..=2 {
        let got = server.blob("library/huge", &huge.digest).send();
        assert_eq!((got.status, got.summary().digest), (200, huge.digest.clone()));
        let sent = upstream.requests().iter().filter(|asked| asked.request.path.contains(&huge.digest)).count();
        assert!(sent >= time, "it was kept");
    }
    assert!(watch.most() < 30 * MIB, "{} bytes were used for what is not kept", watch.most());
    let asked = upstream.count("GET", upstream::Kind::Blob);
    server.pull("library/small", "latest", &small);
    assert_eq!(
        (upstream.counted(), upstream.count("GET", upstream::Kind::Blob)),
        (counted, asked),
        "nothing made way for it"
    );
}

/// A quota full of pushed content: pulls pass through uncached, pushes are refused with a reason, nothing else fails.
#[test]
fn a_quota_full_of_pushes_refuses_pushes_alone() {
    let (disk, upstream) = (Disk::ext4(256), Upstream::plain());
    let (set, mirrored) = (ImageSet::of(20), Image::of_size(Format::Oci, 710, 3 * MEBI));
    set.at(&upstream);
    upstream.add("library/before", "latest", &mirrored);
    let server = within(&upstream, &disk, "48MiB").start();
    let (target, watch) = (server.target(), disk.watch());
    server.pull("library/before", "latest", &mirrored);
    let image = Image::of_size(Format::Oci, 711, MEBI);
    target.image("team/app", "1", &image);
    let kept = fill_up(&target);
    assert!(kept.len() >= 4, "{} blobs of a MiB fill it", kept.len());

    is_refused_in_mid_body(&target);
    set.pull(&server);
    server.pull("library/before", "latest", &mirrored);
    server.pull("team/app", "1", &image);
    for blob in &kept {
        assert_eq!(server.blob("team/full", &blob.digest).send().summary().digest, blob.digest);
    }
    let probe = |query: &str| http::get(&format!("{}/readyz{query}", server.url())).send();
    let (pulls, pushes) = (probe(""), probe("?for=push"));
    assert_eq!((pulls.status, pushes.status), (200, 503));
    for said in [pulls.text(), pushes.text()] {
        assert!(said.contains("pushes are refused: the quota is exceeded") && said.contains("storage.quota"), "{said}");
    }
    assert_eq!(target.json("team/app/tags/list")["tags"][0], "1");
    assert_eq!(target.head(&format!("team/full/blobs/{}", kept[0].digest)), 200);
    assert_eq!(target.request("GET", "").send().status, 200);
    assert_eq!(target.delete("team/app/manifests/1"), 202);
    assert!(watch.most() <= 48 * MIB, "{} bytes were used", watch.most());
    VolumeCheck::new(server.data()).is_whole();
}

/// An announced length without its bytes evicts little: one step's worth.
#[test]
fn an_announcement_empties_no_cache() {
    let (disk, upstream, set) = (Disk::ext4(256), Upstream::plain(), ImageSet::of(60));
    set.at(&upstream);
    let server = within(&upstream, &disk, "96MiB").start();
    set.pull(&server);
    let blobs = server.data().join("docker/registry/v2/blobs");
    let cached = || -> u64 {
        scratch::files(&blobs).iter().flat_map(|file| blobs.join(file).metadata()).map(|meta| meta.len()).sum()
    };
    let before = cached();
    let mut session = server.target().begin("team/app");
    let mut patch = session.request("PATCH").header("Content-Type", OCTETS).begin(Some(60 * MIB));
    patch.write(&Blob::window(9, KIB).bytes).unwrap();
    wait_until("it to arrive", Duration::from_secs(10), || session.received() > 0);
    let after = cached();
    assert!(before > 60 * MIB && after > before / 2, "{after} bytes of {before} are left");
}

/// Pushes blobs of 1 MiB until one is refused, then ever smaller ones, until all are refused.
fn fill_up(target: &Target) -> Vec<Blob> {
    let mut kept = Vec::new();
    for size in [MEBI, 64 * KIB] {
        for number in 0.. {
            assert!(number < 100, "the quota never fills");
            let blob = Blob::window(number * 9973 + size, size + number);
            let put = push_blob(target, "team/full", &blob);
            if put.status != 201 {
                is_refused_for_room(put);
                break;
            }
            kept.push(blob);
        }
    }
    kept
}

/// A body without a length that does not fit: the server reads on for a while, so that its response arrives.
fn is_refused_in_mid_body(target: &Target) {
    let post = target.request("POST", "team/full/blobs/uploads/").send();
    if post.status != 202 {
        return is_refused_for_room(post);
    }
    let mut patch = target.session(&post).request("PATCH").header("Content-Type", OCTETS).begin(None);
    let piece = Blob::window(5, MEBI).bytes;
    for _ in 0..12 {
        patch.write(&piece).expect("a refused body is read on for a while");
    }
    is_refused_for_room(patch.finish().expect("an answer to a refused body"));
}

/// The figures are right on each kind of filesystem: after pushes, pulls, evictions, deletes, a restart and a kill.
fn figures_are_right_on(kind: Kind) {
    let (disk, upstream, set) = (Disk::new(kind, 192), Upstream::plain(), ImageSet::of(100));
    set.at(&upstream);
    let mut server = within(&upstream, &disk, "64MiB").start();
    let images: Vec<_> = (0..4).map(|number| Image::of_size(Format::Oci, 720 + number, 300 * KIB)).collect();
    for (number, image) in images.iter().enumerate() {
        server.target().image(&format!("team/app{}", number % 2), &number.to_string(), image);
    }
    set.pull(&server);
    figures_equal_du(&server, "after pulls and pushes");
    assert_eq!(server.target().delete("team/app0/manifests/0"), 202);
    let mut open = server.target().begin("team/open");
    assert_eq!(open.patch(None, &Blob::window(77, 200 * KIB).bytes).status, 202);
    figures_equal_du(&server, "with an open session");
    server.stop();
    server.restart();
    figures_equal_du(&server, "after a restart");
    server.kill9();
    server.restart();
    figures_equal_du(&server, "after a kill");
}

#[test]
fn figures_equal_du_on_ext4() {
    figures_are_right_on(Kind::Ext4);
}

#[test]
fn figures_equal_du_on_tmpfs() {
    figures_are_right_on(Kind::Tmpfs);
}

/// No quota, on a disk that is 85 % full already: pushes are taken, pulls are served.
#[test]
fn without_a_quota_a_full_disk_takes_pushes() {
    let (disk, upstream) = (Disk::ext4(256), Upstream::plain());
    let (image, mirrored) = (Image::of_size(Format::Oci, 750, 8 * MEBI), Image::of_size(Format::Oci, 751, 4 * MEBI));
    upstream.add("library/some", "latest", &mirrored);
    let _filler = disk.fill(disk.free() * 15 / 100);
    let server = Setup::both(&upstream.url()).on(&disk).start();
    server.target().image("team/app", "1", &image);
    server.pull("team/app", "1", &image);
    for _ in 0..2 {
        server.pull("library/some", "latest", &mirrored);
    }
    assert!(disk.free() > 256 * MIB / 20, "the headroom stays free");
}

/// A quota too small to store anything stops the start; one without effect causes a warning; and the effective limit is
/// logged, set or not.
#[test]
fn the_limit_is_logged_and_a_useless_quota_is_refused() {
    let disk = Disk::ext4(256);
    let config = |quota: &str| {
        let data = disk.data();
        entrepot(&["config", "--data", data.to_str().unwrap()], &[("REGISTRY_STORAGE_QUOTA", quota)])
    };
    for vain in ["0", "20MiB", "5%"] {
        let (checked, started) = (config(vain), Setup::hosting().on(&disk).quota(vain).run());
        for outcome in [checked, started] {
            assert_eq!(outcome.status.code(), Some(2), "{vain}: {}", outcome.output);
            assert!(outcome.output.contains("storage.quota is \""), "{vain}: {}", outcome.output);
        }
    }
    assert!(config("64MiB").output.contains("# stored: 67108864 bytes (67.1 MB) at most, by storage.quota"));
    let beyond = Setup::hosting().on(&disk).quota("1TB").start().log();
    assert!(beyond.contains("storage.quota comes to 1000000000000 bytes, and the filesystem of"), "{beyond}");
    let server = Setup::hosting().on(&disk).start();
    let logged = "at most of what is mirrored, 80% of the filesystem: storage.quota is not set";
    assert!(
        server.log().lines().any(|line| line.contains("listening on http") && line.contains(logged)),
        "{}",
        server.log()
    );
    let unset = entrepot(&["config", "--data", disk.data().to_str().unwrap()], &[]);
    assert!(unset.output.contains(logged), "{}", unset.output);
    let counted = entrepot(&["du", "--data", disk.data().to_str().unwrap()], &[]);
    assert!(counted.output.contains("since storage.quota is not set"), "{}", counted.output);
}
