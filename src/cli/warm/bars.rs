//! Progress bars: one for all bytes, and one for each blob that is being fetched.

use std::{collections::HashMap, io::stdout};

use indicatif::{MultiProgress, ProgressBar};

use crate::{
    admin::AdminResponse,
    cli::{
        bar_style::{TICK, bar_style},
        print_line,
    },
};

/// The digits of a digest that are shown, as by docker.
const SHORT_DIGEST: usize = 12;

/// The bars on the terminal.
pub(super) struct Bars {
    screen: MultiProgress,
    total: ProgressBar,
    /// The bar of each blob under way.
    under_way: HashMap<String, ProgressBar>,
    /// The bytes that are here of each blob, and its size.
    blobs: HashMap<String, (u64, u64)>,
}

impl Default for Bars {
    fn default() -> Self {
        let screen = MultiProgress::new();
        let total = screen.add(ProgressBar::new(0).with_style(bar_style()).with_message("images"));
        total.enable_steady_tick(TICK);
        Self { screen, total, under_way: HashMap::new(), blobs: HashMap::new() }
    }
}

impl Bars {
    pub(super) fn update(&mut self, answer: &AdminResponse) {
        match answer {
            AdminResponse::ImagePlanned { blobs, .. } => {
                for blob in blobs {
                    self.blobs.entry(blob.digest.clone()).or_insert((0, blob.bytes));
                }
            }
            AdminResponse::BlobProgress { digest, bytes, of, .. } => self.blob(digest, *bytes, *of),
            AdminResponse::Progress { done, of: Some(of), .. } => {
                self.total.set_message(format!("{done} of {of} images"));
            }
            _ => return,
        }
        self.total.set_length(self.blobs.values().map(|(_, of)| of).sum());
        self.total.set_position(self.blobs.values().map(|(bytes, _)| bytes).sum());
    }

    fn blob(&mut self, digest: &str, bytes: u64, of: u64) {
        self.blobs.insert(digest.to_owned(), (bytes, of));
        if bytes >= of {
            self.under_way.remove(digest).iter().for_each(ProgressBar::finish_and_clear);
            return;
        }
        let bar = self.under_way.entry(digest.to_owned()).or_insert_with(|| {
            let hex = digest.split(':').next_back().unwrap_or_default();
            let name = hex.get(..SHORT_DIGEST).unwrap_or(hex).to_owned();
            let bar = ProgressBar::new(of).with_style(bar_style()).with_message(name);
            self.screen.insert_before(&self.total, bar)
        });
        bar.set_position(bytes);
    }

    /// Prints a line on stdout, above the bars if that is the same terminal.
    pub(super) fn print(&self, line: &str) {
        self.screen.suspend(|| print_line(&mut stdout(), line));
    }

    pub(super) fn clear(&self) {
        self.total.finish_and_clear();
        let _ = self.screen.clear();
    }
}
