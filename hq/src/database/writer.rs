//! The one thread that writes: takes jobs in groups, commits each group in one transaction, then acknowledges.
//!
//! Owns the connection that writes and the progress of every stream. Tells [`Fleet`] and the stores what was committed,
//! in this order: commit, picture, acknowledgement to the store, outcome to whoever brought the publish.
//!
//! # Invariants
//!
//! - Nothing is acknowledged, and no progress in memory moves, before the commit that carries it has returned.
//! - A failed commit (a full disk) is answered [`Outcome::NotStored`] for the whole group and tried again when the
//!   stores send it again; until one succeeds, health says so.
//! - A row that comes again with other content (a store whose data was put back reuses its seqs) is acknowledged, since
//!   it could never be stored under its key, but it does not vanish: it is counted and, within
//!   [`CONFLICTS_PER_STORE_MAX`] and [`CONFLICT_BYTES_PER_STORE_MAX`], kept.
//! - A resend is asked for at most once per [`RESEND_EVERY`] and stream, unless the prefix has moved since.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use contract::{
    StoreId, Timestamp,
    upstream::{self, Ack, Batch, Birth, Command, Epoch, Row, SeqRange, StoreStatus, Stream},
};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use tokio_util::sync::CancellationToken;

use super::{DatabaseError, Lock, keep_private, lock, open_for_writing, raw, signed, unsigned};
use crate::{
    counters::Counters,
    fleet::{Fleet, StreamState},
    ingest::{Document, Done, DownlinkSlot, Entry, Job, Outcome},
    log_limit::LogLimit,
    progress::{Progress, Range, Step},
};

/// Most publishes in one transaction.
pub const GROUP_JOBS_MAX: usize = 64;
/// No more rows than this, and one batch, in one transaction.
pub const GROUP_ROWS_MAX: usize = 16_384;
/// Most lives of its journal that one store may have: each costs a little memory for ever.
pub const EPOCHS_PER_STREAM_MAX: usize = 64;
/// Most rows in `conflicts` for one store; more are counted only.
pub const CONFLICTS_PER_STORE_MAX: u64 = 10_000;
/// Most bytes of rows in `conflicts` for one store; more are counted only.
pub const CONFLICT_BYTES_PER_STORE_MAX: u64 = 16 * 1024 * 1024;
/// Most lost ranges that are kept of one stream; more are as lost, but not named.
pub const LOST_RANGES_PER_STREAM_MAX: u64 = 1_000;
/// Least time between two resend commands for the same place.
pub const RESEND_EVERY: Duration = Duration::from_secs(5);

/// Whether the database takes rows; shared with health.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Option<String>>>);

impl Health {
    /// Why nothing can be committed now; `None` when all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// What the writer works with besides the file.
#[derive(Clone)]
pub struct Surroundings {
    /// The picture that HTTP shows.
    pub fleet: Fleet,
    /// Counts.
    pub counters: Counters,
    /// The way back to the stores.
    pub downlink: DownlinkSlot,
    /// Told about failing commits.
    pub health: Health,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

type Key = (StoreId, Stream, Epoch);

#[derive(Debug, Clone, Default)]
struct Record {
    progress: Progress,
    rows: u64,
    conflicts: u64,
    /// See [`StreamState::begins_at`].
    begins_at: Option<u64>,
    lost_ranges: u64,
    last_row_at: Option<Timestamp>,
    committed_at: Option<Timestamp>,
}

impl Record {
    /// Notes whether rows are missing before the very first ones; to be called before their progress is taken.
    fn note_beginning(&mut self, prev_seq: u64, first_seq: u64) {
        let nothing_before = self.rows == 0 && self.progress == Progress::default();
        if nothing_before && 0 < prev_seq {
            self.begins_at = Some(first_seq);
        }
        // A resend brings what the store still has. Before seq 1 there is nothing.
        self.begins_at = self.begins_at.map(|begins_at| begins_at.min(first_seq)).filter(|&seq| 1 < seq);
    }

