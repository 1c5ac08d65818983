//! The command line, one file for each command. `serve` is the composition root: the only place that assembles the
//! server and starts background jobs.

mod access;
mod bar_style;
mod bounds;
mod client;
mod completions;
mod config;
mod content_lines;
mod du;
mod evict;
mod export;
mod garbage_collect;
mod gc;
mod health;
mod htpasswd;
mod image_list;
mod import;
mod list;
mod listeners;
mod logging;
mod notifications;
mod own_certificate;
mod pin;
mod purge;
mod refresh;
mod registry_compat;
mod reload;
mod report;
mod retention;
mod rm;
mod scheduler;
mod serve;
mod simulate;
mod startup_log;
mod supervise;
mod upstreams;
mod verify;
mod volume;
mod warm;
mod why;

use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{config::FILE_VARIABLE, lanes::Blocking};

/// The exit code for a wrong command line or configuration.
const EXIT_USAGE: u8 = 2;

/// A mirror of Docker Hub and a registry of your own, in one directory.
#[derive(Debug, Parser)]
#[command(name = "entrepot", version, about, long_about = LONG, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const LONG: &str = "A pull-through mirror of Docker Hub and a private registry at once, on one port, over one directory. It \
                    takes registry:2's volume, configuration file and REGISTRY_* variables, and needs none of them.";

const EXAMPLES: &str = "\
Examples:
  entrepot serve --data ./registry
      mirror Docker Hub on port 5000, keeping what is pulled in ./registry;
      then put  \"registry-mirrors\": [\"http://127.0.0.1:5000\"]  into /etc/docker/daemon.json
  REGISTRY_PROXY_USERNAME=me REGISTRY_PROXY_PASSWORD=secret entrepot serve
      the same with an account, which has a higher pull limit, in /var/lib/registry
  entrepot gc --untagged --dry-run --data ./registry
      list what no tag reaches any more; without --dry-run, remove it, whether or not a server runs
  entrepot warm --data ./registry --file compose.yaml
      fetch the images of a compose file before anybody pulls them
  entrepot du --data ./registry
      what fills the disk, by upstream, repository and, with --tags, tag
  entrepot list 'team/**' --data ./registry
      the tags of everything below team/; entrepot why team/app:1 says more of one
  entrepot htpasswd ann --file /auth/htpasswd
      let ann log in, with a password that it asks for (auth.htpasswd.path)
  entrepot config /etc/docker/registry/config.yml
      what that file, the variables and the defaults add up to

Exit codes: 0 all is well, 1 it failed, 2 it was asked wrongly (command line or configuration),
3 something that was pushed is damaged (verify).";

