//! The server's back door: a socket in the data directory, by which commands on the same machine ask the process that has
//! the volume to do what only it can. Whoever may use it is told by the file's mode: its owner, and root.
//!
//! A request is one line of JSON, the answer one or many, the last of which says how it ended (`protocol.rs`). What is done
//! is the registry's; nothing here decides anything.

mod place;
mod protocol;
mod server;
mod weighed;

pub use place::connect;
pub use protocol::{Answer, Request};
pub use server::{Acceptor, Defaults, Door};
pub use weighed::{Disk, Repository, Source, Tag, Weight};
