//! The waits of small requests during long work: a blob of 10 kB that was served before, and `/healthz`.
//!
//! `cargo bench --bench liveness` has all loads, one after the other, each on a server and a volume of its own, after a
//! while without load; `cargo bench --bench liveness -- mounts tags` has two of them. Beside it runs an idle server
//! that gets the same requests at the same time: the waits of its clients are caused by the machine. Requests come
//! every 5 ms, and those that a waiting request delays are counted, too.
//!
//! The volumes are below the temporary directory. `BENCH_SECONDS` (5) is the duration of lists, and of the time without
//! load.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic: that is how it fails")]
#![allow(clippy::print_stdout, reason = "its tables are for people")]
#![allow(clippy::disallowed_methods, reason = "the laws about files and threads are the server's")]

#[allow(unused, reason = "the test support has more than is needed here")]
#[path = "../../tests/support/mod.rs"]
mod support;

#[allow(unused, reason = "medians are the waits' own here")]
#[path = "../serving/table.rs"]
mod table;

use std::{fs, time::Duration};

use support::loads::{self, LOADS, Measured, Sizes, Waits};

/// The sizes of production.
fn whole(lasting: u64) -> Sizes {
    Sizes {
        mounted: 1,
        layer: 2 << 30,
        filling: 2 << 30,
        bandwidth: 100_000_000,
        ahead: 1_500_000_000,
        clients: 200,
        taken: 16 << 20,
        network: 312_500_000,
        idle: 1100,
        disk: 1024,
        repositories: 10_000,
        volume: 4096,
        referrers: 200,
        referrer: 2 << 20,
        tags: 200_000,
        uploads: 4,
        upload: 1 << 30,
        lasting: Duration::from_secs(lasting),
        patience: Duration::from_secs(60),
    }
}

fn main() {
    // cargo adds `--bench` to what the user wrote.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let names: Vec<_> = LOADS.iter().map(|(name, _)| *name).collect();
    assert!(wanted.iter().all(|name| names.contains(&&**name)), "the loads are: {}", names.join(", "));
    let lasting = std::env::var("BENCH_SECONDS").ok().map_or(5, |value| value.parse().expect("BENCH_SECONDS counts"));
    let sizes = whole(lasting);
    let (_server, bystander) = loads::bystander();
    let mut rows = Vec::new();
    for (name, load) in LOADS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let busy = busy();
        let measured = load(&sizes).measure(sizes.lasting, &bystander);
        println!("{name}: {}", measured.outcome);
        rows.push(row(name, &busy, &measured));
    }
    let head = [
        "load",
        "s",
        "busy",
        "blob: median",
        "p99",
        "worst",
        "to peace",
        "beside: p99",
        "worst",
        "/healthz: median",
        "p99",
        "worst",
        "to peace",
        "beside: p99",
        "worst",
    ];
    table::print("what small requests wait, in ms", &head, &rows);
}

/// The load average of the last minute: other work on the machine makes all results slower.
fn busy() -> String {
    fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap().to_owned()
}

fn row(name: &str, busy: &str, measured: &Measured) -> Vec<String> {
    let mut row = vec![name.to_owned(), format!("{:.1}", measured.took.as_secs_f64()), busy.to_owned()];
    for ((loaded, peace), beside) in measured.loaded.iter().zip(&measured.peace).zip(&measured.beside) {
        row.extend([loaded.quantile(0.5), loaded.quantile(0.99), loaded.quantile(1.)].map(milliseconds));
        row.push(ratio(loaded, peace));
        row.extend([beside.quantile(0.99), beside.quantile(1.)].map(milliseconds));
    }
    row
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

/// The ratio of the medians.
fn ratio(loaded: &Waits, peace: &Waits) -> String {
    format!("{:.1}", loaded.quantile(0.5).as_secs_f64() / peace.quantile(0.5).as_secs_f64())
}
