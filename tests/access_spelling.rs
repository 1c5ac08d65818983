//! No rule set lets a denied user through by another spelling of a name.
//!
//! Rule sets and spellings are random, the same in every run. A separate model, which does not parse names, decides the
//! rights. Each response is searched for content that its reader must not see, and in the end nothing has changed that
//! a client was denied to change.

use proptest::{
    sample::select,
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    access_clients::outside,
    support::{
        http::{self, Response},
        images::{Blob, Manifest},
        model::{REPOSITORIES, Rule, Secret, means, rules},
        rounds, scratch,
        server::{Server, Setup},
        token_service::TokenService,
        uploads::{Target, basic},
        upstream::Upstream,
        users::{Users, password},
    },
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

const NAMES: [&str; 3] = ["ann", "bob", "root"];
/// Spellings of a name, of which at most the first is the name itself.
fn spellings(name: &str) -> Vec<String> {
    let upper = name.to_uppercase();
    let title = name[..1].to_uppercase() + &name[1..];
    vec![
        name.to_owned(),
        upper,
        title,
        name.replacen('/', "%2F", 1),
        name.replacen('/', "%2f", 1),
        name.replace('/', "//"),
        name.replacen('/', "%2F/", 1),
        name.replacen('/', "/./", 1),
        format!("%2F{name}"),
        format!("{name}%2F"),
        format!("/{name}"),
        format!("./{name}"),
        format!("team/../{name}"),
        format!("team/%2e%2e/{name}"),
        format!("team/..%2f{name}"),
        format!("{name}/"),
        format!("{name}/."),
        format!("{name}%00"),
        format!("{name}%20"),
        format!("{name}%0a"),
        name.replacen('e', "%65", 1).replacen('a', "%61", 1),
        format!("docker.io/{name}"),
        format!("registry.test/{name}"),
        format!("team/app/{name}"),
        format!("team/app/manifests/../../../{name}"),
        format!("{name};x=team/app"),
        name.replacen('a', "\u{430}", 1),
    ]
}

const QUERIES: [&str; 12] = [
    "",
    "?ns=docker.io",
    "?ns=registry.test",
    "?ns=REGISTRY.test",
    "?ns=",
    "?ns=127.0.0.1",
    "?ns=localhost:5001",
    "?ns=ghcr.io",
    "?name=team/app",
    "?ns=registry.test&ns=docker.io",
    "?n=1000&last=",
    "?from=team/app",
];

/// Beginnings and ends of a path, of which the first is plain.
const BEGINNINGS: [&str; 8] = ["/v2/", "//v2/", "/v2//", "/%2Fv2/", "/./v2/", "/x/../v2/", "/v2%2F", "/v2/%2e/"];
const ENDS: [&str; 6] = ["", "/", "//", "%2F", "/.", "/x/.."];

/// Sends a request, and once more to the target of a redirect: that is plain.
fn follow(target: &str, send: impl Fn(&str) -> Response) -> Vec<Response> {
    let first = send(target);
    let moved = first.header("location").filter(|_| first.status == 301).map(str::to_owned);
    let second = moved.map(|moved| {
        assert!(moved.starts_with('/') && !moved.starts_with("//"), "{target} leads elsewhere: {moved}");
        let second = send(&moved);
        assert_ne!(second.status, 301, "{target} leads to {moved}, and that on");
        second
    });
    std::iter::once(first).chain(second).collect()
}

/// Every path of a repository's content.
fn leads(secret: &Secret) -> Vec<String> {
    let (image, layer) = (&secret.image, &secret.blob.digest);
    let mut leads = vec!["tags/list".to_owned()];
    leads.extend(["1", "sig", image.digest(), &secret.referrer.digest].map(|name| format!("manifests/{name}")));
    leads.extend([layer, image.digest(), &secret.referrer.digest].map(|digest| format!("blobs/{digest}")));
    leads.extend([format!("referrers/{}", image.digest()), format!("blobs/{}", layer.replace(':', "%3A"))]);
    leads
}

/// Tries every way to read one secret.
fn spy(target: &Target, secret: &Secret, runner: &mut TestRunner, writable: &[&str]) {
    let spellings = spellings(secret.repository);
    let look = |method: &str, place: &str, range: bool| {
        let send = |place: &str| {
            let request = target.request(method, "");
            let request = if range { request.header("Range", "bytes=0-") } else { request };
            request.send_target(place)
        };
        for response in follow(place, send) {
            if let Some(revealed) = secret.is_in(response) {
                panic!("{method} {place} of {}: {revealed}", secret.repository);
            }
        }
    };
    let ask = |method: &str, path: &str, range: bool| look(method, &format!("/v2/{path}"), range);
    for lead in leads(secret) {
        for method in ["GET", "HEAD"] {
            ask(method, &format!("{}/{lead}", secret.repository), method == "GET");
            for _ in 0..6 {
                let spelling = select(spellings.clone()).new_tree(runner).unwrap().current();
                let query = select(&QUERIES[..]).new_tree(runner).unwrap().current();
                ask(method, &format!("{spelling}/{lead}{query}"), query.is_empty());
                let [begin, end] = [&BEGINNINGS[..], &ENDS].map(|all| select(all).new_tree(runner).unwrap().current());
                look(method, &format!("{begin}{spelling}/{lead}{end}{query}"), query.is_empty());
            }
            // By its digest, through repositories that the user may or may not read.
            for other in REPOSITORIES.iter().filter(|other| **other != secret.repository) {
                ask(
                    method,
                    &format!(
                        "{other}/{}",
                        lead.replace("manifests/1", "manifests/none").replace("manifests/sig", "manifests/none")
                    ),
                    false,
                );
            }
        }
    }
    for query in QUERIES {
        ask("GET", &format!("_catalog{query}"), false);
    }
    steal(target, secret, writable);
}

/// Tries to link content that the user may not read into a repository that they may write.
fn steal(target: &Target, secret: &Secret, writable: &[&str]) {
    for into in writable.iter().filter(|into| **into != secret.repository) {
        for digest in [&secret.blob.digest, &secret.referrer.digest] {
            let froms: Vec<String> =
                spellings(secret.repository).into_iter().chain(["team/app".into(), "app".into()]).collect();
            for from in froms.iter().map(Some).chain([None]) {
                let query = from.map(|from| format!("&from={}", from.replace('%', "%25").replace('/', "%2F")));
                let path = format!("{into}/blobs/uploads/?mount={digest}{}", query.unwrap_or_default());
                let status = target.request("POST", &path).send().status;
                assert_eq!(status, 202, "{path}");
            }
            let served = target.head(&format!("{into}/blobs/{digest}"));
            assert!([401, 403, 404].contains(&served), "{into} has {digest}: {served}");
        }
        let refused = target.manifest(into, "stolen", &secret.referrer).status;
        assert_eq!(refused, 404, "a manifest of blobs that are elsewhere");
        let served = target.head(&format!("{into}/blobs/{}", secret.blob.digest));
        assert!([401, 403, 404].contains(&served), "{into}: {served}");
    }
}

/// Tries every way to change a repository without the right to push or to delete, one of which may be allowed.
fn forge(target: &Target, secret: &Secret, runner: &mut TestRunner, push: bool, delete: bool) {
    let evil = Manifest::new(INDEX, &serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }));
    let (own, image, layer) = (Blob::new("mine"), secret.image.digest(), &secret.blob.digest);
    let pushes = [
        ("PUT", "manifests/1".to_owned(), &evil.bytes),
        ("PUT", format!("manifests/{}?tag=1&tag=2", evil.digest), &evil.bytes),
        ("POST", format!("blobs/uploads/?digest={}", own.digest), &own.bytes),
        ("POST", format!("blobs/uploads/?mount={}&from=app", own.digest), &own.bytes),
    ];
    let deletes =
        ["manifests/1".to_owned(), "manifests/sig".into(), format!("manifests/{image}"), format!("blobs/{layer}")];
    let deletes = deletes.map(|path| ("DELETE", path, &own.bytes));
    let pushes = pushes.iter().filter(|_| push);
    let all: Vec<_> = pushes.chain(deletes.iter().filter(|_| delete)).collect();
    for (method, path, body) in &all {
        let status = target.request(method, &format!("{}/{path}", secret.repository)).body(INDEX, body).send().status;
        // Nobody may push to mirrored content.
        assert!([401, 403, 405].contains(&status), "{method} {}/{path}: {status}", secret.repository);
    }
    for spelling in spellings(secret.repository) {
        for (method, path, body) in &all {
            if select(vec![true, false]).new_tree(runner).unwrap().current() {
                let begin = select(&BEGINNINGS[..]).new_tree(runner).unwrap().current();
                let send = |place: &str| target.request(method, "").body(INDEX, body).send_target(place);
                follow(&format!("{begin}{spelling}/{path}"), send);
            }
        }
    }
}

