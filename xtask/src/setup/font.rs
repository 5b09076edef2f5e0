//! The screen font: the Simplified Chinese face of Noto Sans CJK, as a file of its own.
//!
//! Debian ships ten faces in one collection (TTC); the kiosk's text engine loads single fonts. A collection's faces
//! share tables by offset, so a face becomes a font by copying its tables behind a directory of their own.
//!
//! Format: ISO/IEC 14496-22 (OpenType), sections 4.1 and 4.4, and 5.2.1 for `cmap`; all numbers are big-endian.
//!
//! A face is installed only when it has a glyph for everything that a product's name may be written with
//! ([`WANTED`]), so that no screen ever shows a box.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::places::Places;

const SOURCE_DIR: &str = "/usr/share/fonts/opentype/noto";
const FACES: [(&str, &str, &str); 2] = [
    ("NotoSansCJK-Regular.ttc", "Noto Sans CJK SC", "NotoSansSC-Regular.otf"),
    ("NotoSansCJK-Bold.ttc", "Noto Sans CJK SC Bold", "NotoSansSC-Bold.otf"),
];
/// Name id 4 of the `name` table: the full name.
const NAME_FULL: u16 = 4;
/// Windows platform, US English: the record that every face has.
const NAME_PLATFORM_LANGUAGE: (u16, u16) = (3, 0x0409);
/// What must have a glyph: Latin with the accents of Western Europe for producers' names (the kiosk draws other accents
/// without them, see its `i18n`), the punctuation of both languages, and the 20,902 ideographs of GB 18030's
/// two-byte part, which contains GB 2312 and GBK.
const WANTED: [(char, char); 10] = [
    ('\u{20}', '\u{7E}'),
    ('\u{A1}', '\u{AC}'),
    ('\u{AE}', '\u{FF}'),
    ('\u{2013}', '\u{2014}'),
    ('\u{2018}', '\u{2019}'),
    ('\u{201C}', '\u{201D}'),
    ('\u{3001}', '\u{3002}'),
    ('\u{3008}', '\u{3011}'),
    ('\u{4E00}', '\u{9FA5}'),
    ('\u{FF01}', '\u{FF5E}'),
];
/// `head.checkSumAdjustment` makes the whole file sum to this.
const FILE_SUM: u32 = 0xB1B0_AFBA;

