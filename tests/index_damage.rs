//! The index is derived: for any damage to its files, the server starts and every response is right.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::json;

use crate::support::{
    images::{Blob, Format, Image, Manifest},
    rng::Rng,
    rounds, scratch,
    server::{Server, Setup},
    upstream::{Kind, Upstream},
    volume_check::VolumeCheck,
    wait_until,
};

type Damage = fn(&Path, &mut Rng);

/// The damage to a file.
const DAMAGES: [(&str, Damage); 6] = [
    ("truncated", |path, _| cut(path, 2)),
    ("cut short by a little", |path, rng| cut_to(path, size(path).saturating_sub(1 + rng.throw(200) as u64))),
    ("zeroed", |path, _| fs::write(path, vec![0; usize::try_from(size(path)).unwrap()]).unwrap()),
    ("emptied", |path, _| cut_to(path, 0)),
    ("garbage", |path, rng| {
        let bytes: Vec<u8> = (0..size(path).max(64)).map(|_| rng.throw(256) as u8).collect();
        fs::write(path, bytes).unwrap();
    }),
    ("some bits turned", |path, rng| {
        let mut bytes = fs::read(path).unwrap();
        for _ in 0..bytes.len().div_ceil(2000) {
            let at = rng.throw(bytes.len());
            bytes[at] ^= 1 << rng.throw(8);
        }
        fs::write(path, bytes).unwrap();
    }),
];

fn size(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

fn cut(path: &Path, part: u64) {
    cut_to(path, size(path) / part);
}

fn cut_to(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// The content of the volume, pushed and mirrored.
struct Volume {
    pushed: Vec<(&'static str, &'static str, Image)>,
    artifact: Manifest,
    mirrored: Image,
}

const MIRRORED: &str = "library/mirrored";

impl Volume {
    fn write(server: &Server, upstream: &Upstream) -> Self {
        let target = server.target();
        let pushed = vec![
            ("team/app", "1", Image::of_size(Format::Oci, 800, 50_000)),
            ("team/app", "2", Image::index(Format::Docker, 801, 9000)),
            ("team/deep/er", "latest", Image::single(Format::Docker, 805)),
        ];
        pushed.iter().for_each(|(name, tag, image)| target.image(name, tag, image));
        let empty = Blob::new(b"{}".as_slice());
        target.blob("team/app", &empty);
        let config = empty.descriptor("application/vnd.oci.empty.v1+json");
        let artifact = Manifest::new(
            Format::Oci.manifest(),
            &json!({
                "schemaVersion": 2, "mediaType": Format::Oci.manifest(), "artifactType": "application/vnd.example.sbom",
                "config": config, "layers": [config], "subject": pushed[0].2.top.descriptor(),
            }),
        );
        assert_eq!(target.manifest("team/app", &artifact.digest, &artifact).status, 201);
        let mirrored = Image::index(Format::Oci, 810, 80_000);
        upstream.add(MIRRORED, "latest", &mirrored);
        server.pull(MIRRORED, "latest", &mirrored);
        Self { pushed, artifact, mirrored }
    }

    /// Every response is right, and no mirrored content is fetched again.
    fn is_served(&self, server: &Server, upstream: &Upstream) {
        let target = server.target();
        for (name, tag, image) in &self.pushed {
            server.pull(name, tag, image);
            server.pull(name, image.digest(), image);
        }
        let asked = content(upstream);
        server.pull(MIRRORED, self.mirrored.digest(), &self.mirrored);
        server.pull(MIRRORED, "latest", &self.mirrored);
        assert_eq!(content(upstream), asked, "fetched again");
        assert_eq!(target.json("team/app/tags/list")["tags"], json!(["1", "2"]));
        assert_eq!(target.json("_catalog")["repositories"], json!(["team/app", "team/deep/er"]));
        let found = target.json(&format!("team/app/referrers/{}", self.pushed[0].2.digest()));
        assert_eq!(found["manifests"][0]["digest"], json!(self.artifact.digest));
        for (path, status) in [
            ("team/app/manifests/3".to_owned(), 404),
            (format!("team/deep/er/blobs/{}", self.pushed[0].2.layer().digest), 404),
            (format!("team/app/blobs/{}", self.pushed[0].2.layer().digest), 200),
        ] {
            assert_eq!(target.head(&path), status, "{path}");
        }
    }
}

/// The number of GETs of content at the upstream.
fn content(upstream: &Upstream) -> usize {
    upstream.count("GET", Kind::Manifest) + upstream.count("GET", Kind::Blob)
}

/// The index's files, including those of sled's own lock and settings.
fn index_files(server: &Server) -> Vec<PathBuf> {
    let index = server.data().join("index");
    scratch::files(&index).into_iter().map(|file| index.join(file)).filter(|file| size(file) > 0).collect()
}

/// Each of its files in turn, with each kind of damage, and all at once; after a stop and after a kill.
#[test]
fn any_damage_to_the_index_is_survived() {
    let upstream = Upstream::plain();
    let mut server = Setup::both(&upstream.url()).freshness("1h").start();
    let volume = Volume::write(&server, &upstream);
    let (mut rng, mut number, mut done) = (Rng::new(7), 0, 0);
    loop {
        let (how, damage) = DAMAGES[number % DAMAGES.len()];
        let which = number / DAMAGES.len();
        if number.is_multiple_of(2) {
            server.stop();
        } else {
            server.kill9();
        }
        let files = index_files(&server);
        assert!(!files.is_empty(), "there is no index to damage");
        if which > files.len() && done >= rounds(200) {
            break;
        }
        // One more than there are files: all of them.
        let chosen =
            if which % (files.len() + 1) == files.len() { &files[..] } else { &files[which % files.len()..][..1] };
        chosen.iter().for_each(|file| damage(file, &mut rng));
        server.restart();
        let context = format!("{how}: {chosen:?}");
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| volume.is_served(&server, &upstream)));
        assert!(served.is_ok(), "{context}");
        keeps_again(&server, &upstream);
        VolumeCheck::new(server.data()).is_whole();
        (number, done) = (number + 1, done + 1);
    }
}

