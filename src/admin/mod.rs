//! The admin socket: a Unix socket in the data directory, for commands on the same machine that need the running
//! server. The file's mode restricts it to its owner and root.
//!
//! A request is one line of JSON; the response is one or more lines, and the last one states the result
//! (`protocol.rs`). The registry does the work; this module only translates.

mod perform;
mod protocol;
mod server;
mod socket_path;
mod usage_report;

pub use perform::{Defaults, perform};
pub use protocol::{Request, Response};
pub use server::{Acceptor, AdminSocket};
pub use socket_path::connect;
pub use usage_report::{Disk, Repository, Source, Tag, Usage};
