//! Reads the names and platforms of a request, and finds what they address.

use std::{collections::HashSet, sync::Arc};

use crate::{
    oci::{ImageName, PlatformSelection, Reference, Repository},
    registry::{ImageError, Registry},
};

/// The most images of a request that are fetched at once.
pub(super) const MAX_CONCURRENT_IMAGES: usize = 3;

/// The repository and the reference of an image.
pub(super) type Address = (Repository, Reference);

/// The images of a request.
pub(super) struct ImagesRequest {
    pub(super) images: Vec<ImageName>,
    pub(super) platforms: PlatformSelection,
}

impl ImagesRequest {
    /// # Errors
    /// The reason that a name or a platform is invalid.
    pub(super) fn parse(images: &[String], platforms: &[String]) -> Result<Self, String> {
        let parsed = images.iter().map(|image| image.parse().map_err(|error| format!("{image:?}: {error}")));
        let images = parsed.collect::<Result<_, _>>()?;
        Ok(Self { images, platforms: PlatformSelection::parse(platforms).map_err(|error| error.to_string())? })
    }

    /// Returns the full name of each image with its address, once for each address: several names may have one.
    pub(super) async fn addressed(&self, registry: &Arc<Registry>) -> Vec<(String, Result<Address, ImageError>)> {
        let (mut seen, mut addressed) = (HashSet::new(), Vec::new());
        for image in &self.images {
            match registry.addressed(image).await {
                Ok(address) if !seen.insert(address.clone()) => {}
                Ok(address) => addressed.push((address.0.image(&address.1), Ok(address))),
                Err(error) => addressed.push((image.to_string(), Err(error))),
            }
        }
        addressed
    }
}
