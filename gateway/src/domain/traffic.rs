//! Traffic: people who crossed the lines at the entrances, each counted once however often a counter repeats itself.
//!
//! An interval is known by its device, line, start and end. Each line remembers the last
//! [`INTERVALS_PER_LINE_MAX`]; an older one than those cannot be told from a repetition and is refused, counted. A
//! running total counts by its differences, through resets and the wrap of 16- and 32-bit counters.

use std::collections::BTreeMap;

use contract::{DeviceId, Timestamp, hub};
use serde::{Deserialize, Serialize};

use super::{
    AHEAD_MS_MAX, Effects, LINES_PER_DEVICE_MAX, RestoreError, Tree, counters::Counters, deadlines::Moment,
    json, state, supersedes,
};

/// Intervals that each line remembers: four hours of minutes.
pub(super) const INTERVALS_PER_LINE_MAX: usize = 240;
/// A step of a running total beyond this is no crowd but a new counter: it becomes the new start.
const STEP_MAX: u64 = 100_000;
/// A total wraps when it stood in the last sixteenth of its width and starts again in the first.
const WRAP_WIDTHS: [u64; 2] = [1 << 16, 1 << 32];
const WRAP_MARGIN_DIVISOR: u64 = 16;
const DAY_MS: i64 = 86_400_000;

/// All lines, and the day's totals.
#[derive(Debug, Default)]
pub(super) struct TrafficCounts {
    lines: BTreeMap<(String, String), Line>,
    day: Option<Day>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Line {
    /// Last totals with the time of their message.
    totals: Option<Totals>,
    /// Intervals that end here or earlier are no longer remembered.
    forgotten_ms: Option<i64>,
    /// The last interval of a device without the time, whose start and end come again after each of its restarts:
    /// only an immediate repetition can be told.
    without_time: Option<(i64, i64, u32, u32)>,
    /// Counts in and out by start and end; kept as entities of their own.
    #[serde(skip)]
    intervals: BTreeMap<(i64, i64), (u32, u32)>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Totals {
    at_ms: i64,
    total_in: u64,
    total_out: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Day {
    start_ms: i64,
    at_ms: i64,
    count_in: u64,
    count_out: u64,
}

/// One line of one device.
#[derive(Clone, Copy)]
pub(super) struct LineId<'a> {
    pub(super) device: &'a DeviceId,
    pub(super) line: &'a str,
}

/// People to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) count_in: u64,
    pub(super) count_out: u64,
}

impl TrafficCounts {
    /// Takes an interval; what it adds, or `None` when it was counted before or cannot be.
    pub(super) fn interval(
        &mut self,
        id: LineId<'_>,
        (from, to): (Timestamp, Timestamp),
        (count_in, count_out): (u32, u32),
        has_time: bool,
        counters: &mut Counters,
        effects: &mut Effects,
    ) -> Option<Step> {
        let line = self.line(id, counters, effects)?;
        let interval = (from.as_millis(), to.as_millis());
        let step = Step { count_in: u64::from(count_in), count_out: u64::from(count_out) };
        if !has_time {
            let this = Some((interval.0, interval.1, count_in, count_out));
            if line.without_time == this {
                counters.bump("traffic.interval_repeated", effects);
                return None;
            }
            line.without_time = this;
            effects.put(Tree::Traffic, line_key(id), json(line));
            return Some(step);
        }
        if let Some(&known) = line.intervals.get(&interval) {
            let is_same = known == (count_in, count_out);
            counters.bump(
                if is_same { "traffic.interval_repeated" } else { "traffic.interval_conflicting" },
                effects,
            );
            return None;
        }
        if line.forgotten_ms.is_some_and(|forgotten_ms| interval.0 < forgotten_ms) {
            counters.bump("traffic.interval_too_old", effects);
            return None;
        }
        line.intervals.insert(interval, (count_in, count_out));
        effects.put(Tree::Traffic, interval_key(id, interval), json(&(count_in, count_out)));
        if INTERVALS_PER_LINE_MAX < line.intervals.len()
            && let Some((oldest, _)) = line.intervals.pop_first()
        {
            line.forgotten_ms = line.forgotten_ms.max(Some(oldest.1));
            effects.remove(Tree::Traffic, interval_key(id, oldest));
        }
        effects.put(Tree::Traffic, line_key(id), json(line));
        Some(step)
    }

