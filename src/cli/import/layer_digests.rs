//! The digests of a layer: of its bytes, and of what they are unpacked, by which a configuration names it (image-spec
//! `config.md`, `rootfs`).

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

use super::archive::Hashing;
use crate::oci::{Algorithm, Digest};

/// Hashes what is written to it, as it is and unpacked.
pub(super) struct LayerDigests {
    own: Hashing,
    unpacked: Unpacked,
}

enum Unpacked {
    /// It is not compressed.
    Same,
    Gzip(Box<MultiGzDecoder<Hashing>>),
    /// It cannot be unpacked.
    Damaged,
}

impl LayerDigests {
    pub(super) fn new(is_gzip: bool) -> Self {
        let hashing = || Hashing(Algorithm::Sha256.hasher());
        let unpacked = if is_gzip { Unpacked::Gzip(Box::new(MultiGzDecoder::new(hashing()))) } else { Unpacked::Same };
        Self { own: hashing(), unpacked }
    }

    /// Returns the type of the layer: image-spec `layer.md`.
    pub(super) fn media_type(&self) -> &'static str {
        match self.unpacked {
            Unpacked::Same => "application/vnd.oci.image.layer.v1.tar",
            Unpacked::Gzip(_) | Unpacked::Damaged => "application/vnd.oci.image.layer.v1.tar+gzip",
        }
    }

    /// Returns the digest of the bytes, and that of what they are unpacked; `None` if they cannot be unpacked.
    pub(super) fn finish(self) -> (Digest, Option<Digest>) {
        let own = self.own.0.finish();
        let unpacked = match self.unpacked {
            Unpacked::Same => Some(own),
            Unpacked::Gzip(decoder) => decoder.finish().ok().map(|hashing| hashing.0.finish()),
            Unpacked::Damaged => None,
        };
        (own, unpacked)
    }
}

impl Write for LayerDigests {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.own.0.update(bytes);
        if let Unpacked::Gzip(decoder) = &mut self.unpacked
            && decoder.write_all(bytes).is_err()
        {
            self.unpacked = Unpacked::Damaged;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
