//! How the hub is: one place that gathers what every part says about itself.
//!
//! Owns: the status document, the list of reduced modes, and the picture for the screens. Decides nothing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use broker::Refusal;
use contract::{
    DeviceId, KioskId, StoreId, Timestamp,
    hub::{Compartment, Health, OrderView, StoreView, Uplink},
    native::Door,
    order::Place,
    upstream::Stream,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{advice::TOOK_OVER, edge::EdgeCounts};
use crate::{
    clock::Clock,
    codes::Codes,
    devices::Gatekeeper,
    domain::DomainView,
    http,
    journal::{Journal, OpenReport, Renewal},
    projector::{self, ProjectorStatus, Tally},
    room::{self, INTAKE_ROOM_BYTES_MIN},
    store::Ledger,
    upstream::UplinkStatus,
};

/// Records that may wait for the projector before the hub says that it lags.
const LAG_RECORDS_WARN: u64 = 20_000;
/// Connections of one device that were closed for another one before the hub asks whether two clients share its id, and
/// for how long it asks after the last one.
const TAKE_OVERS_WARN: u64 = 3;
const TAKE_OVER_AGE_MS_MAX: i64 = 60_000;

/// Everything that can be asked.
pub(crate) struct Monitor {
    pub(crate) store: StoreId,
    pub(crate) boot: u64,
    pub(crate) started_at: Timestamp,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) addresses: BTreeMap<&'static str, String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) is_open: bool,
    pub(crate) journal: Journal,
    pub(crate) open_report: OpenReport,
    /// The journal's epoch when it had been opened.
    pub(crate) epoch_at_start: u64,
    pub(crate) projector: ProjectorStatus,
    pub(crate) tally: Arc<Tally>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) gatekeeper: Arc<Gatekeeper>,
    pub(crate) edge: Arc<EdgeCounts>,
    pub(crate) broker: broker::Handle,
    pub(crate) page: http::Counts,
    pub(crate) connections_max: usize,
    /// Why the number of this start is not on the disk yet.
    pub(crate) unsaved_boot: Mutex<Option<String>>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) uplink: Option<watch::Receiver<UplinkStatus>>,
    pub(crate) view: Arc<Mutex<DomainView>>,
    pub(crate) codes: Arc<Codes>,
}

impl Monitor {
    /// A bank's compartment as it was shown last.
    pub(crate) fn compartment(&self, place: &Place) -> Option<Compartment> {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let bank = view.lockers.iter().find(|bank| bank.bank == place.bank)?;
        bank.compartments.get(&place.compartment).cloned()
    }

    /// Whether a door was open when it was seen last.
    pub(crate) fn is_door_open(&self, place: &Place) -> bool {
        self.compartment(place).is_some_and(|compartment| compartment.door == Door::Open)
    }

