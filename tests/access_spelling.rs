//! No rule set lets a denied pair through by another spelling (issue 5, point 2).
//!
//! Rule sets and spellings are random; what may be read is decided by a model of its own, which knows nothing of how names
//! are parsed, and each answer is searched for content that its reader must not see.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{select, subsequence},
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};

use crate::support::{
    http::{self, Response},
    images::{Blob, Format, Image, Manifest},
    rounds,
    server::{Server, Setup},
    uploads::{Target, basic},
    users::{Users, password},
};

const NAMES: [&str; 3] = ["ann", "bob", "root"];
const REPOSITORIES: [&str; 5] = ["secret/app", "secret/sub/app", "team/app", "team", "app"];
const PATTERNS: [&str; 9] =
    ["**", "*", "*/*", "secret/**", "secret/app", "team/*", "team/**", "**/app", "docker.io/**"];

/// A rule, and what it means.
#[derive(Clone, Debug)]
struct Rule {
    who: Vec<&'static str>,
    may: Vec<&'static str>,
    place: Vec<&'static str>,
}

impl Rule {
    fn written(&self) -> String {
        let list = |items: &[&str]| items.iter().map(|item| format!("'{item}'")).collect::<Vec<_>>().join(", ");
        format!("{{who: [{}], may: [{}], where: [{}]}}", list(&self.who), list(&self.may), list(&self.place))
    }

    fn allows(&self, user: Option<&str>, action: &str, repository: &str) -> bool {
        let who = match user {
            Some(user) => self.who.contains(&user) || self.who.contains(&"authenticated"),
            None => false,
        };
        (who || self.who.contains(&"anonymous"))
            && self.may.contains(&action)
            && self.place.iter().any(|pattern| means(pattern, repository))
    }
}

/// What the patterns mean, spelt out.
fn means(pattern: &str, repository: &str) -> bool {
    let parts: Vec<&str> = repository.split('/').collect();
    match pattern {
        "**" => true,
        "*" => parts.len() == 1,
        "*/*" => parts.len() == 2,
        "secret/**" => parts[0] == "secret",
        "team/*" => parts[0] == "team" && parts.len() == 2,
        "team/**" => parts[0] == "team",
        "**/app" => parts.last() == Some(&"app"),
        "docker.io/**" => false,
        literal => literal == repository,
    }
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let who = subsequence(vec!["ann", "bob", "authenticated", "anonymous"], 1..3);
    let may = subsequence(vec!["pull", "push", "delete"], 1..=3);
    let place = vec(select(&PATTERNS[..]), 1..3);
    vec((who, may, place).prop_map(|(who, may, place)| Rule { who, may, place }), 0..4)
}

/// What one repository alone has.
struct Secret {
    repository: &'static str,
    image: Image,
    /// Refers to the image.
    referrer: Manifest,
    blob: Blob,
    /// Stands in its manifest and its blob.
    mark: String,
}

impl Secret {
    fn new(number: usize, repository: &'static str) -> Self {
        let (mark, image) = (format!("mark-of-{repository}-{number}"), Image::single(Format::Oci, 600 + number as u64));
        let blob = Blob::new(format!("{mark} in a blob"));
        let body = serde_json::json!({
            "schemaVersion": 2, "mediaType": Format::Oci.manifest(), "artifactType": "application/x",
            "config": blob.descriptor("application/x"), "layers": [], "subject": image.top.descriptor(),
            "annotations": { "mark": mark },
        });
        Self { repository, image, referrer: Manifest::new(Format::Oci.manifest(), &body), blob, mark }
    }

    fn push(&self, root: &Target) {
        root.image(self.repository, "1", &self.image);
        root.blob(self.repository, &self.blob);
        assert_eq!(root.manifest(self.repository, "sig", &self.referrer).status, 201);
    }

    /// Whether an answer gives away what is only here.
    fn is_in(&self, response: Response) -> Option<String> {
        let (status, digest) = (response.status, response.header("docker-content-digest").map(str::to_owned));
        let own = [self.image.digest(), &self.referrer.digest, &self.blob.digest];
        if digest.as_deref().is_some_and(|digest| own.contains(&digest)) {
            return Some(format!("{status} with {digest:?}"));
        }
        let body = response.body().bytes;
        let text = String::from_utf8_lossy(&body);
        let told = text.contains(&self.mark)
            || body.windows(64).any(|part| part == &self.blob.bytes[..64.min(self.blob.len())]);
        // A refusal may say the name that was asked for; a list must not.
        let listed = text.contains(&format!("\"{}\"", self.repository)) && status < 300;
        (told || listed).then(|| format!("{status}: {text}"))
    }
}

/// Ways to write a name, of which at most the first is it.
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

const QUERIES: [&str; 10] = [
    "",
    "?ns=docker.io",
    "?ns=registry.test",
    "?ns=REGISTRY.test",
    "?ns=",
    "?ns=127.0.0.1",
    "?name=team/app",
    "?ns=registry.test&ns=docker.io",
    "?n=1000&last=",
    "?from=team/app",
];

