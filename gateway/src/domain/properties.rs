//! What must hold for every sequence of inputs: property tests, and small stories of the whole state.

use std::collections::BTreeMap;

use contract::{Timestamp, upstream::Stream};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const START_MS: i64 = 1_795_378_680_000;

/// One journal record as the tests write it: seconds since the last one, and what happened.
#[derive(Debug, Clone)]
struct Step {
    wall_ms: i64,
    mono_ms: u64,
    boots: bool,
    publish: Option<(String, String)>,
}

#[derive(Debug, Clone)]
struct Recorded {
    seq: u64,
    at: Timestamp,
    mono_ms: u64,
    boot: u64,
    publish: Option<(String, String)>,
}

impl Recorded {
    fn input(&self) -> Input<'_> {
        let kind = match &self.publish {
            Some((topic, payload)) => InputKind::Publish { device: "d", topic, payload: payload.as_bytes() },
            None => InputKind::Tick,
        };
        Input { seq: self.seq, at: self.at, mono_ms: self.mono_ms, boot: self.boot, kind }
    }
}

fn recorded(steps: &[Step]) -> Vec<Recorded> {
    let (mut at_ms, mut mono_ms, mut boot) = (START_MS, 5_000, 1);
    let record = |(seq, step): (u64, &Step)| {
        at_ms += step.wall_ms;
        mono_ms = if step.boots { 0 } else { mono_ms + step.mono_ms };
        boot += u64::from(step.boots);
        let at = Timestamp::saturating_from_millis(at_ms);
        Recorded { seq, at, mono_ms, boot, publish: step.publish.clone() }
    };
    (1..).zip(steps).map(record).collect()
}

fn planogram() -> Planogram {
    Planogram::parse("[shelf.s1]\nunit_weight_g = 100\ntare_g = 50\ncapacity = 9\ngtin = \"4006381333931\"")
        .unwrap()
}

/// A hub under test: the state, what it would have stored, and what it said.
struct Hub {
    state: State,
    stored: BTreeMap<EntityKey, Vec<u8>>,
    rows: Vec<DerivedRow>,
    hub: BTreeMap<String, Value>,
    now: Recorded,
}

impl Hub {
    fn new() -> Self {
        let at = Timestamp::saturating_from_millis(START_MS);
        let now = Recorded { seq: 0, at, mono_ms: 5_000, boot: 1, publish: None };
        let state = State::new(planogram());
        Self { state, stored: BTreeMap::new(), rows: Vec::new(), hub: BTreeMap::new(), now }
    }

    fn apply(&mut self, record: &Recorded) -> Effects {
        let effects = self.state.apply(&record.input());
        for (key, value) in effects.changed.clone() {
            match value {
                Some(value) => self.stored.insert(key, value),
                None => self.stored.remove(&key),
            };
        }
        self.rows.extend(effects.rows.clone());
        let hub =
            effects.hub.iter().map(|(topic, json)| (topic.clone(), serde_json::from_slice(json).unwrap()));
        self.hub.extend(hub);
        effects
    }

    fn after(&mut self, ms: i64, publish: Option<(&str, String)>) -> Effects {
        self.now.seq += 1;
        self.now.at = self.now.at.plus_millis(ms);
        self.now.mono_ms += ms.unsigned_abs();
        self.now.publish = publish.map(|(topic, payload)| (topic.to_owned(), payload));
        let record = self.now.clone();
        self.apply(&record)
    }

    fn say(&mut self, topic: &str, payload: &str) -> Effects {
        self.after(1_000, Some((topic, payload.to_owned())))
    }

    fn tick(&mut self, ms: i64) -> Effects {
        self.after(ms, None)
    }

    fn events(&self) -> Vec<(&str, Value)> {
        let events = self.rows.iter().filter(|row| row.stream == Stream::Events);
        events.map(|row| (row.kind.as_str(), serde_json::from_str(&row.data).unwrap())).collect()
    }