    /// Whether a kiosk waits for staff.
    pub(crate) fn has_called(&self, kiosk: &KioskId) -> bool {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).help.kiosks.contains_key(kiosk.as_str())
    }

    /// The open orders that lie in a bank: label and stage.
    pub(crate) fn orders_at(&self, bank: &DeviceId) -> Vec<String> {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let here = |order: &&OrderView| order.place.as_ref().is_some_and(|place| place.bank == *bank);
        let open = view.orders.iter().filter(here).filter(|order| !order.stage.is_closed());
        open.map(|order| format!("{} ({})", order.label, order.stage.as_str())).collect()
    }

    /// Reduced modes in words, empty when all is well.
    pub(crate) fn degraded(&self) -> Vec<String> {
        let mut degraded = self.degraded_parts();
        degraded.extend(full_disk(&self.data_dir));
        if let Some(fault) = self.unsaved_boot.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            degraded.push(format!("the count of starts is not saved: {fault}"));
        }
        if let Some(fault) = self.gatekeeper.fault() {
            degraded.push(format!("changes of devices are not seen: {fault}"));
        }
        degraded.extend(self.lost_key());
        degraded.extend(edge_limits(&self.broker.counters(), self.connections_max));
        degraded
    }

    /// Open orders whose codes are wrong, because another key has hashed them than the one that is there.
    fn lost_key(&self) -> Option<String> {
        let by_key = self.view.lock().unwrap_or_else(PoisonError::into_inner).open_by_key.clone();
        if by_key.is_empty() {
            return None;
        }
        let mark = self.codes.mark();
        let lost = by_key.iter().filter(|(key, _)| Some(*key) != mark.as_ref()).map(|(_, orders)| orders);
        let lost: usize = lost.sum();
        (0 < lost).then(|| {
            format!(
                "the key of the codes is gone: {lost} open orders cannot be picked up; put `codes.key` back and \
                 restart the hub, or cancel them and place them anew as other orders"
            )
        })
    }

    fn degraded_parts(&self) -> Vec<String> {
        let journal = self.journal.stats();
        let projector = self.projector.read();
        let mut degraded = Vec::new();
        if let Some(fault) = journal.fault {
            degraded.push(format!("readings are refused: {fault}"));
        }
        if 0 < journal.damaged_places {
            let (places, bytes) = (journal.damaged_places, journal.damaged_bytes);
            degraded.push(format!("the journal is damaged in {places} places ({bytes} bytes skipped)"));
        }
        if 0 < self.open_report.vanished_records {
            let lost = self.open_report.vanished_records;
            degraded.push(format!(
                "at least {lost} records that were there before this start are gone from the journal"
            ));
        }
        for (first_seq, last_seq) in &self.open_report.holes {
            degraded.push(format!(
                "records {first_seq} to {last_seq} are missing from the journal (a segment is gone)"
            ));
        }
        if self.open_report.mark_is_lost {
            degraded.push(
                "the journal's mark is missing or damaged (it is written anew): whether the oldest segments are all \
                 there could not be told at this start"
                    .to_owned(),
            );
        }
        degraded.extend(self.renewal().filter(|_| self.has_renewed()));
        let head = self.journal.head_seq();
        if projector.store != "ok" && !is_whole_again(&projector, head) {
            let reason = projector.store_reason.as_deref().unwrap_or_default();
            degraded.push(format!("the database is {}: {reason}", projector.store));
        }
        degraded.extend(projector.fault.clone());
        if 0 < projector.sacrificed_records {
            let records = projector.sacrificed_records;
            degraded
                .push(format!("{records} records were dropped before headquarters had them (over budget)"));
        }
        let lag = head.saturating_sub(projector.applied_through);
        if let Some(still) = projector.stands_still(head, Instant::now()) {
            let seconds = still.as_secs();
            degraded.push(format!(
                "the projector has not moved for {seconds} s and {lag} records wait for it; restart the hub"
            ));
        } else if LAG_RECORDS_WARN < lag {
            degraded.push(format!("the screens lag {lag} records behind"));
        }
        if let Some(uplink) = &self.uplink {
            degraded.extend(uplink.borrow().degraded.iter().cloned());
        }
        degraded
    }

    /// Whether the journal has begun its present epoch since this start, or at it.
    fn has_renewed(&self) -> bool {
        0 < self.open_report.vanished_records || self.journal.epoch() != self.epoch_at_start
    }

    /// Why the journal's present epoch began, when it is not its first.
    fn renewal(&self) -> Option<String> {
        let Renewal { epoch, first_seq, previous_epoch, previous_seq } = self.journal.epochs().renewal()?;
        Some(format!(
            "the journal was older than what others had seen of it (records through {previous_seq} of epoch \
             {previous_epoch}; were data put back or deleted?): epoch {epoch} began with record {first_seq}"
        ))
    }

    /// What is as configured and still worth knowing.
    fn notices(&self) -> Vec<String> {
        let mut notices: Vec<String> = self.renewal().filter(|_| !self.has_renewed()).into_iter().collect();
        let projector = self.projector.read();
        if is_whole_again(&projector, self.journal.head_seq()) {
            let reason = projector.store_reason.as_deref().unwrap_or_default();
            notices.push(format!("the database was rebuilt and is whole again: {reason}"));
        }
        notices.extend(shared_ids(self.edge.refusals.list(), self.clock.now()));
        if self.is_open {
            let open = "every client is let in (`mqtt.anonymous`); turn it off outside of demos";
            notices.push(open.to_owned());
        }
        notices
    }

    pub(crate) fn uplink(&self) -> Uplink {
        let mut uplink = Uplink::default();
        for stream in &self.streams {
            let waiting = self.tally.waiting(*stream, self.ledger.acked(*stream).through_seq);
            uplink.waiting_rows += waiting.rows;
            uplink.oldest_waiting_at = match (uplink.oldest_waiting_at, waiting.oldest_at) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        if let Some(status) = &self.uplink {
            let status = status.borrow();
            uplink.online = status.connected;
            uplink.last_ack_at = status.last_ack_at;
        }
        uplink
    }

    pub(crate) fn health(&self) -> Health {
        let Uplink { online, waiting_rows, .. } = self.uplink();
        Health {
            degraded: self.degraded(),
            notices: self.notices(),
            uplink_online: online,
            waiting_rows,
            at: self.clock.now(),
        }
    }

    pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
        let mut counters = self.edge.counters();
        counters
            .extend(self.broker.counters().into_iter().map(|(name, value)| (format!("mqtt.{name}"), value)));
        if let Some(uplink) = &self.uplink {
            let uplink = uplink.borrow();
            let named = |(name, value): (&&'static str, &u64)| (format!("uplink.{name}"), *value);
            counters.extend(uplink.counters.iter().map(named));
        }
        let journal = self.journal.stats();
        counters.insert("journal.records".to_owned(), journal.records);
        counters.insert("journal.commits".to_owned(), journal.commits);
        counters.insert("journal.refused_records".to_owned(), journal.refused_records);
        counters.insert("journal.damaged_bytes".to_owned(), journal.damaged_bytes);
        counters.insert("journal.epochs_renewed".to_owned(), self.journal.epochs().renewals());
        let holes = self.open_report.holes.iter().map(|(first_seq, last_seq)| last_seq + 1 - first_seq);
        counters.insert("journal.missing_records".to_owned(), holes.sum());
        counters.insert("journal.vanished_records".to_owned(), self.open_report.vanished_records);
        let projector = self.projector.read();
        counters.insert("journal.sacrificed_records".to_owned(), projector.sacrificed_records);
        counters.insert("projector.missed_records".to_owned(), projector.missed_records);
        counters
    }

    /// What the screens show.
    pub(crate) fn store_view(&self) -> StoreView {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut shown = view.into_store_view(
            self.store.clone(),
            self.clock.now(),
            self.uplink(),
            self.health(),
            self.counters(),
        );
        if !self.is_open {
            // What exists is the registry's to say; the journal remembers what was removed.
            let exists = |id: &DeviceId| self.gatekeeper.knows(id.as_str());
            shown.sensors.retain(|sensor| exists(&sensor.device));
            shown.stock.retain(|shelf| exists(&shelf.shelf));
            shown.lockers.retain(|bank| exists(&bank.bank));
            shown.climate.retain(|place| exists(&place.device));
        }
        shown
    }

    /// What `status` shows.
    pub(crate) fn status(&self) -> Value {
        let mut journal = to_value(&self.journal.stats());
        let epochs = self.journal.epochs();
        journal["epoch"] = json!(epochs.epoch());
        journal["renewal"] = to_value(&epochs.renewal());
        journal["torn_bytes_cut_at_start"] = json!(self.open_report.torn_bytes);
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner).counters.clone();
        let mut counters = self.counters();
        counters.extend(view);
        let page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        counters.extend(page.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        drop(page);
        json!({
            "store_id": self.store.as_str(),
            "version": env!("CARGO_PKG_VERSION"),
            "running": true,
            "boot": self.boot,
            "started_at": self.started_at,
            "addresses": self.addresses,
            "health": self.health(),
            "clients": self.broker.clients(),
            "devices": self.gatekeeper.devices().len(),
            "journal": journal,
            "store": to_value(&self.projector.read()),
            "outbox": self.outbox(),
            "counters": counters,
            "rejections": to_value(&self.edge.refusals.list()),
            "memory": { "resident_bytes": resident_bytes() },
        })
    }

    fn outbox(&self) -> Value {
        let Some(uplink) = &self.uplink else { return json!({ "configured": false }) };
        let status = uplink.borrow().clone();
        let head = self.journal.head_seq();
        let streams = self.streams.iter().map(|stream| {
            let acked = self.ledger.acked(*stream).through_seq;
            let waiting = self.tally.waiting(*stream, acked);
            let lane = status.streams.get(stream).copied().unwrap_or_default();
            let lane = json!({
                "acked_seq": acked,
                "sent_seq": lane.sent_seq,
                "batches_in_flight": lane.batches_in_flight,
                "waiting_rows": waiting.rows,
                "oldest_waiting_at": waiting.oldest_at,
            });
            (stream.as_str().to_owned(), lane)
        });
        let streams: serde_json::Map<String, Value> = streams.collect();
        let uplink = self.uplink();
        json!({
            "configured": true,
            "connected": status.connected,
            "last_ack_at": status.last_ack_at,
            "last_error": status.last_error,
            "waiting_rows": uplink.waiting_rows,
            "oldest_waiting_at": uplink.oldest_waiting_at,
            "head_seq": head,
            "streams": streams,
        })
    }
}

