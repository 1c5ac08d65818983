//! The keys of `notifications`, a constant each. `*` stands for the place of an endpoint in the list.

use super::{
    key::{
        Key,
        ValueKind::{Bytes, Duration, Flag, Headers, Integer, List, Text, Url},
    },
    used_keys::used,
};

pub(super) const INCLUDE_REFERENCES: Key = used(
    "notifications.events.includereferences",
    Flag,
    "false",
    "Puts what a manifest refers to into its events, as `target.references`.",
);
pub(super) const QUEUE: Key = used(
    "notifications.queue",
    Bytes,
    "256MB",
    "The most bytes on the disk of the events that wait for one endpoint; 1MB or more. Beyond it pull events are dropped \
     first, then the oldest. Extension.",
);
pub(super) const ENDPOINTS: Key = used(
    "notifications.endpoints",
    List,
    "",
    "The receivers of events, each a section with the keys below; `*` is its place in the list, from 0.",
);
pub(super) const ENDPOINT_NAME: Key =
    used("notifications.endpoints.*.name", Text, "", "Its name, by which its queue is kept on the disk.");
pub(super) const ENDPOINT_URL: Key =
    used("notifications.endpoints.*.url", Url, "", "The URL that events are sent to. A user in it logs in there.");
pub(super) const ENDPOINT_HEADERS: Key = Key {
    secret: true,
    ..used("notifications.endpoints.*.headers", Headers, "", "Headers of the requests, such as `Authorization`.")
};
pub(super) const ENDPOINT_TIMEOUT: Key =
    used("notifications.endpoints.*.timeout", Duration, "1s", "The longest time of a request.");
pub(super) const ENDPOINT_THRESHOLD: Key = used(
    "notifications.endpoints.*.threshold",
    Integer,
    "10",
    "The failures in a row after which each further attempt waits.",
);
pub(super) const ENDPOINT_BACKOFF: Key =
    used("notifications.endpoints.*.backoff", Duration, "1s", "The time that it waits.");
pub(super) const ENDPOINT_DISABLED: Key = used(
    "notifications.endpoints.*.disabled",
    Flag,
    "false",
    "Notes no events for it and sends none. Those that wait are kept.",
);
pub(super) const ENDPOINT_IGNOREDMEDIATYPES: Key = used(
    "notifications.endpoints.*.ignoredmediatypes",
    List,
    "",
    "Media types of which it gets no events. Older than `ignore.mediatypes`; both count.",
);
pub(super) const ENDPOINT_IGNORE_MEDIATYPES: Key =
    used("notifications.endpoints.*.ignore.mediatypes", List, "", "Media types of which it gets no events.");
pub(super) const ENDPOINT_IGNORE_ACTIONS: Key = used(
    "notifications.endpoints.*.ignore.actions",
    List,
    "",
    "Actions of which it gets no events: `push`, `pull`, `mount`, `delete`.",
);
