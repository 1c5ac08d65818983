//! An authorization decision, and the rule that it is based on.

use std::fmt;

use crate::config::Origin;

/// The result of checking the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// True if the request is allowed.
    pub allowed: bool,
    /// The reason for the decision.
    pub by: Reason,
}

/// The reason for a decision. Displayed in log lines and responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No rules are configured: every user may do everything, and anonymous clients nothing.
    NoRules,
    /// A rule of `auth.access`.
    Rule {
        /// The rule's number, counted from 1.
        number: usize,
        /// The rule's position in the configuration.
        origin: Origin,
    },
    /// No rule allows it.
    NoRuleMatches,
    /// A token of an external service allows it.
    Token,
    /// The token does not include the permission, even if its user has it.
    InsufficientScope,
    /// The credentials are invalid.
    InvalidCredentials,
    /// No user is configured, so nothing is allowed.
    Locked,
    /// Access control does not apply: no `auth` is configured, or the request came to the mirror listener.
    NoAccessControl,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRules => f.write_str("auth.htpasswd without auth.access"),
            Self::Rule { number, origin } => write!(f, "auth.access rule {number} ({origin})"),
            Self::NoRuleMatches => f.write_str("no rule of auth.access allows it"),
            Self::Token => f.write_str("auth.token"),
            Self::InsufficientScope => f.write_str("the token's scopes do not include it"),
            Self::InvalidCredentials => f.write_str("the credentials are invalid or have expired"),
            Self::Locked => f.write_str("auth.htpasswd.path is a directory"),
            Self::NoAccessControl => f.write_str("there is no access control"),
        }
    }
}
