//! `retention`: the rules by which pushed tags are removed. Their effect is in `registry/retention/`.

use std::{fmt, num::NonZeroUsize, time::Duration};

use super::{
    Error, Origin, Setting,
    dump::{self, Line},
    duration, key,
    node::{Node, Value},
    used_keys::RETENTION,
};
use crate::oci::{NamePattern, Repository, Tag, TagPattern};

/// A rule: of the tags that it matches, it keeps those that any of its conditions keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// `where`: the repositories.
    pub place: Vec<NamePattern>,
    /// The tags; empty for all.
    pub tags: Vec<TagPattern>,
    /// Keeps the tags of so many manifests of a repository, those that were pushed last.
    pub keep: Option<NonZeroUsize>,
    /// Keeps what was pushed in this time.
    pub pushed: Option<Duration>,
    /// Keeps what was pulled in this time.
    pub pulled: Option<Duration>,
    /// Keeps everything.
    pub always: bool,
}

const RULE: &str = "rules such as {where: team/**, tags: pr-*, keep: 10, pushed: 720h, pulled: 720h} or {where: '**', tags: \
                    latest, always: true}";
const NO_CONDITION: &str = "at least one of keep, pushed, pulled and always: true; a rule without a condition would remove \
                            everything that it matches";
const KEEP: &str = "a whole number from 1";
const TIME: &str = "a duration of more than 0, such as 720h";

/// Reads the rules.
pub(super) fn read(root: &Node) -> Result<Setting<Vec<RetentionRule>>, Error> {
    let Some(node) = root.get(RETENTION.path).filter(|node| !node.is_empty()) else {
        return Ok(Setting::default(&RETENTION, Vec::new()));
    };
    let Value::List(items) = &node.value else { return Err(Error::item_shape(&RETENTION, node, RULE)) };
    let rules = items.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    let written = written(&rules);
    Ok(Setting::new(&RETENTION, rules, &written, node.origin.clone()))
}

fn rule(node: &Node) -> Result<RetentionRule, Error> {
    let Value::Map(entries) = &node.value else { return Err(Error::item_shape(&RETENTION, node, RULE)) };
    let known = ["where", "tags", "keep", "pushed", "pulled", "always"];
    if let Some((name, node)) = entries.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        return Err(Error::value(&RETENTION, &node.origin, name, RULE));
    }
    let part = |wanted: &str| entries.iter().find(|(name, _)| name == wanted).map(|(_, node)| node);
    let place = part("where").filter(|node| !node.is_blank());
    let place = place.ok_or_else(|| wrong(&node.origin, "a rule without where", RULE))?;
    let rule = RetentionRule {
        place: each(place, str::parse)?,
        // An empty list must not be taken for every tag.
        tags: part("tags").map(|tags| each(tags, str::parse)).transpose()?.unwrap_or_default(),
        keep: one(part("keep"), |text| text.parse().ok(), KEEP)?,
        pushed: one(part("pushed"), time, TIME)?,
        pulled: one(part("pulled"), time, TIME)?,
        always: one(part("always"), key::flag, "true or false")?.unwrap_or_default(),
    };
    if rule.tags.is_empty() && part("tags").is_some() {
        return Err(wrong(
            &node.origin,
            "a rule with an empty list of tags",
            "patterns of tags, or no tags for every tag",
        ));
    }
    match rule.keep.is_some() || rule.pushed.or(rule.pulled).is_some() || rule.always {
        true => Ok(rule),
        false => Err(wrong(&node.origin, "a rule without a condition", NO_CONDITION)),
    }
}

fn time(text: &str) -> Option<Duration> {
    duration::parse(text).filter(|time| !time.is_zero())
}

fn wrong(origin: &Origin, got: &str, expected: &str) -> Error {
    Error::Value {
        origin: origin.clone(),
        key: RETENTION.path.into(),
        got: got.to_owned(),
        expected: expected.to_owned(),
    }
}

fn each<T, E: fmt::Display>(node: &Node, parse: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, Error> {
    let items = node.items(&RETENTION)?.into_iter();
    let parsed =
        items.map(|(text, origin)| parse(text).map_err(|expected| Error::value(&RETENTION, origin, text, expected)));
    parsed.collect()
}

/// Reads a single value. An empty one is an error: a condition that is written must have an effect.
fn one<T>(node: Option<&Node>, parse: impl Fn(&str) -> Option<T>, expected: &str) -> Result<Option<T>, Error> {
    let Some(node) = node else { return Ok(None) };
    match &node.value {
        Value::Text(text) => match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::value(&RETENTION, &node.origin, text, expected)),
        },
        Value::Null => Err(Error::value(&RETENTION, &node.origin, "", expected)),
        _ => Err(Error::item_shape(&RETENTION, node, expected)),
    }
}

impl RetentionRule {
    /// Returns whether it says anything about a repository. It never does about a mirrored one.
    #[must_use]
    pub fn matches_repository(&self, repository: &Repository) -> bool {
        repository.domain.is_none() && self.place.iter().any(|pattern| pattern.matches(&repository.name))
    }

