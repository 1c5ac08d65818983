//! TLS, the proxy, and the absence of secrets in the log.

use std::{
    io::{self, Write},
    sync::Arc,
};

use parking_lot::Mutex;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};

use super::{
    BLOB, ClientThreads, ConnectionSettings, Error, Proxy, Remote, Trust, latest, name, options, read,
    server::{Server, Step, reply},
    threads, with_credentials,
};

/// Returns a certificate for `host`, and the root store that trusts it.
fn certificate(host: &str) -> (Arc<ServerConfig>, RootCertStore) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate.clone()], key.into()).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    (Arc::new(config), roots)
}

fn tls_threads(roots: RootCertStore, proxy: Proxy) -> ClientThreads {
    ClientThreads::start(1, ConnectionSettings { trust: Trust::new(roots).unwrap(), proxy }).unwrap()
}

fn at(base: &str) -> Remote {
    Remote::new("r.example".parse().unwrap(), base.parse().unwrap(), options()).unwrap()
}

#[tokio::test]
async fn http_1_is_spoken_over_tls_and_a_cut_is_seen() {
    let (config, roots) = certificate("localhost");
    let chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n0123456\r\n";
    let server = Server::tls(config, move |_, before| match before {
        0 | 1 => reply("200 OK", "", BLOB),
        2 => vec![Step::Say(chunk.into()), Step::Fin],
        _ => vec![Step::Say(chunk.into()), Step::Wait(50), Step::Rst],
    });
    let (threads, remote) = (tls_threads(roots, Proxy::default()), at(&server.url("localhost")));
    for _ in 0..2 {
        assert_eq!(read(&threads, &remote, 0, None).await.unwrap().bytes, BLOB);
    }
    assert_eq!(server.connections(), 1);
    for ending in ["close_notify", "reset"] {
        let read = read(&threads, &remote, 0, None).await.unwrap();
        assert_eq!((&read.bytes[..], read.end), (&BLOB[..7], Err(Error::Cut { got: 7, expected: None })), "{ending}");
    }
    assert_eq!(server.asked()[0].header("host"), Some(format!("localhost:{}", server.port()).as_str()));
}

