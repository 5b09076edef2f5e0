//! Roll-ups: number, sum, least and greatest of every measurement per minute and per hour.
//!
//! A reading belongs to the window of its own time. A window is told when the hub's clock has passed its end and a
//! grace for late readings; what comes later still is added and the window told again with the next `revision`,
//! after the same grace. Told windows are remembered for that, the newest few of each series; a reading for an older
//! one is counted as too late and stands in no roll-up (it stands in the journal and in the raw stream).
//!
//! # Invariants
//!
//! - Every reading is in one window per width, or `rollups.too_late` or `rollups.over_limit` counts it.
//! - The last revision of a window is the whole window.
//! - A window that waits has a deadline; [`Rollups::close_one`] closes one that is due.

use std::{collections::BTreeMap, sync::Arc};

use contract::{DeviceId, Timestamp, upstream::Stream};
use serde::{Deserialize, Serialize};

use super::{
    AHEAD_MS_MAX, DerivedRow, Effects, RestoreError, Tree,
    counters::Counters,
    deadlines::{Deadlines, Due, Moment},
    fixed::Micro,
    json, json_text, state,
};

/// Most series (device and metric) at a time.
pub(super) const SERIES_MAX: usize = 16_384;
/// Most series of one device: two per zone, and the plain measurements.
pub(super) const SERIES_PER_DEVICE_MAX: usize = 80;
/// Most windows that wait to be told, over all series; beyond, the one that is due first is told early.
pub(super) const WAITING_MAX: usize = 65_536;
/// Most windows of one series and width that wait; beyond, the oldest is told early.
pub(super) const WAITING_PER_SERIES_MAX: usize = 240;

/// A window's width, its grace for late readings, and how many told ones are remembered per series.
#[derive(Debug)]
pub(super) struct Width {
    pub(super) kind: &'static str,
    pub(super) ms: i64,
    pub(super) grace_ms: i64,
    pub(super) told_max: usize,
}

/// The widths, by their place in keys.
pub(super) const WIDTHS: [Width; 2] = [
    Width { kind: "rollup.1m", ms: 60_000, grace_ms: 30_000, told_max: 16 },
    Width { kind: "rollup.1h", ms: 3_600_000, grace_ms: 120_000, told_max: 6 },
];

/// All series by device and metric.
#[derive(Debug, Default)]
pub(super) struct Rollups {
    series: BTreeMap<Arc<str>, Series>,
    waiting: Deadlines<WindowId>,
}

/// Device and metric with a NUL between them, which neither has.
type SeriesId = Arc<str>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct WindowId {
    series: SeriesId,
    width: u8,
    start_ms: i64,
}

#[derive(Debug, Default)]
struct Series {
    widths: [Windows; 2],
}

#[derive(Debug, Default)]
struct Windows {
    by_start: BTreeMap<i64, Window>,
    waiting: usize,
    /// Windows that end here or earlier are no longer remembered.
    forgotten_ms: Option<i64>,
}

/// Number, sum, least, greatest, times told, and when it is to be told (again).
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Window(u64, Micro, Micro, Micro, u32, Option<Due>);

#[derive(Serialize)]
struct RollupData<'a> {
    device: &'a str,
    metric: &'a str,
    from: Timestamp,
    to: Timestamp,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    revision: u32,
}

impl Rollups {
    /// Adds one value to its windows.
    pub(super) fn add(
        &mut self,
        device: &DeviceId,
        metric: &str,
        at: Timestamp,
        value: Micro,
        now: Moment,
        counters: &mut Counters,
        effects: &mut Effects,
    ) {
        let Some(series) = self.series(device.as_str(), metric) else {
            counters.bump("rollups.over_limit", effects);
            return;
        };
        for (width, spec) in (0_u8..).zip(&WIDTHS) {
            let start_ms = at.window_start(spec.ms).as_millis();
            let id = WindowId { series: Arc::clone(&series), width, start_ms };
            if self.add_to(&id, value, now, effects) {
                self.keep_bounds(&id, now, effects);
            } else {
                counters.bump("rollups.too_late", effects);
            }
        }
    }

    /// Tells one window whose time has come; false when there is none.
    pub(super) fn close_one(&mut self, now: Moment, effects: &mut Effects) -> bool {
        let Some(id) = self.waiting.first_due(now).cloned() else { return false };
        self.close(&id, now, effects);
        true
    }