/// A disk without the room that the hub needs, in words.
pub(super) fn full_disk(data_dir: &Path) -> Option<String> {
    let free_bytes = room::fewer_bytes(data_dir, INTAKE_ROOM_BYTES_MIN)?;
    Some(format!(
        "the disk of `{}` is full ({free_bytes} bytes free, {INTAKE_ROOM_BYTES_MIN} are needed): readings are refused \
         until there is room; free some space",
        data_dir.display()
    ))
}

/// Limits of the MQTT edge that are reached, in words.
fn edge_limits(counters: &BTreeMap<String, u64>, connections_max: usize) -> Vec<String> {
    let count = |name: &str| counters.get(name).copied().unwrap_or_default();
    let mut reached = Vec::new();
    if connections_max as u64 <= count("connections_open") {
        let silent = count("handshakes_open");
        reached.push(format!(
            "new MQTT clients are refused: all {connections_max} connections are taken, {silent} of them by clients \
             that have not said who they are (`limits.connections`)"
        ));
    }
    if 0 < count("retained_full") {
        reached
            .push("the table of retained messages is full: sensors' newest states may not stay".to_owned());
    }
    reached
}

/// Devices whose connections take their session from each other, again and again and just now, from whichever addresses.
fn shared_ids(refusals: Vec<Refusal>, now: Timestamp) -> Vec<String> {
    let mut taken = BTreeMap::<String, (u64, Timestamp)>::new();
    let is_now =
        |refusal: &Refusal| refusal.code == TOOK_OVER && now.millis_since(refusal.at) < TAKE_OVER_AGE_MS_MAX;
    for Refusal { device, times, first_at, .. } in refusals.into_iter().filter(is_now) {
        let (all_times, since) = taken.entry(device).or_insert((0, first_at));
        (*all_times, *since) = (all_times.saturating_add(times), first_at.min(*since));
    }
    let is_often = |(_, (times, _)): &(String, (u64, Timestamp))| TAKE_OVERS_WARN <= *times;
    let words = |(device, (times, since))| {
        format!(
            "connections of `{device}` have closed each other {times} times since {since}: do two clients share this \
             id? `status --rejections` has their addresses"
        )
    };
    taken.into_iter().filter(is_often).map(words).collect()
}

