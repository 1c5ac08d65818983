//! A volume in the layout of `registry:2`, written while no server has it open.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::support::{
    hash::hex,
    images::{Blob, Format, Manifest},
};

pub(crate) struct Volume(PathBuf);

impl Volume {
    /// The volume in a server's data directory.
    pub(crate) fn at(data: &Path) -> Self {
        Self(data.join("docker/registry/v2"))
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(super) fn blob(&self, digest: &str, bytes: &[u8]) {
        self.write(&format!("blobs/sha256/{}/{}/data", &hex(digest)[..2], hex(digest)), bytes);
    }

    pub(super) fn layer(&self, repository: &str, digest: &str) {
        self.write(&format!("repositories/{repository}/_layers/sha256/{}/link", hex(digest)), digest.as_bytes());
    }

    pub(super) fn revision(&self, repository: &str, digest: &str) {
        let path = format!("repositories/{repository}/_manifests/revisions/sha256/{}/link", hex(digest));
        self.write(&path, digest.as_bytes());
    }

    pub(crate) fn tag(&self, repository: &str, tag: &str, digest: &str) {
        let path = format!("repositories/{repository}/_manifests/tags/{tag}/current/link");
        self.write(&path, digest.as_bytes());
    }

    /// This many repositories with the same manifest, whose configuration is `{}`, and two unreferenced blobs each.
    pub(super) fn many_repositories(&self, repositories: usize) {
        let config = Blob::new(b"{}".as_slice());
        let body = json!({
            "schemaVersion": 2, "mediaType": Format::Oci.manifest(),
            "config": config.descriptor("application/vnd.oci.empty.v1+json"), "layers": [],
        });
        let manifest = Manifest::new(Format::Oci.manifest(), &body);
        self.blob(&config.digest, &config.bytes);
        self.blob(&manifest.digest, &manifest.bytes);
        for number in 0..repositories {
            let name = format!("r{}/s{number}", number % 97);
            self.layer(&name, &config.digest);
            self.revision(&name, &manifest.digest);
            self.tag(&name, "latest", &manifest.digest);
            for which in 0..2 {
                let blob = Blob::new(format!("{number} {which}").into_bytes());
                self.blob(&blob.digest, &blob.bytes);
                self.layer(&name, &blob.digest);
            }
        }
    }
}
