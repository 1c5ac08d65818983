//! The `validation` section: the content that a pushed manifest may reference.

use regex_lite::Regex;

use super::{
    Error, Setting,
    dump::{self, Line},
    key,
    node::{Node, Value},
    used_keys::{
        INDEXES_PLATFORMLIST, INDEXES_PLATFORMS, MANIFESTS_BLOBS, URLS_ALLOW, URLS_DENY, VALIDATION_DISABLED,
        VALIDATION_ENABLED,
    },
};
use crate::oci::Platform;

/// The settings for checking pushed manifests.
#[derive(Clone, Debug)]
pub struct Validation {
    /// `validation.enabled`: if true, `disabled` is ignored. See [`Validation::is_on`].
    pub enabled: Setting<bool>,
    /// `validation.disabled`.
    pub disabled: Setting<bool>,
    /// `validation.manifests.urls.allow`. See [`Validation::allows_url`].
    pub allow: Setting<Vec<Regex>>,
    /// `validation.manifests.urls.deny`.
    pub deny: Setting<Vec<Regex>>,
    /// `validation.manifests.blobs`: true if a manifest's config and layers must exist before it is pushed.
    pub blobs: Setting<bool>,
    /// `validation.manifests.indexes.platforms`. See [`Validation::must_be_here`].
    pub platforms: Setting<Platforms>,
    /// `validation.manifests.indexes.platformlist`.
    pub platformlist: Setting<Vec<Platform>>,
}

/// The manifests of an index that must exist before the index is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// All of them.
    All,
    /// None: a sparse index, or one that is pushed first.
    None,
    /// Those of the listed platforms.
    List,
}

impl Validation {
    pub(super) fn read(root: &Node) -> Result<Self, Error> {
        Ok(Self {
            enabled: Setting::read(root, &VALIDATION_ENABLED, key::flag)?,
            disabled: Setting::read(root, &VALIDATION_DISABLED, key::flag)?,
            allow: Setting::read_list(root, &URLS_ALLOW, expression)?,
            deny: Setting::read_list(root, &URLS_DENY, expression)?,
            blobs: Setting::read(root, &MANIFESTS_BLOBS, |text| match text {
                "all" => Some(true),
                "none" => Some(false),
                _ => None,
            })?,
            platforms: Setting::read(root, &INDEXES_PLATFORMS, Platforms::parse)?,
            platformlist: platform_list(root)?,
        })
    }

    /// Returns whether the rest of the section has an effect, by the rules of distribution.
    #[must_use]
    pub fn is_on(&self) -> bool {
        *self.enabled || !*self.disabled
    }

    /// Returns whether a layer may be fetched from this URL instead of from here. This follows distribution's code
    /// rather than its documentation: with `deny` alone, every URL that it does not match is allowed.
    #[must_use]
    pub fn allows_url(&self, url: &str) -> bool {
        let among = |expressions: &[Regex]| expressions.iter().any(|expression| expression.is_match(url));
        let nothing_said = self.allow.is_empty() && self.deny.is_empty();
        let allowed = !nothing_said && (self.allow.is_empty() || among(&self.allow)) && !among(&self.deny);
        allowed || !self.is_on()
    }

    /// Returns whether an index's manifest for `platform` must exist before the index. As in distribution, an empty
    /// list lists every platform, variants do not count, and a descriptor without a platform is on no list.
    #[must_use]
    pub fn must_be_here(&self, platform: Option<&Platform>) -> bool {
        let listed = |platform: &Platform| {
            let is_same =
                |listed: &Platform| (&listed.os, &listed.architecture) == (&platform.os, &platform.architecture);
            self.platformlist.iter().any(is_same)
        };
        self.is_on()
            && match *self.platforms {
                Platforms::All => true,
                Platforms::None => false,
                Platforms::List => self.platformlist.is_empty() || platform.is_some_and(listed),
            }
    }

    pub(super) fn lines(&self) -> [Line; 7] {
        let platforms = self.platformlist.iter().map(|platform| {
            dump::map([("os", dump::quoted(&platform.os)), ("architecture", dump::quoted(&platform.architecture))])
        });
        [
            Line::new(&self.enabled, self.enabled.to_string()),
            Line::new(&self.disabled, self.disabled.to_string()),
            Line::list(&self.allow, self.allow.iter().map(Regex::as_str)),
            Line::list(&self.deny, self.deny.iter().map(Regex::as_str)),
            Line::new(&self.blobs, if *self.blobs { "all" } else { "none" }),
            Line::new(&self.platforms, self.platforms.as_str()),
            Line::flow(&self.platformlist, format!("[{}]", platforms.collect::<Vec<_>>().join(", "))),
        ]
    }
}

impl Platforms {
    fn parse(text: &str) -> Option<Self> {
        let all = [Self::All, Self::None, Self::List];
        all.into_iter().find(|platforms| platforms.as_str().eq_ignore_ascii_case(text))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::None => "none",
            Self::List => "list",
        }
    }
}

fn expression(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| format!("a regular expression ({error})"))
}

fn platform_list(root: &Node) -> Result<Setting<Vec<Platform>>, Error> {
    let key = &INDEXES_PLATFORMLIST;
    let Some(node) = root.get(key.path).filter(|node| !node.is_empty()) else {
        return Ok(Setting::default(key, Vec::new()));
    };
    let Value::List(items) = &node.value else { return Err(Error::shape(key, node)) };
    let expected = "platforms such as {os: linux, architecture: amd64}";
    let platforms = items.iter().map(|item| platform(item).ok_or_else(|| Error::item_shape(key, item, expected)));
    Ok(Setting::new(key, platforms.collect::<Result<_, _>>()?, "", node.origin.clone()))
}

fn platform(item: &Node) -> Option<Platform> {
    let Value::Map(entries) = &item.value else { return None };
    let text = |wanted: &str| match &entries.iter().find(|(name, _)| name == wanted)?.1.value {
        Value::Text(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    let known = entries.iter().all(|(name, _)| matches!(name.as_str(), "os" | "architecture"));
    known.then_some(Platform { os: text("os")?, architecture: text("architecture")?, variant: None })
}
