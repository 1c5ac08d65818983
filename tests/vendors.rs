//! Six public registries, each with its peculiarities, behind one mirror, for each way in which clients name them.

use std::time::Duration;

use crate::support::{
    clients::{self, Client},
    egress_trap::EgressTrap,
    images::{Format, Image},
    ports::Port,
    server::{Server, Setup},
    upstream::{Auth, Cdn, Kind, Settings, Upstream, Vendor},
};

const NAME: &str = "org/app";

struct Registry {
    domain: &'static str,
    password: Option<&'static str>,
    upstream: Upstream,
    image: Image,
}

/// The six, and the registry that registry.k8s.io redirects to.
struct Registries {
    all: Vec<Registry>,
    regional: Upstream,
}

impl Registries {
    fn start(seed: u64) -> Self {
        let regional = Upstream::plain();
        let cdn = || Cdn::links_living(Duration::from_secs(60));
        let basic = |password| Settings::default().auth(Auth::basic("user", password));
        let anonymous = || Settings::default().auth(Auth::anonymous());
        let parts = [
            ("docker.io", Some("hub-secret"), basic("hub-secret").cdn(cdn()).start(), Vendor::Hub),
            ("ghcr.io", Some("ghcr-secret"), basic("ghcr-secret").cdn(cdn()).start(), Vendor::Ghcr),
            ("quay.io", Some("quay-secret"), basic("quay-secret").start(), Vendor::Quay),
            ("public.ecr.aws", None, anonymous().cdn(cdn()).start(), Vendor::EcrPublic),
            ("registry.k8s.io", None, Upstream::plain(), Vendor::Kubernetes(regional.url_at("localhost"))),
            ("europe-docker.pkg.dev", Some("ar-secret"), basic("ar-secret").start(), Vendor::ArtifactRegistry),
        ];
        let started = parts.into_iter().zip(0..).map(|((domain, password, upstream, vendor), number)| {
            let image = Image::index(Format::Docker, seed + 10 * number, 50_000);
            upstream.options(|options| options.vendor = Some(vendor));
            let holder = if domain == "registry.k8s.io" { &regional } else { &upstream };
            holder.add(NAME, "1", &image);
            Registry { domain, password, upstream, image }
        });
        let all = started.collect();
        Self { all, regional }
    }

    fn mirror(&self) -> Server {
        self.setup().start()
    }

    fn setup(&self) -> Setup {
        let section = |registry: &Registry| {
            let account = registry.password.map(|password| format!(", username: user, password: {password}"));
            format!("{}: {{url: '{}'{}}}", registry.domain, registry.upstream.url(), account.unwrap_or_default())
        };
        let sections: Vec<_> = self.all.iter().map(section).collect();
        Setup::bare().variable("REGISTRY_PROXY_UPSTREAMS", &format!("{{{}}}", sections.join(", ")))
    }

    /// No password or token is seen where it does not belong, and none at the CDNs.
    fn secrets_stay(&self) {
        for here in &self.all {
            for seen in here.upstream.requests() {
                // An Artifact Registry has its downloads on its own host.
                let is_elsewhere = seen.kind == Kind::Cdn && !here.domain.ends_with("pkg.dev");
                assert!(!is_elsewhere || seen.request.header("authorization").is_none(), "{}: at the CDN", here.domain);
                let basic = seen.request.basic().map(|(_, password)| password);
                assert!(basic.is_none() || basic.as_deref() == here.password, "{}: {basic:?}", here.domain);
                let foreign = self
                    .all
                    .iter()
                    .filter(|there| there.domain != here.domain)
                    .flat_map(|there| there.upstream.tokens());
                let bearer = seen.request.bearer();
                assert!(bearer.is_none() || !foreign.into_iter().any(|token| Some(token) == bearer), "{}", here.domain);
            }
        }
        assert!(self.regional.requests().iter().all(|seen| seen.request.header("authorization").is_none()));
    }
}

