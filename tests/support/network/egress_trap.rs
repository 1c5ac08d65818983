//! A port of the loopback interface that refuses and records the requests of clients that bypass the mirror.
//!
//! It is the proxy for everything outside the loopback interface and "the registry itself" behind every mirror
//! configuration, so that a pull cannot succeed by bypassing the mirror, and a test can show that none tried.

use std::{
    io::{BufRead, BufReader},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{network, ports::Port, wire::Service};

#[derive(Clone)]
pub(crate) struct EgressTrap {
    service: Arc<Service>,
    breaches: Arc<Mutex<Vec<String>>>,
}

impl EgressTrap {
    pub(crate) fn new() -> Self {
        Self::at(Port::reserve())
    }

    /// A trap on all addresses: [`EgressTrap::port`] of each.
    pub(crate) fn everywhere() -> Self {
        Self::at(Port::reserve_everywhere())
    }

    fn at(port: Port) -> Self {
        let breaches = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&breaches);
        let service = Service::start(port, move |stream| {
            let mut first = String::new();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let _ = BufReader::new(&*stream).read_line(&mut first);
            seen.lock().unwrap().push(first.trim_end().to_owned());
        });
        Self { service: Arc::new(service), breaches }
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        self.service.url()
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.service.port()
    }

    /// The request lines of all connections.
    pub(crate) fn breaches(&self) -> Vec<String> {
        self.breaches.lock().unwrap().clone()
    }

    /// Returns the request lines, and forgets them.
    pub(crate) fn take_breaches(&self) -> Vec<String> {
        std::mem::take(&mut self.breaches.lock().unwrap())
    }

    /// Makes the command's process and its children use this proxy for every host but this one.
    pub(crate) fn around(&self, command: &mut Command) {
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env(name, self.url());
        }
        let here = format!("127.0.0.1,localhost,{}", network::ADDRESS);
        command.env("NO_PROXY", &here).env("no_proxy", &here);
    }
}
