//! Converts the configuration of `http` into the listeners' settings: addresses, TLS, limits.

use std::{sync::Arc, time::Duration};

use super::{Failure, supervise::Supervisor};
use crate::{
    config::{self, Config},
    descriptors,
    http::{self, BindError, Server, TlsError, TlsSettings},
    metrics::MaintenanceJob,
    registry::Registry,
};

/// The interval of checking the certificate files. A changed file must be stable for one interval.
const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn listen(address: &config::ListenAddress) -> http::BindAddress {
    http::BindAddress::Tcp {
        host: address.host.as_ref().map(|host| match host {
            config::Host::Ip(ip) => ip.to_string(),
            config::Host::Name(name) => name.clone(),
        }),
        port: address.port,
    }
}

pub(super) fn tls(tls: &config::TlsConfig, http2: bool) -> TlsSettings {
    TlsSettings {
        certificate: tls.certificate.value().clone(),
        key: tls.key.value().clone(),
        client_cas: tls.client_cas.value().clone(),
        anonymous_clients: *tls.client_auth == config::ClientAuth::IfGiven,
        only_1_3: *tls.minimum == config::MinimumTls::Tls13,
        cipher_suites: tls.cipher_suites.value().clone(),
        http2,
    }
}

pub(super) fn limits(limits: &config::LimitsConfig) -> http::RequestLimits {
    let size = |size: Option<u64>| size.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    http::RequestLimits {
        manifest: size(*limits.manifest),
        headers: size(*limits.headers),
        requests: *limits.requests,
        connections: connections(&limits.connections),
        per_address: *limits.per_address,
        head_time: *limits.head_time,
        body_pause: *limits.body_pause,
        send_pause: *limits.send_pause,
        uploads: *limits.uploads,
        rate: *limits.rate,
    }
}

/// Returns the connection limit, at most half of the open-files limit, which leaves descriptors for the content served.
fn connections(setting: &config::Setting<Option<u64>>) -> Option<u64> {
    let most = descriptors::limit().map(|files| files / 2);
    if let (true, Some(asked), Some(most)) = (setting.is_set(), **setting, most)
        && asked > most
    {
        tracing::warn!("{} is {asked}, but this process may open files for {most} only", setting.key().path);
    }
    [**setting, most].into_iter().flatten().min()
}

/// Returns the failure with the configuration key at fault.
pub(super) fn cannot_bind(config: &Config, error: &BindError) -> Failure {
    let http = &config.http;
    let Some(tls) = http.tls.as_ref() else { return Failure::usage(cannot_listen(http, error)) };
    Failure::usage(match error {
        BindError::Tls(TlsError::Certificate(_)) => tls.certificate.error(error),
        BindError::Tls(TlsError::Key(_) | TlsError::Mismatch) => tls.key.error(error),
        BindError::Tls(TlsError::ClientCas { .. }) => tls.client_cas.error(error),
        BindError::Tls(TlsError::CipherSuite(_)) => tls.cipher_suites.error(error),
        BindError::Main(_) | BindError::Mirror(_) => cannot_listen(http, error),
    })
}

fn cannot_listen(http: &config::Http, error: &BindError) -> config::Error {
    match error {
        BindError::Mirror(_) => http.mirror.error(error),
        BindError::Main(_) | BindError::Tls(_) => http.addr.error(error),
    }
}

/// Reloads the certificate soon after its files change, because Kubernetes and certbot replace them at any time.
pub(super) fn renew_certificate(server: &Server, registry: &Arc<Registry>, supervisor: &Supervisor) {
    let Some(tls) = server.tls() else { return };
    let metrics = Arc::clone(registry.metrics());
    supervisor.repeat(MaintenanceJob::Certificate, Duration::ZERO, CERTIFICATE_CHECK_INTERVAL, move |io| {
        metrics.certificate_ends(tls.expires());
        tls.refresh(io);
    });
}
