//! An upstream's bearer tokens, cached by repository; the scope is always `repository:<name>:pull`. Single flight:
//! concurrent requests for a token share one fetch and its failure. `token.rs` fetches.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;

use super::Error;
use crate::oci::RepositoryName;

/// The maximum number of repositories whose tokens are kept.
const MAX_REPOSITORIES: u64 = 4096;

/// A bearer token. Its address identifies the fetch that it came from.
pub(super) struct Token {
    pub(super) value: String,
    pub(super) until: Instant,
}

impl Token {
    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() < self.until
    }
}

/// The tokens of an upstream, by the repository that they permit to pull.
pub(super) struct TokenCache(moka::sync::Cache<RepositoryName, Arc<TokenSlot>>);

impl Default for TokenCache {
    fn default() -> Self {
        Self(moka::sync::Cache::new(MAX_REPOSITORIES))
    }
}

/// The token of one scope.
#[derive(Default)]
pub(super) struct TokenSlot {
    latest: Mutex<Latest>,
    /// Held while a token is fetched.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct Latest {
    /// The number of finished fetches, by which a waiter sees if one finished while it waited.
    fetches: u64,
    outcome: Option<Result<Arc<Token>, Error>>,
}

impl TokenCache {
    pub(super) fn slot(&self, name: &RepositoryName) -> Arc<TokenSlot> {
        self.0.get_with_by_ref(name, Arc::default)
    }

    pub(super) fn fresh(&self, name: &RepositoryName) -> Option<Arc<Token>> {
        let slot = self.0.get(name)?;
        let latest = slot.latest.lock();
        latest.outcome.as_ref()?.as_ref().ok().filter(|token| token.is_fresh()).map(Arc::clone)
    }
}

impl TokenSlot {
    /// Returns the result that needs no fetch: a token other than the refused one, or the failure of a fetch that was
    /// waited for.
    pub(super) fn settled(&self, refused: Option<&Arc<Token>>, fetches_seen: u64) -> Option<Result<Arc<Token>, Error>> {
        let latest = self.latest.lock();
        match latest.outcome.as_ref()? {
            Ok(token) if token.is_fresh() && !refused.is_some_and(|refused| Arc::ptr_eq(refused, token)) => {
                Some(Ok(Arc::clone(token)))
            }
            Err(error) if latest.fetches > fetches_seen => Some(Err(error.clone())),
            _ => None,
        }
    }

    pub(super) fn settle(&self, outcome: &Result<Arc<Token>, Error>) {
        let mut latest = self.latest.lock();
        latest.fetches += 1;
        latest.outcome = Some(outcome.clone());
    }

    pub(super) async fn renew(
        &self,
        refused: Option<&Arc<Token>>,
        fetch: impl Future<Output = Result<Token, Error>>,
    ) -> Result<Arc<Token>, Error> {
        let fetches_seen = self.latest.lock().fetches;
        let _turn = self.turn.lock().await;
        if let Some(outcome) = self.settled(refused, fetches_seen) {
            return outcome;
        }
        let outcome = fetch.await.map(Arc::new);
        self.settle(&outcome);
        outcome
    }
}