/// Puts both weights into the cache folder.
pub(super) fn install(places: &Places) -> Result<()> {
    let folder = places.cache.join("fonts");
    for (collection, face, file) in FACES {
        let target = folder.join(file);
        if target.is_file() {
            continue;
        }
        fs::create_dir_all(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
        let source = Path::new(SOURCE_DIR).join(collection);
        let bytes = fs::read(&source).with_context(|| {
            format!("failed to read `{}` of the package fonts-noto-cjk", source.display())
        })?;
        let font = extract(&bytes, face)
            .with_context(|| format!("failed to take `{face}` out of `{}`", source.display()))?;
        if let Some(missing) = first_missing(&font)? {
            bail!("`{face}` has no glyph for U+{:04X}", u32::from(missing));
        }
        let partial = folder.join(format!("{file}.partial-{}", std::process::id()));
        fs::write(&partial, font).with_context(|| format!("failed to write `{}`", partial.display()))?;
        fs::rename(&partial, &target).with_context(|| format!("failed to write `{}`", target.display()))?;
    }
    println!("    screen font: {}", folder.display());
    Ok(())
}

#[derive(Debug, Clone, Copy)]
struct Table {
    tag: [u8; 4],
    checksum: u32,
    offset: usize,
    len: usize,
}

/// The face of a collection that has this full name, as a font.
fn extract(collection: &[u8], face: &str) -> Result<Vec<u8>> {
    if collection.get(..4) != Some(b"ttcf") {
        bail!("it is no font collection");
    }
    let count = number(collection, 8)?;
    let mut names = Vec::new();
    for index in 0..count {
        let offset = number(collection, 12 + 4 * index)?;
        let tables = directory(collection, offset)?;
        let name = full_name(collection, &tables)?;
        if name == face {
            return assemble(collection, offset, &tables);
        }
        names.push(name);
    }
    bail!("it has only {}", names.join(", "))
}

fn directory(bytes: &[u8], offset: usize) -> Result<Vec<Table>> {
    let count = usize::from(short(bytes, offset + 4)?);
    (0..count)
        .map(|index| {
            let at = offset + 12 + 16 * index;
            let tag = bytes.get(at..at + 4).context("it ends inside a table directory")?;
            Ok(Table {
                tag: [tag[0], tag[1], tag[2], tag[3]],
                checksum: word(bytes, at + 4)?,
                offset: number(bytes, at + 8)?,
                len: number(bytes, at + 12)?,
            })
        })
        .collect()
}

fn full_name(bytes: &[u8], tables: &[Table]) -> Result<String> {
    let table = tables.iter().find(|table| &table.tag == b"name").context("a face has no `name` table")?;
    let count = usize::from(short(bytes, table.offset + 2)?);
    let storage = table.offset + usize::from(short(bytes, table.offset + 4)?);
    for index in 0..count {
        let at = table.offset + 6 + 12 * index;
        let platform_language = (short(bytes, at)?, short(bytes, at + 4)?);
        if platform_language != NAME_PLATFORM_LANGUAGE || short(bytes, at + 6)? != NAME_FULL {
            continue;
        }
        let len = usize::from(short(bytes, at + 8)?);
        let start = storage + usize::from(short(bytes, at + 10)?);
        let text = bytes.get(start..start + len).context("a name lies outside the file")?;
        let units: Vec<u16> =
            text.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        return Ok(String::from_utf16_lossy(&units));
    }
    bail!("a face has no full name in English")
}

fn assemble(bytes: &[u8], offset: usize, tables: &[Table]) -> Result<Vec<u8>> {
    // The offset table (version, search hints) depends only on the number of tables, so it can stay as it is.
    let mut font = bytes.get(offset..offset + 12).context("it ends inside an offset table")?.to_vec();
    font.resize(12 + 16 * tables.len(), 0);
    let mut adjustment_at = None;
    for (index, table) in tables.iter().enumerate() {
        let content =
            bytes.get(table.offset..table.offset + table.len).context("a table lies outside the file")?;
        let start = font.len();
        font.extend_from_slice(content);
        font.resize(font.len().next_multiple_of(4), 0);
        if &table.tag == b"head" {
            font.get_mut(start + 8..start + 12).context("the `head` table is too short")?.fill(0);
            adjustment_at = Some(start + 8);
        }
        let entry = &mut font[12 + 16 * index..28 + 16 * index];
        entry[..4].copy_from_slice(&table.tag);
        entry[4..8].copy_from_slice(&table.checksum.to_be_bytes());
        entry[8..12].copy_from_slice(&u32::try_from(start)?.to_be_bytes());
        entry[12..].copy_from_slice(&u32::try_from(table.len)?.to_be_bytes());
    }
    let at = adjustment_at.context("a face has no `head` table")?;
    let adjustment = missing_from_sum(&font);
    font[at..at + 4].copy_from_slice(&adjustment.to_be_bytes());
    Ok(font)
}

/// The first wanted character for which a font has no glyph.
fn first_missing(font: &[u8]) -> Result<Option<char>> {
    let tables = directory(font, 0)?;
    let table = tables.iter().find(|table| &table.tag == b"cmap").context("it has no `cmap` table")?;
    let groups = glyph_groups(font, table.offset)?;
    let has_glyph = |character: char| {
        let code = u32::from(character);
        let at = groups.partition_point(|(_, last, _)| *last < code);
        // Glyph 0 is the box.
        groups.get(at).is_some_and(|(first, _, glyph)| *first <= code && 0 < *glyph + (code - *first))
    };
    Ok(WANTED.iter().flat_map(|(first, last)| *first..=*last).find(|character| !has_glyph(*character)))
}

/// Segmented coverage (format 12): first and last character of a group and the glyph of the first, in order.
fn glyph_groups(bytes: &[u8], cmap: usize) -> Result<Vec<(u32, u32, u32)>> {
    const SEGMENTED: u16 = 12;
    let count = usize::from(short(bytes, cmap + 2)?);
    for index in 0..count {
        let at = cmap + number(bytes, cmap + 4 + 8 * index + 4)?;
        if short(bytes, at)? != SEGMENTED {
            continue;
        }
        let groups = number(bytes, at + 12)?;
        return (0..groups)
            .map(|group| {
                let at = at + 16 + 12 * group;
                Ok((word(bytes, at)?, word(bytes, at + 4)?, word(bytes, at + 8)?))
            })
            .collect();
    }
    bail!("its `cmap` has no segmented coverage")
}

/// What a file's words lack to [`FILE_SUM`].
fn missing_from_sum(bytes: &[u8]) -> u32 {
    let sum = bytes
        .chunks_exact(4)
        .fold(0_u32, |sum, word| sum.wrapping_add(u32::from_be_bytes([word[0], word[1], word[2], word[3]])));
    FILE_SUM.wrapping_sub(sum)
}

fn short(bytes: &[u8], at: usize) -> Result<u16> {
    let pair = bytes.get(at..at + 2).context("it ends too early")?;
    Ok(u16::from_be_bytes([pair[0], pair[1]]))
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let four = bytes.get(at..at + 4).context("it ends too early")?;
    Ok(u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
}

fn number(bytes: &[u8], at: usize) -> Result<usize> {
    Ok(usize::try_from(word(bytes, at)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A collection of two faces that share the table `cmap`.
    fn collection() -> Vec<u8> {
        let mut bytes = b"ttcf\0\x01\0\0\0\0\0\x02".to_vec();
        let header = 12 + 8;
        let faces_at = [header, header + 12 + 16 * 3];
        for at in faces_at {
            bytes.extend(u32::try_from(at).unwrap().to_be_bytes());
        }
        let mut at = u32::try_from(faces_at[1] + 12 + 16 * 3).unwrap();
        let mut bodies: Vec<u8> = Vec::new();
        let mut put = |body: Vec<u8>| {
            let (start, len) = (at, u32::try_from(body.len()).unwrap());
            bodies.extend(&body);
            bodies.resize(bodies.len().next_multiple_of(4), 0);
            at = start + len.next_multiple_of(4);
            (start, len)
        };
        let shared = put(vec![7; 6]);
        let head = put(vec![9; 54]);
        for face in ["A", "B"] {
            let name: Vec<u8> = face.encode_utf16().flat_map(u16::to_be_bytes).collect();
            let mut table = vec![0, 0, 0, 1, 0, 18, 0, 3, 0, 1, 4, 9, 0, 4];
            table.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
            table.extend([0, 0]);
            table.extend(name);
            let name = put(table);
            bytes.extend(b"OTTO\0\x03\0\x20\0\x01\0\x10");
            for (tag, (offset, len)) in [(b"cmap", shared), (b"head", head), (b"name", name)] {
                bytes.extend(tag);
                bytes.extend(1_u32.to_be_bytes());
                bytes.extend(offset.to_be_bytes());
                bytes.extend(len.to_be_bytes());
            }
        }
        bytes.extend(bodies);
        bytes
    }

    #[test]
    fn a_face_of_a_collection_becomes_a_font_with_its_own_copies() {
        let font = extract(&collection(), "B").unwrap();
        assert_eq!(&font[..4], b"OTTO");
        let tables = directory(&font, 0).unwrap();
        assert_eq!(tables.iter().map(|table| table.tag).collect::<Vec<_>>(), [*b"cmap", *b"head", *b"name"]);
        assert_eq!(full_name(&font, &tables).unwrap(), "B");
        assert_eq!(&font[tables[0].offset..tables[0].offset + 6], [7; 6]);
        assert!(tables.iter().all(|table| table.offset % 4 == 0));
        assert_eq!(missing_from_sum(&font), 0, "the file sums to what it must");
    }

    #[test]
    fn a_missing_face_is_named_beside_those_that_are_there() {
        assert_eq!(extract(&collection(), "C").unwrap_err().to_string(), "it has only A, B");
        assert!(extract(b"OTTO", "A").is_err());
        let cut = collection();
        assert!(extract(&cut[..60], "A").is_err(), "a cut file is an error and no panic");
    }

    /// A font of nothing but a `cmap` with these groups.
    fn font_with(groups: &[(u32, u32, u32)]) -> Vec<u8> {
        let mut bytes = b"OTTO\0\x01\0\x10\0\0\0\0cmap\0\0\0\0\0\0\0\x1C\0\0\0\0".to_vec();
        bytes.extend([0, 0, 0, 1, 0, 3, 0, 10, 0, 0, 0, 12]);
        bytes.extend([0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(u32::try_from(groups.len()).unwrap().to_be_bytes());
        for (first, last, glyph) in groups {
            bytes.extend([*first, *last, *glyph].map(u32::to_be_bytes).concat());
        }
        bytes
    }

    #[test]
    fn a_character_without_a_glyph_is_found() {
        assert_eq!(first_missing(&font_with(&[(0x20, 0xFFFF, 1)])).unwrap(), None);
        let with_gap = font_with(&[(0x20, 0x4E01, 1), (0x4E03, 0xFFFF, 30_000)]);
        assert_eq!(first_missing(&with_gap).unwrap(), Some('丂'));
        assert_eq!(first_missing(&font_with(&[(0x20, 0xFFFF, 0)])).unwrap(), Some(' '), "glyph 0 is the box");
        assert!(first_missing(b"OTTO").is_err());
    }

    #[test]
    fn the_installed_faces_have_a_glyph_for_every_product_name() {
        let places = Places::find().unwrap();
        for (_, face, file) in FACES {
            let path = places.cache.join("fonts").join(file);
            let Ok(font) = fs::read(&path) else {
                eprintln!("skipped: `cargo xtask setup` has not made `{}`", path.display());
                continue;
            };
            assert_eq!(first_missing(&font).unwrap(), None, "{face}");
        }
    }
}
