//! Bridges, addresses, packet filter.
