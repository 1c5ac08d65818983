//! The metrics of the process, under the names that Prometheus' client libraries share. They are read from `/proc` at
//! each scrape.

use std::fs;

use prometheus::{Counter, core::Collector as _, proto::MetricFamily};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::{
    Error,
    definitions::{
        PROCESS_CPU, PROCESS_FDS, PROCESS_MAX_FDS, PROCESS_RSS, PROCESS_START, PROCESS_THREADS, PROCESS_VSIZE,
    },
    gauges::{as_float, single},
};

/// The metrics of the process. Those that cannot be read are absent.
pub(super) fn families() -> Result<Vec<MetricFamily>, Error> {
    let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text));
    let started = stat.as_ref().and_then(|stat| Some(boot_time()? + stat.started / clock_ticks_per_second()));
    let files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64);
    Ok([
        single(&PROCESS_START, started)?,
        stat.as_ref().map(cpu).transpose()?.unwrap_or_default(),
        single(&PROCESS_RSS, stat.as_ref().map(|stat| stat.resident_pages * page_size() as u64))?,
        single(&PROCESS_VSIZE, stat.as_ref().map(|stat| stat.virtual_bytes))?,
        single(&PROCESS_FDS, files)?,
        single(&PROCESS_MAX_FDS, Some(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)))?,
        single(&PROCESS_THREADS, stat.as_ref().map(|stat| stat.threads))?,
    ]
    .concat())
}

fn cpu(stat: &Stat) -> Result<Vec<MetricFamily>, Error> {
    let counter = Counter::new(PROCESS_CPU.name, PROCESS_CPU.help)?;
    counter.inc_by(as_float(stat.ticks) / as_float(clock_ticks_per_second()));
    Ok(counter.collect())
}

/// Fields of `/proc/self/stat` (`proc_pid_stat(5)`).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Clock ticks of processor time, in user mode and in the kernel.
    ticks: u64,
    threads: u64,
    /// Clock ticks from the start of the system to that of the process.
    started: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may contain both spaces and parentheses.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            ticks: field(14)? + field(15)?,
            threads: field(20)?,
            started: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// The start of the system, in seconds since the epoch.
fn boot_time() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|time| time.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_program_name_may_contain_anything() {
        let text = "7 (a) S (b) S 1 1 1 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 5 0 9000 8192 3 18446744073709551615 1 1";
        let stat = Stat { ticks: 42, threads: 5, started: 9000, virtual_bytes: 8192, resident_pages: 3 };
        assert_eq!(Stat::parse(text), Some(stat));
        for other in ["", "7 (a) S", "7 a S 1 1 1"] {
            assert_eq!(Stat::parse(other), None, "{other}");
        }
    }

    #[test]
    fn this_process_has_all_of_them() {
        let families = families().unwrap();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).unwrap();
            let metric = &family.get_metric()[0];
            metric.get_gauge().get_value() + metric.get_counter().get_value()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value(PROCESS_START.name);
        assert!((-2. ..86_400.).contains(&age), "{age}");
        assert!(value(PROCESS_RSS.name) > 1e5 && value(PROCESS_VSIZE.name) > value(PROCESS_RSS.name));
        assert!(value(PROCESS_FDS.name) >= 3. && value(PROCESS_MAX_FDS.name) > value(PROCESS_FDS.name));
        assert!(value(PROCESS_THREADS.name) >= 1. && value(PROCESS_CPU.name) >= 0.);
    }
}
