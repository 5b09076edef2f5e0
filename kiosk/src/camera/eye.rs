//! One camera and the thread that looks through it.
//!
//! Owns opening, the watchdog, reopening with growing pauses, and the newest picture. The thread holds the device only
//! while somebody wants it: otherwise the device is closed, not merely ignored.
//!
//! Invariants: one picture is kept, and a newer one takes its place; neither who shows nor who takes a picture waits for
//! the other; when the eye closes, nothing of what it saw is left. A damaged frame is dropped and counted.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use bevy::log::{info, warn};
use vision::{
    Picture,
    camera::{About, Feed, FeedError, Next, Seen, Trouble},
};

use super::preview::{Preview, Previews};

/// How long the thread waits for things.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// A stream without a picture for this long is given up and opened again.
    pub(super) stall: Duration,
    /// The pause before the first new attempt to open; each further one is twice as long.
    pub(super) retry_min: Duration,
    /// The longest pause.
    pub(super) retry_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(3),
            retry_min: Duration::from_millis(250),
            retry_max: Duration::from_secs(4),
        }
    }
}

/// How long one wait for a frame lasts: a wish to close is noticed after it.
const LOOK_UP: Duration = Duration::from_millis(100);
/// How long a picture may take from the wish to the eye's opening.
const OPEN_MAX: Duration = Duration::from_millis(1500);
/// How long a picture may take in all: a webcam needs up to two seconds to start.
const TAKE_MAX: Duration = Duration::from_secs(8);

/// What a camera does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CameraState {
    /// Nothing: nobody wants it, or there is none.
    #[default]
    Closed,
    /// It is being opened.
    Opening,
    /// It looks.
    Streaming,
    /// It was there and is gone, or has stopped; it is looked for again and again.
    Lost {
        /// Since when there is no picture.
        since: Instant,
    },
    /// Another program has it.
    Busy {
        /// Since when there is no picture.
        since: Instant,
    },
    /// It is not there.
    Absent {
        /// Since when there is no picture.
        since: Instant,
    },
    /// It is there, but gives nothing that we read, or not to us.
    Unsuitable {
        /// Since when there is no picture.
        since: Instant,
    },
}

impl CameraState {
    /// Whether something stands in the way.
    #[must_use]
    pub fn is_trouble(self) -> bool {
        !matches!(self, Self::Closed | Self::Opening | Self::Streaming)
    }

    /// The word for it, for those who read no pixels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Opening => "opening",
            Self::Streaming => "streaming",
            Self::Lost { .. } => "lost",
            Self::Busy { .. } => "busy",
            Self::Absent { .. } => "absent",
            Self::Unsuitable { .. } => "unsuitable",
        }
    }

    fn of(trouble: Trouble, since: Instant) -> Self {
        match trouble {
            Trouble::Absent => Self::Absent { since },
            Trouble::Busy => Self::Busy { since },
            Trouble::Lost => Self::Lost { since },
            Trouble::Unsuitable => Self::Unsuitable { since },
        }
    }
}

/// What an eye has counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CameraCounts {
    /// Pictures.
    pub taken: u64,
    /// Frames that were damaged and dropped.
    pub damaged: u64,
    /// Streams that were opened.
    pub opened: u64,
}

/// Why no picture was taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// Nobody may look: there is no consent, or the visit has ended.
    #[error("the camera is closed")]
    Closed,
    /// The camera is not there, busy or broken.
    #[error("the camera is {0}")]
    Trouble(&'static str),
    /// Nothing came in time.
    #[error("the camera gave no picture within {} s", TAKE_MAX.as_secs())]
    Late,
}

/// Something that can be opened again and again.
pub(super) trait Open: Send {
    fn open(&mut self) -> Result<(About, Box<dyn Feed>), FeedError>;
}

impl Open for vision::camera::Camera {
    fn open(&mut self) -> Result<(About, Box<dyn Feed>), FeedError> {
        Self::open(self)
    }
}

