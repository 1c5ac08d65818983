//! Mirrored and hosted content on one port do not mix.

use serde_json::{Value, json};

use crate::support::{
    http::Response,
    images::{Blob, Format, Image, Manifest},
    server::{Server, Setup},
    uploads::{OCTETS, Target},
    upstream::Upstream,
};

const HOSTED: &str = "team/app";

/// The response is a denial, and names the key that would change that.
fn denied(response: Response, key: &str) {
    assert_eq!(response.status, 403);
    let body = response.json();
    assert_eq!(body["errors"][0]["code"], "DENIED");
    assert!(body["errors"][0]["message"].as_str().unwrap().contains(key), "{key} is not in {body}");
}

/// Every request that writes to a repository is denied.
fn nothing_can_be_pushed(target: &Target, repository: &str, image: &Image, key: &str) {
    let (uploads, layer) = (format!("{repository}/blobs/uploads/"), image.layer());
    denied(target.request("POST", &uploads).send(), key);
    let post = target.request("POST", &format!("{uploads}?digest={}", layer.digest));
    denied(post.body(OCTETS, &layer.bytes).send(), key);
    denied(target.mount(repository, &layer.digest, Some(HOSTED)), key);
    denied(target.mount(repository, &layer.digest, None), key);
    for reference in ["latest", image.digest()] {
        denied(target.manifest(repository, reference, &image.top), key);
    }
}

/// The number of the upstream's requests for a repository, and of those that only ask whether it exists.
fn requests_for(upstream: &Upstream, repository: &str) -> (usize, usize) {
    let requests = upstream.requests();
    let of_it: Vec<_> = requests.iter().filter(|each| each.request.path.contains(repository)).collect();
    let questions = of_it.iter().filter(|each| each.request.path.ends_with("tags/list") && each.request.query == "n=1");
    (of_it.len(), questions.count())
}

fn fixture(images: &[(&str, &Image)]) -> (Upstream, Server) {
    let upstream = Upstream::plain();
    images.iter().for_each(|(repository, image)| upstream.add(repository, "latest", image));
    let server = Setup::both(&upstream.url()).start();
    (upstream, server)
}

/// `library/ubuntu` is the Hub's: no client can push there, and mirror clients get the upstream's content.
#[test]
fn names_of_the_hub_cannot_be_pushed() {
    let (theirs, ours) = (Image::single(Format::Oci, 70), Image::single(Format::Oci, 71));
    let (_upstream, server) = fixture(&[("library/ubuntu", &theirs)]);
    let target = server.target();
    target.image(HOSTED, "latest", &ours);
    nothing_can_be_pushed(&target, "library/ubuntu", &ours, "proxy.hosted");
    server.pull("library/ubuntu", "latest", &theirs);
    nothing_can_be_pushed(&target, "library/ubuntu", &ours, "proxy.hosted");
    server.pull("library/ubuntu", "latest", &theirs);
    nothing_can_be_pushed(&target, "library/never-asked", &ours, "proxy.hosted");
    let deleted = target.request("DELETE", "library/ubuntu/manifests/latest").send();
    assert_ne!(deleted.status, 202, "nor deleted from");
    server.pull("library/ubuntu", "latest", &theirs);
    assert!(!server.data().join("docker/registry/v2/repositories/library").exists());
}

/// A mirrored name cannot be pushed to, unless the operator lists it as hosted; then it is hosted at once.
#[test]
fn a_mirrored_name_cannot_be_pushed() {
    let (theirs, ours) = (Image::single(Format::Oci, 72), Image::single(Format::Oci, 73));
    let (upstream, server) = fixture(&[("acme/tool", &theirs)]);
    server.pull("acme/tool", "latest", &theirs);
    nothing_can_be_pushed(&server.target(), "acme/tool", &ours, "proxy.hosted");
    server.pull("acme/tool", "latest", &theirs);
    drop(server);
    let setup = Setup::both(&upstream.url()).hosted("[acme/*, library/ours]");
    let server = setup.start();
    assert_eq!(server.manifest("acme/tool", "latest").send().status, 404, "nobody has pushed it");
    for repository in ["acme/tool", "library/ours"] {
        server.target().image(repository, "latest", &ours);
        server.pull(repository, "latest", &ours);
        assert_eq!(server.manifest(repository, theirs.digest()).send().status, 404);
    }
}

/// The same volume, with the name listed as hosted in between.
#[test]
fn a_mirrored_name_is_hosted_if_it_is_listed() {
    let (theirs, ours) = (Image::single(Format::Oci, 74), Image::single(Format::Oci, 75));
    let upstream = Upstream::plain();
    upstream.add("acme/tool", "latest", &theirs);
    let setup = Setup::both(&upstream.url());
    let server = setup.clone().start();
    server.pull("acme/tool", "latest", &theirs);
    drop(server);
    let server = setup.hosted("[acme/*]").start();
    let asked = upstream.requests().len();
    assert_eq!(server.manifest("acme/tool", "latest").send().status, 404, "what was mirrored is not ours");
    server.target().image("acme/tool", "latest", &ours);
    server.pull("acme/tool", "latest", &ours);
    assert_eq!(upstream.requests().len(), asked);
}

