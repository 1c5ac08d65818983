//! The served content: a large blob, a small one, and a manifest that names both; as files that every server links to,
//! so that all servers share one page cache.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    hash::{self, Hasher},
    images::{Blob, Format, Manifest},
    scratch,
};

pub(crate) const REPOSITORY: &str = "library/bench";
pub(crate) const TAG: &str = "latest";

/// A file and its digest.
pub(crate) struct Piece {
    pub(crate) digest: String,
    pub(crate) length: u64,
    file: PathBuf,
}

impl Piece {
    pub(crate) fn hex(&self) -> &str {
        hash::hex(&self.digest)
    }

    /// Hard-links the file.
    pub(crate) fn link_to(&self, place: &Path) {
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::hard_link(&self.file, place).unwrap();
    }

    /// Its path in the registry API.
    pub(crate) fn blob_path(&self) -> String {
        format!("/v2/{REPOSITORY}/blobs/{}", self.digest)
    }
}

pub(crate) struct Content {
    pub(crate) large: Piece,
    pub(crate) small: Piece,
    pub(crate) manifest: Piece,
    _dir: TempDir,
}

impl Content {
    pub(crate) fn make(mib: u64) -> Self {
        let dir = scratch::dir("content");
        let large = large(dir.path(), mib);
        let small = piece(dir.path(), &Blob::noise(2, 4 << 10).bytes);
        let layer = |piece: &Piece| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": piece.digest, "size": piece.length
            })
        };
        let body = json!({
            "schemaVersion": 2, "mediaType": Format::Oci.manifest(),
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": small.digest, "size": small.length
            },
            "layers": [layer(&small), layer(&large)],
        });
        let manifest = piece(dir.path(), &Manifest::new(Format::Oci.manifest(), &body).bytes);
        Self { large, small, manifest, _dir: dir }
    }
}

/// `mib` MiB of noise without equal blocks.
fn large(dir: &Path, mib: u64) -> Piece {
    let path = dir.join("large");
    let (mut file, mut hasher) = (File::create(&path).unwrap(), Hasher::default());
    let mut block = Blob::noise(1, 1 << 20).bytes.to_vec();
    for number in 0..mib {
        block[..8].copy_from_slice(&number.to_le_bytes());
        hasher.update(&block);
        file.write_all(&block).unwrap();
    }
    Piece { digest: hasher.finish(), length: mib << 20, file: path }
}

fn piece(dir: &Path, bytes: &[u8]) -> Piece {
    let digest = hash::sha256(bytes);
    let file = dir.join(hash::hex(&digest));
    fs::write(&file, bytes).unwrap();
    Piece { digest, length: bytes.len() as u64, file }
}
