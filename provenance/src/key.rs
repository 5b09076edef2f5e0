//! Ed25519 keys and their text form, the Multikey of the W3C: `z` + base58btc(prefix + 32 bytes).
//!
//! The only module that knows the signature library.

use std::fmt;

use ed25519_dalek::Signer;

/// Multicodec prefix of an Ed25519 public key.
const PUBLIC_PREFIX: [u8; 2] = [0xed, 0x01];
/// Multicodec prefix of an Ed25519 secret key.
const SECRET_PREFIX: [u8; 2] = [0x80, 0x26];
/// Longest Multikey text; 34 bytes have at most 47 base58 characters.
const TEXT_BYTES_MAX: usize = 64;

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not `z` and base58btc of the right length and prefix.
    #[error("`{shown}` is no Ed25519 public key in Multikey form (`z` and base58 of 34 bytes)")]
    Form {
        /// The first characters.
        shown: String,
    },
    /// The same of a secret key, of which nothing is repeated.
    #[error("its text is no Ed25519 secret key in Multikey form (`z` and base58 of 34 bytes)")]
    Secret,
    /// The bytes are no point that may verify signatures.
    #[error("`{shown}` is no usable Ed25519 public key")]
    Point {
        /// The key as written.
        shown: String,
    },
    /// Not `did:key:KEY#KEY`.
    #[error("`{shown}` is no `did:key` verification method")]
    DidKey {
        /// What was written, cut to 80 characters.
        shown: String,
    },
}

fn bytes_of(text: &str, prefix: [u8; 2]) -> Option<[u8; 32]> {
    let encoded = text.strip_prefix('z').filter(|_| text.len() <= TEXT_BYTES_MAX)?;
    let bytes = bs58::decode(encoded).into_vec().ok()?;
    bytes.strip_prefix(&prefix)?.try_into().ok()
}

fn text_of(key: &[u8; 32], prefix: [u8; 2]) -> String {
    let mut bytes = prefix.to_vec();
    bytes.extend_from_slice(key);
    format!("z{}", bs58::encode(bytes).into_string())
}

/// Verifies signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Parses a Multikey (`z6Mk…`).
    ///
    /// # Errors
    /// When the text is no Multikey, or the key is weak.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError::Form { shown: text.chars().take(TEXT_BYTES_MAX).collect() };
        let bytes = bytes_of(text, PUBLIC_PREFIX).ok_or_else(wrong)?;
        let point = || KeyError::Point { shown: text.to_owned() };
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| point())?;
        if key.is_weak() {
            return Err(point());
        }
        Ok(Self(key))
    }

    /// Parses a verification method `did:key:KEY#KEY`.
    ///
    /// # Errors
    /// When it is of another method, or the two keys differ.
    pub fn parse_did_key(method: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError::DidKey { shown: method.chars().take(80).collect() };
        let (did, fragment) =
            method.strip_prefix("did:key:").and_then(|rest| rest.split_once('#')).ok_or_else(wrong)?;
        if did != fragment {
            return Err(wrong());
        }
        Self::parse(did)
    }

    /// The key as a verification method.
    #[must_use]
    pub fn did_key(&self) -> String {
        format!("did:key:{self}#{self}")
    }

    /// Whether `signature` is this key's over `message`, by the strict rules that leave one valid signature each.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text_of(self.0.as_bytes(), PUBLIC_PREFIX))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// Makes signatures. Never printed.
#[derive(Clone)]
pub struct SecretKey(ed25519_dalek::SigningKey);

impl SecretKey {
    /// The key that 32 secret bytes make.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Parses a secret Multikey (`z3u2…`).
    ///
    /// # Errors
    /// When the text is no secret Multikey; the error shows its first four characters only.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        bytes_of(text, SECRET_PREFIX).map(|seed| Self::from_seed(&seed)).ok_or(KeyError::Secret)
    }

    /// The secret as a Multikey, to be kept in a file that nobody else reads.
    #[must_use]
    pub fn to_secret_text(&self) -> String {
        text_of(self.0.as_bytes(), SECRET_PREFIX)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_as_written() {
        let secret = SecretKey::from_seed(&[7; 32]);
        let public = secret.public();
        assert_eq!(PublicKey::parse(&public.to_string()), Ok(public.clone()));
        assert_eq!(PublicKey::parse_did_key(&public.did_key()), Ok(public.clone()));
        assert_eq!(SecretKey::parse(&secret.to_secret_text()).unwrap().public(), public);
        assert_eq!(format!("{secret:?}"), "SecretKey(…)");
    }

    #[test]
    fn a_wrong_text_is_refused_and_a_secret_is_not_repeated() {
        let public = SecretKey::from_seed(&[7; 32]).public();
        assert!(PublicKey::parse(&public.to_string()[1..]).is_err());
        assert!(PublicKey::parse_did_key(&format!("did:key:{public}")).is_err());
        assert!(PublicKey::parse_did_key(&format!("did:key:{public}#z6Mk")).is_err());
        let weak = text_of(&[0; 32], PUBLIC_PREFIX);
        assert!(PublicKey::parse(&weak).unwrap_err().to_string().contains("no usable"));
        let said = SecretKey::parse("z3u2secretsecret").unwrap_err().to_string();
        assert!(!said.contains("secretsecret"), "{said}");
    }
}
