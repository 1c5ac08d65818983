//! Text from outside, displayed on one line of an error or warning.

use std::fmt;

/// Displays text from outside on one line, with control characters escaped.
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
