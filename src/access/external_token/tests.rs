//! Tests of trusted tokens: by certificate, by chain and by key, for each algorithm family.

use std::path::PathBuf;

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKey, KeySize},
    signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA512, RsaEncoding},
};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, encode, jwk::Jwk};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::oci::Action;

fn file(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trusted");
    #[allow(clippy::disallowed_methods, reason = "a test's own file")]
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn config(bundle: Option<PathBuf>, jwks: Option<PathBuf>, algorithms: &[&str]) -> TokenService {
    TokenService {
        realm: "https://tokens.test/".into(),
        service: "registry.test".into(),
        issuer: "tokens.test".into(),
        rootcertbundle: bundle,
        jwks,
        signingalgorithms: algorithms.iter().map(ToString::to_string).collect(),
        autoredirect: false,
        autoredirectpath: "/auth/token/".into(),
    }
}

fn believing(pem: &str) -> ExternalTokens {
    let (_dir, path) = file(pem);
    ExternalTokens::open(Blocking::in_test(), &config(Some(path), None, &[])).unwrap()
}

fn claims() -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let access = json!([{ "type": "repository", "name": "team/app", "actions": ["pull"] }]);
    json!({ "iss": "tokens.test", "aud": "registry.test", "sub": "ann", "exp": now + 60, "access": access })
}

fn believes(outside: &ExternalTokens, token: &str) -> bool {
    let caller = outside.read(token);
    match caller.proof {
        Proof::Token { grants, is_over } => {
            let app = "team/app".parse().unwrap();
            assert!(grants.cover(&app, Action::Pull) && !grants.cover(&app, Action::Push) && !is_over);
            assert_eq!(caller.who, Principal::user("ann"));
            true
        }
        _ => false,
    }
}

/// A certificate with its signing key, and a flag for a CA.
struct Made {
    certificate: Certificate,
    params: CertificateParams,
    key: KeyPair,
}

impl Made {
    fn new(name: &str, is_ca: bool, issuer: Option<&Self>) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
        let key = KeyPair::generate().unwrap();
        let certificate = match issuer {
            None => params.self_signed(&key).unwrap(),
            Some(issuer) => params.signed_by(&key, &Issuer::from_params(&issuer.params, &issuer.key)).unwrap(),
        };
        Self { certificate, params, key }
    }

    /// Signs a token with these certificates in its header.
    fn sign(&self, chain: &[&Self]) -> String {
        let x5c = chain.iter().map(|made| STANDARD.encode(made.certificate.der())).collect::<Vec<_>>();
        let header = Header { x5c: (!x5c.is_empty()).then_some(x5c), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims(), &EncodingKey::from_ec_der(&self.key.serialize_der())).unwrap()
    }
}

#[test]
fn a_chain_that_leads_to_the_operators_root_is_believed() {
    let root = Made::new("root", true, None);
    let between = Made::new("between", true, Some(&root));
    let leaf = Made::new("leaf", false, Some(&between));
    let outside = believing(&root.certificate.pem());
    assert!(believes(&outside, &leaf.sign(&[&leaf, &between])));
    assert!(believes(&outside, &root.sign(&[&root])), "the root itself, though it may sign others");
    assert!(believes(&outside, &root.sign(&[])), "without a word which key it is");
    assert!(!believes(&outside, &leaf.sign(&[&leaf])), "a link is missing");
    assert!(!believes(&outside, &leaf.sign(&[])));
    assert!(!believes(&outside, &leaf.sign(&[&root])), "another's certificate");
    let anonymous = Made::new("root", true, None);
    assert!(!believes(&outside, &anonymous.sign(&[&anonymous, &root])));
    let other = Made::new("leaf", false, Some(&anonymous));
    assert!(!believes(&outside, &other.sign(&[&other, &anonymous, &root])), "a root of the same name");
}

