//! The section `storage.s3`: a bucket and the access to it, by the keys of `registry:2`.
//!
//! [`Config::load`] refuses the section until the driver exists; [`Config::s3`] reads it.

use std::path::{Path, PathBuf};

use url::Url;

use super::{
    Config, Error, Secret, Setting, SizeBound, Warning, account,
    key::{self, Effect, Key, ValueKind},
    lookup::distance,
    node::{Node, Value},
    read, size, tree,
    urls::plain_url,
    used_s3_keys::{
        S3_ACCELERATE, S3_ACCESS_KEY, S3_BUCKET, S3_CHUNK_SIZE, S3_COPY_CHUNK_SIZE, S3_COPY_CONCURRENCY,
        S3_COPY_THRESHOLD, S3_DUAL_STACK, S3_ENCRYPT, S3_FORCE_PATH_STYLE, S3_KEY_ID, S3_KEYS, S3_MIRROR_QUOTA,
        S3_OBJECT_ACL, S3_REGION, S3_REGION_ENDPOINT, S3_ROOT_DIRECTORY, S3_SECRET_KEY, S3_SECRET_KEY_FILE, S3_SECURE,
        S3_SESSION_TOKEN, S3_SKIP_VERIFY, S3_STORAGE_CLASS, S3_USER_AGENT, S3_V4_AUTH,
    },
    variables,
};
use crate::lanes::Blocking;

const MIB: u64 = 1 << 20;
/// The smallest part that S3 takes, but for the last of an object.
const MIN_PART: u64 = 5 * MIB;
/// The largest part that S3 takes, and the largest object that one request copies.
const MAX_PART: u64 = 5 << 30;

/// The settings of a bucket.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// `storage.s3.bucket`.
    pub bucket: Setting<String>,
    /// `storage.s3.region`.
    pub region: Setting<String>,
    /// `storage.s3.regionendpoint`, with the scheme that `storage.s3.secure` gives it; `None` is Amazon's own.
    pub endpoint: Setting<Option<Url>>,
    /// `storage.s3.forcepathstyle`: the bucket is named in the path, not in the host.
    pub path_style: bool,
    /// `storage.s3.rootdirectory`, without slashes at its ends.
    pub root: Setting<String>,
    /// The access key.
    pub credentials: S3Credentials,
    /// `storage.s3.encrypt` and `storage.s3.keyid`.
    pub encryption: S3Encryption,
    /// `storage.s3.secure`: true if Amazon's own endpoint is asked over TLS.
    pub secure: Setting<bool>,
    /// `storage.s3.skipverify`: any certificate is accepted.
    pub skipverify: Setting<bool>,
    /// `storage.s3.chunksize`: the bytes of a part of an upload.
    pub chunksize: Setting<u64>,
    /// The copies within the bucket.
    pub copy: S3Copy,
    /// `storage.s3.storageclass`; `None` leaves it to the bucket.
    pub storageclass: Setting<Option<String>>,
    /// `storage.s3.objectacl`.
    pub objectacl: Setting<String>,
    /// `storage.s3.useragent`.
    pub useragent: Setting<Option<String>>,
    /// `storage.s3.accelerate`.
    pub accelerate: Setting<bool>,
    /// `storage.s3.usedualstack`.
    pub usedualstack: Setting<bool>,
    /// `storage.s3.mirrorquota`: the limit of mirrored content in the bucket.
    pub mirrorquota: Setting<Option<SizeBound>>,
}

/// An access key: of the section, or of the variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
/// `AWS_SESSION_TOKEN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Credentials {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
    /// The token of temporary credentials.
    pub token: Option<Secret>,
}

/// The encryption of objects by the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum S3Encryption {
    /// None is asked for.
    Default,
    /// By keys of S3's own.
    Aes256,
    /// By this key of KMS.
    Kms(String),
}

/// The copies within a bucket.
#[derive(Clone, Debug)]
pub struct S3Copy {
    /// `storage.s3.multipartcopychunksize`: the bytes of a part.
    pub chunksize: Setting<u64>,
    /// `storage.s3.multipartcopymaxconcurrency`: the most parts at a time.
    pub concurrency: Setting<usize>,
    /// `storage.s3.multipartcopythresholdsize`: the bytes from which an object is copied in parts.
    pub threshold: Setting<u64>,
}

impl Config {
    /// Reads the section `storage.s3` (or `storage.s3aws`), which [`Config::load`] refuses; `None` if there is none.
    /// The caller passes the whole environment.
    ///
    /// # Errors
    /// [`Error::Unreadable`] or [`Error::Form`] if the file cannot be read or is not YAML, [`Error::UnknownKey`] and
    /// [`Error::Value`] for a wrong key or value of the section.
    pub fn s3(
        io: &Blocking,
        file: Option<&Path>,
        environment: &[(String, String)],
    ) -> Result<Option<(S3Config, Vec<Warning>)>, Error> {
        let bytes = file.map(|path| read(io, path).map(|bytes| (path, bytes))).transpose()?;
        let mut root = bytes.map_or_else(|| Ok(Node::empty()), |(path, bytes)| tree(path, &bytes))?;
        variables::apply(&mut root, environment.iter().cloned())?;
        let Some(root) = section(&root)? else { return Ok(None) };
        let warnings = check(&root)?;
        Ok(Some((S3Config::read(io, &root, environment)?, warnings)))
    }
}

