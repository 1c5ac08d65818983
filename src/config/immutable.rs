//! `immutable`: the tags of this registry that never name another manifest.

use super::{Error, Setting, dump::Line, node::Node, used_keys::IMMUTABLE};
use crate::oci::ImagePatterns;

/// Reads the patterns.
pub(super) fn read(root: &Node) -> Result<Setting<ImagePatterns>, Error> {
    let Some(node) = root.get(IMMUTABLE.path).filter(|node| !node.is_empty()) else {
        return Ok(Setting::default(&IMMUTABLE, ImagePatterns::default()));
    };
    let items = node.items(&IMMUTABLE)?;
    for (text, origin) in &items {
        ImagePatterns::parse([*text]).map_err(|expected| Error::value(&IMMUTABLE, origin, text, expected))?;
    }
    let written = items.iter().map(|(text, _)| *text).collect::<Vec<_>>();
    let patterns = ImagePatterns::parse(written.iter().copied());
    let patterns =
        patterns.map_err(|expected| Error::value(&IMMUTABLE, &node.origin, &written.join(", "), expected))?;
    Ok(Setting::new(&IMMUTABLE, patterns, &written.join(", "), node.origin.clone()))
}

impl Setting<ImagePatterns> {
    pub(super) fn line(&self) -> Line {
        Line::list(self, self.written())
    }
}
