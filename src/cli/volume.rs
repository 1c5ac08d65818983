//! What the configuration says of the volume, as the rooms below take it.

use std::path::Path;

use crate::{
    config::{self, SizeBound, chown_all},
    storage::{Bound, Error, SpaceLimits},
};

/// What was expected of the directory that could not be opened; where its owner is the reason, with the command that helps.
pub(super) fn cannot_open(root: &Path, error: &Error) -> String {
    let command = match error {
        Error::Io { source, .. } => chown_all(root, source),
        _ => String::new(),
    };
    format!("a directory this process can write ({error}){command}")
}

/// How much may be stored.
pub(super) fn limits(storage: &config::Storage) -> SpaceLimits {
    let bound = |amount: SizeBound| match amount {
        SizeBound::Bytes(bytes) => Bound::Bytes(bytes),
        SizeBound::Share(percent) => Bound::Share(percent),
    };
    SpaceLimits {
        quota: storage.quota.map(bound),
        headroom: storage.headroom.map(bound),
        object: bound(*storage.maxobject.value()),
    }
}
