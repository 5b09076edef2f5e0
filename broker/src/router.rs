//! rumqttd's `Router` and its supervisor: the one place that touches rumqttd.
//!
//! Owns the thread `mqtt-router-feed`, the router's links and its restarts; no clients, no
//! sessions' state. Numbered facts that keep the router alive, and messages whole without it:
//!
//! 1. Everything goes in through one publisher link, fed by one thread: pushes block, so they never
//!    happen on a runtime's worker. What waits for the thread is bounded.
//! 2. Topics and filters carry the prefix `t/` inside the router. So its habit of slicing off the
//!    first byte of a topic, which panics inside a character, always finds an ASCII one, and `$`
//!    never comes first. No `$share` filter ever gets here.
//! 3. Links are never closed while their router lives, so no late `Ready` can meet a freed id.
//!    Their client ids are made here, from a safe alphabet, and unique.
//! 4. Only QoS 0 publishes without properties and retain flag go in: no acknowledgements, aliases,
//!    subscription ids or wills for it to get wrong. What they mean is in the envelope.
//! 5. Each link is drained by a task of its own at memory speed into sessions' bounded queues, and
//!    answers `Unschedule` with `Ready` by the asynchronous call, which cannot block a worker.
//! 6. At most [`WINDOW_MESSAGES_MAX`] messages and [`WINDOW_BYTES_MAX`] bytes are in the router
//!    before a canary, published after them, has come back through a task. That is less than a
//!    filter's log holds, so the log does not overrun a link; if it ever does, the gap in the log's
//!    offsets is counted (`fanout_lost_router_log`).
//! 7. A router that dies (a link fails) or hangs (a canary is late by [`CANARY_DEADLINE`]) is
//!    replaced: new links, all filters again, and the whole unconfirmed window again. A lane takes
//!    only sequence numbers that grow, so nothing arrives twice.
//! 8. If a router dies twice on the same window, the window is given up and counted.
//! 9. rumqttd remembers every topic it delivered for ever; after `topics_max` distinct ones the
//!    router is replaced on purpose (`router_recycles`). A router has no way to stop but by its
//!    own fault: it is shown the topic of fact 2 without the prefix. The panic of its thread is
//!    swallowed by [`quiet_router_panics`] and logged as what it is.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    io,
    sync::{
        Arc, Once,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rumqttd::{
    Notification, Router, RouterConfig,
    local::{LinkBuilder, LinkError, LinkRx, LinkTx},
    protocol::{Packet, Publish},
};

use crate::{
    broker::Shared,
    counters::Counter,
    message::{self, Message},
    subscriptions::{LANES_MAX, Lane},
};

const WINDOW_MESSAGES_MAX: usize = 512;
const WINDOW_BYTES_MAX: usize = 128 * 1024;
/// Four of these are kept per filter: twice the window.
const SEGMENT_BYTES: usize = 64 * 1024;
const SEGMENTS: usize = 4;
/// How late a canary may be before its router counts as hung.
const CANARY_DEADLINE: Duration = Duration::from_secs(10);
/// How long the tasks of a dead router may take to hand over what they hold.
const DRAIN_DEADLINE: Duration = Duration::from_secs(2);
/// Publishes that are pushed into the router with one event.
const BATCH_MESSAGES_MAX: usize = 64;
/// Forwards that a lane's task handles before it lets others run.
const DRAIN_BURST: usize = 128;
const RESTART_PAUSE: Duration = Duration::from_millis(200);

const TOPIC_PREFIX: &str = "t/";
const CANARY_TOPIC: &str = "c/canary";
/// Its first byte is half a character: rumqttd's matcher panics on it.
const FATAL_TOPIC: &str = "\u{e9}";

/// What the feeding thread is told.
#[derive(Debug)]
pub(crate) enum Command {
    Publish(Arc<Message>),
    /// A lane that the router does not know yet.
    OpenLane(Lane, Arc<str>),
    /// Kills the router, as a bug of it would.
    Kill,
    Stop,
}

/// What the tasks of one router tell the feeding thread.
enum Report {
    Canary(u64),
    Died,
}

/// A lane's place over all routers: the last sequence number it took.
#[derive(Debug)]
struct LaneState {
    lane: Lane,
    filter: Arc<str>,
    taken: Arc<std::sync::Mutex<u64>>,
}

/// Starts the thread and waits until its first router runs.
pub(crate) fn spawn(
    shared: Arc<Shared>,
    commands: flume::Receiver<Command>,
    runtime: tokio::runtime::Handle,
) -> io::Result<thread::JoinHandle<()>> {
    quiet_router_panics();
    thread::Builder::new().name("mqtt-router-feed".to_owned()).spawn(move || {
        Feeder {
            shared,
            commands,
            runtime,
            lanes: Vec::new(),
            window: VecDeque::new(),
            window_bytes: 0,
            sequence: 0,
            deaths_in_a_row: 0,
        }
        .run();
    })
}

/// A router's thread ends by a panic, on purpose or not. The supervisor says what happened, so the
/// panic's own message would only alarm; panics of all other threads are shown as before.
fn quiet_router_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_router = thread::current().name().is_some_and(|name| name.starts_with("router-"));
            if is_router {
                tracing::debug!(panic = %info, "a router's thread has ended");
            } else {
                previous(info);
            }
        }));
    });
}

