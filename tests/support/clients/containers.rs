//! The commands that podman and buildah share, since both are made of the same libraries.

use std::path::Path;

use super::{What, layout};

/// A client with a store of its own, whose commands take the same arguments.
pub(super) trait Containers {
    /// The folder with its store and configuration.
    fn dir(&self) -> &Path;

    /// The option that says which certificates it trusts.
    fn tls(&self) -> &str;

    /// Runs a command that must succeed, and returns its output.
    fn output(&self, arguments: &[&str]) -> String;

    fn policy(&self) -> String {
        format!("--signature-policy={}", self.dir().join("policy.json").display())
    }

    /// Pulls and returns the image's id.
    fn fetch(&self, name: &str) -> String {
        let output = self.output(&["pull", "--quiet", self.tls(), "--arch=amd64", &self.policy(), name]);
        output.lines().last().unwrap_or_else(|| panic!("no id of {name}")).to_owned()
    }

    /// As `Client::push`.
    fn push_image(&self, what: What<'_>, name: &str) -> String {
        let id = match what {
            What::Own(image) => self.fetch(layout(image, self.dir())),
            What::Pulled(reference) => self.fetch(&format!("docker.io/{reference}")),
        };
        let (digest, to) = (self.dir().join("pushed"), format!("docker://{name}"));
        self.output(&["push", self.tls(), &self.policy(), "--digestfile", digest.to_str().unwrap(), &id, &to]);
        self.output(&["rmi", "--all", "--force"]);
        std::fs::read_to_string(digest).unwrap()
    }
}
