//! Pushes to Entrepot and to Debian's `docker-registry`: one large blob, and many small ones.
//!
//! `cargo bench --bench pushing` measures all of it, `cargo bench --bench pushing -- large` one section. Both keep
//! their volumes below the temporary directory, which must not be in memory, and stay up from round to round. They take
//! turns with a rest between them, each first as often as second, and the figures are medians; a ratio is the median of
//! the rounds' ratios. Nothing is pushed twice, and a push is docker's: POST, PATCH with a chunked body, PUT, over
//! persistent connections. The bodies are prepared in memory with digest and chunk heads, so that the client costs
//! little.
//!
//! Entrepot syncs files and the folders that name them before it responds. The other server need not give the same
//! guarantee.
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
mod servers;
#[path = "../serving/table.rs"]
mod table;

use std::{process::Command, thread, time::Duration};

use client::Load;
use content::Body;
use servers::{Distribution, Target};
use table::median;

const NAMES: [&str; 3] = ["large", "serial", "parallel"];
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
    // cargo adds `--bench` to what the user wrote.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    assert!(wanted.iter().all(|name| NAMES.contains(&name.as_str())), "the sections are: {}", NAMES.join(", "));
    floor::refuse_memory();
    let (entrepot, distribution) = (servers::entrepot(), Distribution::start());
    let targets = [servers::target(&entrepot), distribution.target()];
    for name in NAMES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            measure(&section(name), &targets);
        }
    }
}

fn measure(section: &Section, targets: &[Target; 2]) {
    // The first round finds volumes without folders, and is not counted.
    let rounds: Vec<_> =
        (0..=number("BENCH_ROUNDS", 6)).map(|number| round(section, targets, number)).skip(1).collect();
    let row = |server: usize| {
        let of = |figure: &dyn Fn(&[Load; 2]) -> f64| median(rounds.iter().map(figure));
        vec![
            targets[server].name.to_owned(),
            format!("{:.2}", of(&|round| section.units / round[server].wall)),
            format!("{:.2}", of(&|round| round[1].wall / round[server].wall)),
            format!("{:.2}", of(&|round| round[server].cpu / section.units * section.cpu_scale)),
            format!("{:.2}", of(&|round| round[server].cpu / round[1].cpu)),
        ]
    };
    let head = ["server", section.unit, "of docker-registry's", section.cpu_unit, "of docker-registry's"];
    table::print(&section.title, &head, &[row(0), row(1)]);
    let alone = floor::write(section.blobs, section.length);
    println!("\nThe disk alone, a file and its sync at a time: {:.2} {}.", section.units / alone, section.unit);
}

/// Lets the disk end what a turn has left to it: unwritten pages, and removed files whose inodes are not reused at once.
fn rest() {
    assert!(Command::new("sync").status().unwrap().success());
    thread::sleep(REST);
}

fn round(section: &Section, targets: &[Target; 2], number: usize) -> [Load; 2] {
    let bodies: Vec<_> = (0..section.blobs).map(|_| Body::fresh(section.length)).collect();
    let push = |server: usize| {
        let load = client::push(&targets[server], &bodies, section.connections);
        rest();
        load
    };
    if number.is_multiple_of(2) {
        let first = push(0);
        [first, push(1)]
    } else {
        let second = push(1);
        [push(0), second]
    }
}
