//! The records of a volume's index, and the comparison with an index that is made anew from the disk.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use entrepot::index::Index;

use super::scratch;
use crate::support::server::{Setup, entrepot};

/// Every record of a stopped server's index.
pub(crate) fn records(data: &Path) -> BTreeSet<String> {
    let copy = scratch::dir("index");
    for file in scratch::files(&data.join("index")) {
        fs::create_dir_all(copy.path().join(&file).parent().unwrap()).unwrap();
        fs::copy(data.join("index").join(&file), copy.path().join(&file)).unwrap();
    }
    let index = Index::open(&copy.path().join("v1"));
    assert!(index.was_complete(), "it is the one that was closed");
    index.dump()
}

/// The index of a stopped server is the one that a server of `setup` makes anew, record by record, and no repository on
/// the disk is only empty folders.
pub(crate) fn equal_those_made_anew(data: &Path, setup: Setup) {
    let running = records(data);
    assert_eq!(empty_folders(&data.join("mirrors")), Vec::<PathBuf>::new());
    fs::remove_dir_all(data.join("index")).unwrap();
    let mut server = setup.start();
    // Waits until the index is made.
    entrepot(&["du", "--data", data.to_str().unwrap()], &[]).expect_success("du");
    server.stop();
    let anew = records(data);
    let (only_running, only_anew) = (running.difference(&anew), anew.difference(&running));
    let differences = (only_running.collect::<Vec<_>>(), only_anew.collect::<Vec<_>>());
    assert_eq!(differences, (Vec::new(), Vec::new()), "(only in the running one, only in the one made anew)");
}

/// The folders of repositories without any file in or below them.
fn empty_folders(mirrors: &Path) -> Vec<PathBuf> {
    let children = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let domains = children(mirrors).map(|domain| domain.join("repositories"));
    domains.flat_map(|home| children(&home).collect::<Vec<_>>()).filter(|dir| scratch::files(dir).is_empty()).collect()
}
