//! Lists the referrers of a manifest in a hosted repository (distribution-spec, "Listing Referrers"). Descriptors are
//! kept in the index. Those that are too long, or missing in an index of an older version, are read from their
//! manifests.

use super::listing::first;
use crate::{
    lanes::Lane,
    oci::{Digest, Repository},
    registry::{
        Error, Registry,
        store::{blob_store::BlockingStore, manifests, referrer_descriptor::ReferrerDescriptor},
    },
    storage::{self, DurableStore, LinkKind},
};

/// Referrers on a page, at most.
const MAX_PAGE_REFERRERS: usize = 500;
/// Bytes on a page, at most. Clients limit an index like any manifest, to 4 MiB.
const MAX_PAGE_BYTES: usize = 3 << 20;

/// A page of descriptors.
#[derive(Debug, Default)]
pub struct Referrers {
    /// image-spec descriptors of manifests, as JSON.
    pub descriptors: Vec<String>,
    /// The last digest of this page, after which the next page begins; `None` for the last page.
    pub next: Option<Digest>,
}

/// A referrer with the descriptor from the index.
type Noted = (Digest, Option<ReferrerDescriptor>);

impl Registry {
    /// Returns the referrers of `subject` in a hosted repository, of one `artifact_type` if given. The subject need not
    /// exist.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails, [`Error::ShuttingDown`] if the store is closed.
    pub async fn hosted_referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: &str,
    ) -> Result<Referrers, Error> {
        let found = self.noted_referrers(repository, *subject, after).await?;
        let more = found.len() > MAX_PAGE_REFERRERS;
        let (mut page, mut bytes, mut made) = (Referrers::default(), 0, Vec::new());
        for (digest, noted) in found.into_iter().take(MAX_PAGE_REFERRERS) {
            let is_new = noted.is_none();
            let described = self.described(&digest, noted, artifact_type).await?;
            if let Some(described) = &described
                && is_new
            {
                made.push((digest, described.clone()));
            }
            if let Some(described) = described.filter(|described| described.is(artifact_type)) {
                bytes += described.json.len();
                if bytes > MAX_PAGE_BYTES && !page.descriptors.is_empty() {
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

    /// Returns the descriptor of a manifest; `None` if the manifest is not stored.
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
        let look = move |store: &BlockingStore<'_>| {
            let found = store.index.noted_referrers(&place, &subject, &from, MAX_PAGE_REFERRERS + 1)?;
            Some(found.into_iter().map(|(digest, note)| (digest, ReferrerDescriptor::decode(&note))).collect())
        };
        if let Some(found) = self.store.blocking(Lane::Read, look).await? {
            return Ok(found);
        }
        let (place, after) = (repository.clone(), after.to_owned());
        let walk = move |store: &BlockingStore<'_>| {
            let refers = |digest: Result<Digest, storage::Error>| -> Result<Option<String>, Error> {
                let digest = digest?;
                let manifest = crate::registry::store::stored_manifests::read(store.disk, &digest)?;
                Ok(manifest.is_some_and(|found| found.subject == Some(subject)).then(|| digest.to_string()))
            };
            let revisions = store.disk.linked(&place, LinkKind::Revision);
            first(revisions.filter_map(|digest| refers(digest).transpose()), &after, MAX_PAGE_REFERRERS + 1)
        };
        let found = self.store.blocking(Lane::List, walk).await??;
        Ok(found.iter().filter_map(|digest| Some((digest.parse().ok()?, None))).collect())
    }

    /// Stores descriptors that the index did not have, in the background.
    fn keep_descriptors(&self, repository: &Repository, subject: Digest, made: Vec<(Digest, ReferrerDescriptor)>) {
        if made.is_empty() {
            return;
        }
        let place = repository.clone();
        self.store.in_background(Lane::Write, move |store| {
            for (digest, described) in made {
                store.index.note_referrer(&place, &subject, &digest, &described.encode());
            }
        });
    }
}
