//! A look at all that is on disk, part by part, while requests go on: what the ledger says of folders, links and sessions
//! is put right, and every blob is told to the floor above.

use std::{fs, path::Path};

use super::{
    Storage,
    ledger::Charge,
    publish::signed,
    usage::{SAMPLED, allocated, tree},
};
use crate::oci::Digest;

impl Storage {
    /// Looks at everything, and calls `shelf` with the blobs of a shelf at a time. Returns by how many bytes the ledger was
    /// wrong about folders, links and sessions.
    pub fn survey(&self, mut shelf: impl FnMut(Vec<Digest>)) -> i64 {
        self.ledger.begin_survey();
        for place in self.layout.shelves() {
            let mut blobs = Vec::new();
            self.look_at(&place.dir, |dir| {
                blobs = shelved(dir, &place.algorithm);
                Charge { links: folders(dir), sessions: 0 }
            });
            shelf(blobs);
        }
        for repository in self.layout.repositories() {
            // Only what begins with an underscore is the repository's own.
            self.look_at(&self.layout.repository(&repository).join("_"), |own| match own.parent() {
                Some(dir) => self.repository(dir),
                None => Charge::default(),
            });
        }
        self.look_at(self.layout.root(), |root| Charge { links: skeleton(root, 0), sessions: 0 });
        self.ledger.end_survey()
    }

    fn look_at(&self, path: &Path, look: impl FnOnce(&Path) -> Charge) {
        let part = self.names.parts.of(path);
        let _lock = self.names.parts.lock(part);
        self.ledger.surveyed(part, look(path));
    }

    fn repository(&self, dir: &Path) -> Charge {
        let mut found = Charge::default();
        for (path, own) in entries(dir).filter(|(_, name)| name.starts_with('_')) {
            if own == "_uploads" {
                found += self.sessions(&path);
            } else {
                found.links += signed(tree(&path));
            }
        }
        found
    }

    fn sessions(&self, uploads: &Path) -> Charge {
        let mut found = Charge { links: signed(allocated(uploads)), sessions: 0 };
        for (session, _) in entries(uploads) {
            let data = session.join("data");
            found.links += signed(tree(&session)) - signed(allocated(&data));
            found.sessions += signed(self.growing.settled(&data));
        }
        found
    }
}

fn shelved(dir: &Path, algorithm: &str) -> Vec<Digest> {
    entries(dir).filter_map(|(_, hex)| format!("{algorithm}:{hex}").parse().ok()).collect()
}

/// A shelf's folders, without the blobs.
fn folders(shelf: &Path) -> i64 {
    signed(allocated(shelf)) + entries(shelf).map(|(own, _)| signed(allocated(&own))).sum::<i64>()
}

/// All that is in no other part: folders down to where repositories and shelves begin, and whatever lies between.
fn skeleton(dir: &Path, depth: usize) -> i64 {
    let below: i64 = entries(dir)
        .map(|(path, name)| {
            let other = name.starts_with('_') || (depth == 0 && SAMPLED.contains(&name.as_str())) || is_shelf(&path);
            match path.is_dir() {
                _ if other => 0,
                true => skeleton(&path, depth + 1),
                false => signed(allocated(&path)),
            }
        })
        .sum();
    below + signed(allocated(dir))
}

fn is_shelf(path: &Path) -> bool {
    path.parent().and_then(Path::parent).is_some_and(|blobs| blobs.ends_with("docker/registry/v2/blobs"))
}

fn entries(dir: &Path) -> impl Iterator<Item = (std::path::PathBuf, String)> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))
}
