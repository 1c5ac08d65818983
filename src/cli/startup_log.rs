//! The log lines at startup: the addresses, the storage bounds, and warnings about unlikely configurations.

use super::bounds::Bounds;
use crate::{
    config::{Auth, Config, UpstreamConfig},
    http::Server,
    oci::Domain,
};

pub(super) fn write(config: &Config, server: &Server, bounds: &Bounds<'_>) {
    let Ok(address) = server.address() else { return };
    let is_exposed = server.is_exposed();
    let warnings = [
        open_to_anybody(config, &address, is_exposed),
        no_mirror_for_docker(config, server.mirror_address().is_some()),
        bounds.warning(),
    ];
    for warning in warnings.into_iter().flatten().chain(shared_credentials(config)) {
        tracing::warn!("{warning}");
    }
    let (data, mirroring) = (config.storage.rootdirectory.value().display(), mirroring(config));
    let pushes = if config.proxy.push_allowed() { "taking pushes" } else { "taking no pushes" };
    tracing::info!("listening on {address}, {mirroring}, {pushes}, keeping all in {data}, {}", bounds.describe());
    if let Some(address) = server.mirror_address() {
        tracing::info!("mirror alone, read-only and without a password, on {address}");
    }
}

fn open_to_anybody(config: &Config, address: &str, is_exposed: bool) -> Option<String> {
    let is_open = config.proxy.push_allowed() && is_exposed && *config.auth == Auth::Open;
    is_open.then(|| {
        format!(
            "whoever reaches {address} can push: there are no users; name some (auth.htpasswd), listen on 127.0.0.1 \
             (http.addr), or set proxy.push to false"
        )
    })
}

/// Names what is mirrored: the URL of Docker Hub alone, or all registries.
fn mirroring(config: &Config) -> String {
    match config.proxy.mirrored() {
        [] => "mirroring nothing".to_owned(),
        [hub] if hub.domain == Domain::docker_hub() => format!("mirroring {}", hub.url),
        all => {
            let domains: Vec<_> = all.iter().map(|upstream| upstream.domain.as_str()).collect();
            format!("mirroring {}", domains.join(", "))
        }
    }
}

fn shared_credentials(config: &Config) -> Vec<String> {
    let warning = |upstream: &UpstreamConfig| {
        let account = match (&*upstream.accounts, &upstream.exec) {
            ([], None) => return None,
            ([], Some(_)) => "the account of its credential helper",
            ([account, ..], _) => &account.username,
        };
        Some(format!(
            "every client of the mirror sees what {account} may see at {}, private repositories included: use an account \
             that has none, or say in auth.access who may pull them",
            upstream.url
        ))
    };
    config.proxy.mirrored().iter().filter_map(warning).collect()
}

fn no_mirror_for_docker(config: &Config, has_mirror_listener: bool) -> Option<String> {
    let needs_one = *config.proxy.enabled && *config.auth != Auth::Open && !has_mirror_listener;
    needs_one.then(|| {
        "dockerd cannot use this port as a mirror (registry-mirrors) while auth is set: it has no password for a mirror, and \
         would answer the challenge with its user's Docker Hub password; containerd, podman and others can be given one"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Flags, lanes::Blocking};

    fn config(variables: &[(&str, &str)]) -> Config {
        let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Config::load(Blocking::in_test(), None, variables, Flags::default()).unwrap().config
    }

    #[test]
    fn names_what_is_mirrored() {
        let named = |variables: &[(&str, &str)]| mirroring(&config(variables));
        assert_eq!(named(&[]), "mirroring https://registry-1.docker.io/");
        assert_eq!(named(&[("REGISTRY_PROXY_UPSTREAMS", "ghcr.io,quay.io")]), "mirroring docker.io, ghcr.io, quay.io");
        assert_eq!(named(&[("REGISTRY_PROXY_ENABLED", "false")]), "mirroring nothing");
    }

    #[test]
    fn warns_that_anybody_can_push() {
        let warning =
            |variables: &[(&str, &str)], is_exposed| open_to_anybody(&config(variables), "http://x", is_exposed);
        assert!(warning(&[], true).unwrap().starts_with("whoever reaches http://x can push"));
        assert_eq!(warning(&[], false), None);
        assert_eq!(warning(&[("REGISTRY_PROXY_PUSH", "false")], true), None);
        assert_eq!(warning(&[("REGISTRY_AUTH", "{htpasswd: {realm: r, path: /nowhere/htpasswd}}")], true), None);
    }

    #[test]
    fn warns_that_all_clients_share_the_upstream_credentials() {
        let account = [("REGISTRY_PROXY_USERNAME", "bob"), ("REGISTRY_PROXY_PASSWORD", "secret")];
        let warning = shared_credentials(&config(&account)).remove(0);
        assert!(
            warning.contains("every client of the mirror sees what bob may see at https://registry-1"),
            "{warning}"
        );
        assert!(!warning.contains("secret"));
        assert_eq!(shared_credentials(&config(&[])), [""; 0]);
        let several =
            [("REGISTRY_PROXY_UPSTREAMS", "{ghcr.io: {username: a, password: b}, quay.io: {exec: {command: c}}}")];
        assert_eq!(shared_credentials(&config(&several)).len(), 2);
        let off = [&account[..], &[("REGISTRY_PROXY_ENABLED", "false")]].concat();
        assert_eq!(shared_credentials(&config(&off)), [""; 0]);
    }

    #[test]
    fn warns_that_docker_cannot_use_a_listener_that_challenges() {
        let users = ("REGISTRY_AUTH", "{htpasswd: {realm: r, path: /nowhere/htpasswd}}");
        assert!(no_mirror_for_docker(&config(&[users]), false).unwrap().contains("Docker Hub password"));
        assert_eq!(no_mirror_for_docker(&config(&[users]), true), None);
        assert_eq!(no_mirror_for_docker(&config(&[]), false), None);
        assert_eq!(no_mirror_for_docker(&config(&[users, ("REGISTRY_PROXY_ENABLED", "false")]), false), None);
    }
}
