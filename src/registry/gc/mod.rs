//! Garbage collection: `mark` plans what of a repository may go, `sweep` removes it.

pub(super) mod mark;
pub(super) mod sweep;