    /// Returns whether it matches a tag in the repositories that it matches.
    #[must_use]
    pub fn matches_tag(&self, tag: &Tag) -> bool {
        self.tags.is_empty() || self.tags.iter().any(|pattern| pattern.matches(tag))
    }

    fn entries(&self) -> Vec<(&'static str, String)> {
        let mut entries = vec![("where", dump::list(self.place.iter().map(NamePattern::as_str)))];
        let tags = (!self.tags.is_empty()).then(|| dump::list(self.tags.iter().map(ToString::to_string)));
        entries.extend(tags.map(|tags| ("tags", tags)));
        entries.extend(self.conditions());
        entries
    }

    fn conditions(&self) -> impl Iterator<Item = (&'static str, String)> {
        let time = |time: Option<Duration>| time.map(duration::write);
        let keep = self.keep.map(|keep| keep.to_string());
        let always = self.always.then(|| "true".to_owned());
        let all = [("keep", keep), ("pushed", time(self.pushed)), ("pulled", time(self.pulled)), ("always", always)];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

impl fmt::Display for RetentionRule {
    /// Writes its conditions: `keep: 10, pushed: 720h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conditions: Vec<_> = self.conditions().map(|(name, value)| format!("{name}: {value}")).collect();
        f.write_str(&conditions.join(", "))
    }
}

impl Setting<Vec<RetentionRule>> {
    pub(super) fn line(&self) -> Line {
        Line::flow(self, written(self.value()))
    }
}

fn written(rules: &[RetentionRule]) -> String {
    let rules = rules.iter().map(|rule| dump::map(rule.entries().iter().map(|(name, value)| (*name, value.clone()))));
    format!("[{}]", rules.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, Flags},
        lanes::Blocking,
    };

    fn read(rules: &str) -> Result<Vec<RetentionRule>, String> {
        let file = format!("version: 0.1\nretention: {rules}\n");
        let named = std::path::Path::new("config.yml");
        let config = Config::parse(Blocking::in_test(), Some((named, file.as_bytes())), [], Flags::default());
        config.map(|loaded| loaded.config.retention.into_value()).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_are_read_and_written_alike() {
        let text = "[{where: ['team/**', app], tags: ['pr-*'], keep: 10, pushed: 720h, pulled: 90day}, \
                    {where: '**', tags: latest, always: yes}]";
        let rules = read(text).unwrap();
        assert_eq!(rules[0].to_string(), "keep: 10, pushed: 720h, pulled: 2160h");
        assert_eq!((rules[0].place.len(), rules[0].tags.len(), rules[1].always), (2, 1, true));
        let again = written(&rules);
        assert_eq!(read(&again).unwrap(), rules, "{again}");
        assert_eq!(read("[]").unwrap(), []);
        let matches = |tag: &str| rules[0].matches_tag(&tag.parse().unwrap());
        assert!(matches("pr-1") && !matches("1"));
    }

    #[test]
    fn a_rule_that_could_remove_more_than_is_meant_is_refused() {
        for (rules, said) in [
            ("[{where: '**'}]", "without a condition"),
            ("[{where: '**', always: false}]", "without a condition"),
            ("[{tags: '*', keep: 1}]", "without where"),
            ("[{where: [], keep: 1}]", "without where"),
            ("[{where: '**', tags: [], keep: 1}]", "empty list of tags"),
            ("[{where: '**', tags: , keep: 1}]", "expected a tag"),
            ("[{where: '**', keep: 0}]", "from 1"),
            ("[{where: '**', keep: -1}]", "from 1"),
            ("[{where: '**', keep: , pushed: 1h}]", "from 1"),
            ("[{where: '**', pushed: 0}]", "more than 0"),
            ("[{where: '**', pulled: 30}]", "more than 0"),
            ("[{where: '**', keep: [1]}]", "from 1"),
            ("[{where: '**', kept: 1}]", "rules such as"),
            ("[{where: Team/*, keep: 1}]", "a repository name"),
            ("[{where: '**', tags: a/b, keep: 1}]", "a tag"),
            ("{where: '**', keep: 1}", "rules such as"),
            ("[keep]", "rules such as"),
            ("all", "rules such as"),
        ] {
            let error = read(rules).expect_err(rules);
            assert!(error.contains(said) && error.contains("retention"), "{rules}: {error}");
        }
    }

    #[test]
    fn a_mirrored_repository_is_matched_by_no_rule() {
        let rules = read("[{where: '**', keep: 1}]").unwrap();
        let of = |domain: Option<&str>| {
            let domain = domain.map(|domain| domain.parse().unwrap());
            rules[0].matches_repository(&Repository { domain, name: "a".parse().unwrap() })
        };
        assert!(of(None) && !of(Some("ghcr.io")) && !of(Some("docker.io")));
    }
}
