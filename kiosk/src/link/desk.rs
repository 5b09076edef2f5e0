//! The desk: what visitors ask the hub, and the hub's answers, as `contract::kiosk` says.
//!
//! Owns the requests in flight, one of each [`Matter`]. A request goes out now or not at all; it is repeated under its
//! id while the hub says nothing and after a lost connection, and given up after a time. Answers are the session's that
//! asked: what comes late, for a visitor who has left or for a request that another one has replaced, is counted and
//! dropped unread. With the session everything is wiped.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

use bevy::prelude::*;
use contract::{
    RequestId, Timestamp,
    kiosk::{self, Ask, Reply, ReplyState, Request},
};
use zeroize::Zeroizing;

use super::{Link, LinkState, StoreFacts, TakeIn};
use crate::session::SessionEnded;

/// A request is repeated after this long without a word.
const REPEAT_AFTER: Duration = Duration::from_millis(kiosk::FIRST_REPLY_WITHIN_MS);
/// Nobody waits longer for the first word.
const GIVE_UP_AFTER: Duration = Duration::from_millis(kiosk::GIVE_UP_AFTER_MS);
/// A stream whose end was missed is given up.
const STREAM_MAX: Duration = Duration::from_millis(kiosk::STREAM_ENDS_WITHIN_MS);
/// Answers that wait for their feature; more than any stream has.
const ANSWERS_MAX: usize = 16;
/// Room for any request, so that no second copy of a code is made while it is written.
const REQUEST_BYTES: usize = 256;

/// Sends what is asked and keeps the time.
pub(super) fn plugin(app: &mut App) {
    app.init_resource::<Desk>()
        .add_systems(PreUpdate, keep_time.after(TakeIn))
        .add_systems(PostUpdate, send)
        .add_observer(forget_visitor);
}

/// What requests are about; one of each is in flight at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matter {
    /// An order, its door and its goods.
    Order,
    /// A call for staff.
    Help,
}

impl Matter {
    const ALL: [Self; 2] = [Self::Order, Self::Help];
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The hub says how it stands.
    State(ReplyState),
    /// The hub says something that this kiosk does not understand.
    Unknown,
    /// It did not go out: there is no hub.
    Unreachable,
    /// The hub did not answer in time.
    NoAnswer,
}

/// An answer and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubReply {
    /// What was asked about.
    pub matter: Matter,
    /// What came of it.
    pub said: Said,
}

/// A request on its way.
struct Open {
    id: RequestId,
    payload: Zeroizing<Vec<u8>>,
    /// Since it was asked.
    age: Duration,
    /// Since it was last sent; nothing when it is to be sent now.
    sent: Option<Duration>,
    /// Whether it went out at all.
    is_out: bool,
    is_answered: bool,
}

/// See the module.
#[derive(Resource)]
pub struct Desk {
    /// Unlike those of any other start, so that an old answer is never taken for a new one.
    prefix: String,
    next: u64,
    open: [Option<Open>; 2],
    answers: VecDeque<HubReply>,
    can_ask: bool,
    /// Whether something was sent since the last wipe.
    has_sent: bool,
    /// Answers that nobody waited for.
    pub late: u64,
    /// Answers that could not be understood.
    pub refused: u64,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            // The standard library seeds its hashers from the system's randomness.
            prefix: format!("r{:016x}", RandomState::new().build_hasher().finish()),
            next: 0,
            open: [None, None],
            answers: VecDeque::new(),
            can_ask: true,
            has_sent: false,
            late: 0,
            refused: 0,
        }
    }
}

impl Desk {
    /// Asks the hub at `at`, the kiosk's clock. A request about the same matter that is still in flight is forgotten.
    pub fn ask(&mut self, matter: Matter, ask: Ask, at: Timestamp) {
        self.next += 1;
        let id = RequestId::parse(&format!("{}-{}", self.prefix, self.next))
            .expect("hexadecimal digits, a number and a hyphen are an id");
        let mut payload = Zeroizing::new(Vec::with_capacity(REQUEST_BYTES));
        serde_json::to_writer(&mut *payload, &Request { at, ask }).expect("a request has only text keys");
        self.forget(matter);
        self.open[matter as usize] =
            Some(Open { id, payload, age: Duration::ZERO, sent: None, is_out: false, is_answered: false });
    }

    /// The id of the request in flight.
    #[must_use]
    pub fn request(&self, matter: Matter) -> Option<&RequestId> {
        self.open[matter as usize].as_ref().map(|open| &open.id)
    }

    /// Nobody waits for an answer about this any more.
    pub fn forget(&mut self, matter: Matter) {
        self.open[matter as usize] = None;
        self.answers.retain(|answer| answer.matter != matter);
    }

    /// The next answer about a matter.
    pub fn answer(&mut self, matter: Matter) -> Option<Said> {
        let index = self.answers.iter().position(|answer| answer.matter == matter)?;
        self.answers.remove(index).map(|answer| answer.said)
    }

