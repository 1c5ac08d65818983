//! What the operator allows, and which registry a request means by it (law 8).

use crate::{
    lanes::Lane,
    oci::{Domain, Repository, RepositoryName},
    registry::{
        Error, Registry,
        policy::{TAKEN, not_ours},
    },
};

impl Registry {
    /// The repository a request means. `ns` is the query parameter by which containerd names the registry it wants. A
    /// request without it means what is hosted here, where the name is; anything else is mirrored from the Hub.
    ///
    /// # Errors
    /// [`Error::NotMirrored`], when `ns` names a registry that is on no list of this one's; or as the disk fails.
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

    /// The repository a request means that came to the mirror's own door: an upstream's, the Hub's unless `ns` names
    /// another, and never one that is this registry's own.
    ///
    /// # Errors
    /// [`Error::NotMirrored`], or [`Error::NameUnknown`] for what is hosted here.
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

    /// The registry whose repositories `ns` asks for; `None` is this one. Clients that pushed to `localhost:5001` or
    /// `registry:5000` pull with that as `ns`: a name that means nothing outside the client's own network means this
    /// registry. Any other is another registry's, and no answer while something is mirrored: what was pushed here as
    /// `org/app` is not `ghcr.io/org/app`.
    ///
    /// # Errors
    /// [`Error::NotMirrored`].
    pub fn home(&self, ns: Option<&str>) -> Result<Option<Domain>, Error> {
        let Some(ns) = ns else { return Ok(None) };
        match ns.parse::<Domain>() {
            Ok(own) if self.rules.names.contains(&own) => Ok(None),
            Ok(domain) if self.rules.mirror && self.mirrors.contains_key(&domain) => Ok(Some(domain)),
            _ if !self.rules.mirror || Domain::is_local(ns) => Ok(None),
            _ => Err(Error::NotMirrored(ns.chars().take(100).collect())),
        }
    }

    /// The registries whose repositories a catalog lists: the one that `ns` names, or this one. Without `ns`, a cache
    /// that takes no pushes lists what is cached of the Hub as well, as `registry:2` does.
    ///
    /// # Errors
    /// [`Error::NotMirrored`].
    pub fn catalogued(&self, ns: Option<&str>) -> Result<Vec<Option<Domain>>, Error> {
        let is_cache = ns.is_none() && self.rules.mirror && !self.rules.push;
        let hub = is_cache.then(|| Some(Domain::docker_hub()));
        Ok(std::iter::once(self.home(ns)?).chain(hub).collect())
    }

    /// The repository a write means: always this registry's own, whatever `ns` says.
    ///
    /// # Errors
    /// [`Error::Denied`] or [`Error::Unsupported`], saying which key changes it; or as the disk fails.
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

    /// Whether what may be deleted may be.
    ///
    /// # Errors
    /// [`Error::Unsupported`], saying which key changes it.
    pub fn deletable(&self) -> Result<(), Error> {
        if self.rules.delete {
            return Ok(());
        }
        Err(Error::Unsupported("nothing can be deleted here: set storage.delete.enabled to true".into()))
    }

    /// Whether a name is this registry's own: listed, or claimed by a push.
    async fn is_hosted(&self, repository: &Repository) -> Result<bool, Error> {
        Ok(self.is_listed(&repository.name) || self.is_claimed(repository).await?)
    }

    pub(in crate::registry) fn is_listed(&self, name: &RepositoryName) -> bool {
        self.rules.hosted.iter().any(|pattern| pattern.matches(name))
    }

    async fn is_mirrored(&self, name: &RepositoryName) -> Result<bool, Error> {
        for domain in self.mirrors.keys() {
            if self.is_here(&Repository { domain: Some(domain.clone()), name: name.clone() }).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether anything of a repository is here. The disk is asked while the index cannot tell.
    ///
    /// # Errors
    /// When that cannot be known: then it is nobody's, rather than an upstream's.
    pub(in crate::registry) async fn is_here(&self, repository: &Repository) -> Result<bool, Error> {
        if self.store.index.has_repository(repository) && self.store.index.is_complete() {
            return Ok(true);
        }
        // It is asked after the look: that may have failed.
        if self.store.index.is_complete() {
            return Ok(false);
        }
        let place = repository.clone();
        Ok(self.store.blocking(Lane::Look, move |store| store.storage.links(&place).exists()).await??)
    }
}
