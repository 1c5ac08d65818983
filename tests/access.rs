//! Users and access rules: the effect of each rule, the catalog, the audit log and the commands.

use std::time::Duration;

use crate::support::{
    hash::sha256,
    http::{self, Response},
    images::{Blob, Format, Image},
    server::{Server, Setup, entrepot},
    uploads::{OCTETS, Target},
    upstream::Upstream,
    users::{Users, line, password},
    wait_until,
};

const NAMES: [&str; 4] = ["ann", "bob", "eve", "root"];

/// ann is a developer, bob may delete, eve has no role, root may do everything.
const RULES: &str = "groups: {devs: [ann, carol]}, access: [\
     {who: 'group:devs', may: [pull, push], where: 'team/*'}, \
     {who: authenticated, may: pull, where: ['public/**', 'docker.io/library/*']}, \
     {who: bob, may: [pull, delete], where: 'team/**'}, \
     {who: root, may: [pull, push, delete], where: '**'}]";

/// A repository, and the actions that the rules allow each of [`NAMES`] there: `p`ull, pu`s`h, `d`elete.
const TABLE: [(&str, [&str; 4]); 6] = [
    ("team/app", ["ps", "pd", "", "psd"]),
    ("team/sub/app", ["", "pd", "", "psd"]),
    ("team", ["", "pd", "", "psd"]),
    ("teams/app", ["", "", "", "psd"]),
    ("public/a/b", ["p", "p", "p", "psd"]),
    ("secret/app", ["", "", "", "psd"]),
];

fn ruled(setup: Setup) -> (Server, Users) {
    let users = Users::named(&NAMES);
    (users.with(setup, RULES).start(), users)
}

fn user(server: &Server, name: &str) -> Target {
    server.target().as_user(name, &password(name))
}

