//! The least that a registry does with the bytes of a large blob: receive, hash, write and send them, by plain threads
//! and blocking calls of the standard library. It marks the limit of the machine, with which Entrepot is compared.
//!
//! It runs as a process of its own, because CPU time is counted by process: the benchmark starts its own program again.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::{
    ports::Port,
    process::{Process, command},
    scratch, wait_until,
};

/// The first argument of the process, before those of [`serve_if_asked`].
const ARGUMENT: &str = "reference";
/// One read of a socket, and one write of the file.
const PIECE_BYTES: usize = 256 << 10;

/// The loop as a running server. Killed on drop.
pub(crate) struct Reference {
    process: Process,
    port: Port,
    _dir: TempDir,
}

#[allow(dead_code, reason = "one benchmark pulls through it, the other pushes to it")]
impl Reference {
    /// Starts a mirror of `upstream` (`HOST:PORT`) that keeps nothing for the next request.
    pub(crate) fn mirroring(upstream: &str) -> Self {
        Self::start(upstream, scratch::dir("reference"))
    }

    /// Starts a registry for single uploads, each synced before its 201.
    pub(crate) fn hosting(dir: TempDir) -> Self {
        Self::start("none", dir)
    }

    fn start(upstream: &str, dir: TempDir) -> Self {
        let port = Port::reserve();
        let program = std::env::current_exe().unwrap();
        let mut serve = command(program.to_str().unwrap());
        serve.args([ARGUMENT, &port.addr().to_string(), upstream]).arg(dir.path());
        let process = Process::start("reference", serve);
        wait_until("the reference", Duration::from_secs(20), || TcpStream::connect(port.addr()).is_ok());
        Self { process, port, _dir: dir }
    }

    pub(crate) fn address(&self) -> String {
        self.port.addr().to_string()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

/// Returns false at once unless this process was started as a reference; then it serves until it is killed.
pub(crate) fn serve_if_asked() -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [first, address, upstream, dir] = &arguments[..] else { return false };
    if first != ARGUMENT {
        return false;
    }
    let (upstream, dir) = (upstream.clone(), PathBuf::from(dir));
    for (number, client) in TcpListener::bind(address).unwrap().incoming().enumerate() {
        let (upstream, path) = (upstream.clone(), dir.join(number.to_string()));
        let client = client.unwrap();
        thread::spawn(
            move || if upstream == "none" { receive(client, &path) } else { mirror(client, &upstream, &path) },
        );
    }
    true
}

/// Answers one GET: a thread takes the bytes in, and this one sends them.
fn mirror(mut client: TcpStream, upstream: &str, path: &Path) {
    let Some(request) = read_head(&mut client) else { return };
    let mut upstream = TcpStream::connect(upstream).unwrap();
    upstream.write_all(request.as_bytes()).unwrap();
    let head = read_head(&mut upstream).unwrap();
    client.write_all(head.as_bytes()).unwrap();
    let (file, length) = (File::create(path).unwrap(), field(&head, "content-length").unwrap().parse().unwrap());
    let growing = File::open(path).unwrap();
    fs::remove_file(path).unwrap();
    let (written, progress) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || take_in(&mut upstream, length, &file, &written));
        for bytes in progress {
            // The standard library copies from a file to a socket by sendfile(2).
            io::copy(&mut (&growing).take(bytes), &mut client).unwrap();
        }
    });
}

fn take_in(upstream: &mut TcpStream, length: u64, mut file: &File, written: &mpsc::Sender<u64>) {
    let (mut hasher, mut buffer, mut left) = (Sha256::new(), vec![0; PIECE_BYTES], length);
    while left > 0 {
        let read = upstream.read(&mut buffer).unwrap();
        assert!(read > 0, "the upstream ended early");
        hasher.update(&buffer[..read]);
        file.write_all(&buffer[..read]).unwrap();
        left -= read as u64;
        written.send(read as u64).unwrap();
    }
    std::hint::black_box(hasher.finalize());
}

/// Answers the POST, PATCH and PUT of uploads, one after the other.
fn receive(client: TcpStream, path: &Path) {
    let mut client = BufReader::with_capacity(PIECE_BYTES, client);
    let (mut file, mut hasher) = (File::create(path).unwrap(), Sha256::new());
    while let Some(head) = read_head(&mut client) {
        let status = match head.split(' ').next() {
            Some("POST") => {
                (file, hasher) = (File::create(path).unwrap(), Sha256::new());
                "202 Accepted"
            }
            Some("PATCH") => {
                take_chunks(&mut client, &mut hasher, &mut file);
                "202 Accepted"
            }
            _ => {
                file.sync_all().unwrap();
                std::hint::black_box(hasher.finalize_reset());
                "201 Created"
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\nLocation: /session\r\nContent-Length: 0\r\n\r\n");
        client.get_mut().write_all(answer.as_bytes()).unwrap();
    }
    fs::remove_file(path).unwrap();
}

/// Reads a chunked body (RFC 9112, section 7.1).
fn take_chunks(client: &mut impl BufRead, hasher: &mut Sha256, file: &mut File) {
    loop {
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        let mut left = usize::from_str_radix(line.trim(), 16).unwrap();
        let is_last = left == 0;
        while left > 0 {
            let bytes = client.fill_buf().unwrap();
            let taken = bytes.len().min(left);
            hasher.update(&bytes[..taken]);
            file.write_all(&bytes[..taken]).unwrap();
            client.consume(taken);
            left -= taken;
        }
        client.read_line(&mut line).unwrap();
        if is_last {
            return;
        }
    }
}

/// Reads a head byte by byte, which does not matter beside a large body; `None` if the connection ends.
fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend_from_slice(&byte);
    }
    Some(String::from_utf8(head).unwrap())
}

fn field<'head>(head: &'head str, name: &str) -> Option<&'head str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