/// The newest picture.
#[derive(Debug, Clone)]
struct Shot {
    picture: Arc<Picture>,
    at: Instant,
}

#[derive(Default)]
struct Inner {
    is_wanted: bool,
    is_over: bool,
    is_shown: bool,
    state: CameraState,
    about: Option<About>,
    newest: Option<Shot>,
    counts: CameraCounts,
    waker: Option<Box<dyn Fn() + Send>>,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    previews: Arc<Previews>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, at most until `limit`; gives `false` after it.
    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>, limit: Instant) -> (MutexGuard<'a, Inner>, bool) {
        let Some(left) = limit.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
            return (inner, false);
        };
        let (inner, _) = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner);
        (inner, true)
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        change(&mut inner);
        if let Some(wake) = &inner.waker {
            wake();
        }
        drop(inner);
        self.changed.notify_all();
    }
}

/// One camera. Dropping it closes the device and ends the thread.
pub(super) struct Eye {
    shared: Arc<Shared>,
}

impl Eye {
    /// Starts the thread; the device stays closed until somebody wants it.
    pub(super) fn start(name: &str, open: impl Open + 'static, limits: Limits) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let mut opener = open;
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut keeper = Keeper { shared: &own, limits, spare: Vec::new(), shown: None };
            // A decoder or driver binding that panics must not leave the kiosk blind until the next start.
            while catch_unwind(AssertUnwindSafe(|| keeper.run(&mut opener))).is_err() {
                warn!("the camera's thread broke down and goes on");
                keeper.trouble(Trouble::Lost);
                if keeper.pause(limits.retry_max) {
                    break;
                }
            }
        })?;
        Ok(Self { shared })
    }

    /// Opens or closes; `is_shown` says whether somebody looks at the preview. Never waits for the device.
    pub(super) fn want(&self, is_wanted: bool, is_shown: bool) {
        let mut inner = self.shared.lock();
        if (inner.is_wanted, inner.is_shown) == (is_wanted, is_shown) {
            return;
        }
        (inner.is_wanted, inner.is_shown) = (is_wanted, is_shown);
        if !is_wanted {
            // The thread closes the device in a moment; what was seen goes at once.
            inner.newest = None;
            inner.state = CameraState::Closed;
        }
        drop(inner);
        if !is_shown {
            self.shared.previews.clear();
        }
        self.shared.changed.notify_all();
    }

    pub(super) fn state(&self) -> CameraState {
        self.shared.lock().state
    }

    pub(super) fn about(&self) -> Option<About> {
        self.shared.lock().about.clone()
    }

    pub(super) fn counts(&self) -> CameraCounts {
        self.shared.lock().counts
    }

    pub(super) fn previews(&self) -> Arc<Previews> {
        Arc::clone(&self.shared.previews)
    }

    /// What is called when there is something new; it must not wait.
    pub(super) fn wake_with(&self, waker: impl Fn() + Send + 'static) {
        self.shared.lock().waker = Some(Box::new(waker));
    }

    pub(super) fn shutter(&self) -> Shutter {
        Shutter { shared: Arc::clone(&self.shared), after: Instant::now() }
    }
}

impl Drop for Eye {
    fn drop(&mut self) {
        self.want(false, false);
        self.shared.change(|inner| {
            inner.is_over = true;
            inner.waker = None;
        });
    }
}

/// Takes one picture that is newer than itself; goes to a worker.
#[derive(Clone)]
pub struct Shutter {
    shared: Arc<Shared>,
    after: Instant,
}

impl std::fmt::Debug for Shutter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shutter")
    }
}

