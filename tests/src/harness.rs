//! Starts the product's real programs for a journey, each in a folder of its own and on free ports, and stops them.
//!
//! Nothing here waits for a time: it waits for a *state*, with a limit, and says what it last saw when the limit passes.

pub mod display;
pub mod hq;
pub mod hub;
pub mod link;
pub mod memory;
pub mod page;
pub mod process;
pub mod publisher;
pub mod wait;

pub use display::Display;
pub use hq::Hq;
pub use hub::{Hub, HubSetup, counter};
pub use link::Link;
pub use process::{Finished, Program, Running, program, run_to_end};
pub use publisher::Publisher;
pub use wait::{PATIENCE, wait_for};
