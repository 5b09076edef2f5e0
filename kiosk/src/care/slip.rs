//! A slip to take along: what was measured or said and what was suggested, as text that any phone reads from a QR code.
//! It holds words and figures alone, ends at a time, and is signed by the kiosk, so that staff can tell whether it is one
//! of ours and still holds.
//!
//! Form: the visitor's lines, then one last line `SLIP1 EXPIRES KIOSK SIGNATURE`, with the end in seconds since 1970 and
//! the Ed25519 signature as base58 over everything before it. Nothing of a slip is kept here.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use bevy::prelude::*;
use contract::KioskId;
use jiff::{SignedDuration, Timestamp};
use provenance::{PublicKey, SecretKey};
use qrcode::{EcLevel, QrCode, Version, bits::Bits};
use zeroize::Zeroizing;

use crate::{files, paint::Painting};

/// How long a slip holds.
pub const HOLDS: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A longer one makes a code too fine for phones. UTF-8 bytes.
pub const SLIP_BYTES_MAX: usize = 900;
/// The form that this program writes and reads.
const FORM: &str = "SLIP1";
const KEY_FILE: &str = "slip.key";
const KEY_BYTES_MAX: u64 = 256;
/// Light modules around the code, as ISO/IEC 18004 wants it.
const QUIET: usize = 4;
/// Pixels of a module.
const MODULE_PX: usize = 4;
/// Extended channel interpretation of UTF-8 (AIM ITS/04-023).
const ECI_UTF8: u32 = 26;

/// What signs slips.
#[derive(Resource, Clone)]
pub struct Signer {
    key: SecretKey,
    kiosk: KioskId,
    clock: fn() -> Timestamp,
}

/// Why there is no key that lasts.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or made.
    #[error("failed to {operation} `{}`", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("`{}` holds no key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: provenance::KeyError,
    },
}

impl Signer {
    /// With the key of a folder, which is made when it is first needed; slips last no longer than the process where there
    /// is no folder.
    ///
    /// # Errors
    /// When the key cannot be read or kept. One that is damaged is never replaced: slips that it has signed would be lost.
    pub fn open(folder: Option<&Path>, kiosk: KioskId) -> Result<Self, KeyFileError> {
        let key = match folder {
            Some(folder) => kept_or_new(&folder.join(KEY_FILE))?,
            None => new_key(Path::new(KEY_FILE))?,
        };
        Ok(Self { key, kiosk, clock: Timestamp::now })
    }

    /// What verifies its slips.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// Of a known key at a known time: the same slip in every run.
    #[cfg(test)]
    pub(crate) fn fixed() -> Self {
        Self::fixed_of("kiosk-01")
    }

    /// The same of another kiosk.
    #[cfg(test)]
    pub(crate) fn fixed_of(id: &str) -> Self {
        let kiosk = KioskId::parse(id).expect("it is an id");
        let clock = || "2026-11-23T08:00:00Z".parse().expect("it is a time");
        Self { key: SecretKey::from_seed(&[7; 32]), kiosk, clock }
    }

    /// The time by its clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The text with its last line; nothing when it is too long for a code.
    #[must_use]
    pub fn sign(&self, text: &str) -> Option<String> {
        let expires = self.now().saturating_add(HOLDS).ok()?.as_second();
        let mut slip = format!("{}\n{FORM} {expires} {} ", text.trim(), self.kiosk);
        let signature = self.key.sign(slip.as_bytes());
        slip.push_str(&bs58::encode(signature).into_string());
        (slip.len() <= SLIP_BYTES_MAX).then_some(slip)
    }
}

/// What verifies the slips of the kiosk whose data are in a folder; nothing is made there.
///
/// # Errors
/// When there is no key, or it cannot be read.
pub fn public_key(folder: &Path) -> Result<PublicKey, KeyFileError> {
    kept(&folder.join(KEY_FILE)).map(|key| key.public())
}