/// As containerd and BuildKit ask, with `ns`; then again from the cache, with all upstreams stopped.
#[test]
fn each_is_pulled_by_ns() {
    let registries = Registries::start(1700);
    let server = registries.mirror();
    for Registry { domain, image, .. } in &registries.all {
        let top = server.manifest(NAME, &format!("1?ns={domain}")).send();
        assert_eq!((top.status, top.summary().digest.as_str()), (200, image.digest()), "{domain}");
        for child in &image.children {
            assert_eq!(server.manifest(NAME, &format!("{}?ns={domain}", child.digest)).send().status, 200, "{domain}");
        }
        for blob in &image.blobs {
            let head =
                crate::support::http::head(&server.v2(&format!("{NAME}/blobs/{}?ns={domain}", blob.digest))).send();
            assert_eq!(head.status, 200, "{domain}: HEAD");
            let got = server.blob(NAME, &format!("{}?ns={domain}", blob.digest)).send();
            assert_eq!((got.status, got.summary().digest.as_str()), (200, blob.digest.as_str()), "{domain}");
        }
        let unknown = server.manifest("org/unknown", &format!("1?ns={domain}")).send();
        assert_eq!(unknown.status, 404, "{domain}: a repository that it does not have");
    }
    registries.secrets_stay();
    registries.all.iter().for_each(|registry| registry.upstream.stop());
    registries.regional.stop();
    for Registry { domain, image, .. } in &registries.all {
        server.pull(&format!("{domain}/{NAME}"), "1", image);
    }
}

/// containerd itself, with a `hosts.toml` for each.
#[test]
fn ctr_pulls_from_each() {
    let (registries, trap) = (Registries::start(1800), EgressTrap::new());
    let server = registries.mirror();
    let domains: Vec<_> = registries.all.iter().map(|registry| registry.domain).collect();
    let client = clients::containerd_for(server.url(), &trap, &domains[1..]);
    pulls_by_their_own_names(&registries, &*client, &trap);
}

/// podman, which says nothing but the host: each registry has an address of its own on the mirror.
#[test]
fn podman_pulls_from_each() {
    let (registries, trap, port) = (Registries::start(2000), EgressTrap::new(), Port::reserve_everywhere());
    let address = |number: usize| format!("127.0.0.{}", 10 + number);
    let others = || registries.all.iter().enumerate().skip(1);
    let hosts: Vec<_> = others().map(|(number, other)| format!("{}: {}", address(number), other.domain)).collect();
    let port_number = port.addr().port();
    let setup = registries.setup().variable("REGISTRY_HTTP_HOSTS", &format!("{{{}}}", hosts.join(", ")));
    let _server = setup.variable("REGISTRY_HTTP_ADDR", &format!(":{port_number}")).start();
    let mirrors: Vec<_> =
        others().map(|(number, other)| (other.domain, format!("{}:{port_number}", address(number)))).collect();
    let client = clients::podman_for(&format!("http://127.0.0.1:{port_number}"), &trap, &mirrors);
    pulls_by_their_own_names(&registries, &*client, &trap);
}

fn pulls_by_their_own_names(registries: &Registries, client: &dyn Client, trap: &EgressTrap) {
    for Registry { domain, image, .. } in &registries.all {
        assert_eq!(client.pull_from(&format!("{domain}/{NAME}:1")).digest, image.digest(), "{domain}");
    }
    registries.secrets_stay();
    assert_eq!(trap.breaches(), [""; 0], "{} left the mirror", client.name());
}

/// docker, by the longer name.
#[test]
fn docker_pulls_from_each() {
    let (registries, trap) = (Registries::start(1900), EgressTrap::new());
    let server = registries.mirror();
    let client = clients::docker(server.url(), &trap);
    let host = server.url().strip_prefix("http://").unwrap();
    for Registry { domain, image, .. } in &registries.all {
        assert_eq!(client.pull_from(&format!("{host}/{domain}/{NAME}:1")).digest, image.digest(), "{domain}");
    }
    registries.secrets_stay();
    assert_eq!(trap.breaches(), [""; 0]);
}
