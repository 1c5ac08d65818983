//! The rules, without HTTP: which registry is meant, what is answered from the cache, what is fetched, once, and kept.
//!
//! `pull` (manifests, with `tags`) and `blobs` are the way in. Below them: `manifests` and `objects` (what is here), `fill` with
//! `fetch`, `pen`, `reader` and `through` (a blob on its way), `mirror` (an upstream's health), `heard` (what upstreams
//! said), `flight` (once for everyone), `pages` (lists), `rebuild` (an index from the disk).

mod blobs;
mod error;
mod fetch;
mod fill;
mod flight;
mod heard;
mod manifests;
mod mirror;
mod objects;
mod pages;
mod pen;
mod provenance;
mod pull;
mod reader;
mod rebuild;
mod source;
mod tags;
mod through;

use std::{collections::HashMap, sync::Arc, time::Duration};

pub use blobs::Blob;
pub use error::Error;
use fill::Fills;
use flight::Flights;
pub use heard::Head;
use heard::Heard;
use manifests::Manifests;
pub use manifests::StoredManifest;
use mirror::Mirror;
use objects::Objects;
pub use pages::List;
use pages::Pages;
pub use provenance::Provenance;
pub use pull::Pulled;
pub use reader::{Grant, Reader};
use tokio::runtime::Handle;

use crate::{
    index::Index,
    oci::{Domain, Reference, Repository, RepositoryName},
    storage::Storage,
    upstream::{Pool, Remote},
};

type Shared<T> = Result<T, Arc<crate::upstream::Error>>;

/// One registry over one data directory.
#[derive(Debug)]
pub struct Registry {
    mirrors: HashMap<Domain, Mirror>,
    freshness: Duration,
    tasks: Handle,
    objects: Objects,
    manifests: Manifests,
    fills: Arc<Fills>,
    heard: Heard,
    heads: Flights<(Repository, Reference), Shared<Option<Head>>>,
    fetches: Flights<(Repository, Reference), Shared<Arc<StoredManifest>>>,
    pages: Pages,
}

/// What a registry stands on.
pub struct Foundation {
    /// The data directory.
    pub storage: Storage,
    /// Its index.
    pub index: Index,
    /// Who may be asked for what is not here.
    pub upstreams: Vec<Remote>,
    /// The threads that ask them.
    pub pool: Pool,
    /// How long a tag is believed to stand still.
    pub freshness: Duration,
    /// Where work runs that no single request owns.
    pub tasks: Handle,
}

impl Registry {
    /// Puts the house together. Starts nothing.
    #[must_use]
    pub fn new(foundation: Foundation) -> Self {
        let Foundation { storage, index, upstreams, pool, freshness, tasks } = foundation;
        let objects = Objects { storage: Arc::new(storage), index: Arc::new(index) };
        let mirror = |remote: Remote| (remote.domain().clone(), Mirror::new(remote, pool.clone()));
        Self {
            mirrors: upstreams.into_iter().map(mirror).collect(),
            freshness,
            manifests: Manifests::new(objects.clone()),
            fills: Fills::new(objects.clone()),
            objects,
            heard: Heard::new(),
            heads: Flights::new(tasks.clone()),
            fetches: Flights::new(tasks.clone()),
            pages: Pages::new(tasks.clone()),
            tasks,
        }
    }

    /// The repository a request means: law 8.
    ///
    /// # Errors
    /// [`Error::NotMirrored`], when `ns` names a registry on no list of this one's.
    pub fn repository(&self, name: RepositoryName, ns: Option<&str>) -> Result<Repository, Error> {
        source::repository(name, ns, &Domain::docker_hub(), self.mirrors.keys())
    }

    /// Work to repeat every minute or so: lets go of what is kept for a while only.
    pub fn tidy(&self) {
        self.fills.tidy();
    }

    /// Rebuilds the index if it has to be. Blocks for as long as that takes.
    pub fn rebuild_index(&self) {
        if !self.objects.index.is_complete() {
            rebuild::run(&self.objects);
        }
    }

    /// Brings the index to disk, at a clean stop.
    pub fn flush(&self) {
        self.objects.index.flush();
    }

    fn mirror(&self, repository: &Repository) -> Result<&Mirror, Error> {
        let mirror = repository.domain.as_ref().and_then(|domain| self.mirrors.get(domain));
        mirror.ok_or(Error::NameUnknown)
    }
}
