//! Serving by Entrepot, by nginx (a static file by sendfile) and by Debian's `docker-registry`.
//!
//! `cargo bench --bench serving` measures all of it, `cargo bench --bench serving -- warm small` two sections of it.
//! All servers are measured in one run, in rounds that take turns, and the figures are medians: other work on the
//! machine then affects all alike. CPU seconds (user and system, of a server's whole process tree) say more than times
//! on a machine that server, upstream and clients share; a GiB is one delivered to a client. A cold blob is compared
//! with plain threads that receive, hash, write and send it, too (`reference`).
//!
//! `BENCH_MIB` (1024), `BENCH_ROUNDS` (5), `BENCH_SECONDS` (5 of each `wrk`; four times that of slow clients) and
//! `BENCH_SLOW` (500 clients) make it smaller: `BENCH_MIB=64 BENCH_ROUNDS=1 BENCH_SECONDS=1` is a quick look.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic: that is how it fails")]
#![allow(clippy::print_stdout, reason = "its tables are for people")]
#![allow(clippy::disallowed_methods, reason = "the laws about files and threads are the server's")]

#[allow(unused, reason = "the test support has more than is needed here")]
#[path = "../../tests/support/mod.rs"]
mod support;

mod cold;
mod content;
mod gauge;
mod load;
mod plan;
mod reference;
mod servers;
mod slow;
mod small;
mod table;
mod target;
mod warm;

use content::Content;
use plan::Plan;

type Section = fn(&Plan, &Content);

const SECTIONS: [(&str, Section); 4] =
    [("cold", cold::measure), ("warm", warm::measure), ("small", small::measure), ("slow", slow::measure)];

fn main() {
    if reference::serve_if_asked() {
        return;
    }
    // cargo adds `--bench` to what the user wrote.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let known = |name: &String| SECTIONS.iter().any(|(section, _)| section == name);
    assert!(wanted.iter().all(known), "the sections are: cold, warm, small, slow");
    servers::check_installed();
    let plan = Plan::from_environment();
    let content = Content::make(plan.mib);
    for (name, section) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            section(&plan, &content);
        }
    }
}
