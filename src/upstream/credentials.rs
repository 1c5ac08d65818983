//! A user name and a password: read from a URL's userinfo (RFC 3986, section 3.2.1), and encoded for Basic
//! authentication (RFC 7617).

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use url::{Url, form_urlencoded};

/// An account at an upstream, or at a proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The account's name.
    pub username: String,
    /// Its password or access token.
    pub password: String,
}

impl Credentials {
    /// Returns the credentials in a URL's userinfo, percent-decoded; `None` if the user name is empty.
    pub(super) fn of_url(url: &Url) -> Option<Self> {
        let password = url.password().unwrap_or_default();
        (!url.username().is_empty())
            .then(|| Self { username: percent_decode(url.username()), password: percent_decode(password) })
    }

    /// Returns the value of `Authorization` (RFC 7617).
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", self.username, self.password)))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

fn percent_decode(text: &str) -> String {
    // Uses the decoder for forms, so escapes its special characters: `+` means a space, `&` and `=` end a field.
    let escaped = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(escaped.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_carry_them_escaped() {
        let url = Url::parse("https://a%40b:p+%26=%25@r.example").unwrap();
        let credentials = Credentials::of_url(&url).unwrap();
        assert_eq!((credentials.username.as_str(), credentials.password.as_str()), ("a@b", "p+&=%"));
        assert_eq!(Credentials::of_url(&Url::parse("https://r.example").unwrap()), None);
    }

    #[test]
    fn debug_does_not_print_the_password() {
        let credentials = Credentials { username: "me".into(), password: "hunter2".into() };
        assert!(!format!("{credentials:?}").contains("hunter2"));
        assert_eq!(credentials.basic(), "Basic bWU6aHVudGVyMg==");
    }
}
