//! A face of the screen font: read from its file, looked over, and which letters it can draw.
//!
//! Format: ISO/IEC 14496-22 (OpenType), read by `skrifa`; table checksums as in its section 4.3.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use bevy::prelude::warn;
use skrifa::{
    FontRef, MetadataProvider as _, Tag,
    raw::{ReadError, TableProvider as _},
};

/// The largest faces of Chinese have 16 MB.
const FILE_MAX: u64 = 64 * 1024 * 1024;

/// Why there is no font.
#[derive(Debug, thiserror::Error)]
pub enum FontError {
    /// The file cannot be read.
    #[error("failed to read the font `{}`; run `cargo xtask setup`, or name another one in `[display]`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than any font.
    #[error("`{}` is no font: it has more than {FILE_MAX} bytes", path.display())]
    Size {
        /// The file.
        path: PathBuf,
    },
    /// The file is no font.
    #[error("`{}` is no OpenType font; run `cargo xtask setup` again, or name another one in `[display]`", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ReadError,
    },
}

/// A face that was read.
pub(super) struct Face {
    pub(super) bytes: Vec<u8>,
    pub(super) repertoire: Repertoire,
}

impl Face {
    /// Reads a face; what is damaged in it is logged, since the rest of it can still be read.
    pub(super) fn read(path: &Path) -> Result<Self, FontError> {
        let read = |source| FontError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        File::open(path).map_err(read)?.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(read)?;
        if FILE_MAX < bytes.len() as u64 {
            return Err(FontError::Size { path: path.to_owned() });
        }
        let (repertoire, damaged) =
            look_over(&bytes).map_err(|source| FontError::Format { path: path.to_owned(), source })?;
        for table in damaged {
            let path = path.display();
            warn!(
                "the font `{path}` is damaged in its table `{table}`: letters may be missing; bring it anew"
            );
        }
        Ok(Self { bytes, repertoire })
    }
}

/// What a font can draw, and the tables whose content is not what their checksums say.
fn look_over(bytes: &[u8]) -> Result<(Repertoire, Vec<Tag>), ReadError> {
    let font = FontRef::new(bytes)?;
    // Without these there is nothing to draw or to lay out.
    let _ = (font.head()?, font.hhea()?, font.maxp()?, font.cmap()?);
    if font.cff().is_err() && font.glyf().is_err() && font.cff2().is_err() {
        return Err(ReadError::TableIsMissing(Tag::new(b"CFF ")));
    }
    let is_damaged =
        |tag, wanted| font.table_data(tag).is_none_or(|table| checksum(tag, table.as_bytes()) != wanted);
    let damaged = font.table_directory().table_records().iter();
    let damaged =
        damaged.filter(|record| is_damaged(record.tag(), record.checksum())).map(|record| record.tag());
    Ok((Repertoire::of(&font), damaged.collect()))
}

fn checksum(tag: Tag, table: &[u8]) -> u32 {
    /// The adjustment of the whole file stands in `head` and is not part of that table's sum.
    const ADJUSTMENT_WORD: usize = 2;
    let words = table.chunks(4).map(|bytes| {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        u32::from_be_bytes(word)
    });
    let is_counted = |at| tag != Tag::new(b"head") || at != ADJUSTMENT_WORD;
    words.enumerate().filter(|(at, _)| is_counted(*at)).fold(0, |sum, (_, word)| sum.wrapping_add(word))
}

/// The letters that can be drawn; all of them until a font says otherwise.
#[derive(Debug, Clone, Default)]
pub struct Repertoire(Option<Arc<[u64]>>);

impl Repertoire {
    /// Code points of the planes that fonts have letters in.
    const CODES: usize = 0x4_0000;

    fn of(font: &FontRef) -> Self {
        let mut bits = vec![0_u64; Self::CODES / 64];
        for (code, _) in font.charmap().mappings() {
            if let Some(word) = bits.get_mut(code as usize / 64) {
                *word |= 1 << (code % 64);
            }
        }
        Self(Some(bits.into()))
    }

    /// What both can draw.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let (Some(mine), Some(theirs)) = (&self.0, &other.0) else {
            return self.0.as_ref().map_or_else(|| other.clone(), |_| self.clone());
        };
        Self(Some(mine.iter().zip(theirs.iter()).map(|(mine, theirs)| mine & theirs).collect()))
    }

    /// Whether there is a glyph for a letter.
    #[must_use]
    pub fn has(&self, letter: char) -> bool {
        let code = u32::from(letter);
        self.0
            .as_ref()
            .is_none_or(|bits| bits.get(code as usize / 64).is_some_and(|word| word >> (code % 64) & 1 == 1))
    }

    /// A repertoire of these letters alone.
    #[cfg(test)]
    pub(crate) fn only(letters: impl IntoIterator<Item = char>) -> Self {
        let mut bits = vec![0_u64; Self::CODES / 64];
        for code in letters.into_iter().map(u32::from) {
            bits[code as usize / 64] |= 1 << (code % 64);
        }
        Self(Some(bits.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The face that `cargo xtask setup` made.
    fn installed() -> Option<Vec<u8>> {
        let path = crate::config::cache_dir().join("fonts/NotoSansCJKsc-Regular.otf");
        let font = fs::read(&path).ok();
        if font.is_none() {
            eprintln!("skipped: `cargo xtask setup` has not made `{}`", path.display());
        }
        font
    }

    #[test]
    fn a_missing_font_and_a_file_that_is_none_say_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("font.otf");
        let said = || Face::read(&path).map(|_| ()).unwrap_err().to_string();
        assert!(said().contains("cargo xtask setup"));
        fs::write(&path, b"<html>").unwrap();
        assert!(said().contains("is no OpenType font"));
        fs::write(&path, b"OTTO\0\0\0\0\0\0\0\0").unwrap();
        assert!(said().contains("is no OpenType font"), "a head without tables draws nothing");
        let endless = Face::read(Path::new("/dev/zero")).map(|_| ()).unwrap_err();
        assert!(endless.to_string().contains("more than"), "{endless}");
    }

    #[test]
    fn a_damaged_face_is_known_by_its_table_and_a_cut_one_is_none() {
        let Some(mut bytes) = installed() else { return };
        assert!(look_over(&bytes).unwrap().1.is_empty(), "what setup makes is whole");
        let (at, len) = {
            let font = FontRef::new(&bytes).unwrap();
            let records = font.table_directory().table_records();
            let outlines = records.iter().find(|record| record.tag() == Tag::new(b"CFF ")).unwrap();
            (outlines.offset() as usize, outlines.length() as usize)
        };
        bytes[at + len / 2] ^= 1;
        assert_eq!(look_over(&bytes).unwrap().1, [Tag::new(b"CFF ")]);
        bytes.truncate(at + 100);
        let is_known = look_over(&bytes).map_or(true, |(_, damaged)| damaged.contains(&Tag::new(b"CFF ")));
        assert!(is_known);
    }

    #[test]
    fn a_face_knows_what_it_can_draw() {
        let Some(bytes) = installed() else { return };
        let (repertoire, _) = look_over(&bytes).unwrap();
        for letter in "Châteauひらカタ한글云栖鿕㐀！".chars() {
            assert!(repertoire.has(letter), "{letter}");
        }
        assert!(!repertoire.has('🍷') && !repertoire.has('ł') && !repertoire.has(char::MAX));
        let both = Repertoire::only("ab".chars()).common(&Repertoire::only("bc".chars()));
        assert!(both.has('b') && !both.has('a') && !both.has('c'));
        assert!(Repertoire::default().has('🍷') && !Repertoire::default().common(&both).has('a'));
    }
}