#[derive(Debug, PartialEq, Subcommand)]
enum Command {
    /// Serve, until SIGTERM or SIGINT.
    #[command(after_help = SERVE_HELP)]
    Serve(ConfigArguments),
    /// Print the effective configuration as YAML, secrets masked, and warnings to stderr.
    Config(ConfigArguments),
    /// Ask the rules about users.
    #[command(subcommand)]
    Access(access::AccessCommand),
    /// Make a line for the file of users: asks for the password, or reads it from a pipe.
    Htpasswd(htpasswd::HtpasswdOptions),
    /// Replay a log of pulls under several eviction policies, at several sizes of cache.
    #[command(long_about = simulate::LONG, after_help = simulate::HELP)]
    Simulate(simulate::SimulateOptions),
    /// Remove what nothing reaches, while the server runs or without one.
    #[command(after_help = gc::HELP)]
    Gc(gc::GcOptions),
    /// Remove the pushed tags that no rule of the configuration keeps.
    #[command(after_help = retention::HELP)]
    Retention(retention::RetentionOptions),
    /// Remove a repository that was pushed here and free its name, or remove one of its tags.
    #[command(after_help = rm::HELP)]
    Rm(rm::RmOptions),
    /// Fetch images into the running server's cache ahead of their pulls.
    #[command(after_help = warm::HELP)]
    Warm(warm::WarmOptions),
    /// Write images into an archive for docker, podman, skopeo, or another Entrepot.
    #[command(after_help = export::HELP)]
    Export(export::ExportOptions),
    /// Push the images of an archive, or put them into the mirror's cache.
    #[command(after_help = import::HELP)]
    Import(import::ImportOptions),
    /// Count what fills the disk: by upstream, repository and tag.
    #[command(after_help = du::HELP)]
    Du(du::DuOptions),
    /// List repositories and tags: hosted and mirrored, with size, last use, age and state.
    #[command(after_help = list::HELP)]
    List(list::ListOptions),
    /// Say why an image is here or not, and what a pull of it would cost.
    #[command(after_help = why::HELP)]
    Why(why::WhyOptions),
    /// Remove mirrored images from the cache, so that the next pull asks the upstream.
    #[command(after_help = purge::HELP)]
    Purge(purge::PurgeOptions),
    /// Ask upstreams about tags now, however fresh the last answers are.
    #[command(after_help = refresh::HELP)]
    Refresh(refresh::RefreshOptions),
    /// Keep mirrored repositories from eviction, or list what is kept so.
    #[command(after_help = pin::HELP)]
    Pin(pin::PinOptions),
    /// Let pinned repositories be evicted again.
    #[command(after_help = pin::HELP)]
    Unpin(pin::UnpinOptions),
    /// Evict mirrored content until no more than a given size is stored.
    #[command(after_help = evict::HELP)]
    Evict(evict::EvictOptions),
    /// Hash what is stored again; name what is damaged, and heal what can be healed.
    #[command(after_help = verify::HELP)]
    Verify(verify::VerifyOptions),
    /// Ask the server that has this configuration whether it is alive.
    Health(ConfigArguments),
    /// Print what a shell needs to complete this command line: bash, zsh or fish.
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(completions::CompletionsOptions),
    /// `gc`, as registry:2 spells it.
    #[command(hide = true)]
    GarbageCollect(garbage_collect::GarbageCollectOptions),
}

const SERVE_HELP: &str = "\
Without CONFIG.yml, the file that REGISTRY_CONFIGURATION_PATH names is read; without either,
defaults hold: port 5000, data in /var/lib/registry, Docker Hub mirrored, pushes taken.
A variable REGISTRY_A_B_C sets the file's key a.b.c, and wins over it:
  http.addr                            REGISTRY_HTTP_ADDR=127.0.0.1:5000
  storage.filesystem.rootdirectory     REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/data
  proxy.remoteurl                      REGISTRY_PROXY_REMOTEURL=https://registry-1.docker.io
  proxy.upstreams                      REGISTRY_PROXY_UPSTREAMS=ghcr.io,quay.io
  proxy.freshness                      REGISTRY_PROXY_FRESHNESS=5m
  proxy.hosted                         REGISTRY_PROXY_HOSTED='[team/**, app]'
  log.level                            REGISTRY_LOG_LEVEL=debug
HTTPS_PROXY and NO_PROXY say how upstreams are reached; SSL_CERT_FILE, whom to believe.
SIGHUP has the configuration read again, as a change of its file does: upstreams and accounts change at once.
SIGTERM lets requests under way finish for up to http.draintimeout (8s): docker kills after 10.";

const COMPLETIONS_HELP: &str = "\
Examples:
  entrepot completions bash > /etc/bash_completion.d/entrepot
  entrepot completions zsh > /usr/local/share/zsh/site-functions/_entrepot
  entrepot completions fish > ~/.config/fish/completions/entrepot.fish";

/// The arguments that select the configuration.
#[derive(Clone, Debug, Args, PartialEq)]
struct ConfigArguments {
    /// A configuration file of registry:2 (version: 0.1).
    #[arg(value_name = "CONFIG.yml")]
    file: Option<PathBuf>,
    /// The directory that holds everything, whatever the configuration says.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl ConfigArguments {
    /// Returns the configuration file, named by the argument or by its variable.
    fn path(&self) -> Option<PathBuf> {
        let named = || std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        self.file.clone().or_else(named)
    }

