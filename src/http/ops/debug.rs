//! The debug listener, `http.debug.addr`: metrics and health for operators, without any content.

use std::{io, sync::Arc};

use actix_web::{App, HttpServer, middleware::from_fn, web};

use super::{health, http_metrics, metrics};
use crate::{
    http::{settings::BindAddress, transport::listen::BoundListener},
    lanes::Blocking,
    registry::Registry,
};

/// The debug listener's address and the metrics' path.
#[derive(Clone, Debug)]
pub struct DebugSettings {
    /// The address to listen on.
    pub listen: BindAddress,
    /// The path of the metrics; `None` serves none.
    pub metrics: Option<String>,
}

/// A debug server that is bound to its address but does not answer yet.
#[derive(Debug)]
pub struct DebugServer {
    listener: BoundListener,
    metrics: Option<String>,
}

impl DebugServer {
    /// Binds the address.
    ///
    /// # Errors
    /// The operating system's error if the address cannot be bound.
    pub fn bind(io: &Blocking, settings: DebugSettings) -> io::Result<Self> {
        Ok(Self { listener: BoundListener::bind(io, &settings.listen)?, metrics: settings.metrics })
    }

    /// Returns the URL that it listens on.
    ///
    /// # Errors
    /// The operating system's error if the local address cannot be read.
    pub fn address(&self) -> io::Result<String> {
        self.listener.address("http")
    }

    /// Serves requests for as long as the future is polled.
    ///
    /// # Errors
    /// An I/O error if its worker cannot be started.
    pub async fn run(self, registry: Arc<Registry>) -> io::Result<()> {
        let (state, path) = (web::Data::from(registry), self.metrics);
        let app = move || {
            let path = path.clone();
            App::new()
                .app_data(state.clone())
                .wrap(from_fn(http_metrics::count))
                .configure(health::configure)
                .service(web::resource("/debug/health").route(web::get().to(health::debug)))
                .configure(|service| path.iter().for_each(|path| metrics::configure(service, path)))
        };
        let server = HttpServer::new(app).workers(1).disable_signals();
        let server = match self.listener {
            BoundListener::Tcp(listener) => server.listen(listener)?,
            BoundListener::Unix(listener) => server.listen_uds(listener)?,
        };
        server.run().await
    }
}
