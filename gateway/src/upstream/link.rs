//! Carries out what the [`Forwarder`] decides: owns the MQTT client, the timer, and the threads that read rows and
//! write cursors.
//!
//! It has no opinion about batches, windows or retries. What it knows is how to use `rumqttc` so that nothing is lost:
//! a clean session, at most one window of publishes handed over, a channel that can hold them all, so that handing over
//! never waits; and after any error or silence the client and its event loop are thrown away, because a reused one
//! drops what it had accepted.
//!
//! # Invariants
//!
//! - Every publish is QoS 1 and goes through [`Connection::publish`], in one order: the packet ids that the event loop
//!   reports are matched to tokens by that order alone.
//! - The event loop is polled by its own task, which never waits for the one that publishes.
//! - Sources and cursor stores are called on blocking threads only, and come back from there.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    panic,
    sync::Arc,
    time::Duration,
};

use contract::{
    RequestId, Timestamp,
    upstream::{
        self, Ack, BATCH_BYTES_MAX, Batch, BatchData, Birth, BirthDevice, Command, CommandResult,
        CommandState, Row, SeqRange, StoreStatus, Stream,
    },
};
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, NetworkOptions,
    Outgoing, Packet, QoS, SubscribeFilter, SubscribeReasonCode,
};
use serde_json::value::RawValue;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinHandle},
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::Instrument as _;

use super::{
    Config, Cursor, CursorStore, EpochBegun, Found, Identity, OrderLine, RowAt, RowSource, SourceError,
    Start, StreamStatus, UplinkStatus, UpstreamHandle,
    forwarder::{Effect, Forwarder, Input, Options, ReadId, Token},
    probe::{not_this_store, refused_login},
};

/// Room in the client's channel, and in its packet ids, for what is no batch: subscriptions, birth, statuses, results.
const CONTROL_REQUESTS_MAX: usize = 32;
/// Of these, results of commands that headquarters has not acknowledged; more wait in their line, so that any number of
/// commands at once neither overfills the client nor holds up rows.
const RESULTS_IN_FLIGHT_MAX: usize = CONTROL_REQUESTS_MAX / 2;
/// Events of the client that wait for the link.
const EVENTS_MAX: usize = 256;
/// Room in a packet for what is no payload: fixed header, topic, packet id.
const PACKET_OVERHEAD_BYTES: usize = 512;
/// Room in a batch for what is no row: the envelope.
const ENVELOPE_BYTES: usize = 1024;
/// Largest packet taken from headquarters; acknowledgements and commands are a few hundred bytes.
const INCOMING_PACKET_BYTES_MAX: usize = 16 * 1024;
/// How long the last words may take at shutdown.
const GOODBYE: Duration = Duration::from_secs(2);
/// Least time between two status updates for the rest of the hub.
const STATUS_PACE: Duration = Duration::from_millis(250);
/// How often waiting rows are counted, and failed saves tried again.
const HOUSEKEEPING: Duration = Duration::from_secs(2);
/// Acknowledgements that wait for the comparison of an earlier one with the journal.
const ANSWERS_MAX: usize = 64;
/// A source or a cursor store that failed is asked again after this.
const READ_RETRY: Duration = Duration::from_secs(2);

/// Starts the link on the present runtime.
pub(super) fn spawn(start: Start) -> UpstreamHandle {
    let (sender, status) = watch::channel(UplinkStatus::default());
    let span = tracing::info_span!("uplink", broker = %start.config.broker);
    let join = tokio::spawn(run(start, sender).instrument(span));
    UpstreamHandle { status, join }
}

async fn run(start: Start, status: watch::Sender<UplinkStatus>) {
    let shutdown = start.shutdown.clone();
    let Some(mut link) = shutdown.run_until_cancelled(Link::open(start, status)).await else {
        return;
    };
    link.run().await;
}

/// What a blocking call gives back together with the thing that was called.
type Blocking<T, R> = JoinHandle<(Box<T>, R)>;

/// How saving went, stream by stream.
type Saved = Vec<(Stream, Cursor, Result<(), SourceError>)>;

