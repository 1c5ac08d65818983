//! The server certificates that an upstream's connections accept.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio_rustls::TlsConnector;

use super::Error;

/// A TLS client configuration. Cheap to clone. Equal only to its own clones: connections are shared by those alone.
#[derive(Clone)]
pub struct Trust(Arc<TlsConnector>);

impl Trust {
    /// Trusts these authorities.
    ///
    /// # Errors
    /// [`Error::Setting`] if TLS cannot be set up.
    pub fn new(roots: RootCertStore) -> Result<Self, Error> {
        Self::with(|builder| builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// Trusts these authorities, and those in a PEM file.
    ///
    /// # Errors
    /// [`Error::Setting`] if the text contains no certificate, or one that cannot be an authority.
    pub fn with_authorities(mut roots: RootCertStore, pem: &[u8]) -> Result<Self, Error> {
        let unusable = |error: &dyn fmt::Display| Error::Setting(format!("a PEM file of certificates ({error})"));
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate).map_err(|error| unusable(&error))?;
            count += 1;
        }
        if count == 0 { Err(unusable(&"it has none")) } else { Self::new(roots) }
    }

    /// Accepts every certificate.
    ///
    /// # Errors
    /// [`Error::Setting`] if TLS cannot be set up.
    pub fn everybody() -> Result<Self, Error> {
        let verifier = Arc::new(AnyCertificate(Arc::new(provider())));
        Self::with(|builder| builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }

    /// Offers HTTP/1.1 only: `awc`'s HTTP/2 windows are too small for blobs.
    fn with(
        configure: impl FnOnce(rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>) -> ClientConfig,
    ) -> Result<Self, Error> {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider())).with_safe_default_protocol_versions();
        let mut config = configure(builder.map_err(|error| Error::Setting(error.to_string()))?);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(TlsConnector::from(Arc::new(config)))))
    }

    pub(super) fn connector(&self) -> &TlsConnector {
        &self.0
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Trust {}

impl Hash for Trust {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// Accepts every certificate; the handshake's signatures are checked, as TLS cannot work without.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
