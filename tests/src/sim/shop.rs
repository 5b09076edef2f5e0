//! A web shop, its courier and its customers: so that a simulated store has orders to be picked up.
//!
//! Places orders at headquarters, brings them with the courier's code, and picks them up again after a while, all but the
//! newest one that is ready: its code is shown, for whoever wants to try it at a kiosk.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use contract::{
    OrderId, RequestId, StoreId, Timestamp,
    kiosk::{Ask, PickUpCode},
    order::{Good, OrderCommand, PlaceOrder},
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::{sync::watch, time::Instant};

use crate::{
    harness::page,
    sim::{kiosk::SimKiosk, plan::Plan},
};

/// Orders that are open at a time.
const OPEN_ORDERS: usize = 3;
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Somebody who has tried waits this long before trying again.
const TRY_AGAIN: Duration = Duration::from_secs(20);
/// A ready order waits this long for its customer.
const CUSTOMER_AFTER: Duration = Duration::from_secs(45);
const KEPT_MS: i64 = 24 * 3_600_000;

/// What the shop needs to know.
#[derive(Debug, Clone)]
pub struct ShopOptions {
    /// Headquarters' HTTP.
    pub headquarters: SocketAddr,
    /// Which store.
    pub store: StoreId,
    /// What is ordered follows from this.
    pub seed: u64,
}

struct Known {
    code: PickUpCode,
    deposit: PickUpCode,
    tried_at: Option<Instant>,
    ready_since: Option<Instant>,
}

/// Lives until the task is aborted. `code` shows a code that is good now.
pub async fn run(options: ShopOptions, kiosk: SimKiosk, code: watch::Sender<Option<String>>) {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    let mut asked = 0_u64;
    kiosk.is_ready().await;
    loop {
        // Headquarters may be away, or the store not known yet: the shop tries again.
        let path = format!("/api/stores/{}/orders", options.store);
        if let Ok(answer) = page::get_json(options.headquarters, &path).await {
            let stages = stages(&answer);
            known.retain(|order, _| stages.get(order).is_none_or(|stage| !is_closed(stage)));
            let mut shown = None;
            let newest =
                known.keys().rfind(|order| stages.get(*order).is_some_and(|stage| stage == "ready")).cloned();
            for (order, known) in &mut known {
                let stage = stages.get(order).map_or("", String::as_str);
                let may_try = known.tried_at.is_none_or(|at| TRY_AGAIN <= at.elapsed());
                let is_ready = stage == "ready";
                known.ready_since = is_ready.then(|| known.ready_since.unwrap_or_else(Instant::now));
                let is_waiting_long =
                    known.ready_since.is_some_and(|since| CUSTOMER_AFTER <= since.elapsed());
                let ask = match stage {
                    "placed" if may_try => Ask::Deposit { code: known.deposit },
                    "ready" if newest.as_ref() == Some(order) => {
                        shown = Some(known.code.reveal().to_owned());
                        continue;
                    }
                    "ready" if may_try && is_waiting_long => Ask::PickUp { code: known.code },
                    _ => continue,
                };
                asked += 1;
                known.tried_at = Some(Instant::now());
                let request =
                    RequestId::parse(&format!("{order}-{asked}")).expect("built from an id and a number");
                kiosk.ask(&request, ask);
            }
            code.send_replace(shown);
            if known.len() < OPEN_ORDERS {
                place(&options, &mut rng, &mut known).await;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn place(options: &ShopOptions, rng: &mut ChaCha8Rng, known: &mut BTreeMap<String, Known>) {
    let now = Timestamp::saturating_from_millis(jiff::Timestamp::now().as_millisecond());
    let order = OrderId::parse(&format!("o-{}", now.as_millis())).expect("digits are an id's");
    let mut code = || PickUpCode::parse(&format!("{:06}", rng.random_range(0..1_000_000_u32)));
    let (Ok(pick_up_code), Ok(deposit_code)) = (code(), code()) else { return };
    let shelves = Plan::demo().shelves;
    let product = shelves[rng.random_range(0..shelves.len())].product;
    let names = [("zh", product.name_zh), ("en", product.name_en)];
    let good = Good {
        gtin: product.gtin.to_owned(),
        name: names.map(|(tag, name)| (tag.to_owned(), name.to_owned())).into(),
        quantity: rng.random_range(1..=3),
    };
    let command = OrderCommand::Place(PlaceOrder {
        order: order.clone(),
        pick_up_code,
        goods: vec![good],
        expires_at: now.plus_millis(KEPT_MS),
        deposit_code: Some(deposit_code),
        compartment: None,
    });
    let path = format!("/api/stores/{}/commands", options.store);
    let body = serde_json::to_value(&command).expect("a command is JSON");
    if page::post_json(options.headquarters, &path, &body).await.is_ok() {
        let new = Known { code: pick_up_code, deposit: deposit_code, tried_at: None, ready_since: None };
        known.insert(order.into(), new);
    }
}

fn stages(answer: &serde_json::Value) -> BTreeMap<String, String> {
    let orders = answer["orders"].as_array().into_iter().flatten();
    let text = |order: &serde_json::Value, field: &str| order[field].as_str().map(str::to_owned);
    orders.filter_map(|order| Some((text(order, "order")?, text(order, "stage")?))).collect()
}

fn is_closed(stage: &str) -> bool {
    matches!(stage, "collected" | "expired" | "cancelled")
}