enum Reading {
    Rows {
        read: ReadId,
        rows: Result<Shaped, SourceError>,
    },
    /// Whether the row at the end of an acknowledgement is another one than the journal's.
    Compared {
        ack: Ack,
        is_foreign: Result<bool, SourceError>,
    },
    Begun(Result<EpochBegun, SourceError>),
    Waiting(Vec<(Stream, Option<u64>)>),
}

/// Rows that fit into one batch.
struct Shaped {
    rows: Vec<Row>,
    lost: Option<SeqRange>,
    oversized: u64,
}

struct Link {
    config: Config,
    identity: Identity,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    devices: Arc<dyn Fn() -> Vec<BirthDevice> + Send + Sync>,
    jitter: Box<dyn FnMut() -> f64 + Send>,
    shutdown: tokio_util::sync::CancellationToken,
    new_rows: watch::Receiver<u64>,
    degraded: watch::Receiver<Vec<String>>,
    orders: OrderLine,
    forwarder: Forwarder,
    inputs: VecDeque<Input>,
    started: Instant,

    connection: Option<Connection>,
    /// When to connect, while there is no connection.
    connect_at: Instant,

    source: Option<Box<dyn RowSource>>,
    reading: Option<Blocking<dyn RowSource, Reading>>,
    /// A read that waits for the source to come back from an older one.
    wanted: Option<(ReadId, Stream, u64)>,
    /// The rows that [`Effect::Publish`] is about.
    rows: Vec<Row>,
    /// What is lost before them.
    lost: Option<SeqRange>,
    /// Acknowledgements in order, the first of which is to be compared with the journal.
    answers: VecDeque<Ack>,
    /// A new epoch that is to begin: what headquarters has seen of the present one, and when to ask for it.
    begin: Option<(u64, Instant)>,

    cursors: Option<Box<dyn CursorStore>>,
    unsaved: BTreeMap<Stream, Cursor>,
    saving: Option<Blocking<dyn CursorStore, Saved>>,

    status: watch::Sender<UplinkStatus>,
    waiting: BTreeMap<Stream, Option<u64>>,
    last_ack_at: Option<Timestamp>,
    last_error: Option<String>,
    /// Why headquarters does not let this store in, since the last attempt.
    refused: Option<String>,
    counters: BTreeMap<&'static str, u64>,
    status_dirty: bool,
    status_at: Instant,
}

impl Link {
    /// Loads the cursors, again and again until they can be read.
    async fn open(start: Start, status: watch::Sender<UplinkStatus>) -> Self {
        let Start {
            config,
            identity,
            source,
            cursors,
            new_rows,
            durable_seq,
            degraded,
            clock,
            devices,
            jitter,
            orders,
            shutdown,
        } = start;
        let mut cursors = cursors;
        let loaded = loop {
            let streams = config.streams.clone();
            let load = tokio::task::spawn_blocking(move || {
                let loaded: Result<Vec<_>, _> =
                    streams.into_iter().map(|stream| cursors.load(stream).map(|seq| (stream, seq))).collect();
                (cursors, loaded)
            });
            let (back, loaded) = finished(load.await);
            cursors = back;
            match loaded {
                Ok(loaded) => break loaded,
                Err(error) => {
                    let error = format!("failed to load the cursors: {error}");
                    tracing::warn!("{error}");
                    status.send_modify(|status| status.last_error = Some(error));
                    sleep(READ_RETRY).await;
                }
            }
        };
        let tuning = &config.tuning;
        let options = Options {
            epoch: identity.epoch.epoch,
            window: tuning.window.max(1),
            linger: tuning.linger,
            ack_deadline: tuning.ack_deadline,
            retry_min: tuning.retry_min,
            retry_max: tuning.retry_max,
            status_every: tuning.status_every,
            read_retry: READ_RETRY,
        };
        let forwarder = Forwarder::new(options, &loaded, *new_rows.borrow(), durable_seq);
        let now = Instant::now();
        Self {
            config,
            identity,
            clock,
            devices,
            jitter,
            shutdown,
            new_rows,
            degraded,
            orders,
            forwarder,
            inputs: VecDeque::new(),
            started: now,
            connection: None,
            connect_at: now,
            source: Some(source),
            reading: None,
            wanted: None,
            rows: Vec::new(),
            lost: None,
            answers: VecDeque::new(),
            begin: None,
            cursors: Some(cursors),
            unsaved: BTreeMap::new(),
            saving: None,
            status,
            waiting: BTreeMap::new(),
            last_ack_at: None,
            last_error: None,
            refused: None,
            counters: BTreeMap::new(),
            status_dirty: true,
            status_at: now,
        }
    }

