//! Jobs beside the answering, kept going: one that panics is told of, counted, and begun again, later each time it does so
//! soon again.

use std::{
    any::Any,
    panic::resume_unwind,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use crate::{
    lanes::{Lane, Lanes},
    metrics::{Job, Metrics},
};

/// How long a job that panicked rests, at first and at most.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Keeps jobs going.
#[derive(Clone)]
pub(super) struct Supervisor {
    tasks: Handle,
    lanes: Lanes,
    metrics: Arc<Metrics>,
    rest: (Duration, Duration),
}

impl Supervisor {
    /// Over jobs that run on `tasks`; what of them blocks runs on `lanes`.
    pub(super) fn new(tasks: Handle, lanes: Lanes, metrics: Arc<Metrics>) -> Self {
        Self { tasks, lanes, metrics, rest: REST }
    }

    /// Begins a job, and begins it again whenever it panics, until it ends.
    pub(super) fn keep<F, Ended>(&self, job: Job, begin: F)
    where
        F: Fn() -> Ended + Send + 'static,
        Ended: Future<Output = ()> + Send + 'static,
    {
        let (supervisor, mut rest) = (self.clone(), self.rest.0);
        self.tasks.spawn(async move {
            loop {
                let begun = Instant::now();
                let Err(ended) = supervisor.tasks.spawn(begin()).await else { return };
                let Ok(panic) = ended.try_into_panic() else { return };
                if begun.elapsed() > supervisor.rest.1 {
                    rest = supervisor.rest.0;
                }
                supervisor.metrics.job_panicked(job);
                tracing::error!(
                    task = job.as_str(),
                    "a background job panicked, which is a bug, and begins again in {}: {}",
                    humantime::format_duration(rest),
                    message(&*panic)
                );
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(supervisor.rest.1);
            }
        });
    }

    /// Does a job's work that blocks. A panic in it is the job's.
    pub(super) async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.lanes.run(Lane::Job, work).await {
            Ok(done) => done,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The process is about to end, and the lane with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn supervisor() -> Supervisor {
        let rest = (Duration::from_millis(1), Duration::from_millis(5));
        let (lanes, metrics) = (Lanes::new().unwrap(), Arc::new(Metrics::new().unwrap()));
        Supervisor { rest, ..Supervisor::new(Handle::current(), lanes, metrics) }
    }

    fn panics(supervisor: &Supervisor, job: Job) -> u64 {
        let text = supervisor.metrics.expose(&crate::metrics::Figures::default()).unwrap();
        let series = format!("entrepot_job_panics_total{{task=\"{}\"}} ", job.as_str());
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }

    /// As the walk of a rebuild, which blocks; and as a loop, whose second round panics.
    #[tokio::test]
    async fn a_job_that_panics_is_counted_and_begun_again_until_it_ends() {
        let (supervisor, tries, done) = (supervisor(), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        assert_eq!(panics(&supervisor, Job::Rebuild), 0, "there from the beginning");
        let (watched, tried, noted) = (supervisor.clone(), Arc::clone(&tries), Arc::clone(&done));
        supervisor.keep(Job::Rebuild, move || {
            let (watched, tried, noted) = (watched.clone(), Arc::clone(&tried), Arc::clone(&noted));
            async move {
                let work = move || assert!(tried.fetch_add(1, Ordering::SeqCst) >= 3, "on purpose");
                watched.work(work).await;
                noted.notify_one();
            }
        });
        tokio::time::timeout(LONG, done.notified()).await.unwrap();
        assert_eq!((tries.load(Ordering::SeqCst), panics(&supervisor, Job::Rebuild)), (4, 3));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(tries.load(Ordering::SeqCst), 4, "it has ended");
        assert_eq!(panics(&supervisor, Job::Collect), 0);
    }
}
