//! Tests of parsing command lines.

use std::path::Path;

use super::*;

fn understood(line: &str) -> Result<Command, clap::Error> {
    parse(line.split(' ').map(OsString::from).collect())
}

fn file(command: Command) -> Option<PathBuf> {
    match command {
        Command::Serve(source) | Command::Config(source) | Command::Health(source) => source.file,
        Command::Completions(_) => None,
        Command::GarbageCollect(options) => options.source.file,
        Command::Simulate(options) => options.file,
        Command::Access(super::access::AccessCommand::Check(options)) => options.source.file,
        Command::Htpasswd(_) => None,
        Command::Gc(_)
        | Command::Retention(_)
        | Command::Rm(_)
        | Command::Verify(_)
        | Command::Du(_)
        | Command::List(_)
        | Command::Why(_)
        | Command::Purge(_)
        | Command::Refresh(_)
        | Command::Pin(_)
        | Command::Unpin(_)
        | Command::Evict(_)
        | Command::Warm(_)
        | Command::Export(_)
        | Command::Import(_) => None,
    }
}

#[test]
fn the_command_line_is_sound() {
    use clap::CommandFactory;
    Arguments::command().debug_assert();
}

#[test]
fn serves_by_either_name() {
    for line in [
        "entrepot serve config.yml",
        "/usr/local/bin/entrepot serve config.yml",
        "registry serve config.yml",
        "/bin/registry serve config.yml",
        "/usr/bin/docker-registry serve config.yml",
        "registry config.yml",
    ] {
        let command = understood(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(matches!(command, Command::Serve(_)), "{line}");
        assert_eq!(file(command).as_deref(), Some(Path::new("config.yml")), "{line}");
    }
    for line in ["registry /etc/docker/registry/config.yml", "registry ./a.yaml", "registry a.yml --data /srv"] {
        assert!(matches!(understood(line), Ok(Command::Serve(_))), "{line}");
    }
    assert!(matches!(understood("registry serve"), Ok(Command::Serve(_))));
}

#[test]
fn is_no_other_program_by_its_own_name() {
    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion, InvalidSubcommand};
    assert_eq!(understood("entrepot config.yml").unwrap_err().kind(), InvalidSubcommand);
    assert_eq!(understood("registry config").unwrap_err().kind(), InvalidSubcommand);
    for line in ["registry --version", "registry -v", "entrepot --version"] {
        let error = understood(line).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (DisplayVersion, 0), "{line}");
        assert!(error.to_string().contains("entrepot"), "{error}");
    }
    for line in ["registry help", "registry --help", "registry help serve", "registry garbage-collect -h"] {
        let error = understood(line).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (DisplayHelp, 0), "{line}");
    }
    assert_eq!(understood("registry").unwrap_err().exit_code(), 2);
}

#[test]
fn collects_as_crontabs_ask() {
    for (flags, dry_run, delete_untagged) in [
        ("", false, false),
        ("-d ", true, false),
        ("--dry-run ", true, false),
        ("-m ", false, true),
        ("--delete-untagged ", false, true),
        ("--delete-untagged=true ", false, true),
        ("--delete-untagged=false --dry-run=1 ", true, false),
        ("-d -m ", true, true),
        ("-dm ", true, true),
        ("-m -q ", false, true),
    ] {
        for line in [format!("{flags}config.yml"), format!("config.yml {flags}").trim_end().to_owned()] {
            let line = format!("registry garbage-collect {line}");
            let command = understood(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let Command::GarbageCollect(options) = command else { panic!("{line}") };
            assert_eq!((options.dry_run, options.delete_untagged), (dry_run, delete_untagged), "{line}");
            assert_eq!(options.source.file.as_deref(), Some(Path::new("config.yml")), "{line}");
        }
    }
    assert!(understood("registry garbage-collect --dry-run=maybe config.yml").is_err());
    assert!(understood("registry garbage-collect --prune config.yml").is_err());
}

#[test]
fn collects_nothing_where_a_server_runs() {
    let dir = tempfile::TempDir::new().unwrap();
    let line = format!("registry garbage-collect --data {}", dir.path().display());
    let collect = || {
        let Ok(Command::GarbageCollect(options)) = understood(&line) else { panic!("{line}") };
        garbage_collect::run(Blocking::in_test(), options)
    };
    let server =
        crate::storage::Storage::open(Blocking::in_test(), dir.path(), crate::storage::SpaceLimits::default()).unwrap();
    let failure = collect().unwrap_err();
    assert_eq!(failure.code, 1);
    assert!(failure.message.contains("in use") && !failure.message.contains('\n'));
    drop(server);
    assert!(collect().is_ok());
}

#[test]
fn completes_for_the_shells_that_are_tried_out() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(matches!(understood(&format!("entrepot completions {shell}")), Ok(Command::Completions(_))), "{shell}");
    }
    assert!(understood("entrepot completions cmd").is_err());
}
