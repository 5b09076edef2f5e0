//! The store's state: takes inputs in the journal's order and says what follows.
//!
//! Owns the order in which an input meets the parts (time first, then the reading); each part owns its entities.

use std::collections::{BTreeMap, BTreeSet};

use contract::{
    DeviceId, StoreId, Timestamp,
    hub::{
        self, Climate, Health, LockerBank, OrderView, SensorSeen, ShelfStock, StoreView, Traffic, Uplink,
        Zone,
    },
    kiosk::{HELP_TOPIC, HelpCalls},
    order::Place,
    topic,
    upstream::Stream,
};
use serde::de::DeserializeOwned;

use super::{
    DerivedRow, Effects, EntityKey, Input, InputKind, Mapped, Planogram, REFUSED_MARK, Reading, Tree, What,
    climate::Climates,
    counters::Counters,
    deadlines::Moment,
    fixed::Micro,
    json,
    lockers::{self, Lockers},
    map,
    orders::{self, Around, Orders},
    rollups::Rollups,
    stock::Stock,
    traffic::{LineId, Step, TrafficCounts},
    twins::{Noted, Twins, measurements},
    zones::{self, Zones},
};

/// Most roll-up windows and shelves that one input closes: a full hour for thousands of series is told over the next
/// few inputs instead of in one long breath.
pub(super) const CLOSED_PER_INPUT_MAX: usize = 512;

/// Everything that the hub knows about its store, apart from the journal.
#[derive(Debug)]
pub struct State {
    planogram: Planogram,
    /// The boot whose steady clock the deadlines are on.
    boot: Option<u64>,
    /// The hub's start that this state is shown in, which no input may have told yet.
    shown_in: u64,
    twins: Twins,
    stock: Stock,
    lockers: Lockers,
    orders: Orders,
    traffic: TrafficCounts,
    zones: Zones,
    climate: Climates,
    rollups: Rollups,
    counters: Counters,
}

/// Why an entity could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The key has another form than the tree's keys.
    #[error("entity of `{tree}` has the key {key:?}, which is none of that tree")]
    Key {
        /// Which tree.
        tree: &'static str,
        /// The key, as text where it is text.
        key: String,
    },
    /// The value has another form than the tree's values.
    #[error("entity `{key}` of `{tree}` cannot be read")]
    Value {
        /// Which tree.
        tree: &'static str,
        /// The key, as text where it is text.
        key: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A value that is no JSON has another form than the tree's values.
    #[error("entity `{key}` of `{tree}` has {len} bytes that mean nothing")]
    Bytes {
        /// Which tree.
        tree: &'static str,
        /// The key, as text where it is text.
        key: String,
        /// Its size.
        len: usize,
    },
}

/// The domain's part of a [`StoreView`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DomainView {
    /// Shelves by id.
    pub stock: Vec<ShelfStock>,
    /// Locker banks by id.
    pub lockers: Vec<LockerBank>,
    /// Orders that are open or still take a compartment.
    pub orders: Vec<OrderView>,
    /// Open orders by the mark of the key of their codes.
    pub open_by_key: BTreeMap<String, usize>,
    /// Who waits for the staff.
    pub help: HelpCalls,
    /// Entrances today, once anything was counted.
    pub traffic: Option<Traffic>,
    /// Zones by name.
    pub zones: Vec<Zone>,
    /// Fridges and rooms by id.
    pub climate: Vec<Climate>,
    /// Every sensor ever seen, by id.
    pub sensors: Vec<SensorSeen>,
    /// What was refused, late or odd, by reason.
    pub counters: BTreeMap<String, u64>,
}

impl DomainView {
    /// Completes the picture with what the domain does not know.
    #[must_use]
    pub fn into_store_view(
        self,
        store: StoreId,
        at: Timestamp,
        uplink: Uplink,
        health: Health,
        more_counters: BTreeMap<String, u64>,
    ) -> StoreView {
        let Self {
            stock,
            lockers,
            orders,
            help,
            traffic,
            zones,
            climate,
            sensors,
            mut counters,
            open_by_key: _,
        } = self;
        counters.extend(more_counters);
        StoreView {
            store,
            at,
            stock,
            lockers,
            orders,
            help,
            traffic,
            zones,
            climate,
            sensors,
            uplink,
            health,
            counters,
        }
    }
}

impl State {
    /// An empty store.
    #[must_use]
    pub fn new(planogram: Planogram) -> Self {
        Self {
            planogram,
            boot: None,
            shown_in: 0,
            twins: Twins::default(),
            stock: Stock::default(),
            lockers: Lockers::default(),
            orders: Orders::default(),
            traffic: TrafficCounts::default(),
            zones: Zones::default(),
            climate: Climates::default(),
            rollups: Rollups::default(),
            counters: Counters::default(),
        }
    }

