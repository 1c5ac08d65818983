//! Work that is done ahead of its use, in order.

use std::{collections::VecDeque, panic};

use tokio::{runtime::Handle, task::JoinHandle};

/// The results of pieces of work in their order, of which some are done ahead of the next result.
///
/// Each is a task of its own, and not a future in a buffer of the consumer: such a future stands still while the
/// consumer waits for its client, and may hold a lock that others wait for. Dropped, it aborts what is not done.
pub(super) struct Ahead<I, T> {
    work: I,
    begun: VecDeque<Task<T>>,
    most: usize,
}

impl<I, F> Ahead<I, F::Output>
where
    I: Iterator<Item = F>,
    F: Future<Output: Send + 'static> + Send + 'static,
{
    /// Begins the first `most` pieces.
    pub(super) fn new(work: I, most: usize) -> Self {
        let mut ahead = Self { work, begun: VecDeque::new(), most };
        ahead.begin();
        ahead
    }

    fn begin(&mut self) {
        // That of the request that wants the results.
        let tasks = Handle::current();
        let free = self.most.saturating_sub(self.begun.len());
        self.begun.extend(self.work.by_ref().take(free).map(|future| Task(tasks.spawn(future))));
    }

    /// Returns the next result, and begins another piece in its place; `None` after the last.
    pub(super) async fn next(&mut self) -> Option<F::Output> {
        let mut task = self.begun.pop_front()?;
        let done = (&mut task.0).await;
        self.begin();
        Some(done.unwrap_or_else(|error| panic::resume_unwind(error.into_panic())))
    }
}

/// A task that is aborted with its handle.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::{sync::Mutex, task::yield_now, time::timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn results_come_in_order_and_begin_ahead() {
        let begun = Arc::new(Mutex::new(Vec::new()));
        let work = |number: u64| {
            let begun = Arc::clone(&begun);
            async move {
                begun.lock().await.push(number);
                tokio::time::sleep(Duration::from_millis(20 - number)).await;
                number
            }
        };
        let mut ahead = Ahead::new((0..9).map(work), 3);
        for number in 0..9 {
            assert_eq!(ahead.next().await, Some(number));
            assert!(begun.lock().await.len() as u64 <= number + 4);
        }
        assert_eq!((ahead.next().await, begun.lock().await.len()), (None, 9));
    }

    /// A piece that has a lock gives it back although nobody asks for the next result.
    #[tokio::test]
    async fn it_goes_on_while_its_results_wait() {
        let lock = Arc::new(Mutex::new(()));
        let work = |number: u64| {
            let lock = Arc::clone(&lock);
            async move {
                let _held = if number == 1 { Some(lock.lock().await) } else { None };
                // The first lasts until the second has begun.
                for _ in 0..10 + number * 100 {
                    yield_now().await;
                }
            }
        };
        let mut ahead = Ahead::new((0..2).map(work), 2);
        ahead.next().await;
        drop(timeout(LIMIT, lock.lock()).await.expect("the lock is given back"));
        ahead.next().await;
    }

    #[tokio::test]
    async fn what_is_not_done_ends_with_it() {
        let held = Arc::new(());
        let work = |held: Arc<()>| async move {
            std::future::pending::<()>().await;
            drop(held);
        };
        let ahead = Ahead::new([Arc::clone(&held), Arc::clone(&held)].into_iter().map(work), 2);
        yield_now().await;
        drop(ahead);
        timeout(LIMIT, async {
            while Arc::strong_count(&held) > 1 {
                yield_now().await;
            }
        })
        .await
        .expect("both are dropped");
    }
}
