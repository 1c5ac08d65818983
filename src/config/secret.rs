//! Secret values, which are never printed.

use std::{
    fmt,
    fs::File,
    hint,
    io::{self, Read as _},
    mem,
    path::Path,
};

use super::owner;
use crate::lanes::Blocking;

/// The limit for a secret in bytes, larger than any real one.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// A password or other secret: prints as `***`, and its memory is overwritten on drop.
///
/// Overwriting is best effort: copies in the environment and in the file remain.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads a secret as Docker and Kubernetes mount it: a file of nothing but the secret and an optional line end.
    ///
    /// # Errors
    /// The expected content, as text, if the file cannot be read, is empty, or has more than one line.
    pub(super) fn from_file(io: &Blocking, path: &Path) -> Result<Self, String> {
        let text = read(io, path)
            .map(Self)
            .map_err(|error| format!("a file that can be read ({})", owner::explain(path, &error)))?;
        match text.0.trim_end_matches(['\r', '\n']) {
            "" => Err("a file with a secret in it".to_owned()),
            line if line.contains('\n') => Err("a file with one line".to_owned()),
            line => Ok(Self::new(line)),
        }
    }

    /// Returns the secret itself. Call it only at the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Reads at most [`MAX_SECRET_BYTES`] bytes, since the path may be an endless device.
fn read(_io: &Blocking, path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SECRET_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // Without a later read the compiler could remove the writes.
        hint::black_box(&bytes);
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