/// Whether there is a key in a folder; nothing is made there.
///
/// # Errors
/// When there is one that cannot be read.
pub fn has_key(folder: &Path) -> Result<bool, KeyFileError> {
    match public_key(folder) {
        Ok(_) => Ok(true),
        // A link that leads nowhere is there, and no key will be made in its place.
        Err(KeyFileError::Io { source, path, .. })
            if source.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&path).is_err() =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn kept(path: &Path) -> Result<SecretKey, KeyFileError> {
    let text = files::read_text(path, KEY_BYTES_MAX)
        .map(Zeroizing::new)
        .map_err(|source| KeyFileError::Io { operation: "read", path: path.to_owned(), source })?;
    SecretKey::parse(text.trim()).map_err(|source| KeyFileError::Key { path: path.to_owned(), source })
}

fn kept_or_new(path: &Path) -> Result<SecretKey, KeyFileError> {
    match kept(path) {
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        known => return known,
    }
    match write(path, &new_key(path)?) {
        // Somebody else was faster: there is one key, and it is that one.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(KeyFileError::Io { operation: "make", path: path.to_owned(), source: error })
        }
        _ => kept(path),
    }
}

fn new_key(path: &Path) -> Result<SecretKey, KeyFileError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| KeyFileError::Io {
        operation: "find random bytes for",
        path: path.to_owned(),
        source: io::Error::other(error.to_string()),
    })?;
    Ok(SecretKey::from_seed(&seed))
}

/// Whole or not at all, for nobody else to read, and never over a key that is there.
fn write(path: &Path, key: &SecretKey) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = path.with_extension(format!("{}.new", std::process::id()));
    // What lies there is of a process that was killed, or not ours at all.
    fs::remove_file(&new).or_else(unless_missing)?;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    let text = Zeroizing::new(key.to_secret_text());
    let linked = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&new, path));
    fs::remove_file(&new)?;
    linked?;
    File::open(folder)?.sync_all()
}

fn unless_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Why a text is no slip that holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlipError {
    /// Its last line is not `SLIP1 EXPIRES KIOSK SIGNATURE`.
    #[error("this is no slip: its last line is not `{FORM} EXPIRES KIOSK SIGNATURE`")]
    Form,
    /// Another kiosk's, or somebody has changed it.
    #[error("the slip of `{kiosk}` was not signed by this kiosk's key, or was changed")]
    Signature {
        /// Which kiosk it says it is from.
        kiosk: KioskId,
    },
    /// Too late.
    #[error("the slip held until {until}")]
    Expired {
        /// Its end.
        until: Timestamp,
    },
}

/// Until when a slip holds that `key` has signed.
///
/// # Errors
/// When it is none, was changed, or holds no longer at `now`.
pub fn verify(slip: &str, key: &PublicKey, now: Timestamp) -> Result<Timestamp, SlipError> {
    // Copied text may have other line ends, a byte order mark, and an end of its own.
    let slip = slip.trim_start_matches('\u{feff}').trim().replace("\r\n", "\n");
    let (signed, signature) = slip.rsplit_once(' ').ok_or(SlipError::Form)?;
    let last = signed.rsplit('\n').next().unwrap_or(signed);
    let [FORM, expires, kiosk] = last.split(' ').collect::<Vec<_>>()[..] else { return Err(SlipError::Form) };
    let until = expires.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let until = until.ok_or(SlipError::Form)?;
    let kiosk = KioskId::parse(kiosk).map_err(|_| SlipError::Form)?;
    let mut bytes = [0; 64];
    let is_whole = bs58::decode(signature).onto(&mut bytes) == Ok(bytes.len());
    let signature = Some(bytes).filter(|_| is_whole).ok_or(SlipError::Form)?;
    if !key.verifies(format!("{signed} ").as_bytes(), &signature) {
        return Err(SlipError::Signature { kiosk });
    }
    if until < now { Err(SlipError::Expired { until }) } else { Ok(until) }
}

