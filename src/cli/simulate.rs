//! `entrepot simulate`: replays a log of pulls under several eviction policies and cache sizes.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, IsTerminal, Write, stderr, stdin, stdout},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Failure, print_line};
use crate::{
    lanes::Blocking,
    simulator::{
        self, Counts, ImitatedRegistry, InvalidTrace, Policy, ReplayReport, ReplayRow, Synthetic, Tiers, Trace,
    },
};

pub(super) const LONG: &str = "\
Replay a log of pulls through caches of 2, 5, 10 and 20 % of its working set, under several eviction policies, and print what \
each would have answered: the share of requests (object hits), the share of bytes (byte hits), and the manifests that had to \
be asked for upstream, which are what Docker Hub counts.

It shows how the mirror's own policy was chosen (docs/eviction.md), and with your own log what a quota would be worth to you. \
No server, no volume and no network is touched.";

pub(super) const HELP: &str = "\
The log is what `entrepot serve` writes, as text or as JSON: pulls of mirrored content are
replayed, other lines are skipped. It does not tell configs from layers: both count as blobs.

A log of another registry is CSV, a request a line, in the order they came; its first line may name
the columns:
  time,repository,digest,size,kind
  1790812800,library/debian,sha256:<64 hex digits>,1022,manifest
time is in seconds since the epoch, or like 2026-10-01T00:00:00Z; size is the whole object's, in
bytes; kind is manifest, config or blob. Leave out HEADs, and what was answered with an error.

The cache is the mirror's: blobs go before configs and manifests, and what is larger than a
quarter of the cache is never kept. The score is the mean of object hits and byte hits, each as a
share of those of a cache without bounds, over the four sizes.

Examples:
  docker logs mirror 2>&1 | entrepot simulate -
  entrepot simulate pulls.csv
  zcat pulls.csv.gz | entrepot simulate --json - | jq '.scores'
  entrepot simulate --synthetic ibm --requests 10000000
  entrepot simulate --synthetic hub --seed 7 --write hub.csv

Exit codes: 0 all is well, 1 it failed, 2 it was asked wrongly (command line or log).";

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct SimulateOptions {
    /// The log to replay; `-` is standard input.
    #[arg(value_name = "LOG", required_unless_present = "synthetic", conflicts_with = "synthetic")]
    pub(super) file: Option<PathBuf>,
    /// Make a log instead: pulls of 50,000 images with layer sizes as in IBM's registries, or as on Docker Hub.
    #[arg(long, value_name = "REGISTRY")]
    synthetic: Option<Sizes>,
    /// The number of requests to make.
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "file")]
    requests: u32,
    /// The seed of the random numbers: the same seed always makes the same log.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "file")]
    seed: u64,
    /// The skew of pulls: the exponent of Zipf's law, 0.9 to 1.2 in registries' logs.
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.05, value_parser = exponent, conflicts_with = "file")]
    zipf: f64,
    /// Write the log that was made to FILE (`-` is standard output) instead of replaying it.
    #[arg(long, value_name = "FILE", requires = "synthetic", conflicts_with_all = ["file", "json", "flat"])]
    write: Option<PathBuf>,
    /// Let manifests and configs compete with blobs instead of going last.
    #[arg(long)]
    flat: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Sizes {
    /// 65 % of layers under 1 MB, 80 % under 10 MB
    Ibm,
    /// A median of 4 MB
    Hub,
}

fn exponent(text: &str) -> Result<f64, String> {
    let exponent = text.parse().ok().filter(|exponent| (0.0..=5.0).contains(exponent));
    exponent.ok_or_else(|| "expected a number from 0 to 5".to_owned())
}

impl SimulateOptions {
    fn synthetic(&self) -> Option<Synthetic> {
        let registry = match self.synthetic? {
            Sizes::Ibm => ImitatedRegistry::Ibm,
            Sizes::Hub => ImitatedRegistry::Hub,
        };
        Some(Synthetic { registry, zipf: self.zipf, seed: self.seed, requests: self.requests })
    }

    fn trace(&self, io: &Blocking, progress: &ProgressLine) -> Result<Trace, Failure> {
        match (self.synthetic(), &self.file) {
            (Some(synthetic), _) => Ok(synthetic.trace()),
            (None, Some(file)) => read(io, file, progress),
            (None, None) => Err(Failure::usage("nothing to replay")),
        }
    }
}

pub(super) fn run(io: &Blocking, options: &SimulateOptions) -> Result<(), Failure> {
    if let (Some(synthetic), Some(file)) = (options.synthetic(), &options.write) {
        return write(io, synthetic, file).map_err(|why| Failure::failed(format!("{}: {why}", file.display())));
    }
    let progress = ProgressLine::new();
    let trace = options.trace(io, &progress)?;
    let tiers = if options.flat { Tiers::Flat } else { Tiers::Tiered };
    let report = simulator::replay(&trace, tiers, |part| progress.show(&format!("replaying: {:.0} %", 100.0 * part)));
    progress.clear();
    if options.json {
        return json(&trace, &report);
    }
    table(&trace, &report);
    Ok(())
}

