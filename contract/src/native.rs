//! Payloads of the native sensor topics, as published: JSON objects, unknown fields refused.
//!
//! These are wire shapes; what they mean and whether a value is plausible is the mapper's to decide.
//! `at` is the device's own time (RFC 3339) and `seq` the device's own counter; both may be left out.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// `sensors/shelf/<device>/reading`: any of the fields, at least one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShelfReading {
    /// When the device measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The device's own counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Weight on the shelf in grams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_g: Option<f64>,
    /// Pieces on the shelf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Air temperature at the shelf in °C.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_c: Option<f64>,
    /// Relative humidity in %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub humidity_pct: Option<f64>,
    /// Battery charge in %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_pct: Option<f64>,
}

/// `sensors/shelf/<device>/tags`: either all tags that are there, or what changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShelfTags {
    /// When the device read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The device's own counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Every EPC in the field, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub present: Option<Vec<String>>,
    /// EPCs that came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub appeared: Option<Vec<String>>,
    /// EPCs that went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<Vec<String>>,
}

/// Position of a locker door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// Not latched.
    Open,
    /// Latched.
    Closed,
}

/// `sensors/locker/<bank>/door`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockerDoor {
    /// When the controller saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The controller's own counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Compartment number as printed on the door.
    pub compartment: u16,
    /// Position of the door.
    pub door: Door,
    /// Whether something lies inside, where the controller can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occupied: Option<bool>,
    /// Whether the controller saw force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tamper: Option<bool>,
}

/// `sensors/traffic/<device>/count`: either an interval (`from`, `to`, `in`, `out`) or running totals
/// (`total_in`, `total_out`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficCount {
    /// When the device sent it (totals).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The device's own counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Start of the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// End of the interval, after `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Which line.
    pub line: String,
    /// People who came in during the interval.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub count_in: Option<u32>,
    /// People who went out during the interval.
    #[serde(rename = "out", skip_serializing_if = "Option::is_none")]
    pub count_out: Option<u32>,
    /// People who came in since the device was reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_in: Option<u64>,
    /// People who went out since the device was reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_out: Option<u64>,
}

/// `sensors/traffic/<device>/zone`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficZone {
    /// When the device measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The device's own counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Which zone.
    pub zone: String,
    /// People in the zone now.
    pub occupancy: u32,
    /// Seconds stayed by each person who has left since the last message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dwell_s: Option<Vec<f64>>,
}

/// `sensors/climate/<device>/reading`: at least one of the two.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClimateReading {
    /// When the device measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The device's own counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Temperature in °C.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_c: Option<f64>,
    /// Relative humidity in %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub humidity_pct: Option<f64>,
    /// Battery charge in %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_pct: Option<f64>,
}

/// `sensors/bin/<device>/reading`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinReading {
    /// When the device measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The device's own counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Weight in the bin in grams.
    pub weight_g: f64,
    /// Pieces returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u32>,
}

/// `sensors/<kind>/<device>/status`: the bare words `online` and `offline`, not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// The device is connected.
    Online,
    /// The device has gone, cleanly or not.
    Offline,
}

impl Presence {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }

    /// Reads the word on the wire.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        match payload {
            b"online" => Some(Self::Online),
            b"offline" => Some(Self::Offline),
            _ => None,
        }
    }
}
