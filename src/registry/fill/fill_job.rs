//! The work of a fill: finds a blob's bytes on disk or fetches them from an upstream, then writes, hashes and publishes
//! them.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;

use super::{
    fetch::{self, Coming, Event, Events, FetchRequest},
    fill_handle::Fill,
    fill_source::FillSource,
    fills::{Fills, Opening},
    progress::{FillFailure, FillProgress, Handover, Shown},
    range_windows::RangeFetches,
    transfer::{Interruption, Transfer, UnreadTimer},
};
use crate::{
    index::BlobKind,
    lanes::Lane,
    metrics::{Content, FillResult, Metrics},
    oci::{Digest, Domain, Hasher},
    registry::{
        Error, Refused, UnusableAnswer,
        error::{Resource, cached_or_unknown},
        store::{
            blob_store::BlockingStore,
            hashing_writer::{HashState, HashingFile, WriteFailed, Writer},
            partial::PartialBlob,
            single_flight::Joined,
        },
    },
    storage::{Durability, Purpose, Staged},
    upstream::Client,
};

/// The running work of a fill. Dropping it ends the fill and frees its entry, also after a panic, an early return or
/// the end of its thread.
pub(in crate::registry) struct FillJob {
    pub(in crate::registry) fill: Arc<Fill>,
    pub(in crate::registry) fills: Arc<Fills>,
}

impl Fills {
    /// Returns the fill of `digest` that a request may follow, or begins one.
    pub(in crate::registry) fn join_or_start(
        self: &Arc<Self>,
        digest: &Digest,
        source: FillSource,
    ) -> Joined<Arc<Fill>> {
        let mut under_way = self.under_way.lock();
        let established = under_way.established.get(digest);
        if let Some(fill) = established.filter(|fill| fill.is_for(&source.repository, source.right)) {
            return Joined { value: Arc::clone(fill), collapsed: true };
        }
        let opening = Opening::of(digest, &source);
        if let Some(fill) = under_way.opening.get(&opening) {
            return Joined { value: Arc::clone(fill), collapsed: true };
        }
        let threads = source.upstream.threads().clone();
        let ranges = RangeFetches::new(self.store.clone(), Arc::clone(&self.ranges));
        let (passing, reading) = (Arc::clone(&self.passing), self.store.protection.access_tracker.read(digest));
        let fill = Arc::new(Fill::new(digest, source, ranges, passing, reading));
        under_way.opening.insert(opening, Arc::clone(&fill));
        drop(under_way);
        let job = FillJob { fill: Arc::clone(&fill), fills: Arc::clone(self) };
        // If no thread is available, the job is dropped, which fails the fill.
        let _ = threads.spawn(move |client| job.run(client));
        Joined { value: fill, collapsed: false }
    }
}

impl Drop for FillJob {
    fn drop(&mut self) {
        if self.fill.is_open() {
            self.fill.progress.send_replace(FillProgress::Failed(FillFailure::Error(Error::Panicked)));
        }
        self.fills.end(&self.fill);
    }
}

impl FillJob {
    pub(in crate::registry) async fn run(self, client: Client) {
        let end = self.fill(client).await;
        self.count(&end);
        self.fill.progress.send_replace(match end {
            Ok(size) => FillProgress::Verified { size },
            Err(failure) => FillProgress::Failed(failure),
        });
    }

    /// Authorizes the repository first, then becomes the established fill of the blob, or ends in favour of an existing
    /// one.
    async fn fill(&self, client: Client) -> Result<u64, FillFailure> {
        if self.is_here().await {
            let shown = self.ask_for_right().await?;
            let _ = self.fill.from_disk.set(());
            // Bytes that cannot be read from the disk can still be fetched.
            if let Some(stored) = cached_or_unknown(self.fills.store.recheck(*self.fill.digest()).await) {
                let mut source = self.fill.source().clone();
                source.authorize(self.fill.digest(), shown)?;
                source.agrees(self.fill.digest(), stored.stamp.size)?;
                self.establish(shown)?;
                self.fill.set_file(stored.file);
                let _ = self.fill.local.set(());
                return Ok(stored.stamp.size);
            }
        }
        self.fetch(client).await
    }

    /// Asks the upstream to confirm that its repository has the blob, unless that is known: the bytes on disk may have
    /// been pushed by another client.
    async fn ask_for_right(&self) -> Result<Shown, FillFailure> {
        let FillSource { upstream, repository, right, .. } = self.fill.source();
        let origins = self.fills.store.volume.index.origins(self.fill.digest());
        if right.is_some_and(|right| right.covers(origins)) {
            return Ok(Shown::Before);
        }
        let said = upstream.blob_size(&repository.name, self.fill.digest()).await;
        said.map(Shown::Size).map_err(|error| Resource::Blob.failed(&error).into())
    }

