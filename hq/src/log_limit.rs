//! How often a kind of line may stand in the log: what a whole fleet does at once is counted and shown, not written out.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lines of one kind within [`LOG_WINDOW`].
pub const LOG_LINES_MAX: u32 = 20;
/// After it as many are said again.
pub const LOG_WINDOW: Duration = Duration::from_secs(60);

/// One kind of line.
#[derive(Debug)]
pub struct LogLimit(Mutex<(Instant, u32)>);

impl Default for LogLimit {
    fn default() -> Self {
        Self(Mutex::new((Instant::now(), 0)))
    }
}

impl LogLimit {
    /// Whether one more may be said now.
    pub fn allows(&self, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if LOG_WINDOW <= now.saturating_duration_since(said.0) {
            *said = (now, 0);
        }
        said.1 = said.1.saturating_add(1);
        said.1 <= LOG_LINES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_are_said_in_a_minute_and_as_many_in_the_next() {
        let (limit, now) = (LogLimit::default(), Instant::now());
        let said = |now| (0..1_000).filter(|_| limit.allows(now)).count();
        assert_eq!(said(now), LOG_LINES_MAX as usize);
        assert_eq!(said(now + LOG_WINDOW), LOG_LINES_MAX as usize);
    }
}
