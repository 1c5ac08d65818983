//! A failed look at the disk says nothing about its content: nothing is removed, evicted or answered 404 because of it.
//! Folders behind symbolic links are treated as any other.

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    admin,
    fault::Fault,
    hash::hex,
    images::{Format, Image},
    process::CommandResult,
    scratch,
    server::{Server, Setup, entrepot},
    volume_check::VolumeCheck,
};

const REPOSITORIES: &str = "docker/registry/v2/repositories";

/// Nothing is collected except at the test's request.
fn hosting() -> Setup {
    Setup::hosting().variable("REGISTRY_GC_INTERVAL", "0")
}

/// A volume with pushed images, and no server that has it open.
struct Volume {
    server: Server,
    images: Vec<(&'static str, Image)>,
}

impl Volume {
    fn pushed() -> Self {
        let mut server = hosting().start();
        let target = server.target();
        let names = ["team/app", "team/deep/er", "other"];
        let images: Vec<_> = names.into_iter().zip((1..).map(|seed| Image::single(Format::Oci, seed))).collect();
        images.iter().for_each(|(name, image)| target.image(name, "1", image));
        server.stop();
        Self { server, images }
    }

    fn data(&self) -> &Path {
        self.server.data()
    }

    fn blob(&self, digest: &str) -> PathBuf {
        VolumeCheck::new(self.data()).data(digest)
    }

    /// Every image is served, with every byte of it.
    fn is_whole(&mut self) {
        VolumeCheck::new(self.data()).is_whole();
        self.serves();
    }

    /// Every image is served, by a server that has just started.
    fn serves(&mut self) {
        self.server.restart();
        for (name, image) in &self.images {
            self.server.pull(name, "1", image);
        }
    }

    fn command(&self, arguments: &[&str]) -> CommandResult {
        entrepot(&[arguments, &["--data", self.data().to_str().unwrap()]].concat(), &[])
    }

    fn usage(&self) -> Value {
        let du = self.command(&["du", "--json"]).expect_success("du").output;
        // A warning may come before it, and after it.
        serde_json::Deserializer::from_str(&du[du.find('{').unwrap()..]).into_iter().next().unwrap().unwrap()
    }

    /// The name, the size and the number of blobs of each repository.
    fn held(&self) -> Vec<[Value; 3]> {
        let usage = self.usage();
        let sources = usage["sources"].as_array().unwrap().iter();
        let repositories = sources.flat_map(|source| source["repositories"].as_array().unwrap());
        let held = |repository: &Value| ["name", "size", "objects"].map(|field| repository[field].clone());
        let held: Vec<_> = repositories.map(held).collect();
        assert!(!held.is_empty() && held[0][1].is_u64(), "{usage}");
        held
    }

    /// The bytes of links and folders.
    fn links(&self) -> u64 {
        self.usage()["other"]["links"].as_u64().unwrap()
    }

