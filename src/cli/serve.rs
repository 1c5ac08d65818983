//! `entrepot serve`: builds all parts of the server from the configuration, and runs it.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

use super::{
    ConfigArguments, Failure,
    bounds::Bounds,
    listeners, logging, notifications,
    reload::Reload,
    scheduler, startup_log,
    supervise::Supervisor,
    upstreams::{LoadedUpstream, UpstreamBuilder},
    volume,
};
use crate::{
    access::{self, Access, Authenticator, ExternalTokens, TokenRealm},
    admin::{AdminSocket, Defaults},
    config::{self, Config, LoadedConfig},
    descriptors,
    http::{self, DebugServer, DebugSettings, Server},
    index::Index,
    lanes::{Blocking, Lanes},
    metrics::{MaintenanceJob, Metrics},
    notifications::Notifier,
    oci::RepositoryName,
    registry::{self, EvictionRules, Registry, RegistryConfig, RegistryPolicy},
    storage::Storage,
    upstream::{self, ClientThreads, Proxy, Trust},
};

/// Threads for upstream requests; each fills several blobs concurrently.
const UPSTREAM_THREADS: usize = 2;

pub(super) fn run(io: &Blocking, source: ConfigArguments) -> Result<(), Failure> {
    let LoadedConfig { config, warnings } = source.clone().load(io)?;
    logging::start(&config.log);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    raise_open_files();
    let bounds = Bounds::check(io, &config.storage)?;
    // Installed once for all connections; a second call fails harmlessly.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let background = background().map_err(Failure::failed)?;
    let access = access(io, &config, &background)?;
    // The volume comes first: a previous process that is still stopping holds both the volume and the port.
    let builder = UpstreamBuilder {
        roots: upstream::native_roots(io),
        metrics: Arc::new(Metrics::new().map_err(Failure::failed)?),
    };
    let upstreams = config.proxy.mirrored().iter().map(|upstream| LoadedUpstream::load(io, upstream));
    let upstreams = upstreams.collect::<Result<Vec<_>, _>>()?;
    let parts = registry_config(io, &config, &background, &builder, &upstreams)?;
    let notifier = notifications::open(io, &config, &parts)?;
    let registry = Arc::new(Registry::new(io, parts).map_err(Failure::failed)?);
    let server = Server::bind(io, settings(&config, access, notifier.clone()))
        .map_err(|error| listeners::cannot_bind(&config, &error))?;
    let debug = debug_server(io, &config.http.debug)?;
    let supervisor =
        Supervisor::new(background.handle().clone(), registry.lanes().clone(), Arc::clone(registry.metrics()));
    scheduler::start(io, &registry, &config, &supervisor);
    notifier.iter().for_each(|notifier| notifications::start(notifier, &supervisor));
    listeners::renew_certificate(&server, &registry, &supervisor);
    Reload::new(io, source, builder, Arc::clone(&registry), config.clone(), upstreams).start(&supervisor);
    let admin_socket = open_admin_socket(io, &registry, &config, &background, &supervisor);
    startup_log::write(&config, &server, &bounds);
    let workers = Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let local = tokio::task::LocalSet::new();
    let served = local.block_on(&workers, async {
        let watched = watch(debug, &registry);
        tokio::select! {
            served = server.run(Arc::clone(&registry), termination(*config.http.draintimeout)?) => served,
            failed = watched => failed,
        }
    });
    served.map_err(Failure::failed)?;
    drop(admin_socket);
    notifier.iter().for_each(|notifier| notifier.close(io));
    registry.close(io);
    tracing::info!("stopped");
    // Fills in progress are aborted; the next start removes their staged files.
    background.shutdown_background();
    Ok(())
}

fn registry_config(
    io: &Blocking,
    config: &Config,
    background: &Runtime,
    builder: &UpstreamBuilder,
    upstreams: &[LoadedUpstream],
) -> Result<RegistryConfig, Failure> {
    let root = &config.storage.rootdirectory;
    let storage = Storage::open(io, root.value(), volume::limits(&config.storage))
        .map_err(|error| Failure::usage(root.error(volume::cannot_open(root.value(), &error))))?;
    if *config.proxy.enabled && config.proxy.remoteurl.is_set() {
        let listed = |name: &RepositoryName| config.proxy.is_hosted(name);
        registry::decide(storage.disk(io), listed, *config.proxy.adopt)
            .map_err(|undecided| Failure::usage(format!("{}: {undecided}", root.value().display())))?;
    }
    // The first job opens it, so that startup does not wait.
    let memory = *config.storage.memory / 2;
    let index = Index::unopened(&storage.index_dir(), memory);
    let proxy = Proxy::from_lookup(|name| std::env::var(name).ok()).map_err(Failure::usage)?;
    let trust = Trust::new(builder.roots.clone()).map_err(Failure::failed)?;
    let settings = upstream::ConnectionSettings { trust, proxy };
    Ok(RegistryConfig {
        storage,
        index,
        upstreams: upstreams.iter().map(|upstream| builder.build(upstream)).collect::<Result<_, _>>()?,
        threads: ClientThreads::start(UPSTREAM_THREADS, settings).map_err(Failure::failed)?,
        rules: rules(config),
        eviction_rules: EvictionRules {
            pinned: config.storage.pinned.value().clone(),
            lease: *config.storage.lease,
            ttl: *config.proxy.ttl,
        },
        prefetch: *config.proxy.prefetch,
        grace: *config.gc.grace,
        memory,
        tasks: background.handle().clone(),
        metrics: Arc::clone(&builder.metrics),
        lanes: Lanes::new().map_err(Failure::failed)?,
    })
}

