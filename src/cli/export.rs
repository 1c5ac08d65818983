//! `entrepot export`: writes images into an archive that docker, podman, skopeo and `entrepot import` read.

mod archive_file;
mod archive_writer;
mod exported_images;

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    path::PathBuf,
};

use clap::Args;

use self::{archive_file::ArchiveFile, archive_writer::ArchiveWriter, exported_images::ExportedImages};
use super::{
    ConfigOptions, Failure,
    client::{self, Received},
    image_list::ImageArguments,
    print_line,
};
use crate::{
    admin::{AdminRequest, AdminResponse},
    lanes::Blocking,
    oci::Digest,
    units::size,
};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct ExportOptions {
    #[command(flatten)]
    images: ImageArguments,
    /// The archive to write; without it, stdout.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    source: ConfigOptions,
}

// Wrapped where it is shown.
pub(super) const HELP: &str = "\
The archive is an OCI image layout with docker's manifest.json beside it: `docker load`, `podman load`, `ctr \
images import`, `skopeo copy docker-archive:FILE:NAME` and `oci-archive:FILE:TAG` read it (the latter finds an \
image of docker's own media types only without :TAG, if it is the only one). A layer that several images share \
is in it once. The running server reads the images, and fetches what is not here; every digest is verified while \
it is written. A file appears under its name only when it is whole, and nothing stays of one that is not; a pipe or \
a device is written to.

Of an image for several platforms, the one of this machine is written, or the one that --platform names. With \
`--platform all` the index is kept with all its platforms, and the image keeps its digest; `docker load` without \
the containerd image store then takes the one of this machine.

Examples:
  entrepot export --data ./registry nginx:1.27 org/app:2 --output images.tar
  entrepot export --data ./registry --file compose.yaml | ssh host docker load

Exit codes: 0 it is written, 1 it failed, or no server runs, 2 it was asked wrongly.";

pub(super) fn run(io: &Blocking, options: ExportOptions) -> Result<(), Failure> {
    let ExportOptions { images, output, source } = options;
    let (platforms, names) = (images.platforms(), images.images(io)?);
    if platforms.len() > 1 {
        return Err(Failure::usage("an archive has the images of one platform, or of all: --platform all"));
    }
    let config = source.load(io)?.config;
    let request = AdminRequest::Export { images: names.iter().map(ToString::to_string).collect(), platforms };
    let receive = |to: &mut dyn Write| write_archive(io, &config.storage, &request, to);
    match output {
        None if stdout().is_terminal() => {
            Err(Failure::usage("an archive is not written to a terminal: name a file with --output, or use a pipe"))
        }
        None => receive(&mut stdout().lock()).map(|_| ()),
        Some(path) => {
            let mut file = ArchiveFile::create(io, &path).map_err(Failure::failed)?;
            let bytes = receive(&mut file)?;
            file.publish(io).map_err(Failure::failed)?;
            print_line(&mut stderr(), &format!("wrote {} to {}", size(bytes), path.display()));
            Ok(())
        }
    }
}

/// Receives the content from the server and writes it. Returns the bytes written.
fn write_archive(
    io: &Blocking,
    storage: &crate::config::StorageConfig,
    request: &AdminRequest,
    to: &mut dyn Write,
) -> Result<u64, Failure> {
    let (mut writer, mut images) = (ArchiveWriter::new(to), ExportedImages::default());
    client::receive(io, storage, request, |received| match received {
        Received::Response(AdminResponse::Export(image)) => {
            images.add(image.clone());
            Ok(())
        }
        Received::Response(AdminResponse::BlobBegun { digest, bytes, manifest }) => {
            let digest: Digest = digest.parse().map_err(Failure::failed)?;
            if *manifest {
                return images.begin_manifest(digest, *bytes);
            }
            writer.write_head(&mut images).and_then(|()| writer.begin(digest, *bytes)).map_err(Failure::failed)
        }
        Received::Response(_) => Ok(()),
        Received::Chunk(bytes) if images.is_receiving() => {
            images.receive(bytes);
            Ok(())
        }
        Received::Chunk(bytes) => writer.take(bytes).map_err(Failure::failed),
    })?;
    let written = writer.write_head(&mut images).and_then(|()| writer.finish()).map_err(Failure::failed)?;
    for image in images.stale() {
        print_line(&mut stderr(), &format!("entrepot: {image}: the upstream cannot be asked whether it has moved"));
    }
    Ok(written)
}
