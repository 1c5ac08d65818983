//! Tokens of an external token service, compatible with `registry:2`: a valid token alone decides the permissions. Only
//! signatures by the configured keys are accepted, and only asymmetric algorithms.

use std::{
    collections::HashSet,
    fmt, fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header, Validation, decode, decode_header, jwk::JwkSet};
use moka::sync::Cache;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime, pem::PemObject as _};
use serde::Deserialize;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::{
    Caller, Error, Grants, Principal, Proof, TOKEN_CACHE_BYTES,
    keyed_hash::{HashKey, KeyedHash},
};
use crate::{
    config::{TokenService, explain},
    lanes::Blocking,
};

/// The tolerated clock skew, the same as in `registry:2`.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// The time that a verified signature is cached; the expiry is checked on each use.
const VERIFIED_TOKEN_TTL: Duration = Duration::from_secs(300);
/// The algorithms of `registry:2` that this program can verify.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The trusted keys, and the required issuer and audience.
pub struct ExternalTokens {
    issuer: String,
    service: String,
    algorithms: Vec<Algorithm>,
    /// Trusted certificates, accepted as signers and as roots of chains.
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
    /// Trusted public keys without a certificate.
    keys: Vec<DecodingKey>,
    key: HashKey,
    seen: Cache<KeyedHash, Arc<VerifiedExternalToken>>,
}

#[derive(Debug, Deserialize)]
struct ExternalClaims {
    #[serde(default)]
    sub: String,
    exp: u64,
    #[serde(default)]
    access: Option<Grants>,
}

#[derive(Debug)]
struct VerifiedExternalToken {
    who: Principal,
    exp: u64,
    grants: Arc<Grants>,
}

impl ExternalTokens {
    /// Reads the files with the trusted keys.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if a file cannot be used, [`Error::Invalid`] if no key or an unknown algorithm is
    /// configured, [`Error::NoRandom`] if the system provides no random bytes.
    pub fn open(io: &Blocking, config: &TokenService) -> Result<Self, Error> {
        let certificates =
            config.rootcertbundle.as_deref().map(|path| certificates(io, path)).transpose()?.unwrap_or_default();
        let anchors = certificates.iter().map(|cert| anchor_from_trusted_cert(cert).map(|anchor| anchor.to_owned()));
        let keys = config.jwks.as_deref().map(|path| keys(io, path)).transpose()?.unwrap_or_default();
        if certificates.is_empty() && keys.is_empty() {
            return Err(Error::Invalid(
                "auth.token names no certificate and no key, so that no token could be believed",
            ));
        }
        Ok(Self {
            issuer: config.issuer.clone(),
            service: config.service.clone(),
            algorithms: algorithms(&config.signingalgorithms)?,
            // A certificate that cannot be a root may still be the signer itself.
            anchors: anchors.filter_map(Result::ok).collect(),
            certificates,
            keys,
            key: HashKey::random()?,
            seen: Cache::builder()
                .max_capacity(TOKEN_CACHE_BYTES)
                .weigher(|_, seen: &Arc<VerifiedExternalToken>| seen.grants.weight())
                .time_to_live(VERIFIED_TOKEN_TTL)
                .build(),
        })
    }

    /// Returns the caller of a token. An invalid token gives a caller without valid proof.
    #[must_use]
    pub fn read(&self, token: &str) -> Caller {
        let Some(seen) = self.seen(token) else { return Caller::invalid() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs());
        let over_by = now.saturating_sub(seen.exp);
        if over_by > super::MAX_UPLOAD_DURATION.as_secs() {
            return Caller::invalid();
        }
        let proof = Proof::Token { grants: Arc::clone(&seen.grants), is_over: over_by > CLOCK_SKEW.as_secs() };
        Caller { who: seen.who.clone(), proof }
    }

    fn seen(&self, token: &str) -> Option<Arc<VerifiedExternalToken>> {
        let key = self.key.hash(&[token.as_bytes()]);
        if let Some(seen) = self.seen.get(&key) {
            return Some(seen);
        }
        let header = decode_header(token).ok().filter(|header| self.algorithms.contains(&header.alg))?;
        let claims = self.candidates(&header).into_iter().find_map(|key| self.claims(token, &header, &key))?;
        let who = if claims.sub.is_empty() { Principal::Anonymous } else { Principal::user(&claims.sub) };
        let grants = Arc::new(claims.access.unwrap_or_default());
        let seen = Arc::new(VerifiedExternalToken { who, exp: claims.exp, grants });
        self.seen.insert(key, Arc::clone(&seen));
        Some(seen)
    }

