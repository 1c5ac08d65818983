//! `entrepot why`: explains the state of an image.

use std::io::stdout;

use clap::Args;

use super::{
    ConfigOptions, Failure, client, print_line,
    report::{Form, Report},
};
use crate::{
    admin::{AdminRequest, AdminResponse, ContentRequest, ContentResponse},
    lanes::Blocking,
    oci::ImageName,
    registry::{Completeness, ContentClass, EvictionState, ImageReport, ImageState, TagFreshness, Timestamp},
    units::{age, size},
};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct WhyOptions {
    /// The image, as docker takes it: nginx, ghcr.io/org/app:1, team/app@sha256:….
    #[arg(value_name = "IMAGE")]
    image: ImageName,
    /// Write one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: ConfigOptions,
}

// Wrapped where it is shown.
pub(super) const HELP: &str = "\
Says whether the image is here and since when, who asked for it last, for how long its tag is believed without asking \
the upstream, what pins it, when it is evicted, and what a pull would fetch. The last client is known since the \
server's start; the access log knows more. Without a server, tags' freshness is not known.

--json writes { image, class, content: { digest, tags, state, size, exclusive, objects, since, last_used, uses, \
last_client: { user, address, at }, eviction: { state, … }, missing: { manifests, blobs, bytes } }, pinned_by, \
freshness: { checked, believed_until, is_asked_next } }. content is null if nothing of it is here; the state of an \
eviction is hosted, pinned, leased (until), queued (position, of, bytes_before) or held.

Examples:
  entrepot why nginx:1.27 --data ./registry
  entrepot why ghcr.io/org/app@sha256:… --json | jq .content.missing

Exit codes: 0 it is here, 1 it is not, or it failed, 2 it was asked wrongly.";

pub(super) fn run(io: &Blocking, options: WhyOptions) -> Result<(), Failure> {
    let WhyOptions { image, json, source } = options;
    let config = source.load(io)?.config;
    let request = AdminRequest::Content(ContentRequest::Why { image: image.to_string() });
    let mut report = Report::new(Form::People, false);
    let last = client::perform(io, &config.storage, &request, |answer| report.show(answer))?;
    drop(report);
    let AdminResponse::Content(ContentResponse::Why(why)) = last else {
        return Err(Failure::failed("the server is of another version"));
    };
    if json {
        print_line(&mut stdout(), &serde_json::to_string_pretty(&why).map_err(Failure::failed)?);
    } else {
        lines(&why, Timestamp::now()).iter().for_each(|line| print_line(&mut stdout(), line));
    }
    if why.content.is_some() { Ok(()) } else { Err(Failure::quiet()) }
}

fn lines(why: &ImageReport, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!("{} ({})", why.image, class(why.class))];
    match &why.content {
        None => lines.push(format!("  not here: {}", absent(why))),
        Some(state) => lines.extend(state_lines(why, state, now)),
    }
    if let Some(freshness) = &why.freshness {
        lines.push(format!("  tag: {}", freshness_text(freshness, now)));
    }
    if !why.pinned_by.is_empty() {
        lines.push(format!("  pinned by {}", why.pinned_by.join(", ")));
    }
    lines
}

fn class(class: ContentClass) -> &'static str {
    match class {
        ContentClass::Hosted => "hosted",
        ContentClass::Mirrored => "mirrored",
    }
}

fn absent(why: &ImageReport) -> &'static str {
    match why.class {
        ContentClass::Hosted => "it was not pushed to this registry, or was deleted",
        ContentClass::Mirrored => "a pull fetches all of it from the upstream",
    }
}

fn state_lines(why: &ImageReport, state: &ImageState, now: Timestamp) -> Vec<String> {
    let ago = |time: Option<Timestamp>| time.map_or("at an unknown time".to_owned(), |time| age_of(time, now));
    let completeness = match state.state {
        Completeness::Complete => "complete",
        Completeness::Partial => "partial: what is missing was never asked for here",
        Completeness::Holes => "with holes: something is missing that was asked for or pushed",
    };
    let mut lines = vec![
        format!(
            "  manifest: {}, tags: {}",
            state.digest,
            if state.tags.is_empty() { "none".to_owned() } else { state.tags.join(", ") }
        ),
        format!("  content: {completeness}"),
        format!(
            "  size: {} in {} blobs, {} of it shared with no other repository",
            size(state.size),
            state.objects,
            size(state.exclusive)
        ),
        format!("  here since: {}", ago(state.since)),
        format!("  last used: {}, {} times in all{}", ago(state.last_used), state.uses, last_client(state)),
    ];
    lines.push(format!("  eviction: {}", eviction(&state.eviction)));
    let missing = state.missing;
    if why.class == ContentClass::Mirrored && (missing.manifests, missing.blobs) != (0, 0) {
        lines.push(format!(
            "  a pull of all of it fetches {} manifests and {} blobs, {} or more",
            missing.manifests,
            missing.blobs,
            size(missing.bytes)
        ));
    }
    lines
}

fn last_client(state: &ImageState) -> String {
    let text = |client: &crate::registry::LastClient| format!(", last by {} from {}", client.user, client.address);
    state.last_client.as_ref().map(text).unwrap_or_default()
}

fn eviction(state: &EvictionState) -> String {
    match state {
        EvictionState::Hosted => "never, since it was pushed".to_owned(),
        EvictionState::Pinned => "never, since it is pinned".to_owned(),
        EvictionState::Leased { until } => format!("not before {until}, the end of its lease (storage.lease)"),
        EvictionState::Queued { position, of, bytes_before } => {
            format!("its first blob is number {position} of {of} in the queue, after {}", size(*bytes_before))
        }
        EvictionState::Held => "not at the moment: all of it is in use, or held for others".to_owned(),
    }
}

fn freshness_text(freshness: &TagFreshness, now: Timestamp) -> String {
    let checked = freshness.checked.map_or("never checked".to_owned(), |time| format!("checked {}", age_of(time, now)));
    match freshness.believed_until {
        Some(until) if !freshness.is_asked_next => format!("{checked}, believed until {until}"),
        _ => format!("{checked}; the next pull asks the upstream"),
    }
}

fn age_of(time: Timestamp, now: Timestamp) -> String {
    format!("{time} ({})", age(now.0.saturating_sub(time.0)))
}
