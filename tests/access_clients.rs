//! docker, podman, skopeo and ctr log in, pull and push, and are denied as the rules say: with users alone (Basic),
//! with rules that allow anonymous pulls (Bearer, from the server's own token service), and with an external token
//! service. All connections use TLS, with an authority of the test's own that every client verifies: dockerd too, on an
//! address outside of the loopback network.

use crate::{
    support::{
        clients::{self, Member, StartMember},
        egress_trap::EgressTrap,
        images::{Format, Image},
        network,
        process::CommandResult,
        scratch,
        server::{Server, Setup},
        tls::{Authority, Mounted},
        token_service::{ISSUER, SERVICE, TokenService},
        users::{Users, password},
    },
    tls,
};

/// Anonymous clients may pull `public`; ann may push that and her team's; bob has no role.
const RULES: &str = "access: [\
     {who: anonymous, may: pull, where: 'public/**'}, \
     {who: ann, may: [pull, push], where: ['public/**', 'team/**']}]";

/// The same rights, for the external token service.
fn rights(user: Option<&str>, name: &str, action: &str) -> bool {
    match action {
        "pull" if name.starts_with("public/") => true,
        "pull" | "push" => user == Some("ann") && (name.starts_with("public/") || name.starts_with("team/")),
        _ => false,
    }
}

/// Checks that a client failed because it was denied, and not for another reason.
fn refused(result: &CommandResult, what: &str) {
    let said = result.output.to_lowercase();
    let words = [
        "denied",
        "unauthorized",
        "authentication required",
        "401",
        "403",
        "forbidden",
        "authorization failed",
        "no basic auth",
        "invalid username",
    ];
    assert!(!result.status.success(), "{what} was allowed: {said}");
    assert!(words.iter().any(|word| said.contains(word)), "{what}: {said}");
}

fn is_in(client: &mut dyn Member, registry: &str, user: &str) {
    if let Some(result) = client.log_in(registry, user, &password(user)) {
        result.expect_success("login");
    }
}

/// A wrong password is refused at the login, if the client has one, and at its first use.
fn no_wrong_password(client: &mut dyn Member, registry: &str, name: &str) {
    match client.log_in(registry, "ann", "wrong") {
        Some(result) => refused(&result, "a wrong password"),
        None => refused(&client.try_pull(name), "a wrong password"),
    }
    if client.name() == "ctr" {
        client.log_out(registry);
    }
}

/// With users alone: anonymous clients may do nothing, users everything.
fn with_basic(client: &mut dyn Member, doubter: &mut dyn Member, server: &Server) {
    let (registry, image) = (server.target().authority().to_owned(), Image::single(Format::Oci, 700));
    let name = format!("{registry}/team/app:1");
    is_in(client, &registry, "bob");
    client.try_push(&image, &name).expect_success("another user's push");
    client.log_out(&registry);
    without_a_trusted_certificate(doubter, &registry, &name);
    refused(&client.try_pull(&name), "a stranger's pull");
    refused(&client.try_push(&image, &format!("{registry}/team/new:1")), "a stranger's push");
    no_wrong_password(client, &registry, &name);
    is_in(client, &registry, "ann");
    client.try_pull(&name).expect_success("a user's pull");
    client.try_push(&image, &format!("{registry}/team/new:1")).expect_success("a user's push");
    client.try_pull(&format!("{registry}/team/new:1")).expect_success("a pull of what was pushed");
    client.log_out(&registry);
    refused(&client.try_pull(&name), "a pull after the logout");
}

/// A client that trusts another authority sends no credentials to this server.
fn without_a_trusted_certificate(doubter: &mut dyn Member, registry: &str, name: &str) {
    let unknown = |result: &CommandResult, what: &str| {
        assert!(!result.status.success() && result.output.contains("x509"), "{what}: {}", result.output);
    };
    if let Some(result) = doubter.log_in(registry, "ann", &password("ann")) {
        unknown(&result, "a login");
    }
    unknown(&doubter.try_pull(name), "a pull");
    unknown(&doubter.try_push(&Image::single(Format::Oci, 704), name), "a push");
}