    fn state(&self) -> StreamState {
        StreamState {
            through_seq: self.progress.through_seq(),
            rows: self.rows,
            gaps_open: self.progress.kept().len() as u64,
            conflicts: self.conflicts,
            begins_at: self.begins_at,
            lost_ranges: self.lost_ranges,
            last_row_at: self.last_row_at,
            committed_at: self.committed_at,
        }
    }
}

/// The thread, to be waited for after [`crate::ingest::Ingest::stop`].
#[derive(Debug)]
pub struct WriterThread {
    thread: thread::JoinHandle<()>,
    ended: CancellationToken,
}

impl WriterThread {
    /// Resolves when the thread has ended, by a panic too.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Waits until the queue is empty and the file is closed. Blocking.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the database's thread panicked");
        }
    }
}

/// Opens the file and starts its thread, which ends after [`Entry::Stop`].
///
/// # Errors
/// When the file is in use, cannot be opened, or is of another version.
pub fn start(
    path: &Path,
    surroundings: Surroundings,
    jobs: flume::Receiver<Entry>,
) -> Result<WriterThread, DatabaseError> {
    let mut writer = Writer::open(path, surroundings)?;
    let ended = CancellationToken::new();
    let alive = ended.clone().drop_guard();
    let run = move || {
        let _alive = alive;
        while let Ok(Entry::Publish(first)) = jobs.recv() {
            if writer.take_group(first, &jobs) == Next::Stop {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("hq-database".to_owned()).spawn(run);
    thread.map(|thread| WriterThread { thread, ended }).map_err(|source| DatabaseError::Thread { source })
}

struct Writer {
    connection: Connection,
    around: Surroundings,
    records: HashMap<Key, Record>,
    resends: HashMap<Key, (u64, Instant)>,
    /// How full `conflicts` is.
    conflicts: HashMap<StoreId, Room>,
    commands: u64,
    /// Stores that come and go; the page shows all of them.
    log: LogLimit,
    _lock: Lock,
}

/// Whether more groups follow.
#[derive(Debug, PartialEq)]
enum Next {
    Go,
    Stop,
}

/// What one store has in `conflicts`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Room {
    rows: u64,
    bytes: u64,
}

impl Room {
    /// With one more row, when it fits.
    fn with(self, bytes: u64) -> Option<Self> {
        let room = Self { rows: self.rows + 1, bytes: self.bytes + bytes };
        let fits = room.rows <= CONFLICTS_PER_STORE_MAX && room.bytes <= CONFLICT_BYTES_PER_STORE_MAX;
        fits.then_some(room)
    }
}

/// What a row that was not inserted is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Repeat {
    /// The same row again, or the same conflict again.
    Same,
    /// Other content, now in `conflicts`.
    Kept(Room),
    /// Other content, for which `conflicts` has no room.
    Full,
}

/// A group of publishes, read.
#[derive(Default)]
struct Group {
    batches: Vec<(StoreId, Batch)>,
    births: BTreeMap<StoreId, Birth>,
    statuses: Vec<(StoreId, StoreStatus)>,
    waiting: Vec<Done>,
    rows: usize,
}

/// What a committed group changed.
struct Committed {
    records: BTreeMap<Key, Record>,
    gaps: Vec<Key>,
    inserted: u64,
    conflicting: u64,
    conflicts_not_kept: u64,
    conflicts: HashMap<StoreId, Room>,
    /// Rows that are there under an earlier epoch.
    sent_before: u64,
    /// What stores said to have lost and had not said before.
    lost: Vec<(Key, SeqRange)>,
    /// Gaps that were closed without a row that is known to have been in them.
    incomplete: Vec<(Key, u64)>,
}

impl Writer {
    fn open(path: &Path, around: Surroundings) -> Result<Self, DatabaseError> {
        let lock = lock(path)?;
        keep_private(path)?;
        let connection = open_for_writing(path)?;
        let failed = |source| DatabaseError::Open { path: path.to_owned(), source };
        let records = load_records(&connection).map_err(failed)?;
        load_stores(&connection, &around.fleet).map_err(failed)?;
        let mut stores = around.fleet.lock();
        for ((store, stream, epoch), record) in &records {
            stores.entry(store.clone()).or_default().streams.insert((*stream, *epoch), record.state());
        }
        drop(stores);
        let conflicts = load_conflicts(&connection).map_err(failed)?;
        let (resends, log) = (HashMap::new(), LogLimit::default());
        Ok(Self { connection, around, records, resends, conflicts, commands: 0, log, _lock: lock })
    }

    fn take_group(&mut self, first: Job, jobs: &flume::Receiver<Entry>) -> Next {
        let (mut group, mut next) = (Group::default(), Next::Go);
        self.read(first, &mut group);
        for _ in 1..GROUP_JOBS_MAX {
            if GROUP_ROWS_MAX <= group.rows {
                break;
            }
            match jobs.try_recv() {
                Ok(Entry::Publish(job)) => self.read(job, &mut group),
                Ok(Entry::Stop) => {
                    next = Next::Stop;
                    break;
                }
                Err(_) => break,
            }
        }
        self.take(group);
        next
    }

    /// Reads one publish into the group, or refuses it.
    fn read(&self, job: Job, group: &mut Group) {
        let Job { store, topic, payload, done, weight: _ } = job;
        let counters = &self.around.counters;
        let document = match Document::parse(&store, &topic, &payload) {
            Ok(document) => document,
            Err(rejection) => {
                counters.count(rejection.counter());
                tracing::warn!(%store, "refused: {}", chain(&rejection));
                return done(Outcome::Refused);
            }
        };
        if !self.around.fleet.seen(&store, (self.around.clock)()) {
            counters.count("publishes_refused_too_many_stores");
            return done(Outcome::Refused);
        }
        match document {
            Document::Batch(batch) => {
                if self.too_many_epochs(&store, &batch) {
                    counters.count("batches_refused_too_many_epochs");
                    return done(Outcome::Refused);
                }
                group.rows += batch.data.rows.len();
                group.batches.push((store, batch));
            }
            Document::Birth(birth) => {
                counters.count("births");
                group.births.insert(store, birth);
            }
            Document::Status(status) => group.statuses.push((store, status)),
            Document::CommandResult { id, result } => {
                counters.count("command_results");
                if let Some(reason) = result.reason {
                    counters.count("command_results_failed");
                    tracing::warn!(%store, "command `{id}` failed: {reason}");
                }
            }
        }
        group.waiting.push(done);
    }

    fn too_many_epochs(&self, store: &StoreId, batch: &Batch) -> bool {
        let (stream, epoch) = (batch.data.stream, batch.data.epoch);
        let stores = self.around.fleet.lock();
        let Some(state) = stores.get(store) else { return false };
        !state.streams.contains_key(&(stream, epoch))
            && EPOCHS_PER_STREAM_MAX <= state.streams.keys().filter(|&&(of, _)| of == stream).count()
    }

    /// Commits a group and says so; or says that it is not stored.
    fn take(&mut self, group: Group) {
        let now = (self.around.clock)();
        let Group { batches, births, statuses, waiting, .. } = group;
        let committed = match self.commit(&batches, &births, &statuses, now) {
            Ok(committed) => committed,
            Err(error) => {
                let trouble = format!("the database takes no rows: {}", chain(&error));
                self.around.counters.count("commits_failed");
                if self.around.health.trouble().is_none() {
                    tracing::error!("{trouble}");
                }
                self.around.health.set(Some(trouble));
                return waiting.into_iter().for_each(|done| done(Outcome::NotStored));
            }
        };
        if self.around.health.trouble().is_some() {
            tracing::info!("the database takes rows again");
            self.around.health.set(None);
        }
        let counters = &self.around.counters;
        counters.count("commits");
        counters.add("batches", batches.len() as u64);
        counters.add("rows_inserted", committed.inserted);
        let offered: u64 = batches.iter().map(|(_, batch)| batch.data.rows.len() as u64).sum();
        let repeated = offered - committed.inserted - committed.conflicting - committed.sent_before;
        counters.add("rows_repeated", repeated);
        if 0 < committed.conflicting {
            counters.add("rows_conflicting", committed.conflicting);
            counters.add("conflicts_not_kept", committed.conflicts_not_kept);
            let stores: Vec<&str> = committed.conflicts.keys().map(StoreId::as_str).collect();
            tracing::warn!(
                rows = committed.conflicting,
                "rows came again with other content, kept in `conflicts` of {stores:?}: was a store's data put back?"
            );
        }
        counters.add("rows_sent_before", committed.sent_before);
        for ((store, stream, epoch), SeqRange { first_seq, last_seq }) in &committed.lost {
            counters.count("ranges_lost_by_stores");
            tracing::warn!(%store, %stream, epoch, first_seq, last_seq, "the store has lost records of its journal");
        }
        self.conflicts.extend(committed.conflicts);
        for ((store, stream, epoch), seq) in &committed.incomplete {
            counters.count("gaps_closed_without_their_rows");
            tracing::warn!(%store, %stream, epoch, seq, "a gap was closed, but the store has its last row no more");
        }

        let online = self.show(&committed.records, &births, statuses);
        let mut acks: Vec<Key> = committed.records.keys().cloned().collect();
        self.records.extend(committed.records);
        // Whoever has come asks what is there: it may have to compare.
        let answers: Vec<Key> =
            births.keys().chain(&online).flat_map(|store| self.present_streams(store)).collect();
        acks.retain(|key| !answers.contains(key));
        acks.iter().for_each(|key| self.acknowledge(key, None));
        for key in &answers {
            let digest = self.last_row_digest(key).unwrap_or_else(|error| {
                tracing::warn!("a row to compare with cannot be read: {}", chain(&error));
                None
            });
            self.acknowledge(key, digest);
        }
        for key in committed.gaps {
            self.ask_again(&key);
        }
        waiting.into_iter().for_each(|done| done(Outcome::Committed));
    }

    fn commit(
        &mut self,
        batches: &[(StoreId, Batch)],
        births: &BTreeMap<StoreId, Birth>,
        statuses: &[(StoreId, StoreStatus)],
        now: Timestamp,
    ) -> rusqlite::Result<Committed> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut records: BTreeMap<Key, Record> = BTreeMap::new();
        let mut gaps = Vec::new();
        let (mut inserted, mut conflicting, mut conflicts_not_kept) = (0, 0, 0);
        let mut conflicts: HashMap<StoreId, Room> = HashMap::new();
        let mut incomplete = Vec::new();
        let (mut sent_before, mut lost) = (0, Vec::new());
        {
            let mut insert = transaction.prepare_cached(
                "INSERT OR IGNORE INTO rows (store, stream, epoch, seq, at, kind, device, data, received_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            for (store, batch) in batches {
                let data = &batch.data;
                let key = (store.clone(), data.stream, data.epoch);
                let earlier = earlier_epochs(&self.records, &key);
                let (mut new_rows, mut other_rows) = (0, 0);
                for row in &data.rows {
                    if row.seq <= data.sent_before_through
                        && was_sent_before(&transaction, &key, &earlier, row)?
                    {
                        sent_before += 1;
                        continue;
                    }
                    let new = insert.execute(params![
                        store.as_str(),
                        data.stream.as_str(),
                        signed(data.epoch),
                        signed(row.seq),
                        row.at.as_millis(),
                        row.kind,
                        row.device,
                        row.data.get(),
                        now.as_millis(),
                    ])?;
                    if new != 0 {
                        new_rows += 1;
                        continue;
                    }
                    let room = conflicts.get(store).or_else(|| self.conflicts.get(store));
                    match compare(&transaction, &key, row, room.copied().unwrap_or_default(), now)? {
                        Repeat::Same => {}
                        Repeat::Kept(room) => {
                            other_rows += 1;
                            conflicts.insert(store.clone(), room);
                        }
                        Repeat::Full => {
                            other_rows += 1;
                            conflicts_not_kept += 1;
                        }
                    }
                }
                let record = records
                    .entry(key.clone())
                    .or_insert_with(|| self.records.get(&key).cloned().unwrap_or_default());
                let last = data.rows.last().expect("a parsed batch has rows");
                record.note_beginning(data.prev_seq, data.rows[0].seq);
                if let Some(range) = data.lost
                    && record.lost_ranges < LOST_RANGES_PER_STREAM_MAX
                    && note_lost(&transaction, &key, range, now)?
                {
                    record.lost_ranges += 1;
                    lost.push((key.clone(), range));
                }
                record.conflicts += other_rows;
                conflicting += other_rows;
                record.rows += new_rows;
                record.last_row_at = record.last_row_at.max(Some(last.at));
                record.committed_at = Some(now);
                // What was kept beyond gaps says after which rows it follows: those rows exist, or did.
                let followed: Vec<u64> = record.progress.kept().iter().map(|range| range.prev_seq).collect();
                if record.progress.take(data.prev_seq, last.seq) == Step::Gap {
                    gaps.push(key.clone());
                }
                for seq in followed.into_iter().filter(|&seq| seq <= record.progress.through_seq()) {
                    let epochs = earlier.iter().copied().chain([data.epoch]);
                    if !is_stored(&transaction, &key, epochs, seq)? {
                        incomplete.push((key.clone(), seq));
                    }
                }
                inserted += new_rows;
            }
        }
        // A store sends no rows before its birth is answered: the batches of this group came before it.
        for (store, birth) in births {
            for &stream in &birth.streams {
                let key = (store.clone(), stream, birth.epoch);
                let kept = records.get(&key).or_else(|| self.records.get(&key));
                if let Some(record) = kept.filter(|record| !record.progress.kept().is_empty()).cloned() {
                    records.entry(key).or_insert(record).progress.forget_kept();
                }
            }
        }
        for (key, record) in &records {
            save_record(&transaction, key, record, now)?;
        }
        for (store, birth) in births {
            let birth = serde_json::to_string(birth).expect("a birth document that was read can be written");
            transaction
                .prepare_cached(
                    "INSERT INTO stores (store, birth, last_seen) VALUES (?1, ?2, ?3)
                 ON CONFLICT (store) DO UPDATE SET birth = excluded.birth, last_seen = excluded.last_seen",
                )?
                .execute(params![store.as_str(), birth, now.as_millis()])?;
        }
        for (store, status) in statuses {
            let status =
                serde_json::to_string(status).expect("a status document that was read can be written");
            transaction
                .prepare_cached(
                    "INSERT INTO stores (store, status, last_seen) VALUES (?1, ?2, ?3)
                 ON CONFLICT (store) DO UPDATE SET status = excluded.status, last_seen = excluded.last_seen",
                )?
                .execute(params![store.as_str(), status, now.as_millis()])?;
        }
        transaction.commit()?;
        gaps.sort_unstable();
        gaps.dedup();
        // What a later batch of the same group has closed needs no resend.
        gaps.retain(|key| !records[key].progress.kept().is_empty());
        Ok(Committed {
            records,
            gaps,
            inserted,
            conflicting,
            conflicts_not_kept,
            conflicts,
            sent_before,
            lost,
            incomplete,
        })
    }

    /// Brings the picture up to date; gives the stores that have come online.
    fn show(
        &self,
        records: &BTreeMap<Key, Record>,
        births: &BTreeMap<StoreId, Birth>,
        statuses: Vec<(StoreId, StoreStatus)>,
    ) -> Vec<StoreId> {
        let mut stores = self.around.fleet.lock();
        for ((store, stream, epoch), record) in records {
            stores.entry(store.clone()).or_default().streams.insert((*stream, *epoch), record.state());
        }
        for (store, birth) in births {
            stores.entry(store.clone()).or_default().birth = Some(birth.clone());
        }
        let mut came_online = Vec::new();
        for (store, status) in statuses {
            let state = stores.entry(store.clone()).or_default();
            let was_online = state.online;
            if !state.take_status(status) {
                self.around.counters.count("statuses_ignored_old_will");
            }
            if state.online != was_online && self.log.allows(Instant::now()) {
                let version = state.birth.as_ref().map(|birth| birth.version.as_str());
                let waiting_rows = state.status.as_ref().map(|status| status.waiting_rows);
                match state.online {
                    true => tracing::info!(%store, version, waiting_rows, "a store has come"),
                    false => tracing::info!(%store, version, waiting_rows, "a store has gone"),
                }
            }
            if state.online && !was_online {
                came_online.push(store);
            }
        }
        came_online
    }

    /// The streams of the store's present journal, also those of which nothing came yet.
    fn present_streams(&self, store: &StoreId) -> Vec<Key> {
        let stores = self.around.fleet.lock();
        let Some(birth) = stores.get(store).and_then(|state| state.birth.as_ref()) else {
            return Vec::new();
        };
        birth.streams.iter().map(|&stream| (store.clone(), stream, birth.epoch)).collect()
    }

    fn send(&self, topic: String, payload: &impl serde::Serialize) {
        let payload = serde_json::to_vec(payload).expect("our own documents can be written as JSON");
        match self.around.downlink.get() {
            Some(downlink) => downlink.publish(topic, payload),
            None => self.around.counters.count("downlink_not_ready"),
        }
    }

    fn acknowledge(&self, key: &Key, row_digest: Option<u32>) {
        let (store, stream, epoch) = key;
        let through_seq = self.records.get(key).map_or(0, |record| record.progress.through_seq());
        self.around.counters.count("acks");
        let ack = Ack { stream: *stream, epoch: *epoch, through_seq, row_digest };
        self.send(upstream::ack_topic(store), &ack);
    }

    /// The digest of the row at the end of what is committed, under whichever epoch it is here.
    fn last_row_digest(&self, key: &Key) -> rusqlite::Result<Option<u32>> {
        let Some(seq) = self.records.get(key).map(|record| record.progress.through_seq()) else {
            return Ok(None);
        };
        for epoch in [key.2].into_iter().chain(earlier_epochs(&self.records, key)) {
            if let Some(row) = stored_row(&self.connection, key, epoch, seq)? {
                return Ok(Some(row.digest()));
            }
        }
        Ok(None)
    }

    fn ask_again(&mut self, key: &Key) {
        let after_seq = self.records[key].progress.through_seq();
        let now = Instant::now();
        let asked = self.resends.get(key);
        if asked.is_some_and(|&(place, at)| place == after_seq && now.duration_since(at) < RESEND_EVERY) {
            return self.around.counters.count("resends_held_back");
        }
        self.resends.insert(key.clone(), (after_seq, now));
        self.commands += 1;
        let (store, stream, epoch) = key;
        let id = format!("resend-{stream}-{}-{}", (self.around.clock)().as_millis(), self.commands);
        tracing::warn!(%store, %stream, epoch, after_seq, "a gap: asked for a resend");
        self.around.counters.count("resends_asked");
        let command = Command::Resend { stream: *stream, epoch: *epoch, after_seq };
        self.send(upstream::command_topic(store, &id), &command);
    }
}

