//! Notifications: events about pushes, pulls, mounts and deletes, sent to the endpoints of the configuration.
//!
//! The HTTP layer notes an event after the registry has done what it is about. Push, mount and delete events are on the
//! disk before the request is answered (law 3 of ARCHITECTURE.md), and are sent at least once, in their order; an event
//! keeps its ID when it is sent again. Pull events are best effort. Each endpoint has a queue and a task of its own, so
//! that none waits for another.

mod delivery;
mod event;
mod queue;
mod references;

use std::{collections::HashSet, fmt, path::Path, sync::Arc};

use delivery::{Delivery, EVENTS_MEDIA_TYPE};
pub use event::{Actor, Event, EventAction, RequestRecord, Target};
use event::{Numbered, Source};
use futures_util::future::try_join_all;
use queue::Queue;
pub use references::{Reference, references};
use uuid::Uuid;

use crate::{
    config::{EndpointConfig, Notifications},
    lanes::{Blocking, Lane, Lanes},
    metrics::Metrics,
    storage::{self, Storage},
    upstream::{self, ClientThreads, Webhook},
};

/// The reason that the endpoints cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A queue cannot be opened.
    #[error("the queue of notifications for the endpoint {name} cannot be opened: {source}")]
    Queue {
        /// The endpoint's name.
        name: String,
        /// The storage's error.
        source: storage::Error,
    },
    /// An endpoint's header is not valid.
    #[error("notifications.endpoints: {name}: {source}")]
    Webhook {
        /// The endpoint's name.
        name: String,
        /// The header.
        source: upstream::Error,
    },
}

/// An event could not be put on the disk.
#[derive(Debug, thiserror::Error)]
pub enum NotNoted {
    /// The disk is full or failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The process is shutting down.
    #[error("the process is shutting down")]
    ShuttingDown,
}

/// The parts that the notifier is built from.
pub struct NotifierParts<'a> {
    /// The configured endpoints.
    pub config: &'a Notifications,
    /// The host and port that events name as their source.
    pub source: String,
    /// The metrics to count in.
    pub metrics: &'a Metrics,
    /// The threads for requests.
    pub threads: ClientThreads,
    /// The threads for blocking work.
    pub lanes: Lanes,
}

/// Notes events, and sends them to the endpoints.
pub struct Notifier {
    endpoints: Vec<Endpoint>,
    source: Source,
    includes_references: bool,
    lanes: Lanes,
}

struct Endpoint {
    delivery: Delivery,
    ignored_media_types: HashSet<String>,
    ignored_actions: HashSet<String>,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.endpoints.iter().map(|endpoint| &endpoint.delivery.name).collect();
        f.debug_tuple("Notifier").field(&names).finish()
    }
}

impl Notifier {
    /// Opens the queues of the endpoints in the folder `dir`; `None` if no endpoint is enabled. Warns about queues that
    /// have no endpoint.
    ///
    /// # Errors
    /// [`Error::Queue`] if a queue cannot be opened, [`Error::Webhook`] if an endpoint has a wrong header.
    pub fn open(io: &Blocking, dir: &Path, parts: &NotifierParts<'_>) -> Result<Option<Self>, Error> {
        warn_of_unused(io, dir, parts.config.endpoints.value());
        let enabled = parts.config.endpoints.iter().filter(|endpoint| !endpoint.disabled);
        let endpoints =
            enabled.map(|endpoint| Endpoint::open(io, dir, parts, endpoint)).collect::<Result<Vec<_>, _>>()?;
        let source = Source { addr: parts.source.clone(), instance_id: Uuid::new_v4().to_string() };
        let includes_references = *parts.config.includereferences;
        let notifier = Self { endpoints, source, includes_references, lanes: parts.lanes.clone() };
        Ok(Some(notifier).filter(|notifier| !notifier.endpoints.is_empty()))
    }

    /// Returns whether events have what a manifest refers to.
    #[must_use]
    pub fn includes_references(&self) -> bool {
        self.includes_references
    }

