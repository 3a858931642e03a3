//! The daemon's own messages: to standard error, as text or as JSON, a line each.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How a message looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// An object a line, for programs.
    Json,
}

/// Says from now on which messages are written.
pub(crate) struct Level(Box<dyn Fn(EnvFilter) + Send + Sync>);

impl Level {
    /// Writes what passes the filter.
    pub(crate) fn set(&self, filter: EnvFilter) {
        (self.0)(filter);
    }
}

/// Begins to write.
pub(crate) fn begin(format: Format, filter: EnvFilter) -> Level {
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The two are of different types, each with a handle of its own.
    match format {
        Format::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            // It fails only once nothing is written any more.
            Level(Box::new(move |filter| drop(handle.reload(filter))))
        }
        Format::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Level(Box::new(move |filter| drop(handle.reload(filter))))
        }
    }
}
