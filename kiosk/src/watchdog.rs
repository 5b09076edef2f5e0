//! The watchdog: the main loop beats, a thread listens, and a loop that stands still is ended and started anew.
//!
//! Speaks systemd's notification protocol where `NOTIFY_SOCKET` names a socket (sd_notify(3)): `READY=1` after the
//! first frame, `WATCHDOG=1` as long as the loop beats, `STOPPING=1` at the end. Without systemd the thread itself ends
//! a process whose loop has stood still for [`STILL_MAX`]. A loop that stands still is the one fault that nothing inside
//! the loop can see: a driver that never returns, a system that never ends.

use std::{
    env, io, mem,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use bevy::prelude::*;

use crate::exits;

/// A loop that has not beaten for this long stands still. Starting may compile many pipelines between two beats, so
/// this is generous; a service file may ask for less.
pub const STILL_MAX: Duration = Duration::from_secs(60);
/// How long the process may take to end when it was told to.
const ENDING_MAX: Duration = Duration::from_secs(10);
/// A thread that has not looked for this long was held up with everything else: a machine that slept, a process that was
/// stopped. What the loop did meanwhile says nothing.
const GAP_MAX: Duration = Duration::from_secs(5);
/// How often the thread looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The main loop's heart. The thread ends when this is dropped.
#[derive(Resource, Debug)]
pub struct Heart {
    beats: Arc<AtomicU64>,
    _thread: SyncSender<()>,
}

/// Beats once in every frame.
pub(crate) fn plugin(app: &mut App) {
    app.add_systems(Last, beat.run_if(resource_exists::<Heart>));
}

fn beat(heart: Res<Heart>) {
    heart.beats.fetch_add(1, Ordering::Release);
}

impl Heart {
    /// Starts the thread that listens.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> io::Result<Self> {
        let beats = Arc::new(AtomicU64::new(0));
        let (alive, dropped) = sync_channel(1);
        let mut listener = Listener::new(Notifier::from_environment(), Instant::now());
        let heard = Arc::clone(&beats);
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            // The near end is never sent anything: it is dropped with the main loop.
            while let Err(RecvTimeoutError::Timeout) = dropped.recv_timeout(LOOK_EVERY) {
                match listener.listen(heard.load(Ordering::Acquire), exits::is_ending(), Instant::now()) {
                    Verdict::Well => {}
                    Verdict::Still => {
                        error!("the main loop has stood still for {} s", STILL_MAX.as_secs());
                        process::exit(i32::from(exits::STALLED));
                    }
                    // Something keeps the process from ending; its destructors are not waited for.
                    Verdict::EndsNot => process::abort(),
                }
            }
            listener.notifier.say("STOPPING=1");
        })?;
        Ok(Self { beats, _thread: alive })
    }
}

/// What the listener thinks of the process.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Well,
    Still,
    EndsNot,
}

/// What the thread has heard. Decides by the times that it is given.
struct Listener {
    notifier: Notifier,
    beats: u64,
    beaten_at: Instant,
    looked_at: Instant,
    ending_since: Option<Instant>,
}

impl Listener {
    fn new(notifier: Notifier, now: Instant) -> Self {
        Self { notifier, beats: 0, beaten_at: now, looked_at: now, ending_since: None }
    }

    fn listen(&mut self, beats: u64, is_ending: bool, now: Instant) -> Verdict {
        if GAP_MAX <= now - mem::replace(&mut self.looked_at, now) {
            self.beaten_at = now;
            self.ending_since = self.ending_since.and(Some(now));
        }
        if is_ending {
            let since = *self.ending_since.get_or_insert(now);
            return if ENDING_MAX <= now - since { Verdict::EndsNot } else { Verdict::Well };
        }
        if beats != self.beats {
            if self.beats == 0 {
                self.notifier.say("READY=1");
            }
            self.beats = beats;
            self.beaten_at = now;
            self.notifier.say("WATCHDOG=1");
        } else if STILL_MAX <= now - self.beaten_at {
            return Verdict::Still;
        }
        Verdict::Well
    }
}

/// Where the service manager listens, if anywhere.
#[derive(Debug)]
struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        Self::to(name.as_encoded_bytes()).unwrap_or_else(|error| {
            warn!("the service manager cannot be told anything: NOTIFY_SOCKET `{}`: {error}", name.display());
            Self(None)
        })
    }

    /// A path, or `@` and a name in the abstract namespace.
    fn to(name: &[u8]) -> io::Result<Self> {
        use std::os::unix::ffi::OsStrExt as _;
        let address = match name.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        };
        let socket = UnixDatagram::unbound()?;
        // A service manager that does not read must not hold the watchdog up.
        socket.set_nonblocking(true)?;
        Ok(Self(Some((socket, address))))
    }

    fn say(&self, state: &str) {
        if let Some((socket, address)) = &self.0
            && let Err(error) = socket.send_to_addr(state.as_bytes(), address)
        {
            debug!("the service manager was not told `{state}`: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        socket.set_nonblocking(true).unwrap();
        let mut said = Vec::new();
        let mut buffer = [0; 64];
        while let Ok(length) = socket.recv(&mut buffer) {
            said.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        said
    }

    #[test]
    fn the_service_manager_hears_of_the_first_frame_and_of_every_beat() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let now = Instant::now();
        let mut listener = Listener::new(Notifier::to(path.as_os_str().as_encoded_bytes()).unwrap(), now);
        assert_eq!(listener.listen(0, false, now), Verdict::Well);
        assert_eq!(heard(&manager), Vec::<String>::new(), "nothing is drawn yet");
        listener.listen(3, false, now);
        listener.listen(3, false, now);
        listener.listen(4, false, now);
        assert_eq!(heard(&manager), ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    }

    #[test]
    fn an_abstract_socket_is_understood() {
        let name = format!("storehub-watchdog-test-{}", process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notifier::to(format!("@{name}").as_bytes()).unwrap().say("STOPPING=1");
        assert_eq!(heard(&manager), ["STOPPING=1"]);
    }

    #[test]
    fn a_loop_that_stands_still_is_found_out_and_one_that_beats_is_not() {
        let start = Instant::now();
        let mut listener = Listener::new(Notifier(None), start);
        for second in 0..300 {
            assert_eq!(listener.listen(second, false, start + Duration::from_secs(second)), Verdict::Well);
        }
        let last = start + Duration::from_secs(299);
        let mut still = (1..=STILL_MAX.as_secs())
            .map(|second| listener.listen(299, false, last + Duration::from_secs(second)));
        assert_eq!(still.position(|verdict| verdict == Verdict::Still), Some(59));
    }

    #[test]
    fn a_process_that_cannot_end_is_not_waited_for() {
        let start = Instant::now();
        let mut listener = Listener::new(Notifier(None), start);
        let mut ends = (0..=ENDING_MAX.as_secs())
            .map(|second| listener.listen(1, true, start + Duration::from_secs(second)));
        assert_eq!(ends.position(|verdict| verdict == Verdict::EndsNot), Some(10));
    }

    #[test]
    fn a_machine_that_slept_is_no_loop_that_stands_still() {
        let start = Instant::now();
        let mut listener = Listener::new(Notifier(None), start);
        assert_eq!(listener.listen(1, false, start), Verdict::Well);
        let awake = start + 10 * STILL_MAX;
        assert_eq!(listener.listen(1, false, awake), Verdict::Well);
        let mut still = (1..=STILL_MAX.as_secs())
            .map(|second| listener.listen(1, false, awake + Duration::from_secs(second)));
        assert!(still.any(|verdict| verdict == Verdict::Still), "and then it is");
    }
}
