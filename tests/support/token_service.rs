//! The token service in front of the real upstream: anyone may pull, and the tests mint what they need to push.
//!
//! Tokens are ES256 with the certificate in `x5c`: what docker-registry 2.8 checks against its `rootcertbundle`.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{
    ports::Port,
    wire::{self, Request, Service},
};

pub(crate) const SERVICE: &str = "registry.test";
pub(crate) const ISSUER: &str = "tokens.test";

pub(crate) struct TokenService {
    service: Service,
    signer: Arc<Signer>,
    pub(crate) certificate: PathBuf,
}

struct Signer {
    key: EncodingKey,
    chain: Vec<String>,
    issued: AtomicUsize,
}

impl TokenService {
    /// Writes its certificate into `dir`.
    pub(crate) fn start(dir: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed([ISSUER.to_owned()]).unwrap();
        let certificate = dir.join("tokens.pem");
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        let signer = Arc::new(Signer {
            key: EncodingKey::from_ec_der(&made.signing_key.serialize_der()),
            chain: vec![STANDARD.encode(made.cert.der())],
            issued: AtomicUsize::new(0),
        });
        let answering = Arc::clone(&signer);
        let service = Service::start(Port::reserve(), move |stream| {
            wire::converse(&stream, |request| answer(&answering, &stream, request));
        });
        Self { service, signer, certificate }
    }

    /// Where a challenge sends its client.
    pub(crate) fn realm(&self) -> String {
        format!("{}/token", self.service.url())
    }

    /// A token to push with.
    pub(crate) fn push_token(&self, repository: &str) -> String {
        self.signer.sign(&json!([{ "type": "repository", "name": repository, "actions": ["pull", "push"] }]))
    }

    /// How many tokens were signed so far.
    pub(crate) fn issued(&self) -> usize {
        self.signer.issued.load(Ordering::SeqCst)
    }

    pub(crate) fn stop(&self) {
        self.service.stop();
    }
}

fn answer(signer: &Signer, stream: &TcpStream, request: &Request) -> bool {
    if request.path != "/token" || request.method != "GET" {
        return wire::reply(stream, 404, &[], b"");
    }
    let asked = request.parameter("scope").unwrap_or_default();
    let access: Vec<Value> = asked.split(' ').filter_map(pull).collect();
    let body = json!({ "token": signer.sign(&json!(access)), "expires_in": 300 });
    wire::reply(stream, 200, &[("Content-Type".into(), "application/json".into())], body.to_string().as_bytes())
}

/// Of what a scope asks, the right to pull.
fn pull(scope: &str) -> Option<Value> {
    let (name, _) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    Some(json!({ "type": "repository", "name": name, "actions": ["pull"] }))
}

impl Signer {
    fn sign(&self, access: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let claims = json!({
            "iss": ISSUER, "sub": "", "aud": SERVICE, "jti": number.to_string(),
            "iat": now, "nbf": now - 10, "exp": now + 300, "access": access,
        });
        let header = Header { x5c: Some(self.chain.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, &self.key).unwrap()
    }
}
