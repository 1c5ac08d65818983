//! Asks upstreams about tags for a client of the admin socket.

use std::sync::Arc;

use super::{AdminResponse, ContentResponse, answers::Answers};
use crate::{
    oci::{ImageName, Reference},
    registry::{Refreshed, Registry},
};

/// Executes a request to ask upstreams about images, one after the other.
pub(super) async fn serve(registry: &Arc<Registry>, images: &[String], answers: &Answers) {
    let mut failed = 0;
    for image in images {
        let response = match refresh(registry, image).await {
            Ok(refreshed) => ContentResponse::Refreshed(refreshed),
            Err(error) => {
                failed += 1;
                ContentResponse::NotRefreshed { image: image.clone(), error }
            }
        };
        answers.queue(AdminResponse::Content(response)).await;
    }
    let end = ContentResponse::RefreshEnd { images: images.len() as u64, failed };
    answers.queue(AdminResponse::Content(end)).await;
}

async fn refresh(registry: &Arc<Registry>, image: &str) -> Result<Refreshed, String> {
    let name: ImageName = image.parse().map_err(|error| format!("{image:?}: {error}"))?;
    let (repository, reference) = registry.addressed(&name).await.map_err(|error| error.to_string())?;
    match reference {
        Reference::Tag(tag) => registry.refresh(&repository, &tag).await.map_err(|error| error.to_string()),
        Reference::Digest(_) => Err("a digest always means the same bytes: name a tag".to_owned()),
    }
}