    /// Moves a folder elsewhere, with a symbolic link in its place.
    fn move_away(&self, folder: &str, elsewhere: &Path) {
        let (from, to) = (self.data().join(folder), elsewhere.join(folder.replace('/', "-")));
        fs::rename(&from, &to).unwrap();
        symlink(&to, &from).unwrap();
    }
}

/// `registry:2` follows symbolic links: so do pulls, and so does every job that determines which content is needed.
#[test]
fn a_folder_behind_a_symbolic_link_is_a_folder() {
    let shelf = |volume: &Volume| {
        let blob = hex(&volume.images[0].1.blobs[0].digest);
        format!("docker/registry/v2/blobs/sha256/{}", &blob[..2])
    };
    let cases: [&dyn Fn(&Volume) -> String; 5] = [
        &|_| format!("{REPOSITORIES}/team"),
        &|_| format!("{REPOSITORIES}/team/app"),
        &|_| REPOSITORIES.to_owned(),
        &|_| "docker".to_owned(),
        &shelf,
    ];
    for folder in cases {
        let (mut volume, elsewhere) = (Volume::pushed(), scratch::dir("elsewhere"));
        let folder = folder(&volume);
        let (before, links) = (volume.held(), volume.links());
        volume.move_away(&folder, elsewhere.path());
        let gc = volume.command(&["gc", "--untagged"]);
        assert!(gc.status.success() && gc.output.contains("0 blobs"), "{folder}: {}", gc.output);
        assert_eq!(volume.held(), before, "{folder}");
        // A symbolic link to a long path has a block of its own.
        let counted = volume.links();
        assert!((links..=links + 4096).contains(&counted), "{folder}: {counted} bytes of links for {links}");
        volume.is_whole();
        let ended = admin::gc(volume.data(), true, Some(0));
        assert_eq!(ended["blobs"], 0, "{folder}");
        volume.is_whole();
    }
}

/// A link to a parent is followed no further, and a dangling link is a folder that is missing now.
#[test]
fn links_that_lead_back_or_nowhere_cost_nothing() {
    let mut volume = Volume::pushed();
    let before = volume.held();
    let repositories = volume.data().join(REPOSITORIES);
    symlink("..", repositories.join("team/again")).unwrap();
    symlink(volume.data(), repositories.join("all")).unwrap();
    assert_eq!(volume.held(), before, "no repository by another name");
    let gc = volume.command(&["gc", "--untagged"]);
    assert!(gc.status.success() && gc.output.contains("0 blobs"), "{}", gc.output);
    volume.serves();
    volume.server.stop();
    // The volume check would follow them for ever.
    fs::remove_file(repositories.join("team/again")).unwrap();
    fs::remove_file(repositories.join("all")).unwrap();
    fs::rename(repositories.join("team"), volume.data().join("away")).unwrap();
    symlink(volume.data().join("nowhere"), repositories.join("team")).unwrap();
    let gc = volume.command(&["gc", "--untagged"]);
    let team = repositories.join("team");
    assert!(!gc.status.success() && gc.output.contains(team.to_str().unwrap()), "{}", gc.output);
    fs::remove_file(&team).unwrap();
    fs::rename(volume.data().join("away"), &team).unwrap();
    volume.is_whole();
}

/// A repository with an unreadable folder has unknown content: nothing is removed, and the log says why.
#[test]
fn a_collection_ends_where_it_cannot_look() {
    let mut volume = Volume::pushed();
    let place = volume.data().join(REPOSITORIES);
    let image = hex(volume.images[0].1.digest()).to_owned();
    for path in [
        place.clone(),
        place.join("team"),
        place.join("team/app/_manifests/revisions/sha256"),
        place.join("team/app/_manifests/tags"),
        place.join("team/app/_manifests/tags/1/current/link"),
        place.join("team/app/_layers/sha256"),
        volume.blob(&format!("sha256:{image}")),
    ] {
        let data = volume.data().to_str().unwrap().to_owned();
        let faulty = Fault::once("openat", "EACCES", &path).run(&["gc", "--untagged", "--data", &data], &[]);
        assert!(faulty.happened(), "{path:?} was not opened");
        let gc = &faulty.outcome;
        assert!(!gc.status.success() && gc.output.contains(path.to_str().unwrap()), "{path:?}: {}", gc.output);
    }
    volume.is_whole();
}

/// A pushed image that cannot be read at the moment is not answered with 404.
#[test]
fn what_cannot_be_read_is_no_404() {
    let mut volume = Volume::pushed();
    let dir = scratch::dir("trace");
    let image = volume.images[0].1.clone();
    let (manifest, layer) = (volume.blob(image.digest()), volume.blob(&image.blobs[0].digest));
    for (number, (path, error)) in
        [(&manifest, "EMFILE"), (&manifest, "EIO"), (&layer, "EMFILE"), (&layer, "EIO")].into_iter().enumerate()
    {
        let trace = dir.path().join(number.to_string());
        let setup = hosting().data_at(volume.data()).faulty(Fault::always("openat", error, path), &trace);
        let mut server = setup.start();
        let answer = match path == &manifest {
            true => server.manifest("team/app", "1").send(),
            false => server.blob("team/app", &image.blobs[0].digest).send(),
        };
        assert_eq!(answer.status, 500, "{error} of {path:?}");
        // A line is written before its response, and read by this process some time after it.
        server.wait_for_log(path.to_str().unwrap(), Duration::from_secs(10));
    }
    volume.is_whole();
}

/// Clients that read nothing hold no more than their limit: a collection each second always has the descriptors it
/// needs.
#[test]
fn clients_cannot_use_up_the_last_descriptor() {
    let mut server = hosting().files(128).start();
    let image = Image::of_size(Format::Oci, 9, 4_000_000);
    server.target().image("team/app", "1", &image);
    let path = format!("/v2/team/app/blobs/{}", image.layer().digest);
    let address = server.url().trim_start_matches("http://").to_owned();
    let slow: Vec<_> = (0..90)
        .map(|_| {
            let mut client = TcpStream::connect(&address).unwrap();
            // Connections beyond the limit are closed, some of them before they have sent a request.
            client.write_all(format!("GET {path} HTTP/1.1\r\nHost: slow\r\n\r\n").as_bytes()).ok();
            client
        })
        .collect();
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(250));
        let ended = admin::gc(server.data(), true, Some(0));
        assert_eq!(ended["blobs"], 0, "{ended}");
    }
    assert!(server.log().contains("ulimit -n"), "nobody was sent away: this shows nothing");
    drop(slow);
    VolumeCheck::new(server.data()).is_whole();
    server.restart();
    server.pull("team/app", "1", &image);
}