/// Returns whether a user may do this to a secret's repository.
type May<'a> = dyn Fn(&str, &Secret) -> bool + 'a;

/// A client, and its rights by the model.
struct Asker<'a> {
    target: Target,
    may: Box<May<'a>>,
    /// The status of its denials.
    refused: u16,
}

/// Each kind of authentication: by password, by a token for every scope, by none.
fn askers<'a>(server: &Server, rules: &'a [Rule]) -> Vec<Asker<'a>> {
    let asker = |user: Option<&'static str>, target: Target| Asker {
        target,
        may: Box::new(move |action, secret| rules.iter().any(|rule| rule.allows(user, action, secret))),
        refused: if user.is_some() { 403 } else { 401 },
    };
    let by_password = |user: &'static str| asker(Some(user), server.target().as_user(user, &password(user)));
    let mut askers = vec![by_password("ann"), by_password("bob"), asker(None, server.target())];
    if rules.iter().any(|rule| rule.who.contains(&"anonymous")) {
        let realm = format!("{}/token", server.url());
        askers.extend([Some("ann"), None].map(|user| asker(user, with_token(server, &realm, user))));
    }
    askers
}

/// A target with a token for as many scopes as the service grants.
fn with_token(server: &Server, realm: &str, user: Option<&str>) -> Target {
    let scopes = REPOSITORIES.map(|name| format!("repository:{name}:*,pull,push,delete")).join(" ");
    let scopes = scopes + " registry:catalog:*";
    let request = http::get(url::Url::parse_with_params(realm, [("scope", &scopes)]).unwrap().as_str());
    let request = match user {
        Some(user) => request.header("Authorization", &basic(user, &password(user))),
        None => request,
    };
    Target::with_token(server.url(), request.send().json()["token"].as_str().unwrap())
}

