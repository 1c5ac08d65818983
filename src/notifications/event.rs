//! An event, in the form of registry:2 (distribution, "Work with notifications"), so that its receivers work unchanged.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::references::Reference;

/// The kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventAction {
    /// A blob or manifest was pushed.
    Push,
    /// A blob or manifest was pulled.
    Pull,
    /// A blob of another repository was linked.
    Mount,
    /// A blob, manifest or tag was deleted.
    Delete,
}

impl EventAction {
    /// The actions of all events.
    pub const ALL: [&'static str; 4] = ["push", "pull", "mount", "delete"];

    /// Returns the word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize]
    }
}

/// An event without its ID and source, which the notifier adds.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// The time of the action.
    #[serde(serialize_with = "rfc3339")]
    pub timestamp: SystemTime,
    /// The kind of request.
    pub action: EventAction,
    /// The content that the request was about.
    pub target: Target,
    /// The request.
    pub request: RequestRecord,
    /// The user.
    pub actor: Actor,
}

/// The content that an event is about.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Target {
    /// The media type; `application/octet-stream` for every blob, empty for a delete.
    #[serde(rename = "mediaType", skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// Its bytes; 0 if they are not known.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: u64,
    /// Its digest; empty for a deleted tag.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The same as `size`, under its older name.
    #[serde(skip_serializing_if = "is_zero")]
    pub length: u64,
    /// The repository.
    pub repository: String,
    /// The repository that a blob is mounted from; empty if that is not known.
    #[serde(rename = "fromRepository", skip_serializing_if = "String::is_empty")]
    pub from_repository: String,
    /// The URL; empty for a delete.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// The tag, if the request names one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// The descriptors that a manifest names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
}

/// The request that caused an event.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    /// A number of its own.
    pub id: String,
    /// The client's address, with its port if it is directly connected.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub addr: String,
    /// The host that the client asked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The method.
    pub method: String,
    /// The client's `User-Agent`.
    pub useragent: String,
}

/// The user who caused an event.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Actor {
    /// The user's name; empty if anonymous.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// The process that noted an event.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Source {
    /// The host's name, and the port of the configuration.
    pub(super) addr: String,
    #[serde(rename = "instanceID")]
    pub(super) instance_id: String,
}

/// The JSON of an event; a repeated delivery has the same.
#[derive(Serialize)]
pub(super) struct Numbered<'a> {
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) event: &'a Event,
    pub(super) source: &'a Source,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_nanos(*time))
}
