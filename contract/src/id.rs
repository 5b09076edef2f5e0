//! Identifiers: `[a-z0-9-]{1,64}`, one type per kind of thing, so that a kiosk cannot stand where a store must.
//!
//! The alphabet is safe as one MQTT topic level, as a file name and as a broker's client id.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest identifier in bytes.
pub const ID_BYTES_MAX: usize = 64;

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing between the slashes.
    #[error("an id is empty; it needs 1 to {ID_BYTES_MAX} characters of `a-z`, `0-9` and `-`")]
    Empty,
    /// Longer than [`ID_BYTES_MAX`].
    #[error("id `{shown}…` has {len} bytes, at most {ID_BYTES_MAX} are allowed")]
    TooLong {
        /// The first characters of the id.
        shown: String,
        /// Its length in bytes.
        len: usize,
    },
    /// A character outside the alphabet.
    #[error("id `{id}` has the character `{found}`; only `a-z`, `0-9` and `-` are allowed")]
    Character {
        /// The whole id.
        id: String,
        /// The first character that is not allowed.
        found: char,
    },
}

fn check(id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    if ID_BYTES_MAX < id.len() {
        return Err(IdError::TooLong { shown: id.chars().take(16).collect(), len: id.len() });
    }
    match id.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        Some(found) => Err(IdError::Character { id: id.to_owned(), found }),
        None => Ok(()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses `[a-z0-9-]{1,64}`.
            ///
            /// # Errors
            /// When the text is empty, too long or has another character.
            pub fn parse(id: &str) -> Result<Self, IdError> {
                check(id).map(|()| Self(id.to_owned()))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(id: String) -> Result<Self, IdError> {
                check(&id).map(|()| Self(id))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(id: &str) -> Result<Self, IdError> {
                Self::parse(id)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// One store, unique in the fleet.
    StoreId
}
id! {
    /// One device of a store: a shelf, a locker bank, a counter, a fridge, a kiosk's MQTT login.
    DeviceId
}
id! {
    /// One kiosk of a store.
    KioskId
}
id! {
    /// One order of a store.
    OrderId
}
id! {
    /// One request of a kiosk.
    RequestId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_lower_case_letters_digits_and_hyphens() {
        assert_eq!(DeviceId::parse("shelf-01").unwrap().as_str(), "shelf-01");
        assert!(DeviceId::parse(&"a".repeat(64)).is_ok());
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let cases = [
            ("", "an id is empty"),
            ("Shelf", "character `S`"),
            ("a/b", "character `/`"),
            ("café", "character `é`"),
        ];
        for (id, reason) in cases {
            let error = StoreId::parse(id).unwrap_err().to_string();
            assert!(error.contains(reason), "{id}: {error}");
        }
        assert!(StoreId::parse(&"a".repeat(65)).unwrap_err().to_string().contains("65 bytes"));
    }

    #[test]
    fn serde_checks_too() {
        assert!(serde_json::from_str::<DeviceId>("\"A\"").is_err());
        let id: DeviceId = serde_json::from_str("\"a-1\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"a-1\"");
    }
}
