//! A device that follows a script.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use rustix::io::Errno;

use super::*;
use crate::camera::{Camera, Controls, Source};

/// What the scripted kernel knows; shared, so that a test changes it while a camera is open.
#[derive(Default)]
struct Script {
    nodes: Vec<Node>,
    offers: Vec<Offer>,
    granted: Option<Granted>,
    open_fails: Option<Errno>,
    stream_fails: Option<Errno>,
    controls: BTreeMap<Knob, i32>,
    /// What a control keeps whatever is written.
    stuck: BTreeMap<Knob, i32>,
    written: Vec<Knob>,
    frames: VecDeque<Result<Option<Vec<u8>>, Errno>>,
    open_streams: usize,
}

#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn with<T>(&self, work: impl FnOnce(&mut Script) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }
}

impl System for Scripted {
    fn nodes(&mut self) -> Vec<Node> {
        self.with(|script| script.nodes.clone())
    }

    fn open(&mut self, path: &Path) -> io::Result<Box<dyn Device>> {
        let found = self.with(|script| {
            if let Some(error) = script.open_fails {
                return Err(error);
            }
            script.nodes.iter().find(|node| node.path == path).cloned().ok_or(Errno::NOENT)
        })?;
        Ok(Box::new(ScriptedDevice(self.clone(), found.identity)))
    }
}

struct ScriptedDevice(Scripted, Identity);

impl Device for ScriptedDevice {
    fn identity(&mut self) -> io::Result<Identity> {
        Ok(self.1.clone())
    }

    fn offers(&mut self) -> io::Result<Vec<Offer>> {
        Ok(self.0.with(|script| script.offers.clone()))
    }

    fn knobs(&mut self) -> io::Result<Vec<Knob>> {
        Ok(self.0.with(|script| script.controls.keys().copied().collect()))
    }

    fn knob(&mut self, knob: Knob) -> io::Result<i32> {
        Ok(self.0.with(|script| script.stuck.get(&knob).copied().unwrap_or(script.controls[&knob])))
    }

    fn set_knob(&mut self, knob: Knob, value: i32) -> io::Result<()> {
        self.0.with(|script| {
            script.written.push(knob);
            script.controls.insert(knob, value);
        });
        Ok(())
    }

    fn stream(self: Box<Self>, wish: Mode) -> io::Result<(Granted, Box<dyn Stream>)> {
        let granted = self.0.with(|script| {
            if let Some(error) = script.stream_fails {
                return Err(error);
            }
            script.open_streams += 1;
            let (width, _) = wish.size;
            let stride = width * 2;
            let rate_milli = Some(wish.rate * 1000);
            Ok(script.granted.unwrap_or(Granted {
                fourcc: wish.layout.fourcc(),
                size: wish.size,
                stride,
                rate_milli,
            }))
        })?;
        Ok((granted, Box::new(ScriptedStream(self.0))))
    }
}

struct ScriptedStream(Scripted);

impl Stream for ScriptedStream {
    fn next(&mut self, _: Duration, sink: &mut dyn FnMut(&[u8])) -> io::Result<Option<Buffer>> {
        match self.0.with(|script| script.frames.pop_front()) {
            None => Ok(None),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(None)) => Ok(Some(Buffer::Damaged)),
            Some(Ok(Some(bytes))) => {
                sink(&bytes);
                Ok(Some(Buffer::Whole))
            }
        }
    }
}

impl Drop for ScriptedStream {
    fn drop(&mut self) {
        self.0.with(|script| script.open_streams -= 1);
    }
}

fn node(path: &str, card: &str, bus: &str) -> Node {
    Node { path: path.into(), identity: Identity { card: card.to_owned(), bus: bus.to_owned() } }
}

fn webcam() -> Scripted {
    let scripted = Scripted::default();
    scripted.with(|script| {
        script.nodes = vec![node("/dev/video0", "Cam", "usb-1")];
        script.offers = vec![Offer { fourcc: *b"YUYV", sizes: Sizes::Listed(vec![(4, 2, 30_000)]) }];
    });
    scripted
}

fn settings() -> Settings {
    Settings { size: (4, 2), ..Settings::default() }
}

fn camera(scripted: &Scripted, settings: Settings) -> Camera {
    Camera::on(Box::new(scripted.clone()), Source::V4l2("/dev/video0".into()), settings)
}

fn take(feed: &mut dyn Feed) -> Result<(Next, Option<[u8; 3]>), FeedError> {
    let mut seen = None;
    let next = feed.next(Duration::ZERO, &mut |frame| {
        if let Seen::Frame(frame) = frame {
            seen = frame.to_picture().ok().map(|picture| picture.pixel(0, 0));
        }
    })?;
    Ok((next, seen))
}

#[test]
fn frames_pass_and_damaged_ones_are_told_apart() {
    let scripted = webcam();
    scripted.with(|script| {
        script.frames = VecDeque::from([Ok(Some(vec![128; 16])), Ok(None), Ok(Some(vec![128; 3]))]);
    });
    let (about, mut feed) = camera(&scripted, settings()).open().unwrap();
    assert_eq!(about.mode, "YUYV 4 x 2 at 30.0/s");
    assert!(about.differences.is_empty(), "{:?}", about.differences);
    assert_eq!(take(feed.as_mut()).unwrap(), (Next::Taken, Some([130; 3])));
    assert_eq!(take(feed.as_mut()).unwrap(), (Next::Damaged, None));
    assert_eq!(take(feed.as_mut()).unwrap(), (Next::Taken, None), "too short to be a picture");
    assert_eq!(take(feed.as_mut()).unwrap(), (Next::Nothing, None));
    drop(feed);
    assert_eq!(scripted.with(|script| script.open_streams), 0);
}

