//! The definitions of metrics: a constant each with name, labels and help text. docs/metrics.md is generated from it.
//!
//! Names follow Prometheus' conventions: base units, `_total` for counters. No label's value comes from a request.

/// A metric's description.
#[derive(Debug)]
pub struct Metric {
    /// Its name in the exposition.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Its help text, in one line.
    pub help: &'static str,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricKind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts observations in buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// Metrics about one subject.
#[derive(Debug)]
pub struct MetricGroup {
    /// The subject.
    pub title: &'static str,
    /// In the order of the documentation.
    pub metrics: &'static [&'static Metric],
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, labels, help }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, labels, help }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    buckets: &'static [f64],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Histogram(buckets), labels, help }
}

/// Defines constants, and the group that lists them.
macro_rules! group {
    ($group:ident, $title:literal, $($name:ident = $metric:expr;)+) => {
        $(pub(super) static $name: Metric = $metric;)+
        static $group: MetricGroup = MetricGroup { title: $title, metrics: &[$(&$name),+] };
    };
}

group! { STORAGE, "Storage",
    STORAGE_BYTES = gauge("entrepot_storage_bytes", &["class"],
        "Bytes on the disk below the data directory, by class; the classes add up to what du reports. hosted was \
         pushed here, mirrored may be evicted, pinned is mirrored and never evicted, staged is being written, \
         links are folders and links, index is the index, quarantined is damaged, other is the rest.");
    STORAGE_OBJECTS = gauge("entrepot_storage_objects", &["class"], "Blobs, by class.");
    MIRRORED_BYTES = gauge("entrepot_storage_mirrored_bytes", &["upstream"],
        "The classes mirrored and pinned, by the upstream that a blob came from first.");
    MIRRORED_OBJECTS = gauge("entrepot_storage_mirrored_objects", &["upstream"], "The blobs of these classes.");
    RECLAIMABLE = gauge("entrepot_storage_reclaimable_bytes", &[], "Bytes that eviction could free.");
    PROMISED = gauge("entrepot_storage_promised_bytes", &[],
        "Bytes reserved for files that are being written, and not on the disk yet.");
    QUOTA = gauge("entrepot_storage_quota_bytes", &[], "storage.quota in bytes; absent without one.");
    ALLOWED = gauge("entrepot_storage_allowed_bytes", &[],
        "The limit of all stored bytes: the quota, or less if the filesystem has less beside the headroom.");
    HEADROOM = gauge("entrepot_storage_headroom_bytes", &[], "storage.headroom in bytes: the space that stays free.");
    COUNTED = gauge("entrepot_storage_counted", &[],
        "1 if all stored content is counted; 0 for a while after a process was killed.");
    FILESYSTEM_SIZE = gauge("entrepot_filesystem_size_bytes", &[], "The size of the data directory's filesystem.");
    FILESYSTEM_FREE = gauge("entrepot_filesystem_free_bytes", &[], "Its free space for unprivileged processes.");
    INDEX_COMPLETE = gauge("entrepot_index_complete", &[],
        "1 if the index knows all stored content; 0 while it is rebuilt, or has failed.");
}

const AGES: &[f64] = &[60., 600., 3_600., 21_600., 86_400., 259_200., 604_800., 1_209_600., 2_592_000., 7_776_000.];

group! { EVICTION, "Eviction",
    EVICTED_BYTES = counter("entrepot_evicted_bytes_total", &["reason"],
        "Bytes of mirrored content that was removed, by reason: room (the space was needed), ttl (unused for \
         proxy.ttl), or command (an operator evicted or purged it).");
    EVICTED_OBJECTS = counter("entrepot_evicted_objects_total", &["reason"], "The blobs of these.");
    EVICTED_AGE = histogram("entrepot_evicted_idle_seconds", &["reason"], AGES,
        "The time since the last use of an evicted blob. Many short times mean that the quota is small.");
}

