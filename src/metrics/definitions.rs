//! The definitions of metrics: a constant each with name, labels and help text. docs/metrics.md is generated from it.
//!
//! Names follow Prometheus' conventions: base units, `_total` for counters. No label's value comes from a request.

/// A metric's description.
#[derive(Debug)]
pub struct Metric {
    /// Its name in the exposition.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Its help text, in one line.
    pub help: &'static str,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts observations in buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// Metrics about one subject.
#[derive(Debug)]
pub struct Group {
    /// The subject.
    pub title: &'static str,
    /// In the order of the documentation.
    pub metrics: &'static [&'static Metric],
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    buckets: &'static [f64],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram(buckets), labels, help }
}

/// Defines constants, and the group that lists them.
macro_rules! group {
    ($group:ident, $title:literal, $($name:ident = $metric:expr;)+) => {
        $(pub(super) static $name: Metric = $metric;)+
        static $group: Group = Group { title: $title, metrics: &[$(&$name),+] };
    };
}

group! { STORAGE, "How full it is, and of what",
    STORAGE_BYTES = gauge("entrepot_storage_bytes", &["class"],
        "What lies below the root, as it occupies the disk; the classes add up to what du says. hosted was pushed here, \
         mirrored can make way, pinned came from upstreams and stays, staged is on its way in, links are folders and links, \
         index is the index, quarantined is damaged, other is the rest.");
    STORAGE_OBJECTS = gauge("entrepot_storage_objects", &["class"], "Blobs, by class.");
    MIRRORED_BYTES = gauge("entrepot_storage_mirrored_bytes", &["upstream"],
        "The classes mirrored and pinned by the upstream that a blob came from, or came from first.");
    MIRRORED_OBJECTS = gauge("entrepot_storage_mirrored_objects", &["upstream"], "The same in blobs.");
    RECLAIMABLE = gauge("entrepot_storage_reclaimable_bytes", &[], "What eviction could free.");
    PROMISED = gauge("entrepot_storage_promised_bytes", &[],
        "Set aside for what is on its way in, and not on disk yet.");
    QUOTA = gauge("entrepot_storage_quota_bytes", &[], "storage.quota in bytes; absent without one.");
    ALLOWED = gauge("entrepot_storage_allowed_bytes", &[],
        "What everything stored may come to: the quota, or less where the filesystem has less beside the headroom.");
    HEADROOM = gauge("entrepot_storage_headroom_bytes", &[], "storage.headroom in bytes: what stays free for others.");
    COUNTED = gauge("entrepot_storage_counted", &[],
        "1 when all that is on disk is counted; 0 for a while after a process was killed.");
    FILESYSTEM_SIZE = gauge("entrepot_filesystem_size_bytes", &[], "The filesystem that the root is on.");
    FILESYSTEM_FREE = gauge("entrepot_filesystem_free_bytes", &[], "What it has free for an unprivileged writer.");
    INDEX_COMPLETE = gauge("entrepot_index_complete", &[],
        "1 when the index knows all that is on disk; 0 while it is rebuilt, or has failed.");
}

const AGES: &[f64] = &[60., 600., 3_600., 21_600., 86_400., 259_200., 604_800., 1_209_600., 2_592_000., 7_776_000.];

group! { EVICTION, "What made way",
    EVICTED_BYTES = counter("entrepot_evicted_bytes_total", &["reason"],
        "Mirrored content that was removed: room was needed, or nobody asked for it in proxy.ttl.");
    EVICTED_OBJECTS = counter("entrepot_evicted_objects_total", &["reason"], "The same in blobs.");
    EVICTED_AGE = histogram("entrepot_evicted_idle_seconds", &["reason"], AGES,
        "How long it had not been asked for when it went: much of it young means that the quota is small.");
}

group! { CACHE, "What the mirror saves",
    CACHE_ANSWERS = counter("entrepot_cache_answers_total", &["upstream", "kind", "result"],
        "Answers with mirrored content, to GET and HEAD. hit came from the cache, revalidated too, after the upstream said that \
         it still holds, stale too, as the upstream gave nothing better; miss was fetched, collapsed waited for somebody else's \
         fetch.");
    SERVED_BYTES = counter("entrepot_mirror_served_bytes_total", &["upstream", "kind", "result"],
        "Bytes of mirrored content given to clients.");
    FETCHED_BYTES = counter("entrepot_upstream_fetched_bytes_total", &["upstream", "kind"],
        "Bytes that upstreams sent; what was served beyond them was saved.");
}

const LATENCIES: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1., 2.5, 5., 10.];

