//! Several upstreams: how a request names one, and that nothing of one is ever another's.

mod accounts;
mod mirrors;

use std::{thread, time::Duration};

use crate::{
    support::{
        http,
        images::{Format, Image},
        ports::Port,
        scrape::Scrape,
        scratch,
        server::{Server, Setup, entrepot},
        upstream::{Auth, Kind, Settings, Upstream},
        users::{Users, password},
    },
    tags::{STALE, cache_status},
};

const NAME: &str = "org/app";

/// An upstream of its own credentials, and its domain.
struct Registry {
    domain: &'static str,
    password: &'static str,
    upstream: Upstream,
    image: Image,
}

impl Registry {
    fn start(domain: &'static str, password: &'static str, seed: u64) -> Self {
        let upstream = Settings::default().auth(Auth::basic("user", password)).start();
        let image = Image::index(Format::Oci, seed, 20_000);
        upstream.add(NAME, "1", &image);
        Self { domain, password, upstream, image }
    }

    fn section(&self) -> String {
        let (domain, url, password) = (self.domain, self.upstream.url(), self.password);
        format!("{domain}: {{url: '{url}', username: user, password: {password}}}")
    }
}

/// The Hub, ghcr and quay, each with another image under the same name.
fn three() -> [Registry; 3] {
    [
        Registry::start("docker.io", "hub-secret", 1301),
        Registry::start("ghcr.io", "ghcr-secret", 1302),
        Registry::start("quay.io", "quay-secret", 1303),
    ]
}

fn setup(registries: &[Registry]) -> Setup {
    let sections: Vec<_> = registries.iter().map(Registry::section).collect();
    with_upstreams(&format!("{{{}}}", sections.join(", ")))
}

fn with_upstreams(sections: &str) -> Setup {
    Setup::bare().variable("REGISTRY_PROXY_UPSTREAMS", sections).variable("REGISTRY_STORAGE_DELETE_ENABLED", "true")
}

/// The digest that a name has; `None` for a 404.
fn digest(server: &Server, name: &str, reference: &str, host: Option<&str>) -> Option<String> {
    let request = server.manifest(name, reference);
    let request = host.into_iter().fold(request, |request, host| request.header("Host", host));
    let response = request.send();
    assert!(matches!(response.status, 200 | 404), "{name} {reference} {host:?}: {}", response.status);
    (response.status == 200).then(|| response.summary().digest)
}

fn blob(server: &Server, name: &str, reference: &str) -> u16 {
    server.blob(name, reference).send().status
}

/// A request names its registry by `ns`, by the beginning of its path, by both, or by its host.
#[test]
fn a_request_names_its_registry() {
    let registries = three();
    let hosts = "{ghcr.mirror.test: ghcr.io, quay.mirror.test: quay.io}";
    let server = setup(&registries).variable("REGISTRY_HTTP_HOSTS", hosts).start();
    for Registry { domain, image, .. } in &registries {
        let expected = Some(image.digest().to_owned());
        assert_eq!(digest(&server, NAME, &format!("1?ns={domain}"), None), expected, "{domain} by ns");
        assert_eq!(digest(&server, &format!("{domain}/{NAME}"), "1", None), expected, "{domain} by prefix");
        let both = digest(&server, &format!("{domain}/{NAME}"), &format!("1?ns={domain}"), None);
        assert_eq!(both, expected, "{domain} by both");
        let layer = &image.layer().digest;
        assert_eq!(blob(&server, &format!("{domain}/{NAME}"), layer), 200);
    }
    let [hub, ghcr, quay] = &registries;
    assert_eq!(digest(&server, NAME, "1", None), Some(hub.image.digest().to_owned()), "the Hub without any");
    for (host, registry) in [
        ("ghcr.mirror.test", ghcr),
        ("GHCR.mirror.test:5000", ghcr),
        ("quay.mirror.test", quay),
        ("other.mirror.test", hub),
    ] {
        let expected = Some(registry.image.digest().to_owned());
        assert_eq!(digest(&server, NAME, "1", Some(host)), expected, "{host}");
    }
    let ns_wins = digest(&server, NAME, "1?ns=quay.io", Some("ghcr.mirror.test"));
    assert_eq!(ns_wins, Some(quay.image.digest().to_owned()));
}

