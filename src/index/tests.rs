//! The index's own promises: what was noted is found again, and damage costs nothing but the notes.

use std::{fs, time::UNIX_EPOCH};

use tempfile::TempDir;

use super::*;

fn repository(name: &str) -> Repository {
    Repository { domain: None, name: name.parse().unwrap() }
}

#[test]
fn finds_what_was_noted_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let (digest, tag) = (Digest::sha256(b"a"), "latest".parse().unwrap());
    let object = Object { size: 3, mtime: -4, inode: 5 };
    {
        let index = Index::open(&dir.path().join("v1"));
        assert!(!index.is_complete());
        index.put_object(&digest, &object);
        index.add_link(&repository("a"), &digest, Link { layer: true, ..Link::default() });
        index.add_link(&repository("a"), &digest, Link { named: Some(7), ..Link::default() });
        index.put_tag(&repository("a"), &tag, digest, UNIX_EPOCH);
        index.set_complete();
        index.flush();
    }
    let index = Index::open(&dir.path().join("v1"));
    assert!(index.is_complete());
    assert_eq!(index.object(&digest), Some(object));
    let link = index.link(&repository("a"), &digest).unwrap();
    assert_eq!(link, Link { revision: false, layer: true, named: Some(7) });
    assert_eq!(index.link(&repository("b"), &digest), None);
    assert_eq!(index.tag(&repository("a"), &tag).unwrap().checked(), UNIX_EPOCH);
    index.remove_tag(&repository("a"), &tag);
    assert_eq!(index.tag(&repository("a"), &tag), None);
}

#[test]
fn begins_anew_when_its_files_are_garbage() {
    let dir = TempDir::new().unwrap();
    let home = dir.path().join("v1");
    Index::open(&home).set_complete();
    for entry in fs::read_dir(&home).unwrap().filter_map(Result::ok).filter(|e| e.path().is_file()) {
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
    let mirrored = Repository { domain: Some(crate::oci::Domain::docker_hub()), ..repository("a") };
    assert_eq!(index.link(&mirrored, &digest), None);
}
