//! Patterns of images, that is of tags in repositories: `team/**:v*`.

use std::{fmt, str::FromStr, sync::Arc};

use super::{InvalidPattern, NamePattern, Repository, RepositoryName, Tag, pattern::matches_component};

/// A pattern of tags: `*` stands for any number of characters, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPattern(Arc<str>);

/// A repository pattern and a tag pattern, separated by a colon; without a tag pattern, every tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePattern {
    /// The repositories.
    pub repositories: NamePattern,
    /// The tags; `None` for all.
    pub tags: Option<TagPattern>,
}

/// The string is not a pattern of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImagePattern {
    /// The part before the colon.
    #[error(transparent)]
    Repositories(#[from] InvalidPattern),
    /// The part after the colon.
    #[error("a tag after the colon, where * may stand for any number of characters, as in team/app:v*")]
    Tags,
}

/// Patterns of images, some of which except images from the others: `team/**`, `!team/**:latest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImagePatterns(Arc<[(Selection, ImagePattern)]>);

/// The effect of a pattern in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Selection {
    Include,
    Exclude,
}

impl TagPattern {
    /// Returns whether it matches this tag.
    #[must_use]
    pub fn matches(&self, tag: &Tag) -> bool {
        matches_component(&self.0, tag.as_str())
    }
}

impl ImagePattern {
    /// Returns whether it matches a tag of a repository of this or another registry, as
    /// [`NamePattern::matches_repository`] says.
    #[must_use]
    pub fn matches(&self, repository: &Repository, tag: &Tag) -> bool {
        self.repositories.matches_repository(repository) && self.matches_tag(tag)
    }

    /// Returns whether it matches this tag in the repositories that it matches.
    #[must_use]
    pub fn matches_tag(&self, tag: &Tag) -> bool {
        self.tags.as_ref().is_none_or(|tags| tags.matches(tag))
    }
}

impl ImagePatterns {
    /// Parses a list. A pattern after `!` excepts what it matches from all others.
    ///
    /// # Errors
    /// [`InvalidImagePattern`] for the first text that is no pattern.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidImagePattern> {
        let parse = |text: &'a str| match text.strip_prefix('!') {
            Some(text) => Ok((Selection::Exclude, text.parse()?)),
            None => Ok((Selection::Include, text.parse()?)),
        };
        texts.into_iter().map(parse).collect::<Result<Vec<_>, _>>().map(|patterns| Self(patterns.into()))
    }

    /// Returns whether they select this tag of a hosted repository.
    #[must_use]
    pub fn matches(&self, name: &RepositoryName, tag: &Tag) -> bool {
        let among = |wanted: Selection| {
            let is_match = |pattern: &ImagePattern| pattern.repositories.matches(name) && pattern.matches_tag(tag);
            self.0.iter().any(|(selection, pattern)| *selection == wanted && is_match(pattern))
        };
        among(Selection::Include) && !among(Selection::Exclude)
    }

    /// Returns the patterns as they were written.
    pub fn written(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(selection, pattern)| match selection {
            Selection::Include => pattern.to_string(),
            Selection::Exclude => format!("!{pattern}"),
        })
    }
}

impl FromStr for TagPattern {
    type Err = InvalidImagePattern;

    /// Accepts what matches some tag: the text with a letter for each wildcard is one.
    fn from_str(text: &str) -> Result<Self, InvalidImagePattern> {
        match text.replace('*', "a").parse::<Tag>() {
            Ok(_) => Ok(Self(text.into())),
            Err(_) => Err(InvalidImagePattern::Tags),
        }
    }
}

impl FromStr for ImagePattern {
    type Err = InvalidImagePattern;

    fn from_str(text: &str) -> Result<Self, InvalidImagePattern> {
        let (repositories, tags) = match text.split_once(':') {
            Some((repositories, tags)) => (repositories, Some(tags.parse()?)),
            None => (text, None),
        };
        Ok(Self { repositories: repositories.parse()?, tags })
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repositories.fmt(f)?;
        self.tags.iter().try_for_each(|tags| write!(f, ":{tags}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_selects_tags_in_repositories() {
        for (patterns, yes, no) in [
            (&["team/app"][..], &["team/app:1", "team/app:latest"][..], &["team/web:1", "team/app/x:1"][..]),
            (&["team/**:v*"], &["team/a:v1", "team/a/b:v"], &["team/a:1v", "other:v1"]),
            (&["**:*.*.*"], &["a:1.4.2", "a/b:1.4.2-rc.1"], &["a:1.4", "a:latest"]),
            (&["**", "!**:latest"], &["a:1"], &["a:latest", "a/b:latest"]),
            (&["!**:latest", "team/*"], &["team/a:1"], &["team/a:latest", "a:1"]),
            (&["!a"], &[], &["a:1", "b:1"]),
            (&[], &[], &["a:1"]),
        ] {
            let parsed = ImagePatterns::parse(patterns.iter().copied()).unwrap();
            assert_eq!(parsed.written().collect::<Vec<_>>(), patterns);
            let matches = |image: &str| {
                let (name, tag) = image.split_once(':').unwrap();
                parsed.matches(&name.parse().unwrap(), &tag.parse().unwrap())
            };
            for (images, expected) in [(yes, true), (no, false)] {
                assert!(images.iter().all(|image| matches(image) == expected), "{patterns:?}: {images:?}");
            }
        }
    }

    #[test]
    fn a_pattern_may_mean_another_registry() {
        let pattern: ImagePattern = "docker.io/library/*:1.*".parse().unwrap();
        let hub = Repository { domain: Some("docker.io".parse().unwrap()), name: "library/nginx".parse().unwrap() };
        assert!(pattern.matches(&hub, &"1.27".parse().unwrap()) && !pattern.matches(&hub, &"2".parse().unwrap()));
    }

    #[test]
    fn refuses_what_no_image_can_match() {
        for bad in ["", ":", "a:", "a:b/c", "a:-1", "Team/*:1", "a:1:2", "a:v 1", "a@sha256:ab"] {
            assert!(bad.parse::<ImagePattern>().is_err(), "{bad}");
        }
        assert!(ImagePatterns::parse(["a", "!"]).is_err());
    }
}
