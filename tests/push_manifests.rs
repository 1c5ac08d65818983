//! Pushed manifests: accepted ones come back byte for byte, others are refused with the right code.

use serde_json::{Value, json};

use crate::{
    push::{OTHER, REPOSITORY, bytes, fixture},
    support::{
        hash::{sha256, sha512},
        http::Request,
        images::{Blob, Format, Image, Manifest},
        server::Setup,
        uploads::Target,
    },
};

/// A manifest is stored and returned byte for byte, under the type it came with, by tag and by digest.
#[test]
fn a_manifest_is_kept_byte_for_byte() {
    let (server, target) = fixture();
    for (number, format) in [Format::Oci, Format::Docker].into_iter().enumerate() {
        let image = Image::index(format, 40 + number as u64, 2000);
        let repository = format!("team/bytes{number}");
        target.image(&repository, "latest", &image);
        server.pull(&repository, "latest", &image);
        for (reference, manifest) in [("latest", &image.top), (image.digest(), &image.top)]
            .into_iter()
            .chain(image.children.iter().map(|child| (child.digest.as_str(), child)))
        {
            let response = server.manifest(&repository, reference).send();
            assert_eq!(response.header("content-type"), Some(manifest.media_type.as_str()));
            assert_eq!(response.header("docker-content-digest"), Some(manifest.digest.as_str()));
            assert!(response.body().bytes == manifest.bytes, "{reference}");
        }
        for reference in ["latest", image.digest()] {
            let put = target.manifest(&repository, reference, &image.top);
            assert_eq!((put.status, put.header("docker-content-digest")), (201, Some(image.digest())), "once more");
            let there = Request::new("GET", &target.follow(&put)).header("Accept", format.index()).send();
            assert_eq!((there.status, there.summary().digest.as_str()), (200, image.digest()));
        }
    }
}

/// The conformance suite's forms: in HTTP chunks, with parameters on the type, of nearly 4 MiB.
#[test]
fn a_manifest_comes_in_many_shapes() {
    let (_server, target) = fixture();
    let image = Image::single(Format::Oci, 50);
    image.blobs.iter().for_each(|blob| target.blob(REPOSITORY, blob));
    let mut body: Value = serde_json::from_slice(&image.top.bytes).unwrap();
    let notes = (0..390).map(|number| (format!("note-{number}"), json!("A".repeat(10_000))));
    body["annotations"] = notes.collect::<serde_json::Map<_, _>>().into();
    let large = Manifest::new(Format::Oci.manifest(), &body);
    let mut put = target
        .request("PUT", &format!("{REPOSITORY}/manifests/large"))
        .header("Content-Type", &format!("{}; charset=utf-8", Format::Oci.manifest()))
        .begin(None);
    large.bytes.chunks(50_000).for_each(|piece| put.write(piece).unwrap());
    assert_eq!(put.finish().unwrap().status, 201);
    let got = target.request("GET", &format!("{REPOSITORY}/manifests/large")).send();
    assert_eq!(got.header("content-type"), Some(Format::Oci.manifest()), "without parameters");
    assert_eq!(got.summary().digest, large.digest);
}

/// A manifest of this configuration and these layers, with further fields.
pub(crate) fn manifest(config: &Value, layers: &[Value], more: &[(&str, Value)]) -> Manifest {
    let mut body =
        json!({ "schemaVersion": 2, "mediaType": Format::Oci.manifest(), "config": config, "layers": layers });
    more.iter().for_each(|(key, value)| body[*key] = value.clone());
    Manifest::new(Format::Oci.manifest(), &body)
}

/// An index of these manifests.
pub(crate) fn index(manifests: &[Value], more: &[(&str, Value)]) -> Manifest {
    let mut body = json!({ "schemaVersion": 2, "mediaType": Format::Oci.index(), "manifests": manifests });
    more.iter().for_each(|(key, value)| body[*key] = value.clone());
    Manifest::new(Format::Oci.index(), &body)
}

/// `{}`, the configuration of an artifact.
pub(crate) fn nothing(target: &Target, repository: &str) -> Value {
    let blob = Blob::new(b"{}".as_slice());
    target.blob(repository, &blob);
    blob.descriptor("application/vnd.oci.empty.v1+json")
}

