//! A value that must not be seen.

use std::{
    fmt,
    fs::File,
    hint,
    io::{self, Read as _},
    mem,
    path::Path,
};

use super::owner;

/// More than any secret is, in bytes.
const LONGEST: u64 = 64 << 10;

/// A password or the like: prints as `***`, and its memory is overwritten when it is dropped.
///
/// The overwriting is best effort: the environment and the file it came from are not ours to clean.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads what Docker and Kubernetes mount: a file of nothing but the secret, perhaps with a line's end.
    ///
    /// # Errors
    /// What would have been right: it cannot be read, is empty, or is more than one line.
    pub(super) fn from_file(path: &Path) -> Result<Self, String> {
        let text = read(path)
            .map(Self)
            .map_err(|error| format!("a file that can be read ({})", owner::explain(path, &error)))?;
        match text.0.trim_end_matches(['\r', '\n']) {
            "" => Err("a file with a secret in it".to_owned()),
            line if line.contains('\n') => Err("a file with one line".to_owned()),
            line => Ok(Self::new(line)),
        }
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A file of no more than a secret may be: another would be read for ever, were it a device.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // Without a reader the compiler may leave the writes out.
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
