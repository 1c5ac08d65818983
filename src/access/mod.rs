//! Who somebody is, and what they may do: users and their passwords, tokens, rules, decisions. Knows no HTTP and no registry:
//! what is asked for comes as names and actions, and who asks as an address with what they said.
//!
//! `logins` is the way in for a user with a password: `verdicts` (what was found right a moment ago), `throttle` (who keeps
//! failing), `users` (the file, read again when it changes, in `htpasswd`'s format). `tokens` makes and reads our own,
//! `outside` reads those of another service; both carry `scope`s. `rules` decides.

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

use std::{net::IpAddr, time::Duration};

pub use authenticator::Authenticator;
pub use caller::{Caller, Proof};
pub use decision::{Decision, Reason};
pub use error::{Error, LoginError};
pub use external_token::ExternalTokens;
pub use htpasswd::{Htpasswd, NewLine};
pub use principal::Principal;
pub use rules::AccessRules;
pub use scope::{Grants, Scope};
pub use tokens::{Issued, SERVICE, Tokens};

pub use crate::oci::Action;
use crate::oci::Repository;

/// How long an upload may go on by the token it began with: no client can say who it is in the middle of a body.
const LONGEST_UPLOAD: Duration = Duration::from_secs(24 * 3600);

/// Bytes of tokens whose signature need not be looked at again.
const TOKENS: u64 = 16 << 20;

/// How strangers are asked who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// By user and password, in every request.
    Basic {
        /// What the users are told they log in to.
        realm: String,
    },
    /// By a token of this server's own service, which makes them for nobody in particular too.
    Own,
    /// By a token of an outside service.
    ExternalTokens {
        /// Where to get one.
        realm: TokenRealm,
        /// What to ask for it as.
        service: String,
    },
}

/// Where an outside service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenRealm {
    /// There.
    Url(String),
    /// At this path of whatever host the client calls this server.
    Path(String),
}

/// Who may come in, and what they may do then.
#[derive(Debug)]
pub struct Access {
    /// How a stranger is asked.
    pub challenge: Challenge,
    way: Method,
}

/// How it is known who asks, and what they may do.
#[derive(Debug)]
enum Method {
    Locked,
    Users { logins: Box<Authenticator>, rules: AccessRules, tokens: Option<Tokens> },
    ExternalTokens(ExternalTokens),
}

impl Access {
    /// Lets nobody in.
    #[must_use]
    pub fn locked(realm: &str) -> Self {
        Self { challenge: Challenge::Basic { realm: realm.to_owned() }, way: Method::Locked }
    }

