//! The order desk: commands to stores about orders, what became of them, and how each store's orders stand.
//!
//! Owns: one thread (`hq-desk`), the tables `commands`, `orders` and `order_places` of the database, and the repetition
//! of commands. Does not own: rows (the writer's; the desk only reads the committed prefix of order events), who may ask
//! (HTTP's).
//!
//! # Invariants
//!
//! - A command is committed before whoever placed it hears so, and sent until the store has said `done` or `failed`,
//!   through any death of either side. The store does it once, whatever is repeated: by its id.
//! - Codes stand in the database only until the store has given its result; they are erased with it, from SQLite's log
//!   too ([`ERASE_AFTER`]), and never shown.
//! - Of one order one command is on its way at a time, in the order in which they were placed.
//! - Everything that waits is bounded: [`COMMANDS_OPEN_PER_STORE_MAX`], [`QUEUE_MAX`].

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use contract::{
    RequestId, StoreId, Timestamp,
    order::{OrderCommand, OrderStage},
    upstream::{CommandResult, CommandState, Epoch, Stream, command_topic},
};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::{counters::Counters, fleet::Fleet, ingest::DownlinkSlot};

/// Most questions and results that wait for the desk.
pub const QUEUE_MAX: usize = 1_024;
/// Most commands of one store without a result.
pub const COMMANDS_OPEN_PER_STORE_MAX: usize = 256;
/// Answered commands of one store that are remembered.
pub const COMMANDS_KEPT_PER_STORE: usize = 10_000;
/// Closed orders are shown for this long.
pub const ORDERS_KEPT_MS: i64 = 30 * 24 * 3_600_000;
/// Most rows of events that are read at a time.
const EVENTS_PER_TURN_MAX: usize = 1_000;
/// How often the desk looks for what is due.
const TURN: Duration = Duration::from_millis(250);
/// First pause before a command is sent again to a store that is online; it doubles.
const RETRY_MIN: Duration = Duration::from_secs(2);
/// Longest pause.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How long after a result SQLite's log, which still has the codes, is emptied, and tried again to be.
const ERASE_AFTER: Duration = Duration::from_secs(1);
/// How long that may wait for those who read and write rows: they wait meanwhile.
const ERASE_PATIENCE: Duration = Duration::from_millis(50);
/// How long SQLite waits for the writer's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS commands (
        number INTEGER PRIMARY KEY,
        store TEXT NOT NULL,
        id TEXT NOT NULL,
        word TEXT NOT NULL,
        order_id TEXT NOT NULL,
        shown TEXT NOT NULL,
        body TEXT,
        placed_at INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        answered_at INTEGER,
        UNIQUE (store, id)
    );
    CREATE INDEX IF NOT EXISTS commands_open ON commands (number) WHERE body IS NOT NULL;
    CREATE INDEX IF NOT EXISTS commands_of ON commands (store, number);
    CREATE TABLE IF NOT EXISTS orders (
        store TEXT NOT NULL,
        order_id TEXT NOT NULL,
        stage TEXT NOT NULL,
        at INTEGER NOT NULL,
        expires_at TEXT,
        bank TEXT,
        compartment INTEGER,
        told_by TEXT,
        PRIMARY KEY (store, order_id)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS order_places (
        store TEXT NOT NULL PRIMARY KEY,
        epoch INTEGER NOT NULL,
        seq INTEGER NOT NULL
    ) WITHOUT ROWID;
";

/// Why the desk cannot work.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The tables.
    #[error("failed to {operation} the orders in the database")]
    Database {
        /// What was attempted.
        operation: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The thread.
    #[error("failed to start the thread `hq-desk`")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
}

fn failed(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> DeskError {
    move |source| DeskError::Database { operation, source }
}

/// What became of a command that was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// It is committed and on its way.
    New,
    /// It was placed before under this id.
    Known,
    /// Another command has this id.
    Conflict,
    /// Too many wait for this store.
    Full,
    /// The database takes nothing, or the desk is overrun.
    NotStored,
}

/// One command as it is shown: without codes.
#[derive(Debug, Serialize)]
pub struct ShownCommand {
    /// Its id.
    pub id: String,
    /// `placed`, `accepted`, `done` or `failed`.
    pub state: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When the store gave its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    /// The command, its codes left out.
    pub command: Box<RawValue>,
}

/// One order as its store's events tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownOrder {
    /// Its number.
    pub order: String,
    /// How it stands.
    pub stage: String,
    /// Since when.
    pub at: Timestamp,
    /// Until when it can be picked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Where it lies, or lay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bank: Option<String>,
    /// Where it lies, or lay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compartment: Option<u16>,
    /// Who brought it to this stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

enum Message {
    Place { store: StoreId, id: RequestId, command: OrderCommand, done: oneshot::Sender<Placed> },
    Result { store: StoreId, id: String, result: CommandResult },
    Stop,
}

/// A way to the desk. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    inbox: flume::Sender<Message>,
    reader: Arc<Mutex<Connection>>,
}

