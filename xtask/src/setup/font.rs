//! The screen font: the Simplified Chinese face of Noto Sans CJK, as a file of its own for each weight.
//!
//! Debian ships ten faces in one collection of 65,535 glyphs; the kiosk's text engine loads single fonts and keeps them in
//! memory. HarfBuzz' subsetter takes the face out, with the glyphs that its characters use and without hinting, which a
//! touch screen does not need: half the size.
//!
//! A face is installed only when it has a glyph for everything that a product's name may be written with
//! ([`WANTED`]), so that no screen ever shows a box.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use skrifa::{FontRef, MetadataProvider as _, string::StringId};

use crate::{places::Places, steps};

const SOURCE_DIR: &str = "/usr/share/fonts/opentype/noto";
/// The collection of a weight, the face that is taken out of it, and the file that it becomes.
const WEIGHTS: [(&str, &str, &str); 2] = [
    ("NotoSansCJK-Regular.ttc", "Noto Sans CJK SC", "NotoSansCJKsc-Regular.otf"),
    ("NotoSansCJK-Bold.ttc", "Noto Sans CJK SC Bold", "NotoSansCJKsc-Bold.otf"),
];
/// Where the face lies in each collection: behind Japanese and Korean.
const FACE_INDEX: &str = "2";
/// Composition and kerning, and marks above letters: what a line of Chinese or English is set with.
const FEATURES: &str = "ccmp,kern,liga,mark,mkmk";
/// What must have a glyph: Latin with the accents of Western Europe for producers' names (the kiosk draws other accents
/// without them, see its `i18n`), the punctuation of both languages, kana and hangul for goods from Japan and Korea, and
/// the 20,902 ideographs of GB 18030's two-byte part, which contains GB 2312 and GBK.
const WANTED: [(char, char); 12] = [
    ('\u{20}', '\u{7E}'),
    ('\u{A1}', '\u{AC}'),
    ('\u{AE}', '\u{FF}'),
    ('\u{2013}', '\u{2014}'),
    ('\u{2018}', '\u{2019}'),
    ('\u{201C}', '\u{201D}'),
    ('\u{3001}', '\u{3002}'),
    ('\u{3008}', '\u{3011}'),
    ('\u{3041}', '\u{30FF}'),
    ('\u{4E00}', '\u{9FA5}'),
    ('\u{AC00}', '\u{D7A3}'),
    ('\u{FF01}', '\u{FF5E}'),
];
/// U+3097 and U+3098 are no characters.
const UNASSIGNED: [char; 2] = ['\u{3097}', '\u{3098}'];

/// Puts both weights into the cache folder.
pub(super) fn install(places: &Places) -> Result<()> {
    let folder = places.cache.join("fonts");
    for (collection, face, file) in WEIGHTS {
        let target = folder.join(file);
        if target.is_file() {
            continue;
        }
        fs::create_dir_all(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
        let source = Path::new(SOURCE_DIR).join(collection);
        let partial = folder.join(format!("{file}.partial-{}", std::process::id()));
        let mut subset = places.command("hb-subset");
        // Its options are read as files when they come first.
        subset.arg(&source).args(["--face-index", FACE_INDEX, "--unicodes=*", "--no-hinting"]);
        subset.arg(format!("--layout-features={FEATURES}")).arg("-o").arg(&partial);
        steps::call(&mut subset)
            .with_context(|| format!("failed to take `{face}` out of `{}`", source.display()))?;
        let bytes = fs::read(&partial).with_context(|| format!("failed to read `{}`", partial.display()))?;
        let font = FontRef::new(&bytes).with_context(|| format!("`{}` is no font", partial.display()))?;
        let name = full_name(&font);
        if name != face {
            bail!("face {FACE_INDEX} of `{}` is `{name}` and not `{face}`", source.display());
        }
        if let Some(missing) = first_missing(&font) {
            bail!("`{face}` has no glyph for U+{:04X}", u32::from(missing));
        }
        fs::rename(&partial, &target).with_context(|| format!("failed to write `{}`", target.display()))?;
    }
    println!("    screen font: {}", folder.display());
    Ok(())
}

/// The full name of a font in its first language.
fn full_name(font: &FontRef) -> String {
    font.localized_strings(StringId::FULL_NAME)
        .english_or_first()
        .map(|name| name.to_string())
        .unwrap_or_default()
}

/// The first wanted character for which a font has no glyph.
fn first_missing(font: &FontRef) -> Option<char> {
    let glyphs = font.charmap();
    let wanted = WANTED.iter().flat_map(|(first, last)| *first..=*last);
    let mut wanted = wanted.filter(|character| !UNASSIGNED.contains(character));
    wanted.find(|character| glyphs.map(*character).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A weight as `cargo xtask setup` made it.
    fn installed(file: &str) -> Option<Vec<u8>> {
        let path = Places::find().unwrap().cache.join("fonts").join(file);
        let font = fs::read(&path).ok();
        if font.is_none() {
            eprintln!("skipped: `cargo xtask setup` has not made `{}`", path.display());
        }
        font
    }

    #[test]
    fn the_installed_faces_have_a_glyph_for_every_product_name() {
        for (_, face, file) in WEIGHTS {
            let Some(bytes) = installed(file) else { continue };
            let font = FontRef::new(&bytes).unwrap();
            assert_eq!((full_name(&font).as_str(), first_missing(&font)), (face, None));
        }
    }

    #[test]
    fn a_face_without_a_wanted_glyph_is_found_out() {
        let (_, _, file) = WEIGHTS[0];
        let Some(bytes) = installed(file) else { return };
        let folder = tempfile::tempdir().unwrap();
        let [whole, without] = ["whole.otf", "without.otf"].map(|name| folder.path().join(name));
        fs::write(&whole, bytes).unwrap();
        let mut subset = Places::find().unwrap().command("hb-subset");
        subset.arg(&whole).args(["--unicodes=*", "--unicodes-=4E02", "-o"]).arg(&without);
        assert!(subset.status().unwrap().success());
        let bytes = fs::read(&without).unwrap();
        assert_eq!(first_missing(&FontRef::new(&bytes).unwrap()), Some('丂'));
    }
}
