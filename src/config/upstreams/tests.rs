use std::{path::Path, time::Duration};

use super::super::{Config, Error, Flags};
use crate::{
    config::{Account, Secret},
    lanes::Blocking,
    oci::NamePattern,
};

fn load(file: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
    let file = format!("version: 0.1\n{file}");
    let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let file = Some((Path::new("config.yml"), file.as_bytes()));
    Config::parse(Blocking::in_test(), file, variables, Flags::default()).map(|loaded| loaded.config)
}

fn domains(config: &Config) -> Vec<&str> {
    config.proxy.mirrored().iter().map(|upstream| upstream.domain.as_str()).collect()
}

fn complaint(file: &str) -> String {
    load(file, &[]).map(|config| format!("{:?}", config.proxy)).unwrap_err().to_string()
}

#[test]
fn docker_hub_is_mirrored_unless_it_is_turned_off() {
    let config = load("", &[]).unwrap();
    assert_eq!(domains(&config), ["docker.io"]);
    assert_eq!(config.proxy.mirrored()[0].url.as_str(), "https://registry-1.docker.io/");
    let config = load("proxy: {upstreams: {docker.io: {enabled: false}, ghcr.io: }}", &[]).unwrap();
    assert_eq!(domains(&config), ["ghcr.io"]);
    let config = load("proxy: {enabled: false, upstreams: [ghcr.io]}", &[]).unwrap();
    assert_eq!(domains(&config), [""; 0]);
}

#[test]
fn a_list_of_hosts_suffices() {
    for (file, variable) in [
        ("proxy: {upstreams: [ghcr.io, quay.io]}", None),
        ("", Some("ghcr.io,quay.io")),
        ("", Some(" ghcr.io, quay.io ")),
        ("", Some("[ghcr.io, quay.io]")),
        ("", Some("{ghcr.io: {}, quay.io: {}}")),
    ] {
        let variables: Vec<_> = variable.map(|text| ("REGISTRY_PROXY_UPSTREAMS", text)).into_iter().collect();
        let config = load(file, &variables).unwrap();
        assert_eq!(domains(&config), ["docker.io", "ghcr.io", "quay.io"], "{file} {variable:?}");
        assert_eq!(config.proxy.mirrored()[1].url.as_str(), "https://ghcr.io/");
        assert_eq!(config.proxy.mirrored()[1].freshness, Duration::from_secs(60));
    }
}

#[test]
fn a_variable_sets_one_key_of_one_registry() {
    let variables = [
        ("REGISTRY_PROXY_UPSTREAMS", "ghcr.io,quay.io"),
        ("REGISTRY_PROXY_UPSTREAMS_GHCR.IO_USERNAME", "ci"),
        ("REGISTRY_PROXY_UPSTREAMS_GHCR.IO_PASSWORD", "0123: #"),
    ];
    let config = load("", &variables).unwrap();
    assert_eq!(domains(&config), ["docker.io", "ghcr.io", "quay.io"]);
    let expected = Account { username: "ci".into(), password: Secret::new("0123: #"), file: None };
    assert_eq!(config.proxy.mirrored()[1].accounts, [expected]);
}

