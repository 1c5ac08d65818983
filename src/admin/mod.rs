//! The server's back door: a socket in the data directory, by which commands on the same machine ask the process that has
//! the volume to do what only it can. Whoever may use it is told by the file's mode: its owner, and root.
//!
//! A request is one line of JSON, the answer one or many, the last of which says how it ended (`protocol.rs`). What is done
//! is the registry's; nothing here decides anything.

mod protocol;
mod server;
mod socket_path;
mod usage_report;

pub use protocol::{Request, Response};
pub use server::{Acceptor, AdminSocket, Defaults};
pub use socket_path::connect;
pub use usage_report::{Disk, Repository, Source, Tag, Usage};
