//! What a visitor agrees to: the text of the question, its version and its fingerprint, so that a record of a consent says
//! to which words it was given, and nothing of who gave it.

use std::{fmt, fmt::Write as _};

use sha2::{Digest as _, Sha256};

use crate::i18n::{I18n, Locale, Words};

/// Counts changes of the text. A test holds it to the fingerprint: whoever changes a word counts on.
const VERSION: u32 = 3;
/// Everything that a visitor who agrees has read.
const KEYS: [&str; 13] = [
    "age-title",
    "age-note",
    "age-why",
    "age-no-guess",
    "age-old-enough",
    "consent-title",
    "consent-note",
    "consent-skin",
    "consent-origin",
    "consent-try-on",
    "consent-memory",
    "consent-choice",
    "consent-agree",
];

/// The text as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentText {
    digest: [u8; 32],
}

impl ConsentText {
    /// The one that this program shows.
    #[must_use]
    pub fn current() -> Self {
        let mut i18n = I18n::default();
        let mut hasher = Sha256::new();
        for locale in Locale::ALL {
            i18n.set_locale(locale);
            for key in KEYS {
                // The age is the store's own setting and no part of the words.
                let text = i18n.say(&Words::key(key).with("age", Words::verbatim("…")));
                hasher.update(format!("{} {key} {text}\n", locale.tag()));
            }
        }
        Self { digest: hasher.finalize().into() }
    }
}

impl fmt::Display for ConsentText {
    /// Version and the first eight digits of the SHA-256 of its words in all languages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = String::new();
        for byte in &self.digest[..4] {
            write!(digits, "{byte:02x}")?;
        }
        write!(f, "v{VERSION} {digits}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_changes_the_words_counts_their_version_on() {
        // The version is the promise that the words are these.
        assert_eq!(ConsentText::current().to_string(), "v3 71d654f7");
    }
}