    /// Whether there may be something to take.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    fn wipe(&mut self) {
        for matter in Matter::ALL {
            self.forget(matter);
        }
        // A queue keeps what it once held in its memory until that is written over.
        self.answers = VecDeque::new();
    }

    fn say(&mut self, matter: Matter, said: Said) {
        if ANSWERS_MAX <= self.answers.len() {
            // Of a stream of states the newest counts.
            self.answers.pop_front();
        }
        self.answers.push_back(HubReply { matter, said });
    }

    fn close(&mut self, matter: Matter, said: Said) {
        self.open[matter as usize] = None;
        self.say(matter, said);
    }

    fn of(&self, id: &str) -> Option<Matter> {
        Matter::ALL.into_iter().find(|matter| self.request(*matter).is_some_and(|open| open.as_str() == id))
    }

    /// A connection stands: whoever waits asks again for the state.
    pub(super) fn connected(&mut self, can_ask: bool) {
        self.can_ask = can_ask;
        for open in self.open.iter_mut().flatten() {
            open.sent = None;
        }
    }

    /// The hub has answered the request `id`; `false` when nobody waits for that any more.
    pub(super) fn hear(&mut self, id: &str, payload: &[u8]) -> bool {
        let Some(matter) = self.of(id) else {
            self.late += 1;
            debug!("dropped an answer to a request that nobody waits for");
            return false;
        };
        let Ok(Reply { state, .. }) = serde_json::from_slice::<Reply>(payload) else {
            // Not shown: it could hold what a visitor ordered.
            warn!("the hub's answer to a request cannot be understood ({} bytes)", payload.len());
            self.refused += 1;
            self.close(matter, Said::Unknown);
            return true;
        };
        if let Some(open) = &mut self.open[matter as usize] {
            open.is_answered = true;
            open.age = Duration::ZERO;
        }
        if state.is_final() {
            self.open[matter as usize] = None;
        }
        self.say(matter, Said::State(state));
        true
    }

    /// The request `id` did not go out.
    pub(super) fn unsent(&mut self, id: &str) {
        if let Some(matter) = self.of(id)
            && self.open[matter as usize].as_ref().is_some_and(|open| !open.is_answered)
        {
            self.close(matter, Said::Unreachable);
        }
    }

    fn tick(&mut self, delta: Duration) {
        for matter in Matter::ALL {
            let Some(open) = &mut self.open[matter as usize] else { continue };
            open.age += delta;
            if let Some(sent) = &mut open.sent {
                *sent += delta;
            }
            let patience = if open.is_answered { STREAM_MAX } else { GIVE_UP_AFTER };
            if patience <= open.age {
                self.close(matter, Said::NoAnswer);
            } else if !open.is_answered && open.sent.is_some_and(|sent| REPEAT_AFTER <= sent) {
                open.sent = None;
            }
        }
    }

    /// Sends what is to be sent through `hand_over`, which says whether it went.
    fn send(&mut self, is_online: bool, mut hand_over: impl FnMut(&RequestId, &Zeroizing<Vec<u8>>) -> bool) {
        for matter in Matter::ALL {
            let can_ask = self.can_ask;
            let Some(open) = &mut self.open[matter as usize] else { continue };
            if open.sent.is_some() {
                continue;
            }
            if is_online && can_ask && hand_over(&open.id, &open.payload) {
                open.sent = Some(Duration::ZERO);
                open.is_out = true;
                self.has_sent = true;
            } else if !open.is_out {
                self.close(matter, Said::Unreachable);
            }
            // A repetition waits for the connection to come back, until it is given up.
        }
    }

    fn wants_to_send(&self) -> bool {
        self.open.iter().flatten().any(|open| open.sent.is_none())
    }

    fn is_idle(&self) -> bool {
        self.open.iter().all(Option::is_none)
    }
}

fn forget_visitor(_: On<SessionEnded>, mut desk: ResMut<Desk>, link: Option<Res<Link>>) {
    desk.wipe();
    if std::mem::take(&mut desk.has_sent)
        && let Some(link) = link
    {
        link.renew();
    }
}

fn keep_time(time: Res<Time<Real>>, mut desk: ResMut<Desk>) {
    if !desk.is_idle() {
        desk.tick(time.delta());
    }
}

fn send(mut desk: ResMut<Desk>, link: Option<Res<Link>>, facts: Res<StoreFacts>) {
    if desk.wants_to_send() {
        let is_online = facts.link == LinkState::Online;
        desk.send(is_online, |id, payload| {
            link.as_ref().is_some_and(|link| link.ask(id.clone(), payload.clone()))
        });
    }
}

#[cfg(test)]
mod tests {
    use contract::kiosk::PickUpCode;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pick_up(desk: &mut Desk) {
        let code = PickUpCode::parse("042137").unwrap();
        desk.ask(Matter::Order, Ask::PickUp { code }, Timestamp::UNIX_EPOCH);
    }

    /// Sends with a hub that is there; gives the ids that went out.
    fn sent(desk: &mut Desk) -> Vec<String> {
        let mut ids = Vec::new();
        desk.send(true, |id, _| {
            ids.push(id.as_str().to_owned());
            true
        });
        ids
    }

