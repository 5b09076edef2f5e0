//! Twins: the last thing that every device has said, value by value.

use std::collections::BTreeMap;

use contract::{DeviceId, KioskId, Timestamp, hub::SensorSeen, native::Presence, topic::SensorKind};
use serde::{Deserialize, Serialize};

use super::{
    DEVICES_MAX, Effects, Reading, RestoreError, Tree, What, counters::Counters, deadlines::Moment,
    fixed::Micro, json, recent::Recents, state, supersedes,
};

/// What [`Twins::note`] made of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// It is to be applied.
    New,
    /// The same message was applied before.
    Repeated,
    /// There are too many devices to know another one.
    OverLimit,
}

/// All twins by device.
#[derive(Debug, Default)]
pub(super) struct Twins {
    twins: BTreeMap<String, Twin>,
    recent: Recents,
}

/// One device as it was last seen. Kept as JSON: names are short because there is one per device and batch.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Twin {
    kind: String,
    /// The hub's time of the last message.
    seen_ms: i64,
    online: Option<bool>,
    /// Which start of the hub the last message came to; 0 when that was not noted yet.
    #[serde(default)]
    boot: u64,
    /// Whether the device's clock was not believed at its last message.
    clock_wrong: bool,
    /// Last value by name, with the time of its reading.
    values: BTreeMap<String, (i64, Micro)>,
}

#[derive(Serialize)]
struct PresenceEvent<'a> {
    kind: &'a str,
}

impl Twins {
    /// Notes a reading and the payload that it came in.
    pub(super) fn note(
        &mut self,
        reading: &Reading,
        payload: &[u8],
        (now, boot): (Moment, u64),
        counters: &mut Counters,
        effects: &mut Effects,
    ) -> Noted {
        let device = reading.device.as_str();
        if !self.twins.contains_key(device) {
            if DEVICES_MAX <= self.twins.len() {
                counters.bump("devices.over_limit", effects);
                return Noted::OverLimit;
            }
            self.twins.insert(device.to_owned(), Twin::default());
        }
        let twin = self.twins.get_mut(device).expect("it was there or has just been inserted");
        if twin.kind != reading.sensor.as_str() {
            reading.sensor.as_str().clone_into(&mut twin.kind);
        }
        (twin.seen_ms, twin.boot) = (now.at.as_millis(), boot);
        if let Some(digest) = digest(reading, payload) {
            effects.is_repeat = self.recent.note(device, digest, effects);
        }
        // Intervals have a longer memory of their own, which counts their repetitions.
        if effects.is_repeat && !matches!(reading.what, What::Interval { .. }) {
            counters.bump("readings.repeated", effects);
            effects.put(Tree::Twins, device, json(twin));
            return Noted::Repeated;
        }
        twin.clock_wrong = reading.is_time_replaced;
        if twin.clock_wrong {
            counters.bump("readings.time_replaced", effects);
        }
        for (name, value) in measurements(reading) {
            let at_ms = reading.at.as_millis();
            match twin.values.get_mut(name) {
                Some(last) if supersedes(reading.at, last.0, now.at) => *last = (at_ms, value),
                Some(_) => {}
                None => {
                    twin.values.insert(name.to_owned(), (at_ms, value));
                }
            }
        }
        if let What::Presence(presence) = reading.what {
            let online = presence == Presence::Online;
            if twin.online != Some(online) {
                twin.online = Some(online);
                let kind = if online { "sensor.online" } else { "sensor.offline" };
                effects.event(kind, reading.at, device, &PresenceEvent { kind: &twin.kind });
            }
        }
        effects.put(Tree::Twins, device, json(twin));
        Noted::New
    }

    /// Whether a kiosk has recently sent the same event, which carries a counter or its time; remembers it otherwise.
    pub(super) fn is_repeated_event(
        &mut self,
        kiosk: &KioskId,
        payload: &[u8],
        counters: &mut Counters,
        effects: &mut Effects,
    ) -> bool {
        if !self.recent.has_room_for(kiosk.as_str(), 2 * DEVICES_MAX) {
            counters.bump("experience.kiosks_over_limit", effects);
            return false;
        }
        let is_repeat = self.recent.note(kiosk.as_str(), fnv([&b"kiosk/"[..], payload]), effects);
        if is_repeat {
            counters.bump("experience.repeated", effects);
        }
        is_repeat
    }

    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let device = state::device_key(Tree::Twins, key)?;
        self.twins.insert(device, state::value(Tree::Twins, key, value)?);
        Ok(())
    }

    pub(super) fn restore_recent(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        self.recent.restore(key, value)
    }

    pub(super) fn recent_entities(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.recent.entities()
    }

    pub(super) fn entities(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.twins.iter().map(|(device, twin)| (device.clone().into_bytes(), json(twin)))
    }

    /// What was said before the start `boot` tells nothing about who is online now.
    pub(super) fn view(&self, boot: u64) -> Vec<SensorSeen> {
        let seen = |(device, twin): (&String, &Twin)| {
            Some(SensorSeen {
                device: DeviceId::parse(device).ok()?,
                kind: twin.kind.clone(),
                online: twin.online.filter(|_| boot <= twin.boot),
                last_seen: Timestamp::saturating_from_millis(twin.seen_ms),
                battery_pct: twin.values.get("battery_pct").map(|(_, value)| value.to_f64()),
            })
        };
        self.twins.iter().filter_map(seen).collect()
    }
}

/// FNV-1a over kind, channel and payload, for messages that carry the device's counter or a time that is believed
/// and so differ whenever they mean something new. A clock that stands still or starts anew tells nothing.
fn digest(reading: &Reading, payload: &[u8]) -> Option<u64> {
    let has_time = reading.device_at.is_some() && !reading.is_time_replaced;
    if reading.seq.is_none() && !has_time {
        return None;
    }
    let parts =
        [reading.sensor.as_str().as_bytes(), b"/", reading.channel.as_str().as_bytes(), b"/", payload];
    Some(fnv(parts))
}

fn fnv<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    parts.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| part.iter().fold(hash, add))
}

/// The plain measurements of a reading, by the names of their fields.
pub(super) fn measurements(reading: &Reading) -> impl Iterator<Item = (&'static str, Micro)> {
    let none = [None; 5];
    let pieces = |count: Option<u32>| count.map(|count| Micro::from_count(u64::from(count)));
    let number = |value: Option<f64>| value.map(Micro::from_f64);
    let names = match reading.sensor {
        SensorKind::Bin => ["weight_g", "items", "", "", ""],
        _ => ["weight_g", "count", "temperature_c", "humidity_pct", "battery_pct"],
    };
    let values = match reading.what {
        What::Shelf { weight_g, count, temperature_c, humidity_pct, battery_pct } => [
            number(weight_g),
            pieces(count),
            number(temperature_c),
            number(humidity_pct),
            number(battery_pct),
        ],
        What::Climate { temperature_c, humidity_pct, battery_pct } => {
            [None, None, number(temperature_c), number(humidity_pct), number(battery_pct)]
        }
        What::Bin { weight_g, items } => [number(Some(weight_g)), pieces(items), None, None, None],
        _ => none,
    };
    names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?)))
}
