//! `entrepot config`: prints the effective configuration.

use std::io::{stderr, stdout};

use super::{ConfigArguments, Failure, bounds::Bounds, print_line};
use crate::lanes::Blocking;

pub(super) fn run(io: &Blocking, source: ConfigArguments) -> Result<(), Failure> {
    let loaded = source.load(io)?;
    for warning in &loaded.warnings {
        print_line(&mut stderr(), &format!("warning: {warning}"));
    }
    let bounds = Bounds::check(io, &loaded.config.storage)?;
    bounds.warning().iter().for_each(|warning| print_line(&mut stderr(), &format!("warning: {warning}")));
    print_line(&mut stdout(), loaded.config.to_yaml().trim_end());
    print_line(&mut stdout(), &format!("# stored: {}", bounds.describe()));
    Ok(())
}
