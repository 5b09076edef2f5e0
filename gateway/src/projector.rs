//! The projector: applies the journal to the domain's state, in order, and tells everybody what follows.
//!
//! Owns: one thread (`projector`), the state, the store, ticks, snapshots, and dropping old segments. Does not own:
//! decisions about readings (the domain's), sockets, the journal's file format.
//!
//! # Invariants
//!
//! - A repeated reading is noted in the transaction that holds its effects and stays noted for as long as the journal
//!   has it; the place that others may read to ([`Projector::applied`]) moves after that.
//! - Records are applied in order, each exactly once in effect: the place is written in the transaction that holds
//!   the effects, and only after every row for headquarters that they caused is durable in the journal.
//! - On replay a row whose `(cause_seq, ordinal)` is in the journal already is not appended again.
//! - A store that refuses or is damaged stops nothing: the state lives in memory, and a new store is written from it.
//!   While the disk is full the store is left alone, and what it lacks is written when there is room.
//! - A segment is dropped only when a snapshot covers it and headquarters has what it waits for; over the budget it
//!   is sacrificed, counted and named. What is not applied yet is never dropped.
//! - Memory: changed entities are coalesced by key, hub messages by topic, rows in flight are bounded.

mod load;
mod lost;
mod retention;
mod tally;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use contract::upstream::Stream;
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use self::lost::Lost;
pub use self::{
    load::{Loaded, Ready, load},
    tally::{Tally, Waiting},
};
use crate::{
    clock::Clock,
    domain::{Act, DerivedRow, DomainView, Input, InputKind, Mapped, map},
    journal::{AppendError, Derived, Journal, Reader, Record},
    store::{self, Changes, EntryKey, Ledger, Store, StoreError, StoreTree},
};

/// Records applied before other duties get their turn.
const RECORDS_PER_TURN_MAX: usize = 2_048;
/// Rows for headquarters that may wait for their `fdatasync` before the projector waits for them.
const ROWS_IN_FLIGHT_MAX: usize = 4_096;
/// Words that wait for room in the broker; of more the oldest are dropped.
const ACTS_MAX: usize = 1_024;
/// Nobody waits for an answer that is older.
const ACT_AGE_MS_MAX: u64 = 8_000;
/// Between two tick records while somebody stands at a locker.
const TICK_EVERY_WAITING: Duration = Duration::from_millis(500);
/// How long the projector waits before it asks a refusing disk again.
const RETRY: Duration = Duration::from_secs(1);
/// How often a store that cannot be opened is tried again.
const REOPEN: Duration = Duration::from_secs(5);
/// How often segments, snapshots and the status are looked after.
const UPKEEP: Duration = Duration::from_secs(1);
/// A projector that does not move for this long is stuck. It reports once per [`UPKEEP`], and its longest duty beside
/// that is a snapshot.
const STANDSTILL: Duration = Duration::from_secs(20);

/// Where things are.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The database.
    pub sled: PathBuf,
    /// Where a bad database goes.
    pub quarantine: PathBuf,
    /// Where snapshots are.
    pub snapshots: PathBuf,
}

/// How often things happen.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Between two transactions at least.
    pub write_every: Duration,
    /// Between two rounds of `hub/…` messages at least.
    pub tell_every: Duration,
    /// Between two pictures of the store at least.
    pub show_every: Duration,
    /// Between two tick records.
    pub tick_every: Duration,
    /// Between two snapshots at most, when anything was applied.
    pub snapshot_every: Duration,
    /// Bytes that the journal may keep.
    pub kept_bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            write_every: Duration::from_millis(250),
            tell_every: Duration::from_millis(100),
            show_every: Duration::from_millis(300),
            tick_every: Duration::from_secs(5),
            snapshot_every: Duration::from_secs(600),
            kept_bytes: 1024 * 1024 * 1024,
        }
    }
}

