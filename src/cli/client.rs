//! Executes a command's request: through the admin socket of the server that uses the volume, or in this process if
//! there is none.

use std::{
    io::{self, BufRead, BufReader, BufWriter, Read as _, Write},
    ops::ControlFlow,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::{Failure, logging, volume};
use crate::{
    admin::{self, AdminRequest, AdminResponse, Defaults},
    config,
    index::Index,
    lanes::{Blocking, Lanes},
    metrics::Metrics,
    registry::Volume,
    storage::Storage,
};

/// The longest chunk of content that is accepted.
const MAX_CHUNK_BYTES: usize = 16 << 20;
/// The bytes of content that are sent at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Executes the request in the running server, and shows each response. Returns the last one.
///
/// # Errors
/// [`Failure`] if no server uses the volume, or the request fails.
pub(super) fn ask_running(
    io: &Blocking,
    config: &config::StorageConfig,
    request: &AdminRequest,
    mut show: impl FnMut(&AdminResponse),
) -> Result<AdminResponse, Failure> {
    let last = ask(io, running(io, config)?, request, &mut show)?;
    conclude(last, &mut show)
}

/// A part of a response with content.
pub(super) enum Received<'a> {
    /// A response, the last one included.
    Response(&'a AdminResponse),
    /// Bytes of content.
    Chunk(&'a [u8]),
}

/// Executes a request in the running server that is answered with content, and passes everything to `take`, whose first
/// error ends the request.
///
/// # Errors
/// [`Failure`] if no server uses the volume, the request fails, or `take` does.
pub(super) fn receive(
    io: &Blocking,
    config: &config::StorageConfig,
    request: &AdminRequest,
    mut take: impl FnMut(Received<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reading = BufReader::new(send(io, running(io, config)?, request)?);
    let (mut line, mut chunk) = (String::new(), Vec::new());
    loop {
        line.clear();
        if reading.read_line(&mut line).map_err(left)? == 0 {
            return Err(left("the connection was closed"));
        }
        let answer = parse(&line)?;
        match &answer {
            AdminResponse::Failed { message } => return Err(Failure::failed(message)),
            AdminResponse::Chunk { bytes } => {
                let bytes = usize::try_from(*bytes).ok().filter(|bytes| *bytes <= MAX_CHUNK_BYTES);
                chunk.resize(bytes.ok_or_else(|| left("a chunk is too long"))?, 0);
                reading.read_exact(&mut chunk).map_err(left)?;
                take(Received::Chunk(&chunk))?;
            }
            answer => take(Received::Response(answer))?,
        }
        if answer.is_last() {
            return Ok(());
        }
    }
}

fn left(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the server left in the middle: {error}"))
}

fn parse(line: &str) -> Result<AdminResponse, Failure> {
    serde_json::from_str(line).map_err(|error| Failure::failed(format!("the server is of another version: {error}")))
}

/// Executes a request in the running server that content follows. `send_content` gets the digests of the blobs that are
/// wanted. Returns the last response.
///
/// # Errors
/// [`Failure`] if no server uses the volume, the request fails, or `send_content` does.
pub(super) fn upload(
    io: &Blocking,
    config: &config::StorageConfig,
    request: &AdminRequest,
    send_content: impl FnOnce(&[String], &mut dyn Write) -> Result<(), Failure>,
) -> Result<AdminResponse, Failure> {
    upload_on(send(io, running(io, config)?, request)?, send_content)
}

/// Sends the content that follows a request, on the connection of that request.
fn upload_on(
    stream: UnixStream,
    send_content: impl FnOnce(&[String], &mut dyn Write) -> Result<(), Failure>,
) -> Result<AdminResponse, Failure> {
    let mut reading = BufReader::new(stream.try_clone().map_err(left)?);
    let wanted = match next(&mut reading)? {
        AdminResponse::ImportWanted { blobs } => blobs,
        other => return conclude(other, &mut |_| {}),
    };
    let mut writing = BufWriter::with_capacity(BUFFER_BYTES, ServerWriter { stream, has_failed: false });
    let sent = send_content(&wanted, &mut writing).and_then(|()| writing.flush().map_err(left));
    match sent {
        // The archive cannot be read. The server waits for the rest of it, until this closes the connection.
        Err(error) if !writing.get_ref().has_failed => Err(error),
        // A server that refuses it says why and closes: that is more than the failed write.
        sent => match (next(&mut reading), sent) {
            (Ok(AdminResponse::Failed { message }), _) => Err(Failure::failed(message)),
            (_, Err(error)) => Err(error),
            (last, Ok(())) => last,
        },
    }
}

/// The connection to a server, which records that the server no longer takes what is written.
struct ServerWriter {
    stream: UnixStream,
    has_failed: bool,
}

impl Write for ServerWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes);
        self.has_failed |= written.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn next(reading: &mut impl BufRead) -> Result<AdminResponse, Failure> {
    let mut line = String::new();
    match reading.read_line(&mut line).map_err(left)? {
        0 => Err(left("the connection was closed")),
        _ => parse(&line),
    }
}

/// Checks that a server uses the volume, and that this user may ask it.
///
/// # Errors
/// [`Failure`] if not.
pub(super) fn check(io: &Blocking, config: &config::StorageConfig) -> Result<(), Failure> {
    let root = running(io, config)?;
    admin::connect(io, root).map(drop).map_err(|error| unanswered(root, &error))
}

/// Returns the directory of the running server.
///
/// # Errors
/// [`Failure`] if no server uses the volume, or that cannot be determined.
fn running<'a>(io: &Blocking, config: &'a config::StorageConfig) -> Result<&'a Path, Failure> {
    let root = config.rootdirectory.value();
    let is_in_use = match std::fs::metadata(root) {
        Ok(found) => found.is_dir() && is_in_use(io, root)?,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(denied(root, &error)),
        Err(_) => false,
    };
    if !is_in_use {
        let at = root.display();
        let message =
            format!("no server runs on {at}: start one with `entrepot serve --data {at}`, or name another with --data");
        return Err(Failure::failed(message));
    }
    Ok(root)
}

