//! The second door, `http.debug.addr`: metrics and health, for those who run this. No content.

use std::{io, sync::Arc};

use actix_web::{App, HttpServer, middleware::from_fn, web};

use super::{health, http_metrics, metrics};
use crate::{
    http::{settings::Listen, transport::listen::BoundListener},
    registry::Registry,
};

/// What is behind it.
#[derive(Clone, Debug)]
pub struct DebugSettings {
    /// Where to listen.
    pub listen: Listen,
    /// Under which path metrics are; `None` for nowhere.
    pub metrics: Option<String>,
}

/// A second server that listens already and is not yet answering.
#[derive(Debug)]
pub struct DebugServer {
    listener: BoundListener,
    metrics: Option<String>,
}

impl DebugServer {
    /// Binds the address.
    ///
    /// # Errors
    /// As the operating system refuses it.
    pub fn bind(settings: DebugSettings) -> io::Result<Self> {
        Ok(Self { listener: BoundListener::bind(&settings.listen)?, metrics: settings.metrics })
    }

    /// Where it listens: a URL.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn address(&self) -> io::Result<String> {
        self.listener.address("http")
    }

    /// Answers for as long as the future is polled.
    ///
    /// # Errors
    /// When its worker cannot be started.
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