    async fn run(&mut self) {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut rows_told, mut degraded_told) = (true, true);
        let shutdown = self.shutdown.clone();
        loop {
            self.settle();
            let timer = self.forwarder.next_timer().map(|at| self.started + Duration::from_millis(at));
            let begin_at = self.begin.map(|(_, at)| at);
            let up_by = self.connection.as_ref().and_then(|connection| connection.up_by);
            let (connected, reading, saving) =
                (self.connection.is_some(), self.reading.is_some(), self.saving.is_some());
            let has_room = self.connection.as_ref().is_none_or(Connection::has_room_for_result);
            tokio::select! {
                () = shutdown.cancelled() => break,
                event = next_event(&mut self.connection), if connected => self.event(event),
                () = sleep_until(self.connect_at), if !connected => self.connect(),
                () = at(up_by) => {
                    self.broken("no SUBACK in time".to_owned());
                }
                back = join(&mut self.reading), if reading => self.read_back(back),
                back = join(&mut self.saving), if saving => self.saved(back),
                changed = self.new_rows.changed(), if rows_told => {
                    rows_told = changed.is_ok();
                    let head = *self.new_rows.borrow_and_update();
                    self.inputs.push_back(Input::Durable { head });
                }
                changed = self.degraded.changed(), if degraded_told => {
                    degraded_told = changed.is_ok();
                    self.degraded.mark_unchanged();
                    self.inputs.push_back(Input::StatusChanged);
                }
                () = at(begin_at), if !reading => self.use_source(),
                Some((id, result)) = self.orders.results.recv(), if has_room => self.order_result(&id, &result),
                () = at(timer) => self.inputs.push_back(Input::Timer),
                () = sleep_until(self.status_at), if self.status_dirty => self.show_status(),
                _ = housekeeping.tick() => self.count_waiting(),
            }
        }
        self.goodbye().await;
    }

    fn count(&mut self, name: &'static str, by: u64) {
        *self.counters.entry(name).or_default() += by;
        self.status_dirty = true;
    }

    /// Feeds what happened and carries out what follows, until nothing follows.
    fn settle(&mut self) {
        while let Some(input) = self.inputs.pop_front() {
            let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.status_dirty = true;
            for effect in self.forwarder.handle(now_ms, input) {
                self.carry_out(effect);
            }
        }
        self.save();
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::ReconnectAfter(pause) => {
                self.connection = None;
                self.wanted = None;
                self.answers.clear();
                self.connect_at = Instant::now() + pause.mul_f64(0.5 + 0.5 * (self.jitter)().clamp(0.0, 1.0));
                self.show_status();
            }
            Effect::PublishBirth => {
                let payload = encoded(&self.birth());
                self.publish(upstream::birth_topic(&self.identity.store), true, payload, None);
            }
            Effect::PublishStatus => {
                let payload = encoded(&self.store_status(true));
                self.publish(upstream::status_topic(&self.identity.store), true, payload, None);
            }
            Effect::Read { read, stream, scan_after } => {
                self.wanted = Some((read, stream, scan_after));
                self.use_source();
            }
            Effect::Publish { token, stream, prev_seq, last_seq } => {
                let (rows, lost) = (std::mem::take(&mut self.rows), self.lost.take());
                debug_assert_eq!(rows.last().map(|row| row.seq), Some(last_seq));
                self.count("rows_sent", rows.len() as u64);
                let EpochBegun { epoch, sent_before_through } = self.identity.epoch;
                let first_seq = rows.first().map_or(0, |row| row.seq);
                let sent_before_through =
                    if first_seq <= sent_before_through { sent_before_through } else { 0 };
                let data = BatchData { stream, epoch, prev_seq, sent_before_through, lost, rows };
                let payload = encoded(&Batch::new(&self.identity.store, (self.clock)(), data));
                self.count("batches_sent", 1);
                self.count("bytes_sent", payload.len() as u64);
                self.publish(
                    upstream::batch_topic(&self.identity.store, stream),
                    false,
                    payload,
                    Some(token),
                );
            }
            Effect::SaveCursor { stream, acked_seq } => {
                self.last_ack_at = Some((self.clock)());
                self.unsaved.insert(stream, Cursor { acked_seq, epoch: self.forwarder.epoch() });
            }
            Effect::BeginEpoch { seen_seq } => {
                tracing::error!(
                    seen_seq,
                    epoch = self.forwarder.epoch(),
                    "headquarters has rows that this journal never had; it begins a new epoch"
                );
                self.answers.clear();
                self.begin = Some((seen_seq, Instant::now()));
                self.use_source();
            }
            Effect::CommandResult { id, failure } => self.answer(&id, failure),
        }
    }

    fn answer(&mut self, id: &str, reason: Option<String>) {
        let state = if reason.is_none() { CommandState::Done } else { CommandState::Failed };
        let payload = encoded(&CommandResult { state, reason });
        self.publish(upstream::command_result_topic(&self.identity.store, id), false, payload, None);
    }

    /// Without a connection it is dropped: headquarters asks again.
    fn order_result(&mut self, id: &str, result: &CommandResult) {
        let is_up = self.connection.as_ref().is_some_and(|connection| connection.up_by.is_none());
        if is_up {
            self.publish(
                upstream::command_result_topic(&self.identity.store, id),
                false,
                encoded(result),
                None,
            );
        } else {
            self.count("command_results_dropped", 1);
        }
    }

    fn birth(&self) -> Birth {
        Birth {
            version: self.identity.version.clone(),
            epoch: self.identity.epoch.epoch,
            boot: self.identity.boot,
            started_at: self.identity.started_at,
            config_digest: self.identity.config_digest.clone(),
            streams: self.config.streams.clone(),
            devices: (self.devices)(),
        }
    }

    fn store_status(&self, online: bool) -> StoreStatus {
        let mut degraded = self.degraded.borrow().clone();
        degraded.extend(self.own_troubles());
        StoreStatus {
            online,
            boot: self.identity.boot,
            at: Some((self.clock)()),
            degraded,
            waiting_rows: self.waiting.values().flatten().sum(),
        }
    }

    fn own_troubles(&self) -> Vec<String> {
        let repeated = self.forwarder.lanes().filter_map(|(stream, lane)| {
            lane.repeated_through.map(|through| {
                format!(
                    "headquarters has lost rows of `{stream}` that it had acknowledged (was its database put back?); \
                     what the journal has of them through {through} is sent again"
                )
            })
        });
        let renewal = self.begin.map(|(seen_seq, _)| {
            format!(
                "headquarters has rows through {seen_seq} that this journal never had (was older data put back?); \
                 nothing is forwarded until the journal has begun a new epoch"
            )
        });
        repeated.chain(renewal).chain(self.refused.clone()).collect()
    }

    // ---- the connection

    fn connect(&mut self) {
        self.connection = Some(Connection::open(&self.config, &self.identity));
    }

    /// The connection is of no use any more.
    fn broken(&mut self, reason: String) {
        tracing::warn!("link lost: {reason}");
        self.last_error = Some(reason);
        self.refused = None;
        self.connection = None;
        self.count("link_errors", 1);
        self.inputs.push_back(Input::LinkDown);
    }

    fn publish(&mut self, topic: String, retain: bool, payload: Vec<u8>, token: Option<Token>) {
        let Some(connection) = &mut self.connection else { return };
        if !connection.publish(topic, retain, payload, token) {
            self.broken("the client's channel is full or closed".to_owned());
        }
    }

    fn event(&mut self, event: Option<LinkEvent>) {
        let connection = self.connection.as_mut().expect("events come from a connection");
        match event {
            Some(LinkEvent::Accepted) => {
                if !connection.subscribe(&self.identity) {
                    self.broken("the client's channel is full or closed".to_owned());
                }
            }
            Some(LinkEvent::Subscribed) => {
                tracing::info!("link up");
                connection.up_by = None;
                (self.last_error, self.refused) = (None, None);
                self.inputs.push_back(Input::LinkUp);
                self.status_at = Instant::now();
            }
            Some(LinkEvent::Sent(packet_id)) => match connection.handed.pop_front() {
                Some(token) => drop(connection.tokens.insert(packet_id, token)),
                None => self.broken("the client sent a publish that nobody asked for".to_owned()),
            },
            Some(LinkEvent::PubAck(packet_id)) => {
                let token = connection.tokens.remove(&packet_id).flatten();
                self.inputs.extend(token.map(Input::PubAck));
            }
            Some(LinkEvent::Message { topic, payload }) => self.message(&topic, &payload),
            Some(LinkEvent::Ended(reason)) => self.broken(reason),
            Some(LinkEvent::LoginRefused(code)) => {
                self.broken(ConnectionError::ConnectionRefused(code).to_string());
                self.refused = refused_login(code, &self.config.broker, &self.identity.store);
            }
            Some(LinkEvent::SubscriptionRefused) => {
                self.broken("the broker refused a subscription to `ack` or `command/+`".to_owned());
                self.refused = Some(not_this_store(&self.config.broker, &self.identity.store));
            }
            None => self.broken("the client's task ended".to_owned()),
        }
    }

    fn message(&mut self, topic: &str, payload: &[u8]) {
        if topic == upstream::ack_topic(&self.identity.store) {
            match serde_json::from_slice(payload) {
                Ok(_) if ANSWERS_MAX <= self.answers.len() => self.count("ack_not_compared", 1),
                Ok(ack) => {
                    self.answers.push_back(ack);
                    self.take_answers();
                }
                Err(_) => self.count("ack_malformed", 1),
            }
            return;
        }
        let prefix = upstream::command_topic(&self.identity.store, "");
        let Some(id) = topic.strip_prefix(&prefix).filter(|id| !id.is_empty() && !id.contains('/')) else {
            return self.count("message_unknown_topic", 1);
        };
        if RequestId::parse(id).is_err() {
            return self.count("command_malformed", 1);
        }
        match serde_json::from_slice(payload) {
            Ok(Command::Resend { stream, epoch, after_seq }) => {
                self.inputs.push_back(Input::Resend { id: id.to_owned(), stream, epoch, after_seq });
            }
            // An order's, or none: whoever takes it will say.
            Err(_) => match self.orders.commands.try_send((id.to_owned(), payload.to_vec())) {
                Ok(()) => self.count("order_commands", 1),
                Err(_) => self.count("order_commands_dropped", 1),
            },
        }
    }

    // ---- rows

    /// Takes acknowledgements up to the first one that is to be compared with the journal.
    fn take_answers(&mut self) {
        while let Some(ack) = self.answers.pop_front_if(|ack| ack.row_digest.is_none()) {
            self.inputs.push_back(ack_input(ack, false));
        }
        self.use_source();
    }

    /// Gives the source its next work, when it is here: the forwarder's read comes last, since what it waits for may
    /// make it needless.
    fn use_source(&mut self) {
        let Some(mut source) = self.source.take() else { return };
        if let Some((seen_seq, _)) = self.begin.filter(|&(_, at)| at <= Instant::now()) {
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let begun = source.begin_epoch(seen_seq);
                (source, Reading::Begun(begun))
            }));
            return;
        }
        if let Some(&ack) = self.answers.front() {
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let row = source.row_at(ack.stream, ack.through_seq);
                let is_foreign = row.map(|row| match row {
                    RowAt::Row(row) => ack.row_digest != Some(row.digest()),
                    RowAt::Other => true,
                    RowAt::Gone => false,
                });
                (source, Reading::Compared { ack, is_foreign })
            }));
            return;
        }
        let Some((read, stream, scan_after)) = self.wanted.take() else {
            self.source = Some(source);
            return;
        };
        let (rows_max, bytes_max) = (self.config.tuning.batch_rows_max, self.config.tuning.batch_bytes_max);
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let rows = source.rows_after(stream, scan_after, rows_max, bytes_max);
            let rows = rows.map(|found| shape(found, rows_max, bytes_max));
            (source, Reading::Rows { read, rows })
        }));
    }

    fn read_back(&mut self, (source, reading): (Box<dyn RowSource>, Reading)) {
        self.source = Some(source);
        match reading {
            Reading::Rows { read, rows: Ok(Shaped { rows, lost, oversized }) } => {
                if 0 < oversized {
                    self.count("rows_oversized", oversized);
                }
                let last_seq = rows.last().map(|row| row.seq);
                (self.rows, self.lost) = (rows, lost);
                self.inputs.push_back(Input::Rows { read, last_seq });
                self.settle();
                self.rows.clear();
            }
            Reading::Rows { read, rows: Err(error) } => {
                let error = format!("failed to read rows: {error}");
                tracing::warn!("{error}");
                self.last_error = Some(error);
                self.inputs.push_back(Input::ReadFailed { read });
            }
            Reading::Compared { ack, is_foreign } => {
                if let Err(error) = &is_foreign {
                    let error = format!("failed to read a row to compare: {error}");
                    tracing::warn!("{error}");
                    self.last_error = Some(error);
                }
                // Answers of a former connection are gone. What cannot be read cannot be told to be another's.
                if self.answers.pop_front_if(|front| *front == ack).is_some() {
                    self.inputs.push_back(ack_input(ack, is_foreign.unwrap_or(false)));
                    self.settle();
                    self.take_answers();
                }
            }
            Reading::Begun(Ok(begun)) => {
                self.begin = None;
                self.identity.epoch = begun;
                self.inputs.push_back(Input::EpochBegun { epoch: begun.epoch });
            }
            Reading::Begun(Err(error)) => {
                let error = format!("the journal cannot begin a new epoch: {error}");
                tracing::warn!("{error}");
                self.last_error = Some(error);
                self.begin = self.begin.map(|(seen_seq, _)| (seen_seq, Instant::now() + READ_RETRY));
            }
            Reading::Waiting(waiting) => {
                self.status_dirty |=
                    waiting.iter().any(|(stream, rows)| self.waiting.get(stream) != Some(rows));
                self.waiting.extend(waiting);
            }
        }
        self.use_source();
    }

    fn count_waiting(&mut self) {
        if self.wanted.is_some() {
            return;
        }
        let Some(mut source) = self.source.take() else { return };
        let places: Vec<_> = self.forwarder.lanes().map(|(stream, lane)| (stream, lane.acked_seq)).collect();
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let waiting =
                places.into_iter().map(|(stream, after)| (stream, source.rows_waiting(stream, after)));
            let waiting = waiting.collect();
            (source, Reading::Waiting(waiting))
        }));
    }

    // ---- cursors

    fn save(&mut self) {
        if self.unsaved.is_empty() {
            return;
        }
        let Some(mut cursors) = self.cursors.take() else { return };
        let unsaved = std::mem::take(&mut self.unsaved);
        self.saving = Some(tokio::task::spawn_blocking(move || {
            let save = |(stream, cursor)| (stream, cursor, cursors.save(stream, cursor));
            let saved = unsaved.into_iter().map(save).collect();
            (cursors, saved)
        }));
    }

    fn saved(&mut self, (cursors, saved): (Box<dyn CursorStore>, Saved)) {
        self.cursors = Some(cursors);
        for (stream, Cursor { acked_seq: seq, .. }, result) in saved {
            if let Err(error) = result {
                // Not tried again at once: the next acknowledgement saves more, and headquarters knows anyway.
                tracing::warn!("failed to save that `{stream}` is acknowledged through {seq}: {error}");
                self.count("cursor_save_failed", 1);
            }
        }
    }

    // ---- the rest

    fn show_status(&mut self) {
        let connected = self.connection.as_ref().is_some_and(|connection| connection.up_by.is_none());
        let streams = self.forwarder.lanes().map(|(stream, lane)| {
            let status = StreamStatus {
                acked_seq: lane.acked_seq,
                sent_seq: lane.sent_seq,
                batches_in_flight: lane.in_flight,
                rows_waiting: self.waiting.get(&stream).copied().flatten(),
            };
            (stream, status)
        });
        let mut counters = self.forwarder.counters().clone();
        counters.extend(self.counters.iter());
        let status = UplinkStatus {
            connected,
            last_ack_at: self.last_ack_at,
            last_error: self.last_error.clone(),
            streams: streams.collect(),
            counters,
            degraded: self.own_troubles(),
        };
        self.status.send_replace(status);
        self.status_dirty = false;
        self.status_at = Instant::now() + STATUS_PACE;
    }

    /// Says `online: false`, closes the connection and brings the cursors home.
    async fn goodbye(&mut self) {
        let payload = encoded(&self.store_status(false));
        let topic = upstream::status_topic(&self.identity.store);
        if let Some(mut connection) = self.connection.take()
            && connection.up_by.is_none()
            && connection.publish(topic, true, payload, None)
            && connection.client.try_disconnect().is_ok()
        {
            let last_words = async { while connection.events.recv().await.is_some() {} };
            if timeout(GOODBYE, last_words).await.is_err() {
                tracing::warn!("headquarters did not take the last status within {GOODBYE:?}");
            }
        }
        if let Some(saving) = self.saving.take() {
            let back = finished(saving.await);
            self.saved(back);
        }
        self.save();
        if let Some(saving) = self.saving.take() {
            let back = finished(saving.await);
            self.saved(back);
        }
        self.show_status();
    }
}