/// Returns the runtime for work that belongs to no request.
fn background() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).thread_name("background").enable_all().build()
}

/// Opens the admin socket for commands. If that fails, the server runs without it.
fn open_admin_socket(
    io: &Blocking,
    registry: &Arc<Registry>,
    config: &Config,
    background: &Runtime,
    supervisor: &Supervisor,
) -> Option<AdminSocket> {
    let opened = AdminSocket::open(io, config.storage.rootdirectory.value());
    let opened = opened
        .inspect_err(|error| tracing::warn!(%error, "admin socket not opened; commands such as `entrepot gc` cannot reach this server"))
        .ok()?;
    let defaults =
        Defaults { grace: *config.gc.grace, rate: *config.verify.rate, longest_manifest: *config.http.limits.manifest };
    let acceptor = opened.acceptor(registry, defaults, background.handle());
    supervisor.supervise(MaintenanceJob::Commands, move || acceptor.clone().run());
    Some(opened)
}

/// Returns the access control; `None` allows everybody everything.
fn access(io: &Blocking, config: &Config, background: &Runtime) -> Result<Option<Arc<Access>>, Failure> {
    let access = match config.auth.value() {
        config::Auth::Open => return Ok(None),
        config::Auth::Locked { realm, .. } => Access::locked(realm),
        config::Auth::Users(users) => {
            let authenticator =
                Authenticator::open(io, &users.path, background.handle().clone()).map_err(Failure::usage)?;
            Access::of_users(&users.realm, authenticator, access::AccessRules::new(users), users.token_lifetime)
                .map_err(Failure::failed)?
        }
        config::Auth::Token(service) => {
            let realm = match service.autoredirect {
                true => TokenRealm::Path(service.autoredirectpath.clone()),
                false => TokenRealm::Url(service.realm.clone()),
            };
            Access::of_service(realm, &service.service, ExternalTokens::open(io, service).map_err(Failure::usage)?)
        }
    };
    Ok(Some(Arc::new(access)))
}

fn settings(config: &Config, access: Option<Arc<Access>>, notifier: Option<Arc<Notifier>>) -> http::Settings {
    let http = &config.http;
    http::Settings {
        listen: listen(http.addr.value()),
        mirror: http.mirror.as_ref().map(listeners::listen),
        listener: http::Listener::Main,
        tls: http.tls.as_ref().map(|tls| listeners::tls(tls, !*http.http2_disabled)),
        limits: listeners::limits(&http.limits),
        trusted_proxies: http.trusted_proxies.value().clone(),
        access_log: !*config.log.accesslog_disabled,
        metrics: *http.debug.metrics,
        drain: *http.draintimeout,
        prefix: http.prefix.value().clone(),
        headers: headers(config),
        relative_urls: *http.relativeurls,
        hosts: http.hosts.value().clone(),
        host: http.host.as_ref().map(ToString::to_string),
        access,
        notifier,
        audit_pulls: *config.log.audit_pulls,
        catalog_max: config.catalog.maxentries.get(),
        tags_max: config.tags.maxtags.get(),
    }
}

fn listen(address: &config::Listen) -> http::BindAddress {
    match address {
        config::Listen::Unix(path) => http::BindAddress::Unix(path.clone()),
        config::Listen::Tcp(address) => listeners::listen(address),
    }
}

/// Returns the debug listener, if it is configured.
fn debug_server(io: &Blocking, debug: &config::Debug) -> Result<Option<DebugServer>, Failure> {
    let Some(address) = debug.addr.value() else { return Ok(None) };
    let metrics = debug.prometheus.then(|| debug.path.value().clone());
    let bound = DebugServer::bind(io, DebugSettings { listen: listeners::listen(address), metrics });
    let bound = bound.and_then(|server| Ok((server.address()?, server)));
    let (at, server) = bound.map_err(|error| {
        Failure::usage(debug.addr.error(format!("an address this process can listen on ({error})")))
    })?;
    tracing::info!("metrics and health are at {at}");
    Ok(Some(server))
}

/// Serves the debug listener; without one, waits forever.
async fn watch(debug: Option<DebugServer>, registry: &Arc<Registry>) -> std::io::Result<()> {
    match debug {
        Some(server) => server.run(Arc::clone(registry)).await,
        None => std::future::pending().await,
    }
}

fn headers(config: &Config) -> Vec<(String, String)> {
    let each = |header: &config::Header| {
        let values = header.values.clone().into_iter();
        let name = header.name.clone();
        values.map(move |value| (name.clone(), value)).collect::<Vec<_>>()
    };
    config.http.headers.iter().flat_map(each).collect()
}

fn rules(config: &Config) -> RegistryPolicy {
    RegistryPolicy {
        mirror: *config.proxy.enabled,
        push: config.proxy.push_allowed(),
        hosted: config.proxy.hosted.value().clone(),
        unproven: *config.proxy.unproven,
        names: config.http.own_names(),
        delete: *config.storage.delete_enabled,
        readonly: *config.storage.readonly,
        immutable: config.immutable.value().clone(),
        retention: config.retention.value().clone(),
        validation: config.validation.clone(),
    }
}

/// Raises the limit of open files: connections, fills and open blobs need one each, and the soft limit is often 1,024.
fn raise_open_files() {
    if let Err(error) = descriptors::raise_limit() {
        tracing::warn!("the limit of open files stays at {:?}: {error}", descriptors::limit());
    }
}

/// Resolves when the process receives a termination signal.
fn termination(drain: Duration) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no new requests, those under way have {}", humantime::format_duration(drain));
    })
}