/// The verdict of a response: served, denied to a user, or denied to an anonymous client. Checks the headers that it
/// must have.
fn verdict(response: Response) -> char {
    match response.status {
        401 => {
            assert_eq!(response.header("www-authenticate"), Some(r#"Basic realm="entrepot""#));
            assert_eq!(response.header("docker-distribution-api-version"), Some("registry/2.0"));
            '?'
        }
        403 => 'n',
        200..=299 => 'y',
        other => panic!("{other}: {}", response.text()),
    }
}

/// Pulls an image by every API call: each has the same verdict.
fn pulls(target: &Target, repository: &str, image: &Image) -> char {
    let (digest, layer) = (image.digest(), &image.layer().digest);
    let paths = [
        format!("{repository}/manifests/1"),
        format!("{repository}/manifests/{digest}"),
        format!("{repository}/blobs/{layer}"),
        format!("{repository}/tags/list"),
        format!("{repository}/referrers/{digest}"),
    ];
    let mut verdicts = Vec::new();
    for path in &paths {
        for method in ["GET", "HEAD"] {
            verdicts.push(verdict(target.request(method, path).send()));
            verdicts.push(verdict(target.request(method, path).header("Range", "bytes=0-3").send()));
        }
    }
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{repository}: {verdicts:?}");
    verdicts[0]
}

fn pushes(target: &Target, repository: &str, image: &Image) -> char {
    let blob = Blob::new(format!("pushed to {repository}"));
    let in_one = target.request("POST", &format!("{repository}/blobs/uploads/?digest={}", blob.digest));
    let session = target.request("POST", &format!("{repository}/blobs/uploads/"));
    let tag = target.manifest(repository, "2", &image.top);
    let unknown = "/blobs/uploads/2a5bd9f7-60e1-4b3c-9a0a-1f0e6f0a2b11";
    let others = ["PATCH", "PUT", "GET", "DELETE"].map(|method| {
        let response = target.request(method, &format!("{repository}{unknown}?digest={}", blob.digest)).send();
        // A user with the right to push gets 404: there is no such session.
        if response.status == 404 { 'y' } else { verdict(response) }
    });
    let mut verdicts = vec![verdict(in_one.body(OCTETS, &blob.bytes).send()), verdict(session.send()), verdict(tag)];
    verdicts.extend(others);
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{repository}: {verdicts:?}");
    verdicts[0]
}

fn deletes(target: &Target, repository: &str) -> char {
    let verdicts = ["manifests/2", "blobs/sha256:"].map(|path| {
        let digest = if path.ends_with(':') { sha256(repository.as_bytes())[7..].to_owned() } else { String::new() };
        let response = target.request("DELETE", &format!("{repository}/{path}{digest}")).send();
        if response.status == 404 { 'y' } else { verdict(response) }
    });
    assert_eq!(verdicts[0], verdicts[1], "{repository}");
    verdicts[0]
}

/// Users × actions × repositories: each API call obeys the rules.
#[test]
fn the_rules_hold_for_every_user_action_and_repository() {
    let (server, _users) = ruled(Setup::hosting());
    let (root, image) = (user(&server, "root"), Image::single(Format::Oci, 500));
    TABLE.iter().for_each(|(repository, _)| root.image(repository, "1", &image));
    for (repository, rights) in TABLE {
        for (name, rights) in NAMES.iter().zip(rights) {
            let target = user(&server, name);
            let wanted = |right| if rights.contains(right) { 'y' } else { 'n' };
            assert_eq!(pulls(&target, repository, &image), wanted('p'), "{name} pulls {repository}");
            assert_eq!(pushes(&target, repository, &image), wanted('s'), "{name} pushes to {repository}");
            assert_eq!(deletes(&target, repository), wanted('d'), "{name} deletes from {repository}");
        }
        let stranger = server.target();
        let all = [pulls(&stranger, repository, &image), pushes(&stranger, repository, &image)];
        assert_eq!((all, deletes(&stranger, repository)), (['?', '?'], '?'), "{repository}");
        // One request each: after repeated failures the server answers 429.
        for (name, password) in [("root", "wrong"), ("nobody", "")] {
            let liar = server.target().as_user(name, password);
            assert_eq!(verdict(liar.request("GET", &format!("{repository}/manifests/1")).send()), '?', "{repository}");
        }
    }
}

/// A denial names the user, in text and by its code; an anonymous client gets a challenge on every path.
#[test]
fn refusals_say_what_to_do() {
    let (server, _users) = ruled(Setup::hosting());
    let refused = user(&server, "eve").request("PUT", "team/app/manifests/1").send();
    let text = refused.text();
    assert!(text.contains("DENIED") && text.contains("eve may not push team/app"), "{text}");
    for path in ["", "_catalog", "nothing/here", "team/app/manifests/1", "Team/App/manifests/1"] {
        let response = http::get(&server.v2(path)).send();
        assert_eq!(response.status, 401, "{path}");
        assert_eq!(response.error_code(), "UNAUTHORIZED");
    }
    assert_eq!(user(&server, "eve").request("GET", "").send().status, 200, "docker login asks this");
    for value in ["Basic", "Basic !!!", "Basic YW5u", "Bearer abc", "Negotiate x", "", "Basic  "] {
        let response = http::get(&server.v2("")).header("Authorization", value).send();
        assert_eq!(response.status, 401, "{value}");
    }
}

/// Without rules, as in `registry:2`, every user may do everything.
#[test]
fn without_rules_users_may_do_everything() {
    let users = Users::named(&["ann"]);
    let server = users.alone(Setup::hosting()).start();
    let (ann, image) = (user(&server, "ann"), Image::single(Format::Docker, 501));
    ann.image("any/thing", "1", &image);
    assert_eq!((pulls(&ann, "any/thing", &image), deletes(&ann, "any/thing")), ('y', 'y'));
    assert_eq!(pulls(&server.target(), "any/thing", &image), '?');
    assert_eq!(ann.json("_catalog")["repositories"], serde_json::json!(["any/thing"]));
}

/// Rules name mirrored repositories by their names, or with their registry's domain as a prefix.
#[test]
fn rules_hold_for_what_is_mirrored() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Oci, 502));
    for repository in ["library/base", "team/app", "secret/app"] {
        upstream.add(repository, "1", &image);
    }
    let (server, _users) = ruled(Setup::both(&upstream.url()));
    let status = |name: &str, path: &str| user(&server, name).request("GET", path).send().status;
    for (name, repository, wanted) in [
        ("eve", "library/base", 200),
        ("eve", "team/app", 403),
        ("ann", "team/app", 200),
        ("ann", "secret/app", 403),
        ("root", "secret/app", 200),
    ] {
        for query in ["", "?ns=docker.io", "?ns=index.docker.io"] {
            assert_eq!(status(name, &format!("{repository}/manifests/1{query}")), wanted, "{name} {repository}{query}");
            let blob = format!("{repository}/blobs/{}{query}", image.layer().digest);
            assert_eq!(status(name, &blob), wanted, "{name} {blob}");
        }
    }
    assert_eq!(
        upstream.count("GET", crate::support::upstream::Kind::Blob),
        1,
        "who is denied costs the upstream nothing"
    );
}