/// Anonymous clients may pull some repositories, one user may push some.
fn with_rules(client: &mut dyn Member, server: &Server) {
    let registry = server.target().authority().to_owned();
    let (image, more) = (Image::single(Format::Oci, 701), Image::of_size(Format::Oci, 702, 3_000_000));
    // The image is new to the server: ctr's error for a denied manifest alone does not say so.
    let new = Image::single(Format::Oci, 703);
    let name = |rest: &str| format!("{registry}/{rest}");
    no_wrong_password(client, &registry, &name("team/app:1"));
    is_in(client, &registry, "ann");
    client.try_push(&image, &name("team/app:1")).expect_success("ann pushes her team's");
    client.try_push(&image, &name("public/app:1")).expect_success("ann pushes what is public");
    // The same layers again, which a client may mount from where it pushed them.
    client.try_push(&image, &name("team/copy:1")).expect_success("ann pushes the same again");
    client.try_push(&more, &name("public/app:2")).expect_success("ann pushes more");
    client.try_pull(&name("team/app:1")).expect_success("ann pulls her team's");
    refused(&client.try_push(&image, &name("other/app:1")), "ann's push elsewhere");
    client.log_out(&registry);
    client.try_pull(&name("public/app:1")).expect_success("a stranger pulls what is public");
    client.try_pull(&name("public/app:2")).expect_success("a stranger pulls more");
    refused(&client.try_pull(&name("team/app:1")), "a stranger's pull of the team's");
    refused(&client.try_push(&new, &name("public/app:3")), "a stranger's push");
    is_in(client, &registry, "bob");
    client.try_pull(&name("public/app:1")).expect_success("bob pulls what is public");
    refused(&client.try_pull(&name("team/app:1")), "bob's pull of the team's");
    refused(&client.try_push(&new, &name("public/app:3")), "bob's push");
    client.log_out(&registry);
}

fn every_way(start: StartMember) {
    let (authority, stranger) = (Authority::new("test"), Authority::new("stranger"));
    let (certs, other_certs, files) =
        (authority.certs_d(None), stranger.certs_d(None), Mounted::new(&authority.server()));
    let trap = EgressTrap::new();
    let (mut client, mut doubter) = (start(certs.path(), &trap), start(other_certs.path(), &trap));
    let setup =
        || tls::with(Setup::hosting(), &files).variable("REGISTRY_HTTP_ADDR", &format!("{}:0", network::ADDRESS));
    let users = Users::named(&["ann", "bob"]);
    with_basic(&mut *client, &mut *doubter, &users.alone(setup()).start());
    with_rules(&mut *client, &users.with(setup(), RULES).start());
    let dir = scratch::dir("tokens");
    let service = TokenService::with_rights(dir.path(), rights);
    with_rules(&mut *client, &outside(setup(), &service).start());
    assert!(service.issued() > 0, "tokens came from outside");
    assert_eq!(trap.breaches(), [""; 0], "nobody went elsewhere");
}

/// A server that trusts the tokens of this service.
pub(crate) fn outside(setup: Setup, service: &TokenService) -> Setup {
    let auth = format!(
        "{{token: {{realm: '{}', service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {}}}}}",
        service.realm(),
        service.certificate.display()
    );
    setup.variable("REGISTRY_AUTH", &auth)
}

#[test]
fn docker_logs_in() {
    network::on_its_own("access_clients::docker_logs_in", || every_way(clients::docker_member));
}

#[test]
fn podman_logs_in() {
    network::on_its_own("access_clients::podman_logs_in", || every_way(clients::podman_member));
}

#[test]
fn skopeo_logs_in() {
    network::on_its_own("access_clients::skopeo_logs_in", || every_way(clients::skopeo_member));
}

#[test]
fn ctr_logs_in() {
    network::on_its_own("access_clients::ctr_logs_in", || every_way(clients::containerd_member));
}
