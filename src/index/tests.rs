//! The guarantees of the index: entries are found again, and damage loses nothing but entries.

use std::{
    fs,
    time::{Duration, Instant, UNIX_EPOCH},
};

use tempfile::TempDir;

use super::*;

fn repository(name: &str) -> Repository {
    Repository { domain: None, name: name.parse().unwrap() }
}

#[test]
fn finds_what_was_noted_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let (digest, tag) = (Digest::sha256(b"a"), "latest".parse().unwrap());
    let stamp = VerifiedStamp { size: 3, mtime: -4, inode: 5 };
    {
        let index = Index::open(&dir.path().join("v1"));
        assert!(!index.is_complete());
        index.verified(&digest, stamp);
        index.add_link(&repository("a"), &digest, Link { layer: true, ..Link::default() });
        index.add_link(&repository("a"), &digest, Link { named: Some(7), ..Link::default() });
        index.put_tag(&repository("a"), &tag, digest, UNIX_EPOCH);
        index.set_complete();
        index.close(Closing::Quiet(None));
    }
    let index = Index::open(&dir.path().join("v1"));
    assert!(index.was_complete() && !index.is_complete());
    assert_eq!(index.stamp(&digest), Some(stamp));
    let link = index.link(&repository("a"), &digest).unwrap();
    assert_eq!(link, Link { layer: true, named: Some(7), ..Link::default() });
    assert_eq!(index.link(&repository("b"), &digest), None);
    assert_eq!(index.tag(&repository("a"), &tag).unwrap().checked(), UNIX_EPOCH);
    index.remove_tag(&repository("a"), &tag);
    assert_eq!(index.tag(&repository("a"), &tag), None);
}

#[test]
fn knows_nothing_and_takes_no_notes_before_it_is_resumed() {
    let dir = TempDir::new().unwrap();
    let digest = Digest::sha256(b"a");
    let kept = LedgerTotals { links: 1, ..LedgerTotals::default() };
    let close = |index: Index| {
        index.set_complete();
        index.close(Closing::Quiet(Some(kept)));
    };
    close(Index::open(dir.path()));
    let index = Index::unopened(dir.path(), 1 << 20);
    index.add_repository(&repository("a"));
    assert!(!index.has_repository(&repository("a")) && !index.has_failed() && index.reopen().is_err());
    let mut totals = None;
    index.open_files(|found| totals = Some(*found));
    assert_eq!((totals, index.totals()), (Some(kept), Some(kept)));
    assert!(index.was_complete() && !index.has_repository(&repository("a")));
    close(index);
    let index = Index::unopened(dir.path(), 1 << 20);
    index.discovered(&digest, 4096, 1);
    index.open_files(|_| panic!("a blob came: the totals are not right"));
    assert_eq!((index.totals(), index.was_complete()), (None, false));
}

#[test]
fn begins_anew_when_its_files_are_garbage() {
    let dir = TempDir::new().unwrap();
    let home = dir.path().join("v1");
    {
        let index = Index::open(&home);
        index.set_complete();
        index.close(Closing::Quiet(None));
    }
    for entry in fs::read_dir(&home).unwrap().filter_map(Result::ok).filter(|e| e.metadata().unwrap().is_file()) {
        fs::File::create(entry.path()).unwrap().set_len(100).unwrap();
    }
    let index = Index::open(&home);
    assert!(!index.is_complete());
    index.set_complete();
    assert!(index.is_complete());
}

#[test]
fn repositories_of_one_name_at_two_homes_are_two() {
    let dir = TempDir::new().unwrap();
    let index = Index::open(&dir.path().join("v1"));
    let digest = Digest::sha256(b"a");
    index.add_link(&repository("a"), &digest, Link { revision: true, ..Link::default() });
    let mirrored = Repository { domain: Some(Domain::docker_hub()), ..repository("a") };
    assert_eq!(index.link(&mirrored, &digest), None);
}

#[test]
fn a_process_that_was_killed_leaves_an_index_to_rebuild() {
    let dir = TempDir::new().unwrap();
    let home = dir.path().join("v1");
    {
        let index = Index::open(&home);
        index.set_complete();
        assert!(index.is_complete());
    }
    assert!(!Index::open(&home).was_complete());
}

