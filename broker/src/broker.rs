//! What all connections share: sessions, subscriptions, retained messages, counters, and the way
//! into the router. Also the clock-driven rest: session expiry and delayed wills.
//!
//! Owns no sockets. Locks are taken in the order sessions, subscriptions, one session's state, and
//! never held across an await.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Limits,
    counters::{Counter, Counters},
    hooks::{Acceptance, Hooks, InboundPublish, Principal, Verdict},
    message::Message,
    retained::{By, NotLoaded, RetainedStore, RetainedTable},
    router::Command,
    session::{Control, Order, Session, Subscription},
    subscriptions::{Lane, Subscriptions},
};

/// How often sessions are looked at for expiry and delayed wills.
const JANITOR_PERIOD: Duration = Duration::from_millis(500);
/// How long a client's connection waits for room in the router's queue before it gives up. Once one has given up, no
/// other waits until something has left the queue.
const ROUTE_DEADLINE: Duration = Duration::from_secs(2);
/// Panics of a task that the broker cannot do without, within [`VITAL_PANICS_WITHIN`], after which the broker gives up.
const VITAL_PANICS_MAX: usize = 8;
const VITAL_PANICS_WITHIN: Duration = Duration::from_secs(60);
/// The most that the permits of the router's queue can count at once.
const QUEUE_BYTES_CEILING: usize = u32::MAX as usize >> 3;

/// The state behind every connection and handle.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) store: Arc<dyn RetainedStore>,
    pub(crate) retained: RetainedTable,
    pub(crate) counters: Counters,
    pub(crate) started_at: Instant,
    pub(crate) started_at_unix_ms: u128,
    /// Cancelled when the broker shuts down.
    pub(crate) stop: CancellationToken,
    /// Cancelled when nothing needs the router any more.
    pub(crate) halt: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) clients: AtomicUsize,
    /// Open connections, and those among them that have not completed their CONNECT.
    pub(crate) open: AtomicUsize,
    pub(crate) handshakes: AtomicUsize,
    pub(crate) commands: flume::Sender<Command>,
    /// Cancelled when the thread that feeds the router has ended.
    pub(crate) feeder_ended: CancellationToken,
    /// Cancelled when something broke that the broker cannot mend; `failure` says what.
    pub(crate) failed: CancellationToken,
    failure: OnceLock<String>,
    /// A permit for each message, and one for each byte, that may wait for the router.
    queue_places: Semaphore,
    queue_room: Semaphore,
    /// How many messages have left the queue, and how many had when somebody last gave up waiting.
    queue_left: AtomicU64,
    queue_stuck_at: AtomicU64,
    /// Held from keeping a retained message until it is in the router's queue, so that what is kept and what
    /// subscribers see last is the same. Taken before every other lock.
    retaining: Mutex<()>,
    sessions: Mutex<HashMap<SessionKey, Arc<Session>>>,
    subscriptions: RwLock<Subscriptions>,
    /// How many lanes there are; the feeder looks at this before each publish.
    lanes: AtomicUsize,
    next_number: AtomicU64,
}

/// A client id means something within its principal alone: nobody can take or block another's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SessionKey {
    principal: Arc<str>,
    client_id: Arc<str>,
}

impl SessionKey {
    fn of(principal: &Principal, client_id: &Arc<str>) -> Self {
        Self { principal: Arc::clone(&principal.name), client_id: Arc::clone(client_id) }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("clients", &self.clients).finish_non_exhaustive()
    }
}

/// Room for one message in the router's queue.
struct Room<'a> {
    place: SemaphorePermit<'a>,
    bytes: SemaphorePermit<'a>,
}

/// The router's queue has no room for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// A connection's hold on its session. Dropping it without [`Shared::detach`], which only a panic
/// does, leaves the session without a connection, and its will unsaid.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) session: Arc<Session>,
    pub(crate) session_present: bool,
    pub(crate) connection: u64,
    pub(crate) control: Arc<Control>,
    /// Whether another connection had the session until now.
    pub(crate) took_over: bool,
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut state = self.session.state();
        if state.is_owned_by(self.connection) {
            state.owner = None;
            state.detached_at = Some(Instant::now());
        }
    }
}

/// Why a connection gets no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttachRefusal {
    SessionsFull,
    /// The principal has as many sessions as it may, all of them connected.
    PrincipalFull,
}

