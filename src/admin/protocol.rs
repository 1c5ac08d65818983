//! The messages of the admin socket, each one line of JSON: a request is answered by any number of event messages and
//! one final message. Also converts the registry's results and events to messages. The lines are read and written by
//! `server.rs` and `cli/client.rs`.

use serde::{Deserialize, Serialize};

use super::{
    content_messages::{ContentRequest, ContentResponse},
    image_messages::{BlobSize, ExportedImage, ImageResult, ImportRequest},
    retention_messages::{ExpiredTag, RetentionResult},
    usage_report::{self, DiskUsage, RepositoryUsage, SourceUsage, TagUsage},
};
use crate::{
    oci::{InvalidName, InvalidTag, NamePattern, RepositoryName, Tag},
    registry::{
        Checked, Collected, Error, GcEvent, Removed, RepairResult, UsageCount, UsageEvent, VERIFY_SHARDS, Verified,
    },
};

/// A command's request; one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum AdminRequest {
    /// Collects garbage.
    Gc {
        /// Removes manifests without a tag, too.
        untagged: bool,
        /// Only lists the content to remove.
        dry_run: bool,
        /// The grace period in milliseconds, at most the server's own; `None` for that one.
        grace: Option<u64>,
    },
    /// Removes the pushed tags that no rule keeps.
    Retention {
        /// Only lists them.
        dry_run: bool,
        /// As for a collection.
        grace: Option<u64>,
    },
    /// Hashes all stored content.
    Verify {
        /// The read rate in place of the server's own, in bytes per second.
        rate: Option<u64>,
    },
    /// Rebuilds the index from the disk.
    RebuildIndex,
    /// Removes a hosted repository and frees its name, or removes one tag of it.
    Rm {
        /// The repository's name, or `name:tag`.
        name: String,
        /// Only lists the content to remove.
        dry_run: bool,
    },
    /// Counts the disk usage.
    Du {
        /// The repositories to count with their tags: a pattern in the syntax of `proxy.hosted`.
        tags: Option<String>,
    },
    /// Fetches images into the cache.
    Warm {
        /// Their names, as docker takes them.
        images: Vec<String>,
        /// Their platforms, such as `linux/amd64`, or `all`; the server's own if there is none.
        platforms: Vec<String>,
    },
    /// Takes an image. Its content follows the response that says which of it is wanted.
    Import(ImportRequest),
    /// Asks about content, or changes how long it is kept.
    Content(ContentRequest),
    /// Sends the content of images.
    Export {
        /// Their names, as docker takes them.
        images: Vec<String>,
        /// A platform, or `all`; the server's own if there is none.
        platforms: Vec<String>,
    },
}

impl AdminRequest {
    /// Parses a repository's name, alone or with a tag.
    ///
    /// # Errors
    /// The reason that `name` is invalid.
    pub fn removal(name: &str) -> Result<(RepositoryName, Option<Tag>), String> {
        let (repository, tag) = name.split_once(':').map_or((name, None), |(name, tag)| (name, Some(tag)));
        let tag = tag.map(str::parse).transpose().map_err(|error: InvalidTag| format!("{name:?}: {error}"))?;
        let invalid = |error: InvalidName| format!("{name:?} is no repository name: {error}");
        Ok((repository.parse().map_err(invalid)?, tag))
    }

    /// Returns the parameters of a count.
    ///
    /// # Errors
    /// The reason that `tags` is not a pattern.
    pub fn disk_usage(tags: Option<&String>) -> Result<UsageCount, String> {
        let pattern = |text: &String| text.parse::<NamePattern>().map_err(|error| format!("expected {error}"));
        Ok(UsageCount { tags: tags.map(pattern).transpose()? })
    }
}

