//! Reads the configuration again on SIGHUP and when one of its files changes, and applies what it says of upstreams. A
//! configuration with an error changes nothing.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::{
    ConfigArguments, Failure,
    supervise::Supervisor,
    upstreams::{LoadedUpstream, UpstreamBuilder},
};
use crate::{
    config::{Config, ProxyConfig},
    lanes::Blocking,
    metrics::MaintenanceJob,
    oci::Domain,
    registry::Registry,
};

/// The interval of looking at the files. A changed file must be the same at two looks, since it may be half written.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The configuration in effect, and the parts that apply another one.
pub(super) struct Reload {
    source: ConfigArguments,
    builder: UpstreamBuilder,
    registry: Arc<Registry>,
    state: Mutex<State>,
}

struct State {
    config: Config,
    upstreams: Vec<LoadedUpstream>,
    /// The files that the last configuration names, if it was refused. The fault may be in one of them, so a change of
    /// one is a reason to try again.
    refused: Vec<PathBuf>,
    /// The files when they were last read.
    read: Fingerprint,
    /// The files at the last look.
    seen: Fingerprint,
}

/// The identity, size and times of files; `None` for one that cannot be seen.
type Fingerprint = Vec<(PathBuf, Option<(u64, u64, i64, i64)>)>;

impl Reload {
    /// `upstreams` are those of `config`, which is in effect.
    pub(super) fn new(
        io: &Blocking,
        source: ConfigArguments,
        builder: UpstreamBuilder,
        registry: Arc<Registry>,
        config: Config,
        upstreams: Vec<LoadedUpstream>,
    ) -> Self {
        let read = fingerprint(io, &files(&source, &config));
        let state = State { config, upstreams, refused: Vec::new(), seen: read.clone(), read };
        Self { source, builder, registry, state: Mutex::new(state) }
    }

    /// Starts the job.
    pub(super) fn start(self, supervisor: &Supervisor) {
        let (reload, watched) = (Arc::new(self), supervisor.clone());
        supervisor.supervise(MaintenanceJob::Configuration, move || {
            let (reload, supervisor) = (Arc::clone(&reload), watched.clone());
            async move { reload.run(supervisor).await }
        });
    }

    async fn run(self: Arc<Self>, supervisor: Supervisor) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!("SIGHUP cannot be received, so the configuration is not read again");
            return;
        };
        let mut ticks = interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                _ = ticks.tick() => false,
            };
            let reload = Arc::clone(&self);
            supervisor.work(move |io| reload.look(io, asked)).await;
        }
    }

    /// Reads the configuration again if it was asked for, or if its files have changed and are written completely.
    fn look(&self, io: &Blocking, asked: bool) {
        let mut state = self.state.lock();
        let now = fingerprint(io, &self.watched(&state));
        let is_stable = now == std::mem::replace(&mut state.seen, now.clone());
        if asked || is_stable && now != state.read {
            state.refused = match self.apply(io, &mut state) {
                Ok(()) => Vec::new(),
                Err(error) => {
                    tracing::error!("{}; the configuration from before stays in effect", error.message);
                    self.source.upstream_files(io)
                }
            };
            // A file that has changed since it was read must be read again. One that is new here was read just now.
            let mut read = fingerprint(io, &self.watched(&state));
            for (path, seen) in &mut read {
                if let Some((_, earlier)) = now.iter().find(|(known, _)| known == path) {
                    *seen = *earlier;
                }
            }
            state.seen.clone_from(&read);
            state.read = read;
        }
    }

    /// Returns the files whose changes are looked for.
    fn watched(&self, state: &State) -> Vec<PathBuf> {
        let mut watched = files(&self.source, &state.config);
        watched.extend(state.refused.iter().cloned());
        watched
    }

    fn apply(&self, io: &Blocking, state: &mut State) -> Result<(), Failure> {
        let loaded = self.source.clone().load(io)?;
        let config = loaded.config;
        // Settings that need a restart keep their old values.
        let proxy = ProxyConfig::clone(&state.config.proxy).with_upstreams_of(&config.proxy);
        let upstreams = proxy.mirrored().iter().map(|upstream| LoadedUpstream::load(io, upstream));
        let upstreams = upstreams.collect::<Result<Vec<_>, _>>()?;
        let (kept, new): (Vec<&LoadedUpstream>, Vec<&LoadedUpstream>) =
            upstreams.iter().partition(|upstream| state.upstreams.contains(upstream));
        let settings = new.iter().map(|upstream| self.builder.build(upstream)).collect::<Result<Vec<_>, _>>()?;
        let gone = state.upstreams.iter().filter(|old| upstreams.iter().all(|new| new.domain() != old.domain()));
        log_change(&new, &gone.map(LoadedUpstream::domain).collect::<Vec<_>>());
        let kept: Vec<Domain> = kept.into_iter().map(|upstream| upstream.domain().clone()).collect();
        self.registry.replace_upstreams(&kept, settings);
        warn_of_the_rest(&state.config, &config);
        state.config.proxy = proxy;
        state.upstreams = upstreams;
        self.registry.log_hidden_upstreams();
        Ok(())
    }
}

fn log_change(new: &[&LoadedUpstream], gone: &[&Domain]) {
    let list = |domains: Vec<&str>| if domains.is_empty() { "none".to_owned() } else { domains.join(", ") };
    let changed = list(new.iter().map(|upstream| upstream.domain().as_str()).collect());
    let removed = list(gone.iter().map(|domain| domain.as_str()).collect());
    tracing::info!("configuration read again; upstreams new or changed: {changed}; removed: {removed}");
}

/// Warns if settings have changed that only a restart applies.
fn warn_of_the_rest(old: &Config, new: &Config) {
    let mut expected = old.clone();
    expected.proxy = expected.proxy.with_upstreams_of(&new.proxy);
    if let Some(change) = new.first_change(&expected) {
        tracing::warn!("the configuration has changes that take effect at the next start, such as {change}");
    }
}

/// Returns the files that the configuration consists of.
fn files(source: &ConfigArguments, config: &Config) -> Vec<PathBuf> {
    let upstreams = config.proxy.mirrored();
    let own = source.path().into_iter().chain(config.proxy.passwordfile.value().clone());
    own.chain(upstreams.iter().flat_map(|upstream| upstream.files().map(Path::to_owned))).collect()
}

fn fingerprint(_io: &Blocking, files: &[PathBuf]) -> Fingerprint {
    let of = |path: &PathBuf| {
        let seen = fs::metadata(path).ok();
        (path.clone(), seen.map(|seen| (seen.ino(), seen.size(), seen.mtime(), seen.mtime_nsec())))
    };
    files.iter().map(of).collect()
}
