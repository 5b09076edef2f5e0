//! Accepts TCP connections within the limits and starts a task for each.
//!
//! TLS and WebSocket belong here: their handshakes go into the connection's own task, between
//! accept and [`connection::serve`], so that a client that stalls one holds up nobody.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

use crate::{broker::Shared, connection, counters::Counter};

/// A pause after a failed accept, or a process without file descriptors would spin.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may be without traffic before the system asks whether its other end is still there. A client
/// with keep-alive 0 says nothing for as long as it likes; one that has lost power says nothing ever.
const PROBE_AFTER: Duration = Duration::from_secs(60);
/// How long the system waits for an answer before it asks again.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
/// Questions without an answer after which the connection counts as lost.
const PROBES_MAX: u32 = 4;

/// Open connections, in total and by address.
#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, OfAddress>,
}

/// Open connections of one address.
#[derive(Debug, Default)]
struct OfAddress {
    total: usize,
    /// Those that have not completed their CONNECT.
    handshakes: usize,
}

/// One connection's place in the count; gives it back when dropped.
struct Place {
    open: Arc<Mutex<Open>>,
    address: IpAddr,
    shared: Arc<Shared>,
}

/// One connection's place among those of its address that have not completed their CONNECT; gives it
/// back when dropped. The connection has a [`Place`] for as long.
pub(crate) struct Greeting {
    open: Arc<Mutex<Open>>,
    address: IpAddr,
    shared: Arc<Shared>,
}

impl Drop for Greeting {
    fn drop(&mut self) {
        self.shared.handshakes.fetch_sub(1, Ordering::Relaxed);
        let mut counts = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_address) = counts.by_address.get_mut(&self.address) {
            of_address.handshakes -= 1;
        }
    }
}

impl Place {
    fn try_take(
        open: &Arc<Mutex<Open>>,
        address: IpAddr,
        shared: &Arc<Shared>,
    ) -> Result<(Self, Greeting), Counter> {
        let mut counts = open.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.limits.connections <= counts.total {
            return Err(Counter::ConnectionsRefusedTotal);
        }
        let of_address = counts.by_address.entry(address).or_default();
        if shared.limits.connections_per_address <= of_address.total {
            return Err(Counter::ConnectionsRefusedAddress);
        }
        if shared.limits.handshakes_per_address() <= of_address.handshakes {
            return Err(Counter::ConnectionsRefusedHandshakes);
        }
        of_address.total += 1;
        of_address.handshakes += 1;
        counts.total += 1;
        shared.open.fetch_add(1, Ordering::Relaxed);
        shared.handshakes.fetch_add(1, Ordering::Relaxed);
        let place = Self { open: Arc::clone(open), address, shared: Arc::clone(shared) };
        let greeting = Greeting { open: Arc::clone(open), address, shared: Arc::clone(shared) };
        Ok((place, greeting))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(of_address) = counts.by_address.get_mut(&self.address) {
            of_address.total -= 1;
            if of_address.total == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

/// How every connection is to behave. What the system refuses, a connection can live without.
fn set_up(stream: &TcpStream) {
    // Acknowledgements are small and already gathered; waiting for more would only delay them.
    drop(stream.set_nodelay(true));
    let probes =
        TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL).with_retries(PROBES_MAX);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&probes) {
        tracing::warn!(%error, "a connection that loses its other end will not be noticed");
    }
}

/// The listener and who came in through it; outlives a panic of the task that accepts.
pub(crate) struct Door {
    listener: TcpListener,
    open: Arc<Mutex<Open>>,
}

impl Door {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, open: Arc::default() }
    }

    /// Accepts until the broker stops.
    pub(crate) async fn accept(self: Arc<Self>, shared: Arc<Shared>) {
        loop {
            let accepted = tokio::select! {
                () = shared.stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            self.receive(accepted, &shared).await;
        }
    }

    async fn receive(&self, accepted: io::Result<(TcpStream, SocketAddr)>, shared: &Arc<Shared>) {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                shared.counters.one(Counter::AcceptErrors);
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
                return;
            }
        };
        let (place, greeting) = match Place::try_take(&self.open, peer.ip(), shared) {
            Ok(taken) => taken,
            Err(counter) => {
                shared.counters.one(counter);
                return;
            }
        };
        shared.counters.one(Counter::ConnectionsAccepted);
        set_up(&stream);
        let for_client = Arc::clone(shared);
        shared.tasks.spawn(async move {
            let halt = for_client.halt.clone();
            tokio::select! {
                () = connection::serve(stream, peer, for_client, greeting) => {}
                // The deadline of the shutdown is over: what is not said now stays unsaid.
                () = halt.cancelled() => {}
            }
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_asks_whether_a_silent_client_is_still_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        set_up(&stream);
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), PROBE_AFTER);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), PROBE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES_MAX);
    }
}
