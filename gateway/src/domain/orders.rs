//! Orders: from headquarters' command over the courier and the customer's code to an empty compartment.
//!
//! Owns: orders and their stages, who holds which compartment, the requests of kiosks and what they were answered,
//! headquarters' commands and their outcomes, wrong codes ([`throttle`]), calls for help, and doors that are stuck. Does
//! not own: where doors are ([`super::lockers`]), codes (only their hashes come here, [`sealed`]), or any clock.
//!
//! # Invariants
//!
//! - A compartment is held by at most one order, and no two open orders have the same code.
//! - A door is told to open only for the right code of an order that is ready, a courier's right code, or by staff; a
//!   repeated request, command or result has no second effect.
//! - Every request is answered, and its stream ends (see [`contract::kiosk`]).
//! - What a door reports decides; a controller's `done` only ends the repetition of its command.
//! - A code that has brought its goods opens nothing any more.

mod commands;
mod doors;
mod requests;
mod sealed;
mod throttle;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use contract::{
    DeviceId, KioskId, OrderId, RequestId, Timestamp,
    hub::{CompartmentOrder, OrderView},
    kiosk::{
        DOOR_OPENS_WITHIN_MS, HelpCall, LEFT_OPEN_AFTER_MS, OPEN_AGAIN_WITHIN_MS, Refusal, Reply, ReplyState,
        STILL_OPEN_AFTER_MS,
    },
    locker::LockerCommand,
    order::{Good, OrderStage, Place, label},
    topic,
    upstream::{CommandResult, CommandState, Stream},
};
use serde::{Deserialize, Serialize};

pub use self::sealed::{CodeHash, HASH_BYTES, SealedCommand, SealedRequest, StaffAction};
use self::throttle::{KioskThrottle, StoreThrottle};
use super::{
    Act, DerivedRow, Effects, RestoreError, Tree,
    counters::Counters,
    deadlines::{Deadlines, Due, Moment},
    json, json_text,
    lockers::Lockers,
    state,
};

/// Most orders that are not closed.
const OPEN_ORDERS_MAX: usize = 512;
/// Most orders that are remembered, closed ones included.
const ORDERS_MAX: usize = 4_096;
/// For this long a closed order's code is answered with what became of it.
const CLOSED_KEPT_MS: i64 = 7 * 24 * 3_600_000;
/// Most requests that are remembered.
const REQUESTS_MAX: usize = 512;
/// Most requests of one kiosk whose streams have not ended; more are told that the hub is busy.
const REQUESTS_PER_KIOSK_MAX: usize = 8;
/// A request whose stream has ended is remembered for this long, for a kiosk that asks again.
const REQUEST_KEPT_MS: i64 = 15 * 60_000;
/// Most outcomes of commands that are remembered.
const OUTCOMES_MAX: usize = 4_096;
/// An outcome is remembered for at least this long.
const OUTCOME_KEPT_MS: i64 = 2 * 24 * 3_600_000;
/// Most kiosks that wait for staff, and most whose wrong codes are counted.
const KIOSKS_MAX: usize = 256;
/// A call for help that nobody has ended is forgotten after this.
const HELP_KEPT_MS: i64 = 30 * 60_000;
/// Most stuck doors that are remembered.
const STUCK_MAX: usize = 1_024;
/// A door command that nobody has answered is said again after this.
const RESEND_MS: i64 = 2_500;
/// After a start of the hub a controller has this long to come back and say what its door did meanwhile.
const GRACE_MS: i64 = 30_000;

const DOOR_OPENS_MS: i64 = DOOR_OPENS_WITHIN_MS.cast_signed();
const STILL_OPEN_MS: i64 = STILL_OPEN_AFTER_MS.cast_signed();
const LEFT_OPEN_MS: i64 = LEFT_OPEN_AFTER_MS.cast_signed() - STILL_OPEN_MS;
const OPEN_AGAIN_MS: i64 = OPEN_AGAIN_WITHIN_MS.cast_signed();

/// The journal's topic of headquarters' command `id`. No device may publish there.
#[must_use]
pub fn command_topic(id: &str) -> String {
    format!("{COMMAND_PREFIX}{id}")
}
const COMMAND_PREFIX: &str = "headquarters/command/";
/// The journal's topic of what staff do at the command line. No device may publish there.
pub const STAFF_TOPIC: &str = "staff/action";

/// The id of the door command that follows from a record. Unique also among journals: the time stands in it.
#[must_use]
pub fn door_command_id(at: Timestamp, seq: u64) -> String {
    format!("d{:x}-{seq}", at.as_millis())
}