    /// The steady clock has started anew.
    pub(super) fn rebase(&mut self, now: Moment, effects: &mut Effects) {
        let mut waiting = Deadlines::default();
        for (series, windows) in &mut self.series {
            for (width, (windows, spec)) in (0_u8..).zip(windows.widths.iter_mut().zip(&WIDTHS)) {
                for (&start_ms, window) in &mut windows.by_start {
                    let Some(due) = window.5 else { continue };
                    let due = due.rebased(now, wait_ms_max(spec));
                    window.5 = Some(due);
                    let id = WindowId { series: Arc::clone(series), width, start_ms };
                    effects.put(Tree::Rollups, id.key(), json(window));
                    waiting.insert(due, id);
                }
            }
        }
        self.waiting = waiting;
    }

    /// The series' id, made when there is room.
    fn series(&mut self, device: &str, metric: &str) -> Option<SeriesId> {
        let id = format!("{device}\0{metric}");
        if let Some((id, _)) = self.series.get_key_value(id.as_str()) {
            return Some(Arc::clone(id));
        }
        let first = format!("{device}\0");
        let of_device = self
            .series
            .range::<str, _>((std::ops::Bound::Included(first.as_str()), std::ops::Bound::Unbounded))
            .take_while(|(id, _)| id.starts_with(&first))
            .count();
        if SERIES_MAX <= self.series.len() || SERIES_PER_DEVICE_MAX <= of_device {
            return None;
        }
        let id: SeriesId = id.into();
        self.series.insert(Arc::clone(&id), Series::default());
        Some(id)
    }

    /// Adds a value to a window; false when the window is no longer remembered.
    fn add_to(&mut self, id: &WindowId, value: Micro, now: Moment, effects: &mut Effects) -> bool {
        let spec = &WIDTHS[usize::from(id.width)];
        let windows = self.windows(id);
        if let Some(forgotten_ms) = windows.forgotten_ms
            && !windows.by_start.contains_key(&id.start_ms)
            && id.start_ms < forgotten_ms
        {
            return false;
        }
        let window =
            windows.by_start.entry(id.start_ms).or_insert(Window(0, Micro::default(), value, value, 0, None));
        window.0 = window.0.saturating_add(1);
        window.1 = window.1.plus(value);
        window.2 = window.2.min(value);
        window.3 = window.3.max(value);
        let starts_to_wait = window.5.is_none().then(|| {
            let until_end_ms = id.start_ms.saturating_add(spec.ms).saturating_sub(now.at.as_millis());
            Due::after(now, until_end_ms.max(0).saturating_add(spec.grace_ms).min(wait_ms_max(spec)))
        });
        window.5 = window.5.or(starts_to_wait);
        effects.put(Tree::Rollups, id.key(), json(window));
        if let Some(due) = starts_to_wait {
            windows.waiting += 1;
            self.waiting.insert(due, id.clone());
        }
        true
    }

    fn keep_bounds(&mut self, added: &WindowId, now: Moment, effects: &mut Effects) {
        let windows = self.windows(added);
        if WAITING_PER_SERIES_MAX < windows.waiting
            && let Some((&start_ms, _)) = windows.by_start.iter().find(|(_, window)| window.5.is_some())
        {
            self.close(&WindowId { start_ms, ..added.clone() }, now, effects);
        }
        if WAITING_MAX < self.waiting.len()
            && let Some(first) = self.waiting.first().cloned()
        {
            self.close(&first, now, effects);
        }
    }

    fn close(&mut self, id: &WindowId, now: Moment, effects: &mut Effects) {
        let spec = &WIDTHS[usize::from(id.width)];
        let windows = self.windows(id);
        let window = windows.by_start.get_mut(&id.start_ms).expect("a window that waits exists");
        let due = window.5.take().expect("a window that is closed was waiting");
        window.4 = window.4.saturating_add(1);
        effects.rows.push(row(id, spec, *window));
        effects.put(Tree::Rollups, id.key(), json(window));
        windows.waiting -= 1;
        windows.forget(id, spec, now, effects);
        self.waiting.remove(due, id.clone());
    }

