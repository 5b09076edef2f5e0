//! One named worker thread with one job in flight: how a feature does what takes longer than a frame.
//!
//! Invariants: both channels hold one item; a job is accepted only when none is in flight; every accepted job has
//! exactly one outcome, also when it panics; outcomes carry the session that asked. The thread ends when the
//! [`Worker`] is dropped and its job is done.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread,
};

use crate::session::SessionId;

/// What became of a job.
#[derive(Debug)]
pub(crate) enum Outcome<R> {
    /// It was done.
    Done(R),
    /// It panicked; the worker goes on.
    Broke,
}

/// A worker for jobs `J` with results `R`.
pub(crate) struct Worker<J, R> {
    jobs: SyncSender<(SessionId, J)>,
    // A receiver is no `Sync`; nobody ever waits for this lock.
    outcomes: Mutex<Receiver<(SessionId, Outcome<R>)>>,
    in_flight: bool,
}

impl<J: Send + 'static, R: Send + 'static> Worker<J, R> {
    /// Starts the thread. `work` is called there, once for every job.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(name: &str, mut work: impl FnMut(J) -> R + Send + 'static) -> io::Result<Self> {
        let (jobs, todo) = sync_channel::<(SessionId, J)>(1);
        let (done, outcomes) = sync_channel(1);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Ok((session, job)) = todo.recv() {
                let outcome =
                    catch_unwind(AssertUnwindSafe(|| work(job))).map_or(Outcome::Broke, Outcome::Done);
                if done.send((session, outcome)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { jobs, outcomes: Mutex::new(outcomes), in_flight: false })
    }

    /// Hands a job over, unless one is in flight.
    pub(crate) fn submit(&mut self, session: SessionId, job: J) -> bool {
        if self.in_flight || self.jobs.try_send((session, job)).is_err() {
            return false;
        }
        self.in_flight = true;
        true
    }

    /// Whether a job is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight
    }

    /// The outcome of the job in flight, once it is there.
    pub(crate) fn poll(&mut self) -> Option<(SessionId, Outcome<R>)> {
        let received = self.outcomes.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).try_recv();
        match received {
            Ok(outcome) => {
                self.in_flight = false;
                Some(outcome)
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn wait<J: Send + 'static, R: Send + 'static>(worker: &mut Worker<J, R>) -> Outcome<R> {
        let limit = Instant::now() + Duration::from_secs(10);
        while Instant::now() < limit {
            if let Some((_, outcome)) = worker.poll() {
                return outcome;
            }
            thread::yield_now();
        }
        panic!("no outcome within 10 s");
    }

    #[test]
    fn one_job_is_in_flight_and_a_panic_is_an_outcome() {
        let (gate, open) = sync_channel::<()>(1);
        let mut worker = Worker::start("test-worker", move |job: u32| {
            open.recv().unwrap();
            assert_ne!(job, 13, "this job is made to break");
            job * 2
        })
        .unwrap();
        assert!(worker.submit(SessionId::default(), 4));
        assert!(!worker.submit(SessionId::default(), 5), "one is in flight");
        gate.send(()).unwrap();
        assert!(matches!(wait(&mut worker), Outcome::Done(8)));
        assert!(worker.submit(SessionId::default(), 13));
        gate.send(()).unwrap();
        assert!(matches!(wait(&mut worker), Outcome::Broke));
        assert!(worker.submit(SessionId::default(), 1), "the worker goes on");
        gate.send(()).unwrap();
        assert!(matches!(wait(&mut worker), Outcome::Done(2)));
    }
}
