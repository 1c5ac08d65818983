//! What the configuration says of the volume, as the rooms below take it.

use crate::{
    config::{self, Amount},
    storage::{Bound, Limits},
};

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