group! { UPSTREAM, "Upstreams",
    UPSTREAM_UP = gauge("entrepot_upstream_up", &["upstream"],
        "0 when it could not be reached when it was last asked; cached content is served on.");
    UPSTREAM_REQUESTS = counter("entrepot_upstream_requests_total", &["upstream", "kind", "method", "outcome"],
        "Questions to upstreams, tokens and redirects included in each, by how they ended: ok, not_found, denied, too_many, \
         client_error, server_error, timeout, unreachable, protocol.");
    UPSTREAM_DURATION = histogram("entrepot_upstream_request_duration_seconds", &["upstream", "kind"], LATENCIES,
        "From the question to the head of its answer.");
    BUDGET_LIMIT = gauge("entrepot_upstream_budget_limit", &["upstream"],
        "How many manifests the upstream allows in a window, as it last said; absent where it says nothing.");
    BUDGET_REMAINING = gauge("entrepot_upstream_budget_remaining", &["upstream"], "How many of them are left.");
    BUDGET_WINDOW = gauge("entrepot_upstream_budget_window_seconds", &["upstream"], "How long the window is.");
}

group! { FILLS, "Blobs on their way in",
    FILLS_UNDER_WAY = gauge("entrepot_fills_in_flight", &[], "Blobs that are being fetched.");
    FILLS_ENDED = counter("entrepot_fills_total", &["upstream", "result"],
        "Fetches of blobs that have ended: stored, local (the bytes were here all along), uncached (the disk took no more, and \
         each reader went on alone), mismatch, failed.");
    FILLS_RESUMED = counter("entrepot_fills_resumed_total", &["upstream"],
        "How often one went on where a broken connection or an earlier failure had left it.");
    MISMATCHES = counter("entrepot_digest_mismatches_total", &["upstream", "kind"],
        "What an upstream sent did not hash to its digest; nothing of it was kept.");
    UPLOADS_OPEN = gauge("entrepot_uploads_open", &[],
        "Upload sessions that this process began or went on with, and that have not ended.");
}

const ANSWERS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.25, 1., 2.5, 10., 30.];

group! { HTTP, "Requests",
    HTTP_REQUESTS = counter("entrepot_http_requests_total", &["route", "method", "code"], "Requests answered.");
    HTTP_DURATION = histogram("entrepot_http_request_duration_seconds", &["route", "method"], ANSWERS,
        "From a request's head to the head of its answer: bodies take as long as their clients do, but for what is uploaded.");
    HTTP_RECEIVED = counter("entrepot_http_request_bytes_total", &["route"], "Bytes of bodies that clients sent.");
    HTTP_SENT = counter("entrepot_http_response_bytes_total", &["route"], "Bytes of bodies given to clients.");
}

group! { CARE, "Damage and collection",
    DAMAGED = counter("entrepot_damaged_blobs_total", &["class"],
        "Stored blobs that were found damaged: mirrored ones are dropped and fetched again, hosted ones are quarantined.");
    RESTORED = counter("entrepot_restored_blobs_total", &[], "Damaged hosted blobs whose right bytes were found elsewhere.");
    VERIFIED_BLOBS = counter("entrepot_verified_blobs_total", &[], "Stored blobs that were hashed to see whether they are right.");
    VERIFIED_BYTES = counter("entrepot_verified_bytes_total", &[], "The same in bytes.");
    VERIFY_ENDED = gauge("entrepot_verify_ended_timestamp_seconds", &[],
        "When verification last came through, in this process; 0 before that.");
    COLLECTED_OBJECTS = counter("entrepot_collected_objects_total", &["kind"],
        "What nothing reached and collection removed: manifests, blobs, uploads.");
    COLLECTED_BYTES = counter("entrepot_collected_bytes_total", &[], "Bytes of the blobs among them.");
    COLLECT_ENDED = gauge("entrepot_collect_ended_timestamp_seconds", &[],
        "When collection last came to its end, in this process; 0 before that.");
}

group! { NAMES, "Names of this registry's own",
    HOSTED_NAMES = gauge("entrepot_hosted_names", &["claim"],
        "Names that were pushed to while docker.io could not be asked whether it has such repositories: unproven ones are asked \
         about until it answers; conflicting ones it has, too, and the operator has to decide.");
}

group! { PROCESS, "The process",
    BUILD_INFO = gauge("entrepot_build_info", &["version"], "1; the label says what runs.");
    CERTIFICATE = gauge("entrepot_certificate_expiry_timestamp_seconds", &[],
        "When the certificate that is shown to clients ends; absent without TLS.");
    JOB_PANICS = counter("entrepot_job_panics_total", &["task"],
        "Background jobs that panicked, which is a bug; each was begun again.");
    PROCESS_START = gauge("process_start_time_seconds", &[], "When the process began.");
    PROCESS_CPU = counter("process_cpu_seconds_total", &[], "Processor time, of the process and the kernel for it.");
    PROCESS_RSS = gauge("process_resident_memory_bytes", &[], "Memory in use.");
    PROCESS_VSIZE = gauge("process_virtual_memory_bytes", &[], "Memory mapped.");
    PROCESS_FDS = gauge("process_open_fds", &[], "Open file descriptors.");
    PROCESS_MAX_FDS = gauge("process_max_fds", &[], "How many there may be.");
    PROCESS_THREADS = gauge("process_threads", &[], "Threads.");
}

/// All metrics.
pub static METRICS: &[&Group] = &[&STORAGE, &EVICTION, &CACHE, &UPSTREAM, &FILLS, &HTTP, &CARE, &NAMES, &PROCESS];