/// Every path that leads to something of a repository.
fn leads(secret: &Secret) -> Vec<String> {
    let (image, layer) = (&secret.image, &secret.blob.digest);
    let mut leads = vec!["tags/list".to_owned()];
    leads.extend(["1", "sig", image.digest(), &secret.referrer.digest].map(|name| format!("manifests/{name}")));
    leads.extend([layer, image.digest(), &secret.referrer.digest].map(|digest| format!("blobs/{digest}")));
    leads.extend([format!("referrers/{}", image.digest()), format!("blobs/{}", layer.replace(':', "%3A"))]);
    leads
}

/// All that a user may try to get at one secret.
fn attack(target: &Target, secret: &Secret, runner: &mut TestRunner, writable: &[&str]) {
    let spellings = spellings(secret.repository);
    let ask = |method: &str, path: &str, range: bool| {
        let mut request = target.request(method, "");
        if range {
            request = request.header("Range", "bytes=0-");
        }
        let target = format!("/v2/{path}");
        if let Some(told) = secret.is_in(request.send_target(&target)) {
            panic!("{method} {target} of {}: {told}", secret.repository);
        }
    };
    for lead in leads(secret) {
        for method in ["GET", "HEAD"] {
            ask(method, &format!("{}/{lead}", secret.repository), method == "GET");
            for _ in 0..6 {
                let spelling = select(spellings.clone()).new_tree(runner).unwrap().current();
                let query = select(&QUERIES[..]).new_tree(runner).unwrap().current();
                ask(method, &format!("{spelling}/{lead}{query}"), query.is_empty());
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

/// What a user may write, they may try to fill with what they may not read.
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

/// Each way to be somebody or nobody: by password, by a token for all there is, by nothing.
fn callers(server: &Server, rules: &[Rule]) -> Vec<(Option<&'static str>, Target)> {
    let by_password = |user: &'static str| (Some(user), server.target().as_user(user, &password(user)));
    let mut callers = vec![by_password("ann"), by_password("bob"), (None, server.target())];
    if rules.iter().any(|rule| rule.who.contains(&"anonymous")) {
        let scopes = REPOSITORIES.map(|name| format!("repository:{name}:*")).join(" ") + " registry:catalog:*";
        for user in [Some("ann"), None] {
            let url = url::Url::parse_with_params(&format!("{}/token", server.url()), [("scope", &scopes)]).unwrap();
            let request = http::get(url.as_str());
            let request = match user {
                Some(user) => request.header("Authorization", &basic(user, &password(user))),
                None => request,
            };
            let token = request.send().json()["token"].as_str().unwrap().to_owned();
            callers.push((user, Target::with_token(server.url(), &token)));
        }
    }
    callers
}

/// For each caller and each repository: what the model allows is served, and what it denies is not to be had.
fn holds(server: &Server, rules: &[Rule], secrets: &[Secret], runner: &mut TestRunner) {
    for (user, target) in callers(server, rules) {
        let may = |action: &str, repository: &str| rules.iter().any(|rule| rule.allows(user, action, repository));
        let writable: Vec<_> = REPOSITORIES.into_iter().filter(|name| may("push", name)).collect();
        for secret in secrets {
            let status = target.request("GET", &format!("{}/manifests/1", secret.repository)).send().status;
            let allowed = may("pull", secret.repository);
            let denied = if user.is_some() { 403 } else { 401 };
            assert_eq!(status, if allowed { 200 } else { denied }, "{user:?} {}", secret.repository);
            if !allowed {
                attack(&target, secret, runner, &writable);
            }
        }
    }
}

#[test]
fn no_spelling_gets_around_the_rules() {
    let users = Users::named(&NAMES);
    let root = "{who: root, may: [pull, push, delete], where: '**'}";
    let setup = Setup::both("http://127.0.0.1:9").variable("REGISTRY_HTTP_NAMES", "registry.test");
    let setup = setup.variable("REGISTRY_LOG_ACCESSLOG_DISABLED", "true");
    // Whatever is refused as a mount begins an upload, which nobody ends.
    let setup = setup.variable("REGISTRY_HTTP_LIMITS_UPLOADS", "0");
    let secrets: Vec<Secret> =
        REPOSITORIES.iter().enumerate().map(|(number, name)| Secret::new(number, name)).collect();
    {
        let server = users.with(setup.clone(), &format!("access: [{root}]")).start();
        secrets.iter().for_each(|secret| secret.push(&server.target().as_user("root", &password("root"))));
    }
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..rounds(60) {
        let rules = rules().new_tree(&mut runner).unwrap().current();
        let written: Vec<_> = rules.iter().map(Rule::written).chain([root.to_owned()]).collect();
        let server = users.with(setup.clone(), &format!("access: [{}]", written.join(", "))).start();
        holds(&server, &rules, &secrets, &mut runner);
    }
}
