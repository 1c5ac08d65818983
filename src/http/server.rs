//! The listeners, the workers, and how a connection is treated.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use actix_http::{Extensions, HttpService, Protocol, error::DispatchError};
use actix_server::{GracefulShutdownSignal, ServerBuilder, ServerHandle};
use actix_service::{IntoServiceFactory as _, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{AppConfig, ServiceRequest, ServiceResponse},
    middleware::{Condition, from_fn},
    rt::net::{TcpStream, UnixStream},
    web,
};

use super::{
    api::routes,
    auth::{audit, authenticate},
    headers,
    ops::{access_log, health, http_metrics, metrics},
    paths,
    settings::{Listener, Settings},
    transport::{
        accept::Acceptor,
        connection::{Guarded, IDLE},
        limiter::Limiter,
        limits,
        listen::BoundListener,
        mirror_listener,
        tls::{Tls, TlsError},
    },
};
use crate::registry::Registry;

/// A body is asked for more until this much waits to be written: a slow client holds it, and a piece of a body above it.
const WRITE_BUFFER: usize = 16 << 10;
/// Threads a worker may block on the disk: each holds a chunk.
const BLOCKING_THREADS: usize = 16;
/// For a client to end a connection that this side has ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// A server that listens already and is not yet answering.
#[derive(Debug)]
pub struct Server {
    listener: BoundListener,
    mirror: Option<BoundListener>,
    tls: Option<Arc<Tls>>,
    settings: Settings,
}

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// On its main address.
    #[error("an address this process can listen on ({0})")]
    Main(#[source] io::Error),
    /// On the mirror's own.
    #[error("an address this process can listen on ({0})")]
    Mirror(#[source] io::Error),
    /// With the certificate it has.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Server {
    /// Reads the certificate and binds the addresses.
    ///
    /// # Errors
    /// As the operating system refuses them, or the certificate does not do.
    pub fn bind(settings: Settings) -> Result<Self, BindError> {
        let tls = settings.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
        let listener = BoundListener::bind(&settings.listen).map_err(BindError::Main)?;
        let mirror = settings.mirror.as_ref().map(BoundListener::bind).transpose().map_err(BindError::Mirror)?;
        Ok(Self { listener, mirror, tls, settings })
    }

    /// Where it listens: a URL, or a socket's path.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn address(&self) -> io::Result<String> {
        self.listener.address(self.scheme())
    }

    /// Where the mirror's own door is: a URL; `None` without one.
    #[must_use]
    pub fn mirror_address(&self) -> Option<String> {
        self.mirror.as_ref().and_then(|mirror| mirror.address(self.scheme()).ok())
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Whether other machines may reach it.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.listener.is_exposed()
    }

    /// Its TLS, where it speaks it: to be refreshed, and asked when its certificate expires.
    #[must_use]
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
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
        let limiter = Arc::new(Limiter::new(self.settings.limits.clone()));
        let state = web::Data::from(registry);
        let mut server = ServerBuilder::new()
            .worker_max_blocking_threads(BLOCKING_THREADS)
            // The limits count; this would keep clients waiting without a word.
            .max_concurrent_connections(usize::MAX >> 1)
            .shutdown_timeout(self.settings.drain.as_secs())
            .disable_signals();
        let mirror = Settings { listener: Listener::Mirror, host: None, access: None, ..self.settings.clone() };
        let doors = [(Some(self.listener), self.settings), (self.mirror, mirror)];
        for (listener, settings) in doors {
            let Some(listener) = listener else { continue };
            let entrance = Acceptor::new(&settings, self.tls.clone(), Arc::clone(&limiter));
            let house = ServerConfig { state: state.clone(), settings: web::Data::new(settings), entrance };
            server = house.open(server, listener)?;
        }
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

/// What stands behind one door.
#[derive(Clone)]
struct ServerConfig {
    state: web::Data<Registry>,
    settings: web::Data<Settings>,
    entrance: Acceptor,
}

impl ServerConfig {
    fn open(self, server: ServerBuilder, listener: BoundListener) -> io::Result<ServerBuilder> {
        let stopping = server.graceful_shutdown_signal();
        match listener {
            BoundListener::Tcp(listener) => server.listen("tcp", listener, move || {
                let entrance = self.entrance.clone();
                let enter = fn_service(move |stream: TcpStream| {
                    let entrance = entrance.clone();
                    async move { entrance.tcp(stream).await.map_err(DispatchError::Io) }
                });
                enter.and_then(self.speak(stopping.clone()))
            }),
            BoundListener::Unix(listener) => server.listen_uds("unix", listener, move || {
                let entrance = self.entrance.clone();
                let enter = fn_service(move |stream: UnixStream| {
                    let entrance = entrance.clone();
                    async move { entrance.unix(stream).map_err(DispatchError::Io) }
                });
                enter.and_then(self.speak(stopping.clone()))
            }),
        }
    }

    /// HTTP on a connection that has come in.
    fn speak(
        &self,
        stopping: GracefulShutdownSignal,
    ) -> impl ServiceFactory<
        (Guarded, Protocol, Option<SocketAddr>),
        Config = (),
        Response = (),
        Error = DispatchError,
        InitError = (),
    > + use<> {
        let app = self.app().into_factory().map_err(|error: Error| error.error_response());
        HttpService::build()
            .graceful_shutdown_signal(move || {
                let signal = stopping.clone();
                async move { signal.notified().await }
            })
            .on_connect_ext(|connection: &Guarded, data: &mut Extensions| {
                data.insert(connection.connection());
            })
            .h1_allow_half_closed(false)
            .h1_write_buffer_size(WRITE_BUFFER)
            // `Guarded` times every head, not the first alone.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(FAREWELL)
            .keep_alive(IDLE)
            .finish::<_, _>(map_config(app, |()| AppConfig::default()))
    }

    fn app(
        &self,
    ) -> App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<impl MessageBody + use<>>,
            Error = Error,
            InitError = (),
        > + use<>,
    > {
        let settings = &self.settings;
        let is_mirror = settings.listener == Listener::Mirror;
        let guarded = settings.access.is_some();
        let shown = (settings.metrics && !is_mirror).then_some(metrics::PATH);
        App::new()
            .app_data(self.state.clone())
            .app_data(settings.clone())
            .app_data(web::Data::from(self.entrance.limiter()))
            .wrap(from_fn(audit::record))
            .wrap(Condition::new(guarded, from_fn(authenticate::authenticate)))
            .wrap(from_fn(paths::normalize))
            .wrap(Condition::new(!settings.headers.is_empty(), from_fn(headers::add_configured)))
            .wrap(Condition::new(is_mirror, from_fn(mirror_listener::allow_reads)))
            .wrap(Condition::new(settings.access_log, from_fn(access_log::write)))
            .wrap(from_fn(limits::enforce))
            .wrap(from_fn(http_metrics::count))
            .configure(health::configure)
            .configure(routes::configure_root)
            .configure(|service| shown.iter().for_each(|path| metrics::configure(service, path)))
            .configure(|service| routes::configure(service, &settings.prefix))
    }
}
