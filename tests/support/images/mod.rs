//! Images made in memory: `FROM scratch`, with layers of the test's own, the same bytes for the same seed.

pub(crate) mod bases;
pub(crate) mod built;
pub(crate) mod hash;
pub(crate) mod image_set;
pub(crate) mod layers;
pub(crate) mod rng;

use std::{
    io::Write,
    path::Path,
    sync::{LazyLock, Mutex},
};

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

use super::hash::{hex, sha256};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) bytes: Bytes,
}

impl Blob {
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: sha256(&bytes), bytes }
    }

    /// Incompressible bytes. The large ones are made once for all tests.
    pub(crate) fn noise(seed: u64, length: usize) -> Self {
        static MADE: LazyLock<Mutex<Vec<(u64, usize, Blob)>>> = LazyLock::new(Mutex::default);
        let mut made = MADE.lock().unwrap();
        if let Some((.., blob)) = made.iter().find(|(s, l, _)| (*s, *l) == (seed, length)) {
            return blob.clone();
        }
        let blob = Self::new(noise(seed, length));
        made.push((seed, length, blob.clone()));
        blob
    }

    /// Bytes of one common noise, from `start` on: any number of different blobs, without memory for any of them.
    pub(crate) fn window(start: usize, length: usize) -> Self {
        const NOISE: usize = 48 << 20;
        static ALL: LazyLock<Bytes> = LazyLock::new(|| noise(0x5eed, NOISE).into());
        Self::new(ALL.slice(start..start + length))
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The descriptor in a manifest.
    pub(crate) fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.len() })
    }
}

/// SplitMix64.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut state = seed;
    while bytes.len() < length {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) digest: String,
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

impl Manifest {
    pub(crate) fn new(media_type: &str, body: &Value) -> Self {
        let bytes = Bytes::from(serde_json::to_vec_pretty(body).unwrap());
        Self { digest: sha256(&bytes), media_type: media_type.to_owned(), bytes }
    }

    /// The descriptor in an index.
    pub(crate) fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

/// The family of media types of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Oci,
    Docker,
}

impl Format {
    pub(crate) fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    pub(crate) fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    pub(crate) fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    pub(crate) fn layer(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }
    }
}

/// A manifest or an index, with all its content.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) top: Manifest,
    pub(crate) children: Vec<Manifest>,
    pub(crate) blobs: Vec<Blob>,
    /// Of linux/amd64, in order.
    pub(crate) diff_ids: Vec<String>,
    /// Of linux/amd64: docker and podman call the image by it.
    pub(crate) config: String,
}

impl Image {
    /// linux/amd64 alone, with one small layer of noise.
    pub(crate) fn single(format: Format, seed: u64) -> Self {
        Self::platform(format, "amd64", &[layer(seed, 3000)])
    }

    /// As [`Image::single`], with a layer of about `length` bytes.
    pub(crate) fn of_size(format: Format, seed: u64, length: usize) -> Self {
        Self::platform(format, "amd64", &[layer(seed, length)])
    }

    /// linux/amd64 alone, with as many layers of about `length` bytes each.
    pub(crate) fn of_many_layers(format: Format, seed: u64, layers: u64, length: usize) -> Self {
        Self::platform(format, "amd64", &(0..layers).map(|number| layer(seed + number, length)).collect::<Vec<_>>())
    }

    /// An index of linux/amd64, whose second layer is of about `length` bytes, and linux/arm64, which is small.
    pub(crate) fn index(format: Format, seed: u64, length: usize) -> Self {
        let amd64 = Self::platform(format, "amd64", &[layer(seed, 3000), layer(seed + 1, length)]);
        let arm64 = Self::platform(format, "arm64", &[layer(seed + 2, 3000)]);
        let entry = |image: &Self, architecture| {
            let mut entry = image.top.descriptor();
            entry["platform"] = json!({ "os": "linux", "architecture": architecture });
            entry
        };
        let body = json!({
            "schemaVersion": 2,
            "mediaType": format.index(),
            "manifests": [entry(&amd64, "amd64"), entry(&arm64, "arm64")],
        });
        Self {
            top: Manifest::new(format.index(), &body),
            children: vec![amd64.top, arm64.top],
            blobs: [amd64.blobs, arm64.blobs].concat(),
            diff_ids: amd64.diff_ids,
            config: amd64.config,
        }
    }

