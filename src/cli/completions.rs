//! `entrepot completions`: prints a completion script for a shell.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Failure, print_line};

/// The shell.
#[derive(Debug, Args, PartialEq)]
pub(super) struct CompletionsOptions {
    /// The shell that is to read it.
    #[arg(value_name = "SHELL", value_parser = shell)]
    shell: Shell,
}

/// Only the shells that are tested; the library supports more.
fn shell(text: &str) -> Result<Shell, &'static str> {
    match text {
        "bash" => Ok(Shell::Bash),
        "zsh" => Ok(Shell::Zsh),
        "fish" => Ok(Shell::Fish),
        _ => Err("expected bash, zsh or fish"),
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as every command")]
pub(super) fn run(options: &CompletionsOptions) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(options.shell, &mut super::Arguments::command(), "entrepot", &mut script);
    print_line(&mut std::io::stdout(), String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
