//! A blocking HTTP/1.1 client that shows the wire: raw heads, bodies cut short, its own rate. Each request has its own
//! connection, so that requests share nothing but the server.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::support::hash;

/// Longer than the longest wait any test provokes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request about to be sent.
pub(crate) struct Request {
    method: String,
    url: url::Url,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    patience: Duration,
    window: Option<usize>,
    source: Option<IpAddr>,
}

pub(crate) fn get(url: &str) -> Request {
    Request::new("GET", url)
}

pub(crate) fn head(url: &str) -> Request {
    Request::new("HEAD", url)
}

impl Request {
    pub(crate) fn new(method: &str, url: &str) -> Self {
        let url = url::Url::parse(url).unwrap();
        Self {
            method: method.to_owned(),
            url,
            headers: Vec::new(),
            body: Vec::new(),
            patience: PATIENCE,
            window: None,
            source: None,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, media_type: &str, body: &[u8]) -> Self {
        body.clone_into(&mut self.body);
        self.header("Content-Type", media_type)
    }

    /// The time for which the server may be silent.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A receive buffer of about this size, so that a client that does not read holds up what the server sends.
    pub(crate) fn window(mut self, bytes: usize) -> Self {
        self.window = Some(bytes);
        self
    }

    /// The source address, one of the loopback interface.
    pub(crate) fn from(mut self, address: &str) -> Self {
        self.source = Some(address.parse().unwrap());
        self
    }

    /// Sends it and reads the response's head. Panics if there is none.
    pub(crate) fn send(self) -> Response {
        let what = format!("{} {}", self.method, self.url);
        self.try_send().unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// As [`Self::send`]; an error if there is no head. A server may respond before it has read the whole body.
    pub(crate) fn try_send(self) -> std::io::Result<Response> {
        let start = Instant::now();
        let stream = self.connect()?;
        let sent = (&stream).write_all(&self.message());
        let response = Response::read(stream, self.method == "HEAD").map_err(|error| sent.err().unwrap_or(error))?;
        Ok(Response { waited: start.elapsed(), ..response })
    }

    /// Sends the head alone, and leaves the body to the caller: of this length, or in chunks if there is none.
    pub(crate) fn begin(mut self, length: Option<u64>) -> Sending {
        let (name, value) = match length {
            Some(length) => ("Content-Length", length.to_string()),
            None => ("Transfer-Encoding", "chunked".to_owned()),
        };
        self = self.header(name, &value);
        let stream = self.connect().unwrap();
        (&stream).write_all(&self.message()).unwrap();
        Sending { stream, chunked: length.is_none() }
    }

    /// Sends a target literally that `url` would have normalised (`..`, `//`).
    pub(crate) fn send_target(mut self, target: &str) -> Response {
        let stream = self.connect().unwrap();
        self.url.set_path("/");
        let message = String::from_utf8(self.message()).unwrap().replacen(" / ", &format!(" {target} "), 1);
        (&stream).write_all(message.as_bytes()).unwrap();
        Response::read(stream, self.method == "HEAD").unwrap()
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let address = self.url.socket_addrs(|| None)?[0];
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if let Some(window) = self.window {
            socket.set_recv_buffer_size(window)?;
        }
        if let Some(source) = self.source {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        socket.connect(&address.into())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.patience))?;
        Ok(stream)
    }

    fn message(&self) -> Vec<u8> {
        let target = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut message = format!("{} {target} HTTP/1.1\r\nConnection: close\r\n", self.method);
        if !self.headers.iter().any(|(name, _)| name == "Host") {
            message += &format!("Host: {}\r\n", &self.url[url::Position::BeforeHost..url::Position::AfterPort]);
        }
        for (name, value) in &self.headers {
            message += &format!("{name}: {value}\r\n");
        }
        let framed =
            self.headers.iter().any(|(name, _)| ["Content-Length", "Transfer-Encoding"].contains(&name.as_str()));
        if !framed && (!self.body.is_empty() || ["POST", "PUT", "PATCH"].contains(&self.method.as_str())) {
            message += &format!("Content-Length: {}\r\n", self.body.len());
        }
        message += "\r\n";
        [message.as_bytes(), &self.body].concat()
    }
}

/// A request whose head is sent and whose body is being written. Dropping it disconnects.
pub(crate) struct Sending {
    stream: TcpStream,
    chunked: bool,
}

impl Sending {
    /// Sends the next piece of the body; an error if the server reads no more.
    pub(crate) fn write(&mut self, piece: &[u8]) -> std::io::Result<()> {
        if self.chunked {
            write!(self.stream, "{:x}\r\n", piece.len())?;
        }
        self.stream.write_all(piece)?;
        if self.chunked { self.stream.write_all(b"\r\n") } else { Ok(()) }
    }

    /// Ends the body and reads the response's head.
    pub(crate) fn finish(mut self) -> std::io::Result<Response> {
        let sent = if self.chunked { self.stream.write_all(b"0\r\n\r\n") } else { Ok(()) };
        Response::read(self.stream, false).map_err(|error| sent.err().unwrap_or(error))
    }
}

/// The end of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    /// All announced bytes arrived.
    Complete,
    /// The connection ended before that, or fell silent for too long.
    Cut,
}

/// A body read to its end.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: BodyEnd,
}

/// The properties of a body whose bytes need not be kept.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) digest: String,
    pub(crate) length: u64,
    pub(crate) end: BodyEnd,
}

enum Framing {
    Length(u64),
    /// With the remaining bytes of the current chunk.
    Chunked {
        rest: usize,
    },
    UntilClose,
}

