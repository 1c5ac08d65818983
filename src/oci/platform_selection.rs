//! The choice of an index's manifests by platform.

use super::{Descriptor, InvalidPlatform, Manifest, Platform};

/// The platforms whose images are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlatformSelection {
    /// All of an index, also what is no image of a platform, such as attestations.
    All,
    /// These platforms alone.
    Only(Vec<Platform>),
}

/// An index has no image for a wanted platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has no image for {wanted}, but for {offered}")]
pub struct NoImageForPlatform {
    wanted: Platform,
    offered: String,
}

impl PlatformSelection {
    /// Reads the words of a command line; without any, the platform of this process is selected.
    ///
    /// # Errors
    /// [`InvalidPlatform`] for a word that is neither a platform nor `all`.
    pub fn parse(words: &[impl AsRef<str>]) -> Result<Self, InvalidPlatform> {
        if words.is_empty() {
            return Ok(Self::default());
        }
        if words.iter().any(|word| word.as_ref() == "all") {
            return Ok(Self::All);
        }
        words.iter().map(|word| word.as_ref().parse()).collect::<Result<_, _>>().map(Self::Only)
    }

    /// Returns the entries of an index that are wanted, one for each platform: the one that is nearest to it. Where no
    /// entry names a platform, all of them are.
    ///
    /// # Errors
    /// [`NoImageForPlatform`] for the first platform that no entry is for.
    pub fn select<'a>(&self, index: &'a Manifest) -> Result<Vec<&'a Descriptor>, NoImageForPlatform> {
        let entries = &index.manifests;
        match self {
            Self::Only(wanted) if entries.iter().any(|entry| entry.platform.is_some()) => {
                wanted.iter().map(|platform| nearest(platform, entries)).collect()
            }
            _ => Ok(entries.iter().collect()),
        }
    }
}

impl Default for PlatformSelection {
    fn default() -> Self {
        Self::Only(vec![Platform::host()])
    }
}

fn nearest<'a>(wanted: &Platform, entries: &'a [Descriptor]) -> Result<&'a Descriptor, NoImageForPlatform> {
    let distance = |entry: &Descriptor| entry.platform.as_ref().and_then(|offered| wanted.distance(offered));
    let fitting = entries.iter().filter_map(|entry| Some((distance(entry)?, entry)));
    fitting.min_by_key(|(distance, _)| *distance).map(|(_, entry)| entry).ok_or_else(|| {
        // An attestation says unknown/unknown.
        let offered = entries.iter().filter_map(|entry| entry.platform.as_ref()).filter(|other| other.os != "unknown");
        let offered: Vec<_> = offered.map(ToString::to_string).collect();
        NoImageForPlatform { wanted: wanted.clone(), offered: offered.join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    fn index(platforms: &[&str]) -> Manifest {
        let entry = |text: &&str| {
            let words: Vec<_> = text.split('/').collect();
            let variant = words.get(2).map(|variant| format!(r#","variant":"{variant}""#)).unwrap_or_default();
            let digest = Digest::sha256(text.as_bytes());
            format!(
                r#"{{"digest":"{digest}","size":1,"platform":{{"os":"{}","architecture":"{}"{variant}}}}}"#,
                words[0], words[1]
            )
        };
        let entries: Vec<_> = platforms.iter().map(entry).collect();
        Manifest::parse(format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(",")).as_bytes()).unwrap()
    }

    fn selected(words: &[&str], index: &Manifest) -> Result<Vec<String>, NoImageForPlatform> {
        let chosen = PlatformSelection::parse(words).unwrap().select(index)?;
        Ok(chosen.iter().map(|entry| entry.platform.as_ref().unwrap().to_string()).collect())
    }

    #[test]
    fn the_nearest_variant_is_chosen() {
        let index = index(&["linux/arm/v5", "linux/arm/v6", "linux/arm/v8", "linux/amd64", "unknown/unknown"]);
        assert_eq!(selected(&["linux/arm/v7"], &index).unwrap(), ["linux/arm/v6"]);
        assert_eq!(selected(&["linux/amd64", "linux/arm/v5"], &index).unwrap(), ["linux/amd64", "linux/arm/v5"]);
        assert_eq!(selected(&["linux/amd64", "all"], &index).unwrap().len(), 5);
        let refused = selected(&["linux/s390x"], &index).unwrap_err().to_string();
        assert!(refused.ends_with("for linux/s390x, but for linux/arm/v5, linux/arm/v6, linux/arm/v8, linux/amd64"));
    }

    #[test]
    fn an_index_without_platforms_is_wanted_as_a_whole() {
        let digest = Digest::sha256(b"a");
        let json = format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{digest}","size":1}}]}}"#);
        let index = Manifest::parse(json.as_bytes()).unwrap();
        assert_eq!(PlatformSelection::default().select(&index).unwrap().len(), 1);
    }
}
