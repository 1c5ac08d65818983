//! The binary: parses the command line, starts one command, turns its error into an exit code.

fn main() {}
