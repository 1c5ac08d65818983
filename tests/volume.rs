//! Volumes and configurations of `registry:2` are used as they are, and the volume can go back.

use std::path::Path;

use serde_json::json;

use crate::support::{
    hash::{hex, sha256},
    http,
    images::{Blob, Format, Image, Manifest},
    registry2::OnVolume,
    server::{Server, Setup},
    uploads::Target,
    upstream::Upstream,
};

/// The content of the volume: repository, tag, image.
type Images = Vec<(&'static str, &'static str, Image)>;

fn images() -> Images {
    vec![
        ("team/app", "1", Image::of_size(Format::Docker, 300, 200_000)),
        ("team/app", "2", Image::of_size(Format::Docker, 301, 100_000)),
        ("team/app", "3", Image::single(Format::Oci, 302)),
        ("team/deep/er/app", "latest", Image::index(Format::Docker, 303, 50_000)),
        ("bare", "v1.0_x-y", Image::index(Format::Oci, 306, 50_000)),
        ("library/ours", "latest", Image::single(Format::Docker, 309)),
    ]
}

/// Each image is there by tag and by digest, and in the lists.
fn serves(target: &Target, images: &Images) {
    for (repository, tag, image) in images {
        for reference in [*tag, image.digest()] {
            let path = format!("{repository}/manifests/{reference}");
            let response = target.request("GET", &path).header("Accept", &image.top.media_type).send();
            assert_eq!(
                (response.status, response.header("content-type")),
                (200, Some(&*image.top.media_type)),
                "{path}"
            );
            assert!(response.body().bytes == image.top.bytes, "{path}");
        }
        for child in &image.children {
            let path = format!("{repository}/manifests/{}", child.digest);
            let response = target.request("GET", &path).header("Accept", &child.media_type).send();
            assert_eq!((response.status, response.summary().digest.as_str()), (200, &*child.digest), "{path}");
        }
        for blob in &image.blobs {
            let response = target.request("GET", &format!("{repository}/blobs/{}", blob.digest)).send();
            assert_eq!((response.status, response.summary().digest.as_str()), (200, &*blob.digest), "{repository}");
        }
        let mut tags: Vec<_> = images.iter().filter(|(name, ..)| name == repository).map(|(_, tag, _)| *tag).collect();
        tags.sort_unstable();
        let mut listed = target.json(&format!("{repository}/tags/list"))["tags"].as_array().unwrap().clone();
        listed.sort_by_key(ToString::to_string);
        assert_eq!(listed, tags, "{repository}");
    }
    let mut names: Vec<_> = images.iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    names.dedup();
    let (mut listed, _) = target.pages("_catalog?n=2", "repositories");
    listed.sort_by_key(ToString::to_string);
    assert_eq!(listed, names);
}

fn push_all(target: &Target, images: &Images) {
    images.iter().for_each(|(repository, tag, image)| target.image(repository, tag, image));
}

/// The tag is unknown, and the manifest is there by digest.
fn is_untagged(target: &Target, repository: &str, tag: &str, image: &Image) {
    assert_eq!(target.head(&format!("{repository}/manifests/{tag}")), 404, "{repository}:{tag}");
    let path = format!("{repository}/manifests/{}", image.digest());
    let response = target.request("GET", &path).header("Accept", &image.top.media_type).send();
    assert_eq!((response.status, response.summary().digest.as_str()), (200, image.digest()));
}

