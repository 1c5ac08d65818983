//! Repository names: distribution-spec, "Pulling manifests", `<name>`.

use std::{fmt, str::FromStr, sync::Arc};

/// A name that matches the spec's
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*` and is at most 255 bytes long.
/// Safe as a relative path: no component is empty, starts with a dot or an underscore, or is `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Arc<str>);

/// The string is not a repository name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a repository name is lower-case letters and digits, separated within a component by one '.', one or two '_', or any \
     number of '-', components separated by '/', at most 255 characters in all"
)]
pub struct InvalidName;

/// The namespace of Docker Hub's images whose names have no slash.
const OFFICIAL: &str = "library/";

impl RepositoryName {
    const MAX_BYTES: usize = 255;

    /// Returns the whole name of what this one means at Docker Hub: `library/nginx` for `nginx`.
    ///
    /// # Errors
    /// [`InvalidName`] if the whole name is too long.
    pub fn on_docker_hub(self) -> Result<Self, InvalidName> {
        if self.0.contains('/') { Ok(self) } else { format!("{OFFICIAL}{self}").parse() }
    }

    /// Returns whether it is below the namespace of Docker Hub's official images.
    #[must_use]
    pub fn is_official(&self) -> bool {
        self.0.starts_with(OFFICIAL)
    }

    /// Returns the name of one of the Hub's official images without their namespace.
    #[must_use]
    pub fn without_namespace(&self) -> Option<Self> {
        self.0.strip_prefix(OFFICIAL)?.parse().ok()
    }

    /// The name, without a domain.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepositoryName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() > Self::MAX_BYTES || !text.split('/').all(is_component) {
            return Err(InvalidName);
        }
        Ok(Self(text.into()))
    }
}

fn is_component(component: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_in_words = bytes.first().is_some_and(|b| word(*b)) && bytes.last().is_some_and(|b| word(*b));
    ends_in_words && bytes.split(|b| word(*b)).all(is_separator)
}

/// The separator between two words; empty between two letters of the same word.
fn is_separator(run: &[u8]) -> bool {
    matches!(run, b"" | b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-')
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_specs_names() {
        for good in ["a", "library/ubuntu", "a/b/c/d", "my-app", "a--b", "a__b", "a_b.c-d/0", &"a".repeat(255)] {
            assert_eq!(good.parse::<RepositoryName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn refuses_everything_else() {
        let long = "a".repeat(256);
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a/B",
            ".",
            "..",
            "a/../b",
            "_a",
            "a_",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "a b",
            "a%2fb",
            "a\0",
            "ä",
            "_manifests",
            "a/_uploads",
            &long,
        ] {
            assert_eq!(bad.parse::<RepositoryName>(), Err(InvalidName), "{bad}");
        }
    }
}
