//! The `proxy` section.

use std::time::Duration;

use url::Url;

use super::{
    Error, Secret, Setting,
    dump::Line,
    duration,
    node::Node,
    table::{PROXY_FRESHNESS, PROXY_PASSWORD, PROXY_REMOTEURL, PROXY_USERNAME},
};

/// What is mirrored.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// `proxy.remoteurl`: who plays `docker.io`. It never holds a user or a password: those it was written with are
    /// in the next two fields, so that whoever logs or follows a URL need not think of them.
    pub remoteurl: Setting<Url>,
    /// `proxy.username`: there if and only if the password is.
    pub username: Setting<Option<String>>,
    /// `proxy.password`.
    pub password: Setting<Option<Secret>>,
    /// `proxy.freshness`: how long a tag is believed without asking upstream.
    pub freshness: Setting<Duration>,
}

impl Proxy {
    pub(super) fn read(root: &Node) -> Result<Self, Error> {
        let proxy = Self {
            remoteurl: Setting::read(root, &PROXY_REMOTEURL, remote_url)?,
            username: Setting::read_optional(root, &PROXY_USERNAME, str::to_owned)?,
            password: Setting::read_optional(root, &PROXY_PASSWORD, |text| Secret::new(text))?,
            freshness: Setting::read(root, &PROXY_FRESHNESS, duration::parse)?,
        };
        proxy.with_user_out_of_url()?.paired()
    }

    fn with_user_out_of_url(mut self) -> Result<Self, Error> {
        let url = self.remoteurl.value();
        let (username, password) = (decoded(url.username()), url.password().map(decoded));
        if username.is_empty() && password.is_none() {
            return Ok(self);
        }
        if self.username.is_some() || self.password.is_some() {
            return Err(self.remoteurl.error("a URL without a user, since proxy.username names one"));
        }
        let origin = || self.remoteurl.origin().clone();
        self.username =
            Setting::new(&PROXY_USERNAME, Some(username.clone()).filter(|name| !name.is_empty()), &username, origin());
        self.password = Setting::new(&PROXY_PASSWORD, password.map(Secret::new), "", origin());
        self.remoteurl = self.remoteurl.map(without_user);
        Ok(self)
    }

    fn paired(self) -> Result<Self, Error> {
        match (self.username.value(), self.password.value()) {
            (Some(_), None) => Err(self.username.error("proxy.password beside it")),
            (None, Some(_)) => Err(self.password.error("proxy.username beside it")),
            _ => Ok(self),
        }
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let username = self.username.as_deref().map(|name| Line::new(&self.username, name));
        let password = self.password.as_ref().map(|_| Line::new(&self.password, "***"));
        let remoteurl = Line::new(&self.remoteurl, self.remoteurl.as_str());
        let freshness = Line::new(&self.freshness, duration::write(*self.freshness));
        [Some(remoteurl), username, password, Some(freshness)].into_iter().flatten().collect()
    }
}

fn remote_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    (plain && url.has_host()).then_some(url)
}

fn without_user(mut url: Url) -> Url {
    // These fail only for a URL without a host, which `remote_url` does not let through.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// Undoes `%40` and its like; what is no such escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, after) = escape(rest).unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match text {
        [b'%', high, low, rest @ ..] => Some((digit(high)? << 4 | digit(low)?, rest)),
        _ => None,
    }
}
