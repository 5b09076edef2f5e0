//! Stories and properties of orders, told to the whole state as the journal tells it.

use std::collections::{BTreeMap, BTreeSet};

use contract::{
    RequestId, Timestamp,
    kiosk::{PickUpCode, Request},
    order::OrderCommand,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::{EntityKey, Input, InputKind, Planogram, State};

const START_MS: i64 = 1_795_378_680_000;
const HOUR_MS: i64 = 3_600_000;

fn hash(code: &PickUpCode) -> CodeHash {
    let mut bytes = [0; HASH_BYTES];
    bytes[..6].copy_from_slice(code.reveal().as_bytes());
    CodeHash::new(bytes)
}

/// A hub under test.
struct Hub {
    state: State,
    stored: BTreeMap<EntityKey, Vec<u8>>,
    seq: u64,
    at_ms: i64,
    mono_ms: u64,
    boot: u64,
    /// Everything that was said: topic and JSON; results of commands under `result/<id>`.
    said: Vec<(String, Value)>,
    events: Vec<(String, Value)>,
    banks: BTreeMap<String, Value>,
}

impl Hub {
    fn new() -> Self {
        let state = State::new(Planogram::default());
        let mut hub = Self {
            state,
            stored: BTreeMap::new(),
            seq: 0,
            at_ms: START_MS,
            mono_ms: 5_000,
            boot: 1,
            said: Vec::new(),
            events: Vec::new(),
            banks: BTreeMap::new(),
        };
        for compartment in 1..=3 {
            hub.door(compartment, "closed", Some(false));
        }
        hub.forget();
        hub
    }

    fn forget(&mut self) {
        self.said.clear();
        self.events.clear();
    }

    fn apply(&mut self, publish: Option<(&str, &[u8])>) {
        self.seq += 1;
        let kind = match publish {
            Some((topic, payload)) => InputKind::Publish { device: "d", topic, payload },
            None => InputKind::Tick,
        };
        let at = Timestamp::saturating_from_millis(self.at_ms);
        let (seq, mono_ms, boot) = (self.seq, self.mono_ms, self.boot);
        let effects = self.state.apply(&Input { seq, at, mono_ms, boot, kind });
        for (key, value) in effects.changed {
            match value {
                Some(value) => self.stored.insert(key, value),
                None => self.stored.remove(&key),
            };
        }
        for act in effects.acts {
            self.said.push(match act {
                Act::Publish { topic, payload } => (topic, serde_json::from_slice(&payload).unwrap()),
                Act::Result { id, result } => (format!("result/{id}"), serde_json::to_value(result).unwrap()),
            });
        }
        for row in effects.rows.iter().filter(|row| row.stream == Stream::Events) {
            self.events.push((row.kind.clone(), serde_json::from_str(&row.data).unwrap()));
        }
        for (topic, payload) in effects.hub {
            self.banks.insert(topic, serde_json::from_slice(&payload).unwrap());
        }
    }

    fn wait(&mut self, ms: i64) {
        // As the projector ticks while somebody waits.
        for _ in 0..ms / 500 {
            self.at_ms += 500;
            self.mono_ms += 500;
            self.apply(None);
        }
    }

    /// A start after `away_ms`.
    fn restart(&mut self, away_ms: i64) {
        let mut state = State::new(Planogram::default());
        for (key, value) in &self.stored {
            state.restore(key.clone(), value).unwrap();
        }
        self.state = state;
        self.boot += 1;
        self.at_ms += away_ms;
        self.mono_ms = 700;
        self.apply(None);
    }

    fn command(&mut self, id: &str, command: &Value) {
        let command = OrderCommand::parse(command.to_string().as_bytes()).unwrap();
        let payload = SealedCommand::new(command, hash, Some("0badcafe".to_owned())).to_bytes();
        self.apply(Some((&command_topic(id), &payload)));
    }

    /// Places an order for a courier with code 5xxxxx and a customer with code 1xxxxx.
    fn place(&mut self, n: u32) {
        self.command(&format!("c-{n}"), &order(n, self.at_ms + HOUR_MS));
    }

    fn ask(&mut self, id: &str, mut ask: Value) {
        ask["at"] = json!(Timestamp::saturating_from_millis(self.at_ms).to_string());
        let request = Request::parse(ask.to_string().as_bytes()).unwrap();
        let payload = SealedRequest::new(request, hash).to_bytes();
        self.apply(Some((&format!("kiosk/k-1/request/{id}"), &payload)));
    }

    fn pick_up(&mut self, id: &str, n: u32) {
        self.ask(id, json!({ "kind": "pick_up", "code": format!("1{n:05}") }));
    }

    fn deposit(&mut self, id: &str, n: u32) {
        self.ask(id, json!({ "kind": "deposit", "code": format!("5{n:05}") }));
    }

    fn door(&mut self, compartment: u16, door: &str, occupied: Option<bool>) {
        self.at_ms += 100;
        self.mono_ms += 100;
        let mut reading = json!({ "seq": self.seq, "compartment": compartment, "door": door });
        if let Some(occupied) = occupied {
            reading["occupied"] = occupied.into();
        }
        self.apply(Some(("sensors/locker/bank-1/door", reading.to_string().as_bytes())));
    }

    fn staff(&mut self, action: &StaffAction) {
        self.apply(Some((STAFF_TOPIC, &action.to_bytes())));
    }

    /// Brings order `n` into compartment 1.
    fn make_ready(&mut self, n: u32) {
        self.place(n);
        self.deposit(&format!("deposit-{n}"), n);
        self.door(1, "open", None);
        self.door(1, "closed", Some(true));
        self.forget();
    }

    /// The states that a request was told, in order.
    fn heard(&self, id: &str) -> Vec<String> {
        let topic = format!("kiosk/k-1/reply/{id}");
        let replies = self.said.iter().filter(|(of, _)| *of == topic);
        let word = |(_, reply): &(String, Value)| match reply["reason"].as_str() {
            Some(reason) => reason.to_owned(),
            None => reply["state"].as_str().unwrap().to_owned(),
        };
        replies.map(word).collect()
    }

    /// The door commands that were sent: id and compartment.
    fn opened(&self) -> Vec<(String, u64)> {
        let commands = self.said.iter().filter_map(|(topic, command)| {
            let id = topic.strip_prefix("commands/bank-1/")?;
            Some((id.to_owned(), command["compartment"].as_u64().unwrap()))
        });
        commands.collect()
    }

    fn stages(&self) -> Vec<&str> {
        self.events.iter().filter_map(|(kind, _)| kind.strip_prefix("order.")).collect()
    }

    fn results(&self) -> Vec<(&str, &str)> {
        let results = self.said.iter().filter_map(|(topic, result)| {
            Some((topic.strip_prefix("result/")?, result["state"].as_str().unwrap()))
        });
        results.collect()
    }

    fn bank(&self) -> &Value {
        &self.banks["hub/lockers/bank-1"]["compartments"]
    }
}

fn order(n: u32, expires_at_ms: i64) -> Value {
    json!({
        "command": "order.place", "order": format!("o-{n}"),
        "pick_up_code": format!("1{n:05}"), "deposit_code": format!("5{n:05}"),
        "goods": [{ "gtin": "2000000000015", "name": { "en": "Serum" }, "quantity": 1 }],
        "expires_at": Timestamp::saturating_from_millis(expires_at_ms).to_string(),
    })
}

fn place_of(compartment: u16) -> Place {
    Place { bank: DeviceId::parse("bank-1").unwrap(), compartment }
}

#[test]
fn an_order_is_placed_brought_picked_up_and_its_code_is_used_then() {
    let mut hub = Hub::new();
    hub.place(7);
    assert_eq!(hub.results(), [("c-7", "done")]);
    hub.pick_up("early", 7);
    assert_eq!(hub.heard("early"), ["not_ready"]);
    hub.deposit("d", 7);
    hub.door(1, "open", None);
    hub.door(1, "closed", Some(true));
    assert_eq!(hub.heard("d"), ["opening", "open", "deposited"]);
    assert_eq!(hub.bank()["1"]["order"]["stage"], "ready");
    hub.pick_up("p", 7);
    let opening = &hub.said.iter().find(|(topic, _)| topic == "kiosk/k-1/reply/p").unwrap().1;
    assert_eq!(
        (
            &opening["bank"],
            &opening["compartments"],
            &opening["order_label"],
            &opening["goods"][0]["name"]["en"]
        ),
        (&json!("bank-1"), &json!([1]), &json!("O-7"), &json!("Serum"))
    );
    hub.door(1, "open", None);
    hub.door(1, "closed", Some(false));
    assert_eq!(hub.heard("p"), ["opening", "open", "collected"]);
    assert_eq!(hub.stages(), ["placed", "opening", "open", "ready", "opening", "open", "collected"]);
    assert_eq!(hub.events.last().unwrap().1["by"], "customer");
    assert_eq!(hub.bank()["1"]["busy"], false);
    hub.pick_up("again", 7);
    hub.deposit("again-d", 7);
    assert_eq!(
        (hub.heard("again"), hub.heard("again-d")),
        (vec!["already_used".into()], vec!["already_used".into()])
    );
    let opened = hub.opened();
    assert_eq!(opened.len(), 2, "{opened:?}");
}

#[test]
fn nothing_that_is_said_or_stored_holds_a_code() {
    let mut hub = Hub::new();
    hub.make_ready(7);
    hub.pick_up("p", 7);
    hub.pick_up("wrong", 99_999);
    let said = format!("{:?}{:?}{:?}", hub.said, hub.events, hub.banks);
    let stored: String =
        hub.stored.values().map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    assert!(!said.contains("100007") && !said.contains("500007") && !said.contains("199999"), "{said}");
    assert!(!stored.contains("100007") && !stored.contains("500007"), "{stored}");
}

#[test]
fn a_request_or_command_that_comes_again_has_one_effect() {
    let mut hub = Hub::new();
    hub.make_ready(7);
    hub.place(7);
    assert_eq!((hub.results(), hub.stages()), (vec![("c-7", "done")], vec![]));
    hub.pick_up("p", 7);
    hub.pick_up("p", 7);
    assert_eq!(hub.heard("p"), ["opening", "opening"]);
    assert_eq!(hub.opened().len(), 1);
    hub.command("c-8", &order(7, hub.at_ms + HOUR_MS));
    assert_eq!(hub.results().last(), Some(&("c-8", "done")), "the same order under another command is there");
    let mut other = order(8, hub.at_ms + HOUR_MS);
    other["pick_up_code"] = "100007".into();
    hub.command("c-9", &other);
    assert_eq!(hub.results().last(), Some(&("c-9", "failed")), "the code is another open order's");
}

#[test]
fn a_door_command_is_repeated_under_its_id_until_it_is_answered() {
    let mut hub = Hub::new();
    hub.make_ready(7);
    hub.pick_up("p", 7);
    hub.wait(6_000);
    let opened = hub.opened();
    assert_eq!(opened.len(), 3, "{opened:?}");
    assert_eq!(opened.iter().collect::<BTreeSet<_>>().len(), 1);
    let topic = format!("commands/bank-1/{}/result", opened[0].0);
    hub.apply(Some((&topic, br#"{"state":"accepted"}"#)));
    hub.wait(3_500);
    assert_eq!(hub.opened().len(), 3);
    hub.door(1, "open", None);
    assert_eq!(hub.heard("p"), ["opening", "open"]);
}

#[test]
fn a_door_that_does_not_open_is_stuck_until_staff_try_again_or_say_that_it_works() {
    let mut hub = Hub::new();
    hub.make_ready(7);
    hub.pick_up("p", 7);
    hub.wait(11_000);
    assert_eq!(hub.heard("p"), ["opening", "stuck"]);
    assert_eq!(hub.stages(), ["opening", "stuck"]);
    assert!(hub.events.iter().any(|(kind, data)| kind == "locker.stuck" && data["compartment"] == 1));
    assert_eq!(
        (&hub.bank()["1"]["stuck"], &hub.bank()["1"]["order"]["stage"]),
        (&json!(true), &json!("stuck"))
    );
    hub.pick_up("p2", 7);
    assert_eq!(hub.heard("p2"), ["stuck"]);
    hub.forget();
    hub.staff(&StaffAction::Open(place_of(1)));
    assert_eq!(hub.opened().len(), 1);
    hub.door(1, "open", None);
    assert_eq!(hub.bank()["1"]["stuck"], false);
    hub.door(1, "closed", Some(false));
    assert_eq!(hub.stages(), ["opening", "open", "collected"]);

    let mut hub = Hub::new();
    hub.make_ready(7);
    hub.pick_up("p", 7);
    let topic = format!("commands/bank-1/{}/result", hub.opened()[0].0);
    hub.apply(Some((&topic, br#"{"state":"failed","reason":"no power"}"#)));
    assert_eq!(hub.heard("p"), ["opening", "stuck"]);
    hub.staff(&StaffAction::Resolve(place_of(1)));
    assert_eq!(
        (&hub.bank()["1"]["stuck"], &hub.bank()["1"]["order"]["stage"]),
        (&json!(false), &json!("ready"))
    );
    hub.pick_up("p3", 7);
    assert_eq!(hub.heard("p3"), ["opening"]);
}

#[test]
fn a_courier_at_a_stuck_door_is_given_another_one() {
    let mut hub = Hub::new();
    hub.place(7);
    hub.deposit("d1", 7);
    hub.wait(11_000);
    assert_eq!(hub.heard("d1"), ["opening", "stuck"]);
    hub.deposit("d2", 7);
    assert_eq!(hub.opened().last().unwrap().1, 2);
    hub.door(2, "open", None);
    hub.door(2, "closed", Some(false));
    assert_eq!(hub.heard("d2"), ["opening", "open", "not_deposited"]);
    for n in [8, 9] {
        hub.place(n);
        hub.deposit(&format!("d-{n}"), n);
    }
    hub.deposit("d3", 7);
    assert_eq!(hub.heard("d3"), ["no_free_compartment"]);
}

#[test]
fn goods_that_stay_inside_are_asked_for_once_and_then_kept() {
    let mut hub = Hub::new();
    hub.make_ready(7);
    hub.pick_up("p", 7);
    hub.door(1, "open", None);
    hub.door(1, "closed", Some(true));
    assert_eq!(hub.heard("p"), ["opening", "open", "closed_not_emptied"]);
    hub.ask("again", json!({ "kind": "open_again", "request": "p" }));
    assert_eq!(hub.heard("p").last().unwrap(), "superseded");
    hub.door(1, "open", None);
    hub.door(1, "closed", Some(true));
    assert_eq!(hub.heard("again"), ["opening", "open", "closed_not_emptied"]);
    assert_eq!(hub.said.last().unwrap().1["final"], true);
    hub.ask("third", json!({ "kind": "open_again", "request": "again" }));
    assert_eq!(hub.heard("third"), ["not_now"]);
    assert_eq!(hub.bank()["1"]["order"]["stage"], "ready", "the code stays good");
    hub.pick_up("p2", 7);
    hub.door(1, "open", None);
    hub.door(1, "closed", Some(true));
    hub.wait(31_000);
    assert_eq!(hub.heard("p2"), ["opening", "open", "closed_not_emptied", "closed_not_emptied"]);
    hub.pick_up("p3", 7);
    hub.door(1, "open", None);
    hub.door(1, "closed", None);
    assert_eq!(hub.heard("p3").last().unwrap(), "closed_not_emptied", "what was inside is inside");
}

#[test]
fn a_door_that_stays_open_ends_the_stream_and_the_order_closes_when_it_is_emptied() {
    let mut hub = Hub::new();
    hub.make_ready(7);
    hub.pick_up("p", 7);
    hub.door(1, "open", None);
    hub.wait(185_000);
    assert_eq!(hub.heard("p"), ["opening", "open", "still_open", "left_open"]);
    assert!(hub.events.iter().any(|(kind, _)| kind == "locker.left_open"));
    assert!(!hub.state.is_waiting());
    hub.door(1, "closed", Some(false));
    assert_eq!(hub.stages().last(), Some(&"collected"));
}

#[test]
fn codes_are_limited_and_a_right_one_is_not_looked_at_meanwhile() {
    let mut hub = Hub::new();
    hub.make_ready(7);
    for n in 0..5 {
        hub.pick_up(&format!("w{n}"), 90_000 + n);
        assert_eq!(hub.heard(&format!("w{n}")), ["wrong_code"]);
    }
    hub.pick_up("right", 7);
    assert_eq!(hub.heard("right"), ["rate_limited"]);
    assert_eq!(hub.said.last().unwrap().1["retry_after_s"], 30);
    assert!(hub.events.iter().any(|(kind, _)| kind == "codes.limited"));
    hub.restart(1_000);
    hub.pick_up("right2", 7);
    assert_eq!(hub.heard("right2"), ["rate_limited"], "a restart forgives nothing");
    hub.wait(30_000);
    hub.pick_up("right3", 7);
    assert_eq!(hub.heard("right3"), ["opening"]);
}

#[test]
fn an_order_expires_is_extended_and_cancelled_and_keeps_its_compartment_until_it_is_empty() {
    let mut hub = Hub::new();
    hub.make_ready(7);
    hub.at_ms += HOUR_MS;
    hub.mono_ms += HOUR_MS.unsigned_abs();
    hub.apply(None);
    assert_eq!(hub.stages(), ["expired"]);
    hub.pick_up("late", 7);
    assert_eq!(hub.heard("late"), ["expired"]);
    assert_eq!(hub.bank()["1"]["busy"], true);
    let until = Timestamp::saturating_from_millis(hub.at_ms + HOUR_MS).to_string();
    let extend = json!({ "command": "order.extend", "order": "o-7", "expires_at": until });
    hub.command("x1", &extend);
    assert_eq!((hub.results().last(), hub.stages().last()), (Some(&("x1", "done")), Some(&"ready")));
    let cancel = json!({ "command": "order.cancel", "order": "o-7" });
    hub.command("x2", &cancel);
    hub.pick_up("cancelled", 7);
    assert_eq!(hub.heard("cancelled"), ["expired"]);
    hub.command("x3", &extend);
    assert_eq!(hub.results().last(), Some(&("x3", "failed")));
    hub.staff(&StaffAction::Open(place_of(1)));
    hub.door(1, "open", None);
    hub.door(1, "closed", Some(false));
    assert_eq!(hub.bank()["1"]["busy"], false);
    hub.command("x4", &json!({ "command": "order.cancel", "order": "o-9" }));
    assert_eq!(hub.results().last(), Some(&("x4", "failed")));
}

#[test]
fn nobody_is_cancelled_while_somebody_stands_at_the_door() {
    let mut hub = Hub::new();
    hub.make_ready(7);
    hub.pick_up("p", 7);
    hub.command("x", &json!({ "command": "order.cancel", "order": "o-7" }));
    assert_eq!(hub.results(), [("x", "failed")]);
    hub.pick_up("q", 7);
    assert_eq!(hub.heard("q"), ["in_use"]);
}

#[test]
fn a_hub_that_comes_back_in_time_says_the_same_command_again_and_goes_on() {
    let mut hub = Hub::new();
    hub.make_ready(7);
    hub.pick_up("p", 7);
    let before = hub.opened();
    hub.restart(2_000);
    assert_eq!(hub.opened().len(), 2);
    assert_eq!(hub.opened()[1], before[0]);
    hub.pick_up("p", 7);
    assert_eq!(hub.heard("p"), ["opening", "opening"]);
    hub.door(1, "open", None);
    hub.restart(500);
    hub.door(1, "closed", Some(false));
    assert_eq!(hub.heard("p"), ["opening", "opening", "open", "collected"]);
}

#[test]
fn a_hub_that_comes_back_late_opens_nothing_and_the_code_stays_good() {
    let mut hub = Hub::new();
    hub.make_ready(7);
    hub.pick_up("p", 7);
    hub.forget();
    hub.restart(HOUR_MS / 2);
    hub.wait(31_000);
    assert_eq!(hub.opened(), []);
    assert_eq!(hub.heard("p"), ["hub_busy"]);
    assert_eq!(hub.bank()["1"]["order"]["stage"], "ready");
    hub.pick_up("p2", 7);
    assert_eq!(hub.opened().len(), 1);
}

#[test]
fn what_happened_while_the_hub_was_away_is_seen_by_the_compartment() {
    let mut hub = Hub::new();
    hub.make_ready(7);
    hub.pick_up("p", 7);
    hub.restart(60_000);
    // The controller says only how it is now.
    hub.door(1, "closed", Some(false));
    assert_eq!(hub.heard("p"), ["opening", "open", "collected"]);
}

#[test]
fn help_is_called_shown_and_ended() {
    let mut hub = Hub::new();
    hub.ask("h", json!({ "kind": "help", "screen": "pick_up", "order": "O-7" }));
    assert_eq!(hub.heard("h"), ["help_called"]);
    assert_eq!(hub.banks["hub/help"]["kiosks"]["k-1"]["order"], "O-7");
    hub.staff(&StaffAction::HelpDone { kiosk: KioskId::parse("k-1").unwrap() });
    assert_eq!(hub.banks["hub/help"]["kiosks"], json!({}));
    assert_eq!(hub.events[0].0, "help.called");
}

#[test]
fn an_old_request_opens_nothing() {
    let mut hub = Hub::new();
    hub.make_ready(7);
    let at = Timestamp::saturating_from_millis(hub.at_ms - 121_000).to_string();
    let request = json!({ "at": at, "kind": "pick_up", "code": "100007" });
    let request = Request::parse(request.to_string().as_bytes()).unwrap();
    hub.apply(Some(("kiosk/k-1/request/old", &SealedRequest::new(request, hash).to_bytes())));
    assert_eq!((hub.heard("old"), hub.opened()), (vec!["too_old".to_owned()], vec![]));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut hub = Hub::new();
    for n in 0..2 * u32::try_from(REQUESTS_MAX).unwrap() {
        hub.ask(&format!("h{n}"), json!({ "kind": "help", "screen": "home" }));
    }
    let requests = |hub: &Hub| {
        let keys = hub.stored.keys().filter(|key| key.tree == Tree::Orders);
        keys.filter(|key| key.key.starts_with(b"request/")).count()
    };
    assert_eq!(requests(&hub), REQUESTS_MAX);
    hub.at_ms += REQUEST_KEPT_MS + 1;
    hub.apply(None);
    assert_eq!(requests(&hub), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Place(u32, bool),
    Cancel(u32),
    Extend(u32),
    PickUp(u32),
    Deposit(u32),
    OpenAgain,
    Door(u16, bool, Option<bool>),
    Result(bool),
    Staff(u16, bool),
    Wait(i64),
    Restart(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let order = 0..4_u32;
    let compartment = 1..=3_u16;
    prop_oneof![
        3 => (order.clone(), any::<bool>()).prop_map(|(n, inside)| Step::Place(n, inside)),
        1 => order.clone().prop_map(Step::Cancel),
        1 => order.clone().prop_map(Step::Extend),
        4 => order.clone().prop_map(Step::PickUp),
        4 => order.prop_map(Step::Deposit),
        1 => Just(Step::OpenAgain),
        8 => (compartment.clone(), any::<bool>(), any::<Option<bool>>())
            .prop_map(|(n, open, occupied)| Step::Door(n, open, occupied)),
        2 => any::<bool>().prop_map(Step::Result),
        1 => (compartment, any::<bool>()).prop_map(|(n, open)| Step::Staff(n, open)),
        3 => prop_oneof![Just(1_000), Just(12_000), Just(65_000), Just(200_000)].prop_map(Step::Wait),
        1 => prop_oneof![Just(1_000), Just(60_000), Just(2 * HOUR_MS)].prop_map(Step::Restart),
    ]
}

impl Hub {
    fn take(&mut self, n: usize, step: &Step, last: &mut String) {
        let id = format!("r{n}");
        match *step {
            Step::Place(order_n, is_inside) => {
                let mut command = order(order_n, self.at_ms + HOUR_MS);
                if is_inside {
                    command.as_object_mut().unwrap().remove("deposit_code");
                    command["compartment"] = json!({ "bank": "bank-1", "compartment": order_n % 3 + 1 });
                }
                self.command(&format!("c{n}"), &command);
            }
            Step::Cancel(order_n) => {
                let cancel = json!({ "command": "order.cancel", "order": format!("o-{order_n}") });
                self.command(&format!("c{n}"), &cancel);
            }
            Step::Extend(order_n) => {
                let until = Timestamp::saturating_from_millis(self.at_ms + HOUR_MS).to_string();
                let order = format!("o-{order_n}");
                let extend = json!({ "command": "order.extend", "order": order, "expires_at": until });
                self.command(&format!("c{n}"), &extend);
            }
            Step::PickUp(order_n) => {
                self.pick_up(&id, order_n);
                *last = id;
            }
            Step::Deposit(order_n) => self.deposit(&id, order_n),
            Step::OpenAgain => {
                let request = if last.is_empty() { "none" } else { last.as_str() }.to_owned();
                self.ask(&id, json!({ "kind": "open_again", "request": request }));
            }
            Step::Door(compartment, is_open, occupied) => {
                self.door(compartment, if is_open { "open" } else { "closed" }, occupied);
            }
            Step::Result(is_done) => {
                if let Some((id, _)) = self.opened().last() {
                    let topic = format!("commands/bank-1/{id}/result");
                    let state = if is_done { "done" } else { "failed" };
                    self.apply(Some((&topic, json!({ "state": state }).to_string().as_bytes())));
                }
            }
            Step::Staff(compartment, is_open) => self.staff(&if is_open {
                StaffAction::Open(place_of(compartment))
            } else {
                StaffAction::Resolve(place_of(compartment))
            }),
            Step::Wait(ms) => self.wait(ms),
            Step::Restart(away_ms) => self.restart(away_ms),
        }
    }

    fn entities(&self) -> BTreeMap<EntityKey, Vec<u8>> {
        self.state.entities().collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_request_is_answered_and_ends_and_no_compartment_has_two_orders(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut hub = Hub::new();
        let mut last = String::new();
        for (n, step) in steps.iter().enumerate() {
            let commands_before: BTreeSet<_> = hub.opened().into_iter().collect();
            hub.take(n, step, &mut last);
            let new: Vec<_> =
                hub.opened().into_iter().filter(|opened| !commands_before.contains(opened)).collect();
            let may_open = matches!(step, Step::PickUp(_) | Step::Deposit(_) | Step::OpenAgain | Step::Staff(_, true));
            prop_assert!(new.len() <= usize::from(may_open), "{step:?} opened {new:?}");
            let mut held = BTreeSet::new();
            for (key, value) in hub.stored.iter().filter(|(key, _)| key.key.starts_with(b"order/")) {
                let order: Order = serde_json::from_slice(value).unwrap();
                if let Some(place) = order.place {
                    prop_assert!(held.insert(place.clone()), "{place:?} has two orders, {key:?}");
                }
                prop_assert!(order.stage != OrderStage::Collected || order.visit.is_none());
            }
            prop_assert_eq!(&hub.entities(), &hub.stored, "what is stored is what is there");
        }
        let asked: BTreeSet<String> = hub.said.iter()
            .filter_map(|(topic, _)| topic.strip_prefix("kiosk/k-1/reply/").map(str::to_owned)).collect();
        let expected = steps.iter().enumerate()
            .filter(|(_, step)| matches!(step, Step::PickUp(_) | Step::Deposit(_) | Step::OpenAgain))
            .map(|(n, _)| format!("r{n}")).collect::<BTreeSet<_>>();
        prop_assert_eq!(&asked, &expected, "every request is answered");
        hub.wait(300_000);
        prop_assert!(!hub.state.is_waiting(), "nothing waits for ever");
        for id in asked {
            let topic = format!("kiosk/k-1/reply/{id}");
            let (_, reply) = hub.said.iter().rfind(|(of, _)| *of == topic).unwrap();
            prop_assert_eq!(&reply["final"], &json!(true), "{} ends with {}", id, reply);
        }
    }

    #[test]
    fn restoring_at_any_moment_and_going_on_is_as_if_it_had_never_stopped(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let (mut hub, mut other) = (Hub::new(), Hub::new());
        let (mut last, mut other_last) = (String::new(), String::new());
        for (n, step) in steps.iter().enumerate() {
            let mut state = State::new(Planogram::default());
            for (key, value) in &other.stored {
                state.restore(key.clone(), value).unwrap();
            }
            other.state = state;
            hub.take(n, step, &mut last);
            other.take(n, step, &mut other_last);
            prop_assert_eq!(&hub.said, &other.said);
            prop_assert_eq!(&hub.events, &other.events);
            prop_assert_eq!(&hub.stored, &other.stored);
        }
    }
}

#[test]
fn request_ids_are_told_apart_by_kiosk() {
    let (one, other) = (KioskId::parse("k-1").unwrap(), KioskId::parse("k-1-x").unwrap());
    let request = RequestId::parse("x-r").unwrap();
    let first = Asker { kiosk: one, request: request.clone() };
    assert_ne!(first.key(), Asker { kiosk: other, request }.key());
}

#[test]
fn open_orders_are_counted_by_the_key_of_their_codes_and_those_of_an_older_release_are_read() {
    let mut hub = Hub::new();
    hub.place(1);
    hub.place(2);
    let counted = |hub: &Hub| hub.state.view().open_by_key.get("0badcafe").copied();
    assert_eq!(counted(&hub), Some(2));
    hub.restart(1_000);
    assert_eq!(counted(&hub), Some(2), "it is kept");
    for (key, value) in &mut hub.stored {
        if key.tree == Tree::Orders && key.key.starts_with(b"order/") && key.key.ends_with(b"2") {
            let mut order: Value = serde_json::from_slice(value).unwrap();
            assert!(order.as_object_mut().unwrap().remove("key").is_some());
            *value = serde_json::to_vec(&order).unwrap();
        }
    }
    hub.restart(1_000);
    assert_eq!((counted(&hub), hub.state.view().orders.len()), (Some(1), 2));
    hub.at_ms += 2 * HOUR_MS;
    hub.wait(1_000);
    assert_eq!(counted(&hub), None, "it has expired");
}