struct Feeder {
    shared: Arc<Shared>,
    commands: flume::Receiver<Command>,
    runtime: tokio::runtime::Handle,
    lanes: Vec<LaneState>,
    /// What went into the router and is not known to have left it.
    window: VecDeque<Sent>,
    window_bytes: usize,
    sequence: u64,
    deaths_in_a_row: u32,
}

struct Sent {
    sequence: u64,
    topic: Bytes,
    envelope: Bytes,
}

/// Why a router is no longer served.
enum End {
    Stop,
    Died(&'static str),
    /// On purpose: it has seen too many topics.
    Recycle,
}

impl From<LinkError> for End {
    fn from(_: LinkError) -> Self {
        Self::Died("a link failed")
    }
}

impl Feeder {
    fn run(mut self) {
        let mut generation = 0;
        loop {
            let mut running = match Running::start(generation, &self) {
                Ok(running) => running,
                Err(source) => {
                    tracing::error!(error = %source, "the router did not start, trying again");
                    thread::park_timeout(RESTART_PAUSE);
                    if self.shared.halt.is_cancelled() {
                        return;
                    }
                    generation += 1;
                    continue;
                }
            };
            let end = match self.serve(&mut running) {
                Ok(never) => match never {},
                Err(end) => end,
            };
            running.retire();
            match end {
                End::Stop => return,
                End::Recycle => self.shared.counters.one(Counter::RouterRecycles),
                End::Died(reason) => {
                    self.deaths_in_a_row += 1;
                    self.shared.counters.one(Counter::RouterRestarts);
                    tracing::error!(reason, generation, "the router is replaced");
                    if 2 <= self.deaths_in_a_row {
                        self.shared.counters.add(Counter::FanoutLostRestart, self.window.len() as u64);
                        self.window.clear();
                        self.window_bytes = 0;
                        thread::park_timeout(RESTART_PAUSE);
                    }
                }
            }
            generation += 1;
        }
    }

