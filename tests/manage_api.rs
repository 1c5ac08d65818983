//! The management API: every operation for every kind of caller, the same results as the commands, and nothing without
//! users.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    http::{Request, Response},
    images::{Format, Image},
    process,
    server::{Server, Setup, entrepot},
    uploads::{Target, basic},
    upstream::{Kind, Upstream},
    users::{Users, password},
};

const NGINX: &str = "library/nginx";

/// The users: root manages everything, ann what is below team/ and nginx, bob pulls and deletes.
fn users() -> Users {
    Users::named(&["root", "ann", "bob"])
}

fn setup(upstream: &Upstream, users: &Users) -> Setup {
    let setup = Setup::both(&upstream.url()).hosted("[team/**, other]").freshness("1h").lease("0s");
    let rules = "access: [{who: [root], may: [pull, push, delete, manage], where: [\"**\"]}, \
                 {who: [ann], may: [pull, manage], where: [team/**, library/nginx]}, \
                 {who: [bob], may: [pull, delete], where: [\"**\"]}]";
    users.with(setup.variable("REGISTRY_GC_INTERVAL", "0"), rules)
}

struct Api<'a> {
    server: &'a Server,
    authorization: Option<String>,
}

impl<'a> Api<'a> {
    fn of(server: &'a Server, user: &str) -> Self {
        let authorization = (!user.is_empty()).then(|| basic(user, &password(user)));
        Self { server, authorization }
    }

    fn request(&self, method: &str, path: &str) -> Request {
        let request = Request::new(method, &format!("{}/api/v1{path}", self.server.url()));
        match &self.authorization {
            Some(value) => request.header("Authorization", value),
            None => request,
        }
    }

    fn get(&self, path: &str) -> Response {
        self.request("GET", path).send()
    }

    fn post(&self, path: &str, body: &Value) -> Response {
        self.request("POST", path).body("application/json", body.to_string().as_bytes()).send()
    }

    fn json(&self, path: &str) -> Value {
        let response = self.get(path);
        assert_eq!(response.status, 200, "{path}");
        response.json()
    }

    /// Sends the operation of this name; a body is sent by POST.
    fn send(&self, path: &str, body: Option<&Value>) -> Response {
        body.map_or_else(|| self.get(path), |body| self.post(path, body))
    }
}

fn command(data: &Path, arguments: &[&str]) -> Value {
    let outcome = entrepot(&[arguments, &["--json", "--data", data.to_str().unwrap()]].concat(), &[]);
    let outcome = outcome.expect_success(&arguments.join(" "));
    serde_json::from_str(&outcome.output).unwrap()
}

fn filled(server: &Server, upstream: &Upstream) -> (Image, Image) {
    let (nginx, app) = (Image::single(Format::Oci, 96_000), Image::single(Format::Oci, 96_001));
    let root = server.target().as_user("root", &password("root"));
    upstream.add(NGINX, "1", &nginx);
    let redis = Image::single(Format::Oci, 96_002);
    upstream.add("library/redis", "1", &redis);
    pull(&root, NGINX, "1", &nginx);
    pull(&root, "library/redis", "1", &redis);
    for name in ["team/app", "other"] {
        root.image(name, "1", &app);
    }
    (nginx, app)
}

fn pull(target: &Target, name: &str, tag: &str, image: &Image) {
    assert_eq!(target.request("GET", &format!("{name}/manifests/{tag}")).send().summary().digest, image.digest());
    for blob in &image.blobs {
        let found = target.request("GET", &format!("{name}/blobs/{}", blob.digest)).send();
        assert_eq!(found.summary().digest, blob.digest);
    }
}

