//! A model of access rules that does not parse names; and secrets that the rules protect from users without a right to
//! see or change them.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{select, subsequence},
};

use super::{
    http::Response,
    images::{Blob, Format, Image, Manifest},
    uploads::Target,
    upstream::Upstream,
};

/// All repositories.
pub(crate) const REPOSITORIES: [&str; 6] = ["secret/app", "secret/sub/app", "team/app", "team", "app", MIRRORED];
/// The repository that nothing was pushed to.
pub(crate) const MIRRORED: &str = "hub/app";
const PATTERNS: [&str; 9] =
    ["**", "*", "*/*", "secret/**", "secret/app", "team/*", "team/**", "**/app", "docker.io/**"];

/// A rule, and its meaning.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) who: Vec<&'static str>,
    pub(crate) may: Vec<&'static str>,
    pub(crate) place: Vec<&'static str>,
}

impl Rule {
    pub(crate) fn written(&self) -> String {
        let list = |items: &[&str]| items.iter().map(|item| format!("'{item}'")).collect::<Vec<_>>().join(", ");
        format!("{{who: [{}], may: [{}], where: [{}]}}", list(&self.who), list(&self.may), list(&self.place))
    }

    pub(crate) fn allows(&self, user: Option<&str>, action: &str, secret: &Secret) -> bool {
        let who = match user {
            Some(user) => self.who.contains(&user) || self.who.contains(&"authenticated"),
            None => false,
        };
        (who || self.who.contains(&"anonymous"))
            && self.may.contains(&action)
            && self.place.iter().any(|pattern| secret.is_meant_by(pattern))
    }
}

/// The meaning of the patterns for a name, spelt out.
pub(crate) fn means(pattern: &str, repository: &str) -> bool {
    let parts: Vec<&str> = repository.split('/').collect();
    match pattern {
        "**" => true,
        "*" => parts.len() == 1,
        "*/*" => parts.len() == 2,
        "secret/**" => parts[0] == "secret",
        "team/*" => parts[0] == "team" && parts.len() == 2,
        "team/**" => parts[0] == "team",
        "**/app" => parts.last() == Some(&"app"),
        "docker.io/**" => parts[0] == "docker.io",
        literal => literal == repository,
    }
}

pub(crate) fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let who = subsequence(vec!["ann", "bob", "authenticated", "anonymous"], 1..3);
    let may = subsequence(vec!["pull", "push", "delete"], 1..=3);
    let place = vec(select(&PATTERNS[..]), 1..3);
    vec((who, may, place).prop_map(|(who, may, place)| Rule { who, may, place }), 0..4)
}

/// Content of one repository alone.
pub(crate) struct Secret {
    pub(crate) repository: &'static str,
    /// It belongs to the Hub, and was pulled through here.
    pub(crate) mirrored: bool,
    pub(crate) image: Image,
    /// Refers to the image.
    pub(crate) referrer: Manifest,
    pub(crate) blob: Blob,
    /// A text in its manifest and its blob.
    mark: String,
}

impl Secret {
    pub(crate) fn new(number: usize, repository: &'static str) -> Self {
        let (mark, image) = (format!("mark-of-{repository}-{number}"), Image::single(Format::Oci, 600 + number as u64));
        let blob = Blob::new(format!("{mark} in a blob"));
        let body = serde_json::json!({
            "schemaVersion": 2, "mediaType": Format::Oci.manifest(), "artifactType": "application/x",
            "config": blob.descriptor("application/x"), "layers": [], "subject": image.top.descriptor(),
            "annotations": { "mark": mark },
        });
        let mirrored = repository == MIRRORED;
        Self { repository, mirrored, image, referrer: Manifest::new(Format::Oci.manifest(), &body), blob, mark }
    }

    /// The Hub's repositories match under both names.
    fn is_meant_by(&self, pattern: &str) -> bool {
        means(pattern, self.repository) || (self.mirrored && means(pattern, &format!("docker.io/{}", self.repository)))
    }

    /// Pushes it or adds it upstream.
    pub(crate) fn settle(&self, root: &Target, upstream: &Upstream) {
        if self.mirrored {
            upstream.add(self.repository, "1", &self.image);
            upstream.add_blob(self.repository, &self.blob);
            return self.is_unharmed(root);
        }
        root.image(self.repository, "1", &self.image);
        root.blob(self.repository, &self.blob);
        assert_eq!(root.manifest(self.repository, "sig", &self.referrer).status, 201);
    }

    /// It is unchanged, for a user with the right to see it.
    pub(crate) fn is_unharmed(&self, root: &Target) {
        let repository = self.repository;
        let top = root.request("GET", &format!("{repository}/manifests/1")).send();
        assert_eq!((top.status, top.summary().digest.as_str()), (200, self.image.digest()), "{repository}");
        let blobs = self.image.blobs.iter().chain([&self.blob]);
        for digest in blobs.map(|blob| &blob.digest) {
            let blob = root.request("GET", &format!("{repository}/blobs/{digest}")).send();
            assert_eq!((blob.status, &blob.summary().digest), (200, digest), "{repository}");
        }
        if !self.mirrored {
            assert_eq!(root.json(&format!("{repository}/tags/list"))["tags"], serde_json::json!(["1", "sig"]));
            assert_eq!(root.head(&format!("{repository}/manifests/{}", self.referrer.digest)), 200, "{repository}");
        }
    }

    /// Returns the part of a response that reveals the secret, if any.
    pub(crate) fn is_in(&self, response: Response) -> Option<String> {
        let (status, digest) = (response.status, response.header("docker-content-digest").map(str::to_owned));
        let own = [self.image.digest(), &self.referrer.digest, &self.blob.digest];
        if digest.as_deref().is_some_and(|digest| own.contains(&digest)) {
            return Some(format!("{status} with {digest:?}"));
        }
        let body = response.body().bytes;
        let text = String::from_utf8_lossy(&body);
        let revealed = text.contains(&self.mark)
            || body.windows(64).any(|part| part == &self.blob.bytes[..64.min(self.blob.len())]);
        // A denial may contain the requested name; a list must not.
        let listed = text.contains(&format!("\"{}\"", self.repository)) && status < 300;
        (revealed || listed).then(|| format!("{status}: {text}"))
    }
}
