//! Sets up logging according to `log.*`: levels, formats and targets.

use std::io::stderr;

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, filter::Targets, fmt, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

use crate::config::{Formatter, Level, Log};

/// Starts logging to stderr.
pub(super) fn start(log: &Log) {
    let level = match *log.level.value() {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    // Dependencies log data that must stay private, even whole requests, so their levels below warning are disabled.
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("entrepot", level)
        .with_target("access", level)
        .with_target("audit", LevelFilter::OFF)
        // actix logs every probe of a TLS client and every aborted body; this server logs those itself.
        .with_target("actix_http", LevelFilter::OFF);
    let lines = tracing_subscriber::registry().with(audit());
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

/// Logs warnings, errors and audit records to stderr, for a command without a server, which would have a log of its
/// own.
pub(super) fn start_for_command() {
    let targets = Targets::new().with_target("entrepot", LevelFilter::WARN);
    let text = fmt::layer().with_ansi(is_terminal()).with_target(false).without_time().with_writer(stderr);
    // A logger that was installed before stays.
    let _ = tracing_subscriber::registry().with(audit()).with(text.with_filter(targets)).try_init();
}

/// Returns the layer of audit records, which are always JSON and always enabled.
fn audit<S>() -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let audited = Targets::new().with_target("audit", LevelFilter::INFO);
    fmt::layer().json().flatten_event(true).with_writer(stderr).with_filter(audited)
}

fn is_terminal() -> bool {
    use std::io::IsTerminal;
    stderr().is_terminal()
}
