//! Patterns of repository names in the configuration: `library/*`, `team/**`, `team/app`.

use std::{fmt, str::FromStr, sync::Arc};

use super::{Domain, Repository, RepositoryName};

/// A repository name with wildcards; without any, it matches that one repository.
///
/// As in zot and Harbor, a wildcard stays within one component unless it is doubled:
/// - `*` is any number of characters of one component, none included: `team/*` is `team/app`, not `team/app/test`;
/// - `**`, a component of its own, is any number of components, none included: `team/**` is `team`, `team/app` and
///   `team/app/test`; `**` alone is every repository.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamePattern(Arc<str>);

/// The string is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// No name can match it.
    #[error(
        "a repository name such as team/app, where * may stand for a part of a component and ** for any number of \
         components"
    )]
    Name,
    /// `**` is not a component of its own.
    #[error("** to stand alone between slashes, as in team/**")]
    Stars,
}

impl NamePattern {
    const MAX_BYTES: usize = 255;

    /// Returns whether it matches this repository. Takes at most as many steps as the product of both lengths.
    #[must_use]
    pub fn matches(&self, name: &RepositoryName) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let name: Vec<&str> = name.as_str().split('/').collect();
        glob(&pattern, &name, |part| *part == "**", |part, component| matches_component(part, component))
    }

    /// Returns whether it matches this repository of this or another registry. A repository of this registry is matched
    /// by its name. One of another registry is matched by that registry's domain and its name (`ghcr.io/team/app`); one
    /// of the Hub, which clients request by its name alone, by either form.
    #[must_use]
    pub fn matches_repository(&self, repository: &Repository) -> bool {
        match &repository.domain {
            None => self.matches(&repository.name),
            Some(domain) if *domain == Domain::docker_hub() => {
                self.matches(&repository.name) || self.matches_within(domain, &repository.name)
            }
            Some(domain) => self.matches_within(domain, &repository.name),
        }
    }

    fn matches_within(&self, domain: &Domain, name: &RepositoryName) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let name: Vec<&str> = std::iter::once(domain.as_str()).chain(name.as_str().split('/')).collect();
        glob(&pattern, &name, |part| *part == "**", |part, component| matches_component(part, component))
    }

    /// Returns whether it matches the repository of this name in any registry.
    #[must_use]
    pub fn matches_somewhere(&self, name: &RepositoryName) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        // An empty component, which no name has, stands for any domain: every text that has a dot or could have one.
        let name_there: Vec<&str> = std::iter::once("").chain(name.as_str().split('/')).collect();
        let is_domain = |part: &str| part.contains(['.', '*']) || part == "localhost";
        let same = |part: &&str, component: &&str| {
            if component.is_empty() { is_domain(part) } else { matches_component(part, component) }
        };
        self.matches(name) || glob(&pattern, &name_there, |part| *part == "**", same)
    }

    /// Returns whether it matches every repository.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.split('/').all(|part| part == "**")
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns whether a text without slashes is the pattern with each `*` replaced by any characters.
pub(super) fn matches_component(pattern: &str, component: &str) -> bool {
    glob(pattern.as_bytes(), component.as_bytes(), |byte| *byte == b'*', |a, b| a == b)
}

/// Returns whether `text` is `pattern` with each wildcard replaced by any number of items. On a mismatch it is enough
/// to extend the last wildcard by one item: the earlier ones took as little as possible.
fn glob<P, T>(pattern: &[P], text: &[T], wild: impl Fn(&P) -> bool, same: impl Fn(&P, &T) -> bool) -> bool {
    let (mut at, mut read) = (0, 0);
    // The position after the last wildcard, and the end of the text it has taken.
    let mut last: Option<(usize, usize)> = None;
    while read < text.len() {
        match (pattern.get(at), last) {
            (Some(part), _) if wild(part) => {
                at += 1;
                last = Some((at, read));
            }
            (Some(part), _) if same(part, &text[read]) => (at, read) = (at + 1, read + 1),
            (_, Some((behind, taken))) => {
                (at, read) = (behind, taken + 1);
                last = Some((behind, taken + 1));
            }
            (_, None) => return false,
        }
    }
    pattern[at..].iter().all(wild)
}

impl FromStr for NamePattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidPattern::Name);
        }
        text.split('/').try_for_each(check_component)?;
        Ok(Self(text.into()))
    }
}

