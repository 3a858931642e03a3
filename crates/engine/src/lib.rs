//! Lifecycle, supervision, events, metadata.
