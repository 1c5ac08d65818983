//! `entrepot list`: lists repositories and tags.

mod table;

use std::io::stdout;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    ConfigOptions, Failure, client, print_line,
    report::{Form, Report},
};
use crate::{
    admin::{AdminRequest, AdminResponse, ContentRequest, ContentResponse},
    lanes::Blocking,
    registry::{ListedRepository, Selection, Timestamp},
};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct ListOptions {
    /// A pattern of repositories, or of tags in them: team/**, ghcr.io/org/*:v*, nginx.
    #[arg(value_name = "PATTERN", value_parser = pattern)]
    pattern: Option<String>,
    /// The order of repositories, and of tags in them.
    #[arg(long, value_enum, default_value_t = ListOrder::Name)]
    sort: ListOrder,
    /// Write one JSON document: bytes are integers, times RFC 3339.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: ConfigOptions,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListOrder {
    /// By name.
    Name,
    /// The largest first.
    Size,
    /// The one unused for longest first.
    Used,
}

/// The whole list.
#[derive(Debug, Serialize)]
struct ListDocument {
    at: Timestamp,
    repositories: Vec<ListedRepository>,
}

// Wrapped where it is shown.
pub(super) const HELP: &str = "\
Hosted repositories come first, then those of each mirrored registry with its name. SIZE is what the content \
occupies on the disk, as `entrepot du` counts it; LAST USED is when a manifest was last asked for, or came; AGE is for \
how long a tag has named what it names (of a pushed one, since its last push).

STATE is complete: all that the tag leads to is here; partial: what is missing was never asked for here, such as \
other platforms; holes: something is missing that was asked for or pushed. `entrepot why IMAGE` says more.

In a pattern * stands for a part of a component and ** for any number of components, as in storage.pinned; after a \
colon follows a pattern of tags. nginx means library/nginx of the Hub, too.

--json writes { at, repositories: [{ repository, class, size, exclusive, objects, last_used, pinned, tags: [{ tag, \
digest, size, exclusive, objects, last_used, since, state, missing }] }] }: class is hosted or mirrored, exclusive what \
nobody else shares, missing the bytes that are not here.

A running server is asked, and goes on serving; without one, this process looks at the whole disk itself.

Examples:
  entrepot list --data ./registry
  entrepot list 'docker.io/**' --sort used
  entrepot list 'team/**:v*' --json | jq -r '.repositories[] | .repository as $r | .tags[] | \"\\($r):\\(.tag)\"'

Exit codes: 0 it is listed, 1 it failed or nothing matches the pattern, 2 it was asked wrongly.";

/// Checks a pattern of images.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    Selection::parse(text).map(|_| text.to_owned()).map_err(|error| format!("expected {error}"))
}

pub(super) fn run(io: &Blocking, options: ListOptions) -> Result<(), Failure> {
    let ListOptions { pattern, sort, json, source } = options;
    let config = source.load(io)?.config;
    let (mut document, mut report) =
        (ListDocument { at: Timestamp(0), repositories: Vec::new() }, Report::new(Form::People, false));
    let request = AdminRequest::Content(ContentRequest::List { pattern: pattern.clone() });
    client::perform(io, &config.storage, &request, |answer| match answer {
        AdminResponse::Content(ContentResponse::Repository(listed)) => document.repositories.push(listed.clone()),
        AdminResponse::Content(ContentResponse::Listed(listed)) => document.at = listed.at,
        answer => report.show(answer),
    })?;
    drop(report);
    if let (true, Some(pattern)) = (document.repositories.is_empty(), pattern) {
        return Err(Failure::failed(format!("nothing here matches {pattern}: `entrepot list` shows all there is")));
    }
    document.sort(sort);
    if json {
        print_line(&mut stdout(), &serde_json::to_string_pretty(&document).map_err(Failure::failed)?);
    } else {
        table::lines(&document.repositories, document.at).iter().for_each(|line| print_line(&mut stdout(), line));
    }
    Ok(())
}

impl ListDocument {
    /// Sorts what came by name. Both sorts are stable, so that names decide where the figures are equal.
    fn sort(&mut self, order: ListOrder) {
        let all = &mut self.repositories;
        match order {
            ListOrder::Name => {}
            ListOrder::Size => {
                all.sort_by_key(|repository| std::cmp::Reverse(repository.size));
                all.iter_mut().for_each(|repository| repository.tags.sort_by_key(|tag| std::cmp::Reverse(tag.size)));
            }
            ListOrder::Used => {
                all.sort_by_key(|repository| repository.last_used);
                all.iter_mut().for_each(|repository| repository.tags.sort_by_key(|tag| tag.last_used));
            }
        }
    }
}
