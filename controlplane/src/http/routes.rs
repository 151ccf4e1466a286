//! Routes outside the API, listed as they are made: nothing is served that is neither here nor in the API document.
//!
//! `clippy.toml` keeps every other way to add a route out of this crate, and a test asks each route as every role
//! (`tests/tests/authorization.rs`).

use axum::Router;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};

/// A method and a path, with the names of its parameters in braces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Route {
    /// The method, in capitals.
    pub method: &'static str,
    /// The path.
    pub path: &'static str,
}

/// A router that knows its routes.
pub struct Routes<S> {
    router: Router<S>,
    known: Vec<Route>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self { router: Router::new(), known: Vec::new() }
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// Answers GET, and with it HEAD.
    #[must_use]
    pub fn get<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("GET", path, routing::get(handler))
    }

    /// Answers POST.
    #[must_use]
    pub fn post<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("POST", path, routing::post(handler))
    }

    /// Answers PATCH.
    #[must_use]
    pub fn patch<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("PATCH", path, routing::patch(handler))
    }

    /// Answers DELETE.
    #[must_use]
    pub fn delete<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("DELETE", path, routing::delete(handler))
    }

    /// With those of `other`.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.known.extend(other.known);
        Self { router: self.router.merge(other.router), known: self.known }
    }

    /// What is known, in the order it was added.
    #[must_use]
    pub fn known(&self) -> &[Route] {
        &self.known
    }

    /// What serves them.
    pub fn into_router(self) -> Router<S> {
        self.router
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that adds routes, and writes them down")]
    fn add(mut self, method: &'static str, path: &'static str, answers: MethodRouter<S>) -> Self {
        self.known.push(Route { method, path });
        Self { router: self.router.route(path, answers), known: self.known }
    }
}
