//! What crosses a wire or reaches a disk between Storehub's parts.
//!
//! Owns: identifiers, times, topics, native sensor payloads, the hub's retained topics, what kiosks ask, orders,
//! locker commands, and the batches, acknowledgements and commands between a store and headquarters. Does not own: any decision about them.
//!
//! # Invariants
//!
//! - No IO, no clock, no async: the same bytes give the same value everywhere.
//! - A value of a type in this crate is valid; parsing refuses the rest and says why.
//! - Units stand in field names. Times are RFC 3339 UTC with milliseconds in what is written.

pub mod experience;
pub mod hub;
pub mod id;
pub mod kiosk;
pub mod locker;
pub mod native;
pub mod order;
pub mod time;
pub mod topic;
pub mod upstream;

pub use id::{DeviceId, IdError, KioskId, OrderId, RequestId, StoreId};
pub use time::Timestamp;
