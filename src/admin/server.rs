//! The server's side of the socket.

use std::{
    io,
    ops::ControlFlow,
    os::unix::net::UnixListener as StdListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    runtime::Handle,
    sync::mpsc,
    time::timeout,
};

use super::{Answer, Request, place};
use crate::{
    lanes::Lane,
    registry::{Collection, Registry, STEPS, Verification},
};

/// How long a request may take to be said, and how long it may be.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST: u64 = 64 << 10;
/// Answers that wait for a client that reads slowly; then the work waits.
const WAITING: usize = 256;

/// The socket. Its file goes when this does.
#[derive(Debug)]
pub struct Door {
    listener: StdListener,
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

impl Door {
    /// Opens it in the data directory `root`, whose lock the caller holds.
    ///
    /// # Errors
    /// As the filesystem refuses it.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { listener: place::listen(root)?, path: place::path(root) })
    }

    /// Answers whoever comes, on `tasks`, for as long as that runs.
    ///
    /// # Errors
    /// When the listener cannot be shared.
    pub fn serve(&self, registry: &Arc<Registry>, defaults: Defaults, tasks: &Handle) -> io::Result<()> {
        let (listener, registry, spawn) = (self.listener.try_clone()?, Arc::clone(registry), tasks.clone());
        tasks.spawn(async move {
            let Ok(listener) = UnixListener::from_std(listener) else { return };
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(spawn.spawn(converse(stream, Arc::clone(&registry), defaults))),
                    // Out of descriptors, most likely: some will be free again.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // The next start replaces one that stays.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One request and its answers. A client that leaves ends what it asked for.
async fn converse(stream: UnixStream, registry: Arc<Registry>, defaults: Defaults) {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    let mut reading = BufReader::new(reading.take(LONGEST));
    if !matches!(timeout(PATIENCE, reading.read_line(&mut line)).await, Ok(Ok(1..))) {
        return;
    }
    let (answers, mut waiting) = mpsc::channel(WAITING);
    match serde_json::from_str(&line) {
        Ok(request) => {
            tracing::info!("asked through the socket: {}", line.trim());
            let lanes = registry.lanes().clone();
            drop(lanes.start(Lane::Job, move || perform(&registry, &request, defaults, &answers)));
        }
        Err(error) => {
            let _ = answers.try_send(Answer::Failed { message: format!("this is no request known here: {error}") });
            drop(answers);
        }
    }
    while let Some(answer) = waiting.recv().await {
        let Ok(line) = serde_json::to_string(&answer) else { return };
        if writing.write_all(format!("{line}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Does what is asked, telling of it on the way; blocks until it is done.
fn perform(registry: &Arc<Registry>, request: &Request, defaults: Defaults, answers: &mpsc::Sender<Answer>) {
    let say = |answer| match answers.blocking_send(answer) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let ended = match request {
        &Request::Gc { untagged, dry_run, grace } => {
            let grace = grace.map_or(defaults.grace, Duration::from_millis);
            let mut done = 0;
            let mut tell = |found| say(Answer::found(found, &mut done));
            let collected = registry.collect(Collection { untagged, dry: dry_run, grace }, &mut tell);
            collected.map(|collected| Answer::collected(collected, dry_run))
        }
        &Request::Verify { rate } => {
            let verification = Verification { rate: rate.unwrap_or(defaults.rate), steps: 0..STEPS };
            let mut tell = |checked| say(Answer::checked(checked));
            registry.verify(&verification, &mut tell).map(Answer::verified)
        }
        Request::RebuildIndex => registry.renew_index().map(|()| Answer::Rebuilt),
        Request::Rm { name, dry_run } => Ok(match Request::repository(name) {
            Ok(name) => Answer::removed(registry.remove(&name, *dry_run), &name, *dry_run),
            Err(message) => Answer::Failed { message },
        }),
        Request::Du { tags } => match Request::census(tags.as_ref()) {
            Ok(census) => registry
                .count(&census, &mut |weighed| say(Answer::weighed(weighed)))
                .map(|disk| Answer::Counted(disk.into())),
            Err(message) => Ok(Answer::Failed { message }),
        },
    };
    let _ = say(ended.unwrap_or_else(|error| Answer::Failed { message: error.to_string() }));
}