/// Official images need no `library/` below the Hub's prefix.
#[test]
fn an_official_image_is_found_below_the_hubs_name() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Oci, 1310));
    upstream.add("library/nginx", "1", &image);
    let server = Setup::mirroring(&upstream.url()).start();
    for name in ["docker.io/nginx", "docker.io/library/nginx", "library/nginx", "index.docker.io/nginx"] {
        assert_eq!(digest(&server, name, "1", None).as_deref(), Some(image.digest()), "{name}");
    }
}

/// Passwords and tokens reach their own upstream only, and no registry is called that is not listed.
#[test]
fn credentials_stay_where_they_belong() {
    let registries = three();
    let server = setup(&registries).start();
    for Registry { domain, image, .. } in &registries {
        assert_eq!(digest(&server, NAME, &format!("1?ns={domain}"), None).as_deref(), Some(image.digest()));
        assert_eq!(blob(&server, NAME, &format!("{}?ns={domain}", image.layer().digest)), 200);
    }
    for ns in ["gcr.io", "ghcr.io.evil.example", "127.0.0.1.evil.example", "10.0.0.1"] {
        assert_eq!(digest(&server, NAME, &format!("1?ns={ns}"), None), None, "{ns}");
    }
    for here in &registries {
        let seen: Vec<_> =
            here.upstream.requests().iter().filter_map(|seen| seen.request.header("authorization")).collect();
        assert!(!seen.is_empty(), "{}", here.domain);
        let basic: Vec<_> = here.upstream.requests().iter().filter_map(|seen| seen.request.basic()).collect();
        assert!(basic.iter().all(|(_, password)| password == here.password), "{}: {basic:?}", here.domain);
        for there in registries.iter().filter(|there| there.domain != here.domain) {
            let foreign = there.upstream.tokens();
            assert!(!seen.iter().any(|seen| foreign.iter().any(|token| seen.contains(token))), "{}", here.domain);
        }
    }
}

/// Neither cached, stale, pushed, nor by digest is something of one registry served as another's.
#[test]
fn the_same_name_on_two_registries_never_mixes() {
    let registries = three();
    let [hub, ghcr, quay] = &registries;
    let mut server = setup(&registries).freshness("1s").start();
    let pushed = Image::single(Format::Oci, 1304);
    server.target().image("mine/app", "1", &pushed);
    server.pull(NAME, "1", &hub.image);
    let ghcr_name = format!("ghcr.io/{NAME}");
    server.pull(&ghcr_name, "1", &ghcr.image);
    for round in ["cached", "after a restart"] {
        for (name, ns) in [(NAME.to_owned(), "?ns=quay.io"), (format!("quay.io/{NAME}"), "")] {
            let by_digest = digest(&server, &name, &format!("{}{ns}", ghcr.image.digest()), None);
            assert_eq!(by_digest, None, "{round}: a manifest of ghcr below quay");
            assert_eq!(blob(&server, &name, &format!("{}{ns}", ghcr.image.layer().digest)), 404, "{round}");
        }
        assert_eq!(digest(&server, "mine/app", "1?ns=ghcr.io", None), None, "{round}: pushed, below ghcr");
        assert_eq!(blob(&server, "mine/app", &format!("{}?ns=ghcr.io", pushed.layer().digest)), 404, "{round}");
        server.restart();
    }
    for registry in &registries {
        registry.upstream.stop();
    }
    thread::sleep(STALE);
    assert_eq!(digest(&server, NAME, "1", None).as_deref(), Some(hub.image.digest()), "stale, the Hub's");
    assert_eq!(digest(&server, &ghcr_name, "1", None).as_deref(), Some(ghcr.image.digest()), "stale, ghcr's");
    let never_pulled = server.manifest(NAME, "1?ns=quay.io").send();
    assert_eq!(never_pulled.status, 502, "quay's was never pulled");
    assert!(!quay.upstream.requests().is_empty());
}