/// Artifacts, empty lists, data within descriptors, unknown fields, indexes of indexes: all are manifests.
#[test]
fn unusual_manifests_are_taken() {
    let (server, target) = fixture();
    let empty = nothing(&target, REPOSITORY);
    let mut with_data = empty.clone();
    with_data["data"] = json!("e30=");
    let unknown = [("org.example.unknown", json!({ "a": [1, 2.5, null] })), ("artifactType", json!("application/x"))];
    let plain = manifest(&empty, &[], &[]);
    let inner = index(&[plain.descriptor()], &[]);
    for (tag, manifest) in [
        ("no-layers", plain),
        ("same-blob-twice", manifest(&empty, std::slice::from_ref(&empty), &[])),
        ("data", manifest(&with_data, &[with_data.clone(), with_data.clone()], &[])),
        ("unknown-fields", manifest(&nothing(&target, REPOSITORY), &[], &unknown)),
        ("no-manifests", index(&[], &[])),
        ("inner", inner.clone()),
        ("outer", index(&[inner.descriptor()], &unknown)),
    ] {
        let put = target.manifest(REPOSITORY, tag, &manifest);
        assert_eq!((put.status, put.header("docker-content-digest")), (201, Some(manifest.digest.as_str())), "{tag}");
        let got = server.manifest(REPOSITORY, tag).send();
        assert!(got.body().bytes == manifest.bytes, "{tag}");
    }
}

/// Every descriptor is looked up in the repository; each missing one is named.
#[test]
fn every_missing_blob_is_named() {
    let (_server, target) = fixture();
    let (there, missing) = (bytes("there", 300), [bytes("a", 300), bytes("b", 300), bytes("c", 300)]);
    target.blob(REPOSITORY, &there);
    target.blob(OTHER, &missing[0]);
    let layers: Vec<_> = [&there, &missing[0], &missing[1]].map(|blob| blob.descriptor(Format::Oci.layer())).into();
    let top = manifest(&missing[2].descriptor(Format::Oci.config()), &layers, &[]);
    let child = manifest(&there.descriptor(Format::Oci.config()), &[], &[]);
    for (tag, pushed, wanted) in [
        ("image", &top, missing.iter().map(|blob| blob.digest.clone()).collect::<Vec<_>>()),
        ("index", &index(&[child.descriptor(), top.descriptor()], &[]), vec![child.digest.clone(), top.digest.clone()]),
    ] {
        let response = target.manifest(REPOSITORY, tag, pushed);
        assert!([400, 404].contains(&response.status), "{tag}: {}", response.status);
        let errors = response.json()["errors"].as_array().unwrap().clone();
        assert!(errors.iter().all(|error| error["code"] == "MANIFEST_BLOB_UNKNOWN"), "{errors:?}");
        let named = |digest: &String| errors.iter().filter(|error| error.to_string().contains(digest)).count();
        assert!(wanted.iter().all(|digest| named(digest) == 1), "{tag}: {errors:#?}");
        assert_eq!(errors.len(), wanted.len(), "{tag}: {errors:#?}");
        for reference in [tag, &pushed.digest] {
            assert_eq!(target.head(&format!("{REPOSITORY}/manifests/{reference}")), 404, "nothing came of it");
        }
    }
}

/// An index with some of its platforms missing, if the operator allows that.
#[test]
fn a_sparse_index_is_a_choice() {
    let sparse = |target: &Target| {
        let there = manifest(&nothing(target, REPOSITORY), &[], &[]);
        assert_eq!(target.manifest(REPOSITORY, &there.digest, &there).status, 201);
        let entry = |digest: &str, architecture| {
            let platform = json!({ "os": "linux", "architecture": architecture });
            json!({ "mediaType": Format::Oci.manifest(), "digest": digest, "size": there.bytes.len(), "platform": platform })
        };
        let nowhere = sha256(b"nowhere");
        index(&[entry(&there.digest, "amd64"), entry(&nowhere, "arm64")], &[])
    };
    let list = "REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST";
    for (platforms, required, status) in [
        ("all", None, None),
        ("none", None, Some(201)),
        ("list", Some("[{architecture: amd64, os: linux}]"), Some(201)),
        ("list", Some("[{architecture: arm64, os: linux}]"), None),
    ] {
        let mut setup = Setup::hosting().variable("REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMS", platforms);
        if let Some(required) = required {
            setup = setup.variable(list, required);
        }
        let server = setup.start();
        let (target, pushed) = (server.target(), sparse(&server.target()));
        let response = target.manifest(REPOSITORY, "sparse", &pushed);
        match status {
            Some(status) => assert_eq!(response.status, status, "{platforms} {required:?}"),
            None => assert_eq!(response.error_code(), "MANIFEST_BLOB_UNKNOWN", "{platforms} {required:?}"),
        }
    }
}

