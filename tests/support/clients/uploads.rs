//! The write side by plain HTTP: the requests of a client that pushes a blob, a manifest, an image.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use url::Url;

use crate::support::{
    http::{Request, Response},
    images::{Blob, Image, Manifest},
};

pub(crate) const OCTETS: &str = "application/octet-stream";

/// The `Authorization` header of a user.
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A registry to push to, with optional credentials.
#[derive(Clone)]
pub(crate) struct Target {
    url: String,
    /// The `Authorization` header.
    authorization: Option<String>,
}

impl Target {
    pub(crate) fn open(url: &str) -> Self {
        Self { url: url.to_owned(), authorization: None }
    }

    pub(crate) fn with_token(url: &str, token: &str) -> Self {
        Self { url: url.to_owned(), authorization: Some(format!("Bearer {token}")) }
    }

    /// The same registry, with a user's credentials.
    pub(crate) fn as_user(&self, user: &str, password: &str) -> Self {
        Self { url: self.url.clone(), authorization: Some(basic(user, password)) }
    }

    /// The `Authorization` header.
    pub(crate) fn authorization(&self) -> &str {
        self.authorization.as_deref().unwrap_or_default()
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn authority(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    /// A request of `/v2/<path>`.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        self.request_of(method, &format!("{}/v2/{path}", self.url))
    }

    fn request_of(&self, method: &str, url: &str) -> Request {
        let request = Request::new(method, url);
        match &self.authorization {
            Some(value) => request.header("Authorization", value),
            None => request,
        }
    }

    /// The URL in a `Location` of this registry, relative or not.
    pub(crate) fn follow(&self, response: &Response) -> String {
        let location = response.header("location").expect("a Location");
        Url::parse(&self.url).unwrap().join(location).unwrap().into()
    }

    /// Begins an upload.
    pub(crate) fn begin(&self, repository: &str) -> Session {
        let response = self.request("POST", &format!("{repository}/blobs/uploads/")).send();
        if response.status != 202 {
            let status = response.status;
            panic!("no upload begins in {repository}: {status} {}", response.text());
        }
        self.session(&response)
    }

    /// The session in a response.
    pub(crate) fn session(&self, response: &Response) -> Session {
        Session { url: self.follow(response), target: self.clone() }
    }

    /// Requests a mount of a blob; without a source if `from` is `None`.
    pub(crate) fn mount(&self, repository: &str, digest: &str, from: Option<&str>) -> Response {
        let from = from.map(|from| format!("&from={from}")).unwrap_or_default();
        self.request("POST", &format!("{repository}/blobs/uploads/?mount={digest}{from}")).send()
    }

    /// Pushes a blob by POST and PUT.
    pub(crate) fn blob(&self, repository: &str, blob: &Blob) {
        let put = self.begin(repository).put(&blob.digest, &blob.bytes);
        assert_eq!(put.status, 201, "a blob is pushed to {repository}");
    }

    /// PUTs a manifest under a tag or a digest.
    pub(crate) fn manifest(&self, repository: &str, reference: &str, manifest: &Manifest) -> Response {
        let put = self.request("PUT", &format!("{repository}/manifests/{reference}"));
        put.body(&manifest.media_type, &manifest.bytes).send()
    }

    /// Pushes all of an image: blobs, the platforms' manifests, the tag.
    pub(crate) fn image(&self, repository: &str, tag: &str, image: &Image) {
        image.blobs.iter().for_each(|blob| self.blob(repository, blob));
        let names = image.children.iter().map(|child| child.digest.as_str()).chain([tag]);
        for (manifest, name) in image.manifests().zip(names) {
            assert_eq!(self.manifest(repository, name, manifest).status, 201, "{repository}:{name} is pushed");
        }
    }

    /// A GET that must succeed with JSON.
    pub(crate) fn json(&self, path: &str) -> Value {
        let response = self.request("GET", path).send();
        assert_eq!(response.status, 200, "GET {path}");
        response.json()
    }

    /// The status of a HEAD.
    pub(crate) fn head(&self, path: &str) -> u16 {
        self.request("HEAD", path).send().status
    }

    /// The status of a DELETE.
    pub(crate) fn delete(&self, path: &str) -> u16 {
        self.request("DELETE", path).send().status
    }

    /// All items of a paged list under `key`, and the number of pages: follows `Link` from page to page.
    pub(crate) fn pages(&self, path: &str, key: &str) -> (Vec<Value>, usize) {
        let (mut found, mut count) = (Vec::new(), 0);
        let mut next = Some(format!("{}/v2/{path}", self.url));
        while let Some(url) = next {
            let response = self.request_of("GET", &url).send();
            assert_eq!(response.status, 200, "GET {url}");
            next = response.header("link").map(|link| self.linked(link));
            found.extend(response.json()[key].as_array().unwrap_or_else(|| panic!("{key} of {url}")).iter().cloned());
            count += 1;
            assert!(count < 10_000, "{path} never ends");
        }
        (found, count)
    }

    /// The URL of `Link: <…>; rel="next"`.
    pub(crate) fn linked(&self, link: &str) -> String {
        assert!(link.contains(r#"rel="next""#), "{link}");
        let (url, _) = link.trim_start().strip_prefix('<').and_then(|rest| rest.split_once('>')).unwrap();
        Url::parse(&self.url).unwrap().join(url).unwrap().into()
    }
}

/// An upload in progress.
#[derive(Clone)]
pub(crate) struct Session {
    target: Target,
    url: String,
}

impl Session {
    /// A request of the session's own URL.
    pub(crate) fn request(&self, method: &str) -> Request {
        self.target.request_of(method, &self.url)
    }

    /// The PUT that ends it, still without a body.
    pub(crate) fn closing(&self, digest: &str) -> Request {
        let mut url = Url::parse(&self.url).unwrap();
        url.query_pairs_mut().append_pair("digest", digest);
        self.target.request_of("PUT", url.as_str())
    }

    /// Ends it with these bytes.
    pub(crate) fn put(&self, digest: &str, bytes: &[u8]) -> Response {
        self.closing(digest).body(OCTETS, bytes).send()
    }

    /// Sends a chunk, with a `Content-Range` from this offset if there is one.
    pub(crate) fn patch(&mut self, from: Option<usize>, bytes: &[u8]) -> Response {
        let mut patch = self.request("PATCH");
        if let Some(from) = from {
            patch = patch.header("Content-Range", &format!("{from}-{}", from + bytes.len() - 1));
        }
        let response = patch.body(OCTETS, bytes).send();
        self.moved(&response);
        response
    }

    /// Continues at the URL in the response, if there is one.
    pub(crate) fn moved(&mut self, response: &Response) {
        if response.header("location").is_some() {
            self.url = self.target.follow(response);
        }
    }

    /// The number of bytes that the server has received. `0-0` may mean none or one: clients cannot distinguish them
    /// either.
    pub(crate) fn received(&mut self) -> u64 {
        let response = self.request("GET").send();
        assert_eq!(response.status, 204, "the status of an upload");
        self.moved(&response);
        let range = response.header("range").expect("a Range");
        let last: u64 =
            range.strip_prefix("0-").and_then(|last| last.parse().ok()).unwrap_or_else(|| panic!("{range}"));
        if last == 0 { 0 } else { last + 1 }
    }

    /// The same session, at the server's current address.
    pub(crate) fn at(&self, target: &Target) -> Self {
        let (old, new) = (Url::parse(&self.url).unwrap(), Url::parse(&target.url).unwrap());
        let there = new.join(&old[url::Position::BeforePath..]).unwrap();
        Self { target: target.clone(), url: there.into() }
    }
}
