//! One client's connection, from its first byte to its will.
//!
//! Owns the socket (any `AsyncRead + AsyncWrite`: TCP today, TLS and WebSocket come in here too),
//! the pending verdicts and the deadlines. One task per connection reads, decides and writes; no
//! task and no allocation of its own per message beyond the message itself.
//!
//! Invariants:
//!
//! - Acknowledgements go out in the order of receipt, each after its verdict.
//! - While `receive_maximum` verdicts or [`PENDING_BYTES_MAX`] are pending, too much output waits, or
//!   the rate is used up, the socket is not read: the client is held up, nothing grows.
//! - Reading, writing and waiting are one `select!`: keep-alive is watched while a write is
//!   blocked, and a write that makes no progress for `write_deadline` closes the connection.
//! - What was handed to the host before the end is seen through to its verdict after it.

mod handshake;
mod inbound;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::oneshot,
};

use crate::{
    broker::{Attached, Shared},
    codec::{
        DecodeError,
        encode::{self, AckType},
        reason,
    },
    counters::Counter,
    hooks::{Principal, Protocol, Qos, Verdict},
    listener::Greeting,
    message::Message,
    session::{ClientLimits, InboundQos2, Order, Outbound},
};

/// How much is read at once while little comes in, and while much does.
const READ_BYTES_MIN: usize = 2 * 1024;
const READ_BYTES_MAX: usize = 32 * 1024;
/// Output beyond which no more is taken from the session, and no more is read.
const OUTPUT_BYTES_MAX: usize = 32 * 1024;
/// Turns after which a passed deadline counts even though other things happen all the time.
const OVERDUE_TURNS_MAX: u32 = 256;
/// How long a last word may take to be written.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(1);
/// How long, and how much, a client that was refused may go on talking before its socket is closed.
const LINGER_DEADLINE: Duration = Duration::from_millis(100);
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// Topic and payload bytes of pending publishes beyond which the socket is not read.
const PENDING_BYTES_MAX: usize = 1024 * 1024;
/// Messages that wait for the client beyond which no retained ones join them.
const RETAINED_BACKLOG_MAX: usize = 32;
/// Retained messages that are looked at in one go, and in one turn of the connection: a filter
/// that takes few of many must not keep a worker, or the table, to itself.
const RETAINED_PAGE: usize = 32;
const RETAINED_PAGES_PER_TURN: usize = 8;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) counter: Counter,
    /// What a 5.0 client is told.
    pub(crate) reason: Option<u8>,
    /// Whether the will is due.
    pub(crate) will: WillFate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WillFate {
    Publish,
    Discard,
}

impl Close {
    fn because(counter: Counter, reason: u8) -> Self {
        Self { counter, reason: Some(reason), will: WillFate::Publish }
    }

    fn lost() -> Self {
        Self { counter: Counter::ClosedIo, reason: None, will: WillFate::Publish }
    }
}

impl From<DecodeError> for Close {
    fn from(error: DecodeError) -> Self {
        let counter = match error {
            DecodeError::Malformed(_) => Counter::ClosedMalformed,
            DecodeError::Protocol(_)
            | DecodeError::UnsupportedProtocol(_)
            | DecodeError::AuthenticationMethod => Counter::ClosedProtocol,
            DecodeError::TooLarge { .. } => Counter::ClosedOversize,
            DecodeError::WrongType(_) => Counter::ClosedWrongType,
            DecodeError::TopicAlias => Counter::ClosedTopicAlias,
            DecodeError::SubscriptionId => Counter::ClosedSubscriptionId,
        };
        Self::because(counter, error.reason())
    }
}

/// A publish that waits for its verdict, or for the one before it.
#[derive(Debug)]
struct Pending {
    packet_id: u16,
    qos: Qos,
    /// `None` for a repeated QoS 2 publish, which is only acknowledged again.
    message: Option<Arc<Message>>,
    verdict: Awaited,
}

