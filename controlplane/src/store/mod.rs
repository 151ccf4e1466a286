//! What survives a restart: a small ordered key-value interface and its engines.
