//! Which registry a request means (law 8).

use super::Error;
use crate::oci::{Domain, Repository, RepositoryName};

/// Finds the repository a request is about. `ns` is the query parameter by which containerd names the registry it
/// wants; a request without it that this registry hosts nothing for is mirrored from `default`.
///
/// # Errors
/// [`Error::NotMirrored`], when `ns` names a registry that is not among `mirrored`.
pub(super) fn repository<'a>(
    name: RepositoryName,
    ns: Option<&str>,
    default: &Domain,
    mut mirrored: impl Iterator<Item = &'a Domain>,
) -> Result<Repository, Error> {
    let Some(ns) = ns else {
        return Ok(Repository { domain: Some(default.clone()), name });
    };
    let asked = ns.parse::<Domain>().ok();
    match asked.filter(|asked| mirrored.any(|domain| domain == asked)) {
        Some(domain) => Ok(Repository { domain: Some(domain), name }),
        None => Err(Error::NotMirrored(ns.chars().take(100).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(ns: Option<&str>) -> Result<Option<Domain>, Error> {
        let hub = Domain::docker_hub();
        repository("a".parse().unwrap(), ns, &hub, [&hub].into_iter()).map(|repository| repository.domain)
    }

    #[test]
    fn the_hub_by_all_its_names() {
        for ns in [None, Some("docker.io"), Some("index.docker.io"), Some("registry-1.docker.io")] {
            assert_eq!(asked(ns).unwrap(), Some(Domain::docker_hub()));
        }
    }

    #[test]
    fn no_other_registry_is_ever_asked() {
        for ns in ["ghcr.io", "127.0.0.1:1", "", "docker.io/x", "http://docker.io", "docker.io@evil"] {
            assert!(matches!(asked(Some(ns)), Err(Error::NotMirrored(_))), "{ns}");
        }
    }
}