fn ack_input(Ack { stream, epoch, through_seq, .. }: Ack, is_foreign: bool) -> Input {
    Input::Ack { stream, epoch, through_seq, is_foreign }
}

/// Cuts rows to what one batch may hold. A row that alone is too large is sent without its content.
fn shape(Found { rows, lost }: Found, rows_max: usize, bytes_max: usize) -> Shaped {
    let budget = bytes_max.min(BATCH_BYTES_MAX).saturating_sub(ENVELOPE_BYTES);
    let mut shaped = Shaped { rows: Vec::with_capacity(rows.len().min(rows_max)), lost, oversized: 0 };
    let mut used = 0;
    for mut row in rows.into_iter().take(rows_max) {
        let mut bytes = encoded(&row).len() + 1;
        if budget < bytes {
            let left_out = format!("{{\"storehub_left_out_bytes\":{}}}", row.data.get().len());
            row.data = RawValue::from_string(left_out).expect("it was just written as JSON");
            bytes = encoded(&row).len() + 1;
            shaped.oversized += 1;
        }
        if budget < used + bytes && !shaped.rows.is_empty() {
            break;
        }
        used += bytes;
        shaped.rows.push(row);
    }
    shaped
}

fn encoded<T: serde::Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("our own documents have string keys and finite numbers")
}

