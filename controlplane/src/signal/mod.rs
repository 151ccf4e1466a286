//! Signalling: the LiveKit client protocol over WebSocket at `/rtc`, and `/rtc/validate`.

use crate::app::App;

/// The signalling routes, merged into the HTTP router.
pub fn router(_app: App) -> axum::Router {
    axum::Router::new()
}
