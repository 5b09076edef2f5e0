//! The kernel's video calls, through the crate `linuxvideo`; nothing else names it.
//!
//! Has no opinion: modes and controls are set as they are asked for. The crate gives no time of capture and no sequence
//! number, so frames are stamped when they are taken over.

use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Duration,
};

use linuxvideo::{
    BufType, CapabilityFlags, Fract,
    controls::Cid,
    format::{FrameSizes, PixFormat, PixelFormat},
    stream::ReadStream,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::device::{Buffer, Device, Granted, Identity, Knob, Node, Offer, Sizes, Stream, System};
use super::negotiate::Mode;
use crate::picture::guarded;

/// Nodes beyond these are not looked at.
const NODES_MAX: usize = 64;
/// A driver that lists controls without end is not believed.
const CONTROLS_MAX: usize = 256;

/// The kernel itself.
pub(super) struct Kernel;

impl System for Kernel {
    fn nodes(&mut self) -> Vec<Node> {
        list()
    }

    fn open(&mut self, path: &Path) -> io::Result<Box<dyn Device>> {
        Ok(Box::new(Opened::open(path)?))
    }
}

/// Every camera of this machine: nodes that capture video, by path.
#[must_use]
pub fn list() -> Vec<Node> {
    let Ok(folder) = std::fs::read_dir("/dev") else { return Vec::new() };
    let mut paths: Vec<PathBuf> = folder
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("video"))
        .map(|entry| entry.path())
        .take(NODES_MAX)
        .collect();
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            let mut device = Opened::open(&path).ok()?;
            let is_camera = guarded(|| device.0.capabilities()).ok()?.ok()?;
            if !is_camera.device_capabilities().contains(CapabilityFlags::VIDEO_CAPTURE) {
                return None;
            }
            Some(Node { path, identity: device.identity().ok()? })
        })
        .collect()
}

/// What a camera offers.
#[derive(Debug, Clone)]
pub struct Description {
    /// Who it is.
    pub identity: Identity,
    /// Its layouts and sizes.
    pub offers: Vec<Offer>,
    /// Its controls.
    pub controls: Vec<Control>,
    /// Its present format in the driver's words, the encoding of its colours among them.
    pub format: String,
}

/// A control of a camera, as its driver names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Its name.
    pub name: String,
    /// Least and greatest value.
    pub range: (i32, i32),
    /// The value that it begins with.
    pub default: i32,
    /// The value now, where it can be read.
    pub value: Option<i32>,
}

/// What the camera at `path` offers; lets no stream run.
///
/// # Errors
/// When the device cannot be opened or does not answer.
pub fn describe(path: &Path) -> io::Result<Description> {
    let mut device = Opened::open(path)?;
    Ok(Description {
        identity: device.identity()?,
        offers: device.offers()?,
        controls: call(|| {
            let controls = device.0.controls().take(CONTROLS_MAX).filter_map(Result::ok);
            Ok(controls
                .map(|control| Control {
                    name: control.name().to_owned(),
                    range: (control.minimum(), control.maximum()),
                    default: control.default_value(),
                    value: device.0.read_control_raw(control.id()).ok(),
                })
                .collect())
        })?,
        format: call(|| device.0.format(BufType::VIDEO_CAPTURE))
            .map_or_else(|error| format!("unknown ({error})"), |format| format!("{format:?}")),
    })
}

/// A panic of the crate (a name that is no UTF-8, say) is an error of the device.
fn call<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    guarded(work).unwrap_or_else(|what| Err(io::Error::other(what)))
}

struct Opened(linuxvideo::Device);

impl Opened {
    fn open(path: &Path) -> io::Result<Self> {
        call(|| linuxvideo::Device::open(path)).map(Self)
    }
}

impl Device for Opened {
    fn identity(&mut self) -> io::Result<Identity> {
        call(|| {
            let capabilities = self.0.capabilities()?;
            Ok(Identity { card: capabilities.card().to_owned(), bus: capabilities.bus_info().to_owned() })
        })
    }

    fn offers(&mut self) -> io::Result<Vec<Offer>> {
        call(|| {
            let formats: Vec<_> = self.0.formats(BufType::VIDEO_CAPTURE).collect::<io::Result<_>>()?;
            formats.iter().map(|format| offer(&self.0, format.pixel_format())).collect()
        })
    }

