//! Real Prometheus: the dashboards show data, the alerts fire, and promtool accepts rules and exposition.

use std::time::Duration;

use super::{image, small, small_setup};
use crate::support::{
    http,
    images::{Format, Image},
    ports::Port,
    prometheus::{Prometheus, dashboards, promtool},
    receiver::{Mode, Receiver},
    scrape::Scrape,
    scratch,
    server::Server,
    upstream::Upstream,
    wait_until,
};

/// All that a mirror and a registry do, so that every series has a value.
fn a_day(server: &Server, upstream: &Upstream) {
    for seed in 0..8 {
        let (name, image) = (format!("library/day{seed}"), image(980 + seed, 7_000_000));
        upstream.add(&name, "latest", &image);
        server.pull(&name, "latest", &image);
        server.pull(&name, "latest", &image);
    }
    server.target().image("team/day", "latest", &Image::index(Format::Oci, 990, 10_000));
    server.pull("team/day", "latest", &Image::index(Format::Oci, 990, 10_000));
    http::get(&server.v2("team/day/tags/list")).send();
    http::get(&server.v2("library/day1/tags/list")).send();
}

fn panels(file: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(dashboards().join(file)).unwrap();
    let board: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = board["panels"].as_array().unwrap().iter();
    let expressions = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let title = panel["title"].as_str().unwrap().to_owned();
        targets.into_iter().map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    });
    expressions.collect()
}

/// Every panel shows data after these actions.
#[test]
fn every_panel_shows_data() {
    let (upstream, debug) = (Upstream::plain(), Port::reserve());
    upstream.options(|options| options.rate_limit = Some(1000));
    let receiver = Receiver::start(Mode::Takes);
    let endpoint = format!("[{{name: hook, url: \"{}\"}}]", receiver.url());
    let server = small_setup(&upstream, &debug).variable("REGISTRY_NOTIFICATIONS_ENDPOINTS", &endpoint).start();
    let prometheus = Prometheus::scraping(&debug.addr().to_string());
    wait_until("a scrape", Duration::from_secs(30), || prometheus.query("entrepot_build_info") == [1.0]);
    a_day(&server, &upstream);
    let all: Vec<_> = ["storage.json", "traffic.json"].iter().flat_map(|file| panels(file)).collect();
    assert!(all.len() > 50, "{}", all.len());
    let written = |expression: &str| {
        let pairs = [("$job", ".*"), ("$instance", ".*"), ("$__rate_interval", "1m"), ("$__range", "10m")];
        pairs.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value))
    };
    for (title, expression) in all {
        let expression = written(&expression);
        let shows = || prometheus.query(&expression).iter().any(|value| !value.is_nan());
        wait_until(&format!("`{title}` to show data: {expression}"), Duration::from_secs(15), shows);
    }
    assert!(prometheus.query("ALERTS{alertstate=\"firing\"}").is_empty());
}

/// Every alert fires as it should, and clears.
#[test]
fn alerts_fire_and_clear() {
    promtool(&["check", "rules", "alerts.yml"], None);
    promtool(&["test", "rules", "alerts_test.yml"], None);
    let (rules, tests) =
        ["alerts.yml", "alerts_test.yml"].map(|file| std::fs::read_to_string(dashboards().join(file)).unwrap()).into();
    for name in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let of = |line: &&str| line.contains(&format!("alertname: {name}"));
        let silent = tests.lines().filter(of).filter(|line| line.contains("exp_alerts: []")).count();
        let all = tests.lines().filter(of).count();
        assert!(silent >= 2 && all > silent, "{name} is silent {silent} times of {all}");
    }
}

/// promtool accepts the exposition.
#[test]
fn promtool_accepts_the_exposition() {
    let (upstream, debug) = (Upstream::plain(), Port::reserve());
    let server = small(&upstream, &debug);
    a_day(&server, &upstream);
    let (dir, scrape) = (scratch::dir("scrape"), Scrape::of(&debug.url()));
    let file = dir.path().join("metrics");
    std::fs::write(&file, &scrape.text).unwrap();
    let outcome = promtool(&["check", "metrics"], Some(&file));
    assert_eq!(outcome.output, "");
}
