//! The HTTP edge: serves an axum router over connections within limits, so that slow or many clients can neither lock
//! a page nor take the file descriptors that others need.
//!
//! Owns how many connections there are, from where, and how long one may be silent. Does not own what is served, nor
//! counters: every refusal is told to whoever counts, by name ([`Tell`]).
//!
//! # Invariants
//!
//! - A connection is for one request, whose head is complete within [`Limits::head_max`] of the accept: none is idle.
//! - A connection to which nothing was written for [`Limits::silence_max`] is closed: an answer that does not come, a
//!   reader that takes no bytes.
//! - An address has at most [`Limits::heads_per_address`] connections whose head is not complete; one more takes the
//!   place of its oldest.
//! - At most [`Limits::connections`] are open, [`Limits::connections_per_address`] of one address. One more takes the
//!   place of the oldest whose head is not complete (of its address, if that is where there are too many); if all are
//!   being answered it is told so: 503 with Retry-After.
//! - Everything ends [`Limits::drain_max`] after the stop.

mod door;
mod guest;
mod places;

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::connect_info::Connected,
    http::{HeaderValue, header},
    middleware,
    response::Response,
    serve::IncomingStream,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use door::Door;
pub use places::{Place, Places, network_of};

/// Turned away with 503: too many are being answered, in all or for its address.
pub const REFUSED: &str = "http_connections_refused";
/// Closed for a newer one before its request was complete.
pub const EVICTED: &str = "http_connections_evicted";
/// Closed because its request did not become complete in time.
pub const SLOW_HEAD: &str = "http_connections_slow_head";
/// Closed because nothing was written to it for too long.
pub const SILENT: &str = "http_connections_silent";

/// Hears the name of each thing that happened.
pub type Tell = Arc<dyn Fn(&'static str) + Send + Sync>;

/// How many and how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most connections at once: some pages, a scraper and a proxy's pool.
    pub connections: usize,
    /// Most connections of one address; a proxy in front has one address for everybody.
    pub connections_per_address: usize,
    /// Most connections of one address whose request's head is not complete. A browser sends its head at once, but a
    /// burst of them on a busy machine is accepted before the first is read.
    pub heads_per_address: usize,
    /// Longest time from the accept until the request's head is complete.
    pub head_max: Duration,
    /// Longest time in which nothing is written to a connection; an answer may take that long too.
    pub silence_max: Duration,
    /// How long answers under way may take once the stop has come.
    pub drain_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_address: 64,
            heads_per_address: 48,
            head_max: Duration::from_secs(5),
            silence_max: Duration::from_secs(30),
            drain_max: Duration::from_secs(2),
        }
    }
}

/// Where a request comes from: a handler extracts `ConnectInfo<Peer>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub std::net::SocketAddr);

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every answer was given.
    Drained,
    /// Some were cut after [`Limits::drain_max`].
    Cut,
}

/// Serves until `stop` resolves, then lets answers under way finish for at most [`Limits::drain_max`].
///
/// # Errors
/// When the listener cannot be served any longer.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tell: Tell,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<Ended> {
    let (draining, cut) = (CancellationToken::new(), CancellationToken::new());
    // Whatever ends this function ends the connections.
    let _cut = cut.clone().drop_guard();
    let drain_max = limits.drain_max;
    let door = Door::new(listener, limits, tell, cut);
    let started = draining.clone();
    let signal = async move {
        stop.await;
        started.cancel();
    };
    let late = async {
        draining.cancelled().await;
        tokio::time::sleep(drain_max).await;
    };
    let router = router.layer(middleware::map_response(last));
    let service = router.into_make_service_with_connect_info::<Peer>();
    tokio::select! {
        served = axum::serve(door, service).with_graceful_shutdown(signal) => served.map(|()| Ended::Drained),
        () = late => Ok(Ended::Cut),
    }
}

/// An answer after which the connection is closed.
async fn last(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests;
