//! Registry client, content store, layer snapshots.