/// One order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    code: CodeHash,
    deposit: Option<CodeHash>,
    /// Empty once the order is closed.
    goods: Vec<Good>,
    expires_at: Timestamp,
    stage: OrderStage,
    /// The compartment that is its own: also after it has expired or was cancelled, until somebody has emptied it.
    place: Option<Place>,
    /// Somebody is at its door.
    visit: Option<Visit>,
    /// When the stage changed last.
    changed_at: Timestamp,
    /// The mark of the key that has hashed its codes, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// Somebody at an order's door.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Visit {
    purpose: Purpose,
    /// Who hears how it goes; nobody when staff do it, or the stream has ended.
    asked: Option<Asker>,
    phase: Phase,
    /// The door command that counts.
    command: String,
    /// Until when the command may be carried out.
    command_expires_at: Timestamp,
    /// When the phase ends.
    due: Option<Due>,
    /// When the command is said again; `None` once the controller has answered.
    resend: Option<Due>,
    /// The door was opened a second time already.
    is_second: bool,
    /// The hub was away while the door was to open: silence then does not mean that it is stuck.
    is_interrupted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Purpose {
    PickUp,
    Deposit,
    Staff,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::PickUp => "customer",
            Self::Deposit => "courier",
            Self::Staff => "staff",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Opening,
    Stuck,
    Open,
    StillOpen,
    LeftOpen,
    /// Closed with the goods inside; the customer is asked whether it shall open again.
    AskedAgain,
}

/// One request of one kiosk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Asker {
    kiosk: KioskId,
    request: RequestId,
}

/// What a request was answered last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answered {
    state: ReplyState,
    at: Timestamp,
}

/// How a command went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Outcome {
    at: Timestamp,
    failure: Option<String>,
}

/// Everything about orders.
#[derive(Debug, Default)]
pub(super) struct Orders {
    orders: BTreeMap<OrderId, Order>,
    requests: BTreeMap<Asker, Answered>,
    outcomes: BTreeMap<String, Outcome>,
    kiosks: BTreeMap<KioskId, KioskThrottle>,
    store: StoreThrottle,
    help: BTreeMap<KioskId, HelpCall>,
    stuck: BTreeMap<Place, Timestamp>,

    // What follows from `orders`.
    held: BTreeMap<Place, OrderId>,
    due: Deadlines<OrderId>,
    resends: Deadlines<OrderId>,
    expiry: BTreeSet<(Timestamp, OrderId)>,
    open: usize,
}

/// What an input works with besides the orders.
pub(super) struct Around<'a> {
    pub(super) now: Moment,
    pub(super) seq: u64,
    pub(super) lockers: &'a Lockers,
    pub(super) counters: &'a mut Counters,
    pub(super) effects: &'a mut Effects,
    /// Banks whose picture has changed.
    pub(super) touched: &'a mut BTreeSet<DeviceId>,
}

#[derive(Serialize)]
struct OrderEvent<'a> {
    order: &'a OrderId,
    stage: &'static str,
    expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    bank: Option<&'a DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compartment: Option<u16>,
    /// Who did it: customer, courier, staff, headquarters, clock, or door.
    by: &'a str,
}

impl Orders {
    /// Staff have done something at the hub's command line.
    pub(super) fn staff(&mut self, action: StaffAction, around: &mut Around<'_>) {
        match action {
            StaffAction::Open(place) => self.open_by_staff(&place, around),
            StaffAction::Resolve(place) => self.resolve(&place, around),
            StaffAction::HelpDone { kiosk } => self.end_help(&kiosk, around.effects),
        }
    }

    // ---- time

    /// The steady clock has started anew: the hub was away, for how long only the wall clock can say.
    pub(super) fn rebase(&mut self, around: &mut Around<'_>) {
        let waiting: Vec<OrderId> =
            self.orders.iter().filter(|(_, order)| order.visit.is_some()).map(|(id, _)| id.clone()).collect();
        let now = around.now;
        for id in waiting {
            self.change(&id, "clock", around, |order| {
                let Some(visit) = &mut order.visit else { return };
                match visit.phase {
                    Phase::Opening => {
                        visit.is_interrupted = true;
                        visit.due = Some(Due::after(now, GRACE_MS));
                        // In time it is said again, under the same id, in case it never arrived.
                        visit.resend = (now.at < visit.command_expires_at).then(|| Due::after(now, 0));
                    }
                    Phase::Open => visit.due = visit.due.map(|due| due.rebased(now, STILL_OPEN_MS)),
                    Phase::StillOpen => visit.due = visit.due.map(|due| due.rebased(now, LEFT_OPEN_MS)),
                    Phase::AskedAgain => visit.due = visit.due.map(|due| due.rebased(now, OPEN_AGAIN_MS)),
                    Phase::Stuck | Phase::LeftOpen => {}
                }
            });
        }
    }

