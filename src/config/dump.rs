//! The effective configuration as YAML that can be loaded again, with `***` for what is secret.

use std::{borrow::Cow, fmt::Write as _};

use super::{Config, Setting, keys::Key, table::VERSION};

/// One key with its value as text.
pub(super) struct Line {
    key: &'static Key,
    text: String,
}

impl Line {
    pub(super) fn of(key: &'static Key, text: impl Into<String>) -> Self {
        Self { key, text: text.into() }
    }

    pub(super) fn new<T>(setting: &Setting<T>, text: impl Into<String>) -> Self {
        Self::of(setting.key(), text)
    }

    fn value(&self) -> Cow<'_, str> {
        if self.key.secret { Cow::Borrowed("\"***\"") } else { quoted(&self.text) }
    }
}

impl Config {
    /// Every setting, said or not, as a file for `registry:2` or this program would say it.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut yaml = String::new();
        let mut open: Vec<&str> = Vec::new();
        for line in self.lines() {
            let mut sections: Vec<&str> = line.key.path.split('.').collect();
            let name = sections.pop().unwrap_or_default();
            let common = open.iter().zip(&sections).take_while(|(a, b)| a == b).count();
            for (depth, section) in sections.iter().enumerate().skip(common) {
                let _ = writeln!(yaml, "{:1$}{section}:", "", 2 * depth);
            }
            let _ = writeln!(yaml, "{:1$}{name}: {2}", "", 2 * sections.len(), line.value());
            open = sections;
        }
        yaml
    }

    fn lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::of(&VERSION, VERSION.default)];
        lines.extend(self.log.lines());
        lines.extend(self.storage.lines());
        lines.extend(self.http.lines());
        lines.extend(self.proxy.lines());
        lines
    }
}

/// Plain where YAML cannot take it for anything else, in double quotes otherwise.
fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b':');
    let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '/');
    if begins && text.bytes().all(plain) && !text.ends_with(':') && !text.eq_ignore_ascii_case("null") {
        return Cow::Borrowed(text);
    }
    let mut out = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            ' '..='~' => out.push(char),
            _ => {
                let _ = write!(out, "\\U{:08X}", u32::from(char));
            }
        }
    }
    out.push('"');
    Cow::Owned(out)
}
