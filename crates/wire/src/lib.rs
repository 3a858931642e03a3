//! Messages between shim and guest agent, and their framing.