#[test]
fn an_unplugged_camera_is_found_again_under_another_node() {
    let scripted = webcam();
    let mut camera = camera(&scripted, settings());
    scripted.with(|script| script.frames = VecDeque::from([Err(Errno::NODEV)]));
    let (_, mut feed) = camera.open().unwrap();
    assert_eq!(take(feed.as_mut()).unwrap_err().trouble(), Trouble::Absent);
    drop(feed);

    scripted.with(|script| script.nodes.clear());
    assert!(matches!(camera.open().err(), Some(FeedError::Absent { .. })));

    scripted.with(|script| {
        script.nodes = vec![
            node("/dev/video0", "Capture card", "pci-1"),
            node("/dev/video1", "Cam", "usb-9"),
            node("/dev/video2", "Cam", "usb-1"),
        ];
        script.frames = VecDeque::from([Ok(Some(vec![128; 16]))]);
    });
    let (_, mut feed) = camera.open().unwrap();
    assert_eq!(take(feed.as_mut()).unwrap().0, Next::Taken);
    let known = scripted.with(|script| script.nodes.clone());
    let cam = Identity { card: "Cam".to_owned(), bus: "usb-1".to_owned() };
    assert_eq!(find(&known, Path::new("/dev/video0"), &cam), Some("/dev/video2".into()));
    assert_eq!(find(&known[..2], Path::new("/dev/video0"), &cam), Some("/dev/video1".into()));
    assert_eq!(find(&known[..1], Path::new("/dev/video0"), &cam), None, "another camera is not ours");
}

#[test]
fn errors_of_the_kernel_become_what_a_visitor_can_be_told() {
    let cases = [
        (Some(Errno::NOENT), None, Trouble::Absent),
        (Some(Errno::ACCESS), None, Trouble::Unsuitable),
        (Some(Errno::BUSY), None, Trouble::Busy),
        (None, Some(Errno::BUSY), Trouble::Busy),
        (None, Some(Errno::NODEV), Trouble::Absent),
        (None, Some(Errno::IO), Trouble::Lost),
    ];
    for (open_fails, stream_fails, expected) in cases {
        let scripted = webcam();
        scripted.with(|script| {
            script.open_fails = open_fails;
            script.stream_fails = stream_fails;
        });
        let error = camera(&scripted, settings()).open().err().unwrap();
        assert_eq!(error.trouble(), expected, "{error}");
        assert!(error.to_string().contains("/dev/video0"), "{error}");
    }
}

#[test]
fn a_camera_that_gives_nothing_that_we_read_is_unsuitable_and_says_what_it_has() {
    let scripted = webcam();
    let h264 = Granted { fourcc: *b"H264", size: (4, 2), stride: 0, rate_milli: None };
    scripted.with(|script| script.granted = Some(h264));
    let error = camera(&scripted, settings()).open().err().unwrap();
    assert!(matches!(error, FeedError::Refused { .. }), "{error}");
    assert_eq!(error.trouble(), Trouble::Unsuitable);
    assert_eq!(scripted.with(|script| script.open_streams), 0, "the stream that was not wanted is closed");

    scripted.with(|script| script.offers[0].fourcc = *b"H264");
    let error = camera(&scripted, settings()).open().err().unwrap();
    assert_eq!(error.to_string(), "the camera `/dev/video0` offers H264, not MJPG, YUYV or NV12");
}

#[test]
fn what_the_driver_sets_instead_is_reported() {
    let scripted = webcam();
    let granted = Granted { fourcc: *b"YUYV", size: (2, 2), stride: 4, rate_milli: Some(15_000) };
    scripted.with(|script| script.granted = Some(granted));
    let (about, _feed) = camera(&scripted, settings()).open().unwrap();
    let said: Vec<String> = about.differences.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["`camera.size` is 2x2, 4x2 was asked for", "`camera.rate` is 15.000, 30 was asked for"]
    );
}

#[test]
fn controls_are_locked_read_back_and_what_differs_is_said() {
    let scripted = webcam();
    scripted.with(|script| {
        script.controls = BTreeMap::from([
            (Knob::ExposureAuto, 3),
            (Knob::Exposure, 1),
            (Knob::WhiteBalanceAuto, 1),
            (Knob::WhiteBalance, 1),
            (Knob::PowerLine, 2),
        ]);
        script.stuck = BTreeMap::from([(Knob::WhiteBalance, 6500)]);
    });
    let controls = Controls {
        exposure_us: Some(20_000),
        white_balance_k: Some(5000),
        focus: Some(10),
        power_line_hz: Some(50),
        gain: None,
    };
    let (about, _feed) = camera(&scripted, Settings { controls, ..settings() }).open().unwrap();
    let said: Vec<String> = about.differences.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "`camera.controls.white_balance_k` is 6500, 5000 was asked for",
            "`camera.controls.focus` is not a control of this camera, 10 was asked for",
        ]
    );
    scripted.with(|script| {
        let value = |knob| script.controls[&knob];
        assert_eq!((value(Knob::ExposureAuto), value(Knob::Exposure)), (1, 200));
        assert_eq!((value(Knob::WhiteBalanceAuto), value(Knob::PowerLine)), (0, 1));
        let order =
            [Knob::PowerLine, Knob::ExposureAuto, Knob::Exposure, Knob::WhiteBalanceAuto, Knob::WhiteBalance];
        assert_eq!(script.written, order, "what is automatic is switched off first");
    });
}
