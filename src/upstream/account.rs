//! The account at an upstream: anonymous, a user with a password, or what a credential helper prints.

use std::sync::Arc;

use super::{CredentialHelper, Credentials, Error};

/// The account at an upstream.
#[derive(Clone, Debug, Default)]
pub enum Account {
    /// None.
    #[default]
    Anonymous,
    /// A user and a password.
    Password(Credentials),
    /// A program prints it.
    Helper(Arc<CredentialHelper>),
}

impl Account {
    /// Returns the credentials that are known now; those of a helper may have to be asked for first.
    pub(super) fn known(&self) -> Option<Credentials> {
        match self {
            Self::Anonymous => None,
            Self::Password(credentials) => Some(credentials.clone()),
            Self::Helper(helper) => helper.known(),
        }
    }

    /// Returns the credentials, after asking the helper if needed.
    ///
    /// # Errors
    /// [`Error::Token`] if the helper fails.
    pub(super) async fn current(&self) -> Result<Option<Credentials>, Error> {
        match self {
            Self::Helper(helper) => helper.get().await.map(Some),
            _ => Ok(self.known()),
        }
    }

    /// Notes that the upstream refused these credentials.
    pub(super) fn refuse(&self, credentials: &Credentials) {
        if let Self::Helper(helper) = self {
            helper.refuse(credentials);
        }
    }

    pub(super) fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }
}
