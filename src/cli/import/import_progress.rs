//! The progress of an import: a bar on a terminal, elsewhere a line at the beginning and the end of each image.

use std::io::{IsTerminal, stderr, stdout};

use indicatif::ProgressBar;

use crate::cli::{
    bar_style::{TICK, bar_style},
    print_line,
};

/// The bar, if there is one. Clones share it.
#[derive(Clone)]
pub(super) struct ImportProgress {
    bar: Option<ProgressBar>,
}

impl ImportProgress {
    pub(super) fn new() -> Self {
        let bar = || ProgressBar::new(0).with_style(bar_style());
        Self { bar: stderr().is_terminal().then(bar) }
    }

    /// Begins a step of so many bytes.
    pub(super) fn begin(&self, step: &str, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(bytes);
            bar.set_message(step.to_owned());
            bar.reset();
            bar.enable_steady_tick(TICK);
            bar.tick();
        }
    }

    /// Adds bytes to the step.
    pub(super) fn advance(&self, bytes: u64) {
        self.bar.iter().for_each(|bar| bar.inc(bytes));
    }

    /// Prints a line at the beginning of an image, unless a bar shows it.
    pub(super) fn print_begin(&self, image: &str) {
        if self.bar.is_none() {
            print_line(&mut stdout(), &format!("importing {image}"));
        }
    }

    /// Prints a line on stdout, above the bar.
    pub(super) fn print(&self, line: &str) {
        self.suspended(|| print_line(&mut stdout(), line));
    }

    /// Prints a line on stderr, above the bar.
    pub(super) fn print_error(&self, line: &str) {
        self.suspended(|| print_line(&mut stderr(), line));
    }

    fn suspended(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for ImportProgress {
    fn drop(&mut self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}
