//! A push under a name of the Hub changes nothing for real clients of the mirror.

use serde_json::json;

use super::{THEIRS, catalog, denied, fixture, push, unavailable};
use crate::support::{
    clients::{self, Client, Pulled, Start},
    egress_trap::EgressTrap,
    images::{Format, Image},
    server::Setup,
    upstream::Upstream,
};

/// For any content pushed under a name of the Hub, docker and podman get the Hub's through the mirror, before and after
/// other clients pulled it.
#[test]
fn a_push_cannot_change_what_docker_pulls() {
    no_push_changes_a_pull(clients::docker);
}

#[test]
fn a_push_cannot_change_what_podman_pulls() {
    no_push_changes_a_pull(clients::podman);
}

fn no_push_changes_a_pull(start: Start) {
    let (theirs, ours) = (Image::of_size(Format::Docker, 1120, 50_000), Image::of_size(Format::Docker, 1121, 50_000));
    let upstream = Upstream::plain();
    for name in [THEIRS, "grafana/second", "grafana/third"] {
        upstream.add(name, "1", &theirs);
    }
    let setup = || Setup::both(&upstream.url()).variable("REGISTRY_HTTP_MIRROR_ADDR", "127.0.0.1:0");
    let (server, trap) = (setup().start(), EgressTrap::new());
    let refusing = setup().variable("REGISTRY_PROXY_UNPROVEN", "refuse").start();
    let (client, behind_the_door) = (start(server.url(), &trap), start(&server.mirror_url(), &trap));
    let behind_refusal = start(refusing.url(), &trap);
    let wanted = || Pulled { digest: theirs.digest().to_owned(), config: theirs.config.clone() };
    let gets_theirs = |client: &dyn Client, name: &str| {
        assert_eq!(client.pull(&format!("{name}:1")), wanted(), "{} of {name}", client.name());
    };
    for pulled in [false, true] {
        denied(push(&server.target(), THEIRS, &ours));
        gets_theirs(&*client, THEIRS);
        assert_eq!(catalog(&server), json!([]), "pulled before: {pulled}");
    }
    upstream.stop();
    assert_eq!(push(&server.target(), "grafana/second", &ours).status, 201, "there is nobody to ask");
    unavailable(push(&refusing.target(), "grafana/third", &ours));
    upstream.resume();
    gets_theirs(&*behind_the_door, "grafana/second");
    gets_theirs(&*behind_refusal, "grafana/third");
    let named = server.manifest("grafana/second", "1?ns=docker.io").send();
    assert_eq!(named.header("docker-content-digest"), Some(theirs.digest()), "as containerd asks");
    assert_eq!(trap.breaches(), [""; 0], "nobody left the mirror");
}

/// containerd names the registry: it gets that one's image although another is hosted under the name.
#[test]
fn a_push_cannot_change_what_containerd_pulls() {
    let (theirs, ours) = (Image::of_size(Format::Oci, 1122, 50_000), Image::of_size(Format::Oci, 1123, 50_000));
    let (upstream, server) = fixture(&theirs);
    upstream.stop();
    assert_eq!(push(&server.target(), THEIRS, &ours).status, 201);
    upstream.resume();
    let trap = EgressTrap::new();
    let pulled = clients::containerd(server.url(), &trap).pull(&format!("{THEIRS}:1"));
    assert_eq!(pulled, Pulled { digest: theirs.digest().to_owned(), config: theirs.config.clone() });
}