/// Compares a row that was not inserted with what is stored under its key, and keeps it when it is another one.
fn compare(
    connection: &Connection,
    (store, stream, epoch): &Key,
    row: &Row,
    room: Room,
    now: Timestamp,
) -> rusqlite::Result<Repeat> {
    let (epoch, seq) = (signed(*epoch), signed(row.seq));
    let (alike, stored): (bool, Option<String>) = connection
        .prepare_cached(
            "SELECT at = ?5 AND kind = ?6 AND device IS ?7, CASE WHEN data = ?8 THEN NULL ELSE data END
             FROM rows WHERE store = ?1 AND stream = ?2 AND epoch = ?3 AND seq = ?4",
        )?
        .query_row(
            params![
                store.as_str(),
                stream.as_str(),
                epoch,
                seq,
                row.at.as_millis(),
                row.kind,
                row.device,
                row.data.get(),
            ],
            |found| Ok((found.get(0)?, found.get(1)?)),
        )?;
    if alike && stored.is_none_or(|stored| same_json(&stored, row.data.get())) {
        return Ok(Repeat::Same);
    }
    let text = serde_json::to_string(row).expect("a row that was read can be written");
    let known: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM conflicts
             WHERE store = ?1 AND stream = ?2 AND epoch = ?3 AND seq = ?4 AND row = ?5)",
        )?
        .query_row(params![store.as_str(), stream.as_str(), epoch, seq, text], |found| found.get(0))?;
    if known {
        return Ok(Repeat::Same);
    }
    let Some(room) = room.with(text.len() as u64) else { return Ok(Repeat::Full) };
    connection
        .prepare_cached(
            "INSERT INTO conflicts (store, stream, epoch, seq, received_at, row) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![store.as_str(), stream.as_str(), epoch, seq, now.as_millis(), text])?;
    Ok(Repeat::Kept(room))
}

