//! An order's way from headquarters to its customer, through lost lines, killed processes, wrong codes and stuck doors.

use std::{net::SocketAddr, time::Duration};

use contract::{
    DeviceId, KioskId, RequestId,
    kiosk::{Ask, PickUpCode, Refusal, Reply, ReplyState},
};
use e2e::{
    harness::{Hq, Hub, HubSetup, Link, PATIENCE, hub::STORE, page, wait_for},
    raw::{self, RawClient, Version, kind},
    sim::{
        bank::{self, BankFaults, BankOptions, Change},
        kiosk::SimKiosk,
    },
};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};

const BANK: &str = "pick-up-1";
const KIOSK: &str = "kiosk-1";
pub(super) const CODE: &str = "942137";
/// The goods' GTIN.
pub(super) const GOODS: &str = "2000000000015";
const COURIER: &str = "955551";

/// A store with headquarters, a bank of lockers and a kiosk.
pub(super) struct Store {
    hq: Option<Hq>,
    line: Link,
    hub: Option<Hub>,
    kiosk: SimKiosk,
    kiosk_secret: String,
    bank: Bank,
    asked: u32,
}

struct Bank {
    changes: mpsc::Sender<Change>,
    task: JoinHandle<()>,
}

impl Drop for Bank {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn kiosk(broker: SocketAddr, secret: &str) -> SimKiosk {
    SimKiosk::connect(KioskId::parse(KIOSK).expect("our own id is one"), broker, Some(secret))
}

fn code(digits: &str) -> PickUpCode {
    PickUpCode::parse(digits).expect("our own codes have six digits")
}

impl Store {
    pub(super) async fn open(faults: BankFaults, closes_after: Duration) -> Self {
        let hq = Hq::start().await;
        let line = Link::to(hq.mqtt).await;
        let folder = HubSetup::new().upstream(line.addr()).write();
        let bank_secret = folder.add_device(BANK, "locker").await;
        let kiosk_secret = folder.add_device(KIOSK, "kiosk").await;
        let hub = folder.start().await;
        let options = BankOptions {
            id: DeviceId::parse(BANK).expect("our own id is one"),
            secret: Some(bank_secret),
            broker: hub.mqtt,
            compartments: 3,
            opens_after: Duration::from_millis(200),
            closes_after,
            faults,
        };
        let (changes, changed) = mpsc::channel(4);
        let bank = Bank { changes, task: tokio::spawn(bank::run(options, changed)) };
        let kiosk = kiosk(hub.mqtt, &kiosk_secret);
        kiosk.is_ready().await;
        let (hq, hub) = (Some(hq), Some(hub));
        let store = Self { hq, line, hub, kiosk, kiosk_secret, bank, asked: 0 };
        wait_for("the bank has said how its doors are", PATIENCE, async || {
            let view = store.hub().store().await?;
            let doors = view["lockers"][0]["compartments"].as_object().map_or(0, serde_json::Map::len);
            if doors == 3 { Ok(()) } else { Err(view["lockers"].to_string()) }
        })
        .await;
        store.is_known_at_headquarters().await;
        store
    }

    async fn is_known_at_headquarters(&self) {
        wait_for("headquarters sees the store online", PATIENCE, async || {
            let stores = page::get_json(self.hq().http, "/api/stores").await?;
            if stores["stores"][0]["online"] == true { Ok(()) } else { Err(stores.to_string()) }
        })
        .await;
    }

    async fn post(&self, body: &Value) -> (u16, Value) {
        let path = format!("/api/stores/{STORE}/commands");
        page::post(self.hq().http, &path, body).await.expect("headquarters answers")
    }

    pub(super) async fn place(&self, id: &str, order: &str) {
        let (status, answer) = self.post(&place(id, order)).await;
        assert_eq!(status, 202, "{answer}");
    }

