//! Mounts a blob of another repository (distribution-spec, "Mounting a blob from another repository").

use crate::{
    oci::{Digest, Repository},
    registry::{Error, Registry},
    storage::Purpose,
};
impl Registry {
    /// Links a blob of another repository without an upload. Without `from`, any hosted repository may have it. Returns
    /// `false` if it is not available.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`] if the disk is full, [`Error::Storage`] if it fails.
    pub async fn mount(&self, into: &Repository, digest: Digest, from: Option<&Repository>) -> Result<bool, Error> {
        let known = match from {
            Some(from) => self.may_read(from, &digest).await?,
            None => self.store.volume.index.origins(&digest).hosted,
        };
        if known { self.link_here(into, digest).await } else { Ok(false) }
    }

    /// Links a blob that is here into a hosted repository whose owner has its bytes. Returns `false` if it is not here.
    ///
    /// # Errors
    /// As [`Registry::mount`].
    pub(in crate::registry) async fn link_here(&self, into: &Repository, digest: Digest) -> Result<bool, Error> {
        let reservation = self.store.reserve_object(Purpose::Hosted, 0).await?;
        let guard = self.store.protection.gc_guard.guard_upload(into, Some(&digest)).await;
        if !self.store.promote(digest).await? {
            return Ok(false);
        }
        self.store.link_promoted(into, digest, (guard, reservation)).await
    }
}
