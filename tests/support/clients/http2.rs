//! An HTTP/2 client that sends many concurrent requests, and reads or sends less than it could.

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::{net::TcpStream, runtime::Runtime, time::timeout};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use crate::support::tls::Https;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A connection.
pub(crate) struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    base: String,
}

impl Http2 {
    pub(crate) fn connect(https: &Https) -> Self {
        Self::with(https, &Builder::new())
    }

    /// A connection that takes no byte of any body.
    pub(crate) fn without_window(https: &Https) -> Self {
        Self::with(https, Builder::new().initial_window_size(0))
    }

    fn with(https: &Https, builder: &Builder) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let socket = TcpStream::connect(https.address()).await.unwrap();
            let name = ServerName::from(https.address().ip());
            let stream = TlsConnector::from(https.config()).connect(name, socket).await.unwrap();
            let (sender, connection) = builder.handshake(stream).await.unwrap();
            tokio::runtime::Handle::current().spawn(connection);
            sender
        });
        Self { runtime, sender, base: format!("https://{}", https.address()) }
    }

    /// Sends this many concurrent requests for a path, and reads nothing of the bodies; returns the statuses.
    pub(crate) fn ask(&mut self, times: usize, path: &str) -> Vec<u16> {
        let Self { runtime, sender, base } = self;
        let answers: Vec<_> = (0..times)
            .map(|_| {
                let request = http::Request::get(format!("{base}{path}")).body(()).unwrap();
                sender.send_request(request, true).unwrap().0
            })
            .collect();
        runtime.block_on(async {
            let mut taken = Vec::new();
            for answer in answers {
                taken.push(timeout(PATIENCE, answer).await.expect("an answer").unwrap());
            }
            taken.iter().map(|answer| answer.status().as_u16()).collect()
        })
    }

    /// Begins a request with the beginning of a body, and sends no more of it; returns the status.
    pub(crate) fn begin(&mut self, method: &str, path: &str, body: &[u8]) -> u16 {
        let Self { runtime, sender, base } = self;
        let request = http::Request::builder().method(method).uri(format!("{base}{path}")).body(()).unwrap();
        let (answer, mut stream) = sender.send_request(request, false).unwrap();
        stream.send_data(Bytes::copy_from_slice(body), false).unwrap();
        let answer = runtime.block_on(async { timeout(PATIENCE, answer).await });
        answer.expect("an answer").unwrap().status().as_u16()
    }
}
