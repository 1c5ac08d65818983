//! Tokens of our own service: what clients get who must be told "say who you are" and may turn out to be nobody (distribution's
//! token specification).
//!
//! A token carries who its bearer is and what it was asked for; the rules are asked again whenever it is used, so that it
//! never lets anybody do more than they may at that time. The key lives as long as the process: after a restart clients
//! are asked for a new token, and fetch one.

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
    AccessRules, Authenticator, Caller, Error, Grants, LONGEST_UPLOAD, Principal, Proof, Scope, TOKENS,
    keyed_hash::{HashKey, KeyedHash},
};

/// What `iss` and `aud` say, and what a challenge calls the service.
pub const SERVICE: &str = "entrepot";
/// More is nobody's honest request.
const MOST_SCOPES: usize = 100;

/// Makes tokens, and knows its own.
pub struct Tokens {
    sign: EncodingKey,
    verify: DecodingKey,
    lifetime: Duration,
    key: HashKey,
    seen: Cache<KeyedHash, Arc<Seen>>,
}

/// A token that was made.
#[derive(Debug)]
pub struct Issued {
    /// What to send as `Bearer`.
    pub token: String,
    /// How long it is good for.
    pub lifetime: Duration,
    /// From when.
    pub at: SystemTime,
}

#[derive(Debug, Serialize, Deserialize)]
struct TokenClaims {
    iss: String,
    aud: String,
    /// The user; empty for nobody in particular.
    sub: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    access: Grants,
    /// Stands for the user's password: a token does not outlive it.
    password: String,
}

/// A token whose signature was right.
#[derive(Debug)]
struct Seen {
    who: Principal,
    password: String,
    exp: u64,
    grants: Arc<Grants>,
}

impl Tokens {
    /// A service with a key of its own.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(lifetime: Duration) -> Result<Self, Error> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| Error::NoRandom)?;
        let secret = pair.to_pkcs8v1().map_err(|_| Error::NoRandom)?;
        Ok(Self {
            sign: EncodingKey::from_ec_der(secret.as_ref()),
            verify: DecodingKey::from_ec_der(pair.public_key().as_ref()),
            lifetime,
            key: HashKey::random()?,
            seen: Cache::builder()
                .max_capacity(TOKENS)
                .weigher(|_, seen: &Arc<Seen>| seen.grants.weight())
                .time_to_live(LONGEST_UPLOAD)
                .build(),
        })
    }

    /// Makes a token for as much of the scopes as the rules let its bearer have.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue(
        &self,
        who: &Principal,
        scopes: &[Scope],
        rules: &AccessRules,
        logins: &Authenticator,
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
            password: self.stands_for_password(who, logins).unwrap_or_default(),
        };
        let token = encode(&Header::new(Algorithm::ES256), &claims, &self.sign).map_err(|_| Error::Unsigned)?;
        Ok(Issued { token, lifetime: self.lifetime, at })
    }

    /// Who bears a token. One that is not ours, or whose user is no more or has another password, proves nothing.
    #[must_use]
    pub fn read(&self, token: &str, logins: &Authenticator) -> Caller {
        let Some(seen) = self.seen(token) else { return Caller::unproved() };
        let now = seconds(SystemTime::now());
        let is_still_user = self.stands_for_password(&seen.who, logins).as_deref() == Some(&seen.password);
        if !is_still_user || now > seen.exp + LONGEST_UPLOAD.as_secs() {
            return Caller::unproved();
        }
        let proof = Proof::Token { grants: Arc::clone(&seen.grants), is_over: now > seen.exp };
        Caller { who: seen.who.clone(), proof }
    }

    fn seen(&self, token: &str) -> Option<Arc<Seen>> {
        let key = self.key.hash(&[b"token", token.as_bytes()]);
        if let Some(seen) = self.seen.get(&key) {
            return Some(seen);
        }
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[SERVICE]);
        validation.set_audience(&[SERVICE]);
        // Looked at on every use, since this is remembered.
        validation.validate_exp = false;
        let claims = decode::<TokenClaims>(token, &self.verify, &validation).ok()?.claims;
        let who = if claims.sub.is_empty() { Principal::Anonymous } else { Principal::user(&claims.sub) };
        let (exp, grants) = (claims.exp, Arc::new(claims.access));
        let seen = Arc::new(Seen { who, password: claims.password, exp, grants });
        self.seen.insert(key, Arc::clone(&seen));
        Some(seen)
    }

    /// Nothing, where the user is no more.
    fn stands_for_password(&self, who: &Principal, logins: &Authenticator) -> Option<String> {
        let Some(name) = who.name() else { return Some(String::new()) };
        let hash = logins.users().hash_of(name)?.to_owned();
        let keyed = self.key.hash(&[b"password", name.as_bytes(), hash.as_bytes()]);
        Some(keyed[..16].iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// A name may be of more than one registry: the rules decide for the one that is meant when the token is used.
fn granted(who: &Principal, scopes: &[Scope], rules: &AccessRules) -> Grants {
    let mut grants = Grants::default();
    for scope in scopes.iter().take(MOST_SCOPES) {
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