/// Written by docker-registry, served here, pushed to here, served by docker-registry again, and here once more.
#[test]
fn a_volume_goes_there_and_back() {
    let setup = Setup::hosting();
    let (mut images, gone) = (images(), Image::single(Format::Docker, 320));
    let theirs = OnVolume::start(setup.data());
    push_all(&theirs.target(), &images);
    theirs.target().image("team/app", "gone", &gone);
    delete_tag_on_disk(setup.data(), "team/app", "gone");
    let deleted = Image::single(Format::Docker, 321);
    theirs.target().image("team/app", "deleted", &deleted);
    assert_eq!(theirs.target().delete(&format!("team/app/manifests/{}", deleted.digest())), 202);
    let (unfinished, blob) = (theirs.target().begin("team/app"), Blob::noise(322, 60_000));
    assert_eq!(unfinished.clone().patch(None, &blob.bytes[..20_000]).status, 202);
    serves(&theirs.target(), &images);
    drop(theirs);

    let server = setup.start();
    let target = server.target();
    serves(&target, &images);
    is_untagged(&target, "team/app", "gone", &gone);
    assert_eq!(target.head(&format!("team/app/manifests/{}", deleted.digest())), 404);
    let mut adopted = unfinished.at(&target);
    assert_eq!(adopted.received(), 20_000, "its upload is ours to go on with");
    assert_eq!(adopted.patch(Some(20_000), &blob.bytes[20_000..]).status, 202);
    assert_eq!(adopted.put(&blob.digest, b"").status, 201);

    let more: Images = vec![
        ("team/app", "4", Image::index(Format::Oci, 330, 80_000)),
        ("team/new", "1", Image::of_size(Format::Docker, 333, 80_000)),
    ];
    push_all(&target, &more);
    images.extend(more);
    retag(&target, &mut images, "team/app", "1", Image::of_size(Format::Oci, 334, 70_000));
    assert_eq!(target.delete("team/app/manifests/2"), 202);
    let untagged =
        images.remove(images.iter().position(|(name, tag, _)| (*name, *tag) == ("team/app", "2")).unwrap()).2;
    serves(&target, &images);
    is_untagged(&target, "team/app", "2", &untagged);
    let open = target.begin("team/app");
    assert_eq!(open.clone().patch(None, &blob.bytes[..30_000]).status, 202);
    goes_back(server, &images, &untagged);
}

/// The second half: docker-registry serves and writes it again, then Entrepot does.
fn goes_back(mut server: Server, images: &Images, untagged: &Image) {
    server.stop();
    let theirs = OnVolume::start(server.data());
    serves(&theirs.target(), images);
    is_untagged(&theirs.target(), "team/app", "2", untagged);
    let mut after = images.clone();
    let more: Images = vec![("team/app", "5", Image::single(Format::Docker, 340))];
    push_all(&theirs.target(), &more);
    after.extend(more);
    drop(theirs);
    server.restart();
    serves(&server.target(), &after);
}

/// A volume of a cache by `proxy.remoteurl`, without scheduler-state.json: only its operator knows what it holds, so
/// the start asks. Cached content is mirrored then, pushed content is kept, and the start does not ask again.
#[test]
fn a_volume_that_may_be_a_cache_asks_what_it_holds() {
    let upstream = Upstream::plain();
    let image = Image::single(Format::Docker, 345);
    upstream.add("team/app", "1", &image);
    for (said, is_mirrored) in [("pushed", false), ("cached", true)] {
        let setup = Setup::both(&upstream.url());
        let theirs = OnVolume::start(setup.data());
        theirs.target().image("team/app", "1", &image);
        drop(theirs);
        let asked = setup.run();
        assert_eq!(asked.status.code(), Some(2), "{}", asked.output);
        for part in ["team/app", "scheduler-state.json", "proxy.adopt", "cached", "pushed"] {
            assert!(asked.output.contains(part), "{part} is not in: {}", asked.output);
        }
        drop(setup.clone().hosted("[team/**]").start());
        drop(setup.clone().variable("REGISTRY_PROXY_ADOPT", said).start());
        // The setting is remembered.
        let server = setup.start();
        let place = server.data().join("mirrors/docker.io/repositories/team/app");
        assert_eq!(place.exists(), is_mirrored, "{said}");
        server.pull("team/app", "1", &image);
    }
}

/// docker-registry 2.8 has no DELETE of a tag: people remove its folder.
fn delete_tag_on_disk(volume: &Path, repository: &str, tag: &str) {
    let tags = volume.join("docker/registry/v2/repositories").join(repository).join("_manifests/tags");
    std::fs::remove_dir_all(tags.join(tag)).unwrap();
}

fn retag(target: &Target, images: &mut Images, repository: &str, tag: &str, image: Image) {
    target.image(repository, tag, &image);
    let entry = images.iter_mut().find(|(name, known, _)| (*name, *known) == (repository, tag)).unwrap();
    entry.2 = image;
}

