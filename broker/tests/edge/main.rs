//! The broker as its clients see it: over TCP, byte by byte and through rumqttc.

mod abuse;
mod behaviour;
mod clients;
mod input;
mod support;
