//! Experience events: which feature, how long, what came of it. Anonymous, told to the hub sooner or later.
//!
//! Owns [`Visit`]: the feature that is in use now. A screen says when its feature begins and ends and what came of it;
//! an event leaves when the feature ends, also when the session does. Nothing links two events to one visitor. What is
//! lost while the hub is away is counted, and the count is told when it is back.

use std::time::Duration;

use bevy::prelude::*;
use contract::experience::Experience;
pub use contract::experience::Feature;

use crate::link::{Link, LinkState, StoreFacts};

/// Longest outcome that is told; a feature's words are shorter.
const OUTCOME_BYTES_MAX: usize = 64;

/// Tells what ends, and what was lost.
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<Visit>().add_systems(Last, tell);
}

/// The feature that is in use now.
#[derive(Resource, Debug, Default)]
pub struct Visit {
    now: Option<Use>,
    /// What has ended and is to be told; at most one for each change of screen in a frame.
    ended: Vec<Experience>,
}

#[derive(Debug)]
struct Use {
    feature: Feature,
    since: Duration,
    outcome: String,
    gtin: Option<String>,
}

/// Features that can end between two frames; more is no visitor.
const ENDED_MAX: usize = 8;

impl Visit {
    /// A feature begins at `since`, the time since the start.
    pub fn begin(&mut self, feature: Feature, since: Duration) {
        self.end(since);
        self.now = Some(Use { feature, since, outcome: "left".to_owned(), gtin: None });
    }

    /// What came of it so far.
    pub fn came_to(&mut self, outcome: &str, gtin: Option<&str>) {
        if let Some(now) = &mut self.now {
            if now.outcome != outcome {
                now.outcome = outcome.chars().take(OUTCOME_BYTES_MAX).collect();
            }
            if now.gtin.as_deref() != gtin {
                now.gtin = gtin.filter(|gtin| gtin.len() <= 14).map(str::to_owned);
            }
        }
    }

    /// What came of it so far, about the same product as before.
    pub fn went_on_to(&mut self, outcome: &str) {
        let gtin = self.now.as_mut().and_then(|now| now.gtin.take());
        self.came_to(outcome, gtin.as_deref());
    }

    /// It ends.
    pub fn end(&mut self, now: Duration) {
        let Some(used) = self.now.take() else { return };
        if self.ended.len() < ENDED_MAX {
            let seconds = now.saturating_sub(used.since).as_secs();
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            let mut event = Experience::new(crate::now(), used.feature, seconds, used.outcome);
            event.gtin = used.gtin;
            self.ended.push(event);
        }
    }
}

fn tell(mut visit: ResMut<Visit>, link: Option<Res<Link>>, facts: Res<StoreFacts>) {
    if !visit.ended.is_empty() {
        for event in std::mem::take(&mut visit.ended) {
            // A kiosk that stands alone has nobody to tell.
            if let Some(link) = &link {
                link.tell(json(&event));
            }
        }
    }
    if let Some(link) = link
        && facts.link == LinkState::Online
    {
        let dropped = link.take_dropped();
        if 0 < dropped {
            warn!("{dropped} experience events were lost while the hub was away");
            link.tell(json(&Experience::dropped(crate::now(), dropped)));
        }
    }
}

fn json(event: &Experience) -> Vec<u8> {
    serde_json::to_vec(event).expect("an event has only text keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_feature_that_ends_is_told_with_its_outcome_and_its_product() {
        let mut visit = Visit::default();
        visit.came_to("found", None);
        visit.begin(Feature::Origin, seconds(10));
        visit.came_to("looking", None);
        visit.came_to("genuine", Some("09521234543213"));
        visit.begin(Feature::PickUp, seconds(51));
        visit.came_to("open", Some("2000000000015"));
        visit.went_on_to("collected");
        visit.end(seconds(60));
        visit.end(seconds(70));
        let told: Vec<_> = visit
            .ended
            .iter()
            .map(|event| (event.feature, event.duration_s, event.outcome.as_str(), event.gtin.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                (Feature::Origin, 41, "genuine", Some("09521234543213")),
                (Feature::PickUp, 9, "collected", Some("2000000000015")),
            ]
        );
    }

    #[test]
    fn an_event_fits_what_the_hub_takes_and_is_cut_to_the_minute() {
        let mut visit = Visit::default();
        visit.begin(Feature::Skin, seconds(0));
        visit.came_to(&"x".repeat(1000), Some("not a gtin, far too long"));
        visit.end(seconds(1));
        let event = &visit.ended[0];
        assert_eq!((event.outcome.len(), &event.gtin), (OUTCOME_BYTES_MAX, &None));
        assert_eq!(event.at.as_millis() % contract::experience::AT_WIDTH_MS, 0);
    }
}
