//! Where a value was said, as error messages and warnings name it.

use std::{fmt, path::Path, sync::Arc};

/// Who said it. Displayed as `config.yml:7`, `REGISTRY_HTTP_ADDR`, `--data` or `default`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The configuration file.
    File {
        /// As it was named on the command line.
        path: Arc<Path>,
        /// From 1; the line of the key rather than of its value.
        line: usize,
    },
    /// An environment variable, by its name.
    Variable(Arc<str>),
    /// A flag on the command line, by its name.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", OneLine(&path.to_string_lossy())),
            Self::Variable(name) => OneLine(name).fmt(f),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Text from outside, on its way into a message that must stay one line and must not steer a terminal.
pub(super) struct OneLine<'a>(pub(super) &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\u{2028}' | '\u{2029}' => write!(f, "{}", char.escape_unicode())?,
                char if char.is_control() => write!(f, "{}", char.escape_default())?,
                char => write!(f, "{char}")?,
            }
        }
        Ok(())
    }
}
