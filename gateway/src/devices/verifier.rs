//! Checks secrets against their argon2id hashes: few at a time, in fair order, in memory that is taken once.
//!
//! Owns: the verifying threads with their memory, the line of those who wait, and who is held up after wrong
//! secrets. Does not own: hashes, devices, the cache of verified secrets.
//!
//! # Invariants
//!
//! - [`THREADS`] threads verify, each in its own [`HASH_KIB`](super::HASH_KIB) of memory for as long as the hub runs: a
//!   flood of logins costs no memory beyond the line.
//! - Source addresses take turns, and the devices of an address take turns: who floods waits behind itself.
//! - A full line loses the newest of the address that has most in it, never that of one with less.
//! - After a few wrong secrets an address waits longer and longer for the devices whose secret it got wrong, and for
//!   no other device, as long as these are few: it may be the address of a whole store behind a router.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, PasswordHash},
};
use broker::source;
use tokio::sync::oneshot;

use super::{Stranger, argon2, lock};

/// Threads that verify. After a power cut every device comes at once and unverified: two of them check some hundred
/// secrets per second.
const THREADS: usize = 2;
/// Logins that wait for a thread, over all addresses.
const WAITING_MAX: usize = 1_024;
/// Logins of one device from one address that wait for a thread. More than one is a device that has reconnected
/// before it was answered.
const DEVICE_WAITING_MAX: usize = 8;
/// Wrong secrets of an address that have no consequence: people mistype.
const WRONG_FREE: u32 = 3;
/// How long an address is held up by the first wrong secret after these; each further one doubles it.
const HOLD_MIN: Duration = Duration::from_millis(500);
/// The longest time that an address is held up.
const HOLD_MAX: Duration = Duration::from_secs(30);
/// An address without a wrong secret for this long has a clean slate.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Addresses with wrong secrets that are remembered; the one quiet for longest gives way.
const OFFENDERS_MAX: usize = 1_024;
/// Devices whose secret an address got wrong that are told apart; beyond it the address is held up for every device.
const OFFENDED_MAX: usize = 64;

/// The verifying threads and those who wait for them. Dropping it ends the threads.
pub(super) struct Verifier {
    shared: Arc<Shared>,
}

struct Shared {
    line: Mutex<Line>,
    ready: Condvar,
    offenders: Mutex<Offenders>,
}

/// One secret to be checked.
struct Job {
    hash: String,
    password: Vec<u8>,
    reply: oneshot::Sender<Result<(), Stranger>>,
}

impl Verifier {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start() -> io::Result<Self> {
        let shared =
            Arc::new(Shared { line: Mutex::default(), ready: Condvar::new(), offenders: Mutex::default() });
        let verifier = Self { shared };
        for number in 0..THREADS {
            let shared = Arc::clone(&verifier.shared);
            std::thread::Builder::new().name(format!("verify-{number}")).spawn(move || work(&shared))?;
        }
        Ok(verifier)
    }

    /// Whether `password` is what `hash` was made of.
    ///
    /// # Errors
    /// Why not, or why it was not looked at.
    pub(super) async fn verify(
        &self,
        address: IpAddr,
        device: &str,
        hash: &str,
        password: &[u8],
    ) -> Result<(), Stranger> {
        let source = source(address);
        if lock(&self.shared.offenders).is_held(source, device, Instant::now()) {
            return Err(Stranger::BackingOff);
        }
        let (reply, answer) = oneshot::channel();
        let job = Job { hash: hash.to_owned(), password: password.to_vec(), reply };
        let left_over = lock(&self.shared.line).push(source, device, job);
        self.shared.ready.notify_one();
        // Without its reply the one that has to go hears at once that there is no room.
        drop(left_over);
        answer.await.unwrap_or(Err(Stranger::Busy))
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        lock(&self.shared.line).is_closed = true;
        self.shared.ready.notify_all();
    }
}

