//! A client that pushes as docker does, at little cost of its own.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{content::Body, gauge, servers::Target};

const REPOSITORY: &str = "team/bench";
const PATIENCE: Duration = Duration::from_secs(120);

/// The results of a round of pushes.
pub(crate) struct Load {
    /// Seconds from the first request to the last 201.
    pub(crate) wall: f64,
    /// The server's CPU seconds.
    pub(crate) cpu: f64,
}

/// Pushes all of `bodies`, each over a free connection.
pub(crate) fn push(target: &Target, bodies: &[Body], connections: usize) -> Load {
    let mut connections: Vec<_> = (0..connections).map(|_| Connection::open(&target.address)).collect();
    let next = AtomicUsize::new(0);
    let (cpu, start) = (gauge::cpu(target.pid), Instant::now());
    thread::scope(|scope| {
        for connection in &mut connections {
            scope.spawn(|| {
                while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    connection.push(body);
                }
            });
        }
    });
    let wall = start.elapsed().as_secs_f64();
    Load { wall, cpu: gauge::cpu(target.pid) - cpu }
}

struct Connection {
    stream: TcpStream,
    address: String,
}

impl Connection {
    fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, address: address.to_owned() }
    }

    fn push(&mut self, body: &Body) {
        let session = self.ask("POST", &format!("/v2/{REPOSITORY}/blobs/uploads/"), None, "202");
        let session = self.ask("PATCH", &session, Some(&body.wire), "202");
        let joint = if session.contains('?') { '&' } else { '?' };
        self.ask("PUT", &format!("{session}{joint}digest={}", body.digest), None, "201");
    }

    /// Sends a request, with a chunked body or an empty one; returns the URL in the `Location` of the response.
    fn ask(&mut self, method: &str, path: &str, chunked: Option<&[u8]>, status: &str) -> String {
        let framing = if chunked.is_some() { "Transfer-Encoding: chunked" } else { "Content-Length: 0" };
        let mut message =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{framing}\r\n\r\n", self.address).into_bytes();
        // A small body goes in one packet, as from Go's buffered writer.
        let mut body = chunked.unwrap_or_default();
        if body.len() <= 8 << 10 {
            message.extend_from_slice(body);
            body = &[];
        }
        self.stream.write_all(&message).unwrap();
        self.stream.write_all(body).unwrap();
        let head = self.head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path} of {}: {head}", self.address);
        let location = field(&head, "location").expect("a Location");
        let path = location.split_once("://").map_or(location, |(_, rest)| &rest[rest.find('/').unwrap()..]);
        path.to_owned()
    }

    /// The head of a response that has no body.
    fn head(&mut self) -> String {
        let (mut buffer, mut filled) = ([0; 8 << 10], 0);
        while !buffer[..filled].ends_with(b"\r\n\r\n") {
            let read = self.stream.read(&mut buffer[filled..]).unwrap();
            assert!(read > 0, "{} closed: {}", self.address, String::from_utf8_lossy(&buffer[..filled]));
            filled += read;
        }
        String::from_utf8(buffer[..filled].to_vec()).unwrap()
    }
}

fn field<'head>(head: &'head str, name: &str) -> Option<&'head str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
