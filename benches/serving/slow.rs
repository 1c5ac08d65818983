//! Memory: many slow clients of one blob, cached or being filled.

use crate::{
    content::Content,
    gauge,
    load::Herd,
    plan::Plan,
    servers::{self, Distribution, Nginx},
    table,
    target::Target,
};

/// Bytes a second that each of them takes.
const PACE: u64 = 32 << 10;

pub(crate) fn measure(plan: &Plan, content: &Content) {
    let (nginx, distribution) = (Nginx::start(content), Distribution::start(content));
    let warm = servers::warm_mirror(&nginx.target(), content);
    let mut rows = vec![row(&servers::target(&warm), "cached", plan, content)];
    drop(warm);
    let filling = servers::mirror(&nginx.throttled());
    rows.push(row(&servers::target(&filling), "filling", plan, content));
    drop(filling);
    rows.push(row(&distribution.target(), "cached", plan, content));
    rows.push(row(&nginx.target(), "cached", plan, content));
    let head = ["server", "blob", "idle MiB", "peak MiB", "above idle", "least taken KiB", "CPU s"];
    let title = format!("slow: {} clients of a blob of {} MiB, {} KiB/s each", plan.slow, plan.mib, PACE >> 10);
    table::print(&title, &head, &rows);
}

fn row(target: &Target, state: &str, plan: &Plan, content: &Content) -> Vec<String> {
    let (idle, cpu) = (gauge::resident(target.pid), gauge::cpu(target.pid));
    gauge::forget_peak(target.pid);
    let herd = Herd::gather(target, &content.large.blob_path(), plan.slow);
    let least = herd.graze(PACE, plan.time * 4);
    let (peak, cpu) = (gauge::peak(target.pid), gauge::cpu(target.pid) - cpu);
    vec![
        target.name.to_owned(),
        state.to_owned(),
        format!("{idle:.1}"),
        format!("{peak:.1}"),
        format!("{:.1}", peak - idle),
        (least >> 10).to_string(),
        format!("{cpu:.2}"),
    ]
}
