//! Decides which repository a request addresses, and if it is allowed (law 8 of ARCHITECTURE.md).

use crate::{
    lanes::Lane,
    oci::{Domain, Repository, RepositoryName},
    registry::{
        Error, Registry,
        policy::{TAKEN, not_ours},
    },
};

impl Registry {
    /// Returns the repository that a request addresses. `ns` is the query parameter with which containerd names the
    /// registry. Without it, a hosted name is hosted, and any other name is mirrored from Docker Hub.
    ///
    /// # Errors
    /// [`Error::NotMirrored`] if `ns` names a registry that is not configured, [`Error::Storage`] if the disk fails.
    pub async fn repository(&self, name: RepositoryName, ns: Option<&str>) -> Result<Repository, Error> {
        if ns.is_some() {
            return Ok(Repository { domain: self.home(ns)?, name });
        }
        let hosted = Repository { domain: None, name };
        if !self.rules.mirror || self.is_hosted(&hosted).await? {
            return Ok(hosted);
        }
        Ok(Repository { domain: Some(Domain::docker_hub()), ..hosted })
    }

    /// Returns the repository that a request to the mirror listener addresses: always an upstream's, Docker Hub's
    /// unless `ns` names another.
    ///
    /// # Errors
    /// [`Error::NotMirrored`] if `ns` names a registry that is not configured, [`Error::NameUnknown`] for a hosted
    /// name.
    pub fn mirrored(&self, name: RepositoryName, ns: Option<&str>) -> Result<Repository, Error> {
        let domain = match ns {
            None => Domain::docker_hub(),
            Some(_) => self.home(ns)?.ok_or(Error::NameUnknown)?,
        };
        if self.is_listed(&name) || !self.rules.mirror {
            return Err(Error::NameUnknown);
        }
        Ok(Repository { domain: Some(domain), name })
    }

    /// Returns the registry that `ns` names; `None` is this one. Clients that pushed to `localhost:5001` or
    /// `registry:5000` pull with that as `ns`, so a name that is only valid in the client's own network means this
    /// registry. Any other name means another registry and must not be answered from here: `org/app` pushed here is not
    /// `ghcr.io/org/app`.
    ///
    /// # Errors
    /// [`Error::NotMirrored`] if `ns` names a registry that is not configured.
    pub fn home(&self, ns: Option<&str>) -> Result<Option<Domain>, Error> {
        let Some(ns) = ns else { return Ok(None) };
        match ns.parse::<Domain>() {
            Ok(own) if self.rules.names.contains(&own) => Ok(None),
            Ok(domain) if self.rules.mirror && self.upstreams.contains_key(&domain) => Ok(Some(domain)),
            _ if !self.rules.mirror || Domain::is_local(ns) => Ok(None),
            _ => Err(Error::NotMirrored(ns.chars().take(100).collect())),
        }
    }

    /// Returns the registries that a catalog lists: the one that `ns` names, or this one. Without `ns`, a cache that
    /// accepts no pushes also lists its cached repositories of Docker Hub, as `registry:2` does.
    ///
    /// # Errors
    /// [`Error::NotMirrored`] if `ns` names a registry that is not configured.
    pub fn catalogued(&self, ns: Option<&str>) -> Result<Vec<Option<Domain>>, Error> {
        let is_cache = ns.is_none() && self.rules.mirror && !self.rules.push;
        let hub = is_cache.then(|| Some(Domain::docker_hub()));
        Ok(std::iter::once(self.home(ns)?).chain(hub).collect())
    }

    /// Returns the repository that a write addresses: always a hosted one, regardless of `ns`.
    ///
    /// # Errors
    /// [`Error::Denied`] or [`Error::Unsupported`], with the configuration key to change; [`Error::Storage`] if the
    /// disk fails.
    pub async fn writable(&self, name: RepositoryName) -> Result<Repository, Error> {
        self.rules.allow_pushes()?;
        let hosted = Repository { domain: None, name };
        if !self.rules.mirror || self.is_hosted(&hosted).await? {
            return Ok(hosted);
        }
        let why = if hosted.name.as_str().starts_with("library/") {
            "library/ is where the Hub's official images are mirrored"
        } else if self.is_mirrored(&hosted.name).await? {
            "this name is mirrored from the Hub already, and clients must go on getting what they asked for"
        } else if self.is_taken(&hosted.name) {
            TAKEN
        } else {
            return Ok(hosted);
        };
        Err(not_ours(&hosted.name, why))
    }

    /// Checks that deletes are enabled.
    ///
    /// # Errors
    /// [`Error::Unsupported`], with the configuration key to change.
    pub fn deletable(&self) -> Result<(), Error> {
        if self.rules.delete {
            return Ok(());
        }
        Err(Error::Unsupported("nothing can be deleted here: set storage.delete.enabled to true".into()))
    }

    /// Returns whether a name is hosted: listed in `proxy.hosted`, or claimed by a push.
    async fn is_hosted(&self, repository: &Repository) -> Result<bool, Error> {
        Ok(self.is_listed(&repository.name) || self.is_claimed(repository).await?)
    }

    pub(in crate::registry) fn is_listed(&self, name: &RepositoryName) -> bool {
        self.rules.hosted.iter().any(|pattern| pattern.matches(name))
    }

    async fn is_mirrored(&self, name: &RepositoryName) -> Result<bool, Error> {
        for domain in self.upstreams.keys() {
            if self.is_here(&Repository { domain: Some(domain.clone()), name: name.clone() }).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns whether a repository has any content here. The disk is read while the index is incomplete.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails. The caller must then not treat the name as mirrored.
    pub(in crate::registry) async fn is_here(&self, repository: &Repository) -> Result<bool, Error> {
        if self.store.volume.index.has_repository(repository) && self.store.volume.index.is_complete() {
            return Ok(true);
        }
        // Checked after the lookup, which may have failed.
        if self.store.volume.index.is_complete() {
            return Ok(false);
        }
        let place = repository.clone();
        Ok(self.store.blocking(Lane::Look, move |store| store.disk.links(&place).exists()).await??)
    }
}
