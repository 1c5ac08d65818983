//! Tests of runs on a volume, at a time of the test's choice.

use std::{collections::BTreeSet, fs::File, num::NonZeroUsize, ops::ControlFlow, os::unix::fs::symlink, path::PathBuf};

use super::*;
use crate::{
    index::Index,
    lanes::{Blocking, Lanes},
    metrics::Metrics,
    oci::{Reference, TagPattern},
    registry::{EvictionRules, store::blob_store::BlobStore},
    storage::{Durability, LinkKind, PullRecord, Purpose, SpaceLimits, Storage},
};

const DAY: Duration = Duration::from_hours(24);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_000 * DAY
}

fn ago(days: u32) -> SystemTime {
    now() - days * DAY
}

fn rule(tags: &[&str]) -> RetentionRule {
    let tags: Vec<TagPattern> = tags.iter().map(|tag| tag.parse().unwrap()).collect();
    RetentionRule {
        place: vec!["team/*".parse().unwrap()],
        tags,
        keep: None,
        pushed: None,
        pulled: None,
        always: false,
    }
}

fn keep(number: usize) -> RetentionRule {
    RetentionRule { keep: NonZeroUsize::new(number), ..rule(&[]) }
}

fn pulled(days: u32) -> RetentionRule {
    RetentionRule { pulled: Some(days * DAY), ..rule(&[]) }
}

