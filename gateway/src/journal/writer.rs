//! The writer's thread: takes what waits, writes it, syncs it, tells the waiters.
//!
//! Owns: the active segment's file. Invariant: the index in [`super::Shared`] names only bytes that are durable.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

use super::{
    AppendError, Done, Epochs, RenewalAsked, Shared,
    disk::DiskFile,
    frame::{self, FRAMES_START},
    lock, open,
};
use crate::room::is_full;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    /// `None` after a fault that leaves the file untrusted; the next commit begins a new segment.
    active: Option<Box<dyn DiskFile>>,
    active_len: u64,
    head_tx: watch::Sender<u64>,
    last_commit: Option<Instant>,
}

/// Tells everybody that the writer is gone, also when it panics.
struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let dones = {
            let mut pending = lock(&self.0.pending);
            pending.closed = true;
            pending.renewal = None;
            std::mem::take(&mut pending.dones)
        };
        for done in dones.into_iter().flatten() {
            done(Err(AppendError::Closed));
        }
        lock(&self.0.durable).writer_gone = true;
        self.0.wake_readers.notify_all();
    }
}

struct Fault {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        active: Option<Box<dyn DiskFile>>,
        active_len: u64,
        head_tx: watch::Sender<u64>,
    ) -> Self {
        Self { shared, active, active_len, head_tx, last_commit: None }
    }

    pub(crate) fn run(mut self) {
        let _farewell = Farewell(Arc::clone(&self.shared));
        let (mut frames, mut dones) = (Vec::new(), Vec::new());
        while self.take(&mut frames, &mut dones) {
            let renewal = lock(&self.shared.pending).renewal.take();
            if let Some(RenewalAsked { seen_seq, now_ms, done }) = renewal {
                // Whoever asked and has gone asks again.
                done.send(self.renew(seen_seq, now_ms)).ok();
            }
            if dones.is_empty() {
                continue;
            }
            self.shared.look_for_room();
            let first_seq = lock(&self.shared.durable).head_seq + 1;
            match self.commit(&mut frames, first_seq) {
                Ok(()) => {
                    self.publish(dones.len() as u64);
                    for (seq, done) in (first_seq..).zip(dones.drain(..)) {
                        if let Some(done) = done {
                            done(Ok(seq));
                        }
                    }
                }
                Err(fault) => self.refuse(fault, &mut dones),
            }
            frames.clear();
            self.last_commit = Some(Instant::now());
        }
    }

    /// Waits for work and takes all of it; `false` when the journal is closed and nothing is left.
    fn take(&self, frames: &mut Vec<u8>, dones: &mut Vec<Option<Done>>) -> bool {
        let shared = &*self.shared;
        let mut pending = lock(&shared.pending);
        while pending.dones.is_empty() && pending.renewal.is_none() {
            if pending.closed {
                return false;
            }
            pending = shared.wake_writer.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        let earliest = self.last_commit.map(|last| last + shared.options.commit_interval);
        while let Some(left) = earliest.and_then(|at| at.checked_duration_since(Instant::now())) {
            if pending.closed
                || pending.renewal.is_some()
                || shared.options.commit_records_max <= pending.dones.len()
                || left.is_zero()
            {
                break;
            }
            pending =
                shared.wake_writer.wait_timeout(pending, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut pending.frames, frames);
        std::mem::swap(&mut pending.dones, dones);
        true
    }

    fn commit(&mut self, frames: &mut [u8], first_seq: u64) -> Result<(), Fault> {
        let full = self.shared.options.segment_bytes < self.active_len + frames.len() as u64;
        if self.active.is_none() || (full && FRAMES_START < self.active_len) {
            let epochs = lock(&self.shared.durable).epochs.clone();
            self.begin_segment(first_seq, &epochs)?;
        }
        frame::seal(frames, first_seq, self.shared.salt);
        let file = self.active.as_mut().expect("a segment was begun where there was none");
        let path = || {
            let durable = lock(&self.shared.durable);
            durable.segments.back().map_or_else(|| self.shared.dir.clone(), |segment| segment.path.clone())
        };
        if let Err(source) = file.write_at(frames, self.active_len) {
            // The half-written frames lie behind the durable end. Cut, or leave the file to its durable part.
            if file.set_len(self.active_len).is_err() {
                self.active = None;
            }
            return Err(Fault { operation: "write", path: path(), source });
        }
        if let Err(source) = file.sync_data() {
            // The kernel forgets dirty pages after a failed sync: a second one would lie.
            file.set_len(self.active_len).ok();
            self.active = None;
            return Err(Fault { operation: "sync", path: path(), source });
        }
        self.active_len += frames.len() as u64;
        Ok(())
    }

    /// Begins an epoch: durable with its first segment, before any record of it.
    fn renew(&mut self, seen_seq: u64, now_ms: i64) -> Result<Epochs, AppendError> {
        let (first_seq, epochs) = {
            let durable = lock(&self.shared.durable);
            let first_seq = durable.head_seq + 1;
            (first_seq, durable.epochs.renewed(seen_seq, first_seq, now_ms))
        };
        match self.begin_segment(first_seq, &epochs) {
            Ok(()) => {
                lock(&self.shared.durable).epochs = epochs.clone();
                Ok(epochs)
            }
            Err(Fault { operation, path, source }) => {
                Err(AppendError::Disk { operation, path, source: Arc::new(source) })
            }
        }
    }

    fn begin_segment(&mut self, first_seq: u64, epochs: &Epochs) -> Result<(), Fault> {
        let shared = &*self.shared;
        // An untrusted segment without a durable record has the name that the new one needs.
        let (stale, before_seq) = {
            let durable = lock(&shared.durable);
            let stale = durable.segments.back().filter(|segment| segment.first_seq == first_seq).cloned();
            let before = durable.segments.iter().rfind(|segment| segment.first_seq != first_seq);
            (stale, before.map_or(0, |segment| segment.first_seq))
        };
        if let Some(stale) = stale {
            self.active = None;
            // Until there is a new one, the segment before is the newest.
            let marked = shared.change_mark(|mark| mark.newest_first_seq = before_seq);
            marked.map_err(|source| self.mark_fault(source))?;
            if let Err(source) = shared.disk.remove(&stale.path)
                && source.kind() != io::ErrorKind::NotFound
            {
                return Err(Fault { operation: "remove", path: stale.path, source });
            }
            lock(&shared.durable).segments.retain(|segment| segment.first_seq != first_seq);
        }
        let header = epochs.header(shared.salt, first_seq, before_seq, wall_clock_ms());
        let (file, info) = open::create_segment(shared.disk.as_ref(), &shared.dir, header)
            .map_err(|(operation, path, source)| Fault { operation, path, source })?;
        self.active = Some(file);
        self.active_len = info.durable_bytes;
        lock(&shared.durable).segments.push_back(info);
        // Without it only a newest segment that is gone at the next start would not be noticed.
        if let Err(error) = shared.change_mark(|mark| mark.newest_first_seq = first_seq) {
            tracing::warn!(%error, "the journal's mark does not name its newest segment");
        }
        Ok(())
    }

    fn mark_fault(&self, source: io::Error) -> Fault {
        Fault { operation: "write the mark before", path: lock(&self.shared.mark).path().to_owned(), source }
    }

    fn publish(&self, records: u64) {
        let head_seq = {
            let mut durable = lock(&self.shared.durable);
            durable.head_seq += records;
            durable.records += records;
            durable.commits += 1;
            durable.is_disk_full = false;
            if durable.fault.take().is_some() {
                tracing::info!("the journal's disk takes writes again");
            }
            let active = durable.segments.back_mut().expect("a committed segment is in the index");
            active.durable_bytes = self.active_len;
            durable.head_seq
        };
        self.shared.wake_readers.notify_all();
        self.head_tx.send_replace(head_seq);
    }

    fn refuse(&self, fault: Fault, dones: &mut Vec<Option<Done>>) {
        let Fault { operation, path, source } = fault;
        let text = format!("failed to {operation} the journal segment `{}`: {source}", path.display());
        let first = {
            let mut durable = lock(&self.shared.durable);
            durable.refused += dones.len() as u64;
            durable.is_disk_full = is_full(&source);
            durable.fault.replace(text.clone()).is_none()
        };
        if first {
            tracing::error!("{text}; readings are refused until the disk takes writes again");
        }
        let source = Arc::new(source);
        for done in dones.drain(..).flatten() {
            done(Err(AppendError::Disk { operation, path: path.clone(), source: Arc::clone(&source) }));
        }
    }
}

/// Segment times are for people and retention by age; nothing depends on their order.
fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
