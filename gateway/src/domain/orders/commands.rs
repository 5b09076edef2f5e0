//! What headquarters says about orders: place, cancel, extend. Each command has one outcome, however often it comes.

use contract::{
    OrderId,
    order::{CancelOrder, ExtendOrder, OrderStage, Place},
};

use super::{
    Around, OPEN_ORDERS_MAX, ORDERS_MAX, OUTCOME, OUTCOMES_MAX, Order, Orders, Outcome, SealedCommand, key,
    sealed::SealedOrder,
};
use crate::domain::{Effects, Tree, json};

impl Orders {
    /// Headquarters has sent a command.
    pub(in crate::domain) fn command(&mut self, id: &str, command: SealedCommand, around: &mut Around<'_>) {
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

    pub(super) fn place(&mut self, new: SealedOrder, around: &mut Around<'_>) -> Result<(), String> {
        let SealedOrder { order: id, code, goods, expires_at, deposit, compartment, key } = new;
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
            key,
        };
        self.put(id, order, "headquarters", None, around);
        Ok(())
    }

    /// Whether one more order can be remembered; the one that was closed first makes room.
    pub(super) fn has_room_for_order(&mut self, effects: &mut Effects) -> bool {
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

    pub(super) fn cancel(&mut self, id: &OrderId, around: &mut Around<'_>) -> Result<(), String> {
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

    pub(super) fn extend(&mut self, extend: &ExtendOrder, around: &mut Around<'_>) -> Result<(), String> {
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
}
