//! A failed fsync is final: the kernel drops the pages that it could not write, and the next fsync of the same file
//! succeeds. So nothing whose fsync failed is acknowledged later, unless it was written anew.

use std::path::Path;

use crate::support::{
    hash::hex,
    images::{Blob, Format, Image},
    inject::Injection,
    scratch,
    server::{Server, Setup},
    upstream::{Kind, Upstream},
    volume_check::VolumeCheck,
};

const SYNCS: &str = "fsync,fdatasync";

fn failing(server: &Server, path: &Path) -> Injection {
    Injection::failing(server, SYNCS, "EIO", path)
}

/// The log says that syncing this path failed.
fn is_logged(server: &Server, path: &Path) -> bool {
    let path = path.to_str().unwrap();
    server.log().lines().any(|line| line.contains(path) && line.contains("os error 5"))
}

/// The file of the server's only session.
fn session_file(server: &Server) -> std::path::PathBuf {
    let files = scratch::files(server.data());
    let is_data = |path: &&std::path::PathBuf| path.ends_with("data") && path.to_string_lossy().contains("_uploads");
    server.data().join(files.iter().find(is_data).expect("a session"))
}

/// A session whose bytes could not be synced ends: a second PUT would be acknowledged for bytes that are not durable.
#[test]
fn a_session_ends_with_its_first_failed_sync() {
    let server = Setup::hosting().start();
    let (target, blob) = (server.target(), Blob::noise(700, 300_000));
    let mut session = target.begin("team/app");
    assert_eq!(session.patch(None, &blob.bytes).status, 202);
    let file = session_file(&server);
    let injection = failing(&server, &file);
    assert_eq!(session.put(&blob.digest, b"").status, 500);
    let (failed, _) = injection.end();
    assert_eq!(failed, 1, "one sync failed");
    assert!(is_logged(&server, &file), "the log names the file");
    assert_eq!(session.put(&blob.digest, b"").status, 404, "the session is over");
    assert!(!file.exists(), "and holds nothing any more");
    assert_eq!(target.head(&format!("team/app/blobs/{}", blob.digest)), 404);
    target.blob("team/app", &blob);
    assert_eq!(server.blob("team/app", &blob.digest).send().summary().digest, blob.digest);
}

/// A session whose bytes could neither be synced nor removed is over; a later process writes them anew before it trusts
/// a sync.
#[test]
fn a_session_that_failed_and_stayed_is_not_believed() {
    let mut server = Setup::hosting().start();
    let blob = Blob::noise(703, 300_000);
    let mut session = server.target().begin("team/app");
    assert_eq!(session.patch(None, &blob.bytes).status, 202);
    let file = session_file(&server);
    let injection = Injection::failing(&server, &format!("{SYNCS},unlink"), "EIO", &file);
    assert_eq!(session.put(&blob.digest, b"").status, 500);
    assert_eq!(injection.end().0, 2, "one sync and one removal failed");
    assert!(file.exists());
    assert_eq!(session.request("GET").send().status, 404, "the session is over");
    assert_eq!(session.put(&blob.digest, b"").status, 404);
    server.restart();
    let session = session.at(&server.target());
    let injection = Injection::watching(&server, "pwrite64", &file);
    assert_eq!(session.put(&blob.digest, b"").status, 201);
    let written = injection.sites(server.data());
    assert_eq!(written.len(), 1, "the bytes are written anew: {written:?}");
    assert_eq!(server.blob("team/app", &blob.digest).send().summary().digest, blob.digest);
}

