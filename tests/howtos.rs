//! Follows each page of `docs/mirror` literally: runs its blocks in order, on a machine without any setup.

use serde_json::Value;

use crate::support::{
    bases::UBUNTU,
    built::hub,
    netns::Netns,
    pages::{blocks, read},
    process::Process,
};

/// A machine with a mirror at the address in the pages.
struct Reader {
    netns: Netns,
    mirror: Process,
    _hub: Process,
}

impl Reader {
    fn new() -> Self {
        let netns = Netns::boot();
        let hub = hub(&netns);
        let variables =
            [("REGISTRY_HTTP_ADDR", "127.0.0.1:5000"), ("REGISTRY_PROXY_REMOTEURL", "http://127.0.0.1:7000")];
        let mirror = netns.entrepot(&netns.path("mirror"), &variables);
        Self { netns, mirror, _hub: hub }
    }

    /// Runs every block, and checks that the last one found the image in the mirror.
    fn follows(&self, page: &str) {
        let mut said = String::new();
        let blocks = blocks(page, "sh");
        assert!(blocks.len() > 3, "{page} has {} blocks", blocks.len());
        for block in &blocks {
            said = self.netns.sh(block);
        }
        assert!(said.to_lowercase().contains("cache-status: entrepot; hit"), "{page}: {said}");
        let asked = self.mirror.output();
        let blob = UBUNTU.config.as_str();
        assert!(
            asked.contains(&format!("/v2/library/ubuntu/blobs/{blob}")),
            "the image came through the mirror:\n{asked}"
        );
    }
}

#[test]
fn docker_by_the_page() {
    let reader = Reader::new();
    reader.follows("docs/mirror/docker.md");
    let id = reader.netns.sh("docker image inspect --format '{{.Id}}' ubuntu:18.04");
    assert_eq!(id.trim(), UBUNTU.config);
}

#[test]
fn containerd_by_the_page() {
    let reader = Reader::new();
    reader.follows("docs/mirror/containerd.md");
    let listed = reader.netns.sh("ctr images list --quiet");
    assert_eq!(listed.trim(), "docker.io/library/ubuntu:18.04");
    let config = reader.netns.sh("containerd config dump");
    assert!(config.contains(r#"config_path = "/etc/containerd/certs.d""#), "{config}");
}

#[test]
fn podman_by_the_page() {
    let reader = Reader::new();
    reader.follows("docs/mirror/podman.md");
    let id = reader.netns.sh("podman image inspect --format '{{.Id}}' docker.io/library/ubuntu:18.04");
    assert_eq!(format!("sha256:{}", id.trim()), UBUNTU.config);
}

/// The pages and the files that are ready to copy have the same content.
#[test]
fn the_pages_write_the_files_of_deploy() {
    for (page, file) in [
        ("docker", "docker/daemon.json"),
        ("containerd", "containerd/hosts.toml"),
        ("containerd", "containerd/ghcr.toml"),
        ("k3s", "k3s/registries.yaml"),
        ("podman", "podman/mirror.conf"),
        ("podman", "podman/ghcr.conf"),
        ("buildkit", "buildkit/buildkitd.toml"),
    ] {
        let text = read(&format!("deploy/clients/{file}"));
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let text = lines.join("\n");
        let page_file = format!("docs/mirror/{page}.md");
        let written = [blocks(&page_file, "sh"), blocks(&page_file, "toml")].concat();
        assert!(written.iter().any(|block| block.contains(&text)), "{page} does not write\n{text}");
    }
    let daemon: Value = serde_json::from_str(&read("deploy/clients/docker/daemon.json")).unwrap();
    assert_eq!(daemon["registry-mirrors"][0], "http://127.0.0.1:5000");
}