fn is_in_use(io: &Blocking, root: &Path) -> Result<bool, Failure> {
    Storage::is_in_use(io, root).map_err(|error| match error.is_permission_denied() {
        true => denied(root, &error),
        false => Failure::failed(error),
    })
}

/// The failure of a user without the right to ask a server, or to see whether there is one.
fn denied(root: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("{}: {error}: run this as root or as the server's user", root.display()))
}

fn conclude(last: AdminResponse, show: &mut impl FnMut(&AdminResponse)) -> Result<AdminResponse, Failure> {
    show(&last);
    match last {
        AdminResponse::Failed { message } => Err(Failure::failed(message)),
        last => Ok(last),
    }
}

/// Executes the request and shows each response. Returns the last one.
pub(super) fn perform(
    io: &Blocking,
    config: &config::StorageConfig,
    request: &AdminRequest,
    show: impl FnMut(&AdminResponse),
) -> Result<AdminResponse, Failure> {
    perform_on(io, config, request, |volume| volume, show)
}

/// As [`perform`]; without a server, by the configured rules of retention.
pub(super) fn perform_with_rules(
    io: &Blocking,
    config: &config::Config,
    request: &AdminRequest,
    show: impl FnMut(&AdminResponse),
) -> Result<AdminResponse, Failure> {
    let (rules, immutable) = (config.retention.value().clone(), config.immutable.value().clone());
    perform_on(io, &config.storage, request, |volume| volume.with_retention(rules, immutable), show)
}

fn perform_on(
    io: &Blocking,
    config: &config::StorageConfig,
    request: &AdminRequest,
    prepare: impl FnOnce(Volume) -> Volume,
    mut show: impl FnMut(&AdminResponse),
) -> Result<AdminResponse, Failure> {
    let root = &config.rootdirectory;
    match std::fs::metadata(root.value()) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(Failure::usage(root.error("a directory"))),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(denied(root.value(), &error)),
        Err(error) => return Err(Failure::usage(root.error(format!("a directory that is there ({error})")))),
    }
    let last = match is_in_use(io, root.value())? {
        true => ask(io, root.value(), request, &mut show)?,
        false => alone(io, config, request, prepare, &mut show).map_err(Failure::failed)?,
    };
    conclude(last, &mut show)
}