    fn windows(&mut self, id: &WindowId) -> &mut Windows {
        let series = self.series.get_mut(&id.series).expect("a series lives as long as the state");
        &mut series.widths[usize::from(id.width)]
    }

    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let wrong = || state::wrong_key(Tree::Rollups, key);
        let [kind, width, rest @ ..] = key else { return Err(wrong()) };
        if WIDTHS.len() <= usize::from(*width) {
            return Err(wrong());
        }
        let text =
            |bytes: &[u8]| std::str::from_utf8(bytes).ok().filter(|id| id.contains('\0')).map(Arc::from);
        match kind {
            b'w' => {
                let (series, start) = rest.split_last_chunk::<8>().ok_or_else(wrong)?;
                let series: SeriesId = text(series).ok_or_else(wrong)?;
                let window: Window = state::value(Tree::Rollups, key, value)?;
                let start_ms = state::time_from_key(*start);
                let series = self.intern(series);
                let id = WindowId { series, width: *width, start_ms };
                if let Some(due) = window.5 {
                    self.waiting.insert(due, id.clone());
                }
                let windows = self.windows(&id);
                windows.waiting += usize::from(window.5.is_some());
                windows.by_start.insert(start_ms, window);
            }
            b'f' => {
                let series: SeriesId = text(rest).ok_or_else(wrong)?;
                let forgotten_ms = state::value(Tree::Rollups, key, value)?;
                let series = self.intern(series);
                self.windows(&WindowId { series, width: *width, start_ms: 0 }).forgotten_ms = forgotten_ms;
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn intern(&mut self, series: SeriesId) -> SeriesId {
        match self.series.get_key_value(&series) {
            Some((known, _)) => Arc::clone(known),
            None => {
                self.series.insert(Arc::clone(&series), Series::default());
                series
            }
        }
    }

    pub(super) fn entities(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.series.iter().flat_map(|(series, all)| {
            (0_u8..).zip(&all.widths).flat_map(move |(width, windows)| {
                let id = move |start_ms| WindowId { series: Arc::clone(series), width, start_ms };
                let forgotten = windows.forgotten_ms.map(|at_ms| (id(0).forgotten_key(), json(&Some(at_ms))));
                let by_start = windows
                    .by_start
                    .iter()
                    .map(move |(&start_ms, window)| (id(start_ms).key(), json(window)));
                forgotten.into_iter().chain(by_start)
            })
        })
    }

    /// Windows that wait to be told.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl Windows {
    /// Forgets told windows beyond the limit, oldest first. Windows of the hub's future come from a clock that was
    /// wrong; they go first and say nothing about what is too late.
    fn forget(&mut self, id: &WindowId, spec: &Width, now: Moment, effects: &mut Effects) {
        let future_ms = now.at.as_millis().saturating_add(AHEAD_MS_MAX);
        let before = self.forgotten_ms;
        self.forgotten_ms =
            self.forgotten_ms.filter(|&forgotten_ms| forgotten_ms <= future_ms.saturating_add(spec.ms));
        while spec.told_max < self.by_start.len() - self.waiting {
            let told = || {
                self.by_start.iter().filter(|(_, window)| window.5.is_none()).map(|(&start_ms, _)| start_ms)
            };
            let newest = told().next_back().filter(|&start_ms| future_ms < start_ms);
            let Some(start_ms) = newest.or_else(|| told().next()) else { break };
            self.by_start.remove(&start_ms);
            if newest.is_none() {
                self.forgotten_ms = self.forgotten_ms.max(Some(start_ms.saturating_add(spec.ms)));
            }
            effects.remove(Tree::Rollups, WindowId { start_ms, ..id.clone() }.key());
        }
        if before != self.forgotten_ms {
            match self.forgotten_ms {
                Some(_) => effects.put(Tree::Rollups, id.forgotten_key(), json(&self.forgotten_ms)),
                None => effects.remove(Tree::Rollups, id.forgotten_key()),
            }
        }
    }
}

impl WindowId {
    fn key(&self) -> Vec<u8> {
        [b"w", &[self.width][..], self.series.as_bytes(), &state::time_in_key(self.start_ms)].concat()
    }

    fn forgotten_key(&self) -> Vec<u8> {
        [b"f", &[self.width][..], self.series.as_bytes()].concat()
    }
}

/// A window that lies as far ahead as a device's clock may run waits longest.
fn wait_ms_max(spec: &Width) -> i64 {
    spec.ms + AHEAD_MS_MAX + spec.grace_ms
}

fn row(id: &WindowId, spec: &Width, window: Window) -> DerivedRow {
    let (device, metric) =
        id.series.split_once('\0').expect("a series id has a NUL between device and metric");
    let from = Timestamp::saturating_from_millis(id.start_ms);
    let to = from.plus_millis(spec.ms);
    let Window(count, sum, min, max, revision, _) = window;
    let data = RollupData {
        device,
        metric,
        from,
        to,
        count,
        sum: sum.to_f64(),
        min: min.to_f64(),
        max: max.to_f64(),
        revision,
    };
    DerivedRow {
        stream: Stream::Rollups,
        at: to,
        kind: spec.kind.to_owned(),
        device: Some(device.to_owned()),
        data: json_text(&data),
    }
}
