//! The CPU time and memory of a process and all its descendants, from `/proc`.

use std::{collections::HashMap, fs};

/// `USER_HZ`, which is the same on every Linux.
const TICKS: f64 = 100.0;

/// The process and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = stat(pid).and_then(|fields| fields[1].parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// The fields after the name, which may hold spaces.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

/// User and system seconds so far.
pub(crate) fn cpu(root: u32) -> f64 {
    let ticks = |pid| {
        let fields = stat(pid)?;
        Some(fields[11].parse::<f64>().ok()? + fields[12].parse::<f64>().ok()?)
    };
    tree(root).into_iter().filter_map(ticks).sum::<f64>() / TICKS
}

/// Resident MiB now.
pub(crate) fn resident(root: u32) -> f64 {
    status(root, "VmRSS:")
}

/// The most resident MiB since [`forget_peak`].
pub(crate) fn peak(root: u32) -> f64 {
    status(root, "VmHWM:")
}

pub(crate) fn forget_peak(root: u32) {
    tree(root).into_iter().for_each(|pid| fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap());
}

fn status(root: u32, field: &str) -> f64 {
    let kib = |pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(field))?;
        value.trim().trim_end_matches(" kB").parse::<f64>().ok()
    };
    tree(root).into_iter().filter_map(kib).sum::<f64>() / 1024.0
}
