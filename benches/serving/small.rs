//! Small cached content: a manifest by its tag and by its digest, and a blob of 4 KiB.

use crate::{
    content::{Content, TAG},
    load::{self, Small},
    plan::Plan,
    servers::{self, Distribution, Nginx},
    table::{self, median},
};

pub(crate) fn measure(plan: &Plan, content: &Content) {
    let (nginx, distribution) = (Nginx::start(content), Distribution::start(content));
    let mirror = servers::warm_mirror(&nginx.target(), content);
    let targets = [servers::target(&mirror), distribution.target(), nginx.target()];
    let things = [
        ("manifest by tag", servers::manifest_path(TAG)),
        ("manifest by digest", servers::manifest_path(&content.manifest.digest)),
        ("blob of 4 KiB", content.small.blob_path()),
    ];
    let mut rows = Vec::new();
    for (thing, path) in things {
        let round = |_| targets.each_ref().map(|target| load::hammer(target, &path, plan.time));
        let rounds: Vec<_> = (0..plan.rounds.min(3)).map(round).collect();
        rows.extend(targets.iter().enumerate().map(|(number, target)| row(thing, target.name, number, &rounds)));
    }
    let head = ["thing", "server", "requests/s", "of entrepot's", "CPU µs/request", "of entrepot's"];
    table::print("small: 32 connections of wrk", &head, &rows);
}

fn row(thing: &str, server: &str, number: usize, rounds: &[[Small; 3]]) -> Vec<String> {
    let of = |figure: &dyn Fn(&[Small; 3]) -> f64| median(rounds.iter().map(figure));
    vec![
        thing.to_owned(),
        server.to_owned(),
        format!("{:.0}", of(&|round| round[number].rate)),
        format!("{:.2}", of(&|round| round[number].rate / round[0].rate)),
        format!("{:.1}", of(&|round| round[number].micros)),
        format!("{:.2}", of(&|round| round[number].micros / round[0].micros)),
    ]
}
