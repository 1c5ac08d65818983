//! `entrepot import`: an archive's images are in the cache of their upstream, or pushed, or not there at all.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::Stdio,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    support::{
        clients::{Client as _, Docker},
        egress_trap::EgressTrap,
        images::{Blob, Format, Image},
        process::{self, CommandResult},
        release::Release,
        scratch,
        server::{BINARY, Server, Setup, entrepot},
        upstream::Upstream,
        wait_until,
    },
    tags::cache_status,
};

fn import(server: &Server, arguments: &[&str]) -> CommandResult {
    entrepot(&[&["import", "--data", server.data().to_str().unwrap()], arguments].concat(), &[])
}

fn export(server: &Server, file: &Path, arguments: &[&str]) {
    let at = ["export", "--data", server.data().to_str().unwrap(), "--output", file.to_str().unwrap()];
    entrepot(&[&at, arguments].concat(), &[]).expect_success("export");
}

/// A server whose upstream cannot be reached, which takes pushes.
fn cut_off() -> (Server, Upstream) {
    let upstream = Upstream::plain();
    upstream.stop();
    (Setup::both(&upstream.url()).freshness("100ms").hosted("[team/**]").start(), upstream)
}

/// An archive of `library/app:1` for linux/amd64 in a fresh directory.
fn archive(image: &Image, platform: &str) -> (tempfile::TempDir, String) {
    let (upstream, dir) = (Upstream::plain(), scratch::dir("archive"));
    upstream.add("library/app", "1", image);
    let file = dir.path().join("images.tar");
    export(&Server::mirroring(&upstream), &file, &["--platform", platform, "app:1"]);
    let file = file.to_str().unwrap().to_owned();
    (dir, file)
}

/// docker pulls the image of an upstream that is unreachable, and what the upstream says later wins.
#[test]
fn an_image_of_an_upstream_goes_into_its_cache() {
    let (image, trap) = (Image::index(Format::Docker, 10_000, 100_000), EgressTrap::new());
    let (_dir, file) = archive(&image, "linux/amd64");
    let (server, upstream) = cut_off();
    let imported = import(&server, &[&file]).expect_success("import");
    assert!(imported.output.contains("\nimported docker.io/library/app:1 into the cache: "), "{}", imported.output);
    let top = server.manifest("library/app", "1").send();
    assert!(top.status == 200 && cache_status(&top).contains("fwd=stale"), "{}", cache_status(&top));
    let docker = Docker::start(server.url(), &trap, Release::Installed);
    let pulled = docker.pull("library/app:1");
    assert_eq!((pulled.digest, pulled.config), (image.children[0].digest.clone(), image.config.clone()));
    assert_eq!(trap.breaches(), Vec::<String>::new());
    let again = import(&server, &[&file]).expect_success("import");
    assert!(again.output.contains(" 0 B sent"), "{}", again.output);
    upstream.resume();
    let newer = Image::index(Format::Docker, 10_010, 1000);
    upstream.add("library/app", "1", &newer);
    wait_until("the upstream's word", Duration::from_secs(60), || {
        thread::sleep(Duration::from_millis(200));
        server.manifest("library/app", "1").send().summary().digest == newer.digest()
    });
    import(&server, &[&file]).expect_success("import");
    assert_eq!(server.manifest("library/app", "1").send().summary().digest, newer.digest(), "the later word wins");
}

/// With all platforms the image is what it was.
#[test]
fn an_index_keeps_its_digest() {
    let image = Image::index(Format::Oci, 10_020, 1000);
    let (_dir, file) = archive(&image, "all");
    let (server, _upstream) = cut_off();
    import(&server, &[&file]).expect_success("import");
    server.pull("library/app", "1", &image);
    assert_eq!(server.manifest("library/app", image.digest()).send().status, 200);
}