/// Takes results of commands as they come; see [`Desk::results`].
#[derive(Clone)]
pub struct Results(flume::Sender<Message>);

impl Results {
    /// Never blocks: a result that finds no room comes again when its command is sent again.
    pub fn offer(&self, store: StoreId, id: String, result: CommandResult) {
        self.0.try_send(Message::Result { store, id, result }).ok();
    }
}

/// The thread, to be waited for after [`Desk::stop`].
pub struct DeskThread(thread::JoinHandle<()>);

impl DeskThread {
    /// Waits for its end. Blocking.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the order desk panicked");
        }
    }
}

/// What the desk works with besides the file.
pub struct Surroundings {
    /// Who is online, and how far each store's events are.
    pub fleet: Fleet,
    /// Counts.
    pub counters: Counters,
    /// The way to the stores.
    pub downlink: DownlinkSlot,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

/// Opens the tables and starts the thread. The writer has the file's lock.
///
/// # Errors
/// When the database or the thread cannot be had.
pub fn start(path: &Path, around: Surroundings) -> Result<(Desk, DeskThread), DeskError> {
    let connection = open(path).map_err(failed("open"))?;
    let reader = open(path).map_err(failed("open"))?;
    reader.pragma_update(None, "query_only", true).map_err(failed("open"))?;
    let (inbox, messages) = flume::bounded(QUEUE_MAX);
    let mut worker = Worker {
        connection,
        around,
        open: Vec::new(),
        online: HashSet::new(),
        places: HashMap::new(),
        erase_at: None,
    };
    worker.load().map_err(failed("read"))?;
    let thread = thread::Builder::new().name("hq-desk".to_owned()).spawn(move || worker.run(&messages));
    let thread = thread.map_err(|source| DeskError::Thread { source })?;
    Ok((Desk { inbox, reader: Arc::new(Mutex::new(reader)) }, DeskThread(thread)))
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // An erased code is overwritten.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

impl Desk {
    /// Where results of commands go.
    #[must_use]
    pub fn results(&self) -> Results {
        Results(self.inbox.clone())
    }

    /// Places a command; what it answers is committed.
    pub async fn place(&self, store: StoreId, id: RequestId, command: OrderCommand) -> Placed {
        let (done, placed) = oneshot::channel();
        let sent = self.inbox.try_send(Message::Place { store, id, command, done });
        if sent.is_err() {
            return Placed::NotStored;
        }
        placed.await.unwrap_or(Placed::NotStored)
    }

    /// Ends the thread after what waits.
    pub async fn stop(&self) {
        // An error means that the thread has ended already.
        self.inbox.send_async(Message::Stop).await.ok();
    }

    /// A store's newest commands. Blocking.
    ///
    /// # Errors
    /// When SQLite cannot read them.
    pub fn commands(&self, store: &StoreId, limit: usize) -> Result<Vec<ShownCommand>, DeskError> {
        let connection = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || {
            let mut statement = connection.prepare_cached(
                "SELECT id, state, reason, placed_at, answered_at, shown FROM commands WHERE store = ?1
                 ORDER BY number DESC LIMIT ?2",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let found = statement.query_map(params![store.as_str(), limit], |row| {
                Ok(ShownCommand {
                    id: row.get(0)?,
                    state: row.get(1)?,
                    reason: row.get(2)?,
                    placed_at: Timestamp::saturating_from_millis(row.get(3)?),
                    answered_at: row.get::<_, Option<i64>>(4)?.map(Timestamp::saturating_from_millis),
                    command: RawValue::from_string(row.get(5)?).unwrap_or_default(),
                })
            })?;
            found.collect::<rusqlite::Result<_>>()
        };
        read().map_err(failed("read"))
    }

    /// Orders by store: those that are open, or all that are remembered. At most `limit`. Blocking.
    ///
    /// # Errors
    /// When SQLite cannot read them.
    pub fn orders(
        &self,
        store: Option<&StoreId>,
        with_closed: bool,
        limit: usize,
    ) -> Result<BTreeMap<String, Vec<ShownOrder>>, DeskError> {
        let connection = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || {
            let mut statement = connection.prepare_cached(
                "SELECT store, order_id, stage, at, expires_at, bank, compartment, told_by FROM orders
                 WHERE (?1 IS NULL OR store = ?1)
                 AND (?2 OR stage NOT IN ('collected', 'expired', 'cancelled')) ORDER BY store, at DESC LIMIT ?3",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut found = statement.query(params![store.map(StoreId::as_str), with_closed, limit])?;
            let mut orders: BTreeMap<String, Vec<ShownOrder>> = BTreeMap::new();
            while let Some(row) = found.next()? {
                let order = ShownOrder {
                    order: row.get(1)?,
                    stage: row.get(2)?,
                    at: Timestamp::saturating_from_millis(row.get(3)?),
                    expires_at: row.get(4)?,
                    bank: row.get(5)?,
                    compartment: row.get(6)?,
                    by: row.get(7)?,
                };
                orders.entry(row.get(0)?).or_default().push(order);
            }
            Ok(orders)
        };
        read().map_err(failed("read"))
    }
}

/// A command without a result.
struct Open {
    number: i64,
    store: StoreId,
    id: String,
    order: String,
    body: String,
    due: Instant,
    pause: Duration,
}

struct Worker {
    connection: Connection,
    around: Surroundings,
    open: Vec<Open>,
    /// Stores that were online at the last turn.
    online: HashSet<StoreId>,
    /// How far each store's order events were read.
    places: HashMap<StoreId, (Epoch, u64)>,
    /// When SQLite's log is to be emptied; `None` when it has no codes of answered commands.
    erase_at: Option<Instant>,
}

/// The data of an order's event, as far as the desk needs it.
#[derive(Deserialize)]
struct OrderEvent {
    order: String,
    stage: OrderStage,
    expires_at: Option<String>,
    bank: Option<String>,
    compartment: Option<u16>,
    by: Option<String>,
}

impl Worker {
    fn load(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare(
            "SELECT number, store, id, order_id, body FROM commands WHERE body IS NOT NULL ORDER BY number",
        )?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let store: String = row.get(1)?;
            let Ok(store) = StoreId::parse(&store) else { continue };
            self.open.push(Open {
                number: row.get(0)?,
                store,
                id: row.get(2)?,
                order: row.get(3)?,
                body: row.get(4)?,
                due: Instant::now(),
                pause: RETRY_MIN,
            });
        }
        // Whoever died before may have left codes there.
        self.erase_at = Some(Instant::now());
        let mut statement = self.connection.prepare("SELECT store, epoch, seq FROM order_places")?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let store: String = row.get(0)?;
            let (epoch, seq): (i64, i64) = (row.get(1)?, row.get(2)?);
            if let Ok(store) = StoreId::parse(&store) {
                self.places.insert(store, (epoch.cast_unsigned(), seq.cast_unsigned()));
            }
        }
        Ok(())
    }

