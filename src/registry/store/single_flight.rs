//! Single flight: concurrent callers with the same key share one execution of the work.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::watch};

use crate::lanes::{Blocking, Lane, Lanes};

/// Async tasks under way, by key. A task is spawned, so it completes even if all its callers are dropped.
#[derive(Debug)]
pub(in crate::registry) struct SingleFlight<K: Eq + Hash, V> {
    calls: CallTable<K, V>,
    tasks: Handle,
}

/// As [`SingleFlight`], for blocking work on a lane.
#[derive(Debug)]
pub(in crate::registry) struct BlockingSingleFlight<K: Eq + Hash, V> {
    calls: CallTable<K, V>,
    lanes: Lanes,
}

/// The result of joining work that callers may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) struct Joined<T> {
    pub(in crate::registry) value: T,
    /// `true` if another caller began the work.
    pub(in crate::registry) collapsed: bool,
}

impl<T> Joined<T> {
    pub(in crate::registry) fn map<U>(self, map: impl FnOnce(T) -> U) -> Joined<U> {
        Joined { value: map(self.value), collapsed: self.collapsed }
    }
}

/// The calls under way, by key.
#[derive(Debug)]
struct CallTable<K: Eq + Hash, V>(Calls<K, V>);

type Calls<K, V> = Arc<Mutex<HashMap<K, CallState<V>>>>;

/// A call under way.
#[derive(Debug)]
struct CallState<V> {
    completion: watch::Receiver<Option<V>>,
    /// The identity of the call: another one may have taken its place in the table.
    entry: Arc<()>,
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(in crate::registry) fn new(tasks: Handle) -> Self {
        Self { calls: CallTable(Arc::default()), tasks }
    }

    /// Waits for the work named `key`, and begins `work` only if none is under way. `None` if the work panicked.
    pub(in crate::registry) async fn join(
        &self,
        key: K,
        work: impl Future<Output = V> + Send + 'static,
    ) -> Joined<Option<V>> {
        let Joined { value, collapsed } = self.begin_or_join(key, work);
        Joined { value: completed(value).await, collapsed }
    }

    /// Begins `work` unless it is under way, without waiting.
    pub(in crate::registry) fn begin(&self, key: K, work: impl Future<Output = V> + Send + 'static) {
        self.begin_or_join(key, work);
    }

    /// Returns whether the work named `key` is under way.
    pub(in crate::registry) fn is_under_way(&self, key: &K) -> bool {
        self.calls.0.lock().contains_key(key)
    }

    /// Lets callers from now on begin anew, instead of joining the work named `key`. It goes on for those that wait.
    pub(in crate::registry) fn detach(&self, key: &K) {
        self.calls.0.lock().remove(key);
    }

    fn begin_or_join(
        &self,
        key: K,
        work: impl Future<Output = V> + Send + 'static,
    ) -> Joined<watch::Receiver<Option<V>>> {
        self.calls.join(key, |call| drop(self.tasks.spawn(async move { call.complete(work.await) })))
    }
}

impl<K, V> BlockingSingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(in crate::registry) fn new(lanes: Lanes) -> Self {
        Self { calls: CallTable(Arc::default()), lanes }
    }

    /// Waits for the work named `key`, and begins `work` on `lane` only if none is under way. `None` if the work
    /// panicked.
    pub(in crate::registry) async fn join(
        &self,
        key: K,
        lane: Lane,
        work: impl FnOnce(&Blocking) -> V + Send + 'static,
    ) -> Option<V> {
        let begin = |call: Call<K, V>| drop(self.lanes.start(lane, move |io| call.complete(work(io))));
        completed(self.calls.join(key, begin).value).await
    }
}

impl<K: Clone + Eq + Hash, V> CallTable<K, V> {
    fn join(&self, key: K, begin: impl FnOnce(Call<K, V>)) -> Joined<watch::Receiver<Option<V>>> {
        let mut under_way = self.0.lock();
        if let Some(call) = under_way.get(&key) {
            return Joined { value: call.completion.clone(), collapsed: true };
        }
        let (result, completion) = watch::channel(None);
        let entry = Arc::new(());
        under_way.insert(key.clone(), CallState { completion: completion.clone(), entry: Arc::clone(&entry) });
        begin(Call { entry: CallEntry { key, entry, under_way: Arc::clone(&self.0) }, result });
        Joined { value: completion, collapsed: false }
    }
}

