//! What the table of keys says about one key. The table itself is `key_table.rs`.

/// One key.
#[derive(Debug)]
pub struct Key {
    /// From the top, with dots; `*` is a name of the operator's choice.
    pub path: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What holds when nobody says anything; empty if nothing does.
    pub default: &'static str,
    /// What it does here.
    pub effect: Effect,
    /// Never shown.
    pub secret: bool,
    /// What it is for, in one line.
    pub doc: &'static str,
}

/// What may stand under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Keys of this table; an entry for the section itself says something about all of them.
    Section,
    /// Names and values that this program does not look into.
    Opaque,
    /// As opaque, and it is chosen by its mere name.
    Driver,
    /// Several values.
    List,
    /// Names of headers, each with several values.
    Headers,
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
    /// Go's notation.
    Duration,
    /// `http` or `https`.
    Url,
    /// The beginning of a URL's path.
    UrlPath,
    /// Host and port to listen on.
    Address,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// What a key does in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What its doc says.
    Used,
    /// Another, newer key's effect: that one's path.
    AliasOf(&'static str),
    /// Nothing, for this reason; whoever sets it is warned.
    NoEffect(&'static str),
    /// It stops the start, since passing over it would open or misplace something: why, and what to do.
    Refused(&'static str),
}

impl Kind {
    /// What to say when something else stands there.
    #[must_use]
    pub fn expected(self) -> String {
        let fixed = match self {
            Self::Choice([only]) => return (*only).to_owned(),
            Self::Choice(words) => return format!("one of {}", words.join(", ")),
            Self::Section | Self::Opaque | Self::Driver => "a section of keys",
            Self::List => "a list",
            Self::Headers => "a section of header names, each with a list of values",
            Self::Text => "a single value",
            Self::Path => "a path such as /var/lib/registry",
            Self::Flag => "true or false",
            Self::Integer => "a whole number",
            Self::Size => "a size such as 50GB, or a share such as 80%",
            Self::Duration => "a duration such as 30s, 5m or 1h30m",
            Self::Url => "an http or https URL such as https://registry-1.docker.io",
            Self::UrlPath => "a path such as /my/registry/",
            Self::Address => "an address such as :5000, 127.0.0.1:5000 or [::1]:5000",
        };
        fixed.to_owned()
    }

    /// Whether names that the table does not know may stand below.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Opaque | Self::Driver | Self::List | Self::Headers)
    }
}

/// YAML 1.1's booleans, which `registry:2`'s reader knows.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}