/// Where the projector's words go. Calls come from its thread and must not block.
pub trait Outlet: Send + 'static {
    /// Publishes a retained `hub/…` message; `false` asks to be told again later.
    fn publish(&mut self, topic: &str, payload: &[u8]) -> bool;
    /// Says something once; `false` asks to be told again in a moment.
    fn act(&mut self, act: &Act) -> bool;
    /// Shows a new picture of the store.
    fn show(&mut self, view: DomainView);
}

/// Everything that the projector needs.
pub struct Start {
    /// The truth.
    pub journal: Journal,
    /// State and store as [`Loaded::settle`] gave them.
    pub ready: Ready,
    /// Retained messages and acknowledgements.
    pub ledger: Arc<Ledger>,
    /// Where the database and the snapshots are.
    pub paths: Paths,
    /// How often things happen.
    pub pace: Pace,
    /// The streams that headquarters gets; segments wait for these.
    pub streams: Vec<Stream>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Which start of the hub this is.
    pub boot: u64,
    /// Where the words go.
    pub outlet: Box<dyn Outlet>,
}

/// How the projector is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Every record through this one has had its effect.
    pub applied_through: u64,
    /// Records that are durable and not applied yet.
    pub lag_records: u64,
    /// `ok`, `rebuilt`, `unavailable`, or `waiting` for room on the disk.
    #[serde(rename = "state")]
    pub store: &'static str,
    /// Why the store was rebuilt or is unavailable.
    #[serde(rename = "reason", skip_serializing_if = "Option::is_none")]
    pub store_reason: Option<String>,
    /// Place of the last transaction.
    pub written_through: u64,
    /// Entries of the database.
    pub store_entries: u64,
    /// Bytes of the database on disk.
    pub store_bytes: u64,
    /// Transactions since start.
    pub store_writes: u64,
    /// Place of the last snapshot of this life, 0 when there is none.
    pub snapshot_through: u64,
    /// Rows for headquarters that are not durable yet.
    pub rows_in_flight: u64,
    /// Records that were damaged or gone before they could be applied.
    pub missed_records: u64,
    /// Records dropped before headquarters had them, because the budget was used up.
    pub sacrificed_records: u64,
    /// What is wrong now, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// When the thread last said how it is.
    #[serde(skip)]
    pub said_at: Option<Instant>,
    /// When it last had nothing to do or had got further.
    #[serde(skip)]
    pub moved_at: Option<Instant>,
}

impl Status {
    /// For how long the projector has stood still although it should not: it says nothing, or durable records wait
    /// and it gets no further. `None` while it is well.
    #[must_use]
    pub fn stands_still(&self, head_seq: u64, now: Instant) -> Option<Duration> {
        let since = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let idle = if self.applied_through < head_seq { since(self.moved_at) } else { Duration::ZERO };
        Some(since(self.said_at).max(idle)).filter(|still| STANDSTILL < *still)
    }
}

/// A running projector.
pub struct Projector {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    status: Arc<Mutex<Status>>,
    tally: Arc<Tally>,
    applied: watch::Receiver<u64>,
    gone: Option<oneshot::Receiver<()>>,
}

/// A way to ask a running projector.
#[derive(Clone)]
pub struct ProjectorStatus(Arc<Mutex<Status>>);

impl ProjectorStatus {
    /// How it is.
    #[must_use]
    pub fn read(&self) -> Status {
        lock(&self.0).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Projector {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn spawn(start: Start) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let status = Arc::new(Mutex::new(Status { store: "ok", ..Status::default() }));
        let tally = Arc::new(Tally::default());
        let (alive, gone) = oneshot::channel::<()>();
        let (place, applied) = watch::channel(start.ready.applied_through);
        let worker = Worker::new(start, Arc::clone(&stop), Arc::clone(&status), Arc::clone(&tally), place);
        let thread = thread::Builder::new().name("projector".to_owned()).spawn(move || {
            let _alive = alive;
            worker.run();
        })?;
        Ok(Self { thread, stop, status, tally, applied, gone: Some(gone) })
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> ProjectorStatus {
        ProjectorStatus(Arc::clone(&self.status))
    }

    /// How many rows wait.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Follows the last record that has had its effect, so that it is known whether it is a repetition. Never beyond
    /// what is durable.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.clone()
    }

    /// Resolves when the thread has ended; to be taken once.
    pub fn take_gone(&mut self) -> Option<oneshot::Receiver<()>> {
        self.gone.take()
    }

    /// Applies what is durable, writes it, takes a snapshot, and ends. Blocks until that is done.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the projector panicked");
        }
    }
}

