//! Store-and-forward, decided without doing: inputs in, effects out.
//!
//! The shell ([`super::link`]) owns the socket, the rows and the timer. It feeds what happens to
//! [`Forwarder::handle`] and carries out the effects in order; the model test does the same with a simulated link and
//! a simulated headquarters. The forwarder never holds a row: it asks for the rows after a place ([`Effect::Read`]),
//! hears how far they reach ([`Input::Rows`]) and says which batch they are ([`Effect::Publish`]).
//!
//! # Invariants
//!
//! - A cursor moves ([`Effect::SaveCursor`]) only to what headquarters has acknowledged, and never back.
//! - No row is sent on a connection before headquarters has said on it what it has of the stream.
//! - Batches of a stream follow each other without a hole: each batch's `prev_seq` is the `last_seq` of the one before
//!   it (0 for the first of an epoch), and the first one after a (re)connect starts where headquarters is. So every
//!   row that it does not have is offered again after any reconnect, in order, also when it has lost rows that it had
//!   acknowledged.
//! - At most `window` batches are on their way, and no stream takes the last slot that another one may need.
//! - A batch that does not move on within the ack deadline costs the connection; so does nothing else here.
//! - An acknowledgement of another epoch, of a stream that is not forwarded, or of rows that were never sent is
//!   refused and counted. Rows that were durable when this process started may have been sent by a former one: an
//!   acknowledgement of them moves the cursor, and what they say is not sent again.
//! - When headquarters' first word on a connection is that it has rows that this journal never had, the journal is
//!   older than what headquarters has: nothing is sent until a new epoch has begun, under which every row after the
//!   cursors is offered. That word is no acknowledgement of anything.
//!
//! # Known limits
//!
//! - Rows that headquarters acknowledged under an earlier epoch are not offered again: a headquarters whose database is
//!   put back across a change of epoch, or together with the hub's data, goes without them.
//! - The same older copy of a hub's data, put back twice, can bring a row under two epochs.
//!
//! Units: times are milliseconds of any clock that does not go back.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use contract::upstream::{Epoch, Stream};

use super::Cursor;

/// What the forwarder must know before anything happens.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which life of the journal.
    pub epoch: Epoch,
    /// Most batches on their way.
    pub window: usize,
    /// How long an idle stream gathers rows.
    pub linger: Duration,
    /// A batch that does not move on for this long costs the connection.
    pub ack_deadline: Duration,
    /// First pause before a reconnect.
    pub retry_min: Duration,
    /// Longest pause before a reconnect.
    pub retry_max: Duration,
    /// How often the status is said again.
    pub status_every: Duration,
    /// A read that failed is tried again after this.
    pub read_retry: Duration,
}

/// Names one published batch on one connection; rises.
pub type Token = u64;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The broker has accepted a connection and the subscriptions are asked for.
    LinkUp,
    /// The connection ended, or could not be made.
    LinkDown,
    /// Every row through `head` is durable.
    Durable {
        /// The journal's last durable `seq`.
        head: u64,
    },
    /// The answer to [`Effect::Read`].
    Rows {
        /// As in the effect.
        read: ReadId,
        /// The last row's `seq`, or `None` when there are no rows.
        last_seq: Option<u64>,
    },
    /// The rows could not be read.
    ReadFailed {
        /// As in the effect.
        read: ReadId,
    },
    /// The broker has taken responsibility for a batch.
    PubAck(Token),
    /// Headquarters has committed.
    Ack {
        /// Which stream.
        stream: Stream,
        /// Which life of the journal.
        epoch: Epoch,
        /// The last row of the committed prefix.
        through_seq: u64,
        /// Whether that row is another one than the journal's; known for the first answers of a connection.
        is_foreign: bool,
    },
    /// The journal has begun a new epoch, as [`Effect::BeginEpoch`] asked.
    EpochBegun {
        /// Which.
        epoch: Epoch,
    },
    /// Headquarters has a gap.
    Resend {
        /// The command's id, for the result.
        id: String,
        /// Which stream.
        stream: Stream,
        /// Which life of the journal.
        epoch: Epoch,
        /// The last row that headquarters has.
        after_seq: u64,
    },
    /// Something in the status document changed.
    StatusChanged,
    /// Time passed; due at [`Forwarder::next_timer`] at the latest.
    Timer,
}

