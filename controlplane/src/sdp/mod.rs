//! Session descriptions (RFC 8866) as signalling needs them: parsed offers, written answers.
