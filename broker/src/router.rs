//! rumqttd's `Router` and its supervisor: the one place that touches rumqttd.
//!
//! Owns the thread `mqtt-router-feed`, the router's links and its restarts; no clients, no
//! sessions' state. Numbered facts that keep the router alive, and messages whole without it:
//!
//! 1. Everything goes in through one publisher link, fed by one thread: pushes block, so they never
//!    happen on a runtime's worker. What waits for the thread is bounded, in messages and bytes.
//! 2. Topics and filters carry the prefix `t/` inside the router. So its habit of slicing off the
//!    first byte of a topic, which panics inside a character, always finds an ASCII one, and `$`
//!    never comes first. No `$share` filter ever gets here.
//! 3. Links are never closed while their router lives, so no late `Ready` can meet a freed id.
//!    Their client ids are made here, from a safe alphabet, and unique.
//! 4. Only QoS 0 publishes without properties and retain flag go in: no acknowledgements, aliases,
//!    subscription ids or wills for it to get wrong. What they mean is in the envelope.
//! 5. Each link is drained by a task of its own at memory speed into sessions' bounded queues, and
//!    answers `Unschedule` with `Ready` by the asynchronous call, which cannot block a worker.
//! 6. A message stays in the *window* until every lane that takes its topic has taken it. At most
//!    [`WINDOW_MESSAGES_MAX`] messages and [`WINDOW_BYTES_MAX`] bytes are in the window, or one
//!    message that is larger. That is less than a filter's log holds, so the log cannot overrun a
//!    lane, however late its task runs; if it ever does, the gap in the log's offsets is counted
//!    (`fanout_lost_router_log`).
//! 7. A lane's filter is confirmed by the router before anything that it may take goes in: the
//!    router swaps out a link's whole buffer at any of its events, so a publish may overtake a
//!    subscription that was sent before it on another link.
//! 8. A router that dies (a link fails) or hangs (a canary or the oldest message of the
//!    window is late by [`ROUTER_DEADLINE`]) is replaced: new links, all filters again, and the whole window again.
//!    A lane takes only sequence numbers that grow, so nothing arrives twice. A panic of the
//!    feeding thread itself is handled the same way.
//! 9. If a router dies twice and no message of the window arrived in between, the window is given up
//!    and counted: one of it may be what kills. After
//!    [`DEATHS_MAX`] deaths without one canary between them the broker gives up and says so
//!    ([`Handle::failed`](crate::Handle::failed)).
//! 10. rumqttd remembers every topic it delivered for ever; after `topics_max` distinct ones the
//!     router is replaced on purpose (`router_recycles`). A router has no way to stop but by its
//!     own fault: it is shown the topic of fact 2 without the prefix. The panic of its thread is
//!     swallowed by [`quiet_router_panics`] and logged as what it is.

use std::{
    collections::{HashSet, VecDeque},
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    io,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Once,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
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
    topic::filter_matches,
};

const WINDOW_MESSAGES_MAX: usize = 512;
const WINDOW_BYTES_MAX: usize = 128 * 1024;
/// Four of these are kept per filter, the newest of them in part: more than the window holds.
const SEGMENT_BYTES: usize = 64 * 1024;
const SEGMENTS: usize = 4;
/// What rumqttd counts for a message beside its topic and payload.
const LOG_OVERHEAD_BYTES: usize = 4;
/// How long a router may show no sign of life before it counts as hung.
const ROUTER_DEADLINE: Duration = Duration::from_secs(10);
/// How long the tasks of a dead router may take to hand over what they hold.
const DRAIN_DEADLINE: Duration = Duration::from_secs(2);
/// Publishes that are pushed into the router with one event.
const BATCH_MESSAGES_MAX: usize = 64;
/// Forwards that a lane's task handles before it lets others run.
const DRAIN_BURST: usize = 128;
const RESTART_PAUSE: Duration = Duration::from_millis(200);
/// Deaths without a canary between them after which the broker gives up.
const DEATHS_MAX: u32 = 8;

const TOPIC_PREFIX: &str = "t/";
const CANARY_TOPIC: &str = "c/canary";
/// Its first byte is half a character: rumqttd's matcher panics on it.
const FATAL_TOPIC: &str = "\u{e9}";

/// A set of lanes, one bit each.
type Lanes = u128;
const _: () = assert!(LANES_MAX <= Lanes::BITS as usize);

