//! The platform of an image: image-spec `image-index.md`, `platform`. Its names are those of Go (`GOOS`, `GOARCH`); the
//! names that `uname` and Rust have for the usual architectures are translated.

use std::{fmt, str::FromStr};

/// A platform, such as `linux/amd64` or `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`
    pub architecture: String,
    /// `v7`; `None` where the architecture has no variants, or its usual one is meant.
    pub variant: Option<String>,
}

/// The string is not a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a platform is OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/amd64 or linux/arm/v7")]
pub struct InvalidPlatform;

impl Platform {
    /// The platform of this process.
    #[must_use]
    pub fn host() -> Self {
        Self::new(std::env::consts::OS, std::env::consts::ARCH, None)
    }

    fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "x86" | "i386" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// Returns the distance between this platform and an image for `offered` that runs on it: 0 for the same platform;
    /// `None` if the image does not run. As in containerd, an image for a lower variant runs on a higher one.
    #[must_use]
    pub fn distance(&self, offered: &Self) -> Option<u32> {
        if (&self.os, &self.architecture) != (&offered.os, &offered.architecture) {
            return None;
        }
        match (self.level(), offered.level()) {
            (Some(own), Some(offered)) => own.checked_sub(offered),
            _ => (self.variant == offered.variant).then_some(0),
        }
    }

    /// The variant's number; without a variant, that of the usual one.
    fn level(&self) -> Option<u32> {
        match (self.variant.as_deref(), self.architecture.as_str()) {
            (Some(variant), _) => variant.strip_prefix('v')?.parse().ok(),
            (None, "amd64") => Some(1),
            (None, "arm") => Some(7),
            (None, "arm64") => Some(8),
            (None, _) => Some(0),
        }
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let text = text.to_ascii_lowercase();
        let words: Vec<&str> = text.split('/').collect();
        match words[..] {
            _ if !words.iter().all(|word| is_word(word)) => Err(InvalidPlatform),
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(InvalidPlatform),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_and_written_as_docker_does() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        assert_eq!("Linux/x86_64".parse::<Platform>().unwrap().to_string(), "linux/amd64");
        for bad in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/a b", "all"] {
            assert_eq!(bad.parse::<Platform>(), Err(InvalidPlatform), "{bad}");
        }
    }

    #[test]
    fn a_lower_variant_runs_on_a_higher_one() {
        let distance =
            |own: &str, offered: &str| own.parse::<Platform>().unwrap().distance(&offered.parse::<Platform>().unwrap());
        assert_eq!(distance("linux/arm64", "linux/arm64/v8"), Some(0));
        assert_eq!(distance("linux/arm", "linux/arm/v6"), Some(1));
        assert_eq!(distance("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(distance("linux/amd64/v3", "linux/amd64"), Some(2));
        assert_eq!(distance("linux/amd64", "linux/arm64"), None);
        assert_eq!(distance("linux/mips64le/hardfloat", "linux/mips64le/hardfloat"), Some(0));
        assert_eq!(distance("linux/s390x", "linux/s390x"), Some(0));
    }
}