/// A row on its way into the journal.
struct RowInFlight {
    cause_seq: u64,
    ordinal: u32,
    row: DerivedRow,
    done: oneshot::Receiver<Result<u64, AppendError>>,
}

struct Worker {
    journal: Journal,
    reader: Reader,
    state: crate::domain::State,
    store: Option<Store>,
    ledger: Arc<Ledger>,
    paths: Paths,
    pace: Pace,
    streams: Vec<Stream>,
    clock: Arc<dyn Clock>,
    boot: u64,
    outlet: Box<dyn Outlet>,
    stop: Arc<AtomicBool>,
    status: Arc<Mutex<Status>>,
    tally: Arc<Tally>,
    place: watch::Sender<u64>,

    applied_through: u64,
    /// Records through this one were counted by the first scan.
    tallied_through: u64,
    /// What no stream may be called empty across.
    lost: Lost,
    /// Rows that the journal has already for causes that will be applied again.
    known_rows: HashSet<(u64, u32)>,
    rows: Vec<RowInFlight>,
    changes: Changes,
    /// How the store was before the disk was full.
    before_full: Option<(&'static str, Option<String>)>,
    hub: BTreeMap<String, Vec<u8>>,
    acts: VecDeque<Act>,
    is_view_stale: bool,
    next: Deadlines,
    ticked_at: Instant,
}

#[derive(Clone, Copy)]
struct Deadlines {
    write: Instant,
    tell: Instant,
    show: Instant,
    tick: Instant,
    upkeep: Instant,
    snapshot: Instant,
    reopen: Instant,
}

impl Worker {
    fn new(
        start: Start,
        stop: Arc<AtomicBool>,
        status: Arc<Mutex<Status>>,
        tally: Arc<Tally>,
        place: watch::Sender<u64>,
    ) -> Self {
        let Start { journal, mut ready, ledger, paths, pace, streams, clock, boot, outlet } = start;
        ready.state.show_in(boot);
        let now = Instant::now();
        {
            let mut status = lock(&status);
            status.applied_through = ready.applied_through;
            (status.said_at, status.moved_at) = (Some(now), Some(now));
            status.store = if ready.store.is_none() {
                "unavailable"
            } else if ready.rebuilt.is_some() {
                "rebuilt"
            } else {
                "ok"
            };
            status.store_reason = ready.rebuilt.clone().or_else(|| ready.unavailable.clone());
        }
        let next = Deadlines {
            write: now,
            tell: now,
            show: now,
            tick: now,
            upkeep: now,
            snapshot: now + pace.snapshot_every,
            reopen: now + REOPEN,
        };
        Self {
            reader: journal.reader(ready.applied_through + 1),
            journal,
            hub: ready.state.hub_messages().into_iter().collect(),
            state: ready.state,
            store: ready.store,
            ledger,
            paths,
            pace,
            streams,
            clock,
            boot,
            outlet,
            stop,
            status,
            tally,
            place,
            applied_through: ready.applied_through,
            tallied_through: 0,
            lost: Lost::default(),
            known_rows: HashSet::new(),
            rows: Vec::new(),
            changes: ready.unwritten,
            before_full: None,
            acts: VecDeque::new(),
            is_view_stale: true,
            next,
            ticked_at: now,
        }
    }

    fn run(mut self) {
        self.count_what_is_there();
        while !self.stop.load(Ordering::Relaxed) && self.journal.is_open() {
            self.turn();
        }
        self.read_some();
        self.settle_rows();
        self.write();
        self.take_snapshot();
        if let Some(store) = &self.store
            && let Err(error) = store.flush()
        {
            tracing::warn!(error = %chain(&error), "the store was not flushed; the journal is replayed at the next start");
        }
        self.report();
    }