/// Each operation, with the statuses for root, ann, bob and a stranger.
fn table() -> Vec<(&'static str, Option<Value>, [u16; 4])> {
    vec![
        ("/openapi.json", None, [200, 200, 200, 401]),
        ("/repositories", None, [200, 200, 200, 401]),
        ("/image?name=nginx:1", None, [200, 200, 403, 401]),
        ("/image?name=redis:1", None, [200, 403, 403, 401]),
        ("/image?name=localhost/team/app:1", None, [200, 200, 403, 401]),
        ("/image?name=localhost/other:1", None, [200, 403, 403, 401]),
        ("/purge", Some(json!({ "images": ["nginx:1"], "dry_run": true })), [200, 200, 403, 401]),
        ("/purge", Some(json!({ "images": ["nginx:1", "redis:1"], "dry_run": true })), [200, 403, 403, 401]),
        ("/purge", Some(json!({ "images": ["library/nginx:*"], "dry_run": true })), [200, 403, 403, 401]),
        ("/purge", Some(json!({ "images": ["redis:2"] })), [404, 403, 403, 401]),
        ("/refresh", Some(json!({ "image": "nginx:1" })), [200, 200, 403, 401]),
        ("/refresh", Some(json!({ "image": "redis:1" })), [200, 403, 403, 401]),
        ("/pins", None, [200, 403, 403, 401]),
        ("/pin", Some(json!({ "patterns": ["library/nginx"] })), [200, 403, 403, 401]),
        ("/unpin", Some(json!({ "patterns": ["library/nginx"] })), [200, 403, 403, 401]),
        ("/evict", Some(json!({ "to": 1_u64 << 50 })), [200, 403, 403, 401]),
        ("/remove", Some(json!({ "name": "team/app:1", "dry_run": true })), [200, 200, 403, 401]),
        ("/remove", Some(json!({ "name": "other", "dry_run": true })), [200, 403, 403, 401]),
        ("/nothing", None, [404, 404, 404, 401]),
    ]
}

#[test]
fn each_operation_is_allowed_or_denied_by_the_rules() {
    let (upstream, users) = (Upstream::plain(), users());
    let server = setup(&upstream, &users).start();
    filled(&server, &upstream);
    for (path, body, expected) in table() {
        for (user, expected) in ["root", "ann", "bob", ""].into_iter().zip(expected) {
            let response = Api::of(&server, user).send(path, body.as_ref());
            assert_eq!(response.status, expected, "{user:?} {path} {body:?}");
        }
    }
    let names = |user: &str| {
        let listed = Api::of(&server, user).json("/repositories");
        let named = |entry: &Value| entry["repository"].as_str().unwrap().to_owned();
        listed["repositories"].as_array().unwrap().iter().map(named).collect::<Vec<_>>()
    };
    assert_eq!(names("root"), ["other", "team/app", "docker.io/library/nginx", "docker.io/library/redis"]);
    assert_eq!(names("ann"), ["team/app", "docker.io/library/nginx"]);
    assert_eq!(names("bob"), Vec::<String>::new());
    let audited = |part: &str| server.log().lines().any(|line| line.contains("manage") && line.contains(part));
    assert!(audited("ann") && audited("denied") && audited("docker.io/library/nginx"), "{}", server.log());
}

#[test]
fn the_results_are_those_of_the_commands() {
    let (upstream, users) = (Upstream::plain(), users());
    let server = setup(&upstream, &users).start();
    let (nginx, app) = filled(&server, &upstream);
    let (api, data) = (Api::of(&server, "root"), server.data());
    let listed = api.json("/repositories");
    assert_eq!(listed["repositories"], command(data, &["list"])["repositories"]);
    assert_eq!(api.json("/image?name=nginx:1"), command(data, &["why", "nginx:1"]));
    let pattern = api.json("/repositories?pattern=team/**:1");
    assert_eq!(pattern["repositories"], command(data, &["list", "team/**:1"])["repositories"]);
    let first = api.json("/repositories?n=1");
    assert_eq!((&first["more"], &first["repositories"][0]["repository"]), (&json!(true), &json!("other")));
    let rest = api.json("/repositories?last=other");
    assert_eq!((&rest["more"], rest["repositories"].as_array().unwrap().len()), (&json!(false), 3));
    let pins = api.post("/pin", &json!({ "patterns": ["library/nginx"] })).json();
    assert_eq!(pins["added"], command(data, &["pin"])["added"]);
    let evicted = api.post("/evict", &json!({ "to": 0 })).json();
    assert!(evicted["after"].as_u64().unwrap() > 0, "{evicted}");
    upstream.stop();
    let root = server.target().as_user("root", &password("root"));
    pull(&root, NGINX, "1", &nginx);
    assert_ne!(root.request("GET", "library/redis/manifests/1").send().status, 200, "it is evicted");
    upstream.resume();
    let dry = api.post("/purge", &json!({ "images": ["nginx:1"], "dry_run": true })).json();
    let purged = api.post("/purge", &json!({ "images": ["nginx:1"] })).json();
    assert_eq!(dry["repositories"], purged["repositories"]);
    assert!(purged["total"]["bytes"].as_u64().unwrap() > 0, "{purged}");
    assert_eq!(api.post("/refresh", &json!({ "image": "nginx:1" })).json()["result"], "new");
    assert_eq!(api.post("/remove", &json!({ "name": "team/app:1" })).json()["manifests"], 1);
    assert_eq!(root.request("GET", "team/app/manifests/1").send().status, 404);
    assert_eq!(api.post("/remove", &json!({ "name": "other" })).json()["tags"], 1);
    let _ = app;
}

