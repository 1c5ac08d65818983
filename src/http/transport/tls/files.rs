//! Reads the files of `http.tls` into rustls types: certificates, keys, CAs and cipher suites.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::SystemTime};

use rustls::{
    CipherSuite, RootCertStore, SupportedCipherSuite,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{TlsError, TlsSettings};
use crate::{config::explain, lanes::Blocking};

/// A file's device, inode, size and modification time, with symbolic links followed; `None` if it does not exist.
pub(in crate::http) type FileVersion = Option<(u64, u64, u64, Option<SystemTime>)>;

pub(in crate::http) fn stamps(io: &Blocking, settings: &TlsSettings) -> Vec<FileVersion> {
    let paths = [&settings.certificate, &settings.key].into_iter().chain(&settings.client_cas);
    paths.map(|path| stamp(io, path).ok()).collect()
}

fn stamp(_io: &Blocking, path: &Path) -> io::Result<(u64, u64, u64, Option<SystemTime>)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino(), metadata.len(), metadata.modified().ok()))
}

/// Reads the certificates in a file, at least one.
pub(in crate::http) fn certificates(_io: &Blocking, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = |error: pem::Error| error.to_string();
    let bytes = fs::read(path).map_err(|error| explain(path, &error))?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>().map_err(read)?;
    if found.is_empty() { Err("no CERTIFICATE in it".to_owned()) } else { Ok(found) }
}

/// Reads the private key in a file, in any form that openssl writes. Errors never contain its content.
pub(in crate::http) fn key(_io: &Blocking, path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = fs::read(path).map_err(|error| explain(path, &error))?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => "no PRIVATE KEY in it that is not encrypted".to_owned(),
        other => other.to_string(),
    })
}

/// Returns the crypto provider with all cipher suites of TLS 1.3 and the named ones of TLS 1.2.
pub(in crate::http) fn provider(names: &[String]) -> Result<CryptoProvider, TlsError> {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(unknown) = names.iter().find(|name| !suite_names().contains(*name)) {
        return Err(TlsError::CipherSuite(unknown.clone()));
    }
    provider
        .cipher_suites
        .retain(|suite| names.is_empty() || suite.tls13().is_some() || names.contains(&iana(suite.suite())));
    Ok(provider)
}

/// Returns every name allowed in `http.tls.ciphersuites`.
pub(in crate::http) fn suite_names() -> Vec<String> {
    aws_lc_rs::ALL_CIPHER_SUITES.iter().map(SupportedCipherSuite::suite).map(iana).collect()
}

fn iana(suite: CipherSuite) -> String {
    format!("{suite:?}").replace("TLS13_", "TLS_")
}

/// Returns the verifier of client certificates.
pub(in crate::http) fn verifier(
    io: &Blocking,
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if settings.client_cas.is_empty() {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    for path in &settings.client_cas {
        add(io, &mut roots, path).map_err(|why| TlsError::ClientCas { path: path.clone(), why })?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if settings.anonymous_clients { builder.allow_unauthenticated() } else { builder };
    let path = settings.client_cas[0].clone();
    builder.build().map_err(|error| TlsError::ClientCas { path, why: error.to_string() })
}

fn add(io: &Blocking, roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    certificates(io, path)?.into_iter().try_for_each(|ca| roots.add(ca)).map_err(|error| error.to_string())
}
