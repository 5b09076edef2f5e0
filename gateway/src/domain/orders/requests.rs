//! What kiosks ask, and what they are answered.
//!
//! Whatever is asked is answered; a request that comes again is answered with the state that it is in.

use contract::{
    KioskId, RequestId,
    kiosk::{HELP_TOPIC, HelpCall, HelpCalls, REQUEST_AGE_MS_MAX, Refusal, Reply, ReplyState},
    order::OrderStage,
};
use serde::Serialize;

use super::{
    Answered, Around, Asker, CodeHash, HELP, KIOSK, KIOSKS_MAX, Orders, Phase, Purpose, REQUESTS_MAX,
    REQUESTS_PER_KIOSK_MAX, STORE, SealedRequest, key, sealed::SealedAsk, word,
};
use crate::domain::{Effects, PLAUSIBLE_FROM_MS, Tree, deadlines::Moment, json};

impl Orders {
    /// A kiosk has asked.
    pub(in crate::domain) fn ask(
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

    pub(super) fn pick_up(&mut self, asker: Asker, code: CodeHash, around: &mut Around<'_>) {
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

    pub(super) fn deposit(&mut self, asker: Asker, code: CodeHash, around: &mut Around<'_>) {
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

    pub(super) fn open_again(&mut self, asker: Asker, request: RequestId, around: &mut Around<'_>) {
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

    pub(super) fn call_help(
        &mut self,
        asker: Asker,
        screen: String,
        order: Option<String>,
        around: &mut Around<'_>,
    ) {
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

    pub(super) fn blocked(&self, kiosk: &KioskId, now: Moment) -> Option<Refusal> {
        let now_ms = now.at.as_millis();
        let wait_ms = self.kiosks.get(kiosk).map_or(0, |throttle| throttle.wait_ms(now_ms));
        let wait_ms = wait_ms.max(self.store.wait_ms(now_ms));
        let retry_after_s = u32::try_from(wait_ms.saturating_add(999) / 1_000).unwrap_or(u32::MAX);
        (0 < wait_ms).then_some(Refusal::RateLimited { retry_after_s })
    }

    pub(super) fn wrong_code(&mut self, asker: &Asker, around: &mut Around<'_>) {
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
    pub(super) fn has_room_for(&mut self, kiosk: &KioskId, around: &mut Around<'_>) -> bool {
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

    pub(super) fn refuse(&mut self, asker: &Asker, reason: Refusal, around: &mut Around<'_>) {
        around.counters.bump(&format!("orders.refused.{}", word(reason)), around.effects);
        if reason == Refusal::HubBusy {
            // Not remembered: there is no room, and asking again may help.
            let reply = Reply { at: around.now.at, state: ReplyState::Refused { reason } };
            return around.send_reply(asker, &reply);
        }
        self.answer(asker, ReplyState::Refused { reason }, around);
    }

    pub(super) fn tell(&mut self, asker: Option<&Asker>, state: ReplyState, around: &mut Around<'_>) {
        if let Some(asker) = asker {
            self.answer(asker, state, around);
        }
    }

    pub(super) fn answer(&mut self, asker: &Asker, state: ReplyState, around: &mut Around<'_>) {
        let answered = Answered { state, at: around.now.at };
        around.effects.put(Tree::Orders, asker.key(), json(&answered));
        around.send_reply(asker, &Reply { at: answered.at, state: answered.state.clone() });
        self.requests.insert(asker.clone(), answered);
    }

    pub(super) fn end_help(&mut self, kiosk: &KioskId, effects: &mut Effects) {
        if self.help.remove(kiosk).is_some() {
            effects.remove(Tree::Orders, key(HELP, kiosk.as_str()));
            self.tell_help(effects);
        }
    }

    pub(super) fn tell_help(&self, effects: &mut Effects) {
        effects.tell(HELP_TOPIC.to_owned(), &self.help_calls());
    }

    pub(in crate::domain) fn help_calls(&self) -> HelpCalls {
        HelpCalls {
            kiosks: self.help.iter().map(|(kiosk, call)| (kiosk.to_string(), call.clone())).collect(),
        }
    }
}
