//! The binary: parses the command line, starts one command, turns its error into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    entrepot::cli::run(std::env::args_os())
}
