//! The fill: one fetch per digest, whatever the number of clients (law 5). Which fills there are, and who follows which, is
//! in `fills.rs`.
//!
//! A fill writes a staged file on one of the upstream threads and tells how far it has come; every client, the first
//! included, reads that file behind it at its own pace (`reader.rs`). Nothing a client does reaches the fill. The last
//! byte is withheld until the digest is right (law 4); then the file is published and the fill's place in the map is
//! freed, in this order, so that whoever looks finds one or the other.

use std::{
    fs::File,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::{
    Error, Kept, Refused,
    error::Asked,
    fetch::{self, Event, Events, Wanted},
    fills::Fills,
    origin::{Origin, Right},
    parked::Half,
    pen::{Ink, Pen, Writer},
    progress::{Failure, Handover, Progress},
    pull::cached_or_unknown,
    range_fetch::RangeFetches,
    uses::Reading,
};
use crate::{
    metrics::{Content, Ending, Metrics},
    oci::{Digest, Domain, Hasher, Repository},
    storage::{Durability, Purpose, Staged},
    upstream::Client,
};

/// How long a fill goes on without a reader before it is set aside.
const UNREAD: Duration = Duration::from_secs(600);
/// How far ahead of a fill a range must begin to be fetched by itself.
const FAR_AHEAD: u64 = 32 << 20;
/// A fill that will be there within this time is waited for.
const SOON: Duration = Duration::from_secs(10);
/// For how long a fill is measured before that is said of it.
const MEASURED: Duration = Duration::from_millis(500);

/// A fill as its readers see it.
#[derive(Debug)]
pub(super) struct Fill {
    digest: Digest,
    file: OnceLock<Arc<File>>,
    progress: watch::Sender<Progress>,
    /// Whether the bytes turned out to be here all along.
    local: OnceLock<()>,
    /// Whether they seemed to be, when it became the blob's fill: somebody may have pushed them.
    from_disk: OnceLock<()>,
    /// Why the disk does not keep it, where it does not.
    refused: OnceLock<Refused>,
    origin: Origin,
    /// When the first bytes came, and how many were here before.
    begun: OnceLock<(Instant, u64)>,
    ranges: RangeFetches,
    passing: Arc<Semaphore>,
    /// Readers follow the staged file long after it is published.
    _reading: Reading,
}

impl Fill {
    pub(super) fn new(
        digest: &Digest,
        origin: Origin,
        ranges: RangeFetches,
        passing: Arc<Semaphore>,
        reading: Reading,
    ) -> Self {
        Self {
            digest: *digest,
            file: OnceLock::new(),
            progress: watch::Sender::new(Progress::Connecting),
            local: OnceLock::new(),
            from_disk: OnceLock::new(),
            refused: OnceLock::new(),
            origin,
            begun: OnceLock::new(),
            ranges,
            passing,
            _reading: reading,
        }
    }

    /// Whether a repository whose right is shown so may follow it, once it is the blob's fill.
    pub(super) fn is_for(&self, repository: &Repository, right: Option<Right>) -> bool {
        let pushed = self.from_disk.get().is_some();
        self.origin.repository == *repository || right == Some(Right::Own) || (right == Some(Right::Named) && !pushed)
    }

    /// What it fetches.
    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The staged file, once there is one.
    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.file.get().map(Arc::clone)
    }

    /// What was fetched ahead of it.
    pub(super) fn ranges(&self) -> &RangeFetches {
        &self.ranges
    }

    /// Turns to pass bytes on that the disk does not take.
    pub(super) fn passing(&self) -> &Arc<Semaphore> {
        &self.passing
    }

    /// Whether it comes to the offset `at` much later than somebody should wait, if it goes on as it did; it has come to
    /// `visible`. What is near is waited for in any case.
    pub(super) fn is_far_from(&self, at: u64, visible: u64) -> bool {
        let Some((since, from)) = self.begun.get() else { return false };
        let (took, came) = (since.elapsed(), visible.saturating_sub(*from));
        let late = || (at - visible) as f64 * took.as_secs_f64() > came as f64 * SOON.as_secs_f64();
        at >= visible + FAR_AHEAD && took > MEASURED && late()
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether nothing was fetched after all: the bytes were on disk and only had to be checked.
    pub(super) fn was_local(&self) -> bool {
        self.local.get().is_some()
    }

    /// Whether the disk keeps it, as far as is known: what is on its way is being stored.
    pub(super) fn kept(&self) -> Kept {
        self.refused.get().map_or(Kept::Stored, |why| Kept::Refused(*why))
    }

    /// Follows the fill; one that nobody follows ends after a while.
    pub(super) fn follow(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// What to fetch of it, from a byte on.
    pub(super) fn wanted(&self, from: u64, until: Option<u64>) -> Wanted {
        let Origin { mirror, repository, size, .. } = &self.origin;
        let (mirror, name) = (mirror.clone(), repository.name.clone());
        Wanted { mirror, name, digest: self.digest, from, until, size: *size }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::Connecting | Progress::Filling { .. })
    }
}

/// A fill's own side. Whatever becomes of it, it ends the fill and frees its place: a panic, an early return and a dead
/// thread all come by here.
pub(super) struct Job {
    pub(super) fill: Arc<Fill>,
    pub(super) fills: Arc<Fills>,
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.fill.is_open() {
            self.fill.progress.send_replace(Progress::Failed(Failure::Error(Error::Abandoned)));
        }
        self.fills.end(&self.fill);
    }
}