    /// Waits until a command has its result; gives the command as headquarters shows it.
    pub(super) async fn result(&self, id: &str) -> Value {
        wait_for(&format!("command {id} has its result"), PATIENCE, async || {
            let path = format!("/api/stores/{STORE}/commands");
            let answer = page::get_json(self.hq().http, &path).await?;
            let commands = answer["commands"].as_array().cloned().unwrap_or_default();
            let command = commands.into_iter().find(|command| command["id"] == id);
            let is_final = |command: &Value| command["state"] == "done" || command["state"] == "failed";
            command.filter(is_final).ok_or(answer.to_string())
        })
        .await
    }

    /// Waits until an order is at a stage at headquarters.
    pub(super) async fn is_at_headquarters(&self, order: &str, stage: &str) -> Value {
        wait_for(&format!("headquarters has {order} as {stage}"), PATIENCE, async || {
            let answer = page::get_json(self.hq().http, &format!("/api/stores/{STORE}/orders")).await?;
            let orders = answer["orders"].as_array().cloned().unwrap_or_default();
            let found = orders.into_iter().find(|found| found["order"] == order && found["stage"] == stage);
            found.ok_or(answer.to_string())
        })
        .await
    }

    /// Waits until the staff page's picture, which is a moment late, has a value at this place.
    pub(super) async fn is_seen_by_staff(&self, place: &str, value: &Value) {
        wait_for(&format!("staff see {value} at {place}"), PATIENCE, async || {
            let view = self.hub().store().await?;
            let seen = view.pointer(place).cloned().unwrap_or_default();
            if seen == *value { Ok(()) } else { Err(format!("{seen} in {view}")) }
        })
        .await;
    }

    /// Asks, and waits until the answers are as wanted; gives the words of the whole stream.
    async fn ask(&mut self, ask: Ask, until: impl Fn(&ReplyState) -> bool) -> Vec<Reply> {
        self.asked += 1;
        let id = RequestId::parse(&format!("r-{}", self.asked)).expect("our own id is one");
        assert!(self.kiosk.ask(&id, ask));
        self.hears(&id, until).await
    }

    async fn hears(&self, id: &RequestId, until: impl Fn(&ReplyState) -> bool) -> Vec<Reply> {
        let heard = self.kiosk.heard();
        wait_for(&format!("the kiosk hears of {id}"), PATIENCE, async || {
            let replies = heard.borrow().get(id.as_str()).cloned().unwrap_or_default();
            if replies.iter().any(|reply| until(&reply.state)) {
                Ok(replies)
            } else {
                Err(format!("{replies:?}"))
            }
        })
        .await
    }

    pub(super) async fn deposit(&mut self) -> Vec<Reply> {
        self.ask(Ask::Deposit { code: code(COURIER) }, ReplyState::is_final).await
    }

    async fn pick_up(&mut self, digits: &str, until: impl Fn(&ReplyState) -> bool) -> Vec<Reply> {
        self.ask(Ask::PickUp { code: code(digits) }, until).await
    }

    /// `kill -9` of the hub, and a new start: on another port, as another process.
    async fn restart_hub(&mut self) {
        let folder = self.hub.take().expect("the hub runs").kill().await;
        let hub = folder.start().await;
        self.bank.changes.send(Change::Broker(hub.mqtt)).await.expect("the bank runs");
        self.kiosk = kiosk(hub.mqtt, &self.kiosk_secret);
        self.hub = Some(hub);
        self.kiosk.is_ready().await;
    }

    /// `kill -9` of headquarters, and a new start.
    async fn restart_headquarters(&mut self) {
        let folder = self.hq.take().expect("headquarters runs").kill().await;
        let hq = folder.start().await;
        self.line.retarget(hq.mqtt);
        self.hq = Some(hq);
    }

    pub(super) fn hub(&self) -> &Hub {
        self.hub.as_ref().expect("the hub runs")
    }

    fn hq(&self) -> &Hq {
        self.hq.as_ref().expect("headquarters runs")
    }

    async fn faults(&self, faults: BankFaults) {
        self.bank.changes.send(Change::Faults(faults)).await.expect("the bank runs");
    }

