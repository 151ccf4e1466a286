//! Requests over HTTP that were refused for what they are, by reason.

use prometheus::{IntCounterVec, Opts, Registry};

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident => $name:literal;)+) => {
        /// Why a request was refused. Each variant is a counter.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Refusal { $($(#[$doc])* $variant,)+ }

        impl Refusal {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Value of the label `reason`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

refusals! {
    /// More requests from one network than may be.
    AddressRate => "address_rate";
    /// More requests of one person.
    UserRate => "user_rate";
    /// More WebSockets of one person.
    SocketRate => "socket_rate";
    /// From a network that was refused much a moment ago.
    Penalty => "penalty";
    /// No Host, several, or not the one in the target.
    Host => "host";
    /// A path with control characters, backslashes, or encoded twice.
    Path => "path";
    /// A path that is no UTF-8, or longer than it needs to be.
    PathEncoding => "path_encoding";
    /// A path with a `..` or `.` in it, encoded or not.
    Traversal => "traversal";
    /// A path only scanners ask for.
    Scanner => "scanner";
    /// A page or file that is not there.
    Nowhere => "nowhere";
    /// A method the address does not take.
    Method => "method";
    /// A media type the address does not take.
    ContentType => "content_type";
    /// A body longer than may be.
    BodySize => "body_size";
    /// JSON nested deeper than may be.
    BodyDepth => "body_depth";
    /// A body that did not arrive in time.
    BodySlow => "body_slow";
    /// A body, address or query that cannot be read.
    Malformed => "malformed";
}

/// The counters, each at zero.
pub(super) fn register(registry: &Registry) -> Result<IntCounterVec, prometheus::Error> {
    let refused = IntCounterVec::new(
        Opts::new("kaigi_requests_refused_total", "Requests over HTTP refused for what they are, by reason."),
        &["reason"],
    )?;
    for reason in Refusal::ALL {
        refused.get_metric_with_label_values(&[reason.name()])?;
    }
    registry.register(Box::new(refused.clone()))?;
    Ok(refused)
}