#[tokio::test]
async fn an_untrusted_certificate_is_refused() {
    let (config, _) = certificate("localhost");
    let server = Server::tls(config, |_, _| reply("200 OK", "", BLOB));
    let error = at(&server.url("localhost")).head_manifest(&threads(1), &name(), &latest()).await.unwrap_err();
    assert!(error.is_unreachable() && error.to_string().contains("TLS"), "{error}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn https_does_not_lead_to_http() {
    let plain = Server::start(|_, _| reply("200 OK", "", BLOB));
    let location = plain.url("localhost");
    let (config, roots) = certificate("localhost");
    let server = Server::tls(config, move |_, _| reply("302 Found", &format!("Location: {location}\r\n"), ""));
    let got = read(&tls_threads(roots, Proxy::default()), &at(&server.url("localhost")), 0, None).await;
    assert!(matches!(got, Err(Error::Redirect(_))));
    assert!(plain.asked().is_empty());
}

#[tokio::test]
async fn an_http_realm_gets_no_credentials_from_https() {
    let realm = Server::start(|_, _| reply("200 OK", "", r#"{"token":"t"}"#));
    let at = format!("{}/token", realm.url("localhost"));
    let (config, roots) = certificate("localhost");
    let server = Server::tls(config, move |asked, _| match asked.header("authorization") {
        Some(_) => reply("200 OK", "", BLOB),
        None => reply("401 Unauthorized", &format!("WWW-Authenticate: Bearer realm=\"{at}\"\r\n"), ""),
    });
    let base = server.url("localhost").parse().unwrap();
    let remote = Remote::new("r.example".parse().unwrap(), base, with_credentials()).unwrap();
    read(&tls_threads(roots, Proxy::default()), &remote, 0, None).await.unwrap();
    assert_eq!(realm.asked()[0].header("authorization"), None);
}

fn through(proxy: &Server) -> Proxy {
    let url = proxy.url("me:hunter2@127.0.0.1");
    Proxy::from_lookup(|variable| (variable == "HTTPS_PROXY").then(|| url.clone())).unwrap()
}

#[tokio::test]
async fn https_goes_through_the_proxy() {
    let (config, roots) = certificate("registry.test");
    let (proxy, connects) = Server::proxy(config, "200 Connection established", |asked, _| {
        reply("200 OK", "", if asked.target.starts_with("/v2/") { BLOB } else { b"" })
    });
    let threads = tls_threads(roots, through(&proxy));
    assert_eq!(read(&threads, &at("https://registry.test"), 0, None).await.unwrap().bytes, BLOB);
    let connects = connects.lock().clone();
    assert_eq!((connects[0].method.as_str(), connects[0].target.as_str()), ("CONNECT", "registry.test:443"));
    assert_eq!(connects[0].header("proxy-authorization"), Some("Basic bWU6aHVudGVyMg=="));
    assert_eq!(proxy.asked()[0].header("proxy-authorization"), None);
    assert_eq!(proxy.asked()[0].header("host"), Some("registry.test"));
}

#[tokio::test]
async fn a_redirect_through_the_proxy_leads_to_no_private_host() {
    for location in ["https://10.0.0.1/", "https://localhost/", "https://[::1]/", "https://a.localhost/"] {
        let (config, roots) = certificate("registry.test");
        let (proxy, connects) = Server::proxy(config, "200 OK", move |_, _| {
            reply("307 Temporary Redirect", &format!("Location: {location}\r\n"), "")
        });
        let got = read(&tls_threads(roots, through(&proxy)), &at("https://registry.test"), 0, None).await;
        assert!(matches!(got, Err(Error::Redirect(_))), "{location}");
        assert_eq!(connects.lock().len(), 1, "{location}");
    }
}

#[tokio::test]
async fn a_refusing_proxy_is_named() {
    let (config, roots) = certificate("registry.test");
    let (proxy, _) = Server::proxy(config, "407 Proxy Authentication Required", |_, _| Vec::new());
    let got = read(&tls_threads(roots, through(&proxy)), &at("https://registry.test"), 0, None).await;
    let error = got.err().unwrap();
    assert!(error.is_unreachable() && error.to_string().contains("407"), "{error}");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// tracing caches for all threads if a line is enabled, and a test that runs beside this one may make the cache wrong
/// for a moment. The log is empty then, and the pull is repeated.
#[tokio::test]
async fn the_log_shows_no_secret() {
    let told = |log: &str| log.contains("/cdn") && log.contains("asked upstream") && log.contains("by hand");
    let mut log = String::new();
    for _ in 0..10 {
        log = log_of_a_pull().await;
        if told(&log) {
            break;
        }
    }
    assert!(told(&log), "{log}");
    for secret in ["hunter2", "bWU6", "granted", "signature", "signed"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

/// Returns all log lines, at the finest level, of a pull with a token and a redirect.
async fn log_of_a_pull() -> String {
    let server = Server::start(|asked, before| match (asked.target.split('?').next(), before) {
        (Some("/token"), _) => reply("200 OK", "", r#"{"token":"granted"}"#),
        (Some("/cdn"), 3) => reply("200 OK", "", BLOB),
        (Some("/cdn"), _) => vec![Step::Fin],
        _ if asked.header("authorization").is_none() => {
            reply("401 Unauthorized", "WWW-Authenticate: Bearer realm=\"/token\"\r\n", "")
        }
        _ => reply("307 Temporary Redirect", "Location: /cdn?signed=signature\r\n", ""),
    });
    let remote = super::remote_with(&server, with_credentials());
    let log = Log::default();
    let (writer, asking) = (log.clone(), remote.clone());
    let job = move |client: crate::upstream::Client| async move {
        let made = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
        let _guard = tracing::subscriber::set_default(made.finish());
        let digest = crate::oci::Digest::sha256(BLOB);
        drop(client.open_blob(&asking, &name(), &digest, 0, None, None).await?);
        let failed = client.open_blob(&asking, &name(), &digest, 0, None, None).await.err();
        tracing::info!(?asking, ?failed, "by hand");
        Ok(())
    };
    threads(1).call(job).await.unwrap();
    let log = log.0.lock().clone();
    String::from_utf8(log).unwrap()
}