/// Bytes that two registries have are stored once, after each has shown that it has them.
#[test]
fn bytes_are_shared_after_each_has_shown_them() {
    let (hub, ghcr) = (Upstream::plain(), Upstream::plain());
    let image = Image::of_size(Format::Oci, 1320, 300_000);
    hub.add(NAME, "1", &image);
    ghcr.add(NAME, "1", &image);
    let sections = format!("{{docker.io: {{url: '{}'}}, ghcr.io: {{url: '{}'}}}}", hub.url(), ghcr.url());
    let server = with_upstreams(&sections).start();
    server.pull(NAME, "1", &image);
    server.pull(&format!("ghcr.io/{NAME}"), "1", &image);
    assert_eq!(ghcr.sent(Kind::Blob), 0, "the bytes came from the Hub");
    assert!(ghcr.count("HEAD", Kind::Manifest) + ghcr.count("GET", Kind::Manifest) > 0, "ghcr was asked for the right");
}

/// Names below a mirrored registry cannot be pushed. A repository that was pushed before it was mirrored is served
/// where the name cannot mean anything else, and the log tells of it.
#[test]
fn names_below_an_upstream_are_its_own() {
    let ghcr = Registry::start("ghcr.io", "ghcr-secret", 1330);
    let pushed = Image::single(Format::Oci, 1331);
    let name = format!("ghcr.io/{NAME}");
    let off = "docker.io: {enabled: false}";
    let before = with_upstreams(&format!("{{{off}}}"));
    let data = scratch::dir("below");
    let mut server = before.data_at(data.path()).start();
    server.target().image(&name, "1", &pushed);
    server.stop();
    let mut server = with_upstreams(&format!("{{{off}, {}}}", ghcr.section())).data_at(data.path()).start();
    server.wait_for_log("names that begin with an upstream's", Duration::from_secs(10));
    assert_eq!(digest(&server, &name, "1", None).as_deref(), Some(pushed.digest()), "what was pushed wins");
    assert_eq!(digest(&server, NAME, "1?ns=ghcr.io", None).as_deref(), Some(ghcr.image.digest()));
    let refused = server.target().request("POST", "ghcr.io/other/app/blobs/uploads/").send();
    assert_eq!(refused.status, 403);
    let message = refused.text();
    assert!(message.contains("DENIED") && message.contains("proxy.hosted"), "{message}");
    assert_eq!(server.target().request("POST", "other/app/blobs/uploads/").send().status, 202, "the Hub is off");
}

/// A push to a host name that stands for an upstream would not be found there again.
#[test]
fn a_host_that_stands_for_an_upstream_takes_no_push() {
    let ghcr = Registry::start("ghcr.io", "ghcr-secret", 1332);
    let setup = with_upstreams(&format!("{{docker.io: {{enabled: false}}, {}}}", ghcr.section()));
    let server = setup.variable("REGISTRY_HTTP_HOSTS", "{ghcr.test: ghcr.io}").start();
    let begin = |host: &str, query: &str| {
        let path = format!("a/b/blobs/uploads/{query}");
        server.target().request("POST", &path).header("Host", host).send().status
    };
    assert_eq!((begin("ghcr.test", ""), begin("ghcr.test", "?ns=x"), begin("registry.test", "")), (403, 403, 202));
}

/// `allow` and `deny` bound what of an upstream is served, by whatever name.
#[test]
fn only_allowed_repositories_are_mirrored() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Oci, 1340));
    for name in ["team/app", "team/secret", "other/app"] {
        upstream.add(name, "1", &image);
    }
    let rules = "allow: ['team/**'], deny: [team/secret]";
    let sections = format!("{{docker.io: {{url: '{0}', {rules}}}, ghcr.io: {{url: '{0}', {rules}}}}}", upstream.url());
    let server = with_upstreams(&sections).start();
    for (name, status) in [("team/app", 200), ("team/secret", 403), ("other/app", 403)] {
        let asked = |name: &str, reference: &str| server.manifest(name, reference).send().status;
        assert_eq!(asked(name, "1"), status, "{name}");
        assert_eq!(asked(name, "1?ns=ghcr.io"), status, "{name}");
        assert_eq!(asked(&format!("ghcr.io/{name}"), "1"), status, "{name}");
        assert_eq!(blob(&server, name, &image.layer().digest), status, "{name}");
    }
    assert!(upstream.requests().iter().all(|seen| seen.request.path.contains("team/app")));
}

