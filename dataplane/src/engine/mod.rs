//! The sans-IO engine of one core: many `handle_*` in a loop turn, then one `flush`.
