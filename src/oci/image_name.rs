//! Names of images as people write them: distribution's reference grammar, `[domain/]path[:tag][@digest]`, with
//! docker's defaults.

use std::{fmt, str::FromStr};

use super::{Digest, Domain, InvalidDigest, InvalidDomain, InvalidName, InvalidTag, Reference, RepositoryName, Tag};

/// A name of an image, such as `nginx`, `ghcr.io/org/app:1` or `redis:7@sha256:…`. It is displayed with its namespace,
/// with its tag or digest, and with its registry only if it was given one: `library/nginx:latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageName {
    /// The registry; `None` if the name has none.
    pub domain: Option<Domain>,
    /// The repository's name within the registry. Without a registry and without a slash, it is the Hub's: `nginx`
    /// becomes `library/nginx`. A hosted `nginx` is `localhost/nginx`.
    pub name: RepositoryName,
    /// The tag, if it has one.
    pub tag: Option<Tag>,
    /// The digest, if it has one. It takes precedence over the tag.
    pub digest: Option<Digest>,
}

/// The string is not a name of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImageName {
    /// The registry, which is the first component with a dot or a colon, is invalid.
    #[error(transparent)]
    Domain(#[from] InvalidDomain),
    /// The repository's name is invalid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The tag is invalid.
    #[error(transparent)]
    Tag(#[from] InvalidTag),
    /// The digest is invalid.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
}

impl ImageName {
    /// Returns the name without the namespace of the Hub's official images, if it has that and no registry: a hosted
    /// repository may be meant.
    #[must_use]
    pub fn without_namespace(&self) -> Option<RepositoryName> {
        self.name.without_namespace().filter(|_| self.domain.is_none())
    }

    /// Returns the reference of the manifest: the digest, the tag, or `latest`.
    #[must_use]
    pub fn reference(&self) -> Reference {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Reference::Digest(*digest),
            (None, Some(tag)) => Reference::Tag(tag.clone()),
            (None, None) => Reference::Tag(Tag::latest()),
        }
    }
}

impl FromStr for ImageName {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, InvalidImageName> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (domain, path) = match rest.split_once('/') {
            Some((first, path)) if is_domain(first) => (Some(first.parse::<Domain>()?), path),
            _ => (None, rest),
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag.parse()?)),
            None => (path, None),
        };
        let is_hub = domain.as_ref().is_none_or(|domain| *domain == Domain::docker_hub());
        let name: RepositoryName = path.parse()?;
        Ok(Self { domain, name: if is_hub { name.on_docker_hub()? } else { name }, tag, digest })
    }
}

/// Returns whether the first component of a name is a registry.
fn is_domain(component: &str) -> bool {
    component.contains(['.', ':']) || component == "localhost"
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.domain.iter().try_for_each(|domain| write!(f, "{domain}/"))?;
        write!(f, "{}", self.name)?;
        match (&self.tag, &self.digest) {
            (None, None) => write!(f, ":{}", Tag::latest()),
            (tag, digest) => {
                tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
                digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        text.parse::<ImageName>().unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
    }

    #[test]
    fn a_name_is_completed_as_docker_does() {
        for (short, long) in [
            ("nginx", "library/nginx:latest"),
            ("nginx:1.27", "library/nginx:1.27"),
            ("org/app:1", "org/app:1"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
            ("docker.io/org/app", "docker.io/org/app:latest"),
            ("ghcr.io/org/app", "ghcr.io/org/app:latest"),
            ("ghcr.io/app:2", "ghcr.io/app:2"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/team/app:1", "localhost:5000/team/app:1"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest"),
            ("a/b/c/d:x", "a/b/c/d:x"),
        ] {
            assert_eq!(full(short), long, "{short}");
            assert_eq!(full(long), long, "{long}");
        }
    }

    #[test]
    fn a_name_without_a_registry_may_be_one_without_a_namespace() {
        let short = |text: &str| text.parse::<ImageName>().unwrap().without_namespace().map(|name| name.to_string());
        assert_eq!((short("app:1").as_deref(), short("library/app").as_deref()), (Some("app"), Some("app")));
        assert_eq!((short("team/app"), short("docker.io/app"), short("localhost/app")), (None, None, None));
    }

    #[test]
    fn a_digest_takes_precedence_over_a_tag() {
        let digest = Digest::sha256(b"");
        for (name, long) in [
            (format!("ghcr.io/org/app@{digest}"), format!("ghcr.io/org/app@{digest}")),
            (format!("redis:7@{digest}"), format!("library/redis:7@{digest}")),
        ] {
            let parsed: ImageName = name.parse().unwrap();
            assert_eq!((parsed.to_string(), parsed.reference()), (long, Reference::Digest(digest)));
        }
        assert_eq!("nginx".parse::<ImageName>().unwrap().reference().to_string(), "latest");
    }

    #[test]
    fn a_registry_has_a_dot_a_colon_or_is_this_machine() {
        let domain = |text: &str| text.parse::<ImageName>().unwrap().domain.map(|domain| domain.to_string());
        assert_eq!(domain("team/app"), None);
        assert_eq!(domain("registry:5000/app").as_deref(), Some("registry:5000"));
        assert_eq!(domain("localhost/app").as_deref(), Some("localhost"));
        assert_eq!(domain("quay.io/app").as_deref(), Some("quay.io"));
    }

    #[test]
    fn refuses_everything_else() {
        for bad in [
            "",
            ":",
            "nginx:",
            ":1",
            "@",
            "Nginx",
            "org/App",
            "a//b",
            "/a",
            "a/",
            "ghcr.io/",
            "http://ghcr.io/a",
            "a b",
            "nginx@sha256:12",
            "nginx:1:2",
            "-a",
            "docker.io/",
            "${IMAGE}",
            "[::1]:5000/a",
            "nginx:a/b",
        ] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad}");
        }
        assert_eq!("org/App".parse::<ImageName>(), Err(InvalidImageName::Name(InvalidName)));
    }
}
