//! A sample of a server: the resources that it holds, and the processor time of its requests.

use std::{fmt, fs, sync::atomic::Ordering::Relaxed};

use super::load::{Fixed, small_image};
use crate::support::{http, is_soak, scrape::Scrape, scratch, server::Server};

/// The last tenth may have so much of what the second had.
const MORE: f64 = 1.15;
/// The part of the requests that a run of minutes measures: enough for the table, too few to judge processor time by.
const IN_SHORT: u32 = 20;

/// Processor time is counted in these parts of a second on every Linux.
const TICKS: f64 = 100.;

/// One quantity of a sample.
#[derive(Clone, Copy)]
struct Quantity {
    name: &'static str,
    value: f64,
    /// A difference that says nothing: it depends on the moment, or on what is cached.
    slack: f64,
    is_time: bool,
}

/// All quantities of one moment.
pub(super) struct Sample(Vec<Quantity>);

/// A quantity that grew.
pub(super) struct GrownQuantity {
    name: &'static str,
    from: f64,
    to: f64,
}

impl fmt::Debug for GrownQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} grew from {:.1} to {:.1}", self.name, self.from, self.to)
    }
}

impl Sample {
    pub(super) fn of(server: &Server, debug: &str, fixed: &Fixed) -> Self {
        let scrape = Scrape::of(debug);
        let bytes = |name: &str| scrape.find(name, &[]).unwrap() as u64;
        let held = |name, value: u64, slack| Quantity { name, value: value as f64, slack, is_time: false };
        let took = |name, value| Quantity { name, value, slack: 10., is_time: true };
        let push = || push(server, fixed);
        let manifest =
            || assert_eq!(server.manifest("fixed/warm", "1").send().body().bytes.len(), fixed.image.top.bytes.len());
        let layer = &fixed.image.layer().digest;
        let blob = || assert_eq!(&server.blob("fixed/warm", layer).send().summary().digest, layer);
        let probe = || assert_eq!(http::get(&format!("{}/healthz", server.url())).send().status, 200);
        let data = server.data();
        Self(vec![
            held("bytes promised", bytes("entrepot_storage_promised_bytes"), 2_000_000.),
            held("bytes mirrored", bytes("entrepot_storage_mirrored_bytes"), f64::INFINITY),
            took("µs a push", each(server, 60, &push)),
            took("µs a manifest", each(server, 400, &manifest)),
            took("µs a blob", each(server, 400, &blob)),
            took("µs a probe", each(server, 800, &probe)),
            held("MiB of memory", server.memory() >> 20, in_time(4., 64.)),
            held("MiB of anonymous memory", server.anonymous_memory() >> 20, in_time(4., 64.)),
            held("descriptors", entries(&format!("/proc/{}/fd", server.id())), 40.),
            held("threads", entries(&format!("/proc/{}/task", server.id())), 8.),
            held("files", scratch::files(data).len() as u64, in_time(200., f64::INFINITY)),
            held("folders", folders(data), in_time(200., f64::INFINITY)),
            held("staged files", entries(&data.join("staging").to_string_lossy()), 0.),
        ])
    }

    pub(super) fn grown_since(&self, earlier: &Self) -> Vec<GrownQuantity> {
        let grew = |(now, before): (&Quantity, &Quantity)| {
            let counts = !now.is_time || is_soak();
            (counts && now.value > before.value * MORE + now.slack).then_some(GrownQuantity {
                name: now.name,
                from: before.value,
                to: now.value,
            })
        };
        self.0.iter().zip(&earlier.0).filter_map(grew).collect()
    }
}

/// The slack of what grows in the first minutes, while caches fill: in the soak, and in a run of minutes.
fn in_time(soak: f64, short: f64) -> f64 {
    if is_soak() { soak } else { short }
}

/// A small image that nobody has, in place of the last one.
fn push(server: &Server, fixed: &Fixed) {
    let image = small_image(fixed.pushes.fetch_add(1, Relaxed));
    server.target().image("fixed/pushed", "1", &image);
}

/// The server's processor time for one of many requests, in microseconds: the least of three attempts.
fn each(server: &Server, requests: u32, request: &dyn Fn()) -> f64 {
    let requests = if is_soak() { requests } else { requests / IN_SHORT };
    let attempt = || {
        let before = cpu(server);
        (0..requests).for_each(|_| request());
        (cpu(server) - before) * 1e6 / f64::from(requests)
    };
    (0..3).map(|_| attempt()).fold(f64::INFINITY, f64::min)
}

/// Processor seconds that the server has used.
fn cpu(server: &Server) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.id())).unwrap();
    // utime and stime: fields 14 and 15 of proc(5), and the second one, the name, ends with the last bracket.
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 / TICKS
}

fn entries(dir: &str) -> u64 {
    fs::read_dir(dir).map_or(0, |entries| entries.count() as u64)
}

fn folders(dir: &std::path::Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let below = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.map(|entry| 1 + folders(&entry.path())).sum()
}

/// The table, shown by `--nocapture`.
#[allow(clippy::print_stdout, reason = "the test runner shows it when it is asked to")]
pub(super) fn report(samples: &[Sample]) {
    for (row, quantity) in samples[0].0.iter().enumerate() {
        let values: Vec<_> = samples.iter().map(|sample| format!("{:>9.1}", sample.0[row].value)).collect();
        println!("{:>24}: {}", quantity.name, values.join(" "));
    }
}
