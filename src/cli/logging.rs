//! Where log lines go, and which are written at all: `log.*`.

use std::io::stderr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer as _, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

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
        .with_target("audit", LevelFilter::OFF)
        // Each probe of a client that tries TLS first, and each cut body, which this server tells of itself.
        .with_target("actix_http", LevelFilter::OFF);
    // For programs, whatever the other lines look like, and whatever their level.
    let audited = Targets::new().with_target("audit", LevelFilter::INFO);
    let audit = fmt::layer().json().flatten_event(true).with_writer(stderr).with_filter(audited);
    let lines = tracing_subscriber::registry().with(audit);
    match *log.formatter.value() {
        Formatter::Text => {
            let text = fmt::layer().with_ansi(is_terminal()).with_target(false).with_writer(stderr);
            lines.with(text.with_filter(targets)).init();
        }
        Formatter::Json => {
            let json = fmt::layer().json().flatten_event(true).with_writer(stderr);
            lines.with(json.with_filter(targets)).init();
        }
    }
}

/// Begins to write warnings and errors to stderr, for a command that does the work itself: a server has a log for them.
pub(super) fn start_for_command() {
    let targets = Targets::new().with_target("entrepot", LevelFilter::WARN);
    let text = fmt::layer().with_ansi(is_terminal()).with_target(false).without_time().with_writer(stderr);
    // One that was begun before stays.
    let _ = tracing_subscriber::registry().with(text.with_filter(targets)).try_init();
}

fn is_terminal() -> bool {
    use std::io::IsTerminal;
    stderr().is_terminal()
}
