//! An eye on a camera that follows a script.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

use vision::frame::{Encoding, Frame, Layout};

use super::*;

/// What the camera does next.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// A whole frame of one grey.
    Frame(u8),
    /// A frame that is too short.
    Torn,
    /// A frame that the driver marks as damaged.
    Damaged,
    /// The plug is pulled.
    Gone,
    /// Nothing, for as long as the test lasts.
    Silence,
}

#[derive(Default)]
struct Script {
    /// What each attempt to open finds; the last one stays.
    opens: VecDeque<Result<Vec<Act>, Trouble>>,
    attempts: usize,
}

#[derive(Clone, Default)]
struct Scripted {
    script: Arc<Mutex<Script>>,
    open_now: Arc<AtomicUsize>,
}

impl Scripted {
    fn of(opens: impl IntoIterator<Item = Result<Vec<Act>, Trouble>>) -> Self {
        let scripted = Self::default();
        scripted.script.lock().unwrap().opens = opens.into_iter().collect();
        scripted
    }

    fn attempts(&self) -> usize {
        self.script.lock().unwrap().attempts
    }

    fn open_now(&self) -> usize {
        self.open_now.load(Ordering::SeqCst)
    }
}

fn error(trouble: Trouble) -> FeedError {
    let path = std::path::PathBuf::from("/dev/video0");
    let errno = match trouble {
        Trouble::Absent => return FeedError::Absent { path },
        Trouble::Unsuitable => return FeedError::Empty { path },
        Trouble::Busy => 16,
        Trouble::Lost => 5,
    };
    FeedError::Device { path, what: "open", source: io::Error::from_raw_os_error(errno) }
}

impl Open for Scripted {
    fn open(&mut self) -> Result<(About, Box<dyn Feed>), FeedError> {
        let mut script = self.script.lock().unwrap();
        script.attempts += 1;
        let act =
            if script.opens.len() == 1 { script.opens[0].clone() } else { script.opens.pop_front().unwrap() };
        let acts = act.map_err(error)?;
        self.open_now.fetch_add(1, Ordering::SeqCst);
        Ok((
            About::default(),
            Box::new(ScriptedFeed { acts: acts.into(), open_now: Arc::clone(&self.open_now) }),
        ))
    }
}

struct ScriptedFeed {
    acts: VecDeque<Act>,
    open_now: Arc<AtomicUsize>,
}