    fn claims(&self, token: &str, header: &Header, key: &DecodingKey) -> Option<ExternalClaims> {
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.service]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.leeway = CLOCK_SKEW.as_secs();
        validation.validate_nbf = true;
        // The result is cached, so the expiry is checked on each use instead.
        validation.validate_exp = false;
        decode::<ExternalClaims>(token, key, &validation).ok().map(|token| token.claims)
    }

    /// Returns the keys that may have signed: the one of the token's certificate chain if that is trusted, or else all
    /// configured ones. `kid` is only a hint, and not needed for a few keys.
    fn candidates(&self, header: &Header) -> Vec<DecodingKey> {
        let family = header.alg.family();
        match &header.x5c {
            Some(chain) if !chain.is_empty() => self.trusted_chain_key(chain, family).into_iter().collect(),
            _ => {
                let own = self.certificates.iter().filter_map(|certificate| public_key(certificate, family));
                own.chain(self.keys.iter().filter(|key| key.family() == family).cloned()).collect()
            }
        }
    }

    /// Returns the key of a chain's first certificate, if that is a trusted one or leads to one.
    fn trusted_chain_key(&self, chain: &[String], family: AlgorithmFamily) -> Option<DecodingKey> {
        let chain: Vec<CertificateDer<'static>> =
            chain.iter().map(|text| STANDARD.decode(text).ok().map(CertificateDer::from)).collect::<Option<_>>()?;
        let (leaf, intermediates) = chain.split_first()?;
        let is_named = self.certificates.contains(leaf);
        (is_named || self.leads_to_root(leaf, intermediates)).then(|| public_key(leaf, family))?
    }

    fn leads_to_root(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> bool {
        let Ok(certificate) = EndEntityCert::try_from(leaf) else { return false };
        [KeyUsage::server_auth(), KeyUsage::client_auth()].into_iter().any(|usage| {
            let algorithms = webpki::ALL_VERIFICATION_ALGS;
            let now = UnixTime::now();
            certificate.verify_for_usage(algorithms, &self.anchors, intermediates, now, usage, None, None).is_ok()
        })
    }
}

/// Returns the public key for signatures of one algorithm family.
fn public_key(certificate: &CertificateDer<'_>, family: AlgorithmFamily) -> Option<DecodingKey> {
    let key = EndEntityCert::try_from(certificate).ok()?.subject_public_key_info();
    match family {
        AlgorithmFamily::Rsa => Some(DecodingKey::from_rsa_der(&key)),
        AlgorithmFamily::Ec => Some(DecodingKey::from_ec_der(&key)),
        AlgorithmFamily::Ed => Some(DecodingKey::from_ed_der(&key)),
        AlgorithmFamily::Hmac => None,
    }
}

fn certificates(_io: &Blocking, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unusable = |why: String| Error::Untrusted { path: path.to_owned(), why };
    let pem = fs::read(path).map_err(|error| unusable(explain(path, &error)))?;
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| unusable(error.to_string()))?;
    if let Some(error) = all.iter().find_map(|certificate| EndEntityCert::try_from(certificate).err()) {
        return Err(unusable(error.to_string()));
    }
    if all.is_empty() { Err(unusable("it holds no certificate".into())) } else { Ok(all) }
}

/// Reads public keys. Shared secrets are refused, because anyone who can verify a token could forge one.
fn keys(_io: &Blocking, path: &Path) -> Result<Vec<DecodingKey>, Error> {
    let unusable = |why: String| Error::Untrusted { path: path.to_owned(), why };
    let text = fs::read(path).map_err(|error| unusable(explain(path, &error)))?;
    let set: JwkSet = serde_json::from_slice(&text).map_err(|error| unusable(io::Error::from(error).to_string()))?;
    let keys: Vec<_> = set
        .keys
        .iter()
        .map(DecodingKey::from_jwk)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(error.to_string()))?;
    let public: Vec<_> = keys.into_iter().filter(|key| key.family() != AlgorithmFamily::Hmac).collect();
    if public.is_empty() { Err(unusable("it holds no public key".into())) } else { Ok(public) }
}

/// Returns the configured algorithms, or all.
fn algorithms(named: &[String]) -> Result<Vec<Algorithm>, Error> {
    let known = |name: &String| name.parse().ok().filter(|algorithm| ALGORITHMS.contains(algorithm));
    let named: Option<HashSet<Algorithm>> = named.iter().map(known).collect();
    match named {
        None => Err(Error::Invalid(
            "auth.token.signingalgorithms may name RS256 to RS512, PS256 to PS512, ES256, ES384, EdDSA",
        )),
        Some(named) if named.is_empty() => Ok(ALGORITHMS.to_vec()),
        Some(named) => Ok(named.into_iter().collect()),
    }
}

impl fmt::Debug for ExternalTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalTokens")
            .field("issuer", &self.issuer)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
