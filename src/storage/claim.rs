//! The claim to a repository's name: a small file below `_hosted/` which records that the name belongs to this
//! registry, the upstream's answer about it, and the time.
//!
//! The file lies in a folder, since `registry:2` would stop its listing at a file whose name begins with `_`. Earlier
//! versions made the folder alone, at the first upload.

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
    time::SystemTime,
};

use super::{Durability, Error, RepositoryLinks, atomic_fs::Renamed, layout, look};
use crate::oci::Digest;

/// A longer file was not written by this program.
const MAX_CLAIM_BYTES: u64 = 1024;

/// The known state of a claimed name at the upstream that serves requests without `ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The upstream has no such repository: it said so before or after the claim.
    Proven,
    /// The upstream could not be asked yet.
    Unproven,
    /// The upstream has such a repository too, and said so after the claim.
    Conflicting,
    /// The upstream is not asked: the operator decided about the name, or the name was claimed before the upstream was
    /// asked.
    Unasked,
}

/// A claim to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The known state of the name at the upstream.
    pub verdict: Verdict,
    /// The time since which that is known.
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
    /// Creates a claim with the current time.
    #[must_use]
    pub fn now(verdict: Verdict) -> Self {
        Self { verdict, since: SystemTime::now() }
    }

    /// The claim of a repository that dates from before claims were recorded.
    #[must_use]
    pub fn unrecorded() -> Self {
        Self { verdict: Verdict::Unasked, since: SystemTime::UNIX_EPOCH }
    }

    fn write(self) -> String {
        format!("{} {}\n", self.verdict.as_str(), humantime::format_rfc3339_seconds(self.since))
    }

    /// A file that cannot be parsed is a claim too: otherwise the name would fall back to the upstream.
    fn parse(content: &str) -> Self {
        let (verdict, since) = content.trim_end().split_once(' ').unwrap_or((content, ""));
        let verdict = Verdict::ALL.into_iter().find(|known| known.as_str() == verdict).unwrap_or(Verdict::Unasked);
        Self { verdict, since: humantime::parse_rfc3339(since).unwrap_or(SystemTime::UNIX_EPOCH) }
    }
}

impl RepositoryLinks<'_> {
    /// Returns the claim to this repository's name; `None` if it is unclaimed. A name with a manifest counts as
    /// claimed.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn claim(&self) -> Result<Option<Claim>, Error> {
        match self.written_claim()? {
            Some(claim) => Ok(Some(claim)),
            None => Ok(self.has_revisions()?.then(Claim::unrecorded)),
        }
    }

    /// Returns the claim that this program, or an earlier version of it, recorded.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn written_claim(&self) -> Result<Option<Claim>, Error> {
        let path = self.claim_path();
        if let Some(file) = look::open(&path)? {
            let content = read(file).map_err(Error::at(&path))?;
            return Ok(Some(Claim::parse(&content)));
        }
        Ok(look::is_folder(&self.claim_folder())?.then(Claim::unrecorded))
    }

    /// Records a claim, durably.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the file cannot be written.
    pub fn write_claim(&self, claim: Claim) -> Result<(), Error> {
        self.names.write(&self.claim_path(), &claim.write(), Durability::Synced)
    }

    /// Removes the manifest `digest` from this repository and claims the name, durably, on a disk too full to write a
    /// claim: renames the folder of the manifest's link to the folder of the claim.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the folder cannot be moved.
    pub fn turn_into_claim(&self, digest: &Digest) -> Result<(), Error> {
        let link = layout::link(&layout::revisions(&self.dir), digest);
        self.remove_pull_note(&link)?;
        if let Some(folder) = link.parent()
            && let Renamed::Done(()) = self.names.move_folder(folder, &self.claim_folder())?
        {
            return Ok(());
        }
        self.sync_claim()?;
        self.remove_revision(digest, Durability::Synced)
    }

    /// Syncs a recorded claim, which may stem from a push that failed before it was acknowledged.
    ///
    /// # Errors
    /// [`Error::Unsynced`] if the sync fails.
    pub fn sync_claim(&self) -> Result<(), Error> {
        let path = self.claim_path();
        self.names.make_parent(&path, Durability::Synced)?;
        self.names.sync_names(&path)
    }

    /// Removes the claim to this repository's name, durably.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it exists and cannot be removed.
    pub fn remove_claim(&self) -> Result<(), Error> {
        self.names.remove(&self.claim_folder(), Durability::Synced)
    }

    /// Returns whether this repository has any manifest.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
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
    file.take(MAX_CLAIM_BYTES).read_to_end(&mut content)?;
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
            assert_eq!(Claim::parse(content), Claim::unrecorded(), "{content:?}");
        }
        assert_eq!(Claim::parse("unproven yesterday").since, SystemTime::UNIX_EPOCH);
        assert_eq!(Claim::parse("unproven yesterday").verdict, Verdict::Unproven);
        assert_eq!(Claim::parse("proven"), Claim { verdict: Verdict::Proven, ..Claim::unrecorded() });
    }
}
