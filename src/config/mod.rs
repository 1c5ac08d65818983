//! The configuration: the YAML file of `registry:2` with Entrepot extensions, `REGISTRY_*` variables and command-line
//! flags.
//!
//! All keys are in one table, [`KEYS`]. A [`Setting`] knows its key and its origin, so that every floor above reports
//! errors in the same form. The effect of a setting is implemented on the floors above.

mod access;
mod account;
mod address;
mod auth;
mod check;
mod cidr;
mod debug;
mod dump;
mod duration;
mod error;
mod headers;
mod http;
mod immutable;
mod key;
mod keys;
mod limits;
mod log;
mod lookup;
mod maintenance;
mod node;
mod notifications;
mod one_line;
mod origin;
mod owner;
mod pagination;
mod proxy;
mod retention;
mod s3;
mod secret;
mod setting;
mod size;
mod storage;
mod tls;
mod upstream_files;
mod upstreams;
mod urls;
mod used_http_keys;
mod used_keys;
mod used_notification_keys;
mod used_s3_keys;
mod used_upstream_keys;
mod validation;
mod variables;
mod yaml;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub use access::{AccessRule, Group, Who};
pub use account::Account;
pub use address::{Host, ListenAddress};
pub use auth::{Auth, TokenService, UsersConfig};
pub use cidr::Cidr;
pub use debug::Debug;
pub use error::{Error, Warning};
pub use headers::Header;
pub use http::{Http, Listen, Net};
pub use key::{Effect, Key, ValueKind};
pub use keys::KEYS;
pub use limits::LimitsConfig;
pub use log::{Formatter, Level, Log};
pub use maintenance::{Gc, Verify};
pub use notifications::{EndpointConfig, Notifications};
pub use origin::Origin;
pub use owner::{chown_all, explain};
pub use pagination::{Catalog, TagsConfig};
pub use proxy::{Adopt, ProxyConfig, Unproven};
pub use retention::RetentionRule;
pub use s3::{S3Config, S3Copy, S3Credentials, S3Encryption};
pub use secret::Secret;
pub use setting::Setting;
pub use size::{SizeBound, bytes};
pub use storage::{StorageConfig, UploadPurging};
pub use tls::{ClientAuth, MinimumTls, TlsConfig};
pub use upstreams::{CredentialHelper, UpstreamConfig};
pub use validation::{Platforms, Validation};
pub use variables::FILE_VARIABLE;

use node::Node;

use crate::{lanes::Blocking, oci::ImagePatterns};

/// The effective configuration. Flags override variables, variables the file, and the file the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The HTTP server.
    pub http: Http,
    /// Storage and its limits.
    pub storage: StorageConfig,
    /// Logs.
    pub log: Log,
    /// The mirror.
    pub proxy: ProxyConfig,
    /// Notifications.
    pub notifications: Notifications,
    /// Authentication and access rules.
    pub auth: Setting<Auth>,
    /// The list of repositories.
    pub catalog: Catalog,
    /// The lists of tags.
    pub tags: TagsConfig,
    /// The checks of pushed manifests.
    pub validation: Validation,
    /// `immutable`: the tags that never name another manifest.
    pub immutable: Setting<ImagePatterns>,
    /// The rules by which pushed tags are removed.
    pub retention: Setting<Vec<RetentionRule>>,
    /// Garbage collection.
    pub gc: Gc,
    /// Verification of stored blobs.
    pub verify: Verify,
}

/// The command-line flags that set configuration.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--data`: overrides `storage.filesystem.rootdirectory`.
    pub data: Option<PathBuf>,
}

/// A valid configuration and its warnings.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// The settings.
    pub config: Config,
    /// Settings that have no effect or another effect than expected.
    pub warnings: Vec<Warning>,
}

impl Config {
    /// Reads the file, if there is one, and applies the variables and the flags to it. Variables without the prefix
    /// `REGISTRY_` are ignored, so that a caller may pass the whole environment.
    ///
    /// # Errors
    /// The first error found. [`Error::Unreadable`] or [`Error::Form`] if the file cannot be read or is not YAML,
    /// [`Error::NoVersion`] without a version, [`Error::UnknownKey`] and [`Error::Value`] for a wrong key or value,
    /// [`Error::Refused`] for a setting that is not supported and unsafe to ignore.
    pub fn load(
        io: &Blocking,
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: Flags,
    ) -> Result<LoadedConfig, Error> {
        let bytes = file.map(|path| read(io, path).map(|bytes| (path, bytes))).transpose()?;
        Self::parse(io, bytes.as_ref().map(|(path, bytes)| (*path, bytes.as_slice())), variables, flags)
    }

    /// Reads the configuration from the bytes of a file and its name; otherwise as [`Self::load`]. It reads the files
    /// that the configuration names.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn parse(
        io: &Blocking,
        file: Option<(&Path, &[u8])>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: Flags,
    ) -> Result<LoadedConfig, Error> {
        let mut root = file.map_or_else(|| Ok(Node::empty()), |(path, bytes)| tree(path, bytes))?;
        let mut warnings = variables::apply(&mut root, variables)?;
        check::check(&root, &mut warnings)?;
        let config = Self {
            http: Http::read(&root)?,
            storage: StorageConfig::read(&root, flags.data)?,
            log: Log::read(&root, &mut warnings)?,
            proxy: ProxyConfig::read(io, &root)?,
            notifications: Notifications::read(&root)?,
            auth: Auth::read(io, &root, &mut warnings)?,
            catalog: Catalog::read(&root)?,
            tags: TagsConfig::read(&root)?,
            validation: Validation::read(&root)?,
            immutable: immutable::read(&root)?,
            retention: retention::read(&root)?,
            gc: Gc::read(&root)?,
            verify: Verify::read(&root)?,
        };
        check::names(&config)?;
        Ok(LoadedConfig { config, warnings })
    }
}

fn read(_io: &Blocking, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Unreadable { path: path.into(), source })
}

fn tree(path: &Path, bytes: &[u8]) -> Result<Node, Error> {
    let root = yaml::file(path, bytes)?;
    check::version(path, &root)?;
    Ok(root)
}

#[cfg(test)]
mod tests;
