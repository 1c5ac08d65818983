//! Hosted content: deletes, and the lists of tags, repositories and referrers.

use serde_json::{Value, json};

use crate::{
    push::{REPOSITORY, fixture},
    push_manifests::{index, manifest, nothing},
    support::{
        hash::{hex, sha256},
        images::{Format, Image, Manifest},
        server::Setup,
        uploads::Target,
    },
};

/// A delete is effective with its response: a tag alone, a manifest with its tags, a blob from its repository.
#[test]
fn what_is_deleted_is_gone() {
    let (server, target) = fixture();
    let image = Image::single(Format::Oci, 60);
    target.image(REPOSITORY, "one", &image);
    assert_eq!(target.manifest(REPOSITORY, "two", &image.top).status, 201);
    assert_eq!(target.manifest(REPOSITORY, "three", &image.top).status, 201);
    let manifests = |reference: &str| format!("{REPOSITORY}/manifests/{reference}");
    assert_eq!(target.delete(&manifests("one")), 202);
    assert_eq!(target.head(&manifests("one")), 404);
    server.pull(REPOSITORY, "two", &image);
    assert_eq!(target.json(&format!("{REPOSITORY}/tags/list"))["tags"], json!(["three", "two"]));
    assert_eq!(target.delete(&manifests(image.digest())), 202);
    for reference in ["two", "three", image.digest()] {
        assert_eq!(target.head(&manifests(reference)), 404, "{reference}");
    }
    for blob in &image.blobs {
        let path = format!("{REPOSITORY}/blobs/{}", blob.digest);
        assert_eq!((target.delete(&path), target.head(&path)), (202, 404));
        assert_eq!(target.delete(&path), 404, "twice");
    }
    assert_eq!((target.delete(&manifests("one")), target.delete(&manifests(image.digest()))), (404, 404), "twice");
    assert_eq!(target.json(&format!("{REPOSITORY}/tags/list"))["tags"], json!([]));
    target.image(REPOSITORY, "one", &image);
    server.pull(REPOSITORY, "one", &image);
}

/// Deletes are refused unless they are enabled.
#[test]
fn deleting_is_for_the_operator_to_enable() {
    let server = Setup::hosting().variable("REGISTRY_STORAGE_DELETE_ENABLED", "false").start();
    let (target, image) = (server.target(), Image::single(Format::Oci, 61));
    target.image(REPOSITORY, "1", &image);
    for path in [
        format!("{REPOSITORY}/manifests/1"),
        format!("{REPOSITORY}/manifests/{}", image.digest()),
        format!("{REPOSITORY}/blobs/{}", image.layer().digest),
    ] {
        let response = target.request("DELETE", &path).send();
        assert_eq!((response.status, response.error_code().as_str()), (405, "UNSUPPORTED"), "{path}");
    }
    server.pull(REPOSITORY, "1", &image);
}

/// An artifact about `subject`, with a note of this length.
fn about(target: &Target, subject: &Value, kind: &str, note: &str) -> Manifest {
    let more = [("artifactType", json!(kind)), ("subject", subject.clone()), ("annotations", json!({ "note": note }))];
    let more = if kind.is_empty() { &more[1..] } else { &more[..] };
    let artifact = manifest(&nothing(target, REPOSITORY), &[], more);
    let put = target.manifest(REPOSITORY, &artifact.digest, &artifact);
    assert_eq!((put.status, put.header("oci-subject")), (201, subject["digest"].as_str()));
    artifact
}

/// The digests that a list of referrers has.
fn digests(list: &[Value]) -> Vec<&str> {
    let mut digests: Vec<_> = list.iter().map(|entry| entry["digest"].as_str().unwrap()).collect();
    digests.sort_unstable();
    digests
}

fn sorted<'a>(manifests: &[&'a Manifest]) -> Vec<&'a str> {
    let mut digests: Vec<_> = manifests.iter().map(|manifest| manifest.digest.as_str()).collect();
    digests.sort_unstable();
    digests
}

