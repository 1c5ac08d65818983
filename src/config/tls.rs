//! The `http.tls` section, as in `registry:2`: files, versions and cipher suites. The files are read on the floors
//! above.

use std::path::PathBuf;

use super::{
    Error, Setting,
    dump::Line,
    node::Node,
    used_http_keys::{TLS_CERTIFICATE, TLS_CIPHERSUITES, TLS_CLIENTAUTH, TLS_CLIENTCAS, TLS_KEY, TLS_MINIMUM},
};

/// The settings of TLS.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// `http.tls.certificate`: PEM, the server's own certificate first.
    pub certificate: Setting<PathBuf>,
    /// `http.tls.key`: PEM, PKCS#8, PKCS#1 or SEC1.
    pub key: Setting<PathBuf>,
    /// `http.tls.clientcas`: PEM, the authorities for client certificates; empty: clients need no certificate.
    pub client_cas: Setting<Vec<PathBuf>>,
    /// `http.tls.clientauth`.
    pub client_auth: Setting<ClientAuth>,
    /// `http.tls.minimumtls`.
    pub minimum: Setting<MinimumTls>,
    /// `http.tls.ciphersuites`: IANA names, for TLS 1.2; empty: all that are supported.
    pub cipher_suites: Setting<Vec<String>>,
}

/// The demand for a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// `require-and-verify-client-cert`.
    Required,
    /// `verify-client-cert-if-given`.
    IfGiven,
}

/// The oldest accepted version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinimumTls {
    /// `tls1.2`.
    Tls12,
    /// `tls1.3`.
    Tls13,
}

impl TlsConfig {
    /// # Errors
    /// [`Error::Value`] for an invalid value, [`Error::Refused`] for an incomplete section: the server must not use
    /// plain text if a key or authorities are set.
    pub(super) fn read(root: &Node) -> Result<Option<Self>, Error> {
        let path = |text: &str| Some(PathBuf::from(text));
        let certificate = Setting::read_optional(root, &TLS_CERTIFICATE, path)?;
        let key = Setting::read_optional(root, &TLS_KEY, path)?;
        let client_cas = Setting::read_list(root, &TLS_CLIENTCAS, |text| Ok::<_, &str>(PathBuf::from(text)))?;
        match (certificate.value().clone(), key.value().clone()) {
            (Some(own), Some(secret)) => {
                Ok(Some(Self::with(root, certificate.with(own), key.with(secret), client_cas)?))
            }
            (Some(_), None) => Err(certificate.error("http.tls.key beside it")),
            (None, Some(_)) => Err(key.error("http.tls.certificate beside it")),
            (None, None) if client_cas.is_empty() => Ok(None),
            (None, None) => Err(client_cas.error("http.tls.certificate and http.tls.key beside it")),
        }
    }

    fn with(
        root: &Node,
        certificate: Setting<PathBuf>,
        key: Setting<PathBuf>,
        client_cas: Setting<Vec<PathBuf>>,
    ) -> Result<Self, Error> {
        Ok(Self {
            certificate,
            key,
            client_cas,
            client_auth: Setting::read(root, &TLS_CLIENTAUTH, ClientAuth::parse)?,
            minimum: Setting::read(root, &TLS_MINIMUM, MinimumTls::parse)?,
            cipher_suites: Setting::read_list(root, &TLS_CIPHERSUITES, |text| Ok::<_, &str>(text.to_owned()))?,
        })
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        vec![
            Line::new(&self.certificate, self.certificate.to_string_lossy()),
            Line::new(&self.key, self.key.to_string_lossy()),
            Line::list(&self.client_cas, self.client_cas.iter().map(|path| path.to_string_lossy())),
            Line::new(&self.client_auth, self.client_auth.as_str()),
            Line::new(&self.minimum, self.minimum.as_str()),
            Line::list(&self.cipher_suites, self.cipher_suites.iter()),
        ]
    }
}

impl ClientAuth {
    fn parse(text: &str) -> Option<Self> {
        [Self::Required, Self::IfGiven].into_iter().find(|auth| auth.as_str() == text)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Required => "require-and-verify-client-cert",
            Self::IfGiven => "verify-client-cert-if-given",
        }
    }
}

impl MinimumTls {
    fn parse(text: &str) -> Option<Self> {
        [Self::Tls12, Self::Tls13].into_iter().find(|version| version.as_str() == text)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "tls1.2",
            Self::Tls13 => "tls1.3",
        }
    }
}