const WHOLE: &str = "\
proxy:
  freshness: 2m
  upstreams:
    docker.io:
      mirrors: [https://mirror.example]
      accounts:
        - {username: a, password: b}
        - {username: c, password: d}
    registry.example:5000:
      url: http://me:p%40ss@10.0.0.1:5000/prefix
      ca: /etc/ca.pem
      realm: https://tokens.example/token
      redirects: [cdn.example]
      freshness: 1h
      ttl: 24h
      allow: [team/**]
      deny: [team/secret]
";

#[test]
fn each_registry_has_settings_of_its_own() {
    let config = load(WHOLE, &[]).unwrap();
    let [hub, other] = config.proxy.mirrored() else { panic!("{config:?}") };
    assert_eq!(hub.accounts.len(), 2);
    assert_eq!((hub.mirrors[0].as_str(), hub.freshness), ("https://mirror.example/", Duration::from_secs(120)));
    assert_eq!(other.url.as_str(), "http://10.0.0.1:5000/prefix");
    assert_eq!(other.accounts, [Account { username: "me".into(), password: Secret::new("p@ss"), file: None }]);
    assert_eq!((other.freshness.as_secs(), other.ttl.as_secs()), (3600, 86_400));
    let written = |patterns: &[NamePattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((written(&hub.allow), written(&hub.deny)), (vec![], vec![]));
    assert_eq!((written(&other.allow), written(&other.deny)), (vec!["team/**".into()], vec!["team/secret".into()]));
}

#[test]
fn the_printed_configuration_can_be_loaded_and_has_no_secret() {
    for file in [WHOLE, "proxy: {upstreams: {docker.io: {enabled: false}, ghcr.io: {exec: {command: helper}}}}", ""] {
        let before = load(file, &[]).unwrap();
        let printed = before.to_yaml();
        assert!(!printed.contains("p@ss") && !printed.contains("p%40ss"), "{printed}");
        let after =
            load(printed.strip_prefix("version: 0.1\n").unwrap(), &[]).unwrap_or_else(|e| panic!("{e}\n{printed}"));
        let without_secrets = |config: &Config| {
            let mut upstreams = config.proxy.mirrored().to_vec();
            let accounts = upstreams.iter_mut().flat_map(|upstream| &mut upstream.accounts);
            accounts.for_each(|account| account.password = Secret::new(""));
            upstreams
        };
        assert_eq!(without_secrets(&before), without_secrets(&after), "{printed}");
    }
}

#[test]
fn a_contradiction_is_named() {
    for (file, message) in [
        ("proxy: {upstreams: {ghcr.io: {user: me}}}", "config.yml:2: proxy.upstreams.ghcr.io.user is not a key"),
        (
            "proxy: {upstreams: {ghcr.io: {url: ftp://x}}}",
            "proxy.upstreams.ghcr.io.url is \"ftp://x\"; expected an http",
        ),
        (
            "proxy: {upstreams: {ghcr.io: {username: me}}}",
            "proxy.upstreams.ghcr.io.username is \"me\"; expected proxy.upstreams.ghcr.io.password",
        ),
        ("proxy: {upstreams: {ghcr.io: on}}", "proxy.upstreams.ghcr.io is a single value; expected a section"),
        ("proxy: {upstreams: {a/b: {}}}", "proxy.upstreams is \"a/b\"; expected a registry is named by its host"),
        ("proxy: {upstreams: {docker.io: {}, index.docker.io: {}}}", "expected each registry once"),
        ("proxy: {upstreams: {ghcr.io: {insecure: true, ca: /x}}}", "expected false beside ca"),
        ("proxy: {upstreams: {ghcr.io: {accounts: [{username: a}]}}}", "expected accounts such as"),
        (
            "proxy: {upstreams: {ghcr.io: {exec: {command: h}, username: me, password: p}}}",
            "proxy.upstreams.ghcr.io.username is \"me\"; expected no account beside exec.command",
        ),
        (
            "proxy: {upstreams: {ghcr.io: {exec: {command: h}, accounts: [{username: me, password: p}]}}}",
            "proxy.upstreams.ghcr.io.accounts is \"me\"; expected no account beside exec.command",
        ),
        (
            "proxy: {upstreams: {ghcr.io: {exec: {command: h}, url: 'https://me:p@ghcr.io'}}}",
            "proxy.upstreams.ghcr.io.url is \"https://***@ghcr.io\"; expected no account beside exec.command",
        ),
        (
            "proxy: {username: me, password: p, upstreams: {docker.io: {exec: {command: h}}}}",
            "proxy.upstreams.docker.io.exec.command is \"h\"; expected no command beside proxy.username",
        ),
        (
            "proxy: {remoteurl: 'https://me:p@a.example', exec: {command: h}}",
            "proxy.remoteurl is \"https://***@a.example\"; expected a URL without a user, since proxy.exec.command",
        ),
        (
            "proxy: {remoteurl: https://a.example, upstreams: {docker.io: {url: https://b.example}}}",
            "proxy.remoteurl is \"https://a.example\"; expected no value beside proxy.upstreams.docker.io.url",
        ),
        (
            "http: {hosts: {ghcr.test: ghcr.io}}",
            "http.hosts is \"\"; expected a registry of proxy.upstreams for ghcr.test",
        ),
        ("http: {names: [ghcr.io]}\nproxy: {upstreams: [ghcr.io]}", "expected no ghcr.io, which is mirrored"),
    ] {
        let line = complaint(file);
        assert!(line.contains(message) && !line.contains('\n'), "{file}: {line}");
    }
}