fn ask(
    io: &Blocking,
    root: &Path,
    request: &AdminRequest,
    show: &mut impl FnMut(&AdminResponse),
) -> Result<AdminResponse, Failure> {
    for line in BufReader::new(send(io, root, request)?).lines() {
        let answer = parse(&line.map_err(left)?)?;
        if answer.is_last() {
            return Ok(answer);
        }
        show(&answer);
    }
    Err(Failure::failed("the server left in the middle: what was done until then is done"))
}

/// Connects to the server and sends the request.
fn send(io: &Blocking, root: &Path, request: &AdminRequest) -> Result<UnixStream, Failure> {
    let mut stream = admin::connect(io, root).map_err(|error| unanswered(root, &error))?;
    let line = serde_json::to_string(request).map_err(Failure::failed)?;
    stream.write_all(format!("{line}\n").as_bytes()).map_err(|error| unanswered(root, &error))?;
    Ok(stream)
}

fn unanswered(root: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return denied(root, error);
    }
    Failure::failed(format!(
        "{} is in use by a process that cannot be asked: {error}; nothing was looked at, nothing removed",
        root.display()
    ))
}

fn alone(
    io: &Blocking,
    config: &config::StorageConfig,
    request: &AdminRequest,
    prepare: impl FnOnce(Volume) -> Volume,
    show: &mut impl FnMut(&AdminResponse),
) -> Result<AdminResponse, Box<dyn std::error::Error>> {
    logging::start_for_command();
    let storage = Storage::open(io, config.rootdirectory.value(), volume::limits(config))?;
    let index = Index::open(&storage.index_dir());
    let pinned = config.pinned.value().clone();
    let volume = prepare(Volume::new(io, storage, index, pinned, Metrics::new()?.into(), Lanes::new()?)?);
    let defaults = Defaults { grace: Duration::ZERO, rate: u64::MAX, longest_manifest: None };
    let last = admin::dispatch(request, &volume.maintenance(io), defaults, |answer| {
        show(&answer);
        ControlFlow::Continue(())
    });
    volume.close(io);
    Ok(last)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn line(response: &AdminResponse) -> Vec<u8> {
        format!("{}\n", serde_json::to_string(response).unwrap()).into_bytes()
    }

    /// A server that wants content, reads `bytes` of it or to its end, and refuses it.
    fn refusing(bytes: u64) -> (UnixStream, thread::JoinHandle<u64>) {
        let (client, mut server) = UnixStream::pair().unwrap();
        let limit = Some(Duration::from_secs(10));
        client.set_read_timeout(limit).and_then(|()| client.set_write_timeout(limit)).unwrap();
        let serve = move || {
            server.write_all(&line(&AdminResponse::ImportWanted { blobs: Vec::new() })).unwrap();
            let read = io::copy(&mut (&server).take(bytes), &mut io::sink()).unwrap();
            // The client may have left.
            let _ = server.write_all(&line(&AdminResponse::Failed { message: "of the server".into() }));
            read
        };
        (client, thread::Builder::new().name("refusing server".into()).spawn(serve).unwrap())
    }

    #[test]
    fn an_archive_that_cannot_be_read_ends_the_upload_with_its_error() {
        let (stream, server) = refusing(u64::MAX);
        let began = std::time::Instant::now();
        let failed = upload_on(stream, |_, to| {
            to.write_all(b"half").unwrap();
            Err(Failure::failed("of the archive"))
        });
        assert_eq!(failed.unwrap_err().message, "of the archive");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        server.join().unwrap();
    }

    #[test]
    fn a_server_that_refuses_says_why() {
        let (stream, server) = refusing(1 << 20);
        let failed = upload_on(stream, |_, to| {
            for _ in 0..64 {
                to.write_all(&[0; 1 << 20]).map_err(left)?;
            }
            Ok(())
        });
        assert_eq!((failed.unwrap_err().message.as_str(), server.join().unwrap()), ("of the server", 1 << 20));
    }
}