    /// Takes running totals; what they add, or `None` when they start a line or cannot be believed.
    pub(super) fn totals(
        &mut self,
        id: LineId<'_>,
        at: Timestamp,
        (total_in, total_out): (u64, u64),
        now: Moment,
        counters: &mut Counters,
        effects: &mut Effects,
    ) -> Option<Step> {
        let line = self.line(id, counters, effects)?;
        let last = line.totals;
        if last.is_some_and(|last| !supersedes(at, last.at_ms, now.at)) {
            counters.bump("traffic.totals_out_of_order", effects);
            return None;
        }
        line.totals = Some(Totals { at_ms: at.as_millis(), total_in, total_out });
        effects.put(Tree::Traffic, line_key(id), json(line));
        let last = last?;
        let mut step = |last, new| match step(last, new) {
            (added, None) => added,
            (added, Some(oddity)) => {
                counters.bump(oddity, effects);
                added
            }
        };
        Some(Step { count_in: step(last.total_in, total_in), count_out: step(last.total_out, total_out) })
    }

    /// Adds to the day that `at` belongs to, when that is the current one.
    pub(super) fn add_to_day(
        &mut self,
        step: Step,
        at: Timestamp,
        now: Moment,
        offset_minutes: i32,
        effects: &mut Effects,
    ) {
        let start_ms = day_start_ms(at, offset_minutes);
        let is_newer = self.day.is_none_or(|day| day.start_ms < start_ms || is_from_the_future(day, now));
        if is_newer {
            self.day = Some(Day { start_ms, at_ms: at.as_millis(), count_in: 0, count_out: 0 });
        }
        let Some(day) = self.day.as_mut().filter(|day| day.start_ms == start_ms) else { return };
        day.count_in = day.count_in.saturating_add(step.count_in);
        day.count_out = day.count_out.saturating_add(step.count_out);
        day.at_ms = day.at_ms.max(at.as_millis());
        if is_newer || step != (Step { count_in: 0, count_out: 0 }) {
            self.tell_day(effects);
        }
        self.put_day(effects);
    }

    /// Starts a new day when the hub's clock has reached it.
    pub(super) fn turn_day(&mut self, now: Moment, offset_minutes: i32, effects: &mut Effects) {
        let start_ms = day_start_ms(now.at, offset_minutes);
        if self.day.is_some_and(|day| day.start_ms < start_ms || is_from_the_future(day, now)) {
            self.day = Some(Day { start_ms, at_ms: now.at.as_millis(), count_in: 0, count_out: 0 });
            self.tell_day(effects);
            self.put_day(effects);
        }
    }

    fn put_day(&self, effects: &mut Effects) {
        if let Some(day) = &self.day {
            effects.put(Tree::Traffic, DAY_KEY, json(day));
        }
    }

    fn tell_day(&self, effects: &mut Effects) {
        if let Some(view) = self.view() {
            effects.tell(hub::TRAFFIC_TOPIC.to_owned(), &view);
        }
    }

