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
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

const SCREEN: &str = "1080x1920x24";
const START_LIMIT: Duration = Duration::from_secs(10);
/// Every so many rows one is looked at.
const ROWS_APART: u64 = 6;
/// A plain ground, or a border between two, has fewer colours than text with soft edges.
const COLOURS_MIN: usize = 6;

/// An Xvfb of a kiosk's size, ended when dropped.
#[derive(Debug)]
pub struct Display {
    number: u32,
    framebuffer: File,
    layout: Layout,
    _server: Child,
    _dir: TempDir,
}

impl Display {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no Xvfb, or it does not come up.
    pub async fn start(dir: &Path) -> Result<Self> {
        let dir = TempDir::new_in(dir).context("failed to make a folder for the display")?;
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", SCREEN, "-nolisten", "tcp", "-fbdir"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start Xvfb; `cargo xtask setup` installs it")?;
        // It takes the first number that is free, and says which as soon as it can be reached.
        let mut said = BufReader::new(server.stdout.take().context("its output is piped")?).lines();
        let line = timeout(START_LIMIT, said.next_line())
            .await
            .with_context(|| format!("Xvfb did not come up within {START_LIMIT:?}"))?
            .context("Xvfb's output cannot be read")?
            .context("Xvfb ended before it came up")?;
        let number = line.trim().parse().with_context(|| format!("Xvfb said `{line}`"))?;
        let framebuffer =
            File::open(dir.path().join("Xvfb_screen0")).context("failed to open the display's memory")?;
        let layout = Layout::read(&framebuffer).context("failed to read the display's memory")?;
        Ok(Self { number, framebuffer, layout, _server: server, _dir: dir })
    }

    /// For `DISPLAY`.
    #[must_use]
    pub fn name(&self) -> String {
        format!(":{}", self.number)
    }

    /// Touches a place of the screen, as a finger or a mouse does.
    ///
    /// # Errors
    /// When there is no xdotool, or it cannot reach the display.
    pub async fn touch(&self, [x, y]: [i64; 2]) -> Result<()> {
        let (x, y) = (x.to_string(), y.to_string());
        self.xdotool(&["mousemove", &x, &y, "click", "1"]).await
    }

    /// Presses a place and does not let go.
    ///
    /// # Errors
    /// As [`Self::touch`].
    pub async fn press(&self, [x, y]: [i64; 2]) -> Result<()> {
        let (x, y) = (x.to_string(), y.to_string());
        self.xdotool(&["mousemove", &x, &y, "mousedown", "1"]).await
    }

    /// Lets go.
    ///
    /// # Errors
    /// As [`Self::touch`].
    pub async fn release(&self) -> Result<()> {
        self.xdotool(&["mouseup", "1"]).await
    }

    async fn xdotool(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::new("xdotool");
        command.args(args).env("DISPLAY", self.name()).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(START_LIMIT, command.output())
            .await
            .context("xdotool does not end")?
            .context("failed to start xdotool; `cargo xtask setup` installs it")?;
        if !output.status.success() {
            bail!("`xdotool {}`: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Whether something with edges is on the screen.
    ///
    /// # Errors
    /// When the display's memory cannot be read.
    pub fn has_content(&self) -> Result<bool> {
        let rows = self.rows()?;
        let colours: HashSet<_> = rows.chunks_exact(4).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        Ok(COLOURS_MIN <= colours.len())
    }

    /// Some rows of what is on the screen, four bytes a pixel.
    ///
    /// # Errors
    /// When the display's memory cannot be read.
    pub fn rows(&self) -> Result<Vec<u8>> {
        let layout = &self.layout;
        let row_bytes = usize::try_from(layout.bytes_per_line)?;
        let mut rows = Vec::new();
        for y in (0..layout.height).step_by(usize::try_from(ROWS_APART)?) {
            let start = rows.len();
            rows.resize(start + row_bytes, 0);
            self.framebuffer
                .read_exact_at(&mut rows[start..], layout.pixels_at + y * layout.bytes_per_line)
                .context("failed to read the display's memory")?;
        }
        Ok(rows)
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
