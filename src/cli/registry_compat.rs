//! The command line of `registry:2`, used if the binary is called by that name, so that existing scripts, units and
//! images keep working.

use std::{ffi::OsString, path::Path};

use clap::{ArgAction, Parser, Subcommand};

use super::{Command, ConfigArguments, garbage_collect};

/// Stores and distributes images, as registry:2 does.
#[derive(Debug, Parser)]
#[command(name = "registry", version = VERSION, disable_version_flag = true, arg_required_else_help = true)]
struct RegistryArguments {
    #[command(subcommand)]
    command: Subcommands,
    /// Print the version.
    #[arg(short, long, action = ArgAction::Version)]
    version: Option<bool>,
}

const VERSION: &str = concat!("(entrepot) ", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Serve, until SIGTERM or SIGINT.
    Serve(ConfigArguments),
    /// Remove what no manifest refers to.
    GarbageCollect(garbage_collect::GarbageCollectOptions),
}

/// Returns true if the program was called by a name of registry:2.
pub(super) fn is_meant(arguments: &[OsString]) -> bool {
    let called = arguments.first().and_then(|name| Path::new(name).file_name());
    called.is_some_and(|name| name == "registry" || name == "docker-registry")
}

/// A file without a command means `serve`, as in the entry point of the first registry:2 images.
pub(super) fn parse(mut arguments: Vec<OsString>) -> Result<Command, clap::Error> {
    if arguments.get(1).is_some_and(is_file) {
        arguments.insert(1, "serve".into());
    }
    Ok(match RegistryArguments::try_parse_from(arguments)?.command {
        Subcommands::Serve(source) => Command::Serve(source),
        Subcommands::GarbageCollect(options) => Command::GarbageCollect(options),
    })
}

fn is_file(argument: &OsString) -> bool {
    Path::new(argument).extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}
