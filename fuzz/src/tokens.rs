//! Tokens and their scopes.

use std::{
    fs, str,
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use entrepot::{
    access::{Access, AccessRules, Authenticator, ExternalTokens, Principal, Proof, Scope},
    config::{Auth, Config, Flags, TokenService},
    lanes::Blocking,
    oci::Action,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

const ISSUER: &str = "tokens.test";
const SERVICE: &str = "registry.test";

/// Entrepot's own token service, an external one, and the public key of the latter.
struct Services {
    own: Access,
    outside: ExternalTokens,
    sign: EncodingKey,
}

static SERVICES: LazyLock<Services> = LazyLock::new(|| build().expect("the token services"));

fn build() -> Option<Services> {
    let dir = tempfile::tempdir().ok()?;
    let (users, keys) = (dir.path().join("htpasswd"), dir.path().join("keys.json"));
    fs::write(&users, "ann:$2y$05$KQqOVKOCKXSdQ2fUYEAzkuUnV3K6A2IP2Z.xVAMSWsULWPUPCq4U.\n").ok()?;
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
    // Uncompressed: a marker byte, then both coordinates.
    let (x, y) = pair.public_key().as_ref().get(1..)?.split_at(32);
    let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
    fs::write(&keys, json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": x, "y": y }] }).to_string()).ok()?;
    let text = format!(
        "version: 0.1\nauth:\n  htpasswd: {{realm: r, path: {}}}\n  access: [{{who: anonymous, may: pull, where: '**'}}]",
        users.display()
    );
    let config = Config::parse(
        &Blocking::of_main_thread(),
        Some(("config.yml".as_ref(), text.as_bytes())),
        [],
        Flags::default(),
    )
    .ok()?
    .config;
    let Auth::Users(said) = config.auth.value() else { return None };
    let tasks = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().ok()?;
    let logins = Authenticator::open(&Blocking::of_main_thread(), &users, tasks.handle().clone()).ok()?;
    tasks.shutdown_background();
    let service = TokenService {
        realm: "https://tokens.test/".into(),
        service: SERVICE.into(),
        issuer: ISSUER.into(),
        rootcertbundle: None,
        jwks: Some(keys),
        signingalgorithms: Vec::new(),
        autoredirect: false,
        autoredirectpath: String::new(),
    };
    Some(Services {
        own: Access::of_users("r", logins, AccessRules::new(said), Duration::from_secs(60)).ok()?,
        outside: ExternalTokens::open(&Blocking::of_main_thread(), &service).ok()?,
        sign: EncodingKey::from_ec_der(pair.to_pkcs8v1().ok()?.as_ref()),
    })
}

/// A raw token without a valid signature; and claims with the external service's signature.
pub(super) fn token(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    for caller in [SERVICES.own.read_token(text), SERVICES.outside.read(text)] {
        assert!(matches!((caller.who, caller.proof), (Principal::Anonymous, Proof::Invalid)), "{text:?} is believed");
    }
    let Ok(claims) = serde_json::from_str::<Value>(text) else { return };
    let Ok(signed) = encode(&Header::new(Algorithm::ES256), &claims, &SERVICES.sign) else { return };
    let own = SERVICES.own.read_token(&signed);
    assert!(matches!(own.proof, Proof::Invalid), "{claims} is believed to be ours");
    let caller = SERVICES.outside.read(&signed);
    let is_alone =
        claims.as_object().is_some_and(|all| all.keys().all(|key| ["iss", "aud", "exp"].contains(&key.as_str())));
    if is_alone && claims["iss"] == ISSUER && claims["aud"] == SERVICE && claims["exp"].is_u64() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let lives = claims["exp"].as_u64().is_some_and(|until| until > now);
        assert_eq!(matches!(caller.proof, Proof::Token { is_over: false, .. }), lives, "{claims}");
    }
    if let Proof::Token { grants, is_over } = caller.proof {
        assert!(names(&claims["iss"], ISSUER) && names(&claims["aud"], SERVICE), "{claims} is for somebody else");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let until = claims["exp"].as_u64().unwrap_or_else(|| panic!("{claims} never ends"));
        assert!(is_over || until + 120 > now, "{claims} is over");
        assert!(claims["nbf"].as_u64().is_none_or(|from| from < now + 120), "{claims} has not begun");
        assert_eq!(caller.who.name().unwrap_or_default(), claims["sub"].as_str().unwrap_or_default());
        let app = "team/app".parse().expect("a name");
        let named = claims["access"].to_string().contains("\"team/app\"");
        assert!(named || !Action::ALL.iter().any(|action| grants.cover(&app, *action)), "{claims}");
    }
}

fn names(claim: &Value, wanted: &str) -> bool {
    claim == wanted || claim.as_array().is_some_and(|all| all.iter().any(|one| one == wanted))
}

/// Scopes of token requests.
pub(super) fn scope(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match Scope::parse(text) {
        Some(Scope::Catalog) => assert_eq!(text, "registry:catalog:*"),
        Some(Scope::Repository { name, actions }) => {
            let begin = format!("repository:{name}:");
            assert!(text.starts_with(&begin));
            let said: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
            let again = Scope::parse(&format!("{begin}{}", said.join(",")));
            assert_eq!(again, Some(Scope::Repository { name, actions }));
        }
        None => {}
    }
}
