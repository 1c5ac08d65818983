//! The admin socket: a Unix socket in the data directory, by which commands reach the server that holds the directory's
//! lock. Without a server, a command executes the same request itself (`dispatch.rs`). The file's mode restricts the
//! socket to its owner and root.
//!
//! A request is one line of JSON; the response is one or more lines, and the last one states the result
//! (`protocol.rs`). The bytes of exported content stand between the lines, those of imported content after
//! the request. `server.rs` accepts connections; `dispatch.rs` calls the registry, which does the work.

mod ahead;
mod answers;
mod content;
mod content_messages;
mod dispatch;
mod export;
mod image_messages;
mod images;
mod import;
mod protocol;
mod refresh;
mod retention_messages;
mod server;
mod socket;
mod usage_report;
mod warm;

pub use content_messages::{ContentRequest, ContentResponse};
pub use dispatch::{Defaults, dispatch};
pub use image_messages::{BlobSize, ExportedImage, ImageResult, ImportRequest};
pub use protocol::{AdminRequest, AdminResponse};
pub use retention_messages::{ExpiredTag, RetentionResult};
pub use server::{AdminAcceptor, AdminSocket};
pub use socket::connect;
pub use usage_report::{DiskUsage, RepositoryUsage, SourceUsage, TagUsage, UsageFigures};