/// The whole folder removed, a file in its place, a folder in place of a file: an index is created again.
#[test]
fn an_index_that_is_no_folder_is_begun_anew() {
    let upstream = Upstream::plain();
    let mut server = Setup::both(&upstream.url()).freshness("1h").start();
    let volume = Volume::write(&server, &upstream);
    let index = server.data().join("index");
    let ways: [fn(&Path); 4] = [
        |index| fs::remove_dir_all(index).unwrap(),
        |index| {
            fs::remove_dir_all(index).unwrap();
            fs::write(index, "no folder").unwrap();
        },
        |index| {
            fs::remove_dir_all(index.join("v1")).unwrap();
            fs::write(index.join("v1"), "no folder").unwrap();
        },
        |index| {
            fs::remove_dir_all(index.join("v1")).unwrap();
            fs::create_dir_all(index.join("v1/db/in/the/way")).unwrap();
        },
    ];
    for way in ways {
        server.stop();
        way(&index);
        server.restart();
        volume.is_served(&server, &upstream);
        keeps_again(&server, &upstream);
        if index.is_file() {
            fs::remove_file(&index).unwrap();
        }
    }
}

/// There is an index again: pulled content is cached.
fn keeps_again(server: &Server, upstream: &Upstream) {
    static NEXT: AtomicU64 = AtomicU64::new(900_000);
    wait_until("what is pulled to be kept", Duration::from_secs(20), || {
        let blob = Blob::noise(NEXT.fetch_add(1, Ordering::SeqCst), 5000);
        upstream.add_blob(MIRRORED, &blob);
        (0..3).for_each(|_| assert_eq!(server.blob(MIRRORED, &blob.digest).send().summary().digest, blob.digest));
        upstream.requests().iter().filter(|asked| asked.request.path.contains(&blob.digest)).count() == 1
    });
}
