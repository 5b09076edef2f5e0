//! What a kiosk tells about visits: `kiosk/<kiosk>/experience`, QoS 1, which the hub forwards in the stream
//! `experience`.
//!
//! Anonymous by construction: one event is one feature used once. Nothing in it links two events to one visitor: no
//! session, no person, no picture, no result, and a time that is cut to the minute.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The width to which [`Experience::at`] is cut.
pub const AT_WIDTH_MS: i64 = 60_000;

/// One feature, used once; such as `{"at":"2026-01-02T03:04:00.000Z","feature":"origin","duration_s":41,
/// "outcome":"genuine","gtin":"09521234543213"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experience {
    /// When it ended, cut to the minute.
    pub at: Timestamp,
    /// Which.
    pub feature: Feature,
    /// How long it was on the screen.
    pub duration_s: u32,
    /// What came of it: a word of the feature, such as `found`, `genuine`, `collected`, or `left`.
    pub outcome: String,
    /// The product that it was about, where there was one: never a lot or a serial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtin: Option<String>,
    /// With [`Feature::Queue`]: how many events were lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// What a kiosk can do for a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// What a visitor's skin looks like.
    Skin,
    /// Where a product comes from.
    Origin,
    /// How a product would look.
    TryOn,
    /// An order in a locker.
    PickUp,
    /// What the store has today.
    Offers,
    /// None: events were lost while the hub was away, with the outcome `dropped` and their `count`.
    Queue,
}

impl Experience {
    /// An event that ended at `at`.
    #[must_use]
    pub fn new(at: Timestamp, feature: Feature, duration_s: u32, outcome: impl Into<String>) -> Self {
        let at = at.window_start(AT_WIDTH_MS);
        Self { at, feature, duration_s, outcome: outcome.into(), gtin: None, count: None }
    }

    /// That `count` events were lost.
    #[must_use]
    pub fn dropped(at: Timestamp, count: u64) -> Self {
        Self { count: Some(count), ..Self::new(at, Feature::Queue, 0, "dropped") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_its_feature_and_nothing_that_links_it_to_another() {
        let at = Timestamp::saturating_from_millis(1_767_323_045_678);
        let mut event = Experience::new(at, Feature::TryOn, 41, "shown");
        event.gtin = Some("09521234543213".to_owned());
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            r#"{"at":"2026-01-02T03:04:00.000Z","feature":"try_on","duration_s":41,"outcome":"shown","gtin":"09521234543213"}"#
        );
        assert_eq!(serde_json::from_str::<Experience>(&text).unwrap(), event);
        assert_eq!(
            serde_json::to_string(&Experience::dropped(at, 7)).unwrap(),
            r#"{"at":"2026-01-02T03:04:00.000Z","feature":"queue","duration_s":0,"outcome":"dropped","count":7}"#
        );
    }
}
