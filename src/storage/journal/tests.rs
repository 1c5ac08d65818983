//! The order of lines, what a crash leaves, and what is dropped.
#![allow(clippy::disallowed_methods, reason = "a test's own file")]

use super::*;

/// Small enough that a few lines fill a file.
const FILE_BYTES: u64 = 100;

fn io() -> &'static Blocking {
    Blocking::in_test()
}

fn open(dir: &Path) -> Journal {
    Journal::open(io(), dir, FILE_BYTES, true).unwrap()
}

fn append(journal: &Journal, lines: impl IntoIterator<Item = u64>) {
    for line in lines {
        let until = journal.append(io(), &[format!("line {line}")]).unwrap();
        journal.sync(io(), until).unwrap();
    }
}

/// Takes up to this many lines.
fn take(journal: &Journal, most: usize) -> Vec<u64> {
    let mut taken = Vec::new();
    while taken.len() < most
        && let Some(line) = journal.first(io()).unwrap()
    {
        journal.take(io(), line.number).unwrap();
        taken.push(line.text.strip_prefix("line ").unwrap().parse().unwrap());
    }
    taken
}

fn names(dir: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some());
    names.sort();
    names
}

#[test]
fn lines_come_in_order_over_files_and_openings() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append(&journal, 0..20);
    assert!(names(dir.path()).len() > 3, "several files");
    assert_eq!((take(&journal, 7), journal.waiting()), ((0..7).collect(), 13));
    drop(journal);
    let journal = open(dir.path());
    assert_eq!((journal.waiting(), journal.last(io()).unwrap().as_deref()), (13, Some("line 19")));
    append(&journal, 20..22);
    assert_eq!(take(&journal, 100), (7..22).collect::<Vec<_>>());
    assert_eq!((journal.waiting(), journal.first(io()).unwrap()), (0, None));
    append(&journal, 22..23);
    assert_eq!(take(&journal, 100), [22]);
    assert!(names(dir.path()).len() <= 2, "files whose lines are taken are removed");
}

#[test]
fn a_line_that_is_not_taken_stays_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append(&journal, 0..2);
    let first = journal.first(io()).unwrap();
    assert_eq!(journal.first(io()).unwrap(), first);
    drop(journal);
    assert_eq!(open(dir.path()).first(io()).unwrap(), first);
}

/// A crash may leave half a line, or zeros; both end the file.
#[test]
fn a_torn_end_is_cut_off() {
    for torn in [b"0123456789abcdef li".as_slice(), &[0; 50], b"half\n", b"\xff\xfe\n\n"] {
        let dir = tempfile::tempdir().unwrap();
        append(&open(dir.path()), 0..2);
        let file = names(dir.path()).pop().unwrap();
        let whole = fs::read(&file).unwrap();
        fs::write(&file, [&whole, torn].concat()).unwrap();
        let journal = open(dir.path());
        assert_eq!(fs::read(&file).unwrap(), whole);
        append(&journal, 2..3);
        assert_eq!((take(&journal, 9), journal.skipped()), (vec![0, 1, 2], 0), "{torn:?}");
    }
}

#[test]
fn a_damaged_line_is_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    append(&open(dir.path()), 0..3);
    let file = names(dir.path()).pop().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("line 1", "line 7")).unwrap();
    let journal = open(dir.path());
    assert_eq!((take(&journal, 9), journal.skipped(), journal.waiting()), (vec![0, 2], 1, 0));
}

#[test]
fn the_oldest_file_is_dropped_with_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append(&journal, 0..20);
    take(&journal, 1);
    assert!(journal.first(io()).unwrap().is_some(), "a line is being delivered");
    let (before, dropped) = (journal.bytes(), journal.drop_oldest(io()).unwrap());
    assert!(dropped > 0 && journal.bytes() < before);
    assert_eq!(take(&journal, 100), (1 + dropped..20).collect::<Vec<_>>());
    append(&journal, 20..21);
    assert_eq!(journal.drop_oldest(io()).unwrap(), 1, "also the one that is written to");
    assert_eq!((journal.bytes(), journal.waiting(), take(&journal, 9)), (0, 0, vec![]));
    append(&journal, 21..22);
    assert_eq!(take(&journal, 9), [21]);
}

/// After a power loss, lines that were taken may be gone, while the cursor is not.
#[test]
fn a_cursor_ahead_of_the_lines_loses_no_later_line() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append(&journal, 0..2);
    take(&journal, 2);
    drop(journal);
    for file in names(dir.path()) {
        fs::write(file, "").unwrap();
    }
    let journal = open(dir.path());
    append(&journal, 2..4);
    assert_eq!(take(&journal, 9), [2, 3]);
}

#[test]
fn a_missing_cursor_repeats_lines() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append(&journal, 0..3);
    take(&journal, 2);
    drop(journal);
    fs::remove_file(dir.path().join(CURSOR)).unwrap();
    assert_eq!(take(&open(dir.path()), 9), [0, 1, 2]);
}

/// Whoever has lines in a file whose sync failed gets the error, whatever was synced since.
#[test]
fn a_failed_sync_is_told_to_all_whose_lines_it_was_for() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append(&journal, 0..1);
    // Takes writes, and cannot be synced.
    journal.state.lock().writer = Arc::new(OpenOptions::new().write(true).open("/dev/null").unwrap());
    let [first, second] = ["line 1", "line 2"].map(|line| journal.append(io(), &[line.to_owned()]).unwrap());
    assert!(journal.sync(io(), first).is_err());
    let third = journal.append(io(), &["line 3".to_owned()]).unwrap();
    journal.sync(io(), third).unwrap();
    assert!(journal.sync(io(), first).is_err() && journal.sync(io(), second).is_err(), "they are not on the disk");
    let written = names(dir.path()).iter().any(|name| fs::read_to_string(name).unwrap().contains("line 3"));
    assert!(written, "later lines go to another file");
}
