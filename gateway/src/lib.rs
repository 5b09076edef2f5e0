//! The store hub: runs the store's MQTT broker, keeps every acknowledged reading, serves the store's screens, and
//! forwards to headquarters.
//!
//! Rooms: [`domain`] decides and has no IO; [`journal`], [`store`], [`upstream`] and [`http`] each wrap one foreign
//! thing and do not know each other; [`app`] is where they meet.

pub mod app;
pub mod cli;
pub mod clock;
pub mod codes;
pub mod config;
pub mod control;
pub mod devices;
pub mod domain;
pub mod http;
pub mod journal;
pub mod projector;
pub mod room;
pub mod store;
pub mod upstream;
