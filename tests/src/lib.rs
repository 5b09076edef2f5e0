//! What the journeys across Storehub's processes stand on: a simulated store, a harness that starts and stops the real
//! programs, and a load generator.
//!
//! Owns: made-up truth ([`world`]), the sensors that tell it over real MQTT ([`sim`]), processes with their folders and
//! ports ([`harness`]), measurements ([`bench`]), raw MQTT packets for clients that misbehave ([`raw`]). Does not own: any code of the product; it
//! knows the product's programs by their command lines and wires only.

pub mod bench;
pub mod harness;
pub mod raw;
pub mod sim;
pub mod world;