    /// Lets the users of a file in, by these rules. Where those let strangers do something, by tokens of our own, which live this
    /// long: only they let docker's clients in both with a password and without.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn of_users(realm: &str, logins: Authenticator, rules: AccessRules, lifetime: Duration) -> Result<Self, Error> {
        let tokens = rules.let_strangers_in().then(|| Tokens::new(lifetime)).transpose()?;
        let challenge = match tokens {
            Some(_) => Challenge::Own,
            None => Challenge::Basic { realm: realm.to_owned() },
        };
        Ok(Self { challenge, way: Method::Users { logins: Box::new(logins), rules, tokens } })
    }

    /// Lets in whom an outside service vouches for.
    #[must_use]
    pub fn of_service(realm: TokenRealm, service: &str, outside: ExternalTokens) -> Self {
        Self {
            challenge: Challenge::ExternalTokens { realm, service: service.to_owned() },
            way: Method::ExternalTokens(outside),
        }
    }

    /// Whether nobody may do anything without saying who they are.
    #[must_use]
    pub fn is_closed_to_strangers(&self) -> bool {
        matches!(self.challenge, Challenge::Basic { .. })
    }

    /// Who this is, if the password is right.
    ///
    /// # Errors
    /// [`LoginError`]; nobody has a password here that an outside service is for.
    pub async fn log_in(&self, from: IpAddr, user: &str, password: &str) -> Result<Caller, LoginError> {
        match &self.way {
            Method::Users { logins, .. } => Ok(Caller::with_password(logins.log_in(from, user, password).await?)),
            Method::Locked | Method::ExternalTokens(_) => Err(LoginError::Wrong),
        }
    }

    /// Who bears a token.
    #[must_use]
    pub fn read_token(&self, token: &str) -> Caller {
        match &self.way {
            Method::Users { tokens: Some(tokens), logins, .. } => tokens.read(token, logins),
            Method::ExternalTokens(outside) => outside.read(token),
            Method::Users { tokens: None, .. } | Method::Locked => Caller::unproved(),
        }
    }

    /// A token of our own service; `None` where there is no such service.
    #[must_use]
    pub fn issue(&self, who: &Principal, scopes: &[Scope]) -> Option<Result<Issued, Error>> {
        match &self.way {
            Method::Users { tokens: Some(tokens), logins, rules } => Some(tokens.issue(who, scopes, rules, logins)),
            _ => None,
        }
    }

    /// Whether a caller may do this. A token limits its bearer to what it was made for; as in `registry:2`, to push it takes one
    /// that is made for pulling, too.
    #[must_use]
    pub fn decide(&self, caller: &Caller, action: Action, repository: &Repository) -> Decision {
        let takes: &[Action] = match (&self.way, action) {
            (Method::ExternalTokens(_), Action::Push) => &[Action::Pull, Action::Push],
            _ => &[action],
        };
        let covers = |grants: &Grants| takes.iter().all(|action| grants.cover(&repository.name, *action));
        self.weigh(caller, covers, |rules| rules.decide(&caller.who, action, repository))
    }

    /// Whether a caller may do this wherever they want. No token is made for everything.
    #[must_use]
    pub fn allow_everywhere(&self, caller: &Caller, action: Action) -> bool {
        match (&self.way, &caller.proof) {
            (Method::Users { rules, .. }, Proof::Nothing | Proof::Password) => {
                rules.allow_everywhere(&caller.who, action)
            }
            _ => false,
        }
    }

    /// Whether a caller may list repositories, by what they have said; which, [`Access::shows`] tells.
    #[must_use]
    pub fn allow_catalog(&self, caller: &Caller) -> bool {
        let allowed = |_: &AccessRules| Decision { allowed: true, by: Reason::NoRules };
        self.weigh(caller, Grants::cover_catalog, allowed).allowed
    }

    /// Whether a list that a caller may see has this repository in it.
    #[must_use]
    pub fn shows(&self, who: &Principal, repository: &Repository) -> bool {
        match &self.way {
            Method::Users { rules, .. } => rules.decide(who, Action::Pull, repository).allowed,
            Method::ExternalTokens(_) => true,
            Method::Locked => false,
        }
    }

    fn weigh(
        &self,
        caller: &Caller,
        covers: impl Fn(&Grants) -> bool,
        ask: impl Fn(&AccessRules) -> Decision,
    ) -> Decision {
        let no = |by| Decision { allowed: false, by };
        match (&self.way, &caller.proof) {
            (Method::Locked, _) => no(Reason::Locked),
            (_, Proof::Invalid) | (Method::ExternalTokens(_), Proof::Nothing | Proof::Password) => no(Reason::NoProof),
            (Method::Users { rules, .. }, Proof::Nothing | Proof::Password) => ask(rules),
            (Method::Users { rules, .. }, Proof::Token { grants, .. }) => match ask(rules) {
                allowed if allowed.allowed && !covers(grants) => no(Reason::NarrowToken),
                decision => decision,
            },
            (Method::ExternalTokens(_), Proof::Token { grants, .. }) => {
                if covers(grants) {
                    Decision { allowed: true, by: Reason::Token }
                } else {
                    no(Reason::NarrowToken)
                }
            }
        }
    }
}
