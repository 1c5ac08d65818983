//! Where a configuration value was set: file and line, environment variable, command-line flag, or default. Also
//! displays text from outside on one line.

use std::{fmt, path::Path, sync::Arc};

/// The origin of a value. Displayed as `config.yml:7`, `REGISTRY_HTTP_ADDR`, `--data` or `default`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The built-in default.
    Default,
    /// The configuration file.
    File {
        /// The path as it was given on the command line.
        path: Arc<Path>,
        /// The line of the key, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(Arc<str>),
    /// A command-line flag.
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

/// Displays text from outside on one line, without control characters that could affect a terminal.
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
