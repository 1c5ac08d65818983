//! The binary: parses the command line, runs one command, and turns its error into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    entrepot::cli::run(std::env::args_os())
}
