//! Headquarters' receiver: takes every store's batches into a database, acknowledges them after the commit, asks for
//! what is missing, and shows the fleet.
//!
//! Rooms: [`progress`] decides what is complete and what is missing, and has no IO; [`database`] owns SQLite and the one
//! thread that writes; [`ingest`] turns a store's publishes into its jobs; [`embedded`] and [`external`] bring publishes
//! from the broker in this process or from another one; [`fleet`] is what is known about each store; [`http`] shows it;
//! [`app`] is where they meet; [`check`] says beforehand what would stop it.

pub mod app;
pub mod check;
pub mod config;
pub mod counters;
pub mod database;
pub mod desk;
pub mod embedded;
pub mod external;
pub mod fleet;
pub mod http;
pub mod ingest;
pub mod log_limit;
pub mod progress;
