//! `entrepot retention`: removes the pushed tags that no rule of `retention` keeps.

use std::{io::stdout, time::Duration};

use clap::Args;

use super::{
    ConfigArguments, Failure, client, milliseconds, print_line,
    report::{Form, Report},
};
use crate::{
    admin::{AdminRequest, AdminResponse, ExpiredTag, RetentionResult},
    lanes::Blocking,
    units::age,
};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct RetentionOptions {
    /// Only list what would go, and by which rule.
    #[arg(long)]
    dry_run: bool,
    /// A shorter grace than gc.grace: how long what a client has uploaded, mounted or found by a HEAD is left alone.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,
    /// Write each answer as a line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: ConfigArguments,
}

pub(super) const HELP: &str = "\
The rules are those of `retention` in the configuration. A tag goes if some rule matches it and no condition of any
rule that matches it keeps it; what no rule matches stays. With a tag go its manifest and what refers to that, but
nothing that something else needs. The bytes go with the next collection: `entrepot gc`.

A running server is asked to do it, by the rules that it was started with, and goes on serving. Without one, this
process does it, by the rules of the configuration that it is given. The server also does it by itself, before each
collection (gc.interval). What was pushed or found by a HEAD in the last gc.grace stays, and after the start of a
server everything does for so long.

Examples:
  entrepot retention --dry-run /etc/docker/registry/config.yml
      list what would go, and by which rule
  entrepot retention --json /etc/docker/registry/config.yml | jq -r 'select(.answer == \"expired\") | .tag'
      remove it, and print the tags

Exit codes: 0 it is done, 1 it failed, 2 it was asked wrongly.";

pub(super) fn run(io: &Blocking, options: RetentionOptions) -> Result<(), Failure> {
    let RetentionOptions { dry_run, grace, json, source } = options;
    let config = source.load(io)?.config;
    let grace = grace.map(milliseconds);
    let request = AdminRequest::Retention { dry_run, grace };
    let mut report = Report::new(Form::of(json), dry_run);
    let mut expired = Vec::new();
    let last = client::perform_with_rules(io, &config, &request, |answer| match answer {
        AdminResponse::Expired(tag) if !json => expired.push(tag.clone()),
        AdminResponse::Manifest { .. } | AdminResponse::Retained(_) if !json => {}
        answer => report.show(answer),
    })?;
    drop(report);
    if let (AdminResponse::Retained(result), false) = (last, json) {
        table(&expired).iter().chain(&summary(&result)).for_each(|line| print_line(&mut stdout(), line));
    }
    Ok(())
}

/// Returns the lines of a table of tags; none without any.
fn table(expired: &[ExpiredTag]) -> Vec<String> {
    let rows: Vec<[String; 4]> = expired.iter().map(row).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let titles = ["TAG", "PUSHED", "PULLED", "RULES"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(titles).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let (a, b, c) = (width(0), width(1), width(2));
    rows.iter().map(|[tag, pushed, pulled, rules]| format!("{tag:<a$}  {pushed:<b$}  {pulled:<c$}  {rules}")).collect()
}

fn row(tag: &ExpiredTag) -> [String; 4] {
    let since =
        |text: &str| humantime::parse_rfc3339(text).ok().map(|time| time.elapsed().unwrap_or_default().as_secs());
    let ago = |text: &str| since(text).map_or_else(|| text.to_owned(), age);
    let why = if tag.rules.is_empty() { "goes with its subject".to_owned() } else { tag.rules.join("; ") };
    let why = if tag.in_use { format!("{why} (in use: stays this time)") } else { why };
    [format!("{}:{}", tag.repository, tag.tag), ago(&tag.pushed), ago(&tag.pulled), why]
}

fn summary(result: &RetentionResult) -> Vec<String> {
    let RetentionResult { rules, tags, manifests, kept, in_use, unreadable, dry_run } = result;
    if *rules == 0 {
        return vec!["there are no rules (retention in the configuration), so every tag stays".to_owned()];
    }
    let verb = if *dry_run { "would remove" } else { "removed" };
    let mut lines = vec![format!("{verb} {tags} tags and {manifests} manifests; {kept} tags that a rule matches stay")];
    if *in_use > 0 {
        lines.push(format!(
            "{in_use} more tags were used a moment ago, or may have been before the start: left alone for now"
        ));
    }
    if *unreadable > 0 {
        lines.push(format!(
            "{unreadable} repositories have something unreadable, and were left alone: `entrepot verify`"
        ));
    }
    lines
}