/// What the feeding thread is told. New lanes it finds by itself, before each publish.
#[derive(Debug)]
pub(crate) enum Command {
    Publish(Arc<Message>),
    /// Something happened that a waiting thread should look at.
    Look,
    /// Kills the router, as a bug of it would.
    KillRouter,
    /// Kills the feeding thread, as a bug of ours would.
    KillFeeder,
}

/// What the tasks of one router show the feeding thread.
#[derive(Debug)]
struct Signs {
    died: AtomicBool,
    /// The number of the last canary that came back.
    canary: AtomicU64,
    /// The feeding thread waits on the bell.
    is_awaited: AtomicBool,
    bell: flume::Sender<()>,
    commands: flume::Sender<Command>,
}

/// Says that the router is dead when the task that holds it ends, in whatever way.
struct Mourner(Arc<Signs>);

impl Drop for Mourner {
    fn drop(&mut self) {
        self.0.died();
    }
}

impl Signs {
    /// Wakes the feeding thread if it waits for the router. The caller has changed an atomic that
    /// the thread looks at after it has set `is_awaited`; both sides need the total order.
    fn moved(&self) {
        if self.is_awaited.load(Ordering::SeqCst) {
            // Full means that it is rung already.
            let _ = self.bell.try_send(());
        }
    }

    fn died(&self) {
        self.died.store(true, Ordering::SeqCst);
        let _ = self.bell.try_send(());
        // A full queue means that the thread is awake and looks by itself.
        drop(self.commands.try_send(Command::Look));
    }
}

/// A lane's place over all routers.
#[derive(Debug)]
struct LaneState {
    lane: Lane,
    filter: Arc<str>,
    /// The last sequence number it took.
    taken: Arc<AtomicU64>,
}

/// Starts the thread.
pub(crate) fn spawn(
    shared: Arc<Shared>,
    commands: flume::Receiver<Command>,
    runtime: tokio::runtime::Handle,
) -> io::Result<()> {
    quiet_router_panics();
    let feeder = Feeder {
        shared,
        commands,
        runtime,
        generation: 0,
        lanes: Vec::new(),
        window: VecDeque::new(),
        window_bytes: 0,
        sequence: 0,
        deaths_in_a_row: 0,
        deaths_on_window: 0,
    };
    thread::Builder::new().name("mqtt-router-feed".to_owned()).spawn(move || feeder.supervise()).map(drop)
}

/// A router's thread ends by a panic, on purpose or not. The supervisor says what happened, so the
/// panic's own message would only alarm; panics of all other threads are shown as before.
fn quiet_router_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
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
    generation: usize,
    lanes: Vec<LaneState>,
    /// What went into the router and is not known to have left it.
    window: VecDeque<Sent>,
    window_bytes: usize,
    sequence: u64,
    /// Deaths since a canary came back: whether any router works at all.
    deaths_in_a_row: u32,
    /// Deaths since a message of the window arrived: whether the window itself is what kills.
    deaths_on_window: u32,
}

struct Sent {
    sequence: u64,
    topic: Bytes,
    envelope: Bytes,
    /// The lanes that take it.
    lanes: Lanes,
}

impl Sent {
    fn bytes(&self) -> usize {
        LOG_OVERHEAD_BYTES + self.topic.len() + self.envelope.len()
    }
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
    /// Runs until the broker stops or nothing helps any more.
    fn supervise(mut self) {
        let ended = self.shared.feeder_ended.clone();
        loop {
            // What the thread owns is only ever changed between two messages; at worst a panic
            // leaves a message that is sent again, or one that is not counted in the window's bytes.
            let end = panic::catch_unwind(AssertUnwindSafe(|| self.run_router()))
                .unwrap_or(End::Died("the feeding thread panicked"));
            match end {
                End::Stop => break,
                End::Recycle => self.shared.counters.one(Counter::RouterRecycles),
                End::Died(reason) => {
                    if !self.outlives(reason) {
                        self.count_the_lost();
                        break;
                    }
                }
            }
            self.generation += 1;
        }
        drop(self);
        ended.cancel();
    }

    /// Whether to go on after a router's death.
    fn outlives(&mut self, reason: &'static str) -> bool {
        self.deaths_in_a_row += 1;
        self.deaths_on_window += 1;
        self.shared.counters.one(Counter::RouterRestarts);
        tracing::error!(reason, generation = self.generation, "the router is replaced");
        if DEATHS_MAX <= self.deaths_in_a_row {
            self.give_up_window();
            self.shared.fail(&format!(
                "the message router ended {} times without working in between: {reason}",
                self.deaths_in_a_row
            ));
            return false;
        }
        if 2 <= self.deaths_on_window {
            self.give_up_window();
        }
        if 2 <= self.deaths_in_a_row {
            thread::park_timeout(RESTART_PAUSE);
        }
        true
    }

