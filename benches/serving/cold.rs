//! An uncached blob: through the mirror, straight from the same upstream, and through the reference loop.

use crate::{
    content::Content,
    load::{self, Load},
    plan::Plan,
    reference::Reference,
    servers::{self, Nginx},
    table::{self, median},
    target::Target,
};

/// The clients that pull at once beside the single one.
const MANY: usize = 8;

/// One round: the same pull from the upstream, through the loop, and through the mirror.
struct Round {
    straight: Load,
    looped: Load,
    mirrored: Load,
    /// Through another mirror, by [`MANY`] clients.
    shared: Load,
}

pub(crate) fn measure(plan: &Plan, content: &Content) {
    let nginx = Nginx::start(content);
    let measured = [
        ("at full speed", measure_rounds(&nginx.target(), content, plan.rounds)),
        ("100 MB/s a connection", measure_rounds(&nginx.throttled(), content, 1)),
    ];
    let head =
        ["upstream", "wall, straight", "loop", "mirror", "of straight", "of loop", "first byte", "mirror", "8 clients"];
    let rows: Vec<_> = measured.iter().map(|(pace, rounds)| times(pace, rounds)).collect();
    table::print(&format!("cold: a blob of {} MiB through the mirror, time", plan.mib), &head, &rows);
    let head = ["upstream", "CPU s/GiB, loop", "mirror", "of loop", "8 clients", "more for each GiB sent"];
    let rows: Vec<_> = measured.iter().map(|(pace, rounds)| costs(pace, rounds)).collect();
    table::print(&format!("cold: a blob of {} MiB through the mirror, CPU time", plan.mib), &head, &rows);
}

fn measure_rounds(upstream: &Target, content: &Content, rounds: usize) -> Vec<Round> {
    (0..rounds).map(|_| round(upstream, content)).collect()
}

fn round(upstream: &Target, content: &Content) -> Round {
    let path = &content.large.blob_path();
    let straight = load::pull(upstream, path, 1, 1);
    let reference = Reference::mirroring(&upstream.address);
    let looped = load::pull(&Target { name: "loop", address: reference.address(), pid: reference.pid() }, path, 1, 1);
    drop(reference);
    Round { straight, looped, mirrored: pull_cold(upstream, content, 1), shared: pull_cold(upstream, content, MANY) }
}

/// Pulls through a new mirror that has pulled another blob before: a connection to the upstream is open then.
fn pull_cold(upstream: &Target, content: &Content, clients: usize) -> Load {
    let server = servers::mirror(upstream);
    let mirror = servers::target(&server);
    load::drain(&mirror.address, &content.small.blob_path());
    load::pull(&mirror, &content.large.blob_path(), clients, 1)
}

fn times(pace: &str, rounds: &[Round]) -> Vec<String> {
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    vec![
        pace.to_owned(),
        format!("{:.2} s", of(|round| round.straight.wall)),
        format!("{:.2} s", of(|round| round.looped.wall)),
        format!("{:.2} s", of(|round| round.mirrored.wall)),
        format!("{:.3}", of(|round| round.mirrored.wall / round.straight.wall)),
        format!("{:.2}", of(|round| round.mirrored.wall / round.looped.wall)),
        format!("{:.1} ms", of(|round| round.straight.first_byte) * 1e3),
        format!("{:.1} ms", of(|round| round.mirrored.first_byte) * 1e3),
        format!("{:.2} s", of(|round| round.shared.wall)),
    ]
}

fn costs(pace: &str, rounds: &[Round]) -> Vec<String> {
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    let sent = MANY as f64;
    let shared = of(|round| round.shared.cpu_per_gib) * sent;
    vec![
        pace.to_owned(),
        format!("{:.2}", of(|round| round.looped.cpu_per_gib)),
        format!("{:.2}", of(|round| round.mirrored.cpu_per_gib)),
        format!("{:.2}", of(|round| round.mirrored.cpu_per_gib / round.looped.cpu_per_gib)),
        format!("{shared:.2}"),
        format!("{:.3}", (shared - of(|round| round.mirrored.cpu_per_gib)) / (sent - 1.0)),
    ]
}