    /// Does one thing that is due; false when nothing is.
    pub(super) fn pass_time(&mut self, around: &mut Around<'_>) -> bool {
        if let Some(id) = self.due.first_due(around.now).cloned() {
            self.phase_over(&id, around);
            return true;
        }
        if let Some(id) = self.resends.first_due(around.now).cloned() {
            self.resend(&id, around);
            return true;
        }
        let expired = self.expiry.first().filter(|(at, _)| *at <= around.now.at).map(|(_, id)| id.clone());
        match expired {
            Some(id) => {
                self.expire_if_due(&id, around);
                true
            }
            None => false,
        }
    }

    /// Whether something ends within seconds, so that time should be told often.
    pub(super) fn is_waiting(&self) -> bool {
        0 < self.due.len()
    }

    fn expire_if_due(&mut self, id: &OrderId, around: &mut Around<'_>) {
        let order = &self.orders[id];
        let has_ended = order.expires_at <= around.now.at;
        let is_idle = order.visit.is_none() && matches!(order.stage, OrderStage::Placed | OrderStage::Ready);
        if has_ended && is_idle {
            self.change(id, "clock", around, |order| order.stage = OrderStage::Expired);
        }
    }

    /// Forgets what is old; called at every tick.
    pub(super) fn sweep(&mut self, around: &mut Around<'_>) {
        let now = around.now.at;
        let is_old = |at: Timestamp, kept_ms: i64| kept_ms < now.millis_since(at);
        let effects = &mut *around.effects;
        self.requests.retain(|asker, answered| {
            let keep = !answered.state.is_final() || !is_old(answered.at, REQUEST_KEPT_MS);
            if !keep {
                effects.remove(Tree::Orders, asker.key());
            }
            keep
        });
        self.outcomes.retain(|id, outcome| {
            let keep = !is_old(outcome.at, OUTCOME_KEPT_MS);
            if !keep {
                effects.remove(Tree::Orders, key(OUTCOME, id));
            }
            keep
        });
        self.kiosks.retain(|kiosk, throttle| {
            let keep = !throttle.is_forgotten(now.as_millis());
            if !keep {
                effects.remove(Tree::Orders, key(KIOSK, kiosk.as_str()));
            }
            keep
        });
        let unheard: Vec<KioskId> = self
            .help
            .iter()
            .filter(|(_, call)| is_old(call.at, HELP_KEPT_MS))
            .map(|(id, _)| id.clone())
            .collect();
        unheard.iter().for_each(|kiosk| self.end_help(kiosk, effects));
        let gone: Vec<OrderId> = (self.orders.iter())
            .filter(|(_, order)| order.stage.is_closed() && order.place.is_none())
            .filter(|(_, order)| is_old(order.changed_at, CLOSED_KEPT_MS))
            .map(|(id, _)| id.clone())
            .collect();
        gone.iter().for_each(|id| self.forget(id, effects));
    }

    /// The order that fits, an open one before a closed one. Every order is looked at, whatever is found.
    fn find(&self, fits: impl Fn(&Order) -> bool) -> Option<OrderId> {
        let (mut open, mut closed): (Option<&OrderId>, Option<(&OrderId, Timestamp)>) = (None, None);
        for (id, order) in &self.orders {
            let fits = fits(order);
            if fits && !order.stage.is_closed() {
                open = Some(id);
            } else if fits && closed.is_none_or(|(_, at)| at <= order.changed_at) {
                closed = Some((id, order.changed_at));
            }
        }
        open.or(closed.map(|(id, _)| id)).cloned()
    }

    // ---- keeping everything that follows from an order in step with it

    fn change(&mut self, id: &OrderId, by: &str, around: &mut Around<'_>, edit: impl FnOnce(&mut Order)) {
        let Some(mut order) = self.orders.remove(id) else { return };
        self.unindex(id, &order);
        let before = order.clone();
        edit(&mut order);
        if order.stage != before.stage {
            order.changed_at = around.now.at;
        }
        if matches!(order.stage, OrderStage::Collected | OrderStage::Cancelled) {
            order.goods = Vec::new();
        }
        self.put(id.clone(), order, by, Some(&before), around);
    }

