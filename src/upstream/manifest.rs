//! Manifests: the head that tells what a tag names now, and the bytes, verified.

use awc::http::{
    Method,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use bytes::Bytes;

use super::{
    Client, Error, Remote,
    body::{Body, content_length},
    headers::{digest, text},
    request::UpstreamRequest,
};
use crate::{
    metrics::Content,
    oci::{Digest, MANIFEST_TYPES, MediaType, Reference, RepositoryName},
};

/// The longest manifest that is accepted: twice what the spec wants a registry to take.
const LONGEST: u64 = 8 << 20;

/// What a HEAD says of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// `Docker-Content-Digest`; some registries leave it out.
    pub digest: Option<Digest>,
    /// `Content-Type`, empty where it is missing.
    pub media_type: MediaType,
    /// `Content-Length`, where it tells one.
    pub size: Option<u64>,
}

/// A manifest as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestBody {
    /// The bytes: whole, and verified against the digest asked for or announced.
    pub bytes: Bytes,
    /// `Content-Type`, empty where it is missing.
    pub media_type: MediaType,
    /// `Docker-Content-Digest`. Without it, a manifest asked for by tag is whatever came.
    pub digest: Option<Digest>,
}

impl Client {
    /// Asks what `reference` names. Docker Hub does not count it as a pull.
    ///
    /// # Errors
    /// Any of [`Error`]'s but [`Error::Cut`], [`Error::DigestMismatch`] and [`Error::TooLarge`].
    pub async fn head_manifest(
        &self,
        remote: &Remote,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<ManifestHead, Error> {
        let answer = self.ask(&question(remote, name, reference, Method::HEAD)).await?;
        let headers = answer.response.headers();
        Ok(ManifestHead {
            digest: digest(headers),
            media_type: media_type(headers),
            // A manifest is never empty: a zero is a server that does not know.
            size: content_length(headers).filter(|size| *size > 0),
        })
    }

    /// Fetches a manifest. Docker Hub counts it.
    ///
    /// # Errors
    /// Any of [`Error`]'s; [`Error::DigestMismatch`] when the bytes are not those asked for or announced.
    pub async fn get_manifest(
        &self,
        remote: &Remote,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<ManifestBody, Error> {
        let answer = self.ask(&question(remote, name, reference, Method::GET)).await?;
        let headers = answer.response.headers();
        let (digest, media_type) = (digest(headers), media_type(headers));
        let bytes = Body::new(answer.response)?.collect(LONGEST, remote.document_stall()).await?;
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

fn question<'a>(
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
        has_turn: false,
    }
}

pub(super) fn media_type(headers: &HeaderMap) -> MediaType {
    MediaType::new(text(headers, CONTENT_TYPE.as_str()).unwrap_or_default())
}