impl Shutter {
    /// Waits for the picture, some seconds at most.
    ///
    /// # Errors
    /// When the camera is closed, in trouble, or gives nothing in time.
    pub fn take(&self) -> Result<Arc<Picture>, TakeError> {
        let began = Instant::now();
        let (open_by, limit) = (began + OPEN_MAX, began + TAKE_MAX);
        let mut inner = self.shared.lock();
        loop {
            if let Some(shot) = inner.newest.as_ref().filter(|shot| self.after <= shot.at) {
                return Ok(Arc::clone(&shot.picture));
            }
            // A camera that is wanted in this moment is not open yet, and one that was lost may be back.
            let is_on_its_way = matches!(inner.state, CameraState::Opening | CameraState::Streaming);
            let until = if is_on_its_way { limit } else { open_by };
            let (back, is_early) = self.shared.wait(inner, until);
            inner = back;
            if !is_early {
                return Err(match inner.state {
                    CameraState::Closed => TakeError::Closed,
                    state if state.is_trouble() => TakeError::Trouble(state.name()),
                    _ if is_on_its_way => TakeError::Late,
                    _ => continue,
                });
            }
        }
    }

    /// Waits for `count` pictures in a row, each newer than the one before; fewer when the camera goes after the first.
    ///
    /// # Errors
    /// As [`Self::take`], for the first of them.
    pub fn burst(&self, count: usize) -> Result<Vec<Arc<Picture>>, TakeError> {
        let mut pictures = vec![self.take()?];
        while pictures.len() < count {
            let next = Self { shared: Arc::clone(&self.shared), after: Instant::now() };
            match next.take() {
                Ok(picture) => pictures.push(picture),
                Err(_) => break,
            }
        }
        Ok(pictures)
    }
}

/// The thread's side.
struct Keeper<'a> {
    shared: &'a Shared,
    limits: Limits,
    /// Memory of a picture that nobody holds any more.
    spare: Vec<u8>,
    /// The picture of the last preview: a still is not converted again and again.
    shown: Option<Arc<Picture>>,
}

