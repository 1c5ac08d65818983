//! `entrepot config`: prints the effective configuration.

use std::io::{stderr, stdout};

use super::{Failure, Source, bounds::Bounds, say};

pub(super) fn run(source: Source) -> Result<(), Failure> {
    let loaded = source.load()?;
    for warning in &loaded.warnings {
        say(&mut stderr(), &format!("warning: {warning}"));
    }
    let bounds = Bounds::check(&loaded.config.storage)?;
    bounds.warning().iter().for_each(|warning| say(&mut stderr(), &format!("warning: {warning}")));
    say(&mut stdout(), loaded.config.to_yaml().trim_end());
    say(&mut stdout(), &format!("# stored: {}", bounds.told()));
    Ok(())
}
