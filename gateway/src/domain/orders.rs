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

mod sealed;
mod throttle;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use contract::{
    DeviceId, KioskId, OrderId, RequestId, Timestamp,
    hub::{CompartmentOrder, OrderView},
    kiosk::{
        DOOR_OPENS_WITHIN_MS, HELP_TOPIC, HelpCall, HelpCalls, LEFT_OPEN_AFTER_MS, OPEN_AGAIN_WITHIN_MS,
        REQUEST_AGE_MS_MAX, Refusal, Reply, ReplyState, STILL_OPEN_AFTER_MS,
    },
    locker::LockerCommand,
    native::Door,
    order::{CancelOrder, ExtendOrder, Good, OrderStage, Place, label},
    topic,
    upstream::{CommandResult, CommandState, Stream},
};
use serde::{Deserialize, Serialize};

pub use self::sealed::{CodeHash, HASH_BYTES, SealedCommand, SealedRequest, StaffAction};
use self::{
    sealed::{SealedAsk, SealedOrder},
    throttle::{KioskThrottle, StoreThrottle},
};
use super::{
    Act, DerivedRow, Effects, PLAUSIBLE_FROM_MS, RestoreError, Tree,
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
    // ---- what happened

    /// A kiosk has asked.
    pub(super) fn ask(
        &mut self,
        kiosk: KioskId,
        request: RequestId,
        sealed: SealedRequest,
        around: &mut Around<'_>,
    ) {
        let asker = Asker { kiosk, request };
        if let Some(answered) = self.requests.get(&asker) {
            let reply = Reply { at: answered.at, state: answered.state.clone() };
            return around.send_reply(&asker, &reply);
        }
        let age_ms = around.now.at.millis_since(sealed.at);
        if PLAUSIBLE_FROM_MS <= around.now.at.as_millis() && REQUEST_AGE_MS_MAX < age_ms {
            return self.refuse(&asker, Refusal::TooOld, around);
        }
        if !self.has_room_for(&asker.kiosk, around) {
            return self.refuse(&asker, Refusal::HubBusy, around);
        }
        match sealed.ask {
            SealedAsk::PickUp(code) => self.pick_up(asker, code, around),
            SealedAsk::Deposit(code) => self.deposit(asker, code, around),
            SealedAsk::OpenAgain(request) => self.open_again(asker, request, around),
            SealedAsk::Help { screen, order } => self.call_help(asker, screen, order, around),
        }
    }

    fn pick_up(&mut self, asker: Asker, code: CodeHash, around: &mut Around<'_>) {
        if let Some(refusal) = self.blocked(&asker.kiosk, around.now) {
            return self.refuse(&asker, refusal, around);
        }
        let Some(id) = self.find(|order| order.code == code) else {
            return self.wrong_code(&asker, around);
        };
        self.expire_if_due(&id, around);
        let order = &self.orders[&id];
        let phase = order.visit.as_ref().map(|visit| visit.phase);
        let is_courier = order.visit.as_ref().is_some_and(|visit| visit.purpose == Purpose::Deposit);
        let refusal = match (order.stage, phase) {
            (OrderStage::Collected, _) => Refusal::AlreadyUsed,
            (OrderStage::Expired | OrderStage::Cancelled, _) => Refusal::Expired,
            (OrderStage::Placed, _) => Refusal::NotReady,
            _ if is_courier => Refusal::NotReady,
            (OrderStage::Stuck, _) => {
                let compartment = order.place.as_ref().map_or(0, |place| place.compartment);
                return self.answer(&asker, ReplyState::Stuck { compartment }, around);
            }
            // At `LeftOpen` whoever opened it has gone, and the customer stands before the open door.
            (_, Some(Phase::AskedAgain | Phase::LeftOpen) | None) => {
                return self.open_door(&id, Purpose::PickUp, Some(asker), around);
            }
            _ => Refusal::InUse,
        };
        self.refuse(&asker, refusal, around);
    }

    fn deposit(&mut self, asker: Asker, code: CodeHash, around: &mut Around<'_>) {
        if let Some(refusal) = self.blocked(&asker.kiosk, around.now) {
            return self.refuse(&asker, refusal, around);
        }
        let Some(id) = self.find(|order| order.deposit == Some(code)) else {
            return self.wrong_code(&asker, around);
        };
        self.expire_if_due(&id, around);
        let order = &self.orders[&id];
        let refusal = match (order.stage, &order.visit) {
            (OrderStage::Expired | OrderStage::Cancelled, _) => Refusal::Expired,
            (_, Some(visit)) if visit.purpose == Purpose::Deposit => Refusal::InUse,
            (OrderStage::Placed, _) => match self.free_place(around.lockers) {
                Some(place) => {
                    self.change(&id, "courier", around, |order| order.place = Some(place));
                    return self.open_door(&id, Purpose::Deposit, Some(asker), around);
                }
                None => {
                    around.counters.bump("orders.no_free_compartment", around.effects);
                    Refusal::NoFreeCompartment
                }
            },
            _ => Refusal::AlreadyUsed,
        };
        self.refuse(&asker, refusal, around);
    }

    fn open_again(&mut self, asker: Asker, request: RequestId, around: &mut Around<'_>) {
        let first = Asker { kiosk: asker.kiosk.clone(), request };
        let found = self.orders.iter().find(|(_, order)| {
            order.visit.as_ref().is_some_and(|visit| {
                visit.phase == Phase::AskedAgain && !visit.is_second && visit.asked.as_ref() == Some(&first)
            })
        });
        match found.map(|(id, _)| id.clone()) {
            Some(id) => {
                self.open_door(&id, Purpose::PickUp, Some(asker), around);
                self.change(&id, "customer", around, |order| {
                    if let Some(visit) = &mut order.visit {
                        visit.is_second = true;
                    }
                });
            }
            None => self.refuse(&asker, Refusal::NotNow, around),
        }
    }

    fn call_help(&mut self, asker: Asker, screen: String, order: Option<String>, around: &mut Around<'_>) {
        #[derive(Serialize)]
        struct Help<'a> {
            screen: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            order: Option<&'a str>,
        }
        if !self.help.contains_key(&asker.kiosk) && KIOSKS_MAX <= self.help.len() {
            return self.refuse(&asker, Refusal::HubBusy, around);
        }
        let data = Help { screen: &screen, order: order.as_deref() };
        around.effects.event("help.called", around.now.at, asker.kiosk.as_str(), &data);
        let call = HelpCall { at: around.now.at, screen, order };
        around.effects.put(Tree::Orders, key(HELP, asker.kiosk.as_str()), json(&call));
        self.help.insert(asker.kiosk.clone(), call);
        self.tell_help(around.effects);
        self.answer(&asker, ReplyState::HelpCalled, around);
    }

    /// A controller has answered a door command.
    pub(super) fn result(
        &mut self,
        bank: &DeviceId,
        id: &str,
        result: &CommandResult,
        around: &mut Around<'_>,
    ) {
        let found = self.orders.iter().find(|(_, order)| {
            let is_bank = order.place.as_ref().is_some_and(|place| place.bank == *bank);
            is_bank
                && order
                    .visit
                    .as_ref()
                    .is_some_and(|visit| visit.command == id && visit.phase == Phase::Opening)
        });
        let Some((order, _)) = found else { return };
        let order = order.clone();
        match result.state {
            CommandState::Accepted | CommandState::Done => self.change(&order, "door", around, |order| {
                if let Some(visit) = &mut order.visit {
                    visit.resend = None;
                }
            }),
            CommandState::Failed => self.did_not_open(&order, around),
        }
    }

    /// A door has moved, or its compartment has: what the controller reports now, after [`Lockers`] has taken it.
    pub(super) fn door(&mut self, place: &Place, was: Option<(Door, Option<bool>)>, around: &mut Around<'_>) {
        let Some((door, occupied)) = around.lockers.get(place) else { return };
        let was_open = was.is_some_and(|(door, _)| door == Door::Open);
        let is_open = door == Door::Open;
        if is_open && !was_open {
            self.opened(place, around);
        } else if !is_open && was_open {
            self.closed(place, occupied, around);
        } else if !is_open
            && was.is_some_and(|(_, occupied)| occupied == Some(true))
            && occupied == Some(false)
        {
            // What lay there has gone: the door was open for a moment that nobody has reported.
            self.opened(place, around);
            self.closed(place, occupied, around);
        }
    }

    fn opened(&mut self, place: &Place, around: &mut Around<'_>) {
        self.set_stuck(place, false, around);
        let Some(id) = self.held.get(place).cloned() else { return };
        let order = &self.orders[&id];
        if order.stage.is_closed() {
            return;
        }
        let purpose = order.visit.as_ref().map_or(Purpose::Staff, |visit| visit.purpose);
        // Whoever was asked whether it shall open again is not heard any more: somebody has a key.
        let asked = order.visit.as_ref().and_then(|visit| visit.asked.clone());
        let (due, at) = (Due::after(around.now, STILL_OPEN_MS), around.now.at);
        self.change(&id, purpose.as_str(), around, |order| {
            order.stage = OrderStage::Open;
            let visit = order.visit.get_or_insert_with(|| Visit::by_key(at));
            visit.phase = Phase::Open;
            visit.due = Some(due);
            visit.resend = None;
            visit.is_interrupted = false;
        });
        if let Some(asker) = asked {
            self.answer(&asker, ReplyState::Open, around);
        }
    }

    fn closed(&mut self, place: &Place, occupied: Option<bool>, around: &mut Around<'_>) {
        let Some(id) = self.held.get(place).cloned() else { return };
        let order = &self.orders[&id];
        if order.stage.is_closed() {
            if occupied != Some(true) {
                self.change(&id, "staff", around, |order| {
                    order.place = None;
                    order.goods = Vec::new();
                });
            }
            return;
        }
        let Some(visit) = order.visit.clone().filter(|_| order.stage == OrderStage::Open) else { return };
        let asked = visit.asked.as_ref();
        match visit.purpose {
            Purpose::Deposit if occupied == Some(false) => {
                self.end_visit(&id, OrderStage::Placed, "courier", around);
                self.tell(asked, ReplyState::NotDeposited, around);
            }
            Purpose::Deposit => {
                self.end_visit(&id, OrderStage::Ready, "courier", around);
                self.tell(asked, ReplyState::Deposited, around);
            }
            Purpose::PickUp if occupied == Some(true) && asked.is_some() && !visit.is_second => {
                let due = Due::after(around.now, OPEN_AGAIN_MS);
                self.change(&id, "customer", around, |order| {
                    order.stage = OrderStage::Ready;
                    if let Some(visit) = &mut order.visit {
                        visit.phase = Phase::AskedAgain;
                        visit.due = Some(due);
                    }
                });
                self.tell(asked, ReplyState::ClosedNotEmptied { may_open_again: true }, around);
            }
            Purpose::PickUp if occupied == Some(true) => {
                self.end_visit(&id, OrderStage::Ready, "customer", around);
                self.tell(asked, ReplyState::ClosedNotEmptied { may_open_again: false }, around);
            }
            // Staff look in; only a sensor can tell that they have handed the goods over.
            Purpose::Staff if occupied != Some(false) => {
                self.end_visit(&id, OrderStage::Ready, "staff", around);
            }
            Purpose::PickUp | Purpose::Staff => {
                self.end_visit(&id, OrderStage::Collected, visit.purpose.as_str(), around);
                self.tell(asked, ReplyState::Collected, around);
            }
        }
    }

    /// Headquarters has sent a command.
    pub(super) fn command(&mut self, id: &str, command: SealedCommand, around: &mut Around<'_>) {
        if !self.outcomes.contains_key(id) {
            if OUTCOMES_MAX <= self.outcomes.len() {
                let failure = Some(format!("{OUTCOMES_MAX} commands within two days are the most"));
                return around.send_result(id, failure);
            }
            let result = match command {
                SealedCommand::Place(order) => self.place(order, around),
                SealedCommand::Cancel(CancelOrder { order }) => self.cancel(&order, around),
                SealedCommand::Extend(extend) => self.extend(&extend, around),
            };
            let name = if result.is_ok() { "orders.commands_done" } else { "orders.commands_failed" };
            around.counters.bump(name, around.effects);
            let outcome = Outcome { at: around.now.at, failure: result.err() };
            around.effects.put(Tree::Orders, key(OUTCOME, id), json(&outcome));
            self.outcomes.insert(id.to_owned(), outcome);
        }
        around.send_result(id, self.outcomes[id].failure.clone());
    }

    fn place(&mut self, new: SealedOrder, around: &mut Around<'_>) -> Result<(), String> {
        let SealedOrder { order: id, code, goods, expires_at, deposit, compartment } = new;
        if let Some(known) = self.orders.get(&id) {
            let same = known.code == code && known.deposit == deposit;
            return if same {
                Ok(())
            } else {
                Err(format!("order `{id}` is there already, with other content"))
            };
        }
        if OPEN_ORDERS_MAX <= self.open || !self.has_room_for_order(around.effects) {
            return Err(format!("{OPEN_ORDERS_MAX} open orders are the most"));
        }
        if expires_at <= around.now.at {
            return Err(format!("`expires_at` {expires_at} has passed"));
        }
        let is_taken = |order: &Order| {
            let same_deposit = deposit.is_some() && order.deposit == deposit;
            !order.stage.is_closed() && (order.code == code || same_deposit)
        };
        if self.find(is_taken).is_some_and(|id| !self.orders[&id].stage.is_closed()) {
            return Err("another open order has this code: choose another one".to_owned());
        }
        if let Some(place) = &compartment {
            let Place { bank, compartment } = place;
            match around.lockers.get(place) {
                None => return Err(format!("bank `{bank}` has never reported a compartment {compartment}")),
                Some((_, Some(false))) => {
                    return Err(format!("compartment {compartment} of `{bank}` is empty"));
                }
                Some(_) if self.held.contains_key(place) => {
                    return Err(format!("compartment {compartment} of `{bank}` holds another order"));
                }
                Some(_) => {}
            }
        }
        let stage = if compartment.is_some() { OrderStage::Ready } else { OrderStage::Placed };
        let order = Order {
            code,
            deposit,
            goods,
            expires_at,
            stage,
            place: compartment,
            visit: None,
            changed_at: around.now.at,
        };
        self.put(id, order, "headquarters", None, around);
        Ok(())
    }

    /// Whether one more order can be remembered; the one that was closed first makes room.
    fn has_room_for_order(&mut self, effects: &mut Effects) -> bool {
        if self.orders.len() < ORDERS_MAX {
            return true;
        }
        let closed = self.orders.iter().filter(|(_, order)| order.stage.is_closed() && order.place.is_none());
        let Some(oldest) = closed.min_by_key(|(_, order)| order.changed_at).map(|(id, _)| id.clone()) else {
            return false;
        };
        self.forget(&oldest, effects);
        true
    }

    fn cancel(&mut self, id: &OrderId, around: &mut Around<'_>) -> Result<(), String> {
        let order = self.orders.get(id).ok_or_else(|| format!("there is no order `{id}`"))?;
        match order.stage {
            OrderStage::Cancelled => Ok(()),
            OrderStage::Collected => Err(format!("order `{id}` was collected")),
            OrderStage::Opening | OrderStage::Open => Err(format!("somebody is at the door of order `{id}`")),
            OrderStage::Placed | OrderStage::Ready | OrderStage::Stuck | OrderStage::Expired => {
                self.finish_stream(id, around);
                self.end_visit(id, OrderStage::Cancelled, "headquarters", around);
                Ok(())
            }
        }
    }

    fn extend(&mut self, extend: &ExtendOrder, around: &mut Around<'_>) -> Result<(), String> {
        let ExtendOrder { order: id, expires_at } = extend;
        let order = self.orders.get(id).ok_or_else(|| format!("there is no order `{id}`"))?;
        if *expires_at <= around.now.at {
            return Err(format!("`expires_at` {expires_at} has passed"));
        }
        let stage = match (order.stage, &order.place) {
            (OrderStage::Collected | OrderStage::Cancelled, _) => {
                return Err(format!("order `{id}` is {}", order.stage.as_str()));
            }
            (OrderStage::Expired, _) => {
                let (code, deposit) = (order.code, order.deposit);
                let is_taken = self.orders.iter().any(|(other, order)| {
                    let same = order.code == code || (deposit.is_some() && order.deposit == deposit);
                    other != id && !order.stage.is_closed() && same
                });
                match &order.place {
                    _ if is_taken => return Err("another open order has this code by now".to_owned()),
                    _ if OPEN_ORDERS_MAX <= self.open => {
                        return Err(format!("{OPEN_ORDERS_MAX} open orders are the most"));
                    }
                    Some(_) => OrderStage::Ready,
                    None if order.goods.is_empty() => {
                        return Err(format!("order `{id}` has expired and its goods were taken out"));
                    }
                    None => OrderStage::Placed,
                }
            }
            (stage, _) => stage,
        };
        self.change(id, "headquarters", around, |order| {
            order.expires_at = *expires_at;
            order.stage = stage;
        });
        Ok(())
    }

    /// Staff have done something at the hub's command line.
    pub(super) fn staff(&mut self, action: StaffAction, around: &mut Around<'_>) {
        match action {
            StaffAction::Open(place) => self.open_by_staff(&place, around),
            StaffAction::Resolve(place) => self.resolve(&place, around),
            StaffAction::HelpDone { kiosk } => self.end_help(&kiosk, around.effects),
        }
    }

    fn open_by_staff(&mut self, place: &Place, around: &mut Around<'_>) {
        let held = self.held.get(place).cloned();
        let order = held.as_ref().map(|id| (id, &self.orders[id]));
        match order {
            Some((id, order)) if matches!(order.stage, OrderStage::Stuck | OrderStage::Ready) => {
                let (id, visit) = (id.clone(), order.visit.clone());
                let purpose =
                    visit.filter(|_| order.stage == OrderStage::Stuck).map_or(Purpose::Staff, |v| v.purpose);
                self.open_door(&id, purpose, None, around);
            }
            _ => {
                let command = around.command_id();
                let expires_at = around.now.at.plus_millis(DOOR_OPENS_MS);
                around.send_open(place, &command, expires_at);
            }
        }
    }

    fn resolve(&mut self, place: &Place, around: &mut Around<'_>) {
        self.set_stuck(place, false, around);
        if let Some(id) = self.held.get(place).cloned()
            && self.orders[&id].stage == OrderStage::Stuck
        {
            self.end_visit(&id, OrderStage::Ready, "staff", around);
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

    fn phase_over(&mut self, id: &OrderId, around: &mut Around<'_>) {
        let order = &self.orders[id];
        let Some(visit) = order.visit.clone() else { return };
        let asked = visit.asked.as_ref();
        let compartment = order.place.as_ref().map_or(0, |place| place.compartment);
        match visit.phase {
            Phase::Opening => self.did_not_open(id, around),
            Phase::Open => {
                let due = Due::after(around.now, LEFT_OPEN_MS);
                self.change(id, "clock", around, |order| {
                    if let Some(visit) = &mut order.visit {
                        visit.phase = Phase::StillOpen;
                        visit.due = Some(due);
                    }
                });
                self.tell(asked, ReplyState::StillOpen, around);
            }
            Phase::StillOpen => {
                self.tell(asked, ReplyState::LeftOpen { compartment }, around);
                self.change(id, "clock", around, |order| {
                    if let Some(visit) = &mut order.visit {
                        visit.phase = Phase::LeftOpen;
                        visit.due = None;
                        visit.asked = None;
                    }
                });
                around.counters.bump("orders.doors_left_open", around.effects);
                let order = &self.orders[id];
                around.order_event(id, order, order.place.as_ref(), "locker.left_open", "clock");
            }
            Phase::AskedAgain => {
                self.end_visit(id, OrderStage::Ready, "customer", around);
                self.tell(asked, ReplyState::ClosedNotEmptied { may_open_again: false }, around);
            }
            Phase::Stuck | Phase::LeftOpen => {}
        }
    }

    /// The time for opening is over, or the controller has said that it cannot.
    fn did_not_open(&mut self, id: &OrderId, around: &mut Around<'_>) {
        let order = &self.orders[id];
        let (Some(visit), Some(place)) = (order.visit.clone(), order.place.clone()) else { return };
        let back = if visit.purpose == Purpose::Deposit { OrderStage::Placed } else { OrderStage::Ready };
        if visit.is_interrupted {
            self.end_visit(id, back, "clock", around);
            return self.tell(visit.asked.as_ref(), ReplyState::Refused { reason: Refusal::HubBusy }, around);
        }
        around.counters.bump("orders.doors_stuck", around.effects);
        around.order_event(id, order, Some(&place), "locker.stuck", visit.purpose.as_str());
        self.set_stuck(&place, true, around);
        if visit.purpose == Purpose::Deposit {
            // The courier is given another door.
            self.end_visit(id, OrderStage::Placed, "courier", around);
        } else {
            self.change(id, visit.purpose.as_str(), around, |order| {
                order.stage = OrderStage::Stuck;
                if let Some(visit) = &mut order.visit {
                    visit.phase = Phase::Stuck;
                    visit.due = None;
                    visit.resend = None;
                    visit.asked = None;
                }
            });
        }
        self.tell(visit.asked.as_ref(), ReplyState::Stuck { compartment: place.compartment }, around);
    }

    fn resend(&mut self, id: &OrderId, around: &mut Around<'_>) {
        let order = &self.orders[id];
        let (Some(visit), Some(place)) = (order.visit.clone(), order.place.clone()) else { return };
        let is_in_time = around.now.at < visit.command_expires_at;
        let next = is_in_time.then(|| Due::after(around.now, RESEND_MS));
        self.change(id, "clock", around, |order| {
            if let Some(visit) = &mut order.visit {
                visit.resend = next;
            }
        });
        if is_in_time {
            around.send_open(&place, &visit.command, visit.command_expires_at);
        }
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

    // ---- the parts

    /// Tells a door to open for an order that has a compartment.
    fn open_door(&mut self, id: &OrderId, purpose: Purpose, asked: Option<Asker>, around: &mut Around<'_>) {
        let Some(place) = self.orders[id].place.clone() else { return };
        self.finish_stream(id, around);
        let is_open = around.lockers.get(&place).is_some_and(|(door, _)| door == Door::Open);
        let command = around.command_id();
        let expires_at = around.now.at.plus_millis(DOOR_OPENS_MS);
        let (now, visit_asked) = (around.now, asked.clone());
        let visit = Visit {
            purpose,
            asked: visit_asked,
            phase: if is_open { Phase::Open } else { Phase::Opening },
            command: command.clone(),
            command_expires_at: expires_at,
            due: Some(Due::after(now, if is_open { STILL_OPEN_MS } else { DOOR_OPENS_MS })),
            resend: (!is_open).then(|| Due::after(now, RESEND_MS)),
            is_second: false,
            is_interrupted: false,
        };
        self.change(id, purpose.as_str(), around, |order| {
            order.stage = if is_open { OrderStage::Open } else { OrderStage::Opening };
            order.visit = Some(visit);
        });
        if let Some(asker) = &asked {
            let goods = match purpose {
                Purpose::PickUp => self.orders[id].goods.clone(),
                Purpose::Deposit | Purpose::Staff => Vec::new(),
            };
            let opening = ReplyState::Opening {
                bank: place.bank.clone(),
                compartments: vec![place.compartment],
                order_label: label(id),
                goods,
            };
            self.answer(asker, opening, around);
            if is_open {
                self.answer(asker, ReplyState::Open, around);
            }
        }
        if !is_open {
            around.send_open(&place, &command, expires_at);
        }
    }

    /// Nobody is at the door any more; a deposit that failed gives its compartment back.
    fn end_visit(&mut self, id: &OrderId, stage: OrderStage, by: &str, around: &mut Around<'_>) {
        self.change(id, by, around, |order| {
            order.stage = stage;
            order.visit = None;
            if matches!(stage, OrderStage::Placed | OrderStage::Collected) {
                order.place = None;
            }
        });
    }

    /// Ends the stream of whoever is at the door, because somebody else goes on with it.
    fn finish_stream(&mut self, id: &OrderId, around: &mut Around<'_>) {
        let visit = self.orders[id].visit.as_ref();
        let asked = visit.and_then(|visit| visit.asked.clone());
        self.tell(asked.as_ref(), ReplyState::Superseded, around);
    }

    /// The lowest free compartment: closed, known to be empty rather than only not known to be full.
    fn free_place(&self, lockers: &Lockers) -> Option<Place> {
        let free = lockers
            .closed()
            .filter(|(place, _)| !self.held.contains_key(place) && !self.stuck.contains_key(place));
        let mut unsure = None;
        for (place, occupied) in free {
            match occupied {
                Some(false) => return Some(place),
                None => unsure = unsure.or(Some(place)),
                Some(true) => {}
            }
        }
        unsure
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

    fn blocked(&self, kiosk: &KioskId, now: Moment) -> Option<Refusal> {
        let now_ms = now.at.as_millis();
        let wait_ms = self.kiosks.get(kiosk).map_or(0, |throttle| throttle.wait_ms(now_ms));
        let wait_ms = wait_ms.max(self.store.wait_ms(now_ms));
        let retry_after_s = u32::try_from(wait_ms.saturating_add(999) / 1_000).unwrap_or(u32::MAX);
        (0 < wait_ms).then_some(Refusal::RateLimited { retry_after_s })
    }

    fn wrong_code(&mut self, asker: &Asker, around: &mut Around<'_>) {
        #[derive(Serialize)]
        struct Limited {
            whole_store: bool,
        }
        around.counters.bump("orders.wrong_codes", around.effects);
        let now_ms = around.now.at.as_millis();
        let mut is_kiosk_blocked = false;
        // Of more kiosks than that only the store's limit remains.
        if self.kiosks.contains_key(&asker.kiosk) || self.kiosks.len() < KIOSKS_MAX {
            let throttle = self.kiosks.entry(asker.kiosk.clone()).or_default();
            is_kiosk_blocked = throttle.count(now_ms);
            around.effects.put(Tree::Orders, key(KIOSK, asker.kiosk.as_str()), json(throttle));
        }
        let is_store_blocked = self.store.count(now_ms);
        around.effects.put(Tree::Orders, key(STORE, ""), json(&self.store));
        if is_kiosk_blocked || is_store_blocked {
            around.counters.bump("orders.codes_limited", around.effects);
            let data = Limited { whole_store: is_store_blocked };
            around.effects.event("codes.limited", around.now.at, asker.kiosk.as_str(), &data);
        }
        self.refuse(asker, Refusal::WrongCode, around);
    }

    /// Whether one more request of a kiosk can be followed; what has ended makes room.
    fn has_room_for(&mut self, kiosk: &KioskId, around: &mut Around<'_>) -> bool {
        let mut own = self.requests.iter().filter(|(asker, _)| asker.kiosk == *kiosk);
        let is_live = |(_, answered): &(&Asker, &Answered)| !answered.state.is_final();
        if own.by_ref().filter(is_live).nth(REQUESTS_PER_KIOSK_MAX - 1).is_some() {
            return false;
        }
        if self.requests.len() < REQUESTS_MAX {
            return true;
        }
        let ended = self.requests.iter().filter(|(_, answered)| answered.state.is_final());
        let Some(oldest) = ended.min_by_key(|(_, answered)| answered.at).map(|(asker, _)| asker.clone())
        else {
            return false;
        };
        self.requests.remove(&oldest);
        around.effects.remove(Tree::Orders, oldest.key());
        true
    }

    fn refuse(&mut self, asker: &Asker, reason: Refusal, around: &mut Around<'_>) {
        around.counters.bump(&format!("orders.refused.{}", word(reason)), around.effects);
        if reason == Refusal::HubBusy {
            // Not remembered: there is no room, and asking again may help.
            let reply = Reply { at: around.now.at, state: ReplyState::Refused { reason } };
            return around.send_reply(asker, &reply);
        }
        self.answer(asker, ReplyState::Refused { reason }, around);
    }

    fn tell(&mut self, asker: Option<&Asker>, state: ReplyState, around: &mut Around<'_>) {
        if let Some(asker) = asker {
            self.answer(asker, state, around);
        }
    }

    fn answer(&mut self, asker: &Asker, state: ReplyState, around: &mut Around<'_>) {
        let answered = Answered { state, at: around.now.at };
        around.effects.put(Tree::Orders, asker.key(), json(&answered));
        around.send_reply(asker, &Reply { at: answered.at, state: answered.state.clone() });
        self.requests.insert(asker.clone(), answered);
    }

    fn set_stuck(&mut self, place: &Place, is_stuck: bool, around: &mut Around<'_>) {
        if is_stuck == self.stuck.contains_key(place) || (is_stuck && STUCK_MAX <= self.stuck.len()) {
            return;
        }
        if is_stuck {
            self.stuck.insert(place.clone(), around.now.at);
            around.effects.put(Tree::Orders, stuck_key(place), json(&around.now.at));
        } else {
            self.stuck.remove(place);
            around.effects.remove(Tree::Orders, stuck_key(place));
        }
        around.touched.insert(place.bank.clone());
    }

    fn end_help(&mut self, kiosk: &KioskId, effects: &mut Effects) {
        if self.help.remove(kiosk).is_some() {
            effects.remove(Tree::Orders, key(HELP, kiosk.as_str()));
            self.tell_help(effects);
        }
    }

    fn tell_help(&self, effects: &mut Effects) {
        effects.tell(HELP_TOPIC.to_owned(), &self.help_calls());
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

    pub(super) fn help_calls(&self) -> HelpCalls {
        HelpCalls {
            kiosks: self.help.iter().map(|(kiosk, call)| (kiosk.to_string(), call.clone())).collect(),
        }
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
    /// Unique also among journals: the time stands in it.
    fn command_id(&self) -> String {
        format!("d{:x}-{}", self.now.at.as_millis(), self.seq)
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
