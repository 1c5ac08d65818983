//! A hash of secrets for use as a cache key. It is keyed with a secret of the process, so that a leaked value cannot be
//! used to guess passwords.

use aws_lc_rs::rand;
use sha2::{Digest, Sha256};

use super::Error;

/// The process's secret key.
#[derive(Clone)]
pub(super) struct HashKey([u8; 32]);

/// A keyed hash of a secret.
pub(super) type KeyedHash = [u8; 32];

impl HashKey {
    pub(super) fn random() -> Result<Self, Error> {
        random_bytes().map(Self)
    }

    /// Hashes these parts, each with its length, so that no two lists collide.
    pub(super) fn hash(&self, parts: &[&[u8]]) -> KeyedHash {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

pub(super) fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::NoRandom)?;
    Ok(bytes)
}