    /// Feeds one router until it ends.
    fn serve(&mut self, running: &mut Running) -> Result<std::convert::Infallible, End> {
        for lane in &self.lanes {
            running.open_lane(lane, &self.shared, &self.runtime)?;
        }
        let again: Vec<_> =
            self.window.iter().map(|sent| (sent.topic.clone(), sent.envelope.clone())).collect();
        for (topic, envelope) in again {
            running.push(topic, envelope)?;
        }
        running.canary(self.sequence, &self.shared)?;
        let period = self.shared.limits.canary_period;
        loop {
            let first = match self.commands.recv_timeout(running.canary_due(period)) {
                Ok(command) => Some(command),
                Err(flume::RecvTimeoutError::Timeout) => None,
                Err(flume::RecvTimeoutError::Disconnected) => return Err(End::Stop),
            };
            let is_idle = first.is_none();
            if self.shared.halt.is_cancelled() {
                return Err(End::Stop);
            }
            let mut next = first;
            for _ in 0..BATCH_MESSAGES_MAX {
                let Some(command) = next.take() else {
                    break;
                };
                self.obey(command, running)?;
                next = self.commands.try_recv().ok();
            }
            // What was taken beyond the batch must not be lost.
            if let Some(command) = next {
                self.obey(command, running)?;
            }
            running.flush()?;
            self.hear(running)?;
            let half_full =
                WINDOW_MESSAGES_MAX / 2 <= self.window.len() || WINDOW_BYTES_MAX / 2 <= self.window_bytes;
            if running.canary_on_its_way.is_none() && (is_idle || half_full || running.canary_is_due(period))
            {
                running.canary(self.sequence, &self.shared)?;
            }
            while WINDOW_MESSAGES_MAX <= self.window.len() || WINDOW_BYTES_MAX <= self.window_bytes {
                if running.canary_on_its_way.is_none() {
                    running.canary(self.sequence, &self.shared)?;
                }
                self.wait_for_report(running)?;
            }
            if self.shared.limits.topics_max <= running.topics.len() {
                if running.canary_on_its_way.is_none() {
                    running.canary(self.sequence, &self.shared)?;
                }
                while running.canary_on_its_way.is_some() {
                    self.wait_for_report(running)?;
                }
                return Err(End::Recycle);
            }
        }
    }

    fn obey(&mut self, command: Command, running: &mut Running) -> Result<(), End> {
        match command {
            Command::Publish(message) => {
                self.sequence += 1;
                let mut topic = Vec::with_capacity(TOPIC_PREFIX.len() + message.topic.len());
                topic.extend_from_slice(TOPIC_PREFIX.as_bytes());
                topic.extend_from_slice(message.topic.as_bytes());
                let topic = Bytes::from(topic);
                let envelope = message::seal(self.sequence, &message, self.shared.started_at);
                self.window_bytes += topic.len() + envelope.len();
                self.window.push_back(Sent {
                    sequence: self.sequence,
                    topic: topic.clone(),
                    envelope: envelope.clone(),
                });
                running.topics.insert(running.hasher.hash_one(&topic));
                running.push(topic, envelope)
            }
            Command::OpenLane(lane, filter) => {
                running.flush()?;
                let state = LaneState { lane, filter, taken: Arc::default() };
                let opened = running.open_lane(&state, &self.shared, &self.runtime);
                self.lanes.push(state);
                opened
            }
            Command::Kill => {
                running.flush()?;
                running.kill();
                Ok(())
            }
            Command::Stop => Err(End::Stop),
        }
    }

    /// Takes the reports that are there.
    fn hear(&mut self, running: &mut Running) -> Result<(), End> {
        while let Ok(report) = running.reports.try_recv() {
            self.take_report(report, running)?;
        }
        running.check_canary()
    }

    fn wait_for_report(&mut self, running: &mut Running) -> Result<(), End> {
        match running.reports.recv_timeout(CANARY_DEADLINE) {
            Ok(report) => self.take_report(report, running),
            Err(_) => Err(End::Died("the canary did not come back")),
        }
    }