group! { CACHE, "Cache",
    CACHE_ANSWERS = counter("entrepot_cache_answers_total", &["upstream", "kind", "result"],
        "Responses with mirrored content to GET and HEAD, by result. hit, revalidated (the upstream confirmed the \
         tag) and stale (the upstream failed) came from the cache; miss was fetched; collapsed waited for another \
         client's fetch.");
    SERVED_BYTES = counter("entrepot_mirror_served_bytes_total", &["upstream", "kind", "result"],
        "Bytes of mirrored content sent to clients.");
    FETCHED_BYTES = counter("entrepot_upstream_fetched_bytes_total", &["upstream", "kind"],
        "Bytes received from upstreams; the difference to the bytes served was saved.");
}

const LATENCIES: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1., 2.5, 5., 10.];

group! { UPSTREAM, "Upstreams",
    UPSTREAM_UP = gauge("entrepot_upstream_up", &["upstream"],
        "0 if the last request did not reach the upstream; cached content is still served.");
    UPSTREAM_REQUESTS = counter("entrepot_upstream_requests_total", &["upstream", "kind", "method", "outcome"],
        "Requests to upstreams, each with its tokens and redirects, by outcome: ok, not_found, denied, too_many, \
         client_error, server_error, timeout, unreachable, protocol.");
    UPSTREAM_DURATION = histogram("entrepot_upstream_request_duration_seconds", &["upstream", "kind"], LATENCIES,
        "The time from a request to the head of its response.");
    BUDGET_LIMIT = gauge("entrepot_upstream_budget_limit", &["upstream", "account"],
        "The manifests that the upstream allows in a window, as it last stated; absent if it states none.");
    BUDGET_REMAINING = gauge("entrepot_upstream_budget_remaining", &["upstream", "account"],
        "The manifests that are left in the window.");
    BUDGET_WINDOW = gauge("entrepot_upstream_budget_window_seconds", &["upstream", "account"], "The length of the window.");
}

group! { FILLS, "Fills and uploads",
    FILLS_UNDER_WAY = gauge("entrepot_fills_in_flight", &[], "Blobs that are being fetched.");
    FILLS_ENDED = counter("entrepot_fills_total", &["upstream", "result"],
        "Finished fetches of blobs, by result: stored, local (the bytes were stored already), uncached (the disk \
         took no more, and each reader continued alone), mismatch, failed.");
    FILLS_RESUMED = counter("entrepot_fills_resumed_total", &["upstream"],
        "Fetches that continued after a broken connection or an earlier failure.");
    MISMATCHES = counter("entrepot_digest_mismatches_total", &["upstream", "kind"],
        "Content from an upstream that did not match its digest; none of it was kept.");
    UPLOADS_OPEN = gauge("entrepot_uploads_open", &[], "Open upload sessions that this process began or continued.");
}

const ANSWERS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.25, 1., 2.5, 10., 30.];

group! { HTTP, "Requests",
    HTTP_REQUESTS = counter("entrepot_http_requests_total", &["route", "method", "code"], "Answered requests.");
    HTTP_DURATION = histogram("entrepot_http_request_duration_seconds", &["route", "method"], ANSWERS,
        "The time from a request's head to the head of its response. It contains uploaded bodies, and no \
         downloaded ones.");
    HTTP_RECEIVED = counter("entrepot_http_request_bytes_total", &["route"], "Bytes of request bodies.");
    HTTP_SENT = counter("entrepot_http_response_bytes_total", &["route"], "Bytes of response bodies.");
}

group! { NOTIFICATIONS, "Notifications",
    NOTIFIED_EVENTS = counter("entrepot_notification_events_total", &["endpoint", "action"],
        "Events noted for an endpoint, by action: push, pull, mount, delete.");
    NOTIFIED_REQUESTS = counter("entrepot_notification_requests_total", &["endpoint", "result"],
        "Requests to an endpoint, by result: ok, refused (it answered with another status than 2xx), timeout, \
         unreachable. A failed one is repeated.");
    NOTIFIED_DROPPED = counter("entrepot_notification_dropped_total", &["endpoint", "reason"],
        "Events that an endpoint does not get, by reason: busy (a pull event that the disk did not take in time), full \
         (notifications.queue was reached: pull events first, then the oldest), failed (a pull event that could not be \
         written), damaged (it could not be read).");
    NOTIFIED_WAITING = gauge("entrepot_notification_waiting", &["endpoint"],
        "Events on the disk that the endpoint has not taken.");
    NOTIFIED_BYTES = gauge("entrepot_notification_queue_bytes", &["endpoint"],
        "Bytes of the files of its queue; notifications.queue is their limit.");
}