/// Referrers of a manifest: known or not, by image and by index, filtered by type, gone when deleted.
#[test]
fn referrers_are_listed() {
    let (_server, target) = fixture();
    let subject = manifest(&nothing(&target, REPOSITORY), &[], &[]);
    let path = format!("{REPOSITORY}/referrers/{}", subject.digest);
    let response = target.request("GET", &path).send();
    assert_eq!((response.status, response.header("content-type")), (200, Some(Format::Oci.index())), "nobody, nowhere");
    assert_eq!(response.json(), json!({ "schemaVersion": 2, "mediaType": Format::Oci.index(), "manifests": [] }));
    let early = about(&target, &subject.descriptor(), "application/vnd.example.sbom+json", "before its subject");
    assert_eq!(target.manifest(REPOSITORY, "subject", &subject).status, 201);
    let signature = about(&target, &subject.descriptor(), "application/vnd.example.signature", "signed");
    let typeless = about(&target, &subject.descriptor(), "", "its configuration tells what it is");
    let list = index(&[], &[("subject", subject.descriptor()), ("annotations", json!({ "of": "index" }))]);
    let put = target.manifest(REPOSITORY, "list", &list);
    assert_eq!((put.status, put.header("oci-subject")), (201, Some(subject.digest.as_str())));
    let all = target.json(&path)["manifests"].as_array().unwrap().clone();
    assert_eq!(digests(&all), sorted(&[&early, &signature, &typeless, &list]));
    let entry = |manifest: &Manifest| all.iter().find(|entry| entry["digest"] == manifest.digest).unwrap();
    let mut wanted = signature.descriptor();
    wanted["artifactType"] = json!("application/vnd.example.signature");
    wanted["annotations"] = json!({ "note": "signed" });
    assert_eq!(*entry(&signature), wanted);
    assert_eq!(entry(&typeless)["artifactType"], "application/vnd.oci.empty.v1+json");
    assert_eq!((entry(&list).get("artifactType"), &entry(&list)["annotations"]), (None, &json!({ "of": "index" })));
    let filtered = target.request("GET", &format!("{path}?artifactType=application%2Fvnd.example.sbom%2Bjson")).send();
    assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"));
    assert_eq!(digests(filtered.json()["manifests"].as_array().unwrap()), sorted(&[&early]));
    assert_eq!(target.delete(&format!("{REPOSITORY}/manifests/{}", early.digest)), 202);
    let left = target.json(&path)["manifests"].as_array().unwrap().clone();
    assert_eq!(digests(&left), sorted(&[&signature, &typeless, &list]));
    assert_eq!(target.request("GET", &format!("{REPOSITORY}/referrers/sha256:short")).send().status, 400);
}

/// No page is larger than the manifests that clients read (4 MiB); each links to the next, with the filter kept.
#[test]
fn referrers_are_paged() {
    let (_server, target) = fixture();
    let subject = json!({ "mediaType": Format::Oci.manifest(), "digest": sha256(b"subject"), "size": 7 });
    let long = "n".repeat(300_000);
    let notes: Vec<_> =
        (0..20).map(|number| about(&target, &subject, "application/x", &format!("{number}{long}"))).collect();
    let others: Vec<_> = (0..3).map(|number| about(&target, &subject, "application/y", &number.to_string())).collect();
    let path = format!("{REPOSITORY}/referrers/{}", sha256(b"subject"));
    let page = target.request("GET", &path).send().body();
    assert!(page.bytes.len() <= 4 << 20, "{} bytes", page.bytes.len());
    let (all, pages) = target.pages(&path, "manifests");
    assert!(pages > 1, "6 MB in one page");
    assert_eq!(digests(&all), sorted(&notes.iter().chain(&others).collect::<Vec<_>>()));
    let (filtered, _) = target.pages(&format!("{path}?artifactType=application/x"), "manifests");
    assert_eq!(digests(&filtered), sorted(&notes.iter().collect::<Vec<_>>()));
}

/// The tag `sha256-<hex>` of a client without the referrers API is a tag like any other: a manifest with a subject is
/// listed, once; one that only the tag names is not (distribution-spec, "Enabling the Referrers API").
#[test]
fn the_referrers_tag_is_honoured() {
    let (server, target) = fixture();
    let subject = manifest(&nothing(&target, REPOSITORY), &[], &[("annotations", json!({ "name": "subject" }))]);
    assert_eq!(target.manifest(REPOSITORY, "subject", &subject).status, 201);
    let known = about(&target, &subject.descriptor(), "application/x", "has a subject");
    let stranger = manifest(&nothing(&target, REPOSITORY), &[], &[("annotations", json!({ "name": "has none" }))]);
    assert_eq!(target.manifest(REPOSITORY, &stranger.digest, &stranger).status, 201);
    let list = index(&[known.descriptor(), stranger.descriptor()], &[]);
    let tag = format!("sha256-{}", hex(&subject.digest));
    assert_eq!(target.manifest(REPOSITORY, &tag, &list).status, 201);
    assert!(server.manifest(REPOSITORY, &tag).send().body().bytes == list.bytes);
    let all = target.json(&format!("{REPOSITORY}/referrers/{}", subject.digest));
    assert_eq!(digests(all["manifests"].as_array().unwrap()), sorted(&[&known]));
}

