//! Whether somebody still stands before the kiosk, as the store's sensor of that zone tells.
//!
//! A visitor who was seen and whose place has been empty for a while is asked whether he is still there, without the
//! long wait of one who only stands still. The sensor alone never ends a visit: it may have missed somebody small, so
//! the question comes first, and a touch answers it. No camera is involved.

use std::time::Duration;

use bevy::prelude::*;

use crate::{
    link::{LinkState, StoreFacts},
    session::Session,
};

/// A place that was empty for this long has been left: shorter gaps are a sensor's.
const LEFT_AFTER: Duration = Duration::from_secs(6);

/// Watches the zone where [`Standing`] names one.
pub(crate) fn plugin(app: &mut App) {
    app.add_systems(Update, watch.run_if(resource_exists::<Standing>));
}

/// The zone before the kiosk.
#[derive(Resource, Debug)]
pub(crate) struct Standing {
    zone: String,
    /// Whether somebody was seen there since the visit began or the question was asked.
    is_seen: bool,
    empty_for: Duration,
}

impl Standing {
    /// Nobody has been seen in `zone` yet.
    #[must_use]
    pub(crate) fn new(zone: String) -> Self {
        Self { zone, is_seen: false, empty_for: Duration::ZERO }
    }

    /// Takes in how many people stand there now; whether they have just been found to have left.
    fn have_left(&mut self, people: Option<u32>, passed: Duration) -> bool {
        match people {
            Some(0) if self.is_seen => self.empty_for += passed,
            Some(0) | None => {}
            Some(_) => (self.is_seen, self.empty_for) = (true, Duration::ZERO),
        }
        let has_left = LEFT_AFTER <= self.empty_for;
        if has_left {
            self.forget();
        }
        has_left
    }

    fn forget(&mut self) {
        (self.is_seen, self.empty_for) = (false, Duration::ZERO);
    }
}

fn watch(
    time: Res<Time<Real>>,
    facts: Res<StoreFacts>,
    mut standing: ResMut<Standing>,
    mut session: ResMut<Session>,
) {
    if !session.is_open() {
        standing.forget();
        return;
    }
    // What an absent hub said last is not what is.
    let people = (facts.link == LinkState::Online)
        .then(|| facts.zones.values().find(|zone| zone.zone == standing.zone).map(|zone| zone.occupancy))
        .flatten();
    if standing.have_left(people, time.delta()) {
        session.ask();
    }
}

#[cfg(test)]
mod tests {
    use bevy::time::TimeUpdateStrategy;
    use contract::hub::Zone;

    use super::*;

    /// An app in which each update is one second, and a visitor who has just touched the screen.
    fn app() -> App {
        let mut app = App::new();
        app.add_plugins((MinimalPlugins, crate::i18n::plugin, crate::session::plugin, plugin))
            .init_resource::<StoreFacts>()
            .insert_resource(Standing::new("kiosk-front".to_owned()))
            .insert_resource(TimeUpdateStrategy::ManualDuration(Duration::from_secs(1)));
        app.world_mut().resource_mut::<StoreFacts>().link = LinkState::Online;
        app.update();
        app.world_mut().resource_mut::<Session>().touch();
        app
    }

    fn people(app: &mut App, zone: &str, occupancy: u32) {
        let at = contract::Timestamp::UNIX_EPOCH;
        let said = Zone { zone: zone.to_owned(), occupancy, dwell_mean_s: None, at };
        app.world_mut().resource_mut::<StoreFacts>().zones.insert(zone.to_owned(), said);
    }

    fn seconds(app: &mut App, seconds: u32) -> Option<Duration> {
        (0..seconds).for_each(|_| app.update());
        app.world().resource::<Session>().leaving_in()
    }

    #[test]
    fn a_visitor_who_was_seen_and_walks_away_is_asked_soon_and_forgotten() {
        let mut app = app();
        people(&mut app, "kiosk-front", 1);
        assert_eq!(seconds(&mut app, 10), None);
        people(&mut app, "kiosk-front", 0);
        assert_eq!(seconds(&mut app, 5), None, "a sensor may lose somebody for a moment");
        assert!(seconds(&mut app, 1).is_some());
        assert_eq!(seconds(&mut app, 20), None);
        assert!(!app.world().resource::<Session>().is_open());
    }

    #[test]
    fn whoever_touches_the_screen_is_there_whatever_the_sensor_says() {
        let mut app = app();
        people(&mut app, "kiosk-front", 0);
        assert_eq!(seconds(&mut app, 30), None, "nobody was seen, so nobody has left");
        people(&mut app, "kiosk-front", 2);
        app.world_mut().resource_mut::<Session>().touch();
        seconds(&mut app, 1);
        people(&mut app, "kiosk-front", 0);
        assert!(seconds(&mut app, 7).is_some());
        app.world_mut().resource_mut::<Session>().touch();
        assert_eq!(seconds(&mut app, 30), None, "the question was answered");
    }

    #[test]
    fn another_zone_and_an_absent_hub_say_nothing() {
        let mut app = app();
        people(&mut app, "kiosk-front", 1);
        people(&mut app, "wine", 0);
        assert_eq!(seconds(&mut app, 20), None);
        people(&mut app, "kiosk-front", 0);
        app.world_mut().resource_mut::<StoreFacts>().link = LinkState::Offline;
        assert_eq!(seconds(&mut app, 20), None);
    }
}