/// A response to a command; one line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum AdminResponse {
    /// The progress so far.
    Progress {
        /// Repositories or blobs processed.
        done: u64,
        /// Their total, if known.
        of: Option<u64>,
        /// Bytes read.
        bytes: u64,
    },
    /// A manifest was removed from its repository, or would be.
    Manifest {
        /// The repository.
        repository: String,
        /// The manifest.
        digest: String,
    },
    /// A tag was removed, or would be.
    Expired(ExpiredTag),
    /// The end of a run of retention.
    Retained(RetentionResult),
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
        /// The repositories that it belongs to.
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
        /// Damaged blobs dropped; they are fetched again on request.
        dropped: u64,
        /// Damaged blobs in quarantine until they are pushed again.
        quarantined: u64,
        /// Damaged blobs fetched again.
        restored: u64,
    },
    /// The index was rebuilt.
    Rebuilt,
    /// The end of a collection.
    Collected {
        /// Manifests removed from their repositories.
        manifests: u64,
        /// Blob links removed from their repositories.
        links: u64,
        /// Blobs removed.
        blobs: u64,
        /// Their total size.
        bytes: u64,
        /// Repositories of which something stayed only because it was used in the grace period.
        active: u64,
        /// True if this was a dry run.
        dry_run: bool,
    },
    /// A repository was removed, and its name freed.
    Removed {
        /// The repository.
        repository: String,
        /// Its tags.
        tags: u64,
        /// Its manifests.
        manifests: u64,
        /// Its blobs, whose bytes are collected unless another repository links them.
        links: u64,
        /// True if this was a dry run.
        dry_run: bool,
    },
    /// Part of a usage report: an upstream, or the pushed content.
    Source(SourceUsage),
    /// Part of a usage report: a repository.
    Repository(RepositoryUsage),
    /// Part of a usage report: a tag of the previous repository.
    Tag(TagUsage),
    /// The end of a usage report.
    Counted(DiskUsage),
    /// An image is being fetched.
    ImageBegun {
        /// Its full name.
        image: String,
    },
    /// An image consists of these blobs.
    ImagePlanned {
        /// Its full name.
        image: String,
        /// The blobs.
        blobs: Vec<BlobSize>,
    },
    /// The progress of a blob.
    BlobProgress {
        /// The full name of an image that it is fetched for.
        image: String,
        /// The blob.
        digest: String,
        /// Its bytes here.
        bytes: u64,
        /// Its size.
        of: u64,
    },
    /// The result for an image.
    Image(ImageResult),
    /// The end of fetching images.
    Warmed {
        /// The images, each once.
        images: u64,
        /// Those that failed.
        failed: u64,
        /// Bytes fetched.
        fetched: u64,
        /// Bytes that were here, or came for another request.
        present: u64,
    },
    /// An image that is exported. All of them come first.
    Export(ExportedImage),
    /// A blob of the exported images follows in chunks, each once: first the manifests.
    BlobBegun {
        /// The blob.
        digest: String,
        /// Its size.
        bytes: u64,
        /// True for a manifest.
        manifest: bool,
    },
    /// So many bytes of the blob follow this line.
    Chunk {
        /// Their number.
        bytes: u64,
    },
    /// The end of an export.
    Exported {
        /// The images, each once.
        images: u64,
        /// Their blobs, manifests included.
        blobs: u64,
    },
    /// The content of an import that is wanted: first these blobs in the order of the request, then all manifests.
    ImportWanted {
        /// The digests.
        blobs: Vec<String>,
    },
    /// An image was imported.
    Imported {
        /// The repository that it is in.
        repository: String,
        /// True if that is mirrored.
        mirrored: bool,
        /// Bytes of blobs that were sent.
        sent: u64,
        /// Bytes of blobs that were here.
        present: u64,
    },
    /// A response to a request about content.
    Content(ContentResponse),
    /// The request failed.
    Failed {
        /// The reason, in one line.
        message: String,
    },
}

impl AdminResponse {
    /// Returns the last response of a garbage collection.
    #[must_use]
    pub fn collected(collected: Collected, dry_run: bool) -> Self {
        let Collected { manifests, links, blobs, bytes, active } = collected;
        Self::Collected { manifests, links, blobs, bytes, active, dry_run }
    }

    /// Returns the last response of a removal.
    #[must_use]
    pub fn removed(removed: Result<Removed, Error>, name: &str, dry_run: bool) -> Self {
        match removed {
            Ok(Removed { tags, manifests, links }) => {
                Self::Removed { repository: name.to_owned(), tags, manifests, links, dry_run }
            }
            Err(Error::NameUnknown) => Self::Failed { message: format!("nothing of {name} is here") },
            Err(error) => Self::Failed { message: error.to_string() },
        }
    }

    /// Returns the last response of a verification.
    #[must_use]
    pub fn verified(verified: Verified) -> Self {
        let Verified { blobs, bytes, dropped, quarantined, restored } = verified;
        Self::Verified { blobs, bytes, dropped, quarantined, restored }
    }

    /// Returns the response for an event of a verification.
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

    /// Returns the response for an event of a garbage collection. `done` counts the repositories processed.
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

    /// Returns the response for an event of a count.
    #[must_use]
    pub fn usage(event: UsageEvent) -> Self {
        let domain = usage_report::domain;
        match event {
            UsageEvent::Step { done, of, bytes } => Self::Progress { done, of, bytes },
            UsageEvent::Source(from, weight) => {
                Self::Source(SourceUsage { domain: domain(from), weight: weight.into() })
            }
            UsageEvent::Repository(place, weight) => Self::Repository(RepositoryUsage {
                domain: domain(place.domain),
                name: place.name.to_string(),
                weight: weight.into(),
            }),
            UsageEvent::Tag(tag, digest, weight) => {
                Self::Tag(TagUsage { tag: tag.to_string(), digest: digest.to_string(), weight: weight.into() })
            }
        }
    }

    /// Returns true if this is the last response.
    #[must_use]
    pub fn is_last(&self) -> bool {
        if let Self::Content(response) = self {
            return response.is_last();
        }
        matches!(
            self,
            Self::Verified { .. }
                | Self::Rebuilt
                | Self::Collected { .. }
                | Self::Retained(_)
                | Self::Removed { .. }
                | Self::Counted(_)
                | Self::Warmed { .. }
                | Self::Exported { .. }
                | Self::Imported { .. }
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
        let request: AdminRequest = serde_json::from_str(line).unwrap();
        assert_eq!(request, AdminRequest::Gc { untagged: true, dry_run: false, grace: None });
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        for wrong in ["", "{}", r#"{"request":"rm"}"#, r#"{"request":"gc","untagged":true,"dryrun":true}"#] {
            assert!(serde_json::from_str::<AdminRequest>(wrong).is_err(), "{wrong}");
        }
    }
}