/// The upstream is asked about a hosted name once, before its first manifest is accepted, and for nothing under it: not
/// for existing content, not for missing content, not after all of it is deleted, although the name is registered
/// upstream.
#[test]
fn nothing_of_a_hosted_name_is_asked_upstream() {
    let ours = Image::index(Format::Oci, 76, 5000);
    let (upstream, mut server) = fixture(&[]);
    let target = server.target();
    target.image(HOSTED, "1", &ours);
    upstream.add(HOSTED, "latest", &Image::single(Format::Oci, 77));
    ask_for_everything(&server, &ours);
    server.restart();
    ask_for_everything(&server, &ours);
    let target = server.target();
    for manifest in ours.manifests() {
        assert_eq!(target.delete(&format!("{HOSTED}/manifests/{}", manifest.digest)), 202);
    }
    assert_eq!(server.manifest(HOSTED, "1").send().status, 404);
    assert_eq!(server.manifest(HOSTED, "latest").send().status, 404);
    server.stop();
    let _ = std::fs::remove_dir_all(server.data().join("index"));
    server.restart();
    assert_eq!(server.manifest(HOSTED, "latest").send().status, 404);
    assert_eq!(requests_for(&upstream, HOSTED), (1, 1));
}

fn ask_for_everything(server: &Server, ours: &Image) {
    server.pull(HOSTED, "1", ours);
    let unknown = crate::support::hash::sha256(b"unknown");
    for path in [
        "manifests/latest".to_owned(),
        format!("manifests/{unknown}"),
        format!("blobs/{unknown}"),
        "tags/list".into(),
        format!("referrers/{}", ours.digest()),
    ] {
        for method in ["GET", "HEAD"] {
            server.target().request(method, &format!("{HOSTED}/{path}")).send();
        }
    }
    assert_eq!(server.manifest(HOSTED, "latest").send().status, 404, "upstream has it, but that is someone else's");
}

/// A name in `proxy.hosted` is hosted before anything was pushed.
#[test]
fn upstream_never_hears_of_a_name_that_will_be_hosted() {
    let upstream = Upstream::plain();
    upstream.add(HOSTED, "latest", &Image::single(Format::Oci, 78));
    let server = Setup::both(&upstream.url()).hosted("[team/*]").start();
    for path in ["manifests/latest", "tags/list"] {
        assert_eq!(server.target().request("GET", &format!("{HOSTED}/{path}")).send().status, 404, "{path}");
    }
    server.target().image(HOSTED, "1", &Image::single(Format::Oci, 87));
    assert_eq!(requests_for(&upstream, HOSTED), (0, 0), "not even whose it is");
}

/// A request that names the Hub gets the Hub's content, never pushed content of the same name.
#[test]
fn a_request_for_the_hub_gets_the_content_of_the_hub() {
    let (theirs, ours) = (Image::single(Format::Oci, 79), Image::single(Format::Oci, 80));
    let (upstream, server) = fixture(&[]);
    let target = server.target();
    target.image(HOSTED, "latest", &ours);
    upstream.add(HOSTED, "latest", &theirs);
    let digest = |reference: &str| {
        let response = server.manifest(HOSTED, reference).send();
        (response.status, response.header("docker-content-digest").map(str::to_owned))
    };
    assert_eq!(digest("latest"), (200, Some(ours.digest().to_owned())));
    assert_eq!(digest("latest?ns=docker.io"), (200, Some(theirs.digest().to_owned())));
    assert_eq!(digest(&format!("{}?ns=docker.io", ours.digest())).0, 404);
    let layer = &ours.layer().digest;
    assert_eq!(server.blob(HOSTED, layer).send().status, 200);
    assert_eq!(server.blob(HOSTED, &format!("{layer}?ns=docker.io")).send().status, 404);
    assert_eq!(digest("latest"), (200, Some(ours.digest().to_owned())), "and it still is ours");
    let catalog = target.json("_catalog")["repositories"].clone();
    assert_eq!(catalog, json!([HOSTED]), "the catalog lists what is hosted");
    assert_eq!(target.json("_catalog?ns=docker.io")["repositories"], json!([HOSTED]), "and what is mirrored");
}

/// A registry:2 cache is open because it cannot be written: changing the program does not change that.
#[test]
fn a_mirror_takes_no_pushes_unasked() {
    let upstream = Upstream::plain();
    let server = Setup::mirroring(&upstream.url()).start();
    let image = Image::single(Format::Oci, 81);
    nothing_can_be_pushed(&server.target(), HOSTED, &image, "proxy.push");
    assert!(!server.data().join("docker/registry/v2/repositories").join(HOSTED).exists());
}

