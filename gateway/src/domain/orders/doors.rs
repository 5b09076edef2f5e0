//! What happens at an order's door: it is told to open, it opens, it closes, it does neither.
//!
//! A door's own reports decide how an order stands; deadlines say when nothing came.

use contract::{
    DeviceId, OrderId,
    kiosk::{Refusal, ReplyState},
    native::Door,
    order::{OrderStage, Place, label},
    upstream::{CommandResult, CommandState},
};

use super::{
    Around, Asker, DOOR_OPENS_MS, LEFT_OPEN_MS, OPEN_AGAIN_MS, Orders, Phase, Purpose, RESEND_MS,
    STILL_OPEN_MS, STUCK_MAX, Visit, stuck_key,
};
use crate::domain::{Tree, deadlines::Due, json, lockers::Lockers};

impl Orders {
    /// A controller has answered a door command.
    pub(in crate::domain) fn result(
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
    pub(in crate::domain) fn door(
        &mut self,
        place: &Place,
        was: Option<(Door, Option<bool>)>,
        around: &mut Around<'_>,
    ) {
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

    pub(super) fn opened(&mut self, place: &Place, around: &mut Around<'_>) {
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

    pub(super) fn closed(&mut self, place: &Place, occupied: Option<bool>, around: &mut Around<'_>) {
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

    pub(super) fn open_by_staff(&mut self, place: &Place, around: &mut Around<'_>) {
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

    pub(super) fn resolve(&mut self, place: &Place, around: &mut Around<'_>) {
        self.set_stuck(place, false, around);
        if let Some(id) = self.held.get(place).cloned()
            && self.orders[&id].stage == OrderStage::Stuck
        {
            self.end_visit(&id, OrderStage::Ready, "staff", around);
        }
    }

    pub(super) fn phase_over(&mut self, id: &OrderId, around: &mut Around<'_>) {
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
    pub(super) fn did_not_open(&mut self, id: &OrderId, around: &mut Around<'_>) {
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

    pub(super) fn resend(&mut self, id: &OrderId, around: &mut Around<'_>) {
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

    /// Tells a door to open for an order that has a compartment.
    pub(super) fn open_door(
        &mut self,
        id: &OrderId,
        purpose: Purpose,
        asked: Option<Asker>,
        around: &mut Around<'_>,
    ) {
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
    pub(super) fn end_visit(&mut self, id: &OrderId, stage: OrderStage, by: &str, around: &mut Around<'_>) {
        self.change(id, by, around, |order| {
            order.stage = stage;
            order.visit = None;
            if matches!(stage, OrderStage::Placed | OrderStage::Collected) {
                order.place = None;
            }
        });
    }

    /// Ends the stream of whoever is at the door, because somebody else goes on with it.
    pub(super) fn finish_stream(&mut self, id: &OrderId, around: &mut Around<'_>) {
        let visit = self.orders[id].visit.as_ref();
        let asked = visit.and_then(|visit| visit.asked.clone());
        self.tell(asked.as_ref(), ReplyState::Superseded, around);
    }

    /// The lowest free compartment: closed, known to be empty rather than only not known to be full.
    pub(super) fn free_place(&self, lockers: &Lockers) -> Option<Place> {
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

    pub(super) fn set_stuck(&mut self, place: &Place, is_stuck: bool, around: &mut Around<'_>) {
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
}
