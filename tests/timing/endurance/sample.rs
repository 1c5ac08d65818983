//! A sample of a server: the resources that it holds, and the processor time of its requests.

use std::{fmt, fs, sync::atomic::Ordering::Relaxed, time::Duration};

use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use super::load::{Fixed, small_image};
use crate::support::{http, is_soak, scrape::Scrape, scratch, server::Server};

/// The last tenth may have so much of what the second had.
const MORE: f64 = 1.15;
/// The part of the requests that a run of minutes measures: enough for the table, too few to judge processor time by.
const IN_SHORT: u32 = 20;

/// The attempts of which the least counts: a collection or verification that runs meanwhile takes processor time, too,
/// and with so many attempts some have none.
const ATTEMPTS: u32 = 12;

/// One quantity of a sample.
#[derive(Clone, Copy)]
struct Quantity {
    name: &'static str,
    value: f64,
    limit: Limit,
}

/// The judgement of a quantity.
#[derive(Clone, Copy)]
enum Limit {
    /// It has no reason to grow, but for a difference that depends on the moment.
    Steady(f64),
    /// As steady, and judged in the soak alone.
    Time(f64),
    /// It grows with what is stored, or until caches are full, up to this: the formulas are in docs/operating.md, "What
    /// grows".
    Below(f64),
    /// It is shown only: it depends on what is cached.
    Shown,
}

/// The bounds of docs/operating.md: memory with the default `storage.memory`, in MiB; the part of mirrored bytes that
/// their links may take; what hosted repositories of this load take at most; the least of the index, and its bytes a
/// blob.
const MEMORY: (f64, f64) = (152., 138.);
const LINKS_SHARE: f64 = 0.25;
const HOSTED_LINKS: f64 = 10_000_000.;
const INDEX: (f64, f64) = (16_777_216., 2_000.);

/// All quantities of one moment.
pub(super) struct Sample(Vec<Quantity>);

/// A quantity that grew.
pub(super) struct GrownQuantity {
    name: &'static str,
    from: f64,
    to: f64,
    most: f64,
}

impl fmt::Debug for GrownQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} went from {:.1} to {:.1}, beyond {:.1}", self.name, self.from, self.to, self.most)
    }
}

impl Sample {
    pub(super) fn of(server: &Server, debug: &str, fixed: &Fixed) -> Self {
        let scrape = Scrape::of(debug);
        let bytes = |name: &str| scrape.find(name, &[]).unwrap();
        let of = |name: &str, class: &str| scrape.find(name, &[&format!("class=\"{class}\"")]).unwrap();
        let quantity = |name, value, limit| Quantity { name, value, limit };
        let push = || push(server, fixed);
        let manifest =
            || assert_eq!(server.manifest("fixed/warm", "1").send().body().bytes.len(), fixed.image.top.bytes.len());
        let layer = &fixed.image.layer().digest;
        let blob = || assert_eq!(&server.blob("fixed/warm", layer).send().summary().digest, layer);
        let probe = || assert_eq!(http::get(&format!("{}/healthz", server.url())).send().status, 200);
        let data = server.data();
        let (mirrored, links) = (bytes("entrepot_storage_mirrored_bytes"), of("entrepot_storage_bytes", "links"));
        let blobs = of("entrepot_storage_objects", "mirrored") + of("entrepot_storage_objects", "hosted");
        // The share is kept by evictions, of which there are none in a run of minutes.
        let most_links = in_time((mirrored + links) * LINKS_SHARE + HOSTED_LINKS, f64::INFINITY);
        Self(vec![
            quantity("bytes promised", bytes("entrepot_storage_promised_bytes"), Limit::Steady(2_000_000.)),
            quantity("bytes mirrored", mirrored, Limit::Shown),
            quantity("bytes hosted", of("entrepot_storage_bytes", "hosted"), Limit::Shown),
            quantity("blobs", blobs, Limit::Shown),
            quantity("bytes of links", links, Limit::Below(most_links)),
            quantity(
                "bytes of the index",
                of("entrepot_storage_bytes", "index"),
                Limit::Below(INDEX.0.max(INDEX.1 * blobs)),
            ),
            quantity("µs a push", each(server, 20, &push), Limit::Time(10.)),
            quantity("µs a manifest", each(server, 100, &manifest), Limit::Time(10.)),
            quantity("µs a blob", each(server, 100, &blob), Limit::Time(10.)),
            quantity("µs a probe", each(server, 200, &probe), Limit::Time(10.)),
            quantity("MiB of memory", mebibytes(server.memory()), Limit::Below(MEMORY.0)),
            quantity("MiB of anonymous memory", mebibytes(server.anonymous_memory()), Limit::Below(MEMORY.1)),
            quantity("descriptors", entries(&format!("/proc/{}/fd", server.id())), Limit::Steady(40.)),
            quantity("threads", entries(&format!("/proc/{}/task", server.id())), Limit::Steady(8.)),
            quantity("files", scratch::files(data).len() as f64, Limit::Shown),
            quantity("folders", folders(data), Limit::Shown),
            quantity("staged files", entries(&data.join("staging").to_string_lossy()), Limit::Steady(0.)),
        ])
    }

