//! The log: one line an event, coloured on a terminal only, or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::FormatTime;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        let now = jiff::Zoned::now();
        write!(writer, "{}", now.strftime("%H:%M:%S%.3f"))
    }
}

/// The client's own lines say less than those of whoever asked it.
const DEFAULT: &str = "info,kube_client=off";

/// Starts logging to standard error. `RUST_LOG` overrides the default filter, unless it is empty: that would silence it.
pub(crate) fn start(format: Format) {
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|text| !text.trim().is_empty());
    let filter =
        asked.and_then(|text| EnvFilter::try_new(text).ok()).unwrap_or_else(|| EnvFilter::new(DEFAULT));
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        // It would tell of a line that could not be written by another one, and panic: the log may be on a full disk.
        .log_internal_errors(false);
    let started = match format {
        Format::Text => base.with_timer(Clock).with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => base.json().flatten_event(true).try_init(),
    };
    // A second start (in tests) keeps the first.
    drop(started);
}
