//! The keys below `storage.s3`, those of `registry:2` and Entrepot extensions. They are not in the table of all keys
//! yet, since the driver is refused.

use super::{
    key::{
        Effect::NoEffect,
        Key,
        ValueKind::{Bytes, Choice, Flag, Integer, Path, Size, Text, Url},
    },
    used_keys::used,
};

/// As in `registry:2`.
pub(super) const STORAGE_CLASSES: [&str; 8] = [
    "NONE",
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "OUTPOSTS",
    "GLACIER_IR",
];
/// S3's canned access control lists.
pub(super) const CANNED_ACLS: [&str; 7] = [
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
];
const OWN_LOG: &str = "requests to the bucket are logged as all else is, by log.level";

pub(super) const S3_ACCESS_KEY: Key = used("storage.s3.accesskey", Text, "", "The id of the access key.");
pub(super) const S3_SECRET_KEY: Key =
    Key { secret: true, ..used("storage.s3.secretkey", Text, "", "The secret of the access key.") };
pub(super) const S3_SECRET_KEY_FILE: Key =
    used("storage.s3.secretkeyfile", Path, "", "A file with the secret of the access key alone. Extension.");
pub(super) const S3_SESSION_TOKEN: Key =
    Key { secret: true, ..used("storage.s3.sessiontoken", Text, "", "The token of temporary credentials.") };
pub(super) const S3_REGION: Key = used("storage.s3.region", Text, "", "The region of the bucket.");
pub(super) const S3_REGION_ENDPOINT: Key =
    used("storage.s3.regionendpoint", Url, "", "The URL, or host and port, of a compatible service.");
pub(super) const S3_FORCE_PATH_STYLE: Key = used(
    "storage.s3.forcepathstyle",
    Flag,
    "",
    "Names the bucket in the path instead of the host. Unset: true where `regionendpoint` is set.",
);
pub(super) const S3_BUCKET: Key = used("storage.s3.bucket", Text, "", "The name of the bucket.");
pub(super) const S3_ROOT_DIRECTORY: Key =
    used("storage.s3.rootdirectory", Text, "", "The beginning of every key in the bucket.");
pub(super) const S3_ENCRYPT: Key = used("storage.s3.encrypt", Flag, "false", "Asks the service to encrypt objects.");
pub(super) const S3_KEY_ID: Key =
    used("storage.s3.keyid", Text, "", "The KMS key of the encryption. Unset: the service's own.");
pub(super) const S3_SECURE: Key =
    used("storage.s3.secure", Flag, "true", "Speaks TLS where `regionendpoint` names no scheme.");
pub(super) const S3_SKIP_VERIFY: Key =
    used("storage.s3.skipverify", Flag, "false", "Accepts any certificate of the service.");
pub(super) const S3_V4_AUTH: Key =
    used("storage.s3.v4auth", Flag, "true", "Signs by version 4, the only one that there is here.");
pub(super) const S3_CHUNK_SIZE: Key =
    used("storage.s3.chunksize", Bytes, "10MiB", "The size of the parts of an upload, 5MiB to 5GiB.");
pub(super) const S3_COPY_CHUNK_SIZE: Key =
    used("storage.s3.multipartcopychunksize", Bytes, "32MiB", "The size of the parts of a copy, 5MiB to 5GiB.");
pub(super) const S3_COPY_CONCURRENCY: Key =
    used("storage.s3.multipartcopymaxconcurrency", Integer, "100", "The most parts of a copy at a time.");
pub(super) const S3_COPY_THRESHOLD: Key = used(
    "storage.s3.multipartcopythresholdsize",
    Bytes,
    "32MiB",
    "The size from which objects are copied in parts, at most 5GiB.",
);
pub(super) const S3_STORAGE_CLASS: Key =
    used("storage.s3.storageclass", Choice(&STORAGE_CLASSES), "STANDARD", "The class of objects; NONE: names none.");
pub(super) const S3_OBJECT_ACL: Key =
    used("storage.s3.objectacl", Choice(&CANNED_ACLS), "private", "The access control list of objects.");
pub(super) const S3_USER_AGENT: Key =
    used("storage.s3.useragent", Text, "", "The User-Agent of requests. Unset: this program's.");
pub(super) const S3_ACCELERATE: Key =
    used("storage.s3.accelerate", Flag, "false", "Uses the accelerated endpoint of Amazon's.");
pub(super) const S3_DUAL_STACK: Key =
    used("storage.s3.usedualstack", Flag, "false", "Uses the endpoint of Amazon's that has IPv6.");
pub(super) const S3_MIRROR_QUOTA: Key =
    used("storage.s3.mirrorquota", Size, "", "The limit of mirrored content in the bucket. Extension.");
pub(super) const S3_LOG_LEVEL: Key = Key {
    effect: NoEffect(OWN_LOG),
    ..used("storage.s3.loglevel", Text, "off", "The log of the requests to the bucket.")
};

/// All keys of the section.
pub(super) static S3_KEYS: [&Key; 25] = [
    &S3_ACCESS_KEY,
    &S3_SECRET_KEY,
    &S3_SECRET_KEY_FILE,
    &S3_SESSION_TOKEN,
    &S3_REGION,
    &S3_REGION_ENDPOINT,
    &S3_FORCE_PATH_STYLE,
    &S3_BUCKET,
    &S3_ROOT_DIRECTORY,
    &S3_ENCRYPT,
    &S3_KEY_ID,
    &S3_SECURE,
    &S3_SKIP_VERIFY,
    &S3_V4_AUTH,
    &S3_CHUNK_SIZE,
    &S3_COPY_CHUNK_SIZE,
    &S3_COPY_CONCURRENCY,
    &S3_COPY_THRESHOLD,
    &S3_STORAGE_CLASS,
    &S3_OBJECT_ACL,
    &S3_USER_AGENT,
    &S3_ACCELERATE,
    &S3_DUAL_STACK,
    &S3_MIRROR_QUOTA,
    &S3_LOG_LEVEL,
];