/// Images of no upstream are pushed, by the rules of pushes, and survive a restart.
#[test]
fn an_image_of_no_upstream_is_pushed() {
    let (image, dir) = (Image::index(Format::Oci, 10_030, 50_000), scratch::dir("archive"));
    let file = dir.path().join("images.tar");
    let other = Setup::hosting().start();
    other.target().image("team/app", "1", &image);
    export(&other, &file, &["--platform", "all", &format!("{}/team/app:1", other.target().authority())]);
    let (mut server, _upstream) = cut_off();
    let (file, foreign) = (file.to_str().unwrap(), dir.path().join("foreign.tar"));
    let imported = import(&server, &[file]).expect_success("import");
    assert!(imported.output.contains("\nimported team/app:1 as pushed: "), "{}", imported.output);
    import(&server, &[file, "--as", "team/renamed:2"]).expect_success("import --as");
    server.kill9();
    server.restart();
    server.pull("team/app", "1", &image);
    server.pull("team/renamed", "2", &image);
    let denied = import(&server, &[file, "--as", "library/app:1"]);
    assert_eq!(denied.status.code(), Some(1));
    assert!(denied.output.contains("library/ is where the Hub's official images are mirrored"), "{}", denied.output);
    // A registry that is no upstream of this server.
    image.write_archive(&foreign, "ghcr.io/team/other:1");
    let refused = import(&server, &[foreign.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.output.contains("ghcr.io is not mirrored here") && refused.output.contains("--as"),
        "{}",
        refused.output
    );
    assert_eq!(server.manifest("team/other", "1").send().status, 404);
    import(&server, &[foreign.to_str().unwrap(), "--as", "team/other:1"]).expect_success("import --as");
    assert_eq!(server.manifest("team/other", "1").send().status, 200);
}

/// A docker archive has no manifests, so that it says nothing of an upstream's image; under a name of one's own it is
/// pushed, also from a pipe.
#[test]
fn a_docker_archive_needs_a_name_of_ones_own() {
    let (image, dir) = (Image::single(Format::Docker, 10_040), scratch::dir("archive"));
    let file = dir.path().join("docker.tar");
    image.write_archive(&file, "docker.io/library/app:1");
    let (server, _upstream) = cut_off();
    let refused = import(&server, &[file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.output.contains("docker.io/library/app:1: a docker archive"), "{}", refused.output);
    assert!(refused.output.contains("--as"), "{}", refused.output);
    let mut command = process::command(BINARY);
    command.args(["import", "-", "--as", "team/app", "--data"]).arg(server.data());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&fs::read(&file).unwrap()).unwrap();
    assert!(child.wait().unwrap().success());
    let manifest: Value = server.manifest("team/app", "latest").send().json();
    assert_eq!(manifest["config"]["digest"], image.config.as_str());
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    assert_eq!(server.blob("team/app", layer).send().summary().digest, image.layer().digest);
}

/// Of an archive that is cut off, changed or compressed, nothing is imported.
#[test]
fn a_damaged_archive_is_refused_as_a_whole() {
    let image = Image::index(Format::Oci, 10_050, 100_000);
    let (dir, file) = archive(&image, "all");
    let whole = fs::read(&file).unwrap();
    let (server, _upstream) = cut_off();
    let before = scratch::files(&server.data().join("docker"));
    let altered = dir.path().join("altered.tar");
    let refused = |bytes: &[u8], because: &str| {
        fs::write(&altered, bytes).unwrap();
        let refused = import(&server, &[altered.to_str().unwrap()]);
        assert_eq!((refused.status.code(), refused.output.lines().count()), (Some(1), 1), "{}", refused.output);
        assert!(refused.output.contains(because), "no {because:?} in {}", refused.output);
        assert_eq!(server.manifest("library/app", "1").send().status, 502);
        assert_eq!(scratch::files(&server.data().join("docker")), before);
    };
    // In the last layer, in the middle, in the head, and where an entry begins.
    for length in [whole.len() - 2000, whole.len() / 2, 530, 512 * 2] {
        refused(&whole[..length], "it is truncated");
    }
    refused(&[0; 512 * 2], "it has no manifest.json");
    refused(b"", "it has no images");
    refused(&[&[0x1f, 0x8b][..], &whole].concat(), "it is compressed");
    let mut changed = whole.clone();
    let layer = image.layer();
    let at = whole.windows(1000).position(|window| window == &layer.bytes[2000..3000]).unwrap();
    changed[at] ^= 1;
    refused(&changed, &format!("the bytes of {} do not match it", layer.digest));
    import(&server, &[&file]).expect_success("the whole one");
}

/// An image that does not fit is refused with the figures, and leaves no session.
#[test]
fn an_image_without_room_is_refused_with_the_figures() {
    let (image, dir) = (Image::of_layers(Format::Oci, &[Blob::window(3, 30 << 20)]), scratch::dir("archive"));
    let (upstream, other) = (Upstream::plain(), dir.path().join("images.tar"));
    upstream.add("library/app", "1", &image);
    export(&Server::mirroring(&upstream), &other, &["app:1"]);
    upstream.stop();
    let server = Setup::both(&upstream.url()).hosted("[team/**]").quota("24MiB").start();
    for arguments in [&[other.to_str().unwrap()][..], &[other.to_str().unwrap(), "--as", "team/app"]] {
        let refused = import(&server, arguments);
        assert_eq!((refused.status.code(), refused.output.lines().count()), (Some(1), 3), "{}", refused.output);
        assert!(
            refused.output.contains("storage.") && refused.output.contains("1 of 1 images are not imported"),
            "{}",
            refused.output
        );
    }
    let sessions =
        || scratch::files(server.data()).iter().filter(|file| file.to_str().unwrap().contains("_uploads/")).count();
    wait_until("the session to go", Duration::from_secs(20), || sessions() == 0);
    let nobody = entrepot(&["import", "--data", dir.path().to_str().unwrap(), other.to_str().unwrap()], &[]);
    assert!(nobody.output.contains("start one with `entrepot serve"), "{}", nobody.output);
}

/// An archive brings nothing of an upstream that the operator does not let be mirrored.
#[test]
fn an_archive_is_bound_by_the_rules_of_the_upstream() {
    let (upstream, image, dir) = (Upstream::plain(), Image::single(Format::Oci, 10_060), scratch::dir("archive"));
    ["team/app", "team/secret", "other/app"].iter().for_each(|name| upstream.add(name, "1", &image));
    let file = dir.path().join("images.tar");
    let names = ["team/app:1", "team/secret:1", "other/app:1"];
    export(&Server::mirroring(&upstream), &file, &names);
    let section = format!("{{docker.io: {{url: '{}', allow: ['team/**'], deny: [team/secret]}}}}", upstream.url());
    upstream.stop();
    let server = Setup::bare().variable("REGISTRY_PROXY_UPSTREAMS", &section).start();
    let imported = import(&server, &[file.to_str().unwrap()]);
    assert_eq!(imported.status.code(), Some(1), "{}", imported.output);
    assert!(imported.output.contains("2 of 3 images are not imported"), "{}", imported.output);
    let status = |name: &str| server.manifest(name, "1").send().status;
    assert_eq!(["team/app", "team/secret", "other/app"].map(status), [200, 403, 403]);
    let files = scratch::files(server.data());
    let has = |name: &str| files.iter().any(|file| file.to_str().unwrap().contains(name));
    assert_eq!(["team/app", "team/secret", "other/app"].map(has), [true, false, false]);
}

/// A link whose bytes are gone does not count as the blob.
#[test]
fn bytes_that_are_gone_are_sent_again() {
    let (image, dir) = (Image::of_size(Format::Docker, 10_070, 100_000), scratch::dir("archive"));
    let file = dir.path().join("docker.tar");
    image.write_archive(&file, "app:1");
    let mut server = Setup::hosting().start();
    let arguments = [file.to_str().unwrap(), "--as", "team/app:1"];
    import(&server, &arguments).expect_success("import");
    server.kill9();
    let hex = image.layer().digest.split(':').next_back().unwrap();
    let blob = server.data().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    fs::remove_file(blob).unwrap();
    server.restart();
    let again = import(&server, &arguments).expect_success("import again");
    assert!(!again.output.contains(" 0 B sent"), "{}", again.output);
    let manifest: Value = server.manifest("team/app", "1").send().json();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    assert_eq!(server.blob("team/app", layer).send().summary().digest, image.layer().digest);
}

/// A terminal shows bars, anything else a line at the beginning and the end of each image.
#[test]
fn progress_is_shown() {
    let (dir, file) = (scratch::dir("large"), scratch::dir("archive"));
    let image = Image::of_layers(Format::Docker, &[Blob::window(11, 30 << 20)]);
    let file = file.path().join("docker.tar");
    image.write_archive(&file, "app:1");
    let server = Setup::hosting().data_at(dir.path()).start();
    let program = format!("{BINARY} import --data {} {} --as team/app:1", server.data().display(), file.display());
    let mut terminal = process::command("script");
    terminal.args(["--quiet", "--return", "--command", &program, "/dev/null"]).env("TERM", "xterm");
    let shown = process::run("import at a terminal", terminal, Duration::from_secs(60));
    let shown = shown.expect_success("import at a terminal").output;
    for part in ["verifying", "team/app:1", "left", "B/s", "imported team/app:1 as pushed: ", "\u{1b}["] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    let lines = import(&server, &[file.to_str().unwrap(), "--as", "team/app:2"]).expect_success("import").output;
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines[0], "importing team/app:2");
    assert!(lines[1].starts_with("imported team/app:2 as pushed: 0 B sent"), "{lines:?}");
}