group! { CARE, "Verification and garbage collection",
    DAMAGED = counter("entrepot_damaged_blobs_total", &["class"],
        "Stored blobs that were found damaged: mirrored ones are dropped and fetched again, hosted ones are \
         quarantined.");
    RESTORED = counter("entrepot_restored_blobs_total", &[],
        "Damaged hosted blobs that were replaced by their right bytes.");
    VERIFIED_BLOBS = counter("entrepot_verified_blobs_total", &[], "Stored blobs that were hashed to verify them.");
    VERIFIED_BYTES = counter("entrepot_verified_bytes_total", &[], "The bytes of these.");
    VERIFY_ENDED = gauge("entrepot_verify_ended_timestamp_seconds", &[],
        "The time at which the last verification in this process ended; 0 before that.");
    COLLECTED_OBJECTS = counter("entrepot_collected_objects_total", &["kind"],
        "Unreachable content that garbage collection removed: manifests, blobs, uploads.");
    COLLECTED_BYTES = counter("entrepot_collected_bytes_total", &[], "The bytes of the blobs among them.");
    COLLECT_ENDED = gauge("entrepot_collect_ended_timestamp_seconds", &[],
        "The time at which the last garbage collection in this process ended; 0 before that.");
}

group! { RETENTION, "Retention",
    EXPIRED = counter("entrepot_retention_removed_total", &["kind"],
        "Tags that retention removed, since no rule kept them, and manifests that went with them.");
    RETAINED = gauge("entrepot_retention_kept_tags", &[],
        "Tags that a rule of retention matches and that stayed at the last run in this process; 0 before that.");
    RETENTION_ENDED = gauge("entrepot_retention_ended_timestamp_seconds", &[],
        "The time at which the last run of retention in this process ended; 0 before that.");
}

group! { NAMES, "Hosted names",
    HOSTED_NAMES = gauge("entrepot_hosted_names", &["claim"],
        "Names that were pushed to while docker.io could not be asked whether it has such repositories: unproven \
         ones are asked about until it answers; conflicting ones exist there, too, and the operator has to decide.");
}

group! { PROCESS, "The process",
    BUILD_INFO = gauge("entrepot_build_info", &["version"], "1; the label is the version.");
    CERTIFICATE = gauge("entrepot_certificate_expiry_timestamp_seconds", &[],
        "The expiry of the server's certificate; absent without TLS.");
    JOB_PANICS = counter("entrepot_job_panics_total", &["task"],
        "Background jobs that panicked, which is a bug; each was restarted.");
    PROCESS_START = gauge("process_start_time_seconds", &[], "The start of the process.");
    PROCESS_CPU = counter("process_cpu_seconds_total", &[], "Processor time, in user mode and in the kernel.");
    PROCESS_RSS = gauge("process_resident_memory_bytes", &[], "Resident memory.");
    PROCESS_VSIZE = gauge("process_virtual_memory_bytes", &[], "Virtual memory.");
    PROCESS_FDS = gauge("process_open_fds", &[], "Open file descriptors.");
    PROCESS_MAX_FDS = gauge("process_max_fds", &[], "The limit of open file descriptors.");
    PROCESS_THREADS = gauge("process_threads", &[], "Threads.");
}

/// All metrics.
pub static METRICS: &[&MetricGroup] =
    &[&STORAGE, &EVICTION, &CACHE, &UPSTREAM, &FILLS, &HTTP, &NOTIFICATIONS, &CARE, &RETENTION, &NAMES, &PROCESS];