    /// Applies one input; inputs come in the journal's order, each once.
    pub fn apply(&mut self, input: &Input<'_>) -> Effects {
        let mut effects = Effects::default();
        let mut touched = BTreeSet::new();
        self.pass_time(input, &mut touched, &mut effects);
        match input.kind {
            InputKind::Publish { device: _, topic, payload } => {
                self.publish(topic, payload, input, &mut touched, &mut effects);
            }
            InputKind::Tick => {
                self.with_orders(input, &mut touched, &mut effects, |orders, around| orders.sweep(around));
            }
        }
        for bank in touched {
            if let Some(view) = self.lockers.view_of(&bank, &self.orders) {
                effects.tell(hub::lockers_topic(&bank), &view);
            }
        }
        effects
    }

    /// Says which start of the hub this is: who was online at an earlier one need not be so now.
    pub fn show_in(&mut self, boot: u64) {
        self.shown_in = boot;
    }

    /// Whether something ends within seconds, so that time should be told often.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.orders.is_waiting()
    }

    fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        input: &Input<'_>,
        touched: &mut BTreeSet<DeviceId>,
        effects: &mut Effects,
    ) {
        let now = Moment { at: input.at, mono_ms: input.mono_ms };
        if self.order_input(topic, payload, input, touched, effects) {
            return;
        }
        match map(topic, payload, input.at) {
            Ok(Mapped::Reading(reading)) => {
                match self.twins.note(&reading, payload, (now, input.boot), &mut self.counters, effects) {
                    Noted::New => self.read(&reading, input, touched, effects),
                    Noted::Repeated | Noted::OverLimit => {}
                }
            }
            Ok(Mapped::Experience { kiosk, at, is_telling, data }) => {
                if is_telling && self.twins.is_repeated_event(&kiosk, payload, &mut self.counters, effects) {
                    return;
                }
                effects.rows.push(DerivedRow {
                    stream: Stream::Experience,
                    at,
                    kind: "kiosk.experience".to_owned(),
                    device: Some(kiosk.to_string()),
                    data,
                });
            }
            Ok(Mapped::Passthrough) => {}
            // The edge has counted it by its reason; what is kept of it has none any more.
            Err(_) if payload.starts_with(REFUSED_MARK) => {
                self.counters.bump("readings.refused_at_the_edge", effects);
            }
            Err(rejection) => {
                self.counters.bump(&format!("readings.refused.{}", rejection.code()), effects);
            }
        }
    }

    /// What is about orders: whether it was. What cannot be read was refused at the edge, and its mark is passed over.
    fn order_input(
        &mut self,
        topic: &str,
        payload: &[u8],
        input: &Input<'_>,
        touched: &mut BTreeSet<DeviceId>,
        effects: &mut Effects,
    ) -> bool {
        if let Some((kiosk, request)) = topic::parse_kiosk_request(topic) {
            if let Ok(sealed) = serde_json::from_slice(payload) {
                self.with_orders(input, touched, effects, |orders, around| {
                    orders.ask(kiosk, request, sealed, around);
                });
            }
        } else if let Some((device, id)) = topic::parse_device_result(topic) {
            if let Ok(result) = serde_json::from_slice(payload) {
                self.with_orders(input, touched, effects, |orders, around| {
                    orders.result(&device, &id, &result, around);
                });
            }
        } else if let Some(id) = orders::parse_command_topic(topic) {
            if let Ok(command) = serde_json::from_slice(payload) {
                self.with_orders(input, touched, effects, |orders, around| {
                    orders.command(id, command, around)
                });
            }
        } else if topic == orders::STAFF_TOPIC {
            if let Ok(action) = serde_json::from_slice(payload) {
                self.with_orders(input, touched, effects, |orders, around| orders.staff(action, around));
            }
        } else {
            return false;
        }
        true
    }

    fn with_orders<T>(
        &mut self,
        input: &Input<'_>,
        touched: &mut BTreeSet<DeviceId>,
        effects: &mut Effects,
        with: impl FnOnce(&mut Orders, &mut Around<'_>) -> T,
    ) -> T {
        let mut around = Around {
            now: Moment { at: input.at, mono_ms: input.mono_ms },
            seq: input.seq,
            lockers: &self.lockers,
            counters: &mut self.counters,
            effects,
            touched,
        };
        with(&mut self.orders, &mut around)
    }

    /// Brings everything due that the clocks have passed.
    fn pass_time(&mut self, input: &Input<'_>, touched: &mut BTreeSet<DeviceId>, effects: &mut Effects) {
        let (now, boot) = (Moment { at: input.at, mono_ms: input.mono_ms }, input.boot);
        if self.boot != Some(boot) {
            if self.boot.is_some() {
                self.stock.rebase(now, effects);
                self.rollups.rebase(now, effects);
                self.with_orders(input, touched, effects, |orders, around| orders.rebase(around));
            }
            self.boot = Some(boot);
            effects.put(Tree::Meta, BOOT_KEY, json(&boot));
        }
        self.traffic.turn_day(now, self.planogram.utc_offset_minutes(), effects);
        for _ in 0..CLOSED_PER_INPUT_MAX {
            let settled = self.stock.settle_one(&self.planogram, now, effects);
            let closed = self.rollups.close_one(now, effects);
            let passed = self.with_orders(input, touched, effects, |orders, around| orders.pass_time(around));
            if !settled && !closed && !passed {
                break;
            }
        }
    }

    fn read(
        &mut self,
        reading: &Reading,
        input: &Input<'_>,
        touched: &mut BTreeSet<DeviceId>,
        effects: &mut Effects,
    ) {
        let now = Moment { at: input.at, mono_ms: input.mono_ms };
        let (device, at) = (&reading.device, reading.at);
        for (metric, value) in measurements(reading) {
            self.roll_up(reading, metric, value, now, effects);
        }
        match &reading.what {
            What::Shelf { .. } | What::TagsPresent(_) | What::TagsChanged { .. } => {
                self.stock.apply(&self.planogram, reading, now, &mut self.counters, effects);
            }
            &What::Door { compartment, door, occupied, tamper } => {
                let seen = lockers::Seen { bank: device, at, compartment, door, occupied, tamper };
                let place = Place { bank: device.clone(), compartment };
                let was = self.lockers.get(&place);
                let step = self.lockers.apply(&seen, now, &mut self.counters, effects);
                if step.has_opened {
                    self.roll_up(reading, "opened", Micro::from_count(1), now, effects);
                }
                if step.has_changed {
                    touched.insert(device.clone());
                    self.with_orders(input, touched, effects, |orders, around| {
                        orders.door(&place, was, around)
                    });
                }
            }
            What::Interval { line, from, to, count_in, count_out } => {
                let has_time = !reading.is_time_replaced;
                let (id, counts) = (LineId { device, line }, (*count_in, *count_out));
                let step =
                    self.traffic.interval(id, (*from, *to), counts, has_time, &mut self.counters, effects);
                self.count(reading, step, now, effects);
            }
            What::Totals { line, total_in, total_out } => {
                let (id, totals) = (LineId { device, line }, (*total_in, *total_out));
                let step = self.traffic.totals(id, at, totals, now, &mut self.counters, effects);
                self.count(reading, step, now, effects);
            }
            What::Zone { zone, occupancy, dwell_s } => {
                let seen = zones::Seen { device, zone, at, occupancy: *occupancy, dwell_s };
                if self.zones.apply(&seen, now, &mut self.counters, effects) {
                    let occupancy = Micro::from_count(u64::from(*occupancy));
                    self.roll_up(reading, &format!("zone.{zone}.occupancy"), occupancy, now, effects);
                    for &dwell_s in dwell_s {
                        let metric = format!("zone.{zone}.dwell_s");
                        self.roll_up(reading, &metric, Micro::from_f64(dwell_s), now, effects);
                    }
                }
            }
            &What::Climate { temperature_c, humidity_pct, battery_pct: _ } => {
                self.climate.apply(device, at, temperature_c, humidity_pct, now, effects);
            }
            What::Bin { .. } | What::Presence(_) => {}
        }
    }

    fn count(&mut self, reading: &Reading, step: Option<Step>, now: Moment, effects: &mut Effects) {
        let Some(step) = step else { return };
        self.roll_up(reading, "count_in", Micro::from_count(step.count_in), now, effects);
        self.roll_up(reading, "count_out", Micro::from_count(step.count_out), now, effects);
        self.traffic.add_to_day(step, reading.at, now, self.planogram.utc_offset_minutes(), effects);
    }

    fn roll_up(&mut self, reading: &Reading, metric: &str, value: Micro, now: Moment, effects: &mut Effects) {
        self.rollups.add(&reading.device, metric, reading.at, value, now, &mut self.counters, effects);
    }

    /// Puts an entity back that [`Effects::changed`] or [`Self::entities`] has given; the order does not matter.
    ///
    /// # Errors
    /// When key or value have another form than the tree's.
    pub fn restore(&mut self, entity: EntityKey, value: &[u8]) -> Result<(), RestoreError> {
        let key = &entity.key;
        match entity.tree {
            Tree::Twins => self.twins.restore(key, value),
            Tree::Recent => self.twins.restore_recent(key, value),
            Tree::Stock => self.stock.restore(key, value),
            Tree::Lockers => self.lockers.restore(key, value),
            Tree::Orders => self.orders.restore(key, value),
            Tree::Traffic => self.traffic.restore(key, value),
            Tree::Zones => self.zones.restore(key, value),
            Tree::Climate => self.climate.restore(key, value),
            Tree::Rollups => self.rollups.restore(key, value),
            Tree::Counters => self.counters.restore(key, value),
            Tree::Meta if key == BOOT_KEY => {
                self.boot = Some(self::value(Tree::Meta, key, value)?);
                Ok(())
            }
            Tree::Meta => Err(wrong_key(Tree::Meta, key)),
        }
    }

    /// Every entity with its value, for snapshots and checks.
    pub fn entities(&self) -> impl Iterator<Item = (EntityKey, Vec<u8>)> {
        let of = |tree: Tree| move |(key, value): (Vec<u8>, Vec<u8>)| (EntityKey { tree, key }, value);
        let meta = self.boot.iter().map(|boot| (BOOT_KEY.to_vec(), json(boot)));
        (self.twins.entities().map(of(Tree::Twins)))
            .chain(self.twins.recent_entities().map(of(Tree::Recent)))
            .chain(self.stock.entities().map(of(Tree::Stock)))
            .chain(self.lockers.entities().map(of(Tree::Lockers)))
            .chain(self.orders.entities().map(of(Tree::Orders)))
            .chain(self.traffic.entities().map(of(Tree::Traffic)))
            .chain(self.zones.entities().map(of(Tree::Zones)))
            .chain(self.climate.entities().map(of(Tree::Climate)))
            .chain(self.rollups.entities().map(of(Tree::Rollups)))
            .chain(self.counters.entities().map(of(Tree::Counters)))
            .chain(meta.map(of(Tree::Meta)))
    }

    /// What the store's screens show.
    #[must_use]
    pub fn view(&self) -> DomainView {
        let mut counters = self.counters.view();
        counters.insert("rollups.waiting_windows".to_owned(), self.rollups.waiting() as u64);
        DomainView {
            stock: self.stock.view(&self.planogram),
            lockers: self.lockers.view(&self.orders),
            orders: self.orders.view(),
            open_by_key: self.orders.open_by_key(),
            help: self.orders.help_calls(),
            traffic: self.traffic.view(),
            zones: self.zones.view(),
            climate: self.climate.view(),
            sensors: self.twins.view(self.shown_in.max(self.boot.unwrap_or_default())),
            counters,
        }
    }

    /// Every retained `hub/…` message as it should be now, for a start whose broker has lost them.
    #[must_use]
    pub fn hub_messages(&self) -> Vec<(String, Vec<u8>)> {
        let view = self.view();
        (view.stock.iter().map(|shelf| (hub::stock_topic(&shelf.shelf), json(shelf))))
            .chain(view.lockers.iter().map(|bank| (hub::lockers_topic(&bank.bank), json(bank))))
            .chain([(HELP_TOPIC.to_owned(), json(&view.help))])
            .chain(view.traffic.iter().map(|traffic| (hub::TRAFFIC_TOPIC.to_owned(), json(traffic))))
            .chain(view.zones.iter().map(|zone| (hub::zone_topic(&zone.zone), json(zone))))
            .chain(view.climate.iter().map(|climate| (hub::climate_topic(&climate.device), json(climate))))
            .collect()
    }
}

