//! Lists that are passed through: a page of tags, a page of referrers. The JSON is not read here.

use awc::http::{Method, header::HeaderName};
use bytes::Bytes;

use super::{
    Client, Error, Remote,
    body::Body,
    exchange::Question,
    headers::{next_query, text},
    manifest::media_type,
};
use crate::{
    metrics::Content,
    oci::{Digest, MediaType, RepositoryName},
};

/// The longest page that is accepted: the Hub's longest tag lists are a few MiB.
const LONGEST: u64 = 16 << 20;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The JSON as it was sent.
    pub bytes: Bytes,
    /// `Content-Type`, empty where it is missing.
    pub media_type: MediaType,
    /// The query that asks for the next page, from `Link`.
    pub link: Option<String>,
    /// `OCI-Filters-Applied`, of referrers.
    pub filters: Option<String>,
}

impl Client {
    /// A page of a repository's tags. `query` is passed on: `n=100&last=x`, or nothing.
    ///
    /// # Errors
    /// Any of [`Error`]'s but [`Error::DigestMismatch`].
    pub async fn tags(&self, remote: &Remote, name: &RepositoryName, query: &str) -> Result<Page, Error> {
        self.page(remote, name, "tags/list", query).await
    }

    /// A page of the manifests that refer to `digest`. `query` is passed on: `artifactType=x`, or nothing.
    ///
    /// # Errors
    /// Any of [`Error`]'s but [`Error::DigestMismatch`]; [`Error::NotFound`] from a registry without this endpoint.
    pub async fn referrers(
        &self,
        remote: &Remote,
        name: &RepositoryName,
        digest: &Digest,
        query: &str,
    ) -> Result<Page, Error> {
        self.page(remote, name, &format!("referrers/{digest}"), query).await
    }

    async fn page(&self, remote: &Remote, name: &RepositoryName, rest: &str, query: &str) -> Result<Page, Error> {
        let mut url = remote.url(name, rest);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        let question = Question {
            remote,
            name,
            content: Content::List,
            method: Method::GET,
            url,
            headers: Vec::new(),
            host_header: None,
            follow: true,
        };
        let answer = self.ask(&question).await?;
        let headers = answer.response.headers();
        let link = next_query(headers, &answer.url);
        let media_type = media_type(headers);
        let filters = text(headers, HeaderName::from_static("oci-filters-applied").as_str()).map(str::to_owned);
        let bytes = Body::new(answer.response)?.collect(LONGEST, remote.document_stall()).await?;
        remote.fetched(Content::List).iter().for_each(|tally| tally.add(bytes.len() as u64));
        Ok(Page { bytes, media_type, link, filters })
    }
}
