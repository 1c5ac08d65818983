//! Who somebody is, and what they may do: users and their passwords, rules, decisions. Knows no HTTP and no registry: what
//! is asked for comes as names and actions, and who asks as an address with what they said.
//!
//! `logins` is the way in for a user with a password: `verdicts` (what was found right a moment ago), `throttle` (who keeps
//! failing), `users` (the file, read again when it changes, in `htpasswd`'s format). `rules` decides.

mod decision;
mod error;
mod htpasswd;
mod keyed;
mod logins;
mod principal;
mod rules;
mod throttle;
mod users;
mod verdicts;

use std::sync::Arc;

pub use decision::{By, Decision};
pub use error::{Error, LoginError};
pub use htpasswd::{Htpasswd, NewLine};
pub use logins::Logins;
pub use principal::Principal;
pub use rules::Rules;

pub use crate::oci::Action;

/// How strangers are asked who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// By user and password, in every request.
    Basic {
        /// What the users are told they log in to.
        realm: String,
    },
}

/// Who may come in, and what they may do then.
#[derive(Debug)]
pub struct Access {
    /// How a stranger is asked.
    pub challenge: Challenge,
    /// Who can log in; nobody, where it is `None`.
    pub logins: Option<Arc<Logins>>,
    /// What they may do.
    pub rules: Rules,
}

impl Access {
    /// Lets nobody in.
    #[must_use]
    pub fn locked(realm: &str) -> Self {
        let challenge = Challenge::Basic { realm: realm.to_owned() };
        Self { challenge, logins: None, rules: Rules::nobody() }
    }

    /// Lets the users of a file in, by these rules.
    #[must_use]
    pub fn of_users(realm: &str, logins: Logins, rules: Rules) -> Self {
        let challenge = Challenge::Basic { realm: realm.to_owned() };
        Self { challenge, logins: Some(Arc::new(logins)), rules }
    }
}