    fn take_report(&mut self, report: Report, running: &mut Running) -> Result<(), End> {
        let sequence = match report {
            Report::Canary(sequence) => sequence,
            Report::Died => return Err(End::Died("the router has closed a link")),
        };
        running.canary_on_its_way = None;
        self.deaths_in_a_row = 0;
        while let Some(sent) = self.window.front()
            && sent.sequence <= sequence
        {
            self.window_bytes -= sent.topic.len() + sent.envelope.len();
            self.window.pop_front();
        }
        Ok(())
    }
}

/// One router and its links.
struct Running {
    connect: Box<dyn Fn(&str) -> Result<(LinkTx, LinkRx), LinkError> + Send>,
    generation: usize,
    publisher: LinkTx,
    /// The publisher's own notifications; kept, or the router would see its link as gone.
    _publisher_rx: LinkRx,
    unflushed: usize,
    reports: flume::Receiver<Report>,
    report: flume::Sender<Report>,
    canary_on_its_way: Option<Instant>,
    canary_sent: Instant,
    topics: HashSet<u64>,
    hasher: RandomState,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    tasks_alive: Arc<AtomicUsize>,
    task_ended: (flume::Sender<()>, flume::Receiver<()>),
}

impl Running {
    fn start(generation: usize, feeder: &Feeder) -> Result<Self, LinkError> {
        let config = RouterConfig {
            max_connections: LANES_MAX + 4,
            max_outgoing_packet_count: 256,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        };
        let events = Router::new(generation, config).spawn();
        // The event type has no public name; the closure hides it.
        let connect =
            move |name: &str| LinkBuilder::new(name, events.clone()).build().map(|(tx, rx, _)| (tx, rx));
        let (publisher, publisher_rx) = connect("publisher")?;
        let (mut canary, canary_rx) = connect("canary")?;
        canary.subscribe(CANARY_TOPIC)?;
        let (report, reports) = flume::bounded(LANES_MAX + 64);
        let mut running = Self {
            connect: Box::new(connect),
            generation,
            publisher,
            _publisher_rx: publisher_rx,
            unflushed: 0,
            reports,
            report,
            canary_on_its_way: None,
            canary_sent: Instant::now(),
            topics: HashSet::new(),
            hasher: RandomState::new(),
            tasks: Vec::new(),
            tasks_alive: Arc::default(),
            task_ended: flume::bounded(LANES_MAX + 4),
        };
        let report = running.report.clone();
        running.spawn_task(&feeder.runtime, async move { watch_canary(canary_rx, report).await });
        Ok(running)
    }

    fn spawn_task(
        &mut self,
        runtime: &tokio::runtime::Handle,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let alive = Arc::clone(&self.tasks_alive);
        let ended = self.task_ended.0.clone();
        alive.fetch_add(1, Ordering::AcqRel);
        self.tasks.push(runtime.spawn(async move {
            task.await;
            alive.fetch_sub(1, Ordering::AcqRel);
            // Full means that the other side is woken already.
            let _ = ended.try_send(());
        }));
    }

