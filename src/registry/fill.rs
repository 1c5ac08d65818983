//! The fill: one fetch per digest, whatever the number of clients (law 5).
//!
//! A fill writes a staged file on one of the upstream threads and tells how far it has come; every client, the first
//! included, reads that file behind it at its own pace (`reader.rs`). Nothing a client does reaches the fill. The last
//! byte is withheld until the digest is right (law 4); then the file is published and the fill's place in the map is
//! freed, in this order, so that whoever looks finds one or the other.

use std::{
    collections::HashMap,
    fs::File,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    Error,
    error::Asked,
    fetch::{self, Event, Events, Wanted},
    mirror::Mirror,
    objects::Objects,
    parked::Half,
    pen::{Ink, Pen, Writer},
    progress::{Failure, Handover, Progress},
    pull::cached_or_unknown,
    uses::Reading,
};
use crate::{
    metrics::{Content, Ending, Metrics},
    oci::{Digest, Domain, Hasher, Repository},
    storage::{Durability, Purpose, Staged, Stored},
    upstream::Client,
};

/// How long a fill goes on without a reader before it is set aside.
const UNREAD: Duration = Duration::from_secs(600);

/// A fill as its readers see it.
#[derive(Debug)]
pub(super) struct Fill {
    digest: Digest,
    file: OnceLock<Arc<File>>,
    progress: watch::Sender<Progress>,
    /// Whether the bytes turned out to be here all along.
    local: OnceLock<()>,
    origin: Origin,
    /// Readers follow the staged file long after it is published.
    _reading: Reading,
}

/// Where a fill's bytes come from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) mirror: Mirror,
    pub(super) repository: Repository,
    /// Whether this repository's right to the bytes was shown; otherwise the upstream's answer to the fill shows it.
    pub(super) proven: bool,
}

impl Fill {
    /// What it fetches.
    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The staged file, once there is one.
    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.file.get().map(Arc::clone)
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether nothing was fetched after all: the bytes were on disk and only had to be checked.
    pub(super) fn was_local(&self) -> bool {
        self.local.get().is_some()
    }

    /// Follows the fill; one that nobody follows ends after a while.
    pub(super) fn follow(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// What to fetch of it, from a byte on.
    pub(super) fn wanted(&self, from: u64, until: Option<u64>) -> Wanted {
        let Origin { mirror, repository, .. } = &self.origin;
        Wanted { mirror: mirror.clone(), name: repository.name.clone(), digest: self.digest, from, until }
    }

    fn is_open(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::Connecting | Progress::Filling { .. })
    }
}

/// All fills under way.
#[derive(Debug)]
pub(super) struct Fills {
    objects: Objects,
    under_way: Mutex<HashMap<Digest, Arc<Fill>>>,
}

impl Fills {
    pub(super) fn new(objects: Objects) -> Arc<Self> {
        Arc::new(Self { objects, under_way: Mutex::default() })
    }

    /// How many blobs are being filled now.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.lock().len()
    }

    /// Whether `digest` is being filled now.
    pub(super) fn is_filling(&self, digest: &Digest) -> bool {
        self.under_way.lock().contains_key(digest)
    }

    /// The repository that `digest` is being filled for now.
    pub(super) fn fills_for(&self, digest: &Digest) -> Option<Repository> {
        self.under_way.lock().get(digest).map(|fill| fill.origin.repository.clone())
    }

    /// The fill of `digest`, begun now if none is under way; the flag says that one was.
    pub(super) fn join_or_start(self: &Arc<Self>, digest: &Digest, origin: Origin) -> (Arc<Fill>, bool) {
        let mut under_way = self.under_way.lock();
        if let Some(fill) = under_way.get(digest) {
            return (Arc::clone(fill), true);
        }
        let pool = origin.mirror.pool.clone();
        let fill = Arc::new(Fill {
            digest: *digest,
            file: OnceLock::new(),
            progress: watch::Sender::new(Progress::Connecting),
            local: OnceLock::new(),
            origin,
            _reading: self.objects.uses.read(digest),
        });
        under_way.insert(*digest, Arc::clone(&fill));
        drop(under_way);
        let job = Job { fill: Arc::clone(&fill), fills: Arc::clone(self) };
        // Where no thread can be had, the job is dropped, which fails the fill.
        let _ = pool.spawn(move |client| job.run(client));
        (fill, false)
    }
}

