//! Who asks, and how that is known.

use std::sync::Arc;

use super::{Grants, Principal};

/// Who asks, and how that is known.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who it is.
    pub who: Principal,
    /// How that is known.
    pub proof: Proof,
}

/// How it is known who asks.
#[derive(Clone, Debug)]
pub enum Proof {
    /// They said nothing.
    Nothing,
    /// They said something that proves nothing: a token that is no more, or never was, a token of this server's.
    Invalid,
    /// The user's password.
    Password,
    /// A token, which lets its bearer do this much, at most.
    Token {
        /// What it was made for.
        grants: Arc<Grants>,
        /// Whether its time is over: it was right, and an upload that began in time may go on.
        is_over: bool,
    },
}

impl Caller {
    /// Somebody who said nothing.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { who: Principal::Anonymous, proof: Proof::Nothing }
    }

    /// Somebody whose word is worth nothing.
    #[must_use]
    pub fn unproved() -> Self {
        Self { who: Principal::Anonymous, proof: Proof::Invalid }
    }

    /// A user who said their password.
    #[must_use]
    pub fn with_password(who: Principal) -> Self {
        Self { who, proof: Proof::Password }
    }
}
