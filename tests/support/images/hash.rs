//! Digests of the tests' own computation, so that the server's are not checked with its own code.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256, Sha512};

/// `sha256:<hex>` of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    written("sha256", Sha256::digest(bytes).as_slice())
}

/// `sha512:<hex>` of `bytes`.
pub(crate) fn sha512(bytes: &[u8]) -> String {
    written("sha512", Sha512::digest(bytes).as_slice())
}

/// A digest of bytes that come in pieces.
#[derive(Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        written("sha256", self.0.finalize().as_slice())
    }
}

fn written(algorithm: &str, raw: &[u8]) -> String {
    raw.iter().fold(format!("{algorithm}:"), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The hex after the colon.
pub(crate) fn hex(digest: &str) -> &str {
    digest.split_once(':').unwrap().1
}
