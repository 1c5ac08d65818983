//! Sends a response, with the faults that apply to it.

use std::{
    io::Write,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{State, faults::Cut, faults::Fault, record::Kind};
use crate::support::wire::{self, Request};

/// A response without faults. The body is a window of `source`.
pub(super) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    source: Bytes,
    from: usize,
    to: usize,
}

impl Reply {
    pub(super) fn body(status: u16, source: Bytes) -> Self {
        Self { status, headers: Vec::new(), from: 0, to: source.len(), source }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::body(status, Bytes::new())
    }

    pub(super) fn json(body: &serde_json::Value) -> Self {
        Self::body(200, body.to_string().into()).with("Content-Type", "application/json")
    }

    pub(super) fn error(status: u16, code: &str) -> Self {
        let body = serde_json::json!({ "errors": [{ "code": code, "message": "the scripted upstream says so" }] });
        Self { status, ..Self::json(&body) }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn starting_at(mut self, from: usize, to: usize) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    fn corrupt(&mut self, at: usize) {
        if at < self.source.len() {
            let mut bytes = self.source.to_vec();
            bytes[at] ^= 0x55;
            self.source = bytes.into();
        }
    }

    fn rename(&mut self) {
        let other = format!("sha256:{:064x}", 0xbad);
        for (name, value) in &mut self.headers {
            if name == "Docker-Content-Digest" {
                other.clone_into(value);
            }
        }
    }
}

/// The state of the connection afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Keep,
    Close,
    Reset,
}

/// The faults that affect the body while it is sent.
#[derive(Default)]
struct Delivery {
    bandwidth: Option<u64>,
    cut: Option<(u64, Cut)>,
    stall: Option<u64>,
    gates: Vec<(u64, super::Gate)>,
    chunked: bool,
    until_close: bool,
}

pub(super) fn deliver(
    state: &State,
    stream: &TcpStream,
    request: &Request,
    kind: Kind,
    mut reply: Reply,
    sent: Arc<AtomicU64>,
) -> Next {
    let mut delivery = Delivery::default();
    for fault in state.faults.take(request, kind) {
        match fault {
            Fault::Delay(time) => thread::sleep(time),
            Fault::Bandwidth(rate) => delivery.bandwidth = Some(rate),
            Fault::CutAfter(bytes, how) => delivery.cut = Some((bytes, how)),
            Fault::Corrupt(at) => reply.corrupt(at),
            Fault::Status(status) => reply = Reply::error(status, "UNKNOWN"),
            Fault::StatusWith(status, name, value) => reply = Reply::error(status, "UNKNOWN").with(name, &value),
            Fault::Raw(bytes) => {
                let _ = (&mut &*stream).write_all(bytes);
                return Next::Close;
            }
            Fault::Hang => {
                wire::wait_for_the_end(stream);
                return Next::Close;
            }
            Fault::Stall(bytes) => delivery.stall = Some(bytes),
            Fault::Gate(bytes, gate) => delivery.gates.push((bytes, gate)),
            Fault::Chunked => delivery.chunked = true,
            Fault::UntilClose => delivery.until_close = true,
            Fault::WrongDigestHeader => reply.rename(),
        }
    }
    let mut out = Out { stream, sent, delivery, start: Instant::now(), done: 0 };
    out.send(&reply, request.method == "HEAD").unwrap_or(Next::Close)
}

struct Out<'a> {
    stream: &'a TcpStream,
    sent: Arc<AtomicU64>,
    delivery: Delivery,
    start: Instant,
    done: u64,
}

impl Out<'_> {
    fn send(&mut self, reply: &Reply, is_head: bool) -> std::io::Result<Next> {
        let body = &reply.source[reply.from..reply.to];
        let mut headers = reply.headers.clone();
        if self.delivery.chunked {
            headers.push(("Transfer-Encoding".into(), "chunked".into()));
        }
        if self.delivery.until_close {
            headers.push(("Connection".into(), "close".into()));
        }
        let has_length = !self.delivery.chunked && !self.delivery.until_close;
        self.stream.write_all(&wire::head(reply.status, &headers, has_length.then_some(body.len())))?;
        if is_head {
            return Ok(self.after());
        }
        let mut rest = body;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(self.piece().min(rest.len()));
            match self.obstacle() {
                Some(next) => return Ok(next),
                None => self.write(piece)?,
            }
            rest = after;
        }
        self.finish()
    }

    /// The number of bytes until the next fault, limited so that a slow body does not come in bursts.
    fn piece(&self) -> usize {
        let marks = self
            .delivery
            .cut
            .iter()
            .map(|(at, _)| *at)
            .chain(self.delivery.stall)
            .chain(self.delivery.gates.iter().map(|g| g.0));
        let next = marks.filter(|at| *at > self.done).min().map_or(u64::MAX, |at| at - self.done);
        let most = self.delivery.bandwidth.map_or(64 << 10, |rate| (rate / 50).clamp(1, 64 << 10));
        usize::try_from(next.min(most)).unwrap()
    }

    /// The fault at this byte.
    fn obstacle(&mut self) -> Option<Next> {
        while let Some(place) = self.delivery.gates.iter().position(|(at, _)| *at == self.done) {
            self.delivery.gates.remove(place).1.pass();
        }
        if self.delivery.stall == Some(self.done) {
            wire::wait_for_the_end(self.stream);
            return Some(Next::Close);
        }
        match self.delivery.cut {
            Some((at, Cut::Fin)) if at == self.done => Some(Next::Close),
            Some((at, Cut::Rst)) if at == self.done => {
                // Sent bytes should arrive: a reset discards those in transit.
                thread::sleep(Duration::from_millis(30));
                Some(Next::Reset)
            }
            _ => None,
        }
    }

    fn write(&mut self, piece: &[u8]) -> std::io::Result<()> {
        if self.delivery.chunked {
            self.stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
        }
        self.stream.write_all(piece)?;
        if self.delivery.chunked {
            self.stream.write_all(b"\r\n")?;
        }
        self.done += piece.len() as u64;
        self.sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
        if let Some(rate) = self.delivery.bandwidth {
            let due = Duration::from_secs_f64(self.done as f64 / rate as f64);
            thread::sleep(due.saturating_sub(self.start.elapsed()));
        }
        Ok(())
    }

    /// A cut or a stall may be at the very end.
    fn finish(&mut self) -> std::io::Result<Next> {
        if let Some(next) = self.obstacle() {
            return Ok(next);
        }
        if self.delivery.chunked {
            self.stream.write_all(b"0\r\n\r\n")?;
        }
        Ok(self.after())
    }

    /// The state of the connection after a complete response.
    fn after(&self) -> Next {
        if self.delivery.until_close { Next::Close } else { Next::Keep }
    }
}
