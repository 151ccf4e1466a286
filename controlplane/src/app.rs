//! The appliance put together: the parts every route shares, and their life from start to stop.

use std::sync::Arc;

use dataplane::boot::Plane;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::service::Service;

/// What routes share; cheap to clone.
#[derive(Clone)]
pub struct App {
    /// How the appliance was started.
    pub config: Arc<Config>,
    /// Rules about meetings.
    pub service: Service,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The packet plane; absent in tests of the API alone.
    pub plane: Option<Arc<Plane>>,
}
