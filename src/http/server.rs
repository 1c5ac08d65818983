//! The HTTP server: binds the listeners, starts the workers, and assembles the middleware of each listener.

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
    manage::routes as manage,
    ops::{access_log, health, http_metrics, metrics},
    page::routes::configure as page,
    paths,
    settings::{Listener, Settings},
    transport::{
        accept::Acceptor,
        connection::{Guarded, IDLE_TIMEOUT},
        limiter::Limiter,
        limits,
        listen::BoundListener,
        mirror_listener,
        tls::{Tls, TlsError},
    },
};
use crate::{lanes::Blocking, registry::Registry};

/// A response's write buffer is filled up to this size. A slow client occupies it, and one more chunk of the body.
const WRITE_BUFFER_BYTES: usize = 16 << 10;
/// Blocking disk threads of a worker; each holds one chunk.
const BLOCKING_THREADS: usize = 16;
/// The time for a client to close a connection after this side has closed it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A server that is bound to its addresses but does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: BoundListener,
    mirror: Option<BoundListener>,
    tls: Option<Arc<Tls>>,
    settings: Settings,
}

/// The reason that a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The main address cannot be bound.
    #[error("an address this process can listen on ({0})")]
    Main(#[source] io::Error),
    /// The mirror listener's address cannot be bound.
    #[error("an address this process can listen on ({0})")]
    Mirror(#[source] io::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Server {
    /// Reads the certificate and binds the addresses.
    ///
    /// # Errors
    /// [`BindError::Tls`] if the certificate cannot be used, [`BindError::Main`] and [`BindError::Mirror`] if an
    /// address cannot be bound.
    pub fn bind(io: &Blocking, settings: Settings) -> Result<Self, BindError> {
        let tls = settings.tls.clone().map(|tls| Tls::load(io, tls)).transpose()?.map(Arc::new);
        let listener = BoundListener::bind(io, &settings.listen).map_err(BindError::Main)?;
        let mirror = settings
            .mirror
            .as_ref()
            .map(|mirror| BoundListener::bind(io, mirror))
            .transpose()
            .map_err(BindError::Mirror)?;
        Ok(Self { listener, mirror, tls, settings })
    }

    /// Returns the URL or the socket's path that it listens on.
    ///
    /// # Errors
    /// The operating system's error if the local address cannot be read.
    pub fn address(&self) -> io::Result<String> {
        self.listener.address(self.scheme())
    }

    /// Returns the mirror listener's URL; `None` without a mirror listener.
    #[must_use]
    pub fn mirror_address(&self) -> Option<String> {
        self.mirror.as_ref().and_then(|mirror| mirror.address(self.scheme()).ok())
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Returns true if other machines may reach it.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.listener.is_exposed()
    }

    /// Returns its TLS configuration, if it has one, to be refreshed and checked for expiry.
    #[must_use]
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// Serves requests until `shutdown` resolves, then lets requests in progress finish for `Settings::drain`.
    ///
    /// # Errors
    /// An I/O error if the workers cannot be started.
    pub async fn run(
        self,
        registry: Arc<Registry>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let limiter = Arc::new(Limiter::new(self.settings.limits.clone()));
        let state = web::Data::from(registry);
        let mut server = ServerBuilder::new()
            .worker_max_blocking_threads(BLOCKING_THREADS)
            // `transport` enforces the limits and answers; this limit would leave clients waiting without a response.
            .max_concurrent_connections(usize::MAX >> 1)
            .shutdown_timeout(self.settings.drain.as_secs())
            .disable_signals();
        let mirror = Settings { listener: Listener::Mirror, host: None, access: None, ..self.settings.clone() };
        let listeners = [(Some(self.listener), self.settings), (self.mirror, mirror)];
        for (listener, settings) in listeners {
            let Some(listener) = listener else { continue };
            let acceptor = Acceptor::new(&settings, self.tls.clone(), Arc::clone(&limiter));
            let config = ServerConfig { state: state.clone(), settings: web::Data::new(settings), acceptor };
            server = config.listen(server, listener)?;
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

/// The state, settings and acceptor of one listener.
#[derive(Clone)]
struct ServerConfig {
    state: web::Data<Registry>,
    settings: web::Data<Settings>,
    acceptor: Acceptor,
}

impl ServerConfig {
    fn listen(self, server: ServerBuilder, listener: BoundListener) -> io::Result<ServerBuilder> {
        let stopping = server.graceful_shutdown_signal();
        match listener {
            BoundListener::Tcp(listener) => server.listen("tcp", listener, move || {
                let acceptor = self.acceptor.clone();
                let accept = fn_service(move |stream: TcpStream| {
                    let acceptor = acceptor.clone();
                    async move { acceptor.tcp(stream).await.map_err(DispatchError::Io) }
                });
                accept.and_then(self.http_service(stopping.clone()))
            }),
            BoundListener::Unix(listener) => server.listen_uds("unix", listener, move || {
                let acceptor = self.acceptor.clone();
                let accept = fn_service(move |stream: UnixStream| {
                    let acceptor = acceptor.clone();
                    async move { acceptor.unix(stream).map_err(DispatchError::Io) }
                });
                accept.and_then(self.http_service(stopping.clone()))
            }),
        }
    }

    /// Returns the service that speaks HTTP on an accepted connection.
    fn http_service(
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
            .h1_write_buffer_size(WRITE_BUFFER_BYTES)
            // `Guarded` limits the time of every request head; this would limit only the first.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(CLOSE_TIMEOUT)
            .keep_alive(IDLE_TIMEOUT)
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
        let authenticated = settings.access.is_some();
        let shown = (settings.metrics && !is_mirror).then_some(metrics::PATH);
        App::new()
            .app_data(self.state.clone())
            .app_data(settings.clone())
            .app_data(web::Data::from(self.acceptor.limiter()))
            .wrap(from_fn(audit::record))
            .wrap(Condition::new(authenticated, from_fn(authenticate::authenticate)))
            .wrap(from_fn(paths::normalize))
            .wrap(Condition::new(!settings.headers.is_empty(), from_fn(headers::add_configured)))
            .wrap(Condition::new(is_mirror, from_fn(mirror_listener::allow_reads)))
            .wrap(Condition::new(settings.access_log, from_fn(access_log::write)))
            .wrap(from_fn(limits::enforce))
            .wrap(from_fn(http_metrics::count))
            .configure(health::configure)
            .configure(
                |service| if is_mirror { routes::configure_root(service) } else { page(service, &settings.prefix) },
            )
            .configure(|service| manage::configure(service, &settings.prefix))
            .configure(|service| shown.iter().for_each(|path| metrics::configure(service, path)))
            .configure(|service| routes::configure(service, &settings.prefix))
    }
}
