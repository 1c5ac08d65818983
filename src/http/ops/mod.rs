//! The endpoints and middleware for operators: probes, metrics, the access log, the debug listener.

pub(super) mod access_log;
mod counted_body;
pub(super) mod debug;
pub(super) mod events;
pub(super) mod health;
pub(super) mod http_metrics;
pub(super) mod metrics;
