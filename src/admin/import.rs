//! Receives the content of an image from a client of the admin socket. The request lists all blobs; the response lists
//! those that are missing, and then the client sends these and the manifests, one after the other, without anything in
//! between.

use std::{
    collections::HashSet,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

use super::{
    AdminResponse,
    answers::Answers,
    image_messages::{BlobSize, ImportRequest},
};
use crate::{
    oci::{Digest, InvalidDigest, InvalidName, InvalidTag, MAX_MANIFEST_BYTES, Repository, Tag},
    registry::{Error, ImportWriter, ManifestImport, Registry, StoreResult},
};

/// The timeout for reading the next bytes.
const READ_TIMEOUT: Duration = Duration::from_secs(600);
/// The most bytes of one read.
const CHUNK_BYTES: u64 = 256 << 10;

/// The reason that an import ended early.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    /// The repository's name is invalid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A tag is invalid.
    #[error(transparent)]
    Tag(#[from] InvalidTag),
    /// A digest is invalid.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    /// The registry refuses it.
    #[error(transparent)]
    Registry(#[from] Error),
    /// The content did not arrive.
    #[error("the content did not arrive: {0}")]
    Read(#[from] io::Error),
    /// The archive has no manifest of an upstream's image.
    #[error(
        "a docker archive without an image layout does not have the manifest that {0} has: push it under a name of yours with --as"
    )]
    Made(String),
    /// The image is of a registry that is not mirrored.
    #[error("{0} is not mirrored here: add it to proxy.upstreams, or push the image under a name of yours with --as")]
    NotMirrored(String),
    /// The disk does not keep a manifest or a blob.
    #[error("{0} is not kept, for want of space: the server's log names the bound (storage.quota)")]
    NotKept(Digest),
    /// There is no manifest.
    #[error("it has no manifest")]
    NoManifest,
    /// A manifest is too long.
    #[error("manifest {digest} has {bytes} bytes, and may have {most} ({rule})")]
    LongManifest {
        /// The manifest.
        digest: Digest,
        /// Its length.
        bytes: u64,
        /// The longest one.
        most: u64,
        /// The bound's name.
        rule: &'static str,
    },
    /// An index names manifests that are not in the archive.
    #[error(
        "the archive does not have all that the image names, such as {0}: write it for one platform or with all of them (--platform), or let platforms be missing (validation.manifests.indexes.platforms)"
    )]
    Incomplete(Digest),
}

/// Executes a request to import an image.
pub(super) async fn serve(
    registry: &Arc<Registry>,
    request: &ImportRequest,
    content: &mut (impl AsyncRead + Unpin),
    answers: &Answers,
    longest_manifest: Option<u64>,
) {
    let imported = import(registry, request, content, answers, longest_manifest).await;
    let last = imported.unwrap_or_else(|error| AdminResponse::Failed { message: error.to_string() });
    answers.queue(last).await;
}

