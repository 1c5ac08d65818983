//! The audit log: user, action, address, and the rule that allowed or denied it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    http::{self, Request},
    images::{Blob, Format, Image},
    ports::Port,
    server::{Server, Setup},
    uploads::Target,
    upstream::Upstream,
    users::{Users, password},
    wait_until,
};

const RULES: &str = "access: [\
     {who: ann, may: [pull, push], where: 'team/*'}, \
     {who: bob, may: [pull, delete], where: 'team/**'}]";

fn as_user(server: &Server, name: &str) -> Target {
    server.target().as_user(name, &password(name))
}

/// The lines of the audit log.
fn audited(server: &Server) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str::<Value>(line).ok().filter(|line| line["target"] == "audit");
    server.log().lines().filter_map(parse).collect()
}

/// Pushes, deletes, denials and failed logins are logged as a line of JSON each, in any format of the main log.
#[test]
fn the_audit_log_names_user_and_action() {
    for (formatter, level, pulls) in [("text", "error", false), ("json", "info", true)] {
        let users = Users::named(&["ann", "bob", "eve"]);
        let port = Port::reserve();
        let setup = users.with(Setup::hosting(), RULES).variable("REGISTRY_LOG_FORMATTER", formatter);
        let setup = setup.variable("REGISTRY_LOG_AUDIT_PULLS", if pulls { "true" } else { "false" });
        // At level `error` the log does not contain the address.
        let server = setup.variable("REGISTRY_LOG_LEVEL", level).start_at(&port);
        let (ann, image) = (as_user(&server, "ann"), Image::single(Format::Oci, 504));
        ann.image("team/app", "1", &image);
        assert_eq!(ann.request("GET", "team/app/manifests/1").send().status, 200);
        assert_eq!(as_user(&server, "eve").request("GET", "team/app/manifests/1").send().status, 403);
        assert_eq!(as_user(&server, "bob").delete("team/app/manifests/1"), 202);
        assert_eq!(server.target().as_user("ann", "wrong-password").request("GET", "").send().status, 401);
        wait_until("the last line", Duration::from_secs(5), || {
            audited(&server).iter().any(|line| line["action"] == "login")
        });
        let lines = audited(&server);
        let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let short: Vec<String> = lines
            .iter()
            .map(|line| ["who", "action", "reference", "decision"].map(|key| text(line, key)).join(" "))
            .collect();
        let mut wanted = vec![format!("ann push 1 allowed"), "eve pull 1 denied".into(), "bob delete 1 allowed".into()];
        wanted.push("ann login  denied".into());
        wanted.extend(pulls.then(|| "ann pull 1 allowed".to_owned()));
        assert!(wanted.iter().all(|wanted| short.contains(wanted)), "{short:?}");
        assert_eq!(lines.len(), wanted.len() + image.blobs.len(), "and a line for each blob: {short:?}");
        let push = &lines[short.iter().position(|line| line == "ann push 1 allowed").unwrap()];
        assert_eq!((text(push, "repository"), text(push, "address")), ("team/app".into(), "127.0.0.1".into()));
        assert_eq!((text(push, "digest").as_str(), &push["status"]), (image.digest(), &Value::from(201)));
        assert!(text(push, "rule").starts_with("auth.access rule 1 ("), "{push}");
        assert!(!server.log().contains("wrong-password") && !server.log().contains(&password("ann")));
    }
}

