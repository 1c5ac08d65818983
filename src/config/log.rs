//! The `log` section, and the older `loglevel`: level, format, access log, and whether pulls are audited. The audit log
//! is always on and always JSON.

use super::{
    Error, Setting, Warning,
    dump::Line,
    key,
    node::Node,
    used_keys::{ACCESSLOG_DISABLED, AUDIT_PULLS, LOG_FORMATTER, LOG_LEVEL, LOGLEVEL},
};

/// The settings of the logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// `log.accesslog.disabled`: no access log.
    pub accesslog_disabled: Setting<bool>,
    /// `log.audit.pulls`: pulls are written to the audit log too.
    pub audit_pulls: Setting<bool>,
    /// `log.level`.
    pub level: Setting<Level>,
    /// `log.formatter`.
    pub formatter: Setting<Formatter>,
}

/// The lowest severity that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Failures.
    Error,
    /// Conditions that may lead to failures.
    Warn,
    /// Events that an operator of a running server wants to know.
    Info,
    /// Details for developers.
    Debug,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formatter {
    /// Text for people.
    Text,
    /// JSON: one object a line.
    Json,
}

impl Log {
    pub(super) fn read(root: &Node, warnings: &mut Vec<Warning>) -> Result<Self, Error> {
        let level = if root.text(&LOG_LEVEL)?.is_none() { &LOGLEVEL } else { &LOG_LEVEL };
        if let Some(("logstash", origin)) = root.text(&LOG_FORMATTER)? {
            warnings.push(Warning::new(origin, "log.formatter logstash is not known here: json is written instead"));
        }
        Ok(Self {
            accesslog_disabled: Setting::read(root, &ACCESSLOG_DISABLED, key::flag)?,
            audit_pulls: Setting::read(root, &AUDIT_PULLS, key::flag)?,
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

    /// The name in the configuration.
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

    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}
