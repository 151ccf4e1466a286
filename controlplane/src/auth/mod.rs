//! Tokens: signed JWTs for people, hosts and media sessions.