/// Checks that some component of a name can match: it does if the part with a word for each wildcard is a valid one.
fn check_component(part: &str) -> Result<(), InvalidPattern> {
    if part != "**" && part.contains("**") {
        return Err(InvalidPattern::Stars);
    }
    match part.replace('*', "a").parse::<RepositoryName>() {
        Ok(_) => Ok(()),
        Err(_) => Err(InvalidPattern::Name),
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<NamePattern>().unwrap().matches(&name.parse().unwrap())
    }

    #[test]
    fn means_what_operators_expect() {
        for (pattern, yes, no) in [
            ("team/app", &["team/app"][..], &["team", "team/app2", "team/app/test", "x/team/app"][..]),
            ("library/*", &["library/ubuntu"], &["library", "library/a/b", "library2/a", "a/library/b"]),
            ("*", &["ubuntu"], &["library/ubuntu"]),
            ("team/**", &["team", "team/a", "team/a/b/c"], &["teams", "teams/a", "a/team"]),
            ("**", &["a", "a/b", "a/b/c"], &[]),
            ("**/test", &["test", "a/test", "a/b/test"], &["a/test/b", "a-test"]),
            ("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["a", "z", "a/z/b"]),
            ("**/a/**/b", &["a/b", "x/a/a/b", "a/x/b"], &["a", "b/a", "a/b/c"]),
            ("team-*/app", &["team-1/app", "team-a-b/app"], &["team/app", "team-1/x/app"]),
            ("*-*-z", &["a-b-z", "a-b-c-z"], &["a-z", "a-b-zz"]),
        ] {
            for name in yes {
                assert!(matches(pattern, name), "{pattern} {name}");
            }
            for name in no {
                assert!(!matches(pattern, name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn refuses_what_no_name_can_match() {
        let long = "a".repeat(256);
        for bad in ["", "/", "a/", "/a", "a//*", "Team/*", "a/..", "a?", "[a]", "a,b", "a b", "a/_*", "{a,b}", &long] {
            assert_eq!(bad.parse::<NamePattern>(), Err(InvalidPattern::Name), "{bad}");
        }
        for bad in ["a**", "**a/b", "a/***", "a/b**c"] {
            assert_eq!(bad.parse::<NamePattern>(), Err(InvalidPattern::Stars), "{bad}");
        }
    }

    #[test]
    fn means_repositories_of_other_registries_by_their_domain() {
        let of = |domain: Option<&str>, name: &str| Repository {
            domain: domain.map(|domain| domain.parse().unwrap()),
            name: name.parse().unwrap(),
        };
        let (own, hub) = (of(None, "team/app"), of(Some("docker.io"), "team/app"));
        let other = of(Some("ghcr.io:443"), "team/app");
        for (pattern, means) in [
            ("team/*", [true, true, false]),
            ("docker.io/team/*", [false, true, false]),
            ("docker.io/**", [false, true, false]),
            ("ghcr.io*/team/app", [false, false, true]),
            ("**", [true, true, true]),
            ("*/team/app", [false, true, true]),
            ("team", [false, false, false]),
        ] {
            let parsed: NamePattern = pattern.parse().unwrap();
            assert_eq!(
                [&own, &hub, &other].map(|repository| parsed.matches_repository(repository)),
                means,
                "{pattern}"
            );
        }
        for (pattern, means) in [
            ("team/*", true),
            ("ghcr.io/team/app", true),
            ("*/*", true),
            ("team", false),
            ("a/b/c", false),
            ("inner/**", false),
        ] {
            let parsed: NamePattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches_somewhere(&"team/app".parse().unwrap()), means, "{pattern}");
        }
        assert!(["**", "**/**"].iter().all(|pattern| pattern.parse::<NamePattern>().unwrap().is_everything()));
        assert!(["*", "**/*", "a/**"].iter().all(|pattern| !pattern.parse::<NamePattern>().unwrap().is_everything()));
    }

    #[test]
    fn does_not_explode() {
        let pattern = format!("{}b", "*a".repeat(120));
        let deep = format!("{}b", "**/*a/".repeat(40));
        let started = std::time::Instant::now();
        for _ in 0..100 {
            assert!(!matches(&pattern, &"a".repeat(255)));
            assert!(!matches(&deep, "a/".repeat(120).split_at(239).0));
        }
        assert!(started.elapsed().as_secs() < 10);
    }

    /// Tries every combination.
    fn naive(pattern: &str, name: &str) -> bool {
        let pattern: Vec<String> = pattern.split('/').map(str::to_owned).collect();
        let name: Vec<&str> = name.split('/').collect();
        naive_components(&pattern, &name)
    }

    fn naive_components(pattern: &[String], name: &[&str]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((part, rest)) if part == "**" => (0..=name.len()).any(|n| naive_components(rest, &name[n..])),
            Some((part, rest)) => {
                name.split_first().is_some_and(|(first, more)| naive_text(part, first) && naive_components(rest, more))
            }
        }
    }

    fn naive_text(pattern: &str, text: &str) -> bool {
        match pattern.chars().next() {
            None => text.is_empty(),
            Some('*') => (0..=text.len()).any(|n| naive_text(&pattern[1..], &text[n..])),
            Some(char) => text.starts_with(char) && naive_text(&pattern[1..], &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive(
            pattern in "(\\*\\*|[ab*]{1,4})(/(\\*\\*|[ab*]{1,4})){0,4}",
            name in "[ab]{1,4}(/[ab]{1,4}){0,5}",
        ) {
            if let Ok(parsed) = pattern.parse::<NamePattern>() {
                prop_assert_eq!(parsed.matches(&name.parse().unwrap()), naive(&pattern, &name));
            }
        }

        #[test]
        fn a_name_is_a_pattern_of_itself(name in "[a-z0-9]{1,9}([._-][a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,9}){0,3}", other in "[a-z]{1,3}") {
            let pattern: NamePattern = name.parse().unwrap();
            prop_assert!(pattern.matches(&name.parse().unwrap()));
            prop_assert_eq!(pattern.matches(&other.parse().unwrap()), name == other);
        }

        #[test]
        fn no_text_upsets_it(text in "\\PC*", name in "[ab]{1,4}(/[ab]{1,4}){0,5}") {
            if let Ok(pattern) = text.parse::<NamePattern>() {
                let _ = pattern.matches(&name.parse().unwrap());
            }
        }
    }
}
