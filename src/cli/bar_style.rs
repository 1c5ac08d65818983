//! The look of progress bars.

use std::time::Duration;

use indicatif::ProgressStyle;

/// A width that is too small for all of it cuts the end off.
const TEMPLATE: &str = "{msg:18} {wide_bar} {bytes:>10} of {total_bytes:<10} {bytes_per_sec:>12} {eta:>4} left";
/// The time after which a bar is drawn again.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// Returns the style of all bars. A template that is malformed yields the library's own.
pub(super) fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
