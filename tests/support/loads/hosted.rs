//! Loads on pushed content.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Blocks, Scene, Sizes, Volume, quiet, small};
use crate::support::{
    disk::{Disk, Kind},
    hash::Hasher,
    http,
    images::{Format, Image, Manifest},
    ports::Port,
    process::{self, command},
    scrape::Scrape,
    server::{BINARY, Server, Setup},
    uploads::OCTETS,
    wait_until,
};

const WARM: &str = "team/warm";
const REPOSITORY: &str = "team/app";
/// The time limit of any load.
const LIMIT: Duration = Duration::from_secs(600);

/// Starts a server that takes pushes, with the warm blob, on a volume that `lay_out` has filled. Returns the port of
/// its metrics, too.
fn start(setup: Setup, lay_out: impl FnOnce(&Volume)) -> (Server, Port) {
    let port = Port::reserve();
    lay_out(&Volume::at(setup.data()));
    let server =
        quiet(setup).variable("REGISTRY_GC_GRACE", "1s").variable("REGISTRY_GC_INTERVAL", "0").watched(&port).start();
    server.target().image(WARM, "1", &Image::of_layers(Format::Oci, &[small()]));
    wait_for_index(&port);
    (server, port)
}

fn wait_for_index(port: &Port) {
    let complete = || Scrape::of(&port.url()).find("entrepot_index_complete", &[]) == Some(1.);
    wait_until("the index to be complete", LIMIT, complete);
}

/// A collection of a volume with many repositories.
pub(super) fn collection(sizes: &Sizes) -> Scene {
    let repositories = sizes.repositories;
    let disk = Disk::ext4(sizes.volume);
    let (server, _) = start(Setup::hosting().on(&disk), |volume| volume.many_repositories(repositories));
    // Longer than the grace period after its start.
    thread::sleep(Duration::from_secs(1));
    let act = move |server: &Server| {
        let mut gc = command(BINARY);
        gc.args(["gc", "--data"]).arg(server.data());
        let output = process::run("gc", gc, LIMIT).expect_success("gc").output;
        let end = output.lines().last().unwrap_or_default().to_owned();
        assert!(end.contains(&format!(" {} blobs", 2 * repositories)), "{end}");
        end
    };
    Scene::new(server, WARM, small(), act).on(disk)
}

/// A start that finds many repositories and no index.
pub(super) fn rebuild(sizes: &Sizes) -> Scene {
    let disk = Disk::ext4(sizes.volume);
    let (server, port) = start(Setup::hosting().on(&disk), |volume| volume.many_repositories(sizes.repositories));
    let act = move |_: &Server| {
        wait_for_index(&port);
        String::new()
    };
    Scene { restarts: true, ..Scene::new(server, WARM, small(), act) }.on(disk)
}

/// Stops a server and starts it again without its index.
pub(super) fn start_without_index(server: &mut Server) {
    server.stop();
    fs::remove_dir_all(server.data().join("index")).unwrap();
    server.restart();
}

/// Four clients request a list repeatedly, page by page, for a while.
fn list(server: &Server, path: &str, lasting: Duration) -> String {
    let begun = Instant::now();
    let client = || {
        let mut lists = 0;
        while begun.elapsed() < lasting {
            let mut next = Some(server.v2(path));
            while let Some(url) = next {
                let response = http::get(&url).send();
                assert_eq!(response.status, 200, "{url}");
                next = response.header("link").map(|link| server.target().linked(link));
                response.body();
            }
            lists += 1;
        }
        lists
    };
    let lists: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    format!("{lists} lists")
}

/// Lists of many large manifests that refer to one. Half of them have long annotations in the list itself.
pub(super) fn referrers(sizes: &Sizes) -> Scene {
    let (server, _) = start(Setup::hosting(), |_| ());
    let (target, image) = (server.target(), Image::single(Format::Oci, 4044));
    target.image(REPOSITORY, "1", &image);
    for number in 0..sizes.referrers {
        let manifest = referrer(&image, number, sizes.referrer, number % 2 == 0);
        assert_eq!(target.manifest(REPOSITORY, &manifest.digest, &manifest).status, 201);
    }
    let (path, lasting) = (format!("{REPOSITORY}/referrers/{}", image.digest()), sizes.lasting);
    Scene::new(server, WARM, small(), move |server| list(server, &path, lasting))
}

/// A manifest that refers to another, of more than `length` bytes: in its layers, or in its own annotations.
pub(crate) fn referrer(image: &Image, number: usize, length: usize, annotated: bool) -> Manifest {
    let media_type = Format::Oci.manifest();
    let mut config = image.blobs[0].descriptor("application/vnd.example.sbom");
    let mut body =
        json!({ "schemaVersion": 2, "mediaType": media_type, "annotations": { "number": number.to_string() } });
    let long = "x".repeat(length);
    if annotated {
        body["annotations"]["long"] = long.into();
    } else {
        config["annotations"] = json!({ "long": long });
    }
    body["config"] = config;
    body["layers"] = json!([]);
    body["subject"] = image.manifests().last().unwrap().descriptor();
    Manifest::new(media_type, &body)
}

/// Lists of many tags, all of them at once. Their volume is in memory, so that the disk plays no part.
pub(super) fn tags(sizes: &Sizes) -> Scene {
    let (disk, image) = (Disk::new(Kind::Tmpfs, 4096), Image::single(Format::Oci, 4044));
    let lay_out = |volume: &Volume| {
        let blobs = image.blobs.iter().map(|blob| (&blob.digest, &blob.bytes));
        blobs.chain([(&image.top.digest, &image.top.bytes)]).for_each(|(digest, bytes)| volume.blob(digest, bytes));
        image.blobs.iter().for_each(|blob| volume.layer(REPOSITORY, &blob.digest));
        volume.revision(REPOSITORY, image.digest());
        (0..sizes.tags).for_each(|number| volume.tag(REPOSITORY, &format!("{number:07}"), image.digest()));
    };
    let (server, _) = start(Setup::hosting().on(&disk), lay_out);
    let (path, lasting) = (format!("{REPOSITORY}/tags/list"), sizes.lasting);
    Scene::new(server, WARM, small(), move |server| list(server, &path, lasting)).on(disk)
}

/// Several large uploads at once, hashed as they arrive.
pub(super) fn uploads(sizes: &Sizes) -> Scene {
    let (server, _) = start(Setup::hosting(), |_| ());
    let length = sizes.upload;
    let digest = |number: usize| {
        let mut hasher = Hasher::default();
        Blocks::new(5000 + number as u64, length).each(|block| hasher.update(block));
        hasher.finish()
    };
    let digests: Vec<_> = (0..sizes.uploads).map(digest).collect();
    Scene::new(server, WARM, small(), move |server| {
        let target = server.target();
        let upload = |number: usize, digest: &str| {
            let mut session = target.begin(&format!("team/app{number}"));
            let mut patch = session.request("PATCH").header("Content-Type", OCTETS).patience(LIMIT).begin(None);
            Blocks::new(5000 + number as u64, length).each(|block| patch.write(block).unwrap());
            let patched = patch.finish().unwrap();
            assert_eq!(patched.status, 202);
            session.moved(&patched);
            assert_eq!(session.closing(digest).body(OCTETS, b"").patience(LIMIT).send().status, 201);
        };
        thread::scope(|scope| {
            for (number, digest) in digests.iter().enumerate() {
                scope.spawn(move || upload(number, digest));
            }
        });
        String::new()
    })
}