impl Drop for ScriptedFeed {
    fn drop(&mut self) {
        self.open_now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Feed for ScriptedFeed {
    fn next(&mut self, wait: Duration, sink: &mut dyn FnMut(Seen<'_>)) -> Result<Next, FeedError> {
        let grey = |value| vec![value, 128, value, 128, value, 128, value, 128];
        let mut show = |bytes: &[u8]| {
            sink(Seen::Frame(Frame {
                layout: Layout::Yuyv,
                encoding: Encoding::default(),
                width: 2,
                height: 2,
                stride: 0,
                at: Instant::now(),
                sequence: 0,
                bytes,
            }));
        };
        match self.acts.pop_front() {
            Some(Act::Frame(value)) => {
                show(&grey(value));
                // A camera takes its time; so a test sees each frame.
                thread::park_timeout(Duration::from_millis(2));
                Ok(Next::Taken)
            }
            Some(Act::Torn) => {
                show(&[1, 2, 3]);
                Ok(Next::Taken)
            }
            Some(Act::Damaged) => Ok(Next::Damaged),
            Some(Act::Gone) => Err(error(Trouble::Absent)),
            Some(Act::Silence) | None => {
                thread::park_timeout(wait);
                Ok(Next::Nothing)
            }
        }
    }
}

const QUICK: Limits = Limits {
    stall: Duration::from_millis(300),
    retry_min: Duration::from_millis(5),
    retry_max: Duration::from_millis(20),
};

fn eye(scripted: &Scripted) -> Eye {
    Eye::start("test-camera", scripted.clone(), QUICK).unwrap()
}

fn wait(what: &str, mut is_reached: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !is_reached() {
        assert!(Instant::now() < limit, "not within 20 s: {what}");
        thread::yield_now();
    }
}

#[test]
fn the_device_is_closed_until_somebody_wants_it_and_closed_again_afterwards() {
    let scripted = Scripted::of([Ok(vec![Act::Frame(100)])]);
    let eye = eye(&scripted);
    assert_eq!((eye.state(), scripted.attempts()), (CameraState::Closed, 0));
    eye.want(true, true);
    wait("a stream", || eye.state() == CameraState::Streaming);
    assert_eq!(scripted.open_now(), 1);
    wait("a frame and its mirror", || eye.shared.lock().newest.is_some() && !eye.previews().is_blank());

    eye.want(false, false);
    assert_eq!(eye.state(), CameraState::Closed, "at once");
    assert!(
        eye.shared.lock().newest.is_none() && eye.previews().is_blank(),
        "nothing is left of what it saw"
    );
    wait("a closed device", || scripted.open_now() == 0);
}

#[test]
fn an_eye_that_is_dropped_lets_go_of_the_device() {
    let scripted = Scripted::of([Ok(vec![Act::Frame(1)])]);
    let eye = eye(&scripted);
    eye.want(true, false);
    wait("a stream", || scripted.open_now() == 1);
    drop(eye);
    wait("a closed device", || scripted.open_now() == 0);
}

#[test]
fn a_camera_that_is_unplugged_and_plugged_in_again_streams_again() {
    let scripted = Scripted::of([
        Ok(vec![Act::Frame(50), Act::Gone]),
        Err(Trouble::Absent),
        Err(Trouble::Absent),
        Err(Trouble::Busy),
        Ok(vec![Act::Frame(60); 5000]),
    ]);
    let eye = eye(&scripted);
    let mut seen = Vec::new();
    eye.want(true, false);
    wait("the second stream", || {
        let state = eye.state();
        if seen.last() != Some(&state.name()) {
            seen.push(state.name());
        }
        eye.counts().opened == 2 && state == CameraState::Streaming
    });
    assert_eq!(scripted.attempts(), 5);
    assert!(!seen.contains(&"absent"), "what was there is lost, not absent: {seen:?}");
}

#[test]
fn what_stands_in_the_way_is_told_with_its_beginning() {
    for (trouble, name) in [
        (Trouble::Absent, "absent"),
        (Trouble::Busy, "busy"),
        (Trouble::Unsuitable, "unsuitable"),
        (Trouble::Lost, "lost"),
    ] {
        let scripted = Scripted::of([Err(trouble)]);
        let eye = eye(&scripted);
        eye.want(true, false);
        wait(name, || eye.state().name() == name);
        let first = eye.state();
        wait("three more attempts", || 4 <= scripted.attempts());
        assert_eq!(eye.state(), first, "the beginning stays");
    }
}

#[test]
fn a_silent_camera_is_opened_again() {
    let scripted = Scripted::of([Ok(vec![Act::Frame(5), Act::Silence]), Ok(vec![Act::Frame(6); 5000])]);
    let eye = eye(&scripted);
    eye.want(true, false);
    wait("the second stream", || eye.counts().opened == 2 && eye.state() == CameraState::Streaming);
}

#[test]
fn damaged_frames_are_dropped_and_counted() {
    let acts = vec![Act::Torn, Act::Frame(9), Act::Damaged, Act::Torn, Act::Frame(10)];
    let scripted = Scripted::of([Ok(acts)]);
    let eye = eye(&scripted);
    eye.want(true, false);
    wait("two pictures", || eye.counts().taken == 2);
    assert_eq!(eye.counts(), CameraCounts { taken: 2, damaged: 3, opened: 1 });
}

#[test]
fn a_picture_that_is_taken_is_newer_than_the_wish() {
    let mut acts = vec![Act::Frame(16)];
    acts.extend([Act::Frame(235); 3000]);
    let scripted = Scripted::of([Ok(acts)]);
    let eye = eye(&scripted);
    eye.want(true, false);
    wait("a few pictures", || 3 <= eye.counts().taken);
    let picture = eye.shutter().take().unwrap();
    assert_eq!(picture.pixel(0, 0), [255; 3]);
}

#[test]
fn no_picture_is_taken_through_a_closed_eye_or_a_camera_in_trouble() {
    let scripted = Scripted::of([Err(Trouble::Busy)]);
    let eye = eye(&scripted);
    assert!(matches!(eye.shutter().take(), Err(TakeError::Closed)));
    eye.want(true, false);
    wait("trouble", || eye.state().is_trouble());
    assert!(matches!(eye.shutter().take(), Err(TakeError::Trouble("busy"))));
}

#[test]
fn a_thousand_frames_allocate_no_picture_after_the_first_ones() {
    let scripted = Scripted::of([Ok(vec![Act::Frame(77); 1000])]);
    let eye = eye(&scripted);
    eye.want(true, true);
    wait("a thousand pictures", || eye.counts().taken == 1000);
    let inner = eye.shared.lock();
    assert_eq!(inner.newest.as_ref().unwrap().picture.pixel(0, 0), [71; 3]);
}
