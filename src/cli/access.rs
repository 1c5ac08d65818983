//! `entrepot access check`: evaluates the rules for one user, action and repository.

use std::io::{stderr, stdout};

use clap::{Args, Subcommand};

use super::{ConfigArguments, Failure, print_line};
use crate::{
    access::{AccessRules, Action, Decision, Htpasswd, Principal},
    config::{Auth, Config, UsersConfig},
    lanes::Blocking,
    oci::{Domain, Repository},
};

/// The subcommands of `access`.
#[derive(Debug, PartialEq, Subcommand)]
pub(super) enum AccessCommand {
    /// Say whether USER may do ACTION to REPOSITORY, and by which rule; exit code 0 is yes, 1 is no.
    #[command(after_help = HELP)]
    Check(AccessCheckOptions),
}

const HELP: &str = "\
Examples:
  entrepot access check alice push team/app config.yml
  entrepot access check anonymous pull docker.io/library/ubuntu";

/// The arguments of `access check`.
#[derive(Debug, Args, PartialEq)]
pub(super) struct AccessCheckOptions {
    /// A user's name, or anonymous.
    #[arg(value_name = "USER")]
    pub(super) user: String,
    /// pull, push, delete or manage.
    #[arg(value_name = "ACTION")]
    pub(super) action: Action,
    /// A repository's name; one that is mirrored from another registry begins with that one's domain.
    #[arg(value_name = "REPOSITORY", value_parser = repository)]
    pub(super) repository: Repository,
    #[command(flatten)]
    pub(super) source: ConfigArguments,
}

/// Parses a repository like an image reference: a first component with a dot or a port is a registry's domain.
fn repository(text: &str) -> Result<Repository, String> {
    let parse = |name: &str| name.parse().map_err(|error| format!("{error}"));
    match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            let domain: Domain = first.parse().map_err(|error| format!("{error}"))?;
            Ok(Repository { domain: Some(domain), name: parse(rest)? })
        }
        _ => Ok(Repository { domain: None, name: parse(text)? }),
    }
}

pub(super) fn run(io: &Blocking, AccessCommand::Check(options): AccessCommand) -> Result<(), Failure> {
    let AccessCheckOptions { user, action, repository, source } = options;
    let loaded = source.load(io)?;
    for warning in &loaded.warnings {
        print_line(&mut stderr(), &format!("warning: {warning}"));
    }
    let (yes, why) = match loaded.config.auth.value() {
        Auth::Open => (true, "there is no auth section: whoever reaches the port may".to_owned()),
        Auth::Locked { .. } => (false, "auth.htpasswd.path is a directory: nobody can log in".to_owned()),
        Auth::Token(service) => (false, format!("{} decides that (auth.token)", service.realm)),
        Auth::Users(users) => ask(io, &loaded.config, users, &user, action, &repository),
    };
    let (word, verb) = if yes { ("yes", "may") } else { ("no", "may not") };
    print_line(&mut stdout(), &format!("{word}: {user} {verb} {action} {repository}: {why}"));
    if yes { Ok(()) } else { Err(Failure::quiet()) }
}

fn ask(
    io: &Blocking,
    config: &Config,
    users: &UsersConfig,
    user: &str,
    action: Action,
    repository: &Repository,
) -> (bool, String) {
    let rules = AccessRules::new(users);
    let who = if user == "anonymous" { Principal::Anonymous } else { Principal::user(user) };
    if let Some(why) = who.name().and_then(|name| cannot_log_in(io, users, name)) {
        return (false, why);
    }
    // A prefix with this registry's own host names a repository of its own.
    let domain = repository.domain.clone().filter(|domain| !config.http.is_named(domain));
    if action == Action::Push && domain.is_some() {
        return (false, "what is mirrored from another registry is read-only".to_owned());
    }
    let decision = decide(config, &rules, &who, action, &Repository { domain, name: repository.name.clone() });
    (decision.allowed, decision.by.to_string())
}

/// A plain name means the hosted repository or, if there is none, Docker Hub's.
fn decide(config: &Config, rules: &AccessRules, who: &Principal, action: Action, repository: &Repository) -> Decision {
    let decision = rules.decide(who, action, repository);
    let may_be_the_hubs = action == Action::Pull
        && repository.domain.is_none()
        && *config.proxy.enabled
        && !config.proxy.is_hosted(&repository.name);
    if decision.allowed || !may_be_the_hubs {
        return decision;
    }
    let domain = Some(Domain::docker_hub());
    rules.decide(who, action, &Repository { domain, name: repository.name.clone() })
}

/// Warns about a user who cannot log in. An unreadable file is only mentioned.
fn cannot_log_in(io: &Blocking, users: &UsersConfig, name: &str) -> Option<String> {
    match Htpasswd::read(io, &users.path) {
        Ok((file, _)) if file.has(name) => None,
        Ok(_) => Some(format!("{} has no such user", users.path.display())),
        Err(error) => {
            print_line(&mut stderr(), &format!("warning: whether there is such a user is not known: {error}"));
            None
        }
    }
}