    /// The stages of an order's events at headquarters, in order.
    fn stages(&self, order: &str) -> Vec<String> {
        let database = self.hq().folder.database();
        let database = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("headquarters has a database");
        let mut rows = database
            .prepare(
                "SELECT substr(kind, 7) FROM rows WHERE stream = 'events' AND kind LIKE 'order.%'
                 AND json_extract(data, '$.order') = ?1 ORDER BY epoch, seq",
            )
            .expect("the query fits the database");
        let stages = rows.query_map([order], |row| row.get(0)).expect("the query fits the database");
        stages.map(Result::unwrap).collect()
    }
}

/// The words of a stream, reasons of refusals instead of `refused`.
fn words(replies: &[Reply]) -> Vec<String> {
    let word = |reply: &Reply| {
        let json = serde_json::to_value(reply).expect("a reply is JSON");
        let word = json.get("reason").unwrap_or(&json["state"]);
        word.as_str().expect("a word").to_owned()
    };
    replies.iter().map(word).collect()
}

const QUICK: Duration = Duration::from_millis(300);

#[tokio::test]
async fn an_order_is_placed_brought_picked_up_and_closed_at_headquarters() {
    let mut store = Store::open(BankFaults::default(), QUICK).await;
    store.place("c-1", "o-1001").await;
    assert_eq!(store.result("c-1").await["state"], "done");
    assert_eq!(words(&store.pick_up(CODE, ReplyState::is_final).await), ["not_ready"]);
    assert_eq!(words(&store.deposit().await), ["opening", "open", "deposited"]);
    store.is_at_headquarters("o-1001", "ready").await;
    store.is_seen_by_staff("/lockers/0/compartments/1/order/stage", &json!("ready")).await;

    let replies = store.pick_up(CODE, ReplyState::is_final).await;
    assert_eq!(words(&replies), ["opening", "open", "collected"]);
    let ReplyState::Opening { compartments, order_label, goods, .. } = &replies[0].state else { panic!() };
    assert_eq!((compartments.as_slice(), order_label.as_str()), (&[1][..], "1001"));
    assert_eq!(goods[0].name["en"], "Serum");
    store.is_at_headquarters("o-1001", "collected").await;
    assert_eq!(words(&store.pick_up(CODE, ReplyState::is_final).await), ["already_used"]);
    assert_eq!(
        store.stages("o-1001"),
        ["placed", "opening", "open", "ready", "opening", "open", "collected"]
    );
    no_code_was_written(&store).await;
}

/// Neither the hub's files nor its log hold a code; headquarters' have erased it with the result.
async fn no_code_was_written(store: &Store) {
    let folders = [store.hub().folder.data_dir().to_owned(), store.hub().folder.dir().to_owned()];
    for folder in folders {
        let mut waiting = vec![folder];
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                let entries = std::fs::read_dir(&path).expect("our own folder can be read");
                waiting.extend(entries.map(|entry| entry.expect("our own folder can be read").path()));
            } else if path.is_file() {
                let bytes = std::fs::read(&path).expect("our own folder can be read");
                let found = bytes.windows(6).any(|six| six == CODE.as_bytes() || six == COURIER.as_bytes());
                assert!(!found, "`{}` holds a code", path.display());
            }
        }
    }
    let answer = page::get(store.hq().http, &format!("/api/stores/{STORE}/commands"))
        .await
        .expect("headquarters answers");
    assert!(!answer.contains(CODE) && !answer.contains(COURIER), "{answer}");
}

#[tokio::test]
async fn wrong_codes_are_refused_and_then_limited_and_a_right_one_is_not_looked_at_meanwhile() {
    let mut store = Store::open(BankFaults::default(), QUICK).await;
    store.place("c-1", "o-1001").await;
    store.result("c-1").await;
    store.deposit().await;
    for n in 0..5 {
        let replies = store.pick_up(&format!("10000{n}"), ReplyState::is_final).await;
        assert_eq!(words(&replies), ["wrong_code"]);
    }
    let replies = store.pick_up(CODE, ReplyState::is_final).await;
    let ReplyState::Refused { reason: Refusal::RateLimited { retry_after_s } } = replies[0].state else {
        panic!("{replies:?}")
    };
    assert!((1..=30).contains(&retry_after_s), "{retry_after_s}");
    store.restart_hub().await;
    let replies = store.pick_up(CODE, ReplyState::is_final).await;
    assert_eq!(words(&replies), ["rate_limited"], "a restart forgives nothing");

    let cancel = json!({ "id": "c-2", "command": "order.cancel", "order": "o-1001" });
    assert_eq!(store.post(&cancel).await.0, 202);
    store.result("c-2").await;
    store.is_at_headquarters("o-1001", "cancelled").await;
}

