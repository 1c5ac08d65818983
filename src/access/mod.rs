//! Authentication and authorization: users and passwords, tokens, rules, decisions. It knows neither HTTP nor the
//! registry: requests arrive as names and actions, and clients as an address with credentials.
//!
//! `authenticator` logs users in with `password_cache` (recent successes), `throttle` (repeated failures) and `users`
//! (the file in `htpasswd` format, reloaded when it changes). `tokens` issues and verifies the built-in service's
//! tokens, and `external_token` verifies those of another service; both carry `scope`s. `rules` decides.

mod authenticator;
mod caller;
mod decision;
mod error;
mod external_token;
mod htpasswd;
mod keyed_hash;
mod password_cache;
mod principal;
mod rules;
mod scope;
mod throttle;
mod tokens;
mod users;

use std::{net::IpAddr, sync::Arc, time::Duration};

pub use authenticator::Authenticator;
pub use caller::{Caller, Proof};
pub use decision::{Decision, Reason};
pub use error::{Error, LoginError};
pub use external_token::ExternalTokens;
pub use htpasswd::{Htpasswd, NewLine};
pub use principal::Principal;
pub use rules::AccessRules;
pub use scope::{Grants, Scope};
pub use throttle::client_network;
pub use tokens::{Issued, SERVICE, Tokens};

pub use crate::oci::Action;
use crate::{
    lanes::{Blocking, Lane, Lanes},
    oci::Repository,
};

/// The time that an upload may continue with an expired token: clients cannot authenticate again in the middle of a
/// body.
const MAX_UPLOAD_DURATION: Duration = Duration::from_secs(24 * 3600);

/// The size of the cache of verified signatures, in bytes.
const TOKEN_CACHE_BYTES: u64 = 16 << 20;

/// The form of authentication that a challenge asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthScheme {
    /// User and password in every request.
    Basic {
        /// The realm, shown to users.
        realm: String,
    },
    /// A token of the built-in service, which also issues anonymous ones.
    Own,
    /// A token of an external service.
    ExternalTokens {
        /// The service's address.
        realm: TokenRealm,
        /// The service name to request.
        service: String,
    },
}

/// The address of an external token service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenRealm {
    /// An absolute URL.
    Url(String),
    /// A path on the host that the client used.
    Path(String),
}

/// Authenticates clients and authorizes their actions.
#[derive(Debug)]
pub struct Access {
    /// The challenge for clients without valid credentials.
    pub challenge: AuthScheme,
    method: Method,
}

/// The means of authentication with their rules.
#[derive(Debug)]
enum Method {
    Locked,
    Users { authenticator: Box<Authenticator>, rules: AccessRules, tokens: Option<Tokens> },
    ExternalTokens(ExternalTokens),
}

impl Access {
    /// Denies everything to everybody.
    #[must_use]
    pub fn locked(realm: &str) -> Self {
        Self { challenge: AuthScheme::Basic { realm: realm.to_owned() }, method: Method::Locked }
    }

    /// Authenticates the users of a file, with these rules. If those allow anonymous clients something, clients need
    /// tokens, which have this lifetime: Docker can mix anonymous pulls and logged-in pushes only with tokens.
    ///
    /// # Errors
    /// [`Error::NoRandom`] if the system provides no random bytes.
    pub fn of_users(
        realm: &str,
        authenticator: Authenticator,
        rules: AccessRules,
        lifetime: Duration,
    ) -> Result<Self, Error> {
        let tokens = rules.allow_anonymous().then(|| Tokens::new(lifetime)).transpose()?;
        let challenge = match tokens {
            Some(_) => AuthScheme::Own,
            None => AuthScheme::Basic { realm: realm.to_owned() },
        };
        Ok(Self { challenge, method: Method::Users { authenticator: Box::new(authenticator), rules, tokens } })
    }

    /// Accepts the tokens of an external service.
    #[must_use]
    pub fn of_service(realm: TokenRealm, service: &str, tokens: ExternalTokens) -> Self {
        Self {
            challenge: AuthScheme::ExternalTokens { realm, service: service.to_owned() },
            method: Method::ExternalTokens(tokens),
        }
    }

    /// Returns true if anonymous clients may do nothing.
    #[must_use]
    pub fn denies_anonymous(&self) -> bool {
        matches!(self.challenge, AuthScheme::Basic { .. })
    }

    /// Reads the file of users again if it has changed; looks at it at most once a second.
    pub async fn refresh(self: &Arc<Self>, lanes: &Lanes) {
        if let Method::Users { authenticator, .. } = &self.method
            && authenticator.is_check_due()
        {
            let access = Arc::clone(self);
            // A panic leaves the users as they were.
            let _ = lanes.run(Lane::Look, move |io| access.refresh_now(io)).await;
        }
    }

