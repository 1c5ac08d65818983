//! Thread pools for blocking work, called lanes, by how long the work takes: slow work never shares threads with the
//! work that a client's next byte waits for.
//!
//! Each lane has threads of its own, started on demand, and a FIFO queue. Work that was submitted runs even if its
//! caller is dropped, as happens when a client disconnects. Only such work gets a [`Blocking`], without which no file
//! can be read or written.

mod blocking;

use std::{io, sync::Arc, thread::available_parallelism};

pub use blocking::Blocking;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::{JoinError, JoinHandle},
};

/// The kind of work, which determines how long it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Looks names up on disk and opens files: microseconds, unless the disk is slow. Takes no lock.
    Look,
    /// Reads a piece of a body, or a small file. Takes no lock.
    Read,
    /// Writes without a sync: pieces of bodies, and links and folders of mirrored content.
    Write,
    /// Syncs files and folders before an acknowledgement.
    Sync,
    /// Hashes and parses small documents in memory.
    Compute,
    /// Hashes files of any size: seconds to minutes each.
    Hash,
    /// Lists content on disk or in the index.
    List,
    /// Evicts mirrored content.
    Evict,
    /// Reads much at the request of people who browse, and of the management API: seconds each. Clients do not wait for
    /// these threads.
    Browse,
    /// Answers probes and scrapes. A disk that hangs blocks these threads and no others.
    Probe,
    /// Runs background jobs and commands of the admin socket: minutes to hours each.
    Job,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 11] = [
        Self::Look,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::Compute,
        Self::Hash,
        Self::List,
        Self::Evict,
        Self::Browse,
        Self::Probe,
        Self::Job,
    ];

    /// Returns its name, which its threads have too.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Compute => "compute",
            Self::Hash => "hash",
            Self::List => "list",
            Self::Evict => "evict",
            Self::Browse => "browse",
            Self::Probe => "probe",
            Self::Job => "job",
        }
    }

    /// Returns its maximum number of threads. Reads, writes and syncs wait for the disk, which serves many at once.
    /// Hashing and parsing keep a core busy, and must leave some to the rest.
    fn threads(self) -> usize {
        let processors = available_parallelism().map_or(1, usize::from);
        match self {
            Self::Look | Self::Read => (16 * processors).clamp(32, 256),
            Self::Write | Self::Sync => (16 * processors).clamp(32, 128),
            Self::Compute | Self::Hash => (processors / 2).clamp(2, 8),
            Self::List => 4,
            Self::Evict | Self::Browse => 2,
            Self::Probe => 4,
            Self::Job => 64,
        }
    }
}

/// The lanes of one process.
#[derive(Clone, Debug)]
pub struct Lanes(Arc<Vec<Threads>>);

/// One lane's threads: the blocking threads of a runtime that runs nothing else.
#[derive(Debug)]
struct Threads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Does not block: the last owner may be an async task.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Lanes {
    /// Creates the lanes. No thread starts before there is work for it.
    ///
    /// # Errors
    /// The operating system's error if a runtime cannot be created.
    pub fn new() -> io::Result<Self> {
        Lane::ALL.into_iter().map(Threads::new).collect::<io::Result<_>>().map(|lanes| Self(Arc::new(lanes)))
    }

    /// Runs `work` on a thread of `lane`, even if the handle is dropped.
    pub fn start<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&Blocking) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        #[expect(clippy::disallowed_methods, reason = "this is what the ban points to")]
        self.0[lane as usize].handle.spawn_blocking(move || work(&Blocking::of_lane()))
    }

    /// Runs `work` on a thread of `lane` and waits for its result.
    ///
    /// # Errors
    /// [`JoinError`] if `work` panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&Blocking) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        self.start(lane, work).await
    }
}

impl Threads {
    fn new(lane: Lane) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(lane.threads())
            .thread_name(format!("lane-{}", lane.as_str()))
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        time::Duration,
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn each_lane_stands_where_it_is_looked_for() {
        assert!(Lane::ALL.iter().enumerate().all(|(place, lane)| *lane as usize == place));
    }

    #[tokio::test]
    async fn a_lane_whose_threads_are_all_taken_is_in_no_other_lane_s_way() {
        let lanes = Lanes::new().unwrap();
        let (free, blocked) = mpsc::channel::<()>();
        let blocked = Arc::new(parking_lot::Mutex::new(blocked));
        for lane in Lane::ALL.into_iter().filter(|lane| *lane != Lane::Look) {
            for _ in 0..2 * lane.threads() {
                let blocked = Arc::clone(&blocked);
                drop(lanes.start(lane, move |_| blocked.lock().recv()));
            }
        }
        let looked = tokio::time::timeout(LONG, lanes.run(Lane::Look, |_| 1)).await;
        assert_eq!(looked.expect("it waits for no other lane").unwrap(), 1);
        drop(free);
    }

    #[tokio::test]
    async fn a_lane_has_as_many_threads_as_it_says() {
        let lanes = Lanes::new().unwrap();
        let (most, running) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (most, running) = (Arc::clone(&most), Arc::clone(&running));
            lanes.run(Lane::Evict, move |_| {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                running.fetch_sub(1, Ordering::SeqCst);
            })
        };
        futures_util::future::join_all((0..20).map(|_| work())).await;
        assert_eq!(most.load(Ordering::SeqCst), Lane::Evict.threads());
    }

    #[tokio::test]
    async fn work_goes_on_when_the_asker_leaves_and_a_panic_takes_no_thread() {
        let lanes = Lanes::new().unwrap();
        assert!(lanes.run(Lane::Evict, |_| panic!("on purpose")).await.unwrap_err().is_panic());
        let done = Arc::new(Barrier::new(2));
        let there = Arc::clone(&done);
        drop(lanes.start(Lane::Evict, move |_| there.wait()));
        lanes.run(Lane::Job, move |_| done.wait()).await.unwrap();
    }
}
