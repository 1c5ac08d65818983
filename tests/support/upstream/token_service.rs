//! An external token service. In front of the real upstream it grants every pull, and the tests sign their own tokens
//! for pushes; in front of the server under test it has users.
//!
//! Tokens are ES256 with the certificate in `x5c`, which docker-registry 2.8 checks against its `rootcertbundle`.

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

use crate::support::{
    ports::Port,
    users::password,
    wire::{self, Request, Service},
};

pub(crate) const SERVICE: &str = "registry.test";
pub(crate) const ISSUER: &str = "tokens.test";

pub(crate) struct TokenService {
    service: Service,
    signer: Arc<Signer>,
    pub(crate) certificate: PathBuf,
}

/// Returns whether an anonymous client, or a user with the right password, may do this in the repository of that name.
type Rights = dyn Fn(Option<&str>, &str, &str) -> bool + Send + Sync;

struct Signer {
    rights: Box<Rights>,
    key: EncodingKey,
    chain: Vec<String>,
    issued: AtomicUsize,
}

impl TokenService {
    /// Grants every pull. Writes its certificate into `dir`.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::with_rights(dir, |_, _, action| action == "pull")
    }

    /// Has users with passwords ([`crate::support::users::password`]) and rights.
    pub(crate) fn with_rights(
        dir: &Path,
        rights: impl Fn(Option<&str>, &str, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        let made = rcgen::generate_simple_self_signed([ISSUER.to_owned()]).unwrap();
        let certificate = dir.join("tokens.pem");
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        let signer = Arc::new(Signer {
            rights: Box::new(rights),
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

    /// The realm of challenges.
    pub(crate) fn realm(&self) -> String {
        format!("{}/token", self.service.url())
    }

    /// A token to push with.
    pub(crate) fn push_token(&self, repository: &str) -> String {
        self.signer
            .sign(&json!([{ "type": "repository", "name": repository, "actions": ["pull", "push"] }]), &json!({}))
    }

    /// A token with this access, with some claims replaced; with `null` for those it must lack.
    pub(crate) fn sign(&self, access: &Value, other: &Value) -> String {
        self.signer.sign(access, other)
    }

    /// The number of tokens signed so far.
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
    let user = request.basic();
    if user.as_ref().is_some_and(|(user, said)| *said != password(user)) {
        return wire::reply(stream, 401, &[], b"{}");
    }
    let user = user.as_ref().map(|(user, _)| user.as_str());
    let scopes = url::form_urlencoded::parse(request.query.as_bytes()).filter(|(key, _)| key == "scope");
    let scopes: Vec<_> =
        scopes.flat_map(|(_, scopes)| scopes.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
    let access: Vec<Value> = scopes.iter().filter_map(|scope| signer.grant(user, scope)).collect();
    let body = json!({ "token": signer.sign(&json!(access), &json!({})), "expires_in": 300 });
    wire::reply(stream, 200, &[("Content-Type".into(), "application/json".into())], body.to_string().as_bytes())
}

impl Signer {
    /// The part of a scope that the user has a right to.
    fn grant(&self, user: Option<&str>, scope: &str) -> Option<Value> {
        let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
        let actions: Vec<_> = actions.split(',').filter(|action| (self.rights)(user, name, action)).collect();
        Some(json!({ "type": "repository", "name": name, "actions": actions }))
    }

    fn sign(&self, access: &Value, other: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let mut claims = json!({
            "iss": ISSUER, "sub": "", "aud": SERVICE, "jti": number.to_string(),
            "iat": now, "nbf": now - 10, "exp": now + 300, "access": access,
        });
        let all = claims.as_object_mut().unwrap();
        for (name, value) in other.as_object().unwrap() {
            all.remove(name);
            if !value.is_null() {
                all.insert(name.clone(), value.clone());
            }
        }
        let header = Header { x5c: Some(self.chain.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, &self.key).unwrap()
    }
}