    fn refresh_now(&self, io: &Blocking) {
        if let Method::Users { authenticator, .. } = &self.method {
            authenticator.refresh(io);
        }
    }

    /// Returns the caller if the password is right.
    ///
    /// # Errors
    /// [`LoginError::Wrong`] and [`LoginError::Throttled`]; always the former with an external service, which has no
    /// passwords here.
    pub async fn log_in(&self, from: IpAddr, user: &str, password: &str) -> Result<Caller, LoginError> {
        match &self.method {
            Method::Users { authenticator, .. } => {
                Ok(Caller::with_password(authenticator.log_in(from, user, password).await?))
            }
            Method::Locked | Method::ExternalTokens(_) => Err(LoginError::Wrong),
        }
    }

    /// Returns a token's caller.
    #[must_use]
    pub fn read_token(&self, token: &str) -> Caller {
        match &self.method {
            Method::Users { tokens: Some(tokens), authenticator, .. } => tokens.read(token, authenticator),
            Method::ExternalTokens(tokens) => tokens.read(token),
            Method::Users { tokens: None, .. } | Method::Locked => Caller::invalid(),
        }
    }

    /// Issues a token of the built-in service; `None` if that is not in use.
    #[must_use]
    pub fn issue(&self, who: &Principal, scopes: &[Scope]) -> Option<Result<Issued, Error>> {
        match &self.method {
            Method::Users { tokens: Some(tokens), authenticator, rules } => {
                Some(tokens.issue(who, scopes, rules, authenticator))
            }
            _ => None,
        }
    }

    /// Decides about an action. A token limits its bearer to its scopes; as in `registry:2`, a push also needs the
    /// scope to pull.
    #[must_use]
    pub fn decide(&self, caller: &Caller, action: Action, repository: &Repository) -> Decision {
        let takes: &[Action] = match (&self.method, action) {
            (Method::ExternalTokens(_), Action::Push) => &[Action::Pull, Action::Push],
            _ => &[action],
        };
        let covers = |grants: &Grants| takes.iter().all(|action| grants.cover(&repository.name, *action));
        self.check(caller, covers, |rules| rules.decide(&caller.who, action, repository))
    }

    /// Returns true if the caller may perform the action in every repository. Tokens never grant that.
    #[must_use]
    pub fn allow_everywhere(&self, caller: &Caller, action: Action) -> bool {
        match (&self.method, &caller.proof) {
            (Method::Users { rules, .. }, Proof::Nothing | Proof::Password) => {
                rules.allow_everywhere(&caller.who, action)
            }
            _ => false,
        }
    }

    /// Returns true if the caller's credentials allow listing repositories; [`Access::shows`] filters them.
    #[must_use]
    pub fn allow_catalog(&self, caller: &Caller) -> bool {
        let allowed = |_: &AccessRules| Decision { allowed: true, by: Reason::NoRules };
        self.check(caller, Grants::cover_catalog, allowed).allowed
    }

    /// Returns true if a list for this caller includes the repository.
    #[must_use]
    pub fn shows(&self, who: &Principal, repository: &Repository) -> bool {
        match &self.method {
            Method::Users { rules, .. } => rules.decide(who, Action::Pull, repository).allowed,
            Method::ExternalTokens(_) => true,
            Method::Locked => false,
        }
    }

    fn check(
        &self,
        caller: &Caller,
        covers: impl Fn(&Grants) -> bool,
        ask: impl Fn(&AccessRules) -> Decision,
    ) -> Decision {
        let no = |by| Decision { allowed: false, by };
        match (&self.method, &caller.proof) {
            (Method::Locked, _) => no(Reason::Locked),
            (_, Proof::Invalid) | (Method::ExternalTokens(_), Proof::Nothing | Proof::Password) => {
                no(Reason::InvalidCredentials)
            }
            (Method::Users { rules, .. }, Proof::Nothing | Proof::Password) => ask(rules),
            (Method::Users { rules, .. }, Proof::Token { grants, .. }) => match ask(rules) {
                allowed if allowed.allowed && !covers(grants) => no(Reason::InsufficientScope),
                decision => decision,
            },
            (Method::ExternalTokens(_), Proof::Token { grants, .. }) => {
                if covers(grants) {
                    Decision { allowed: true, by: Reason::Token }
                } else {
                    no(Reason::InsufficientScope)
                }
            }
        }
    }
}
