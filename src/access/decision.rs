//! Yes or no, and by which rule.

use std::fmt;

use crate::config::Origin;

/// What a rule, or the lack of one, came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub by: Reason,
}

/// By which rule something was decided. Displayed as log lines and answers name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There are no rules: every user may do everything, and nobody else anything.
    NoRules,
    /// A rule of `auth.access`.
    Rule {
        /// Counted from 1.
        number: usize,
        /// Where it is written.
        origin: Origin,
    },
    /// None of the rules allows it.
    NoRuleMatches,
    /// The token of an outside service allows it.
    Token,
    /// The token does not allow it, whatever its bearer may do.
    NarrowToken,
    /// What was said to prove who asks proves nothing.
    NoProof,
    /// There is nobody who could be allowed anything.
    Locked,
    /// Where no `auth` is configured, and on the mirror's own door.
    Unasked,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRules => f.write_str("auth.htpasswd without auth.access"),
            Self::Rule { number, origin } => write!(f, "auth.access rule {number} ({origin})"),
            Self::NoRuleMatches => f.write_str("no rule of auth.access allows it"),
            Self::Token => f.write_str("auth.token"),
            Self::NarrowToken => f.write_str("the token was not made for it"),
            Self::NoProof => f.write_str("the token is not valid, or no more"),
            Self::Locked => f.write_str("auth.htpasswd.path is a directory"),
            Self::Unasked => f.write_str("nobody is asked who they are"),
        }
    }
}