    /// The last revision of every window: number and sum by kind, metric and start.
    fn windows(&self) -> BTreeMap<(String, String, String), (u64, f64)> {
        let mut windows = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.stream == Stream::Rollups) {
            let data: Value = serde_json::from_str(&row.data).unwrap();
            let text = |name: &str| data[name].as_str().unwrap().to_owned();
            let told = (data["count"].as_u64().unwrap(), data["sum"].as_f64().unwrap());
            windows.insert((row.kind.clone(), text("device") + "/" + &text("metric"), text("from")), told);
        }
        windows
    }

    fn counter(&self, name: &str) -> u64 {
        self.state.view().counters.get(name).copied().unwrap_or(0)
    }
}

fn any_payload() -> impl Strategy<Value = (String, String)> {
    let at = |ago_s: i64| Timestamp::saturating_from_millis(START_MS + 300_000 - ago_s * 1_000);
    prop_oneof![
        (1..4_u8, 0..3_000_u32, -700..1_300_i64).prop_map(move |(shelf, weight, ago_s)| (
            format!("sensors/shelf/s{shelf}/reading"),
            format!(r#"{{"weight_g":{}.25,"at":"{}"}}"#, weight, at(ago_s))
        )),
        (0..12_u32).prop_map(|count| ("sensors/shelf/s4/reading".into(), format!(r#"{{"count":{count}}}"#))),
        (0..9_u32, any::<bool>()).prop_map(|(tag, gone)| (
            "sensors/shelf/s5/tags".into(),
            format!(r#"{{"{}":["E280117{tag}"]}}"#, if gone { "gone" } else { "appeared" })
        )),
        (1..4_u16, any::<bool>(), any::<Option<bool>>()).prop_map(|(compartment, open, tamper)| (
            "sensors/locker/b1/door".into(),
            format!(
                r#"{{"compartment":{compartment},"door":"{}","tamper":{}}}"#,
                if open { "open" } else { "closed" },
                tamper.map_or("null".to_owned(), |tamper| tamper.to_string())
            )
        )),
        (0..20_i64, 0..9_u32, 0..9_u32).prop_map(move |(minute, count_in, count_out)| (
            "sensors/traffic/t1/count".into(),
            format!(
                r#"{{"line":"a","from":"{}","to":"{}","in":{count_in},"out":{count_out}}}"#,
                at(minute * 60 + 60),
                at(minute * 60)
            )
        )),
        (0..70_000_u64, 0..900_u64).prop_map(|(total_in, total_out)| (
            "sensors/traffic/t2/count".into(),
            format!(r#"{{"line":"b","total_in":{total_in},"total_out":{total_out}}}"#)
        )),
        (0..9_u32, prop::collection::vec(0..500_u32, 0..3)).prop_map(|(occupancy, dwell)| (
            "sensors/traffic/t1/zone".into(),
            format!(r#"{{"zone":"护肤","occupancy":{occupancy},"dwell_s":{dwell:?}}}"#)
        )),
        (-300..300_i32).prop_map(|tenths| (
            "sensors/climate/f1/reading".into(),
            format!(r#"{{"temperature_c":{}}}"#, f64::from(tenths) / 7.0)
        )),
        any::<bool>().prop_map(|on| (
            "sensors/climate/f1/status".into(),
            if on { "online" } else { "offline" }.to_owned()
        )),
        Just(("sensors/climate/f1/reading".to_owned(), "garbage".to_owned())),
        Just(("kiosk/k1/experience".to_owned(), r#"{"feature":"skin"}"#.to_owned())),
    ]
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    // Mostly seconds; sometimes an hour passes, the wall clock steps, or the hub starts anew.
    let time = prop_oneof![
        8 => (0..9_000_i64).prop_map(|ms| (ms, ms.unsigned_abs(), false)),
        1 => Just((3_700_000, 3_700_000, false)),
        1 => (-4_000_000..4_000_000_i64).prop_map(|ms| (ms, 1, false)),
        1 => Just((20_000, 0, true)),
    ];
    let step = (time, prop::option::weighted(0.9, any_payload()))
        .prop_map(|((wall_ms, mono_ms, boots), publish)| Step { wall_ms, mono_ms, boots, publish });
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_replay_gives_the_same_effects_and_a_restored_state_goes_on_like_the_old_one(
        steps in any_steps(),
        cut in 0..120_usize,
    ) {
        let records = recorded(&steps);
        let (before, after) = records.split_at(cut.min(records.len()));
        let mut hub = Hub::new();
        let mut replayed = State::new(planogram());
        for record in before {
            prop_assert_eq!(hub.apply(record), replayed.apply(&record.input()));
        }

        let entities: BTreeMap<_, _> = hub.state.entities().collect();
        prop_assert_eq!(&entities, &hub.stored, "what was changed is what there is");
        let mut restored = State::new(planogram());
        for (key, value) in entities.into_iter().rev() {
            restored.restore(key, &value).unwrap();
        }
        prop_assert_eq!(restored.view(), hub.state.view());
        for record in after {
            prop_assert_eq!(restored.apply(&record.input()), hub.apply(record));
        }
        prop_assert!(restored.entities().eq(hub.state.entities()));
    }

    #[test]
    fn roll_ups_sum_up_to_the_accepted_readings_in_any_order_with_repetitions(
        weights in prop::collection::vec((0..100_000_u32, 0..600_i64), 1..60),
        order in any::<u64>(),
    ) {
        let mut messages: Vec<String> = weights
            .iter()
            .enumerate()
            .map(|(seq, &(weight, ago_s))| {
                let at = Timestamp::saturating_from_millis(START_MS - ago_s * 1_000);
                format!(r#"{{"weight_g":{},"at":"{at}","seq":{seq}}}"#, f64::from(weight) / 8.0)
            })
            .collect();
        // A cheap shuffle that the shrinker can follow.
        messages.sort_by_key(|message| message.bytes().fold(order, |hash, b| (hash ^ u64::from(b)).wrapping_mul(31)));
        let mut hub = Hub::new();
        for message in &messages {
            hub.after(700, Some(("sensors/shelf/s1/reading", message.clone())));
            hub.after(10, Some(("sensors/shelf/s1/reading", message.clone())));
        }
        hub.tick(4_000_000);
        hub.tick(4_000_000);
        let expected: f64 = weights.iter().map(|&(weight, _)| f64::from(weight) / 8.0).sum();
        for kind in ["rollup.1m", "rollup.1h"] {
            let told = hub.windows().into_iter().filter(|((of, metric, _), _)| of == kind && metric == "s1/weight_g");
            let (count, sum) = told.fold((0, 0.0), |all, (_, told)| (all.0 + told.0, all.1 + told.1));
            prop_assert_eq!(count, weights.len() as u64);
            prop_assert_eq!(sum, expected);
        }
        prop_assert_eq!(hub.counter("readings.repeated"), weights.len() as u64);
    }
}

/// A shelf's reading with the device's counter.
fn numbered(seq: u64) -> String {
    format!(r#"{{"count":4,"seq":{seq}}}"#)
}

#[test]
fn a_message_is_known_again_within_the_window_also_after_a_restart_and_not_beyond() {
    let shelf = "sensors/shelf/s1/reading";
    let window = u64::try_from(recent::RECENT_MIN).unwrap();
    let block = u64::try_from(recent::BLOCK_DIGESTS).unwrap();
    // Wherever in a block the first one falls.
    for lead in 0..block + 2 {
        let mut hub = Hub::new();
        for seq in 0..lead + window {
            assert!(!hub.say(shelf, &numbered(seq)).is_repeat);
        }
        let mut restored = State::new(planogram());
        for (key, value) in hub.stored.clone() {
            restored.restore(key, &value).unwrap();
        }
        hub.state = restored;
        assert!(hub.say(shelf, &numbered(lead)).is_repeat, "the window's oldest");
        assert!(hub.say(shelf, &numbered(lead + window - 1)).is_repeat, "the newest");
        for seq in lead + window..=lead + window + block {
            assert!(!hub.say(shelf, &numbered(seq)).is_repeat);
        }
        assert!(!hub.say(shelf, &numbered(lead)).is_repeat, "beyond the window nothing is known");
    }
}

#[test]
fn only_what_carries_a_counter_or_a_believed_time_can_be_a_repetition() {
    let mut hub = Hub::new();
    let mut twice = |topic: &str, payload: &str| {
        assert!(!hub.say(topic, payload).is_repeat);
        hub.say(topic, payload).is_repeat
    };
    assert!(twice("sensors/shelf/s1/reading", r#"{"count":4,"seq":1}"#));
    assert!(twice("sensors/shelf/s1/reading", r#"{"count":4,"at":"2026-11-22T20:17:30Z"}"#));
    assert!(twice("sensors/shelf/s2/reading", r#"{"count":4,"seq":1}"#), "another device");
    assert!(twice(
        "sensors/traffic/t1/count",
        r#"{"line":"a","from":"2026-11-22T20:16:00Z","to":"2026-11-22T20:17:00Z","in":3,"out":1}"#
    ));
    assert!(!twice("sensors/shelf/s1/reading", r#"{"count":4}"#));
    assert!(!twice("sensors/shelf/s1/status", "online"));
    assert!(
        !twice("sensors/shelf/s1/reading", r#"{"count":4,"at":"1970-01-01T00:00:00Z"}"#),
        "a clock that starts anew says the same time for something new"
    );
    assert!(!twice("kiosk/k1/experience", r#"{"feature":"skin","seq":1}"#), "no reading");
}

#[test]
fn a_kiosk_event_that_comes_again_is_one_row_when_it_tells_which_one_it_is() {
    let mut hub = Hub::new();
    let mut rows = |payload: &str| hub.say("kiosk/k1/experience", payload).rows.len();
    for telling in [r#"{"feature":"skin","seq":1}"#, r#"{"feature":"skin","at":"2026-11-22T20:17:30.250Z"}"#]
    {
        assert_eq!([rows(telling), rows(telling)], [1, 0], "{telling}");
    }
    assert_eq!(rows(r#"{"feature":"skin","seq":2}"#), 1);
    let plain = r#"{"feature":"skin"}"#;
    assert_eq!([rows(plain), rows(plain)], [1, 1], "two visitors may do the same");
}

#[test]
fn goods_taken_and_put_back_are_events_once_the_weight_has_settled() {
    let mut hub = Hub::new();
    let shelf = "sensors/shelf/s1/reading";
    hub.say(shelf, r#"{"weight_g":550}"#);
    assert_eq!(hub.hub["hub/stock/s1"]["pieces"], 5);
    hub.say(shelf, r#"{"weight_g":352}"#);
    assert_eq!(hub.hub["hub/stock/s1"]["pieces"], 3, "screens show it at once");
    assert!(hub.events().is_empty(), "a hand may still be on the shelf");
    hub.say(shelf, r#"{"weight_g":349}"#);
    hub.say(shelf, r#"{"weight_g":449}"#);
    hub.tick(2_000);
    let event = |before: u32, after: u32| serde_json::json!({"gtin": "04006381333931", "before": before, "after": after, "pieces": before.abs_diff(after)});
    assert_eq!(hub.events(), [("stock.taken", event(5, 3)), ("stock.put_back", event(3, 4))]);
}

#[test]
fn a_hand_on_the_shelf_is_no_event_and_no_piece() {
    let mut hub = Hub::new();
    let shelf = "sensors/shelf/s1/reading";
    for weight_g in [550, 1_500, 550, 550] {
        hub.after(500, Some((shelf, format!(r#"{{"weight_g":{weight_g}}}"#))));
    }
    hub.say(shelf, r#"{"weight_g":600}"#);
    hub.tick(60_000);
    assert!(hub.events().is_empty());
    assert_eq!(hub.state.view().stock[0].pieces, Some(5), "a weight between two numbers leaves the last one");
}

#[test]
fn counts_and_tags_are_events_at_once() {
    let mut hub = Hub::new();
    hub.say("sensors/shelf/s4/reading", r#"{"count":3}"#);
    hub.say("sensors/shelf/s4/reading", r#"{"count":2}"#);
    hub.say("sensors/shelf/s5/tags", r#"{"present":["E2801170","E2801171"]}"#);
    hub.say("sensors/shelf/s5/tags", r#"{"gone":["E2801170"]}"#);
    hub.say("sensors/shelf/s5/tags", r#"{"appeared":["e2801171"]}"#);
    let kinds: Vec<_> = hub.events().iter().map(|(kind, data)| (*kind, data["after"].as_u64())).collect();
    assert_eq!(kinds, [("stock.taken", Some(2)), ("stock.taken", Some(1))]);
}

#[test]
fn locker_events_follow_the_doors() {
    let mut hub = Hub::new();
    let door = "sensors/locker/b1/door";
    hub.say(door, r#"{"compartment":1,"door":"closed","occupied":true}"#);
    hub.say(door, r#"{"compartment":1,"door":"open"}"#);
    hub.say(door, r#"{"compartment":1,"door":"open"}"#);
    hub.say(door, r#"{"compartment":1,"door":"closed","occupied":false}"#);
    hub.say(door, r#"{"compartment":2,"door":"closed","tamper":true}"#);
    let kinds: Vec<_> = hub.events().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["locker.opened", "locker.closed", "locker.tamper"]);
    let bank = &hub.state.view().lockers[0];
    assert_eq!((bank.compartments[&1].occupied, bank.compartments[&2].tamper), (Some(false), true));
    assert_eq!(hub.hub["hub/lockers/b1"], serde_json::to_value(bank).unwrap());
}

#[test]
fn an_interval_counts_once_and_the_day_starts_at_midnight_in_the_store() {
    let mut hub = Hub::new();
    let count = "sensors/traffic/t1/count";
    let interval =
        r#"{"line":"门","from":"2026-11-22T20:16:00Z","to":"2026-11-22T20:17:00Z","in":3,"out":1}"#;
    hub.say(count, interval);
    hub.say(count, interval);
    hub.say(
        count,
        r#"{"line":"门","from":"2026-11-22T15:16:00Z","to":"2026-11-22T15:17:00Z","in":9,"out":9}"#,
    );
    let today = hub.state.view().traffic.unwrap();
    assert_eq!((today.count_in, today.count_out), (3, 1), "15:16Z was yesterday in China");
    assert_eq!(today.day_start.to_string(), "2026-11-22T16:00:00.000Z");
    assert_eq!(hub.counter("traffic.interval_repeated"), 1);
    hub.tick(20 * 3_600_000);
    let tomorrow = hub.state.view().traffic.unwrap();
    assert_eq!((tomorrow.count_in, tomorrow.day_start.to_string().as_str()), (0, "2026-11-23T16:00:00.000Z"));
    let sums: f64 = hub
        .windows()
        .iter()
        .filter(|((kind, metric, _), _)| kind == "rollup.1h" && metric == "t1/count_in")
        .map(|(_, told)| told.1)
        .sum();
    assert_eq!(sums, 12.0);
}

#[test]
fn the_memory_of_intervals_is_bounded_and_what_is_older_is_refused() {
    let mut hub = Hub::new();
    let minute = |n: i64| {
        let from = Timestamp::saturating_from_millis(START_MS + (n - 400) * 60_000);
        format!(r#"{{"line":"a","from":"{from}","to":"{}","in":1,"out":0}}"#, from.plus_millis(60_000))
    };
    for n in 0..=traffic::INTERVALS_PER_LINE_MAX as i64 {
        hub.say("sensors/traffic/t1/count", &minute(n));
    }
    hub.say("sensors/traffic/t1/count", &minute(0));
    assert_eq!(hub.counter("traffic.interval_too_old"), 1);
    assert_eq!(
        hub.state.entities().filter(|(key, _)| key.key.starts_with(b"i")).count(),
        traffic::INTERVALS_PER_LINE_MAX
    );
}

#[test]
fn a_counter_without_the_time_counts_again_after_its_restart() {
    let mut hub = Hub::new();
    let interval = |count: u32| {
        format!(
            r#"{{"line":"a","from":"1970-01-01T00:00:00Z","to":"1970-01-01T00:01:00Z","in":{count},"out":0}}"#
        )
    };
    for count in [2, 2, 5, 2] {
        hub.say("sensors/traffic/t1/count", &interval(count));
    }
    assert_eq!(hub.state.view().traffic.unwrap().count_in, 9, "only the immediate repetition is left out");
}

#[test]
fn a_window_is_told_after_its_grace_and_again_when_late_data_comes() {
    let mut hub = Hub::new();
    let shelf = "sensors/shelf/s4/reading";
    let reading = |seq: u64| format!(r#"{{"count":4,"seq":{seq},"at":"2026-11-22T20:17:30Z"}}"#);
    hub.after(0, Some((shelf, reading(1))));
    hub.tick(29_999);
    assert!(
        hub.windows().is_empty(),
        "the grace of a window that is already over starts with its first reading"
    );
    hub.tick(1);
    let window = |hub: &Hub| hub.windows().into_iter().find(|((kind, ..), _)| kind == "rollup.1m").unwrap().1;
    assert_eq!(window(&hub), (1, 4.0));
    hub.after(0, Some((shelf, reading(2))));
    hub.tick(30_000);
    assert_eq!(window(&hub), (2, 8.0));
    let revisions: Vec<Value> = hub
        .rows
        .iter()
        .filter(|row| row.kind == "rollup.1m")
        .map(|row| serde_json::from_str::<Value>(&row.data).unwrap()["revision"].clone())
        .collect();
    assert_eq!(revisions, [1, 2]);
}

#[test]
fn windows_close_on_the_steady_clock_when_the_wall_clock_steps_back() {
    let mut hub = Hub::new();
    hub.say("sensors/climate/f1/reading", r#"{"temperature_c":4}"#);
    hub.now.at = hub.now.at.plus_millis(-7_200_000);
    hub.now.mono_ms += 90_000;
    hub.tick(0);
    assert_eq!(hub.rows.iter().filter(|row| row.kind == "rollup.1m").count(), 1);
}

#[test]
fn told_windows_are_forgotten_by_number_and_later_readings_for_them_counted() {
    let mut hub = Hub::new();
    let climate = "sensors/climate/f1/reading";
    let told_max = i64::try_from(rollups::WIDTHS[0].told_max).unwrap();
    for _ in 0..told_max + 3 {
        hub.after(60_000, Some((climate, r#"{"temperature_c":4}"#.to_owned())));
    }
    let old = Timestamp::saturating_from_millis(START_MS).plus_millis(60_000);
    hub.say(climate, &format!(r#"{{"temperature_c":4,"at":"{old}"}}"#));
    assert_eq!(hub.counter("rollups.too_late"), 1, "the minute is forgotten, the hour is not");
}

#[test]
fn a_sensor_that_goes_and_comes_is_an_event_and_a_repetition_is_none() {
    let mut hub = Hub::new();
    for word in ["online", "online", "offline", "online"] {
        hub.say("sensors/bin/b1/status", word);
    }
    let kinds: Vec<_> = hub.events().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["sensor.online", "sensor.offline", "sensor.online"]);
    assert_eq!(hub.state.view().sensors[0].online, Some(true));
}

#[test]
fn nobody_is_online_after_a_start_of_the_hub_until_it_is_heard_again() {
    let mut hub = Hub::new();
    hub.say("sensors/bin/b1/status", "online");
    hub.say("sensors/bin/b2/status", "online");
    let boot = hub.now.boot + 1;
    hub.state.show_in(boot);
    let online = |hub: &Hub| hub.state.view().sensors.iter().map(|sensor| sensor.online).collect::<Vec<_>>();
    assert_eq!(online(&hub), [None, None], "before any input of this start");
    (hub.now.boot, hub.now.mono_ms) = (boot, 0);
    hub.tick(1_000);
    assert_eq!(online(&hub), [None, None]);
    hub.say("sensors/bin/b2/reading", r#"{"weight_g":1}"#);
    assert_eq!(online(&hub), [None, Some(true)], "it speaks");
    hub.say("sensors/bin/b1/status", "offline");
    assert_eq!(online(&hub), [Some(false), Some(true)]);
}

#[test]
fn a_refused_payload_changes_a_counter_and_nothing_else() {
    let mut hub = Hub::new();
    hub.tick(0);
    let effects = hub.say("sensors/shelf/s1/reading", r#"{"weight_g":-1}"#);
    assert_eq!(effects.changed.len(), 1);
    assert_eq!(hub.counter("readings.refused.range"), 1);
    assert!(hub.state.view().sensors.is_empty());
}

#[test]
fn limits_turn_away_with_a_counter() {
    let mut hub = Hub::new();
    for zone in 0..=ZONES_PER_DEVICE_MAX {
        hub.say("sensors/traffic/t1/zone", &format!(r#"{{"zone":"z{zone}","occupancy":1}}"#));
        hub.say("sensors/traffic/t1/count", &format!(r#"{{"line":"l{zone}","total_in":1,"total_out":1}}"#));
    }
    for compartment in 0..=COMPARTMENTS_PER_BANK_MAX {
        hub.say("sensors/locker/b1/door", &format!(r#"{{"compartment":{compartment},"door":"closed"}}"#));
    }
    for device in 0..=DEVICES_MAX {
        hub.say(&format!("sensors/bin/bin-{device}/status"), "online");
    }
    assert_eq!(hub.counter("zones.over_limit"), 1);
    assert_eq!(hub.counter("traffic.lines_over_limit"), 1);
    assert_eq!(hub.counter("lockers.over_limit"), 1);
    assert_eq!(hub.counter("devices.over_limit"), 3, "two devices were there before");
}

#[test]
fn a_foreign_entity_is_refused_by_tree_and_key() {
    let mut state = State::new(planogram());
    let entity = |tree, key: &[u8]| EntityKey { tree, key: key.to_vec() };
    for (tree, key) in [
        (Tree::Rollups, &b"w\x09a\0b12345678"[..]),
        (Tree::Lockers, b"b"),
        (Tree::Twins, b"A"),
        (Tree::Recent, b"a"),
        (Tree::Recent, b"A/1"),
        (Tree::Meta, b"x"),
        (Tree::Traffic, b"i"),
    ] {
        let error = state.restore(entity(tree, key), b"{}").unwrap_err();
        assert!(matches!(error, RestoreError::Key { .. }), "{tree:?} {error}");
    }
    let error = state.restore(entity(Tree::Twins, b"a"), b"[]x").unwrap_err();
    assert_eq!(error.to_string(), "entity `a` of `twins` cannot be read");
    for (key, value) in
        [(&b"a/0"[..], &[0; 8][..]), (b"a/0", &[0; 17]), (b"a/1", &[0; 16]), (b"a/0", &[1; 16])]
    {
        let error = state.restore(entity(Tree::Recent, key), value).unwrap_err();
        assert!(error.to_string().ends_with("bytes that mean nothing"), "{error}");
    }
}

#[test]
fn hub_messages_are_what_was_told_last() {
    let mut hub = Hub::new();
    hub.say("sensors/shelf/s1/reading", r#"{"weight_g":550}"#);
    hub.say("sensors/traffic/t1/zone", r#"{"zone":"a","occupancy":2,"dwell_s":[3,5]}"#);
    hub.say("sensors/climate/f1/reading", r#"{"temperature_c":4.5}"#);
    hub.say("sensors/locker/b1/door", r#"{"compartment":1,"door":"closed"}"#);
    // Who waits for staff is always said at a start, also that nobody does.
    hub.hub.insert("hub/help".to_owned(), serde_json::json!({ "kiosks": {} }));
    let now: BTreeMap<String, Value> = hub
        .state
        .hub_messages()
        .into_iter()
        .map(|(topic, json)| (topic, serde_json::from_slice(&json).unwrap()))
        .collect();
    assert_eq!(now, hub.hub);
}
