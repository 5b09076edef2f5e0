//! A store that does not exist: people, goods, lockers and fridges, moved by a seed alone.
//!
//! One [`World::step`] is one simulated second. The world has no clock, no socket and no file: the same seed and the
//! same times give the same messages, byte for byte. What the sensors say is noisy; what is true is in [`Truth`].
//!
//! # Invariants
//!
//! - Goods are conserved: what was delivered is on a shelf, in somebody's basket or sold.
//! - People are conserved: whoever came in and has not gone out is in exactly one zone.
//! - Each device numbers its own messages from 1 without a hole (`seq`).
//!
//! Units: grams, degrees Celsius, simulated seconds.

use std::collections::BTreeMap;

use contract::{
    Timestamp,
    native::{ClimateReading, Door, LockerDoor, ShelfReading, TrafficCount, TrafficZone},
    topic::{Channel, SensorKind, SensorTopic},
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::sim::plan::{Plan, Product};

/// Most people in the store; more turn away at the door.
pub const PEOPLE_MAX: usize = 40;
/// A shelf says its weight at least this often.
const SHELF_EVERY_S: u64 = 10;
const CLIMATE_EVERY_S: u64 = 15;
const COUNT_EVERY_S: u64 = 10;
const ZONE_EVERY_S: u64 = 5;
/// A scale's error either way, far below the lightest product.
const SCALE_NOISE_G: f64 = 2.0;
/// A delivery fills a shelf that has fewer pieces than this share of its capacity.
const RESTOCK_BELOW: f64 = 0.25;

/// One message of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Which device says it.
    pub device: String,
    /// Where to.
    pub topic: String,
    /// JSON.
    pub payload: Vec<u8>,
    /// The device's own number, also in the payload.
    pub seq: u64,
}

/// What is true at one moment, to compare with what the hub believes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// Pieces on each shelf.
    pub pieces: BTreeMap<String, u32>,
    /// Pieces in people's baskets.
    pub in_baskets: u32,
    /// Pieces sold.
    pub sold: u32,
    /// Pieces ever brought in, the first filling included.
    pub delivered: u32,
    /// People who came in.
    pub came_in: u64,
    /// People who went out.
    pub went_out: u64,
    /// People in each zone.
    pub occupancy: BTreeMap<String, u32>,
    /// Compartments of each bank, by number: whether something lies inside. Keys are text, as JSON has them.
    pub lockers: BTreeMap<String, BTreeMap<String, bool>>,
    /// The last number that each device used.
    pub seqs: BTreeMap<String, u64>,
}

/// The simulated store.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    rng: ChaCha8Rng,
    second: u64,
    pieces: Vec<u32>,
    people: Vec<Person>,
    sold: u32,
    delivered: u32,
    entrances: Vec<Entrance>,
    stays_s: BTreeMap<usize, Vec<f64>>,
    lockers: Vec<Vec<Compartment>>,
    fridge_c: Vec<f64>,
    battery_pct: f64,
    seqs: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Person {
    zone: usize,
    since: u64,
    leaves_at: u64,
    basket: Vec<usize>,
}

#[derive(Debug, Default)]
struct Entrance {
    interval: (u32, u32),
    interval_start: Option<Timestamp>,
    total: (u64, u64),
}

#[derive(Debug, Clone, Copy, Default)]
struct Compartment {
    occupied: bool,
    open_until: Option<u64>,
}