/// A volume with the repository `team/app`. Pulls have been noted for a thousand days.
struct Fixture {
    dir: tempfile::TempDir,
    store: BlobStore,
    repository: Repository,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let storage = Storage::open(Blocking::in_test(), dir.path(), SpaceLimits::default()).unwrap();
        let index = Index::open(&storage.index_dir());
        let (metrics, lanes) = (Metrics::new().unwrap().into(), Lanes::new().unwrap());
        let store = BlobStore::new(storage, index, EvictionRules::default(), Duration::ZERO, metrics, lanes);
        let place = Self { dir, store, repository: Repository { domain: None, name: "team/app".parse().unwrap() } };
        let record = PullRecord { since: ago(1000), until: now() };
        place.on_disk().disk.save_pull_record(record).unwrap();
        place
    }

    fn on_disk(&self) -> BlockingStore<'_> {
        self.store.with(Blocking::in_test())
    }

    /// Stores a manifest.
    fn push(&self, text: &str) -> Digest {
        let (disk, digest) = (self.on_disk().disk, Digest::sha256(text.as_bytes()));
        let size = text.len() as u64;
        let staged = disk.stage(&digest, disk.reserve(Purpose::Hosted, size).unwrap(), size).unwrap();
        staged.writer().write_at(disk.io(), text.as_bytes(), 0).unwrap();
        disk.publish(staged, &digest, Durability::Synced).unwrap();
        disk.add_link(&self.repository, LinkKind::Revision, &digest, Durability::Synced).unwrap();
        digest
    }

    /// Stores the image of a number, an index with one manifest, and what refers to that.
    fn image(&self, number: u32) -> [Digest; 3] {
        let descriptor = |digest: &Digest| format!(r#"{{"digest":"{digest}","size":1}}"#);
        let layers = descriptor(&Digest::sha256(b"layer"));
        let child = self.push(&format!(r#"{{"schemaVersion":2,"number":{number},"layers":[{layers}]}}"#));
        let index = self.push(&format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(&child)));
        let signed = descriptor(&child);
        let signature = self.push(&format!(r#"{{"schemaVersion":2,"layers":[],"subject":{signed}}}"#));
        [index, child, signature]
    }

    fn tag(&self, tag: &str, digest: &Digest, pushed: SystemTime) {
        let tag: Tag = tag.parse().unwrap();
        self.on_disk().disk.set_tag(&self.repository, &tag, digest, Durability::Synced).unwrap();
        let link = self.folder().join("_manifests/tags").join(tag.as_str()).join("current/link");
        File::options().write(true).open(link).unwrap().set_modified(pushed).unwrap();
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("docker/registry/v2/repositories/team/app")
    }

    fn note(&self, pulled: &Reference, days: u32) {
        self.on_disk().disk.note_pull(&self.repository, pulled, ago(days)).unwrap();
    }

    fn run(&self, rules: &[RetentionRule], mode: Mode) -> (Retained, Vec<RetentionEvent>) {
        self.run_with(rules, mode, &ImagePatterns::default())
    }

    fn run_with(
        &self,
        rules: &[RetentionRule],
        mode: Mode,
        immutable: &ImagePatterns,
    ) -> (Retained, Vec<RetentionEvent>) {
        let mut events = Vec::new();
        let run = RetentionRun { rules, immutable, mode, grace: Duration::ZERO, now: now() };
        let retained = run.run(&self.on_disk(), &mut |event| {
            events.extend((event != RetentionEvent::Repository).then_some(event));
            ControlFlow::Continue(())
        });
        (retained.unwrap(), events)
    }

    /// Returns the tags that are left.
    fn tags(&self) -> BTreeSet<String> {
        let disk = self.on_disk().disk;
        disk.tags(&self.repository).map(|tag| tag.unwrap().0.to_string()).collect()
    }

    fn has(&self, digest: &Digest) -> bool {
        self.on_disk().disk.has_link(&self.repository, LinkKind::Revision, digest).unwrap()
    }
}

fn set(tags: &[&str]) -> BTreeSet<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

/// Tables of rules and pushes. A dry run says what the run does, and a second run does nothing.
#[test]
fn rules_keep_what_they_say_and_a_dry_run_equals_the_run() {
    let always = RetentionRule { always: true, ..rule(&["latest"]) };
    let nightly = RetentionRule { pushed: Some(3 * DAY), ..rule(&["nightly-*"]) };
    let elsewhere = RetentionRule { place: vec!["other/**".parse().unwrap()], ..keep(1) };
    let all = ["1", "2", "3", "latest", "nightly-1", "nightly-2"];
    for (rules, left) in [
        (vec![], &all[..]),
        (vec![elsewhere], &all),
        (vec![keep(9)], &all),
        (vec![keep(2)], &["3", "latest", "nightly-2"]),
        (vec![keep(2), always.clone()], &["3", "latest", "nightly-2"]),
        (vec![nightly.clone()], &["1", "2", "3", "latest", "nightly-2"]),
        (vec![nightly, keep(1)], &["latest", "3", "nightly-2"]),
        (vec![pulled(10)], &["1", "3", "latest", "nightly-2"]),
        (vec![pulled(10), always], &["1", "3", "latest", "nightly-2"]),
    ] {
        let place = Fixture::new();
        let images: Vec<_> = (0..5).map(|number| place.image(number)).collect();
        for (tag, image, pushed) in
            [("1", 0, 90), ("2", 1, 60), ("3", 2, 1), ("latest", 2, 1), ("nightly-1", 3, 30), ("nightly-2", 4, 2)]
        {
            place.tag(tag, &images[image][0], ago(pushed));
        }
        place.note(&Reference::Tag("1".parse().unwrap()), 5);
        let (dry, said) = place.run(&rules, Mode::DryRun);
        assert_eq!(place.tags(), set(&all), "a dry run removes nothing");
        let (wet, done) = place.run(&rules, Mode::Remove);
        assert_eq!((wet, &done), (dry, &said), "{rules:?}");
        assert_eq!(place.tags(), set(left), "{rules:?}");
        for (number, image) in images.iter().enumerate() {
            let named = [("1", 0), ("2", 1), ("3", 2), ("latest", 2), ("nightly-1", 3), ("nightly-2", 4)];
            let stays = named.iter().any(|(tag, image)| *image == number && left.contains(tag));
            assert!(image.iter().all(|digest| place.has(digest) == stays), "{rules:?}: image {number}");
        }
        assert_eq!(wet.tags, (all.len() - left.len()) as u64);
        let (again, events) = place.run(&rules, Mode::Remove);
        assert_eq!((again.tags, again.manifests, events.len()), (0, 0, 0), "a second run finds nothing");
    }
}

/// The last pull is that of the tag, of its manifest, or of one that this lists; without a note it was before the time
/// in which pulls are noted, or never.
#[test]
fn a_pull_by_any_name_keeps_a_tag() {
    for (noted, days, left) in [
        (None, 0, false),
        (Some("tag"), 10, true),
        (Some("tag"), 11, true),
        (Some("tag"), 12, false),
        (Some("index"), 5, true),
        (Some("child"), 5, true),
        (Some("signature"), 5, false),
        (Some("child"), 50, false),
    ] {
        let place = Fixture::new();
        let [index, child, signature] = place.image(1);
        place.tag("1", &index, ago(90));
        match noted {
            None => {}
            Some("tag") => place.note(&Reference::Tag("1".parse().unwrap()), days),
            Some("index") => place.note(&Reference::Digest(index), days),
            Some("child") => place.note(&Reference::Digest(child), days),
            Some(_) => place.note(&Reference::Digest(signature), days),
        }
        place.run(&[pulled(10)], Mode::Remove);
        assert_eq!(!place.tags().is_empty(), left, "{noted:?} {days} days ago");
        assert!([index, child, signature].iter().all(|digest| place.has(digest) == left));
    }
}

/// A last pull that is not known counts as one just now.
#[allow(clippy::disallowed_methods, reason = "a test's own file")]
#[test]
fn what_is_not_known_keeps_a_tag() {
    let place = Fixture::new();
    let [index, ..] = place.image(1);
    place.tag("1", &index, ago(90));
    let unknown = |place: &Fixture| place.run(&[pulled(10)], Mode::DryRun).0.tags == 0;
    assert!(!unknown(&place));
    for record in ["", "garbage"] {
        std::fs::write(place.dir.path().join("pulls"), record).unwrap();
        assert!(unknown(&place), "no record of pulls");
    }
    let gap = PullRecord { since: ago(1000), until: ago(2) };
    place.on_disk().disk.save_pull_record(gap).unwrap();
    assert!(unknown(&place), "something else may have served the volume for two days");
    let short = PullRecord { since: ago(10), until: now() };
    place.on_disk().disk.save_pull_record(short).unwrap();
    assert!(unknown(&place), "pulls are noted for ten days");
    place.on_disk().disk.save_pull_record(PullRecord { since: ago(1000), until: now() }).unwrap();
    let note = place.folder().join("_manifests/tags/1/pulled");
    symlink("nowhere", &note).unwrap();
    assert!(unknown(&place), "the note cannot be read");
    std::fs::remove_file(note).unwrap();
    assert!(!unknown(&place));
}

/// A damaged tag may name anything, so nothing of its repository goes.
#[allow(clippy::disallowed_methods, reason = "a test's own file")]
#[test]
fn a_damaged_tag_keeps_its_repository() {
    let place = Fixture::new();
    for number in 1..4 {
        place.tag(&number.to_string(), &place.image(number)[0], ago(10 * number));
    }
    let link = place.folder().join("_manifests/tags/1/current/link");
    let whole = std::fs::read(&link).unwrap();
    std::fs::write(&link, "").unwrap();
    let (left, events) = place.run(&[keep(1)], Mode::Remove);
    assert_eq!((left.unreadable, left.tags, events.len()), (1, 0, 0));
    std::fs::write(&link, whole).unwrap();
    assert_eq!(place.run(&[keep(1)], Mode::Remove).0.tags, 2);
}

/// Tags of signatures stay and go with what they sign, and count for nothing.
#[test]
fn a_signature_by_tag_goes_with_its_subject() {
    let place = Fixture::new();
    let mut signatures = Vec::new();
    for number in 1..4 {
        let image = place.push(&format!(r#"{{"schemaVersion":2,"number":{number},"layers":[]}}"#));
        let signature = place.push(&format!(r#"{{"schemaVersion":2,"signature":{number},"layers":[]}}"#));
        place.tag(&number.to_string(), &image, ago(10 * number));
        place.tag(&format!("sha256-{}.sig", image.hex()), &signature, ago(100));
        signatures.push((image, signature));
    }
    let orphan = format!("sha256-{}.sig", Digest::sha256(b"gone").hex());
    place.tag(&orphan, &place.push(r#"{"schemaVersion":2,"layers":[]}"#), ago(1));
    let numbered = RetentionRule { keep: NonZeroUsize::new(2), ..rule(&["*"]) };
    let (retained, _) = place.run(&[numbered, RetentionRule { always: true, ..rule(&[&orphan]) }], Mode::Remove);
    assert_eq!((retained.tags, retained.manifests), (4, 4), "the orphan is the newest of all");
    for (number, (image, signature)) in signatures.iter().enumerate() {
        let stays = number == 0;
        assert!(place.has(image) == stays && place.has(signature) == stays, "{number}");
        assert_eq!(place.tags().contains(&format!("sha256-{}.sig", image.hex())), stays);
    }
}

#[test]
fn an_immutable_tag_stays() {
    let place = Fixture::new();
    for (number, tag) in [(1, "v1"), (2, "v2"), (3, "b1"), (4, "b2")] {
        place.tag(tag, &place.image(number)[0], ago(10 * number));
    }
    let immutable = ImagePatterns::parse(["team/**:v*"]).unwrap();
    place.run_with(&[keep(1)], Mode::Remove, &immutable);
    assert_eq!(place.tags(), set(&["v1", "v2"]));
}

/// While a manifest is pushed, and while a client relies on one, nothing goes.
#[test]
fn nothing_goes_while_a_push_is_under_way() {
    let place = Fixture::new();
    let images = [place.image(1), place.image(2)];
    place.tag("new", &images[0][0], ago(1));
    place.tag("old", &images[1][0], ago(90));
    let guard = &place.store.protection.gc_guard;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pushing = runtime.block_on(guard.guard_manifest(&place.repository, &Digest::sha256(b"another")));
    let (left, events) = place.run(&[keep(1)], Mode::Remove);
    assert_eq!((left.tags, left.in_use, events.len(), place.tags()), (0, 1, 0, set(&["new", "old"])));
    drop(pushing);
    for (needed, tags) in [(0, set(&["new", "old"])), (1, set(&["new"]))] {
        let relying = runtime.block_on(guard.guard_blob(&images[1][needed]));
        let (left, _) = place.run(&[keep(1)], Mode::Remove);
        assert_eq!((left.in_use, place.tags()), (u64::from(needed == 0), tags));
        assert!(place.has(&images[1][needed]), "somebody relies on it");
        drop(relying);
    }
}
