//! What refers to a manifest of one of this registry's own repositories:
//! distribution-spec, "Listing Referrers". Descriptors are made when a manifest
//! comes, and kept in the index; those that are not, as they are long or the index
//! is older, are read from their manifests.

use super::listing::first;
use crate::{
    lanes::Lane,
    oci::{Digest, Repository},
    registry::{
        Error, Registry,
        store::{blob_store::BlobStore, manifests, referrer_descriptor::ReferrerDescriptor},
    },
    storage,
};

/// How many referrers are listed at a time.
const REFERRERS: usize = 500;
/// How many bytes of them: clients read an index as they read any manifest, 4 MiB at most.
const REFERRERS_BYTES: usize = 3 << 20;

/// A page of descriptors.
#[derive(Debug, Default)]
pub struct Referrers {
    /// image-spec descriptors, each of a manifest, as JSON.
    pub descriptors: Vec<String>,
    /// Where the next page begins: after this digest.
    pub next: Option<Digest>,
}

/// A manifest that refers to another, with what is kept of its descriptor.
type Noted = (Digest, Option<ReferrerDescriptor>);

impl Registry {
    /// What refers to `subject` in a repository of this registry's own; of `artifact_type` only, where one is given. A
    /// subject that is not here may have referrers all the same.
    ///
    /// # Errors
    /// When the work dies.
    pub async fn hosted_referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: &str,
    ) -> Result<Referrers, Error> {
        let found = self.noted_referrers(repository, *subject, after).await?;
        let more = found.len() > REFERRERS;
        let (mut page, mut bytes, mut made) = (Referrers::default(), 0, Vec::new());
        for (digest, noted) in found.into_iter().take(REFERRERS) {
            let is_new = noted.is_none();
            let described = self.described(&digest, noted, artifact_type).await?;
            if let Some(described) = &described
                && is_new
            {
                made.push((digest, described.clone()));
            }
            if let Some(described) = described.filter(|described| described.is(artifact_type)) {
                bytes += described.json.len();
                if bytes > REFERRERS_BYTES && !page.descriptors.is_empty() {
                    self.keep_descriptors(repository, *subject, made);
                    return Ok(page);
                }
                page.descriptors.push(described.json);
            }
            page.next = Some(digest);
        }
        self.keep_descriptors(repository, *subject, made);
        page.next = page.next.filter(|_| more);
        Ok(page)
    }

    /// The descriptor of a manifest; `None` where it is not here.
    async fn described(
        &self,
        digest: &Digest,
        noted: Option<ReferrerDescriptor>,
        wanted: Option<&str>,
    ) -> Result<Option<ReferrerDescriptor>, Error> {
        if let Some(kept) = noted.filter(|kept| kept.is_whole || !kept.is(wanted)) {
            return Ok(Some(kept));
        }
        let Some(manifest) = self.manifests.get(digest).await? else { return Ok(None) };
        if let Some(described) = &manifest.described {
            return Ok(Some(described.clone()));
        }
        self.store.blocking(Lane::Compute, move |_| Some(manifests::describe(&manifest))).await
    }

    async fn noted_referrers(
        &self,
        repository: &Repository,
        subject: Digest,
        after: &str,
    ) -> Result<Vec<Noted>, Error> {
        let (place, from) = (repository.clone(), after.to_owned());
        let look = move |store: &BlobStore| {
            let found = store.index.noted_referrers(&place, &subject, &from, REFERRERS + 1)?;
            Some(found.into_iter().map(|(digest, note)| (digest, ReferrerDescriptor::decode(&note))).collect())
        };
        if let Some(found) = self.store.blocking(Lane::Read, look).await? {
            return Ok(found);
        }
        let (place, after) = (repository.clone(), after.to_owned());
        let walk = move |store: &BlobStore| {
            let refers = |digest: Result<Digest, storage::Error>| -> Result<Option<String>, Error> {
                let digest = digest?;
                let manifest = crate::registry::store::stored_manifests::read(&store.storage, &digest)?;
                Ok(manifest.is_some_and(|found| found.subject == Some(subject)).then(|| digest.to_string()))
            };
            let revisions = store.storage.links(&place).revisions();
            first(revisions.filter_map(|digest| refers(digest).transpose()), &after, REFERRERS + 1)
        };
        let found = self.store.blocking(Lane::List, walk).await??;
        Ok(found.iter().filter_map(|digest| Some((digest.parse().ok()?, None))).collect())
    }

    /// Keeps descriptors that an older index had not. Nobody waits for it.
    fn keep_descriptors(&self, repository: &Repository, subject: Digest, made: Vec<(Digest, ReferrerDescriptor)>) {
        if made.is_empty() {
            return;
        }
        let (store, place) = (self.store.clone(), repository.clone());
        let keep = move || {
            for (digest, described) in made {
                store.index.note_referrer(&place, &subject, &digest, &described.encode());
            }
        };
        drop(self.store.lanes.start(Lane::Write, keep));
    }
}
