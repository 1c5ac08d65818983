//! The rules, without HTTP: which registry is meant, what is answered from the cache, what is fetched, once, and kept.
//!
//! To read, `pull` (manifests, with `tags`) and `blobs` are the way in; `rules` says which registry is meant and `ownership`
//! whose a name is, `hosted` and `listing` answer for this one. To write: `uploads`, `promote`, `put`, `delete` and `remove`,
//! each under its `claims`. `adopt` and
//! `collect` (what `reach` plans and `activity` allows) work on a whole volume, and so do `verify` (with `health` and `damage`) and
//! `census` (with `tagged`), which counts; `volume` has it where no server has.
//!
//! Below them: `manifests` and `objects` (what is here), `fills` and `fill` (`fill_job`, `fill_untold`) with `origin`, `fetch`, `pen`, `parked`, `progress`,
//! `range_fetch`, `reader` and `through` (a blob on its way), `mirror` (an upstream's health), `heard` (what upstreams said) with
//! `tag_links`, `flight` (once for everyone), `pages` (lists that pass through), `rebuild` (an index from the disk) with `reconcile` (one
//! link from there). Around them,
//! the disk: `space` reserves, `evict` makes room by `uses`, `books` keeps index and ledger together, `tend` is what has to be
//! done now and then, `figures` what a scrape is told.

mod activity;
mod adopt;
mod blobs;
mod books;
mod census;
mod claims;
mod collect;
mod damage;
mod delete;
mod described;
mod error;
mod evict;
mod evict_unindexed;
mod fetch;
mod figures;
mod fill;
mod fill_job;
mod fill_untold;
mod fills;
mod flight;
mod health;
mod heard;
mod hosted;
mod listing;
mod manifests;
mod mirror;
mod objects;
mod origin;
mod ownership;
mod pages;
mod parked;
mod pen;
mod progress;
mod promote;
mod provenance;
mod pull;
mod put;
mod range_fetch;
mod reach;
mod reader;
mod readiness;
mod rebuild;
mod reconcile;
mod referrers;
mod remove;
mod rules;
mod space;
mod tag_links;
mod tagged;
mod tags;
mod tend;
mod through;
mod uncached;
mod undecided;
mod uploads;
mod uses;
mod verify;
mod volume;

use std::{collections::HashMap, sync::Arc, time::Duration};

pub use blobs::Blob;
pub use census::{Census, Counted, Weighed, Weight};
pub use collect::{Collected, Collection, Found, Tell};
pub use error::Error;
pub use evict::Retention;
use fills::Fills;
use flight::Flights;
pub use health::Outcome;
pub use heard::Head;
pub use listing::Names;
use manifests::Manifests;
pub use manifests::StoredManifest;
use mirror::Mirror;
use objects::Objects;
pub use ownership::ClaimRight;
use ownership::Questions;
pub use pages::List;
use pages::Pages;
pub use provenance::{Kept, Provenance, Refused};
pub use pull::Pulled;
pub use put::{Accepted, Pushed};
pub use reader::{Grant, Reader};
pub use referrers::Referrers;
pub use remove::Removed;
pub use rules::Rules;
use tokio::runtime::Handle;
pub use undecided::{Undecided, decide};
pub use uploads::Receiving;
use uploads::Sessions;
pub use verify::{Checked, STEPS, Verification, Verified};
pub use volume::Volume;

use crate::{
    index::Index,
    lanes::Lanes,
    metrics::Metrics,
    oci::{Domain, Reference, Repository},
    storage::Storage,
    upstream::{Pool, Remote},
};

type Shared<T> = Result<T, Arc<crate::upstream::Error>>;
/// A manifest that came from an upstream.
type Fetched = (Arc<StoredManifest>, Kept);

/// One registry over one data directory.
#[derive(Debug)]
pub struct Registry {
    mirrors: HashMap<Domain, Mirror>,
    freshness: Duration,
    tasks: Handle,
    objects: Objects,
    manifests: Manifests,
    fills: Arc<Fills>,
    heads: Flights<(Repository, Reference), Shared<Option<Head>>>,
    fetches: Flights<(Repository, Reference), Shared<Fetched>>,
    pages: Pages,
    questions: Questions,
    rules: Rules,
    sessions: Sessions,
    metrics: Arc<Metrics>,
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
    /// What the operator allows.
    pub rules: Rules,
    /// What stays though there is no room.
    pub retention: Retention,
    /// How long a tag is believed to stand still.
    pub freshness: Duration,
    /// How long what nothing names yet is left alone after the last push to its repository, at most.
    pub grace: Duration,
    /// Where work runs that no single request owns.
    pub tasks: Handle,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// The threads that work which blocks runs on.
    pub lanes: Lanes,
}

impl Registry {
    /// Puts the house together. Starts nothing, but adopts the volume of a `registry:2` that was a cache.
    ///
    /// # Errors
    /// [`Error::Storage`], when it cannot be known what is on that volume.
    pub fn new(foundation: Foundation) -> Result<Self, Error> {
        let Foundation { storage, index, upstreams, pool, rules, retention, freshness, grace, tasks, metrics, lanes } =
            foundation;
        let objects = Objects::new(storage, index, retention, grace, Arc::clone(&metrics), lanes);
        if rules.mirror {
            adopt::proxy_volume(&objects)?;
        }
        upstreams.iter().for_each(|remote| metrics.know(remote.domain()));
        let mirror =
            |remote: Remote| (remote.domain().clone(), Mirror::new(remote, pool.clone(), Arc::clone(&metrics)));
        Ok(Self {
            mirrors: upstreams.into_iter().map(mirror).collect(),
            freshness,
            manifests: Manifests::new(objects.clone()),
            fills: Fills::new(objects.clone()),
            objects,
            heads: Flights::new(tasks.clone()),
            fetches: Flights::new(tasks.clone()),
            pages: Pages::new(tasks.clone()),
            questions: Questions::new(tasks.clone()),
            rules,
            sessions: Sessions::default(),
            metrics,
            tasks,
        })
    }

    /// Removes what nothing reaches, while everything else goes on. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`Error::UnderWay`]; [`Error::Abandoned`] when `tell` wants no more; or as the disk fails.
    pub fn collect(&self, collection: Collection, tell: Tell<'_, Found>) -> Result<Collected, Error> {
        collection.run(&self.objects, tell)
    }

    /// Counts what fills the disk, and for whom, while everything else goes on. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`Error::NoIndex`]; [`Error::Abandoned`] when `tell` wants no more.
    pub fn count(&self, census: &Census, tell: Tell<'_, Weighed>) -> Result<Counted, Error> {
        census.run(&self.objects, tell)
    }

    /// The threads that work which blocks runs on.
    #[must_use]
    pub fn lanes(&self) -> &Lanes {
        &self.objects.lanes
    }

    /// Where it is counted what happens here.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Brings the index to disk, at a clean stop. From here on nothing is stored and nothing evicted: fills may be under way.
    pub fn close(&self) {
        self.objects.activity.close();
        self.objects.tell_uses();
        let quiet = self.objects.close();
        self.objects.index.close(self.objects.storage.ledger().totals(), quiet);
    }

    fn mirror(&self, repository: &Repository) -> Result<&Mirror, Error> {
        let mirror = repository.domain.as_ref().and_then(|domain| self.mirrors.get(domain));
        mirror.ok_or(Error::NameUnknown)
    }
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod quarantine_tests;
#[cfg(test)]
mod unindexed_tests;
