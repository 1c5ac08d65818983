//! The parts of the protocol about whole images.

use serde::{Deserialize, Serialize};

use crate::{
    oci::{Reference, Repository},
    registry::{ImageError, StoredManifest, WarmImage},
};

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

/// The parameters of an import: an image, whose content follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRequest {
    /// The registry in its name.
    pub domain: Option<String>,
    /// Its repository.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The time at which an upstream's tags were so, in seconds since the epoch.
    pub at: u64,
    /// True if its manifest was made by the client.
    pub made: bool,
    /// Its blobs.
    pub blobs: Vec<BlobSize>,
    /// Its manifests, children first; the last one gets the tags.
    pub manifests: Vec<BlobSize>,
}

/// An image that is exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedImage {
    /// Its full name.
    pub image: String,
    /// Its tag, unless the name has a digest.
    pub tag: Option<String>,
    /// The manifest that the name refers to.
    pub digest: String,
    /// Its type.
    pub media_type: String,
    /// True if the upstream could not confirm that the tag still names it.
    #[serde(default)]
    pub stale: bool,
}

impl ExportedImage {
    /// A digest in the name is that of `top`: an index is left out if one of its platforms is exported.
    pub(super) fn new(repository: &Repository, reference: &Reference, top: &StoredManifest, stale: bool) -> Self {
        let (image, tag) = match reference {
            Reference::Tag(tag) => (repository.image(reference), Some(tag.to_string())),
            Reference::Digest(_) => (repository.image(&Reference::Digest(top.digest)), None),
        };
        let (digest, media_type) = (top.digest.to_string(), top.media_type().to_string());
        Self { image, tag, digest, media_type, stale }
    }
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