#[derive(Debug)]
enum Awaited {
    Known(Verdict),
    Host(oneshot::Receiver<Verdict>),
    /// Refused before the host was asked; this is the code to say so.
    Refused(u8),
    /// The same QoS 2 message, begun on a connection before this one.
    EarlierConnection,
}

/// One connected client.
struct Connection<S> {
    shared: Arc<Shared>,
    peer: SocketAddr,
    attached: Attached,
    principal: Principal,
    client: ClientLimits,
    read: ReadHalf<S>,
    write: WriteHalf<S>,
    input: BytesMut,
    output: BytesMut,
    read_bytes: usize,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    will: Option<(Arc<Message>, Duration)>,
    keep_alive: Option<Duration>,
    last_heard: Instant,
    /// When output last moved, or began to wait.
    write_progress: Instant,
    /// Turns since a deadline has passed without anything read or written.
    overdue_turns: u32,
    allowance: Allowance,
    /// The session may have something to send.
    outbound_ready: bool,
}

/// The token bucket of one connection.
#[derive(Debug)]
struct Allowance {
    per_second: u32,
    tokens: f64,
    updated: Instant,
}

impl Allowance {
    fn new(per_second: u32) -> Self {
        Self { per_second, tokens: f64::from(per_second), updated: Instant::now() }
    }

    /// Takes one publish; it may overdraw, then reading pauses.
    fn spend(&mut self) {
        if self.per_second != 0 {
            self.refill();
            self.tokens -= 1.0;
        }
    }

    fn refill(&mut self) {
        let now = Instant::now();
        let rate = f64::from(self.per_second);
        self.tokens = (self.tokens + rate * (now - self.updated).as_secs_f64()).min(rate);
        self.updated = now;
    }

    /// When reading may go on, if it may not now.
    fn paused_until(&mut self) -> Option<Instant> {
        if self.per_second == 0 || 0.0 <= self.tokens {
            return None;
        }
        self.refill();
        if 0.0 <= self.tokens {
            return None;
        }
        Some(self.updated + Duration::from_secs_f64(-self.tokens / f64::from(self.per_second)))
    }
}

enum Event {
    Stop,
    Told,
    Read(std::io::Result<usize>),
    Written(std::io::Result<usize>),
    Verdict(Verdict),
    Woken,
    Timer,
}

/// Serves one client on any stream until it is gone, its verdicts are in and its will is settled.
/// `greeting` is dropped once the client is let in.
pub(crate) async fn serve<S>(stream: S, peer: SocketAddr, shared: Arc<Shared>, greeting: Greeting)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(stream);
    let Some(mut connection) = handshake::shake_hands(read, write, peer, Arc::clone(&shared)).await else {
        return;
    };
    drop(greeting);
    let counted = Counted::new(&shared);
    shared.counters.one(Counter::Connected);
    let close = connection.run().await;
    drop(counted);
    shared.counters.one(close.counter);
    tracing::debug!(client = %connection.attached.session.client_id, ?close, "connection closed");
    connection.finish(close).await;
}

