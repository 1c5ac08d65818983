//! The command that replays a log of pulls: its output, its input, and its errors.

use std::{fs::File, path::PathBuf, process::Command, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    process::{self, CommandResult},
    rounds, scratch,
    server::entrepot,
};

const BINARY: &str = env!("CARGO_BIN_EXE_entrepot");
const COLUMNS: &str = "time,repository,digest,size,kind";

/// A log of one image pulled twice, then another one's layer; and its folder.
fn log() -> (TempDir, PathBuf) {
    let digest = |number: u32| format!("sha256:{number:064x}");
    let image = |time: u32| {
        let line = |id, size, kind: &str| format!("{time},library/app,{},{size},{kind}\n", digest(id));
        line(1, 500, "manifest") + &line(2, 1_500, "config") + &line(3, 20_000, "blob")
    };
    let other = format!("2026-10-02T00:00:00Z,team/other,{},78000,blob\n", digest(4));
    file(&format!("{COLUMNS}\n{}{}{other}", image(1_790_812_800), image(1_790_816_400)))
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let dir = scratch::dir("simulate");
    let path = dir.path().join("pulls.csv");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn json(result: CommandResult) -> Value {
    let output = result.expect_success("entrepot simulate").output;
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

fn row<'a>(report: &'a Value, policy: &str, percent: u64) -> &'a Value {
    let rows = report["rows"].as_array().unwrap();
    rows.iter().find(|row| row["policy"] == policy && row["percent"] == percent).unwrap()
}

/// A working set of 100,000 bytes: a cache of 20 % holds the manifest and the config, and nothing above 5,000 bytes.
#[test]
fn a_small_log_is_counted_right() {
    let (_dir, path) = log();
    let report = json(entrepot(&["simulate", "--json", path.to_str().unwrap()], &[]));
    assert_eq!((&report["requests"], &report["objects"], &report["repositories"]), (&7.into(), &4.into(), &2.into()));
    assert_eq!((&report["working_set"], &report["seconds"]), (&100_000.into(), &86_400.0.into()));
    assert_eq!(report["unbounded"]["object_hits"], 3);
    assert_eq!(report["unbounded"]["byte_hits"], 22_000);
    assert_eq!(report["rows"].as_array().unwrap().len(), 24);
    for policy in ["lru", "gdsf-1", "gdsf-root", "gdsf-packets", "s3-fifo", "w-tinylfu"] {
        let large = row(&report, policy, 20);
        assert_eq!(
            (&large["capacity"], &large["object_hits"], &large["byte_hits"]),
            (&20_000.into(), &2.into(), &2_000.into())
        );
        assert_eq!((&large["manifest_gets"], &large["streamed"]), (&1.into(), &3.into()), "{policy}");
        // A quarter of 2,000 bytes is 500: only the manifest is admitted.
        let small = row(&report, policy, 2);
        assert_eq!(
            (&small["object_hits"], &small["manifest_gets"], &small["streamed"]),
            (&1.into(), &1.into(), &5.into())
        );
    }
}

#[test]
fn standard_input_is_read_as_a_file_is() {
    let (_dir, path) = log();
    let mut command = process::command(BINARY);
    command.args(["simulate", "--json", "-"]).stdin(File::open(&path).unwrap());
    let piped = json(process::run("entrepot", command, Duration::from_secs(20)));
    assert_eq!(piped, json(entrepot(&["simulate", path.to_str().unwrap(), "--json"], &[])));
}

