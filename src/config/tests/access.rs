//! Users, groups, rules, and secrets in files.

use std::fs;

use super::*;
use crate::oci::{Action, NamePattern};

const USERS: &str = "auth:\n  htpasswd: {realm: r, path: /nowhere/htpasswd}\n";

fn users(rest: &str) -> UsersConfig {
    match load(&format!("version: 0.1\n{USERS}{rest}")).unwrap().config.auth.into_value() {
        Auth::Users(users) => users,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rules_and_groups_are_read() {
    let users = users(
        "  groups:\n    devs: [ann, bob]\n    ops: carol\n    empty:\n  access:\n    - who: anonymous\n      may: pull\n      \
         where: [public/**, 'docker.io/**']\n    - {who: [group:devs, eve, authenticated], may: [pull, push, delete, manage], \
         where: ['team/*']}\n",
    );
    let groups: Vec<_> = users.groups.iter().map(|group| (group.name.as_str(), group.users.len())).collect();
    assert_eq!(groups, [("devs", 2), ("ops", 1), ("empty", 0)]);
    let rules = users.access.unwrap();
    assert_eq!((&rules[0].who[..], &rules[0].may[..]), (&[Who::Anonymous][..], &[Action::Pull][..]));
    assert_eq!(rules[0].place.iter().map(NamePattern::as_str).collect::<Vec<_>>(), ["public/**", "docker.io/**"]);
    assert_eq!(rules[1].who, [Who::Group("devs".into()), Who::User("eve".into()), Who::Authenticated]);
    assert_eq!((&rules[1].may[..], rules[1].origin.to_string()), (&Action::ALL[..], "config.yml:12".to_owned()));
}

#[test]
fn without_rules_there_are_none_and_an_empty_list_is_one() {
    assert_eq!(users("").access, None);
    assert_eq!(users("  access: []\n").access, Some(vec![]));
}

#[test]
fn what_is_printed_means_the_same() {
    let text = format!(
        "version: 0.1\n{USERS}  groups: {{devs: [ann, 'b o b'], 'x y': []}}\n  access:\n    - {{who: ['group:x y', ann], may: \
         pull, where: '**'}}\n"
    );
    let loaded = load(&text).unwrap();
    let again = load(&loaded.config.to_yaml()).unwrap();
    let parts = |loaded: &LoadedConfig| match loaded.config.auth.value() {
        Auth::Users(users) => {
            let rules = users.access.clone().unwrap();
            (users.groups.clone(), rules.into_iter().map(|rule| (rule.who, rule.may, rule.place)).collect::<Vec<_>>())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(parts(&loaded), parts(&again));
}

#[test]
fn rules_that_are_not_understood_stop_the_start() {
    for (rest, expected) in [
        ("access: pull", "auth.access is a single value; expected rules such as {who: [alice, group:devs]"),
        ("access: {who: ann, may: pull, where: a}", "auth.access is a section; expected rules such as"),
        ("access: [ann]", "auth.access is a single value; expected rules such as"),
        ("access: [{who: ann, may: pull}]", "auth.access is a rule without where; expected rules such as"),
        ("access: [{who: [], may: pull, where: a}]", "auth.access is a rule without who; expected"),
        ("access: [{who: ann, may: , where: a}]", "auth.access is a rule without may; expected"),
        ("access: [{who: ann, may: pull, where: a, when: b}]", "auth.access is \"when\"; expected rules such as"),
        ("access: [{who: ann, may: read, where: a}]", "auth.access is \"read\"; expected pull, push, delete or manage"),
        ("access: [{who: ann, may: pull, where: A}]", "auth.access is \"A\"; expected a repository name such as"),
        (
            "access: [{who: 'a:b', may: pull, where: a}]",
            "auth.access is \"a:b\"; expected a user, group:NAME, anonymous",
        ),
        ("access: [{who: 'group:', may: pull, where: a}]", "auth.access is \"group:\"; expected a user"),
        (
            "access: [{who: group:dev, may: pull, where: a}]",
            "auth.access is \"group:dev\"; expected a group that auth.groups",
        ),
        ("access: [{who: [[ann]], may: pull, where: a}]", "auth.access is a list; expected a list of single values"),
        ("groups: [devs]", "auth.groups is a list; expected a section of keys"),
        ("groups: {devs: ['a:b']}", "auth.groups is \"a:b\"; expected names of users"),
        ("groups: {devs: {a: b}}", "auth.groups is a section; expected a list of single values"),
        ("rules: []", "auth.rules is not a key of this program"),
    ] {
        let line = complaint(&format!("{USERS}  {rest}"));
        assert!(line.starts_with(&format!("config.yml:4: {expected}")), "{rest}: {line}");
    }
}

#[test]
fn an_outside_token_service() {
    let loaded = with(&[
        ("REGISTRY_AUTH", "token"),
        ("REGISTRY_AUTH_TOKEN_REALM", "https://auth.example/token"),
        ("REGISTRY_AUTH_TOKEN_SERVICE", "Docker registry"),
        ("REGISTRY_AUTH_TOKEN_ISSUER", "auth.example"),
        ("REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE", "/certs/auth.crt"),
        ("REGISTRY_AUTH_TOKEN_SIGNINGALGORITHMS", "[ES256]"),
    ]);
    let Auth::Token(service) = loaded.config.auth.value() else { panic!("{:?}", loaded.config.auth) };
    assert_eq!(
        (service.service.as_str(), &service.signingalgorithms[..]),
        ("Docker registry", &["ES256".to_owned()][..])
    );
    assert_eq!((service.autoredirect, service.autoredirectpath.as_str()), (false, "/auth/token/"));
    let again = load(&loaded.config.to_yaml()).unwrap();
    assert_eq!(loaded.config.auth.value(), again.config.auth.value());
}

#[test]
fn the_variables_of_the_documentation_for_users() {
    let loaded = with(&[
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
        ("REGISTRY_AUTH_ACCESS", "[{who: anonymous, may: [pull], where: '**'}]"),
    ]);
    let Auth::Users(users) = loaded.config.auth.value() else { panic!("{:?}", loaded.config.auth) };
    assert_eq!((users.realm.as_str(), users.path.as_path()), ("Registry Realm", Path::new("/auth/htpasswd")));
    assert_eq!(users.access.as_ref().unwrap().len(), 1);
    assert_eq!(loaded.warnings, []);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test's own file")]
fn a_password_may_stand_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let path_text = path.to_str().unwrap();
    let variables = [("REGISTRY_PROXY_USERNAME", "bob"), ("REGISTRY_PROXY_PASSWORDFILE", path_text)];
    assert!(complaint_of(&variables).contains("proxy.passwordfile is"), "a file that is missing");
    for (text, expected) in [("", "a file with a secret in it"), ("\n", "a secret in it"), ("a\nb\n", "one line")] {
        fs::write(&path, text).unwrap();
        let line = complaint_of(&variables);
        assert!(line.starts_with("REGISTRY_PROXY_PASSWORDFILE: ") && line.contains(expected), "{line}");
    }
    fs::write(&path, "hunter2 \r\n").unwrap();
    let loaded = with(&variables);
    assert_eq!(loaded.config.proxy.password.as_ref().unwrap().expose(), "hunter2 ");
    let yaml = loaded.config.to_yaml();
    assert!(yaml.contains("passwordfile: ") && !yaml.contains("hunter2") && !yaml.contains("***"), "{yaml}");
    assert!(load(&yaml).is_ok(), "{yaml}");
    let twice = [&variables[..], &[("REGISTRY_PROXY_PASSWORD", "x")]].concat();
    assert!(complaint_of(&twice).contains("expected no proxy.password beside it"));
}
