//! Immutable tags: the manifest that was pushed first stays, whoever pushes or deletes, at once or later.

use std::{fs, thread};

use crate::support::{
    clients::{Docker, Member},
    egress_trap::EgressTrap,
    http::Response,
    images::{Format, Image},
    release::Release,
    rounds,
    server::{Server, Setup, entrepot},
    uploads::Target,
};

fn hosting() -> Setup {
    let patterns = r#"["team/**:v*", "release/*", "!release/*:edge"]"#;
    Setup::hosting().variable("REGISTRY_IMMUTABLE", patterns).variable("REGISTRY_GC_INTERVAL", "0")
}

fn image(seed: u64) -> Image {
    Image::single(Format::Oci, 91_000 + seed)
}

/// Pushes the blobs of an image, then its manifest under a tag.
fn push(target: &Target, repository: &str, tag: &str, image: &Image) -> Response {
    image.blobs.iter().for_each(|blob| target.blob(repository, blob));
    target.manifest(repository, tag, &image.top)
}

fn is_refused(response: Response, reason: &str) {
    assert_eq!(response.status, 409);
    let error = response.json()["errors"][0].clone();
    assert_eq!(error["code"], "DENIED", "{error}");
    assert!(error["message"].as_str().unwrap().contains(reason), "{error}");
}

fn digest_of(server: &Server, repository: &str, tag: &str) -> String {
    let found = server.manifest(repository, tag).send();
    assert_eq!(found.status, 200, "{repository}:{tag}");
    found.header("docker-content-digest").unwrap().to_owned()
}

#[test]
fn a_tag_keeps_its_first_manifest() {
    let mut server = hosting().start();
    let (first, second) = (image(1), image(2));
    for (repository, tag, is_immutable) in [
        ("team/app", "v1.4.2", true),
        ("team/deep/er", "v", true),
        ("release/app", "anything", true),
        ("release/app", "edge", false),
        ("team/app", "latest", false),
        ("other", "v1", false),
    ] {
        let target = server.target();
        assert_eq!(push(&target, repository, tag, &first).status, 201);
        assert_eq!(push(&target, repository, tag, &first).status, 201, "the same again");
        let again = push(&target, repository, tag, &second);
        if is_immutable {
            let reason = format!("{repository}:{tag} is immutable here and names {}", first.digest());
            is_refused(again, &reason);
            let by_digest = format!("{}?tag={tag}&tag=free", second.digest());
            is_refused(target.manifest(repository, &by_digest, &second.top), &reason);
            assert_eq!(target.head(&format!("{repository}/manifests/free")), 404, "no tag of the request moves");
            assert_eq!(target.head(&format!("{repository}/manifests/{}", second.digest())), 404, "nothing is linked");
        } else {
            assert_eq!(again.status, 201);
        }
        let stays = if is_immutable { &first } else { &second };
        assert_eq!(digest_of(&server, repository, tag), stays.digest());
    }
    // The rule is read from the disk, not from the index.
    server.stop();
    fs::remove_dir_all(server.data().join("index")).unwrap();
    server.restart();
    is_refused(push(&server.target(), "team/app", "v1.4.2", &second), "is immutable here");
}

/// A client that could delete the tag could push another manifest under it.
#[test]
fn a_client_cannot_delete_it_and_the_operator_can() {
    let server = hosting().start();
    let (target, first, second) = (server.target(), image(3), image(4));
    assert_eq!(push(&target, "team/app", "v1", &first).status, 201);
    assert_eq!(push(&target, "team/app", "latest", &first).status, 201);
    let remedy = "entrepot rm team/app:v1";
    is_refused(target.request("DELETE", "team/app/manifests/v1").send(), remedy);
    is_refused(target.request("DELETE", &format!("team/app/manifests/{}", first.digest())).send(), remedy);
    assert_eq!(target.delete("team/app/manifests/v2"), 404, "there is no such tag");
    assert_eq!(target.delete("team/app/manifests/latest"), 202);
    server.pull("team/app", "v1", &first);
    entrepot(&["rm", "team/app:v1", "--data", server.data().to_str().unwrap()], &[]).expect_success("rm");
    assert_eq!(push(&target, "team/app", "v1", &second).status, 201, "the operator freed it");
}

/// An empty link, as a crash of registry:2 leaves it: only a manifest that the tag named before may take its place.
#[test]
fn a_damaged_link_does_not_free_the_tag() {
    let server = hosting().start();
    let (target, first, second) = (server.target(), image(5), image(6));
    assert_eq!(push(&target, "team/app", "v1", &first).status, 201);
    let link = "docker/registry/v2/repositories/team/app/_manifests/tags/v1/current/link";
    fs::write(server.data().join(link), "").unwrap();
    is_refused(push(&target, "team/app", "v1", &second), "is immutable here");
    assert_eq!(push(&target, "team/app", "v1", &first).status, 201);
    assert_eq!(digest_of(&server, "team/app", "v1"), first.digest());
}

/// Of 20 clients that push different images to one tag at once, one wins, and all others are told its digest.
#[test]
fn of_racing_pushes_one_wins_for_good() {
    let server = hosting().start();
    let images: Vec<_> = (10..30).map(image).collect();
    for round in 0..rounds(100) {
        let tag = format!("v{round}");
        let target = server.target();
        images.iter().for_each(|image| image.blobs.iter().for_each(|blob| target.blob("team/race", blob)));
        let statuses: Vec<u16> = thread::scope(|scope| {
            let pushes: Vec<_> = images
                .iter()
                .map(|image| scope.spawn(|| server.target().manifest("team/race", &tag, &image.top).status))
                .collect();
            pushes.into_iter().map(|push| push.join().unwrap()).collect()
        });
        let won: Vec<_> = images.iter().zip(&statuses).filter(|(_, status)| **status == 201).collect();
        assert_eq!(won.len(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 201 | 409)), "{statuses:?}");
        let winner = won[0].0.digest();
        assert_eq!(digest_of(&server, "team/race", &tag), winner);
        for image in &images {
            let again = target.manifest("team/race", &tag, &image.top).status;
            assert_eq!(again, if image.digest() == winner { 201 } else { 409 });
        }
    }
}

/// `docker push` prints the reason.
#[test]
fn docker_shows_the_reason() {
    let (server, trap) = (hosting().start(), EgressTrap::new());
    let docker = Docker::start("http://127.0.0.1:1", &trap, Release::Installed);
    let name = format!("{}/team/app:v1", server.target().authority());
    docker.try_push(&image(40), &name).expect_success("the first push");
    let refused = docker.try_push(&image(41), &name);
    assert!(!refused.status.success());
    let said = refused.output.replace('\n', " ");
    assert!(said.contains("denied: the tag team/app:v1 is immutable here and names sha256:"), "{said}");
    assert!(said.contains("push this image under another tag"), "{said}");
}

#[test]
fn a_wrong_pattern_stops_the_start() {
    let wrong = Setup::hosting().variable("REGISTRY_IMMUTABLE", "[team/app:v/1]").run();
    assert_eq!(wrong.status.code(), Some(2), "{}", wrong.output);
    assert!(wrong.output.contains("immutable") && wrong.output.contains("team/app:v/1"), "{}", wrong.output);
}
