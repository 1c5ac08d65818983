//! The type of the entries of `keys.rs`: a key's kind, default, effect and documentation.

/// A configuration key.
#[derive(Debug)]
pub struct Key {
    /// Its full path, with dots; `*` is a name of the operator's choice.
    pub path: &'static str,
    /// The kind of its value.
    pub kind: ValueKind,
    /// Its value if it is not set; empty if there is none.
    pub default: &'static str,
    /// Its effect in Entrepot.
    pub effect: Effect,
    /// True if its value must not be shown.
    pub secret: bool,
    /// Its purpose, in one line.
    pub doc: &'static str,
}

/// The kind of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Keys of this table; an entry for the section itself holds for all of them.
    Section,
    /// Names and values that Entrepot does not read.
    Opaque,
    /// As opaque; its mere presence selects a driver.
    Driver,
    /// Several values.
    List,
    /// Names of headers, each with several values.
    Headers,
    /// Registries, alone or each with its settings.
    Upstreams,
    /// Hosts of this server, each with the registry that it stands for.
    Hosts,
    /// Any text.
    Text,
    /// A path in the filesystem.
    Path,
    /// True or false, as YAML 1.1 spells them.
    Flag,
    /// A whole number.
    Integer,
    /// A number of bytes, or a share of a whole.
    Size,
    /// A share of a whole.
    Share,
    /// A number of bytes, and no share.
    Bytes,
    /// A duration in Go's notation.
    Duration,
    /// An `http` or `https` URL.
    Url,
    /// A prefix of a URL's path.
    UrlPath,
    /// A host and a port to listen on.
    Address,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// The effect of a key in Entrepot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is used, as its `doc` says.
    Used,
    /// It is an older name of the key with this path.
    AliasOf(&'static str),
    /// It has no effect, for this reason; a warning says so.
    NoEffect(&'static str),
    /// It prevents the start, since ignoring it could grant access or misplace data: the reason, and the remedy.
    Refused(&'static str),
}

impl ValueKind {
    /// The text for a message about a value of another kind.
    #[must_use]
    pub fn expected(self) -> String {
        let fixed = match self {
            Self::Choice([only]) => return (*only).to_owned(),
            Self::Choice(words) => return format!("one of {}", words.join(", ")),
            Self::Section | Self::Opaque | Self::Driver => "a section of keys",
            Self::List => "a list",
            Self::Headers => "a section of header names, each with a list of values",
            Self::Upstreams => "a list of registries such as ghcr.io, or a section of them with their settings",
            Self::Hosts => "a section of host names, each with a registry such as ghcr.io",
            Self::Text => "a single value",
            Self::Path => "a path such as /var/lib/registry",
            Self::Flag => "true or false",
            Self::Integer => "a whole number",
            Self::Bytes => "a size such as 50MB",
            Self::Share => "a share from 0% to 100%",
            Self::Size => "a size such as 50GB, or a share such as 80%",
            Self::Duration => "a duration such as 30s, 5m or 1h30m",
            Self::Url => "an http or https URL such as https://registry-1.docker.io",
            Self::UrlPath => "a path such as /my/registry/",
            Self::Address => "an address such as :5000, 127.0.0.1:5000 or [::1]:5000",
        };
        fixed.to_owned()
    }

    /// Returns whether names that are not in the table are valid below this key.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Opaque | Self::Driver | Self::List | Self::Headers | Self::Upstreams | Self::Hosts)
    }
}

/// Reads a boolean of YAML 1.1, as `registry:2` does.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}