    pub(super) fn grown_since(&self, earlier: &Self) -> Vec<GrownQuantity> {
        let grew = |(now, before): (&Quantity, &Quantity)| {
            let most = match now.limit {
                Limit::Steady(slack) => before.value * MORE + slack,
                Limit::Time(slack) if is_soak() => before.value * MORE + slack,
                Limit::Below(most) => most,
                Limit::Time(_) | Limit::Shown => f64::INFINITY,
            };
            let (name, from, to) = (now.name, before.value, now.value);
            (now.value > most).then_some(GrownQuantity { name, from, to, most })
        };
        self.0.iter().zip(&earlier.0).filter_map(grew).collect()
    }
}

/// The value for the soak, or that for a run of minutes.
fn in_time(soak: f64, short: f64) -> f64 {
    if is_soak() { soak } else { short }
}

fn mebibytes(bytes: u64) -> f64 {
    (bytes >> 20) as f64
}

/// A small image that nobody has, in place of the last one.
fn push(server: &Server, fixed: &Fixed) {
    let image = small_image(fixed.pushes.fetch_add(1, Relaxed));
    server.target().image("fixed/pushed", "1", &image);
}

/// The server's processor time for one of many requests, in microseconds: the least of several attempts.
fn each(server: &Server, requests: u32, request: &dyn Fn()) -> f64 {
    let requests = if is_soak() { requests } else { requests.div_ceil(IN_SHORT) };
    let attempt = || {
        let before = cpu(server);
        (0..requests).for_each(|_| request());
        (cpu(server) - before) * 1e6 / f64::from(requests)
    };
    (0..ATTEMPTS).map(|_| attempt()).fold(f64::INFINITY, f64::min)
}

/// Processor seconds that the server has used, to the nanosecond: /proc/<pid>/stat counts hundredths of a second.
fn cpu(server: &Server) -> f64 {
    let clock = clock_getcpuclockid(Pid::from_raw(server.id() as i32)).unwrap();
    clock_gettime(clock).map(Duration::from).unwrap().as_secs_f64()
}

fn entries(dir: &str) -> f64 {
    fs::read_dir(dir).map_or(0., |entries| entries.count() as f64)
}

fn folders(dir: &std::path::Path) -> f64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0. };
    let below = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.map(|entry| 1. + folders(&entry.path())).sum()
}

/// The table, shown by `--nocapture`.
#[allow(clippy::print_stdout, reason = "the test runner shows it when it is asked to")]
pub(super) fn report(samples: &[Sample]) {
    for (row, quantity) in samples[0].0.iter().enumerate() {
        let values: Vec<_> = samples.iter().map(|sample| format!("{:>9.1}", sample.0[row].value)).collect();
        println!("{:>24}: {}", quantity.name, values.join(" "));
    }
}
