//! Pushes to Entrepot, to Debian's `docker-registry`, and to plain threads that receive, hash, write and sync
//! (`reference`): one large blob, and many small ones.
//!
//! `cargo bench --bench pushing` measures all of it, `cargo bench --bench pushing -- large` one section. All keep
//! their volumes below the temporary directory and stay up from round to round. They take turns with a rest between
//! them, each first as often as second and third, and the figures are medians; a ratio is the median of the rounds'
//! ratios. The directory must not be in memory, except for the section `large`: `TMPDIR=/dev/shm` shows what it costs
//! without a disk. Nothing is pushed twice, and a push is docker's: POST, PATCH with a chunked body, PUT, over
//! persistent connections. The bodies are prepared in memory with digest and chunk heads, so that the client costs
//! little.
//!
//! Entrepot syncs files and the folders that name them before it responds. The other server need not give the same
//! guarantee, and the reference syncs only the file.
//!
//! `BENCH_MIB` (256), `BENCH_BLOBS` (1000 of 4 KiB) and `BENCH_ROUNDS` (6) make it smaller.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic: that is how it fails")]
#![allow(clippy::print_stdout, reason = "its tables are for people")]
#![allow(clippy::disallowed_methods, reason = "the laws about files and threads are the server's")]

#[allow(unused, reason = "the test support has more than is needed here")]
#[path = "../../tests/support/mod.rs"]
mod support;

mod client;
mod content;
mod floor;
#[allow(unused, reason = "memory is the other benchmark's concern")]
#[path = "../serving/gauge.rs"]
mod gauge;
#[allow(unused, reason = "mirroring is the other benchmark's concern")]
#[path = "../serving/reference.rs"]
mod reference;
mod servers;
#[path = "../serving/table.rs"]
mod table;

use std::{process::Command, thread, time::Duration};

use client::Load;
use content::Body;
use reference::Reference;
use servers::{Distribution, Target};
use support::scratch;
use table::median;

const NAMES: [&str; 3] = ["large", "serial", "parallel"];
/// Entrepot, docker-registry, the reference.
const SERVERS: usize = 3;
const CONNECTIONS: usize = 8;
const SMALL: usize = 4 << 10;
const REST: Duration = Duration::from_secs(3);

/// The content of one round, and the presentation of its results.
struct Section {
    title: String,
    blobs: usize,
    length: usize,
    connections: usize,
    unit: &'static str,
    /// The number of units in a round.
    units: f64,
    cpu_unit: &'static str,
    /// The factor from CPU seconds of a unit to the printed figure.
    cpu_scale: f64,
}

fn section(name: &str) -> Section {
    if name == "large" {
        let mib = number("BENCH_MIB", 256);
        let (title, units) = (format!("large: one blob of {mib} MiB"), mib as f64 / 1024.0);
        let (unit, cpu_unit) = ("GiB/s", "CPU s/GiB");
        return Section { title, blobs: 1, length: mib << 20, connections: 1, unit, units, cpu_unit, cpu_scale: 1.0 };
    }
    let blobs = number("BENCH_BLOBS", 1000);
    let connections = if name == "serial" { 1 } else { CONNECTIONS };
    Section {
        title: format!("{name}: {blobs} blobs of {SMALL} bytes over {connections} connection(s)"),
        blobs,
        length: SMALL,
        connections,
        unit: "blobs/s",
        units: blobs as f64,
        cpu_unit: "CPU ms/blob",
        cpu_scale: 1e3,
    }
}

fn number(variable: &str, default: usize) -> usize {
    let Ok(text) = std::env::var(variable) else { return default };
    text.parse().ok().filter(|number| *number > 0).unwrap_or_else(|| panic!("{variable}={text} is not a count"))
}

fn main() {
    if reference::serve_if_asked() {
        return;
    }
    // cargo adds `--bench` to what the user wrote.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    assert!(wanted.iter().all(|name| NAMES.contains(&name.as_str())), "the sections are: {}", NAMES.join(", "));
    if wanted != ["large"] {
        floor::refuse_memory();
    }
    let (entrepot, distribution) = (servers::entrepot(), Distribution::start());
    let reference = Reference::hosting(scratch::dir("reference"));
    let looped = Target { name: "reference", address: reference.address(), pid: reference.pid() };
    let targets = [servers::target(&entrepot), distribution.target(), looped];
    for name in NAMES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            measure(&section(name), &targets);
        }
    }
}

/// The pushes of one round to each server, and the seconds that the disk alone took for the same bytes.
struct Round {
    loads: [Load; SERVERS],
    disk: f64,
}

fn measure(section: &Section, targets: &[Target; SERVERS]) {
    // The first round finds volumes without folders, and is not counted.
    let rounds: Vec<_> =
        (0..=number("BENCH_ROUNDS", 6)).map(|number| round(section, targets, number)).skip(1).collect();
    let of = |figure: &dyn Fn(&Round) -> f64| format!("{:.2}", median(rounds.iter().map(figure)));
    let row = |server: usize| {
        vec![
            targets[server].name.to_owned(),
            of(&|round| section.units / round.loads[server].wall),
            of(&|round| round.loads[1].wall / round.loads[server].wall),
            of(&|round| round.disk / round.loads[server].wall),
            of(&|round| round.loads[server].cpu / section.units * section.cpu_scale),
            of(&|round| round.loads[server].cpu / round.loads[1].cpu),
            of(&|round| round.loads[server].cpu / round.loads[2].cpu),
        ]
    };
    let head = [
        "server",
        section.unit,
        "of docker-registry's",
        "of the disk's",
        section.cpu_unit,
        "of docker-registry's",
        "of the reference's",
    ];
    table::print(&section.title, &head, &[0, 1, 2].map(row));
    let disk = of(&|round| section.units / round.disk);
    println!("\nThe disk alone, a file and its sync at a time: {disk} {}.", section.unit);
}

/// Lets the disk end what a turn has left to it: unwritten pages, and removed files whose inodes are not reused at
/// once.
fn rest() {
    assert!(Command::new("sync").status().unwrap().success());
    thread::sleep(REST);
}

fn round(section: &Section, targets: &[Target; SERVERS], number: usize) -> Round {
    let bodies: Vec<_> = (0..section.blobs).map(|_| Body::fresh(section.length)).collect();
    let push = |server: usize| {
        let load = client::push(&targets[server], &bodies, section.connections);
        rest();
        (server, load)
    };
    let mut loads: Vec<_> = (0..SERVERS).map(|turn| push((turn + number) % SERVERS)).collect();
    loads.sort_by_key(|(server, _)| *server);
    let loads = loads.into_iter().map(|(_, load)| load).collect::<Vec<_>>().try_into().ok().unwrap();
    Round { loads, disk: floor::write(section.blobs, section.length) }
}
