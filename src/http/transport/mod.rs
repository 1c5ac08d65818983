//! Connections: listeners, TLS, the clocks of a connection, and the limits that one client has.
//!
//! `accept` admits a connection by `connection_limit` and does its TLS handshake; `timed_stream` is its bytes, `connection`
//! its clocks; `limits` is the outermost layer of each of its requests. `forwarded` and `location` tell what a client and a
//! proxy call each other and this server.

pub(super) mod accept;
pub(super) mod connection;
pub(super) mod connection_limit;
pub(super) mod forwarded;
pub(super) mod limiter;
pub(super) mod limits;
pub(super) mod listen;
pub(super) mod location;
pub(super) mod mirror_listener;
pub(super) mod rate_limit;
pub(super) mod request_body;
pub(super) mod throttled_log;
pub(super) mod timed_stream;
pub(super) mod tls;
pub(super) mod upload_limit;
