//! What is said through the socket.

use serde::{Deserialize, Serialize};

use super::usage_report::{self, Disk, Repository, Source, Tag};
use crate::{
    oci::{InvalidName, NamePattern, RepositoryName},
    registry::{
        Census, Checked, Collected, Error, GcEvent, Removed, RepairResult, UsageEvent, VERIFY_SHARDS, Verified,
    },
};

/// What a command wants; one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Remove what nothing reaches.
    Gc {
        /// Manifests without a tag, too.
        untagged: bool,
        /// Only say what would go.
        dry_run: bool,
        /// In place of the server's own grace, where it is shorter: milliseconds.
        grace: Option<u64>,
    },
    /// Hash what is stored.
    Verify {
        /// In place of the server's own rate: bytes a second.
        rate: Option<u64>,
    },
    /// Make the index anew from what is on disk.
    RebuildIndex,
    /// Remove a repository of this registry's own, and free its name.
    Rm {
        /// Which one.
        name: String,
        /// Only say what would go.
        dry_run: bool,
    },
    /// Count what fills the disk.
    Du {
        /// The repositories whose tags are counted, too: a pattern, as `proxy.hosted` takes it.
        tags: Option<String>,
    },
}

impl Request {
    /// The name of a repository.
    ///
    /// # Errors
    /// Why `name` is none.
    pub fn repository(name: &str) -> Result<RepositoryName, String> {
        name.parse().map_err(|error: InvalidName| format!("{name:?} is no repository name: {error}"))
    }

    /// What a count is asked to count.
    ///
    /// # Errors
    /// Why `tags` is no pattern.
    pub fn census(tags: Option<&String>) -> Result<Census, String> {
        let pattern = |text: &String| text.parse::<NamePattern>().map_err(|error| format!("expected {error}"));
        Ok(Census { tags: tags.map(pattern).transpose()? })
    }
}

/// What a command is told; a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Response {
    /// How far it has come.
    Progress {
        /// Repositories, or blobs, looked at.
        done: u64,
        /// Of so many, where that is known.
        of: Option<u64>,
        /// Bytes read.
        bytes: u64,
    },
    /// A manifest left its repository, or would.
    Manifest {
        /// Which one's.
        repository: String,
        /// The manifest.
        digest: String,
    },
    /// A blob was removed, or would be.
    Blob {
        /// The blob.
        digest: String,
        /// Its length.
        bytes: u64,
    },
    /// A blob was damaged.
    Damaged {
        /// The blob.
        digest: String,
        /// Those it belongs to.
        repositories: Vec<String>,
        /// `dropped`, `quarantined` or `restored`.
        outcome: String,
    },
    /// The end of a verification.
    Verified {
        /// Blobs hashed.
        blobs: u64,
        /// Their bytes.
        bytes: u64,
        /// Damaged and dropped; fetched again when they are asked for.
        dropped: u64,
        /// Damaged, and set aside until they are pushed again.
        quarantined: u64,
        /// Damaged, and fetched again.
        restored: u64,
    },
    /// The index is made.
    Rebuilt,
    /// The end of a collection.
    Collected {
        /// Manifests that left their repository.
        manifests: u64,
        /// Blobs that left theirs.
        links: u64,
        /// Blobs removed.
        blobs: u64,
        /// The bytes these had.
        bytes: u64,
        /// Repositories left alone, since they were just pushed to.
        active: u64,
        /// Whether all of that only would have gone.
        dry_run: bool,
    },
    /// A repository is removed, and its name free.
    Removed {
        /// Which one.
        repository: String,
        /// Its tags.
        tags: u64,
        /// Its manifests.
        manifests: u64,
        /// Its blobs, whose bytes are collected if nobody else links them.
        links: u64,
        /// Whether all of that only would have gone.
        dry_run: bool,
    },
    /// Of a count: an upstream, or what was pushed.
    Source(Source),
    /// Of a count: a repository.
    Repository(Repository),
    /// Of a count: a tag of the repository before it.
    Tag(Tag),
    /// The end of a count.
    Counted(Disk),
    /// It ended badly.
    Failed {
        /// Why, in a line.
        message: String,
    },
}

