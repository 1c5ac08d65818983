//! Pages of tags and of referrers, passed through unchanged. They are parsed first, since a captive portal answers 200
//! too.

use awc::http::{Method, header::HeaderName};
use bytes::Bytes;
use serde::Deserialize;

use super::{
    Client, Error, Remote,
    body::ResponseBody,
    headers::{next_query, text},
    manifest::media_type,
    request::UpstreamRequest,
};
use crate::{
    metrics::Content,
    oci::{Digest, Manifest, MediaType, RepositoryName},
};

/// The longest page that is accepted, in bytes: the Hub's longest tag lists are a few MiB.
const MAX_PAGE_BYTES: u64 = 16 << 20;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The JSON as the upstream sent it.
    pub bytes: Bytes,
    /// `Content-Type`, empty if it is missing.
    pub media_type: MediaType,
    /// The query of the next page, from `Link`.
    pub link: Option<String>,
    /// `OCI-Filters-Applied`, for referrers.
    pub filters: Option<String>,
}

impl Client {
    /// Requests a page of a repository's tags. `query` is passed on: `n=100&last=x`, or empty.
    ///
    /// # Errors
    /// Any of [`Error`]'s but [`Error::DigestMismatch`]; [`Error::Protocol`] if the response is no list of tags.
    pub async fn tags(&self, remote: &Remote, name: &RepositoryName, query: &str) -> Result<Page, Error> {
        let page = self.page(remote, name, "tags/list", query).await?;
        page.checked(is_list_of_tags, "no list of tags")
    }

    /// Requests a page of the manifests that refer to `digest`. `query` is passed on: `artifactType=x`, or empty.
    ///
    /// # Errors
    /// Any of [`Error`]'s but [`Error::DigestMismatch`]; [`Error::Protocol`] if the response is no index, and
    /// [`Error::NotFound`] from a registry without this endpoint.
    pub async fn referrers(
        &self,
        remote: &Remote,
        name: &RepositoryName,
        digest: &Digest,
        query: &str,
    ) -> Result<Page, Error> {
        match self.page(remote, name, &format!("referrers/{digest}"), query).await {
            // After a 404 clients fall back to the referrers tag; after any other error they give up.
            Err(Error::Status { code: 400 | 405 | 406 | 501, .. }) => Err(Error::NotFound),
            page => page?.checked(is_index, "no index of referrers"),
        }
    }

    async fn page(&self, remote: &Remote, name: &RepositoryName, rest: &str, query: &str) -> Result<Page, Error> {
        let mut url = remote.url(name, rest);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        let request = UpstreamRequest {
            remote,
            name,
            content: Content::List,
            method: Method::GET,
            url,
            headers: Vec::new(),
            host_header: None,
            follow: true,
            has_permit: false,
        };
        let answer = self.ask(&request).await?;
        let headers = answer.response.headers();
        let link = next_query(headers, &answer.url);
        let media_type = media_type(headers);
        let filters = text(headers, HeaderName::from_static("oci-filters-applied").as_str()).map(str::to_owned);
        let bytes = ResponseBody::new(answer.response)?.collect(MAX_PAGE_BYTES, remote.document_stall()).await?;
        remote.fetched(Content::List).iter().for_each(|tally| tally.add(bytes.len() as u64));
        Ok(Page { bytes, media_type, link, filters })
    }
}

impl Page {
    fn checked(self, is_one: fn(&[u8]) -> bool, otherwise: &str) -> Result<Self, Error> {
        match is_one(&self.bytes) {
            true => Ok(self),
            false => Err(Error::Protocol(format!("200 with {otherwise} ({:?})", self.media_type.as_str()))),
        }
    }
}

/// distribution-spec, "Listing Tags". Registries written in Go send `null` for an empty list.
fn is_list_of_tags(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct TagList {
        name: Option<String>,
        tags: Option<Vec<String>>,
    }
    serde_json::from_slice(bytes).is_ok_and(|list: TagList| list.name.is_some() || list.tags.is_some())
}

fn is_index(bytes: &[u8]) -> bool {
    Manifest::parse(bytes).is_ok_and(|list| list.media_type.is_index())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_recognised() {
        for list in [
            r#"{"name":"a","tags":["1"]}"#,
            r#"{"name":"a","tags":null}"#,
            r#"{"name":"a"}"#,
            r#"{"tags":[],"more":[1]}"#,
        ] {
            assert!(is_list_of_tags(list.as_bytes()) && !is_index(list.as_bytes()), "{list}");
        }
        for list in [r#"{"manifests":[]}"#, r#"{"schemaVersion":2,"manifests":null}"#] {
            assert!(is_index(list.as_bytes()) && !is_list_of_tags(list.as_bytes()), "{list}");
        }
        for other in ["", "<html>", "[]", "{}", "null", r#"{"tags":"1"}"#, r#"{"tags":[1]}"#, r#"{"errors":[]}"#] {
            assert!(!is_list_of_tags(other.as_bytes()) && !is_index(other.as_bytes()), "{other}");
        }
    }
}
