//! The log: what goes wrong stays in memory for the staff screen, and on request in files of bounded size.
//!
//! Lines go to standard error as always, where a service manager keeps and rotates them. With `[log] dir` they go to
//! files too: [`LogFiles::file_bytes_max`] each, [`LogFiles::files_max`] of them, the oldest removed first.
//! Owns the ring of the last warnings and errors ([`Logbook`]): bounded in lines and in length of a line, and without
//! secrets: what [`Logbook::hide`] was told never stands in a line.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    fs,
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bevy::log::{BoxedFmtLayer, BoxedLayer, Level, LogPlugin, tracing_subscriber::Layer};
use bevy::prelude::*;
use contract::Timestamp;
use file_rotate::{ContentLimit, FileRotate, compression::Compression, suffix::AppendCount};
use tracing_subscriber::layer::Context;
use zeroize::Zeroizing;

/// Has an empty logbook where the log was set up without one.
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<Logbook>();
}

/// Lines that are kept in memory.
pub const LINES_MAX: usize = 64;
/// Bytes of one line that are kept in memory.
const LINE_BYTES_MAX: usize = 400;
/// What stands where a secret stood.
const HIDDEN: &str = "•••";
/// The first log file; older ones have `.1`, `.2`, … appended.
const FILE_NAME: &str = "storehub-kiosk.log";

/// Log files, where they are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFiles {
    /// Their folder; made when it is missing.
    pub dir: PathBuf,
    /// Largest file in bytes.
    pub file_bytes_max: usize,
    /// Most files.
    pub files_max: usize,
}

/// Why there are no log files.
#[derive(Debug, thiserror::Error)]
#[error("there is no place for log files: `{}`", path.display())]
pub struct LogError {
    /// The folder, or the file in it.
    path: PathBuf,
    source: io::Error,
}

/// One warning or error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// Whether it is an error.
    pub is_error: bool,
    /// Which part said it.
    pub part: String,
    /// What it said.
    pub text: String,
}

/// The last warnings and errors of this process.
#[derive(Resource, Clone, Default)]
pub struct Logbook(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    lines: VecDeque<Line>,
    secrets: Vec<Zeroizing<String>>,
    count: u64,
}

impl Logbook {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never keeps a line with this text in it.
    pub fn hide(&self, secret: &str) {
        if !secret.is_empty() {
            self.lock().secrets.push(Zeroizing::new(secret.to_owned()));
        }
    }

    /// The last lines, newest first.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.lock().lines.iter().rev().cloned().collect()
    }

    /// How many there were since the start; those that are no longer kept are counted too.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    fn keep(&self, mut line: Line) {
        let mut kept = self.lock();
        for secret in &kept.secrets {
            if line.text.contains(secret.as_str()) {
                line.text = line.text.replace(secret.as_str(), HIDDEN);
            }
        }
        if LINE_BYTES_MAX < line.text.len() {
            line.text.truncate(line.text.floor_char_boundary(LINE_BYTES_MAX));
            line.text.push('…');
        }
        if LINES_MAX <= kept.lines.len() {
            kept.lines.pop_front();
        }
        kept.lines.push_back(line);
        kept.count += 1;
    }
}

impl<S: tracing::Subscriber> Layer<S> for Logbook {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        // `Level` orders the most verbose last. What libraries advise is for developers.
        let kept_from = if is_ours(metadata.target()) { Level::WARN } else { Level::ERROR };
        if kept_from < *metadata.level() {
            return;
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.keep(Line {
            at: crate::now(),
            is_error: *metadata.level() == Level::ERROR,
            part: metadata.target().to_owned(),
            text: text.0,
        });
    }
}

/// Whether a part of the kiosk speaks.
fn is_ours(target: &str) -> bool {
    const CRATES: [&str; 4] = ["kiosk", "vision", "provenance", "contract"];
    let name = target.split("::").next().unwrap_or(target);
    CRATES.contains(&name) || name == "storehub_kiosk"
}

/// The message of an event, and its fields after it.
struct Text(String);

impl tracing::field::Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        let written = if field.name() == "message" {
            write!(self.0, "{value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
        // A `String` takes everything.
        debug_assert!(written.is_ok());
    }
}

/// Bevy's log with ours beside it.
///
/// # Errors
/// When the folder of the log files cannot be made.
pub fn log_plugin(app: &mut App, files: Option<&LogFiles>) -> Result<LogPlugin, LogError> {
    let writer = files.map(open).transpose()?;
    app.init_resource::<Logbook>().insert_resource(Writer(writer));
    Ok(LogPlugin { custom_layer: layers, fmt_layer: terminal, ..default() })
}

