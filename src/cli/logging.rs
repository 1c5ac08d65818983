//! Where log lines go, and which are written at all: `log.*`.

use std::io::stderr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Formatter, Level, Log};

/// Begins to write log lines to stderr.
pub(super) fn start(log: &Log) {
    let level = match *log.level.value() {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    // The crates below log what is not ours to show, whole requests among it: never below warnings.
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("entrepot", level)
        .with_target("access", level)
        // Each probe of a client that tries TLS first, and each cut body, which this server tells of itself.
        .with_target("actix_http", LevelFilter::OFF);
    let lines = tracing_subscriber::registry().with(targets);
    match *log.formatter.value() {
        Formatter::Text => {
            lines.with(fmt::layer().with_ansi(is_terminal()).with_target(false).with_writer(stderr)).init();
        }
        Formatter::Json => lines.with(fmt::layer().json().flatten_event(true).with_writer(stderr)).init(),
    }
}

fn is_terminal() -> bool {
    use std::io::IsTerminal;
    stderr().is_terminal()
}
