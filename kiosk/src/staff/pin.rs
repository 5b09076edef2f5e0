//! The staff's PIN: four to eight digits, known here only as their argon2id hash, and a pause after wrong ones.

use std::time::Duration;

use argon2::{Argon2, Params, PasswordHasher as _, PasswordVerifier as _, password_hash::phc::PasswordHash};
use zeroize::{Zeroize as _, Zeroizing};

/// Fewest and most digits.
pub const PIN_DIGITS: std::ops::RangeInclusive<usize> = 4..=8;
const PIN_DIGITS_MAX: usize = *PIN_DIGITS.end();
/// Wrong PINs that are forgiven before there is a pause.
const WRONG_FREE: u32 = 3;
/// The first pause; each wrong PIN after it doubles it.
const PAUSE_MIN: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// What verifying may cost; [`Pin::hash`] asks for 19 MiB, 2 passes and 1 lane.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
const PASSES_MAX: u32 = 10;
const LANES_MAX: u32 = 4;

/// A PIN as it is typed; wiped when dropped, never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pin {
    typed: Zeroizing<[u8; PIN_DIGITS_MAX]>,
    len: usize,
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pin(…)")
    }
}

/// Why a text is no PIN, or no hash of one.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Too few, too many, or something else than digits.
    #[error("a PIN has {} to {} digits, 0 to 9", PIN_DIGITS.start(), PIN_DIGITS.end())]
    Digits,
    /// The hash cannot be made.
    #[error("failed to hash the PIN: {reason}")]
    Hash {
        /// Why.
        reason: String,
    },
    /// Not what [`Pin::hash`] makes.
    #[error("an argon2id hash is needed; `storehub-kiosk staff-pin` makes one")]
    Format,
    /// Verifying it would hold the kiosk up or eat its memory.
    #[error(
        "an argon2id hash of at most {} MiB, {PASSES_MAX} passes and {LANES_MAX} lanes is needed; \
         `storehub-kiosk staff-pin` makes one", MEMORY_KIB_MAX / 1024
    )]
    Cost,
}

impl Pin {
    /// Reads four to eight digits.
    ///
    /// # Errors
    /// Anything else; the text is not shown.
    pub fn parse(text: &str) -> Result<Self, PinError> {
        let mut pin = Self::default();
        for byte in text.bytes() {
            if !byte.is_ascii_digit() || pin.len == PIN_DIGITS_MAX {
                return Err(PinError::Digits);
            }
            pin.push(byte - b'0');
        }
        if pin.is_whole() { Ok(pin) } else { Err(PinError::Digits) }
    }

    /// How many digits there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it may be a PIN.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        PIN_DIGITS.contains(&self.len)
    }

    /// Adds a digit, as long as there is room.
    pub fn push(&mut self, digit: u8) {
        if digit < 10 && self.len < PIN_DIGITS_MAX {
            self.typed[self.len] = b'0' + digit;
            self.len += 1;
        }
    }

    /// Takes the last digit back.
    pub fn pop(&mut self) {
        if let Some(last) = self.len.checked_sub(1) {
            self.typed[last] = 0;
            self.len = last;
        }
    }

    /// Takes all digits back.
    pub fn wipe(&mut self) {
        self.typed.zeroize();
        self.len = 0;
    }

    fn digits(&self) -> &[u8] {
        &self.typed[..self.len]
    }

    /// Its argon2id hash in PHC string format, with a salt of its own.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn hash(&self) -> Result<String, PinError> {
        let hash = Argon2::default()
            .hash_password(self.digits())
            .map_err(|error| PinError::Hash { reason: error.to_string() })?;
        Ok(hash.to_string())
    }
}

/// The hash of a PIN that may stand in a configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct PinHash(String);

impl std::fmt::Debug for PinHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PinHash(…)")
    }
}

