//! Supervises background jobs: a job that panics is logged, counted, and restarted after a delay that grows with each
//! repeated panic.

use std::{
    any::Any,
    panic::resume_unwind,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    time::{MissedTickBehavior, interval_at},
};

use crate::{
    lanes::{Blocking, Lane, Lanes},
    metrics::{MaintenanceJob, Metrics},
};

/// The restart delay of a job that panicked: the first and the longest.
const RESTART_DELAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Runs background jobs and restarts those that panic.
#[derive(Clone)]
pub(super) struct Supervisor {
    tasks: Handle,
    lanes: Lanes,
    metrics: Arc<Metrics>,
    rest: (Duration, Duration),
}

impl Supervisor {
    /// Supervises jobs on `tasks`, with blocking work on `lanes`.
    pub(super) fn new(tasks: Handle, lanes: Lanes, metrics: Arc<Metrics>) -> Self {
        Self { tasks, lanes, metrics, rest: RESTART_DELAY }
    }

    /// Starts a job, and restarts it after each panic, until it returns.
    pub(super) fn supervise<F, Ended>(&self, job: MaintenanceJob, begin: F)
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

    /// Runs a job's blocking work at an interval, for the first time after `delay`. A run that ends late delays the
    /// next one. `every` is not zero.
    pub(super) fn repeat(
        &self,
        job: MaintenanceJob,
        delay: Duration,
        every: Duration,
        work: impl Fn(&Blocking) + Clone + Send + 'static,
    ) {
        let supervisor = self.clone();
        self.supervise(job, move || {
            let (supervisor, work) = (supervisor.clone(), work.clone());
            async move {
                let mut ticks = interval_at(tokio::time::Instant::now() + delay, every);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    supervisor.work(work.clone()).await;
                }
            }
        });
    }

    /// Runs a job's blocking work. A panic in it counts as the job's.
    pub(super) async fn work<T: Send + 'static>(&self, work: impl FnOnce(&Blocking) -> T + Send + 'static) -> T {
        match self.lanes.run(Lane::Job, work).await {
            Ok(done) => done,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The process is shutting down.
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

    fn panics(supervisor: &Supervisor, job: MaintenanceJob) -> u64 {
        let text = supervisor.metrics.expose(&crate::metrics::GaugeValues::default()).unwrap();
        let series = format!("entrepot_job_panics_total{{task=\"{}\"}} ", job.as_str());
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }

    /// Covers blocking work, as in a rebuild, and a loop that panics in its second iteration.
    #[tokio::test]
    async fn a_job_that_panics_is_counted_and_begun_again_until_it_ends() {
        let (supervisor, tries, done) = (supervisor(), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        assert_eq!(panics(&supervisor, MaintenanceJob::Rebuild), 0, "there from the beginning");
        let (watched, tried, noted) = (supervisor.clone(), Arc::clone(&tries), Arc::clone(&done));
        supervisor.supervise(MaintenanceJob::Rebuild, move || {
            let (watched, tried, noted) = (watched.clone(), Arc::clone(&tried), Arc::clone(&noted));
            async move {
                let work = move |_: &Blocking| assert!(tried.fetch_add(1, Ordering::SeqCst) >= 3, "on purpose");
                watched.work(work).await;
                noted.notify_one();
            }
        });
        tokio::time::timeout(LONG, done.notified()).await.unwrap();
        assert_eq!((tries.load(Ordering::SeqCst), panics(&supervisor, MaintenanceJob::Rebuild)), (4, 3));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(tries.load(Ordering::SeqCst), 4, "it has ended");
        assert_eq!(panics(&supervisor, MaintenanceJob::Collect), 0);
    }
}
