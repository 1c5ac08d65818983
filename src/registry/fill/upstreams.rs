//! The upstreams that are mirrored, by their names. A reload of the configuration replaces them while requests go on
//! with those that they began with.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;

use super::upstream::Upstream;
use crate::oci::Domain;

/// The upstreams by domain.
#[derive(Debug, Default)]
pub(in crate::registry) struct Upstreams(RwLock<Arc<HashMap<Domain, Upstream>>>);

impl Upstreams {
    pub(in crate::registry) fn get(&self, domain: &Domain) -> Option<Upstream> {
        self.0.read().get(domain).cloned()
    }

    pub(in crate::registry) fn contains(&self, domain: &Domain) -> bool {
        self.0.read().contains_key(domain)
    }

    /// Returns all of them, in no order.
    pub(in crate::registry) fn all(&self) -> Arc<HashMap<Domain, Upstream>> {
        Arc::clone(&self.0.read())
    }

    pub(in crate::registry) fn replace(&self, upstreams: impl IntoIterator<Item = Upstream>) {
        let by_domain = upstreams.into_iter().map(|upstream| (upstream.domain().clone(), upstream)).collect();
        *self.0.write() = Arc::new(by_domain);
    }
}
