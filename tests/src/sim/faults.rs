//! What goes wrong with real sensors, on request: repeated messages, wrong clocks, garbage, lost connections.

use std::str::FromStr;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::world::Message;

const DUPLICATE_SHARE: f64 = 0.05;
const WRONG_CLOCK_SHARE: f64 = 0.05;
const GARBAGE_SHARE: f64 = 0.02;
const CUT_SHARE: f64 = 0.01;
/// Clocks as they are found: never set, and a battery's change ago; two days ahead is past every tolerance.
const WRONG_TIMES: [&str; 2] = ["2001-01-01T00:00:00.000Z", "2036-02-07T06:28:16.000Z"];

/// Which faults happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    duplicates: bool,
    clock: bool,
    garbage: bool,
    reconnect: bool,
}

impl FromStr for Faults {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut faults = Self::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "duplicates" => faults.duplicates = true,
                "clock" => faults.clock = true,
                "garbage" => faults.garbage = true,
                "reconnect" => faults.reconnect = true,
                other => {
                    return Err(format!(
                        "fault `{other}` is unknown; known are duplicates, clock, garbage, reconnect"
                    ));
                }
            }
        }
        Ok(faults)
    }
}

/// What a device is told to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Publish a reading.
    Say(Message),
    /// Publish something that must be refused.
    SayGarbage(Message),
    /// Lose the connection without a word, and come back.
    Cut,
}

/// Decides by a seed what goes wrong.
#[derive(Debug)]
pub struct Dice {
    faults: Faults,
    rng: ChaCha8Rng,
}

impl Dice {
    /// Dice of one run.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Self {
        // Another stream than the world's, so that faults do not change what happens in the store.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(1);
        Self { faults, rng }
    }

    /// What becomes of one message.
    pub fn roll(&mut self, mut message: Message) -> Vec<Order> {
        let mut orders = Vec::with_capacity(1);
        if self.faults.reconnect && self.rng.random_bool(CUT_SHARE) {
            orders.push(Order::Cut);
        }
        if self.faults.garbage && self.rng.random_bool(GARBAGE_SHARE) {
            orders.push(Order::SayGarbage(self.garbage(&message)));
        }
        if self.faults.clock && self.rng.random_bool(WRONG_CLOCK_SHARE) {
            self.set_clock_wrong(&mut message);
        }
        if self.faults.duplicates && self.rng.random_bool(DUPLICATE_SHARE) {
            orders.push(Order::Say(message.clone()));
        }
        orders.push(Order::Say(message));
        orders
    }

    fn garbage(&mut self, like: &Message) -> Message {
        let payloads: [&[u8]; 5] = [
            b"",
            b"{\"weight_g\":",
            b"{\"weight\":12}",
            b"\xff\xfe\x00",
            b"{\"seq\":-1,\"occupancy\":\"many\"}",
        ];
        let payload = payloads[self.rng.random_range(0..payloads.len())].to_vec();
        Message { payload, ..like.clone() }
    }

    fn set_clock_wrong(&mut self, message: &mut Message) {
        let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_slice(&message.payload) else {
            return;
        };
        if let Some(at) = fields.get_mut("at") {
            *at = WRONG_TIMES[self.rng.random_range(0..WRONG_TIMES.len())].into();
            message.payload = serde_json::to_vec(&fields).expect("it was JSON before");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64) -> Message {
        let payload = format!("{{\"at\":\"2026-11-22T20:18:00.000Z\",\"seq\":{seq},\"weight_g\":1.0}}");
        let topic = "sensors/shelf/s/reading".to_owned();
        Message { device: "s".to_owned(), topic, payload: payload.into_bytes(), seq }
    }

    #[test]
    fn without_faults_every_message_passes_as_it_is() {
        let mut dice = Dice::new(1, Faults::default());
        assert!((1..100).all(|seq| dice.roll(message(seq)) == [Order::Say(message(seq))]));
    }

    #[test]
    fn with_faults_no_number_is_ever_missing() {
        let mut dice = Dice::new(1, "duplicates, clock,garbage,reconnect".parse().unwrap());
        let orders: Vec<Order> = (1..=2_000).flat_map(|seq| dice.roll(message(seq))).collect();
        let mut seqs: Vec<u64> = orders
            .iter()
            .filter_map(|order| if let Order::Say(said) = order { Some(said.seq) } else { None })
            .collect();
        assert!(2_000 < seqs.len(), "some were said twice");
        seqs.dedup();
        assert_eq!(seqs, (1..=2_000).collect::<Vec<_>>());
        assert!(orders.contains(&Order::Cut));
        assert!(orders.iter().any(|order| matches!(order, Order::SayGarbage(_))));
        let wrong = orders
            .iter()
            .filter(|order| matches!(order, Order::Say(said) if said.payload != message(said.seq).payload));
        assert!(0 < wrong.count(), "some clocks were wrong");
    }

    #[test]
    fn an_unknown_fault_is_named() {
        assert!("clock,fire".parse::<Faults>().unwrap_err().contains("`fire`"));
    }
}