    /// After the end: nothing is delivered any more, and each message that is not is counted.
    fn count_the_lost(&self) {
        while !self.shared.halt.is_cancelled() {
            if let Ok(Command::Publish(message)) = self.commands.recv() {
                self.shared.leave_queue(&message);
                self.shared.counters.one(Counter::FanoutLostRestart);
            }
        }
    }

    fn give_up_window(&mut self) {
        self.shared.counters.add(Counter::FanoutLostRestart, self.window.len() as u64);
        self.window.clear();
        self.window_bytes = 0;
        self.deaths_on_window = 0;
    }

    /// Starts one router and feeds it until it ends.
    fn run_router(&mut self) -> End {
        let mut running = match Running::start(self) {
            Ok(running) => running,
            Err(end) => return end,
        };
        let end = match self.serve(&mut running) {
            Ok(never) => match never {},
            Err(end) => end,
        };
        running.retire();
        end
    }

    fn serve(&mut self, running: &mut Running) -> Result<Infallible, End> {
        for lane in &self.lanes {
            running.open_lane(lane, &self.shared, &self.runtime)?;
        }
        for sent in &self.window {
            running.push(sent.topic.clone(), sent.envelope.clone())?;
        }
        running.window_moved = Instant::now();
        running.canary(&self.shared)?;
        let period = self.shared.limits.canary_period;
        loop {
            let first = match self.commands.recv_timeout(running.next_look(period)) {
                Ok(command) => Some(command),
                Err(flume::RecvTimeoutError::Timeout) => None,
                Err(flume::RecvTimeoutError::Disconnected) => return Err(End::Stop),
            };
            if self.shared.halt.is_cancelled() {
                return Err(End::Stop);
            }
            let mut next = first;
            let mut taken = 0;
            while let Some(command) = next.take() {
                self.obey(command, running)?;
                taken += 1;
                if taken < BATCH_MESSAGES_MAX {
                    next = self.commands.try_recv().ok();
                }
            }
            running.flush()?;
            self.open_new_lanes(running)?;
            self.hear(running)?;
            if running.canary_is_due(period) {
                running.canary(&self.shared)?;
            }
            if self.shared.limits.topics_max <= running.topics.len() {
                self.wait_until(running, |feeder| feeder.window.is_empty())?;
                return Err(End::Recycle);
            }
        }
    }

    fn obey(&mut self, command: Command, running: &mut Running) -> Result<(), End> {
        match command {
            Command::Publish(message) => {
                self.shared.leave_queue(&message);
                self.open_new_lanes(running)?;
                self.publish(&message, running)
            }
            Command::Look => Ok(()),
            Command::KillRouter => {
                running.flush()?;
                running.kill();
                Ok(())
            }
            Command::KillFeeder => panic::resume_unwind(Box::new("asked for")),
        }
    }

    fn publish(&mut self, message: &Message, running: &mut Running) -> Result<(), End> {
        let mut lanes: Lanes = 0;
        for lane in &self.lanes {
            if filter_matches(&lane.filter, &message.topic) {
                lanes |= 1 << lane.lane;
            }
        }
        let mut topic = Vec::with_capacity(TOPIC_PREFIX.len() + message.topic.len());
        topic.extend_from_slice(TOPIC_PREFIX.as_bytes());
        topic.extend_from_slice(message.topic.as_bytes());
        let topic = Bytes::from(topic);
        let sequence = self.sequence + 1;
        let envelope = message::seal(sequence, message, self.shared.started_at);
        let sent = Sent { sequence, topic: topic.clone(), envelope: envelope.clone(), lanes };
        self.wait_until(running, |feeder| feeder.has_room(sent.bytes()))?;
        if self.window.is_empty() {
            running.window_moved = Instant::now();
        }
        self.sequence = sequence;
        self.window_bytes += sent.bytes();
        self.window.push_back(sent);
        running.topics.insert(running.hasher.hash_one(&topic));
        running.push(topic, envelope)
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.window.is_empty()
            || (self.window.len() < WINDOW_MESSAGES_MAX && self.window_bytes + bytes <= WINDOW_BYTES_MAX)
    }

