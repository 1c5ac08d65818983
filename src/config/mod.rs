//! What the operator asked for: `registry:2`'s YAML file, its `REGISTRY_*` variables, our own keys, the command line.
//!
//! Which keys exist is told by one table, [`KEYS`]. A value that has been read knows its key and where it was said, so
//! that any room above can complain about it in the same words. What a setting *does* does not live here.

mod access;
mod address;
mod auth;
mod check;
mod debug;
mod dump;
mod duration;
mod error;
mod headers;
mod http;
mod key_lookup;
mod key_table;
mod keys;
mod known_keys;
mod limits;
mod log;
mod maintenance;
mod network;
mod node;
mod origin;
mod owner;
mod pagination;
mod proxy;
mod secret;
mod setting;
mod size;
mod storage;
mod tls;
mod validation;
mod variables;
mod yaml;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub use access::{Group, Rule, Who};
pub use address::{Host, ListenAddress};
pub use auth::{Auth, TokenService, Users};
pub use debug::Debug;
pub use error::{Error, Warning};
pub use headers::Header;
pub use http::{Http, Listen, Net};
pub use key_table::KEYS;
pub use keys::{Effect, Key, Kind};
pub use limits::LimitsConfig;
pub use log::{Formatter, Level, Log};
pub use maintenance::{Gc, Verify};
pub use network::Network;
pub use origin::Origin;
pub use owner::{chown_all, explain};
pub use pagination::{Catalog, Tags};
pub use proxy::{Adopt, Proxy, Unproven};
pub use secret::Secret;
pub use setting::Setting;
pub use size::{SizeBound, bytes};
pub use storage::{Storage, UploadPurging};
pub use tls::{ClientAuth, MinimumTls, Tls};
pub use validation::{Platform, Platforms, Validation};
pub use variables::FILE_VARIABLE;

use node::Node;

/// The effective configuration: defaults, under the file, under the variables, under the command line.
#[derive(Clone, Debug)]
pub struct Config {
    /// How it is reached.
    pub http: Http,
    /// Where it keeps what it stores.
    pub storage: Storage,
    /// What it says, and how.
    pub log: Log,
    /// What it mirrors.
    pub proxy: Proxy,
    /// Who may come in.
    pub auth: Setting<Auth>,
    /// How it lists repositories.
    pub catalog: Catalog,
    /// How it lists tags.
    pub tags: Tags,
    /// What pushed manifests may name.
    pub validation: Validation,
    /// What is done about what nothing reaches.
    pub gc: Gc,
    /// When bytes are hashed again.
    pub verify: Verify,
}

/// What the command line says about configuration.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--data`: in place of `storage.filesystem.rootdirectory`.
    pub data: Option<PathBuf>,
}

/// A configuration that can be started with, and what its operator should hear about it first.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What was said in vain, or is done in another way than it was said.
    pub warnings: Vec<Warning>,
}

impl Config {
    /// Reads the file, if there is one, and lays the variables and the flags over it. Variables that do not begin with
    /// `REGISTRY_` are passed over, so a process may hand over its whole environment.
    ///
    /// # Errors
    /// The first thing that is wrong, in one line: the file cannot be read or is not YAML; a key is misspelt or its
    /// value is not of its kind; or something is asked for that this program does not do and without which serving
    /// would be unsafe.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: Flags,
    ) -> Result<Loaded, Error> {
        let bytes = file.map(|path| read(path).map(|bytes| (path, bytes))).transpose()?;
        Self::parse(bytes.as_ref().map(|(path, bytes)| (*path, bytes.as_slice())), variables, flags)
    }

    /// As [`Self::load`], of a file that has been read: what to call it, and what is in it.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn parse(
        file: Option<(&Path, &[u8])>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: Flags,
    ) -> Result<Loaded, Error> {
        let mut root = file.map_or_else(|| Ok(Node::empty()), |(path, bytes)| tree(path, bytes))?;
        let mut warnings = variables::apply(&mut root, variables)?;
        check::check(&root, &mut warnings)?;
        let config = Self {
            http: Http::read(&root)?,
            storage: Storage::read(&root, flags.data)?,
            log: Log::read(&root, &mut warnings)?,
            proxy: Proxy::read(&root)?,
            auth: Auth::read(&root, &mut warnings)?,
            catalog: Catalog::read(&root)?,
            tags: Tags::read(&root)?,
            validation: Validation::read(&root)?,
            gc: Gc::read(&root)?,
            verify: Verify::read(&root)?,
        };
        check::names(&config)?;
        Ok(Loaded { config, warnings })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Unreadable { path: path.into(), source })
}

fn tree(path: &Path, bytes: &[u8]) -> Result<Node, Error> {
    let root = yaml::file(path, bytes)?;
    check::version(path, &root)?;
    Ok(root)
}

#[cfg(test)]
mod tests;
