//! The pushed content: noise that was never pushed before, in its encoding for the wire.

use std::{
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::support::{hash::Hasher, images::Blob};

/// The chunk size of Go's HTTP client, which docker uses, for a body of unknown length.
const CHUNK: usize = 32 << 10;

/// A blob's bytes in chunked transfer coding.
pub(crate) struct Body {
    pub(crate) digest: String,
    pub(crate) wire: Vec<u8>,
}

impl Body {
    /// Blocks of noise, each with a number of its own.
    pub(crate) fn fresh(length: usize) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mut block = Blob::noise(3, CHUNK.min(length)).bytes.to_vec();
        let (mut hasher, mut wire) = (Hasher::default(), Vec::with_capacity(length + length / 1000 + 64));
        for _ in 0..length / block.len() {
            block[..8].copy_from_slice(&NUMBER.fetch_add(1, Ordering::Relaxed).to_le_bytes());
            hasher.update(&block);
            write!(wire, "{:x}\r\n", block.len()).unwrap();
            wire.extend_from_slice(&block);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        Self { digest: hasher.finish(), wire }
    }
}
