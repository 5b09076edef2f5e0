//! A virtual display whose pixels can be read while somebody draws on it.
//!
//! Xvfb keeps its screen in a file in the X window dump format (`xwd`, see `XWDFile.h`): a header of big-endian 32-bit
//! fields, a colour map, then rows of pixels.

use std::{
    collections::HashSet, fs::File, io, os::unix::fs::FileExt as _, path::Path, process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::process::{Child, Command};

const NUMBERS: std::ops::Range<u32> = 130..160;
const SCREEN: &str = "1080x1920x24";
const START_LIMIT: Duration = Duration::from_secs(10);
const POLL_EVERY: Duration = Duration::from_millis(20);
/// Every so many rows one is looked at.
const ROWS_APART: u64 = 6;
/// A plain ground, or a border between two, has fewer colours than text with soft edges.
const COLOURS_MIN: usize = 6;

/// An Xvfb of a kiosk's size, ended when dropped.
#[derive(Debug)]
pub(super) struct Display {
    number: u32,
    framebuffer: File,
    layout: Layout,
    _server: Child,
    _dir: TempDir,
}

impl Display {
    /// Starts one.
    pub(super) async fn start(dir: &Path) -> Result<Self> {
        let socket = |number: u32| std::env::temp_dir().join(format!(".X11-unix/X{number}"));
        let number = NUMBERS
            .into_iter()
            .find(|number| !socket(*number).exists())
            .context("every display number is taken")?;
        let dir = TempDir::new_in(dir).context("failed to make a folder for the display")?;
        let server = Command::new("Xvfb")
            .arg(format!(":{number}"))
            .args(["-screen", "0", SCREEN, "-nolisten", "tcp", "-fbdir"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start Xvfb; `cargo xtask setup` installs it")?;
        let path = dir.path().join("Xvfb_screen0");
        let mut waited = Duration::ZERO;
        loop {
            // The file is there before its header is.
            let opened = File::open(&path).and_then(|file| Layout::read(&file).map(|layout| (file, layout)));
            if let Ok((framebuffer, layout)) = opened
                && socket(number).exists()
            {
                return Ok(Self { number, framebuffer, layout, _server: server, _dir: dir });
            }
            if START_LIMIT <= waited {
                bail!("Xvfb :{number} did not come up within {START_LIMIT:?}");
            }
            tokio::time::sleep(POLL_EVERY).await;
            waited += POLL_EVERY;
        }
    }

    /// For `DISPLAY`.
    pub(super) fn name(&self) -> String {
        format!(":{}", self.number)
    }

    /// Whether something with edges is on the screen.
    pub(super) fn has_content(&self) -> Result<bool> {
        let layout = &self.layout;
        let mut row = vec![0; usize::try_from(layout.bytes_per_line)?];
        let mut colours = HashSet::new();
        for y in (0..layout.height).step_by(usize::try_from(ROWS_APART)?) {
            self.framebuffer
                .read_exact_at(&mut row, layout.pixels_at + y * layout.bytes_per_line)
                .context("failed to read the display's memory")?;
            colours.extend(row.chunks_exact(4).map(|pixel| [pixel[0], pixel[1], pixel[2]]));
            if COLOURS_MIN <= colours.len() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Where pixels of four bytes begin, and how they lie.
#[derive(Debug)]
struct Layout {
    pixels_at: u64,
    height: u64,
    bytes_per_line: u64,
}

impl Layout {
    fn read(file: &File) -> io::Result<Self> {
        /// Places of the header's fields, and the size of a colour map's entry.
        const HEADER_SIZE: usize = 0;
        const HEIGHT: usize = 5;
        const BITS_PER_PIXEL: usize = 11;
        const BYTES_PER_LINE: usize = 12;
        const COLOURS: usize = 19;
        const COLOUR_BYTES: u64 = 12;
        let mut header = [0; 100];
        file.read_exact_at(&mut header, 0)?;
        let field = |place: usize| {
            let bytes = &header[place * 4..place * 4 + 4];
            u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        if field(BITS_PER_PIXEL) != 32 {
            return Err(io::Error::other(format!("a pixel has {} bits, not 32", field(BITS_PER_PIXEL))));
        }
        Ok(Self {
            pixels_at: field(HEADER_SIZE) + field(COLOURS) * COLOUR_BYTES,
            height: field(HEIGHT),
            bytes_per_line: field(BYTES_PER_LINE),
        })
    }
}
