//! The `WWW-Authenticate` header that asks a client for credentials: RFC 9110, section 11.6.1; for tokens, the section
//! "How to authenticate" of distribution's token specification.

use actix_web::HttpRequest;

use crate::{
    access::{Access, AuthScheme, SERVICE, TokenRealm},
    http::transport::location,
};

/// Returns the challenge. `scope` is what the token must grant; `error` is the fault of the token sent (RFC 6750,
/// section 3.1).
pub(in crate::http) fn write(
    access: &Access,
    request: &HttpRequest,
    scope: Option<&str>,
    error: Option<&str>,
) -> String {
    let (realm, service) = match &access.challenge {
        AuthScheme::Basic { realm } => return format!("Basic realm={}", quoted(realm)),
        AuthScheme::Own => (location::token(request), SERVICE),
        AuthScheme::ExternalTokens { realm: TokenRealm::Url(url), service } => (url.clone(), service.as_str()),
        AuthScheme::ExternalTokens { realm: TokenRealm::Path(path), service } => {
            (location::on_host(request, path), service.as_str())
        }
    };
    let mut challenge = format!("Bearer realm={},service={}", quoted(&realm), quoted(service));
    for (name, value) in [("scope", scope), ("error", error)] {
        if let Some(value) = value {
            challenge += &format!(",{name}={}", quoted(value));
        }
    }
    challenge
}

/// Returns a quoted-string: RFC 9110, section 5.6.4.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
