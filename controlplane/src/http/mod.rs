//! The HTTP edge: routes, parsing, problem documents.