/// What a client asks of its session.
#[derive(Debug)]
pub(crate) struct SessionRequest {
    pub(crate) client_id: Arc<str>,
    pub(crate) principal: Principal,
    pub(crate) clean_start: bool,
    pub(crate) expiry: Duration,
    pub(crate) in_flight_max: u16,
}

impl Shared {
    pub(crate) fn new(
        limits: Limits,
        hooks: Arc<dyn Hooks>,
        store: Arc<dyn RetainedStore>,
        commands: flume::Sender<Command>,
    ) -> Self {
        let (retained, NotLoaded { left_out, dropped }) = RetainedTable::load(
            &*store,
            |topic| hooks.retained_owner(topic),
            limits.retained_messages_max,
            limits.retained_bytes_max,
        );
        let counters = Counters::default();
        if dropped != 0 {
            counters.add(Counter::RetainedDropped, dropped as u64);
            tracing::warn!(dropped, "the store had retained messages on topics where nobody may retain");
        }
        if left_out != 0 {
            counters.add(Counter::RetainedRefusedFull, left_out as u64);
            tracing::warn!(left_out, "the store has more retained messages than the limits allow");
        }
        Self {
            retained,
            queue_places: Semaphore::new(limits.router_queue_messages_max.clamp(1, Semaphore::MAX_PERMITS)),
            queue_room: Semaphore::new(limits.router_queue_bytes_max.clamp(1, QUEUE_BYTES_CEILING)),
            queue_left: AtomicU64::new(0),
            queue_stuck_at: AtomicU64::new(u64::MAX),
            retaining: Mutex::default(),
            limits,
            hooks,
            store,
            counters,
            started_at: Instant::now(),
            started_at_unix_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis()),
            stop: CancellationToken::new(),
            halt: CancellationToken::new(),
            tasks: TaskTracker::new(),
            clients: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            commands,
            feeder_ended: CancellationToken::new(),
            failed: CancellationToken::new(),
            failure: OnceLock::new(),
            sessions: Mutex::default(),
            subscriptions: RwLock::default(),
            lanes: AtomicUsize::new(0),
            next_number: AtomicU64::new(1),
        }
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Says that the broker cannot go on; the first reason stands.
    pub(crate) fn fail(&self, reason: &str) {
        tracing::error!(reason, "the broker has failed");
        // An error means that there is a reason already.
        drop(self.failure.set(reason.to_owned()));
        self.failed.cancel();
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionKey, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscriptions(&self) -> RwLockReadGuard<'_, Subscriptions> {
        self.subscriptions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscriptions_mut(&self) -> RwLockWriteGuard<'_, Subscriptions> {
        self.subscriptions.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a connection its session, new or resumed. Who had it before is told to go.
    pub(crate) fn attach(self: &Arc<Self>, request: SessionRequest) -> Result<Attached, AttachRefusal> {
        let connection = self.next_number();
        let control = Arc::new(Control::default());
        let key = SessionKey::of(&request.principal, &request.client_id);
        let mut sessions = self.sessions();
        let existing = sessions.get(&key).cloned();
        let mut gave_way = None;
        let (mut resumes, mut took_over) = (false, false);
        if let Some(existing) = &existing {
            // A clean session of 3.1.1, or one of 5.0 without expiry, is over with its connection:
            // nothing of it may be seen by a later one.
            resumes = !request.clean_start && existing.principal == request.principal && !is_over(existing);
            let mut state = existing.state();
            if let Some((_, control)) = state.owner.take() {
                took_over = true;
                resumes &= !state.expiry.is_zero();
                control.tell(Order::TakenOver);
            }
        } else {
            let of_principal = || sessions.values().filter(|s| s.principal.name == request.principal.name);
            if self.limits.sessions_per_principal_max <= of_principal().count() {
                let oldest = of_principal()
                    .filter_map(|session| Some((session.state().detached_at?, session)))
                    .min_by_key(|(detached_at, _)| *detached_at)
                    .map(|(_, session)| SessionKey::of(&session.principal, &session.client_id));
                let oldest = oldest.ok_or(AttachRefusal::PrincipalFull)?;
                gave_way = sessions.remove(&oldest);
                self.counters.one(Counter::SessionsGaveWay);
            } else if self.limits.sessions_max <= sessions.len() {
                return Err(AttachRefusal::SessionsFull);
            }
        }
        if let Some(session) = existing.clone().filter(|_| resumes) {
            let mut state = session.state();
            state.attach(connection, Arc::clone(&control), request.in_flight_max);
            state.expiry = request.expiry;
            // The client is back in time: its will is not due.
            if state.delayed_will.take().is_some() {
                self.counters.one(Counter::WillsDiscarded);
            }
            drop(state);
            self.counters.one(Counter::SessionsResumed);
            return Ok(Attached { session, session_present: true, connection, control, took_over });
        }
        let session = Session::new(self.next_number(), request.client_id, request.principal);
        {
            let mut state = session.state();
            state.attach(connection, Arc::clone(&control), request.in_flight_max);
            state.expiry = request.expiry;
        }
        sessions.insert(key, Arc::clone(&session));
        drop(sessions);
        for ended in [existing, gave_way].into_iter().flatten() {
            self.end_session(&ended);
        }
        Ok(Attached { session, session_present: false, connection, control, took_over })
    }

    /// A connection lets go of its session. Its will is published now or kept until it is due.
    pub(crate) fn detach(
        self: &Arc<Self>,
        session: &Arc<Session>,
        connection: u64,
        will: Option<(Arc<Message>, Duration)>,
    ) {
        let now = Instant::now();
        let mut will_now = None;
        let mut is_over = false;
        let mut state = session.state();
        if state.is_owned_by(connection) {
            state.owner = None;
            state.detached_at = Some(now);
            is_over = state.expiry.is_zero();
            match will {
                Some((message, delay)) if !is_over && !state.ended && !delay.is_zero() => {
                    state.delayed_will = Some((now + delay.min(state.expiry), message));
                }
                other => will_now = other,
            }
        } else if let Some((message, delay)) = will {
            // Taken over. The will of a session that goes on without a gap is only due at once.
            if delay.is_zero() || state.ended {
                will_now = Some((message, delay));
            } else {
                self.counters.one(Counter::WillsDiscarded);
            }
        }
        drop(state);
        session.wake.notify_one();
        if is_over {
            self.forget(session);
        }
        if let Some((message, _)) = will_now {
            self.publish_will(session.principal.clone(), message);
        }
    }

    /// Drops a session from the map, unless another has taken its place.
    fn forget(self: &Arc<Self>, session: &Arc<Session>) {
        let mut sessions = self.sessions();
        // Somebody may have attached between the caller's look and this one.
        if session.state().owner.is_some() {
            return;
        }
        let key = SessionKey::of(&session.principal, &session.client_id);
        if sessions.get(&key).is_some_and(|current| Arc::ptr_eq(current, session)) {
            sessions.remove(&key);
        }
        drop(sessions);
        self.end_session(session);
    }

    /// What is left of a session that nobody can reach any more.
    fn end_session(self: &Arc<Self>, session: &Arc<Session>) {
        let (filters, will, backlog) = {
            let mut state = session.state();
            state.ended = true;
            let filters = std::mem::take(&mut state.subscriptions);
            (filters, state.delayed_will.take(), state.clear())
        };
        self.counters.add(Counter::LostSessionEnded, backlog as u64);
        if !filters.is_empty() {
            let mut subscriptions = self.subscriptions_mut();
            for Subscription { filter, .. } in filters {
                subscriptions.remove(&filter, session);
            }
        }
        if let Some((_, message)) = will {
            self.publish_will(session.principal.clone(), message);
        }
    }

    /// Subscribes; whether this is a new subscription. Whatever is published from now on is seen.
    pub(crate) fn subscribe(&self, session: &Arc<Session>, subscription: Subscription) -> bool {
        let mut subscriptions = self.subscriptions_mut();
        let mut state = session.state();
        if state.ended {
            return false;
        }
        if let Some(existing) = state.subscriptions.iter_mut().find(|s| s.filter == subscription.filter) {
            *existing = subscription;
            return false;
        }
        subscriptions.insert(&subscription.filter, session);
        state.subscriptions.push(subscription);
        self.lanes.store(subscriptions.lanes().len(), Ordering::Release);
        true
    }

    /// The lanes from number `first` on. A publish that waits for the router was matched against
    /// the tree before, so its lanes are among those that exist by now.
    pub(crate) fn lanes_from(&self, first: usize) -> Vec<(Lane, Arc<str>)> {
        if self.lanes.load(Ordering::Acquire) <= first {
            return Vec::new();
        }
        self.subscriptions().lanes().iter().cloned().enumerate().skip(first).collect()
    }

    /// Whether there was such a subscription.
    pub(crate) fn unsubscribe(&self, session: &Arc<Session>, filter: &str) -> bool {
        let mut subscriptions = self.subscriptions_mut();
        let mut state = session.state();
        let before = state.subscriptions.len();
        state.subscriptions.retain(|subscription| &*subscription.filter != filter);
        state.retained_scans.retain(|scan| &*scan.filter != filter);
        subscriptions.remove(filter, session);
        state.subscriptions.len() < before
    }

    /// Hands a message that came through a lane to the sessions that take it.
    pub(crate) fn deliver(&self, lane: Lane, message: &Arc<Message>) {
        self.subscriptions().for_each_match(lane, &message.topic, |filter, sessions| {
            for session in sessions {
                session.deliver(filter, message, &self.limits, &self.counters);
            }
        });
    }

    /// Whether a publish of a client is retained: it asks for that and may.
    pub(crate) fn is_retained(&self, asked: bool, principal: &Principal, topic: &str) -> bool {
        let may = asked && self.hooks.may_retain(principal, topic);
        if asked && !may {
            self.counters.one(Counter::RetainedNotAllowed);
        }
        may
    }

    /// Keeps a client's message if it is to be retained, and hands it to the router; a full queue holds the caller up,
    /// within a deadline.
    pub(crate) async fn publish(&self, message: &Arc<Message>) {
        let mut room = None;
        if self.subscriptions().any_match(&message.topic) {
            room = self.try_room(message);
            if room.is_none() && !self.is_stuck() {
                room = tokio::time::timeout(ROUTE_DEADLINE, self.room(message)).await.ok().flatten();
                if room.is_none() {
                    self.queue_stuck_at.store(self.queue_left.load(Ordering::Relaxed), Ordering::Relaxed);
                }
            }
        }
        // The refusal is counted, and there is nobody to tell.
        self.keep_and_send(message, By::Client, room).ok();
    }

    /// The same for the host's own message, for which there is always room to be retained. Never waits.
    pub(crate) fn publish_own(&self, message: &Arc<Message>) -> Result<(), NoRoom> {
        self.keep_and_send(message, By::Host, None)
    }

    fn keep_and_send(&self, message: &Arc<Message>, by: By, room: Option<Room<'_>>) -> Result<(), NoRoom> {
        if !message.retain {
            return self.send(message, room);
        }
        let _in_order = self.retaining.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.retained.apply(message, by, &*self.store) {
            self.counters.one(Counter::RetainedRefusedFull);
        }
        self.send(message, room)
    }

    /// Hands a message to the router if anybody takes it. Whoever subscribes later finds it among the retained ones.
    fn send(&self, message: &Arc<Message>, room: Option<Room<'_>>) -> Result<(), NoRoom> {
        if !self.subscriptions().any_match(&message.topic) {
            self.counters.one(Counter::FanoutNoSubscriber);
            return Ok(());
        }
        let room = room.or_else(|| self.try_room(message));
        match room {
            Some(room) if self.commands.try_send(Command::Publish(Arc::clone(message))).is_ok() => {
                room.place.forget();
                room.bytes.forget();
                self.counters.one(Counter::FanoutRouted);
                Ok(())
            }
            _ => {
                self.counters.one(Counter::FanoutQueueFull);
                Err(NoRoom)
            }
        }
    }

    fn try_room(&self, message: &Message) -> Option<Room<'_>> {
        let place = self.queue_places.try_acquire().ok()?;
        let bytes = self.queue_room.try_acquire_many(self.queue_share(message)).ok()?;
        Some(Room { place, bytes })
    }

