//! Where frames come from: a V4L2 device, a picture file, a folder of frames, or a synthetic scene.
//!
//! Owns what an operator can ask of a camera ([`Source`], [`Settings`]) and how each kind is opened and read. Does not
//! own threads or retries: whoever holds a [`Feed`] asks it for the next frame and drops it to close the device.
//! Nothing here waits longer than it is told, and nothing writes what it sees.

mod device;
mod kernel;
mod negotiate;
mod still;
mod synthetic;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    frame::{Encoding, Frame, Layout},
    picture::{Picture, PictureError},
};

pub use device::{Identity, Node, Offer, Sizes};
pub use kernel::{Control, Description, describe, list};
pub use negotiate::Difference;

/// What to look through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A V4L2 device node, such as `/dev/video0` or a link under `/dev/v4l/by-id`.
    V4l2(PathBuf),
    /// One picture file (PNG, JPEG or WebP), read again when it changes.
    File(PathBuf),
    /// A folder of such files, shown one after the other by their names, again and again.
    Folder(PathBuf),
    /// A scene that we draw: moving, the same for the same time.
    Synthetic,
}

impl Source {
    /// What an operator writes.
    pub const WANTED: &'static str =
        "`v4l2:/dev/video0`, `file:PATH`, `folder:PATH` or `synthetic` is needed";

    /// The source that a text names: `v4l2:PATH`, `file:PATH`, `folder:PATH` or `synthetic`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "synthetic" {
            return Some(Self::Synthetic);
        }
        let (kind, path) = text.split_once(':').filter(|(_, path)| !path.is_empty())?;
        match kind {
            "v4l2" => Some(Self::V4l2(path.into())),
            "file" => Some(Self::File(path.into())),
            "folder" => Some(Self::Folder(path.into())),
            _ => None,
        }
    }
}

/// As [`Source::parse`] reads it.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4l2(path) => write!(f, "v4l2:{}", path.display()),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Folder(path) => write!(f, "folder:{}", path.display()),
            Self::Synthetic => f.write_str("synthetic"),
        }
    }
}

/// What is asked of a camera; what it gives instead is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Frames a second.
    pub rate: u32,
    /// The layout, or the first of [`Layout::ALL`] that the camera has in this size.
    pub layout: Option<Layout>,
    /// How uncompressed frames encode their colours.
    pub encoding: Encoding,
    /// What is locked.
    pub controls: Controls,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            size: (1280, 720),
            rate: 30,
            layout: None,
            encoding: Encoding::default(),
            controls: Controls::default(),
        }
    }
}

/// What is locked to a value; the camera decides about the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Controls {
    /// Exposure time in microseconds; the automatic one is switched off. Drivers count in steps of 100.
    pub exposure_us: Option<u32>,
    /// Gain in the camera's own steps.
    pub gain: Option<u32>,
    /// White balance in kelvin; the automatic one is switched off.
    pub white_balance_k: Option<u32>,
    /// Focus in the camera's own steps; the automatic one is switched off.
    pub focus: Option<u32>,
    /// What lamps flicker with: 50 or 60 Hz, 0 for nothing.
    pub power_line_hz: Option<u32>,
}

/// What a feed hands over.
pub enum Seen<'a> {
    /// A frame in the camera's own buffer.
    Frame(Frame<'a>),
    /// A picture; the same one for as long as nothing has changed.
    Picture(Arc<Picture>),
}

/// What came of asking for the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A frame was handed over.
    Taken,
    /// The driver marked the frame as damaged; it was dropped.
    Damaged,
    /// None came in the time that was given.
    Nothing,
    /// The next one is due after this long.
    Due(Duration),
}

