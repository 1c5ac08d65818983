//! Asks the upstream about a tag now, however fresh the last answer is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    oci::{Digest, Reference, Repository, Tag},
    registry::{Error, Registry, error::Resource},
};

/// The result of asking the upstream about a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refreshed {
    /// The image's full name.
    pub image: String,
    /// The manifest that the tag named here before.
    pub before: Option<String>,
    /// The one that it names now; `None` if the upstream does not have the tag any more.
    pub now: Option<String>,
    /// The comparison of both.
    pub result: RefreshResult,
}

/// The change that an answer of the upstream brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefreshResult {
    /// The tag names the same manifest.
    Unchanged,
    /// The tag names another manifest.
    Moved,
    /// The tag was not here.
    New,
    /// The upstream does not have the tag.
    Gone,
}

impl Registry {
    /// Asks the upstream what a tag names, and fetches the manifest if it is not here.
    ///
    /// # Errors
    /// [`Error::Denied`] if the repository is hosted, the upstream's failure if it gives no answer: what is cached
    /// stays as it is then.
    pub async fn refresh(self: &Arc<Self>, repository: &Repository, tag: &Tag) -> Result<Refreshed, Error> {
        if repository.domain.is_none() {
            return Err(Error::Denied(format!("{repository} was pushed here: it has no upstream to be asked")));
        }
        let before = self.tag(repository, tag).await?.map(|(digest, _)| digest);
        let now = self.ask_anew(repository, tag).await?;
        let result = match (&before, &now) {
            (_, None) => RefreshResult::Gone,
            (None, Some(_)) => RefreshResult::New,
            (Some(before), Some(now)) if before == now => RefreshResult::Unchanged,
            (Some(_), Some(_)) => RefreshResult::Moved,
        };
        let text = |digest: Option<Digest>| digest.map(|digest| digest.to_string());
        let image = repository.image(&Reference::Tag(tag.clone()));
        Ok(Refreshed { image, before: text(before), now: text(now), result })
    }

    /// Returns the digest that the upstream names now; `None` if it does not have the tag.
    async fn ask_anew(self: &Arc<Self>, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, Error> {
        let reference = Reference::Tag(tag.clone());
        // A request that is under way may have been answered before.
        self.forget_requests(repository, &reference);
        let answer = self.ask_head(repository, reference.clone()).await.value;
        let wanted = match answer {
            Ok(Some(head)) if self.here(repository, &head.digest).await.is_some() => return Ok(Some(head.digest)),
            Ok(Some(head)) => Reference::Digest(head.digest),
            // An answer without a digest.
            Ok(None) => reference,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.of(Resource::Manifest)),
        };
        let fetched = self.fetch(repository, wanted).await;
        fetched.map(|(manifest, _)| Some(manifest.digest)).map_err(|error| error.of(Resource::Manifest))
    }
}
