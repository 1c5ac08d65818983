//! The `log` section.

use super::{
    Error, Setting, Warning,
    dump::Line,
    keys,
    known_keys::{ACCESSLOG_DISABLED, AUDIT_PULLS, LOG_FORMATTER, LOG_LEVEL, LOGLEVEL},
    node::Node,
};

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Log {
    /// `log.accesslog.disabled`: no line for each request.
    pub accesslog_disabled: Setting<bool>,
    /// `log.audit.pulls`: a line in the audit log for each pull.
    pub audit_pulls: Setting<bool>,
    /// `log.level`.
    pub level: Setting<Level>,
    /// `log.formatter`.
    pub formatter: Setting<Formatter>,
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What went wrong.
    Error,
    /// What may go wrong.
    Warn,
    /// What a running server's owner wants to know.
    Info,
    /// What its developer wants to know.
    Debug,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formatter {
    /// For people.
    Text,
    /// For programs: an object a line.
    Json,
}

impl Log {
    pub(super) fn read(root: &Node, warnings: &mut Vec<Warning>) -> Result<Self, Error> {
        let level = if root.text(&LOG_LEVEL)?.is_none() { &LOGLEVEL } else { &LOG_LEVEL };
        if let Some(("logstash", origin)) = root.text(&LOG_FORMATTER)? {
            warnings.push(Warning::new(origin, "log.formatter logstash is not known here: json is written instead"));
        }
        Ok(Self {
            accesslog_disabled: Setting::read(root, &ACCESSLOG_DISABLED, keys::flag)?,
            audit_pulls: Setting::read(root, &AUDIT_PULLS, keys::flag)?,
            level: Setting::read(root, level, Level::parse)?,
            formatter: Setting::read(root, &LOG_FORMATTER, Formatter::parse)?,
        })
    }

    pub(super) fn lines(&self) -> [Line; 4] {
        [
            Line::new(&self.accesslog_disabled, self.accesslog_disabled.to_string()),
            Line::new(&self.audit_pulls, self.audit_pulls.to_string()),
            Line::of(&LOG_LEVEL, self.level.as_str()),
            Line::new(&self.formatter, self.formatter.as_str()),
        ]
    }
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        let levels = [Self::Error, Self::Warn, Self::Info, Self::Debug];
        levels.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text))
    }

    /// As the file spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl Formatter {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" | "logstash" => Some(Self::Json),
            _ => None,
        }
    }

    /// As the file spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}
