//! The forwarder against a simulated lossy link and a simulated headquarters.
//!
//! Owns no threads and no clock: one list of operations gives one run, so that a failing seed stays a failing seed.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const EPOCH: Epoch = 7;
const WINDOW: usize = 4;
const STREAMS: [Stream; 3] = [Stream::Rollups, Stream::Events, Stream::Readings];
const BATCH_ROWS_MAX: usize = 3;

fn options() -> Options {
    Options {
        epoch: EPOCH,
        window: WINDOW,
        linger: Duration::from_millis(200),
        ack_deadline: Duration::from_secs(30),
        retry_min: Duration::from_secs(1),
        retry_max: Duration::from_secs(60),
        status_every: Duration::from_secs(60),
        read_retry: Duration::from_secs(1),
    }
}

/// What crosses the link upwards.
#[derive(Debug, Clone)]
struct Upward {
    token: Token,
    stream: Stream,
    prev_seq: u64,
    rows: Vec<u64>,
}

/// What headquarters has of one stream, as the contract says it; kept apart from the product's own bookkeeping.
#[derive(Debug, Default, Clone)]
struct Archive {
    through_seq: u64,
    rows: BTreeSet<u64>,
    kept: Vec<(u64, u64)>,
}

impl Archive {
    fn take(&mut self, prev_seq: u64, rows: &[u64]) -> bool {
        let last_seq = *rows.last().unwrap();
        self.rows.extend(rows);
        self.kept.push((prev_seq, last_seq));
        let gap = self.through_seq < prev_seq;
        while let Some(place) = self.kept.iter().position(|&(prev, _)| prev <= self.through_seq) {
            self.through_seq = self.through_seq.max(self.kept.remove(place).1);
        }
        gap
    }
}

#[derive(Debug)]
struct World {
    now_ms: u64,
    forwarder: Forwarder,
    /// All rows of the journal: the place in this list plus one is the `seq`.
    journal: Vec<Stream>,
    cursors: BTreeMap<Stream, u64>,
    archive: BTreeMap<Stream, Archive>,
    up: bool,
    upward: VecDeque<Upward>,
    downward: VecDeque<Input>,
    reconnect_at: Option<u64>,
    /// Reads that were asked for, oldest first; the forwarder may have given up all but the last.
    reads: VecDeque<(ReadId, Stream, u64)>,
    answered: Vec<u64>,
    /// The last row sent of each stream on this connection: what the next batch must follow.
    sent: BTreeMap<Stream, u64>,
    commands: u32,
}

impl World {
    fn new() -> Self {
        let cursors = STREAMS.map(|stream| (stream, 0));
        Self {
            now_ms: 1_000,
            forwarder: Forwarder::new(options(), &cursors, 0, 0),
            journal: Vec::new(),
            cursors: cursors.into(),
            archive: STREAMS.map(|stream| (stream, Archive::default())).into(),
            up: false,
            upward: VecDeque::new(),
            downward: VecDeque::new(),
            reconnect_at: Some(0),
            reads: VecDeque::new(),
            answered: Vec::new(),
            sent: BTreeMap::new(),
            commands: 0,
        }
    }

    fn rows_after(&self, stream: Stream, after_seq: u64) -> Vec<u64> {
        let seqs = (1..).zip(&self.journal).filter(|&(seq, &of)| after_seq < seq && of == stream);
        seqs.map(|(seq, _)| seq).collect()
    }

