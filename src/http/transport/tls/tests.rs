//! Tests of certificate and key files: their forms, their faults, and their renewal.

use std::{fs, path::Path};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};

use super::*;

/// A certificate and its key, in PEM.
fn pair(key: &KeyPair) -> (String, String) {
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.self_signed(key).unwrap().pem(), key.serialize_pem())
}

fn settings(dir: &Path) -> TlsSettings {
    TlsSettings {
        certificate: dir.join("tls.crt"),
        key: dir.join("tls.key"),
        client_cas: Vec::new(),
        anonymous_clients: false,
        only_1_3: false,
        cipher_suites: Vec::new(),
        http2: false,
    }
}

fn write(dir: &Path, certificate: &str, key: &str) {
    // A new file each time, as certbot and Kubernetes write it.
    for (name, text) in [("tls.crt", certificate), ("tls.key", key)] {
        let _gone = fs::remove_file(dir.join(name));
        let mut file = fs::File::create_new(dir.join(name)).unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }
}

#[test]
fn takes_keys_in_each_of_their_forms() {
    let dir = tempfile::tempdir().unwrap();
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384] {
        let (certificate, key) = pair(&KeyPair::generate_for(algorithm).unwrap());
        write(dir.path(), &certificate, &key);
        let tls = Tls::load(Blocking::in_test(), settings(dir.path())).unwrap();
        assert_eq!(tls.now.read().config.alpn_protocols, [HTTP_1_1]);
        // Text around the PEM block is ignored.
        write(dir.path(), &format!("subject=x\n{certificate}{certificate}"), &key);
        Tls::load(Blocking::in_test(), settings(dir.path())).unwrap();
    }
}

#[test]
fn names_the_faulty_file() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = pair(&KeyPair::generate().unwrap());
    let (_, other) = pair(&KeyPair::generate().unwrap());
    let load = || Tls::load(Blocking::in_test(), settings(dir.path()));
    assert!(matches!(load().unwrap_err(), TlsError::Certificate(_)));
    write(dir.path(), "nothing", &key);
    assert!(matches!(load().unwrap_err(), TlsError::Certificate(why) if why.contains("no CERTIFICATE")));
    write(dir.path(), &certificate, &certificate);
    assert!(matches!(load().unwrap_err(), TlsError::Key(why) if why.contains("no PRIVATE KEY")));
    write(dir.path(), &certificate, &other);
    assert!(matches!(load().unwrap_err(), TlsError::Mismatch));
    write(dir.path(), &certificate, &key);
    load().unwrap();
    let cas = TlsSettings { client_cas: vec![dir.path().join("tls.key")], ..settings(dir.path()) };
    assert!(matches!(Tls::load(Blocking::in_test(), cas).unwrap_err(), TlsError::ClientCas { .. }));
}

#[test]
fn allows_the_ciphers_that_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = pair(&KeyPair::generate().unwrap());
    write(dir.path(), &certificate, &key);
    let with = |names: &[&str]| {
        let cipher_suites = names.iter().map(ToString::to_string).collect();
        Tls::load(Blocking::in_test(), TlsSettings { cipher_suites, ..settings(dir.path()) })
    };
    let tls = with(&["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]).unwrap();
    let names: Vec<String> = tls
        .now
        .read()
        .config
        .crypto_provider()
        .cipher_suites
        .iter()
        .map(|suite| format!("{:?}", suite.suite()))
        .collect();
    assert_eq!(names.iter().filter(|name| !name.starts_with("TLS13")).count(), 1, "{names:?}");
    assert!(names.len() > 1);
    let refused = with(&["TLS_RSA_WITH_RC4_128_SHA"]).unwrap_err();
    assert!(refused.to_string().contains("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), "{refused}");
}

#[test]
fn new_files_are_taken_once_they_rest_and_do() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = pair(&KeyPair::generate().unwrap());
    write(dir.path(), &certificate, &key);
    let tls = Tls::load(Blocking::in_test(), settings(dir.path())).unwrap();
    let first = Arc::clone(&tls.now.read().config);
    let is_first = || Arc::ptr_eq(&first, &tls.now.read().config);
    tls.refresh(Blocking::in_test());
    assert!(is_first(), "nothing changed");
    let (second, second_key) = pair(&KeyPair::generate().unwrap());
    write(dir.path(), &second, &key);
    tls.refresh(Blocking::in_test());
    tls.refresh(Blocking::in_test());
    assert!(is_first(), "a key of another is kept out");
    write(dir.path(), &second, &second_key);
    tls.refresh(Blocking::in_test());
    assert!(is_first(), "it may still be written");
    tls.refresh(Blocking::in_test());
    assert!(!is_first(), "it rests, and does");
    fs::remove_file(dir.path().join("tls.crt")).unwrap();
    tls.refresh(Blocking::in_test());
    tls.refresh(Blocking::in_test());
    assert!(tls.expires().is_some());
}