/// A server that this user may not reach is not an absent one.
#[test]
fn a_server_of_another_user_is_not_taken_for_none() {
    let (server, dir) = (Setup::hosting().start(), scratch::dir("other"));
    let asked = |arguments: &[&str]| {
        let mut command = process::command("setpriv");
        // Without its capabilities, root cannot read other users' files either.
        command.args(["--bounding-set=-dac_override,-dac_read_search", "--", BINARY]).args(arguments);
        command.args(["--data"]).arg(server.data());
        let refused = process::run("entrepot", command, Duration::from_secs(20));
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}: {}", refused.output);
        assert!(
            refused.output.contains("run this as root or as the server's user"),
            "{arguments:?}: {}",
            refused.output
        );
        assert_eq!(refused.output.lines().count(), 1, "{}", refused.output);
    };
    let file = dir.path().join("images.tar");
    Image::single(Format::Oci, 10_080).write_archive(&file, "app:1");
    let commands: [&[&str]; 5] = [
        &["import", file.to_str().unwrap()],
        &["export", "team/app:1", "--output", "/dev/null"],
        &["warm", "team/app:1"],
        &["gc"],
        &["du"],
    ];
    let own = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        chown(path, Some(65534), Some(65534)).unwrap();
    };
    own(&server.data().join("entrepot.sock"), 0o600);
    commands.iter().for_each(|arguments| asked(arguments));
    own(&server.data().join("entrepot.lock"), 0o600);
    commands.iter().for_each(|arguments| asked(arguments));
    own(server.data(), 0o700);
    commands.iter().for_each(|arguments| asked(arguments));
}