impl Job {
    pub(super) async fn run(self, client: Client) {
        let end = self.fill(client).await;
        self.count(&end);
        self.fill.progress.send_replace(match end {
            Ok(size) => Progress::Verified { size },
            Err(failure) => Progress::Failed(failure),
        });
    }

    /// Its repository's right comes first; then it is the blob's fill, for whoever has one, or gives way to the one that is.
    async fn fill(&self, client: Client) -> Result<u64, Failure> {
        if self.is_here() {
            self.ask_for_right(&client).await?;
            let _ = self.fill.from_disk.set(());
            self.establish()?;
            // What cannot be read here can be fetched.
            if let Some(stored) = cached_or_unknown(self.fills.objects.recheck(self.fill.digest).await) {
                let _ = (self.fill.local.set(()), self.fill.file.set(stored.file));
                return Ok(stored.facts.size);
            }
        }
        self.fetch(client).await
    }

    /// Has the upstream say that the blob is its repository's, unless that was shown: the bytes are here, and somebody may
    /// have pushed them.
    async fn ask_for_right(&self, client: &Client) -> Result<(), Failure> {
        let Origin { mirror, repository, right, .. } = &self.fill.origin;
        let class = self.fills.objects.index.class(&self.fill.digest);
        if right.is_some_and(|right| right.covers(class)) {
            return Ok(());
        }
        let said = client.blob_size(&mirror.remote, &repository.name, &self.fill.digest).await;
        said.map(drop).map_err(|error| Asked::Blob.failed(&error).into())
    }

    /// Makes it the blob's fill.
    fn establish(&self) -> Result<(), Failure> {
        if self.fills.establish(&self.fill) { Ok(()) } else { Err(Failure::Superseded) }
    }

    fn metrics(&self) -> &Metrics {
        &self.fill.origin.mirror.metrics
    }

    fn upstream(&self) -> &Domain {
        self.fill.origin.mirror.remote.domain()
    }

    fn count(&self, end: &Result<u64, Failure>) {
        let ending = match end {
            Err(Failure::Superseded) => return,
            Ok(_) if self.fill.was_local() => Ending::Local,
            Ok(_) => Ending::Stored,
            Err(Failure::NoSpace(_)) => Ending::Uncached,
            Err(Failure::Error(Error::Mismatch { .. })) => Ending::Mismatch,
            Err(Failure::Error(_)) => Ending::Failed,
        };
        self.metrics().filled(self.upstream(), ending);
    }

    /// As [`Job::establish`], once the upstream has answered. Another one may have been through since this one began.
    fn establish_opened(&self) -> Result<(), Failure> {
        self.establish()?;
        let looked_at = self.fill.from_disk.get().is_some();
        if looked_at || !self.is_here() { Ok(()) } else { Err(Failure::Superseded) }
    }

