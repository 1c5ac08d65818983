//! Garbage collection: `mark` plans the removals in a repository, `sweep` carries them out.

pub(super) mod mark;
pub(super) mod sweep;
