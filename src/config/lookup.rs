//! Looks up a key in the table of keys, and suggests a known key for an unknown one.

use super::{key::Key, keys::KEYS};

/// The result of looking up a path in the table.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyMatch {
    /// The path has an entry.
    Key(&'static Key),
    /// The path is a prefix of entries.
    Section,
    /// The path is unknown.
    Nothing,
}

/// Looks up a path; case matters. A literal entry precedes a section, and both precede an entry with a wildcard.
pub(super) fn find<S: AsRef<str>>(path: &[S]) -> KeyMatch {
    let literal = |name: &str, given: &str| name == given;
    let free = |name: &str, given: &str| name == "*" || name == given;
    let known = |key: &&Key| begins(key, path, literal) == Some(0);
    match KEYS.iter().find(known) {
        Some(key) => KeyMatch::Key(key),
        None if !path.is_empty() && KEYS.iter().any(|key| begins(key, path, literal).is_some()) => KeyMatch::Section,
        None => match KEYS.iter().filter_map(|key| Some((key, begins(key, path, free)?))).min_by_key(|(_, more)| *more)
        {
            Some((key, 0)) => KeyMatch::Key(key),
            Some(_) if path.len() > 1 => KeyMatch::Section,
            _ => KeyMatch::Nothing,
        },
    }
}

/// Returns the number of remaining names if the key's path begins with `path`.
fn begins<S: AsRef<str>>(key: &Key, path: &[S], same: fn(&str, &str) -> bool) -> Option<usize> {
    let mut names = key.path.split('.');
    let all = path.iter().all(|given| names.next().is_some_and(|name| same(name, given.as_ref())));
    all.then(|| names.count())
}

/// Returns the known path that `path` is most likely a slip of: a few letters off, cut short, or in the wrong section.
pub(super) fn suggest(path: &str) -> Option<String> {
    let path = path.to_lowercase();
    if path.len() > 64 {
        return None;
    }
    near(&path).or_else(|| sibling(&path)).or_else(|| elsewhere(&path)).map(str::to_owned)
}

/// All valid spellings of sections and keys: the table's paths and their prefixes.
fn spellings() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(|key| !key.path.contains('*')).flat_map(|key| {
        let cuts = key.path.match_indices('.').map(|(at, _)| at);
        cuts.chain([key.path.len()]).map(|end| &key.path[..end])
    })
}

fn near(path: &str) -> Option<&'static str> {
    let most = (path.len() / 3).min(2);
    let level = path.matches('.').count();
    let same_level = spellings().filter(|known| known.matches('.').count() == level);
    let measured = same_level.map(|known| (distance(path, known), known));
    measured.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// Suggests a key of the same section: `storage.filesystem.rootdirectory` for `storage.filesystem.root`.
fn sibling(path: &str) -> Option<&'static str> {
    let last = path.rsplit('.').next().unwrap_or(path);
    spellings().filter(|_| last.len() > 2).find(|known| known.starts_with(path) && !known[path.len()..].contains('.'))
}

/// Suggests a key of another section: `proxy.remoteurl` for `remoteurl`.
fn elsewhere(path: &str) -> Option<&'static str> {
    let last = path.rsplit('.').next().unwrap_or(path);
    spellings().find(|known| known.rsplit('.').next() == Some(last) && known.contains('.'))
}

/// The Levenshtein distance: the fewest letters to insert, drop or change.
pub(super) fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, from) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (at, to) in to.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_slips() {
        for (from, to, expected) in [("", "ab", 2), ("http.adr", "http.addr", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(from, to), expected);
            assert_eq!(distance(to, from), expected);
        }
    }

    #[test]
    fn suggests_what_was_meant() {
        for (given, meant) in [
            ("http.adr", Some("http.addr")),
            ("http.Addr", Some("http.addr")),
            ("htp", Some("http")),
            ("remoteurl", Some("proxy.remoteurl")),
            ("storage.rootdirectory", Some("storage.filesystem.rootdirectory")),
            ("storage.filesystem.root", Some("storage.filesystem.rootdirectory")),
            ("loging", None),
            ("weather", None),
            ("x", None),
        ] {
            assert_eq!(suggest(given).as_deref(), meant, "{given}");
        }
    }
}