async fn import(
    registry: &Arc<Registry>,
    request: &ImportRequest,
    content: &mut (impl AsyncRead + Unpin),
    answers: &Answers,
    longest_manifest: Option<u64>,
) -> Result<AdminResponse, ImportError> {
    let tags = request.tags.iter().map(|tag| tag.parse()).collect::<Result<Vec<Tag>, _>>()?;
    let (blobs, manifests) = (sizes(&request.blobs)?, sizes(&request.manifests)?);
    let repository = target(registry, request).await?;
    check_manifests(&manifests, &repository, longest_manifest)?;
    let all: Vec<_> = blobs.iter().map(|(digest, _)| *digest).collect();
    let missing: HashSet<_> = registry.import_missing(&repository, &all).await?.into_iter().collect();
    let wanted = all.iter().filter(|digest| missing.contains(digest)).map(ToString::to_string).collect();
    answers.queue(AdminResponse::ImportWanted { blobs: wanted }).await;
    let (mut sent, mut present) = (0, 0_u64);
    for (digest, bytes) in &blobs {
        if !missing.contains(digest) {
            present = present.saturating_add(*bytes);
            continue;
        }
        let writer = registry.import_blob(&repository, *digest, *bytes).await?;
        receive(writer, *bytes, content).await?;
        sent += bytes;
    }
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(request.at)).unwrap_or(SystemTime::UNIX_EPOCH);
    for (place, (digest, bytes)) in (1..).zip(&manifests) {
        let document = read_document(content, *bytes).await?;
        let tags = if place == manifests.len() { tags.clone() } else { Vec::new() };
        let import = ManifestImport { digest: *digest, bytes: document, tags, at };
        match registry.import_manifest(&repository, import).await {
            Ok(StoreResult::Stored) => {}
            Ok(_) => return Err(ImportError::NotKept(*digest)),
            Err(Error::ManifestBlobUnknown(unknown)) => {
                return Err(ImportError::Incomplete(unknown.first().copied().unwrap_or(*digest)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if repository.domain.is_some() {
        // Storing the last blobs may have evicted the first ones.
        let lost = registry.import_missing(&repository, &all).await?;
        lost.first().map_or(Ok(()), |digest| Err(ImportError::NotKept(*digest)))?;
    }
    tracing::info!(%repository, sent, present, "image imported");
    Ok(imported(&repository, sent, present))
}

/// Returns the repository that an image goes to.
async fn target(registry: &Arc<Registry>, request: &ImportRequest) -> Result<Repository, ImportError> {
    let target = registry.import_target(request.domain.as_deref(), request.name.parse()?).await;
    let repository = target.map_err(|error| match error {
        Error::NotMirrored(domain) => ImportError::NotMirrored(domain),
        error => error.into(),
    })?;
    match &repository.domain {
        Some(domain) if request.made => Err(ImportError::Made(domain.to_string())),
        _ => Ok(repository),
    }
}

/// Checks the lengths of the manifests: those of a hosted image may be as long as pushed ones.
fn check_manifests(
    manifests: &[(Digest, u64)],
    repository: &Repository,
    longest_manifest: Option<u64>,
) -> Result<(), ImportError> {
    let (most, rule) = match &repository.domain {
        Some(_) => (MAX_MANIFEST_BYTES, "in an archive"),
        None => (longest_manifest.unwrap_or(u64::MAX), "http.limits.manifest"),
    };
    match manifests.iter().find(|(_, bytes)| *bytes > most) {
        _ if manifests.is_empty() => Err(ImportError::NoManifest),
        Some((digest, bytes)) => Err(ImportError::LongManifest { digest: *digest, bytes: *bytes, most, rule }),
        None => Ok(()),
    }
}

fn imported(repository: &Repository, sent: u64, present: u64) -> AdminResponse {
    AdminResponse::Imported { repository: repository.to_string(), mirrored: repository.domain.is_some(), sent, present }
}

fn sizes(blobs: &[BlobSize]) -> Result<Vec<(Digest, u64)>, InvalidDigest> {
    blobs.iter().map(|blob| Ok((blob.digest.parse()?, blob.bytes))).collect()
}

/// Receives a blob.
async fn receive(
    mut writer: ImportWriter,
    bytes: u64,
    content: &mut (impl AsyncRead + Unpin),
) -> Result<(), ImportError> {
    let mut left = bytes;
    while left > 0 {
        let chunk = read(content, left.min(CHUNK_BYTES)).await;
        let taken = match chunk {
            Ok(chunk) => {
                left -= chunk.len() as u64;
                writer.take(chunk).await.map_err(ImportError::from)
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = taken {
            writer.abandon();
            return Err(error);
        }
    }
    Ok(writer.commit().await?)
}

/// Receives a manifest. Its memory grows with what arrives.
async fn read_document(content: &mut (impl AsyncRead + Unpin), bytes: u64) -> io::Result<Bytes> {
    let mut document = Vec::new();
    let read = timeout(READ_TIMEOUT, content.take(bytes).read_to_end(&mut document)).await;
    match read.map_err(|_| io::ErrorKind::TimedOut)?? as u64 {
        read if read == bytes => Ok(document.into()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn read(content: &mut (impl AsyncRead + Unpin), bytes: u64) -> io::Result<Bytes> {
    let mut chunk = BytesMut::zeroed(usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?);
    timeout(READ_TIMEOUT, content.read_exact(&mut chunk)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    Ok(chunk.freeze())
}
