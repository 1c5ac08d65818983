//! Debian's Prometheus, which scrapes a server, and its promtool.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    http,
    ports::Port,
    process::{self, CommandResult, Process},
    scratch, wait_until,
};

/// A Prometheus that scrapes four times a second.
pub(crate) struct Prometheus {
    port: Port,
    _process: Process,
    _dir: TempDir,
}

impl Prometheus {
    /// Scrapes `target` (`host:port`) as the job `entrepot`, with the project's own alerts.
    pub(crate) fn scraping(target: &str) -> Self {
        let (dir, port) = (scratch::dir("prometheus"), Port::reserve());
        let config = dir.path().join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 250ms\n  scrape_timeout: 250ms\n  evaluation_interval: 1s\nrule_files:\n  - {}\n\
             scrape_configs:\n  - job_name: entrepot\n    static_configs:\n      - targets: ['{target}']\n",
            dashboards().join("alerts.yml").display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = process::command("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={}", port.addr()))
            .current_dir(dir.path());
        let process = Process::start("prometheus", command);
        let found = Self { port, _process: process, _dir: dir };
        wait_until("prometheus to be ready", Duration::from_secs(60), || {
            http::get(&format!("{}/-/ready", found.port.url())).try_send().is_ok_and(|response| response.status == 200)
        });
        found
    }

    /// The current values of an expression, one for each series.
    pub(crate) fn query(&self, expression: &str) -> Vec<f64> {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("query", expression).finish();
        let answer = http::get(&format!("{}/api/v1/query?{query}", self.port.url())).send();
        assert_eq!(answer.status, 200, "{expression}");
        let answer = answer.json();
        let value = |series: &Value| series["value"][1].as_str().unwrap().parse().unwrap();
        answer["data"]["result"].as_array().unwrap().iter().map(value).collect()
    }
}

/// Runs promtool in the folder of the dashboards; it must succeed.
pub(crate) fn promtool(arguments: &[&str], input: Option<&Path>) -> CommandResult {
    let mut command = process::command("promtool");
    command.args(arguments).current_dir(dashboards());
    if let Some(file) = input {
        command.stdin(Stdio::from(File::open(file).unwrap()));
    }
    process::run("promtool", command, Duration::from_secs(60)).expect_success(&format!("promtool {arguments:?}"))
}

/// The folder of dashboards and alerts.
pub(crate) fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}
