//! A cable between two programs that can be pulled: a TCP relay with an address that stays.
//!
//! A pulled cable sends no FIN: existing connections fall silent for ever, new ones are accepted by nobody's kernel but
//! ours and hear nothing. After [`Link::restore`] new connections work; the silent ones stay silent, as behind a router
//! that has forgotten them. What goes to the other side can be read afterwards ([`Link::carried`]).

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Bytes moved at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// Bytes that are kept of what went to the other side.
const CARRIED_BYTES_MAX: usize = 16 * 1024 * 1024;

type Carried = Arc<Mutex<Vec<u8>>>;

#[derive(Debug, Clone, Copy)]
struct State {
    target: SocketAddr,
    cut: bool,
    /// Counts cuts: a connection belongs to the time in which it was made.
    age: u64,
}

/// The relay.
#[derive(Debug)]
pub struct Link {
    addr: SocketAddr,
    state: watch::Sender<State>,
    carried: Carried,
    listener: JoinHandle<()>,
}

impl Link {
    /// Listens on a free port and relays to `target`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on the loopback");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let (state, watcher) = watch::channel(State { target, cut: false, age: 0 });
        let carried = Carried::default();
        let record = carried.clone();
        let listener = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(relay(near, watcher.clone(), record.clone()));
            }
        });
        Self { addr, state, carried, listener }
    }

    /// Where to connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What went to the other side so far, of all connections, as it came.
    ///
    /// # Panics
    /// When it was more than is kept: nobody could say then what was in it.
    #[must_use]
    pub fn carried(&self) -> Vec<u8> {
        let carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(carried.len() < CARRIED_BYTES_MAX, "more than {CARRIED_BYTES_MAX} bytes went by");
        carried.clone()
    }

    /// Pulls the cable, without a FIN.
    pub fn cut(&self) {
        self.state.send_modify(|state| {
            state.cut = true;
            state.age += 1;
        });
    }

    /// Puts the cable back.
    pub fn restore(&self) {
        self.state.send_modify(|state| state.cut = false);
    }

    /// The other side has moved.
    pub fn retarget(&self, target: SocketAddr) {
        self.state.send_modify(|state| state.target = target);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn relay(near: TcpStream, mut state: watch::Receiver<State>, carried: Carried) {
    let made = *state.borrow_and_update();
    if made.cut {
        // Held open and never read, until the relay itself goes.
        while state.changed().await.is_ok() {}
        return;
    }
    let Ok(far) = TcpStream::connect(made.target).await else { return };
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let (mut near_reader, mut near_writer) = near.into_split();
    let (mut far_reader, mut far_writer) = far.into_split();
    let there = copy(&mut near_reader, &mut far_writer, Some(&carried));
    let back = copy(&mut far_reader, &mut near_writer, None);
    let was_cut = tokio::select! {
        _ = there => false,
        _ = back => false,
        cut = state.wait_for(|state| state.age != made.age) => cut.is_ok(),
    };
    if was_cut {
        // The halves stay open and nobody reads them.
        while state.changed().await.is_ok() {}
    }
}

async fn copy(
    from: &mut tokio::net::tcp::OwnedReadHalf,
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    carried: Option<&Carried>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let len = from.read(&mut chunk).await?;
        if len == 0 {
            return Ok(());
        }
        if let Some(carried) = carried {
            let mut carried = carried.lock().unwrap_or_else(PoisonError::into_inner);
            let room = CARRIED_BYTES_MAX - carried.len();
            carried.extend_from_slice(&chunk[..len.min(room)]);
        }
        to.write_all(&chunk[..len]).await?;
    }
}
