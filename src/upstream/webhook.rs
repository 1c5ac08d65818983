//! POST requests to receivers of notifications, which the operator configured: no redirect is followed, and nothing of
//! the answer but its status is used.

use std::time::Duration;

use awc::http::{
    Method,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use bytes::Bytes;
use tokio::time::timeout;
use url::Url;

use super::{
    Client, ClientThreads, Credentials, Error, Phase,
    address_policy::AddressPolicy,
    body::{DISCARD_TIMEOUT, excerpt},
    client::Request,
    urls,
};
/// A receiver of notifications.
#[derive(Clone, Debug)]
pub struct Webhook {
    url: Url,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
}

impl Webhook {
    /// Creates a receiver. A user in the URL is sent as Basic authentication. `timeout` is for the time until its
    /// answer.
    ///
    /// # Errors
    /// [`Error::Protocol`] if a header is not valid in HTTP; it names the header.
    pub fn new<'a>(
        mut url: Url,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let mut checked = Vec::new();
        if let Some(credentials) = Credentials::of_url(&url) {
            checked.push(header("Authorization", &credentials.basic())?);
        }
        for (name, value) in headers {
            checked.push(header(name, value)?);
        }
        // A configured header replaces the one of the URL's user.
        if checked.iter().filter(|(name, _)| *name == AUTHORIZATION).count() > 1 {
            checked.remove(0);
        }
        urls::strip(&mut url);
        Ok(Self { url, headers: checked, timeout })
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
    let (name, mut value) = parsed.ok_or_else(|| Error::Protocol(format!("the header {name} is not valid")))?;
    value.set_sensitive(true);
    Ok((name, value))
}

impl ClientThreads {
    /// Sends `body` to a receiver, and returns the status of the answer.
    ///
    /// # Errors
    /// [`Error::Timeout`] after the receiver's timeout, [`Error::Unreachable`] or [`Error::Protocol`] without an
    /// answer, [`Error::Job`] if the request could not be started.
    pub async fn post(&self, webhook: &Webhook, body: Bytes) -> Result<u16, Error> {
        let request = Request {
            method: Method::POST,
            url: webhook.url.clone(),
            headers: webhook.headers.clone(),
            body: Some(body),
            address_policy: AddressPolicy::ANYWHERE,
            trust: None,
            connect: webhook.timeout,
        };
        let limit = webhook.timeout;
        let late = |_| Error::Timeout { phase: Phase::Head };
        let sent = self.call(move |client: Client| async move {
            let response = timeout(limit, client.send(&request)).await.map_err(late)??;
            let status = response.status().as_u16();
            // A body that is late does not take back the answer.
            excerpt(response).await;
            Ok(status)
        });
        timeout(limit + 2 * DISCARD_TIMEOUT, sent).await.map_err(late)?
    }
}
