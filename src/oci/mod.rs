//! The nouns of the OCI specifications, as types whose values are always valid.
//!
//! This is the lowest floor: it imports no other module of Entrepot and no web framework. All parsing and formatting of
//! these types is here.

mod action;
mod content_range;
mod digest;
mod domain;
mod error_code;
mod image_name;
mod image_pattern;
mod manifest;
mod media_type;
mod name;
mod pattern;
mod platform;
mod platform_selection;
mod range;
mod reference;
mod repository;
mod upload;

pub use action::{Action, InvalidAction};
pub use content_range::{ContentRange, InvalidRange};
pub use digest::{Algorithm, Digest, Hasher, InvalidDigest};
pub use domain::{Domain, InvalidDomain};
pub use error_code::ErrorCode;
pub use image_name::{ImageName, InvalidImageName};
pub use image_pattern::{ImagePattern, ImagePatterns, InvalidImagePattern, TagPattern};
pub use manifest::{Descriptor, InvalidManifest, MAX_MANIFEST_BYTES, Manifest};
pub use media_type::{MANIFEST_TYPES, MediaType};
pub use name::{InvalidName, RepositoryName};
pub use pattern::{InvalidPattern, NamePattern};
pub use platform::{InvalidPlatform, Platform};
pub use platform_selection::{NoImageForPlatform, PlatformSelection};
pub use range::{ByteRange, MAX_RANGES, RangeRequest};
pub use reference::{InvalidReference, InvalidTag, Reference, Tag};
pub use repository::Repository;
pub use upload::{InvalidUploadId, UploadId};