fn read(_io: &Blocking, path: &Path, progress: &ProgressLine) -> Result<Trace, Failure> {
    let on_lines = |lines| progress.show(&format!("reading: {} lines", grouped(lines)));
    let trace = if path == Path::new("-") {
        simulator::read(stdin().lock(), on_lines)
    } else {
        let opened = File::open(path).map_err(InvalidTrace::from);
        opened.and_then(|file| simulator::read(BufReader::with_capacity(1 << 20, file), on_lines))
    };
    progress.clear();
    trace.map_err(|why| {
        let message = format!("{}: {why}", path.display());
        if matches!(why, InvalidTrace::Unreadable(_)) { Failure::failed(message) } else { Failure::usage(message) }
    })
}

/// Writes the log. A closed pipe, as with `head`, is not an error.
fn write(_io: &Blocking, synthetic: Synthetic, path: &Path) -> io::Result<()> {
    let written = if path == Path::new("-") {
        let mut out = BufWriter::new(stdout().lock());
        synthetic.write(&mut out).and_then(|()| out.flush())
    } else {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        synthetic.write(&mut out).and_then(|()| out.flush())
    };
    written.or_else(|why| if why.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(why) })
}

/// Prints the progress as one line on stderr, if that is a terminal.
struct ProgressLine(bool);

impl ProgressLine {
    fn new() -> Self {
        Self(stderr().is_terminal())
    }

    fn show(&self, text: &str) {
        if self.0 {
            let _ = write!(stderr(), "\r\x1b[K{text}");
        }
    }

    fn clear(&self) {
        self.show("");
    }
}

/// The document that `--json` prints.
#[derive(Serialize)]
struct SimulationDocument<'a> {
    requests: usize,
    objects: usize,
    repositories: usize,
    seconds: f64,
    working_set: u64,
    best: Option<Policy>,
    #[serde(flatten)]
    report: &'a ReplayReport,
}

fn json(trace: &Trace, report: &ReplayReport) -> Result<(), Failure> {
    let (requests, objects, repositories) = (trace.requests(), trace.objects(), trace.repositories());
    let (seconds, working_set, best) = (trace.seconds(), trace.working_set(), report.best());
    let document = SimulationDocument { requests, objects, repositories, seconds, working_set, best, report };
    print_line(&mut stdout(), &serde_json::to_string_pretty(&document).map_err(Failure::failed)?);
    Ok(())
}

fn table(trace: &Trace, report: &ReplayReport) {
    let out = &mut stdout().lock();
    print_line(out, &summary(trace, report));
    print_line(
        out,
        &format!(
            "\n{:<17}{:<25}{:>12}{:>11}{:>15}{:>8}",
            "cache", "policy", "object hits", "byte hits", "manifest GETs", "score"
        ),
    );
    for row in &report.rows {
        print_line(out, &line(report, row));
    }
    print_line(out, "\nscore over the four sizes");
    for score in &report.scores {
        let mark = if Some(score.policy) == report.best() { "  the best" } else { "" };
        print_line(out, &format!("{:<17}{:<25}{:.3}{mark}", "", score.policy.name(), score.score));
    }
}

fn summary(trace: &Trace, report: &ReplayReport) -> String {
    let [requests, objects, repositories] =
        [trace.requests(), trace.objects(), trace.repositories()].map(|n| grouped(n as u64));
    let (days, working_set) = (trace.seconds() / 86_400.0, bytes(trace.working_set()));
    let order = match report.tiers {
        Tiers::Tiered => "blobs go first, then configs and manifests",
        Tiers::Flat => "blobs, configs and manifests compete",
    };
    let Counts { manifest_gets, .. } = report.unbounded;
    let (hits, byte_hits) = (percent(report.unbounded.object_hit_ratio()), percent(report.unbounded.byte_hit_ratio()));
    let gets = grouped(manifest_gets);
    format!(
        "{requests} requests for {objects} objects in {repositories} repositories over {days:.1} days\n\
         working set {working_set}; {order}\n\
         a cache without bounds: {hits} object hits, {byte_hits} byte hits, {gets} manifest GETs"
    )
}

fn line(report: &ReplayReport, row: &ReplayRow) -> String {
    let first = row.policy == Policy::ALL[0];
    let cache = if first { format!("{} % = {}", row.percent, bytes(row.capacity)) } else { String::new() };
    let (hits, byte_hits) = (percent(row.counts.object_hit_ratio()), percent(row.counts.byte_hit_ratio()));
    let (gets, score) = (grouped(row.counts.manifest_gets), report.score(row));
    format!("{cache:<17}{:<25}{hits:>12}{byte_hits:>11}{gets:>15}{score:>8.3}", row.policy.name())
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", 100.0 * ratio)
}

/// Formats a number with a comma after every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}

/// Formats a size with about three digits and a decimal unit.
fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let power = (count.max(1).ilog10() / 3) as usize;
    let shown = count as f64 / 1000_f64.powi(power as i32);
    if power == 0 { format!("{count} B") } else { format!("{shown:.1} {}", units[power]) }
}
