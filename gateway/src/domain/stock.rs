//! Stock: how many pieces lie on each shelf, and who took or returned some.
//!
//! Pieces come from tags, else from the device's own count, else from the weight and the planogram. The number of
//! pieces is shown at once; an event waits for weights to settle, because a hand on the shelf weighs something too.

use std::collections::{BTreeMap, BTreeSet};

use contract::{DeviceId, Timestamp, hub};
use serde::{Deserialize, Serialize};

use super::{
    Effects, Planogram, Reading, RestoreError, Tree, What,
    counters::Counters,
    deadlines::{Deadlines, Due, Moment},
    json,
    planogram::Shelf,
    state, supersedes,
};

/// A weighed number of pieces counts as settled after this time, or as soon as a second reading confirms it.
pub(super) const SETTLE_MS: i64 = 2_000;
/// A weight that is further than this from whole pieces is a hand or a foreign thing: the last number stays.
const PIECE_FRACTION_MAX: f64 = 0.3;
/// Most tags on one shelf; further ones are counted and not kept.
pub(super) const TAGS_PER_SHELF_MAX: usize = 2_048;

/// All shelves by device.
#[derive(Debug, Default)]
pub(super) struct Stock {
    shelves: BTreeMap<String, ShelfState>,
    settling: Deadlines<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct ShelfState {
    at_ms: i64,
    source: Source,
    /// As last seen.
    pieces: Option<u32>,
    /// As the events have it.
    settled: Option<u32>,
    /// Since when `pieces` waits to become `settled`.
    pending: Option<Pending>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    tags: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Pending {
    since_ms: i64,
    due: Due,
}

/// What the number of pieces comes from, the most trusted last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Source {
    #[default]
    Weight,
    Count,
    Tags,
}

#[derive(Serialize)]
struct StockEvent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    gtin: Option<&'a str>,
    before: u32,
    after: u32,
    pieces: u32,
}

impl Stock {
    /// Applies a shelf's reading or tags.
    pub(super) fn apply(
        &mut self,
        planogram: &Planogram,
        reading: &Reading,
        now: Moment,
        counters: &mut Counters,
        effects: &mut Effects,
    ) {
        let Reading { device, at, what, .. } = reading;
        let at = *at;
        let product = planogram.shelf(device.as_str());
        let is_new = !self.shelves.contains_key(device.as_str());
        let mut shelf = self.shelves.remove(device.as_str()).unwrap_or_default();
        let is_late = !is_new && !supersedes(at, shelf.at_ms, now.at);
        let seen = match what {
            // Changes of tags are applied even when late: each says what happened, not what is.
            What::TagsPresent(tags) if !is_late => Some(shelf.tags_present(tags, counters, effects)),
            What::TagsChanged { appeared, gone } => {
                Some(shelf.tags_changed(appeared, gone, counters, effects))
            }
            What::Shelf { count: Some(count), .. } if !is_late => Some((Source::Count, *count)),
            What::Shelf { weight_g: Some(weight_g), .. } if !is_late => {
                product.and_then(|product| pieces(product, *weight_g)).map(|pieces| (Source::Weight, pieces))
            }
            _ => None,
        };
        if is_late {
            counters.bump("stock.out_of_order", effects);
        }
        let shown = shelf.pieces;
        shelf.at_ms = if is_late { shelf.at_ms } else { at.as_millis() };
        if let Some((source, pieces)) = seen
            && (shelf.source <= source || shelf.pieces.is_none())
        {
            shelf.source = source;
            self.unpend(device.as_str(), &shelf);
            shelf.see(device.as_str(), product, pieces, at, now, effects);
            if let Some(pending) = shelf.pending {
                self.settling.insert(pending.due, device.to_string());
            }
        }
        effects.put(Tree::Stock, device.as_str(), json(&shelf));
        if is_new || shown != shelf.pieces {
            effects.tell(hub::stock_topic(device), &shelf.view(device, product));
        }
        self.shelves.insert(device.to_string(), shelf);
    }

    /// Settles one shelf whose time has come; false when there is none.
    pub(super) fn settle_one(&mut self, planogram: &Planogram, now: Moment, effects: &mut Effects) -> bool {
        let Some(device) = self.settling.first_due(now).cloned() else { return false };
        let mut shelf = self.shelves.remove(&device).expect("a shelf that settles exists");
        self.unpend(&device, &shelf);
        let since_ms = shelf.pending.map_or(shelf.at_ms, |pending| pending.since_ms);
        let at = Timestamp::saturating_from_millis(since_ms);
        shelf.settle(&device, planogram.shelf(&device), at, effects);
        effects.put(Tree::Stock, device.as_str(), json(&shelf));
        self.shelves.insert(device, shelf);
        true
    }