/// A response whose head is read; its body stays on the wire until it is read. Dropping it disconnects.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// From before the connection until the head was read.
    pub(crate) waited: Duration,
    reader: BufReader<TcpStream>,
    framing: Framing,
    ended: Option<BodyEnd>,
}

impl Response {
    fn read(stream: TcpStream, is_head: bool) -> std::io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let first = line(&mut reader)?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("not a status line: {first:?}")))?;
        let mut headers = Vec::new();
        loop {
            let header = line(&mut reader)?;
            let Some((name, value)) = header.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response =
            Self { status, headers, waited: Duration::ZERO, reader, framing: Framing::Length(0), ended: None };
        response.framing = response.framing(is_head);
        Ok(response)
    }

    fn framing(&self, is_head: bool) -> Framing {
        if is_head || self.status == 304 || self.status == 204 {
            return Framing::Length(0);
        }
        match (self.header("transfer-encoding"), self.length()) {
            (Some(_), _) => Framing::Chunked { rest: 0 },
            (None, Some(length)) => Framing::Length(length),
            (None, None) => Framing::UntilClose,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The announced `Content-Length`.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The next piece of the body, of `limit` bytes at most; empty at its end.
    fn next(&mut self, limit: usize) -> Vec<u8> {
        let mut piece = vec![0; limit];
        let length = self.read_some(&mut piece).unwrap_or_else(|()| {
            self.ended = Some(BodyEnd::Cut);
            0
        });
        piece.truncate(length);
        piece
    }

    /// Exactly `wanted` bytes of the body, or a panic.
    pub(crate) fn exactly(&mut self, wanted: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(wanted);
        while bytes.len() < wanted {
            // Each piece is zeroed first: a buffer for all wanted bytes would cost more processor time than the rest.
            let piece = self.next((wanted - bytes.len()).min(64 << 10));
            assert!(!piece.is_empty(), "the body ended after {} of {wanted} bytes", bytes.len());
            bytes.extend_from_slice(&piece);
        }
        bytes
    }

    /// As many bytes of the body as come, `wanted` at most.
    pub(crate) fn up_to(&mut self, wanted: usize) -> usize {
        let mut left = wanted;
        while left > 0
            && let more @ 1.. = self.next(left.min(64 << 10)).len()
        {
            left -= more;
        }
        wanted - left
    }

    /// The whole body, in memory.
    pub(crate) fn body(mut self) -> Body {
        let mut bytes = Vec::new();
        loop {
            let piece = self.next(64 << 10);
            if piece.is_empty() {
                return Body { bytes, end: self.ended.unwrap() };
            }
            bytes.extend_from_slice(&piece);
        }
    }

    /// The whole body as text; panics when it was cut.
    pub(crate) fn text(self) -> String {
        let body = self.body();
        assert_eq!(body.end, BodyEnd::Complete, "the body was cut");
        String::from_utf8(body.bytes).unwrap()
    }

    /// The whole body as JSON; panics if it is not.
    pub(crate) fn json(self) -> serde_json::Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text:?}"))
    }

    /// The first code of the specification's error body; panics if the body is not one.
    pub(crate) fn error_code(self) -> String {
        let status = self.status;
        let body = self.json();
        let error = &body["errors"][0];
        assert!(
            error["message"].as_str().is_some_and(|message| !message.is_empty()),
            "{status} without a message: {body}"
        );
        error["code"].as_str().unwrap_or_else(|| panic!("{status} without a code: {body}")).to_owned()
    }

    /// Reads the body to its end and keeps only its properties.
    pub(crate) fn summary(mut self) -> Summary {
        let (mut hasher, mut length) = (hash::Hasher::default(), 0);
        loop {
            let piece = self.next(256 << 10);
            if piece.is_empty() {
                return Summary { digest: hasher.finish(), length, end: self.ended.unwrap() };
            }
            hasher.update(&piece);
            length += piece.len() as u64;
        }
    }

    fn read_some(&mut self, piece: &mut [u8]) -> Result<usize, ()> {
        if self.ended.is_some() {
            return Ok(0);
        }
        match &mut self.framing {
            Framing::Length(0) => self.complete(),
            Framing::Length(rest) => {
                let most = usize::try_from(*rest).unwrap().min(piece.len());
                let length = some(&mut self.reader, &mut piece[..most])?;
                *rest -= length as u64;
                Ok(length)
            }
            Framing::Chunked { rest } => {
                let rest = *rest;
                self.read_chunk(piece, rest)
            }
            Framing::UntilClose => match self.reader.read(piece).map_err(drop)? {
                0 => self.complete(),
                length => Ok(length),
            },
        }
    }

    fn read_chunk(&mut self, piece: &mut [u8], rest: usize) -> Result<usize, ()> {
        let rest = if rest == 0 { chunk_size(&mut self.reader)? } else { rest };
        if rest == 0 {
            return self.complete();
        }
        let most = rest.min(piece.len());
        let length = some(&mut self.reader, &mut piece[..most])?;
        if length == rest {
            line(&mut self.reader).map_err(drop)?;
        }
        self.framing = Framing::Chunked { rest: rest - length };
        Ok(length)
    }

    fn complete(&mut self) -> Result<usize, ()> {
        self.ended = Some(BodyEnd::Complete);
        Ok(0)
    }
}

/// At least one byte, or it is an error.
fn some(reader: &mut impl Read, piece: &mut [u8]) -> Result<usize, ()> {
    match reader.read(piece) {
        Ok(length) if length > 0 => Ok(length),
        _ => Err(()),
    }
}

fn chunk_size(reader: &mut impl BufRead) -> Result<usize, ()> {
    let size = line(reader).map_err(drop)?;
    usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).map_err(drop)
}

fn line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
