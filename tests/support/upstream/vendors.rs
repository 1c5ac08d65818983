//! The peculiarities of public registries, as the notes on real upstreams have them.

use super::{State, answer, auth, deliver::Reply, record::Kind};
use crate::support::wire::Request;

/// A public registry whose peculiarities the upstream has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    /// docker.io: a repository that does not exist is 401, even with a fresh token.
    Hub,
    /// ghcr.io: the challenge names a repository that nobody asked for.
    Ghcr,
    /// quay.io: tokens are given to GET alone.
    Quay,
    /// public.ecr.aws: Basic that nobody asked for is 400; HEAD of a blob is 401, even with a token.
    EcrPublic,
    /// registry.k8s.io: without tokens; manifests and blobs are at the registry of this URL.
    Kubernetes(String),
    /// pkg.dev: the token service is below `/v2`; blobs answer 302 with a relative `Location`.
    ArtifactRegistry,
}

/// The path of blobs of an Artifact Registry.
const DOWNLOADS: &str = "/artifacts-downloads";

impl Vendor {
    /// Returns the vendor's own answer to a request, if it is another than any registry's.
    pub(super) fn answer(&self, state: &State, request: &Request, kind: Kind, name: &str) -> Option<Reply> {
        let is_registry = !matches!(kind, Kind::Token | Kind::Cdn);
        match self {
            Self::Hub if is_registry && !name.is_empty() && !state.content.lock().unwrap().has(name) => {
                Some(auth::challenge(state, name))
            }
            Self::Quay if kind == Kind::Token && request.method != "GET" => Some(Reply::error(405, "UNSUPPORTED")),
            Self::EcrPublic if is_registry && request.basic().is_some() => Some(Reply::error(400, "UNSUPPORTED")),
            Self::EcrPublic if kind == Kind::Blob && request.method == "HEAD" && request.bearer().is_some() => {
                Some(Reply::error(401, "UNAUTHORIZED"))
            }
            Self::Kubernetes(url) if matches!(kind, Kind::Manifest | Kind::Blob) => {
                Some(Reply::empty(307).with("Location", &format!("{url}{}", request.path)))
            }
            Self::ArtifactRegistry => Self::downloads(state, request, kind),
            _ => None,
        }
    }

    fn downloads(state: &State, request: &Request, kind: Kind) -> Option<Reply> {
        if let Some(digest) = request.path.strip_prefix(DOWNLOADS) {
            let digest = digest.trim_start_matches('/');
            let bytes = state.content.lock().unwrap().any_blob(digest);
            return Some(bytes.map_or_else(
                || Reply::error(404, "BLOB_UNKNOWN"),
                |bytes| answer::blob(request, &answer::content_etag(digest), digest, bytes, false),
            ));
        }
        let digest = request.path.rsplit('/').next().unwrap_or_default();
        let name = request.path.strip_prefix("/v2/").and_then(|rest| rest.rsplit_once("/blobs/")).unwrap_or_default().0;
        let has_token = state.auth.as_ref().is_some_and(|tokens| tokens.admits(request, name));
        let moved = || Reply::empty(302).with("Location", &format!("{DOWNLOADS}/{digest}"));
        (kind == Kind::Blob && request.method == "GET" && has_token).then(moved)
    }

    /// Returns the path of its token service, and the scope of its challenges in place of the right one.
    pub(super) fn challenge(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Ghcr => ("/token", Some("repository:user/image:pull")),
            Self::ArtifactRegistry => ("/v2/token", None),
            _ => ("/token", None),
        }
    }
}
