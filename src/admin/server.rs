//! The server's side of the admin socket: accepts connections, reads one request from each, runs it on a job thread
//! (`dispatch.rs`) and writes the responses.

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

use super::{AdminResponse, Defaults, dispatch, socket};
use crate::{
    lanes::{Blocking, Lane},
    registry::Registry,
};

/// The timeouts for reading a request and for writing a response. `MAX_REQUEST_BYTES` limits a request's length.
const IO_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failed accept.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
const MAX_REQUEST_BYTES: u64 = 64 << 10;
/// The most responses queued for a slow client; beyond it, the work waits.
const MAX_QUEUED_RESPONSES: usize = 256;

/// The admin socket. Dropping it removes its file.
#[derive(Debug)]
pub struct AdminSocket {
    listener: Arc<StdListener>,
    path: PathBuf,
}

impl AdminSocket {
    /// Opens the socket in the data directory `root`, whose lock the caller holds.
    ///
    /// # Errors
    /// The filesystem's error if the socket cannot be created.
    pub fn open(io: &Blocking, root: &Path) -> io::Result<Self> {
        Ok(Self { listener: Arc::new(socket::listen(io, root)?), path: socket::path(root) })
    }

    /// Returns an acceptor that runs each connection as a task of `tasks`.
    #[must_use]
    pub fn acceptor(&self, registry: &Arc<Registry>, defaults: Defaults, tasks: &Handle) -> AdminAcceptor {
        let (listener, registry, tasks) = (Arc::clone(&self.listener), Arc::clone(registry), tasks.clone());
        AdminAcceptor { listener, registry, defaults, tasks }
    }
}

/// Accepts connections to the socket.
#[derive(Clone, Debug)]
pub struct AdminAcceptor {
    listener: Arc<StdListener>,
    registry: Arc<Registry>,
    defaults: Defaults,
    tasks: Handle,
}

impl AdminAcceptor {
    /// Accepts and serves connections; never returns.
    pub async fn run(self) {
        let listener = loop {
            match self.listener.try_clone().and_then(UnixListener::from_std) {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(ACCEPT_RETRY_DELAY).await,
            }
        };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    drop(self.tasks.spawn(serve_connection(stream, Arc::clone(&self.registry), self.defaults)));
                }
                // Probably out of file descriptors; some will become free.
                Err(_) => tokio::time::sleep(ACCEPT_RETRY_DELAY).await,
            }
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let io = Blocking::inline("dropped by the main thread, after its runtime has ended");
        // If this fails, the next start replaces the file.
        let _ = socket::remove(&io, &self.path);
    }
}

/// The channel for a request's responses.
struct Answers {
    sender: mpsc::Sender<AdminResponse>,
    /// True if the client is connected but does not read.
    stalled: Arc<AtomicBool>,
}

impl Answers {
    /// Sends a response, and returns `Break` if the request is to be cancelled: when the client has left, not when it
    /// only stops reading.
    fn send(&self, answer: AdminResponse) -> ControlFlow<()> {
        match self.sender.blocking_send(answer) {
            Err(_) if !self.stalled.load(Ordering::SeqCst) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Reads one request and writes its responses.
async fn serve_connection(stream: UnixStream, registry: Arc<Registry>, defaults: Defaults) {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    let mut reading = BufReader::new(reading.take(MAX_REQUEST_BYTES));
    if !matches!(timeout(IO_TIMEOUT, reading.read_line(&mut line)).await, Ok(Ok(1..))) {
        return;
    }
    let (sender, mut waiting) = mpsc::channel(MAX_QUEUED_RESPONSES);
    let stalled = Arc::new(AtomicBool::new(false));
    match serde_json::from_str(&line) {
        Ok(request) => {
            tracing::info!(request = %line.trim(), "admin request");
            let lanes = registry.lanes().clone();
            let answers = Answers { sender, stalled: Arc::clone(&stalled) };
            let work = move |io: &Blocking| {
                let last = dispatch(&request, &registry.maintenance(io), defaults, |answer| answers.send(answer));
                let _ = answers.send(last);
            };
            drop(lanes.start(Lane::Job, work));
        }
        Err(error) => {
            let _ = sender.try_send(AdminResponse::Failed { message: format!("invalid admin request: {error}") });
            drop(sender);
        }
    }
    while let Some(answer) = waiting.recv().await {
        let Ok(answer) = serde_json::to_string(&answer) else { return };
        match timeout(IO_TIMEOUT, writing.write_all(format!("{answer}\n").as_bytes())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::warn!(request = %line.trim(), "admin client stopped reading; its request continues");
                stalled.store(true, Ordering::SeqCst);
                return;
            }
        }
    }
}
