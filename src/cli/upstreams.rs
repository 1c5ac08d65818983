//! Builds the upstreams from their configuration: an endpoint for each account, and one for each mirror.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::RootCertStore;

use super::Failure;
use crate::{
    config::{self, UpstreamConfig},
    lanes::Blocking,
    metrics::Metrics,
    oci::Domain,
    registry::{GovernorSettings, UpstreamSettings},
    upstream::{Account, CredentialHelper, Credentials, Remote, Trust, UpstreamOptions},
};

/// The name under which docker's credential helpers know Docker Hub.
const HUB_AT_HELPERS: &str = "https://index.docker.io/v1/";

/// An upstream's configuration with the files that it names.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct LoadedUpstream {
    config: UpstreamConfig,
    /// The content of `ca`.
    ca: Option<Vec<u8>>,
}

impl LoadedUpstream {
    /// Reads the files.
    ///
    /// # Errors
    /// A [`Failure`] with the registry and the file.
    pub(super) fn load(io: &Blocking, config: &UpstreamConfig) -> Result<Self, Failure> {
        let read = |path: &PathBuf| {
            let error = |error| format!("ca: {}: {}", path.display(), config::explain(path, &error));
            read(io, path).map_err(error).map_err(|error| failed(config, &error))
        };
        Ok(Self { config: config.clone(), ca: config.ca.as_ref().map(read).transpose()? })
    }

    pub(super) fn domain(&self) -> &Domain {
        &self.config.domain
    }
}

/// Builds upstreams.
pub(super) struct UpstreamBuilder {
    /// The machine's authorities.
    pub(super) roots: RootCertStore,
    pub(super) metrics: Arc<Metrics>,
}

impl UpstreamBuilder {
    /// Builds an upstream.
    ///
    /// # Errors
    /// A [`Failure`] with the registry and the setting at fault.
    pub(super) fn build(&self, upstream: &LoadedUpstream) -> Result<UpstreamSettings, Failure> {
        let config = &upstream.config;
        let options = UpstreamOptions {
            account: Account::Anonymous,
            trust: self.trust(upstream).map_err(|error| failed(config, &error))?,
            realm: config.realm.clone(),
            redirects: config.redirects.clone(),
            metrics: Some(Arc::clone(&self.metrics)),
            ..UpstreamOptions::default()
        };
        let itself = accounts(config).into_iter().map(|account| (&config.url, account));
        let mirrors = config.mirrors.iter().map(|url| (url, Account::Anonymous));
        let remote = |(url, account): (&url::Url, Account)| {
            let mut options = UpstreamOptions { account, ..options.clone() };
            if url.origin() != config.url.origin() {
                // They are about the upstream's own server and its token service.
                options.realm = None;
                options.trust = options.trust.filter(|_| !config.insecure);
            }
            Remote::new(config.domain.clone(), url.clone(), options)
        };
        let remotes = itself.chain(mirrors).map(remote).collect::<Result<_, _>>();
        Ok(UpstreamSettings {
            domain: config.domain.clone(),
            remotes: remotes.map_err(|error| failed(config, &error.to_string()))?,
            freshness: config.freshness,
            governor: GovernorSettings { freshness_max: config.freshnessmax, reserve: config.reserve },
            ttl: config.ttl,
            allow: config.allow.clone(),
            deny: config.deny.clone(),
        })
    }

    /// Returns the certificates to accept; `None` for those of most upstreams.
    fn trust(&self, upstream: &LoadedUpstream) -> Result<Option<Trust>, String> {
        let trust = match &upstream.ca {
            _ if upstream.config.insecure => Trust::everybody(),
            Some(pem) => Trust::with_authorities(self.roots.clone(), pem),
            None => return Ok(None),
        };
        trust.map(Some).map_err(|error| format!("ca: expected {error}"))
    }
}

fn failed(config: &UpstreamConfig, error: &str) -> Failure {
    Failure::usage(format!("proxy.upstreams.{}: {error}", config.domain))
}

fn read(_io: &Blocking, path: &Path) -> std::io::Result<Vec<u8>> {
    fs::read(path)
}

/// Returns the accounts, or the one that stands for none.
fn accounts(config: &UpstreamConfig) -> Vec<Account> {
    if let Some(exec) = &config.exec {
        let is_hub = config.domain == Domain::docker_hub();
        let server = if is_hub { HUB_AT_HELPERS.to_owned() } else { config.domain.to_string() };
        return vec![Account::Helper(Arc::new(CredentialHelper::new(exec.command.clone(), server, exec.lifetime)))];
    }
    let account = |account: &config::Account| {
        let (username, password) = (account.username.clone(), account.password.expose().to_owned());
        Account::Password(Credentials { username, password })
    };
    match config.accounts.as_slice() {
        [] => vec![Account::Anonymous],
        accounts => accounts.iter().map(account).collect(),
    }
}