/// A mirrored blob whose sync failed when it was mounted is missing for the next mount: it has to be fetched again.
#[test]
fn a_mirrored_blob_whose_sync_failed_has_to_come_again() {
    let (upstream, blob) = (Upstream::plain(), Blob::noise(701, 300_000));
    upstream.add_blob("library/base", &blob);
    let server = Setup::both(&upstream.url()).start();
    let pull = || assert_eq!(server.blob("library/base", &blob.digest).send().summary().digest, blob.digest);
    pull();
    let data = VolumeCheck::new(server.data()).data(&blob.digest);
    let injection = failing(&server, &data);
    let mount = || server.target().mount("team/app", &blob.digest, Some("library/base")).status;
    assert_eq!(mount(), 202, "bytes that cannot be made durable are none: the client uploads them");
    assert_eq!(injection.end().0, 1, "one sync failed");
    assert!(is_logged(&server, &data), "the log names the file");
    assert_eq!(mount(), 202, "nor does a second try find them");
    pull();
    assert_eq!(upstream.count("GET", Kind::Blob), 2, "the mirror fetches them again");
    let injection = Injection::watching(&server, SYNCS, &data);
    assert_eq!(mount(), 201);
    assert_eq!(injection.end(), (0, 1), "and these are synced");
}

/// A pushed blob whose sync failed stays, since it can be read, but a later sync of it says nothing about its bytes: no
/// mount is acknowledged. Without the index, nothing says that they were synced when they were pushed.
#[test]
fn a_pushed_blob_whose_sync_failed_is_not_acknowledged_later() {
    let mut server = Setup::hosting().start();
    let image = Image::single(Format::Oci, 704);
    server.target().image("team/app", "1", &image);
    server.stop();
    std::fs::remove_dir_all(server.data().join("index")).unwrap();
    server.restart();
    let digest = &image.layer().digest;
    let data = VolumeCheck::new(server.data()).data(digest);
    let injection = failing(&server, &data);
    let mount = || server.target().mount("team/other", digest, Some("team/app")).status;
    assert_eq!(mount(), 500);
    assert_eq!(injection.end().0, 1, "one sync failed");
    assert!(is_logged(&server, &data), "the log names the file");
    assert_eq!(mount(), 500, "the next sync would succeed");
    server.pull("team/app", "1", &image);
}

/// An upload of bytes that the mirror holds on a failing disk writes its own bytes.
#[test]
fn an_upload_takes_the_place_of_what_could_not_be_synced() {
    let (upstream, blob) = (Upstream::plain(), Blob::noise(702, 300_000));
    upstream.add_blob("library/base", &blob);
    let server = Setup::both(&upstream.url()).start();
    assert_eq!(server.blob("library/base", &blob.digest).send().summary().digest, blob.digest);
    let data = VolumeCheck::new(server.data()).data(&blob.digest);
    let mut session = server.target().begin("team/app");
    assert_eq!(session.patch(None, &blob.bytes).status, 202);
    let staged = session_file(&server);
    let (injection, watched) = (failing(&server, &data), std::fs::metadata(&staged).unwrap());
    assert_eq!(session.put(&blob.digest, b"").status, 201);
    assert_eq!(injection.end().0, 1, "one sync failed");
    let inode = |meta: &std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(meta);
    assert_eq!(inode(&std::fs::metadata(&data).unwrap()), inode(&watched), "the session's own bytes, synced before");
}

/// Each step that a manifest's PUT could not sync is synced by the next PUT: its bytes' folder, its revision, its tag,
/// and the folders of its repository.
#[test]
fn a_retried_manifest_is_synced_at_every_step() {
    let server = Setup::hosting().start();
    let (target, home) = (server.target(), server.data().join("docker/registry/v2"));
    for step in 0..5 {
        let (name, image) = (format!("team/app{step}"), Image::single(Format::Oci, 710 + step));
        image.blobs.iter().for_each(|blob| target.blob(&name, blob));
        let put = || target.manifest(&name, "tag", &image.top).status;
        let (manifests, digest) = (home.join("repositories").join(&name).join("_manifests"), hex(image.digest()));
        let folder = match step {
            0 => home.join("blobs/sha256").join(&digest[..2]).join(digest),
            1 => manifests.join("revisions/sha256").join(digest),
            2 => manifests.join("tags/tag/current"),
            3 => manifests.join("tags"),
            _ => manifests,
        };
        let injection = failing(&server, &folder);
        assert_eq!(put(), 500, "{folder:?}");
        assert!(injection.end().0 > 0, "{folder:?} was to be synced");
        assert!(is_logged(&server, &folder), "the log names {folder:?}");
        let injection = Injection::watching(&server, SYNCS, &folder);
        assert_eq!(put(), 201, "{folder:?}");
        assert!(injection.end().1 > 0, "{folder:?} is synced by the second try");
    }
}