/// Names one read; an answer to an older one is ignored.
pub type ReadId = u64;

/// What the shell must do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Drop the connection, if there is one, and everything handed to it; connect anew after the pause (the shell
    /// adds the jitter).
    ReconnectAfter(Duration),
    /// Say who this hub is.
    PublishBirth,
    /// Say how this hub is.
    PublishStatus,
    /// Read the stream's rows after `scan_after`, of which none was sent yet, and answer with [`Input::Rows`].
    Read {
        /// Names the read.
        read: ReadId,
        /// Which stream.
        stream: Stream,
        /// Rows after this one.
        scan_after: u64,
    },
    /// Send the rows that were just read as one batch.
    Publish {
        /// Names the batch in [`Input::PubAck`].
        token: Token,
        /// Which stream.
        stream: Stream,
        /// The last row of the stream before it.
        prev_seq: u64,
        /// Its last row.
        last_seq: u64,
    },
    /// Headquarters has every row through this one: remember it.
    SaveCursor {
        /// Which stream.
        stream: Stream,
        /// The last row that headquarters has.
        acked_seq: u64,
    },
    /// Begin a new epoch of the journal, trying until it is done, and say so with [`Input::EpochBegun`].
    BeginEpoch {
        /// Headquarters has rows of the present one through here.
        seen_seq: u64,
    },
    /// Answer a command.
    CommandResult {
        /// The command's id.
        id: String,
        /// Why it failed, or `None` when it is done.
        failure: Option<String>,
    },
}

#[derive(Debug)]
struct InFlight {
    token: Token,
    last_seq: u64,
    /// Since when it waits for the next thing: the PUBACK, then the acknowledgement.
    waits_since_ms: u64,
    pubacked: bool,
}

#[derive(Debug, Default)]
struct Lane {
    acked_seq: u64,
    /// The last row sent on this connection, or where sending starts.
    sent_seq: u64,
    /// The last row that this process or a former one can have sent: acknowledgements up to here are honest however
    /// late they are.
    sent_seq_max: u64,
    /// No row of this stream stands after `sent_seq` and up to here.
    scanned_seq: u64,
    /// As `scanned_seq`, once everything was acknowledged; survives reconnects, so that an idle stream is not
    /// searched again from its last row.
    clean_seq: u64,
    in_flight: VecDeque<InFlight>,
    /// When to read; `None` while there is nothing new.
    read_at_ms: Option<u64>,
    /// Headquarters has not said on this connection yet what it has.
    fresh: bool,
    /// Rows through this one were acknowledged under an earlier epoch, or are none of this stream.
    base_seq: u64,
    /// Headquarters has lost rows that it had acknowledged: they are offered again through here.
    repeated_through: Option<u64>,
}

/// What a stream looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneView {
    /// Headquarters has every row through this one.
    pub acked_seq: u64,
    /// The last row sent on this connection.
    pub sent_seq: u64,
    /// Batches on their way.
    pub in_flight: usize,
    /// Headquarters has lost rows that it had acknowledged: they are offered again through here.
    pub repeated_through: Option<u64>,
}

/// The state machine. See the head of this file.
#[derive(Debug)]
pub struct Forwarder {
    options: Options,
    lanes: BTreeMap<Stream, Lane>,
    /// Streams in the order of their turns.
    turns: VecDeque<Stream>,
    head_seq: u64,
    up: bool,
    up_since_ms: u64,
    /// Batches handed to the connection and not yet PUBACKed, abandoned ones too: what the MQTT client holds.
    unpubacked: VecDeque<Token>,
    next_token: Token,
    /// The read that is asked for, its stream, and the last durable row when it was asked.
    reading: Option<(ReadId, Stream, u64)>,
    next_read: ReadId,
    read_paused_until_ms: u64,
    /// A new epoch is asked for: nothing is sent under the old one.
    renewing: bool,
    /// Failures since headquarters last acknowledged something.
    failures: u32,
    last_puback_ms: u64,
    status_due_ms: u64,
    counters: BTreeMap<&'static str, u64>,
}

