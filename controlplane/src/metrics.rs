//! Prometheus registry of the appliance.
