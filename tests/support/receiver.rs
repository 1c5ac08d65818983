//! A receiver of notifications that takes events, fails, hangs, or closes connections.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{ports::Port, wait_until};

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// Answers 200.
    Takes,
    /// Answers with this status.
    Fails(u16),
    /// Reads the request, and does not answer.
    Hangs,
    /// Closes the connection.
    Cuts,
}

/// A request as it came.
#[derive(Clone)]
pub(crate) struct Delivery {
    /// The lines of its head.
    pub(crate) head: Vec<String>,
    pub(crate) envelope: Value,
    /// True if it was answered with 200.
    pub(crate) taken: bool,
}

pub(crate) struct Receiver {
    port: Port,
    state: Arc<Mutex<State>>,
}

struct State {
    mode: Mode,
    came: Vec<Delivery>,
    connections: Vec<TcpStream>,
}

impl Receiver {
    pub(crate) fn start(mode: Mode) -> Self {
        let port = Port::reserve();
        let state = Arc::new(Mutex::new(State { mode, came: Vec::new(), connections: Vec::new() }));
        let (listener, shared) = (port.listen(), Arc::clone(&state));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                shared.lock().unwrap().connections.push(stream.try_clone().unwrap());
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { port, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/events", self.port.url())
    }

    /// Changes its mode, and closes all connections.
    pub(crate) fn turn(&self, mode: Mode) {
        let mut state = self.state.lock().unwrap();
        state.mode = mode;
        state.connections.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    /// Every request so far.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.state.lock().unwrap().came.clone()
    }

    /// The events that it took, each once.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        for delivery in self.deliveries().into_iter().filter(|delivery| delivery.taken) {
            let event = delivery.envelope["events"][0].clone();
            if !events.iter().any(|known| known["id"] == event["id"]) {
                events.push(event);
            }
        }
        events
    }

    /// Waits until it took this many events.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Value> {
        let what = format!("{count} events at {}", self.url());
        wait_until(&what, Duration::from_secs(60), || self.events().len() >= count);
        self.events()
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some(mut delivery) = read(&mut reader) {
        let mode = {
            let mut state = state.lock().unwrap();
            delivery.taken = state.mode == Mode::Takes;
            state.came.push(delivery);
            state.mode
        };
        let status = match mode {
            Mode::Takes => 200,
            Mode::Fails(status) => status,
            // The connection stays open.
            Mode::Hangs => continue,
            Mode::Cuts => break,
        };
        let mut writer = stream;
        if write!(writer, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Delivery> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let length = head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Delivery { head, envelope: serde_json::from_slice(&body).unwrap(), taken: false })
}
