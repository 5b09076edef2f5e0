//! The broker as its clients see it: over TCP, byte by byte and through rumqttc.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up what it needs has failed")]

mod abuse;
mod behaviour;
mod clients;
mod input;
mod support;
