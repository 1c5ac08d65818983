//! The messages about retention.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{
    config::RetentionRule,
    registry::{Expiry, Retained},
};

/// A tag that no rule keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiredTag {
    /// Its repository.
    pub repository: String,
    /// The tag.
    pub tag: String,
    /// The manifest that it names.
    pub digest: String,
    /// Its last push, as RFC 3339 has it.
    pub pushed: String,
    /// The last time at which it may have been pulled.
    pub pulled: String,
    /// The rules that match it, each with its place in the list; none if it goes with the manifest that it is attached
    /// to.
    pub rules: Vec<String>,
    /// True if it stays this time, because it is in use.
    pub in_use: bool,
}

/// The end of a run of retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionResult {
    /// The number of rules.
    pub rules: u64,
    /// Tags removed.
    pub tags: u64,
    /// Manifests removed from their repositories.
    pub manifests: u64,
    /// Tags that some rule matches and that stay.
    pub kept: u64,
    /// Tags that no rule keeps and that stay this time, because they are in use.
    pub in_use: u64,
    /// Repositories of which nothing was removed, because something in them cannot be read.
    pub unreadable: u64,
    /// True if this was a dry run.
    pub dry_run: bool,
}

impl ExpiredTag {
    pub(super) fn new(expiry: &Expiry, all: &[RetentionRule]) -> Self {
        let Expiry { repository, tag, digest, pushed, pulled, rules, in_use } = expiry;
        // Another clock may have set a time that cannot be written, or that is still to come.
        let time = |time: SystemTime| time.clamp(SystemTime::UNIX_EPOCH, SystemTime::now());
        let time = |at: SystemTime| humantime::format_rfc3339_seconds(time(at)).to_string();
        let rule = |place: &usize| all.get(*place).map(|rule| format!("{}: {rule}", place + 1));
        Self {
            repository: repository.to_string(),
            tag: tag.to_string(),
            digest: digest.to_string(),
            pushed: time(*pushed),
            pulled: time(*pulled),
            rules: rules.iter().filter_map(rule).collect(),
            in_use: *in_use,
        }
    }
}

impl RetentionResult {
    pub(super) fn new(retained: Retained, rules: &[RetentionRule], dry_run: bool) -> Self {
        let Retained { tags, manifests, kept, in_use, unreadable } = retained;
        Self { rules: rules.len() as u64, tags, manifests, kept, in_use, unreadable, dry_run }
    }
}