    /// The steady clock has started anew.
    pub(super) fn rebase(&mut self, now: Moment, effects: &mut Effects) {
        let mut settling = Deadlines::default();
        for (device, shelf) in &mut self.shelves {
            let Some(pending) = &mut shelf.pending else { continue };
            pending.due = pending.due.rebased(now, SETTLE_MS);
            settling.insert(pending.due, device.clone());
            effects.put(Tree::Stock, device.as_str(), json(shelf));
        }
        self.settling = settling;
    }

    fn unpend(&mut self, device: &str, shelf: &ShelfState) {
        if let Some(pending) = shelf.pending {
            self.settling.remove(pending.due, device.to_owned());
        }
    }

    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let device = state::device_key(Tree::Stock, key)?;
        let shelf: ShelfState = state::value(Tree::Stock, key, value)?;
        if let Some(pending) = shelf.pending {
            self.settling.insert(pending.due, device.clone());
        }
        self.shelves.insert(device, shelf);
        Ok(())
    }

    pub(super) fn entities(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.shelves.iter().map(|(device, shelf)| (device.clone().into_bytes(), json(shelf)))
    }

    pub(super) fn view(&self, planogram: &Planogram) -> Vec<hub::ShelfStock> {
        let view = |(id, shelf): (&String, &ShelfState)| {
            Some(shelf.view(&DeviceId::parse(id).ok()?, planogram.shelf(id)))
        };
        self.shelves.iter().filter_map(view).collect()
    }
}

impl ShelfState {
    fn tags_present(
        &mut self,
        tags: &[String],
        counters: &mut Counters,
        effects: &mut Effects,
    ) -> (Source, u32) {
        self.tags.clear();
        self.tags_changed(tags, &[], counters, effects)
    }

    fn tags_changed(
        &mut self,
        appeared: &[String],
        gone: &[String],
        counters: &mut Counters,
        effects: &mut Effects,
    ) -> (Source, u32) {
        for tag in gone {
            self.tags.remove(tag);
        }
        for tag in appeared {
            if self.tags.len() < TAGS_PER_SHELF_MAX {
                self.tags.insert(tag.clone());
            } else if !self.tags.contains(tag) {
                counters.bump("stock.tags_over_limit", effects);
            }
        }
        (Source::Tags, u32::try_from(self.tags.len()).expect("a shelf has at most TAGS_PER_SHELF_MAX tags"))
    }

    /// Takes a number of pieces over; the caller keeps the deadline of `pending`.
    fn see(
        &mut self,
        device: &str,
        product: Option<&Shelf>,
        pieces: u32,
        at: Timestamp,
        now: Moment,
        effects: &mut Effects,
    ) {
        let is_confirmed = self.pending.is_some() && self.pieces == Some(pieces);
        self.pieces = Some(pieces);
        if self.settled.is_none() || self.settled == Some(pieces) {
            self.settled = self.pieces;
            self.pending = None;
        } else if self.source != Source::Weight {
            self.settle(device, product, at, effects);
        } else if let (true, Some(pending)) = (is_confirmed, self.pending) {
            self.settle(device, product, Timestamp::saturating_from_millis(pending.since_ms), effects);
        } else {
            self.pending = Some(Pending { since_ms: at.as_millis(), due: Due::after(now, SETTLE_MS) });
        }
    }

    fn settle(&mut self, device: &str, product: Option<&Shelf>, at: Timestamp, effects: &mut Effects) {
        self.pending = None;
        let (Some(before), Some(after)) = (self.settled, self.pieces) else { return };
        self.settled = self.pieces;
        let kind = if after < before { "stock.taken" } else { "stock.put_back" };
        let gtin = product.and_then(|product| product.gtin.as_deref());
        effects.event(kind, at, device, &StockEvent { gtin, before, after, pieces: after.abs_diff(before) });
    }

    fn view(&self, device: &DeviceId, product: Option<&Shelf>) -> hub::ShelfStock {
        hub::ShelfStock {
            shelf: device.clone(),
            gtin: product.and_then(|product| product.gtin.clone()),
            name: product.map(|product| product.name.clone()).unwrap_or_default(),
            pieces: self.pieces,
            capacity: product.and_then(|product| product.capacity),
            at: Timestamp::saturating_from_millis(self.at_ms),
        }
    }
}

/// How many pieces weigh this much; `None` when the planogram does not know or the weight lies between two numbers.
fn pieces(product: &Shelf, weight_g: f64) -> Option<u32> {
    let pieces = (weight_g - product.tare_g) / product.unit_weight_g?;
    let whole = pieces.round();
    if PIECE_FRACTION_MAX < (pieces - whole).abs() || whole < 0.0 || f64::from(u32::MAX) < whole {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked above"
    )]
    let whole = whole as u32;
    Some(whole)
}