impl Response {
    /// The end of a collection.
    #[must_use]
    pub fn collected(collected: Collected, dry_run: bool) -> Self {
        let Collected { manifests, links, blobs, bytes, active } = collected;
        Self::Collected { manifests, links, blobs, bytes, active, dry_run }
    }

    /// The end of a removal.
    #[must_use]
    pub fn removed(removed: Result<Removed, Error>, repository: &RepositoryName, dry_run: bool) -> Self {
        match removed {
            Ok(Removed { tags, manifests, links }) => {
                Self::Removed { repository: repository.to_string(), tags, manifests, links, dry_run }
            }
            Err(Error::NameUnknown) => Self::Failed { message: format!("nothing of {repository} is here") },
            Err(error) => Self::Failed { message: error.to_string() },
        }
    }

    /// The end of a verification.
    #[must_use]
    pub fn verified(verified: Verified) -> Self {
        let Verified { blobs, bytes, dropped, quarantined, restored } = verified;
        Self::Verified { blobs, bytes, dropped, quarantined, restored }
    }

    /// What a verification comes by.
    #[must_use]
    pub fn checked(checked: Checked) -> Self {
        match checked {
            Checked::Step(done, bytes) => Self::Progress { done: done.into(), of: Some(VERIFY_SHARDS.into()), bytes },
            Checked::Damaged(digest, outcome, owners) => Self::Damaged {
                digest: digest.to_string(),
                repositories: owners.iter().map(ToString::to_string).collect(),
                outcome: match outcome {
                    RepairResult::Dropped => "dropped",
                    RepairResult::Quarantined => "quarantined",
                    RepairResult::Restored => "restored",
                }
                .to_owned(),
            },
        }
    }

    /// What a collection comes by; `done` repositories were looked at before.
    #[must_use]
    pub fn found(found: GcEvent, done: &mut u64) -> Self {
        match found {
            GcEvent::Repository => {
                *done += 1;
                Self::Progress { done: *done, of: None, bytes: 0 }
            }
            GcEvent::Manifest(repository, digest) => {
                Self::Manifest { repository: repository.to_string(), digest: digest.to_string() }
            }
            GcEvent::Blob(digest, bytes) => Self::Blob { digest: digest.to_string(), bytes },
        }
    }

    /// What a count comes by.
    #[must_use]
    pub fn weighed(weighed: UsageEvent) -> Self {
        let domain = usage_report::domain;
        match weighed {
            UsageEvent::Step { done, of, bytes } => Self::Progress { done, of, bytes },
            UsageEvent::Source(from, weight) => Self::Source(Source { domain: domain(from), weight: weight.into() }),
            UsageEvent::Repository(place, weight) => Self::Repository(Repository {
                domain: domain(place.domain),
                name: place.name.to_string(),
                weight: weight.into(),
            }),
            UsageEvent::Tag(tag, digest, weight) => {
                Self::Tag(Tag { tag: tag.to_string(), digest: digest.to_string(), weight: weight.into() })
            }
        }
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(
            self,
            Self::Verified { .. }
                | Self::Rebuilt
                | Self::Collected { .. }
                | Self::Removed { .. }
                | Self::Counted(_)
                | Self::Failed { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_line_that_people_can_write() {
        let line = r#"{"request":"gc","untagged":true,"dry_run":false,"grace":null}"#;
        let request: Request = serde_json::from_str(line).unwrap();
        assert_eq!(request, Request::Gc { untagged: true, dry_run: false, grace: None });
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        for wrong in ["", "{}", r#"{"request":"rm"}"#, r#"{"request":"gc","untagged":true,"dryrun":true}"#] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }
}
