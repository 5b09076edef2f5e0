//! What keeps codes from being guessed: wrong codes cost a kiosk, and the whole store, time.
//!
//! # What it is worth
//!
//! A code has six digits. However many kiosks a store has, it looks at no more than [`STORE_TRIES`] + 24 h /
//! [`STORE_REFILL_MS`] = 204 wrong codes within a day, and one kiosk alone at about 105. With L open orders a guess is
//! right with probability L / 1 000 000: someone who does nothing else for a day in a store with 50 open orders opens
//! some door with a probability of at most 1.0 %, and a certain order's with 0.02 %. Every block is an event for
//! headquarters and a counter.
//!
//! A code that comes while its kiosk or store is blocked is not looked at, so that a right one says nothing either.

use serde::{Deserialize, Serialize};

/// Wrong codes that a kiosk takes before it makes its visitor wait.
pub(super) const KIOSK_FREE_TRIES: u32 = 5;
/// The first wait; it doubles with each further wrong code.
pub(super) const KIOSK_WAIT_MS: i64 = 30_000;
/// The longest wait of a kiosk.
pub(super) const KIOSK_WAIT_MS_MAX: i64 = 15 * 60_000;
/// A wrong code is forgiven after this long without another.
pub(super) const KIOSK_FORGIVE_MS: i64 = 30 * 60_000;
/// Wrong codes that the store takes at once.
pub(super) const STORE_TRIES: i64 = 60;
/// Then one more per this long.
pub(super) const STORE_REFILL_MS: i64 = 10 * 60_000;

/// The wrong codes of one kiosk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct KioskThrottle {
    wrong: u32,
    last_ms: i64,
    blocked_until_ms: i64,
}

impl KioskThrottle {
    /// How long this kiosk must wait, 0 when it need not. A clock that was set back never makes it longer than the rule.
    pub(super) fn wait_ms(&self, now_ms: i64) -> i64 {
        self.blocked_until_ms.saturating_sub(now_ms).clamp(0, KIOSK_WAIT_MS_MAX)
    }

    /// Counts a wrong code; true when it makes the kiosk wait.
    pub(super) fn count(&mut self, now_ms: i64) -> bool {
        let forgiven = now_ms.saturating_sub(self.last_ms).max(0) / KIOSK_FORGIVE_MS;
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        self.wrong = self.wrong.saturating_sub(forgiven).saturating_add(1);
        self.last_ms = now_ms;
        if self.wrong < KIOSK_FREE_TRIES {
            return false;
        }
        let doublings = (self.wrong - KIOSK_FREE_TRIES).min(16);
        let wait_ms = (KIOSK_WAIT_MS << doublings).min(KIOSK_WAIT_MS_MAX);
        self.blocked_until_ms = now_ms.saturating_add(wait_ms);
        true
    }

    /// Whether nothing of it matters any more.
    pub(super) fn is_forgotten(&self, now_ms: i64) -> bool {
        let age_ms = now_ms.saturating_sub(self.last_ms);
        self.wait_ms(now_ms) == 0 && i64::from(self.wrong) * KIOSK_FORGIVE_MS <= age_ms
    }
}

/// The wrong codes of all kiosks together: a bucket that fills slowly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StoreThrottle {
    /// Milliseconds of refill that are there; a wrong code costs [`STORE_REFILL_MS`].
    credit_ms: i64,
    at_ms: i64,
}

impl Default for StoreThrottle {
    fn default() -> Self {
        Self { credit_ms: STORE_TRIES * STORE_REFILL_MS, at_ms: i64::MIN }
    }
}

impl StoreThrottle {
    fn credit_at(&self, now_ms: i64) -> i64 {
        let passed_ms = now_ms.saturating_sub(self.at_ms).max(0);
        self.credit_ms.saturating_add(passed_ms).min(STORE_TRIES * STORE_REFILL_MS)
    }

    /// How long the store must wait before it looks at another code, 0 when it need not.
    pub(super) fn wait_ms(&self, now_ms: i64) -> i64 {
        (STORE_REFILL_MS - self.credit_at(now_ms)).max(0)
    }

    /// Counts a wrong code; true when it was the last for now.
    pub(super) fn count(&mut self, now_ms: i64) -> bool {
        self.credit_ms = (self.credit_at(now_ms) - STORE_REFILL_MS).max(0);
        self.at_ms = now_ms;
        0 < self.wait_ms(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3_600_000;

    #[test]
    fn one_kiosk_guesses_about_a_hundred_codes_a_day_however_patient_somebody_is() {
        let (mut kiosk, mut tries, mut now_ms) = (KioskThrottle::default(), 0, 0);
        while now_ms < DAY_MS {
            let wait_ms = kiosk.wait_ms(now_ms);
            if 0 < wait_ms {
                now_ms += wait_ms;
                continue;
            }
            tries += 1;
            kiosk.count(now_ms);
            now_ms += 1;
        }
        assert!((95..=110).contains(&tries), "{tries}");
    }

    #[test]
    fn a_store_looks_at_no_more_than_204_wrong_codes_a_day() {
        let (mut store, mut tries, mut now_ms) = (StoreThrottle::default(), 0, 1_800_000_000_000);
        let end_ms = now_ms + DAY_MS;
        while now_ms < end_ms {
            let wait_ms = store.wait_ms(now_ms);
            if 0 < wait_ms {
                now_ms += wait_ms;
                continue;
            }
            tries += 1;
            store.count(now_ms);
        }
        assert!((200..=204).contains(&tries), "{tries}");
    }

    #[test]
    fn a_visitor_who_mistypes_waits_for_nothing_and_is_forgiven() {
        let mut kiosk = KioskThrottle::default();
        for n in 0..4 {
            assert!(!kiosk.count(n));
            assert_eq!(kiosk.wait_ms(n), 0);
        }
        assert!(kiosk.count(4));
        assert_eq!(kiosk.wait_ms(4), KIOSK_WAIT_MS);
        assert!(!kiosk.is_forgotten(4));
        assert!(kiosk.is_forgotten(4 + 5 * KIOSK_FORGIVE_MS));
        assert!(!kiosk.count(4 + 5 * KIOSK_FORGIVE_MS), "it begins anew");
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_wait_longer_than_the_rule() {
        let mut kiosk = KioskThrottle::default();
        for _ in 0..20 {
            kiosk.count(DAY_MS);
        }
        assert_eq!(kiosk.wait_ms(0), KIOSK_WAIT_MS_MAX);
        let mut store = StoreThrottle::default();
        for _ in 0..100 {
            store.count(DAY_MS);
        }
        assert_eq!(store.wait_ms(0), STORE_REFILL_MS);
    }
}
