//! The `catalog` and `tags` sections: page sizes of lists.

use std::num::NonZeroUsize;

use super::{
    Error, Setting,
    dump::Line,
    key::Key,
    node::Node,
    used_keys::{CATALOG_MAXENTRIES, TAGS_MAXTAGS},
};

/// The list of repositories.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// `catalog.maxentries`: the maximum page size, and the default for a request without `n`.
    pub maxentries: Setting<NonZeroUsize>,
}

/// The lists of tags.
#[derive(Clone, Debug)]
pub struct TagsConfig {
    /// `tags.maxtags`: the maximum page size.
    pub maxtags: Setting<NonZeroUsize>,
}

impl Catalog {
    pub(super) fn read(root: &Node) -> Result<Self, Error> {
        Ok(Self { maxentries: page(root, &CATALOG_MAXENTRIES)? })
    }

    pub(super) fn lines(&self) -> [Line; 1] {
        [Line::new(&self.maxentries, self.maxentries.to_string())]
    }
}

impl TagsConfig {
    pub(super) fn read(root: &Node) -> Result<Self, Error> {
        Ok(Self { maxtags: page(root, &TAGS_MAXTAGS)? })
    }

    pub(super) fn lines(&self) -> [Line; 1] {
        [Line::new(&self.maxtags, self.maxtags.to_string())]
    }
}

/// Reads a page size. As in `registry:2`, 0 means the default.
fn page(root: &Node, key: &'static Key) -> Result<Setting<NonZeroUsize>, Error> {
    let said = Setting::read(root, key, |text| text.parse::<usize>().ok())?;
    match NonZeroUsize::new(*said).or_else(|| key.default.parse().ok()) {
        Some(entries) => Ok(said.with(entries)),
        None => Err(said.error(key.kind.expected())),
    }
}