    fn open_lane(
        &mut self,
        state: &LaneState,
        shared: &Arc<Shared>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<(), End> {
        let (mut tx, rx) = (self.connect)(&format!("lane-{}-{}", self.generation, state.lane))?;
        tx.subscribe(format!("{TOPIC_PREFIX}{}", state.filter))?;
        let drain = LaneDrain {
            lane: state.lane,
            taken: Arc::clone(&state.taken),
            next_offset: None,
            shared: Arc::clone(shared),
        };
        let report = self.report.clone();
        self.spawn_task(runtime, async move { drain.run(rx, report).await });
        Ok(())
    }

    /// Adds a publish to the batch.
    fn push(&mut self, topic: Bytes, envelope: Bytes) -> Result<(), End> {
        self.publisher.buffer().push_back(Packet::Publish(Publish::new(topic, envelope, false), None));
        self.unflushed += 1;
        if BATCH_MESSAGES_MAX <= self.unflushed { self.flush() } else { Ok(()) }
    }

    /// Tells the router about the batch: only a publish carries the event, so an empty one follows.
    fn flush(&mut self) -> Result<(), End> {
        if 0 < self.unflushed {
            self.unflushed = 0;
            // Nobody takes this topic, so the router only drops it.
            self.publisher.publish("c/flush", Bytes::new())?;
        }
        Ok(())
    }

    fn canary(&mut self, sequence: u64, shared: &Shared) -> Result<(), End> {
        self.unflushed = 0;
        self.publisher.publish(CANARY_TOPIC, Bytes::copy_from_slice(&sequence.to_be_bytes()))?;
        shared.counters.one(Counter::Canaries);
        self.canary_sent = Instant::now();
        self.canary_on_its_way = Some(self.canary_sent);
        Ok(())
    }

    fn canary_due(&self, period: Duration) -> Duration {
        period.saturating_sub(self.canary_sent.elapsed()).max(Duration::from_millis(5))
    }

    fn canary_is_due(&self, period: Duration) -> bool {
        period <= self.canary_sent.elapsed()
    }

    fn check_canary(&self) -> Result<(), End> {
        match self.canary_on_its_way {
            Some(sent) if CANARY_DEADLINE <= sent.elapsed() => Err(End::Died("the canary did not come back")),
            _ => Ok(()),
        }
    }

    /// Ends the router's thread by its own fault. Does not block, even if the router hangs.
    fn kill(&mut self) {
        // An error means that it is dead or hangs already; either way there is nothing to end.
        drop(self.publisher.try_publish(FATAL_TOPIC, Bytes::from_static(b"end")));
    }

    /// Ends the router and waits until its tasks have handed over what they held.
    fn retire(mut self) {
        self.kill();
        let deadline = Instant::now() + DRAIN_DEADLINE;
        while 0 < self.tasks_alive.load(Ordering::Acquire) {
            if self.task_ended.1.recv_deadline(deadline).is_err() {
                tracing::error!(generation = self.generation, "a router hangs; its thread is left behind");
                break;
            }
        }
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Tells the feeding thread about every canary that comes back, and about the router's death.
async fn watch_canary(mut rx: LinkRx, report: flume::Sender<Report>) {
    loop {
        let sequence = match rx.next().await {
            Ok(Some(Notification::Forward(forward))) => message::sequence(&forward.publish.payload),
            Ok(Some(Notification::Unschedule)) => {
                drop(rx.wake().await);
                None
            }
            Ok(_) => None,
            Err(_) => break,
        };
        if let Some(sequence) = sequence
            && report.send_async(Report::Canary(sequence)).await.is_err()
        {
            return;
        }
    }
    // The feeding thread may have gone on already.
    drop(report.try_send(Report::Died));
}

/// One lane's way from its link to the sessions.
struct LaneDrain {
    lane: Lane,
    taken: Arc<std::sync::Mutex<u64>>,
    /// The log offset that comes next if nothing is lost.
    next_offset: Option<u64>,
    shared: Arc<Shared>,
}

impl LaneDrain {
    async fn run(mut self, mut rx: LinkRx, report: flume::Sender<Report>) {
        let mut burst = 0;
        loop {
            match rx.next().await {
                Ok(Some(Notification::Forward(forward))) => {
                    self.forward(forward);
                    burst += 1;
                    if DRAIN_BURST <= burst {
                        burst = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Ok(Some(Notification::Unschedule)) => {
                    if rx.wake().await.is_err() {
                        break;
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        // Full means that another task has said so already.
        drop(report.try_send(Report::Died));
    }

    fn forward(&mut self, forward: rumqttd::Forward) {
        if let Some((_, offset)) = forward.cursor {
            if let Some(expected) = self.next_offset
                && expected < offset
            {
                self.shared.counters.add(Counter::FanoutLostLog, offset - expected);
            }
            self.next_offset = Some(offset + 1);
        }
        let Some(sequence) = message::sequence(&forward.publish.payload) else {
            return;
        };
        {
            let mut taken = self.taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if sequence <= *taken {
                return;
            }
            *taken = sequence;
        }
        let Ok(topic) = std::str::from_utf8(&forward.publish.topic) else {
            return;
        };
        let topic = topic.strip_prefix(TOPIC_PREFIX).unwrap_or(topic);
        if let Some(message) = message::open(topic, forward.publish.payload, self.shared.started_at) {
            self.shared.deliver(self.lane, &Arc::new(message));
        }
    }
}