/// One client in the count of clients, in whatever way it ends.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.clients.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S> Connection<S>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    /// Runs until there is a reason to close.
    async fn run(&mut self) -> Close {
        let timer = tokio::time::sleep(Duration::from_secs(3600));
        tokio::pin!(timer);
        let stop = self.shared.stop.clone();
        let stopped = stop.cancelled();
        tokio::pin!(stopped);
        let mut is_quiet = false;
        loop {
            if let Err(close) = self.advance().await {
                return close;
            }
            let may_read = self.may_read();
            let deadline = match self.next_deadline(may_read, is_quiet) {
                Ok(deadline) => tokio::time::Instant::from_std(deadline),
                Err(close) => return close,
            };
            // A timer that fires early is only looked at again; moving it at each turn would cost more.
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            if may_read {
                self.make_room();
            }
            let session = Arc::clone(&self.attached.session);
            let event = tokio::select! {
                biased;
                () = &mut stopped => Event::Stop,
                () = self.attached.control.wake.notified() => Event::Told,
                written = self.write.write_buf(&mut self.output), if !self.output.is_empty() => Event::Written(written),
                verdict = first_verdict(&mut self.pending) => Event::Verdict(verdict),
                read = self.read.read_buf(&mut self.input), if may_read => Event::Read(read),
                () = session.wake.notified() => Event::Woken,
                // There is more to find, but others have their turn first.
                () = tokio::task::yield_now(), if self.outbound_ready && self.output.is_empty() => Event::Woken,
                () = &mut timer => Event::Timer,
            };
            is_quiet = matches!(event, Event::Timer);
            if matches!(event, Event::Read(_) | Event::Written(_)) {
                self.overdue_turns = 0;
            }
            match event {
                Event::Stop => {
                    return Close {
                        counter: Counter::ClosedShutdown,
                        reason: Some(reason::SHUTTING_DOWN),
                        will: WillFate::Discard,
                    };
                }
                Event::Told => match self.attached.control.order() {
                    Some(Order::TakenOver) => {
                        return Close::because(Counter::ClosedTakenOver, reason::TAKEN_OVER);
                    }
                    Some(Order::Administrative) => {
                        return Close::because(Counter::ClosedAdministrative, reason::ADMINISTRATIVE);
                    }
                    None => {}
                },
                Event::Read(Ok(0) | Err(_)) | Event::Written(Ok(0) | Err(_)) => return Close::lost(),
                Event::Read(Ok(bytes)) => {
                    self.last_heard = Instant::now();
                    let was_full = self.read_bytes <= bytes;
                    self.read_bytes =
                        if was_full { (self.read_bytes * 2).min(READ_BYTES_MAX) } else { self.read_bytes };
                    if bytes < READ_BYTES_MIN / 2 {
                        self.read_bytes = READ_BYTES_MIN;
                    }
                }
                Event::Written(Ok(_)) => {
                    self.write_progress = Instant::now();
                    if self.output.is_empty() {
                        self.outbound_ready = true;
                        if READ_BYTES_MAX < self.output.capacity() {
                            self.output = BytesMut::new();
                        }
                    }
                }
                Event::Verdict(verdict) => {
                    if let Some(front) = self.pending.front_mut() {
                        front.verdict = Awaited::Known(verdict);
                    }
                }
                Event::Woken => self.outbound_ready = true,
                Event::Timer => {}
            }
        }
    }

    /// Does everything that needs no waiting: settles verdicts, reads packets, fills the output.
    async fn advance(&mut self) -> Result<(), Close> {
        let was_idle = self.output.is_empty();
        self.settle().await?;
        self.read_packets().await?;
        if self.outbound_ready && self.output.len() < OUTPUT_BYTES_MAX {
            self.fill_output();
        }
        if was_idle && !self.output.is_empty() {
            self.write_progress = Instant::now();
        }
        Ok(())
    }

    fn fill_output(&mut self) {
        // More comes by: an acknowledgement, a write that ends, or a wake-up for a new message.
        self.outbound_ready = false;
        let limits = &self.shared.limits;
        let mut state = self.attached.session.state();
        'page: for _ in 0..RETAINED_PAGES_PER_TURN {
            let owned = state.write_outbound(
                self.attached.connection,
                self.client,
                &mut self.output,
                OUTPUT_BYTES_MAX,
                &self.shared.counters,
            );
            if !owned || OUTPUT_BYTES_MAX <= self.output.len() || RETAINED_BACKLOG_MAX <= state.backlog() {
                return;
            }
            // Retained messages are read as there is room for them, so that any number of them fits.
            let Some(mut scan) = state.retained_scans.pop_front() else {
                return;
            };
            if scan.found.is_empty() && !scan.is_done {
                let page = self.shared.retained.page(&scan.filter, scan.after.as_deref(), RETAINED_PAGE);
                scan.is_done = page.goes_on_after.is_none();
                scan.after = page.goes_on_after;
                scan.found.extend(page.messages);
            }
            let mut has_queued = false;
            while let Some(message) = scan.found.front() {
                if !state.has_room(message, limits) {
                    state.retained_scans.push_front(scan);
                    if has_queued {
                        // It is not written yet, and no acknowledgement may be on its way to ask for it.
                        continue 'page;
                    }
                    // What waits already makes room as the client acknowledges it.
                    return;
                }
                let Some(message) = scan.found.pop_front() else {
                    break;
                };
                if scan.no_local && message.publisher == self.attached.session.number {
                    continue;
                }
                let published = u8::from(message.qos != Qos::AtMostOnce);
                let outbound = Outbound { message, qos: scan.qos.min(published), retain: true };
                state.push(outbound, limits, &self.shared.counters);
                has_queued = true;
            }
            if !scan.is_done {
                state.retained_scans.push_front(scan);
            }
        }
        self.outbound_ready = true;
    }

    fn may_read(&mut self) -> bool {
        self.pending.len() < usize::from(self.shared.limits.receive_maximum)
            && self.pending_bytes < PENDING_BYTES_MAX
            && self.output.len() < 2 * OUTPUT_BYTES_MAX
            && self.allowance.paused_until().is_none()
    }

    /// The next moment at which something must be looked at, or the reason to close that has come.
    ///
    /// This task may have been held up past a deadline while the client's bytes lay in the socket.
    /// So a deadline counts once the turn before found nothing else to do (`is_quiet`).
    fn next_deadline(&mut self, may_read: bool, is_quiet: bool) -> Result<Instant, Close> {
        let now = Instant::now();
        let mut next = now + Duration::from_secs(3600);
        if !self.output.is_empty() {
            let at = self.write_progress + self.shared.limits.write_deadline;
            if at <= now && self.is_overdue(is_quiet) {
                return Err(Close { reason: None, ..Close::because(Counter::ClosedWriteDeadline, 0) });
            }
            next = next.min(at);
        }
        if let Some(until) = self.allowance.paused_until() {
            next = next.min(until.max(now + Duration::from_millis(1)));
        }
        if let Some(keep_alive) = self.keep_alive {
            if !may_read {
                // It is we who do not listen; the client may well have said something.
                self.last_heard = now;
            }
            let at = self.last_heard + keep_alive.mul_f32(1.5);
            if at <= now && self.is_overdue(is_quiet) {
                return Err(Close::because(Counter::ClosedKeepAlive, reason::KEEP_ALIVE_TIMEOUT));
            }
            next = next.min(at);
        }
        Ok(next)
    }

    fn is_overdue(&mut self, is_quiet: bool) -> bool {
        self.overdue_turns += 1;
        is_quiet || OVERDUE_TURNS_MAX < self.overdue_turns
    }

    fn make_room(&mut self) {
        if self.input.capacity() - self.input.len() < self.read_bytes / 2 {
            if self.input.is_empty() && READ_BYTES_MIN == self.read_bytes {
                // A burst is over: give its buffer back.
                self.input = BytesMut::new();
            }
            self.input.reserve(self.read_bytes);
        }
    }

    /// Acts on all verdicts that are there, in order.
    async fn settle(&mut self) -> Result<(), Close> {
        while let Some(front) = self.pending.front_mut() {
            if let Awaited::Refused(code) = front.verdict {
                let ack = if front.qos == Qos::AtLeastOnce { AckType::PubAck } else { AckType::PubRec };
                encode::acknowledgement(&mut self.output, ack, front.packet_id, code, self.client.protocol);
                self.pending.pop_front();
                continue;
            }
            let Some(verdict) = self.attached.known_verdict(front) else {
                break;
            };
            if let Some(front) = self.pending.pop_front() {
                self.act(front, verdict).await?;
            }
        }
        Ok(())
    }

    /// Keeps, fans out and acknowledges, or not, as the verdict says.
    async fn act(&mut self, pending: Pending, verdict: Verdict) -> Result<(), Close> {
        self.pending_bytes -= pending.message.as_ref().map_or(0, |message| message.bytes());
        let is_repeat = pending.message.is_none();
        let release_qos2 = pending.qos == Qos::ExactlyOnce && !is_repeat;
        let v5 = self.client.protocol == Protocol::V5;
        let code = match verdict {
            Verdict::Accepted => reason::SUCCESS,
            Verdict::RefusedPayload => reason::PAYLOAD_FORMAT_INVALID,
            Verdict::NotStored => reason::QUOTA_EXCEEDED,
        };
        if release_qos2 {
            self.attached.decide_qos2(pending.packet_id, verdict, v5);
        }
        if !is_repeat {
            settle_message(&self.shared, pending.message, verdict).await;
        }
        let ack = match pending.qos {
            Qos::AtMostOnce => return Ok(()),
            Qos::AtLeastOnce => AckType::PubAck,
            Qos::ExactlyOnce => AckType::PubRec,
        };
        if verdict == Verdict::NotStored && !v5 {
            // 3.1.1 has no word for "not now": the client must try again on a new connection.
            return Err(Close { reason: None, ..Close::because(Counter::ClosedNotStored, 0) });
        }
        encode::acknowledgement(&mut self.output, ack, pending.packet_id, code, self.client.protocol);
        Ok(())
    }

    /// Says goodbye, lets go of the session, and sees every verdict through.
    async fn finish(mut self, close: Close) {
        if close.counter == Counter::ClosedShutdown {
            self.drain_acknowledgements().await;
        }
        if let (Some(code), Protocol::V5) = (close.reason, self.client.protocol) {
            encode::disconnect_v5(&mut self.output, code);
        }
        // A client that does not listen any more is not waited for.
        if close.counter != Counter::ClosedWriteDeadline && close.counter != Counter::ClosedIo {
            drop(tokio::time::timeout(GOODBYE_DEADLINE, self.say_goodbye(close)).await);
        }
        let Self { shared, attached, pending, will, client, read, write, .. } = self;
        drop((read, write));
        let will = match close.will {
            WillFate::Publish => will,
            WillFate::Discard => {
                if will.is_some() {
                    shared.counters.one(Counter::WillsDiscarded);
                }
                None
            }
        };
        let v5 = client.protocol == Protocol::V5;
        let deadline = tokio::time::Instant::now() + shared.limits.verdict_deadline;
        for pending in pending {
            let verdict = match pending.verdict {
                Awaited::Known(verdict) => verdict,
                Awaited::EarlierConnection | Awaited::Refused(_) => continue,
                Awaited::Host(verdict) => match tokio::time::timeout_at(deadline, verdict).await {
                    Ok(verdict) => verdict.unwrap_or(Verdict::NotStored),
                    Err(_) => {
                        shared.counters.one(Counter::VerdictsAbandoned);
                        Verdict::NotStored
                    }
                },
            };
            if pending.qos == Qos::ExactlyOnce && pending.message.is_some() {
                attached.decide_qos2(pending.packet_id, verdict, v5);
                attached.session.wake.notify_one();
            }
            settle_message(&shared, pending.message, verdict).await;
        }
        shared.detach(&attached.session, attached.connection, will);
    }

    async fn say_goodbye(&mut self, close: Close) -> std::io::Result<()> {
        self.write.write_all_buf(&mut self.output).await?;
        self.write.shutdown().await?;
        if close.reason.is_some() && close.counter != Counter::ClosedShutdown {
            linger(&mut self.read, &mut self.input).await;
        }
        Ok(())
    }

    /// At shutdown: verdicts on their way still become acknowledgements.
    async fn drain_acknowledgements(&mut self) {
        if self.settle().await.is_err() {
            return;
        }
        while !self.pending.is_empty() {
            let verdict = first_verdict(&mut self.pending).await;
            if let Some(front) = self.pending.front_mut() {
                front.verdict = Awaited::Known(verdict);
            }
            if self.settle().await.is_err() {
                return;
            }
        }
    }
}

