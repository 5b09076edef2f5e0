//! How many wrong PINs were typed in a row, across restarts: a number in a file, and nothing else.
//!
//! It is written before a PIN is verified, so that whoever cuts the power in between has tried all the same.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use bevy::prelude::warn;
use serde::{Deserialize, Serialize};

use crate::files;

/// The form of the file.
const VERSION: u32 = 1;
const FILE_NAME: &str = "staff-pin.json";
/// Larger files are none of ours.
const FILE_BYTES_MAX: u64 = 256;
/// What a file that cannot be read counts as: enough for a pause, so that damaging it gains nothing.
const UNREADABLE: u32 = 5;

/// The file, or none where the kiosk has no folder for its data: then a restart forgets.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    path: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    wrong: u32,
}

impl Tally {
    /// In a folder, which is made when it is first needed.
    #[must_use]
    pub fn in_folder(folder: Option<&Path>) -> Self {
        Self { path: folder.map(|folder| folder.join(FILE_NAME)) }
    }

    /// How many there were.
    #[must_use]
    pub fn wrong(&self) -> u32 {
        let Some(path) = &self.path else { return 0 };
        match read(path) {
            Ok(wrong) => wrong,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => {
                warn!("`{}` counts as {UNREADABLE} wrong PINs: {error}", path.display());
                UNREADABLE
            }
        }
    }

    /// Keeps how many there are now. What cannot be kept is logged: a full disk must not lock staff out.
    pub fn keep(&self, wrong: u32) {
        let Some(path) = &self.path else { return };
        if let Err(error) = write(path, wrong) {
            warn!("`{}` cannot be written, a restart forgets wrong PINs: {error}", path.display());
        }
    }
}

fn read(path: &Path) -> io::Result<u32> {
    let kept: Kept = serde_json::from_slice(&files::read(path, FILE_BYTES_MAX)?)?;
    if kept.version != VERSION {
        let what = format!("its version is {}, not {VERSION}", kept.version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(kept.wrong)
}

/// Whole or not at all, also when the power fails.
fn write(path: &Path, wrong: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    // What lies there is of a process that was killed, or not ours at all: to open a pipe would wait for its reader.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).open(&new)?;
    serde_json::to_writer(&mut file, &Kept { version: VERSION, wrong })?;
    file.flush()?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_there_after_a_restart_and_holds_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let tally = Tally::in_folder(Some(&data));
        assert_eq!(tally.wrong(), 0);
        tally.keep(4);
        assert_eq!(Tally::in_folder(Some(&data)).wrong(), 4);
        assert_eq!(fs::read_to_string(data.join(FILE_NAME)).unwrap(), r#"{"version":1,"wrong":4}"#);
        tally.keep(0);
        assert_eq!(tally.wrong(), 0);
    }

    #[test]
    fn a_damaged_file_gains_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let tally = Tally::in_folder(Some(folder.path()));
        let long = " ".repeat(300);
        for text in ["", "7", r#"{"version":2,"wrong":0}"#, r#"{"version":1,"wrong":-1}"#, long.as_str()] {
            fs::write(folder.path().join(FILE_NAME), text).unwrap();
            assert_eq!(tally.wrong(), UNREADABLE, "{text:?}");
        }
    }

    #[test]
    fn without_a_folder_nothing_is_kept_and_nothing_fails() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for tally in [Tally::in_folder(None), Tally::in_folder(Some(&file.join("data")))] {
            tally.keep(3);
        }
        assert_eq!(Tally::in_folder(None).wrong(), 0);
    }
}
