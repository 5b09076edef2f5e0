//! A V4L2 device behind the smallest seam: what the kernel is asked for is four traits, so that everything but the
//! calls themselves runs against a script.
//!
//! Finds the camera again under another node when it was plugged in anew: by the name and the port that it had, else by
//! its name alone.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    About, Feed, FeedError, Next, Seen, Settings, Trouble,
    negotiate::{self, Mode},
};
use crate::frame::{Encoding, Frame, Layout};

/// The kernel's cameras.
pub(super) trait System: Send {
    /// Every node that captures video, by path.
    fn nodes(&mut self) -> Vec<Node>;
    /// Opens a node.
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn Device>>;
}

/// An open device that does not stream yet.
pub(super) trait Device {
    fn identity(&mut self) -> io::Result<Identity>;
    fn offers(&mut self) -> io::Result<Vec<Offer>>;
    /// Which of our knobs it has.
    fn knobs(&mut self) -> io::Result<Vec<Knob>>;
    fn knob(&mut self, knob: Knob) -> io::Result<i32>;
    fn set_knob(&mut self, knob: Knob, value: i32) -> io::Result<()>;
    /// Sets the mode and lets the stream run; says what was set.
    fn stream(self: Box<Self>, wish: Mode) -> io::Result<(Granted, Box<dyn Stream>)>;
}

/// A stream; dropping it stops the device.
pub(super) trait Stream: Send {
    /// Waits for a buffer; `None` when none came. The driver's word that it is damaged goes with it.
    fn next(&mut self, wait: Duration, sink: &mut dyn FnMut(&[u8])) -> io::Result<Option<Buffer>>;
}

/// What the driver says about a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Buffer {
    Whole,
    Damaged,
}

/// What a driver set, which need not be what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) fourcc: [u8; 4],
    pub(super) size: (u32, u32),
    pub(super) stride: u32,
    /// Thousandths of a frame a second; `None` when the driver does not say.
    pub(super) rate_milli: Option<u32>,
}

/// Who a camera is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name that the driver gives it.
    pub card: String,
    /// The port that it is plugged into.
    pub bus: String,
}

/// A device node that captures video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its path.
    pub path: PathBuf,
    /// Who is there.
    pub identity: Identity,
}

/// A layout that a device has, with its sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its four characters.
    pub fourcc: [u8; 4],
    /// The sizes.
    pub sizes: Sizes,
}

/// Sizes of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sizes {
    /// These alone, each with the highest rate in thousandths of a frame a second.
    Listed(Vec<(u32, u32, u32)>),
    /// Everything from the first to the second.
    Between((u32, u32), (u32, u32)),
}

/// A control that we turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Knob {
    ExposureAuto,
    ExposureAutoPriority,
    Exposure,
    GainAuto,
    Gain,
    WhiteBalanceAuto,
    WhiteBalance,
    FocusAuto,
    Focus,
    PowerLine,
}

impl Knob {
    pub(super) const ALL: [Self; 10] = [
        Self::ExposureAuto,
        Self::ExposureAutoPriority,
        Self::Exposure,
        Self::GainAuto,
        Self::Gain,
        Self::WhiteBalanceAuto,
        Self::WhiteBalance,
        Self::FocusAuto,
        Self::Focus,
        Self::PowerLine,
    ];
}

/// What an error of the kernel means for a stream.
pub(super) fn trouble(error: &io::Error) -> Trouble {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::NOTDIR) => Trouble::Absent,
        Some(Errno::BUSY) => Trouble::Busy,
        Some(Errno::ACCESS | Errno::PERM | Errno::NOTTY | Errno::INVAL) => Trouble::Unsuitable,
        _ => Trouble::Lost,
    }
}

/// Finds, opens, negotiates, locks, and lets the stream run.
pub(super) fn open(
    system: &mut dyn System,
    configured: &Path,
    settings: &Settings,
    known: &mut Option<Identity>,
) -> Result<(About, Box<dyn Feed>), FeedError> {
    let path = match known {
        None => configured.to_owned(),
        Some(known) => find(&system.nodes(), configured, known)
            .ok_or(FeedError::Absent { path: configured.to_owned() })?,
    };
    let fail = |what| {
        let path = path.clone();
        move |source| FeedError::Device { path, what, source }
    };
    let mut device = system.open(&path).map_err(fail("open the device"))?;
    let identity = device.identity().map_err(fail("read the name"))?;
    let offers = device.offers().map_err(fail("list the formats"))?;
    let Some(wish) = negotiate::choose(&offers, settings) else {
        return Err(FeedError::Layout {
            path,
            offered: negotiate::names(&offers),
            wanted: settings.layout.map_or("MJPG, YUYV or NV12", Layout::name).to_owned(),
        });
    };
    let knobs = device.knobs().map_err(fail("list the controls"))?;
    let mut differences = negotiate::lock(device.as_mut(), &knobs, &settings.controls);
    let (granted, stream) = device.stream(wish).map_err(fail("start the stream"))?;
    if granted.fourcc != wish.layout.fourcc() {
        return Err(FeedError::Refused {
            path,
            wanted: wish.layout.name().to_owned(),
            granted: String::from_utf8_lossy(&granted.fourcc).into_owned(),
        });
    }
    differences.extend(negotiate::compare(settings, granted));
    let rate =
        granted.rate_milli.map_or_else(|| "?".to_owned(), |rate| format!("{:.1}", f64::from(rate) / 1e3));
    let (width, height) = granted.size;
    let about = About {
        name: identity.card.clone(),
        mode: format!("{} {width} x {height} at {rate}/s", wish.layout.name()),
        differences,
    };
    *known = Some(identity);
    let feed = Live { path, stream, layout: wish.layout, encoding: settings.encoding, granted, sequence: 0 };
    Ok((about, Box::new(feed)))
}

/// The node of a camera that was there before: the configured one when it answers to the name, else one with the same
/// name and port, else one with the same name.
fn find(nodes: &[Node], configured: &Path, known: &Identity) -> Option<PathBuf> {
    // A link under /dev/v4l names the camera itself, and is followed by opening it.
    if configured.is_symlink() {
        return Some(configured.to_owned());
    }
    let named = || nodes.iter().filter(|node| node.identity.card == known.card);
    named()
        .find(|node| node.path == configured)
        .or_else(|| named().find(|node| node.identity.bus == known.bus))
        .or_else(|| named().next())
        .map(|node| node.path.clone())
}

/// A running stream.
struct Live {
    path: PathBuf,
    stream: Box<dyn Stream>,
    layout: Layout,
    encoding: Encoding,
    granted: Granted,
    sequence: u64,
}

impl Feed for Live {
    fn next(&mut self, wait: Duration, sink: &mut dyn FnMut(Seen<'_>)) -> Result<Next, FeedError> {
        let Self { layout, encoding, granted, sequence, .. } = *self;
        let (width, height) = granted.size;
        // What an MJPG driver says about rows means nothing.
        let stride = if layout == Layout::Mjpg { 0 } else { granted.stride };
        let mut take = |bytes: &[u8]| {
            let at = Instant::now();
            sink(Seen::Frame(Frame { layout, encoding, width, height, stride, at, sequence, bytes }));
        };
        let taken = self.stream.next(wait, &mut take).map_err(|source| FeedError::Device {
            path: self.path.clone(),
            what: "take a frame",
            source,
        })?;
        match taken {
            None => Ok(Next::Nothing),
            Some(buffer) => {
                self.sequence += 1;
                Ok(if buffer == Buffer::Damaged { Next::Damaged } else { Next::Taken })
            }
        }
    }
}

#[cfg(test)]
mod tests;