    /// Makes this the established fill of the blob.
    fn establish(&self, shown: Shown) -> Result<(), FillFailure> {
        if self.fills.establish(&self.fill) { Ok(()) } else { Err(FillFailure::Superseded(shown)) }
    }

    fn metrics(&self) -> &Metrics {
        self.fill.source().upstream.metrics()
    }

    fn upstream(&self) -> &Domain {
        self.fill.source().upstream.domain()
    }

    fn count(&self, end: &Result<u64, FillFailure>) {
        let ending = match end {
            Err(FillFailure::Superseded(_)) => return,
            Ok(_) if self.fill.was_local() => FillResult::Local,
            Ok(_) => FillResult::Stored,
            Err(FillFailure::NoSpace(_)) => FillResult::Uncached,
            Err(FillFailure::Error(Error::Mismatch { .. })) => FillResult::Mismatch,
            Err(FillFailure::Error(_)) => FillResult::Failed,
        };
        self.metrics().filled(self.upstream(), ending);
    }

    /// As [`FillJob::establish`], after the upstream has answered. Another fill may have completed meanwhile.
    async fn establish_opened(&self, shown: Shown) -> Result<(), FillFailure> {
        self.establish(shown)?;
        let looked_at = self.fill.from_disk.get().is_some();
        if looked_at || !self.is_here().await { Ok(()) } else { Err(FillFailure::Superseded(shown)) }
    }

    /// Returns whether the blob has bytes on disk.
    async fn is_here(&self) -> bool {
        cached_or_unknown(self.fills.store.has(*self.fill.digest()).await.map(Some)) == Some(true)
    }

    async fn fetch(&self, client: Client) -> Result<u64, FillFailure> {
        let partial = self.fills.store.space.partial_blobs.take(self.fill.digest());
        let from = partial.as_ref().map_or(0, |partial| partial.state.written);
        let split_unless_ranges_fetched = Some(Arc::clone(&self.fill.ranges().any_begun));
        let wanted = FetchRequest { split_unless_ranges_fetched, ..self.fill.wanted(from, None) };
        let mut events = fetch::start(client.clone(), wanted);
        if from > 0 {
            self.metrics().resumed(self.upstream());
        }
        let staged_size = partial.as_ref().map(|partial| partial.size);
        let opened = self.size(&mut events, staged_size).await;
        let established = match opened {
            Ok((size, shown)) => self.establish_opened(shown).await.map(|()| size),
            Err(failure) => Err(failure),
        };
        let size = match established {
            Ok(Some(size)) => size,
            Ok(None) => return self.fetch_unknown_size(&client, events).await,
            Err(failure) => return Err(self.not_resumed(partial, failure)),
        };
        let (staged, state) = match partial {
            Some(partial) if partial.size == size => (partial.staged, partial.state),
            Some(_) => return Err(Error::from(UnusableAnswer::SizeChanged).into()),
            None => match self.stage(size).await {
                Ok(staged) => staged,
                Err(error) => {
                    return Err(self.hand_over(
                        &HashState::new(self.fill.digest().hasher()),
                        size,
                        &error,
                        Some(events),
                    ));
                }
            },
        };
        self.fill.set_file(staged.file());
        let coming = Coming::new(client, events, self.fill.wanted(from, None), size);
        let _ = self.fill.begun.set((Instant::now(), from));
        self.fill.progress.send_replace(FillProgress::Filling { size, written: from });
        let (staged, state) = self.write(coming, staged, state, size).await?;
        self.publish(staged, state.hasher).await?;
        Ok(size)
    }

    /// Puts a partial blob back for a later attempt, even after a 404: the upstream may have been asked for a
    /// repository that has no right to the blob.
    fn not_resumed(&self, partial: Option<PartialBlob>, failure: FillFailure) -> FillFailure {
        if let Some(partial) = partial {
            self.fills.store.space.partial_blobs.put_back(self.fill.digest(), partial);
        }
        failure
    }