/// A page of another site can make a browser send neither JSON nor its own site's headers.
#[test]
fn what_changes_something_needs_json_and_the_same_origin() {
    let (upstream, users) = (Upstream::plain(), users());
    let server = setup(&upstream, &users).start();
    filled(&server, &upstream);
    let (own, body) = (server.url().to_owned(), br#"{"images":["nginx:1"],"dry_run":true}"#);
    for (headers, media_type, expected) in [
        (&[][..], "application/json", 200),
        (&[], "application/json; charset=utf-8", 200),
        (&[], "text/plain", 415),
        (&[], "application/x-www-form-urlencoded", 415),
        (&[("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")], "application/json", 200),
        (&[("Origin", "https://evil.example")], "application/json", 403),
        (&[("Origin", "null")], "application/json", 403),
        (&[("Sec-Fetch-Site", "cross-site")], "application/json", 403),
        (&[("Sec-Fetch-Site", "same-site")], "application/json", 403),
        (&[("Origin", own.as_str()), ("Sec-Fetch-Site", "cross-site")], "application/json", 403),
    ] {
        let mut request = Api::of(&server, "root").request("POST", "/purge");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        assert_eq!(request.body(media_type, body).send().status, expected, "{headers:?} {media_type}");
    }
    for (path, body) in [("/purge", "{"), ("/purge", "{}"), ("/evict", r#"{"to":-1}"#), ("/evict", r#"{"to":1,"x":2}"#)]
    {
        let request = Api::of(&server, "root").request("POST", path);
        assert_eq!(request.body("application/json", body.as_bytes()).send().status, 400, "{path} {body}");
    }
    assert_eq!(Api::of(&server, "root").get("/purge").status, 405);
    assert_eq!(Api::of(&server, "root").post("/repositories", &json!({})).status, 405);
}

/// Without users there is no action and no list, from any address, proxied or not; nor on the mirror listener.
#[test]
fn without_users_there_is_nothing() {
    let upstream = Upstream::plain();
    let setup = Setup::both(&upstream.url()).hosted("[team/**, other]").freshness("1h");
    let server = setup.variable("REGISTRY_HTTP_TRUSTEDPROXIES", "127.0.0.1").start();
    let nginx = Image::single(Format::Oci, 96_100);
    upstream.add(NGINX, "1", &nginx);
    server.pull(NGINX, "1", &nginx);
    for (path, body, _) in table() {
        for header in [None, Some("127.0.0.1"), Some("192.0.2.1")] {
            let method = if body.is_some() { "POST" } else { "GET" };
            let mut request = Request::new(method, &format!("{}/api/v1{path}", server.url()));
            if let Some(address) = header {
                request = request.header("X-Forwarded-For", address);
            }
            let body = body.clone().unwrap_or_default().to_string();
            let response = request.body("application/json", body.as_bytes()).send();
            assert_eq!(response.status, 403, "{path} from {header:?}");
            assert!(response.text().contains("this needs users"), "{path}");
        }
    }
    let delete = server.target().delete("library/nginx/manifests/1");
    assert!(delete == 403 || delete == 405, "{delete}");
    let before = upstream.count("HEAD", Kind::Manifest);
    let anew = server.manifest(NGINX, "1").header("Cache-Control", "no-cache").send();
    assert_eq!((anew.status, upstream.count("HEAD", Kind::Manifest)), (200, before), "it is served as it is");
}

#[test]
fn the_mirror_listener_has_no_such_path() {
    let (upstream, users) = (Upstream::plain(), users());
    let server = setup(&upstream, &users).variable("REGISTRY_HTTP_MIRROR_ADDR", "127.0.0.1:0").start();
    for path in ["/openapi.json", "/repositories", "/pins"] {
        let request = Request::new("GET", &format!("{}/api/v1{path}", server.mirror_url().trim_end_matches('/')));
        let request = request.header("Authorization", &basic("root", &password("root")));
        assert_eq!(request.send().status, 404, "{path}");
    }
}

/// DELETE of a mirrored tag or manifest is a purge for who may delete there; `no-cache` asks anew for who may manage.
#[test]
fn the_registry_api_purges_and_asks_anew() {
    let (upstream, users) = (Upstream::plain(), users());
    let server = setup(&upstream, &users).start();
    let (nginx, _) = filled(&server, &upstream);
    let of = |user: &str| server.target().as_user(user, &password(user));
    let heads = || upstream.count("HEAD", Kind::Manifest);
    let counted = || upstream.count("GET", Kind::Manifest);
    let ask = |user: &str| {
        let before = heads();
        let request =
            of(user).request("GET", "library/nginx/manifests/1").header("Cache-Control", "max-age=0, no-cache");
        assert_eq!(request.send().summary().digest, nginx.digest());
        heads() - before
    };
    assert_eq!((ask("bob"), ask("ann"), ask("root")), (0, 1, 1));
    assert_eq!(of("ann").delete("library/nginx/manifests/1"), 403, "manage is not delete");
    let before = counted();
    pull(&of("bob"), NGINX, "1", &nginx);
    assert_eq!(counted(), before);
    assert_eq!(of("bob").delete("library/nginx/manifests/1"), 202);
    assert_eq!(of("bob").delete("library/nginx/manifests/1"), 404, "it is gone");
    pull(&of("bob"), NGINX, "1", &nginx);
    assert_eq!(counted(), before + 1);
    assert_eq!(of("bob").delete(&format!("library/nginx/manifests/{}?ns=docker.io", nginx.digest())), 202);
    pull(&of("bob"), NGINX, "1", &nginx);
    assert_eq!(counted(), before + 2);
}

#[test]
fn anonymous_clients_cannot_be_managers() {
    let users = users();
    let rules = "access: [{who: [anonymous], may: [pull, manage], where: [\"**\"]}]";
    let started = users.with(Setup::hosting(), rules).run();
    assert_eq!(started.status.code(), Some(2), "{}", started.output);
    assert!(started.output.contains("anonymous clients may not have it"), "{}", started.output);
}

/// The program of PyPI, kept below `target/`.
static SCHEMATHESIS: LazyLock<PathBuf> = LazyLock::new(|| {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schemathesis");
    if !tools.join("complete").exists() {
        let mut install = process::command("pip3");
        install.args(["install", "--quiet", "--target"]).arg(&tools).arg("schemathesis==4.32.5");
        process::run("pip3", install, Duration::from_secs(300)).expect_success("pip3 install schemathesis");
        fs::write(tools.join("complete"), "").unwrap();
    }
    tools
});

/// Whatever is sent by the document, no answer is a 5xx, and each has a status and a form that the document says.
#[test]
fn schemathesis_finds_no_server_error_and_nothing_undescribed() {
    let (upstream, users) = (Upstream::plain(), users());
    let server = setup(&upstream, &users).variable("REGISTRY_HTTP_LIMITS_RATE", "0").start();
    filled(&server, &upstream);
    let mut checks = process::command("python3");
    checks.args(["-m", "schemathesis.cli", "run"]);
    checks.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/manage/openapi.json"));
    checks.args(["--url", &format!("{}/api/v1", server.url()), "--auth", &format!("root:{}", password("root"))]);
    let promises = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    checks.args(["--checks", promises, "--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "1"]);
    checks.env("PYTHONPATH", &*SCHEMATHESIS).env("NO_PROXY", "*").current_dir(server.data());
    process::run("schemathesis", checks, Duration::from_secs(240)).expect_success("schemathesis");
    assert_eq!(Api::of(&server, "root").get("/repositories").status, 200, "the server is well");
}