/// The side of a call that runs the work.
struct Call<K: Eq + Hash, V> {
    entry: CallEntry<K, V>,
    result: watch::Sender<Option<V>>,
}

impl<K: Eq + Hash, V> Call<K, V> {
    fn complete(self, value: V) {
        // Removed first: later callers begin anew, and those that wait already get this value.
        drop(self.entry);
        self.result.send_replace(Some(value));
    }
}

async fn completed<V: Clone>(mut completion: watch::Receiver<Option<V>>) -> Option<V> {
    completion.wait_for(Option::is_some).await.ok().and_then(|value| value.clone())
}

/// Removes its entry from the table at the end of the work, also after a panic.
struct CallEntry<K: Eq + Hash, V> {
    key: K,
    entry: Arc<()>,
    under_way: Calls<K, V>,
}

impl<K: Eq + Hash, V> Drop for CallEntry<K, V> {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock();
        if under_way.get(&self.key).is_some_and(|call| Arc::ptr_eq(&call.entry, &self.entry)) {
            under_way.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn a_hundred_who_ask_at_once_cost_one() {
        let calls = SingleFlight::new(Handle::current());
        let count = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let count = Arc::clone(&count);
            calls.join("key", async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                count.fetch_add(1, Ordering::Relaxed)
            })
        };
        let answers = futures_util::future::join_all((0..100).map(|_| ask())).await;
        assert!(answers.iter().all(|answer| answer.value == Some(0)));
        assert_eq!(answers.iter().filter(|answer| !answer.collapsed).count(), 1);
        assert_eq!(ask().await, Joined { value: Some(1), collapsed: false });
    }

    #[tokio::test]
    async fn work_that_blocks_is_done_once_too() {
        let calls = BlockingSingleFlight::new(Lanes::new().unwrap());
        let count = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let count = Arc::clone(&count);
            calls.join("key", Lane::Hash, move |_| {
                std::thread::sleep(Duration::from_millis(20));
                count.fetch_add(1, Ordering::Relaxed)
            })
        };
        let answers = futures_util::future::join_all((0..100).map(|_| ask())).await;
        assert!(answers.iter().all(|value| *value == Some(0)));
        assert_eq!(calls.join("key", Lane::Hash, |_| panic!("on purpose")).await, None);
        assert_eq!(ask().await, Some(1));
    }

    #[tokio::test]
    async fn a_panic_strands_nobody() {
        let calls: SingleFlight<&str, ()> = SingleFlight::new(Handle::current());
        assert_eq!(calls.join("key", async { panic!("on purpose") }).await.value, None);
        assert_eq!(calls.join("key", async {}).await.value, Some(()));
    }

    #[tokio::test]
    async fn detached_work_is_joined_by_nobody_else() {
        let calls: SingleFlight<&str, u32> = SingleFlight::new(Handle::current());
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let first = calls.join("key", async move { wait.await.map_or(0, |()| 1) });
        tokio::pin!(first);
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut first).await.is_err());
        calls.detach(&"key");
        let (end, running) = tokio::sync::oneshot::channel::<()>();
        let second = calls.join("key", async move { running.await.map_or(0, |()| 2) });
        tokio::pin!(second);
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut second).await.is_err());
        go.send(()).unwrap();
        assert_eq!(first.await, Joined { value: Some(1), collapsed: false });
        let third = calls.join("key", async { 3 });
        tokio::pin!(third);
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut third).await.is_err());
        end.send(()).unwrap();
        assert_eq!(second.await.value, Some(2));
        assert_eq!(third.await, Joined { value: Some(2), collapsed: true }, "the first one's end removed only itself");
    }

    #[tokio::test]
    async fn work_goes_on_when_the_asker_leaves() {
        let calls: SingleFlight<&str, ()> = SingleFlight::new(Handle::current());
        let done = Arc::new(tokio::sync::Notify::new());
        let notify = Arc::clone(&done);
        let asking = calls.join("key", async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            notify.notify_one();
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), asking).await.is_err());
        done.notified().await;
    }
}
