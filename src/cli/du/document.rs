//! The usage report as it is shown: sorted, and limited to the selection.

use std::{
    cmp::Ordering,
    time::{Duration, UNIX_EPOCH},
};

use serde::{Serialize, Serializer};

use super::SortOrder;
use crate::{
    admin::{self, AdminResponse},
    oci::{self, NamePattern},
};

/// The name of the source of pushed content.
const PUSHED: &str = "pushed";

/// The selection to show.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) sort: SortOrder,
    /// The most entries of each list.
    pub(super) top: Option<u64>,
    /// The repositories to show with their tags; others are omitted.
    pub(super) tags: Option<NamePattern>,
}

/// The whole report.
#[derive(Debug, Serialize)]
pub(super) struct UsageDocument {
    #[serde(serialize_with = "time")]
    pub(super) at: u64,
    pub(super) total: u64,
    pub(super) quota: Option<u64>,
    pub(super) share: Option<u64>,
    pub(super) sources: Vec<SourceRow>,
    pub(super) other: Other,
    pub(super) changed: i64,
}

/// Disk usage that belongs to no source.
#[derive(Debug, Serialize)]
pub(super) struct Other {
    pub(super) unlinked: u64,
    pub(super) links: u64,
    pub(super) staged: u64,
    pub(super) quarantined: u64,
    pub(super) index: u64,
    pub(super) other: u64,
}

/// An upstream, or all pushed content.
#[derive(Debug, Serialize)]
pub(super) struct SourceRow {
    pub(super) source: String,
    pub(super) class: &'static str,
    #[serde(flatten)]
    pub(super) weight: UsageRow,
    /// The number of repositories, shown or not.
    pub(super) repository_count: usize,
    pub(super) repositories: Vec<RepositoryRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct RepositoryRow {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) weight: UsageRow,
    /// The number of tags, shown or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tag_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tags: Option<Vec<TagRow>>,
}

#[derive(Debug, Serialize)]
pub(super) struct TagRow {
    pub(super) tag: String,
    pub(super) digest: String,
    #[serde(flatten)]
    pub(super) weight: UsageRow,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct UsageRow {
    pub(super) size: u64,
    pub(super) exclusive: u64,
    pub(super) shared: u64,
    pub(super) objects: u64,
    #[serde(rename = "last_used", serialize_with = "time_if_any")]
    pub(super) used: Option<u64>,
}

impl UsageDocument {
    /// Builds the report from all responses. Returns `None` if no repository matches `choice`.
    pub(super) fn new(answers: Vec<AdminResponse>, choice: &Choice) -> Option<Self> {
        let (mut sources, mut repositories, mut disk) = (Vec::new(), Vec::new(), admin::DiskUsage::default());
        for answer in answers {
            match answer {
                AdminResponse::Source(source) => sources.push(source),
                AdminResponse::Repository(item) => repositories.push(homed(item, choice)),
                AdminResponse::Tag(item) => {
                    let tags = repositories.last_mut().and_then(|(_, repository)| repository.tags.as_mut());
                    tags.into_iter().for_each(|tags| tags.push(TagRow::new(item.clone())));
                }
                AdminResponse::Counted(counted) => disk = counted,
                _ => {}
            }
        }
        if !choice.is_for_all() && !repositories.iter().any(|(_, repository)| repository.tags.is_some()) {
            return None;
        }
        let mut sources: Vec<_> = sources.into_iter().map(|item| source(item, &mut repositories, choice)).collect();
        choice.sort(&mut sources, |source| (&source.weight, &source.source));
        let admin::DiskUsage { at, total, quota, share, unlinked, links, staged, quarantined, index, other, changed } =
            disk;
        let other = Other { unlinked, links, staged, quarantined, index, other };
        Some(Self { at, total, quota, share, sources, other, changed })
    }
}

type Homed = (Option<String>, RepositoryRow);

fn homed(item: admin::RepositoryUsage, choice: &Choice) -> Homed {
    let admin::RepositoryUsage { domain, name, weight } = item;
    let tags = choice.wants_tags_of(domain.as_deref(), &name).then(Vec::new);
    (domain, RepositoryRow { name, weight: weight.into(), tag_count: None, tags })
}

/// Builds a source with its repositories.
fn source(item: admin::SourceUsage, all: &mut Vec<Homed>, choice: &Choice) -> SourceRow {
    let own = all.extract_if(.., |(domain, _)| *domain == item.domain).map(|(_, repository)| repository);
    let mut repositories: Vec<_> = own.collect();
    let repository_count = repositories.len();
    repositories.retain(|repository| choice.is_for_all() || repository.tags.is_some());
    choice.cut(&mut repositories, |repository| (&repository.weight, &repository.name));
    for repository in &mut repositories {
        repository.tag_count = repository.tags.as_ref().map(Vec::len);
        repository.tags.iter_mut().for_each(|tags| choice.cut(tags, |tag| (&tag.weight, &tag.tag)));
    }
    SourceRow {
        class: if item.domain.is_some() { "mirrored" } else { "hosted" },
        source: item.domain.unwrap_or_else(|| PUSHED.to_owned()),
        weight: item.weight.into(),
        repository_count,
        repositories,
    }
}

impl Choice {
    /// Returns true if all repositories are selected.
    fn is_for_all(&self) -> bool {
        self.tags.as_ref().is_none_or(NamePattern::is_everything)
    }

    fn wants_tags_of(&self, domain: Option<&str>, name: &str) -> bool {
        let (domain, name) = (domain.map(str::parse).transpose().ok(), name.parse().ok());
        let place = domain.zip(name).map(|(domain, name)| oci::Repository { domain, name });
        let wanted = |pattern: &NamePattern| place.as_ref().is_some_and(|place| pattern.matches_repository(place));
        self.tags.as_ref().is_some_and(wanted)
    }

    /// Sorts by the selected order, then by size, then by name.
    fn sort<T>(&self, all: &mut [T], of: impl Fn(&T) -> (&UsageRow, &String)) {
        all.sort_by(|one, other| {
            let ((one, name), (other, other_name)) = (of(one), of(other));
            let first = match self.sort {
                SortOrder::Size => Ordering::Equal,
                SortOrder::Exclusive => other.exclusive.cmp(&one.exclusive),
                SortOrder::Used => one.used.cmp(&other.used),
            };
            first.then(other.size.cmp(&one.size)).then_with(|| name.cmp(other_name))
        });
    }

    fn cut<T>(&self, all: &mut Vec<T>, of: impl Fn(&T) -> (&UsageRow, &String)) {
        self.sort(all, of);
        all.truncate(self.top.and_then(|top| top.try_into().ok()).unwrap_or(usize::MAX));
    }
}

impl TagRow {
    fn new(item: admin::TagUsage) -> Self {
        let admin::TagUsage { tag, digest, weight } = item;
        Self { tag, digest, weight: weight.into() }
    }
}

impl From<admin::UsageFigures> for UsageRow {
    fn from(weight: admin::UsageFigures) -> Self {
        let admin::UsageFigures { size, exclusive, objects, used } = weight;
        Self { size, exclusive, shared: size.saturating_sub(exclusive), objects, used }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn time<S: Serializer>(seconds: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(*seconds)))
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn time_if_any<S: Serializer>(seconds: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match seconds {
        Some(seconds) => time(seconds, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