/// A thread's life: the next login that somebody still waits for, until the hub ends.
fn work(shared: &Shared) {
    let mut memory = vec![Block::default(); argon2().params().block_count()];
    while let Some((source, device, job)) = next(shared) {
        if job.reply.is_closed() {
            continue;
        }
        // Those before it in the line may have been wrong meanwhile.
        let is_held = lock(&shared.offenders).is_held(source, &device, Instant::now());
        let answer = if is_held {
            Err(Stranger::BackingOff)
        } else {
            // A thread that ends would leave the hub with one less, and nobody would notice.
            match catch_unwind(AssertUnwindSafe(|| is_right(&mut memory, &job.hash, &job.password))) {
                Ok(is_right) => {
                    lock(&shared.offenders).note(source, &device, is_right, Instant::now());
                    if is_right { Ok(()) } else { Err(Stranger::WrongSecret) }
                }
                Err(_) => Err(Stranger::Busy),
            }
        };
        // Who has hung up meanwhile needs no answer.
        job.reply.send(answer).ok();
    }
}

fn next(shared: &Shared) -> Option<(IpAddr, Arc<str>, Job)> {
    let mut line = lock(&shared.line);
    loop {
        if line.is_closed {
            return None;
        }
        if let Some(next) = line.pop() {
            return Some(next);
        }
        line = shared.ready.wait(line).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
}

/// Whether the hash is this password's. One that would need more memory than ours is nobody's.
fn is_right(memory: &mut [Block], hash: &str, password: &[u8]) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    let Ok(params) = Params::try_from(&hash) else { return false };
    let (Ok(algorithm), Ok(version)) = (
        Algorithm::try_from(hash.algorithm.as_str()),
        hash.version.map_or(Ok(Version::default()), Version::try_from),
    ) else {
        return false;
    };
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return false };
    let Some(memory) = memory.get_mut(..params.block_count()) else { return false };
    let mut found = [0; Output::MAX_LENGTH];
    let found = &mut found[..expected.len()];
    let hashed =
        Argon2::new(algorithm, version, params).hash_password_into_with_memory(password, salt, found, memory);
    // Outputs are compared in constant time.
    hashed.is_ok() && Output::new(found).is_ok_and(|found| found == *expected)
}

/// Those who wait, by address and device, in the order of their next turn.
#[derive(Default)]
struct Line {
    sources: VecDeque<Source>,
    waiting: usize,
    is_closed: bool,
}

struct Source {
    address: IpAddr,
    devices: VecDeque<(Arc<str>, VecDeque<Job>)>,
    waiting: usize,
}

impl Line {
    /// Lets a login wait and gives back the one for which there is no room then, which may be itself.
    fn push(&mut self, address: IpAddr, device: &str, job: Job) -> Option<Job> {
        let own = self.sources.iter().position(|source| source.address == address);
        let own_waiting = own.map_or(0, |index| self.sources[index].waiting);
        let mut gone = None;
        if WAITING_MAX <= self.waiting {
            let longest = (0..self.sources.len()).max_by_key(|&index| self.sources[index].waiting);
            match longest.map(|index| &mut self.sources[index]) {
                Some(longest) if own_waiting + 1 < longest.waiting => gone = longest.lose(),
                _ => return Some(job),
            }
            self.waiting -= 1;
        }
        let index = own.unwrap_or_else(|| {
            self.sources.push_back(Source { address, devices: VecDeque::new(), waiting: 0 });
            self.sources.len() - 1
        });
        match self.sources[index].push(device, job) {
            Ok(given_up) => {
                self.waiting = self.waiting + 1 - given_up;
                gone
            }
            Err(refused) => Some(refused),
        }
    }

    fn pop(&mut self) -> Option<(IpAddr, Arc<str>, Job)> {
        let mut source = self.sources.pop_front()?;
        let (device, mut jobs) = source.devices.pop_front()?;
        let job = jobs.pop_front()?;
        let address = source.address;
        self.waiting -= 1;
        source.waiting -= 1;
        if !jobs.is_empty() {
            source.devices.push_back((Arc::clone(&device), jobs));
        }
        if !source.devices.is_empty() {
            self.sources.push_back(source);
        }
        Some((address, device, job))
    }
}

impl Source {
    /// How many of this device nobody waited for any more, or the login back if there are too many.
    fn push(&mut self, device: &str, job: Job) -> Result<usize, Job> {
        let Some((_, jobs)) = self.devices.iter_mut().find(|(of, _)| **of == *device) else {
            self.devices.push_back((device.into(), VecDeque::from([job])));
            self.waiting += 1;
            return Ok(0);
        };
        let before = jobs.len();
        jobs.retain(|job| !job.reply.is_closed());
        let given_up = before - jobs.len();
        if DEVICE_WAITING_MAX <= jobs.len() {
            return Err(job);
        }
        jobs.push_back(job);
        self.waiting = self.waiting + 1 - given_up;
        Ok(given_up)
    }

