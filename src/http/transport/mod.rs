//! Connections: listeners, TLS, timeouts, and the limits of each client.
//!
//! `accept` admits a connection through `connection_limit` and performs its TLS handshake; `timed_stream` carries its
//! bytes, `file_sending` sends files without a copy, and `connection` enforces timeouts. `limits` is the outermost
//! middleware of each request. `forwarded` reads proxy headers, and `location` writes this server's URLs.

pub(super) mod accept;
pub(super) mod connection;
pub(super) mod connection_limit;
pub(super) mod file_sending;
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
