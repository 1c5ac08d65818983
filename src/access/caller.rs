//! A request's principal, and the proof of its identity.

use std::sync::Arc;

use super::{Grants, Principal};

/// A request's principal, and the proof of its identity.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The principal.
    pub who: Principal,
    /// The proof.
    pub proof: Proof,
}

/// The proof of a principal's identity.
#[derive(Clone, Debug)]
pub enum Proof {
    /// No credentials.
    Nothing,
    /// Invalid credentials: for example, a wrong scheme, or a forged or foreign token.
    Invalid,
    /// The user's password.
    Password,
    /// A token, which limits its bearer's permissions.
    Token {
        /// The permissions in the token.
        grants: Arc<Grants>,
        /// True if the token has expired. An upload that began earlier may continue.
        is_over: bool,
    },
}

impl Caller {
    /// Returns a caller without credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { who: Principal::Anonymous, proof: Proof::Nothing }
    }

    /// Returns a caller with invalid credentials.
    #[must_use]
    pub fn invalid() -> Self {
        Self { who: Principal::Anonymous, proof: Proof::Invalid }
    }

    /// Returns a user who gave the right password.
    #[must_use]
    pub fn with_password(who: Principal) -> Self {
        Self { who, proof: Proof::Password }
    }
}