    fn run(mut self, messages: &flume::Receiver<Message>) {
        let mut next_turn = Instant::now();
        loop {
            let patience = next_turn.saturating_duration_since(Instant::now());
            match messages.recv_timeout(patience) {
                Ok(Message::Place { store, id, command, done }) => {
                    let placed = self.place(&store, &id, &command).unwrap_or_else(|error| {
                        self.trouble("commands_not_stored", &error);
                        Placed::NotStored
                    });
                    // Whoever asked may have gone.
                    done.send(placed).ok();
                    self.send_due();
                }
                Ok(Message::Result { store, id, result }) => {
                    if let Err(error) = self.take_result(&store, &id, &result) {
                        // The command is sent again, and its result comes again.
                        self.trouble("command_results_not_stored", &error);
                    }
                    self.send_due();
                }
                Ok(Message::Stop) | Err(flume::RecvTimeoutError::Disconnected) => return,
                Err(flume::RecvTimeoutError::Timeout) => {
                    next_turn = Instant::now() + TURN;
                    self.send_due();
                    if let Err(error) = self.read_events() {
                        self.trouble("order_events_not_read", &error);
                    }
                    if self.erase_at.is_some_and(|at| at <= Instant::now()) {
                        self.erase();
                    }
                }
            }
        }
    }