/// The value of a blocking task; its panic is ours.
fn finished<T>(result: Result<T, JoinError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(cause) => panic::resume_unwind(cause),
            Err(error) => {
                panic!("a blocking task was cancelled, which only the end of the runtime does: {error}")
            }
        },
    }
}

async fn join<T: ?Sized, R>(task: &mut Option<Blocking<T, R>>) -> (Box<T>, R) {
    let running = task.as_mut().expect("only asked while one runs");
    let result = running.await;
    *task = None;
    finished(result)
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

async fn next_event(connection: &mut Option<Connection>) -> Option<LinkEvent> {
    match connection {
        Some(connection) => connection.events.recv().await,
        None => std::future::pending().await,
    }
}

/// What the client's task tells.
enum LinkEvent {
    Accepted,
    Subscribed,
    Sent(u16),
    PubAck(u16),
    Message { topic: String, payload: bytes::Bytes },
    LoginRefused(ConnectReturnCode),
    SubscriptionRefused,
    Ended(String),
}

/// One client, used for one connection. Dropping it closes the socket without a goodbye.
struct Connection {
    client: AsyncClient,
    events: mpsc::Receiver<LinkEvent>,
    poller: JoinHandle<()>,
    /// Publishes handed to the client, oldest first, whose packet id is not known yet; `None` is no batch.
    handed: VecDeque<Option<Token>>,
    tokens: HashMap<u16, Option<Token>>,
    /// When the subscriptions must be granted; `None` once they are.
    up_by: Option<Instant>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

impl Connection {
    fn open(config: &Config, identity: &Identity) -> Self {
        let tuning = &config.tuning;
        let window = tuning.window.max(1);
        let mut options = MqttOptions::new(identity.store.as_str(), &config.broker.host, config.broker.port);
        let will = StoreStatus {
            online: false,
            boot: identity.boot,
            at: None,
            degraded: Vec::new(),
            waiting_rows: 0,
        };
        let inflight = u16::try_from(2 * window + CONTROL_REQUESTS_MAX).unwrap_or(u16::MAX);
        options
            .set_clean_session(true)
            .set_keep_alive(tuning.keep_alive)
            .set_inflight(inflight)
            .set_max_packet_size(INCOMING_PACKET_BYTES_MAX, BATCH_BYTES_MAX + PACKET_OVERHEAD_BYTES)
            .set_last_will(LastWill::new(
                upstream::status_topic(&identity.store),
                encoded(&will),
                QoS::AtLeastOnce,
                true,
            ));
        if let Some((user, password)) = &config.broker.login {
            options.set_credentials(user, password);
        }
        let (client, mut event_loop) = AsyncClient::new(options, window + CONTROL_REQUESTS_MAX);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(tuning.io_deadline.as_secs().max(1));
        event_loop.set_network_options(network);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let silence_max = tuning.keep_alive + tuning.io_deadline + Duration::from_secs(5);
        let poller = tokio::spawn(poll(event_loop, sender, silence_max).in_current_span());
        let up_by = Some(Instant::now() + 2 * tuning.io_deadline);
        Self { client, events, poller, handed: VecDeque::new(), tokens: HashMap::new(), up_by }
    }

    fn subscribe(&mut self, identity: &Identity) -> bool {
        let topics = [upstream::ack_topic(&identity.store), upstream::command_topic(&identity.store, "+")];
        let filters = topics.map(|topic| SubscribeFilter::new(topic, QoS::AtLeastOnce));
        self.client.try_subscribe_many(filters).is_ok()
    }

    fn has_room_for_result(&self) -> bool {
        let publishes = self.handed.iter().chain(self.tokens.values());
        publishes.filter(|token| token.is_none()).count() < RESULTS_IN_FLIGHT_MAX
    }

    /// Hands a publish over; never waits. False when the client does not take it.
    fn publish(&mut self, topic: String, retain: bool, payload: Vec<u8>, token: Option<Token>) -> bool {
        let taken = self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).is_ok();
        if taken {
            self.handed.push_back(token);
        }
        taken
    }
}

/// Drives the client until its first error or silence, which is its last.
async fn poll(mut event_loop: EventLoop, events: mpsc::Sender<LinkEvent>, silence_max: Duration) {
    loop {
        let event = match timeout(silence_max, event_loop.poll()).await {
            Err(_) => LinkEvent::Ended(format!("the client was silent for {silence_max:?}")),
            Ok(Err(ConnectionError::ConnectionRefused(code))) => LinkEvent::LoginRefused(code),
            Ok(Err(error)) => LinkEvent::Ended(error.to_string()),
            Ok(Ok(event)) => match link_event(event) {
                Some(event) => event,
                None => continue,
            },
        };
        let last = matches!(
            event,
            LinkEvent::Ended(_) | LinkEvent::LoginRefused(_) | LinkEvent::SubscriptionRefused
        );
        if events.send(event).await.is_err() || last {
            return;
        }
    }
}

fn link_event(event: Event) -> Option<LinkEvent> {
    Some(match event {
        Event::Incoming(Packet::ConnAck(_)) => LinkEvent::Accepted,
        Event::Incoming(Packet::SubAck(granted)) => {
            match granted.return_codes.contains(&SubscribeReasonCode::Failure) {
                false => LinkEvent::Subscribed,
                true => LinkEvent::SubscriptionRefused,
            }
        }
        Event::Incoming(Packet::PubAck(ack)) => LinkEvent::PubAck(ack.pkid),
        Event::Incoming(Packet::Publish(publish)) => {
            LinkEvent::Message { topic: publish.topic, payload: publish.payload }
        }
        Event::Outgoing(Outgoing::Publish(packet_id)) => LinkEvent::Sent(packet_id),
        Event::Outgoing(Outgoing::AwaitAck(packet_id)) => LinkEvent::Ended(format!(
            "the broker acknowledged out of order: packet id {packet_id} is still taken"
        )),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
