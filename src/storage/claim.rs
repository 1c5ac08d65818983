//! The claim to a repository's name: a small file below `_hosted/` that says that the name is this registry's own, what its
//! upstream said of that, and since when.
//!
//! A file inside of a folder, since `registry:2` would stop listing at a file whose name begins so. Earlier versions made the
//! folder alone, with the first upload.

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
    time::SystemTime,
};

use super::{Durability, Error, RepositoryLinks, layout, look};
use crate::oci::{Algorithm, Digest};

/// A longer file is none of this program's.
const LONGEST: u64 = 1024;

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// What the upstream that answers requests without `ns` is known to have under a claimed name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it said so before the name was claimed, or since.
    Proven,
    /// It could not be asked so far.
    Unproven,
    /// It said, after the name was claimed, that it has such a repository, too.
    Conflicting,
    /// It is not asked: the operator said whose the name is, or it was claimed before anybody asked.
    Unasked,
}

/// A claim to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What is known of the upstream.
    pub verdict: Verdict,
    /// Since when that is known.
    pub since: SystemTime,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Proven, Self::Unproven, Self::Conflicting, Self::Unasked];

    fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Unproven => "unproven",
            Self::Conflicting => "conflicting",
            Self::Unasked => "unasked",
        }
    }
}

impl Claim {
    /// A claim as of now.
    #[must_use]
    pub fn now(verdict: Verdict) -> Self {
        Self { verdict, since: SystemTime::now() }
    }

    /// The claim of what was there before claims were written down.
    fn previous_tags() -> Self {
        Self { verdict: Verdict::Unasked, since: SystemTime::UNIX_EPOCH }
    }

    fn write(self) -> String {
        format!("{} {}\n", self.verdict.as_str(), humantime::format_rfc3339_seconds(self.since))
    }

    /// A file of another content is a claim all the same: its name is not the upstream's again because of that.
    fn parse(content: &str) -> Self {
        let (verdict, since) = content.trim_end().split_once(' ').unwrap_or((content, ""));
        let verdict = Verdict::ALL.into_iter().find(|known| known.as_str() == verdict).unwrap_or(Verdict::Unasked);
        Self { verdict, since: humantime::parse_rfc3339(since).unwrap_or(SystemTime::UNIX_EPOCH) }
    }
}

impl RepositoryLinks {
    /// The claim to this repository's name; `None` when nobody has claimed it. One that has a manifest is claimed.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn claim(&self) -> Result<Option<Claim>, Error> {
        match self.written_claim()? {
            Some(claim) => Ok(Some(claim)),
            None => Ok(self.has_revisions()?.then(Claim::previous_tags)),
        }
    }

    /// The claim that was written down by this program, or by an earlier version of it.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn written_claim(&self) -> Result<Option<Claim>, Error> {
        let path = self.claim_path();
        if let Some(file) = look::open(&path)? {
            let content = read(file).map_err(Error::at(&path))?;
            return Ok(Some(Claim::parse(&content)));
        }
        Ok(look::is_folder(&self.claim_folder())?.then(Claim::previous_tags))
    }

    /// Writes down a claim, durably.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_claim(&self, claim: Claim) -> Result<(), Error> {
        self.names.write(&self.claim_path(), &claim.write(), Durability::Synced)
    }

    /// Says that the manifest `digest` no longer belongs to this repository, whose name stays claimed, durably, where there is no
    /// room to write a claim down: the folder of the manifest's link becomes the folder of the claim.
    ///
    /// # Errors
    /// When the folder cannot be moved.
    pub fn turn_into_claim(&self, digest: &Digest) -> Result<(), Error> {
        let link = layout::link(&layout::revisions(&self.dir), digest);
        if let Some(folder) = link.parent()
            && self.names.move_folder(folder, &self.claim_folder())?
        {
            return Ok(());
        }
        self.sync_claim()?;
        self.remove_revision(digest, Durability::Synced)
    }

    /// Makes a claim durable that was written down: it may have been by a push that could not be acknowledged.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn sync_claim(&self) -> Result<(), Error> {
        let path = self.claim_path();
        self.names.make_parent(&path, Durability::Synced)?;
        self.names.sync_names(&path)
    }

    /// Ends the claim to this repository's name, durably.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_claim(&self) -> Result<(), Error> {
        self.names.remove(&self.claim_folder(), Durability::Synced)
    }

    /// Removes the folders of this repository that nothing is left in.
    pub fn remove_empty_folders(&self) {
        let homes = [layout::revisions(&self.dir), layout::layers(&self.dir)];
        for (home, algorithm) in homes.iter().flat_map(|home| ALGORITHMS.map(|algorithm| (home, algorithm))) {
            self.names.remove_empty(&home.join(algorithm.as_str()));
        }
        let [revisions, layers] = &homes;
        let tags = layout::tags(&self.dir);
        for folder in [&tags, revisions, &self.dir.join("_manifests"), layers, &layout::uploads(&self.dir), &self.dir] {
            self.names.remove_empty(folder);
        }
    }

    /// Whether this repository has any manifest.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn has_revisions(&self) -> Result<bool, Error> {
        Ok(self.revisions().next().transpose()?.is_some())
    }

    fn claim_folder(&self) -> PathBuf {
        self.dir.join("_hosted")
    }

    fn claim_path(&self) -> PathBuf {
        self.claim_folder().join("claim")
    }
}

fn read(file: File) -> io::Result<String> {
    let mut content = Vec::new();
    file.take(LONGEST).read_to_end(&mut content)?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_claim_is_read_as_it_was_written() {
        for verdict in Verdict::ALL {
            let claim = Claim { verdict, since: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) };
            assert_eq!(Claim::parse(&claim.write()), claim);
        }
        assert_eq!(Claim::now(Verdict::Proven).write().split(' ').next(), Some("proven"));
    }

    #[test]
    fn whatever_the_file_holds_it_is_a_claim() {
        for content in ["", "perhaps", "\u{fffd}", "\n"] {
            assert_eq!(Claim::parse(content), Claim::previous_tags(), "{content:?}");
        }
        assert_eq!(Claim::parse("unproven yesterday").since, SystemTime::UNIX_EPOCH);
        assert_eq!(Claim::parse("unproven yesterday").verdict, Verdict::Unproven);
        assert_eq!(Claim::parse("proven"), Claim { verdict: Verdict::Proven, ..Claim::previous_tags() });
    }
}
