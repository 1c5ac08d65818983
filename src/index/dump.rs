//! Dumps the index as text, to compare one that was kept up to date with one that was made anew from the disk.

use std::collections::BTreeSet;

use sled::Tree;

use super::{Index, Link, blob_record::BlobRecord, keys, trees::Trees};

impl Index {
    /// Returns every record, as a line of text, less what the disk does not tell: stamps, durability, uses, ranks and
    /// deferrals, blobs that clients wanted, the times of tags, and what manifests of hosted repositories name (their
    /// layers have links).
    #[must_use]
    pub fn dump(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        self.dump_tree(&mut lines, "blob", |trees| &trees.blobs, |_, value| self.shown_blob(value));
        self.dump_tree(&mut lines, "link", |trees| &trees.links, shown_link);
        self.dump_tree(&mut lines, "tag", |trees| &trees.tags, |_, value| escaped(value.get(8..)?));
        self.dump_tree(&mut lines, "holder", |trees| &trees.holders, |_, value| escaped(value));
        self.dump_tree(&mut lines, "parent", |trees| &trees.parents, |_, value| escaped(value));
        self.dump_tree(&mut lines, "referrer", |trees| &trees.referrers, |_, value| escaped(value));
        self.dump_tree(&mut lines, "repository", |trees| &trees.repositories, |_, value| escaped(value));
        self.dump_tree(&mut lines, "claim", |trees| &trees.claims, |_, value| escaped(value));
        // A position is a tier, a rank and a digest.
        let digest = |key: &[u8]| format!("queued {}", key.get(9..).unwrap_or_default().escape_ascii());
        self.database.scan(
            |trees| &trees.queue,
            &[],
            |key, _| {
                lines.insert(digest(key));
                true
            },
        );
        lines
    }

    /// Adds the records of one tree for which `shown` returns a text.
    fn dump_tree(
        &self,
        lines: &mut BTreeSet<String>,
        name: &str,
        tree: impl Fn(&Trees) -> &Tree,
        shown: impl Fn(&[u8], &[u8]) -> Option<String>,
    ) {
        self.database.scan(tree, &[], |key, value| {
            lines.extend(shown(key, value).map(|value| format!("{name} {} {value}", key.escape_ascii())));
            true
        });
    }

    fn shown_blob(&self, value: &[u8]) -> Option<String> {
        let record = BlobRecord::decode(value)?;
        let entry = record.entry.map(|entry| {
            let upstream = self.upstream(&entry).map(|domain| domain.to_string());
            format!("{:?} {:?} {} {upstream:?} {}", entry.owner, entry.kind, entry.allocated, entry.pinned)
        });
        Some(format!("{} {entry:?}", record.origins.mirrored))
    }
}

fn shown_link(key: &[u8], value: &[u8]) -> Option<String> {
    let link = Link::decode(value)?;
    let is_hosted = key.starts_with(&keys::home(None));
    let link = Link { wanted: false, named: link.named.filter(|_| !is_hosted), ..link };
    (link != Link::default()).then(|| format!("{link:?}"))
}

fn escaped(value: &[u8]) -> Option<String> {
    Some(value.escape_ascii().to_string())
}
