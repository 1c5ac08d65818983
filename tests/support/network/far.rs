//! A relay that makes a server far away: each connection takes a round trip to open, every byte half of one to arrive,
//! and no connection carries more than its rate. The kernel's own delays (`tc netem`) are not in every kernel.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::support::{pace::Pace, ports::Port, wire::Service};

/// The pieces in which a rate is kept: a few milliseconds' worth.
const PIECE: usize = 64 << 10;
/// Bytes on their way in one direction of a connection.
const IN_FLIGHT: usize = 4 << 20;

pub(crate) struct Far {
    service: Service,
}

impl Far {
    /// In front of the server at `http://127.0.0.1:PORT`: `round_trip` away, at `rate` bytes a second for a connection.
    pub(crate) fn before(url: &str, round_trip: Duration, rate: u64) -> Self {
        let server: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let service = Service::start(Port::reserve(), move |stream: Arc<TcpStream>| {
            thread::sleep(round_trip);
            let Ok(onward) = TcpStream::connect(server).map(Arc::new) else { return };
            let (back, there) = (Arc::clone(&onward), Arc::clone(&stream));
            let answers = thread::spawn(move || carry(&back, &there, round_trip / 2, rate));
            carry(&stream, &onward, round_trip / 2, rate);
            answers.join().unwrap();
        });
        Self { service }
    }

    pub(crate) fn url(&self) -> String {
        self.service.url()
    }
}

/// Carries one direction until its end.
fn carry(mut from: &TcpStream, to: &Arc<TcpStream>, delay: Duration, rate: u64) {
    let (sender, receiver) = mpsc::sync_channel::<(Instant, Vec<u8>)>(IN_FLIGHT / PIECE);
    let arriving = Arc::clone(to);
    let arrivals = thread::spawn(move || {
        let mut to: &TcpStream = &arriving;
        for (at, piece) in receiver {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut pace, mut piece) = (Pace::of(rate), vec![0; PIECE]);
    while let Ok(length @ 1..) = from.read(&mut piece) {
        pace.wait(length as u64);
        if sender.send((Instant::now() + delay, piece[..length].to_vec())).is_err() {
            break;
        }
    }
    drop(sender);
    arrivals.join().unwrap();
}