#[test]
fn a_wrong_log_is_refused_with_its_line() {
    let (_dir, path) = file(&format!("{COLUMNS}\n1,library/app,sha256:12,1,blob\n"));
    let result = entrepot(&["simulate", path.to_str().unwrap()], &[]);
    assert_eq!(result.status.code(), Some(2), "{}", result.output);
    assert_eq!(result.output.lines().count(), 1, "{}", result.output);
    assert!(result.output.contains("pulls.csv: line 2: \"sha256:12\""), "{}", result.output);
    let missing = entrepot(&["simulate", "/nowhere/pulls.csv"], &[]);
    assert_eq!(missing.status.code(), Some(1), "{}", missing.output);
    assert!(missing.output.contains("/nowhere/pulls.csv: No such file"), "{}", missing.output);
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    for line in [
        &["simulate"][..],
        &["simulate", "log.csv", "--synthetic", "ibm"],
        &["simulate", "log.csv", "--write", "other.csv"],
        &["simulate", "log.csv", "--seed", "3"],
        &["simulate", "--write", "other.csv"],
        &["simulate", "--synthetic", "quay"],
        &["simulate", "--synthetic", "ibm", "--requests", "0"],
        &["simulate", "--synthetic", "ibm", "--zipf", "-1"],
    ] {
        let result = entrepot(line, &[]);
        assert_eq!(result.status.code(), Some(2), "{line:?}: {}", result.output);
    }
}

/// The mirror's policy is the best or the second best, and each policy shows its known properties.
#[test]
fn synthetic_traces_show_what_the_policies_are_known_for() {
    for registry in ["ibm", "hub"] {
        let line = ["simulate", "--json", "--requests", "50000", "--synthetic", registry];
        let report = json(entrepot(&line, &[]));
        assert_eq!(report["requests"], 50_000);
        let hits = |policy: &str, of: &str| row(&report, policy, 2)[of].as_u64().unwrap();
        assert!(hits("gdsf-1", "object_hits") > hits("lru", "object_hits"), "{registry}: small ones stay");
        assert!(hits("gdsf-root", "byte_hits") > hits("gdsf-1", "byte_hits"), "{registry}: large ones count too");
        let score = |policy: &str| {
            let scores = report["scores"].as_array().unwrap();
            scores.iter().find(|score| score["policy"] == policy).unwrap()["score"].as_f64().unwrap()
        };
        let best = score(report["best"].as_str().unwrap());
        assert!(
            score("gdsf-root") > best - 0.02 && score("gdsf-root") > score("lru"),
            "{registry}: {}",
            report["scores"]
        );
        let flat = json(entrepot(&[&line[..], &["--flat"]].concat(), &[]));
        let gets = |report: &Value| row(report, "lru", 2)["manifest_gets"].as_u64().unwrap();
        assert!(gets(&flat) > gets(&report), "{registry}: the order of the tiers spares manifest GETs");
    }
}

#[test]
fn people_get_a_table() {
    let shown =
        entrepot(&["simulate", "--synthetic", "hub", "--requests", "20000"], &[]).expect_success("simulate").output;
    for part in
        ["20,000 requests for ", "working set ", "object hits", "byte hits", "manifest GETs", "S3-FIFO", "the best"]
    {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
    let help = entrepot(&["simulate", "--help"], &[]).expect_success("simulate --help").output;
    for part in [COLUMNS, "--synthetic", "kind is manifest, config or blob", "Examples:", "Exit codes:"] {
        assert!(help.contains(part), "{part} is not in:\n{help}");
    }
}

/// A log of ten million requests ends within minutes (in the soak; a hundredth of it otherwise), and a trace that is
/// written and read again gives the same counts.
#[test]
fn a_long_log_ends_within_minutes() {
    let soak = rounds(10) == 10;
    let requests = if soak { 10_000_000 } else { 100_000 };
    let made = format!("simulate --synthetic ibm --seed 9 --requests {requests}");
    let mut piped: Command = process::command("sh");
    piped.args(["-c", &format!("'{BINARY}' {made} --write - | '{BINARY}' simulate --json -")]);
    let result = process::run("a long log", piped, Duration::from_secs(900));
    let read = json(result);
    assert_eq!(read["requests"], requests);
    if !soak {
        let line: Vec<&str> = made.split(' ').chain(["--json"]).collect();
        let at_once = json(entrepot(&line, &[]));
        for same in ["objects", "repositories", "working_set", "unbounded", "rows", "best"] {
            assert_eq!(read[same], at_once[same], "{same}");
        }
    }
}
