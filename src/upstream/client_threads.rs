//! The threads for requests to upstreams: each owns a [`Client`], whose futures are not `Send`, and a queue of
//! jobs. Jobs go round robin; a thread that ended is started again.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use parking_lot::Mutex;
use rustls::RootCertStore;
use tokio::{
    sync::{mpsc, oneshot},
    task::{LocalSet, spawn_local},
    time::{MissedTickBehavior, interval},
};

use super::{
    Client, Error, ManifestBody, ManifestHead, Page, Proxy, Remote, Trust, client::CLOSE_IDLE_INTERVAL, connect::Dialer,
};
use crate::{
    lanes::Blocking,
    oci::{Digest, Reference, RepositoryName},
};

type ClientJob = Box<dyn FnOnce(Client) + Send>;
type Queue = mpsc::UnboundedSender<ClientJob>;

/// The settings that all connections share.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// The certificates that upstreams without their own setting may have.
    pub trust: Trust,
    /// The proxy for outgoing connections.
    pub proxy: Proxy,
}

/// Loads the machine's root certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured). A certificate that cannot
/// be read is logged and omitted: an upstream without TLS needs none.
#[must_use]
pub fn native_roots(_io: &Blocking) -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a root certificate could not be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, _unfit) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!("no root certificates on this machine: no https upstream can be reached");
    }
    roots
}

/// A few threads, each with a [`Client`] of its own. Cheap to clone. The threads and their jobs end when the last
/// handle is dropped.
#[derive(Clone)]
pub struct ClientThreads(Arc<ThreadsInner>);

struct ThreadsInner {
    dialer: Arc<Dialer>,
    queues: Vec<Mutex<Queue>>,
    turn: AtomicUsize,
}

impl fmt::Debug for ClientThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientThreads").field("count", &self.0.queues.len()).finish_non_exhaustive()
    }
}

impl ClientThreads {
    /// Starts `count` threads, at least one.
    ///
    /// # Errors
    /// [`Error::Job`] if a thread cannot be started.
    pub fn start(count: usize, settings: ConnectionSettings) -> Result<Self, Error> {
        let dialer = Arc::new(Dialer::new(settings.trust, settings.proxy));
        let queues = (0..count.max(1)).map(|number| start_thread(number, &dialer).map(Mutex::new));
        let queues = queues.collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(ThreadsInner { dialer, queues, turn: AtomicUsize::new(0) })))
    }

    /// Runs a future that need not be `Send` on one of the threads. A panic ends this job only.
    ///
    /// # Errors
    /// [`Error::Job`] if its thread had ended and no new one could be started; the job is dropped then.
    pub fn spawn<F, Fut>(&self, job: F) -> Result<(), Error>
    where
        F: FnOnce(Client) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        // Called inside the task, so that a panic ends the task only.
        self.enqueue(Box::new(move |client| drop(spawn_local(async move { job(client).await }))))
    }

    /// Runs a future on one of the threads and awaits its result, from any runtime. Dropping this drops the future too.
    ///
    /// # Errors
    /// The error of the future; [`Error::Job`] if it panicked or could not be started.
    pub async fn call<T, F, Fut>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(Client) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Error>> + 'static,
    {
        let (mut sender, receiver) = oneshot::channel();
        self.spawn(move |client| async move {
            tokio::select! {
                result = job(client) => drop(sender.send(result)),
                () = sender.closed() => {}
            }
        })?;
        receiver.await.unwrap_or_else(|_| Err(Error::Job("it panicked, or its thread ended".into())))
    }

    fn enqueue(&self, job: ClientJob) -> Result<(), Error> {
        let number = self.0.turn.fetch_add(1, Relaxed) % self.0.queues.len();
        let mut queue = self.0.queues[number].lock();
        let Err(mpsc::error::SendError(job)) = queue.send(job) else { return Ok(()) };
        *queue = start_thread(number, &self.0.dialer)?;
        queue.send(job).map_err(|_| Error::Job("its thread ended at once".into()))
    }
}

fn start_thread(number: usize, dialer: &Arc<Dialer>) -> Result<Queue, Error> {
    let failed = |error: io::Error| Error::Job(format!("no thread for it: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (sender, receiver) = mpsc::unbounded_channel();
    let dialer = Arc::clone(dialer);
    let run = move || {
        LocalSet::new().block_on(&runtime, serve(receiver, dialer));
        // Does not wait for a DNS lookup, which may hang.
        runtime.shutdown_background();
    };
    thread::Builder::new().name(format!("upstream-{number}")).spawn(run).map_err(failed)?;
    Ok(sender)
}

async fn serve(mut jobs: mpsc::UnboundedReceiver<ClientJob>, dialer: Arc<Dialer>) {
    let client = Client::new(dialer);
    let mut close = interval(CLOSE_IDLE_INTERVAL);
    close.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            job = jobs.recv() => match job {
                Some(job) => job(client.clone()),
                None => return,
            },
            _ = close.tick() => client.close_idle(),
        }
    }
}

/// The requests of [`Client`], for callers on other threads.
impl Remote {
    /// As [`Client::head_manifest`].
    ///
    /// # Errors
    /// As there, and [`Error::Job`].
    pub async fn head_manifest(
        &self,
        threads: &ClientThreads,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<ManifestHead, Error> {
        let (remote, name, reference) = (self.clone(), name.clone(), reference.clone());
        threads.call(move |client| async move { client.head_manifest(&remote, &name, &reference).await }).await
    }

    /// As [`Client::get_manifest`].
    ///
    /// # Errors
    /// As there, and [`Error::Job`].
    pub async fn get_manifest(
        &self,
        threads: &ClientThreads,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<ManifestBody, Error> {
        let (remote, name, reference) = (self.clone(), name.clone(), reference.clone());
        threads.call(move |client| async move { client.get_manifest(&remote, &name, &reference).await }).await
    }

    /// As [`Client::tags`].
    ///
    /// # Errors
    /// As there, and [`Error::Job`].
    pub async fn tags(&self, threads: &ClientThreads, name: &RepositoryName, query: &str) -> Result<Page, Error> {
        let (remote, name, query) = (self.clone(), name.clone(), query.to_owned());
        threads.call(move |client| async move { client.tags(&remote, &name, &query).await }).await
    }

    /// As [`Client::referrers`].
    ///
    /// # Errors
    /// As there, and [`Error::Job`].
    pub async fn referrers(
        &self,
        threads: &ClientThreads,
        name: &RepositoryName,
        digest: &Digest,
        query: &str,
    ) -> Result<Page, Error> {
        let (remote, name, digest, query) = (self.clone(), name.clone(), *digest, query.to_owned());
        threads.call(move |client| async move { client.referrers(&remote, &name, &digest, &query).await }).await
    }

    /// As [`Client::blob_size`].
    ///
    /// # Errors
    /// As there, and [`Error::Job`].
    pub async fn blob_size(
        &self,
        threads: &ClientThreads,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<u64, Error> {
        let (remote, name, digest) = (self.clone(), name.clone(), *digest);
        threads.call(move |client| async move { client.blob_size(&remote, &name, &digest).await }).await
    }
}
