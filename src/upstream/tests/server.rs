//! A scripted server, byte by byte, on threads of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request as the server received it.
#[derive(Clone, Debug)]
pub(super) struct ReceivedRequest {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    /// The header lines, with names in lower case.
    headers: Vec<(String, String)>,
}

impl ReceivedRequest {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn read(reader: &mut impl BufRead) -> Option<Self> {
        let first = line(reader)?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        while let Some(header) = line(reader).filter(|line| !line.is_empty()) {
            let (name, value) = header.split_once(':')?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(Self { method, target, headers })
    }
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut text = String::new();
    let read = reader.read_line(&mut text).ok()?;
    (read > 0).then(|| text.trim_end().to_owned())
}

/// The steps of a response; the next request is read after the last one.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Say(Vec<u8>),
    Wait(u64),
    /// Closes the connection cleanly.
    Fin,
    /// Resets the connection.
    Rst,
}

pub(super) fn say(text: impl Into<Vec<u8>>) -> Vec<Step> {
    vec![Step::Say(text.into())]
}

/// Returns a whole response with a `Content-Length`. `headers` are lines, each with its line break.
pub(super) fn reply(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<Step> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    say([head.as_bytes(), body].concat())
}

type Script = dyn Fn(&ReceivedRequest, usize) -> Vec<Step> + Send + Sync;

/// A scripted server. Its threads run until the test process ends.
#[derive(Clone)]
pub(super) struct Server {
    port: u16,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<ReceivedRequest>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Answers every request by `script`, which also gets the number of requests before it.
    pub(super) fn start(script: impl Fn(&ReceivedRequest, usize) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::bind("http", Arc::new(script), Some)
    }

    /// The same over TLS.
    pub(super) fn tls(
        config: Arc<ServerConfig>,
        script: impl Fn(&ReceivedRequest, usize) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::bind("https", Arc::new(script), move |tcp| {
            ServerConnection::new(Arc::clone(&config)).ok().map(|connection| StreamOwned::new(connection, tcp))
        })
    }

    /// Starts a proxy: it answers CONNECT by `accept`, and after a 200 acts as the requested TLS server itself.
    pub(super) fn proxy(
        config: Arc<ServerConfig>,
        accept: &'static str,
        script: impl Fn(&ReceivedRequest, usize) -> Vec<Step> + Send + Sync + 'static,
    ) -> (Self, Arc<Mutex<Vec<ReceivedRequest>>>) {
        let connects = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&connects);
        let server = Self::bind("http", Arc::new(script), move |mut tcp| {
            // Unbuffered, so that no byte of the TLS hello is consumed.
            let asked = ReceivedRequest::read(&mut BufReader::with_capacity(1, &tcp))?;
            noted.lock().push(asked);
            write!(tcp, "HTTP/1.1 {accept}\r\n\r\n").ok()?;
            ServerConnection::new(Arc::clone(&config)).ok().map(|connection| StreamOwned::new(connection, tcp))
        });
        (server, connects)
    }

    fn bind<W: Wire>(
        scheme: &'static str,
        script: Arc<Script>,
        wrap: impl Fn(TcpStream) -> Option<W> + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, scheme, asked: Arc::default(), connections: Arc::default() };
        let this = server.clone();
        on_thread(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                this.connections.fetch_add(1, SeqCst);
                let (this, script, wrap) = (this.clone(), Arc::clone(&script), wrap.clone());
                on_thread(move || {
                    if let Some(wire) = wrap(tcp) {
                        this.serve(wire, &*script);
                    }
                });
            }
        });
        server
    }

    fn serve(&self, wire: impl Wire, script: &Script) {
        let mut reader = BufReader::new(wire);
        while let Some(asked) = ReceivedRequest::read(&mut reader) {
            let before = {
                let mut log = self.asked.lock();
                log.push(asked.clone());
                log.len() - 1
            };
            for step in script(&asked, before) {
                let wire = reader.get_mut();
                match step {
                    Step::Say(bytes) => drop(wire.write_all(&bytes).and_then(|()| wire.flush())),
                    Step::Wait(ms) => thread::sleep(Duration::from_millis(ms)),
                    Step::Fin => return wire.fin(),
                    Step::Rst => return wire.rst(),
                }
            }
        }
    }

    pub(super) fn url(&self, host: &str) -> String {
        format!("{}://{host}:{}", self.scheme, self.port)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn asked(&self) -> Vec<ReceivedRequest> {
        self.asked.lock().clone()
    }

    /// Returns how many requests had a target that starts with `prefix`.
    pub(super) fn count(&self, prefix: &str) -> usize {
        self.asked.lock().iter().filter(|asked| asked.target.starts_with(prefix)).count()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

fn on_thread(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("scripted server".into()).spawn(work).unwrap();
}

/// The transport of a request.
trait Wire: Read + Write {
    fn tcp(&self) -> &TcpStream;

    fn fin(&mut self) {
        let _gone = self.tcp().shutdown(Shutdown::Both);
    }

    fn rst(&mut self) {
        socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for StreamOwned<ServerConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }

    fn fin(&mut self) {
        self.conn.send_close_notify();
        let _gone = self.flush().and_then(|()| self.sock.shutdown(Shutdown::Write));
    }
}
