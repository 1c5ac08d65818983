//! The client that asked last for an image.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// A client and the time of its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastClient {
    /// The user's name, or `anonymous`.
    pub user: String,
    /// The address that the request came from.
    pub address: String,
    /// The time.
    pub at: Timestamp,
}
