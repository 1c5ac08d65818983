//! A large cached blob, against the same blob in docker-registry and as nginx's static file.

use crate::{
    content::Content,
    load::{self, Load},
    plan::Plan,
    servers::{self, Distribution, Nginx},
    table::{self, median},
    target::Target,
};

/// Clients, and the number of pulls by each: one pull by one client is too short to measure its CPU time.
const LOADS: [(usize, usize); 2] = [(1, 4), (8, 1)];

pub(crate) fn measure(plan: &Plan, content: &Content) {
    let (nginx, distribution) = (Nginx::start(content), Distribution::start(content));
    let mirror = servers::warm_mirror(&nginx.target(), content);
    let targets = [servers::target(&mirror), distribution.target(), nginx.target()];
    let path = content.large.blob_path();
    let mut rows = Vec::new();
    for (clients, times) in LOADS {
        let round = |_| targets.each_ref().map(|target| load::pull(target, &path, clients, times));
        let rounds: Vec<_> = (0..plan.rounds).map(round).collect();
        rows.extend(targets.iter().enumerate().map(|(number, target)| row(target, number, clients, &rounds)));
    }
    let head = ["server", "clients", "CPU s/GiB", "of entrepot's", "wall", "of entrepot's", "first byte"];
    table::print(&format!("warm: a cached blob of {} MiB", plan.mib), &head, &rows);
}

fn row(target: &Target, number: usize, clients: usize, rounds: &[[Load; 3]]) -> Vec<String> {
    let of = |figure: &dyn Fn(&[Load; 3]) -> f64| median(rounds.iter().map(figure));
    vec![
        target.name.to_owned(),
        clients.to_string(),
        format!("{:.3}", of(&|round| round[number].cpu_per_gib)),
        format!("{:.2}", of(&|round| round[number].cpu_per_gib / round[0].cpu_per_gib)),
        format!("{:.2} s", of(&|round| round[number].wall)),
        format!("{:.2}", of(&|round| round[number].wall / round[0].wall)),
        format!("{:.1} ms", of(&|round| round[number].first_byte) * 1e3),
    ]
}