    /// Empties SQLite's log, where erased codes stand until then.
    fn erase(&mut self) {
        let empty = |connection: &Connection| {
            connection.busy_timeout(ERASE_PATIENCE)?;
            let is_busy =
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
            connection.busy_timeout(BUSY_TIMEOUT)?;
            is_busy
        };
        let is_busy = empty(&self.connection).unwrap_or_else(|error| {
            self.trouble("codes_not_erased", &error);
            true
        });
        self.erase_at = is_busy.then(|| Instant::now() + ERASE_AFTER);
    }

    fn trouble(&self, counter: &'static str, error: &rusqlite::Error) {
        self.around.counters.count(counter);
        tracing::error!(%error, "the order desk's database");
    }

    fn place(&mut self, store: &StoreId, id: &RequestId, command: &OrderCommand) -> rusqlite::Result<Placed> {
        let body = serde_json::to_string(command).expect("a command that was read can be written");
        let shown = without_codes(&body);
        let (word, order) = (command.word(), command.order().as_str());
        let now = (self.around.clock)();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let known: Option<(String, Option<String>)> = transaction
            .query_row(
                "SELECT shown, body FROM commands WHERE store = ?1 AND id = ?2",
                params![store.as_str(), id.as_str()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        if let Some((known_shown, known_body)) = known {
            let is_same = known_shown == shown && known_body.is_none_or(|known| known == body);
            return Ok(if is_same { Placed::Known } else { Placed::Conflict });
        }
        if COMMANDS_OPEN_PER_STORE_MAX <= self.open.iter().filter(|open| open.store == *store).count() {
            return Ok(Placed::Full);
        }
        transaction.execute(
            "INSERT INTO commands (store, id, word, order_id, shown, body, placed_at, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'placed')",
            params![store.as_str(), id.as_str(), word, order, shown, body, now.as_millis()],
        )?;
        let number = transaction.last_insert_rowid();
        prune(&transaction, store)?;
        transaction.commit()?;
        self.around.counters.count("commands_placed");
        self.open.push(Open {
            number,
            store: store.clone(),
            id: id.to_string(),
            order: order.to_owned(),
            body,
            due: Instant::now(),
            pause: RETRY_MIN,
        });
        Ok(Placed::New)
    }

    fn take_result(&mut self, store: &StoreId, id: &str, result: &CommandResult) -> rusqlite::Result<()> {
        let Some(at) = self.open.iter().position(|open| open.store == *store && open.id == id) else {
            // Another room's command, or a result that came twice.
            return Ok(());
        };
        let is_final = result.state != CommandState::Accepted;
        let state = match result.state {
            CommandState::Accepted => "accepted",
            CommandState::Done => "done",
            CommandState::Failed => "failed",
        };
        let reason: Option<String> = result.reason.as_ref().map(|reason| reason.chars().take(400).collect());
        self.connection.execute(
            "UPDATE commands SET state = ?2, reason = ?3, answered_at = ?4, body = CASE WHEN ?5 THEN NULL ELSE body END
             WHERE number = ?1",
            params![self.open[at].number, state, reason, (self.around.clock)().as_millis(), is_final],
        )?;
        if is_final {
            self.open.remove(at);
            self.erase_at.get_or_insert(Instant::now() + ERASE_AFTER);
            self.around.counters.count(if state == "done" { "commands_done" } else { "commands_failed" });
        } else {
            let open = &mut self.open[at];
            open.due = Instant::now() + open.pause;
        }
        Ok(())
    }

    /// Sends what is due to stores that are online: of each order its oldest command.
    fn send_due(&mut self) {
        let online: HashSet<StoreId> = {
            let stores = self.around.fleet.lock();
            let concerned = self.open.iter().map(|open| &open.store);
            concerned.filter(|store| stores.get(store).is_some_and(|state| state.online)).cloned().collect()
        };
        let now = Instant::now();
        let mut on_their_way: HashSet<(StoreId, String)> = HashSet::new();
        for open in &mut self.open {
            if !online.contains(&open.store) {
                continue;
            }
            if !self.online.contains(&open.store) {
                // It has come back, or came for the first time.
                (open.due, open.pause) = (now, RETRY_MIN);
            }
            let is_first = on_their_way.insert((open.store.clone(), open.order.clone()));
            if !is_first || now < open.due {
                continue;
            }
            match self.around.downlink.get() {
                Some(downlink) => {
                    downlink.publish(command_topic(&open.store, &open.id), open.body.clone().into_bytes());
                    self.around.counters.count("commands_sent");
                }
                None => self.around.counters.count("downlink_not_ready"),
            }
            open.due = now + open.pause;
            open.pause = (open.pause * 2).min(RETRY_MAX);
        }
        self.online = online;
    }

    /// Brings the picture of orders up to what is committed without a gap.
    fn read_events(&mut self) -> rusqlite::Result<()> {
        let behind: Vec<(StoreId, Epoch, u64, u64)> = {
            let stores = self.around.fleet.lock();
            let place = |store: &StoreId, epoch| match self.places.get(store) {
                Some(&(known, seq)) if known == epoch => seq,
                _ => 0,
            };
            let newest = |state: &crate::fleet::StoreState| {
                let events = state.streams.iter().filter(|((stream, _), _)| *stream == Stream::Events);
                events
                    .max_by_key(|((_, epoch), _)| *epoch)
                    .map(|(&(_, epoch), stream)| (epoch, stream.through_seq))
            };
            let found = stores.iter().filter_map(|(store, state)| {
                let (epoch, through_seq) = newest(state)?;
                let after = place(store, epoch);
                (after < through_seq).then(|| (store.clone(), epoch, after, through_seq))
            });
            found.take(64).collect()
        };
        for (store, epoch, after, through) in behind {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let read_through = apply_events(&transaction, &store, epoch, after, through)?;
            transaction.execute(
                "INSERT INTO order_places (store, epoch, seq) VALUES (?1, ?2, ?3)
                 ON CONFLICT (store) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq",
                params![store.as_str(), epoch.cast_signed(), read_through.cast_signed()],
            )?;
            let oldest = (self.around.clock)().as_millis().saturating_sub(ORDERS_KEPT_MS);
            transaction.execute(
                "DELETE FROM orders WHERE store = ?1 AND at < ?2 AND stage IN ('collected', 'expired', 'cancelled')",
                params![store.as_str(), oldest],
            )?;
            transaction.commit()?;
            self.places.insert(store, (epoch, read_through));
        }
        Ok(())
    }
}

/// Applies order events after `after`, at most through `through`; gives how far it got.
fn apply_events(
    transaction: &Transaction<'_>,
    store: &StoreId,
    epoch: Epoch,
    after: u64,
    through: u64,
) -> rusqlite::Result<u64> {
    let mut statement = transaction.prepare_cached(
        "SELECT seq, at, kind, data FROM rows WHERE store = ?1 AND stream = 'events' AND epoch = ?2 AND seq > ?3
         AND seq <= ?4 ORDER BY seq LIMIT ?5",
    )?;
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO orders (store, order_id, stage, at, expires_at, bank, compartment, told_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (store, order_id) DO UPDATE SET stage = excluded.stage, at = excluded.at,
         expires_at = excluded.expires_at, bank = excluded.bank, compartment = excluded.compartment,
         told_by = excluded.told_by",
    )?;
    let limit = i64::try_from(EVENTS_PER_TURN_MAX).unwrap_or(i64::MAX);
    let place =
        params![store.as_str(), epoch.cast_signed(), after.cast_signed(), through.cast_signed(), limit];
    let mut found = statement.query(place)?;
    let (mut rows, mut last) = (0, after);
    while let Some(row) = found.next()? {
        rows += 1;
        last = row.get::<_, i64>(0)?.cast_unsigned();
        let (at, kind, data): (i64, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
        if !kind.starts_with("order.") {
            continue;
        }
        let Ok(event) = serde_json::from_str::<OrderEvent>(&data) else { continue };
        let OrderEvent { order, stage, expires_at, bank, compartment, by } = event;
        upsert.execute(params![
            store.as_str(),
            order,
            stage.as_str(),
            at,
            expires_at,
            bank,
            compartment,
            by
        ])?;
    }
    Ok(if rows < EVENTS_PER_TURN_MAX { through } else { last })
}

fn prune(transaction: &Transaction<'_>, store: &StoreId) -> rusqlite::Result<()> {
    let kept = i64::try_from(COMMANDS_KEPT_PER_STORE).unwrap_or(i64::MAX);
    transaction.execute(
        "DELETE FROM commands WHERE body IS NULL AND store = ?1 AND number <= (
             SELECT number FROM commands WHERE store = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        params![store.as_str(), kept],
    )?;
    Ok(())
}

/// A command's JSON as it may be shown: `"…"` instead of each code.
fn without_codes(body: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(body).expect("it was just written as JSON");
    for field in ["pick_up_code", "deposit_code"] {
        if let Some(code) = value.get_mut(field) {
            *code = serde_json::Value::from("…");
        }
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use contract::{OrderId, order::CancelOrder};

    use super::*;
    use crate::ingest::Downlink;

    #[derive(Default)]
    struct Line(Mutex<Vec<(String, Vec<u8>)>>);

    impl Downlink for Line {
        fn publish(&self, topic: String, payload: Vec<u8>) {
            self.0.lock().unwrap().push((topic, payload));
        }
    }

    struct Setup {
        desk: Desk,
        thread: DeskThread,
        fleet: Fleet,
        line: Arc<Line>,
    }

    fn clock() -> Timestamp {
        Timestamp::saturating_from_millis(1_800_000_000_000)
    }

    fn setup(path: &Path) -> Setup {
        let line = Arc::new(Line::default());
        let downlink: DownlinkSlot = Arc::new(OnceLock::new());
        assert!(downlink.set(line.clone()).is_ok());
        let fleet = Fleet::default();
        let around = Surroundings { fleet: fleet.clone(), counters: Counters::default(), downlink, clock };
        let (desk, thread) = start(path, around).unwrap();
        Setup { desk, thread, fleet, line }
    }

    fn place(order: &str) -> OrderCommand {
        let text = format!(
            "{{\"command\":\"order.place\",\"order\":\"{order}\",\"pick_up_code\":\"942137\",\"deposit_code\":\"955555\",\
             \"goods\":[{{\"gtin\":\"2000000000015\",\"quantity\":1}}],\"expires_at\":\"2030-01-01T00:00:00Z\"}}"
        );
        OrderCommand::parse(text.as_bytes()).unwrap()
    }

    fn id(id: &str) -> RequestId {
        RequestId::parse(id).unwrap()
    }

    /// Looks again and again until it is so, within a limit.
    async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        let looking = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(30), looking).await.is_ok(), "not in time: {what}");
    }

    async fn sent(line: &Line, count: usize) -> Vec<(String, Vec<u8>)> {
        until("the desk sends", || count <= line.0.lock().unwrap().len()).await;
        line.0.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn a_command_is_sent_until_its_result_in_order_and_its_codes_are_erased() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hq.db");
        let store = StoreId::parse("hz-1").unwrap();
        let first = setup(&path);
        assert_eq!(first.desk.place(store.clone(), id("c1"), place("o-1")).await, Placed::New);
        assert_eq!(first.desk.place(store.clone(), id("c1"), place("o-1")).await, Placed::Known);
        assert_eq!(first.desk.place(store.clone(), id("c1"), place("o-2")).await, Placed::Conflict);
        let cancel = OrderCommand::Cancel(CancelOrder { order: OrderId::parse("o-1").unwrap() });
        assert_eq!(first.desk.place(store.clone(), id("c2"), cancel).await, Placed::New);
        assert!(first.line.0.lock().unwrap().is_empty(), "the store has never come");
        first.desk.stop().await;
        first.thread.join();

        // Another life of headquarters: what was placed is sent when the store comes.
        let Setup { desk, thread, fleet, line } = setup(&path);
        fleet.lock().entry(store.clone()).or_default().online = true;
        let seen = sent(&line, 2).await;
        assert!(seen.iter().all(|(topic, _)| topic == "stores/hz-1/command/c1"), "{seen:?}");
        assert_eq!(OrderCommand::parse(&seen[0].1).unwrap(), place("o-1"));
        let has_codes = || {
            let bytes = ["hq.db", "hq.db-wal"].map(|file| std::fs::read(path.with_file_name(file)).unwrap());
            bytes.concat().windows(6).any(|six| six == b"942137" || six == b"955555")
        };
        assert!(has_codes(), "they stand there until the result is in");
        let done = CommandResult { state: CommandState::Done, reason: None };
        desk.results().offer(store.clone(), "c1".to_owned(), done.clone());
        let has_second = || line.0.lock().unwrap().iter().any(|(topic, _)| topic.ends_with("/c2"));
        until("the order's next command follows", has_second).await;
        let failed = CommandResult { state: CommandState::Failed, reason: Some("no".to_owned()) };
        desk.results().offer(store.clone(), "c2".to_owned(), failed);
        until("the codes are erased while headquarters runs", || !has_codes()).await;
        desk.stop().await;
        thread.join();

        let last = setup(&path);
        let shown = serde_json::to_value(last.desk.commands(&store, 10).unwrap()).unwrap();
        assert_eq!((&shown[0]["state"], &shown[0]["reason"]), (&"failed".into(), &"no".into()));
        assert_eq!((&shown[1]["state"], &shown[1]["command"]["order"]), (&"done".into(), &"o-1".into()));
        assert_eq!(shown[1]["command"]["pick_up_code"], "…");
        last.desk.stop().await;
        last.thread.join();
    }

    #[tokio::test]
    async fn no_more_commands_wait_for_a_store_than_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let Setup { desk, thread, .. } = setup(&dir.path().join("hq.db"));
        let store = StoreId::parse("hz-1").unwrap();
        for n in 0..COMMANDS_OPEN_PER_STORE_MAX {
            let placed = desk.place(store.clone(), id(&format!("c{n}")), place(&format!("o-{n}"))).await;
            assert_eq!(placed, Placed::New);
        }
        assert_eq!(desk.place(store.clone(), id("more"), place("more")).await, Placed::Full);
        let other = StoreId::parse("sh-1").unwrap();
        assert_eq!(desk.place(other, id("c1"), place("o-1")).await, Placed::New);
        desk.stop().await;
        thread.join();
    }
}
