//! Writes the effective configuration as YAML that can be loaded again, with `***` for secrets.

use std::fmt::Write as _;

use super::{Config, Setting, key::Key, used_keys::VERSION};

/// One key with its value.
pub(super) struct Line {
    key: &'static Key,
    /// The value as YAML.
    value: String,
    /// Written as a comment, so that a default does not count as set when the output is loaded again.
    remark: bool,
}

impl Line {
    pub(super) fn of(key: &'static Key, text: impl AsRef<str>) -> Self {
        Self { key, value: quoted(text.as_ref()), remark: false }
    }

    pub(super) fn new<T>(setting: &Setting<T>, text: impl AsRef<str>) -> Self {
        Self::of(setting.key(), text)
    }

    pub(super) fn list<T>(setting: &Setting<T>, items: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self::flow(setting, list(items))
    }

    pub(super) fn map<'a, T>(setting: &Setting<T>, entries: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        Self::flow(setting, map(entries))
    }

    /// A line whose value is YAML already.
    pub(super) fn flow<T>(setting: &Setting<T>, value: String) -> Self {
        Self::yaml(setting.key(), value)
    }

    /// A line for a part of a setting, whose value is YAML already.
    pub(super) fn yaml(key: &'static Key, value: String) -> Self {
        Self { key, value, remark: false }
    }

    pub(super) fn remark_unless(self, said: bool) -> Self {
        Self { remark: !said, ..self }
    }

    fn write(&self, yaml: &mut String, indent: usize, name: &str) {
        let mark = if self.remark { "# " } else { "" };
        let _ = writeln!(yaml, "{:indent$}{mark}{name}: {}", "", self.shown());
    }

    fn shown(&self) -> &str {
        if self.key.secret { "\"***\"" } else { &self.value }
    }

    fn is_in(&self, lines: &[Self]) -> bool {
        lines.iter().any(|line| line.key.path == self.key.path && line.value == self.value)
    }
}

impl Config {
    /// Writes every setting, set or default, in the form of a configuration file.
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
            line.write(&mut yaml, 2 * sections.len(), name);
            open = sections;
        }
        yaml
    }

    /// Returns the first setting that is another than in `before`, as text: its whole key with its value, or the key of
    /// a value that is gone.
    #[must_use]
    pub fn first_change(&self, before: &Self) -> Option<String> {
        let (before, now) = (before.lines(), self.lines());
        let changed = now.iter().find(|line| !line.is_in(&before));
        let changed = changed.map(|line| format!("{}: {}", line.key.path, line.shown()));
        let gone = || before.iter().find(|line| !line.is_in(&now)).map(|line| format!("{} (removed)", line.key.path));
        changed.or_else(gone)
    }

    fn lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::of(&VERSION, VERSION.default)];
        lines.extend(self.log.lines());
        lines.extend(self.storage.lines());
        lines.extend(self.auth.lines());
        lines.extend(self.http.lines());
        lines.extend(self.proxy.lines());
        lines.extend(self.notifications.lines());
        lines.extend(self.catalog.lines());
        lines.extend(self.tags.lines());
        lines.extend(self.validation.lines());
        lines.push(self.immutable.line());
        lines.push(self.retention.line());
        lines.extend(self.gc.lines());
        lines.extend(self.verify.lines());
        lines
    }
}

/// Writes a list of texts on one line.
pub(super) fn list(items: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// Writes a section on one line; the values are YAML already.
pub(super) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let entries: Vec<String> = entries.into_iter().map(|(name, value)| format!("{}: {value}", quoted(name))).collect();
    format!("{{{}}}", entries.join(", "))
}

/// Writes text as a plain scalar if YAML reads it as text, in double quotes otherwise.
pub(super) fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b':');
    let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '/');
    if begins && text.bytes().all(plain) && !text.ends_with(':') && !text.eq_ignore_ascii_case("null") {
        return text.to_owned();
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
    out
}