const BOOT_KEY: &[u8] = b"boot";

/// Big-endian with the sign flipped, so that keys sort as times do.
pub(super) fn time_in_key(ms: i64) -> [u8; 8] {
    (ms.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

pub(super) fn time_from_key(key: [u8; 8]) -> i64 {
    (u64::from_be_bytes(key) ^ (1 << 63)).cast_signed()
}

pub(super) fn wrong_key(tree: Tree, key: &[u8]) -> RestoreError {
    RestoreError::Key { tree: tree.as_str(), key: String::from_utf8_lossy(key).into_owned() }
}

pub(super) fn text_key(tree: Tree, key: &[u8]) -> Result<String, RestoreError> {
    String::from_utf8(key.to_vec()).map_err(|_| wrong_key(tree, key))
}

pub(super) fn device_key(tree: Tree, key: &[u8]) -> Result<String, RestoreError> {
    let device = text_key(tree, key)?;
    DeviceId::parse(&device).map(String::from).map_err(|_| wrong_key(tree, key))
}

pub(super) fn value<T: DeserializeOwned>(tree: Tree, key: &[u8], value: &[u8]) -> Result<T, RestoreError> {
    serde_json::from_slice(value).map_err(|source| RestoreError::Value {
        tree: tree.as_str(),
        key: String::from_utf8_lossy(key).into_owned(),
        source,
    })
}
