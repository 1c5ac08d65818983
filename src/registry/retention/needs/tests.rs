//! Properties of what goes with tags.

use std::time::SystemTime;

use proptest::prelude::*;

use super::*;

/// The most manifests of a repository, and the most tags.
const MANIFESTS: u8 = 9;
const TAGS: usize = 8;

/// A repository: manifest `n` lists some, refers to one, and may be in use; tags name manifests.
#[derive(Clone, Debug)]
struct World {
    manifests: Vec<(Vec<u8>, Option<u8>, bool)>,
    /// Each with true if rules do not keep it.
    tags: Vec<(u8, bool)>,
    /// A manifest, and the one that it is attached to.
    attached: Vec<(u8, u8)>,
}

fn digest(number: u8) -> Digest {
    Digest::sha256(&[number])
}

fn times(tag: &str, number: u8) -> TagTimes {
    let now = SystemTime::UNIX_EPOCH;
    TagTimes { tag: tag.parse().unwrap(), digest: digest(number), pushed: now, pulled: now }
}

fn manifest(lists: &[u8], subject: Option<u8>) -> Manifest {
    let descriptor = |number: &u8| format!(r#"{{"digest":"{}","size":1}}"#, digest(*number));
    let lists: Vec<_> = lists.iter().map(descriptor).collect();
    let subject = subject.map(|subject| format!(r#","subject":{}"#, descriptor(&subject))).unwrap_or_default();
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]{subject}}}"#, lists.join(","));
    Manifest::parse(text.as_bytes()).unwrap()
}

fn world() -> impl Strategy<Value = World> {
    let one = (
        prop::collection::vec(0..MANIFESTS, 0..4),
        prop::option::weighted(0.3, 0..MANIFESTS),
        prop::bool::weighted(0.1),
    );
    let manifests = prop::collection::vec(one, 1..usize::from(MANIFESTS));
    let tags = prop::collection::vec((0..MANIFESTS, prop::bool::weighted(0.7)), 0..TAGS);
    let attached = prop::collection::vec((0..MANIFESTS, 0..MANIFESTS), 0..3);
    (manifests, tags, attached).prop_map(|(manifests, tags, attached)| World { manifests, tags, attached })
}

impl World {
    fn has(&self, number: u8) -> bool {
        usize::from(number) < self.manifests.len()
    }

    fn numbers(&self) -> impl Iterator<Item = u8> {
        0..u8::try_from(self.manifests.len()).unwrap()
    }

    fn listed(&self, number: u8) -> Vec<u8> {
        self.manifests[usize::from(number)].0.iter().copied().filter(|child| self.has(*child)).collect()
    }

    fn attached(&self) -> impl Iterator<Item = (u8, u8)> {
        self.attached.iter().copied().filter(|(from, to)| self.has(*from) && self.has(*to))
    }

    /// Each manifest that refers to another, with that one.
    fn references(&self) -> Vec<(u8, u8)> {
        let own = self.numbers().filter_map(|number| Some((number, self.manifests[usize::from(number)].1?)));
        own.filter(|(_, subject)| self.has(*subject)).chain(self.attached()).collect()
    }

    fn groups(&self) -> Vec<Group> {
        let manifests = self.numbers().map(|number| {
            let (lists, subject, _) = &self.manifests[usize::from(number)];
            (digest(number), Some(manifest(lists, *subject)))
        });
        let tag = |(place, (number, gone)): (usize, &(u8, bool))| (times(&format!("t{place}"), *number), *gone);
        let (expired, staying): (Vec<_>, Vec<_>) = self.tags.iter().enumerate().map(tag).partition(|(_, gone)| *gone);
        let expired = expired.into_iter().map(|(times, _)| ExpiredTag { times, rules: vec![0] }).collect();
        let staying: Vec<_> = staying.into_iter().map(|(times, _)| times.digest).collect();
        let attached = self.attached().enumerate();
        let attached: Vec<_> = attached
            .map(|(place, (from, to))| AttachedTag { times: times(&format!("a{place}"), from), subject: digest(to) })
            .collect();
        let used: Vec<_> = self.numbers().filter(|number| self.manifests[usize::from(*number)].2).map(digest).collect();
        let manifests = manifests.collect();
        let groups = Needs::new(&manifests, &attached).groups(expired, &staying, |digest| used.contains(digest));
        groups.expect("everything can be read")
    }

