//! TLS: protocol versions, certificates and keys, and their replacement.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use crate::support::{
    clients::{self, Pulled, What},
    egress_trap::EgressTrap,
    hash::sha256,
    images::{Blob, Format, Image},
    rounds,
    server::{Server, Setup, entrepot},
    tls::{Authority, ClientTls, Https, Mounted},
    upstream::Upstream,
    wait_until,
};

const SOON: Duration = Duration::from_secs(20);

pub(crate) fn with(setup: Setup, files: &Mounted) -> Setup {
    let path = |name| files.path(name).to_str().unwrap().to_owned();
    setup
        .variable("REGISTRY_HTTP_TLS_CERTIFICATE", &path("tls.crt"))
        .variable("REGISTRY_HTTP_TLS_KEY", &path("tls.key"))
}

fn client(server: &Server, authority: &Authority) -> Https {
    Https::new(server.url(), authority, &ClientTls::default())
}

/// Certificates are replaced while clients connect, stay connected and download: no request fails, each new handshake
/// gets the new one, and a key that does not match is refused.
#[test]
fn a_certificate_is_swapped_under_load() {
    let (authority, upstream, blob) = (Authority::new("test"), Upstream::plain(), Blob::noise(3, 3_000_000));
    upstream.add_blob("library/app", &blob);
    let files = Mounted::new(&authority.server());
    let mut server = with(Setup::mirroring(&upstream.url()), &files).start();
    let https = client(&server, &authority).http1();
    let path = format!("/v2/library/app/blobs/{}", blob.digest);
    let fetch = |connection: &mut crate::support::tls::Connection| {
        let answer = connection.request("GET", &path).expect("a request failed");
        assert_eq!((answer.status, sha256(&answer.body)), (200, blob.digest.clone()));
    };
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut staying = https.connect().unwrap();
    let first = staying.certificate();
    // Its response is in transit all the time: the kernel's buffers hold far less than the whole.
    let mut downloading = https.connect().unwrap();
    downloading.send("GET", &path).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    let mut connection = https.connect().expect("a handshake failed");
                    (0..3).for_each(|_| fetch(&mut connection));
                    done.fetch_add(3, Relaxed);
                }
            });
        }
        for round in 0..rounds(20) {
            let pair = authority.server();
            files.replace(&pair);
            let renewals = |server: &Server| server.log().matches("was renewed").count();
            wait_until("the new certificate", SOON, || renewals(&server) > round);
            assert_eq!(https.connect().unwrap().certificate(), pair.der(), "the next handshake");
            fetch(&mut staying);
        }
        over.store(true, Relaxed);
    });
    assert_eq!(staying.certificate(), first);
    assert_eq!(sha256(&downloading.answer(false).unwrap().body), blob.digest, "what was under way goes on");
    assert!(done.load(Relaxed) > 10);

    let current = https.connect().unwrap().certificate();
    let mut stranger = authority.server();
    stranger.key = authority.server().key;
    files.replace(&stranger);
    server.wait_for_log("the previous one stays in use: http.tls.key is wrong", SOON);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(server.log().matches("the previous one stays in use").count(), 1, "one line");
    assert_eq!(https.connect().unwrap().certificate(), current);
    fetch(&mut https.connect().unwrap());
}

/// A certificate and a key that do not match stop the start: one line, with the key that is to blame.
#[test]
fn a_key_of_another_stops_the_start() {
    let authority = Authority::new("test");
    let mut pair = authority.server();
    pair.key = authority.server().key;
    let files = Mounted::new(&pair);
    let outcome = with(Setup::hosting(), &files).run();
    assert_eq!(outcome.status.code(), Some(2), "{}", outcome.output);
    let lines: Vec<_> = outcome.output.lines().filter(|line| line.starts_with("entrepot: ")).collect();
    assert_eq!(lines.len(), 1, "{}", outcome.output);
    assert!(lines[0].contains("http.tls.key") && lines[0].contains("belongs to another"), "{}", lines[0]);
    std::fs::remove_file(files.path("tls.crt")).unwrap();
    let outcome = with(Setup::hosting(), &files).run();
    assert!(outcome.output.contains("http.tls.certificate"), "{}", outcome.output);
    let one = Setup::hosting().variable("REGISTRY_HTTP_TLS_KEY", files.path("tls.key").to_str().unwrap()).run();
    assert!(one.output.contains("expected http.tls.certificate beside it"), "{}", one.output);
}

/// `Location` headers have the scheme of the request; plain HTTP gets no response.
#[test]
fn locations_are_https() {
    let authority = Authority::new("test");
    let files = Mounted::new(&authority.server());
    let server = with(Setup::hosting(), &files).start();
    let answer = client(&server, &authority).http1().request("POST", "/v2/team/app/blobs/uploads/").unwrap();
    assert_eq!(answer.status, 202);
    assert!(
        answer.head.contains(&format!("\nlocation: {}/v2/team/app/blobs/uploads/", server.url())),
        "{}",
        answer.head
    );
    let plain = server.url().replace("https://", "http://");
    assert!(crate::support::http::get(&format!("{plain}/v2/")).try_send().is_err());
}