    fn turn(&mut self) {
        let Deadlines { write, tell, show, tick, upkeep, .. } = self.next;
        let until = [write, tell, show, tick, upkeep].into_iter().min();
        let until = until.expect("the list is not empty");
        let patience = until.saturating_duration_since(Instant::now());
        let seen = self.reader.next_seq() - 1;
        let _head = self.journal.wait_beyond(seen, patience.max(Duration::from_millis(1)));
        self.read_some();
        let now = Instant::now();
        if self.state.is_waiting() {
            self.next.tick = self.next.tick.min(self.ticked_at + TICK_EVERY_WAITING);
        }
        if self.next.tell <= now {
            self.next.tell = now + self.pace.tell_every;
            self.tell();
        }
        if self.next.tick <= now {
            self.next.tick = now + self.pace.tick_every;
            self.ticked_at = now;
            self.tick();
        }
        if self.next.write <= now {
            self.next.write = now + self.pace.write_every;
            if self.settle_rows() {
                self.write();
            }
        }
        if self.next.show <= now {
            self.next.show = now + self.pace.show_every;
            if std::mem::take(&mut self.is_view_stale) {
                self.outlet.show(self.state.view());
            }
        }
        if self.next.upkeep <= now {
            self.next.upkeep = now + UPKEEP;
            self.upkeep(now);
            self.report();
        }
    }

