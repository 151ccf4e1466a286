//! Configuration: flags over variables over the TOML file.
