//! A cold pull by docker from a registry that is far away, straight and through the mirror.
//!
//! `cargo bench --bench pulling` pulls an image of twelve layers, and one of a single large layer, each a few times in
//! turns: straight from a scripted registry behind a relay that is 50 ms away and carries 20 MB a second for a
//! connection, and through a mirror of it that has nothing yet. `BENCH_ROUNDS` (3) is the number of turns, `BENCH_MIB`
//! (24) the size of a layer. dockerd unpacks on overlay2.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic: that is how it fails")]
#![allow(clippy::print_stdout, reason = "its tables are for people")]
#![allow(clippy::disallowed_methods, reason = "the laws about files and threads are the server's")]

#[allow(unused, reason = "the test support has more than is needed here")]
#[path = "../../tests/support/mod.rs"]
mod support;

#[path = "../serving/table.rs"]
mod table;

use std::time::{Duration, Instant};

use support::{
    clients::{self, Client},
    egress_trap::EgressTrap,
    far::Far,
    images::{Format, Image},
    server::{Server, Setup},
    upstream::Upstream,
};
use table::median;

const NAME: &str = "org/app";
const ROUND_TRIP: Duration = Duration::from_millis(50);
const RATE: u64 = 20_000_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// The time of a pull.
fn pull(docker: &dyn Client, url: &str, image: &Image) -> f64 {
    let host = url.strip_prefix("http://").unwrap();
    let began = Instant::now();
    let pulled = docker.pull_from(&format!("{host}/{NAME}:1"));
    let took = began.elapsed().as_secs_f64();
    assert_eq!(pulled.digest, image.digest());
    took
}

/// A mirror of the far registry, with nothing in it.
fn mirror(far: &Far, prefetch: bool) -> Server {
    Setup::mirroring(&far.url()).variable("REGISTRY_PROXY_PREFETCH", &prefetch.to_string()).start()
}

fn compare(docker: &dyn Client, title: &str, image: &Image, rounds: u64) -> Vec<String> {
    let upstream = Upstream::plain();
    upstream.add(NAME, "1", image);
    let far = Far::before(&upstream.url(), ROUND_TRIP, RATE);
    let turn = |_| {
        let straight = pull(docker, &far.url(), image);
        let through = pull(docker, mirror(&far, true).url(), image);
        let without = pull(docker, mirror(&far, false).url(), image);
        (straight, through, without)
    };
    let turns: Vec<(f64, f64, f64)> = (0..rounds).map(turn).collect();
    let of = |figure: fn(&(f64, f64, f64)) -> f64| median(turns.iter().map(figure));
    vec![
        title.to_owned(),
        format!("{:.2} s", of(|turn| turn.0)),
        format!("{:.2} s", of(|turn| turn.1)),
        format!("{:.2} s", of(|turn| turn.2)),
        format!("{:.2}", of(|turn| turn.1 / turn.0)),
        format!("{:.2}", of(|turn| turn.2 / turn.0)),
    ]
}

fn main() {
    let (rounds, mib) = (number("BENCH_ROUNDS", 3), number("BENCH_MIB", 24));
    let length = usize::try_from(mib << 20).unwrap();
    let trap = EgressTrap::new();
    let docker = clients::docker_with("http://127.0.0.1:1", &trap, "overlay2");
    let many = Image::of_many_layers(Format::Docker, 7000, 12, length);
    let large = Image::of_many_layers(Format::Docker, 7100, 1, 12 * length);
    let rows = [
        compare(&*docker, &format!("12 layers of {mib} MiB"), &many, rounds),
        compare(&*docker, &format!("one layer of {} MiB", 12 * mib), &large, rounds),
    ];
    let head = ["image", "straight", "mirror", "without prefetch", "ratio", "without prefetch"];
    table::print("a cold pull by docker from a registry 50 ms away, 20 MB/s a connection", &head, &rows);
}