    fn load(self, io: &Blocking) -> Result<crate::config::LoadedConfig, Failure> {
        let file = self.path();
        let flags = crate::config::Flags { data: self.data };
        crate::config::Config::load(io, file.as_deref(), variables(), flags).map_err(Failure::usage)
    }

    /// Returns the files that the configuration names for upstreams, even if it cannot be loaded.
    fn upstream_files(&self, io: &Blocking) -> Vec<PathBuf> {
        crate::config::Config::upstream_files(io, self.path().as_deref(), variables())
    }
}

/// Returns the environment. Variables that are not Unicode cannot be Entrepot's.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The same as options, for commands whose other arguments are names.
#[derive(Debug, Args, PartialEq)]
struct ConfigOptions {
    /// The server's configuration file.
    #[arg(long, value_name = "CONFIG.yml")]
    config: Option<PathBuf>,
    /// The server's directory, whatever the configuration says.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl ConfigOptions {
    fn load(self, io: &Blocking) -> Result<crate::config::LoadedConfig, Failure> {
        ConfigArguments { file: self.config, data: self.data }.load(io)
    }
}

/// The reason that a command failed, in one line, and its exit code.
#[derive(Debug)]
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn usage(error: impl std::fmt::Display) -> Self {
        Self { message: error.to_string(), code: EXIT_USAGE }
    }

    fn failed(error: impl std::fmt::Display) -> Self {
        Self { message: error.to_string(), code: 1 }
    }

    /// A negative result that was already printed.
    fn quiet() -> Self {
        Self { message: String::new(), code: 1 }
    }
}

/// Runs the command in `arguments`, which start with the program's name.
pub fn run(io: &Blocking, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let done = match parse(arguments.into_iter().collect()) {
        Ok(Command::Serve(source)) => serve::run(io, source),
        Ok(Command::Config(source)) => config::run(io, source),
        Ok(Command::Simulate(options)) => simulate::run(io, &options),
        Ok(Command::Gc(options)) => gc::run(io, options),
        Ok(Command::Retention(options)) => retention::run(io, options),
        Ok(Command::Rm(options)) => rm::run(io, options),
        Ok(Command::Warm(options)) => warm::run(io, options),
        Ok(Command::Export(options)) => export::run(io, options),
        Ok(Command::Import(options)) => import::run(io, options),
        Ok(Command::Du(options)) => du::run(io, options),
        Ok(Command::List(options)) => list::run(io, options),
        Ok(Command::Why(options)) => why::run(io, options),
        Ok(Command::Purge(options)) => purge::run(io, options),
        Ok(Command::Refresh(options)) => refresh::run(io, options),
        Ok(Command::Pin(options)) => pin::pin(io, options),
        Ok(Command::Unpin(options)) => pin::unpin(io, options),
        Ok(Command::Evict(options)) => evict::run(io, options),
        Ok(Command::Access(command)) => access::run(io, command),
        Ok(Command::Htpasswd(options)) => htpasswd::run(io, options),
        Ok(Command::Verify(options)) => verify::run(io, options),
        Ok(Command::Health(source)) => health::run(io, source),
        Ok(Command::Completions(options)) => completions::run(&options),
        Ok(Command::GarbageCollect(options)) => garbage_collect::run(io, options),
        Err(error) => {
            // Help and version take this path too, with code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE));
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, code }) => {
            if !message.is_empty() {
                print_line(&mut std::io::stderr(), &format!("entrepot: {message}"));
            }
            ExitCode::from(code)
        }
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Command, clap::Error> {
    if registry_compat::is_meant(&arguments) {
        registry_compat::parse(arguments)
    } else {
        Arguments::try_parse_from(arguments).map(|arguments| arguments.command)
    }
}

/// Returns a time as requests to a server have it.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Writes a line. A closed pipe is not an error.
fn print_line(to: &mut impl Write, line: &str) {
    let _ = writeln!(to, "{line}");
}

#[cfg(test)]
mod tests;