impl Keeper<'_> {
    /// Runs until the eye is dropped.
    fn run(&mut self, opener: &mut dyn Open) {
        let mut pause = self.limits.retry_min;
        while self.wait_for_a_wish() {
            let opened = opener.open();
            let ended = match opened {
                Ok((about, feed)) => {
                    let before = self.shared.lock().counts.taken;
                    let ended = self.watch(&about, feed);
                    if before < self.shared.lock().counts.taken {
                        pause = self.limits.retry_min;
                    }
                    ended
                }
                Err(error) => Err(error),
            };
            self.forget();
            let Err(error) = ended else { continue };
            if !self.trouble(error.trouble()) {
                warn!("{}", crate::chain(&error));
            }
            if self.pause(pause) {
                return;
            }
            pause = (pause * 2).min(self.limits.retry_max);
        }
    }

    /// Waits until somebody wants to look; `false` when nobody ever will.
    fn wait_for_a_wish(&mut self) -> bool {
        let mut inner = self.shared.lock();
        loop {
            if inner.is_over {
                return false;
            }
            if inner.is_wanted {
                if !inner.state.is_trouble() {
                    inner.state = CameraState::Opening;
                }
                return true;
            }
            inner.state = CameraState::Closed;
            inner = self.shared.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Looks until nobody wants to any more, or the stream is over.
    fn watch(&mut self, about: &About, mut feed: Box<dyn Feed>) -> Result<(), FeedError> {
        info!("the camera `{}` looks: {}", about.name, about.mode);
        for difference in &about.differences {
            warn!("the camera `{}`: {difference}", about.name);
        }
        self.shared.change(|inner| {
            inner.counts.opened += 1;
            inner.about = Some(about.clone());
        });
        let mut alive_at = Instant::now();
        loop {
            {
                let inner = self.shared.lock();
                if !inner.is_wanted || inner.is_over {
                    return Ok(());
                }
            }
            let mut seen = None;
            let spare = &mut self.spare;
            let next = feed.next(LOOK_UP, &mut |frame| {
                seen = Some(match frame {
                    Seen::Frame(frame) => frame.to_picture_in(std::mem::take(spare)).map(Arc::new),
                    Seen::Picture(picture) => Ok(picture),
                });
            })?;
            match (next, seen) {
                (Next::Taken, Some(Ok(picture))) => {
                    alive_at = Instant::now();
                    self.keep(picture);
                }
                (Next::Damaged | Next::Taken, _) => self.shared.lock().counts.damaged += 1,
                (Next::Nothing, _) => {}
                (Next::Due(left), _) => self.rest(left),
            }
            let silent = alive_at.elapsed();
            if self.limits.stall < silent {
                return Err(FeedError::Stalled(silent));
            }
        }
    }

    /// Puts the picture into its place and takes the memory of the one before.
    fn keep(&mut self, picture: Arc<Picture>) {
        let shot = Shot { picture: Arc::clone(&picture), at: Instant::now() };
        let mut inner = self.shared.lock();
        if !inner.is_wanted {
            return;
        }
        inner.state = CameraState::Streaming;
        inner.counts.taken += 1;
        let before = inner.newest.replace(shot);
        let is_shown = inner.is_shown;
        drop(inner);
        let is_new = !self.shown.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, &picture));
        if is_shown && (is_new || self.shared.previews.is_blank()) {
            self.shared.previews.put(Preview::of(&picture, self.shared.previews.spare()));
            if !self.shared.lock().is_shown {
                // Nobody looks any more since the picture was made smaller: it must not outlive that.
                self.shared.previews.clear();
            }
            // Holding on to a still's picture costs nothing; a moving one is let go, so that its memory is used again.
            self.shown = Some(picture);
        }
        self.shared.change(|_| {});
        if let Some(before) = before
            && self.shown.as_ref().is_none_or(|shown| !Arc::ptr_eq(shown, &before.picture))
            && let Ok(picture) = Arc::try_unwrap(before.picture)
        {
            self.spare = picture.into_spare();
        }
    }

    /// Waits, unless the wish changes.
    fn rest(&self, time: Duration) {
        let limit = Instant::now() + time.min(LOOK_UP);
        let mut inner = self.shared.lock();
        while inner.is_wanted && !inner.is_over {
            let (back, is_early) = self.shared.wait(inner, limit);
            inner = back;
            if !is_early {
                return;
            }
        }
    }

    /// Waits before a new attempt, unless nobody wants to look any more; whether the eye is gone.
    fn pause(&self, time: Duration) -> bool {
        let limit = Instant::now() + time;
        let mut inner = self.shared.lock();
        loop {
            if inner.is_over || !inner.is_wanted {
                return inner.is_over;
            }
            let (back, is_early) = self.shared.wait(inner, limit);
            inner = back;
            if !is_early {
                return false;
            }
        }
    }

    /// Lets go of everything that was seen.
    fn forget(&mut self) {
        self.shown = None;
        self.spare = Vec::new();
        self.shared.previews.clear();
        self.shared.lock().newest = None;
    }

    /// Says what stands in the way; whether that was known.
    fn trouble(&self, trouble: Trouble) -> bool {
        let mut is_known = false;
        self.shared.change(|inner| {
            if !inner.is_wanted {
                return;
            }
            let since = match inner.state {
                CameraState::Lost { since }
                | CameraState::Busy { since }
                | CameraState::Absent { since }
                | CameraState::Unsuitable { since } => since,
                CameraState::Closed | CameraState::Opening | CameraState::Streaming => Instant::now(),
            };
            // A camera that was there and is now absent has been lost: that is what a visitor saw happen.
            let trouble = match (trouble, inner.state) {
                (Trouble::Absent, CameraState::Streaming | CameraState::Lost { .. }) => Trouble::Lost,
                _ => trouble,
            };
            let state = CameraState::of(trouble, since);
            is_known = state == inner.state;
            inner.state = state;
        });
        is_known
    }
}

#[cfg(test)]
mod tests;
