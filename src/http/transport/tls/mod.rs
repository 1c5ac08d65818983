//! TLS of the server: loads certificate and key, performs handshakes, and reloads changed files without ending
//! connections.

mod files;
mod not_after;

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_http::Protocol;
use actix_web::rt::net::TcpStream;
use files::FileVersion;
use parking_lot::{Mutex, RwLock};
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{http::settings::TlsSettings, lanes::Blocking};

const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// The reason that TLS cannot be used with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file cannot be used.
    #[error("a PEM file of certificates ({0})")]
    Certificate(String),
    /// The key file cannot be used.
    #[error("a PEM file with one private key ({0})")]
    Key(String),
    /// Certificate and key are valid but do not belong together.
    #[error("the private key of the certificate in http.tls.certificate; this one belongs to another")]
    Mismatch,
    /// A CA file cannot be used.
    #[error("PEM files of certificate authorities ({}: {why})", path.display())]
    ClientCas {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The name is not a known cipher suite.
    #[error("names among {}", files::suite_names().join(", "))]
    CipherSuite(String),
}

/// A server's TLS configuration, as last loaded successfully.
#[derive(Debug)]
pub struct Tls {
    settings: TlsSettings,
    now: RwLock<LoadedTls>,
    files: Mutex<Watched>,
}

#[derive(Clone, Debug)]
struct LoadedTls {
    config: Arc<ServerConfig>,
    expires: Option<SystemTime>,
}

/// The files' stamps at two moments.
#[derive(Debug)]
struct Watched {
    /// The stamps when the files were last loaded, successfully or not.
    read: Vec<FileVersion>,
    /// The stamps at the last check.
    seen: Vec<FileVersion>,
}

impl Tls {
    /// # Errors
    /// [`TlsError`] if one of the files cannot be used.
    pub fn load(io: &Blocking, settings: TlsSettings) -> Result<Self, TlsError> {
        let read = files::stamps(io, &settings);
        let now = RwLock::new(load(io, &settings)?);
        Ok(Self { settings, now, files: Mutex::new(Watched { seen: read.clone(), read }) })
    }

    /// Returns the time at which the current certificate expires, if it can be read.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.now.read().expires
    }

    /// Reloads the files if they changed and have been stable since the last check, because certificate and key are not
    /// written at the same time. Invalid files are reported once, and the loaded ones stay in use.
    pub fn refresh(&self, io: &Blocking) {
        let stamps = files::stamps(io, &self.settings);
        let mut files = self.files.lock();
        let rested = files.seen == stamps;
        files.seen.clone_from(&stamps);
        if !rested || files.read == stamps {
            return;
        }
        files.read = stamps;
        match load(io, &self.settings) {
            Ok(loaded) => {
                *self.now.write() = loaded;
                tracing::info!("the certificate in {} was renewed", self.settings.certificate.display());
            }
            Err(error) => {
                let key = error.key();
                tracing::error!(
                    "new certificate not loaded, the previous one stays in use: {key} is wrong; expected {error}"
                );
            }
        }
    }

    /// Performs the server's side of a handshake within `limit`.
    pub(in crate::http) async fn accept(
        &self,
        stream: TcpStream,
        limit: Duration,
    ) -> io::Result<(TlsStream<TcpStream>, Protocol)> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.now.read().config));
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let stream = tokio::time::timeout(limit, acceptor.accept(stream)).await.map_err(late)??;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        Ok((stream, if http2 { Protocol::Http2 } else { Protocol::Http1 }))
    }
}

impl TlsError {
    /// Returns the configuration key at fault.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "http.tls.certificate",
            Self::Key(_) | Self::Mismatch => "http.tls.key",
            Self::ClientCas { .. } => "http.tls.clientcas",
            Self::CipherSuite(_) => "http.tls.ciphersuites",
        }
    }
}

fn load(io: &Blocking, settings: &TlsSettings) -> Result<LoadedTls, TlsError> {
    let chain = files::certificates(io, &settings.certificate).map_err(TlsError::Certificate)?;
    let key = files::key(io, &settings.key).map_err(TlsError::Key)?;
    let expires = not_after::not_after(&chain[0]);
    let provider = Arc::new(files::provider(&settings.cipher_suites)?);
    let verifier = files::verifier(io, settings, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(settings.only_1_3))
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    let mut config =
        builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).map_err(|error| unfit(&error))?;
    config.alpn_protocols = if settings.http2 { vec![H2.into(), HTTP_1_1.into()] } else { vec![HTTP_1_1.into()] };
    Ok(LoadedTls { config: Arc::new(config), expires })
}

/// Ordered from the newest to the oldest.
static VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

fn versions(only_1_3: bool) -> &'static [&'static SupportedProtocolVersion] {
    if only_1_3 { &VERSIONS[..1] } else { &VERSIONS }
}

fn unfit(error: &rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => TlsError::Mismatch,
        rustls::Error::InvalidCertificate(_) => TlsError::Certificate(error.to_string()),
        _ => TlsError::Key(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