impl Attached {
    /// The verdict of a pending publish, if it needs no waiting.
    fn known_verdict(&self, pending: &mut Pending) -> Option<Verdict> {
        match &mut pending.verdict {
            Awaited::Known(verdict) => Some(*verdict),
            Awaited::Host(verdict) => match verdict.try_recv() {
                Ok(verdict) => Some(verdict),
                Err(oneshot::error::TryRecvError::Empty) => None,
                Err(oneshot::error::TryRecvError::Closed) => Some(Verdict::NotStored),
            },
            Awaited::EarlierConnection => match self.session.state().qos2(pending.packet_id) {
                Some(InboundQos2::Undecided) => None,
                Some(InboundQos2::Received) => Some(Verdict::Accepted),
                // It came to nothing; the client has to send it again as a new one.
                None => Some(Verdict::NotStored),
            },
            Awaited::Refused(_) => None,
        }
    }

    /// What a QoS 2 packet id becomes with its verdict. A PUBREC that refuses ends the exchange.
    fn decide_qos2(&self, packet_id: u16, verdict: Verdict, v5: bool) {
        let mut state = self.session.state();
        match verdict {
            Verdict::Accepted => state.qos2_received(packet_id),
            Verdict::RefusedPayload if !v5 => state.qos2_received(packet_id),
            Verdict::RefusedPayload | Verdict::NotStored => drop(state.qos2_release(packet_id)),
        }
    }
}

