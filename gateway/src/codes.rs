//! The store's key, and how a code becomes the hash that everybody after the edge works with.
//!
//! Owns: `<data_dir>/codes.key` (32 random bytes, mode 0600), made at the first use. A code itself is never written: what
//! the journal, the database and headquarters' rows have is a keyed BLAKE2s hash, worthless without that file.
//!
//! A key that is lost costs the open orders: their codes are wrong from then on, and headquarters must place them anew.
//! Each order carries its key's mark ([`Codes::mark`]), so that this is noticed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use blake2::{
    Blake2sMac,
    digest::{FixedOutput as _, KeyInit as _, Update as _, consts::U16},
};
use contract::kiosk::PickUpCode;

use crate::domain::{CodeHash, HASH_BYTES};

const KEY_BYTES: usize = 32;
const KEY_FILE: &str = "codes.key";
/// Bytes of a key's mark.
const MARK_BYTES: usize = 4;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum CodesError {
    /// It cannot be read or made.
    #[error("failed to {operation} the key of codes `{}`", path.display())]
    File {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not ours.
    #[error(
        "the key of codes `{}` has {len} bytes, it should have {KEY_BYTES}; put it back, or remove it and place the \
         open orders anew",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Its size.
        len: usize,
    },
}

/// Hashes codes with the store's key.
pub struct Codes {
    path: PathBuf,
    key: Mutex<Option<[u8; KEY_BYTES]>>,
}

impl Codes {
    /// The key of a data folder; nothing is read or made yet.
    #[must_use]
    pub fn in_dir(data_dir: &Path) -> Self {
        Self { path: data_dir.join(KEY_FILE), key: Mutex::new(None) }
    }

    /// What hashes codes. The key is read, or made, at the first call that succeeds.
    ///
    /// # Errors
    /// When the key cannot be read or made; a later call may succeed.
    pub fn hasher(&self) -> Result<impl Fn(&PickUpCode) -> CodeHash + use<>, CodesError> {
        let mut known = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match *known {
            Some(key) => key,
            None => *known.insert(self.load_or_make()?),
        };
        Ok(move |code: &PickUpCode| hash(&key, code))
    }

    /// What tells the key from another one and says nothing else about it; `None` while there is none. Makes none.
    #[must_use]
    pub fn mark(&self) -> Option<String> {
        let mut known = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = self.load().ok().flatten();
        }
        known.as_ref().map(mark)
    }

    fn load(&self) -> Result<Option<[u8; KEY_BYTES]>, CodesError> {
        let failed = |operation| {
            let path = self.path.clone();
            move |source| CodesError::File { operation, path, source }
        };
        match File::open(&self.path) {
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(4 * KEY_BYTES as u64).read_to_end(&mut bytes).map_err(failed("read"))?;
                let len = bytes.len();
                bytes.try_into().map(Some).map_err(|_| CodesError::Length { path: self.path.clone(), len })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open")(error)),
        }
    }

    fn load_or_make(&self) -> Result<[u8; KEY_BYTES], CodesError> {
        if let Some(key) = self.load()? {
            return Ok(key);
        }
        let failed =
            |operation| move |source| CodesError::File { operation, path: self.path.clone(), source };
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| failed("make")(io::Error::other(error.to_string())))?;
        self.write(&key).map_err(failed("write"))?;
        tracing::info!(path = %self.path.display(), "a new key of the codes was made");
        Ok(key)
    }

    /// Whole or not at all.
    fn write(&self, key: &[u8]) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        // A leftover of a crash may have another mode.
        fs::remove_file(&temporary).ok();
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(key)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn hash(key: &[u8; KEY_BYTES], code: &PickUpCode) -> CodeHash {
    let mac = Blake2sMac::<U16>::new_from_slice(key).expect("BLAKE2s takes keys of 32 bytes");
    let digest: [u8; HASH_BYTES] = mac.chain(code.reveal()).finalize_fixed().into();
    CodeHash::new(digest)
}

fn mark(key: &[u8; KEY_BYTES]) -> String {
    let mac = Blake2sMac::<U16>::new_from_slice(key).expect("BLAKE2s takes keys of 32 bytes");
    // No code: those have six digits.
    let digest: [u8; HASH_BYTES] = mac.chain("mark of the key").finalize_fixed().into();
    digest[..MARK_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_store_has_one_key_that_nobody_else_may_read_and_two_stores_hash_differently() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let code = PickUpCode::parse("042137").unwrap();
        let hash_in = |dir: &Path| Codes::in_dir(dir).hasher().unwrap()(&code);
        let first = hash_in(here.path());
        assert!(first == hash_in(here.path()), "the key is kept");
        assert!(first != hash_in(there.path()));
        assert!(first != Codes::in_dir(here.path()).hasher().unwrap()(&PickUpCode::parse("042138").unwrap()));
        let mode = fs::metadata(here.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn asking_for_the_mark_makes_no_key_and_two_keys_have_two_marks() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let codes = Codes::in_dir(here.path());
        assert_eq!(codes.mark(), None);
        assert!(!here.path().join(KEY_FILE).exists());
        for dir in [here.path(), there.path()] {
            drop(Codes::in_dir(dir).hasher().unwrap());
        }
        assert!(codes.mark().is_some_and(|mark| mark.len() == 2 * MARK_BYTES));
        assert_eq!(codes.mark(), Codes::in_dir(here.path()).mark());
        assert_ne!(codes.mark(), Codes::in_dir(there.path()).mark());
    }

    #[test]
    fn a_damaged_key_is_said_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(KEY_FILE), b"short").unwrap();
        let error = Codes::in_dir(dir.path()).hasher().err().unwrap().to_string();
        assert!(error.contains("5 bytes"), "{error}");
        assert_eq!(fs::read(dir.path().join(KEY_FILE)).unwrap(), b"short");
    }
}