    fn put(&mut self, id: OrderId, order: Order, by: &str, before: Option<&Order>, around: &mut Around<'_>) {
        self.index(&id, &order);
        around.effects.put(Tree::Orders, key(ORDER, id.as_str()), json(&order));
        let was = before.map(|before| (before.stage, before.place.clone()));
        let places = [order.place.as_ref(), before.and_then(|before| before.place.as_ref())];
        if was.as_ref() != Some(&(order.stage, order.place.clone())) {
            around.touched.extend(places.into_iter().flatten().map(|place| place.bank.clone()));
        }
        let is_news = |before: &Order| before.stage != order.stage || before.expires_at != order.expires_at;
        if before.is_none_or(is_news) {
            // The event of an order that gives its compartment back still says which one it was.
            let place = order.place.as_ref().or(before.and_then(|before| before.place.as_ref()));
            around.order_event(&id, &order, place, &format!("order.{}", order.stage.as_str()), by);
        }
        self.orders.insert(id, order);
    }

    fn forget(&mut self, id: &OrderId, effects: &mut Effects) {
        if let Some(order) = self.orders.remove(id) {
            self.unindex(id, &order);
            effects.remove(Tree::Orders, key(ORDER, id.as_str()));
        }
    }

    fn index(&mut self, id: &OrderId, order: &Order) {
        self.open += usize::from(!order.stage.is_closed());
        if let Some(place) = &order.place {
            self.held.insert(place.clone(), id.clone());
        }
        if matches!(order.stage, OrderStage::Placed | OrderStage::Ready) && order.visit.is_none() {
            self.expiry.insert((order.expires_at, id.clone()));
        }
        if let Some(visit) = &order.visit {
            visit.due.into_iter().for_each(|due| self.due.insert(due, id.clone()));
            visit.resend.into_iter().for_each(|due| self.resends.insert(due, id.clone()));
        }
    }

    fn unindex(&mut self, id: &OrderId, order: &Order) {
        self.open -= usize::from(!order.stage.is_closed());
        if let Some(place) = &order.place {
            self.held.remove(place);
        }
        self.expiry.remove(&(order.expires_at, id.clone()));
        if let Some(visit) = &order.visit {
            visit.due.into_iter().for_each(|due| self.due.remove(due, id.clone()));
            visit.resend.into_iter().for_each(|due| self.resends.remove(due, id.clone()));
        }
    }

    // ---- what others see

    /// What is known about a compartment besides its door: whether it is an order's, which one, and whether it is stuck.
    pub(super) fn at(&self, place: &Place) -> (bool, Option<CompartmentOrder>, bool) {
        let order = self.held.get(place).map(|id| {
            let stage = self.orders[id].stage;
            CompartmentOrder { label: label(id), stage }
        });
        (order.is_some(), order, self.stuck.contains_key(place))
    }

    /// How many open orders have their codes hashed with which key, by its mark.
    pub(super) fn open_by_key(&self) -> BTreeMap<String, usize> {
        let mut by_key = BTreeMap::new();
        let open = self.orders.values().filter(|order| !order.stage.is_closed());
        open.filter_map(|order| order.key.clone()).for_each(|key| *by_key.entry(key).or_default() += 1);
        by_key
    }

    pub(super) fn view(&self) -> Vec<OrderView> {
        let shown = self.orders.iter().filter(|(_, order)| !order.stage.is_closed() || order.place.is_some());
        let view = shown.map(|(id, order)| OrderView {
            label: label(id),
            stage: order.stage,
            place: order.place.clone(),
            expires_at: order.expires_at,
            is_left_open: order.visit.as_ref().is_some_and(|visit| visit.phase == Phase::LeftOpen),
        });
        view.collect()
    }

    // ---- entities