/// A blob is mounted if the client may read the source; otherwise the upload continues as if the source did not exist.
#[test]
fn a_mount_takes_a_right_to_pull() {
    let (server, _users) = ruled(Setup::hosting());
    let (root, image) = (user(&server, "root"), Image::single(Format::Oci, 503));
    ["secret/app", "public/base"].iter().for_each(|repository| root.image(repository, "1", &image));
    let secret = Blob::new("a blob of a secret repository alone");
    root.blob("secret/app", &secret);
    let ann = user(&server, "ann");
    assert_eq!(ann.mount("team/app", &secret.digest, Some("secret/app")).status, 202);
    assert_eq!(ann.mount("team/app", &secret.digest, None).status, 202, "from wherever it is");
    assert_eq!(ann.mount("team/app", &secret.digest, Some("Secret/app")).status, 202);
    assert_eq!(ann.head(&format!("team/app/blobs/{}", secret.digest)), 404);
    assert_eq!(ann.mount("team/app", &image.layer().digest, Some("public/base")).status, 201);
    assert_eq!(ann.mount("secret/app", &image.layer().digest, Some("public/base")).status, 403);
    assert_eq!(root.mount("team/app", &secret.digest, None).status, 201, "who may read everything");
}

/// The catalog lists the repositories that its reader may pull, page by page, and nothing hints at the others.
#[test]
fn the_catalog_shows_what_its_reader_may_pull() {
    let (server, _users) = ruled(Setup::hosting());
    let root = user(&server, "root");
    let names: Vec<String> = (0..30)
        .flat_map(|number| [format!("public/{number:02}"), format!("secret/{number:02}"), format!("team/{number:02}")])
        .collect();
    let empty = crate::push_manifests::index(&[], &[]);
    names.iter().for_each(|name| assert_eq!(root.manifest(name, "1", &empty).status, 201));
    for (name, wanted) in [("ann", 60), ("bob", 60), ("eve", 30), ("root", 90)] {
        for size in [1, 7, 30, 1000] {
            let (found, pages) = user(&server, name).pages(&format!("_catalog?n={size}"), "repositories");
            assert_eq!(found.len(), wanted, "{name}, {size} at a time");
            assert_eq!(pages, wanted.div_ceil(size), "{name}, {size} at a time: full pages, and no empty one");
            let mut sorted = found.clone();
            sorted.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            assert_eq!(found, sorted);
            let secret = found.iter().any(|found| found.as_str().unwrap().starts_with("secret"));
            assert_eq!(secret, name == "root", "{name}");
        }
    }
    assert_eq!(user(&server, "eve").json("_catalog?n=0")["repositories"], serde_json::json!([]));
}

/// Without a restart, an added user can log in, a removed one cannot, and an unusable file changes nothing.
#[test]
fn the_file_of_users_is_read_again() {
    let users = Users::named(&["ann"]);
    let mut server = users.alone(Setup::hosting()).start();
    let status = |server: &Server, name: &str| user(server, name).request("GET", "").send().status;
    assert_eq!((status(&server, "ann"), status(&server, "bob")), (200, 401));
    users.write(&line("bob", &password("bob")));
    let reached = |server: &Server, wanted| {
        wait_until("the file to be read again", Duration::from_secs(10), || {
            (status(server, "ann"), status(server, "bob")) == wanted
        });
    };
    reached(&server, (401, 200));
    users.write("bob pw-of-bob\n");
    wait_until("a warning", Duration::from_secs(10), || {
        status(&server, "bob");
        server.log().contains("users not reloaded")
    });
    reached(&server, (401, 200));
    assert!(!server.log().contains("pw-of-bob"), "{}", server.log());
    users.write(&format!("{}carol plain-secret\n", line("ann", &password("ann"))));
    reached(&server, (200, 401));
    server.wait_for_log("line 2 (user carol) has no bcrypt hash", Duration::from_secs(5));
    assert!(server.log().contains("entrepot htpasswd carol") && !server.log().contains("plain-secret"));
}

