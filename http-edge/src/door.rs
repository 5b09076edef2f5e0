//! Who is let in: the listener, and the book of open connections.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{EVICTED, Limits, REFUSED, Tell, guest::Guest, places::network_of};

/// Refusals that are being said at a time; further ones are closed without a word.
const FAREWELLS_MAX: usize = 32;
/// How long one may take to hear its refusal.
const FAREWELL_MAX: Duration = Duration::from_millis(250);
/// Bytes of a refused request that are read, so that closing does not reset the connection before it has heard.
const FAREWELL_BYTES_MAX: usize = 16 * 1024;
const FAREWELL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 25\r\n\r\nthere are too many of you";

/// A listener within [`Limits`].
pub(crate) struct Door {
    listener: TcpListener,
    limits: Limits,
    book: Arc<Mutex<Book>>,
    farewells: Arc<Semaphore>,
    tell: Tell,
    cut: CancellationToken,
}

/// The open connections by number, which is their age.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: BTreeMap<u64, Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    /// Its request's head is not complete.
    is_half_open: bool,
    end: CancellationToken,
}

pub(crate) fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    /// Writes a new connection in, and whether another had to go for it; `None` when there is no place.
    fn enter(&mut self, address: IpAddr, limits: &Limits, end: CancellationToken) -> Option<(u64, bool)> {
        let of_address = self.entries.values().filter(|entry| entry.address == address);
        let (mut connections, mut heads) = (0, 0);
        for entry in of_address {
            connections += 1;
            heads += usize::from(entry.is_half_open);
        }
        let is_address_full =
            limits.connections_per_address <= connections || limits.heads_per_address <= heads;
        let has_to_go = is_address_full || limits.connections <= self.entries.len();
        if has_to_go {
            let mut half_open = self
                .entries
                .iter()
                .filter(|(_, entry)| entry.is_half_open && (!is_address_full || entry.address == address));
            let oldest = *half_open.next()?.0;
            if let Some(entry) = self.entries.remove(&oldest) {
                entry.end.cancel();
            }
        }
        let number = self.next;
        self.next += 1;
        self.entries.insert(number, Entry { address, is_half_open: true, end });
        Some((number, has_to_go))
    }

    pub(crate) fn leave(&mut self, number: u64) {
        // One that had to go is not in it any more.
        self.entries.remove(&number);
    }

    /// Its request's head is complete.
    pub(crate) fn asked(&mut self, number: u64) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.is_half_open = false;
        }
    }
}

impl Door {
    /// All connections end when `cut` is cancelled.
    pub(crate) fn new(listener: TcpListener, limits: Limits, tell: Tell, cut: CancellationToken) -> Self {
        let farewells = Arc::new(Semaphore::new(FAREWELLS_MAX));
        Self { listener, limits, book: Arc::default(), farewells, tell, cut }
    }

    /// Says that there is no place, without keeping anybody waiting for it.
    fn refuse(&self, stream: TcpStream) {
        (self.tell)(REFUSED);
        if let Ok(permit) = Arc::clone(&self.farewells).try_acquire_owned() {
            tokio::spawn(async move {
                // Whether it is heard is the client's affair.
                timeout(FAREWELL_MAX, say_farewell(stream)).await.ok();
                drop(permit);
            });
        }
    }
}

async fn say_farewell(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(FAREWELL).await?;
    stream.shutdown().await?;
    let (mut unread, mut left) = ([0; 1024], FAREWELL_BYTES_MAX);
    while 0 < left {
        match stream.read(&mut unread).await? {
            0 => break,
            bytes => left = left.saturating_sub(bytes),
        }
    }
    Ok(())
}

impl axum::serve::Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        loop {
            // Axum's own accept waits a little after an error, such as no file descriptors left.
            let (stream, peer) = axum::serve::Listener::accept(&mut self.listener).await;
            let end = self.cut.child_token();
            let entered = lock(&self.book).enter(network_of(peer.ip()), &self.limits, end.clone());
            let Some((number, has_replaced)) = entered else {
                self.refuse(stream);
                continue;
            };
            if has_replaced {
                (self.tell)(EVICTED);
            }
            let guest =
                Guest::new(stream, number, Arc::clone(&self.book), &self.limits, Arc::clone(&self.tell), end);
            return (guest, peer);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
