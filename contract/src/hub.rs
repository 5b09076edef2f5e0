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
//! | `hub/help` | [`HelpCalls`] |
//!
//! A reader ignores fields that it does not know, so that a newer hub can say more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::DeviceId,
    kiosk::HelpCalls,
    order::{OrderStage, Place},
    time::Timestamp,
};

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
    /// Whether it is an order's.
    #[serde(default)]
    pub busy: bool,
    /// Whether its door did not open when it was told to, and nobody has cleared it.
    #[serde(default)]
    pub stuck: bool,
    /// The order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<CompartmentOrder>,
    /// When this was seen.
    pub at: Timestamp,
}

/// The order in a compartment, without anything that opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompartmentOrder {
    /// What it is called aloud: the end of its number.
    pub label: String,
    /// How it stands.
    pub stage: OrderStage,
}

/// One order as staff see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// What it is called aloud: the end of its number.
    pub label: String,
    /// How it stands.
    pub stage: OrderStage,
    /// The compartment that is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Until when it can be picked up.
    pub expires_at: Timestamp,
    /// Whether its door was not closed.
    #[serde(default)]
    pub is_left_open: bool,
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
    /// What whoever runs the hub should know although nothing is wrong, such as a mode meant for demos.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
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
    /// Orders that are open or still take a compartment.
    #[serde(default)]
    pub orders: Vec<OrderView>,
    /// Who waits for the staff.
    #[serde(default)]
    pub help: HelpCalls,
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
/// `hub/zones/<zone>`, in the zone's own script.
///
/// What a topic level cannot hold (`/`, `+`, `#`, control characters) becomes `-`, followed at the end by a digest of
/// the name, so that two zones never share a topic.
#[must_use]
pub fn zone_topic(zone: &str) -> String {
    let cannot_stand = |c: char| matches!(c, '/' | '+' | '#') || c.is_control();
    if zone.contains(cannot_stand) || zone.is_empty() {
        let level = zone.replace(cannot_stand, "-");
        format!("hub/zones/{level}~{:08x}", digest(zone))
    } else {
        format!("hub/zones/{zone}")
    }
}

/// FNV-1a, 32 bits: tells names apart, hides nothing.
fn digest(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
/// `hub/climate/<device>`
#[must_use]
pub fn climate_topic(device: &DeviceId) -> String {
    format!("hub/climate/{device}")
}
/// `hub/health`
pub const HEALTH_TOPIC: &str = "hub/health";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_has_a_topic_of_its_own_in_any_script() {
        assert_eq!(zone_topic("entrance_1"), "hub/zones/entrance_1");
        assert_eq!(zone_topic("护肤"), "hub/zones/护肤");
        assert_eq!(zone_topic("Wein & Käse"), "hub/zones/Wein & Käse");
        let names = ["护肤", "母婴", "--", "a/b", "a+b", "a#b", "a-b", "a\u{0}b", "a\nb", ""];
        let topics: std::collections::BTreeSet<_> = names.into_iter().map(zone_topic).collect();
        assert_eq!(topics.len(), names.len(), "{topics:?}");
        for topic in topics {
            let level = topic.strip_prefix("hub/zones/").unwrap();
            assert!(!level.is_empty(), "{topic}");
            assert!(!level.contains(|c: char| matches!(c, '/' | '+' | '#') || c.is_control()), "{topic}");
        }
    }

    #[test]
    fn health_of_an_older_hub_is_read_without_notices() {
        let text = r#"{"degraded":[],"uplink_online":true,"waiting_rows":0,"at":"2026-01-01T00:00:00.000Z"}"#;
        let health: Health = serde_json::from_str(text).unwrap();
        assert!(health.notices.is_empty());
        assert_eq!(serde_json::to_string(&health).unwrap(), text);
    }
}
