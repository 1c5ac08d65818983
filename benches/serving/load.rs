//! Clients: quick ones that discard the content, many concurrent slow ones, and `wrk` for small content.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::{
    gauge,
    support::process::{command, run},
    table::median,
    target::Target,
};

const BUFFER: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(120);
/// docker-registry returns an OCI manifest only to a client that accepts it.
const ACCEPT: &str = "Accept: application/vnd.oci.image.manifest.v1+json";

/// The results of quick clients, and the server's cost.
pub(crate) struct Load {
    /// From the first connection to the last byte.
    pub(crate) wall: f64,
    /// To the first byte of a body: the clients' median.
    pub(crate) first_byte: f64,
    /// The server's CPU seconds for each GiB delivered.
    pub(crate) cpu_per_gib: f64,
}

/// `clients` pull `path` at once, `times` each.
pub(crate) fn pull(target: &Target, path: &str, clients: usize, times: usize) -> Load {
    let (cpu, start) = (gauge::cpu(target.pid), Instant::now());
    let pulls = thread::scope(|scope| {
        let client = || (0..times).map(|_| drain(&target.address, path)).collect::<Vec<_>>();
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let wall = start.elapsed().as_secs_f64();
    let cpu = gauge::cpu(target.pid) - cpu;
    let gib = pulls.iter().map(|pull| pull.length).sum::<u64>() as f64 / f64::from(1 << 30);
    let first_byte = median(pulls.iter().map(|pull| pull.first_byte));
    Load { wall, first_byte, cpu_per_gib: cpu / gib }
}

pub(crate) struct Drained {
    length: u64,
    first_byte: f64,
}

/// Gets a path and discards the body. Panics if it is incomplete.
pub(crate) fn drain(address: &str, path: &str) -> Drained {
    let start = Instant::now();
    let mut stream = ask(address, path);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = vec![0; BUFFER];
    let (head, mut got) = read_head(&mut stream, &mut buffer);
    let expected = length(&head);
    let mut first_byte = (got > 0).then(|| start.elapsed());
    while got < expected {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "{path} of {address} was cut at byte {got} of {expected}");
        first_byte.get_or_insert_with(|| start.elapsed());
        got += read as u64;
    }
    Drained { length: got, first_byte: first_byte.unwrap_or_default().as_secs_f64() }
}

fn ask(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{ACCEPT}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// The head of a response, and the number of bytes of the body read with it.
fn read_head(stream: &mut TcpStream, buffer: &mut [u8]) -> (String, u64) {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).unwrap();
        assert!(read > 0, "the connection ended within a head");
        filled += read;
        if let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            return (head, (filled - end - 4) as u64);
        }
    }
}

fn length(head: &str) -> u64 {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut found = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    found.next().unwrap().1.trim().parse().unwrap()
}

/// Requests per second, and the server's CPU in microseconds for each.
pub(crate) struct Small {
    pub(crate) rate: f64,
    pub(crate) micros: f64,
}

/// `wrk` on two threads with 32 connections.
pub(crate) fn hammer(target: &Target, path: &str, time: Duration) -> Small {
    let mut wrk = command("wrk");
    wrk.args(["--threads", "2", "--connections", "32", "--duration", &format!("{}s", time.as_secs())]);
    wrk.args(["--timeout", "60s", "--header", ACCEPT]).arg(format!("http://{}{path}", target.address));
    let cpu = gauge::cpu(target.pid);
    let output = run("wrk", wrk, time + PATIENCE).expect_success("wrk").output;
    let cpu = gauge::cpu(target.pid) - cpu;
    assert!(!output.contains("Non-2xx") && !output.contains("Socket errors"), "{}: {output}", target.name);
    let answered = word_before(&output, " requests in ");
    let rate = output.lines().find_map(|line| line.strip_prefix("Requests/sec:")).unwrap().trim().parse().unwrap();
    Small { rate, micros: cpu * 1e6 / answered }
}

fn word_before(text: &str, mark: &str) -> f64 {
    text.split(mark).next().unwrap().rsplit([' ', '\n']).next().unwrap().parse().unwrap()
}

/// Many clients of one path, each at a limited rate; one thread drives them all.
pub(crate) struct Herd {
    clients: Vec<TcpStream>,
    /// Bytes each has taken.
    taken: Vec<u64>,
}

impl Herd {
    pub(crate) fn gather(target: &Target, path: &str, clients: usize) -> Self {
        let clients: Vec<_> = (0..clients).map(|_| ask(&target.address, path)).collect();
        clients.iter().for_each(|client| client.set_nonblocking(true).unwrap());
        Self { taken: vec![0; clients.len()], clients }
    }

    /// Lets each take `pace` bytes a second for some time; returns the bytes of the slowest.
    pub(crate) fn graze(mut self, pace: u64, time: Duration) -> u64 {
        let start = Instant::now();
        let mut buffer = vec![0; 8 << 10];
        while start.elapsed() < time {
            for number in 0..self.clients.len() {
                let due = (start.elapsed().as_secs_f64() * pace as f64) as u64;
                self.lead(number, due, &mut buffer);
            }
            thread::sleep(Duration::from_millis(100));
        }
        self.taken.into_iter().min().unwrap()
    }

    fn lead(&mut self, number: usize, due: u64, buffer: &mut [u8]) {
        while self.taken[number] < due {
            let most = usize::try_from(due - self.taken[number]).unwrap().min(buffer.len());
            match self.clients[number].read(&mut buffer[..most]) {
                Ok(read) if read > 0 => self.taken[number] += read as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                ended => panic!("slow client {number} was cut: {ended:?}"),
            }
        }
    }
}
