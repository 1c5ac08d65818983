//! Token authentication: a challenge to the upstream's own `/token`, tokens for one repository each that expire.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{State, deliver::Reply};
use crate::support::wire::Request;

/// Token authentication: the accepted credentials, and the lifetime of tokens.
pub(crate) struct Auth {
    credentials: Option<(String, String)>,
    lifetime: Duration,
    announced: Option<u64>,
    field: &'static str,
}

impl Auth {
    /// A token for every client, valid for five minutes.
    pub(crate) fn anonymous() -> Self {
        Self { credentials: None, lifetime: Duration::from_secs(300), announced: Some(300), field: "token" }
    }

    /// A token only for these credentials.
    pub(crate) fn basic(user: &str, password: &str) -> Self {
        Self { credentials: Some((user.to_owned(), password.to_owned())), ..Self::anonymous() }
    }

    /// The real lifetime of tokens, independent of the announced one.
    pub(crate) fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The value of `expires_in`; `None`: it is missing, which means 60.
    pub(crate) fn announced(mut self, seconds: Option<u64>) -> Self {
        self.announced = seconds;
        self
    }

    /// The token is returned as `access_token` alone.
    pub(crate) fn named_access_token(mut self) -> Self {
        self.field = "access_token";
        self
    }
}

pub(super) struct Tokens {
    auth: Auth,
    /// The accepted credentials now.
    credentials: Mutex<Option<(String, String)>>,
    issued: Mutex<HashMap<String, Grant>>,
}

struct Grant {
    scope: String,
    expires: Instant,
}

impl Tokens {
    pub(super) fn new(auth: Auth) -> Self {
        let credentials = Mutex::new(auth.credentials.clone());
        Self { auth, credentials, issued: Mutex::default() }
    }

    pub(super) fn accept(&self, user: &str, password: &str) {
        *self.credentials.lock().unwrap() = Some((user.to_owned(), password.to_owned()));
    }

    pub(super) fn issued(&self) -> Vec<String> {
        self.issued.lock().unwrap().keys().cloned().collect()
    }

    pub(super) fn revoke(&self) {
        self.issued.lock().unwrap().values_mut().for_each(|grant| grant.expires = Instant::now());
    }

    /// `GET /token`
    pub(super) fn answer(&self, request: &Request) -> Reply {
        let accepted = self.credentials.lock().unwrap().clone();
        if accepted.is_some() && request.basic() != accepted {
            return Reply::error(401, "UNAUTHORIZED").with("WWW-Authenticate", "Basic realm=\"upstream\"");
        }
        let scope = request.parameter("scope").unwrap_or_default();
        let mut issued = self.issued.lock().unwrap();
        let token = format!("upstream-token-{}-{:016x}", issued.len(), fastrand(issued.len()));
        issued.insert(token.clone(), Grant { scope, expires: Instant::now() + self.auth.lifetime });
        let mut body = serde_json::json!({ self.auth.field: token });
        if let Some(seconds) = self.auth.announced {
            body["expires_in"] = seconds.into();
        }
        Reply::json(&body)
    }

    /// Returns whether the request has a token that is valid for this repository.
    pub(super) fn admits(&self, request: &Request, repository: &str) -> bool {
        let wanted = format!("repository:{repository}:pull");
        let Some(token) = request.bearer() else { return false };
        let issued = self.issued.lock().unwrap();
        let good = |grant: &Grant| {
            grant.expires > Instant::now() && (repository.is_empty() || grant.scope.split(' ').any(|s| s == wanted))
        };
        issued.get(&token).is_some_and(good)
    }
}

/// The 401 with the challenge.
pub(super) fn challenge(state: &State, repository: &str) -> Reply {
    let (url, vendor) = (&state.url, state.options.lock().unwrap().vendor.clone());
    let (path, other_scope) = vendor.map_or(("/token", None), |vendor| vendor.challenge());
    let own_scope = format!("repository:{repository}:pull");
    let scope = other_scope.unwrap_or(if repository.is_empty() { "" } else { &own_scope });
    let scope = if scope.is_empty() { String::new() } else { format!(",scope=\"{scope}\"") };
    let value = format!("Bearer realm=\"{url}{path}\",service=\"upstream.test\"{scope}");
    Reply::error(401, "UNAUTHORIZED").with("WWW-Authenticate", &value)
}

/// Not guessable by accident, which is enough here.
fn fastrand(seed: usize) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(seed)
}
