//! Start, configuration and shutdown.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::support::{
    http::{self, BodyEnd},
    images::{Blob, Format, Image},
    ports::Port,
    process::CommandResult,
    scratch,
    server::{Server, Setup, entrepot},
    upstream::{Fault, Gate, Kind, Rule, Upstream},
};

const MB: usize = 1_000_000;

/// A configuration file with this text, in a directory of its own.
fn file(text: &str) -> (TempDir, PathBuf) {
    let dir = scratch::dir("config");
    let path = dir.path().join("config.yml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

/// The program exits with one line that contains all of these.
fn refused(result: &CommandResult, names: &[&str]) {
    assert!(!result.status.success(), "it should have refused: {}", result.output);
    let lines: Vec<_> = result.output.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "one line: {lines:#?}");
    for name in names {
        assert!(lines[0].contains(name), "{name} is not in: {}", lines[0]);
    }
}

/// A mistake in the file stops the start with one line that names the key, the file and the line.
#[test]
fn a_mistake_in_the_file_is_named() {
    for (text, key, line) in [
        ("version: 0.1\nproxy:\n  remoteurll: https://example.net\n", "remoteurll", 3),
        ("version: 0.1\nlog:\n  level: loud\n", "log.level", 3),
        ("version: 0.1\nlog:\n  formatter: tablet\n", "log.formatter", 3),
        ("version: 0.1\n\n\nproxy:\n  freshness: soon\n", "proxy.freshness", 5),
        ("version: 0.1\nproxy:\n  remoteurl: not a url\n", "proxy.remoteurl", 3),
        ("version: 0.1\nhttp:\n  addr: nowhere\n", "http.addr", 3),
        ("version: 0.1\nhtpp:\n  addr: :5000\n", "htpp", 2),
        ("version: 0.3\n", "version", 1),
        ("version: 0.1\nlog: [unclosed\n", "config.yml", 2),
    ] {
        let (_dir, path) = file(text);
        let result = Setup::mirroring("http://127.0.0.1:1").without_variables().config(&path).run();
        refused(&result, &[key, "config.yml"]);
        let place = result.output.split("config.yml").nth(1).unwrap_or_default();
        assert!(place.contains(&line.to_string()) || key == "config.yml", "line {line}: {}", result.output);
    }
}

/// A mistake in a variable names the variable.
#[test]
fn a_mistake_in_a_variable_is_named() {
    for (name, value) in
        [("REGISTRY_LOG_LEVEL", "loud"), ("REGISTRY_PROXY_FRESHNESS", "soon"), ("REGISTRY_HTTP_ADDR", "nowhere")]
    {
        refused(&Setup::mirroring("http://127.0.0.1:1").variable(name, value).run(), &[name]);
    }
}

/// A missing file, a directory that is not writable: one line each.
#[test]
fn what_cannot_be_used_is_named() {
    let missing = PathBuf::from("no-such-config.yml");
    refused(&Setup::mirroring("http://127.0.0.1:1").config(&missing).run(), &["no-such-config.yml"]);
    let (dir, path) = file("not a directory");
    let below = path.join("data");
    let variables = [("REGISTRY_HTTP_ADDR", "127.0.0.1:0")];
    let result = entrepot(&["serve", "--data", below.to_str().unwrap()], &variables);
    refused(&result, &["config.yml"]);
    drop(dir);
}

/// An address in use: one line that names it.
#[test]
fn a_taken_port_is_named() {
    let port = Port::reserve();
    let _listening = port.listen();
    let address = port.addr().to_string();
    let result = Setup::mirroring("http://127.0.0.1:1").variable("REGISTRY_HTTP_ADDR", &address).run();
    assert!(!result.status.success());
    let last = result.output.trim_end().lines().last().unwrap();
    assert!(last.contains(&address), "{last}");
}

/// registry:2's own files are read: each ignored key is reported once, and none prevents the start.
#[test]
fn a_registry2_file_is_taken() {
    let text = r#"
version: 0.1
log:
  accesslog: { disabled: true }
  level: debug
  fields: { service: registry }
storage:
  cache: { blobdescriptor: inmemory }
  filesystem: { rootdirectory: /var/lib/registry, maxthreads: 100 }
  delete: { enabled: true }
http:
  addr: 127.0.0.1:0
  headers: { X-Content-Type-Options: [nosniff] }
health:
  storagedriver: { enabled: true, interval: 10s, threshold: 3 }
proxy:
  remoteurl: http://127.0.0.1:1
"#;
    let (_dir, path) = file(text);
    let server = Setup::mirroring("").without_variables().config(&path).start();
    assert_eq!(http::get(&server.v2("")).send().status, 200);
    let log = server.log();
    let logged = log.lines().filter(|line| line.contains("WARN") && line.contains("health")).count();
    assert_eq!(logged, 1, "a key without effect is logged once:\n{log}");
}

/// Variables go over the file. Unknown ones warn, except those that Kubernetes makes for a Service named registry.
#[test]
fn variables_go_over_the_file() {
    let (_dir, path) =
        file("version: 0.1\nhttp:\n  addr: nowhere.invalid:99\nproxy:\n  remoteurl: http://127.0.0.1:1\n");
    let server = Setup::mirroring("http://127.0.0.1:1")
        .config(&path)
        .variable("REGISTRY_PROXY_REMOTURL", "typo")
        .variable("REGISTRY_PORT", "tcp://10.0.0.1:5000")
        .variable("REGISTRY_SERVICE_HOST", "10.0.0.1")
        .variable("REGISTRY_PORT_5000_TCP_ADDR", "10.0.0.1")
        .start();
    let log = server.log();
    assert!(log.contains("REGISTRY_PROXY_REMOTURL"), "the unknown one is logged:\n{log}");
    assert!(!log.contains("REGISTRY_PORT") && !log.contains("REGISTRY_SERVICE"), "Kubernetes' own are not:\n{log}");
}

/// `entrepot config` prints the effective configuration in a form that can be loaded again.
#[test]
fn the_effective_configuration_is_shown() {
    let shown = entrepot(&["config"], &[]).expect_success("entrepot config").output;
    for part in ["version: 0.1", "addr:", ":5000", "rootdirectory: /var/lib/registry", "https://registry-1.docker.io"] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
    let (_dir, path) = file(&shown);
    let again = entrepot(&["config", path.to_str().unwrap()], &[]).expect_success("entrepot config").output;
    assert_eq!(again, shown, "it reads its own words");
    let changed = entrepot(&["config"], &[("REGISTRY_HTTP_ADDR", ":5999")]).output;
    assert!(changed.contains(":5999"), "{changed}");
}

/// `:PORT` listens on IPv4 and on IPv6.
#[test]
fn a_bare_port_is_both_protocols() {
    let port = Port::reserve_everywhere();
    let number = port.addr().port();
    let setup = Setup::mirroring("http://127.0.0.1:1").variable("REGISTRY_HTTP_ADDR", &format!(":{number}"));
    let _server = setup.start();
    for host in ["127.0.0.1", "[::1]"] {
        assert_eq!(http::get(&format!("http://{host}:{number}/v2/")).send().status, 200, "{host}");
    }
}

/// The limit of open files is raised to the hard limit.
#[test]
fn the_limit_of_open_files_is_raised() {
    let server = Setup::mirroring("http://127.0.0.1:1").start();
    let limits = server.limits();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{line}");
}

/// At SIGTERM a download that can finish does.
#[test]
fn a_stop_lets_downloads_end() {
    let (upstream, blob, gate) = (Upstream::plain(), Blob::noise(88, 10 * MB), Gate::new());
    upstream.add_blob("library/stop", &blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(5 * MB as u64, gate.clone())));
    let mut server = Server::mirroring(&upstream);
    let mut response = server.blob("library/stop", &blob.digest).send();
    response.exactly(MB);
    server.ask_to_stop();
    thread::sleep(Duration::from_millis(500));
    gate.open();
    let rest = response.summary();
    assert_eq!((rest.end, rest.length), (BodyEnd::Complete, 9 * MB as u64));
    server.wait_for_end(Duration::from_secs(5));
}

/// At SIGTERM the server waits at most 8 s for one that cannot: docker kills after 10 s.
#[test]
fn a_stop_takes_eight_seconds_at_most() {
    let (upstream, image, gate) = (Upstream::plain(), Image::of_size(Format::Oci, 89, 10 * MB), Gate::new());
    upstream.add("library/stop", "latest", &image);
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(5 * MB as u64, gate.clone())));
    let mut server = Server::mirroring(&upstream);
    let mut response = server.blob("library/stop", &image.layer().digest).send();
    response.exactly(MB);
    let start = Instant::now();
    let (status, took) = server.stop();
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert!(status.success(), "{status}");
    assert_eq!(response.summary().end, BodyEnd::Cut);
    assert!(start.elapsed() < Duration::from_secs(10));
    gate.open();
}

/// An idle server exits at once at SIGTERM.
#[test]
fn an_idle_stop_is_prompt() {
    let mut server = Setup::mirroring("http://127.0.0.1:1").start();
    assert_eq!(http::get(&server.v2("")).send().status, 200);
    let (status, took) = server.stop();
    assert!(status.success() && took < Duration::from_secs(3), "{status} after {took:?}");
}