/// For each repository: allowed actions succeed, and denied content is never returned.
fn holds(asker: &Asker<'_>, secrets: &[Secret], runner: &mut TestRunner) {
    let Asker { target, may, refused } = asker;
    let status = |method: &str, secret: &Secret, path: &str| {
        target.request(method, &format!("{}/{path}", secret.repository)).send().status
    };
    let writable: Vec<_> = secrets.iter().filter(|secret| may("push", secret) && !secret.mirrored).collect();
    let writable: Vec<_> = writable.into_iter().map(|secret| secret.repository).collect();
    for secret in secrets {
        let got = status("GET", secret, "manifests/1");
        assert_eq!(got, if may("pull", secret) { 200 } else { *refused }, "pull {}", secret.repository);
        let escaped = format!("/v2/{}/manifests/1", secret.repository.replace('/', "%2F"));
        assert_eq!(target.request("GET", "").send_target(&escaped).status, got, "{escaped}");
        if !may("pull", secret) {
            spy(target, secret, runner, &writable);
        }
        if secret.mirrored {
            // A DELETE of mirrored content is a purge.
            forge(target, secret, runner, true, !may("delete", secret));
            continue;
        }
        let (push, delete) = (may("push", secret), may("delete", secret));
        let got = status("POST", secret, "blobs/uploads/");
        assert_eq!(got, if push { 202 } else { *refused }, "push to {}", secret.repository);
        let got = status("DELETE", secret, "manifests/absent");
        assert_eq!(got, if delete { 404 } else { *refused }, "delete in {}", secret.repository);
        forge(target, secret, runner, !push, !delete);
    }
}

/// Shows the context of a panic.
struct Under(String);

impl Drop for Under {
    #[allow(clippy::print_stderr, reason = "the test runner shows it with the failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- under {}", self.0);
        }
    }
}

