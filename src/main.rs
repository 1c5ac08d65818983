//! The binary: parses the command line, runs one command, and turns its error into an exit code.

use std::process::ExitCode;

use entrepot::lanes::Blocking;

fn main() -> ExitCode {
    entrepot::cli::run(&Blocking::of_main_thread(), std::env::args_os())
}
