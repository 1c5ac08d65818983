//! The parts of the protocol about whole images.

use serde::{Deserialize, Serialize};

use crate::registry::{ImageError, WarmImage};

/// A blob of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobSize {
    /// The blob.
    pub digest: String,
    /// Its size by the manifest; 0 where that does not say it.
    pub bytes: u64,
}

/// The result for an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageResult {
    /// The image's full name.
    pub image: String,
    /// `warmed`; `stale`, if the upstream could not confirm that the tag still names it; or `failed`.
    pub result: String,
    /// The manifest that the name refers to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
    /// Bytes fetched for it.
    pub fetched: u64,
    /// Bytes that were here, or came for another request.
    pub present: u64,
    /// The reason, in one line, if it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

impl ImageResult {
    pub(super) fn new(image: String, warmed: Result<WarmImage, ImageError>) -> Self {
        match warmed {
            Ok(WarmImage { digest, fetched, present, stale }) => {
                let result = if stale { "stale" } else { "warmed" }.to_owned();
                Self { image, result, digest: Some(digest.to_string()), fetched, present, error: None }
            }
            Err(error) => Self {
                image,
                result: "failed".to_owned(),
                digest: None,
                fetched: 0,
                present: 0,
                error: Some(error.to_string()),
            },
        }
    }
}