#[tokio::test]
async fn a_stuck_door_calls_staff_who_open_it_again() {
    let mut store = Store::open(BankFaults::default(), QUICK).await;
    store.place("c-1", "o-1001").await;
    store.result("c-1").await;
    store.deposit().await;
    store.faults(BankFaults { stuck: true, lost_result: true, ..BankFaults::default() }).await;
    let replies = store.pick_up(CODE, ReplyState::is_final).await;
    assert_eq!(words(&replies), ["opening", "stuck"]);
    store.is_seen_by_staff("/lockers/0/compartments/1/stuck", &json!(true)).await;
    store.is_at_headquarters("o-1001", "stuck").await;

    store.faults(BankFaults::default()).await;
    let wrong = store.hub().folder.command(&["locker", "open", BANK, "77"]).await;
    assert!(!wrong.status.success() && wrong.said().contains("77"), "{}", wrong.said());
    let fine = store.hub().folder.command(&["locker", "resolve", BANK, "2"]).await;
    assert!(!fine.status.success() && fine.said().contains("not stuck"), "{}", fine.said());
    let kept = store.hub().folder.command(&["device", "remove", BANK]).await;
    assert!(!kept.status.success() && kept.said().contains("holds 1 open orders"), "{}", kept.said());
    let opened = store.hub().folder.command(&["locker", "open", BANK, "1"]).await;
    assert!(opened.status.success(), "{}", opened.said());
    store.is_at_headquarters("o-1001", "collected").await;
    store.is_seen_by_staff("/lockers/0/compartments/1/stuck", &json!(false)).await;
}

#[tokio::test]
async fn goods_left_inside_are_asked_for_once_and_help_is_called() {
    let mut store = Store::open(BankFaults::default(), QUICK).await;
    store.place("c-1", "o-1001").await;
    store.result("c-1").await;
    store.deposit().await;
    store.faults(BankFaults { untouched: true, duplicate_result: true, ..BankFaults::default() }).await;
    let kept = |state: &ReplyState| matches!(state, ReplyState::ClosedNotEmptied { .. });
    store.pick_up(CODE, kept).await;
    store.faults(BankFaults::default()).await;
    let request = RequestId::parse(&format!("r-{}", store.asked)).expect("our own id is one");
    let replies = store.ask(Ask::OpenAgain { request }, ReplyState::is_final).await;
    assert_eq!(words(&replies), ["opening", "open", "collected"]);

    let help = Ask::Help { screen: "pick_up".to_owned(), order: None };
    assert_eq!(words(&store.ask(help, ReplyState::is_final).await), ["help_called"]);
    store.is_seen_by_staff(&format!("/help/kiosks/{KIOSK}/screen"), &json!("pick_up")).await;
    let done = store.hub().folder.command(&["help-done", KIOSK]).await;
    assert!(done.status.success(), "{}", done.said());
    store.is_seen_by_staff("/help/kiosks", &json!({})).await;
    let again = store.hub().folder.command(&["help-done", KIOSK]).await;
    assert!(!again.status.success() && again.said().contains("no open call"), "{}", again.said());
}