#[test]
fn a_file_without_users_stops_the_start_and_a_missing_one_is_made() {
    let users = Users::named(&[]);
    users.write("testuser test123\n");
    let outcome = users.alone(Setup::hosting()).run();
    assert_eq!(outcome.status.code(), Some(2), "{}", outcome.output);
    assert!(outcome.output.contains("line 1 (user testuser)"), "{}", outcome.output);
    assert!(!outcome.output.contains("test123"), "{}", outcome.output);

    std::fs::remove_file(users.path()).unwrap();
    let mut server = users.alone(Setup::hosting()).start();
    let log = server.log();
    let logged = log.lines().find(|line| line.contains("has been made: its one user is docker")).unwrap();
    let password = logged.split("password=").nth(1).unwrap().split_whitespace().next().unwrap().trim_matches('"');
    assert_eq!(server.target().as_user("docker", password).request("GET", "").send().status, 200, "{logged}");
    server.restart();
    assert_eq!(server.target().as_user("docker", password).request("GET", "").send().status, 200);
    assert!(!server.log().contains("password="), "logged once");
}

/// `entrepot access check` gives the server's own decision and names the rule.
#[test]
fn access_check_says_yes_or_no_and_why() {
    let users = Users::named(&NAMES);
    let file = users.path().with_extension("yml");
    let path = users.path();
    let text = format!(
        "version: 0.1\nhttp: {{names: [r.test]}}\nauth:\n  htpasswd: {{realm: r, path: {}}}\n  groups: {{devs: [ann]}}\n  access:\n    - {{who: group:devs, \
         may: [pull, push], where: team/*}}\n    - {{who: anonymous, may: pull, where: docker.io/library/*}}\n",
        path.display()
    );
    std::fs::write(&file, text).unwrap();
    for (user, action, repository, code, said) in [
        ("ann", "push", "team/app", 0, "yes: ann may push team/app: auth.access rule 1 ("),
        ("ann", "delete", "team/app", 1, "no: ann may not delete team/app: no rule of auth.access allows it"),
        ("eve", "pull", "team/app", 1, "no: eve may not pull team/app: no rule"),
        ("eve", "pull", "library/ubuntu", 0, "yes: eve may pull library/ubuntu: auth.access rule 2 ("),
        ("anonymous", "pull", "docker.io/library/ubuntu", 0, "yes: anonymous may pull docker.io/library/ubuntu"),
        ("carol", "pull", "library/ubuntu", 1, "has no such user"),
        ("ann", "push", "r.test/team/app", 0, "yes: ann may push r.test/team/app: auth.access rule 1 ("),
        ("ann", "push", "docker.io/team/app", 1, "what is mirrored from another registry is read-only"),
        ("ann", "read", "team/app", 2, "pull, push, delete or manage"),
        ("ann", "pull", "Team/App", 2, "lower-case"),
    ] {
        let outcome = entrepot(&["access", "check", user, action, repository, file.to_str().unwrap()], &[]);
        assert_eq!(outcome.status.code(), Some(code), "{user} {action} {repository}: {}", outcome.output);
        assert!(outcome.output.contains(said), "{}", outcome.output);
    }
    let open = entrepot(&["access", "check", "ann", "push", "a"], &[]).expect_success("access check");
    assert!(open.output.contains("no auth section"), "{}", open.output);
}

/// The startup log warns of anonymous access only if there is any, and explains users to docker's users.
#[test]
fn the_start_says_what_users_mean_for_docker() {
    let users = Users::named(&["ann"]);
    let server = users.alone(Setup::mirroring("http://127.0.0.1:9")).start();
    let (log, both) = (server.log(), Setup::mirroring("http://127.0.0.1:9"));
    assert!(log.contains("dockerd cannot use this port as a mirror"), "{log}");
    assert!(!log.contains("whoever reaches"), "{log}");
    let secret = both.variable("REGISTRY_PROXY_USERNAME", "hub").variable("REGISTRY_PROXY_PASSWORD", "geheim").start();
    let log = secret.log();
    assert!(log.contains("every client of the mirror sees what hub may see") && !log.contains("geheim"), "{log}");
    assert!(!log.contains("dockerd cannot"), "{log}");
}