    /// Opens the lanes that subscriptions have asked for since the last look. Whoever sends a
    /// publish has seen its subscriptions before, so no publish is ahead of its lane.
    fn open_new_lanes(&mut self, running: &mut Running) -> Result<(), End> {
        for (lane, filter) in self.shared.lanes_from(self.lanes.len()) {
            running.flush()?;
            let taken = Arc::new(AtomicU64::new(self.sequence));
            let state = LaneState { lane, filter, taken };
            let opened = running.open_lane(&state, &self.shared, &self.runtime);
            // Kept in any case: if this router died of it, the next one is told as well.
            self.lanes.push(state);
            opened?;
        }
        Ok(())
    }

    /// Takes note of what has arrived.
    fn hear(&mut self, running: &mut Running) -> Result<(), End> {
        if running.signs.died.load(Ordering::SeqCst) {
            return Err(End::Died("the router has closed a link"));
        }
        while let Some(sent) = self.window.front() {
            let is_taken = self.lanes.iter().all(|lane| {
                sent.lanes & (1 << lane.lane) == 0 || sent.sequence <= lane.taken.load(Ordering::SeqCst)
            });
            if !is_taken {
                break;
            }
            self.window_bytes -= sent.bytes();
            self.window.pop_front();
            self.deaths_on_window = 0;
            running.window_moved = Instant::now();
        }
        if running.canary_on_its_way && running.canaries <= running.signs.canary.load(Ordering::SeqCst) {
            running.canary_on_its_way = false;
            self.deaths_in_a_row = 0;
        }
        if running.canary_on_its_way && ROUTER_DEADLINE <= running.canary_sent.elapsed() {
            return Err(End::Died("the canary did not come back"));
        }
        if !self.window.is_empty() && ROUTER_DEADLINE <= running.window_moved.elapsed() {
            return Err(End::Died("a message did not reach its lanes"));
        }
        Ok(())
    }

    /// Waits until the router has moved on far enough.
    fn wait_until(&mut self, running: &mut Running, is_enough: impl Fn(&Self) -> bool) -> Result<(), End> {
        if is_enough(self) {
            return Ok(());
        }
        running.flush()?;
        loop {
            running.signs.is_awaited.store(true, Ordering::SeqCst);
            self.hear(running)?;
            if is_enough(self) {
                running.signs.is_awaited.store(false, Ordering::SeqCst);
                return Ok(());
            }
            if self.shared.halt.is_cancelled() {
                return Err(End::Stop);
            }
            // A late bell only means another look; `hear` knows when it is too late.
            let _ = running.bell.recv_timeout(self.shared.limits.canary_period);
        }
    }
}

/// One router and its links. Dropping it ends the router.
struct Running {
    connect: Box<dyn Fn(&str) -> Result<(LinkTx, LinkRx), End> + Send>,
    generation: usize,
    publisher: LinkTx,
    /// The publisher's own notifications; kept, or the router would see its link as gone.
    _publisher_rx: LinkRx,
    unflushed: usize,
    signs: Arc<Signs>,
    bell: flume::Receiver<()>,
    canaries: u64,
    canary_on_its_way: bool,
    canary_sent: Instant,
    /// When the oldest message of the window last changed.
    window_moved: Instant,
    topics: HashSet<u64>,
    hasher: RandomState,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    tasks_alive: Arc<AtomicUsize>,
    task_ended: (flume::Sender<()>, flume::Receiver<()>),
}

impl Running {
    fn start(feeder: &Feeder) -> Result<Self, End> {
        let config = RouterConfig {
            max_connections: LANES_MAX + 4,
            max_outgoing_packet_count: 256,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        };
        let generation = feeder.generation;
        let events = Router::new(generation, config).spawn();
        // The event type has no public name; the closure hides it.
        let connect = move |name: &str| -> Result<_, End> {
            let (tx, rx, _) = LinkBuilder::new(name, events.clone()).build()?;
            Ok((tx, rx))
        };
        let (publisher, publisher_rx) = connect("publisher")?;
        let (mut canary, mut canary_rx) = connect("canary")?;
        let (bell_sender, bell) = flume::bounded(1);
        let signs = Arc::new(Signs {
            died: AtomicBool::new(false),
            canary: AtomicU64::new(0),
            is_awaited: AtomicBool::new(false),
            bell: bell_sender,
            commands: feeder.shared.commands.clone(),
        });
        let now = Instant::now();
        let mut running = Self {
            connect: Box::new(connect),
            generation,
            publisher,
            _publisher_rx: publisher_rx,
            unflushed: 0,
            signs: Arc::clone(&signs),
            bell,
            canaries: 0,
            canary_on_its_way: false,
            canary_sent: now,
            window_moved: now,
            topics: HashSet::new(),
            hasher: RandomState::new(),
            tasks: Vec::new(),
            tasks_alive: Arc::default(),
            task_ended: flume::bounded(LANES_MAX + 4),
        };
        canary.subscribe(CANARY_TOPIC)?;
        await_subscription(&mut canary_rx)?;
        running.spawn_task(&feeder.runtime, async move {
            let mourner = Mourner(signs);
            watch_canary(canary_rx, &mourner.0).await;
        });
        Ok(running)
    }

