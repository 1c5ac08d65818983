//! The server side of HTTP/1.1 over plain TCP, for servers that must be able to misbehave: it controls every byte.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, Weak},
    thread,
    time::Duration,
};

use crate::support::ports::Port;

/// A request as it came, header names in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Request {
    /// The header's value; several field lines are joined (RFC 9110, section 5.3).
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self.headers.iter().filter(|(key, _)| key == name).map(|(_, v)| v.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The value of a query parameter, percent-decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes()).find(|(key, _)| key == name).map(|(_, v)| v.into_owned())
    }

    /// User and password of a Basic `Authorization`.
    pub(crate) fn basic(&self) -> Option<(String, String)> {
        use base64::Engine as _;
        let value = self.header("authorization")?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
    }

    pub(crate) fn bearer(&self) -> Option<String> {
        self.header("authorization")?.strip_prefix("Bearer ").map(str::to_owned)
    }
}

/// The next request of a connection; `None` if the peer has closed it or sends nonsense.
pub(crate) fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let first = line(reader)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request { method, path: path.to_owned(), query: query.to_owned(), headers: Vec::new() };
    loop {
        let header = line(reader)?;
        let Some((name, value)) = header.split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    Some(request)
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    Some(line.trim_end().to_owned())
}

/// Status line and headers, with `Content-Length` among them if `length` is known.
pub(crate) fn head(status: u16, headers: &[(String, String)], length: Option<usize>) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = length {
        head += &format!("Content-Length: {length}\r\n");
    }
    head += "\r\n";
    head.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        _ => "Whatever",
    }
}

/// The function that serves a connection; it returns when the connection is to be closed.
type Serve = dyn Fn(Arc<TcpStream>) + Send + Sync;

/// A port with a thread for each connection; it can be stopped and started again on the same port.
pub(crate) struct Service {
    port: Port,
    serve: Arc<Serve>,
    running: Mutex<Option<Running>>,
}

struct Running {
    listener: TcpListener,
    connections: Arc<Mutex<Vec<Weak<TcpStream>>>>,
    acceptor: thread::JoinHandle<()>,
}

impl Service {
    pub(crate) fn start(port: Port, serve: impl Fn(Arc<TcpStream>) + Send + Sync + 'static) -> Self {
        let service = Self { port, serve: Arc::new(serve), running: Mutex::new(None) };
        service.resume();
        service
    }

    pub(crate) fn url(&self) -> String {
        self.port.url()
    }

    /// Its port, on any address.
    pub(crate) fn port(&self) -> u16 {
        self.port.addr().port()
    }

    /// Listens again after [`Self::stop`].
    pub(crate) fn resume(&self) {
        let listener = self.port.listen();
        let connections = Arc::default();
        let acceptor = accept(listener.try_clone().unwrap(), Arc::clone(&self.serve), Arc::clone(&connections));
        *self.running.lock().unwrap() = Some(Running { listener, connections, acceptor });
    }

    /// Refuses connections from now on and cuts those that are open.
    pub(crate) fn stop(&self) {
        let Some(running) = self.running.lock().unwrap().take() else { return };
        socket2::SockRef::from(&running.listener).shutdown(Shutdown::Both).unwrap();
        running.acceptor.join().unwrap();
        for connection in running.connections.lock().unwrap().drain(..).filter_map(|weak| weak.upgrade()) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(
    listener: TcpListener,
    serve: Arc<Serve>,
    connections: Arc<Mutex<Vec<Weak<TcpStream>>>>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nodelay(true).unwrap();
            let stream = Arc::new(stream);
            let mut open = connections.lock().unwrap();
            open.retain(|weak| weak.strong_count() > 0);
            open.push(Arc::downgrade(&stream));
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    })
}

/// Reads requests and calls `answer` for each response, until it returns false or the peer leaves.
pub(crate) fn converse(stream: &TcpStream, mut answer: impl FnMut(&Request) -> bool) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        if !answer(&request) {
            break;
        }
    }
}

/// Waits for the peer to leave, for an hour at most.
pub(crate) fn wait_for_the_end(mut stream: &TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(3600)));
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// Writes a small whole response.
pub(crate) fn reply(mut stream: &TcpStream, status: u16, headers: &[(String, String)], body: &[u8]) -> bool {
    let mut message = head(status, headers, Some(body.len()));
    message.extend_from_slice(body);
    stream.write_all(&message).is_ok()
}
