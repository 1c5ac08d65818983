//! `?ns=`: requests that name the registry (containerd's and its relatives').

use crate::support::{
    images::{Format, Image},
    server::{Server, Setup},
    upstream::Upstream,
};

const PUSHED: &str = "org/app";

/// Names that are valid only within a machine or its network: the guides of kind and k3d use them for images.
const OWN: [&str; 9] = [
    "localhost:5001",
    "localhost",
    "LOCALHOST:5001",
    "127.0.0.1:5000",
    "%5B::1%5D:5000",
    "k3d-registry.localhost:5111",
    "registry:5000",
    "kind-registry",
    "registry.test",
];

/// Names of other registries.
const OTHERS: [&str; 7] =
    ["ghcr.io", "quay.io:443", "10.0.0.1:5000", "localhost.evil.example", "%5B2001:db8::1%5D:5000", "", "a%2Fb"];

fn manifest(server: &Server, ns: &str) -> u16 {
    server.manifest(PUSHED, &format!("1?ns={ns}")).send().status
}

fn named(setup: Setup) -> Setup {
    setup.variable("REGISTRY_HTTP_NAMES", "registry.test")
}

/// Beside a mirror: pushed content is served under the local names of this registry and no others. A node that mirrors
/// every registry here must not get a pushed `org/app` for `ghcr.io/org/app`.
#[test]
fn a_local_name_means_this_registry_and_anothers_does_not() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Oci, 850));
    let server = named(Setup::both(&upstream.url())).start();
    server.target().image(PUSHED, "1", &image);
    let asked = upstream.requests().len();
    for ns in OWN {
        assert_eq!(manifest(&server, ns), 200, "{ns}");
        assert_eq!(server.blob(PUSHED, &format!("{}?ns={ns}", image.layer().digest)).send().status, 200, "{ns}");
        assert_eq!(server.target().json(&format!("_catalog?ns={ns}"))["repositories"][0], PUSHED, "{ns}");
    }
    for ns in OTHERS {
        assert_eq!(manifest(&server, ns), 404, "{ns}");
        assert_eq!(server.blob(PUSHED, &format!("{}?ns={ns}", image.layer().digest)).send().status, 404, "{ns}");
    }
    assert_eq!(upstream.requests().len(), asked, "nobody was asked for any of it");
}

/// Without a mirror, every name means this registry.
#[test]
fn without_a_mirror_every_name_means_this_registry() {
    let (server, image) = (Setup::hosting().start(), Image::single(Format::Oci, 854));
    server.target().image(PUSHED, "1", &image);
    for ns in OWN.into_iter().chain(OTHERS) {
        assert_eq!(manifest(&server, ns), 200, "{ns}");
    }
}