/// A fill's own side. Whatever becomes of it, it ends the fill and frees its place: a panic, an early return and a dead
/// thread all come by here.
struct Job {
    fill: Arc<Fill>,
    fills: Arc<Fills>,
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.fill.is_open() {
            self.fill.progress.send_replace(Progress::Failed(Failure::Error(Error::Abandoned)));
        }
        self.fills.under_way.lock().remove(&self.fill.digest);
    }
}

impl Job {
    async fn run(self, client: Client) {
        // What cannot be read here can be fetched.
        let end = match cached_or_unknown(self.fills.objects.recheck(self.fill.digest).await) {
            Some(stored) => self.found(&client, stored).await,
            None => self.fetch(client).await,
        };
        self.count(&end);
        self.fill.progress.send_replace(match end {
            Ok(size) => Progress::Verified { size },
            Err(failure) => Progress::Failed(failure),
        });
    }

    fn metrics(&self) -> &Metrics {
        &self.fill.origin.mirror.metrics
    }

    fn upstream(&self) -> &Domain {
        self.fill.origin.mirror.remote.domain()
    }

    fn count(&self, end: &Result<u64, Failure>) {
        let ending = match end {
            Ok(_) if self.fill.was_local() => Ending::Local,
            Ok(_) => Ending::Stored,
            Err(Failure::NoSpace(_)) => Ending::Uncached,
            Err(Failure::Error(Error::Mismatch { .. })) => Ending::Mismatch,
            Err(Failure::Error(_)) => Ending::Failed,
        };
        self.metrics().filled(self.upstream(), ending);
    }

    /// The bytes are here all along, or since a moment: somebody may have pushed them.
    async fn found(&self, client: &Client, stored: Stored) -> Result<u64, Failure> {
        let Origin { mirror, repository, proven } = &self.fill.origin;
        if !proven {
            let said = client.blob_size(&mirror.remote, &repository.name, &self.fill.digest).await;
            said.map_err(|error| Asked::Blob.failed(&error))?;
        }
        let _ = (self.fill.local.set(()), self.fill.file.set(stored.file));
        Ok(stored.facts.size)
    }

    async fn fetch(&self, client: Client) -> Result<u64, Failure> {
        let parked = self.fills.objects.parked.take(&self.fill.digest);
        let from = parked.as_ref().map_or(0, |parked| parked.ink.written);
        let mut events = fetch::start(client.clone(), self.fill.wanted(from, None));
        if from > 0 {
            self.metrics().resumed(self.upstream());
        }
        let size = match self.size(&client, &mut events).await {
            Ok(size) => size,
            Err(failure) => return Err(self.not_resumed(parked, failure)),
        };
        let (staged, ink) = match parked {
            Some(parked) if parked.size == size => (parked.staged, parked.ink),
            Some(_) => return Err(Error::BadGateway("the blob's size changed between two answers".into()).into()),
            None => self.stage(size).await?,
        };
        let _ = self.fill.file.set(staged.file());
        self.fill.progress.send_replace(Progress::Filling { size, written: from });
        let (staged, ink) = self.write(events, staged, ink, size).await?;
        self.publish(staged, ink.hasher).await?;
        Ok(size)
    }

    /// What was staged waits on for an upstream that answers, unless this one said that there is no such thing.
    fn not_resumed(&self, parked: Option<Half>, failure: Failure) -> Failure {
        if let Some(half) = parked
            && !matches!(failure, Failure::Error(Error::BlobUnknown))
        {
            self.fills.objects.parked.put_back(&self.fill.digest, half);
        }
        failure
    }

    /// Waits for the first answer and tells the blob's size from it; an upstream that does not say is asked for it.
    async fn size(&self, client: &Client, events: &mut Events) -> Result<u64, Failure> {
        match events.recv().await {
            Some(Ok(Event::Opened { size: Some(size) })) => Ok(size),
            Some(Ok(_)) => {
                let Origin { mirror, repository, .. } = &self.fill.origin;
                let size = client.blob_size(&mirror.remote, &repository.name, &self.fill.digest).await;
                size.map_err(|error| Error::BadGateway(error.to_string()).into())
            }
            Some(Err(error)) => Err(error.into()),
            None => Err(Error::Abandoned.into()),
        }
    }