#[test]
fn only_what_may_vouch_for_others_does() {
    let root = Made::new("root", true, None);
    let leaf = Made::new("leaf", false, Some(&root));
    let under_leaf = Made::new("under", false, Some(&leaf));
    let outside = believing(&root.certificate.pem());
    assert!(believes(&outside, &leaf.sign(&[&leaf])));
    assert!(!believes(&outside, &under_leaf.sign(&[&under_leaf, &leaf])));
}

/// Signs a token by hand: `jsonwebtoken` does not sign with a key in this form.
fn rsa_token(key: &RsaKey, algorithm: &str, padding: &'static dyn RsaEncoding) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({ "alg": algorithm, "typ": "JWT" })), part(&claims()));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn rsa_is_believed_as_it_is_announced() {
    let key = RsaKey::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let pkcs8 = rustls::pki_types::PrivatePkcs8KeyDer::from(der.as_ref().to_vec());
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_RSA_SHA256).unwrap();
    let pem = CertificateParams::new(["rsa".to_owned()]).unwrap().self_signed(&pair).unwrap().pem();
    let outside = believing(&pem);
    let (good, pss) = (rsa_token(&key, "RS256", &RSA_PKCS1_SHA256), rsa_token(&key, "PS512", &RSA_PSS_SHA512));
    assert!(believes(&outside, &good) && believes(&outside, &pss));
    assert!(!believes(&outside, &rsa_token(&key, "RS512", &RSA_PKCS1_SHA256)));
    let another = RsaKey::generate(KeySize::Rsa2048).unwrap();
    assert!(!believes(&outside, &rsa_token(&another, "RS256", &RSA_PKCS1_SHA256)));
    let shared = encode(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(pem.as_bytes())).unwrap();
    assert!(!believes(&outside, &shared), "the public key is no secret");
    let (_dir, path) = file(&pem);
    let narrow = ExternalTokens::open(Blocking::in_test(), &config(Some(path.clone()), None, &["PS512"])).unwrap();
    assert!(believes(&narrow, &pss) && !believes(&narrow, &good), "only what the operator names");
    for bad in ["HS256", "none", "ES512", ""] {
        assert!(ExternalTokens::open(Blocking::in_test(), &config(Some(path.clone()), None, &[bad])).is_err(), "{bad}");
    }
}

#[test]
fn keys_of_a_set_are_believed_and_shared_ones_are_not() {
    let made = Made::new("jwks", false, None);
    let key = EncodingKey::from_ec_der(&made.key.serialize_der());
    let public = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
    let secret = Jwk::from_encoding_key(&EncodingKey::from_secret(b"secret"), Algorithm::HS256).unwrap();
    let open = |keys: &[&Jwk]| {
        let (_dir, path) = file(&json!({ "keys": keys }).to_string());
        ExternalTokens::open(Blocking::in_test(), &config(None, Some(path), &[]))
    };
    let outside = open(&[&public, &secret]).unwrap();
    assert!(believes(&outside, &made.sign(&[])));
    assert!(!believes(&outside, &made.sign(&[&made])), "a certificate that nobody vouches for");
    let shared = encode(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(b"secret")).unwrap();
    assert!(!believes(&outside, &shared));
    assert!(open(&[&secret]).is_err() && open(&[]).is_err());
}

#[test]
fn a_token_that_is_over_is_known_as_such() {
    let made = Made::new("over", false, None);
    let outside = believing(&made.certificate.pem());
    let token = |exp: u64| {
        let mut said = claims();
        said["exp"] = json!(exp);
        encode(&Header::new(Algorithm::ES256), &said, &EncodingKey::from_ec_der(&made.key.serialize_der())).unwrap()
    };
    let now = claims()["exp"].as_u64().unwrap() - 60;
    assert!(matches!(outside.read(&token(now - 100)).proof, Proof::Token { is_over: true, .. }));
    assert!(matches!(outside.read(&token(now - 2 * 24 * 3600)).proof, Proof::Invalid));
    for nonsense in ["", ".", "..", "a.b.c", "\u{0}", "eyJhbGciOiJub25lIn0.e30."] {
        assert!(matches!(outside.read(nonsense).proof, Proof::Invalid), "{nonsense:?}");
    }
}