    /// Waits for the first answer and returns the blob's size and the authorization that the answer shows. If the
    /// answer has no size, it comes from the manifest, a separate request to the upstream, or an earlier answer
    /// (`before`); `None` if no source gives it.
    async fn size(&self, events: &mut Events, before: Option<u64>) -> Result<(Option<u64>, Shown), FillFailure> {
        let FillSource { upstream, repository, size: named, .. } = self.fill.source();
        let (said, is_another) = match events.recv().await {
            Some(Ok(Event::Opened { size, is_another, .. })) => (size.or(*named), is_another),
            Some(Ok(Event::Bytes(_))) => (None, true),
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Error::Panicked.into()),
        };
        let size = match said {
            Some(size) => Some(size),
            // A failure does not matter, since the bytes are arriving.
            None if before.is_none() => upstream.blob_size(&repository.name, self.fill.digest()).await.ok(),
            None => None,
        };
        let shown = size.filter(|_| !is_another).map_or(Shown::Nothing, Shown::Size);
        let size = size.or(before);
        size.map_or(Ok(()), |size| self.fill.source().agrees(self.fill.digest(), size))?;
        Ok((size, shown))
    }

    async fn stage(&self, size: u64) -> Result<(Staged, Box<HashState>), Error> {
        let staged = self.fills.store.stage(self.fill.digest(), Purpose::Mirrored, size).await?;
        Ok((staged, Box::new(HashState::new(self.fill.digest().hasher()))))
    }

    /// Writes the bytes as they come until the staged file is complete. If the upstream fails, the bytes written are
    /// kept for the next fill; if the disk does, each reader goes on alone.
    async fn write(
        &self,
        coming: Coming,
        staged: Staged,
        state: Box<HashState>,
        size: u64,
    ) -> Result<(Staged, Box<HashState>), FillFailure> {
        let writer = Writer::new(HashingFile::new(staged.writer(), state), self.fills.store.execution.lanes().clone());
        let mut transfer = Transfer { coming, writer, size, unread: UnreadTimer::default() };
        match transfer.run(&self.fill).await {
            Ok(()) => {}
            Err(Interruption::Source(error)) => return Err(self.give_up(transfer.writer, staged, size, error).await),
            Err(Interruption::Disk(failed)) => return Err(self.go_on_without_disk(failed, size)),
        }
        match transfer.writer.finish().await {
            Ok(hashing_file) => Ok((staged, hashing_file.into_state())),
            Err(failed) => Err(self.go_on_without_disk(failed, size)),
        }
    }

    fn go_on_without_disk(&self, (hashing_file, error): WriteFailed<Box<HashState>>, size: u64) -> FillFailure {
        self.hand_over(hashing_file.state(), size, &error.into(), None)
    }

    /// Keeps the staged bytes as a partial blob, for the next fill.
    async fn give_up(&self, writer: Writer<Box<HashState>>, staged: Staged, size: u64, error: Error) -> FillFailure {
        tracing::warn!(digest = %self.fill.digest(), repository = %self.fill.source().repository, %error, "fill failed");
        if let Ok(hashing_file) = writer.finish().await
            && (1..size).contains(&hashing_file.state().written)
        {
            let (digest, state) = (*self.fill.digest(), hashing_file.into_state());
            // On a lane, since it may remove the file of an older one.
            let keep = move |store: &BlockingStore<'_>| store.space.partial_blobs.put(&digest, staged, state, size);
            let _ = self.fills.store.blocking(Lane::Write, keep).await;
        }
        error.into()
    }

    /// Lets each reader go on alone. The first one takes over the connection in `rest`, if there is one.
    fn hand_over(&self, state: &HashState, size: u64, error: &Error, rest: Option<Events>) -> FillFailure {
        self.fills.store.space.note_uncached(self.fill.digest(), &self.fill.source().repository, error);
        let _ = self.fill.refused.set(Refused::of(error));
        let (hasher, rest) = (state.hasher.clone(), Mutex::new(rest));
        FillFailure::NoSpace(Arc::new(Handover { size, written: state.written, hasher, rest }))
    }

    /// Publishes the staged file if its bytes match the digest.
    pub(in crate::registry) async fn publish(&self, staged: Staged, hasher: Hasher) -> Result<(), FillFailure> {
        let expected = *self.fill.digest();
        let repository = &self.fill.source().repository;
        if hasher.finish() != expected {
            tracing::error!(%repository, digest = %expected, "upstream bytes do not match the digest; discarded");
            self.metrics().mismatched(self.upstream(), Content::Blob);
            return Err(Error::Mismatch { expected }.into());
        }
        // The bytes are verified and readers have them, even if the disk does not keep them.
        if let Err(error) = self.fills.store.publish(staged, expected, Durability::Unsynced, BlobKind::Blob).await {
            self.fills.store.space.note_uncached(&expected, repository, &error);
            let _ = self.fill.refused.set(Refused::of(&error));
        } else {
            self.fills.store.link_layer(repository, expected).await;
        }
        Ok(())
    }
}