    /// Repeats a rule until it adds nothing more.
    fn closed(&self, mut all: HashSet<u8>, step: impl Fn(u8) -> Vec<u8>) -> HashSet<u8> {
        loop {
            let more: Vec<u8> =
                all.iter().flat_map(|number| step(*number)).filter(|number| !all.contains(number)).collect();
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    }

    /// Returns what goes, by the definition in the documentation.
    fn expected(&self) -> HashSet<u8> {
        let with = |number: u8| {
            let referrers = self.references().into_iter().filter(|(_, subject)| *subject == number);
            self.listed(number).into_iter().chain(referrers.map(|(referrer, _)| referrer)).collect::<Vec<_>>()
        };
        let tagged = |gone: bool| self.tags.iter().filter(move |tag| tag.1 == gone && self.has(tag.0)).map(|tag| tag.0);
        let candidates = self.closed(tagged(true).collect(), with);
        let others = self.numbers().filter(|number| !candidates.contains(number));
        let used = self.numbers().filter(|number| self.manifests[usize::from(*number)].2);
        let kept = self.closed(tagged(false).chain(others).chain(used).collect(), |number| {
            let subjects =
                self.references().into_iter().filter(|(from, _)| *from == number).map(|(_, subject)| subject);
            with(number).into_iter().chain(subjects).collect()
        });
        candidates.difference(&kept).copied().collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Nothing that a kept tag, index or referrer needs ever goes, and everything else does.
    #[test]
    fn what_goes_is_what_nothing_kept_needs(world in world()) {
        let gone: Vec<_> = world.groups().into_iter().flat_map(|group| group.manifests).map(|(digest, _)| digest).collect();
        let unique: HashSet<_> = gone.iter().copied().collect();
        prop_assert_eq!(unique.len(), gone.len(), "something goes twice");
        prop_assert_eq!(unique, world.expected().into_iter().map(digest).collect::<HashSet<_>>());
    }

    /// After each group, as after a crash there, every tag that is left has all that it reaches, also one that goes
    /// later.
    #[test]
    fn a_tag_is_whole_until_it_goes(world in world()) {
        let mut tags: HashMap<String, u8> =
            world.tags.iter().enumerate().map(|(place, (number, _))| (format!("t{place}"), *number)).collect();
        tags.extend(world.attached().enumerate().map(|(place, (from, _))| (format!("a{place}"), from)));
        let mut left: HashSet<u8> = world.numbers().collect();
        for group in world.groups() {
            for tag in &group.tags {
                prop_assert!(tags.remove(tag.times.tag.as_str()).is_some(), "a tag goes twice");
            }
            for (gone, _) in &group.manifests {
                left.retain(|number| digest(*number) != *gone);
            }
            for number in tags.values().copied().filter(|number| world.has(*number)) {
                let needed = world.closed(HashSet::from([number]), |number| world.listed(number));
                prop_assert!(needed.is_subset(&left), "{:?} of {number} are gone", needed.difference(&left));
            }
        }
        let expired = world.tags.iter().enumerate().filter(|(_, (_, gone))| *gone);
        prop_assert!(expired.into_iter().all(|(place, _)| !tags.contains_key(&format!("t{place}"))), "a tag stays");
    }
}

#[test]
fn an_unreadable_manifest_that_stays_stops_everything() {
    let expired = || vec![ExpiredTag { times: times("old", 1), rules: vec![0] }];
    let groups = |unreadable: u8, staying: &[Digest]| {
        let manifests = (0..3).map(|number| (digest(number), (number != unreadable).then(|| manifest(&[], None))));
        let manifests = manifests.collect();
        Needs::new(&manifests, &[]).groups(expired(), staying, |_| false).map(|groups| groups.len())
    };
    assert_eq!(groups(9, &[digest(2)]), Some(1));
    assert_eq!(groups(2, &[digest(2)]), None, "it may list anything");
    assert_eq!(groups(0, &[digest(2)]), None, "no tag names it, and it may still list anything");
    assert_eq!(groups(1, &[digest(2)]), Some(1), "it goes itself");
}