/// A change whose last sync fails is on the disk, and the client gets an error: later requests return the state of the
/// disk, as after a restart.
#[test]
fn after_a_failed_change_answers_follow_the_disk() {
    let mut server = Setup::hosting().variable("REGISTRY_STORAGE_DELETE_ENABLED", "true").start();
    let (target, home) = (server.target(), server.data().join("docker/registry/v2/repositories/team/app"));
    let images = [Image::single(Format::Oci, 730), Image::single(Format::Oci, 731)];
    target.image("team/app", "moved", &images[0]);
    target.image("team/app", "gone", &images[0]);
    images[1].blobs.iter().for_each(|blob| target.blob("team/app", blob));
    let tags = home.join("_manifests/tags");
    let fails = |folder: &Path, act: &dyn Fn() -> u16| {
        let injection = failing(&server, folder);
        assert_eq!(act(), 500, "{folder:?}");
        assert!(injection.end().0 > 0, "{folder:?} was to be synced");
    };
    fails(&tags.join("moved/current"), &|| target.manifest("team/app", "moved", &images[1].top).status);
    fails(&tags, &|| target.delete("team/app/manifests/gone"));
    let layer = &images[0].layer().digest;
    fails(&home.join("_layers/sha256").join(hex(layer)), &|| target.delete(&format!("team/app/blobs/{layer}")));
    let revision = home.join("_manifests/revisions/sha256").join(hex(images[0].digest()));
    fails(&revision, &|| target.delete(&format!("team/app/manifests/{}", images[0].digest())));
    let mut seen = Vec::new();
    for restarted in [false, true] {
        if restarted {
            server.restart();
        }
        let target = server.target();
        let moved = server.manifest("team/app", "moved").send();
        seen.push((
            (moved.status, moved.summary().digest),
            target.head("team/app/manifests/gone"),
            target.head(&format!("team/app/blobs/{layer}")),
            target.head(&format!("team/app/manifests/{}", images[0].digest())),
            target.json("team/app/tags/list")["tags"].clone(),
        ));
    }
    assert_eq!(seen[0].0, (200, images[1].digest().to_owned()), "the disk says so");
    assert_eq!(seen[0], seen[1]);
}

/// A claim whose sync failed is synced at the latest before the last manifest is removed: until then the manifest
/// itself shows that the name is claimed.
#[test]
fn a_claim_is_synced_before_its_last_manifest_goes() {
    let server = Setup::hosting().variable("REGISTRY_STORAGE_DELETE_ENABLED", "true").start();
    let (target, image) = (server.target(), Image::single(Format::Oci, 720));
    image.blobs.iter().for_each(|blob| target.blob("team/app", blob));
    let folder = server.data().join("docker/registry/v2/repositories/team/app/_hosted");
    let put = || target.manifest("team/app", "tag", &image.top).status;
    let injection = failing(&server, &folder);
    assert_eq!(put(), 500);
    assert!(injection.end().0 > 0, "{folder:?} was to be synced");
    assert_eq!(put(), 201);
    let delete = || target.request("DELETE", &format!("team/app/manifests/{}", image.digest())).send().status;
    let injection = failing(&server, &folder);
    assert_eq!(delete(), 500, "nothing goes while the claim is not durable");
    assert!(injection.end().0 > 0, "{folder:?} was to be synced");
    let injection = Injection::watching(&server, SYNCS, &folder);
    assert_eq!(delete(), 202);
    assert!(injection.end().1 > 0, "{folder:?} is synced by the second try");
}