/// Standard error, with colours only where somebody looks at them.
#[expect(clippy::unnecessary_wraps, reason = "the log plugin asks for an option")]
fn terminal(_: &mut App) -> Option<BoxedFmtLayer> {
    let is_coloured =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Some(Box::new(tracing_subscriber::fmt::Layer::default().with_ansi(is_coloured).with_writer(io::stderr)))
}

#[derive(Resource)]
struct Writer(Option<FileWriter>);

fn layers(app: &mut App) -> Option<BoxedLayer> {
    let logbook = app.world().get_resource::<Logbook>()?.clone();
    let mut layers: Vec<BoxedLayer> = vec![Box::new(logbook)];
    if let Some(writer) = app.world_mut().remove_resource::<Writer>().and_then(|writer| writer.0) {
        let layer =
            tracing_subscriber::fmt::Layer::default().with_ansi(false).with_writer(Mutex::new(writer));
        layers.push(Box::new(layer));
    }
    Some(Box::new(layers))
}

/// A file that never makes the kiosk stop: a full disk costs the lines that do not fit.
struct FileWriter(FileRotate<AppendCount>);

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Makes what is missing and opens the first file, as the log does.
///
/// # Errors
/// When the folder cannot be made or the file cannot be written.
pub(crate) fn try_files(files: &LogFiles) -> Result<(), LogError> {
    fs::create_dir_all(&files.dir).map_err(|source| LogError { path: files.dir.clone(), source })?;
    let path = files.dir.join(FILE_NAME);
    let opened = fs::File::options().create(true).append(true).open(&path);
    opened.map(drop).map_err(|source| LogError { path, source })
}

fn open(files: &LogFiles) -> Result<FileWriter, LogError> {
    // The library opens the file without a word when it cannot: what is not writable is found out here.
    try_files(files)?;
    let path: &Path = &files.dir.join(FILE_NAME);
    Ok(FileWriter(FileRotate::new(
        path,
        AppendCount::new(files.files_max.saturating_sub(1)),
        ContentLimit::BytesSurpassed(files.file_bytes_max),
        Compression::None,
        None,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { at: Timestamp::UNIX_EPOCH, is_error: false, part: "link".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn the_ring_keeps_the_newest_lines_within_bounds() {
        let logbook = Logbook::default();
        for index in 0..LINES_MAX + 3 {
            logbook.keep(line(&index.to_string()));
        }
        logbook.keep(line(&"长".repeat(LINE_BYTES_MAX)));
        let lines = logbook.lines();
        assert_eq!((lines.len(), logbook.count()), (LINES_MAX, LINES_MAX as u64 + 4));
        assert!(lines[0].text.len() <= LINE_BYTES_MAX + '…'.len_utf8());
        assert_eq!(lines[1].text, (LINES_MAX + 2).to_string());
    }

    #[test]
    fn a_secret_never_stands_in_a_line() {
        let logbook = Logbook::default();
        logbook.hide("hush");
        logbook.hide("");
        logbook.keep(line("refused user `k` with `hush`"));
        assert_eq!(logbook.lines()[0].text, "refused user `k` with `•••`");
    }

    #[test]
    fn warnings_and_errors_are_kept_with_their_part_and_the_rest_is_not() {
        use tracing_subscriber::layer::SubscriberExt as _;
        let logbook = Logbook::default();
        let subscriber = tracing_subscriber::registry().with(logbook.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("all is well");
            tracing::warn!(target: "kiosk::camera", tries = 3, "no picture");
            tracing::warn!(target: "bevy_render::renderer", "this will be slow");
            tracing::error!("broken");
        });
        let lines = logbook.lines();
        assert_eq!(lines.iter().map(|line| line.is_error).collect::<Vec<_>>(), [true, false]);
        assert_eq!((lines[1].part.as_str(), lines[1].text.as_str()), ("kiosk::camera", "no picture tries=3"));
    }

    #[test]
    fn log_files_are_bounded_in_size_and_number() {
        let dir = tempfile::tempdir().unwrap();
        let files = LogFiles { dir: dir.path().join("log"), file_bytes_max: 1000, files_max: 3 };
        let mut writer = open(&files).unwrap();
        for _ in 0..200 {
            writer.write_all(&[b'x'; 99]).unwrap();
            writer.write_all(b"\n").unwrap();
        }
        let sizes: Vec<u64> =
            fs::read_dir(&files.dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), 3, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size <= 1100), "{sizes:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let files = LogFiles { dir: file.join("log"), file_bytes_max: 1000, files_max: 3 };
        let error = open(&files).map(drop).unwrap_err();
        assert!(crate::chain(&error).contains("file/log`: Not a directory"), "{}", crate::chain(&error));
    }
}