impl World {
    /// A full store before opening time.
    #[must_use]
    pub fn new(seed: u64, plan: Plan) -> Self {
        let pieces: Vec<u32> = plan.shelves.iter().map(|shelf| shelf.product.capacity).collect();
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            second: 0,
            delivered: pieces.iter().sum(),
            pieces,
            people: Vec::new(),
            sold: 0,
            entrances: plan.entrances.iter().map(|_| Entrance::default()).collect(),
            stays_s: BTreeMap::new(),
            lockers: plan
                .banks
                .iter()
                .map(|bank| vec![Compartment::default(); usize::from(bank.compartments)])
                .collect(),
            fridge_c: plan.climates.iter().map(|climate| climate.set_point_c).collect(),
            battery_pct: 97.0,
            seqs: BTreeMap::new(),
            plan,
        }
    }

    /// Lets one second pass; `now` is what the devices' clocks show.
    pub fn step(&mut self, now: Timestamp) -> Vec<Message> {
        let mut messages = Vec::new();
        if self.second == 0 {
            // Everything says once how it is, so that the hub knows the store before anything happens.
            self.report(now, &mut messages);
        }
        self.second += 1;
        for entrance in &mut self.entrances {
            entrance.interval_start.get_or_insert(now);
        }
        let before = self.pieces.clone();
        self.move_people();
        self.restock();
        self.use_lockers(now, &mut messages);
        for (shelf, pieces_before) in before.into_iter().enumerate() {
            let staggered = (self.second + shelf as u64).is_multiple_of(SHELF_EVERY_S);
            if pieces_before != self.pieces[shelf] || staggered {
                messages.push(self.shelf_reading(shelf, now));
            }
        }
        if self.second.is_multiple_of(CLIMATE_EVERY_S) {
            for climate in 0..self.fridge_c.len() {
                self.drift(climate);
                messages.push(self.climate_reading(climate, now));
            }
        }
        if self.second.is_multiple_of(ZONE_EVERY_S) {
            messages.extend(
                (0..self.plan.zones.len()).map(|zone| self.zone_reading(zone, now)).collect::<Vec<_>>(),
            );
        }
        if self.second.is_multiple_of(COUNT_EVERY_S) {
            messages.extend((0..self.entrances.len()).map(|door| self.count(door, now)).collect::<Vec<_>>());
        }
        messages
    }

    /// Every sensor's last word, so that the hub's picture can be compared with [`World::truth`].
    pub fn finish(&mut self, now: Timestamp) -> Vec<Message> {
        let mut messages = Vec::new();
        self.second += 1;
        for bank in 0..self.lockers.len() {
            for compartment in 0..self.lockers[bank].len() {
                self.close_door(bank, compartment, now, &mut messages);
            }
        }
        self.report(now, &mut messages);
        messages
    }

    /// What is true now.
    #[must_use]
    pub fn truth(&self) -> Truth {
        let zones = self.plan.zones.iter().enumerate();
        let banks = self.plan.banks.iter().zip(&self.lockers);
        Truth {
            pieces: self
                .plan
                .shelves
                .iter()
                .map(|shelf| shelf.id.clone())
                .zip(self.pieces.iter().copied())
                .collect(),
            in_baskets: self.people.iter().map(|person| count(person.basket.len())).sum(),
            sold: self.sold,
            delivered: self.delivered,
            came_in: self.entrances.iter().map(|entrance| entrance.total.0).sum(),
            went_out: self.entrances.iter().map(|entrance| entrance.total.1).sum(),
            occupancy: zones.map(|(index, zone)| (zone.zone.clone(), self.occupancy(index))).collect(),
            lockers: banks
                .map(|(bank, compartments)| {
                    let states = compartments
                        .iter()
                        .zip(1_u16..)
                        .map(|(state, number)| (number.to_string(), state.occupied));
                    (bank.id.clone(), states.collect())
                })
                .collect(),
            seqs: self.seqs.clone(),
        }
    }

    fn report(&mut self, now: Timestamp, messages: &mut Vec<Message>) {
        for shelf in 0..self.pieces.len() {
            messages.push(self.shelf_reading(shelf, now));
        }
        for bank in 0..self.lockers.len() {
            for compartment in 0..self.lockers[bank].len() {
                messages.push(self.door(bank, compartment, now));
            }
        }
        for climate in 0..self.fridge_c.len() {
            messages.push(self.climate_reading(climate, now));
        }
        for zone in 0..self.plan.zones.len() {
            messages.push(self.zone_reading(zone, now));
        }
        for door in 0..self.entrances.len() {
            messages.push(self.count(door, now));
        }
    }

    // People and goods.

    fn move_people(&mut self) {
        // A busy hour: about one visitor in eight seconds, staying around three minutes.
        if self.people.len() < PEOPLE_MAX && self.rng.random_bool(0.125) {
            let door = self.rng.random_range(0..self.entrances.len());
            self.entrances[door].interval.0 += 1;
            self.entrances[door].total.0 += 1;
            let stay_s = self.rng.random_range(40..320);
            let zone = self.rng.random_range(0..self.plan.zones.len());
            let person =
                Person { zone, since: self.second, leaves_at: self.second + stay_s, basket: Vec::new() };
            self.people.push(person);
        }
        let mut index = 0;
        while index < self.people.len() {
            if self.people[index].leaves_at <= self.second {
                let person = self.people.swap_remove(index);
                self.leave(&person);
            } else {
                self.browse(index);
                index += 1;
            }
        }
    }

    fn leave(&mut self, person: &Person) {
        self.stayed(person.zone, person.since);
        self.sold += count(person.basket.len());
        let door = self.rng.random_range(0..self.entrances.len());
        self.entrances[door].interval.1 += 1;
        self.entrances[door].total.1 += 1;
    }

    fn browse(&mut self, index: usize) {
        let (zone, since) = (self.people[index].zone, self.people[index].since);
        if self.rng.random_bool(0.03) {
            let next = self.rng.random_range(0..self.plan.zones.len());
            if next != zone {
                self.stayed(zone, since);
                self.people[index].zone = next;
                self.people[index].since = self.second;
            }
        } else if self.rng.random_bool(0.02) {
            let shelves: Vec<usize> =
                (0..self.pieces.len()).filter(|&shelf| self.plan.shelves[shelf].zone == zone).collect();
            if shelves.is_empty() {
                return;
            }
            let shelf = shelves[self.rng.random_range(0..shelves.len())];
            if 0 < self.pieces[shelf] {
                self.pieces[shelf] -= 1;
                self.people[index].basket.push(shelf);
            }
        } else if !self.people[index].basket.is_empty() && self.rng.random_bool(0.01) {
            // Put back where it belongs, unless a delivery has filled the place meanwhile.
            let shelf = self.people[index].basket[0];
            if self.pieces[shelf] < self.plan.shelves[shelf].product.capacity {
                self.people[index].basket.remove(0);
                self.pieces[shelf] += 1;
            }
        }
    }

    fn stayed(&mut self, zone: usize, since: u64) {
        #[expect(clippy::cast_precision_loss, reason = "stays are minutes")]
        self.stays_s.entry(zone).or_default().push((self.second - since) as f64);
    }

    fn restock(&mut self) {
        for (shelf, pieces) in self.plan.shelves.iter().zip(&mut self.pieces) {
            let capacity = shelf.product.capacity;
            if f64::from(*pieces) < RESTOCK_BELOW * f64::from(capacity) && self.rng.random_bool(0.02) {
                self.delivered += capacity - *pieces;
                *pieces = capacity;
            }
        }
    }

    fn occupancy(&self, zone: usize) -> u32 {
        count(self.people.iter().filter(|person| person.zone == zone).count())
    }

    // Lockers and fridges.

    fn use_lockers(&mut self, now: Timestamp, messages: &mut Vec<Message>) {
        for bank in 0..self.lockers.len() {
            for compartment in 0..self.lockers[bank].len() {
                if self.lockers[bank][compartment].open_until.is_some_and(|until| until <= self.second) {
                    self.close_door(bank, compartment, now, messages);
                }
            }
            if self.rng.random_bool(0.03) {
                let compartment = self.rng.random_range(0..self.lockers[bank].len());
                if self.lockers[bank][compartment].open_until.is_none() {
                    let open_s = self.rng.random_range(4..20);
                    self.lockers[bank][compartment].open_until = Some(self.second + open_s);
                    messages.push(self.door(bank, compartment, now));
                }
            }
        }
    }

    /// A courier has put something in, or a customer has taken it out, while the door was open.
    fn close_door(&mut self, bank: usize, compartment: usize, now: Timestamp, messages: &mut Vec<Message>) {
        let state = &mut self.lockers[bank][compartment];
        if state.open_until.take().is_some() {
            state.occupied = !state.occupied;
            messages.push(self.door(bank, compartment, now));
        }
    }

    fn drift(&mut self, climate: usize) {
        let set_point_c = self.plan.climates[climate].set_point_c;
        // Somebody opens the fridge now and then; the compressor pulls it back.
        let warmed_c = if self.rng.random_bool(0.1) { self.rng.random_range(0.5..2.0) } else { 0.0 };
        let value = &mut self.fridge_c[climate];
        *value += warmed_c - 0.3 * (*value - set_point_c);
    }

    // What the sensors say.

    fn shelf_reading(&mut self, shelf: usize, now: Timestamp) -> Message {
        let Product { unit_weight_g, tare_g, .. } = self.plan.shelves[shelf].product;
        let noise_g = self.rng.random_range(-SCALE_NOISE_G..=SCALE_NOISE_G);
        let weight_g = tare_g + unit_weight_g * f64::from(self.pieces[shelf]) + noise_g;
        self.battery_pct = (self.battery_pct - 0.000_5).max(5.0);
        let id = self.plan.shelves[shelf].id.clone();
        let reading = ShelfReading {
            at: Some(now),
            seq: Some(self.next_seq(&id)),
            weight_g: Some(tenths(weight_g)),
            battery_pct: Some(tenths(self.battery_pct)),
            ..ShelfReading::default()
        };
        self.message(SensorKind::Shelf, Channel::Reading, &id, &reading)
    }

    fn door(&mut self, bank: usize, compartment: usize, now: Timestamp) -> Message {
        let state = self.lockers[bank][compartment];
        let id = self.plan.banks[bank].id.clone();
        let door = LockerDoor {
            at: Some(now),
            seq: Some(self.next_seq(&id)),
            compartment: u16::try_from(compartment + 1)
                .expect("a bank's compartments are numbered in 16 bits"),
            door: if state.open_until.is_some() { Door::Open } else { Door::Closed },
            occupied: Some(state.occupied),
            tamper: None,
        };
        self.message(SensorKind::Locker, Channel::Door, &id, &door)
    }

    fn climate_reading(&mut self, climate: usize, now: Timestamp) -> Message {
        let id = self.plan.climates[climate].id.clone();
        let humidity_pct = self.rng.random_range(38.0..46.0);
        let reading = ClimateReading {
            at: Some(now),
            seq: Some(self.next_seq(&id)),
            temperature_c: Some(tenths(self.fridge_c[climate])),
            humidity_pct: Some(tenths(humidity_pct)),
            battery_pct: None,
        };
        self.message(SensorKind::Climate, Channel::Reading, &id, &reading)
    }

    fn zone_reading(&mut self, zone: usize, now: Timestamp) -> Message {
        let occupancy = self.occupancy(zone);
        let id = self.plan.zones[zone].id.clone();
        let stays = self.stays_s.remove(&zone);
        let reading = TrafficZone {
            at: Some(now),
            seq: Some(self.next_seq(&id)),
            zone: self.plan.zones[zone].zone.clone(),
            occupancy,
            dwell_s: stays,
        };
        self.message(SensorKind::Traffic, Channel::Zone, &id, &reading)
    }

    /// Entrances with an even index say what happened since they spoke last, the others what they ever counted.
    fn count(&mut self, door: usize, now: Timestamp) -> Message {
        let id = self.plan.entrances[door].clone();
        let seq = Some(self.next_seq(&id));
        let entrance = &mut self.entrances[door];
        let empty = TrafficCount {
            at: None,
            seq,
            from: None,
            to: None,
            line: "door".to_owned(),
            count_in: None,
            count_out: None,
            total_in: None,
            total_out: None,
        };
        let reading = if door.is_multiple_of(2) {
            // An interval ends after it began, even when two reports fall into one millisecond.
            let from = entrance.interval_start.unwrap_or(now).min(now.plus_millis(-1));
            let (count_in, count_out) = std::mem::take(&mut entrance.interval);
            entrance.interval_start = Some(now);
            TrafficCount {
                from: Some(from),
                to: Some(now),
                count_in: Some(count_in),
                count_out: Some(count_out),
                ..empty
            }
        } else {
            let (total_in, total_out) = entrance.total;
            TrafficCount { at: Some(now), total_in: Some(total_in), total_out: Some(total_out), ..empty }
        };
        self.message(SensorKind::Traffic, Channel::Count, &id, &reading)
    }

    fn next_seq(&mut self, device: &str) -> u64 {
        let seq = self.seqs.entry(device.to_owned()).or_default();
        *seq += 1;
        *seq
    }

    fn message(&self, kind: SensorKind, channel: Channel, device: &str, payload: &impl Serialize) -> Message {
        let id = contract::DeviceId::parse(device).expect("the plan's ids are checked by a test");
        Message {
            device: device.to_owned(),
            topic: SensorTopic { kind, device: id, channel }.to_string(),
            payload: serde_json::to_vec(payload).expect("a native payload is plain JSON"),
            seq: self.seqs[device],
        }
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("the store is bounded by PEOPLE_MAX and the shelves' capacities")
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(seed: u64, seconds: u64) -> (World, Vec<Message>) {
        let mut world = World::new(seed, Plan::demo());
        let start = Timestamp::try_from_millis(1_795_378_680_000).unwrap();
        let mut messages = Vec::new();
        for second in 0..seconds {
            let now = start.plus_millis(1000 * i64::try_from(second).unwrap());
            messages.extend(world.step(now));
            check(&world);
        }
        (world, messages)
    }

    fn check(world: &World) {
        let truth = world.truth();
        let on_shelves: u32 = truth.pieces.values().sum();
        assert_eq!(on_shelves + truth.in_baskets + truth.sold, truth.delivered, "goods are conserved");
        let inside: u32 = truth.occupancy.values().sum();
        assert_eq!(truth.came_in - truth.went_out, u64::from(inside), "people are conserved");
        for shelf in &world.plan.shelves {
            assert!(truth.pieces[&shelf.id] <= shelf.product.capacity, "{} is not overfull", shelf.id);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn goods_and_people_are_conserved_whatever_the_seed(seed: u64, seconds in 1_u64..900) {
            run(seed, seconds);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_messages() {
        let ((_, first), (_, again), (_, other)) = (run(7, 300), run(7, 300), run(8, 300));
        assert_eq!(first, again);
        assert_ne!(first, other);
    }

    #[test]
    fn each_device_numbers_its_messages_without_a_hole() {
        let (world, messages) = run(3, 600);
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for message in &messages {
            let expected = last.get(message.device.as_str()).copied().unwrap_or(0) + 1;
            assert_eq!(message.seq, expected, "{}", message.topic);
            let payload: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(payload["seq"], expected);
            last.insert(&message.device, expected);
        }
        assert_eq!(world.truth().seqs.len(), Plan::demo().devices().len());
        let line = crate::sim::truth::Line::World(world.truth());
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(
            serde_json::from_str::<crate::sim::truth::Line>(&text).unwrap(),
            line,
            "the truth reads back"
        );
    }

    #[test]
    fn what_the_counters_say_adds_up_to_the_truth() {
        let (mut world, mut messages) = run(11, 900);
        let end = Timestamp::try_from_millis(1_795_379_680_000).unwrap();
        messages.extend(world.finish(end));
        let (mut interval_in, mut total_in) = (0, 0);
        for message in messages.iter().filter(|message| message.topic.ends_with("/count")) {
            let count: TrafficCount = serde_json::from_slice(&message.payload).unwrap();
            interval_in += u64::from(count.count_in.unwrap_or(0));
            total_in = count.total_in.unwrap_or(total_in);
        }
        assert_eq!(interval_in + total_in, world.truth().came_in);
        assert!(0 < world.truth().sold, "somebody bought something in fifteen minutes");
    }
}
