//! Decides about the tags of a repository by the rules of `retention`, without a look at the disk.
//!
//! A tag goes only if some rule matches it and no condition of any rule that matches it keeps it. So the order of rules
//! does not matter, and one more rule for a tag that some rule matches can only keep more.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};

use crate::{
    config::RetentionRule,
    oci::{Digest, Tag},
};

/// A tag with the times that rules go by.
#[derive(Clone, Debug)]
pub(in crate::registry) struct TagTimes {
    pub(in crate::registry) tag: Tag,
    pub(in crate::registry) digest: Digest,
    /// The last push of the tag.
    pub(in crate::registry) pushed: SystemTime,
    /// The last time at which it may have been pulled.
    pub(in crate::registry) pulled: SystemTime,
}

/// The decision about a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// No rule matches it.
    Unmatched,
    /// A rule keeps it.
    Kept,
    /// It goes. These rules match it, by their place in the list, and none keeps it.
    Expired(Vec<usize>),
}

/// Decides about all tags of one repository, in their order. Each rule is given with its place in the list.
pub(super) fn decide(rules: &[(usize, &RetentionRule)], tags: &[TagTimes], now: SystemTime) -> Vec<Decision> {
    let latest: Vec<_> = rules.iter().map(|(_, rule)| latest_manifests(rule, tags, now)).collect();
    let decision = |times: &TagTimes| {
        let mut matching = Vec::new();
        for ((place, rule), latest) in rules.iter().zip(&latest).filter(|((_, rule), _)| rule.matches_tag(&times.tag)) {
            if keeps(rule, latest, times, now) {
                return Decision::Kept;
            }
            matching.push(*place);
        }
        if matching.is_empty() { Decision::Unmatched } else { Decision::Expired(matching) }
    };
    tags.iter().map(decision).collect()
}

fn keeps(rule: &RetentionRule, latest: &HashSet<Digest>, times: &TagTimes, now: SystemTime) -> bool {
    let is_within = |time: SystemTime, limit: Option<Duration>| limit.is_some_and(|limit| age(time, now) <= limit);
    rule.always
        || latest.contains(&times.digest)
        || is_within(times.pushed, rule.pushed)
        || is_within(times.pulled, rule.pulled)
}

/// Returns the manifests that `keep` keeps: as many as it says, of those that the matching tags name, the last pushed
/// first. All that were pushed at the same time as the last of these are kept, too.
fn latest_manifests(rule: &RetentionRule, tags: &[TagTimes], now: SystemTime) -> HashSet<Digest> {
    let Some(keep) = rule.keep else { return HashSet::new() };
    let mut ages: HashMap<Digest, Duration> = HashMap::new();
    for times in tags.iter().filter(|times| rule.matches_tag(&times.tag)) {
        let age = age(times.pushed, now);
        ages.entry(times.digest).and_modify(|least| *least = age.min(*least)).or_insert(age);
    }
    let mut sorted: Vec<_> = ages.values().copied().collect();
    sorted.sort_unstable();
    let oldest = sorted.get(keep.get() - 1).copied();
    ages.into_iter().filter(|(_, age)| oldest.is_none_or(|oldest| *age <= oldest)).map(|(digest, _)| digest).collect()
}

