//! The workers, and how a connection is treated.

use std::{any::Any, io, sync::Arc, time::Duration};

use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    middleware::{Condition, from_fn},
    rt::net::TcpStream,
    web,
};
use socket2::SockRef;

use super::{access_log, headers, health, listen::Listener, lock, measure, metrics, routes, settings::Settings};
use crate::registry::Registry;

/// How much may wait in the kernel for a client: beyond it, a slow client's megabytes would lie there, and a chunk would
/// look taken when it is not.
const NOT_SENT: u32 = 128 << 10;
/// A client that acknowledges or reads nothing for this long is gone. Generous: some pause while they unpack.
const UNREAD: Duration = Duration::from_secs(300);
/// From a connection's first byte to the end of its first head.
const FIRST_HEAD: Duration = Duration::from_secs(30);
/// A connection without a request.
const IDLE: Duration = Duration::from_secs(75);
/// A body is asked for more until this much waits to be written: a slow client holds it, and a piece of a body above it.
const WRITE_BUFFER: usize = 16 << 10;
/// Threads a worker may block on the disk: each holds a chunk.
const BLOCKING_THREADS: usize = 16;

/// A server that listens already and is not yet answering.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    settings: Settings,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// As the operating system refuses it.
    pub fn bind(settings: Settings) -> io::Result<Self> {
        Ok(Self { listener: Listener::bind(&settings.listen)?, settings })
    }

    /// Where it listens: a URL, or a socket's path.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn address(&self) -> io::Result<String> {
        self.listener.address("http")
    }

    /// Whether other machines may reach it.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.listener.is_exposed()
    }

    /// Answers until `shutdown` ends, then lets requests under way finish for a few seconds.
    ///
    /// # Errors
    /// When the workers cannot be started.
    pub async fn run(
        self,
        registry: Arc<Registry>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let state = web::Data::from(registry);
        let logged = self.settings.access_log;
        let drain = self.settings.drain;
        let shown = self.settings.metrics.then_some(metrics::PATH);
        let (locked, adds_headers) = (self.settings.locked.is_some(), !self.settings.headers.is_empty());
        let settings = web::Data::new(self.settings);
        let app = move || {
            let settings = settings.clone();
            let prefix = settings.prefix.clone();
            App::new()
                .app_data(state.clone())
                .app_data(settings)
                .wrap(Condition::new(locked, from_fn(lock::keep)))
                .wrap(Condition::new(adds_headers, from_fn(headers::add_configured)))
                .wrap(Condition::new(logged, from_fn(access_log::write)))
                .wrap(from_fn(measure::count))
                .configure(health::configure)
                .configure(|service| shown.iter().for_each(|path| metrics::configure(service, path)))
                .configure(|service| routes::configure(service, &prefix))
        };
        let server = HttpServer::new(app)
            .on_connect(|connection: &dyn Any, _| tune(connection))
            .h1_allow_half_closed(false)
            .h1_write_buffer_size(WRITE_BUFFER)
            .client_request_timeout(FIRST_HEAD)
            .keep_alive(IDLE)
            .worker_max_blocking_threads(BLOCKING_THREADS)
            .shutdown_timeout(drain.as_secs())
            .disable_signals();
        let server = match self.listener {
            Listener::Tcp(listener) => server.listen(listener)?,
            Listener::Unix(listener) => server.listen_uds(listener)?,
        };
        let server = server.run();
        let handle = server.handle();
        let stopping = stop(handle, shutdown);
        tokio::pin!(server);
        tokio::select! {
            ended = &mut server => ended,
            () = stopping => server.await,
        }
    }
}

async fn stop(server: ServerHandle, shutdown: impl Future<Output = ()>) {
    shutdown.await;
    server.stop(true).await;
}

fn tune(connection: &dyn Any) {
    let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
    let socket = SockRef::from(stream);
    // A socket that takes none of these still works.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_notsent_lowat(NOT_SENT);
    let _ = socket.set_tcp_user_timeout(Some(UNREAD));
}
