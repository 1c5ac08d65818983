//! The server's side of the socket.

use std::{
    io,
    ops::ControlFlow,
    os::unix::net::UnixListener as StdListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    runtime::Handle,
    sync::mpsc,
    time::timeout,
};

use super::{Request, Response, socket_path};
use crate::{
    lanes::Lane,
    registry::{Collection, Registry, VERIFY_SHARDS, Verification},
};

/// How long a request may take to be said, and an answer to be taken; and how long a request may be.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a listener rests that cannot accept.
const REST: Duration = Duration::from_millis(100);
const LONGEST: u64 = 64 << 10;
/// Answers that wait for a client that reads slowly; then the work waits.
const WAITING: usize = 256;

/// The socket. Its file goes when this does.
#[derive(Debug)]
pub struct AdminSocket {
    listener: Arc<StdListener>,
    path: PathBuf,
}

/// What the server does where a request does not say.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// How long what nothing names yet is left alone.
    pub grace: Duration,
    /// How fast what is stored is read: bytes a second.
    pub rate: u64,
}

impl AdminSocket {
    /// Opens it in the data directory `root`, whose lock the caller holds.
    ///
    /// # Errors
    /// As the filesystem refuses it.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { listener: Arc::new(socket_path::listen(root)?), path: socket_path::path(root) })
    }

    /// Answers to whoever comes; each conversation is a task of `tasks`.
    #[must_use]
    pub fn acceptor(&self, registry: &Arc<Registry>, defaults: Defaults, tasks: &Handle) -> Acceptor {
        let (listener, registry, tasks) = (Arc::clone(&self.listener), Arc::clone(registry), tasks.clone());
        Acceptor { listener, registry, defaults, tasks }
    }
}

/// Accepts connections to the socket.
#[derive(Clone, Debug)]
pub struct Acceptor {
    listener: Arc<StdListener>,
    registry: Arc<Registry>,
    defaults: Defaults,
    tasks: Handle,
}

impl Acceptor {
    /// Answers whoever comes, and never ends.
    pub async fn run(self) {
        let listener = loop {
            match self.listener.try_clone().and_then(UnixListener::from_std) {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(REST).await,
            }
        };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    drop(self.tasks.spawn(converse(stream, Arc::clone(&self.registry), self.defaults)));
                }
                // Out of descriptors, most likely: some will be free again.
                Err(_) => tokio::time::sleep(REST).await,
            }
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // The next start replaces one that stays.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where answers go.
struct Answers {
    sender: mpsc::Sender<Response>,
    /// Whether the client is there and takes none.
    stalled: Arc<AtomicBool>,
}

impl Answers {
    /// Says whether to go on. A client that leaves ends what it asked for; one that only stops reading does not.
    fn say(&self, answer: Response) -> ControlFlow<()> {
        match self.sender.blocking_send(answer) {
            Err(_) if !self.stalled.load(Ordering::SeqCst) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// One request and its answers.
async fn converse(stream: UnixStream, registry: Arc<Registry>, defaults: Defaults) {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    let mut reading = BufReader::new(reading.take(LONGEST));
    if !matches!(timeout(PATIENCE, reading.read_line(&mut line)).await, Ok(Ok(1..))) {
        return;
    }
    let (sender, mut waiting) = mpsc::channel(WAITING);
    let stalled = Arc::new(AtomicBool::new(false));
    match serde_json::from_str(&line) {
        Ok(request) => {
            tracing::info!("asked through the socket: {}", line.trim());
            let lanes = registry.lanes().clone();
            let answers = Answers { sender, stalled: Arc::clone(&stalled) };
            drop(lanes.start(Lane::Job, move || perform(&registry, &request, defaults, &answers)));
        }
        Err(error) => {
            let _ = sender.try_send(Response::Failed { message: format!("this is no request known here: {error}") });
            drop(sender);
        }
    }
    while let Some(answer) = waiting.recv().await {
        let Ok(answer) = serde_json::to_string(&answer) else { return };
        match timeout(PATIENCE, writing.write_all(format!("{answer}\n").as_bytes())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::warn!("a command reads no answers any more, and what it asked for goes on: {}", line.trim());
                stalled.store(true, Ordering::SeqCst);
                return;
            }
        }
    }
}

/// Does what is asked, telling of it on the way; blocks until it is done.
fn perform(registry: &Arc<Registry>, request: &Request, defaults: Defaults, answers: &Answers) {
    let ended = match request {
        &Request::Gc { untagged, dry_run, grace } => {
            let grace = grace.map_or(defaults.grace, Duration::from_millis);
            let mut done = 0;
            let mut tell = |found| answers.say(Response::found(found, &mut done));
            let collected = registry.collect(Collection { untagged, dry: dry_run, grace }, &mut tell);
            collected.map(|collected| Response::collected(collected, dry_run))
        }
        &Request::Verify { rate } => {
            let verification = Verification { rate: rate.unwrap_or(defaults.rate), steps: 0..VERIFY_SHARDS };
            let mut tell = |checked| answers.say(Response::checked(checked));
            registry.verify(&verification, &mut tell).map(Response::verified)
        }
        Request::RebuildIndex => registry.rebuild_index().map(|()| Response::Rebuilt),
        Request::Rm { name, dry_run } => Ok(match Request::repository(name) {
            Ok(name) => Response::removed(registry.remove(&name, *dry_run), &name, *dry_run),
            Err(message) => Response::Failed { message },
        }),
        Request::Du { tags } => match Request::census(tags.as_ref()) {
            Ok(census) => registry
                .count(&census, &mut |weighed| answers.say(Response::weighed(weighed)))
                .map(|disk| Response::Counted(disk.into())),
            Err(message) => Ok(Response::Failed { message }),
        },
    };
    let _ = answers.say(ended.unwrap_or_else(|error| Response::Failed { message: error.to_string() }));
}