/// A server's setup over a volume that has all the secrets, and its root.
struct Fixture {
    users: Users,
    setup: Setup,
    secrets: Vec<Secret>,
    _upstream: Upstream,
}

impl Fixture {
    fn new() -> Self {
        let (users, upstream) = (Users::named(&NAMES), Upstream::plain());
        let setup = Setup::both(&upstream.url()).variable("REGISTRY_HTTP_NAMES", "registry.test").freshness("1h");
        let setup = setup.variable("REGISTRY_LOG_ACCESSLOG_DISABLED", "true");
        // Each refused mount begins an upload, which is never finished.
        let setup = setup.variable("REGISTRY_HTTP_LIMITS_UPLOADS", "0");
        let secrets = REPOSITORIES.iter().enumerate().map(|(number, name)| Secret::new(number, name)).collect();
        let fixture = Self { users, setup, secrets, _upstream: upstream };
        let server = fixture.start(&[]);
        fixture.secrets.iter().for_each(|secret| secret.settle(&root(&server), &fixture._upstream));
        fixture
    }

    fn start(&self, rules: &[Rule]) -> Server {
        let written: Vec<_> = rules.iter().map(Rule::written).chain([ROOT.to_owned()]).collect();
        self.users.with(self.setup.clone(), &format!("access: [{}]", written.join(", "))).start()
    }
}

const ROOT: &str = "{who: root, may: [pull, push, delete], where: '**'}";

fn root(server: &Server) -> Target {
    server.target().as_user("root", &password("root"))
}

fn runner() -> TestRunner {
    TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn no_spelling_gets_around_the_rules() {
    let (fixture, mut runner) = (Fixture::new(), runner());
    // A rule of every run: a token's scope is a bare name, and this rule is about the Hub's repository of that name
    // alone.
    let all = || vec!["pull", "push", "delete"];
    let mut sets = vec![vec![Rule { who: vec!["anonymous"], may: all(), place: vec!["docker.io/**"] }]];
    sets.extend((0..rounds(60)).map(|_| rules().new_tree(&mut runner).unwrap().current()));
    for rules in sets {
        let (_under, server) = (Under(format!("{rules:?}")), fixture.start(&rules));
        for asker in askers(&server, &rules) {
            holds(&asker, &fixture.secrets, &mut runner);
        }
        fixture.secrets.iter().for_each(|secret| secret.is_unharmed(&root(&server)));
    }
}

/// The same with an external token service, which decides by names alone.
#[test]
fn no_spelling_gets_around_a_token() {
    let (fixture, mut runner, dir) = (Fixture::new(), runner(), scratch::dir("tokens"));
    for _ in 0..rounds(20) {
        let rules = rules().new_tree(&mut runner).unwrap().current();
        let plain = |rules: &[Rule], user: Option<&str>, action: &str, name: &str| {
            let of = |rule: &Rule| rule.place.iter().any(|pattern| means(pattern, name));
            let who = |rule: &Rule| match user {
                Some(user) => ["authenticated", "anonymous", user].iter().any(|who| rule.who.contains(who)),
                None => rule.who.contains(&"anonymous"),
            };
            user == Some("root") || rules.iter().any(|rule| who(rule) && rule.may.contains(&action) && of(rule))
        };
        let (_under, of_service) = (Under(format!("{rules:?}")), rules.clone());
        let service =
            TokenService::with_rights(dir.path(), move |user, name, action| plain(&of_service, user, action, name));
        let server = outside(fixture.setup.clone(), &service).start();
        for user in [Some("ann"), Some("bob"), None] {
            let target = with_token(&server, &service.realm(), user);
            // A push needs a right to pull, too.
            let may = |action: &str, secret: &Secret| {
                let may = |action: &str| plain(&rules, user, action, secret.repository);
                may(action) && (action != "push" || may("pull"))
            };
            holds(&Asker { target, may: Box::new(may), refused: 401 }, &fixture.secrets, &mut runner);
        }
        let root = with_token(&server, &service.realm(), Some("root"));
        fixture.secrets.iter().for_each(|secret| secret.is_unharmed(&root));
    }
}