    pub(super) fn restore(&mut self, whole: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let tree = Tree::Orders;
        let wrong = || state::wrong_key(tree, whole);
        let text = state::text_key(tree, whole)?;
        let (kind, rest) = text.split_once('/').ok_or_else(wrong)?;
        let kiosk = || KioskId::parse(rest).map_err(|_| wrong());
        match kind {
            ORDER => {
                let id = OrderId::parse(rest).map_err(|_| wrong())?;
                let order = state::value(tree, whole, value)?;
                self.index(&id, &order);
                self.orders.insert(id, order);
            }
            REQUEST => {
                let (kiosk, request) = rest.split_once('/').ok_or_else(wrong)?;
                let kiosk = KioskId::parse(kiosk).map_err(|_| wrong())?;
                let request = RequestId::parse(request).map_err(|_| wrong())?;
                self.requests.insert(Asker { kiosk, request }, state::value(tree, whole, value)?);
            }
            OUTCOME => drop(self.outcomes.insert(rest.to_owned(), state::value(tree, whole, value)?)),
            KIOSK => drop(self.kiosks.insert(kiosk()?, state::value(tree, whole, value)?)),
            STORE => self.store = state::value(tree, whole, value)?,
            HELP => drop(self.help.insert(kiosk()?, state::value(tree, whole, value)?)),
            STUCK => {
                let (bank, compartment) = rest.split_once('/').ok_or_else(wrong)?;
                let bank = DeviceId::parse(bank).map_err(|_| wrong())?;
                let compartment = compartment.parse().map_err(|_| wrong())?;
                self.stuck.insert(Place { bank, compartment }, state::value(tree, whole, value)?);
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    pub(super) fn entities(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let store = (self.store != StoreThrottle::default()).then(|| (key(STORE, ""), json(&self.store)));
        (self.orders.iter().map(|(id, order)| (key(ORDER, id.as_str()), json(order))))
            .chain(self.requests.iter().map(|(asker, answered)| (asker.key(), json(answered))))
            .chain(self.outcomes.iter().map(|(id, outcome)| (key(OUTCOME, id), json(outcome))))
            .chain(self.kiosks.iter().map(|(kiosk, throttle)| (key(KIOSK, kiosk.as_str()), json(throttle))))
            .chain(self.help.iter().map(|(kiosk, call)| (key(HELP, kiosk.as_str()), json(call))))
            .chain(self.stuck.iter().map(|(place, at)| (stuck_key(place), json(at))))
            .chain(store)
    }
}

const ORDER: &str = "order";
const REQUEST: &str = "request";
const OUTCOME: &str = "outcome";
const KIOSK: &str = "kiosk";
const STORE: &str = "store";
const HELP: &str = "help";
const STUCK: &str = "stuck";

fn key(kind: &str, id: &str) -> Vec<u8> {
    format!("{kind}/{id}").into_bytes()
}

fn stuck_key(place: &Place) -> Vec<u8> {
    key(STUCK, &format!("{}/{}", place.bank, place.compartment))
}

/// Counters are named as the refusals are on the wire.
fn word(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::WrongCode => "wrong_code",
        Refusal::Expired => "expired",
        Refusal::AlreadyUsed => "already_used",
        Refusal::NotReady => "not_ready",
        Refusal::RateLimited { .. } => "rate_limited",
        Refusal::HubBusy => "hub_busy",
        Refusal::InUse => "in_use",
        Refusal::NoFreeCompartment => "no_free_compartment",
        Refusal::TooOld => "too_old",
        Refusal::NotNow => "not_now",
    }
}

impl Asker {
    fn key(&self) -> Vec<u8> {
        key(REQUEST, &format!("{}/{}", self.kiosk, self.request))
    }
}

impl Visit {
    /// Somebody has opened the door with a key.
    fn by_key(at: Timestamp) -> Self {
        Self {
            purpose: Purpose::Staff,
            asked: None,
            phase: Phase::Open,
            command: String::new(),
            command_expires_at: at,
            due: None,
            resend: None,
            is_second: false,
            is_interrupted: false,
        }
    }
}

impl Around<'_> {
    fn command_id(&self) -> String {
        door_command_id(self.now.at, self.seq)
    }

    fn order_event(&mut self, id: &OrderId, order: &Order, place: Option<&Place>, kind: &str, by: &str) {
        let data = OrderEvent {
            order: id,
            stage: order.stage.as_str(),
            expires_at: order.expires_at,
            bank: place.map(|place| &place.bank),
            compartment: place.map(|place| place.compartment),
            by,
        };
        self.effects.rows.push(DerivedRow {
            stream: Stream::Events,
            at: self.now.at,
            kind: kind.to_owned(),
            device: place.map(|place| place.bank.to_string()),
            data: json_text(&data),
        });
    }

    fn send_open(&mut self, place: &Place, id: &str, expires_at: Timestamp) {
        let command = LockerCommand::Open { compartment: place.compartment, expires_at };
        let topic = topic::device_command(&place.bank, id);
        self.effects.acts.push(Act::Publish { topic, payload: json(&command) });
    }

    fn send_reply(&mut self, asker: &Asker, reply: &Reply) {
        let topic = topic::kiosk_reply(&asker.kiosk, &asker.request);
        self.effects.acts.push(Act::Publish { topic, payload: json(reply) });
    }

    fn send_result(&mut self, id: &str, reason: Option<String>) {
        let state = if reason.is_none() { CommandState::Done } else { CommandState::Failed };
        self.effects.acts.push(Act::Result { id: id.to_owned(), result: CommandResult { state, reason } });
    }
}

/// Headquarters' command of a journal topic.
pub(super) fn parse_command_topic(topic: &str) -> Option<&str> {
    topic.strip_prefix(COMMAND_PREFIX).filter(|id| !id.is_empty())
}