    fn knobs(&mut self) -> io::Result<Vec<Knob>> {
        call(|| {
            let controls = self.0.controls().take(CONTROLS_MAX).filter_map(Result::ok);
            let present: Vec<Cid> = controls.map(|control| control.id()).collect();
            Ok(Knob::ALL.into_iter().filter(|knob| present.contains(&cid(*knob))).collect())
        })
    }

    fn knob(&mut self, knob: Knob) -> io::Result<i32> {
        call(|| self.0.read_control_raw(cid(knob)))
    }

    fn set_knob(&mut self, knob: Knob, value: i32) -> io::Result<()> {
        call(|| self.0.write_control_raw(cid(knob), value))
    }

    fn stream(self: Box<Self>, wish: Mode) -> io::Result<(Granted, Box<dyn Stream>)> {
        call(move || {
            let (width, height) = wish.size;
            let format = PixFormat::new(width, height, PixelFormat::from_fourcc(wish.layout.fourcc()));
            let capture = self.0.video_capture(format)?;
            // Some drivers do not let the rate be set; what they do is reported.
            let rate = capture.set_frame_interval(Fract::new(1, wish.rate.max(1))).ok();
            let format = capture.format();
            let granted = Granted {
                fourcc: format.pixel_format().as_fourcc(),
                size: (format.width(), format.height()),
                stride: format.bytes_per_line(),
                rate_milli: rate.and_then(per_second),
            };
            let stream: Box<dyn Stream> = Box::new(Running(capture.into_stream()?));
            Ok((granted, stream))
        })
    }
}

fn cid(knob: Knob) -> Cid {
    match knob {
        Knob::ExposureAuto => Cid::EXPOSURE_AUTO,
        Knob::ExposureAutoPriority => Cid::EXPOSURE_AUTO_PRIORITY,
        Knob::Exposure => Cid::EXPOSURE_ABSOLUTE,
        Knob::GainAuto => Cid::AUTOGAIN,
        Knob::Gain => Cid::GAIN,
        Knob::WhiteBalanceAuto => Cid::AUTO_WHITE_BALANCE,
        Knob::WhiteBalance => Cid::WHITE_BALANCE_TEMPERATURE,
        Knob::FocusAuto => Cid::FOCUS_AUTO,
        Knob::Focus => Cid::FOCUS_ABSOLUTE,
        Knob::PowerLine => Cid::POWER_LINE_FREQUENCY,
    }
}

fn offer(device: &linuxvideo::Device, format: PixelFormat) -> io::Result<Offer> {
    let sizes = match device.frame_sizes(format)? {
        FrameSizes::Discrete(sizes) => Sizes::Listed(
            sizes
                .iter()
                .map(|size| {
                    let (width, height) = (size.width(), size.height());
                    let rate = device.frame_intervals(format, width, height).ok();
                    (width, height, rate.and_then(|rates| per_second(rates.min())).unwrap_or(0))
                })
                .collect(),
        ),
        FrameSizes::Stepwise(sizes) | FrameSizes::Continuous(sizes) => {
            Sizes::Between((sizes.min_width(), sizes.min_height()), (sizes.max_width(), sizes.max_height()))
        }
    };
    Ok(Offer { fourcc: format.as_fourcc(), sizes })
}

/// Thousandths of a frame a second.
fn per_second(interval: Fract) -> Option<u32> {
    let milli = u64::from(interval.denominator()) * 1000;
    u32::try_from(milli.checked_div(u64::from(interval.numerator()))?).ok()
}

struct Running(ReadStream);

impl Stream for Running {
    fn next(&mut self, wait: Duration, sink: &mut dyn FnMut(&[u8])) -> io::Result<Option<Buffer>> {
        let timeout = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        // Without this wait a camera that is silent would hold the thread for ever.
        let events = {
            let fd = self.0.as_fd();
            let mut polled = [PollFd::new(&fd, PollFlags::IN)];
            match poll(&mut polled, Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => return Ok(None),
                Ok(_) => polled[0].revents(),
                Err(error) => return Err(error.into()),
            }
        };
        if !events.contains(PollFlags::IN) {
            return Err(Errno::NODEV.into());
        }
        call(|| {
            self.0.dequeue(|view| {
                if view.is_error() {
                    return Ok(Some(Buffer::Damaged));
                }
                sink(&view);
                Ok(Some(Buffer::Whole))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_camera_is_an_error() {
        for path in ["/dev/null", "/nowhere/video0"] {
            assert!(describe(Path::new(path)).is_err(), "{path}");
        }
    }
}
