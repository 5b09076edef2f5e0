//! Files that come from outside: read whole, and never more than a limit; a pipe or a device is none.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::Path,
};

/// Reads a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// When it cannot be read, is no regular file (opening a pipe would wait for its writer), or is larger.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes_max < bytes.len() as u64 {
        let what = format!("it is larger than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

/// The same as text.
///
/// # Errors
/// As [`read`], and when it is no UTF-8.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    String::from_utf8(read(path, bytes_max)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Makes the folder where it is missing, and writes a file of its own there for a moment.
///
/// # Errors
/// When either fails.
pub(crate) fn try_folder(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let probe = dir.join(format!(".storehub-kiosk-{}", std::process::id()));
    let mut file = File::options().write(true).create_new(true).open(&probe)?;
    let result = file.write_all(b"check").and_then(|()| file.sync_all());
    fs::remove_file(&probe)?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_of_bearable_size_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "four").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "four");
        assert_eq!(read(&path, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_text(&path, 4).unwrap_err().kind(), io::ErrorKind::InvalidData);
        for other in [Path::new("/dev/zero"), dir.path()] {
            assert_eq!(
                read(other, 4).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{}",
                other.display()
            );
        }
    }

    #[test]
    fn a_look_at_a_folder_leaves_it_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        try_folder(&dir.path().join("new")).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 0);
        assert!(try_folder(Path::new("/proc/kiosk")).is_err());
    }
}