impl Forwarder {
    /// A forwarder whose link is down. `cursors` gives the acknowledged place of each stream to forward and the epoch of
    /// that acknowledgement, `head_seq` the last row that can be read now, `durable_seq` the journal's last one: a former
    /// process may have sent up to there.
    ///
    /// # Panics
    /// When the window is 0: nothing could ever be sent.
    #[must_use]
    pub fn new(options: Options, cursors: &[(Stream, Cursor)], head_seq: u64, durable_seq: u64) -> Self {
        assert!(0 < options.window, "a window holds at least one batch");
        let lanes: BTreeMap<Stream, Lane> = cursors
            .iter()
            .map(|&(stream, Cursor { acked_seq, epoch })| {
                let lane = Lane {
                    acked_seq,
                    base_seq: if epoch == 0 || epoch == options.epoch { 0 } else { acked_seq },
                    sent_seq_max: durable_seq.max(head_seq).max(acked_seq),
                    clean_seq: acked_seq,
                    ..Lane::default()
                };
                (stream, lane)
            })
            .collect();
        Self {
            options,
            turns: lanes.keys().copied().collect(),
            lanes,
            head_seq,
            up: false,
            up_since_ms: 0,
            unpubacked: VecDeque::new(),
            next_token: 1,
            reading: None,
            next_read: 1,
            read_paused_until_ms: 0,
            renewing: false,
            failures: 0,
            last_puback_ms: 0,
            status_due_ms: 0,
            counters: BTreeMap::new(),
        }
    }