#[test]
fn what_another_program_may_have_changed_can_be_forgotten() {
    let dir = TempDir::new().unwrap();
    let index = Index::open(&dir.path().join("v1"));
    let (tag, digest) = ("latest".parse().unwrap(), Digest::sha256(b"a"));
    let mirrored = Repository { domain: Some(Domain::docker_hub()), ..repository("a") };
    for repository in [&repository("a"), &mirrored] {
        index.put_tag(repository, &tag, digest, UNIX_EPOCH);
        index.add_repository(repository);
    }
    index.forget_hosted();
    assert!(index.tag(&repository("a"), &tag).is_none() && !index.has_repository(&repository("a")));
    assert!(index.tag(&mirrored, &tag).is_some() && index.has_repository(&mirrored));
}

#[test]
fn pages_go_on_where_they_stopped() {
    let dir = TempDir::new().unwrap();
    let index = Index::open(&dir.path().join("v1"));
    assert_eq!(index.tags(&repository("a"), "", 10), None);
    index.set_complete();
    for tag in ["c", "a", "b", "B"] {
        index.put_tag(&repository("a"), &tag.parse().unwrap(), Digest::sha256(b""), UNIX_EPOCH);
        index.put_tag(&repository("a/b"), &tag.parse().unwrap(), Digest::sha256(b""), UNIX_EPOCH);
    }
    let page = |after, limit| {
        let tags = index.tags(&repository("a"), after, limit).unwrap();
        tags.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(page("", 2), ["B", "a"]);
    assert_eq!(page("a", 2), ["b", "c"]);
    assert_eq!(page("aa", 1), ["b"]);
    assert!(page("c", 2).is_empty());
}

#[test]
fn what_is_left_of_a_link_stays() {
    let dir = TempDir::new().unwrap();
    let index = Index::open(&dir.path().join("v1"));
    let (repository, digest) = (repository("a"), Digest::sha256(b"a"));
    let (layer, revision) = (Link { layer: true, ..Link::default() }, Link { revision: true, ..Link::default() });
    index.add_link(&repository, &digest, layer);
    index.add_link(&repository, &digest, revision);
    index.remove_link(&repository, &digest, layer);
    assert_eq!(index.link(&repository, &digest), Some(revision));
    index.remove_link(&repository, &digest, revision);
    assert_eq!(index.link(&repository, &digest), None);
    index.promoted(&digest);
    let mirrored = Repository { domain: Some(Domain::docker_hub()), ..repository };
    index.linked(&mirrored, &digest, layer);
    assert_eq!(index.origins(&digest), Origins { hosted: true, mirrored: true });
}

/// Removing a link of a blob takes the same time for any number of repositories that link it: `{}` is the config of
/// thousands of images.
#[test]
fn a_link_is_removed_without_a_look_at_the_others() {
    const REMOVED: usize = 100;
    let dir = TempDir::new().unwrap();
    let index = Index::open(&dir.path().join("v1"));
    let layer = Link { layer: true, ..Link::default() };
    let domain = Some(Domain::docker_hub());
    for (domain, content) in [(None, b"pushed"), (domain, b"pulled")] {
        let digest = Digest::sha256(content);
        index.discovered(&digest, 4096, 1);
        let place =
            |number: usize| Repository { domain: domain.clone(), name: format!("a{number:05}").parse().unwrap() };
        let link = |numbers: std::ops::Range<usize>| {
            numbers.for_each(|number| index.linked(&place(number), &digest, layer));
        };
        // The fastest of three: other processes take time, too.
        let remove = |last: usize| -> Duration {
            let once = |turn: usize| {
                let (begun, end) = (Instant::now(), last - turn * REMOVED);
                (end - REMOVED..end).for_each(|number| index.remove_link(&place(number), &digest, layer));
                begun.elapsed()
            };
            (0..3).map(once).min().unwrap()
        };
        link(0..4 * REMOVED);
        let few = remove(4 * REMOVED);
        link(0..60 * REMOVED);
        let many = remove(60 * REMOVED);
        assert!(many < few * 8, "{REMOVED} of many took {many:?}, of few {few:?}");
    }
}

/// Every request reads the index, so none waits while it is opened again: here another process holds its files.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own folder")]
fn a_reopening_delays_no_question() {
    let dir = TempDir::new().unwrap();
    let home = dir.path().join("v1");
    let index = Index::open(&home);
    fs::rename(&home, dir.path().join("v2")).unwrap();
    let other = Index::open(&home);
    std::thread::scope(|scope| {
        let reopening = scope.spawn(|| index.reopen().is_err());
        std::thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        assert!(!index.has_repository(&repository("a")));
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "a question took {took:?}");
        assert!(!reopening.is_finished(), "it waits for the files");
        drop(other);
    });
}
