//! An uncached blob, through the mirror and directly from the same upstream.

use crate::{
    content::Content,
    load::{self, Load},
    plan::Plan,
    servers::{self, Nginx, THROTTLED},
    table::{self, median},
    target::Target,
};

pub(crate) fn measure(plan: &Plan, content: &Content) {
    let nginx = Nginx::start(content);
    let mut rows = Vec::new();
    for clients in [1, 16] {
        rows.push(compare(&nginx.target(), content, clients, plan.rounds, "at full speed"));
    }
    for clients in [1, 16] {
        let pace = format!("{THROTTLED} MiB/s a connection");
        rows.push(compare(&nginx.throttled(), content, clients, 1, &pace));
    }
    let head = [
        "upstream",
        "clients",
        "wall, straight",
        "mirror",
        "ratio",
        "first byte, straight",
        "mirror",
        "CPU s/GiB",
        "CPU s in all",
    ];
    table::print(
        &format!("cold: a blob of {} MiB through the mirror, and straight from nginx", plan.mib),
        &head,
        &rows,
    );
}

fn compare(upstream: &Target, content: &Content, clients: usize, rounds: usize, pace: &str) -> Vec<String> {
    let path = content.large.blob_path();
    let rounds: Vec<(Load, Load)> = (0..rounds)
        .map(|_| {
            let straight = load::pull(upstream, &path, clients, 1);
            let server = servers::mirror(upstream);
            (straight, load::pull(&servers::target(&server), &path, clients, 1))
        })
        .collect();
    let of = |figure: fn(&(Load, Load)) -> f64| median(rounds.iter().map(figure));
    let gib = content.large.length as f64 / f64::from(1 << 30) * clients as f64;
    vec![
        pace.to_owned(),
        clients.to_string(),
        format!("{:.2} s", of(|round| round.0.wall)),
        format!("{:.2} s", of(|round| round.1.wall)),
        format!("{:.3}", of(|round| round.1.wall / round.0.wall)),
        format!("{:.1} ms", of(|round| round.0.first_byte) * 1e3),
        format!("{:.1} ms", of(|round| round.1.first_byte) * 1e3),
        format!("{:.2}", of(|round| round.1.cpu_per_gib)),
        format!("{:.2}", of(|round| round.1.cpu_per_gib) * gib),
    ]
}
