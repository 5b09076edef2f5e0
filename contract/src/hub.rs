//! The hub's retained `hub/…` topics: what the store's screens show. JSON, QoS 1, retained.
//!
//! | topic | type |
//! | --- | --- |
//! | `hub/stock/<shelf>` | [`ShelfStock`] |
//! | `hub/lockers/<bank>` | [`LockerBank`] |
//! | `hub/traffic` | [`Traffic`] |
//! | `hub/zones/<zone>` | [`Zone`] |
//! | `hub/climate/<device>` | [`Climate`] |
//! | `hub/health` | [`Health`] |
//!
//! A reader ignores fields that it does not know, so that a newer hub can say more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{id::DeviceId, time::Timestamp};

/// What lies on one shelf.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShelfStock {
    /// The shelf sensor.
    pub shelf: DeviceId,
    /// GTIN-14 of the product that belongs there, where the planogram knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtin: Option<String>,
    /// The product's names by language tag (`zh`, `en`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub name: BTreeMap<String, String>,
    /// Pieces on the shelf; absent when it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pieces: Option<u32>,
    /// Pieces that the shelf holds when full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// The last reading behind this.
    pub at: Timestamp,
}

/// One bank of lockers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockerBank {
    /// The bank's controller.
    pub bank: DeviceId,
    /// Its compartments by number.
    pub compartments: BTreeMap<u16, Compartment>,
    /// The last event behind this.
    pub at: Timestamp,
}

/// One compartment of a bank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compartment {
    /// Position of the door.
    pub door: crate::native::Door,
    /// Whether something lies inside; absent when the controller cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occupied: Option<bool>,
    /// Whether the controller saw force and nobody has cleared it.
    #[serde(default)]
    pub tamper: bool,
    /// When this was seen.
    pub at: Timestamp,
}

/// People through the entrances since the store's day began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Start of the day that is counted.
    pub day_start: Timestamp,
    /// People who came in.
    pub count_in: u64,
    /// People who went out.
    pub count_out: u64,
    /// The last count behind this.
    pub at: Timestamp,
}

/// One zone of the sales floor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    /// Its name as the sensor has it.
    pub zone: String,
    /// People in it now.
    pub occupancy: u32,
    /// Mean stay of those who left during the last hour window, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dwell_mean_s: Option<f64>,
    /// The last message behind this.
    pub at: Timestamp,
}

/// One fridge or room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Climate {
    /// The sensor.
    pub device: DeviceId,
    /// Temperature in °C.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_c: Option<f64>,
    /// Relative humidity in %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub humidity_pct: Option<f64>,
    /// The last reading behind this.
    pub at: Timestamp,
}

/// How the hub is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Reduced modes in words, empty when all is well.
    pub degraded: Vec<String>,
    /// Whether headquarters is connected.
    pub uplink_online: bool,
    /// Rows that wait for headquarters.
    pub waiting_rows: u64,
    /// When this was said.
    pub at: Timestamp,
}

/// One sensor as the hub has seen it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SensorSeen {
    /// Its id.
    pub device: DeviceId,
    /// What it is (`shelf`, `locker`, …).
    pub kind: String,
    /// What its status topic said last; absent when it never said anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// The last message of any kind.
    pub last_seen: Timestamp,
    /// Battery charge in %, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery_pct: Option<f64>,
}

/// The way to headquarters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Whether headquarters' broker is connected.
    pub online: bool,
    /// Rows not yet acknowledged by headquarters.
    pub waiting_rows: u64,
    /// When the oldest of them happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_waiting_at: Option<Timestamp>,
    /// When headquarters acknowledged last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ack_at: Option<Timestamp>,
}

/// The whole store at one moment: what the staff page shows and `/api/store` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreView {
    /// Which store.
    pub store: crate::id::StoreId,
    /// When this picture was made.
    pub at: Timestamp,
    /// Shelves by id.
    pub stock: Vec<ShelfStock>,
    /// Locker banks by id.
    pub lockers: Vec<LockerBank>,
    /// Entrances today, once anything was counted.
    pub traffic: Option<Traffic>,
    /// Zones by name.
    pub zones: Vec<Zone>,
    /// Fridges and rooms by id.
    pub climate: Vec<Climate>,
    /// Every sensor ever seen, by id.
    pub sensors: Vec<SensorSeen>,
    /// The way to headquarters.
    pub uplink: Uplink,
    /// How the hub is.
    pub health: Health,
    /// Counters by name, among them every refusal and loss by reason.
    pub counters: BTreeMap<String, u64>,
}

/// `hub/stock/<shelf>`
#[must_use]
pub fn stock_topic(shelf: &DeviceId) -> String {
    format!("hub/stock/{shelf}")
}
/// `hub/lockers/<bank>`
#[must_use]
pub fn lockers_topic(bank: &DeviceId) -> String {
    format!("hub/lockers/{bank}")
}
/// `hub/traffic`
pub const TRAFFIC_TOPIC: &str = "hub/traffic";
/// `hub/zones/<zone>`; the zone's characters outside `[A-Za-z0-9_-]` become `-`.
#[must_use]
pub fn zone_topic(zone: &str) -> String {
    let level: String =
        zone.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '-' }).collect();
    format!("hub/zones/{level}")
}
/// `hub/climate/<device>`
#[must_use]
pub fn climate_topic(device: &DeviceId) -> String {
    format!("hub/climate/{device}")
}
/// `hub/health`
pub const HEALTH_TOPIC: &str = "hub/health";
