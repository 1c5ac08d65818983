//! `entrepot import`: pushes the images of an archive into the running server.

mod archive;
mod archived_images;
mod docker_archive;
mod import_progress;
mod layer_digests;
mod layout;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use clap::Args;

use self::{
    archive::{Archive, InvalidArchive},
    archived_images::{ArchivedImage, ArchivedImages},
    import_progress::ImportProgress,
};
use super::{ConfigOptions, Failure, client};
use crate::{
    admin::{AdminRequest, AdminResponse, BlobSize, ImportRequest},
    config::StorageConfig,
    lanes::Blocking,
    oci::{Digest, InvalidImageName, MAX_MANIFEST_BYTES, RepositoryName, Tag},
    units::size as size_text,
};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct ImportOptions {
    /// An archive that `entrepot export`, `docker save`, podman or skopeo wrote; `-` is stdin.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Push the archive's only image here under this name.
    #[arg(long = "as", value_name = "NAME[:TAG]", value_parser = hosted_name)]
    rename: Option<HostedName>,
    #[command(flatten)]
    source: ConfigOptions,
}

/// A name in this registry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HostedName {
    name: RepositoryName,
    tag: Tag,
}

fn hosted_name(text: &str) -> Result<HostedName, InvalidImageName> {
    let (name, tag) = text.split_once(':').unwrap_or((text, "latest"));
    Ok(HostedName { name: name.parse()?, tag: tag.parse()? })
}

// Wrapped where it is shown.
pub(super) const HELP: &str = "\
The archive is an OCI image layout or a docker archive, as a tar. All of it is verified before anything is sent: \
of an archive that is truncated or altered, nothing is imported. The layers of a docker archive are compared with \
its configuration. Of an image for several platforms, those that are in the archive are imported into the cache; \
as a push, such an image is refused, unless validation.manifests.indexes.platforms lets platforms be missing.

Images keep their names. An image of one of the server's upstreams, such as docker.io/library/nginx:1, goes into \
the mirror's cache, as if the upstream had been asked when the archive was made, by the time within it: what the upstream says later \
wins, and it is served as long as the upstream cannot be reached. It may be evicted. An image that names no registry, or \
this server, is pushed, by the rules of pushes: a name that belongs to an upstream is denied. One of a registry \
that is not mirrored is refused; where nothing is mirrored, it is pushed. --as pushes an image under another name. \
A docker archive without an image layout (docker save before 25, podman save) has no manifests, and so cannot say \
what an upstream has: its images need --as.

Examples:
  entrepot import --data ./registry images.tar
  docker save my-app | entrepot import - --as team/my-app:1.0 --data ./registry

Exit codes: 0 all images are imported, 1 some are not, or no server runs, 2 it was asked wrongly.";

pub(super) fn run(io: &Blocking, options: ImportOptions) -> Result<(), Failure> {
    let ImportOptions { file, rename, source } = options;
    let config = source.load(io)?.config;
    client::check(io, &config.storage)?;
    let progress = ImportProgress::new();
    // As long as those that the server takes.
    let most = config.http.limits.manifest.unwrap_or(u64::MAX).max(MAX_MANIFEST_BYTES);
    let read = read(io, &file, rename, most, &progress);
    let (archive, images) = read.map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
    let mut failed = 0;
    for image in &images.images {
        progress.print_begin(&image.name());
        match send(io, &config.storage, &archive, &images, image, &progress) {
            Ok(line) => progress.print(&line),
            Err(Failure { message, .. }) => {
                failed += 1;
                progress.print_error(&format!("entrepot: {}: {message}", image.name()));
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::failed(format!("{failed} of {} images are not imported", images.images.len()))),
    }
}

/// Reads an archive, and verifies all of it.
fn read(
    io: &Blocking,
    file: &Path,
    rename: Option<HostedName>,
    most: u64,
    progress: &ImportProgress,
) -> Result<(Archive, ArchivedImages), InvalidArchive> {
    let archive = Archive::open(io, file, progress)?;
    progress.begin("verifying", archive.bytes());
    let mut images = match archive.has(archive::INDEX) {
        true => layout::read(io, &archive, most)?,
        false => docker_archive::read(io, &archive, most)?,
    };
    if let Some(HostedName { name, tag }) = rename {
        images.rename(&name, &tag)?;
    }
    images.verify(io, &archive)?;
    Ok((archive, images))
}

/// Sends an image to the server. Returns a line about it.
fn send(
    io: &Blocking,
    storage: &StorageConfig,
    archive: &Archive,
    images: &ArchivedImages,
    image: &ArchivedImage,
    progress: &ImportProgress,
) -> Result<String, Failure> {
    let size = |digest: &Digest| BlobSize { digest: digest.to_string(), bytes: images.size(digest) };
    let request = ImportRequest {
        domain: image.domain().map(ToString::to_string),
        name: image.repository.as_ref().map(|repository| repository.name.to_string()).unwrap_or_default(),
        tags: image.tag.iter().map(ToString::to_string).collect(),
        at: archive.time(),
        made: image.is_made,
        blobs: image.blobs.iter().map(size).collect(),
        manifests: image.manifests.iter().map(size).collect(),
    };
    let last = client::upload(io, storage, &AdminRequest::Import(request), |wanted, to| {
        let wanted: HashSet<_> = wanted.iter().collect();
        let blobs = image.blobs.iter().filter(|digest| wanted.contains(&digest.to_string()));
        let content: Vec<_> = blobs.chain(&image.manifests).collect();
        progress.begin(&image.name(), content.iter().map(|digest| images.size(digest)).sum());
        content.into_iter().try_for_each(|digest| images.copy(io, digest, archive, to))
    })?;
    let AdminResponse::Imported { repository, mirrored, sent, present } = last else {
        return Err(Failure::failed("the server is of another version"));
    };
    let place = if mirrored { "into the cache" } else { "as pushed" };
    let tag = image.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
    let without = match image.missing {
        0 => String::new(),
        missing => format!("; without {missing} of {} manifests of its index", image.listed),
    };
    let (sent, present) = (size_text(sent), size_text(present));
    Ok(format!("imported {repository}{tag} {place}: {sent} sent, {present} here already{without}"))
}
