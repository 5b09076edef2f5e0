//! Files as a camera: one picture, or a folder of them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{About, Feed, FeedError, Next, Seen, mode_of, name_of};
use crate::picture::{Picture, PictureError};

/// A file is looked at this often, to see whether it has changed.
const STILL_EVERY: Duration = Duration::from_millis(250);
/// A folder with more files shows the first of them.
const FOLDER_FILES_MAX: usize = 10_000;
const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// What tells whether a file has changed.
type Stamp = (u64, Option<SystemTime>);

fn stamp(path: &Path) -> Result<Stamp, FeedError> {
    let metadata = fs::metadata(path).map_err(|source| FeedError::Picture {
        path: path.to_owned(),
        source: PictureError::Read { path: path.to_owned(), source },
    })?;
    Ok((metadata.len(), metadata.modified().ok()))
}

fn read(path: &Path) -> Result<Arc<Picture>, FeedError> {
    Picture::from_file(path)
        .map(Arc::new)
        .map_err(|source| FeedError::Picture { path: path.to_owned(), source })
}

/// One picture file.
pub(super) struct Still {
    path: PathBuf,
    stamp: Stamp,
    picture: Arc<Picture>,
    due: Instant,
}

impl Still {
    pub(super) fn open(path: &Path) -> Result<(About, Self), FeedError> {
        let stamp = stamp(path)?;
        let picture = read(path)?;
        let mode = format!("{} x {}", picture.width(), picture.height());
        let about = About { name: name_of(path), mode, differences: Vec::new() };
        Ok((about, Self { path: path.to_owned(), stamp, picture, due: Instant::now() }))
    }
}

impl Feed for Still {
    fn next(&mut self, _: Duration, sink: &mut dyn FnMut(Seen<'_>)) -> Result<Next, FeedError> {
        let now = Instant::now();
        if now < self.due {
            return Ok(Next::Due(self.due - now));
        }
        let stamp = stamp(&self.path)?;
        if stamp != self.stamp {
            self.picture = read(&self.path)?;
            self.stamp = stamp;
        }
        self.due = now + STILL_EVERY;
        sink(Seen::Picture(Arc::clone(&self.picture)));
        Ok(Next::Taken)
    }
}

/// A folder of frames.
pub(super) struct Folder {
    files: Vec<PathBuf>,
    at: usize,
    pace: Pace,
}

impl Folder {
    pub(super) fn open(path: &Path, rate: u32) -> Result<(About, Self), FeedError> {
        let fail = |source| FeedError::Folder { path: path.to_owned(), source };
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(fail)?.take(FOLDER_FILES_MAX) {
            let file = entry.map_err(fail)?.path();
            let ending = file.extension().map(|ending| ending.to_string_lossy().to_lowercase());
            if ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) {
                files.push(file);
            }
        }
        files.sort();
        let Some(first) = files.first() else { return Err(FeedError::Empty { path: path.to_owned() }) };
        let first = read(first)?;
        let mode = mode_of((first.width(), first.height()), rate);
        let about = About {
            name: name_of(path),
            mode: format!("{} frames, {mode}", files.len()),
            differences: Vec::new(),
        };
        Ok((about, Self { files, at: 0, pace: Pace::new(rate) }))
    }
}

impl Feed for Folder {
    fn next(&mut self, _: Duration, sink: &mut dyn FnMut(Seen<'_>)) -> Result<Next, FeedError> {
        if let Some(left) = self.pace.left() {
            return Ok(Next::Due(left));
        }
        let file = &self.files[self.at % self.files.len()];
        self.at += 1;
        let picture = match read(file) {
            Ok(picture) => picture,
            // A frame that is no picture is what a damaged one is from a camera; a missing one ends the stream.
            Err(error @ FeedError::Picture { source: PictureError::Read { .. }, .. }) => return Err(error),
            Err(_) => return Ok(Next::Damaged),
        };
        sink(Seen::Picture(picture));
        Ok(Next::Taken)
    }
}

/// When the next frame of a steady rate is due.
pub(super) struct Pace {
    step: Duration,
    due: Instant,
}

impl Pace {
    pub(super) fn new(rate: u32) -> Self {
        Self { step: Duration::from_secs(1) / rate.max(1), due: Instant::now() }
    }

    /// How long until the next frame; when it is due, the one after it is planned. Frames that were missed are not
    /// made up for.
    pub(super) fn left(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if now < self.due {
            return Some(self.due - now);
        }
        self.due = (self.due + self.step).max(now);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(feed: &mut dyn Feed) -> Result<Option<[u8; 3]>, FeedError> {
        let limit = Instant::now() + Duration::from_secs(10);
        while Instant::now() < limit {
            let mut colour = None;
            let mut sink = |seen: Seen<'_>| {
                if let Seen::Picture(picture) = seen {
                    colour = Some(picture.pixel(0, 0));
                }
            };
            match feed.next(Duration::ZERO, &mut sink)? {
                Next::Due(left) => std::thread::park_timeout(left),
                Next::Damaged => return Ok(None),
                Next::Taken | Next::Nothing => return Ok(colour),
            }
        }
        panic!("no frame within 10 s");
    }

    fn save(path: &Path, value: u8) {
        image::RgbImage::from_pixel(4, 4, image::Rgb([value; 3])).save(path).unwrap();
    }

    #[test]
    fn a_folder_is_shown_by_name_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in [("b.png", 20), ("a.PNG", 10), ("c.webp", 30)] {
            save(&folder.path().join(name), value);
        }
        std::fs::write(folder.path().join("notes.txt"), "no frame").unwrap();
        let (about, mut feed) = Folder::open(folder.path(), 1000).unwrap();
        assert!(about.mode.starts_with("3 frames, 4 x 4"), "{}", about.mode);
        let seen: Vec<_> = (0..5).map(|_| next(&mut feed).unwrap().unwrap()[0]).collect();
        assert_eq!(seen, [10, 20, 30, 10, 20]);
    }

    #[test]
    fn a_frame_that_is_no_picture_is_damaged_and_a_missing_one_ends_the_stream() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder.path().join("a.png"), 10);
        std::fs::write(folder.path().join("b.png"), "torn").unwrap();
        let (_, mut feed) = Folder::open(folder.path(), 1000).unwrap();
        assert_eq!(next(&mut feed).unwrap(), Some([10; 3]));
        assert_eq!(next(&mut feed).unwrap(), None);
        std::fs::remove_file(folder.path().join("a.png")).unwrap();
        assert_eq!(next(&mut feed).unwrap_err().trouble(), super::super::Trouble::Absent);
    }

    #[test]
    fn an_empty_folder_is_no_camera() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Folder::open(folder.path(), 30), Err(FeedError::Empty { .. })));
    }

    #[test]
    fn a_file_that_changes_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("still.png");
        save(&path, 10);
        let (_, mut feed) = Still::open(&path).unwrap();
        assert_eq!(next(&mut feed).unwrap(), Some([10; 3]));
        image::RgbImage::from_pixel(40, 40, image::Rgb([99; 3])).save(&path).unwrap();
        assert_eq!(next(&mut feed).unwrap(), Some([99; 3]));
    }
}