/// Foreign layers are stored elsewhere, at URLs that `validation.manifests.urls` must allow.
#[test]
fn foreign_layers_are_where_the_operator_allows() {
    let foreign = |target: &Target, url: &str| {
        let layer = json!({
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "digest": sha256(url.as_bytes()), "size": 123_456, "urls": [url],
        });
        manifest(&nothing(target, REPOSITORY), &[layer], &[])
    };
    let (allow, deny) = ("REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW", "REGISTRY_VALIDATION_MANIFESTS_URLS_DENY");
    let server = Setup::hosting()
        .variable(allow, r"['^https?://([^/]+\.)?example\.com/']")
        .variable(deny, r"['^https?://www\.example\.com/']")
        .start();
    let target = server.target();
    for (url, status) in [
        ("https://store.example.com/blobs/1", 201),
        ("https://www.example.com/blobs/1", 400),
        ("https://elsewhere.test/blobs/1", 400),
    ] {
        let response = target.manifest(REPOSITORY, "foreign", &foreign(&target, url));
        assert_eq!(response.status, status, "{url}");
        if status == 400 {
            assert!(["MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN"].contains(&response.error_code().as_str()), "{url}");
        }
    }
}

/// Docker's first format is refused by its name: skopeo tries it last, and its user sees this error.
#[test]
fn schema1_is_refused_by_name() {
    let (_server, target) = fixture();
    for media_type in [
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v1+json",
    ] {
        let body =
            json!({ "schemaVersion": 1, "name": REPOSITORY, "tag": "1", "architecture": "amd64", "fsLayers": [] });
        let response = target.manifest(REPOSITORY, "1", &Manifest::new(media_type, &body));
        assert_eq!(response.status, 400);
        let text = response.text();
        assert!(text.contains("schema1") || text.contains("schema 1"), "{text}");
        assert!(text.contains("MANIFEST_INVALID") || text.contains("UNSUPPORTED"), "{text}");
    }
}

/// Under sha512: blobs, manifests that name them, and the tag that a parameter gives such a manifest.
#[test]
fn sha512_goes_all_the_way() {
    let (_server, target) = fixture();
    let layer = bytes("sha512", 900);
    let digest = sha512(&layer.bytes);
    assert_eq!(target.begin(REPOSITORY).put(&digest, &layer.bytes).status, 201);
    let descriptor = json!({ "mediaType": Format::Oci.layer(), "digest": digest, "size": 900 });
    let image = manifest(&descriptor, std::slice::from_ref(&descriptor), &[]);
    let name = sha512(&image.bytes);
    let put = target.manifest(REPOSITORY, &format!("{name}?tag=a&tag=b"), &image);
    assert_eq!((put.status, put.header("docker-content-digest")), (201, Some(name.as_str())));
    let accepted: Vec<_> =
        put.headers.iter().filter(|(key, _)| key == "oci-tag").map(|(_, tags)| tags.as_str()).collect();
    let accepted = accepted.join(",").replace(' ', "");
    assert_eq!(accepted, "a,b", "OCI-Tag");
    for reference in [&name, "a", "b"] {
        let got = target.request("GET", &format!("{REPOSITORY}/manifests/{reference}")).send();
        assert_eq!((got.status, got.header("docker-content-digest")), (200, Some(name.as_str())), "{reference}");
        assert!(got.body().bytes == image.bytes);
    }
    assert_eq!(target.json(&format!("{REPOSITORY}/tags/list"))["tags"], json!(["a", "b"]));
    assert_eq!(target.delete(&format!("{REPOSITORY}/manifests/{name}")), 202);
    for reference in [&name, "a", "b"] {
        assert_eq!(target.head(&format!("{REPOSITORY}/manifests/{reference}")), 404, "{reference}");
    }
}

/// A digest that does not match the body: nothing is stored, under either name.
#[test]
fn a_manifest_matches_its_digest() {
    let (_server, target) = fixture();
    let image = manifest(&nothing(&target, REPOSITORY), &[], &[]);
    let mut padded = image.clone();
    padded.bytes = [&image.bytes[..], b"  "].concat().into();
    for digest in [image.digest.clone(), sha512(&image.bytes), "sha256:baddigeststring".to_owned()] {
        let response = target.manifest(REPOSITORY, &digest, &padded);
        assert_eq!((response.status, response.error_code().as_str()), (400, "DIGEST_INVALID"), "{digest}");
        assert!([400, 404].contains(&target.request("GET", &format!("{REPOSITORY}/manifests/{digest}")).send().status));
    }
}
