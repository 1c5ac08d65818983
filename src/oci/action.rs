//! The actions of the token specification's scopes (pull, push, delete), and one more (manage).

use std::{fmt, str::FromStr};

/// An action on a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Reads content.
    Pull,
    /// Adds content and moves tags.
    Push,
    /// Removes content.
    Delete,
    /// Decides how long content is kept, and sees who uses it. An Entrepot extension.
    Manage,
}

/// The string is no action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pull, push, delete or manage")]
pub struct InvalidAction;

impl Action {
    /// All actions.
    pub const ALL: [Self; 4] = [Self::Pull, Self::Push, Self::Delete, Self::Manage];

    /// The name in scopes and rules.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::Manage => "manage",
        }
    }
}

impl FromStr for Action {
    type Err = InvalidAction;

    fn from_str(text: &str) -> Result<Self, InvalidAction> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or(InvalidAction)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
