//! TLS for tests: an authority and its certificates, files that are replaced as Kubernetes does it, and a client that
//! shows the server's certificate.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version,
};
use tempfile::TempDir;

use crate::support::{network, scratch};

/// A certificate and its private key, in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pair {
    /// The certificate in DER, its form on the wire.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    own: Pair,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let own = Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() };
        Self { issuer: Issuer::new(params, key), own }
    }

    /// A certificate for a server on any address of the loopback interface.
    pub(crate) fn server(&self) -> Pair {
        self.certify(&["127.0.0.1", "localhost", network::ADDRESS], ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(crate) fn client(&self) -> Pair {
        self.certify(&["client.example"], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn certify(&self, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Pair {
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        Pair { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Its own certificate, in PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.own.certificate
    }

    /// A directory in the layout of registry clients: `ca.crt`, and `client.cert` with `client.key`.
    pub(crate) fn certs_d(&self, client: Option<&Pair>) -> TempDir {
        let dir = scratch::dir("certs");
        std::fs::write(dir.path().join("ca.crt"), self.pem()).unwrap();
        if let Some(pair) = client {
            std::fs::write(dir.path().join("client.cert"), &pair.certificate).unwrap();
            std::fs::write(dir.path().join("client.key"), &pair.key).unwrap();
        }
        dir
    }
}

/// `tls.crt` and `tls.key` as Kubernetes mounts a secret: links through `..data`, which is replaced as a whole.
pub(crate) struct Mounted {
    dir: TempDir,
}

impl Mounted {
    pub(crate) fn new(pair: &Pair) -> Self {
        let mounted = Self { dir: scratch::dir("secret") };
        mounted.replace(pair);
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), mounted.path(name)).unwrap();
        }
        mounted
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn replace(&self, pair: &Pair) {
        let version = tempfile::Builder::new().prefix("..version").tempdir_in(self.dir.path()).unwrap().keep();
        std::fs::write(version.join("tls.crt"), &pair.certificate).unwrap();
        std::fs::write(version.join("tls.key"), &pair.key).unwrap();
        symlink(&version, self.path("..new")).unwrap();
        std::fs::rename(self.path("..new"), self.path("..data")).unwrap();
    }
}

/// A client that trusts one authority.
#[derive(Clone)]
pub(crate) struct Https {
    config: Arc<ClientConfig>,
    address: SocketAddr,
}

/// Options of the handshake.
#[derive(Default)]
pub(crate) struct ClientTls<'a> {
    pub(crate) client: Option<&'a Pair>,
    pub(crate) only_1_2: bool,
}

static ONLY_1_2: [&SupportedProtocolVersion; 1] = [&version::TLS12];
static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

impl Https {
    /// A client of the server at `https://127.0.0.1:PORT`. Offers HTTP/2 and HTTP/1.1, and resumes no session.
    pub(crate) fn new(url: &str, authority: &Authority, client_tls: &ClientTls<'_>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let versions: &[_] = if client_tls.only_1_2 { &ONLY_1_2 } else { &BOTH };
        let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        let mut config = match client_tls.client {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![pair.der()], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        let address = url.strip_prefix("https://").unwrap().parse().unwrap();
        Self { config: Arc::new(config), address }
    }

    /// Offers HTTP/1.1 alone.
    pub(crate) fn http1(mut self) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = vec![b"http/1.1".to_vec()];
        self
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection after its handshake.
    pub(crate) fn connect(&self) -> io::Result<Connection> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        socket.set_nodelay(true)?;
        let name = self.address.ip().into();
        let mut tls = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        Ok(Connection { stream: StreamOwned::new(tls, socket), host: self.address.to_string() })
    }

    /// One request on a connection of its own.
    pub(crate) fn request(&self, method: &str, path: &str) -> io::Result<TlsResponse> {
        self.connect()?.request(method, path)
    }
}

pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    host: String,
}

pub(crate) struct TlsResponse {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    /// The server's certificate.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// The negotiated protocol.
    pub(crate) fn alpn(&self) -> String {
        String::from_utf8_lossy(self.stream.conn.alpn_protocol().unwrap_or_default()).into_owned()
    }

    pub(crate) fn send(&mut self, method: &str, path: &str) -> io::Result<()> {
        write!(self.stream, "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", self.host)?;
        self.stream.flush()
    }

    pub(crate) fn request(&mut self, method: &str, path: &str) -> io::Result<TlsResponse> {
        self.send(method, path)?;
        self.answer(method == "HEAD")
    }

    pub(crate) fn answer(&mut self, is_head: bool) -> io::Result<TlsResponse> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).map(|text| text.parse().unwrap());
        let mut body = vec![0; if is_head { 0 } else { length.unwrap_or(0) }];
        self.stream.read_exact(&mut body)?;
        Ok(TlsResponse { status, head, body })
    }
}
