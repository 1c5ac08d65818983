//! The built-in token service: tokens for clients of a registry that allows both anonymous and authenticated requests
//! (distribution's token specification).
//!
//! A token carries its user and the requested scopes. The rules are checked again on each use, so a token never grants
//! more than its user may do at that time. The signing key lives as long as the process; after a restart clients fetch
//! a new token.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};

use super::{
    AccessRules, Authenticator, Caller, Error, Grants, MAX_UPLOAD_DURATION, Principal, Proof, Scope, TOKEN_CACHE_BYTES,
    keyed_hash::{HashKey, KeyedHash},
};

/// The issuer and audience of tokens, and the service in a challenge.
pub const SERVICE: &str = "entrepot";
/// The most scopes of a token; real clients request far fewer.
const MAX_SCOPES: usize = 100;

/// Issues and verifies tokens.
pub struct Tokens {
    sign: EncodingKey,
    verify: DecodingKey,
    lifetime: Duration,
    key: HashKey,
    seen: Cache<KeyedHash, Arc<VerifiedToken>>,
}

/// An issued token.
#[derive(Debug)]
pub struct Issued {
    /// The value to send as `Bearer`.
    pub token: String,
    /// The token's lifetime.
    pub lifetime: Duration,
    /// The time of issue.
    pub at: SystemTime,
}

#[derive(Debug, Serialize, Deserialize)]
struct TokenClaims {
    iss: String,
    aud: String,
    /// The user; empty for anonymous.
    sub: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    access: Grants,
    /// A keyed hash of the user's stored password hash, so that a changed password invalidates the token.
    password: String,
}

/// A token with a valid signature.
#[derive(Debug)]
struct VerifiedToken {
    who: Principal,
    password: String,
    exp: u64,
    grants: Arc<Grants>,
}

impl Tokens {
    /// Creates a service with a new key.
    ///
    /// # Errors
    /// [`Error::NoRandom`] if the system provides no random bytes.
    pub fn new(lifetime: Duration) -> Result<Self, Error> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| Error::NoRandom)?;
        let secret = pair.to_pkcs8v1().map_err(|_| Error::NoRandom)?;
        Ok(Self {
            sign: EncodingKey::from_ec_der(secret.as_ref()),
            verify: DecodingKey::from_ec_der(pair.public_key().as_ref()),
            lifetime,
            key: HashKey::random()?,
            seen: Cache::builder()
                .max_capacity(TOKEN_CACHE_BYTES)
                .weigher(|_, seen: &Arc<VerifiedToken>| seen.grants.weight())
                .time_to_live(MAX_UPLOAD_DURATION)
                .build(),
        })
    }

    /// Issues a token for those of the scopes that the rules grant.
    ///
    /// # Errors
    /// [`Error::Unsigned`] if signing fails.
    pub fn issue(
        &self,
        who: &Principal,
        scopes: &[Scope],
        rules: &AccessRules,
        authenticator: &Authenticator,
    ) -> Result<Issued, Error> {
        let at = SystemTime::now();
        let now = seconds(at);
        let claims = TokenClaims {
            iss: SERVICE.into(),
            aud: SERVICE.into(),
            sub: who.name().unwrap_or_default().into(),
            iat: now,
            nbf: now.saturating_sub(60),
            exp: now + self.lifetime.as_secs(),
            jti: uuid::Uuid::new_v4().to_string(),
            access: granted(who, scopes, rules),
            password: self.password_fingerprint(who, authenticator).unwrap_or_default(),
        };
        let token = encode(&Header::new(Algorithm::ES256), &claims, &self.sign).map_err(|_| Error::Unsigned)?;
        Ok(Issued { token, lifetime: self.lifetime, at })
    }

    /// Returns a token's caller. A foreign token, or one of a removed user or an old password, gives a caller without
    /// valid proof.
    #[must_use]
    pub fn read(&self, token: &str, authenticator: &Authenticator) -> Caller {
        let Some(seen) = self.seen(token) else { return Caller::invalid() };
        let now = seconds(SystemTime::now());
        let is_still_user = self.password_fingerprint(&seen.who, authenticator).as_deref() == Some(&seen.password);
        if !is_still_user || now > seen.exp + MAX_UPLOAD_DURATION.as_secs() {
            return Caller::invalid();
        }
        let proof = Proof::Token { grants: Arc::clone(&seen.grants), is_over: now > seen.exp };
        Caller { who: seen.who.clone(), proof }
    }

    fn seen(&self, token: &str) -> Option<Arc<VerifiedToken>> {
        let key = self.key.hash(&[b"token", token.as_bytes()]);
        if let Some(seen) = self.seen.get(&key) {
            return Some(seen);
        }
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[SERVICE]);
        validation.set_audience(&[SERVICE]);
        // The result is cached, so the expiry is checked on each use instead.
        validation.validate_exp = false;
        let claims = decode::<TokenClaims>(token, &self.verify, &validation).ok()?.claims;
        let who = if claims.sub.is_empty() { Principal::Anonymous } else { Principal::user(&claims.sub) };
        let (exp, grants) = (claims.exp, Arc::new(claims.access));
        let seen = Arc::new(VerifiedToken { who, password: claims.password, exp, grants });
        self.seen.insert(key, Arc::clone(&seen));
        Some(seen)
    }

    /// Returns `None` if the user no longer exists.
    fn password_fingerprint(&self, who: &Principal, authenticator: &Authenticator) -> Option<String> {
        let Some(name) = who.name() else { return Some(String::new()) };
        let hash = authenticator.users().hash_of(name)?.to_owned();
        let keyed = self.key.hash(&[b"password", name.as_bytes(), hash.as_bytes()]);
        Some(keyed[..16].iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Returns the grants. A name may exist in several registries: the rules decide again for the actual one on each use.
fn granted(who: &Principal, scopes: &[Scope], rules: &AccessRules) -> Grants {
    let mut grants = Grants::default();
    for scope in scopes.iter().take(MAX_SCOPES) {
        match scope {
            Scope::Catalog => grants.allow_catalog(),
            Scope::Repository { name, actions } => {
                let allowed = actions.iter().copied().filter(|action| rules.allow_somewhere(who, *action, name));
                grants.allow(name, &allowed.collect::<Vec<_>>());
            }
        }
    }
    grants
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}