#[tokio::test]
async fn a_door_that_does_not_answer_is_not_called_open_and_a_removed_bank_leaves_nothing_on_the_hub() {
    let mut store = Store::open(BankFaults::default(), QUICK).await;
    store.faults(BankFaults { stuck: true, lost_result: true, ..BankFaults::default() }).await;
    let silent = store.hub().folder.command(&["locker", "open", BANK, "1"]).await;
    assert!(!silent.status.success() && silent.said().contains("within 10 s"), "{}", silent.said());
    store.bank.task.abort();
    wait_for("the hub knows that the bank has gone", PATIENCE, async || {
        let opened = store.hub().folder.command(&["locker", "open", BANK, "1"]).await;
        assert!(!opened.status.success(), "nobody can have opened it: {}", opened.said());
        if opened.said().contains("is not connected") { Ok(()) } else { Err(opened.said()) }
    })
    .await;
    let watcher = store.hub().folder.add_device("watcher", "kiosk").await;
    wait_for("a kiosk is shown the bank", PATIENCE, async || {
        match banks_shown(store.hub(), &watcher).await? {
            1 => Ok(()),
            banks => Err(format!("{banks} banks")),
        }
    })
    .await;
    let removed = store.hub().folder.command(&["device", "remove", BANK]).await;
    assert!(removed.status.success(), "{}", removed.said());
    wait_for("nobody is shown the bank any more", PATIENCE, async || {
        match banks_shown(store.hub(), &watcher).await? {
            0 => Ok(()),
            banks => Err(format!("{banks} banks")),
        }
    })
    .await;
    let hub = store.hub.take().expect("the hub runs").kill().await.start().await;
    assert_eq!(banks_shown(&hub, &watcher).await, Ok(0), "a start does not bring it back");
}

