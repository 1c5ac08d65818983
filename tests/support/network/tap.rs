//! A recording proxy: connections to it are forwarded to a server, and every byte of both directions is kept.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use crate::support::{ports::Port, wire::Service};

#[derive(Clone, Default)]
struct Recording {
    asked: Arc<Mutex<Vec<u8>>>,
    answered: Arc<Mutex<Vec<u8>>>,
}

pub(crate) struct Tap {
    service: Service,
    recorded: Recording,
}

impl Tap {
    /// In front of the server at `http://127.0.0.1:PORT`.
    pub(crate) fn before(url: &str) -> Self {
        let server: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let recorded = Recording::default();
        let recording = recorded.clone();
        let service = Service::start(Port::reserve(), move |stream| {
            let Ok(onward) = TcpStream::connect(server).map(Arc::new) else { return };
            let (back, there, answered) = (Arc::clone(&onward), Arc::clone(&stream), Arc::clone(&recording.answered));
            let answers = thread::spawn(move || pass(&back, &there, &answered));
            pass(&stream, &onward, &recording.asked);
            answers.join().unwrap();
        });
        Self { service, recorded }
    }

    pub(crate) fn url(&self) -> String {
        self.service.url()
    }

    /// All bytes that clients sent, in lower case.
    pub(crate) fn asked(&self) -> String {
        String::from_utf8_lossy(&self.recorded.asked.lock().unwrap()).to_lowercase()
    }

    /// All bytes that the server sent, in lower case.
    pub(crate) fn answered(&self) -> String {
        String::from_utf8_lossy(&self.recorded.answered.lock().unwrap()).to_lowercase()
    }
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, recorded: &Mutex<Vec<u8>>) {
    let mut piece = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        recorded.lock().unwrap().extend_from_slice(&piece[..length]);
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