/// Earlier lives of the stream's journal, the newest first.
fn earlier_epochs(records: &HashMap<Key, Record>, (store, stream, epoch): &Key) -> Vec<Epoch> {
    let of_stream = records.keys().filter(|(of, in_stream, _)| of == store && in_stream == stream);
    let mut epochs: Vec<Epoch> = of_stream.map(|key| key.2).filter(|other| other < epoch).collect();
    epochs.sort_unstable_by(|one, other| other.cmp(one));
    epochs
}

fn stored_row(
    connection: &Connection,
    (store, stream, _): &Key,
    epoch: Epoch,
    seq: u64,
) -> rusqlite::Result<Option<Row>> {
    connection
        .prepare_cached(
            "SELECT at, kind, device, data FROM rows WHERE store = ?1 AND stream = ?2 AND epoch = ?3 AND seq = ?4",
        )?
        .query_row(params![store.as_str(), stream.as_str(), signed(epoch), signed(seq)], |found| {
            let (at, kind, device) = (found.get(0)?, found.get(1)?, found.get(2)?);
            let at = Timestamp::saturating_from_millis(at);
            Ok(Row { seq, at, kind, device, data: raw(found.get(3)?) })
        })
        .optional()
}

fn is_stored(
    connection: &Connection,
    key: &Key,
    epochs: impl Iterator<Item = Epoch>,
    seq: u64,
) -> rusqlite::Result<bool> {
    for epoch in epochs {
        if stored_row(connection, key, epoch, seq)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the row is here under an earlier epoch: a journal that was put back offers what it may have sent already.
fn was_sent_before(
    connection: &Connection,
    key: &Key,
    earlier: &[Epoch],
    row: &Row,
) -> rusqlite::Result<bool> {
    for &epoch in earlier {
        let stored = stored_row(connection, key, epoch, row.seq)?;
        let is_same = |stored: Row| {
            (stored.at, &stored.kind, &stored.device) == (row.at, &row.kind, &row.device)
                && (stored.data.get() == row.data.get() || same_json(stored.data.get(), row.data.get()))
        };
        if stored.is_some_and(is_same) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Keeps what a store has lost; `false` when it was said before.
fn note_lost(
    connection: &Connection,
    (store, stream, epoch): &Key,
    range: SeqRange,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let inserted = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO lost (store, stream, epoch, first_seq, last_seq, received_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            store.as_str(),
            stream.as_str(),
            signed(*epoch),
            signed(range.first_seq),
            signed(range.last_seq),
            now.as_millis(),
        ])?;
    Ok(inserted != 0)
}

/// Another release of the hub may write the same content with other spaces or in another order.
fn same_json(one: &str, other: &str) -> bool {
    let read = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    read(one).is_some_and(|one| read(other) == Some(one))
}

fn load_conflicts(connection: &Connection) -> rusqlite::Result<HashMap<StoreId, Room>> {
    // The bytes as `String::len` counts them.
    let mut statement = connection
        .prepare("SELECT store, count(*), sum(length(CAST(row AS BLOB))) FROM conflicts GROUP BY store")?;
    let mut found = statement.query([])?;
    let mut conflicts = HashMap::new();
    while let Some(row) = found.next()? {
        let store: String = row.get(0)?;
        let Ok(store) = StoreId::parse(&store) else { continue };
        conflicts.insert(store, Room { rows: unsigned(row.get(1)?), bytes: unsigned(row.get(2)?) });
    }
    Ok(conflicts)
}

/// `prev-last,prev-last`: small, and readable in the file.
fn kept_text(kept: &[Range]) -> String {
    let mut text = String::new();
    for (n, range) in kept.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        write!(text, "{comma}{}-{}", range.prev_seq, range.last_seq).expect("a string takes everything");
    }
    text
}

fn kept_from(text: &str) -> Vec<Range> {
    let range = |part: &str| {
        let (prev_seq, last_seq) = part.split_once('-')?;
        Some(Range { prev_seq: prev_seq.parse().ok()?, last_seq: last_seq.parse().ok()? })
    };
    // A range that cannot be read is forgotten, which a resend repairs.
    text.split(',').filter_map(range).collect()
}

fn save_record(connection: &Connection, key: &Key, record: &Record, now: Timestamp) -> rusqlite::Result<()> {
    let (store, stream, epoch) = key;
    connection
        .prepare_cached(
            "INSERT INTO progress (store, stream, epoch, through_seq, kept, rows, last_row_at, committed_at,
             conflicts, begins_at, lost_ranges) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (store, stream, epoch) DO UPDATE SET through_seq = excluded.through_seq,
             kept = excluded.kept, rows = excluded.rows, last_row_at = excluded.last_row_at,
             committed_at = excluded.committed_at, conflicts = excluded.conflicts,
             begins_at = excluded.begins_at, lost_ranges = excluded.lost_ranges",
        )?
        .execute(params![
            store.as_str(),
            stream.as_str(),
            signed(*epoch),
            signed(record.progress.through_seq()),
            kept_text(record.progress.kept()),
            signed(record.rows),
            record.last_row_at.map(Timestamp::as_millis),
            now.as_millis(),
            signed(record.conflicts),
            signed(record.begins_at.unwrap_or(0)),
            signed(record.lost_ranges),
        ])?;
    Ok(())
}

fn load_records(connection: &Connection) -> rusqlite::Result<HashMap<Key, Record>> {
    let mut statement = connection.prepare(
        "SELECT store, stream, epoch, through_seq, kept, rows, last_row_at, committed_at, conflicts, begins_at,
         lost_ranges FROM progress",
    )?;
    let mut found = statement.query([])?;
    let mut records = HashMap::new();
    while let Some(row) = found.next()? {
        let (store, stream): (String, String) = (row.get(0)?, row.get(1)?);
        let (Ok(store), Some(stream)) = (StoreId::parse(&store), Stream::parse(&stream)) else {
            tracing::warn!("ignored progress of `{store}` `{stream}`: no such store or stream name");
            continue;
        };
        let kept: String = row.get(4)?;
        let record = Record {
            progress: Progress::restored(unsigned(row.get(3)?), &kept_from(&kept)),
            rows: unsigned(row.get(5)?),
            conflicts: unsigned(row.get(8)?),
            begins_at: Some(unsigned(row.get(9)?)).filter(|&seq| seq != 0),
            lost_ranges: unsigned(row.get(10)?),
            last_row_at: row.get::<_, Option<i64>>(6)?.map(Timestamp::saturating_from_millis),
            committed_at: Some(Timestamp::saturating_from_millis(row.get(7)?)),
        };
        records.insert((store, stream, unsigned(row.get(2)?)), record);
    }
    Ok(records)
}

fn load_stores(connection: &Connection, fleet: &Fleet) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT store, birth, status, last_seen FROM stores")?;
    let mut found = statement.query([])?;
    let mut stores = fleet.lock();
    while let Some(row) = found.next()? {
        let store: String = row.get(0)?;
        let Ok(store) = StoreId::parse(&store) else { continue };
        let (birth, status): (Option<String>, Option<String>) = (row.get(1)?, row.get(2)?);
        let state = stores.entry(store).or_default();
        state.birth = birth.and_then(|text| serde_json::from_str(&text).ok());
        state.status = status.and_then(|text| serde_json::from_str(&text).ok());
        // Whether it is connected now is known when it says so.
        state.online = false;
        state.last_seen = Some(Timestamp::saturating_from_millis(row.get(3)?));
    }
    Ok(())
}

/// An error with its causes, for a log line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").expect("a string takes everything");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
