//! The mode of an operation that removes content.

/// The mode of a collection, a removal or a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Removes the content.
    Remove,
    /// Reports what would be removed, and removes nothing.
    DryRun,
}

impl Mode {
    /// Returns the mode for a request that may ask for a dry run.
    #[must_use]
    pub fn new(dry_run: bool) -> Self {
        if dry_run { Self::DryRun } else { Self::Remove }
    }

    /// Returns whether nothing is removed.
    #[must_use]
    pub fn is_dry(self) -> bool {
        self == Self::DryRun
    }
}
