//! The appliance put together: the parts every route shares.

/// What routes share; cheap to clone.
#[derive(Clone)]
pub struct App {}
