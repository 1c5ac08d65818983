//! The lines of commands about content, for people.

use crate::units::size;
use crate::{
    admin::ContentResponse,
    registry::{EvictedTo, Purged, PurgedRepository, RefreshResult, Refreshed},
};

/// Returns the line for a response; `None` for one that a command prints itself.
pub(super) fn line(response: &ContentResponse, is_dry: bool) -> Option<String> {
    let verb = if is_dry { "would purge" } else { "purged" };
    match response {
        ContentResponse::Purged(purged) => Some(purged_line(purged, verb)),
        ContentResponse::PurgeEnd(Purged { repositories, tags, blobs, bytes, .. }) => Some(format!(
            "{verb} {tags} tags of {repositories} repositories: {blobs} blobs, {bytes} bytes ({}) become free",
            size(*bytes)
        )),
        ContentResponse::Refreshed(refreshed) => Some(refreshed_line(refreshed)),
        ContentResponse::NotRefreshed { image, error } => Some(format!("{image}: {error}")),
        ContentResponse::Pins { configured, added } => Some(pins(configured, added)),
        ContentResponse::Evicted(evicted) => Some(evicted_line(evicted)),
        ContentResponse::Repository(_)
        | ContentResponse::Listed(_)
        | ContentResponse::Why(_)
        | ContentResponse::RefreshEnd { .. } => None,
    }
}

fn purged_line(purged: &PurgedRepository, verb: &str) -> String {
    let PurgedRepository { repository, tags, manifests, blobs, bytes, shared } = purged;
    let tags = if tags.is_empty() { String::new() } else { format!(":{}", tags.join(",")) };
    let stays = if *shared > 0 { format!("; {} stay, since others hold them", size(*shared)) } else { String::new() };
    format!("{verb} {repository}{tags}: {manifests} manifests, {blobs} blobs, {}{stays}", size(*bytes))
}

fn refreshed_line(refreshed: &Refreshed) -> String {
    let Refreshed { image, before, now, result } = refreshed;
    let (before, now) = (before.as_deref().unwrap_or("nothing"), now.as_deref().unwrap_or("nothing"));
    match result {
        RefreshResult::Unchanged => format!("{image}: unchanged, {now}"),
        RefreshResult::Moved => format!("{image}: moved from {before} to {now}"),
        RefreshResult::New => format!("{image}: new, {now}"),
        RefreshResult::Gone => format!("{image}: gone from the upstream; it named {before}"),
    }
}

fn pins(configured: &[String], added: &[String]) -> String {
    let configured = configured.iter().map(|pin| format!("{pin} (storage.pinned)"));
    let all: Vec<_> = configured.chain(added.iter().cloned()).collect();
    if all.is_empty() { "nothing is pinned".to_owned() } else { all.join("\n") }
}

fn evicted_line(evicted: &EvictedTo) -> String {
    let EvictedTo { before, after, mirrored, dry_run, .. } = *evicted;
    let freed = size(before.saturating_sub(after));
    match dry_run {
        true => format!("would evict about {freed}: {} are stored, {} of it mirrored", size(before), size(mirrored)),
        false => format!("evicted {freed}: {} are stored now, {} of it mirrored", size(after), size(mirrored)),
    }
}
