//! The permission to block a thread on the disk, as a type: a function that reads or writes files takes [`Blocking`],
//! or belongs to a handle that was made with one. Async code has none, so it cannot call such a function.

use std::marker::PhantomData;

/// The permission to block the current thread on the disk. The threads of a lane have it
/// ([`Lanes::run`](super::Lanes::run)), and the main thread outside of its runtime.
///
/// It cannot be cloned or sent to another thread, and a reference to it cannot be kept by an async task.
/// `tests/floors.rs` lists the places that make one in another way than by a lane.
///
/// ```compile_fail,E0277
/// # use entrepot::lanes::Blocking;
/// # let io = Blocking::of_main_thread();
/// # fn spawn(_task: impl Future<Output = ()> + Send) {}
/// // An async task that may move to another thread cannot keep it.
/// spawn(async {
///     std::future::ready(()).await;
///     drop(&io);
/// });
/// ```
#[derive(Debug)]
pub struct Blocking(PhantomData<*const ()>);

impl Blocking {
    /// Makes the permission of a lane's thread.
    pub(super) fn of_lane() -> Self {
        Self(PhantomData)
    }

    /// Makes the permission of the main thread, for the start and the end of the server, and for commands that have no
    /// runtime. To be called by `main` only, and by tests and benchmarks outside of this crate.
    #[must_use]
    pub fn of_main_thread() -> Self {
        Self(PhantomData)
    }

    /// Makes the permission for one call in async code that no lane can take over, or that is too short for one. The
    /// reason is for the reader: why the call does not wait for the disk, or why nothing else waits for the thread.
    pub(crate) fn inline(_reason: &'static str) -> Self {
        Self(PhantomData)
    }

    /// Makes the permission of a test's thread.
    #[cfg(test)]
    pub(crate) fn in_test() -> &'static Self {
        &Self(PhantomData)
    }
}