    /// linux/amd64, whose layers are these bytes: to be moved, not to be run. Its configuration names them, so that no
    /// two such images share one.
    pub(crate) fn of_layers(format: Format, layers: &[Blob]) -> Self {
        let named = |blob: &Blob| Layer { diff_id: blob.digest.clone(), blob: blob.clone() };
        Self::platform(format, "amd64", &layers.iter().map(named).collect::<Vec<_>>())
    }

    fn platform(format: Format, architecture: &str, layers: &[Layer]) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let config = Blob::new(serde_json::to_vec(&configuration(architecture, &diff_ids)).unwrap());
        let body = json!({
            "schemaVersion": 2,
            "mediaType": format.manifest(),
            "config": config.descriptor(format.config()),
            "layers": layers.iter().map(|layer| layer.blob.descriptor(format.layer())).collect::<Vec<_>>(),
        });
        let name = config.digest.clone();
        let blobs = layers.iter().map(|layer| layer.blob.clone()).chain([config]).collect();
        Self { top: Manifest::new(format.manifest(), &body), children: Vec::new(), blobs, diff_ids, config: name }
    }

    pub(crate) fn digest(&self) -> &str {
        &self.top.digest
    }

    /// Children first, in the order of a push.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.children.iter().chain([&self.top])
    }

    /// The largest blob.
    pub(crate) fn layer(&self) -> &Blob {
        self.blobs.iter().max_by_key(|blob| blob.len()).unwrap()
    }

    /// Writes it as an OCI image layout.
    pub(crate) fn write_layout(&self, dir: &Path, tag: &str) {
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        for blob in &self.blobs {
            std::fs::write(blobs.join(hex(&blob.digest)), &blob.bytes).unwrap();
        }
        for manifest in self.manifests() {
            std::fs::write(blobs.join(hex(&manifest.digest)), &manifest.bytes).unwrap();
        }
        let mut entry = self.top.descriptor();
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        let index = json!({ "schemaVersion": 2, "manifests": [entry] });
        std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }

    /// Writes it as `docker save` does, named `reference`: linux/amd64 alone.
    pub(crate) fn write_archive(&self, file: &Path, reference: &str) {
        let (layers, config) = self.blobs.split_at(self.diff_ids.len());
        let names: Vec<_> = (0..layers.len()).map(|number| format!("{number}.tar")).collect();
        let about = json!([{ "Config": "config.json", "RepoTags": [reference], "Layers": names }]).to_string();
        let mut archive = tar::Builder::new(std::fs::File::create(file).unwrap());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, bytes).unwrap();
        };
        names.iter().zip(layers).for_each(|(name, layer)| add(name, &layer.bytes));
        add("config.json", &config[0].bytes);
        add("manifest.json", about.as_bytes());
        archive.finish().unwrap();
    }
}

fn configuration(architecture: &str, diff_ids: &[String]) -> Value {
    let history: Vec<_> = diff_ids.iter().map(|_| json!({ "created_by": "the tests of Entrepot" })).collect();
    json!({
        "architecture": architecture,
        "os": "linux",
        "created": "2020-02-02T02:02:02Z",
        "config": { "Cmd": ["/nothing"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history,
    })
}

struct Layer {
    diff_id: String,
    blob: Blob,
}

/// One file of noise in a tar in a gzip that does not compress: quick to make and to unpack.
fn layer(seed: u64, length: usize) -> Layer {
    let mut header = tar::Header::new_ustar();
    header.set_size(length as u64);
    header.set_mode(0o644);
    let mut tar = tar::Builder::new(Vec::with_capacity(length + 4096));
    tar.append_data(&mut header, format!("noise-{seed}"), noise(seed, length).as_slice()).unwrap();
    let tar = tar.into_inner().unwrap();
    let mut gzip = GzBuilder::new().write(Vec::with_capacity(length + 8192), Compression::none());
    gzip.write_all(&tar).unwrap();
    Layer { diff_id: sha256(&tar), blob: Blob::new(gzip.finish().unwrap()) }
}
