//! Manifest references, a tag or a digest: distribution-spec, "Pulling manifests", `<reference>`.

use std::{fmt, str::FromStr, sync::Arc};

use super::{Digest, InvalidDigest};

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`. Safe as a single path component.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

/// The string is not a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tag is letters, digits, '_', '.' and '-', does not start with '.' or '-', and has at most 128 characters")]
pub struct InvalidTag;

impl Tag {
    /// The tag of an image name that has neither tag nor digest.
    #[must_use]
    pub fn latest() -> Self {
        Self("latest".into())
    }

    /// The tag's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let fits = text.len() <= 128
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if fits { Ok(Self(text.into())) } else { Err(InvalidTag) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A reference to a manifest: a tag, which may move, or a digest, which cannot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// Names the manifest that was last pushed under it.
    Tag(Tag),
    /// Names exactly these bytes.
    Digest(Digest),
}

/// The string is neither a tag nor a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// It has no colon, and is no valid tag.
    #[error(transparent)]
    Tag(#[from] InvalidTag),
    /// It has a colon, and is no valid digest.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        if text.contains(':') { Ok(Self::Digest(text.parse()?)) } else { Ok(Self::Tag(text.parse()?)) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguishes_tags_from_digests() {
        assert!(matches!("latest".parse(), Ok(Reference::Tag(_))));
        assert!(matches!(Digest::sha256(b"").to_string().parse(), Ok(Reference::Digest(_))));
        assert_eq!("sha256:12".parse::<Reference>(), Err(InvalidReference::Digest(InvalidDigest::Hex)));
    }

    #[test]
    fn a_tag_is_a_safe_path_component() {
        for good in ["latest", "v1.0", "_", "18.04", "sha256-abc", &"x".repeat(128)] {
            assert_eq!(good.parse::<Tag>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".a", "-a", "a/b", "a:b", "ä", "a b", &"x".repeat(129)] {
            assert_eq!(bad.parse::<Tag>(), Err(InvalidTag), "{bad}");
        }
    }
}