/// Each upstream has a freshness and a time to live of its own.
#[test]
fn each_upstream_has_times_of_its_own() {
    let (hub, ghcr) = (Upstream::plain(), Upstream::plain());
    let (kept, expired) = (Image::single(Format::Oci, 1395), Image::single(Format::Oci, 1396));
    hub.add(NAME, "1", &kept);
    ghcr.add(NAME, "1", &expired);
    let sections = format!(
        "{{docker.io: {{url: '{}', freshness: 1h}}, ghcr.io: {{url: '{}', freshness: 1s, ttl: 3s}}}}",
        hub.url(),
        ghcr.url()
    );
    let server = with_upstreams(&sections).lease("1s").start();
    let ghcr_name = format!("ghcr.io/{NAME}");
    server.pull(NAME, "1", &kept);
    server.pull(&ghcr_name, "1", &expired);
    thread::sleep(STALE);
    assert!(cache_status(&server.manifest(NAME, "1").send()).contains("hit"));
    let revalidated = server.manifest(&ghcr_name, "1").send();
    assert!(cache_status(&revalidated).contains("revalidated"), "{}", cache_status(&revalidated));
    let gone = || !server.data().join(format!("mirrors/ghcr.io/repositories/{NAME}")).exists();
    crate::support::wait_until("ghcr's to expire", Duration::from_secs(20), gone);
    thread::sleep(Duration::from_secs(2));
    assert!(cache_status(&server.manifest(NAME, "1").send()).contains("hit"), "the Hub's stays");
    assert_eq!(http::get(&server.v2("")).send().status, 200);
}

/// `du`, the metrics and the rules tell the upstreams apart.
#[test]
fn du_metrics_and_rules_tell_them_apart() {
    let registries = three();
    let (users, debug) = (Users::named(&["ann"]), Port::reserve());
    let rules = "access: [{who: ann, may: pull, where: [org/app, 'ghcr.io/**']}]";
    let server = users.with(setup(&registries).watched(&debug), rules).start();
    let ann = server.target().as_user("ann", &password("ann"));
    let pulled = |registry: &Registry| {
        let blob = format!("{}/{NAME}/blobs/{}", registry.domain, registry.image.layer().digest);
        let manifest = ann.request("GET", &format!("{}/{NAME}/manifests/1", registry.domain)).send().status;
        (manifest, ann.request("GET", &blob).send().status)
    };
    assert_eq!(registries.each_ref().map(pulled), [(200, 200), (200, 200), (403, 403)]);
    let du = entrepot(&["du", "--json", "--data", server.data().to_str().unwrap()], &[]).expect_success("du").output;
    let mut documents = serde_json::Deserializer::from_str(&du[du.find('{').unwrap()..]).into_iter();
    let document: serde_json::Value = documents.next().unwrap().unwrap();
    let sources = document["sources"].as_array().unwrap().iter();
    let domains: Vec<_> = sources.filter_map(|source| source["source"].as_str()).collect();
    assert!(domains.contains(&"docker.io") && domains.contains(&"ghcr.io"), "{du}");
    let scrape = Scrape::of(&debug.url());
    for registry in &registries {
        let label = format!("upstream=\"{}\"", registry.domain);
        assert_eq!(scrape.find("entrepot_upstream_up", &[&label]), Some(1.), "{label}");
        let has_bytes = scrape.sum("entrepot_storage_mirrored_bytes", &[&label]) > 0;
        assert_eq!(has_bytes, registry.domain != "quay.io", "{label}");
    }
}