    /// Waits for room, in the order of those who wait.
    async fn room(&self, message: &Message) -> Option<Room<'_>> {
        let place = self.queue_places.acquire().await.ok()?;
        let bytes = self.queue_room.acquire_many(self.queue_share(message)).await.ok()?;
        Some(Room { place, bytes })
    }

    /// Whether somebody has waited for the queue in vain and nothing has left it since.
    fn is_stuck(&self) -> bool {
        self.queue_stuck_at.load(Ordering::Relaxed) == self.queue_left.load(Ordering::Relaxed)
    }

    /// How many bytes of the router's queue a message takes; one that is larger takes all.
    fn queue_share(&self, message: &Message) -> u32 {
        let all = self.limits.router_queue_bytes_max.clamp(1, QUEUE_BYTES_CEILING);
        u32::try_from(message.bytes().clamp(1, all)).unwrap_or(u32::MAX)
    }

    /// A message has left the router's queue.
    pub(crate) fn leave_queue(&self, message: &Message) {
        self.queue_left.fetch_add(1, Ordering::Relaxed);
        self.queue_room.add_permits(self.queue_share(message) as usize);
        self.queue_places.add_permits(1);
    }

    /// A will goes the way of any publish of its client: asked, accepted, retained, fanned out.
    fn publish_will(self: &Arc<Self>, principal: Principal, message: Arc<Message>) {
        if !self.hooks.may_publish(&principal, &message.topic) {
            self.counters.one(Counter::WillsRefused);
            return;
        }
        let acceptance = self.hooks.accept(InboundPublish {
            principal,
            topic: Arc::clone(&message.topic),
            payload: message.payload.clone(),
            qos: message.qos,
            retain: message.retain,
            peer: None,
        });
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            let verdict = match acceptance {
                Acceptance::Done(verdict) => verdict,
                Acceptance::Pending(verdict) => tokio::select! {
                    verdict = tokio::time::timeout(shared.limits.verdict_deadline, verdict) => {
                        // Late or dropped: wills must not pile up behind a host that hangs.
                        verdict.ok().and_then(Result::ok).unwrap_or(Verdict::NotStored)
                    }
                    () = shared.halt.cancelled() => Verdict::NotStored,
                },
            };
            if verdict == Verdict::Accepted {
                shared.counters.one(Counter::WillsPublished);
                shared.publish(&message).await;
            } else {
                shared.counters.one(Counter::WillsRefused);
            }
        });
    }

    /// Whether a client of this principal is connected.
    pub(crate) fn is_connected(&self, name: &str) -> bool {
        let sessions = self.sessions();
        sessions.values().any(|session| &*session.principal.name == name && session.state().owner.is_some())
    }

    /// Closes every connection of a principal and forgets its sessions.
    pub(crate) fn disconnect_principal(self: &Arc<Self>, name: &str) {
        let mut gone = Vec::new();
        self.sessions().retain(|_, session| {
            let keep = &*session.principal.name != name;
            if !keep {
                gone.push(Arc::clone(session));
            }
            keep
        });
        for session in gone {
            if let Some((_, control)) = &session.state().owner {
                control.tell(Order::Administrative);
            }
            self.end_session(&session);
        }
    }

    /// Runs a task that the broker cannot do without. If it panics it is started anew; if it does so again and again,
    /// the broker has failed.
    pub(crate) fn spawn_vital<F>(self: &Arc<Self>, name: &'static str, start: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            let mut panics = VecDeque::new();
            while tokio::spawn(start()).await.is_err_and(|error| error.is_panic()) {
                shared.counters.one(Counter::VitalPanics);
                let now = Instant::now();
                panics.push_back(now);
                if VITAL_PANICS_MAX < panics.len()
                    && panics.pop_front().is_some_and(|first| now - first < VITAL_PANICS_WITHIN)
                {
                    shared.fail(&format!("the broker's task `{name}` panics again and again"));
                    return;
                }
                tracing::error!(task = name, "a task of the broker panicked and is started anew");
            }
        });
    }

    /// Ends sessions whose time is over and publishes wills that are due, until the broker stops.
    pub(crate) async fn keep_house(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(JANITOR_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => self.sweep(),
            }
        }
    }

    fn sweep(self: &Arc<Self>) {
        let now = Instant::now();
        let sessions: Vec<_> = self.sessions().values().cloned().collect();
        for session in sessions {
            let due = {
                let mut state = session.state();
                state.drop_expired(now, &self.counters);
                match &state.delayed_will {
                    Some((at, _)) if *at <= now => state.delayed_will.take(),
                    _ => None,
                }
            };
            if let Some((_, message)) = due {
                self.publish_will(session.principal.clone(), message);
            }
            if is_over(&session) {
                self.counters.one(Counter::SessionsExpired);
                self.forget(&session);
            }
        }
        self.counters.add(Counter::RetainedExpired, self.retained.drop_expired(now) as u64);
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<String, u64> {
        let mut all = self.counters.snapshot();
        let clients = self.clients.load(Ordering::Relaxed);
        let (filters, lanes) = {
            let subscriptions = self.subscriptions();
            (subscriptions.filters(), subscriptions.lanes().len())
        };
        let gauges = [
            ("clients", clients),
            ("sessions", self.sessions().len()),
            ("connections_open", self.open.load(Ordering::Relaxed)),
            ("handshakes_open", self.handshakes.load(Ordering::Relaxed)),
            ("retained_messages", self.retained.len()),
            ("retained_full", usize::from(self.retained.is_full())),
            ("subscribed_filters", filters),
            ("router_lanes", lanes),
            ("router_queue_messages", self.commands.len()),
            ("failed", usize::from(self.failed.is_cancelled())),
        ];
        all.extend(gauges.map(|(name, value)| (name.to_owned(), value as u64)));
        all
    }
}