    /// Takes what happened and says what to do.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::LinkUp => self.link_up(now_ms, &mut effects),
            Input::LinkDown => {
                self.count("link_down");
                self.reconnect(now_ms, &mut effects);
            }
            Input::Durable { head } => self.durable(now_ms, head),
            Input::Rows { read, last_seq } => self.rows(now_ms, read, last_seq, &mut effects),
            Input::ReadFailed { read } => self.read_failed(now_ms, read),
            Input::PubAck(token) => self.puback(now_ms, token),
            Input::Ack { stream, epoch, through_seq, is_foreign } => {
                self.ack(now_ms, stream, epoch, through_seq, is_foreign, &mut effects);
            }
            Input::EpochBegun { epoch } => self.epoch_begun(now_ms, epoch, &mut effects),
            Input::Resend { id, stream, epoch, after_seq } => {
                self.resend(now_ms, id, stream, epoch, after_seq, &mut effects);
            }
            Input::StatusChanged => effects.extend(self.up.then_some(Effect::PublishStatus)),
            Input::Timer => self.timer(now_ms, &mut effects),
        }
        self.read_next(now_ms, &mut effects);
        effects
    }

    /// When [`Input::Timer`] is due at the latest.
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        if !self.up {
            return None;
        }
        let deadlines = self.lanes.values().filter_map(|lane| self.deadline(lane));
        // A lane that has no slot waits for an acknowledgement, not for the clock.
        let reads = self
            .lanes
            .iter()
            .filter(|(_, lane)| self.reading.is_none() && self.may_read(lane))
            .filter_map(|(_, lane)| lane.read_at_ms)
            .map(|at| at.max(self.read_paused_until_ms));
        deadlines.chain(reads).chain([self.status_due_ms]).min()
    }

    /// Which life of the journal rows are sent as.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.options.epoch
    }

    /// Whether nothing is sent until a new epoch has begun.
    #[must_use]
    pub fn is_renewing(&self) -> bool {
        self.renewing
    }

    /// How often each thing happened, by reason.
    #[must_use]
    pub fn counters(&self) -> &BTreeMap<&'static str, u64> {
        &self.counters
    }

    /// The streams as they are.
    pub fn lanes(&self) -> impl Iterator<Item = (Stream, LaneView)> {
        self.lanes.iter().map(|(&stream, lane)| {
            let view = LaneView {
                acked_seq: lane.acked_seq,
                sent_seq: lane.sent_seq.max(lane.acked_seq),
                in_flight: lane.in_flight.len(),
                repeated_through: lane.repeated_through,
            };
            (stream, view)
        })
    }

    fn count(&mut self, name: &'static str) {
        *self.counters.entry(name).or_default() += 1;
    }

    fn link_up(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        self.count("link_up");
        self.up = true;
        self.up_since_ms = now_ms;
        self.last_puback_ms = now_ms;
        self.status_due_ms = now_ms + millis(self.options.status_every);
        for lane in self.lanes.values_mut() {
            lane.fresh = true;
            lane.restart(now_ms, self.head_seq);
        }
        effects.extend([Effect::PublishBirth, Effect::PublishStatus]);
    }

    /// Gives the connection up: everything unacknowledged is offered again on the next one.
    fn reconnect(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.up && 2 * millis(self.options.retry_max) <= now_ms.saturating_sub(self.up_since_ms) {
            // A line that held for long and breaks is a new trouble, not the old one.
            self.failures = 0;
        }
        self.up = false;
        self.reading = None;
        self.unpubacked.clear();
        for lane in self.lanes.values_mut() {
            lane.in_flight.clear();
            lane.read_at_ms = None;
        }
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let pause = self.options.retry_min.saturating_mul(1 << doublings).min(self.options.retry_max);
        effects.push(Effect::ReconnectAfter(pause));
    }

    fn durable(&mut self, now_ms: u64, head: u64) {
        if head <= self.head_seq {
            return;
        }
        self.head_seq = head;
        if !self.up {
            return;
        }
        let linger = millis(self.options.linger);
        for lane in self.lanes.values_mut() {
            if lane.read_at_ms.is_none() {
                lane.read_at_ms = Some(now_ms + linger);
            }
        }
    }

    fn may_read(&self, lane: &Lane) -> bool {
        !self.renewing && !lane.fresh && self.has_slot(lane)
    }

    fn has_slot(&self, lane: &Lane) -> bool {
        let window = self.options.window;
        // Every other stream keeps a slot of its own, so that a backlog never holds up live rows by a full window.
        let share = window.saturating_sub(self.lanes.len() - 1).max(1);
        let in_flight: usize = self.lanes.values().map(|lane| lane.in_flight.len()).sum();
        in_flight < window && self.unpubacked.len() < window && lane.in_flight.len() < share
    }

    /// Asks for the next rows of the stream whose turn it is. One read at a time.
    fn read_next(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if !self.up || self.reading.is_some() || now_ms < self.read_paused_until_ms {
            return;
        }
        let due = |stream: &Stream| {
            let lane = &self.lanes[stream];
            lane.read_at_ms.is_some_and(|at| at <= now_ms) && self.may_read(lane)
        };
        let Some(turn) = self.turns.iter().position(due) else {
            return;
        };
        let stream = self.turns.remove(turn).expect("the position was just found");
        self.turns.push_back(stream);
        let read = self.next_read;
        self.next_read += 1;
        // What becomes durable from now on may or may not be in the answer: an empty one vouches for no more.
        self.reading = Some((read, stream, self.head_seq));
        effects.push(Effect::Read { read, stream, scan_after: self.lanes[&stream].scanned_seq });
    }

    fn rows(&mut self, now_ms: u64, read: ReadId, last_seq: Option<u64>, effects: &mut Vec<Effect>) {
        let Some((asked, stream, head)) = self.reading else {
            return;
        };
        if asked != read {
            return;
        }
        self.reading = None;
        let newer = head < self.head_seq;
        let linger = millis(self.options.linger);
        let lane = self.lanes.get_mut(&stream).expect("only known streams are read");
        let Some(last_seq) = last_seq else {
            lane.scanned_seq = lane.scanned_seq.max(head);
            lane.settle();
            lane.read_at_ms = newer.then_some(now_ms + linger);
            return;
        };
        let token = self.next_token;
        self.next_token += 1;
        // What was sent under an earlier epoch is no row before this one.
        let prev_seq = if lane.sent_seq <= lane.base_seq { 0 } else { lane.sent_seq };
        effects.push(Effect::Publish { token, stream, prev_seq, last_seq });
        lane.sent_seq = last_seq;
        lane.scanned_seq = last_seq;
        lane.sent_seq_max = lane.sent_seq_max.max(last_seq);
        lane.read_at_ms = Some(now_ms);
        lane.in_flight.push_back(InFlight { token, last_seq, waits_since_ms: now_ms, pubacked: false });
        if self.unpubacked.is_empty() {
            self.last_puback_ms = now_ms;
        }
        self.unpubacked.push_back(token);
        // The source may know of rows that the watch has not told of yet.
        self.head_seq = self.head_seq.max(last_seq);
    }

    fn read_failed(&mut self, now_ms: u64, read: ReadId) {
        if self.reading.is_some_and(|(asked, ..)| asked == read) {
            self.reading = None;
            self.read_paused_until_ms = now_ms + millis(self.options.read_retry);
            self.count("read_failed");
        }
    }

    fn puback(&mut self, now_ms: u64, token: Token) {
        let before = self.unpubacked.len();
        // Brokers answer in order of receipt: a later answer stands for an earlier one that was swallowed.
        self.unpubacked.retain(|&waiting| token < waiting);
        if self.unpubacked.len() == before {
            return;
        }
        self.last_puback_ms = now_ms;
        for lane in self.lanes.values_mut() {
            for batch in lane.in_flight.iter_mut().filter(|batch| batch.token <= token && !batch.pubacked) {
                batch.pubacked = true;
                batch.waits_since_ms = now_ms;
            }
        }
    }

    fn ack(
        &mut self,
        now_ms: u64,
        stream: Stream,
        epoch: Epoch,
        through_seq: u64,
        is_foreign: bool,
        effects: &mut Vec<Effect>,
    ) {
        if !self.up {
            return self.count("ack_refused_link_down");
        }
        if epoch != self.options.epoch {
            return self.count("ack_refused_epoch");
        }
        let head_seq = self.head_seq;
        let Some(lane) = self.lanes.get_mut(&stream) else {
            return self.count("ack_refused_stream");
        };
        if self.renewing {
            return;
        }
        if lane.sent_seq_max < through_seq || is_foreign {
            if lane.fresh {
                self.renewing = true;
                self.count("journal_older_than_headquarters");
                return effects.push(Effect::BeginEpoch { seen_seq: through_seq });
            }
            return self.count("ack_refused_beyond_sent");
        }
        if std::mem::take(&mut lane.fresh) {
            // Under this epoch headquarters has had nothing of what is before the base.
            let had_seq = if lane.acked_seq <= lane.base_seq { 0 } else { lane.acked_seq };
            if through_seq < had_seq {
                lane.repeated_through = Some(had_seq);
                lane.go_back(through_seq.max(lane.base_seq));
                lane.read_at_ms = Some(now_ms);
                self.count("headquarters_went_back");
                return;
            }
            if lane.read_at_ms.is_none() && lane.scanned_seq < head_seq {
                lane.read_at_ms = Some(now_ms);
            }
        }
        if lane.repeated_through.is_some_and(|repeated_seq| repeated_seq <= through_seq) {
            lane.repeated_through = None;
        }
        // After a resend, batches may be on their way whose rows were acknowledged before: they end here too.
        while let Some(batch) = lane.in_flight.pop_front_if(|batch| batch.last_seq <= through_seq) {
            // What headquarters has committed needs no PUBACK any more.
            self.unpubacked.retain(|&waiting| waiting != batch.token);
        }
        if through_seq <= lane.acked_seq {
            return;
        }
        lane.acked_seq = through_seq;
        lane.sent_seq_max = lane.sent_seq_max.max(through_seq);
        for batch in &mut lane.in_flight {
            batch.waits_since_ms = now_ms;
        }
        if lane.sent_seq < through_seq {
            // Rows that a former connection brought: nothing up to here is sent again.
            lane.in_flight.clear();
            lane.sent_seq = through_seq;
            lane.scanned_seq = lane.scanned_seq.max(through_seq);
            if self.reading.is_some_and(|(_, reading, _)| reading == stream) {
                self.reading = None;
            }
            lane.read_at_ms = Some(now_ms);
            self.count("ack_fast_forward");
        }
        let lane = self.lanes.get_mut(&stream).expect("it was just there");
        lane.settle();
        self.failures = 0;
        effects.push(Effect::SaveCursor { stream, acked_seq: through_seq });
    }

    /// Everything after the cursors is of the new epoch, and headquarters hears of it on a new connection.
    fn epoch_begun(&mut self, now_ms: u64, epoch: Epoch, effects: &mut Vec<Effect>) {
        self.options.epoch = epoch;
        self.renewing = false;
        self.count("epochs_begun");
        for lane in self.lanes.values_mut() {
            lane.base_seq = lane.acked_seq;
            lane.sent_seq_max = lane.acked_seq;
            lane.repeated_through = None;
        }
        self.reconnect(now_ms, effects);
    }

    fn resend(
        &mut self,
        now_ms: u64,
        id: String,
        stream: Stream,
        epoch: Epoch,
        after_seq: u64,
        effects: &mut Vec<Effect>,
    ) {
        if !self.up {
            return;
        }
        let failure = match self.lanes.get_mut(&stream) {
            None => Some(format!("stream `{stream}` is not forwarded")),
            Some(_) if epoch != self.options.epoch => {
                Some(format!("`epoch` is {epoch}, this journal is {}", self.options.epoch))
            }
            Some(lane) if lane.sent_seq < after_seq => {
                Some(format!("`after_seq` is {after_seq}, rows were sent through {}", lane.sent_seq))
            }
            Some(_) if self.renewing => Some("this journal is about to begin a new epoch".to_owned()),
            Some(lane) => {
                lane.go_back(after_seq.max(lane.base_seq));
                lane.read_at_ms = Some(now_ms);
                if self.reading.is_some_and(|(_, reading, _)| reading == stream) {
                    self.reading = None;
                }
                None
            }
        };
        self.count(if failure.is_none() { "resend" } else { "resend_refused" });
        effects.push(Effect::CommandResult { id, failure });
    }

    /// When the lane's oldest batch has waited too long.
    fn deadline(&self, lane: &Lane) -> Option<u64> {
        let limit = millis(self.options.ack_deadline);
        // Rows wait for the answer to the birth. During a renewal it is this hub's turn.
        let answer =
            (lane.fresh && lane.read_at_ms.is_some() && !self.renewing).then_some(self.up_since_ms + limit);
        let batches = lane.in_flight.iter().map(|batch| match batch.pubacked {
            // A slow line is no dead line: as long as PUBACKs come, those behind them wait their turn.
            false => batch.waits_since_ms.max(self.last_puback_ms) + limit,
            true => batch.waits_since_ms + limit,
        });
        batches.chain(answer).min()
    }

    fn timer(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if !self.up {
            return;
        }
        let late = |lane: &Lane| self.deadline(lane).is_some_and(|at| at <= now_ms);
        if self.lanes.values().any(late) {
            self.count("ack_deadline");
            return self.reconnect(now_ms, effects);
        }
        if self.status_due_ms <= now_ms {
            self.status_due_ms = now_ms + millis(self.options.status_every);
            effects.push(Effect::PublishStatus);
        }
    }
}

impl Lane {
    /// Starts over at the cursor, on a new connection.
    fn restart(&mut self, now_ms: u64, head_seq: u64) {
        self.in_flight.clear();
        self.sent_seq = self.acked_seq;
        self.scanned_seq = self.clean_seq.max(self.acked_seq);
        let news = self.scanned_seq < head_seq;
        self.read_at_ms = news.then_some(now_ms);
    }

    /// Offers everything after `seq` again.
    fn go_back(&mut self, seq: u64) {
        self.in_flight.clear();
        self.sent_seq = seq;
        self.scanned_seq = seq;
        self.clean_seq = self.clean_seq.min(seq);
    }

    /// Once everything sent is acknowledged, the rows up to `scanned_seq` need no second look.
    fn settle(&mut self) {
        if self.sent_seq <= self.acked_seq {
            self.clean_seq = self.clean_seq.max(self.scanned_seq);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests;
