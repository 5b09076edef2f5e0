//! The simulated store: a plan of devices and the MQTT clients that they are, and those who come for their orders.

pub mod bank;
pub mod device;
pub mod faults;
pub mod kiosk;
pub mod plan;
pub mod shop;
pub mod truth;