    fn feed(&mut self, input: Input) {
        if let Input::Ack { stream, epoch: EPOCH, through_seq } = input {
            let sent = self.sent.entry(stream).or_default();
            *sent = (*sent).max(through_seq);
        }
        if let Input::Resend { stream, after_seq, .. } = input {
            self.sent.insert(stream, after_seq);
        }
        for effect in self.forwarder.handle(self.now_ms, input) {
            self.carry_out(effect);
        }
        let in_flight: usize = self.forwarder.lanes().map(|(_, lane)| lane.in_flight).sum();
        assert!(in_flight <= WINDOW, "{in_flight} batches are on their way");
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::ReconnectAfter(pause) => {
                assert!(pause <= options().retry_max);
                self.up = false;
                self.upward.clear();
                self.downward.clear();
                self.reads.clear();
                self.reconnect_at = Some(self.now_ms + millis(pause));
            }
            Effect::PublishBirth => {
                assert!(self.up);
                // Headquarters answers a birth with what it has.
                for (&stream, archive) in &self.archive {
                    let through_seq = archive.through_seq;
                    self.downward.push_back(Input::Ack { stream, epoch: EPOCH, through_seq });
                }
            }
            Effect::PublishStatus | Effect::CommandResult { failure: None, .. } => assert!(self.up),
            Effect::CommandResult { failure: Some(reason), .. } => panic!("resend refused: {reason}"),
            Effect::Read { read, stream, scan_after } => {
                assert!(self.up);
                self.reads.push_back((read, stream, scan_after));
            }
            Effect::Publish { token, stream, prev_seq, last_seq } => {
                assert!(self.up);
                assert_eq!(self.sent[&stream], prev_seq, "{stream}: batches follow each other");
                let mut rows = self.rows_after(stream, prev_seq);
                rows.retain(|&seq| seq <= last_seq);
                assert_eq!(rows, self.answered, "{stream}: no row between two batches is left out");
                self.sent.insert(stream, last_seq);
                self.upward.push_back(Upward { token, stream, prev_seq, rows });
            }
            Effect::SaveCursor { stream, acked_seq } => {
                assert!(self.cursors[&stream] < acked_seq, "a cursor never goes back");
                let archive = &self.archive[&stream];
                let mut rows = self.rows_after(stream, 0);
                rows.retain(|&seq| seq <= acked_seq);
                assert!(
                    rows.iter().all(|seq| archive.rows.contains(seq)),
                    "released before it was committed"
                );
                self.cursors.insert(stream, acked_seq);
            }
        }
    }

    fn connect(&mut self) {
        if self.reconnect_at.is_some_and(|at| at <= self.now_ms) {
            self.reconnect_at = None;
            self.up = true;
            self.sent = self.cursors.clone();
            self.feed(Input::LinkUp);
        }
    }

    fn answer_read(&mut self, fails: bool) {
        let Some((read, stream, scan_after)) = self.reads.pop_front() else { return };
        if fails {
            return self.feed(Input::ReadFailed { read });
        }
        let mut rows = self.rows_after(stream, scan_after);
        rows.truncate(BATCH_ROWS_MAX);
        let last_seq = rows.last().copied();
        self.answered = rows;
        self.feed(Input::Rows { read, last_seq });
    }

    fn headquarters_takes(&mut self, fate: Fate) {
        let Some(batch) = self.upward.pop_front() else { return };
        if fate == Fate::Lost {
            return;
        }
        self.downward.push_back(Input::PubAck(batch.token));
        if fate == Fate::Swallowed {
            return;
        }
        let stream = batch.stream;
        let archive = self.archive.get_mut(&stream).unwrap();
        let gap = archive.take(batch.prev_seq, &batch.rows);
        let through_seq = archive.through_seq;
        self.downward.push_back(match gap {
            false => Input::Ack { stream, epoch: EPOCH, through_seq },
            true => {
                self.commands += 1;
                let id = self.commands.to_string();
                Input::Resend { id, stream, epoch: EPOCH, after_seq: through_seq }
            }
        });
    }

    fn run(&mut self, operation: &Operation) {
        match *operation {
            Operation::Append { stream, rows } => {
                self.journal.extend(std::iter::repeat_n(STREAMS[stream], rows));
                let head = self.journal.len() as u64;
                self.feed(Input::Durable { head });
            }
            Operation::Read { fails } => self.answer_read(fails),
            Operation::Up(fate) => self.headquarters_takes(fate),
            Operation::Down => {
                if let Some(input) = self.downward.pop_front() {
                    self.feed(input);
                }
            }
            Operation::DownLost => drop(self.downward.pop_front()),
            Operation::Cut => {
                if self.up {
                    self.feed(Input::LinkDown);
                }
            }
            Operation::ForeignAck { stream, epoch, through_seq } => {
                let before = self.cursors.clone();
                self.feed(Input::Ack { stream: STREAMS[stream], epoch, through_seq });
                assert_eq!(before, self.cursors, "an acknowledgement of another epoch moved a cursor");
            }
            Operation::Wait { ms } => {
                self.now_ms += ms;
                if self.forwarder.next_timer().is_some_and(|at| at <= self.now_ms) {
                    self.feed(Input::Timer);
                }
                self.connect();
            }
            Operation::Restart { forgets } => {
                if forgets {
                    // The last saves did not reach the disk.
                    self.cursors = self.cursors.iter().map(|(&stream, &seq)| (stream, seq / 2)).collect();
                }
                let cursors: Vec<_> = self.cursors.iter().map(|(&stream, &seq)| (stream, seq)).collect();
                self.forwarder =
                    Forwarder::new(options(), &cursors, self.journal.len() as u64, self.journal.len() as u64);
                self.up = false;
                self.upward.clear();
                self.downward.clear();
                self.reads.clear();
                self.reconnect_at = Some(self.now_ms);
            }
        }
    }

    /// Everything works from here on: all rows must arrive.
    fn heal(&mut self) {
        for _ in 0..10_000 {
            while !self.reads.is_empty() || !self.upward.is_empty() || !self.downward.is_empty() {
                self.answer_read(false);
                self.headquarters_takes(Fate::Taken);
                while let Some(input) = self.downward.pop_front() {
                    self.feed(input);
                }
            }
            let done = STREAMS.iter().all(|&stream| {
                let last = self.rows_after(stream, 0).last().copied().unwrap_or_default();
                last <= self.cursors[&stream]
            });
            if done && self.up {
                return;
            }
            let next = self.forwarder.next_timer().into_iter().chain(self.reconnect_at).min();
            let at = next.expect("something is always due while rows wait");
            self.run(&Operation::Wait { ms: at.saturating_sub(self.now_ms) });
        }
        panic!("rows still wait: {self:#?}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Taken,
    /// PUBACKed, then lost before headquarters' database.
    Swallowed,
    /// Neither.
    Lost,
}

#[derive(Debug, Clone)]
enum Operation {
    Append { stream: usize, rows: usize },
    Read { fails: bool },
    Up(Fate),
    Down,
    DownLost,
    Cut,
    ForeignAck { stream: usize, epoch: Epoch, through_seq: u64 },
    Wait { ms: u64 },
    Restart { forgets: bool },
}

fn operation() -> impl Strategy<Value = Operation> {
    let fate = prop_oneof![8 => Just(Fate::Taken), 1 => Just(Fate::Swallowed), 1 => Just(Fate::Lost)];
    let foreign = prop_oneof![Just(EPOCH - 1), Just(EPOCH + 1)];
    prop_oneof![
        8 => (0..STREAMS.len(), 1..12_usize).prop_map(|(stream, rows)| Operation::Append { stream, rows }),
        12 => prop::bool::weighted(0.1).prop_map(|fails| Operation::Read { fails }),
        12 => fate.prop_map(Operation::Up),
        16 => Just(Operation::Down),
        2 => Just(Operation::DownLost),
        2 => Just(Operation::Cut),
        2 => (0..STREAMS.len(), foreign, 0..200_u64)
            .prop_map(|(stream, epoch, through_seq)| Operation::ForeignAck { stream, epoch, through_seq }),
        10 => prop_oneof![0..300_u64, 0..5_000_u64, 0..100_000_u64].prop_map(|ms| Operation::Wait { ms }),
        1 => any::<bool>().prop_map(|forgets| Operation::Restart { forgets }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_row_arrives_whatever_the_link_does(operations in prop::collection::vec(operation(), 1..250)) {
        let mut world = World::new();
        for operation in &operations {
            world.run(operation);
        }
        world.heal();
        for stream in STREAMS {
            let rows: BTreeSet<u64> = world.rows_after(stream, 0).into_iter().collect();
            prop_assert_eq!(&rows, &world.archive[&stream].rows);
        }
    }
}

fn connected(cursors: &[(Stream, u64)], head: u64) -> Forwarder {
    let mut forwarder = Forwarder::new(options(), cursors, head, head);
    assert_eq!(forwarder.next_timer(), None);
    forwarder.handle(0, Input::LinkUp);
    forwarder
}

/// Answers reads with full batches until the forwarder asks for no more; gives what it published.
fn drain(forwarder: &mut Forwarder, now_ms: u64, mut effects: Vec<Effect>) -> Vec<(Stream, u64, u64)> {
    let mut published = Vec::new();
    while let Some(effect) = effects.pop() {
        match effect {
            Effect::Read { read, scan_after, .. } => {
                let input = Input::Rows { read, last_seq: Some(scan_after + 10) };
                effects.splice(0..0, forwarder.handle(now_ms, input));
            }
            Effect::Publish { stream, prev_seq, last_seq, .. } => {
                published.push((stream, prev_seq, last_seq))
            }
            _ => {}
        }
    }
    published
}

#[test]
fn a_backlog_leaves_every_other_stream_a_slot_of_its_own() {
    let mut forwarder =
        Forwarder::new(options(), &[(Stream::Events, 1_000), (Stream::Readings, 0)], 1_000, 1_000);
    let effects = forwarder.handle(0, Input::LinkUp);
    let published = drain(&mut forwarder, 0, effects);
    assert_eq!(published.len(), WINDOW - 1, "{published:?}");
    assert!(published.iter().all(|&(stream, ..)| stream == Stream::Readings));

    forwarder.handle(0, Input::Durable { head: 1_001 });
    let effects = forwarder.handle(200, Input::Timer);
    let published = drain(&mut forwarder, 200, effects);
    assert_eq!(published, [(Stream::Events, 1_000, 1_010)]);
}

#[test]
fn an_acknowledgement_beyond_what_was_sent_is_refused_and_counted() {
    let mut forwarder = connected(&[(Stream::Events, 5)], 50);
    let ack = |through_seq| Input::Ack { stream: Stream::Events, epoch: EPOCH, through_seq };
    // A former process sent these rows: the cursor is older than the truth.
    let effects = forwarder.handle(1, ack(20));
    assert_eq!(effects[0], Effect::SaveCursor { stream: Stream::Events, acked_seq: 20 });
    assert!(matches!(effects[1], Effect::Read { scan_after: 20, .. }));
    forwarder.handle(1, Input::Durable { head: 80 });
    assert_eq!(forwarder.handle(1, ack(60)), []);
    assert_eq!(forwarder.counters()["ack_refused_beyond_sent"], 1);
    forwarder.handle(1, Input::Ack { stream: Stream::Readings, epoch: EPOCH, through_seq: 1 });
    assert_eq!(forwarder.counters()["ack_refused_stream"], 1);
    forwarder.handle(1, Input::Ack { stream: Stream::Events, epoch: EPOCH - 1, through_seq: 30 });
    assert_eq!(forwarder.counters()["ack_refused_epoch"], 1);
}

#[test]
fn a_journal_older_than_headquarters_stops_its_stream_instead_of_losing_rows() {
    let mut forwarder = connected(&[(Stream::Events, 5)], 10);
    forwarder.handle(1, Input::Ack { stream: Stream::Events, epoch: EPOCH, through_seq: 40 });
    assert_eq!(forwarder.lanes().next().unwrap().1.halted_at, Some(40));
    assert_eq!(forwarder.handle(2, Input::Durable { head: 60 }), []);
    forwarder.handle(3, Input::LinkDown);
    let effects = forwarder.handle(4, Input::LinkUp);
    assert_eq!(effects, [Effect::PublishBirth, Effect::PublishStatus]);
    assert_eq!(forwarder.handle(5, Input::Ack { stream: Stream::Events, epoch: EPOCH, through_seq: 40 }), []);
}

#[test]
fn a_resend_goes_back_even_behind_the_cursor_and_ends_without_a_reconnect() {
    let mut forwarder = connected(&[(Stream::Events, 10)], 10);
    let resend = |id: &str, epoch, after_seq| Input::Resend {
        id: id.to_owned(),
        stream: Stream::Events,
        epoch,
        after_seq,
    };
    let effects = forwarder.handle(1, resend("a", EPOCH, 0));
    assert_eq!(effects[0], Effect::CommandResult { id: "a".to_owned(), failure: None });
    let Effect::Read { read, scan_after: 0, .. } = effects[1] else { panic!("{effects:?}") };
    let effects = forwarder.handle(1, Input::Rows { read, last_seq: Some(10) });
    assert!(matches!(effects[0], Effect::Publish { prev_seq: 0, last_seq: 10, .. }));
    forwarder.handle(2, Input::Ack { stream: Stream::Events, epoch: EPOCH, through_seq: 10 });
    assert_eq!(forwarder.lanes().next().unwrap().1.in_flight, 0);

    let effects = forwarder.handle(3, resend("b", EPOCH + 1, 0));
    assert!(
        matches!(&effects[0], Effect::CommandResult { failure: Some(reason), .. } if reason.contains("epoch"))
    );
    let effects = forwarder.handle(3, resend("c", EPOCH, 99));
    assert!(
        matches!(&effects[0], Effect::CommandResult { failure: Some(reason), .. } if reason.contains("99"))
    );
}

#[test]
fn a_swallowed_puback_costs_the_connection_after_the_deadline_and_pauses_grow() {
    let mut forwarder = Forwarder::new(options(), &[(Stream::Events, 0)], 30, 30);
    let mut now_ms = 0;
    for secs in [1, 2, 4, 8, 16, 32, 60, 60] {
        let effects = forwarder.handle(now_ms, Input::LinkUp);
        assert_eq!(drain(&mut forwarder, now_ms, effects).len(), WINDOW);
        assert_eq!(forwarder.next_timer(), Some(now_ms + 30_000));
        now_ms += 30_000;
        assert_eq!(
            forwarder.handle(now_ms, Input::Timer),
            [Effect::ReconnectAfter(Duration::from_secs(secs))]
        );
    }
    assert_eq!(forwarder.counters()["ack_deadline"], 8);
}

#[test]
fn a_slow_line_is_no_dead_line() {
    let mut forwarder = Forwarder::new(options(), &[(Stream::Events, 0)], 1_000, 1_000);
    let effects = forwarder.handle(0, Input::LinkUp);
    drain(&mut forwarder, 0, effects);
    for token in 1..=4 {
        let now_ms = token * 20_000;
        let effects = forwarder.handle(now_ms, Input::Timer);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::ReconnectAfter(_))), "{effects:?}");
        forwarder.handle(now_ms, Input::PubAck(token));
        let through_seq = token * 10;
        forwarder.handle(now_ms, Input::Ack { stream: Stream::Events, epoch: EPOCH, through_seq });
    }
    assert_eq!(forwarder.counters().get("ack_deadline"), None);
}

#[test]
fn what_was_sent_before_a_crash_is_honest_although_it_cannot_be_read_again_yet() {
    let mut forwarder = Forwarder::new(options(), &[(Stream::Events, 900)], 950, 1_000);
    forwarder.handle(0, Input::LinkUp);
    let ack = Input::Ack { stream: Stream::Events, epoch: options().epoch, through_seq: 990 };
    assert!(
        forwarder.handle(1, ack).contains(&Effect::SaveCursor { stream: Stream::Events, acked_seq: 990 })
    );
    assert_eq!(forwarder.lanes().next().unwrap().1.halted_at, None);
}