    /// Returns the tasks that send events, one for each endpoint. Each runs forever, and may be started again.
    pub fn deliveries(&self) -> impl Iterator<Item = impl Fn() -> DeliveryTask + Send + 'static> {
        self.endpoints.iter().map(|endpoint| {
            let delivery = endpoint.delivery.clone();
            move || -> DeliveryTask { Box::pin(delivery.clone().run()) }
        })
    }

    /// Notes the events of one request. They are on the disk when this returns.
    ///
    /// # Errors
    /// [`NotNoted`] if an endpoint's queue cannot be written.
    pub async fn note(&self, events: &[Event]) -> Result<(), NotNoted> {
        let noted = self.endpoints.iter().filter_map(|endpoint| {
            let lines = self.lines(endpoint, events);
            (!lines.is_empty()).then(|| {
                let queue = Arc::clone(&endpoint.delivery.queue);
                let added = self.lanes.start(Lane::Sync, move |io| queue.add(io, &lines));
                async { added.await.map_err(|_| NotNoted::ShuttingDown)?.map_err(NotNoted::Storage) }
            })
        });
        try_join_all(noted).await.map(drop)
    }

    /// Notes a pull, without waiting for anything.
    pub fn note_pull(&self, event: &Event) {
        for endpoint in &self.endpoints {
            let queue = &endpoint.delivery.queue;
            for line in self.lines(endpoint, std::slice::from_ref(event)) {
                if queue.add_pull(line) {
                    let queue = Arc::clone(queue);
                    drop(self.lanes.start(Lane::Write, move |io| queue.write_pulls(io)));
                }
            }
        }
    }

    /// Writes what is still in memory, at a clean shutdown.
    pub fn close(&self, io: &Blocking) {
        self.endpoints.iter().for_each(|endpoint| endpoint.delivery.queue.write_pulls(io));
    }

    /// Returns the JSON of the events that an endpoint gets.
    fn lines(&self, endpoint: &Endpoint, events: &[Event]) -> Vec<String> {
        let wanted = events.iter().filter(|event| endpoint.wants(event));
        let line = |event: &Event| {
            endpoint.delivery.metrics.noted(event.action.as_str());
            serde_json::to_string(&Numbered { id: Uuid::new_v4().to_string(), event, source: &self.source }).ok()
        };
        wanted.filter_map(line).collect()
    }
}

/// Sends the events of one endpoint.
pub type DeliveryTask = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Endpoint {
    fn open(io: &Blocking, dir: &Path, parts: &NotifierParts<'_>, config: &EndpointConfig) -> Result<Self, Error> {
        let name = config.name.clone();
        let metrics = parts.metrics.endpoint(&name, &EventAction::ALL);
        let queue = Queue::open(io, &dir.join(folder(&name)), *parts.config.queue, metrics.clone())
            .map_err(|source| Error::Queue { name: name.clone(), source })?;
        let configured = config
            .headers
            .iter()
            .flat_map(|header| header.values.iter().map(|value| (header.name.as_str(), value.as_str())));
        let is_typed = config.headers.iter().any(|header| header.name.eq_ignore_ascii_case("content-type"));
        let media_type = (!is_typed).then_some(("Content-Type", EVENTS_MEDIA_TYPE));
        let webhook = Webhook::new(config.url.clone(), media_type.into_iter().chain(configured), config.timeout)
            .map_err(|source| Error::Webhook { name: name.clone(), source })?;
        Ok(Self {
            delivery: Delivery {
                name,
                queue: Arc::new(queue),
                webhook,
                threshold: config.threshold,
                backoff: config.backoff,
                metrics,
                threads: parts.threads.clone(),
                lanes: parts.lanes.clone(),
            },
            ignored_media_types: config.ignored_media_types.iter().cloned().collect(),
            ignored_actions: config.ignored_actions.iter().cloned().collect(),
        })
    }

    fn wants(&self, event: &Event) -> bool {
        let is_ignored = self.ignored_media_types.contains(&event.target.media_type);
        !is_ignored && !self.ignored_actions.contains(event.action.as_str())
    }
}

/// Returns the name of an endpoint's folder: its own, with other than plain characters escaped as in a URL.
fn folder(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Warns about the queues of endpoints that the configuration does not have any more. They are kept, since a
/// configuration may be restored; the endpoint's name is all that says where they would go.
fn warn_of_unused(io: &Blocking, dir: &Path, endpoints: &[EndpointConfig]) {
    let known: HashSet<_> = endpoints.iter().map(|endpoint| folder(&endpoint.name)).collect();
    for unused in Storage::queues(io, dir).into_iter().filter(|name| !known.contains(name)) {
        let path = dir.join(&unused);
        tracing::warn!(
            "{} has the events of an endpoint that is not in notifications.endpoints: they are kept until an endpoint of \
             that name is configured, or the folder is removed",
            path.display()
        );
    }
}

/// Returns the source of events as registry:2 names it: this host's name, and the port of `http.addr`.
#[must_use]
pub fn source_address(port: Option<u16>) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    port.map_or(host.clone(), |port| format!("{host}:{port}"))
}