    /// The newest login of the device that has most. There must be more than one login: no source is left empty.
    fn lose(&mut self) -> Option<Job> {
        let longest = (0..self.devices.len()).max_by_key(|&index| self.devices[index].1.len())?;
        let lost = self.devices[longest].1.pop_back();
        if self.devices[longest].1.is_empty() {
            self.devices.remove(longest);
        }
        self.waiting -= 1;
        lost
    }
}

/// Addresses that gave wrong secrets.
#[derive(Default)]
struct Offenders(HashMap<IpAddr, Offender>);

struct Offender {
    /// Whose secret it got wrong.
    devices: BTreeSet<String>,
    wrong: u32,
    last: Instant,
    held_until: Instant,
}

impl Offenders {
    fn is_held(&self, address: IpAddr, device: &str, now: Instant) -> bool {
        self.0.get(&address).is_some_and(|offender| {
            let is_meant = offender.devices.contains(device) || OFFENDED_MAX <= offender.devices.len();
            is_meant && now < offender.held_until
        })
    }

    fn note(&mut self, address: IpAddr, device: &str, is_right: bool, now: Instant) {
        if is_right {
            if let Some(offender) = self.0.get_mut(&address) {
                offender.devices.remove(device);
                if offender.devices.is_empty() {
                    self.0.remove(&address);
                }
            }
            return;
        }
        if OFFENDERS_MAX <= self.0.len() && !self.0.contains_key(&address) {
            self.0.retain(|_, offender| now.saturating_duration_since(offender.last) < FORGET_AFTER);
            let quietest =
                self.0.iter().min_by_key(|(_, offender)| offender.last).map(|(address, _)| *address);
            if let Some(quietest) = quietest.filter(|_| OFFENDERS_MAX <= self.0.len()) {
                self.0.remove(&quietest);
            }
        }
        let clean = || Offender { devices: BTreeSet::new(), wrong: 0, last: now, held_until: now };
        let offender = self.0.entry(address).or_insert_with(clean);
        if FORGET_AFTER <= now.saturating_duration_since(offender.last) {
            *offender = clean();
        }
        if offender.devices.len() < OFFENDED_MAX {
            offender.devices.insert(device.to_owned());
        }
        offender.wrong = offender.wrong.saturating_add(1);
        offender.last = now;
        offender.held_until = now + hold(offender.wrong);
    }
}