/// Whether a session without a connection has outlived its expiry.
fn is_over(session: &Session) -> bool {
    let state = session.state();
    state.owner.is_none() && state.detached_at.is_some_and(|at| state.expiry <= at.elapsed())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{BoxFuture, ConnectRefusal, ConnectRequest, MemoryRetained, Qos};

    struct Anybody;

    impl Hooks for Anybody {
        fn authenticate<'a>(
            &'a self,
            _: &'a ConnectRequest,
        ) -> BoxFuture<'a, Result<Principal, ConnectRefusal>> {
            Box::pin(std::future::ready(Err(ConnectRefusal::Unavailable)))
        }

        fn may_publish(&self, _: &Principal, _: &str) -> bool {
            true
        }

        fn may_subscribe(&self, _: &Principal, _: &str) -> bool {
            true
        }

        fn accept(&self, _: InboundPublish) -> Acceptance {
            Acceptance::Done(Verdict::Accepted)
        }
    }

    #[tokio::test]
    async fn a_queue_that_stands_still_holds_up_one_publisher_and_not_the_next_ones() {
        let limits = Limits { router_queue_messages_max: 1, ..Limits::default() };
        let (sender, queue) = flume::bounded(8);
        let store = Arc::new(MemoryRetained::default());
        let shared = Arc::new(Shared::new(limits, Arc::new(Anybody), store, sender));
        let attached = shared
            .attach(SessionRequest {
                client_id: "s".into(),
                principal: Principal { name: "s".into(), kind: "test".into() },
                clean_start: true,
                expiry: Duration::ZERO,
                in_flight_max: 1,
            })
            .unwrap();
        let filter = Arc::from("t");
        let subscription = Subscription { filter, qos: 0, no_local: false, retain_as_published: false };
        assert!(shared.subscribe(&attached.session, subscription));
        let message = Arc::new(Message {
            topic: "t".into(),
            payload: Bytes::from_static(b"x"),
            qos: Qos::AtMostOnce,
            retain: true,
            forwarded: Bytes::new(),
            expires_at: None,
            publisher: 0,
        });
        let dropped = || shared.snapshot()["fanout_dropped_router_queue_full"];

        shared.publish(&message).await;
        assert_eq!((queue.len(), dropped()), (1, 0));
        assert!(!shared.is_stuck());
        // Nobody takes anything out of the queue: this one waits, in vain.
        let start = Instant::now();
        shared.publish(&message).await;
        assert!(ROUTE_DEADLINE <= start.elapsed());
        assert!(shared.is_stuck());
        for _ in 0..64 {
            shared.publish(&message).await;
        }
        assert!(
            start.elapsed() < 8 * ROUTE_DEADLINE,
            "these do not wait, or it would be {:?}",
            64 * ROUTE_DEADLINE
        );
        assert_eq!((queue.len(), dropped()), (1, 65));

        queue.recv().unwrap();
        shared.leave_queue(&message);
        assert!(!shared.is_stuck());
        shared.publish(&message).await;
        assert_eq!((queue.len(), dropped()), (1, 65));
    }
}