/// Knowing a digest is not enough: a blob is served only through repositories that link it.
#[test]
fn a_secret_blob_is_served_nowhere_else() {
    let (upstream, server) = fixture(&[]);
    let (target, secret, other) = (server.target(), Image::single(Format::Oci, 82), Image::single(Format::Oci, 83));
    target.image("team/secret", "1", &secret);
    target.image("team/other", "1", &other);
    for blob in &secret.blobs {
        let path = format!("team/other/blobs/{}", blob.digest);
        assert_eq!((target.head(&path), target.request("GET", &path).send().status), (404, 404));
        let range = target.request("GET", &path).header("Range", "bytes=0-9").send();
        assert_eq!(range.status, 404);
        assert_ne!(server.blob("library/any", &blob.digest).send().status, 200, "nor by the mirror");
    }
    assert_eq!(target.head(&format!("team/other/manifests/{}", secret.digest())), 404);
    let response = target.manifest("team/other", "2", &secret.top);
    assert_eq!(response.error_code(), "MANIFEST_BLOB_UNKNOWN", "nor by a manifest that names it");
    server.pull("team/secret", "1", &secret);
    assert_eq!(requests_for(&upstream, "team/"), (2, 2), "but whose the names are");
}

/// Nor is a reference: a manifest may reference a foreign layer or, if the operator allows that, a missing one; neither
/// opens another repository's bytes.
#[test]
fn a_manifest_that_names_a_secret_does_not_open_it() {
    let server = Setup::hosting()
        .variable("REGISTRY_VALIDATION_MANIFESTS_BLOBS", "none")
        .variable("REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMS", "none")
        .start();
    let (mut server, target, secret) = (server, |server: &Server| server.target(), Image::single(Format::Oci, 85));
    target(&server).image("team/secret", "1", &secret);
    let layer = secret.layer().descriptor(Format::Oci.layer());
    let mut elsewhere = layer.clone();
    elsewhere["urls"] = json!(["https://example.com/layer"]);
    let empty = Blob::new(b"{}".as_slice());
    target(&server).blob("team/other", &empty);
    let config = empty.descriptor("application/vnd.oci.empty.v1+json");
    let manifest = |layers: Vec<Value>, more: &str| {
        let mut body =
            json!({ "schemaVersion": 2, "mediaType": Format::Oci.manifest(), "config": config, "layers": layers });
        body["annotations"] = json!({ "more": more });
        Manifest::new(Format::Oci.manifest(), &body)
    };
    let list = json!({ "schemaVersion": 2, "mediaType": Format::Oci.index(), "manifests": [secret.top.descriptor()] });
    let mut about = serde_json::from_slice::<Value>(&manifest(vec![], "subject").bytes).unwrap();
    about["subject"] = secret.top.descriptor();
    for pushed in [
        secret.top.clone(),
        manifest(vec![layer], "plain"),
        manifest(vec![elsewhere], "elsewhere"),
        Manifest::new(Format::Oci.index(), &list),
        Manifest::new(Format::Oci.manifest(), &about),
    ] {
        if pushed.digest != secret.digest() {
            assert_eq!(target(&server).manifest("team/other", "2", &pushed).status, 201);
        }
        for again in [false, true] {
            for blob in &secret.blobs {
                assert_eq!(
                    target(&server).head(&format!("team/other/blobs/{}", blob.digest)),
                    404,
                    "restarted: {again}"
                );
            }
            let path = format!("team/other/manifests/{}", secret.digest());
            assert_eq!(target(&server).head(&path), 404, "restarted: {again}");
            server.restart();
        }
    }
}

/// Nor does a reference in an upstream's manifest, even without any memory of the bytes' owner.
#[test]
fn an_upstream_that_names_a_secret_does_not_open_it() {
    let secret = Image::single(Format::Oci, 86);
    let theirs = Image { blobs: Vec::new(), ..secret.clone() };
    let (_upstream, mut server) = fixture(&[("evil/x", &theirs)]);
    server.target().image("team/secret", "1", &secret);
    for forgetful in [false, true] {
        assert_eq!(server.manifest("evil/x", "latest").send().status, 200, "the manifest is theirs");
        for blob in &secret.blobs {
            let got = server.blob("evil/x", &blob.digest).send();
            assert_eq!(got.status, 404, "without an index: {forgetful}");
        }
        server.stop();
        std::fs::remove_dir_all(server.data().join("index")).unwrap();
        server.restart();
    }
    server.pull("team/secret", "1", &secret);
}

/// Pushed bytes are shared with the mirror: it fetches as usual, and each blob is stored once for both.
#[test]
fn blobs_of_all_sources_are_stored_once() {
    let image = Image::of_size(Format::Oci, 84, 500_000);
    let (upstream, server) = fixture(&[("library/base", &image)]);
    let data = |server: &Server| {
        let files = crate::support::scratch::files(&server.data().join("docker/registry/v2/blobs"));
        files.into_iter().filter(|path| path.ends_with("data")).count()
    };
    server.target().image(HOSTED, "1", &image);
    let before = data(&server);
    server.pull("library/base", "latest", &image);
    assert_eq!(data(&server), before);
    assert!(requests_for(&upstream, "library/base").0 > 0, "the mirror asks upstream all the same");
    server.pull(HOSTED, "1", &image);
}