/// Tags are sorted by their bytes, in pages of `n` after `last`, each with a link to the next.
#[test]
fn tags_are_listed_in_pages() {
    let server = Setup::hosting().variable("REGISTRY_TAGS_MAXTAGS", "8").start();
    let target = server.target();
    let image = manifest(&nothing(&target, REPOSITORY), &[], &[]);
    let mut tags = ["a", "B", "1.10", "1.9", "_x", "latest", "b", "a-b", "a.b", "Z", "z", "0"].map(String::from);
    for tag in &tags {
        assert_eq!(target.manifest(REPOSITORY, tag, &image).status, 201);
    }
    tags.sort();
    let list = format!("{REPOSITORY}/tags/list");
    let first = target.json(&format!("{list}?n=5"));
    assert_eq!(first, json!({ "name": REPOSITORY, "tags": &tags[..5] }));
    for (query, wanted, more) in [
        ("?n=5&last=B", &tags[tags.iter().position(|tag| tag == "B").unwrap() + 1..][..5], true),
        ("?last=a", &tags[tags.iter().position(|tag| tag == "a").unwrap() + 1..], false),
        ("?last=a0", &tags[tags.iter().position(|tag| tag == "b").unwrap()..], false),
        ("?n=0", &[], false),
        ("?last=zz", &[], false),
        ("?n=5&last=latest", &tags[tags.iter().position(|tag| tag == "latest").unwrap() + 1..], false),
    ] {
        let response = target.request("GET", &format!("{list}{query}")).send();
        assert_eq!(response.header("link").is_some(), more, "{query}");
        assert_eq!(response.json()["tags"], json!(wanted), "{query}");
    }
    for query in ["", "?n=5", "?n=1", "?n=1000"] {
        assert_eq!(target.pages(&format!("{list}{query}"), "tags").0, tags, "{query}");
    }
    assert!(target.json(&format!("{list}?n=1000"))["tags"].as_array().unwrap().len() <= 8, "tags.maxtags");
    for query in ["?n=-1", "?n=x"] {
        let response = target.request("GET", &format!("{list}{query}")).send();
        assert_eq!(response.status, 400, "{query}");
        response.error_code();
    }
    let response = target.request("GET", "no/such/tags/list").send();
    assert_eq!((response.status, response.error_code().as_str()), (404, "NAME_UNKNOWN"));
}

/// Entrepot is as lenient as `registry:2` beyond the specification, for its users' scripts: all tags without `n`, HEAD
/// of a session, a mount with an invalid digest, a filter without effect.
#[test]
fn scripts_for_registry_2_go_on() {
    let server = Setup::hosting().variable("REGISTRY_TAGS_MAXTAGS", "2").start();
    let (target, image) = (server.target(), Image::single(Format::Oci, 715));
    ["1", "2", "3"].iter().for_each(|tag| target.image(REPOSITORY, tag, &image));
    let list = |query: &str| target.request("GET", &format!("{REPOSITORY}/tags/list{query}")).send();
    let (all, page) = (list(""), list("?n=5"));
    assert!(all.header("link").is_none() && page.header("link").is_some());
    assert_eq!((&all.json()["tags"], &page.json()["tags"]), (&json!(["1", "2", "3"]), &json!(["1", "2"])));
    let mut session = target.begin(REPOSITORY);
    let head = session.request("HEAD").send();
    assert_eq!((head.status, head.header("range")), (204, Some("0-0")));
    assert_eq!(session.received(), 0);
    assert_eq!(target.mount(REPOSITORY, "no-digest", Some("team/other")).status, 202);
    let about = about(&target, &image.top.descriptor(), "application/x", "");
    assert_eq!(target.manifest(REPOSITORY, "about", &about).status, 201);
    let referrers = target.request("GET", &format!("{REPOSITORY}/referrers/{}?artifactType=", image.digest())).send();
    assert_eq!(referrers.header("oci-filters-applied"), None);
    assert_eq!(referrers.json()["manifests"].as_array().unwrap().len(), 1);
}

/// The catalog lists hosted repositories, in pages.
#[test]
fn repositories_are_listed_in_pages() {
    let server = Setup::hosting().variable("REGISTRY_CATALOG_MAXENTRIES", "4").start();
    let target = server.target();
    assert_eq!(target.json("_catalog"), json!({ "repositories": [] }));
    let mut names = ["b", "a/b/c", "a/b", "a-b", "a", "z9/y", "team/app"].map(String::from);
    for name in &names {
        let image = manifest(&nothing(&target, name), &[], &[]);
        assert_eq!(target.manifest(name, "1", &image).status, 201);
    }
    names.sort();
    let order = target.pages("_catalog", "repositories").0;
    let mut all: Vec<_> = order.iter().map(|name| name.as_str().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, names);
    for query in ["?n=2", "?n=1", "?n=4", "?n=1000"] {
        assert_eq!(target.pages(&format!("_catalog{query}"), "repositories").0, order, "{query}");
    }
    let last = order[2].as_str().unwrap().replace('/', "%2F");
    let response = target.request("GET", &format!("_catalog?n=2&last={last}")).send();
    assert!(response.header("link").is_some_and(|link| link.contains("n=2")));
    assert_eq!(response.json()["repositories"], json!(&order[3..5]));
    assert_eq!(target.json("_catalog?n=3&last=zz")["repositories"], json!([]));
}
