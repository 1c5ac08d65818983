//! What the configuration says of the volume, as the rooms below take it.

use std::{io::ErrorKind, path::Path};

use rustix::process::{getegid, geteuid};

use crate::{
    config::{self, Amount},
    storage::{Bound, Error, Limits},
};

/// What was expected of the directory that could not be opened; where its owner is the reason, with the command that helps.
pub(super) fn cannot_open(root: &Path, error: &Error) -> String {
    let expected = format!("a directory this process can write ({error})");
    match error {
        Error::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            let (user, group) = (geteuid().as_raw(), getegid().as_raw());
            format!("{expected}; as root: chown -R {user}:{group} {}", root.display())
        }
        _ => expected,
    }
}

/// How much may be stored.
pub(super) fn limits(storage: &config::Storage) -> Limits {
    let bound = |amount: Amount| match amount {
        Amount::Bytes(bytes) => Bound::Bytes(bytes),
        Amount::Share(percent) => Bound::Share(percent),
    };
    Limits {
        quota: storage.quota.map(bound),
        headroom: storage.headroom.map(bound),
        object: bound(*storage.maxobject.value()),
    }
}
