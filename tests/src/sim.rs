//! The sensors of the simulated store: a plan of devices and the MQTT clients that they are.

pub mod device;
pub mod faults;
pub mod plan;
pub mod truth;