    /// Whether there are bytes of the blob's here.
    fn is_here(&self) -> bool {
        let looked = self.fills.objects.storage.has_blob(&self.fill.digest);
        cached_or_unknown(looked.map(Some).map_err(Error::from)) == Some(true)
    }

    async fn fetch(&self, client: Client) -> Result<u64, Failure> {
        let parked = self.fills.objects.parked.take(&self.fill.digest);
        let from = parked.as_ref().map_or(0, |parked| parked.ink.written);
        let mut events = fetch::start(client.clone(), self.fill.wanted(from, None));
        if from > 0 {
            self.metrics().resumed(self.upstream());
        }
        let opened = self.size(&client, &mut events).await.and_then(|size| self.establish_opened().map(|()| size));
        let size = match opened {
            Ok(size) => size,
            Err(failure) => return Err(self.not_resumed(parked, failure)),
        };
        let (staged, ink) = match parked {
            Some(parked) if parked.size == size => (parked.staged, parked.ink),
            Some(_) => return Err(Error::BadGateway("the blob's size changed between two answers".into()).into()),
            None => match self.stage(size).await {
                Ok(staged) => staged,
                Err(error) => {
                    return Err(self.hand_over(&Ink::new(self.fill.digest.hasher()), size, &error, Some(events)));
                }
            },
        };
        let _ = self.fill.file.set(staged.file());
        let _ = self.fill.begun.set((Instant::now(), from));
        self.fill.progress.send_replace(Progress::Filling { size, written: from });
        let (staged, ink) = self.write(events, staged, ink, size).await?;
        self.publish(staged, ink.hasher).await?;
        Ok(size)
    }

    /// What was staged waits on for an upstream that answers. One that says that there is no such thing may have been asked
    /// for a repository that has no right to it.
    fn not_resumed(&self, parked: Option<Half>, failure: Failure) -> Failure {
        if let Some(half) = parked {
            self.fills.objects.parked.put_back(&self.fill.digest, half);
        }
        failure
    }

    /// Waits for the first answer and tells the blob's size from it; where that does not say, from the manifest, or the
    /// upstream is asked for it.
    async fn size(&self, client: &Client, events: &mut Events) -> Result<u64, Failure> {
        let Origin { mirror, repository, size: named, .. } = &self.fill.origin;
        let said = match events.recv().await {
            Some(Ok(Event::Opened { size, .. })) => size.or(*named),
            Some(Ok(Event::Bytes(_))) => None,
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Error::Abandoned.into()),
        };
        let size = match said {
            Some(size) => size,
            None => {
                let size = client.blob_size(&mirror.remote, &repository.name, &self.fill.digest).await;
                size.map_err(|error| Error::BadGateway(error.to_string()))?
            }
        };
        self.fill.origin.agrees(&self.fill.digest, size)?;
        Ok(size)
    }

    async fn stage(&self, size: u64) -> Result<(Staged, Box<Ink>), Error> {
        let staged = self.fills.objects.stage(&self.fill.digest, Purpose::Mirrored, size).await?;
        Ok((staged, Box::new(Ink::new(self.fill.digest.hasher()))))
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
                    Err((pen, error)) => return Err(self.hand_over(pen.ink(), size, &error.into(), None)),
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
            Err((pen, error)) => Err(self.hand_over(pen.ink(), size, &error.into(), None)),
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

    /// Has readers go on alone; the first has the `rest`, where that is on its way.
    fn hand_over(&self, ink: &Ink, size: u64, error: &Error, rest: Option<Events>) -> Failure {
        self.fills.objects.uncached.log(&self.fill.digest, error);
        let _ = self.fill.refused.set(Refused::of(error));
        let (hasher, rest) = (ink.hasher.clone(), Mutex::new(rest));
        Failure::NoSpace(Arc::new(Handover { size, written: ink.written, hasher, rest }))
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
            let _ = self.fill.refused.set(Refused::of(&error));
        } else {
            self.fills.objects.link_layer(repository, expected).await;
        }
        Ok(())
    }
}