/// Links without their bytes, as registry:2's own collector leaves them: missing, not damaged.
#[test]
fn links_into_nothing_are_misses() {
    let setup = Setup::hosting();
    let (good, holed) = (Image::single(Format::Oci, 350), Image::single(Format::Oci, 351));
    let theirs = OnVolume::start(setup.data());
    theirs.target().image("team/app", "good", &good);
    theirs.target().image("team/app", "holed", &holed);
    drop(theirs);
    let blobs = setup.data().join("docker/registry/v2/blobs/sha256");
    let folder = |digest: &str| blobs.join(&hex(digest)[..2]).join(hex(digest));
    std::fs::remove_dir_all(folder(&holed.layer().digest)).unwrap();
    std::fs::remove_dir_all(folder(holed.digest())).unwrap();
    let repository = setup.data().join("docker/registry/v2/repositories/team/app");
    std::fs::create_dir_all(repository.join("_manifests/tags/empty/current")).unwrap();
    std::fs::write(repository.join("_manifests/tags/empty/current/link"), "").unwrap();
    std::fs::create_dir_all(repository.join("_manifests/tags/odd/current")).unwrap();
    std::fs::write(repository.join("_manifests/tags/odd/current/link"), "sha256:../../../../etc").unwrap();
    let server = setup.start();
    let target = server.target();
    server.pull("team/app", "good", &good);
    for path in [
        "manifests/holed".to_owned(),
        format!("manifests/{}", holed.digest()),
        format!("blobs/{}", holed.layer().digest),
        "manifests/empty".into(),
        "manifests/odd".into(),
    ] {
        assert_eq!(target.request("GET", &format!("team/app/{path}")).send().status, 404, "{path}");
    }
    let again = target.manifest("team/app", "holed", &holed.top);
    assert_eq!(again.error_code(), "MANIFEST_BLOB_UNKNOWN", "a link is not enough to name a blob");
    target.image("team/app", "holed", &holed);
    server.pull("team/app", "holed", &holed);
}

/// Artifacts that were pushed to registry:2, which has no referrers API, are found by the API.
#[test]
fn referrers_of_an_old_volume_are_found() {
    let setup = Setup::hosting();
    let (theirs, subject) = (OnVolume::start(setup.data()), Image::single(Format::Oci, 360));
    let target = theirs.target();
    target.image("team/app", "1", &subject);
    let empty = Blob::new(b"{}".as_slice());
    target.blob("team/app", &empty);
    let config = empty.descriptor("application/vnd.oci.empty.v1+json");
    let body = json!({
        "schemaVersion": 2, "mediaType": Format::Oci.manifest(), "artifactType": "application/vnd.example.sbom",
        "config": config, "layers": [config], "subject": subject.top.descriptor(),
    });
    let artifact = Manifest::new(Format::Oci.manifest(), &body);
    let put = target.manifest("team/app", &artifact.digest, &artifact);
    assert_eq!((put.status, put.header("oci-subject")), (201, None));
    let mut entry = artifact.descriptor();
    entry["artifactType"] = json!("application/vnd.example.sbom");
    let list = json!({ "schemaVersion": 2, "mediaType": Format::Oci.index(), "manifests": [entry] });
    let tag = format!("sha256-{}", hex(subject.digest()));
    assert_eq!(target.manifest("team/app", &tag, &Manifest::new(Format::Oci.index(), &list)).status, 201);
    drop(theirs);
    let server = setup.start();
    let found = server.target().json(&format!("team/app/referrers/{}", subject.digest()));
    assert_eq!(found["manifests"], json!([entry]));
}

