//! A face of the screen font: read from its file, looked over, and which letters it can draw.
//!
//! Format: ISO/IEC 14496-22 (OpenType), read by `skrifa`; table checksums as in its section 4.3.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bevy::prelude::warn;
use skrifa::{
    FontRef, MetadataProvider as _, Tag,
    instance::{LocationRef, Size},
    raw::{ReadError, TableProvider as _},
};

use crate::files;

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
        let bytes = files::read(path, FILE_MAX)
            .map_err(|source| FontError::Read { path: path.to_owned(), source })?;
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

/// The letters that can be drawn, and how wide each is; all of them until a font says otherwise.
#[derive(Debug, Clone, Default)]
pub struct Repertoire(Option<Arc<[u8]>>);

impl Repertoire {
    /// Code points of the planes that fonts have letters in.
    const CODES: usize = 0x4_0000;
    /// Steps of a width within an em. What is kept is one more than the width, and nought for no glyph.
    const STEPS: f32 = 32.0;
    /// From here on letters are an em wide where no font says otherwise: Hangul and all that comes after it.
    const WIDE_FROM: char = '\u{1100}';

    fn of(font: &FontRef) -> Self {
        let metrics = font.glyph_metrics(Size::unscaled(), LocationRef::default());
        let em = f32::from(font.head().map_or(1000, |head| head.units_per_em()));
        let mut widths = vec![0; Self::CODES];
        for (code, glyph) in font.charmap().mappings() {
            if let Some(width) = widths.get_mut(code as usize) {
                let steps = (metrics.advance_width(glyph).unwrap_or(em) / em * Self::STEPS).ceil();
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
                let steps = steps.clamp(0.0, 254.0) as u8;
                *width = steps + 1;
            }
        }
        Self(Some(widths.into()))
    }

    /// What both can draw, as wide as the wider of them.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let (Some(mine), Some(theirs)) = (&self.0, &other.0) else {
            return Self(self.0.clone().or_else(|| other.0.clone()));
        };
        let both = mine.iter().zip(theirs.iter());
        Self(Some(
            both.map(|(mine, theirs)| if *mine.min(theirs) == 0 { 0 } else { *mine.max(theirs) }).collect(),
        ))
    }

    fn kept(&self, letter: char) -> Option<u8> {
        self.0.as_ref().map(|widths| widths.get(u32::from(letter) as usize).copied().unwrap_or(0))
    }

    /// Whether there is a glyph for a letter.
    #[must_use]
    pub fn has(&self, letter: char) -> bool {
        self.kept(letter).is_none_or(|kept| 0 < kept)
    }

    /// How wide a letter is in columns, which are half an em: a Chinese character has two.
    #[must_use]
    pub fn columns(&self, letter: char) -> f32 {
        match self.kept(letter) {
            Some(kept @ 1..) => f32::from(kept - 1) * 2.0 / Self::STEPS,
            Some(0) | None => {
                if Self::WIDE_FROM <= letter {
                    2.0
                } else {
                    1.0
                }
            }
        }
    }

    /// A repertoire of these letters alone.
    #[cfg(test)]
    pub(crate) fn only(letters: impl IntoIterator<Item = char>) -> Self {
        let mut widths = vec![0; Self::CODES];
        for code in letters.into_iter().map(u32::from) {
            widths[code as usize] = 17;
        }
        Self(Some(widths.into()))
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
        assert!(crate::chain(&endless).contains("not a regular file"), "{}", crate::chain(&endless));
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
        assert!(repertoire.columns('i') < 0.7 && repertoire.columns('@') > 1.5, "letters differ");
        assert_eq!((repertoire.columns('云'), repertoire.columns('⸻')), (2.0, 4.9375));
        assert!(!repertoire.has('🍷') && !repertoire.has('ł') && !repertoire.has(char::MAX));
        let both = Repertoire::only("ab".chars()).common(&Repertoire::only("bc".chars()));
        assert!(both.has('b') && !both.has('a') && !both.has('c'));
        assert!(Repertoire::default().has('🍷') && !Repertoire::default().common(&both).has('a'));
    }
}
