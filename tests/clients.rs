//! dockerd, ctr, podman and skopeo each pull the same index image through the mirror from the real upstream, by tag and
//! by digest, and pull it again with the upstream stopped.

use std::{sync::LazyLock, thread, time::Duration};

use crate::support::{
    clients::{self, Client, Pulled, STARTS, Start},
    egress_trap::EgressTrap,
    images::{Blob, Format, Image},
    registry2::Registry2,
    server::{Server, Setup},
    upstream::{Auth, Cdn, Kind, Settings, Upstream},
};

const REPOSITORY: &str = "library/ubuntu";

/// Two platforms, one of them with a layer over 100 MB.
static IMAGE: LazyLock<Image> = LazyLock::new(|| Image::index(Format::Docker, 18_04, 101_000_000));

/// From the real upstream, warm, and with the upstream gone and the tag stale.
fn pulls_through_the_mirror(start: Start) {
    let (mut registry, trap) = (Registry2::start(), EgressTrap::new());
    registry.push(REPOSITORY, "18.04", &IMAGE);
    let mirror = Setup::mirroring(&registry.url()).freshness("1s").start();
    let client = start(mirror.url(), &trap);
    pulls_by_tag_and_digest(&*client);
    let asked = |registry: &Registry2| registry.log().matches("response completed").count();
    let before = asked(&registry);
    assert!(before > 0, "the real upstream was asked");
    pull(&*client, &format!("{REPOSITORY}@{}", IMAGE.digest()));
    assert_eq!(asked(&registry), before, "a digest that is cached is not asked upstream");
    registry.stop();
    thread::sleep(Duration::from_millis(1100));
    pulls_by_tag_and_digest(&*client);
    assert_eq!(trap.breaches(), [""; 0], "{} left the mirror", client.name());
}

fn pulls_by_tag_and_digest(client: &dyn Client) {
    pull(client, &format!("{REPOSITORY}:18.04"));
    pull(client, &format!("{REPOSITORY}@{}", IMAGE.digest()));
}

fn pull(client: &dyn Client, reference: &str) {
    let wanted = Pulled { digest: IMAGE.digest().to_owned(), config: IMAGE.config.clone() };
    assert_eq!(client.pull(reference), wanted, "{} pull {reference}", client.name());
}

/// dockerd.
#[test]
fn docker_pulls() {
    pulls_through_the_mirror(clients::docker);
}

/// containerd.
#[test]
fn ctr_pulls() {
    pulls_through_the_mirror(clients::containerd);
}

/// docker 28.
#[test]
fn newer_docker_pulls() {
    pulls_through_the_mirror(clients::newer_docker);
}

/// containerd 2.1, which asks for the manifest and the config of every platform.
#[test]
fn newer_ctr_pulls() {
    pulls_through_the_mirror(clients::newer_containerd);
}

/// A tag moves to an image that is already cached under another tag. A pull, and another one without the upstream,
/// returns that image and not the one before.
fn is_never_downgraded(start: Start) {
    let (old, new) = (Image::single(Format::Docker, 28), Image::single(Format::Docker, 29));
    let (upstream, trap) = (Upstream::plain(), EgressTrap::new());
    upstream.add(REPOSITORY, "latest", &old);
    upstream.add(REPOSITORY, "2", &new);
    let mut mirror = Setup::mirroring(&upstream.url()).freshness("1s").start();
    let client = start(mirror.url(), &trap);
    let pulled = |tag: &str| client.pull(&format!("{REPOSITORY}:{tag}"));
    let is = |image: &Image| Pulled { digest: image.digest().to_owned(), config: image.config.clone() };
    assert_eq!((pulled("latest"), pulled("2")), (is(&old), is(&new)));
    upstream.add(REPOSITORY, "latest", &new);
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(pulled("latest"), is(&new));
    upstream.stop();
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(pulled("latest"), is(&new), "{} without the upstream", client.name());
    assert!(mirror.stop().0.success());
    mirror.restart();
    mirror.pull(REPOSITORY, "latest", &new);
}

#[test]
fn docker_is_never_downgraded() {
    is_never_downgraded(clients::docker);
    is_never_downgraded(clients::newer_docker);
}

#[test]
fn ctr_is_never_downgraded() {
    is_never_downgraded(clients::containerd);
    is_never_downgraded(clients::newer_containerd);
}

/// podman.
#[test]
fn podman_pulls() {
    pulls_through_the_mirror(clients::podman);
}

/// skopeo.
#[test]
fn skopeo_pulls() {
    pulls_through_the_mirror(clients::skopeo);
}

/// All five clients at once, cold, from a registry with tokens and a CDN: each blob is fetched once.
#[test]
fn all_clients_at_once_cost_one_fetch() {
    let upstream = Settings::default().auth(Auth::anonymous()).cdn(Cdn::links_living(Duration::from_secs(300))).start();
    let image = Image::index(Format::Oci, 4242, 20_000_000);
    upstream.add(REPOSITORY, "latest", &image);
    let (mirror, trap) = (Server::mirroring(&upstream), EgressTrap::new());
    let wanted = Pulled { digest: image.digest().to_owned(), config: image.config.clone() };
    thread::scope(|scope| {
        for start in STARTS {
            let (mirror, trap, wanted) = (&mirror, &trap, &wanted);
            scope.spawn(move || {
                let client = start(mirror.url(), trap);
                assert_eq!(client.pull(&format!("{REPOSITORY}:latest")), *wanted, "{}", client.name());
            });
        }
    });
    let whole: usize = image.blobs.iter().map(Blob::len).sum();
    assert!(upstream.sent(Kind::Cdn) <= whole as u64, "{} bytes for {whole}", upstream.sent(Kind::Cdn));
    assert_eq!(trap.breaches(), [""; 0], "nobody left the mirror");
}