    fn spawn_task(
        &mut self,
        runtime: &tokio::runtime::Handle,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.tasks_alive.fetch_add(1, Ordering::AcqRel);
        let alive = Alive(Arc::clone(&self.tasks_alive), self.task_ended.0.clone());
        self.tasks.push(runtime.spawn(async move {
            task.await;
            drop(alive);
        }));
    }

    /// Opens a lane; when this returns, the router has its filter.
    fn open_lane(
        &mut self,
        state: &LaneState,
        shared: &Arc<Shared>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<(), End> {
        let (mut tx, mut rx) = (self.connect)(&format!("lane-{}-{}", self.generation, state.lane))?;
        tx.subscribe(format!("{TOPIC_PREFIX}{}", state.filter))?;
        await_subscription(&mut rx)?;
        let drain = LaneDrain {
            lane: state.lane,
            taken: Arc::clone(&state.taken),
            next_offset: None,
            signs: Mourner(Arc::clone(&self.signs)),
            shared: Arc::clone(shared),
        };
        self.spawn_task(runtime, drain.run(rx));
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

    fn canary(&mut self, shared: &Shared) -> Result<(), End> {
        self.unflushed = 0;
        self.canaries += 1;
        self.publisher.publish(CANARY_TOPIC, Bytes::copy_from_slice(&self.canaries.to_be_bytes()))?;
        shared.counters.one(Counter::Canaries);
        self.canary_sent = Instant::now();
        self.canary_on_its_way = true;
        Ok(())
    }

    /// How long to wait for a command before the next look at the router.
    fn next_look(&self, period: Duration) -> Duration {
        if self.canary_on_its_way {
            return period;
        }
        period.saturating_sub(self.canary_sent.elapsed()).max(Duration::from_millis(5))
    }

    fn canary_is_due(&self, period: Duration) -> bool {
        !self.canary_on_its_way && period <= self.canary_sent.elapsed()
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
    }
}

/// Counts a task as alive until it ends, in whatever way.
struct Alive(Arc<AtomicUsize>, flume::Sender<()>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
        // Full means that the other side is woken already.
        let _ = self.1.try_send(());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A second time does no harm; the first may have been left out by a panic.
        self.kill();
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Waits until the router has taken the one subscription of a new link.
fn await_subscription(rx: &mut LinkRx) -> Result<(), End> {
    let deadline = Instant::now() + ROUTER_DEADLINE;
    loop {
        // Nothing is fed meanwhile, so nothing else can come first.
        if let Some(Notification::DeviceAck(_)) = rx.recv_deadline(deadline)? {
            return Ok(());
        }
    }
}

/// Notes every canary that comes back, until the router is dead.
async fn watch_canary(mut rx: LinkRx, signs: &Signs) {
    loop {
        match rx.next().await {
            Ok(Some(Notification::Forward(forward))) => {
                if let Some(number) = message::sequence(&forward.publish.payload) {
                    signs.canary.fetch_max(number, Ordering::SeqCst);
                    signs.moved();
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
}

/// One lane's way from its link to the sessions.
struct LaneDrain {
    lane: Lane,
    taken: Arc<AtomicU64>,
    /// The log offset that comes next if nothing is lost.
    next_offset: Option<u64>,
    signs: Mourner,
    shared: Arc<Shared>,
}

impl LaneDrain {
    async fn run(mut self, mut rx: LinkRx) {
        let mut burst = 0;
        loop {
            match rx.next().await {
                Ok(Some(Notification::Forward(forward))) => {
                    self.forward(forward);
                    self.signs.0.moved();
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
        // One step, because a task of the router before may still be at work.
        if sequence <= self.taken.fetch_max(sequence, Ordering::SeqCst) {
            return;
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