/// An open camera; dropping it closes the device.
pub trait Feed: Send {
    /// Waits at most `wait` for the next frame and hands it to `sink`.
    ///
    /// # Errors
    /// When the stream is over; it must be opened again.
    fn next(&mut self, wait: Duration, sink: &mut dyn FnMut(Seen<'_>)) -> Result<Next, FeedError>;
}

/// What was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// The camera's name.
    pub name: String,
    /// What it gives, as the operator reads it.
    pub mode: String,
    /// Where that is not what was asked for.
    pub differences: Vec<Difference>,
}

/// What stands in the way of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such camera.
    Absent,
    /// Another program has it.
    Busy,
    /// It was there and is gone, or has stopped.
    Lost,
    /// It is there, but not for us, or gives nothing that we read.
    Unsuitable,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// No device is there, under no name that it had before.
    #[error("there is no camera at `{}`", path.display())]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A call to the device failed.
    #[error("failed to {what} of the camera `{}`", path.display())]
    Device {
        /// The device.
        path: PathBuf,
        /// What was attempted.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The device gives no layout that we read.
    #[error("the camera `{}` offers {offered}, not {wanted}", path.display())]
    Layout {
        /// The device.
        path: PathBuf,
        /// What it offers.
        offered: String,
        /// What was looked for.
        wanted: String,
    },
    /// The driver agreed to one layout and set another.
    #[error("the camera `{}` was asked for {wanted} and set {granted}", path.display())]
    Refused {
        /// The device.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What was set.
        granted: String,
    },
    /// No frame came for too long.
    #[error("the camera gave no frame for {} ms", .0.as_millis())]
    Stalled(Duration),
    /// A file is no picture.
    #[error("failed to take the picture `{}`", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PictureError,
    },
    /// A folder cannot be read.
    #[error("failed to read the folder of frames `{}`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder holds no picture.
    #[error("the folder `{}` holds no PNG, JPEG or WebP file", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

impl FeedError {
    /// What a visitor and a retry make of it.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Absent { .. } => Trouble::Absent,
            Self::Device { source, .. } => device::trouble(source),
            Self::Layout { .. } | Self::Refused { .. } | Self::Empty { .. } => Trouble::Unsuitable,
            Self::Stalled(_) => Trouble::Lost,
            Self::Picture { source: PictureError::Read { source, .. }, .. } | Self::Folder { source, .. } => {
                device::trouble(source)
            }
            Self::Picture { .. } => Trouble::Unsuitable,
        }
    }
}

/// A camera that can be opened, again and again.
pub struct Camera {
    source: Source,
    settings: Settings,
    system: Box<dyn device::System>,
    /// Who answered last time: a camera that is plugged in again may have another node.
    known: Option<Identity>,
}

impl Camera {
    /// A camera that is not open yet.
    #[must_use]
    pub fn new(source: Source, settings: Settings) -> Self {
        Self::on(Box::new(kernel::Kernel), source, settings)
    }

    fn on(system: Box<dyn device::System>, source: Source, settings: Settings) -> Self {
        Self { source, settings, system, known: None }
    }

    /// What it looks through.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Opens it and lets it run.
    ///
    /// # Errors
    /// When it is absent, busy, not for us, or gives nothing that we read.
    pub fn open(&mut self) -> Result<(About, Box<dyn Feed>), FeedError> {
        let Self { source, settings, system, known } = self;
        match source {
            Source::V4l2(path) => device::open(system.as_mut(), path, settings, known),
            Source::File(path) => still::Still::open(path).map(|(about, feed)| (about, boxed(feed))),
            Source::Folder(path) => {
                still::Folder::open(path, settings.rate).map(|(about, feed)| (about, boxed(feed)))
            }
            Source::Synthetic => {
                let feed = synthetic::Scene::new(settings.size, settings.rate);
                let about = About {
                    name: "synthetic".to_owned(),
                    mode: mode_of(settings.size, settings.rate),
                    differences: Vec::new(),
                };
                Ok((about, boxed(feed)))
            }
        }
    }
}

fn boxed(feed: impl Feed + 'static) -> Box<dyn Feed> {
    Box::new(feed)
}

fn mode_of((width, height): (u32, u32), rate: u32) -> String {
    format!("{width} x {height} at {rate}/s")
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