/// Whether the database was written anew and has everything by now: worth knowing, and no reduced mode.
fn is_whole_again(projector: &projector::Status, head_seq: u64) -> bool {
    let written = projector.written_through;
    projector.store == "rebuilt" && 0 < written && head_seq <= written + LAG_RECORDS_WARN
}

fn to_value(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("plain structs with text keys are always JSON")
}

/// Resident memory of this process, as Linux counts it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_the_edge_that_is_reached_is_said() {
        let reached = |open, full| {
            let counters = [("connections_open", open), ("handshakes_open", 3), ("retained_full", full)];
            edge_limits(&counters.map(|(name, value)| (name.to_owned(), value)).into(), 8)
        };
        assert_eq!(reached(7, 0), Vec::<String>::new());
        assert!(reached(8, 0)[0].contains("all 8 connections are taken, 3 of them"));
        assert!(reached(7, 1)[0].contains("retained messages is full"));
    }

    #[test]
    fn two_clients_that_share_an_id_are_asked_about_once_from_however_many_addresses() {
        let at = Timestamp::saturating_from_millis;
        let refusal = |code, device: &str, times, first_ms, at_ms| Refusal {
            code,
            device: device.to_owned(),
            client_id: None,
            peer: None,
            topic: None,
            reason: String::new(),
            hint: String::new(),
            payload: None,
            times,
            first_at: at(first_ms),
            at: at(at_ms),
        };
        let refusals = vec![
            refusal(TOOK_OVER, "shelf-01", 2, 5_000, 90_000),
            refusal(TOOK_OVER, "shelf-01", 2, 4_000, 91_000),
            refusal(TOOK_OVER, "shelf-02", 2, 4_000, 91_000),
            refusal(TOOK_OVER, "shelf-03", 9, 1_000, 20_000),
            refusal("wrong_secret", "shelf-04", 9, 4_000, 91_000),
        ];
        let notices = shared_ids(refusals, at(92_000));
        assert_eq!(notices.len(), 1, "{notices:?}");
        let words = format!("`shelf-01` have closed each other 4 times since {}", at(4_000));
        assert!(notices[0].contains(&words), "{notices:?}");
    }

    #[test]
    fn a_rebuilt_database_is_well_once_it_has_everything() {
        let is_whole = |store, written_through, head_seq| {
            let status = projector::Status { store, written_through, ..projector::Status::default() };
            is_whole_again(&status, head_seq)
        };
        assert!(is_whole("rebuilt", 499_990, 500_000));
        assert!(!is_whole("rebuilt", 2_048, 438_107), "it has not read everything");
        assert!(!is_whole("rebuilt", 0, 10), "it has written nothing");
        assert!(!is_whole("unavailable", 500_000, 500_000));
    }
}