    /// Finds the rows that are in the journal already, for replay and for the count of what waits.
    fn count_what_is_there(&mut self) {
        let head = self.journal.head_seq();
        let floor = self.streams.iter().map(|stream| self.ledger.acked(*stream).empty_through_seq).min();
        let from = floor.unwrap_or(head).min(self.applied_through) + 1;
        let mut reader = self.journal.reader(from);
        let kept_from = self.journal.kept_from();
        for stream in &self.streams {
            // What was dropped beyond what headquarters had was sacrificed. A stream that is new here never had it.
            let empty_through = self.ledger.acked(*stream).empty_through_seq;
            if 0 < empty_through {
                self.lost.add(empty_through + 1, kept_from - 1);
            }
        }
        loop {
            if let Some((first_seq, last_seq)) = reader.take_gap() {
                self.lost.add(first_seq.max(kept_from), last_seq);
            }
            match reader.next() {
                Ok(Some(entry)) if entry.seq <= head => {
                    if let Record::Derived(row) = entry.record
                        && self.applied_through < row.cause_seq
                    {
                        self.known_rows.insert((row.cause_seq, row.ordinal));
                    }
                    if !self.ledger.is_repeat(entry.seq) {
                        tally(&self.tally, &self.streams, entry.seq, &entry.record);
                    }
                }
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "the journal cannot be read");
                    lock(&self.status).fault = Some(chain(&error));
                    if self.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    thread::park_timeout(RETRY);
                }
            }
        }
        self.tallied_through = head;
    }

    fn read_some(&mut self) {
        self.apply_some();
        if let Some((first_seq, last_seq)) = self.reader.take_gap() {
            self.lost.add(first_seq, last_seq);
        }
        // After the repetitions are noted, so that whoever reads up to here knows them.
        let applied_through = self.applied_through;
        self.place.send_if_modified(|place| std::mem::replace(place, applied_through) != applied_through);
    }

    fn apply_some(&mut self) {
        for _ in 0..RECORDS_PER_TURN_MAX {
            if ROWS_IN_FLIGHT_MAX <= self.rows.len() && !self.settle_rows() {
                return;
            }
            let entry = match self.reader.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    let fault = chain(&error);
                    tracing::error!(error = fault, "the journal cannot be read");
                    lock(&self.status).fault = Some(fault);
                    thread::park_timeout(RETRY);
                    break;
                }
            };
            let is_tallied = entry.seq <= self.tallied_through;
            let seq = entry.seq;
            let input = match entry.record {
                Record::Publish(publish) => Input {
                    seq,
                    at: publish.received_at,
                    mono_ms: publish.mono_ms,
                    boot: publish.boot,
                    kind: InputKind::Publish {
                        device: publish.device,
                        topic: publish.topic,
                        payload: publish.payload,
                    },
                },
                Record::Tick { at, mono_ms, boot } => Input { seq, at, mono_ms, boot, kind: InputKind::Tick },
                Record::Derived(_) => {
                    if !is_tallied {
                        tally(&self.tally, &self.streams, seq, &entry.record);
                    }
                    self.applied_through = seq;
                    continue;
                }
            };
            let effects = self.state.apply(&input);
            // What happened before this start is over: a door must not open for somebody who has gone home.
            if input.boot == self.boot && input.mono_ms.saturating_add(ACT_AGE_MS_MAX) >= self.clock.mono_ms()
            {
                self.acts.extend(effects.acts);
                say(&mut self.acts, self.outlet.as_mut());
            }
            if effects.is_repeat {
                self.ledger.note_repeat(seq);
                self.tally.withdraw(Stream::Readings, seq);
            } else if !is_tallied && !self.ledger.is_repeat(seq) {
                tally(&self.tally, &self.streams, seq, &entry.record);
            }
            self.is_view_stale |= !effects.changed.is_empty();
            for (key, value) in effects.changed {
                let entry = EntryKey { tree: StoreTree::Domain(key.tree), key: key.key };
                self.changes.insert(entry, value);
            }
            self.hub.extend(effects.hub);
            for (ordinal, row) in (0_u32..).zip(effects.rows) {
                if !self.known_rows.remove(&(seq, ordinal)) {
                    let done = append_row(&self.journal, seq, ordinal, &row);
                    self.rows.push(RowInFlight { cause_seq: seq, ordinal, row, done });
                }
            }
            self.applied_through = seq;
        }
    }

    /// Waits until every row is durable; `false` when the journal's disk refuses, to be tried again.
    fn settle_rows(&mut self) -> bool {
        let mut refused = Vec::new();
        for row in self.rows.drain(..) {
            let RowInFlight { cause_seq, ordinal, row, done } = row;
            if !matches!(done.blocking_recv(), Ok(Ok(_))) {
                refused.push((cause_seq, ordinal, row));
            }
        }
        if refused.is_empty() {
            return true;
        }
        if self.journal.is_open() {
            thread::park_timeout(RETRY);
        }
        for (cause_seq, ordinal, row) in refused {
            let done = append_row(&self.journal, cause_seq, ordinal, &row);
            self.rows.push(RowInFlight { cause_seq, ordinal, row, done });
        }
        false
    }

    fn tell(&mut self) {
        say(&mut self.acts, self.outlet.as_mut());
        let outlet = &mut self.outlet;
        self.hub.retain(|topic, payload| !outlet.publish(topic, payload));
    }

    fn tick(&self) {
        let record = Record::Tick { at: self.clock.now(), mono_ms: self.clock.mono_ms(), boot: self.boot };
        // A refused tick shows in the journal's own fault; the next one comes soon.
        self.journal.append_and_forget(&record).ok();
    }

    fn write(&mut self) {
        if !self.rows.is_empty() {
            return;
        }
        self.ledger.take_unwritten(&mut self.changes);
        let now = Instant::now();
        if self.store.is_none() && self.next.reopen <= now {
            self.next.reopen = now + REOPEN;
            self.reopen();
        }
        let Some(store) = &mut self.store else { return };
        if self.changes.is_empty() && store.place().applied_through == self.applied_through {
            return;
        }
        if let Some(full) = store::no_room(&self.paths.sled) {
            let mut status = lock(&self.status);
            let before =
                (std::mem::replace(&mut status.store, "waiting"), status.store_reason.replace(chain(&full)));
            self.before_full.get_or_insert(before);
            return;
        }
        let (changes, epoch, through) = (&self.changes, self.journal.epoch(), self.applied_through);
        let result = catch_unwind(AssertUnwindSafe(|| store.write(changes, epoch, through)));
        let result = result.unwrap_or_else(|panic| Err(store::panicked(&self.paths.sled, panic.as_ref())));
        let before_full = self.before_full.take();
        match result {
            Ok(()) => {
                self.changes.clear();
                let mut status = lock(&self.status);
                status.store_writes += 1;
                if let Some(before) = before_full {
                    (status.store, status.store_reason) = before;
                }
            }
            Err(error) => self.lose_store(&error.unless_full(&self.paths.sled)),
        }
    }

    /// The database refuses or is damaged: let go of it. What it lacks is in memory.
    fn lose_store(&mut self, error: &StoreError) {
        let reason = chain(error);
        tracing::error!(error = reason, "the store is given up and will be written anew");
        // Dropping a database that has panicked may panic again.
        let store = self.store.take();
        catch_unwind(AssertUnwindSafe(|| drop(store))).ok();
        if error.is_damage() {
            self.quarantine();
        }
        let mut status = lock(&self.status);
        status.store = "unavailable";
        status.store_reason = Some(reason);
        self.next.reopen = Instant::now();
    }

    fn quarantine(&self) {
        let name = quarantine_name(self.clock.as_ref());
        match store::quarantine(&self.paths.sled, &self.paths.quarantine, &name) {
            Ok(path) => tracing::warn!(path = %path.display(), "the damaged database was set aside"),
            Err(error) => {
                tracing::error!(error = %chain(&error), "the damaged database could not be set aside")
            }
        }
    }

    fn reopen(&mut self) {
        let opened = match Store::open(&self.paths.sled) {
            Ok(opened) => opened,
            Err(error) => {
                if error.is_damage() {
                    self.quarantine();
                }
                lock(&self.status).store_reason = Some(chain(&error));
                return;
            }
        };
        let mut changes: Changes = opened.entries.into_iter().map(|(entry, _)| (entry, None)).collect();
        changes.extend(self.entries().into_iter().map(|(entry, value)| (entry, Some(value))));
        self.changes = changes;
        self.store = Some(opened.store);
        lock(&self.status).store = "rebuilt";
    }

    fn entries(&self) -> Vec<(EntryKey, Vec<u8>)> {
        let domain = self
            .state
            .entities()
            .map(|(key, value)| (EntryKey { tree: StoreTree::Domain(key.tree), key: key.key }, value));
        domain.chain(self.ledger.entries()).collect()
    }

    fn upkeep(&mut self, now: Instant) {
        let snapshot_through = lock(&self.status).snapshot_through;
        if self.next.snapshot <= now {
            self.next.snapshot = now + self.pace.snapshot_every;
            if snapshot_through < self.applied_through {
                self.take_snapshot();
            }
        }
        self.note_what_is_acked();
        self.drop_segments();
    }

    /// A stream without waiting rows holds no segment back, however long ago its last row was. One with waiting rows is
    /// not empty across what is lost before them: that is said with the first of them.
    fn note_what_is_acked(&mut self) {
        for stream in &self.streams {
            let acked = self.ledger.acked(*stream).through_seq;
            let oldest_seq = self.tally.waiting(*stream, acked).oldest_seq;
            let empty_through = oldest_seq.map_or(self.applied_through, |seq| {
                self.lost.first_after(acked).map_or(seq, |lost| lost.min(seq)) - 1
            });
            self.ledger.empty(*stream, acked, empty_through);
        }
        let acked = self.streams.iter().map(|stream| self.ledger.acked(*stream).empty_through_seq).min();
        self.lost.forget_through(acked.unwrap_or(u64::MAX));
    }

    fn take_snapshot(&mut self) {
        if !self.settle_rows() {
            return;
        }
        let entries = self.entries();
        let entries = entries.iter().map(|(entry, value)| (entry, value.as_slice()));
        let epoch = self.journal.epoch();
        match store::write_snapshot(&self.paths.snapshots, epoch, self.applied_through, entries) {
            Ok(_) => {
                let mut status = lock(&self.status);
                status.snapshot_through = self.applied_through;
                status.fault = None;
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "no snapshot");
                lock(&self.status).fault = Some(chain(&error));
            }
        }
    }

    fn drop_segments(&mut self) {
        for _ in 0..retention::SEGMENTS_PER_UPKEEP_MAX {
            let floor = self.streams.iter().map(|stream| self.ledger.acked(*stream).empty_through_seq).min();
            let sight = retention::Sight {
                segments: &self.journal.segments(),
                kept_bytes_max: self.pace.kept_bytes,
                is_disk_full: self.journal.stats().is_disk_full,
                applied_through: self.applied_through,
                acked_through: floor.unwrap_or(u64::MAX),
                snapshot_through: lock(&self.status).snapshot_through,
            };
            let records = match retention::decide(&sight) {
                retention::Decision::Keep => return,
                retention::Decision::SnapshotFirst => {
                    self.take_snapshot();
                    if lock(&self.status).snapshot_through < self.applied_through {
                        return;
                    }
                    continue;
                }
                retention::Decision::Drop => 0,
                retention::Decision::Sacrifice { records } => records,
            };
            match self.journal.drop_oldest(&self.ledger.uplink_note()) {
                Ok(Some((first_seq, last_seq))) => {
                    self.tally.dropped(last_seq);
                    // One segment late: a reader may be just behind the last record of this one.
                    self.ledger.forget_repeats_before(first_seq);
                    if 0 < records {
                        self.lost.add(last_seq + 1 - records, last_seq);
                        tracing::warn!(
                            first_seq,
                            last_seq,
                            "over budget: dropped what headquarters does not have"
                        );
                        lock(&self.status).sacrificed_records += records;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "a segment cannot be dropped");
                    return;
                }
            }
        }
    }

    fn report(&self) {
        let head = self.journal.head_seq();
        let now = Instant::now();
        let mut status = lock(&self.status);
        status.said_at = Some(now);
        if status.applied_through < self.applied_through || head <= self.applied_through {
            status.moved_at = Some(now);
        }
        status.applied_through = self.applied_through;
        status.lag_records = head.saturating_sub(self.applied_through);
        status.rows_in_flight = self.rows.len() as u64;
        status.missed_records = self.reader.missed();
        if let Some(store) = &self.store {
            status.written_through = store.place().applied_through;
            status.store_entries = store.entries() as u64;
            status.store_bytes = store.disk_bytes().unwrap_or(0);
        }
    }
}

