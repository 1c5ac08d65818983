//! Sets up notifications for `entrepot serve`.

use std::sync::Arc;

use super::{Failure, supervise::Supervisor};
use crate::{
    config::{Config, Listen},
    lanes::Blocking,
    metrics::MaintenanceJob,
    notifications::{self, Notifier, NotifierParts},
    registry::RegistryConfig,
};

/// Opens the queues of the configured endpoints; `None` without any.
pub(super) fn open(io: &Blocking, config: &Config, parts: &RegistryConfig) -> Result<Option<Arc<Notifier>>, Failure> {
    let port = match config.http.addr.value() {
        Listen::Tcp(address) => Some(address.port),
        Listen::Unix(_) => None,
    };
    let notifier_parts = NotifierParts {
        config: &config.notifications,
        source: notifications::source_address(port),
        metrics: &parts.metrics,
        threads: parts.threads.clone(),
        lanes: parts.lanes.clone(),
    };
    let opened = Notifier::open(io, &parts.storage.notifications_dir(), &notifier_parts);
    Ok(opened.map_err(Failure::failed)?.map(Arc::new))
}

/// Starts to send events.
pub(super) fn start(notifier: &Notifier, supervisor: &Supervisor) {
    notifier.deliveries().for_each(|delivery| supervisor.supervise(MaintenanceJob::Notifications, delivery));
}
