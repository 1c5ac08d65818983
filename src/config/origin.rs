//! The origin of a configuration value: file and line, environment variable, command-line flag, or default.

use std::{fmt, path::Path, sync::Arc};

use super::one_line::OneLine;

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
