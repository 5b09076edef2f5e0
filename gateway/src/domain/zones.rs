//! Zones of the sales floor: who is there, and how long those stayed who have left.

use std::collections::BTreeMap;

use contract::{DeviceId, Timestamp, hub};
use serde::{Deserialize, Serialize};

use super::{
    Effects, RestoreError, Tree, ZONES_MAX, ZONES_PER_DEVICE_MAX, counters::Counters, deadlines::Moment,
    fixed::Micro, json, state, supersedes,
};

/// The mean stay covers the last hour, forgotten in steps of five minutes.
const DWELL_STEP_MS: i64 = 5 * 60_000;
const DWELL_STEPS: i64 = 12;

/// All zones by name.
#[derive(Debug, Default)]
pub(super) struct Zones(BTreeMap<String, Zone>);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Zone {
    device: String,
    at_ms: i64,
    occupancy: u32,
    /// Number and sum of stays by the start of their five minutes.
    dwell: BTreeMap<i64, (u64, Micro)>,
}

/// What one message says about one zone.
pub(super) struct Seen<'a> {
    pub(super) device: &'a DeviceId,
    pub(super) zone: &'a str,
    pub(super) at: Timestamp,
    pub(super) occupancy: u32,
    pub(super) dwell_s: &'a [f64],
}

impl Zones {
    /// Applies a message; false when it is about a zone too many.
    pub(super) fn apply(
        &mut self,
        seen: &Seen<'_>,
        now: Moment,
        counters: &mut Counters,
        effects: &mut Effects,
    ) -> bool {
        let is_new = !self.0.contains_key(seen.zone);
        if is_new {
            let of_device = self.0.values().filter(|zone| zone.device == seen.device.as_str()).count();
            if ZONES_MAX <= self.0.len() || ZONES_PER_DEVICE_MAX <= of_device {
                counters.bump("zones.over_limit", effects);
                return false;
            }
            self.0.insert(seen.zone.to_owned(), Zone::default());
        }
        let zone = self.0.get_mut(seen.zone).expect("it was there or has just been inserted");
        let mean_before = zone.dwell_mean_s();
        if !seen.dwell_s.is_empty() {
            let step = zone.dwell.entry(seen.at.window_start(DWELL_STEP_MS).as_millis()).or_default();
            for &dwell_s in seen.dwell_s {
                *step = (step.0.saturating_add(1), step.1.plus(Micro::from_f64(dwell_s)));
            }
        }
        let oldest_ms = now.at.as_millis().saturating_sub(DWELL_STEP_MS * DWELL_STEPS);
        let newest_ms = now.at.as_millis().saturating_add(super::AHEAD_MS_MAX);
        zone.dwell.retain(|&start_ms, _| (oldest_ms..=newest_ms).contains(&start_ms));
        let before = zone.occupancy;
        if is_new || supersedes(seen.at, zone.at_ms, now.at) {
            if zone.device != seen.device.as_str() {
                zone.device = seen.device.to_string();
            }
            zone.occupancy = seen.occupancy;
            zone.at_ms = seen.at.as_millis();
        }
        effects.put(Tree::Zones, seen.zone, json(zone));
        if is_new || before != zone.occupancy || mean_before != zone.dwell_mean_s() {
            effects.tell(hub::zone_topic(seen.zone), &zone.view(seen.zone));
        }
        true
    }

    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let zone = state::text_key(Tree::Zones, key)?;
        self.0.insert(zone, state::value(Tree::Zones, key, value)?);
        Ok(())
    }

    pub(super) fn entities(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.0.iter().map(|(name, zone)| (name.clone().into_bytes(), json(zone)))
    }

    pub(super) fn view(&self) -> Vec<hub::Zone> {
        self.0.iter().map(|(name, zone)| zone.view(name)).collect()
    }
}

impl Zone {
    #[expect(clippy::cast_precision_loss, reason = "an hour has far fewer than 2^52 stays")]
    fn dwell_mean_s(&self) -> Option<f64> {
        let (count, sum) = self
            .dwell
            .values()
            .fold((0_u64, Micro::default()), |all, step| (all.0 + step.0, all.1.plus(step.1)));
        (0 < count).then(|| sum.to_f64() / count as f64)
    }

    fn view(&self, name: &str) -> hub::Zone {
        hub::Zone {
            zone: name.to_owned(),
            occupancy: self.occupancy,
            dwell_mean_s: self.dwell_mean_s(),
            at: Timestamp::saturating_from_millis(self.at_ms),
        }
    }
}
