//! Converts the configuration of storage into the types of the lower layers.

use std::path::Path;

use crate::{
    config::{self, SizeBound, chown_all},
    storage::{Bound, Error, SpaceLimits},
};

/// Explains why the directory cannot be opened, with a command that helps if its owner is the cause.
pub(super) fn cannot_open(root: &Path, error: &Error) -> String {
    let command = match error {
        Error::Io { source, .. } => chown_all(root, source),
        _ => String::new(),
    };
    format!("a directory this process can write ({error}){command}")
}

/// Returns the storage limits.
pub(super) fn limits(storage: &config::StorageConfig) -> SpaceLimits {
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