/// The volume of a registry:2 cache becomes a mirror's: served without its upstream, and read-only.
#[test]
fn the_volume_of_a_cache_is_adopted_as_mirrored() {
    let (upstream, image) = (Upstream::plain(), Image::index(Format::Docker, 370, 200_000));
    upstream.add("library/ubuntu", "18.04", &image);
    upstream.add("acme/tool", "1", &image);
    let setup = Setup::both(&upstream.url()).freshness("1s");
    let theirs = OnVolume::caching(setup.data(), &upstream.url());
    for (repository, tag) in [("library/ubuntu", "18.04"), ("acme/tool", "1")] {
        pull(&theirs.target(), repository, tag, &image);
    }
    // registry:2 links its cached content, and writes `scheduler-state.json`, after its response.
    crate::support::wait_until("the cache to have written all", std::time::Duration::from_secs(15), || {
        let links = setup.data().join("docker/registry/v2/repositories/acme/tool/_layers/sha256");
        let count = std::fs::read_dir(links).map_or(0, Iterator::count);
        count >= image.blobs.len() && setup.data().join("scheduler-state.json").is_file()
    });
    drop(theirs);
    let (asked, server) = (upstream.requests().len(), setup.start());
    for (repository, tag) in [("library/ubuntu", "18.04"), ("acme/tool", "1")] {
        server.pull(repository, tag, &image);
        server.pull(repository, image.digest(), &image);
    }
    let content = |recorded: &&crate::support::upstream::Recorded| recorded.request.method == "GET";
    let fetched: Vec<_> = upstream.requests().into_iter().skip(asked).filter(|recorded| content(&recorded)).collect();
    assert!(fetched.is_empty(), "{fetched:#?}");
    upstream.stop();
    server.pull("library/ubuntu", "18.04", &image);
    assert_eq!(server.target().json("_catalog")["repositories"], json!([]), "nothing of it is hosted");
    for repository in ["library/ubuntu", "acme/tool"] {
        let post = server.target().request("POST", &format!("{repository}/blobs/uploads/")).send();
        assert_eq!((post.status, post.error_code().as_str()), (403, "DENIED"), "{repository}");
    }
}

/// Pulls as a client does, from any registry.
fn pull(target: &Target, repository: &str, tag: &str, image: &Image) {
    for (name, manifest) in
        [(tag, &image.top)].into_iter().chain(image.children.iter().map(|child| (child.digest.as_str(), child)))
    {
        let request = target.request("GET", &format!("{repository}/manifests/{name}"));
        let response = request.header("Accept", &manifest.media_type).send();
        assert_eq!((response.status, response.summary().digest.as_str()), (200, &*manifest.digest));
    }
    for blob in &image.blobs {
        let response = target.request("GET", &format!("{repository}/blobs/{}", blob.digest)).send();
        assert_eq!(response.summary().digest, blob.digest);
    }
}

/// The configuration that Debian ships, with an operator's variables. Its htpasswd file is a folder: no login is
/// possible, as in docker-registry, and a warning says so.
#[test]
fn debians_configuration_starts_unchanged() {
    let path = Path::new("/etc/docker/registry/config.yml");
    assert!(path.is_file(), "Debian's docker-registry ships it");
    let server = Setup::hosting()
        .without_variables()
        .config(path)
        .root_directory()
        .variable("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
        .variable("REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR", "inmemory")
        .variable("REGISTRY_LOG_LEVEL", "info")
        .variable("REGISTRY_HTTP_SECRET", "asecretforlocaldevelopment")
        .variable("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_DRYRUN", "true")
        .start();
    let log = server.log();
    let warned = log.lines().any(|line| line.contains("WARN") && line.contains("htpasswd"));
    assert!(warned, "{log}");
    for path in ["", "team/app/tags/list", "library/ubuntu/manifests/latest"] {
        let response = http::get(&server.v2(path)).send();
        assert_eq!(response.status, 401, "{path}");
        assert_eq!(response.header("www-authenticate"), Some(r#"Basic realm="basic-realm""#), "{path}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "http.headers");
        let anyone = http::get(&server.v2(path)).header("Authorization", "Basic YWRtaW46YWRtaW4=").send();
        assert!([400, 401].contains(&anyone.status), "{path}: {}", anyone.status);
    }
    let post = server.target().request("POST", &format!("team/app/blobs/uploads/?digest={}", sha256(b"")));
    assert_eq!(post.send().status, 401);
}

/// The same file without its auth section: pushes work, the volume and the headers are as the file says.
#[test]
fn debians_configuration_without_passwords_serves() {
    let text = std::fs::read_to_string("/etc/docker/registry/config.yml").unwrap();
    let (before, auth) = text.split_once("auth:").unwrap();
    let after = auth.split_once("health:").unwrap().1;
    let setup = Setup::hosting();
    let file = setup.data().with_extension("yml");
    std::fs::write(&file, format!("{before}health:{after}")).unwrap();
    let server = setup.without_variables().config(&file).variable("REGISTRY_HTTP_ADDR", "127.0.0.1:0").start();
    std::fs::remove_file(file).unwrap();
    let (target, image) = (server.target(), Image::single(Format::Oci, 380));
    target.image("team/app", "1", &image);
    server.pull("team/app", "1", &image);
    assert_eq!(target.delete("team/app/manifests/1"), 202, "storage.delete.enabled stands in the file");
}