/// Returns the time that has passed; a time in the future counts as now.
fn age(time: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY
    }

    /// A tag that names the manifest of this number, with its ages in days.
    fn tag(tag: &str, manifest: u32, pushed: u32, pulled: u32) -> TagTimes {
        let digest = Digest::sha256(&manifest.to_be_bytes());
        TagTimes { tag: tag.parse().unwrap(), digest, pushed: now() - pushed * DAY, pulled: now() - pulled * DAY }
    }

    fn rule(tags: &[&str]) -> RetentionRule {
        let tags = tags.iter().map(|tag| tag.parse().unwrap()).collect();
        let place = vec!["**".parse().unwrap()];
        RetentionRule { place, tags, keep: None, pushed: None, pulled: None, always: false }
    }

    fn keep(number: usize) -> RetentionRule {
        RetentionRule { keep: NonZeroUsize::new(number), ..rule(&[]) }
    }

    fn within(pushed: Option<u32>, pulled: Option<u32>) -> RetentionRule {
        let days = |days: Option<u32>| days.map(|days| days * DAY);
        RetentionRule { pushed: days(pushed), pulled: days(pulled), ..rule(&[]) }
    }

    /// Returns the tags that go.
    fn gone(rules: &[RetentionRule], tags: &[TagTimes]) -> Vec<String> {
        let rules: Vec<_> = rules.iter().enumerate().collect();
        let decided = decide(&rules, tags, now());
        let gone = tags.iter().zip(decided).filter(|(_, decision)| matches!(decision, Decision::Expired(_)));
        gone.map(|(times, _)| times.tag.to_string()).collect()
    }

    #[test]
    fn each_condition_keeps_what_it_says() {
        let tags = [tag("a", 1, 1, 1), tag("b", 2, 5, 2), tag("c", 3, 30, 3), tag("d", 4, 31, 40), tag("e", 5, 60, 41)];
        for (rules, expected) in [
            (vec![], &[][..]),
            (vec![keep(1)], &["b", "c", "d", "e"]),
            (vec![keep(3)], &["d", "e"]),
            (vec![keep(5)], &[]),
            (vec![keep(9)], &[]),
            (vec![within(Some(30), None)], &["d", "e"]),
            (vec![within(None, Some(40))], &["e"]),
            (vec![within(None, Some(2))], &["c", "d", "e"]),
            (vec![RetentionRule { always: true, ..rule(&[]) }], &[]),
            (vec![RetentionRule { always: true, ..rule(&["a"]) }], &[]),
        ] {
            assert_eq!(gone(&rules, &tags), expected, "{rules:?}");
        }
    }

    #[test]
    fn whatever_keeps_a_tag_keeps_it() {
        let tags = [tag("a", 1, 1, 50), tag("b", 2, 50, 1), tag("c", 3, 50, 50), tag("latest", 4, 60, 60)];
        let both = RetentionRule { pulled: Some(2 * DAY), ..keep(1) };
        let pinned = RetentionRule { always: true, ..rule(&["latest"]) };
        for (rules, expected) in [
            (vec![both.clone()], &["c", "latest"][..]),
            (vec![keep(1), within(None, Some(2))], &["c", "latest"]),
            (vec![within(None, Some(2)), keep(1)], &["c", "latest"]),
            (vec![both.clone(), pinned.clone()], &["c"]),
            (vec![pinned.clone(), both], &["c"]),
            (vec![pinned], &[]),
        ] {
            assert_eq!(gone(&rules, &tags), expected, "{rules:?}");
        }
    }

    #[test]
    fn what_no_rule_matches_stays_and_does_not_count() {
        let tags = [tag("latest", 1, 0, 0), tag("pr-1", 2, 9, 9), tag("pr-2", 3, 8, 8), tag("v1", 4, 999, 999)];
        let pulls = RetentionRule { tags: vec!["pr-*".parse().unwrap()], ..keep(1) };
        assert_eq!(gone(std::slice::from_ref(&pulls), &tags), ["pr-1"]);
        let decided = decide(&[(7, &pulls)], &tags, now());
        let expected = [Decision::Unmatched, Decision::Expired(vec![7]), Decision::Kept, Decision::Unmatched];
        assert_eq!(decided, expected);
    }

    #[test]
    fn the_last_builds_are_manifests_and_not_their_names() {
        let build = |number: u32, age: u32| {
            let name = |text: &str| tag(&format!("{text}{number}"), number, age, 999);
            [name("b"), name("c")]
        };
        let mut tags: Vec<_> = (1..=4).flat_map(|number| build(number, 10 * number)).collect();
        assert_eq!(gone(&[keep(2)], &tags), ["b3", "c3", "b4", "c4"]);
        tags.push(tag("again", 4, 1, 999));
        assert_eq!(gone(&[keep(2)], &tags), ["b2", "c2", "b3", "c3"], "a manifest is as new as its newest tag");
    }

    #[test]
    fn doubt_keeps() {
        let tags = [tag("a", 1, 5, 5), tag("b", 2, 5, 5), tag("c", 3, 6, 6)];
        assert_eq!(gone(&[keep(1)], &tags), ["c"], "of two that were pushed at once, neither goes");
        let mut ahead = tag("x", 9, 0, 0);
        ahead.pushed = now() + 100 * DAY;
        assert!(gone(&[within(Some(1), None)], &[ahead.clone()]).is_empty(), "a clock that was ahead");
        assert_eq!(gone(&[keep(1)], &[ahead, tag("y", 8, 0, 0)]), Vec::<String>::new());
    }
}
