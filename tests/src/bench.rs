//! Measurements beside what a user would pick instead, in one run on one machine.
//!
//! Absolute numbers vary by machine; the ratios between contenders of the same run are what counts. Contenders take turns
//! over several rounds, and the median is reported, so that a busy moment of the machine hits all alike.

pub mod intake;
pub mod kiosk;
pub mod load;
pub mod mosquitto;
pub mod outage;
pub mod report;
