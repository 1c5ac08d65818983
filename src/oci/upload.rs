//! Names of upload sessions: distribution-spec, "Pushing blobs", `<reference>` of the session's location.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// Names an upload session. Chosen by the server, random, and safe as a single path component.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(Uuid);

/// The string is not a possible session name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an upload session is named by a UUID")]
pub struct InvalidUploadId;

impl UploadId {
    /// A random name that cannot be guessed.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl FromStr for UploadId {
    type Err = InvalidUploadId;

    fn from_str(text: &str) -> Result<Self, InvalidUploadId> {
        let id = Uuid::try_parse(text).map(Self).map_err(|_| InvalidUploadId)?;
        // Only one spelling is valid, since it is a folder's name.
        if id.to_string() == text { Ok(id) } else { Err(InvalidUploadId) }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_one_spelling() {
        let id = UploadId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "..", "a/b", &id.to_string().to_uppercase(), &id.to_string().replace('-', "")] {
            assert_eq!(bad.parse::<UploadId>(), Err(InvalidUploadId), "{bad}");
        }
    }
}
