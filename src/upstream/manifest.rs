//! Manifest requests: HEAD (the digest and size of a tag or digest) and GET (the bytes, verified if a digest is
//! requested or announced). A HEAD response without `Docker-Content-Digest` is left to the caller.

use awc::http::{
    Method,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use bytes::Bytes;

use super::{
    Client, Error, Remote,
    body::{ResponseBody, content_length},
    headers::{digest, text},
    request::UpstreamRequest,
};
use crate::{
    metrics::Content,
    oci::{Digest, MANIFEST_TYPES, MAX_MANIFEST_BYTES, MediaType, Reference, RepositoryName},
};

/// The response to a HEAD of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// `Docker-Content-Digest`, which some registries omit.
    pub digest: Option<Digest>,
    /// `Content-Type`, empty if it is missing.
    pub media_type: MediaType,
    /// `Content-Length`, if it is known.
    pub size: Option<u64>,
}

/// A manifest as the upstream sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestBody {
    /// The bytes: complete, and verified against the requested or announced digest.
    pub bytes: Bytes,
    /// `Content-Type`, empty if it is missing.
    pub media_type: MediaType,
    /// `Docker-Content-Digest`. Without it the bytes of a manifest requested by tag are not verified.
    pub digest: Option<Digest>,
}

impl Client {
    /// Requests the head of a manifest. Docker Hub does not count it as a pull.
    ///
    /// # Errors
    /// Any of [`Error`]'s but [`Error::Cut`], [`Error::DigestMismatch`] and [`Error::TooLarge`].
    pub async fn head_manifest(
        &self,
        remote: &Remote,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<ManifestHead, Error> {
        let answer = self.ask(&manifest_request(remote, name, reference, Method::HEAD)).await?;
        let headers = answer.response.headers();
        Ok(ManifestHead {
            digest: digest(headers),
            media_type: media_type(headers),
            // A manifest is never empty: a length of 0 means that the server does not know it.
            size: content_length(headers).filter(|size| *size > 0),
        })
    }

    /// Requests a manifest. Docker Hub counts it as a pull.
    ///
    /// # Errors
    /// Any of [`Error`]'s; [`Error::DigestMismatch`] if the bytes do not have the requested or announced digest.
    pub async fn get_manifest(
        &self,
        remote: &Remote,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<ManifestBody, Error> {
        let answer = self.ask(&manifest_request(remote, name, reference, Method::GET)).await?;
        let headers = answer.response.headers();
        let (digest, media_type) = (digest(headers), media_type(headers));
        let bytes = ResponseBody::new(answer.response)?.collect(MAX_MANIFEST_BYTES, remote.document_stall()).await?;
        let asked = match reference {
            Reference::Digest(asked) => Some(*asked),
            Reference::Tag(_) => digest,
        };
        remote.fetched(Content::Manifest).iter().for_each(|tally| tally.add(bytes.len() as u64));
        if let Some(expected) = asked.filter(|expected| !expected.matches(&bytes)) {
            remote.count_mismatch(Content::Manifest);
            return Err(Error::DigestMismatch { expected });
        }
        Ok(ManifestBody { bytes, media_type, digest })
    }
}

fn manifest_request<'a>(
    remote: &'a Remote,
    name: &'a RepositoryName,
    reference: &Reference,
    method: Method,
) -> UpstreamRequest<'a> {
    let accept = HeaderValue::try_from(MANIFEST_TYPES.join(", ")).unwrap_or(HeaderValue::from_static("*/*"));
    UpstreamRequest {
        remote,
        name,
        content: Content::Manifest,
        method,
        url: remote.url(name, &format!("manifests/{reference}")),
        headers: vec![(ACCEPT, accept)],
        host_header: None,
        follow: true,
        has_permit: false,
    }
}

pub(super) fn media_type(headers: &HeaderMap) -> MediaType {
    MediaType::new(text(headers, CONTENT_TYPE.as_str()).unwrap_or_default())
}
