//! HTTP's connections with limits, so that slow ones cannot take the file descriptors that stores need.
//!
//! Owns how many there are and how long one may keep silent. Does not own what is served.
//!
//! # Invariants
//!
//! - At most [`CONNECTIONS_MAX`] connections are open; one more is closed at once and counted.
//! - A connection to which nothing was written for [`Limits::silence_max`] is closed and counted. This is the deadline of
//!   a request's head (an answer follows it), of an idle connection, and of a reader that takes no bytes.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::counters::Counters;

/// Most connections at once: some pages, a scraper and a proxy's pool.
pub const CONNECTIONS_MAX: usize = 128;
/// Longest time in which nothing is written to a connection; an answer may take that long too.
pub const SILENCE_MAX: Duration = Duration::from_secs(15);

/// How many and how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most connections at once.
    pub connections: usize,
    /// See [`SILENCE_MAX`].
    pub silence_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: CONNECTIONS_MAX, silence_max: SILENCE_MAX }
    }
}

/// A listener within [`Limits`].
pub(super) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    silence_max: Duration,
    counters: Counters,
    cut: CancellationToken,
}

impl Door {
    /// All connections end when `cut` is cancelled.
    pub(super) fn new(
        listener: TcpListener,
        limits: Limits,
        counters: Counters,
        cut: CancellationToken,
    ) -> Self {
        let places = Arc::new(Semaphore::new(limits.connections));
        Self { listener, places, silence_max: limits.silence_max, counters, cut }
    }
}

impl axum::serve::Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        loop {
            // Axum's own accept waits a little after an error, such as no file descriptors left.
            let (stream, peer) = axum::serve::Listener::accept(&mut self.listener).await;
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                self.counters.count("http_connections_refused");
                continue;
            };
            let guest = Guest {
                stream,
                silence: Box::pin(sleep(self.silence_max)),
                silence_max: self.silence_max,
                cut: Box::pin(self.cut.clone().cancelled_owned()),
                counters: self.counters.clone(),
                _place: place,
            };
            return (guest, peer);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection, which fails when it was silent for too long.
pub(super) struct Guest {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    silence_max: Duration,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    counters: Counters,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    /// Registers the waker with what ends the connection, and fails when that has come.
    fn may_stay(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if self.silence.as_mut().poll(context).is_ready() {
            self.counters.count("http_connections_silent");
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// What was written breaks the silence.
    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = written {
            let until = Instant::now() + self.silence_max;
            self.silence.as_mut().reset(until);
        }
        written
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.may_stay(context)?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.may_stay(context)?;
        let written = Pin::new(&mut self.stream).poll_write(context, from);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.may_stay(context)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, from);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        task::JoinHandle,
        time::timeout,
    };

    use super::*;
    use crate::http::serve_within;

    const LIMIT: Duration = Duration::from_secs(30);

    struct Server {
        addr: SocketAddr,
        counters: Counters,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    async fn serve(limits: Limits) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (counters, stop) = (Counters::default(), CancellationToken::new());
        let router = Router::new()
            .route("/small", get(|| async { "ok" }))
            .route("/large", get(|| async { vec![b'x'; 64 * 1024 * 1024] }));
        let task = tokio::spawn(serve_within(listener, router, limits, counters.clone(), stop.clone()));
        Server { addr, counters, stop, task }
    }

    /// Everything until the other side closes; a reset is a close too.
    async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
        let mut all = Vec::new();
        // A reset ends it as well.
        let _ = timeout(LIMIT, stream.read_to_end(&mut all)).await.expect("it is closed in time");
        all
    }

    #[tokio::test]
    async fn slow_heads_idle_connections_and_readers_that_take_nothing_are_closed_and_make_room() {
        let server = serve(Limits { connections: 3, silence_max: Duration::from_millis(300) }).await;
        let mut slow = TcpStream::connect(server.addr).await.unwrap();
        slow.write_all(b"GET /small HTTP/1.1\r\nhost: hq\r\nx: ").await.unwrap();
        let mut idle = TcpStream::connect(server.addr).await.unwrap();
        idle.write_all(b"GET /small HTTP/1.1\r\nhost: hq\r\n\r\n").await.unwrap();
        let mut stuck = TcpStream::connect(server.addr).await.unwrap();
        stuck.write_all(b"GET /large HTTP/1.1\r\nhost: hq\r\n\r\n").await.unwrap();

        // The head never ends though bytes keep coming: they do not put the deadline off.
        let (mut half, mut other) = slow.split();
        let dripping = async {
            let mut drops = tokio::time::interval(Duration::from_millis(20));
            while other.write_all(b"x").await.is_ok() {
                drops.tick().await;
            }
        };
        let mut nothing = Vec::new();
        let closed = async {
            let _ = half.read_to_end(&mut nothing).await;
        };
        timeout(LIMIT, async {
            tokio::select! { () = dripping => (), () = closed => () }
        })
        .await
        .unwrap();
        assert!(nothing.is_empty(), "{nothing:?}");

        assert!(until_closed(&mut idle).await.ends_with(b"ok"));
        timeout(LIMIT, async {
            while server.counters.value("http_connections_silent") < 3 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the one that takes nothing is closed too");
        assert!(until_closed(&mut stuck).await.len() < 64 * 1024 * 1024);

        let mut next = TcpStream::connect(server.addr).await.unwrap();
        next.write_all(b"GET /small HTTP/1.1\r\nhost: hq\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(until_closed(&mut next).await.ends_with(b"ok"));
        server.stop.cancel();
        timeout(LIMIT, server.task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_counted_and_slow_ones_do_not_hold_up_the_end() {
        let server = serve(Limits { connections: 4, silence_max: LIMIT }).await;
        let mut slow = Vec::new();
        for _ in 0..4 {
            let mut stream = TcpStream::connect(server.addr).await.unwrap();
            stream.write_all(b"GET /small HTTP/1.1\r\n").await.unwrap();
            slow.push(stream);
        }
        for count in 1..=300 {
            let mut refused = TcpStream::connect(server.addr).await.unwrap();
            assert!(until_closed(&mut refused).await.is_empty());
            assert_eq!(server.counters.value("http_connections_refused"), count);
        }
        // One of the first goes; its place is free, and the others go on.
        drop(slow.pop());
        timeout(LIMIT, async {
            loop {
                let mut next = TcpStream::connect(server.addr).await.unwrap();
                let request = b"GET /small HTTP/1.1\r\nhost: hq\r\nconnection: close\r\n\r\n";
                if next.write_all(request).await.is_ok() && until_closed(&mut next).await.ends_with(b"ok") {
                    break;
                }
            }
        })
        .await
        .expect("there is room again");
        slow[0].write_all(b"host: hq\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(until_closed(&mut slow[0]).await.ends_with(b"ok"));
        server.stop.cancel();
        timeout(LIMIT, server.task).await.unwrap().unwrap();
        assert!(until_closed(&mut slow[1]).await.is_empty());
    }
}
