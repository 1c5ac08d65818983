//! The types of `entrepot::oci`: a parsed value is written as it was read, and is safe as a path.

use std::{
    fmt::Display,
    path::{Component, Path},
    str::{self, FromStr},
    sync::LazyLock,
};

use entrepot::oci::{
    Digest, Domain, ImageName, MediaType, NamePattern, Reference, Repository, RepositoryName, Tag, UploadId,
};
use regex_lite::Regex;

/// distribution-spec, "Pulling manifests", as it stands there.
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    let component = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*";
    Regex::new(&format!("^{component}(/{component})*$")).expect("the specification's own")
});
static TAG: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$").expect("the specification's own"));

/// A value has only one spelling.
fn one_spelling<T: FromStr + Display + PartialEq>(text: &str) -> Option<T> {
    let read: T = text.parse().ok()?;
    assert_eq!(read.to_string(), text);
    Some(read)
}

/// Joined to a folder, the path stays below it and has the expected components.
fn stays_below(text: &str, components: usize) {
    let parts: Vec<_> = Path::new(text).components().collect();
    assert!(parts.len() == components && parts.iter().all(|part| matches!(part, Component::Normal(_))), "{text:?}");
}

/// Repository names.
pub(super) fn name(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let read = one_spelling::<RepositoryName>(text);
    assert_eq!(read.is_some(), text.len() <= 255 && NAME.is_match(text), "{text:?}");
    if read.is_some() {
        stays_below(text, text.split('/').count());
        assert!(!text.split('/').any(|part| part.starts_with(['_', '.', '-'])), "no folder of the layout's own");
    }
}

/// Names of images: completed, a name means the same.
pub(super) fn image_name(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(image) = text.parse::<ImageName>() else { return };
    let full: ImageName = image.to_string().parse().expect("its own spelling");
    assert_eq!(
        (&full.domain, &full.name, full.reference()),
        (&image.domain, &image.name, image.reference()),
        "{text:?}"
    );
    stays_below(image.name.as_str(), image.name.as_str().split('/').count());
}

/// Tags and digests as references of manifests.
pub(super) fn reference(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    assert_eq!(one_spelling::<Tag>(text).is_some(), TAG.is_match(text), "{text:?}");
    match one_spelling::<Reference>(text) {
        Some(Reference::Tag(tag)) => stays_below(tag.as_str(), 1),
        Some(Reference::Digest(digest)) => assert_eq!(text.parse(), Ok(digest)),
        None => assert!(text.parse::<Tag>().is_err() && text.parse::<Digest>().is_err()),
    }
}

/// Digests.
pub(super) fn digest(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Some(digest) = one_spelling::<Digest>(text) else { return };
    let hex = digest.hex();
    assert_eq!(hex.len(), 2 * digest.as_bytes().len());
    assert!(hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
    assert_eq!(text, format!("{}:{hex}", digest.algorithm().as_str()));
    assert!(!digest.matches(data), "nobody finds a text that is its own digest");
}

/// Domains, which `?ns=` names.
pub(super) fn domain(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(domain) = text.parse::<Domain>() else { return };
    assert_eq!(one_spelling::<Domain>(domain.as_str()), Some(domain.clone()));
    assert_eq!(text.to_ascii_uppercase().parse(), Ok(domain.clone()), "case says nothing");
    assert!(domain == Domain::docker_hub() || domain.as_str() == text.to_ascii_lowercase());
    stays_below(domain.as_str(), 1);
}

/// The names of upload sessions.
pub(super) fn upload(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if one_spelling::<UploadId>(text).is_some() {
        assert_eq!(text.len(), 36);
        stays_below(text, 1);
    }
}

/// `Content-Type` and `mediaType`.
pub(super) fn media_type(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let read = MediaType::new(text);
    assert_eq!(MediaType::new(read.as_str()), read);
    assert_eq!(MediaType::new(&format!("{}; charset=utf-8", read.as_str())), read);
    assert!(!read.as_str().contains(';') && read.as_str().len() <= text.len());
    assert!(!(read.is_index() && read.is_schema1()));
}

/// A pattern, and on the next line a name to match.
pub(super) fn pattern(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (text, name) = text.split_once('\n').unwrap_or((text, "team/app"));
    let Some(pattern) = one_spelling::<NamePattern>(text) else { return };
    let Ok(name) = name.parse::<RepositoryName>() else { return };
    let matches = pattern.matches(&name);
    assert_eq!(matches, means(text, name.as_str()), "{text} {name}");
    assert!(matches || !pattern.is_everything());
    assert!(pattern.matches_somewhere(&name) || !matches);
    let own = Repository { domain: None, name: name.clone() };
    let hub = Repository { domain: Some(Domain::docker_hub()), name };
    assert_eq!(pattern.matches_repository(&own), matches);
    assert!(pattern.matches_repository(&hub) || !matches);
}

/// A slow reference implementation of patterns: the prefixes of the name that each prefix of the pattern matches.
fn means(pattern: &str, name: &str) -> bool {
    let (parts, components): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), name.split('/').collect());
    let within = |part: &str, component: &str| {
        reaches(part.as_bytes(), component.as_bytes(), |byte| *byte == b'*', |a, b| a == b)
    };
    reaches(&parts, &components, |part| *part == "**", |part, component| within(part, component))
}

fn reaches<P, T>(pattern: &[P], text: &[T], wild: impl Fn(&P) -> bool, same: impl Fn(&P, &T) -> bool) -> bool {
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for part in pattern {
        let before = ends.clone();
        for end in 0..ends.len() {
            ends[end] = match wild(part) {
                true => before[..=end].contains(&true),
                false => end > 0 && before[end - 1] && same(part, &text[end - 1]),
            };
        }
    }
    ends[text.len()]
}
