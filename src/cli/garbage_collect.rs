//! `entrepot garbage-collect`, spelt as `registry:2` spells it.

use clap::{ArgAction, Args};

use super::{Failure, Source, say};
use crate::{
    registry::{Collected, Collection},
    storage::Storage,
};

/// What to collect, and how.
#[derive(Debug, Args, PartialEq)]
pub(super) struct Options {
    /// Only say what would go.
    #[arg(short = 'd', long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "BOOL",
        default_value_t = false, default_missing_value = "true", hide_default_value = true, value_parser = go_bool)]
    pub(super) dry_run: bool,
    /// Remove manifests without a tag, too.
    #[arg(short = 'm', long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "BOOL",
        default_value_t = false, default_missing_value = "true", hide_default_value = true, value_parser = go_bool)]
    pub(super) delete_untagged: bool,
    /// Say nothing but errors.
    #[arg(short = 'q', long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "BOOL",
        default_value_t = false, default_missing_value = "true", hide_default_value = true, value_parser = go_bool)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) source: Source,
}

/// Go's flags take a value when it is joined by `=`: `--delete-untagged=true` stands in many a crontab.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Collects on a volume that no server has open.
pub(super) fn run(options: Options) -> Result<(), Failure> {
    let Options { dry_run, delete_untagged, quiet, source } = options;
    let config = source.load()?.config;
    let root = &config.storage.rootdirectory;
    if Storage::is_in_use(root.value()) {
        return Err(Failure::failed(format!(
            "{} is in use by a running server: stop it first; nothing was looked at, nothing removed",
            root.display()
        )));
    }
    if !root.is_dir() {
        return Err(Failure::usage(root.error("a directory that is there")));
    }
    let storage = Storage::open(root.value(), super::volume::limits(&config.storage)).map_err(Failure::failed)?;
    let collected = Collection { untagged: delete_untagged, dry: dry_run }.run(&storage).map_err(Failure::failed)?;
    if !quiet {
        report(&collected, dry_run);
    }
    Ok(())
}

fn report(collected: &Collected, dry: bool) {
    let verb = if dry { "would remove" } else { "removed" };
    let out = &mut std::io::stdout();
    for (repository, digest) in &collected.manifests {
        say(out, &format!("{verb} manifest {repository}@{digest}"));
    }
    for digest in &collected.blobs {
        say(out, &format!("{verb} blob {digest}"));
    }
    let (manifests, blobs) = (collected.manifests.len(), collected.blobs.len());
    say(out, &format!("{verb} {manifests} manifests, {blobs} blobs, {} bytes", collected.bytes));
}