/// Keeps and fans out an accepted message; counts the others.
async fn settle_message(shared: &Arc<Shared>, message: Option<Arc<Message>>, verdict: Verdict) {
    let Some(message) = message else {
        return;
    };
    match verdict {
        Verdict::Accepted => {
            shared.counters.one(Counter::PublishesAccepted);
            shared.publish(&message).await;
        }
        Verdict::RefusedPayload => shared.counters.one(Counter::PublishRefusedPayload),
        Verdict::NotStored => shared.counters.one(Counter::PublishNotStored),
    }
}

/// The verdict of the oldest pending publish; never, if that is not for the host to say.
async fn first_verdict(pending: &mut VecDeque<Pending>) -> Verdict {
    match pending.front_mut().map(|front| &mut front.verdict) {
        Some(Awaited::Host(verdict)) => verdict.await.unwrap_or(Verdict::NotStored),
        Some(Awaited::Known(verdict)) => *verdict,
        Some(Awaited::EarlierConnection | Awaited::Refused(_)) | None => std::future::pending().await,
    }
}

/// Lets a last word be heard: closing a socket with unread input resets it, and what was said
/// might be lost with it.
async fn linger<S: AsyncRead>(read: &mut ReadHalf<S>, input: &mut BytesMut) {
    drop(tokio::time::timeout(LINGER_DEADLINE, discard_input(read, input)).await);
}

/// Reads and forgets, until the client has closed or has sent a last [`LINGER_BYTES_MAX`].
async fn discard_input<S: AsyncRead>(read: &mut ReadHalf<S>, input: &mut BytesMut) -> std::io::Result<()> {
    let mut left = LINGER_BYTES_MAX;
    loop {
        input.clear();
        input.reserve(READ_BYTES_MIN);
        let bytes = read.read_buf(input).await?;
        left = left.saturating_sub(bytes);
        if bytes == 0 || left == 0 {
            return Ok(());
        }
    }
}

/// An owned copy: a slice would keep the whole read buffer alive.
fn copied(payload: &[u8]) -> Bytes {
    Bytes::copy_from_slice(payload)
}