impl S3Config {
    fn read(io: &Blocking, root: &Node, environment: &[(String, String)]) -> Result<Self, Error> {
        signature(root)?;
        let secure = Setting::read(root, &S3_SECURE, key::flag)?;
        let endpoint = endpoint(root, *secure)?;
        let path_style = Setting::read_optional(root, &S3_FORCE_PATH_STYLE, key::flag)?;
        Ok(Self {
            bucket: required(root, &S3_BUCKET, "the name of a bucket")?,
            region: required(root, &S3_REGION, "a region such as us-east-1; a compatible service takes any")?,
            path_style: path_style.unwrap_or(endpoint.is_some()),
            accelerate: amazon_only(root, &S3_ACCELERATE, &endpoint)?,
            usedualstack: amazon_only(root, &S3_DUAL_STACK, &endpoint)?,
            endpoint,
            root: Setting::read(root, &S3_ROOT_DIRECTORY, |text| Some(text.trim_matches('/').to_owned()))?,
            credentials: S3Credentials::read(io, root, environment)?,
            encryption: S3Encryption::read(root)?,
            secure,
            skipverify: Setting::read(root, &S3_SKIP_VERIFY, key::flag)?,
            chunksize: part(root, &S3_CHUNK_SIZE)?,
            copy: S3Copy::read(root)?,
            storageclass: storage_class(root)?,
            objectacl: word(root, &S3_OBJECT_ACL)?,
            useragent: Setting::read_optional(root, &S3_USER_AGENT, user_agent)?,
            mirrorquota: Setting::read_optional(root, &S3_MIRROR_QUOTA, SizeBound::parse)?,
        })
    }
}

impl S3Credentials {
    fn read(io: &Blocking, root: &Node, environment: &[(String, String)]) -> Result<Self, Error> {
        let id = Setting::read_optional(root, &S3_ACCESS_KEY, |text| Some(text.to_owned()))?;
        let file = Setting::read_optional(root, &S3_SECRET_KEY_FILE, |text| Some(PathBuf::from(text)))?;
        let secret = Setting::read_optional(root, &S3_SECRET_KEY, |text| Some(Secret::new(text)))?;
        let secret = account::with_file(io, secret, &file)?;
        let token = Setting::read_optional(root, &S3_SESSION_TOKEN, |text| Some(Secret::new(text)))?;
        match (id.value(), secret.value()) {
            (Some(name), Some(secret)) => {
                Ok(Self { id: name.clone(), secret: secret.clone(), token: token.value().clone() })
            }
            (Some(_), None) => {
                Err(id.error(format!("{} or {} beside it", S3_SECRET_KEY.path, S3_SECRET_KEY_FILE.path)))
            }
            (None, Some(_)) => Err(secret.error(format!("{} beside it", id.key().path))),
            (None, None) if token.is_some() => Err(token.error(format!("{} beside it", id.key().path))),
            (None, None) => Self::of_environment(environment).ok_or_else(|| id.error(KEYS_OR_VARIABLES)),
        }
    }

    fn of_environment(environment: &[(String, String)]) -> Option<Self> {
        let variable = |wanted| {
            let found = environment.iter().find(|(name, text)| name == wanted && !text.is_empty());
            found.map(|(_, text)| text.as_str())
        };
        Some(Self {
            id: variable("AWS_ACCESS_KEY_ID")?.to_owned(),
            secret: Secret::new(variable("AWS_SECRET_ACCESS_KEY")?),
            token: variable("AWS_SESSION_TOKEN").map(Secret::new),
        })
    }
}

const KEYS_OR_VARIABLES: &str = "an access key here, or in the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; \
    this program asks no metadata service for the role of a machine";

impl S3Encryption {
    fn read(root: &Node) -> Result<Self, Error> {
        let encrypt = Setting::read(root, &S3_ENCRYPT, key::flag)?;
        let id = Setting::read_optional(root, &S3_KEY_ID, |text| Some(text.to_owned()))?;
        match (*encrypt, id.value()) {
            (false, Some(_)) => Err(id.error(format!("{}: true beside it", encrypt.key().path))),
            (false, None) => Ok(Self::Default),
            (true, None) => Ok(Self::Aes256),
            (true, Some(id)) => Ok(Self::Kms(id.clone())),
        }
    }
}

impl S3Copy {
    fn read(root: &Node) -> Result<Self, Error> {
        let threshold = Setting::read(root, &S3_COPY_THRESHOLD, size::bytes)?;
        if *threshold > MAX_PART {
            return Err(threshold.error("5GiB or less, since no request copies more"));
        }
        let concurrency: Setting<usize> = Setting::read(root, &S3_COPY_CONCURRENCY, |text| text.parse().ok())?;
        if *concurrency == 0 {
            return Err(concurrency.error("1 or more"));
        }
        Ok(Self { chunksize: part(root, &S3_COPY_CHUNK_SIZE)?, concurrency, threshold })
    }
}