/// How long the so-many-th wrong secret holds an address up.
fn hold(wrong: u32) -> Duration {
    match wrong.checked_sub(WRONG_FREE + 1) {
        None => Duration::ZERO,
        Some(doublings) => {
            HOLD_MIN.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(HOLD_MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::new_secret;

    type Answer = oneshot::Receiver<Result<(), Stranger>>;

    fn job(name: &str) -> (Job, Answer) {
        let (reply, answer) = oneshot::channel();
        (Job { hash: name.to_owned(), password: Vec::new(), reply }, answer)
    }

    fn address(last: u8) -> IpAddr {
        [192, 168, 0, last].into()
    }

    #[test]
    fn addresses_take_turns_and_so_do_the_devices_of_an_address() {
        let mut line = Line::default();
        let mut answers = Vec::new();
        for (from, device, name) in [
            (1, "x", "1x1"),
            (1, "x", "1x2"),
            (1, "x", "1x3"),
            (1, "y", "1y1"),
            (2, "x", "2x1"),
            (3, "z", "3z1"),
        ] {
            let (job, answer) = job(name);
            answers.push(answer);
            assert!(line.push(address(from), device, job).is_none());
        }
        let order: Vec<_> = std::iter::from_fn(|| line.pop()).map(|(_, _, job)| job.hash).collect();
        assert_eq!(order, ["1x1", "2x1", "3z1", "1y1", "1x2", "1x3"]);
        assert_eq!((line.waiting, line.sources.len()), (0, 0));
    }

    #[test]
    fn a_full_line_takes_from_the_longest_and_one_device_never_has_much_of_it() {
        let mut line = Line::default();
        let mut answers = Vec::new();
        for n in 0..=DEVICE_WAITING_MAX {
            let (job, answer) = job("again");
            answers.push(answer);
            let refused = line.push(address(1), "x", job).is_some();
            assert_eq!(refused, n == DEVICE_WAITING_MAX);
        }
        answers.clear();
        let (again, answer) = job("nobody waits for those before it");
        assert!(line.push(address(1), "x", again).is_none());
        answers.push(answer);
        assert_eq!(line.waiting, 1);

        for n in 1..WAITING_MAX {
            let (job, answer) = job("flood");
            answers.push(answer);
            assert!(line.push(address(1), &format!("d{n}"), job).is_none());
        }
        let (flood, _waits) = job("flood");
        assert!(line.push(address(1), "one-more", flood).is_some(), "the flood stands in its own way");
        let (honest, _waits_too) = job("honest");
        let gone = line.push(address(2), "x", honest).expect("one of the flood goes");
        assert_eq!((gone.hash.as_str(), line.waiting), ("flood", WAITING_MAX));
        let first_two: Vec<_> =
            [line.pop(), line.pop()].into_iter().flatten().map(|(from, ..)| from).collect();
        assert_eq!(first_two, [address(1), address(2)], "it is the honest one's turn at once");
    }

    #[test]
    fn wrong_secrets_hold_an_address_up_for_that_device_and_longer_each_time() {
        let (mut offenders, start) = (Offenders::default(), Instant::now());
        let held = |offenders: &Offenders, from, device, after_ms| {
            offenders.is_held(address(from), device, start + Duration::from_millis(after_ms))
        };
        for _ in 0..WRONG_FREE {
            offenders.note(address(1), "x", false, start);
        }
        assert!(!held(&offenders, 1, "x", 0), "people mistype");
        offenders.note(address(1), "x", false, start);
        assert!(held(&offenders, 1, "x", 499) && !held(&offenders, 1, "x", 500));
        assert!(!held(&offenders, 2, "x", 0), "another address");
        assert!(!held(&offenders, 1, "y", 0), "another device of the address");
        for _ in 0..100 {
            offenders.note(address(1), "x", false, start);
        }
        assert!(held(&offenders, 1, "x", 29_999) && !held(&offenders, 1, "x", 30_000));
        offenders.note(address(1), "x", true, start);
        assert!(!held(&offenders, 1, "x", 0), "the right secret wipes the slate clean");

        for n in 0..OFFENDED_MAX {
            offenders.note(address(1), &format!("d{n}"), false, start);
        }
        assert!(held(&offenders, 1, "y", 0), "who tries every device is held up for every device");
        for n in 0..2 * OFFENDERS_MAX {
            let from = IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
            offenders.note(from, "x", false, start + Duration::from_secs(1));
        }
        assert_eq!(offenders.0.len(), OFFENDERS_MAX);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_flood_of_bad_secrets_holds_up_neither_the_device_elsewhere_nor_another_device() {
        let verifier = Arc::new(Verifier::start().unwrap());
        let (secret, hash) = new_secret().unwrap();
        let flood: Vec<_> = (0..400)
            .map(|n| {
                let (verifier, hash) = (Arc::clone(&verifier), hash.clone());
                tokio::spawn(async move {
                    verifier.verify(address(1), "x", &hash, format!("bad {n}").as_bytes()).await
                })
            })
            .collect();
        assert_eq!(verifier.verify(address(2), "x", &hash, secret.as_bytes()).await, Ok(()));
        assert_eq!(verifier.verify(address(1), "y", &hash, secret.as_bytes()).await, Ok(()));
        let (mut wrong, mut backing_off, mut busy) = (0_u32, 0_u32, 0_u32);
        for bad in flood {
            match bad.await.unwrap() {
                Err(Stranger::WrongSecret) => wrong += 1,
                Err(Stranger::BackingOff) => backing_off += 1,
                Err(Stranger::Busy) => busy += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(wrong + backing_off + busy, 400);
        assert!(wrong < 20, "{wrong} hashes were computed for the flood");
    }

    #[test]
    fn a_hash_that_is_none_or_wants_more_memory_fits_no_password() {
        let mut memory = vec![Block::default(); argon2().params().block_count()];
        let (secret, hash) = new_secret().unwrap();
        for (hash, password, right) in [
            (hash.clone(), secret.as_str(), true),
            (hash.clone(), "other", false),
            (hash.replace("m=4096", "m=8192"), &secret, false),
            (hash.replace("argon2id", "argon2i"), &secret, false),
            (String::new(), "", false),
        ] {
            assert_eq!(is_right(&mut memory, &hash, password.as_bytes()), right, "{hash}");
        }
    }
}