    fn line(&mut self, id: LineId<'_>, counters: &mut Counters, effects: &mut Effects) -> Option<&mut Line> {
        let key = (id.device.to_string(), id.line.to_owned());
        if !self.lines.contains_key(&key) {
            let first = (key.0.clone(), String::new());
            let of_device = self.lines.range(first..).take_while(|((device, _), _)| *device == key.0).count();
            if LINES_PER_DEVICE_MAX <= of_device {
                counters.bump("traffic.lines_over_limit", effects);
                return None;
            }
        }
        Some(self.lines.entry(key).or_default())
    }

    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let wrong = || state::wrong_key(Tree::Traffic, key);
        match key {
            DAY_KEY => self.day = Some(state::value(Tree::Traffic, key, value)?),
            [b'l', line @ ..] => {
                let read: Line = state::value(Tree::Traffic, key, value)?;
                let line = self.lines.entry(line_id(line).ok_or_else(wrong)?).or_default();
                *line = Line { intervals: std::mem::take(&mut line.intervals), ..read };
            }
            [b'i', rest @ ..] => {
                let (line, times) = rest.split_last_chunk::<16>().ok_or_else(wrong)?;
                let (from, to) = times.split_first_chunk::<8>().ok_or_else(wrong)?;
                let to = to.first_chunk::<8>().ok_or_else(wrong)?;
                let interval = (state::time_from_key(*from), state::time_from_key(*to));
                let counts = state::value(Tree::Traffic, key, value)?;
                self.lines
                    .entry(line_id(line).ok_or_else(wrong)?)
                    .or_default()
                    .intervals
                    .insert(interval, counts);
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    pub(super) fn entities(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let day = self.day.iter().map(|day| (DAY_KEY.to_vec(), json(day)));
        let lines = self.lines.iter().flat_map(|((device, name), line)| {
            let line_entity = (line_key_of(device, name), json(line));
            let intervals = line
                .intervals
                .iter()
                .map(move |(&interval, counts)| (interval_key_of(device, name, interval), json(counts)));
            std::iter::once(line_entity).chain(intervals)
        });
        day.chain(lines)
    }

    pub(super) fn view(&self) -> Option<hub::Traffic> {
        self.day.map(|day| hub::Traffic {
            day_start: Timestamp::saturating_from_millis(day.start_ms),
            count_in: day.count_in,
            count_out: day.count_out,
            at: Timestamp::saturating_from_millis(day.at_ms),
        })
    }
}

/// What a total adds to the last one, and what was odd about it.
fn step(last: u64, new: u64) -> (u64, Option<&'static str>) {
    if let Some(added) = new.checked_sub(last) {
        return if added <= STEP_MAX { (added, None) } else { (0, Some("traffic.total_jumped")) };
    }
    for width in WRAP_WIDTHS {
        let margin = width / WRAP_MARGIN_DIVISOR;
        if last < width && width - margin <= last && new < margin {
            return (new + (width - last), Some("traffic.total_wrapped"));
        }
    }
    // A counter that starts anew starts low; one that goes back a little is mistaken, and nobody crossed the line.
    if new <= last / 2 && new <= STEP_MAX {
        (new, Some("traffic.total_reset"))
    } else {
        (0, Some("traffic.total_went_back"))
    }
}

fn is_from_the_future(day: Day, now: Moment) -> bool {
    now.at.as_millis().saturating_add(AHEAD_MS_MAX) < day.start_ms
}

fn day_start_ms(at: Timestamp, offset_minutes: i32) -> i64 {
    let offset_ms = i64::from(offset_minutes) * 60_000;
    at.plus_millis(offset_ms).window_start(DAY_MS).as_millis().saturating_sub(offset_ms)
}

const DAY_KEY: &[u8] = b"d";

fn line_key(id: LineId<'_>) -> Vec<u8> {
    line_key_of(id.device.as_str(), id.line)
}

fn line_key_of(device: &str, line: &str) -> Vec<u8> {
    [b"l", device.as_bytes(), &[0], line.as_bytes()].concat()
}

fn interval_key(id: LineId<'_>, interval: (i64, i64)) -> Vec<u8> {
    interval_key_of(id.device.as_str(), id.line, interval)
}

fn interval_key_of(device: &str, line: &str, (from, to): (i64, i64)) -> Vec<u8> {
    let (from, to) = (state::time_in_key(from), state::time_in_key(to));
    [b"i", device.as_bytes(), &[0], line.as_bytes(), &from, &to].concat()
}

fn line_id(key: &[u8]) -> Option<(String, String)> {
    let (device, line) = std::str::from_utf8(key).ok()?.split_once('\0')?;
    Some((device.to_owned(), line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_counts_by_its_steps_through_reset_and_wrap() {
        let cases = [
            (10, 14, 4, None),
            (10, 10, 0, None),
            (500, 3, 3, Some("traffic.total_reset")),
            (65_530, 4, 10, Some("traffic.total_wrapped")),
            ((1 << 32) - 1, 0, 1, Some("traffic.total_wrapped")),
            (500, 498, 0, Some("traffic.total_went_back")),
            (0, STEP_MAX, STEP_MAX, None),
            (0, STEP_MAX + 1, 0, Some("traffic.total_jumped")),
            (u64::MAX, 0, 0, Some("traffic.total_reset")),
        ];
        for (last, new, added, oddity) in cases {
            assert_eq!(step(last, new), (added, oddity), "{last} -> {new}");
        }
    }

    #[test]
    fn the_day_begins_at_the_stores_midnight() {
        let at: Timestamp = "2026-11-22T16:00:00Z".parse().unwrap();
        assert_eq!(day_start_ms(at, 480), at.as_millis());
        assert_eq!(day_start_ms(at.plus_millis(-1), 480), at.as_millis() - DAY_MS);
    }
}
