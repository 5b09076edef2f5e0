//! Experience events that wait for the hub: bounded, oldest dropped first and counted, one on its way at a time.
//!
//! Shared between the connection's thread, which fills and empties it, and the frame, which reads the counters.
//! Invariant: the event on its way is the first one and is forgotten only when the hub has acknowledged it.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Events that may wait: a busy kiosk's day.
pub(super) const EVENTS_MAX: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Vec<u8>>,
    is_sending: bool,
    dropped: u64,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event; the oldest that is not on its way makes room.
    pub(super) fn put(&self, event: Vec<u8>) {
        let mut waiting = self.lock();
        if EVENTS_MAX <= waiting.events.len() {
            let oldest = usize::from(waiting.is_sending);
            waiting.events.remove(oldest);
            waiting.dropped += 1;
        }
        waiting.events.push_back(event);
    }

    /// The event to send now, unless one is on its way.
    pub(super) fn next(&self) -> Option<Vec<u8>> {
        let mut waiting = self.lock();
        if waiting.is_sending {
            return None;
        }
        let event = waiting.events.front().cloned()?;
        waiting.is_sending = true;
        Some(event)
    }

    /// The hub has what was on its way.
    pub(super) fn acknowledged(&self) {
        let mut waiting = self.lock();
        if waiting.is_sending {
            waiting.events.pop_front();
            waiting.is_sending = false;
        }
    }

    /// What was on its way may not have arrived: it is sent again.
    pub(super) fn release(&self) {
        self.lock().is_sending = false;
    }

    /// Counts an event that was lost before it came here.
    pub(super) fn count_dropped(&self) {
        self.lock().dropped += 1;
    }

    /// How many were dropped since this was asked.
    pub(super) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.lock().dropped)
    }

    /// Events that wait.
    pub(super) fn len(&self) -> usize {
        self.lock().events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_and_is_counted_but_never_the_one_on_its_way() {
        let outbox = Outbox::default();
        for index in 0..EVENTS_MAX {
            outbox.put(index.to_string().into_bytes());
        }
        assert_eq!(outbox.next().as_deref(), Some(&b"0"[..]));
        outbox.put(b"new".to_vec());
        assert_eq!((outbox.len(), outbox.next()), (EVENTS_MAX, None), "one at a time");
        outbox.acknowledged();
        assert_eq!(outbox.next().as_deref(), Some(&b"2"[..]), "1 was dropped");
        assert_eq!((outbox.take_dropped(), outbox.take_dropped()), (1, 0));
    }

    #[test]
    fn what_was_cut_off_is_sent_again_and_nothing_is_acknowledged_twice() {
        let outbox = Outbox::default();
        outbox.put(b"a".to_vec());
        outbox.put(b"b".to_vec());
        assert_eq!(outbox.next().as_deref(), Some(&b"a"[..]));
        outbox.release();
        outbox.acknowledged();
        assert_eq!(outbox.next().as_deref(), Some(&b"a"[..]));
        outbox.acknowledged();
        assert_eq!(outbox.next().as_deref(), Some(&b"b"[..]));
    }
}
