//! The endpoints of the API (distribution-spec, "Endpoints"), found by a request's path.

/// The kind of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum EndpointKind {
    /// `/v2/` (end-1)
    Base,
    /// `/v2/_catalog`, an extension of registry:2.
    Catalog,
    /// `/v2/<name>/tags/list` (end-8)
    Tags,
    /// `/v2/<name>/manifests/<reference>` (end-3, end-7, end-9)
    Manifest,
    /// `/v2/<name>/blobs/uploads/` (end-4, end-11)
    Uploads,
    /// `/v2/<name>/blobs/uploads/<session>` (end-5, end-6, end-13)
    Upload,
    /// `/v2/<name>/blobs/<digest>` (end-2, end-10)
    Blob,
    /// `/v2/<name>/referrers/<digest>` (end-12)
    Referrers,
}

/// An endpoint, with the parts of the path that name its object, as they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Endpoint<'a> {
    pub(in crate::http) kind: EndpointKind,
    /// The repository; empty if the endpoint has none.
    pub(in crate::http) name: &'a str,
    /// The last segment, if it is a reference, a digest or a session; otherwise empty.
    pub(in crate::http) object: &'a str,
}

impl<'a> Endpoint<'a> {
    /// Returns the endpoint of a path, for an API below `prefix` (`/`, or `/some/path/`); `None` if it is no path of
    /// the API. A repository may be named as a part of an endpoint is, so the end of the path decides.
    pub(in crate::http) fn of(path: &'a str, prefix: &str) -> Option<Self> {
        let rest = path.strip_prefix(prefix)?.strip_prefix("v2")?;
        match rest {
            "" | "/" => return Some(Self { kind: EndpointKind::Base, name: "", object: "" }),
            "/_catalog" => return Some(Self { kind: EndpointKind::Catalog, name: "", object: "" }),
            _ => {}
        }
        let (before, object) = rest.strip_prefix('/')?.rsplit_once('/')?;
        let (name, collection) = before.rsplit_once('/')?;
        let session_of = || name.strip_suffix("/blobs").filter(|_| collection == "uploads");
        let (kind, name, object) = match (collection, object) {
            ("tags", "list") => (EndpointKind::Tags, name, ""),
            ("blobs", "uploads") => (EndpointKind::Uploads, name, ""),
            ("uploads", "") => (EndpointKind::Uploads, session_of()?, ""),
            (_, "") => return None,
            ("manifests", reference) => (EndpointKind::Manifest, name, reference),
            ("uploads", session) => (EndpointKind::Upload, session_of()?, session),
            ("blobs", digest) => (EndpointKind::Blob, name, digest),
            ("referrers", digest) => (EndpointKind::Referrers, name, digest),
            _ => return None,
        };
        (!name.is_empty()).then_some(Self { kind, name, object })
    }
}

#[cfg(test)]
mod tests {
    use super::{EndpointKind::*, *};

    #[test]
    fn each_path_has_one_endpoint() {
        for (path, kind, name, object) in [
            ("/v2", Base, "", ""),
            ("/v2/", Base, "", ""),
            ("/v2/_catalog", Catalog, "", ""),
            ("/v2/a/b/tags/list", Tags, "a/b", ""),
            ("/v2/a/manifests/tags/list", Tags, "a/manifests", ""),
            ("/v2/a/manifests/1.0", Manifest, "a", "1.0"),
            ("/v2/a/blobs/uploads/manifests/latest", Manifest, "a/blobs/uploads", "latest"),
            ("/v2/a/blobs/uploads", Uploads, "a", ""),
            ("/v2/a/blobs/uploads/", Uploads, "a", ""),
            ("/v2/uploads/blobs/uploads/", Uploads, "uploads", ""),
            ("/v2/a/blobs/uploads/uploads", Upload, "a", "uploads"),
            ("/v2/a/blobs/uploads/x-y", Upload, "a", "x-y"),
            ("/v2/a/blobs/sha256%3Aab", Blob, "a", "sha256%3Aab"),
            ("/v2/a/uploads/blobs/x", Blob, "a/uploads", "x"),
            ("/v2/a/referrers/x", Referrers, "a", "x"),
        ] {
            assert_eq!(Endpoint::of(path, "/"), Some(Endpoint { kind, name, object }), "{path}");
            assert_eq!(Endpoint::of(&format!("/r{path}"), "/r/"), Some(Endpoint { kind, name, object }), "{path}");
        }
    }

    #[test]
    fn other_paths_have_none() {
        for path in [
            "/",
            "/v1/",
            "/v2x",
            "/v2/a",
            "/v2/_catalog/x",
            "/v2/tags/list",
            "/v2//tags/list",
            "/v2/manifests/1",
            "/v2/a/manifests/",
            "/v2/blobs/uploads/x",
            "/v2/a/uploads/x",
            "/v2/a/uploads/",
            "/v2/a/tags/other",
            "/v2/a/blobs/",
        ] {
            assert_eq!(Endpoint::of(path, "/"), None, "{path}");
        }
        assert_eq!(Endpoint::of("/v2/", "/r/"), None);
    }
}