/// Returns a tree with the section alone, under the name `storage.s3`.
fn section(root: &Node) -> Result<Option<Node>, Error> {
    let [s3, s3aws] = ["storage.s3", "storage.s3aws"].map(|path| root.get(path));
    if let (Some(_), Some(other)) = (s3, s3aws) {
        let problem = "storage.s3aws stands beside storage.s3, which is the same".to_owned();
        return Err(Error::Form { origin: other.origin.clone(), problem });
    }
    Ok(s3.or(s3aws).map(|found| {
        let mut alone = Node::empty();
        alone.set(&["storage".to_owned(), "s3".to_owned()], found.clone());
        alone
    }))
}

/// Checks the names of the keys, and returns warnings for those without effect.
fn check(root: &Node) -> Result<Vec<Warning>, Error> {
    let Some(section) = root.get("storage.s3") else { return Ok(Vec::new()) };
    let entries = match &section.value {
        Value::Map(entries) => entries.as_slice(),
        Value::Null => &[],
        Value::Text(_) | Value::List(_) => return Err(Error::section("storage.s3", section)),
    };
    let mut warnings = Vec::new();
    for (name, node) in entries {
        let path = format!("storage.s3.{name}");
        let Some(key) = S3_KEYS.iter().find(|key| key.path == path) else { return Err(unknown(path, node)) };
        if let (Effect::NoEffect(why), false) = (key.effect, node.is_blank()) {
            warnings.push(Warning::new(&node.origin, format!("{path} has no effect here: {why}")));
        }
    }
    Ok(warnings)
}

fn unknown(key: String, node: &Node) -> Error {
    let lower = key.to_lowercase();
    let near = S3_KEYS.iter().map(|known| (distance(&lower, known.path), known.path));
    let suggestion = near.filter(|(slips, _)| *slips <= 2).min().map(|(_, path)| path.to_owned());
    Error::UnknownKey { origin: node.origin.clone(), suggestion, key }
}

/// Reads the endpoint. `secure` says what a host without a scheme speaks.
fn endpoint(root: &Node, secure: bool) -> Result<Setting<Option<Url>>, Error> {
    let Some((text, origin)) = root.text(&S3_REGION_ENDPOINT)? else {
        return Ok(Setting::default(&S3_REGION_ENDPOINT, None));
    };
    let scheme = if secure { "https" } else { "http" };
    let url = if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") };
    let is_plain = |url: &Url| url.path() == "/" && url.username().is_empty();
    let expected = || "the URL of a service, such as https://s3.example or minio:9000, without a path";
    let url = plain_url(&url).filter(is_plain);
    let url = url.ok_or_else(|| Error::value(&S3_REGION_ENDPOINT, origin, text, expected()))?;
    Ok(Setting::new(&S3_REGION_ENDPOINT, Some(url), text, origin.clone()))
}

/// Reads a key that must be set.
fn required(root: &Node, key: &'static Key, expected: &str) -> Result<Setting<String>, Error> {
    let value = Setting::read(root, key, |text| Some(text.to_owned()))?;
    let is_name = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c == '/');
    if is_name { Ok(value) } else { Err(value.error(expected)) }
}

/// Reads a flag that only Amazon's own endpoints have a meaning for.
fn amazon_only(root: &Node, key: &'static Key, endpoint: &Setting<Option<Url>>) -> Result<Setting<bool>, Error> {
    let flag = Setting::read(root, key, key::flag)?;
    if *flag && endpoint.is_some() {
        return Err(flag.error(format!("no {} beside it", endpoint.key().path)));
    }
    Ok(flag)
}

fn signature(root: &Node) -> Result<(), Error> {
    let v4auth = Setting::read(root, &S3_V4_AUTH, key::flag)?;
    if *v4auth { Ok(()) } else { Err(v4auth.error("true: there is no older signature here")) }
}

/// Reads the size of a part.
fn part(root: &Node, key: &'static Key) -> Result<Setting<u64>, Error> {
    let size = Setting::read(root, key, size::bytes)?;
    if (MIN_PART..=MAX_PART).contains(&*size) { Ok(size) } else { Err(size.error("5MiB to 5GiB")) }
}

/// Reads one of the words of the key, in the case that `registry:2` has.
fn word(root: &Node, key: &'static Key) -> Result<Setting<String>, Error> {
    let word = Setting::read(root, key, |text| Some(text.to_owned()))?;
    match key.kind {
        ValueKind::Choice(words) if !words.contains(&word.as_str()) => Err(word.error(key.kind.expected())),
        _ => Ok(word),
    }
}

fn storage_class(root: &Node) -> Result<Setting<Option<String>>, Error> {
    let class = word(root, &S3_STORAGE_CLASS)?;
    let named = (*class != "NONE").then(|| class.value().clone());
    Ok(class.with(named))
}

fn user_agent(text: &str) -> Option<String> {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte)).then(|| text.to_owned())
}
