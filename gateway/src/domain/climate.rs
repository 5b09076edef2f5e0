//! Fridges and rooms: the last temperature and humidity of each.

use std::collections::BTreeMap;

use contract::{DeviceId, Timestamp, hub};
use serde::{Deserialize, Serialize};

use super::{Effects, RestoreError, Tree, deadlines::Moment, fixed::Micro, json, state, supersedes};

/// All of them by device.
#[derive(Debug, Default)]
pub(super) struct Climates(BTreeMap<String, Climate>);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Climate {
    at_ms: i64,
    temperature_c: Option<Micro>,
    humidity_pct: Option<Micro>,
}

impl Climates {
    pub(super) fn apply(
        &mut self,
        device: &DeviceId,
        at: Timestamp,
        temperature_c: Option<f64>,
        humidity_pct: Option<f64>,
        now: Moment,
        effects: &mut Effects,
    ) {
        let is_new = !self.0.contains_key(device.as_str());
        let climate = self.0.entry(device.to_string()).or_default();
        if !is_new && !supersedes(at, climate.at_ms, now.at) {
            return;
        }
        let shown = climate.shown();
        climate.at_ms = at.as_millis();
        climate.temperature_c = temperature_c.map(Micro::from_f64).or(climate.temperature_c);
        climate.humidity_pct = humidity_pct.map(Micro::from_f64).or(climate.humidity_pct);
        effects.put(Tree::Climate, device.as_str(), json(climate));
        // Noise below what a screen shows is not worth a message to every screen.
        if is_new || shown != climate.shown() {
            effects.tell(hub::climate_topic(device), &climate.view(device));
        }
    }

    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let device = state::device_key(Tree::Climate, key)?;
        self.0.insert(device, state::value(Tree::Climate, key, value)?);
        Ok(())
    }

    pub(super) fn entities(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.0.iter().map(|(device, climate)| (device.clone().into_bytes(), json(climate)))
    }

    pub(super) fn view(&self) -> Vec<hub::Climate> {
        self.0.iter().filter_map(|(id, climate)| Some(climate.view(&DeviceId::parse(id).ok()?))).collect()
    }
}

impl Climate {
    fn shown(&self) -> (Option<i64>, Option<i64>) {
        (self.temperature_c.map(Micro::tenths), self.humidity_pct.map(Micro::tenths))
    }

    fn view(&self, device: &DeviceId) -> hub::Climate {
        hub::Climate {
            device: device.clone(),
            temperature_c: self.temperature_c.map(Micro::to_f64),
            humidity_pct: self.humidity_pct.map(Micro::to_f64),
            at: Timestamp::saturating_from_millis(self.at_ms),
        }
    }
}
