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
    /// Returns the repository that a request addresses. `ns` is the registry that the request names: by the query
    /// parameter of containerd, or by the host that the client connected to. Without it, a hosted name is hosted, a
    /// name that begins with a mirrored registry is mirrored from there, and any other is mirrored from Docker Hub.
    ///
    /// # Errors
    /// [`Error::NotMirrored`] if `ns` names a registry that is not configured, [`Error::Denied`] if the operator does
    /// not let the repository be mirrored, [`Error::Storage`] if the disk fails.
    pub async fn repository(&self, name: RepositoryName, ns: Option<&str>) -> Result<Repository, Error> {
        if ns.is_some() {
            return match self.home(ns)? {
                Some(domain) => self.permitted(self.within(domain, name)),
                None => Ok(Repository { domain: None, name }),
            };
        }
        let hosted = Repository { domain: None, name };
        if !self.rules.mirror || self.is_hosted(&hosted).await? {
            return Ok(hosted);
        }
        match self.prefixed(&hosted.name).or_else(|| self.by_default(&hosted.name)) {
            Some(mirrored) => self.permitted(mirrored),
            None => Ok(hosted),
        }
    }

    /// Returns the repository that a request to the mirror listener addresses: always an upstream's, Docker Hub's
    /// unless `ns` or the beginning of the name says another.
    ///
    /// # Errors
    /// [`Error::NotMirrored`] if `ns` names a registry that is not configured, [`Error::NameUnknown`] for a hosted
    /// name, [`Error::Denied`] if the operator does not let the repository be mirrored.
    pub fn mirrored(&self, name: RepositoryName, ns: Option<&str>) -> Result<Repository, Error> {
        let named = match ns {
            None => None,
            Some(_) => Some(self.home(ns)?.ok_or(Error::NameUnknown)?),
        };
        if self.is_listed(&name) || !self.rules.mirror {
            return Err(Error::NameUnknown);
        }
        let repository = match named {
            Some(domain) => Some(self.within(domain, name)),
            None => self.prefixed(&name).or_else(|| self.by_default(&name)),
        };
        self.permitted(repository.ok_or(Error::NameUnknown)?)
    }

    /// Returns the repository of a registry that a request names. Clients that are configured to add the registry's
    /// name to the path say it twice.
    pub(in crate::registry) fn within(&self, domain: Domain, name: RepositoryName) -> Repository {
        let prefixed = self.prefixed(&name).filter(|repository| repository.domain.as_ref() == Some(&domain));
        prefixed.unwrap_or(Repository { domain: Some(domain), name })
    }

    /// Returns the repository of a name that begins with a mirrored registry: `ghcr.io/org/app`.
    fn prefixed(&self, name: &RepositoryName) -> Option<Repository> {
        let (first, rest) = name.as_str().split_once('/')?;
        let domain = first.parse().ok().filter(|domain| self.upstreams.contains(domain))?;
        let name: RepositoryName = rest.parse().ok()?;
        let name = if domain == Domain::docker_hub() { name.on_docker_hub().ok()? } else { name };
        Some(Repository { domain: Some(domain), name })
    }

    /// Returns the repository of Docker Hub, if that is mirrored: the upstream of requests that cannot say which
    /// registry they mean.
    fn by_default(&self, name: &RepositoryName) -> Option<Repository> {
        let domain = Some(Domain::docker_hub()).filter(|domain| self.upstreams.contains(domain));
        domain.map(|domain| Repository { domain: Some(domain), name: name.clone() })
    }

    /// Checks that the operator lets a repository be mirrored.
    pub(in crate::registry) fn permitted(&self, repository: Repository) -> Result<Repository, Error> {
        if self.upstream(&repository)?.serves(&repository.name) {
            return Ok(repository);
        }
        Err(Error::Denied(format!("{repository} is not mirrored here: proxy.upstreams does not allow it")))
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
            Ok(domain) if self.rules.mirror && self.upstreams.contains(&domain) => Ok(Some(domain)),
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
        let hub = Domain::docker_hub();
        let is_cache = ns.is_none() && self.rules.mirror && !self.rules.push && self.upstreams.contains(&hub);
        Ok(std::iter::once(self.home(ns)?).chain(is_cache.then_some(Some(hub))).collect())
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
        let why = if self.prefixed(&hosted.name).is_some() {
            "names that begin with a mirrored registry are pulled from there"
        } else if !self.upstreams.contains(&Domain::docker_hub()) {
            return Ok(hosted);
        } else if hosted.name.is_official() {
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

    /// Returns whether something of this name was mirrored from the upstream of requests without `ns`.
    async fn is_mirrored(&self, name: &RepositoryName) -> Result<bool, Error> {
        self.is_here(&Repository { domain: Some(Domain::docker_hub()), name: name.clone() }).await
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
