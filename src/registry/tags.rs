//! What a tag names now: asked of its upstream once for everybody, and remembered.

use std::{sync::Arc, time::SystemTime};

use super::{Error, Head, Registry, error::Asked, mirror::Mirror, objects::Objects};
use crate::{
    lanes::Lane,
    oci::{Digest, Reference, Repository, Tag},
    upstream,
};

/// What an upstream's failure is to those who waited.
pub(super) type Asking<T> = Result<T, Arc<upstream::Error>>;

impl Registry {
    /// Asks what a tag names now: one HEAD for any number of waiters, none if one was answered just now. `None` when the
    /// upstream's answer does not say enough.
    pub(super) async fn ask_tag(self: &Arc<Self>, repository: &Repository, tag: &Tag) -> (Asking<Option<Head>>, bool) {
        match self.heard.recent(&(repository.clone(), tag.clone()), self.freshness) {
            Some(head) => (Ok(Some(head)), true),
            None => self.ask_head(repository, Reference::Tag(tag.clone())).await,
        }
    }

    /// As [`Registry::ask_tag`], for any reference.
    pub(super) async fn ask_head(
        self: &Arc<Self>,
        repository: &Repository,
        reference: Reference,
    ) -> (Asking<Option<Head>>, bool) {
        let (registry, place, asked) = (Arc::clone(self), repository.clone(), reference.clone());
        let work = async move { registry.ask_head_now(&place, &asked).await };
        let (answer, collapsed) = self.heads.join((repository.clone(), reference), work).await;
        (landed(answer), collapsed)
    }

    async fn ask_head_now(&self, repository: &Repository, reference: &Reference) -> Asking<Option<Head>> {
        let mirror = self.mirror_of(repository)?;
        let asked = SystemTime::now();
        let answer = mirror.ask(mirror.remote.head_manifest(&mirror.pool, &repository.name, reference)).await?;
        let (Some(digest), Some(size)) = (answer.digest, answer.size) else { return Ok(None) };
        let head = Head { digest, media_type: answer.media_type, size };
        if let Reference::Tag(tag) = reference {
            self.note_tag(repository, tag, &head, asked).await;
        }
        Ok(Some(head))
    }

    /// Notes an upstream's word on a tag: that it stands where it stood, or what it waits for.
    async fn note_tag(&self, repository: &Repository, tag: &Tag, head: &Head, asked: SystemTime) {
        if self.tag(repository, tag).await.is_some_and(|(known, _)| known == head.digest) {
            self.objects.index.put_tag(repository, tag, head.digest, asked);
        } else {
            self.heard.head(&(repository.clone(), tag.clone()), head.clone());
        }
    }

    /// The tags to point at a manifest that was here when one of them moved to it.
    pub(super) fn moved(&self, repository: &Repository, tag: &Tag, digest: Digest) -> Vec<Tag> {
        let mut tags = self.heard.take(repository, &digest);
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
        for tag in &tags {
            self.objects.index.put_tag(repository, tag, digest, SystemTime::now());
        }
        tags
    }

    /// What a tag named when it was last looked at.
    pub(super) async fn tag(&self, repository: &Repository, tag: &Tag) -> Option<(Digest, SystemTime)> {
        if self.objects.trusts_index(repository)
            && let Some(fact) = self.objects.index.tag(repository, tag)
        {
            return Some((fact.digest, fact.checked()));
        }
        let (place, wanted) = (repository.clone(), tag.clone());
        let look = move |objects: &Objects| objects.storage.links(&place).tag(&wanted);
        let digest = self.objects.blocking(Lane::Look, look).await.ok()??;
        Some((digest, SystemTime::UNIX_EPOCH))
    }

    pub(super) fn check_known(&self, repository: &Repository, tag: &Tag) -> Result<(), Error> {
        let unknown = self.heard.is_unknown(&(repository.clone(), tag.clone()));
        if unknown { Err(Error::ManifestUnknown) } else { Ok(()) }
    }

    /// Draws the consequence of an upstream's refusal of a tag.
    pub(super) async fn refused(&self, repository: &Repository, tag: &Tag, error: &upstream::Error) -> Error {
        if matches!(error, upstream::Error::NotFound) {
            self.heard.unknown(&(repository.clone(), tag.clone()));
            self.objects.index.remove_tag(repository, tag);
            let (place, tag) = (repository.clone(), tag.clone());
            let drop_link = move |objects: &Objects| objects.storage.links(&place).remove_tag(&tag);
            if let Ok(Err(error)) = self.objects.blocking(Lane::Write, drop_link).await {
                tracing::warn!("a tag that is gone upstream stays: {error}");
            }
        }
        Asked::Manifest.failed(error)
    }

    pub(super) fn mirror_of(&self, repository: &Repository) -> Asking<&Mirror> {
        self.mirror(repository).map_err(|error| Arc::new(upstream::Error::Protocol(error.to_string())))
    }
}

/// What became of joint work.
pub(super) fn landed<T>(joint: Option<Asking<T>>) -> Asking<T> {
    joint.unwrap_or_else(|| Err(Arc::new(upstream::Error::Protocol("the request was abandoned".into()))))
}