impl PinHash {
    /// Reads what [`Pin::hash`] makes.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self, PinError> {
        let hash = PasswordHash::new(text).map_err(|_| PinError::Format)?;
        if hash.algorithm.as_str() != "argon2id" || hash.hash.is_none() {
            return Err(PinError::Format);
        }
        let cost = Params::try_from(&hash).map_err(|_| PinError::Format)?;
        let is_bearable =
            cost.m_cost() <= MEMORY_KIB_MAX && cost.t_cost() <= PASSES_MAX && cost.p_cost() <= LANES_MAX;
        if is_bearable { Ok(Self(text.to_owned())) } else { Err(PinError::Cost) }
    }

    /// Whether `pin` is the one. Takes tens of milliseconds: never inside a frame.
    #[must_use]
    pub fn is(&self, pin: &Pin) -> bool {
        PasswordHash::new(&self.0)
            .is_ok_and(|hash| Argon2::default().verify_password(pin.digits(), &hash).is_ok())
    }
}

/// Wrong PINs so far and the pause that they cost. Outlives the screen and every session, and by its count the process.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    wrong: u32,
    left: Duration,
}

impl BackOff {
    /// After a restart: so many were wrong, and the pause that they cost begins anew.
    #[must_use]
    pub fn resumed(wrong: u32) -> Self {
        let mut back_off = Self { wrong, left: Duration::ZERO };
        back_off.pause();
        back_off
    }

    /// How many were wrong.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.wrong
    }

    /// A PIN was wrong.
    pub fn wrong(&mut self) {
        self.wrong = self.wrong.saturating_add(1);
        self.pause();
    }

    fn pause(&mut self) {
        if let Some(doublings) = self.wrong.checked_sub(WRONG_FREE) {
            self.left = PAUSE_MIN.saturating_mul(2u32.saturating_pow(doublings)).min(PAUSE_MAX);
        }
    }

    /// A PIN was right: all is forgiven.
    pub fn right(&mut self) {
        *self = Self::default();
    }

    /// Time goes by.
    pub fn tick(&mut self, delta: Duration) {
        self.left = self.left.saturating_sub(delta);
    }

    /// How long nothing is tried.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        (self.left != Duration::ZERO).then_some(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_four_to_eight_digits_and_is_never_printed() {
        for text in ["", "123", "123456789", "12a4", "１２３４"] {
            let error = Pin::parse(text).unwrap_err().to_string();
            assert!(error.contains("4 to 8 digits"), "{error}");
        }
        let pin = Pin::parse("0907").unwrap();
        assert!(!format!("{pin:?}").contains("09"));
    }

    #[test]
    fn a_hash_knows_its_pin_and_no_other() {
        let hash = Pin::parse("48151623").unwrap().hash().unwrap();
        let hash = PinHash::parse(&hash).unwrap();
        assert!(hash.is(&Pin::parse("48151623").unwrap()));
        assert!(!hash.is(&Pin::parse("48151624").unwrap()));
        assert!(!hash.is(&Pin::parse("4815162").unwrap()));
        for text in
            ["", "1234", "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19"]
        {
            assert!(PinHash::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wrong_pins_cost_a_growing_pause_with_a_limit() {
        let mut back_off = BackOff::default();
        let pauses: Vec<u64> = (0..12)
            .map(|_| {
                back_off.wrong();
                back_off.left().map_or(0, |left| left.as_secs())
            })
            .collect();
        assert_eq!(pauses, [0, 0, 30, 60, 120, 240, 480, 900, 900, 900, 900, 900]);
        back_off.tick(Duration::from_secs(899));
        assert_eq!(back_off.left(), Some(Duration::from_secs(1)));
        back_off.tick(Duration::from_secs(1));
        assert_eq!(back_off.left(), None);
        back_off.wrong();
        assert!(back_off.left().is_some(), "the count goes on");
        back_off.right();
        back_off.wrong();
        assert_eq!(back_off.left(), None);
        let resumed =
            [0, 2, 3, 5].map(|wrong| BackOff::resumed(wrong).left().map_or(0, |left| left.as_secs()));
        assert_eq!(resumed, [0, 0, 30, 120]);
    }
}
