//! The server's side of the admin socket: accepts connections, reads one request from each, runs it on a job thread
//! (`dispatch.rs`) or, if it pulls images, as asynchronous work (`warm.rs`, `export.rs`, `import.rs`), and writes the
//! responses.

use std::{
    io,
    os::unix::net::UnixListener as StdListener,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    runtime::Handle,
    sync::mpsc,
    time::timeout,
};

use super::{
    AdminRequest, AdminResponse, ContentRequest, Defaults,
    answers::{Answers, Frame, Stalled},
    dispatch, export, import, refresh, socket, warm,
};
use crate::{
    lanes::{Blocking, Lane},
    registry::Registry,
};

/// The timeouts for reading a request and for writing a response. `MAX_REQUEST_BYTES` limits a request's length.
const IO_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failed accept.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
const MAX_REQUEST_BYTES: u64 = 1 << 20;
const MAX_LOGGED_CHARS: usize = 300;
/// The timeout for writing a response with content: its client writes that to wherever it goes before it reads on.
const CONTENT_TIMEOUT: Duration = Duration::from_secs(600);

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

/// Reads one request, executes it and writes its responses.
async fn serve_connection(stream: UnixStream, registry: Arc<Registry>, defaults: Defaults) {
    let (reading, writing) = stream.into_split();
    let mut line = String::new();
    let mut reading = BufReader::new(reading.take(MAX_REQUEST_BYTES));
    if !matches!(timeout(IO_TIMEOUT, reading.read_line(&mut line)).await, Ok(Ok(1..))) {
        return;
    }
    let request: Result<AdminRequest, _> = serde_json::from_str(&line);
    let sends_content = matches!(request, Ok(AdminRequest::Export { .. }));
    let (answers, waiting, stalled) = Answers::channel(sends_content);
    let limit = if sends_content { CONTENT_TIMEOUT } else { IO_TIMEOUT };
    let responses = write_responses(writing, waiting, &stalled, limit);
    match request {
        Ok(request) => {
            tracing::info!(request = %shown(&line), "admin request");
            // Content may follow.
            reading.get_mut().set_limit(u64::MAX);
            tokio::join!(execute(request, registry, defaults, answers, &mut reading), responses);
        }
        Err(error) => {
            answers.offer(AdminResponse::Failed { message: format!("invalid admin request: {error}") });
            drop(answers);
            responses.await;
        }
    }
}

/// Returns the begin of a request, for the log: it may list thousands of blobs.
fn shown(request: &str) -> &str {
    let request = request.trim();
    request.char_indices().nth(MAX_LOGGED_CHARS).map_or(request, |(end, _)| &request[..end])
}

/// Executes a request: blocking work on a job thread, which goes on after this returns.
async fn execute(
    request: AdminRequest,
    registry: Arc<Registry>,
    defaults: Defaults,
    answers: Answers,
    content: &mut (impl AsyncRead + Unpin),
) {
    match &request {
        AdminRequest::Warm { images, platforms } => return warm::serve(&registry, images, platforms, answers).await,
        AdminRequest::Export { images, platforms } => {
            return export::serve(&registry, images, platforms, answers).await;
        }
        AdminRequest::Content(ContentRequest::Refresh { images }) => {
            return refresh::serve(&registry, images, &answers).await;
        }
        AdminRequest::Import(import) => {
            return import::serve(&registry, import, content, &answers, defaults.longest_manifest).await;
        }
        _ => {}
    }
    let lanes = registry.lanes().clone();
    let work = move |io: &Blocking| {
        let last = dispatch(&request, &registry.maintenance(io), defaults, |answer| answers.send(answer));
        let _ = answers.send(last);
    };
    drop(lanes.start(Lane::Job, work));
}

/// Writes the responses until the work has ended or the client has left.
async fn write_responses(
    mut writing: OwnedWriteHalf,
    mut waiting: mpsc::Receiver<Frame>,
    stalled: &Stalled,
    limit: Duration,
) {
    while let Some(frame) = waiting.recv().await {
        let (message, chunk) = match frame {
            Frame::Message(message) => (message, Bytes::new()),
            Frame::Chunk(chunk) => (AdminResponse::Chunk { bytes: chunk.len() as u64 }, chunk),
        };
        let Ok(line) = serde_json::to_string(&message) else { return };
        let write = async {
            writing.write_all(format!("{line}\n").as_bytes()).await?;
            writing.write_all(&chunk).await
        };
        match timeout(limit, write).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::warn!("admin client stopped reading");
                stalled.store(true, Ordering::SeqCst);
                return;
            }
        }
    }
}