/// How many banks of lockers a kiosk is shown that has just come.
async fn banks_shown(hub: &Hub, secret: &str) -> Result<usize, String> {
    let words = |error: std::io::Error| error.to_string();
    let (mut kiosk, code) =
        RawClient::log_in(hub.mqtt, Version::V5, "watcher", Some(secret)).await.map_err(words)?;
    if code != 0 {
        return Err(format!("the login is refused with {code}"));
    }
    kiosk.send(&raw::subscribe(Version::V5, 1, "hub/lockers/+")).await.map_err(words)?;
    kiosk.send(&raw::ping()).await.map_err(words)?;
    let mut banks = 0;
    loop {
        let packet = tokio::time::timeout(PATIENCE, kiosk.reader.next()).await;
        match packet.map_err(|_| "no answer".to_owned())?.map_err(words)?.kind() {
            kind::PINGRESP => return Ok(banks),
            kind::PUBLISH => banks += 1,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_lost_key_of_the_codes_is_said_until_the_orders_that_it_costs_have_ended() {
    let mut store = Store::open(BankFaults::default(), QUICK).await;
    store.place("c-1", "o-1001").await;
    store.result("c-1").await;
    let key = store.hub().folder.data_dir().join("codes.key");
    std::fs::remove_file(key).expect("the first order made a key");
    store.restart_hub().await;
    store.place("c-2", "o-1002").await;
    store.result("c-2").await;
    let degraded = async |store: &Store| {
        let status = store.hub().folder.status().await?;
        Ok::<_, String>(status["health"]["degraded"].to_string())
    };
    wait_for("the hub misses the key for the older order", PATIENCE, async || {
        let words = degraded(&store).await?;
        if words.contains("the key of the codes is gone: 1 open orders") { Ok(()) } else { Err(words) }
    })
    .await;
    let cancel = json!({ "id": "c-3", "command": "order.cancel", "order": "o-1001" });
    assert_eq!(store.post(&cancel).await.0, 202);
    store.result("c-3").await;
    wait_for("the hub is well again", PATIENCE, async || {
        let words = degraded(&store).await?;
        if words == "[]" { Ok(()) } else { Err(words) }
    })
    .await;
}

#[tokio::test]
async fn a_hub_killed_while_the_door_is_open_closes_the_order_when_it_is_back() {
    let mut store = Store::open(BankFaults::default(), Duration::from_secs(4)).await;
    store.place("c-1", "o-1001").await;
    store.result("c-1").await;
    store.deposit().await;
    store.pick_up(CODE, |state| *state == ReplyState::Open).await;
    store.restart_hub().await;
    // As a kiosk does after a lost connection: the same request under the same id.
    let request = RequestId::parse(&format!("r-{}", store.asked)).expect("our own id is one");
    assert!(store.kiosk.ask(&request, Ask::PickUp { code: code(CODE) }));
    let replies = store.hears(&request, ReplyState::is_final).await;
    assert_eq!(replies.last().map(|reply| &reply.state), Some(&ReplyState::Collected), "{replies:?}");
    store.is_at_headquarters("o-1001", "collected").await;
    assert_eq!(
        store.stages("o-1001"),
        ["placed", "opening", "open", "ready", "opening", "open", "collected"],
        "each once"
    );
}

#[tokio::test]
async fn a_command_survives_a_lost_line_and_the_death_of_headquarters_and_has_one_effect() {
    let mut store = Store::open(BankFaults::default(), QUICK).await;
    store.line.cut();
    store.place("c-1", "o-1001").await;
    store.restart_headquarters().await;
    store.line.restore();
    // Its old connection would stay silent until the keep-alive notices.
    store.restart_hub().await;
    assert_eq!(store.result("c-1").await["state"], "done");
    // Whatever of it was on its way: the hub and headquarters die once more, and the same body comes again.
    store.restart_hub().await;
    store.restart_headquarters().await;
    store.is_known_at_headquarters().await;
    let (status, answer) = store.post(&place("c-1", "o-1001")).await;
    assert_eq!((status, &answer["state"]), (200, &json!("known")));
    let (status, _) = store.post(&place("c-1", "o-1002")).await;
    assert_eq!(status, 409);
    let (status, answer) = store.post(&json!({ "command": "order.place", "order": "o-3" })).await;
    assert_eq!(status, 400, "{answer}");
    store.place("c-2", "o-1001").await;
    assert_eq!(store.result("c-2").await["state"], "done", "the same order again is there already");
    store.is_at_headquarters("o-1001", "placed").await;
    store.deposit().await;
    store.is_at_headquarters("o-1001", "ready").await;
    assert_eq!(store.stages("o-1001"), ["placed", "opening", "open", "ready"]);
}

#[tokio::test]
async fn a_command_from_anybody_but_headquarters_is_refused() {
    let mut store = Store::open(BankFaults::default(), QUICK).await;
    let evil = place("x", "o-666");
    let evil = evil.as_object().map(|fields| {
        let fields = fields.iter().filter(|(name, _)| *name != "id");
        fields.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>()
    });
    let evil = serde_json::to_vec(&evil).expect("our own JSON can be written");
    // Another store, and the store itself, at headquarters' broker.
    for name in ["sh-1", STORE] {
        let (mut client, code) =
            RawClient::log_in(store.hq().mqtt, Version::V5, name, None).await.expect("headquarters listens");
        assert_eq!(code, 0);
        client.publish(&format!("stores/{STORE}/command/evil"), 1, &evil).await.expect("it is sent");
        let refused = client.answer().await.ok().and_then(|packet| packet.puback());
        assert!(refused.is_none_or(|(_, reason)| 0x80 <= reason), "{name}: {refused:?}");
    }
    // A device at the store's own broker.
    for topic in [&format!("stores/{STORE}/command/evil"), "headquarters/command/evil", "staff/action"] {
        let secret = store.kiosk_secret.clone();
        let login = RawClient::log_in(store.hub().mqtt, Version::V5, KIOSK, Some(&secret)).await;
        let (mut client, code) = login.expect("the hub listens");
        assert_eq!(code, 0);
        client.publish(topic, 1, &evil).await.expect("it is sent");
        let refused = client.answer().await.ok().and_then(|packet| packet.puback());
        assert!(refused.is_none_or(|(_, reason)| 0x80 <= reason), "{topic}: {refused:?}");
    }
    // The right way still works, and nothing of the others is there.
    store.place("c-1", "o-1001").await;
    assert_eq!(store.result("c-1").await["state"], "done");
    store.deposit().await;
    store.is_at_headquarters("o-1001", "ready").await;
    assert!(store.stages("o-666").is_empty());
}

fn place(id: &str, order: &str) -> Value {
    json!({
        "id": id, "command": "order.place", "order": order, "pick_up_code": CODE, "deposit_code": COURIER,
        "goods": [{ "gtin": GOODS, "name": { "zh": "精华液", "en": "Serum" }, "quantity": 1 }],
        "expires_at": "2099-01-01T00:00:00Z",
    })
}