    async fn stage(&self, size: u64) -> Result<(Staged, Box<Ink>), Failure> {
        let ink = Box::new(Ink::new(self.fill.digest.hasher()));
        match self.fills.objects.stage(Purpose::Mirrored, size).await {
            Ok(staged) => Ok((staged, ink)),
            Err(error) => Err(self.hand_over(&ink, size, &error)),
        }
    }

    /// Writes what comes until all of it is in the staged file.
    async fn write(
        &self,
        mut events: Events,
        staged: Staged,
        ink: Box<Ink>,
        size: u64,
    ) -> Result<(Staged, Box<Ink>), Failure> {
        let mut writer = Writer::new(Pen::new(staged.sink(), ink), self.fills.objects.lanes.clone());
        let mut unread: Option<Instant> = None;
        while writer.taken() < size || writer.is_busy() {
            let error = tokio::select! {
                biased;
                written = writer.written() => match written {
                    Ok(written) => {
                        self.fill.progress.send_replace(Progress::Filling { size, written });
                        self.is_forsaken(&mut unread).then_some(Error::Abandoned)
                    }
                    Err((pen, error)) => return Err(self.hand_over(pen.ink(), size, &error.into())),
                },
                event = events.recv(), if writer.has_room() && writer.taken() < size => match event {
                    Some(Ok(Event::Bytes(bytes))) => {
                        writer.take(bytes);
                        (writer.taken() > size).then(|| Error::BadGateway("more bytes than announced".into()))
                    }
                    Some(Ok(Event::Opened { .. })) => None,
                    Some(Err(error)) => Some(error),
                    None => Some(Error::BadGateway("the blob ended early".into())),
                },
            };
            if let Some(error) = error {
                return Err(self.give_up(writer, staged, size, error).await);
            }
        }
        match writer.finish().await {
            Ok(pen) => Ok((staged, pen.into_ink())),
            Err((pen, error)) => Err(self.hand_over(pen.ink(), size, &error.into())),
        }
    }

    /// Whether nobody has read it for too long.
    fn is_forsaken(&self, unread: &mut Option<Instant>) -> bool {
        if self.fill.progress.receiver_count() > 0 {
            *unread = None;
            return false;
        }
        unread.get_or_insert_with(Instant::now).elapsed() > UNREAD
    }

    /// Keeps what is staged, for whoever asks again.
    async fn give_up(&self, writer: Writer<Box<Ink>>, staged: Staged, size: u64, error: Error) -> Failure {
        tracing::warn!("{} from {}: {error}", self.fill.digest, self.fill.origin.repository);
        if let Ok(pen) = writer.finish().await
            && (1..size).contains(&pen.ink().written)
        {
            self.fills.objects.parked.put(&self.fill.digest, staged, pen.into_ink(), size);
        }
        error.into()
    }

    fn hand_over(&self, ink: &Ink, size: u64, error: &Error) -> Failure {
        self.fills.objects.uncached.log(&self.fill.digest, error);
        Failure::NoSpace(Arc::new(Handover { size, written: ink.written, hasher: ink.hasher.clone() }))
    }

    /// Lets the file be seen by name, if its bytes are right.
    async fn publish(&self, staged: Staged, hasher: Hasher) -> Result<(), Failure> {
        let expected = self.fill.digest;
        let repository = &self.fill.origin.repository;
        if hasher.finish() != expected {
            tracing::error!(
                "{repository}: what upstream sent does not match the digest {expected}; nothing of it is kept"
            );
            self.metrics().mismatched(self.upstream(), Content::Blob);
            return Err(Error::Mismatch { expected }.into());
        }
        // The bytes are right and readers have them, whether or not the disk keeps them.
        if let Err(error) = self.fills.objects.publish(staged, expected, Durability::Unsynced, false).await {
            self.fills.objects.uncached.log(&expected, &error);
        } else {
            self.fills.objects.link_layer(repository, expected).await;
        }
        Ok(())
    }
}
