//! The log lines at startup: the addresses, the storage bounds, and warnings about unlikely configurations.

use super::bounds::Bounds;
use crate::{
    config::{Auth, Config},
    http::Server,
};

pub(super) fn write(config: &Config, server: &Server, bounds: &Bounds<'_>) {
    let Ok(address) = server.address() else { return };
    let is_exposed = server.is_exposed();
    for warning in [
        open_to_anybody(config, &address, is_exposed),
        shared_credentials(config),
        no_mirror_for_docker(config, server.mirror_address().is_some()),
        bounds.warning(),
    ]
    .into_iter()
    .flatten()
    {
        tracing::warn!("{warning}");
    }
    let (data, upstream) = (config.storage.rootdirectory.value().display(), config.proxy.remoteurl.value());
    let mirroring = if *config.proxy.enabled { format!("mirroring {upstream}") } else { "mirroring nothing".into() };
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

fn shared_credentials(config: &Config) -> Option<String> {
    let proxy = &config.proxy;
    let username = proxy.username.as_deref().filter(|_| *proxy.enabled)?;
    Some(format!(
        "every client of the mirror sees what {username} may see at {}, private repositories included: use an account that \
         has none, or say in auth.access who may pull them",
        proxy.remoteurl.value()
    ))
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
        let warning = shared_credentials(&config(&account)).unwrap();
        assert!(
            warning.contains("every client of the mirror sees what bob may see at https://registry-1"),
            "{warning}"
        );
        assert!(!warning.contains("secret"));
        assert_eq!(shared_credentials(&config(&[])), None);
        let off = [&account[..], &[("REGISTRY_PROXY_ENABLED", "false")]].concat();
        assert_eq!(shared_credentials(&config(&off)), None);
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