    fn reply(state: &str) -> Vec<u8> {
        format!(r#"{{"at":"2026-01-02T03:04:05.000Z","state":{state}}}"#).into_bytes()
    }

    #[test]
    fn a_request_goes_out_once_and_its_answers_come_in_order() {
        let mut desk = Desk::default();
        pick_up(&mut desk);
        let ids = sent(&mut desk);
        assert_eq!((ids.len(), sent(&mut desk).len()), (1, 0));
        desk.hear(&ids[0], &reply(r#""open""#));
        desk.hear(&ids[0], &reply(r#""collected""#));
        assert_eq!(desk.answer(Matter::Help), None);
        assert_eq!(desk.answer(Matter::Order), Some(Said::State(ReplyState::Open)));
        assert_eq!(desk.answer(Matter::Order), Some(Said::State(ReplyState::Collected)));
        assert_eq!(desk.request(Matter::Order), None, "the stream has ended");
        desk.hear(&ids[0], &reply(r#""open""#));
        assert_eq!((desk.answer(Matter::Order), desk.late), (None, 1));
    }

    #[test]
    fn without_a_hub_nothing_is_kept_for_later() {
        let mut desk = Desk::default();
        pick_up(&mut desk);
        desk.send(false, |_, _| panic!("there is no hub"));
        assert_eq!(desk.answer(Matter::Order), Some(Said::Unreachable));
        assert_eq!(sent(&mut desk), Vec::<String>::new());
        // The connection may be lost between the decision and the thread.
        pick_up(&mut desk);
        let ids = sent(&mut desk);
        desk.unsent(&ids[0]);
        assert_eq!(desk.answer(Matter::Order), Some(Said::Unreachable));
    }

    #[test]
    fn a_silent_hub_is_asked_again_under_the_same_id_and_given_up_in_the_end() {
        let mut desk = Desk::default();
        pick_up(&mut desk);
        let mut ids = sent(&mut desk);
        for _ in 0..10 {
            desk.tick(SECOND);
            ids.extend(sent(&mut desk));
        }
        assert_eq!(ids.len(), 4, "now, and after 3, 6 and 9 s");
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert_eq!(desk.answer(Matter::Order), Some(Said::NoAnswer));
    }

    #[test]
    fn after_a_lost_connection_the_state_is_asked_for_again() {
        let mut desk = Desk::default();
        pick_up(&mut desk);
        let ids = sent(&mut desk);
        desk.hear(&ids[0], &reply(r#""open""#));
        desk.tick(SECOND * 30);
        assert_eq!(sent(&mut desk), Vec::<String>::new(), "a stream that speaks is not asked again");
        desk.connected(true);
        desk.send(false, |_, _| true);
        assert_eq!(desk.answer(Matter::Order), Some(Said::State(ReplyState::Open)));
        assert_eq!(desk.answer(Matter::Order), None, "a repetition that cannot go out yet waits");
        assert_eq!(sent(&mut desk), ids);
        desk.tick(STREAM_MAX);
        assert_eq!(desk.answer(Matter::Order), Some(Said::NoAnswer), "its end was missed");
    }

    #[test]
    fn a_new_request_replaces_the_one_before_and_help_goes_beside_it() {
        let mut desk = Desk::default();
        pick_up(&mut desk);
        let first = sent(&mut desk);
        pick_up(&mut desk);
        desk.ask(
            Matter::Help,
            Ask::Help { screen: "pick-up".to_owned(), order: None },
            Timestamp::UNIX_EPOCH,
        );
        let second = sent(&mut desk);
        assert_eq!(second.len(), 2);
        desk.hear(&first[0], &reply(r#""open""#));
        assert_eq!((desk.answer(Matter::Order), desk.late), (None, 1));
        desk.hear(&second[1], &reply(r#""help_called""#));
        assert_eq!(desk.answer(Matter::Help), Some(Said::State(ReplyState::HelpCalled)));
    }

    #[test]
    fn what_is_not_understood_is_said_so_and_never_logged() {
        let mut desk = Desk::default();
        pick_up(&mut desk);
        let ids = sent(&mut desk);
        desk.hear(&ids[0], &reply(r#""teleported""#));
        assert_eq!((desk.answer(Matter::Order), desk.refused), (Some(Said::Unknown), 1));
    }

    #[test]
    fn the_end_of_a_session_wipes_the_desk() {
        let mut desk = Desk::default();
        pick_up(&mut desk);
        let ids = sent(&mut desk);
        desk.hear(&ids[0], &reply(r#""open""#));
        desk.wipe();
        assert!(desk.is_idle() && !desk.has_answers());
        desk.hear(&ids[0], &reply(r#""open""#));
        assert_eq!((desk.answer(Matter::Order), desk.late), (None, 1));
    }

    #[test]
    fn two_starts_never_use_the_same_ids() {
        let (mut one, mut other) = (Desk::default(), Desk::default());
        pick_up(&mut one);
        pick_up(&mut other);
        assert_ne!(one.request(Matter::Order), other.request(Matter::Order));
    }
}