/// HTTP/1.1 unless `http.http2.disabled` is `false`; TLS 1.2 unless `http.tls.minimumtls` is `tls1.3`.
#[test]
fn versions_are_as_they_are_asked_for() {
    let authority = Authority::new("test");
    let files = Mounted::new(&authority.server());
    let old = |server: &Server| {
        let client_tls = ClientTls { only_1_2: true, ..ClientTls::default() };
        Https::new(server.url(), &authority, &client_tls).http1().request("GET", "/v2/").map(|answer| answer.status)
    };
    let server = with(Setup::hosting(), &files).start();
    assert_eq!(client(&server, &authority).connect().unwrap().alpn(), "http/1.1");
    assert_eq!(old(&server).unwrap(), 200);
    let setup = with(Setup::hosting(), &files).variable("REGISTRY_HTTP_HTTP2_DISABLED", "false");
    let server = setup.variable("REGISTRY_HTTP_TLS_MINIMUMTLS", "tls1.3").start();
    assert_eq!(client(&server, &authority).connect().unwrap().alpn(), "h2");
    assert_eq!(client(&server, &authority).http1().request("GET", "/v2/").unwrap().status, 200);
    assert!(old(&server).is_err());
}

/// `http.tls.clientcas`: only clients with a certificate of these authorities can connect.
#[test]
fn clients_must_be_vouched_for() {
    let (authority, stranger) = (Authority::new("test"), Authority::new("stranger"));
    let files = Mounted::new(&authority.server());
    let cas = authority.certs_d(None);
    let ca = cas.path().join("ca.crt").to_str().unwrap().to_owned();
    let setup = || with(Setup::hosting(), &files).variable("REGISTRY_HTTP_TLS_CLIENTCAS_0", &ca);
    let server = setup().start();
    let (known, unknown) = (authority.client(), stranger.client());
    let status = |server: &Server, pair| {
        let client_tls = ClientTls { client: pair, ..ClientTls::default() };
        Https::new(server.url(), &authority, &client_tls).http1().request("GET", "/v2/").map(|answer| answer.status)
    };
    assert_eq!(status(&server, Some(&known)).unwrap(), 200);
    assert!(status(&server, None).is_err());
    assert!(status(&server, Some(&unknown)).is_err());
    asks_whether_it_is_alive(&server, &files, &ca);
    let server = setup().variable("REGISTRY_HTTP_TLS_CLIENTAUTH", "verify-client-cert-if-given").start();
    assert_eq!(status(&server, None).unwrap(), 200);
    assert!(status(&server, Some(&unknown)).is_err());
}

/// `entrepot health` has no certificate: it distinguishes a server that wants one from another program at the address.
fn asks_whether_it_is_alive(server: &Server, files: &Mounted, ca: &str) {
    let health = |files: &Mounted| {
        let (certificate, key) = (files.path("tls.crt"), files.path("tls.key"));
        let variables = [
            ("REGISTRY_HTTP_ADDR", server.url().trim_start_matches("https://")),
            ("REGISTRY_HTTP_TLS_CERTIFICATE", certificate.to_str().unwrap()),
            ("REGISTRY_HTTP_TLS_KEY", key.to_str().unwrap()),
            ("REGISTRY_HTTP_TLS_CLIENTCAS_0", ca),
        ];
        entrepot(&["health"], &variables)
    };
    let alive = health(files).expect_success("entrepot health");
    assert!(alive.output.contains("http.tls.clientcas"), "{}", alive.output);
    let other = health(&Mounted::new(&Authority::new("other").server()));
    assert!(other.status.code() == Some(1) && other.output.contains("certificate"), "{}", other.output);
}

/// Four clients push and pull; three of them trust this authority alone. dockerd trusts any server on the loopback
/// interface.
#[test]
fn clients_push_and_pull_over_tls() {
    for http2 in [false, true] {
        let (authority, image) = (Authority::new("test"), Image::of_size(Format::Oci, 301, 20_000_000));
        let files = Mounted::new(&authority.server());
        let disabled = if http2 { "false" } else { "true" };
        let server = with(Setup::hosting(), &files).variable("REGISTRY_HTTP_HTTP2_DISABLED", disabled).start();
        let (trap, certs) = (EgressTrap::new(), authority.certs_d(None));
        for client in clients::trusting(certs.path(), &trap) {
            let name = format!("{}/{}/app:1", server.target().authority(), client.name());
            let digest = client.push(What::Own(&image), &name);
            let wanted = Pulled { digest, config: image.config.clone() };
            assert_eq!(client.pull_from(&name), wanted, "{} http2 {http2}", client.name());
        }
    }
}

/// The same with a certificate of their own, for those that verify.
#[test]
fn clients_with_certificates_push_and_pull() {
    let (authority, image) = (Authority::new("test"), Image::of_size(Format::Oci, 302, 2_000_000));
    let files = Mounted::new(&authority.server());
    let certs = authority.certs_d(Some(&authority.client()));
    let setup = with(Setup::hosting(), &files);
    let server = setup.variable("REGISTRY_HTTP_TLS_CLIENTCAS_0", certs.path().join("ca.crt").to_str().unwrap()).start();
    let trap = EgressTrap::new();
    for client in clients::trusting(certs.path(), &trap).into_iter().filter(|client| client.name() != "docker") {
        let name = format!("{}/{}/app:1", server.target().authority(), client.name());
        let digest = client.push(What::Own(&image), &name);
        assert_eq!(client.pull_from(&name), Pulled { digest, config: image.config.clone() }, "{}", client.name());
    }
}