/// Says what waits, as far as there is room.
fn say(acts: &mut VecDeque<Act>, outlet: &mut dyn Outlet) {
    while let Some(act) = acts.pop_front() {
        if !outlet.act(&act) {
            acts.push_front(act);
            break;
        }
    }
    // Each is asked for again by whoever needs it.
    acts.drain(..acts.len().saturating_sub(ACTS_MAX));
}

fn append_row(
    journal: &Journal,
    cause_seq: u64,
    ordinal: u32,
    row: &DerivedRow,
) -> oneshot::Receiver<Result<u64, AppendError>> {
    journal.append(&Record::Derived(Derived {
        cause_seq,
        ordinal,
        stream: row.stream,
        at: row.at,
        kind: &row.kind,
        device: row.device.as_deref(),
        data: &row.data,
    }))
}

fn tally(tally: &Tally, streams: &[Stream], seq: u64, record: &Record<'_>) {
    match record {
        Record::Derived(row) if streams.contains(&row.stream) => tally.note(row.stream, seq, row.at),
        Record::Publish(publish) if streams.contains(&Stream::Readings) => {
            if let Ok(Mapped::Reading(reading)) = map(publish.topic, publish.payload, publish.received_at) {
                tally.note(Stream::Readings, seq, reading.at);
            }
        }
        _ => {}
    }
}

fn quarantine_name(clock: &dyn Clock) -> String {
    clock.now().to_string().replace(':', "")
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
