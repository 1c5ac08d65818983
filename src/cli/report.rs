//! Prints a command's responses as text or JSON on stdout, and its progress on stderr if that is a terminal.

use std::io::{IsTerminal, Write, stderr, stdout};

use super::{content_lines, print_line};
use crate::{admin::AdminResponse, units::size};

/// Prints responses in one form.
#[derive(Debug)]
pub(super) struct Report {
    form: Form,
    dry: bool,
    /// True if the last line on the terminal is a progress line to overwrite.
    drawn: bool,
    terminal: bool,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    People,
    /// Each response as a line of JSON, as received.
    Json,
    /// No output.
    Quiet,
}

impl Form {
    /// Returns the form that `--json` asks for.
    pub(super) fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::People }
    }
}

impl Report {
    /// `dry` is true for a dry run.
    pub(super) fn new(form: Form, dry: bool) -> Self {
        Self { form, dry, drawn: false, terminal: form == Form::People && stderr().is_terminal() }
    }

    /// Prints a response.
    pub(super) fn show(&mut self, answer: &AdminResponse) {
        if let AdminResponse::Progress { done, of, bytes } = answer {
            self.draw(&progress(*done, *of, *bytes));
        }
        let line = match self.form {
            Form::Quiet => None,
            Form::Json => {
                serde_json::to_string(answer).ok().filter(|_| !matches!(answer, AdminResponse::Progress { .. }))
            }
            Form::People => line(answer, self.dry),
        };
        if let Some(line) = line {
            self.wipe();
            print_line(&mut stdout(), &line);
        }
    }

    fn draw(&mut self, text: &str) {
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[K{text}");
            self.drawn = true;
        }
    }

    fn wipe(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.wipe();
    }
}

fn progress(done: u64, of: Option<u64>, bytes: u64) -> String {
    const BAR_CHARS: u64 = 30;
    match of {
        Some(of) if of > 0 => {
            let filled = usize::try_from(done * BAR_CHARS / of).unwrap_or_default();
            let bar = format!("{}{}", "#".repeat(filled), ".".repeat(30_usize.saturating_sub(filled)));
            format!("[{bar}] {:3} %  {}", done * 100 / of, size(bytes))
        }
        _ if done == 0 => "looking at what is on the disk".to_owned(),
        _ => format!("{done} repositories looked through"),
    }
}

fn line(answer: &AdminResponse, dry: bool) -> Option<String> {
    let verb = if dry { "would remove" } else { "removed" };
    match answer {
        AdminResponse::Manifest { repository, digest } => Some(format!("{verb} manifest {repository}@{digest}")),
        AdminResponse::Blob { digest, .. } => Some(format!("{verb} blob {digest}")),
        AdminResponse::Damaged { digest, repositories, outcome } => {
            Some(format!("{outcome} {digest} of {}", repositories.join(", ")))
        }
        AdminResponse::Verified { blobs, bytes, dropped, quarantined, restored } => Some(format!(
            "verified {blobs} blobs, {}: {dropped} damaged and dropped, {restored} restored, {quarantined} in quarantine",
            size(*bytes)
        )),
        AdminResponse::Removed { repository, tags, manifests, links, .. } => {
            Some(format!("{verb} {tags} tags, {manifests} manifests, {links} links of {repository}"))
        }
        AdminResponse::Rebuilt => Some("the index is made anew".to_owned()),
        AdminResponse::Collected { manifests, links, blobs, bytes, active, .. } => {
            let left = match active {
                0 => String::new(),
                _ => format!("; content of {active} repositories was used a moment ago, and is left alone for now"),
            };
            Some(format!(
                "{verb} {manifests} manifests, {links} links, {blobs} blobs, {bytes} bytes ({}){left}",
                size(*bytes)
            ))
        }
        AdminResponse::Content(response) => content_lines::line(response, dry),
        // Usage reports are printed at their end only, and commands about images have reports of their own.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills() {
        assert!(progress(0, Some(256), 0).starts_with("[.......") && progress(256, Some(256), 1).contains("##] 100 %"));
    }
}