/// Without authentication it logs the client's address; the mirror listener never authenticates, even if the main
/// listener does.
#[test]
fn the_audit_log_names_the_address_without_users() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Oci, 506));
    upstream.add("library/app", "1", &image);
    let setup = || Setup::both(&upstream.url()).variable("REGISTRY_HTTP_MIRROR_ADDR", "127.0.0.1:0");
    let quiet = setup().start();
    let lines = |server: &Server| -> Vec<String> {
        let keys = ["who", "action", "repository", "reference", "address", "decision", "rule"];
        let text = |line: &Value| keys.map(|key| line[key].as_str().unwrap_or_default().to_owned()).join(" ");
        audited(server).iter().map(text).collect()
    };
    let all = |server: &Server, count: usize| {
        wait_until("every line", Duration::from_secs(10), || lines(server).len() >= count);
        lines(server)
    };
    quiet.pull("library/app", "1", &image);
    quiet.target().image("team/app", "1", &image);
    assert_eq!(quiet.target().delete("team/app/manifests/1"), 202);
    assert_eq!(quiet.target().delete("team/app/manifests/2"), 404);
    let logged = all(&quiet, image.blobs.len() + 3);
    let line = |action: &str, of: &str, source: &str| {
        format!("anonymous {action} {of} {source} allowed there is no access control")
    };
    for (action, reference) in [("push", "1"), ("delete", "1"), ("delete", "2")] {
        assert!(logged.contains(&line(action, &format!("team/app {reference}"), "127.0.0.1")), "{logged:#?}");
    }
    assert_eq!(logged.len(), image.blobs.len() + 3, "a line for each blob, and none for pulls: {logged:#?}");
    let users = Users::named(&["ann", "bob", "eve"]);
    let asking = users.with(setup(), RULES).variable("REGISTRY_LOG_AUDIT_PULLS", "true").start();
    let of_door = format!("{}/v2/library/app/manifests/1", asking.mirror_url());
    assert_eq!(http::get(&of_door).from("127.0.0.2").send().status, 200);
    let pulled = line("pull", "docker.io/library/app 1", "127.0.0.2");
    assert_eq!(all(&asking, 1), [pulled]);
}

/// A push is logged with all its tags, a mount with its source. Denials of anonymous clients are logged for writes and
/// for invalid tokens.
#[test]
fn the_audit_log_names_tags_sources_and_forgers() {
    let users = Users::named(&["ann"]);
    let rules = "access: [{who: anonymous, may: pull, where: 'public/*'}, {who: ann, may: [pull, push], where: '**'}]";
    let server = users.with(Setup::hosting(), rules).start();
    let (ann, image) = (as_user(&server, "ann"), Image::single(Format::Oci, 507));
    ann.image("team/app", "1", &image);
    assert_eq!(ann.mount("team/copy", &image.layer().digest, Some("team/app")).status, 201);
    let path = format!("team/app/manifests/{}?tag=prod&tag=latest", image.digest());
    let put = ann.request("PUT", &path).body(Format::Oci.manifest(), &image.top.bytes);
    assert_eq!(put.send().status, 201);
    let forged =
        || http::get(&server.v2("team/app/manifests/1")).header("Authorization", "Bearer forged").send().status;
    assert_eq!((server.target().delete("team/app/manifests/1"), forged()), (401, 401));
    assert_eq!(http::get(&server.v2("team/app/manifests/1")).send().status, 401);
    let blob = Blob::noise(508, 10);
    let post = Request::new("POST", &server.v2(&format!("team/app/blobs/uploads/?digest={}", blob.digest)));
    assert_eq!(post.send().status, 401);
    let holds =
        |line: &Value, wanted: &Value| wanted.as_object().unwrap().iter().all(|(key, value)| line[key] == *value);
    let wanted = [
        json!({ "who": "ann", "action": "push", "repository": "team/copy", "from": "team/app", "decision": "allowed" }),
        json!({ "who": "ann", "action": "push", "tags": "prod, latest", "digest": image.digest() }),
        json!({ "who": "anonymous", "action": "delete", "reference": "1", "decision": "denied" }),
        json!({ "who": "anonymous", "action": "pull", "reference": "1", "decision": "denied" }),
        json!({ "who": "anonymous", "action": "push", "repository": "team/app", "decision": "denied" }),
    ];
    for wanted in &wanted {
        let found = || audited(&server).iter().filter(|line| holds(line, wanted)).count() == 1;
        wait_until(&wanted.to_string(), Duration::from_secs(10), found);
    }
}