/// The code of a slip, black on white with its quiet zone; nothing for one that no code holds.
#[must_use]
pub fn code(slip: &str) -> Option<Painting> {
    // The crate's own choice of modes takes UTF-8 for Shift-JIS here and there, which no reader undoes.
    let bits = (1..=40).find_map(|version| {
        let mut bits = Bits::new(Version::Normal(version));
        bits.push_eci_designator(ECI_UTF8).ok()?;
        bits.push_byte_data(slip.as_bytes()).ok()?;
        bits.push_terminator(EcLevel::M).ok()?;
        Some(bits)
    })?;
    let code = QrCode::with_bits(bits, EcLevel::M).ok()?;
    let modules = code.width();
    let side = (modules + 2 * QUIET) * MODULE_PX;
    let mut rgba = Vec::with_capacity(side * side * 4);
    for y in 0..side {
        for x in 0..side {
            let [x, y] = [x, y].map(|at| (at / MODULE_PX).wrapping_sub(QUIET));
            let is_dark = x < modules && y < modules && code[(x, y)].select(true, false);
            rgba.extend(if is_dark { [0, 0, 0, 255] } else { [255; 4] });
        }
    }
    let side = u32::try_from(side).ok()?;
    Some(Painting { width: side, height: side, rgba })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(folder: &Path) -> Result<Signer, KeyFileError> {
        Signer::open(Some(folder), KioskId::parse("kiosk-01").unwrap())
    }

    #[test]
    fn a_slip_holds_for_a_week_and_only_as_it_was_signed() {
        let signer = Signer::fixed();
        let slip = signer.sign("肌肤观察\n纹路 85\n").unwrap();
        assert!(slip.starts_with("肌肤观察\n纹路 85\nSLIP1 1796"), "{slip}");
        let (key, now) = (signer.public(), signer.now());
        let until = now.saturating_add(HOLDS).unwrap();
        assert_eq!(verify(&slip, &key, now), Ok(until));
        assert_eq!(verify(&format!(" {}\r\n", slip.replace('\n', "\r\n")), &key, now), Ok(until));
        let late = until.saturating_add(SignedDuration::from_secs(1)).unwrap();
        assert_eq!(verify(&slip, &key, late), Err(SlipError::Expired { until }));
        for (from, to) in [("85", "95"), ("kiosk-01", "kiosk-02"), ("SLIP1 17", "SLIP1 27")] {
            let changed = verify(&slip.replace(from, to), &key, now);
            assert!(matches!(changed, Err(SlipError::Signature { .. })), "{from}: {changed:?}");
        }
        let other = Signer::open(None, KioskId::parse("kiosk-01").unwrap()).unwrap().public();
        assert!(matches!(verify(&slip, &other, now), Err(SlipError::Signature { .. })));
        for text in [
            "",
            "SLIP1",
            "hello",
            "SLIP1 x kiosk-01 abc",
            "SLIP1 1 kiosk-01 0OIl",
            "a b c d",
            "x\nSLIP1 1 evil\u{1b}[2J 11",
        ] {
            assert_eq!(verify(text, &key, now), Err(SlipError::Form), "{text}");
        }
    }

    #[test]
    fn the_key_outlives_a_restart_is_for_us_alone_and_a_damaged_one_is_named() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let first = opened(&data).unwrap().public();
        assert_eq!(opened(&data).unwrap().public(), first);
        let path = data.join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "nothing").unwrap();
        let error = opened(&data).err().unwrap();
        assert!(crate::chain(&error).contains("slip.key"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "nothing", "it stays for whoever can mend it");
    }

    #[test]
    fn a_phone_reads_the_slip_from_its_code() {
        let slip = Signer::fixed()
            .sign(
                &"云栖优选 肌肤观察 2026年11月23日\n纹路 85（82 至 88）\n青庭 保湿精华 · 货架 01\n".repeat(6),
            )
            .unwrap();
        let painting = code(&slip).unwrap();
        let rgb: Vec<u8> =
            painting.rgba.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        let picture = vision::Picture::from_rgb(painting.width, painting.height, rgb).unwrap();
        let read = vision::codes::read(&picture);
        assert_eq!(read.iter().map(|code| code.text.as_str()).collect::<Vec<_>>(), [slip.as_str()]);
    }

    #[test]
    fn a_text_that_no_code_holds_is_no_slip() {
        assert_eq!(Signer::fixed().sign(&"x".repeat(SLIP_BYTES_MAX)), None);
    }
}
