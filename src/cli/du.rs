//! `entrepot du`: reports disk usage by upstream, repository and tag.

mod document;
mod table;

use std::{io::stdout, path::Path};

use clap::{Args, ValueEnum};
use document::{Choice, UsageDocument};

use super::{
    ConfigArguments, Failure, client, print_line,
    report::{Form, Report},
};
use crate::{
    admin::{AdminRequest, AdminResponse},
    config,
    lanes::Blocking,
    oci::NamePattern,
};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct DuOptions {
    /// Show tags, too: of this repository alone (a pattern such as team/** will do), or of all.
    #[arg(long, value_name = "REPOSITORY")]
    tags: Option<Option<NamePattern>>,
    /// The order: the largest first, the one that would free most, or the one unused for longest.
    #[arg(long, value_enum, default_value_t = SortOrder::Size)]
    sort: SortOrder,
    /// Show only the first N repositories of each source, and as many tags of each.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    top: Option<u64>,
    /// Write one JSON document: bytes are integers, times RFC 3339.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: ConfigArguments,
}

/// The sort order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SortOrder {
    Size,
    Exclusive,
    Used,
}

// Wrapped where it is shown.
pub(super) const HELP: &str = "\
A repository holds the blobs it links, and a mirrored one also those that its cached manifests name; a tag has what its \
manifest reaches. SIZE is all of that as it occupies the disk, SHARED what somebody else holds, too, and EXCLUSIVE the \
rest: what would be free if it went (for a tag: what no other tag there reaches, and no other repository holds). LAST USED \
is when a manifest was last asked for, or came.

Repositories and tags do not add up, since they share. Sources do: a blob of several is counted with one, as pushed where \
it was pushed, too. They and the lines below them come to what the quota is held against, which is what `du -s` says.

--json writes { at, total, quota, share, sources: [{ source, class, size, exclusive, shared, objects, last_used, \
repository_count, repositories: [{ name, size, exclusive, shared, objects, last_used, tag_count, tags: [{ tag, digest, \
size, exclusive, shared, objects, last_used }] }] }], other: { unlinked, links, staged, quarantined, index, other }, \
changed }. share is what is mirrored may come to, where there is no quota; class is hosted or mirrored; the counts are of all, shown or not; tags are there with --tags; unlinked are \
blobs that nobody holds, which `entrepot gc` removes; changed is what came, or went, while it was counted.

A running server is asked, and goes on serving; without one, this process looks at the whole disk itself.

Examples:
  entrepot du --data ./registry
  entrepot du --sort exclusive --top 10 /etc/docker/registry/config.yml
  entrepot du --tags team/app --data ./registry
  entrepot du --json | jq '.sources[].repositories[] | select(.last_used < \"2026\") | .name'

Exit codes: 0 it is counted, 1 it failed, or there is no such repository, 2 it was asked wrongly.";

pub(super) fn run(io: &Blocking, options: DuOptions) -> Result<(), Failure> {
    let DuOptions { tags, sort, top, json, source } = options;
    if let Some(name) = repository_meant(io, &source) {
        return Err(Failure::usage(format!("there is no file {name}; for the tags of a repository: --tags {name}")));
    }
    let config = source.load(io)?.config;
    let choice = Choice { sort, top, tags: tags.map(|pattern| pattern.map_or_else(all, Ok)).transpose()? };
    let document = UsageDocument::new(count(io, &config.storage, &choice)?, &choice)
        .ok_or_else(|| unknown(&choice, config.storage.rootdirectory.value()))?;
    if json {
        print_line(&mut stdout(), &serde_json::to_string_pretty(&document).map_err(Failure::failed)?);
    } else {
        table::lines(&document).iter().for_each(|line| print_line(&mut stdout(), line));
    }
    Ok(())
}

/// Returns the pattern that matches every repository.
fn all() -> Result<NamePattern, Failure> {
    "**".parse().map_err(Failure::failed)
}

fn count(io: &Blocking, config: &config::StorageConfig, choice: &Choice) -> Result<Vec<AdminResponse>, Failure> {
    let (mut answers, mut report) = (Vec::new(), Report::new(Form::People, false));
    let request = AdminRequest::Du { tags: choice.tags.as_ref().map(ToString::to_string) };
    client::perform(io, config, &request, |answer| match answer {
        AdminResponse::Progress { .. } => report.show(answer),
        answer => answers.push(answer.clone()),
    })?;
    Ok(answers)
}

/// Returns the argument as a repository if no such file exists: users of `du` expect to name a directory there.
fn repository_meant<'a>(_io: &Blocking, source: &'a ConfigArguments) -> Option<&'a str> {
    let text = source.file.as_ref().filter(|file| matches!(file.try_exists(), Ok(false)))?.to_str()?;
    let is_file = text.ends_with(".yml") || text.ends_with(".yaml");
    (!is_file && text.parse::<NamePattern>().is_ok()).then_some(text)
}

fn unknown(choice: &Choice, root: &Path) -> Failure {
    let name = choice.tags.as_ref().map(NamePattern::as_str).unwrap_or_default();
    Failure::failed(format!("no repository here is called {name}: `entrepot du --data {}` lists them", root.display()))
}
