//! Pick-up: a visitor types the code of an order, the hub opens the locker, the visitor takes the goods. Couriers bring
//! goods the same way.
//!
//! Owns [`PickUp`]: the digits typed so far, and how the order stands as the hub tells it through [`Desk`]. Decides what
//! each touch and each answer means; knows no screen and no socket. Digits are wiped when they are sent; everything is
//! wiped when the visitor leaves the feature or the session ends.

pub mod scan;

use std::time::Duration;

use bevy::prelude::*;
use contract::{
    DeviceId,
    kiosk::{Ask, CODE_DIGITS, PickUpCode, Refusal, ReplyState},
    order::Good,
};
use zeroize::{Zeroize as _, Zeroizing};

use self::scan::Scan;
use crate::{
    link::{Desk, Matter, Said, TakeIn},
    session::{EndSession, Session, SessionEnded},
};

/// How long the thanks stay before the session ends by itself.
pub const THANKS_MAX: Duration = Duration::from_secs(12);
/// What the hub's staff page calls this screen.
const SCREEN: &str = "pick-up";

/// Answers [`Touch`].
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<PickUp>()
        .add_plugins(scan::plugin)
        .add_observer(touch)
        .add_observer(|_: On<SessionEnded>, mut pick_up: ResMut<PickUp>| pick_up.wipe())
        .add_systems(PreUpdate, hear.after(TakeIn))
        .add_systems(Update, keep_time);
}

/// What the visitor does.
#[derive(Event, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// A key of the pad, 0 to 9.
    Digit(u8),
    /// Takes the last digit back.
    Delete,
    /// Takes all digits back.
    Clear,
    /// Send the code.
    Send,
    /// Look for a code that is held before the camera, or stop looking.
    Scan,
    /// Bring goods instead of picking them up, or the other way round.
    SwitchRole,
    /// Open the door once more.
    OpenAgain,
    /// Back to the pad.
    Retry,
    /// Call the staff.
    Help,
    /// The visitor turns to something else.
    Leave,
}

/// Who stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Picks goods up.
    #[default]
    Customer,
    /// Brings goods.
    Courier,
}

/// The digits typed so far; wiped when dropped.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct Digits {
    typed: Zeroizing<[u8; CODE_DIGITS]>,
    len: usize,
}

impl std::fmt::Debug for Digits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digits({} of {CODE_DIGITS})", self.len)
    }
}

impl Digits {
    /// The digit at a place.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<char> {
        (place < self.len).then(|| char::from(self.typed[place]))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it is a whole code.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.len == CODE_DIGITS
    }

    fn push(&mut self, digit: u8) {
        if digit < 10 && !self.is_whole() {
            self.typed[self.len] = b'0' + digit;
            self.len += 1;
        }
    }

    fn pop(&mut self) {
        if let Some(last) = self.len.checked_sub(1) {
            self.typed[last] = 0;
            self.len = last;
        }
    }

    fn wipe(&mut self) {
        self.typed.zeroize();
        self.len = 0;
    }

    /// As if it had been typed.
    fn fill(&mut self, code: &PickUpCode) {
        self.wipe();
        for digit in code.reveal().bytes() {
            self.push(digit - b'0');
        }
    }

    fn code(&self) -> Option<PickUpCode> {
        if !self.is_whole() {
            return None;
        }
        PickUpCode::parse(std::str::from_utf8(&*self.typed).ok()?).ok()
    }
}

/// One order's door and goods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// The bank of lockers.
    pub bank: DeviceId,
    /// The numbers on the doors.
    pub doors: Vec<u16>,
    /// What the order is called aloud.
    pub label: String,
    /// What is in it.
    pub goods: Vec<Good>,
}

/// How the order stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stage {
    /// The visitor types.
    #[default]
    Typing,
    /// The hub looks at the code.
    Checking,
    /// The door was told to open.
    Opening(Errand),
    /// It is open.
    Open(Errand),
    /// It has been open for long.
    StillOpen(Errand),
    /// It was closed and the goods are still inside.
    NotEmptied {
        /// Which.
        errand: Errand,
        /// Whether it may be opened once more.
        may_open_again: bool,
    },
    /// The goods are with the customer.
    Collected,
    /// The goods are in the locker.
    Deposited,
    /// The courier closed the door and nothing is inside.
    NotDeposited,
    /// The door did not open.
    Stuck {
        /// The number on it.
        door: u16,
    },
    /// The door was not closed.
    LeftOpen {
        /// The number on it.
        door: u16,
    },
    /// Nothing was done.
    Refused(Refusal),
    /// There is no hub.
    HubAway,
    /// The hub does not answer.
    NoAnswer,
    /// Something that only staff can sort out.
    AskStaff,
}

impl Stage {
    /// The door that this is about.
    #[must_use]
    pub fn errand(&self) -> Option<&Errand> {
        match self {
            Self::Opening(errand)
            | Self::Open(errand)
            | Self::StillOpen(errand)
            | Self::NotEmptied { errand, .. } => Some(errand),
            _ => None,
        }
    }

    /// Whether the hub will say more by itself.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::Checking | Self::Opening(_) | Self::Open(_) | Self::StillOpen(_))
    }

    /// Its word, for tests and for experience events.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Typing => "typing",
            Self::Checking => "checking",
            Self::Opening(_) => "opening",
            Self::Open(_) => "open",
            Self::StillOpen(_) => "still_open",
            Self::NotEmptied { .. } => "closed_not_emptied",
            Self::Collected => "collected",
            Self::Deposited => "deposited",
            Self::NotDeposited => "not_deposited",
            Self::Stuck { .. } => "stuck",
            Self::LeftOpen { .. } => "left_open",
            Self::Refused(refusal) => refusal_word(*refusal),
            Self::HubAway => "hub_away",
            Self::NoAnswer => "no_answer",
            Self::AskStaff => "ask_staff",
        }
    }
}

/// The word of a refusal, as on the wire.
#[must_use]
pub fn refusal_word(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::WrongCode => "wrong_code",
        Refusal::Expired => "expired",
        Refusal::AlreadyUsed => "already_used",
        Refusal::NotReady => "not_ready",
        Refusal::RateLimited { .. } => "rate_limited",
        Refusal::HubBusy => "hub_busy",
        Refusal::InUse => "in_use",
        Refusal::NoFreeCompartment => "no_free_compartment",
        Refusal::TooOld => "too_old",
        Refusal::NotNow => "not_now",
    }
}

/// How a call for staff stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Help {
    /// Nobody was called.
    #[default]
    Uncalled,
    /// The call is on its way.
    Calling,
    /// The hub has it, and staff see it.
    Called,
    /// It did not get through.
    Failed,
}

/// See the module.
#[derive(Resource, Debug, Default)]
pub struct PickUp {
    /// Who stands there.
    pub role: Role,
    digits: Digits,
    scan: Scan,
    stage: Stage,
    help: Help,
    /// How long the stage goes on before it ends by itself, where it does.
    left: Option<Duration>,
    stands_still: bool,
    /// The request whose door may be opened once more.
    door_request: Option<contract::RequestId>,
}

impl PickUp {
    /// The digits typed so far.
    #[must_use]
    pub fn digits(&self) -> &Digits {
        &self.digits
    }

    /// How the look for a code before the camera stands.
    #[must_use]
    pub fn scan(&self) -> Scan {
        self.scan
    }

    /// How the order stands.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// How the call for staff stands.
    #[must_use]
    pub fn help(&self) -> Help {
        self.help
    }

    /// Whole seconds until the stage ends by itself, where it does.
    #[must_use]
    pub fn secs_left(&self) -> Option<u64> {
        self.left.map(|left| left.as_secs() + u64::from(0 < left.subsec_nanos()))
    }

    /// As if the hub had said so, and time stood still: for pictures of the screen.
    pub fn show(&mut self, stage: Stage) {
        self.enter(stage);
        self.stands_still = true;
    }

    fn wipe(&mut self) {
        self.digits.wipe();
        *self = Self::default();
    }

    fn enter(&mut self, stage: Stage) {
        self.left = match stage {
            Stage::Collected | Stage::Deposited => Some(THANKS_MAX),
            Stage::Refused(Refusal::RateLimited { retry_after_s }) => {
                Some(Duration::from_secs(u64::from(retry_after_s)))
            }
            _ => None,
        };
        self.stage = stage;
    }

    /// What an answer of the hub leads to.
    fn hear(&mut self, said: Said) {
        let stage = match said {
            Said::Unreachable => Stage::HubAway,
            Said::NoAnswer => Stage::NoAnswer,
            Said::Unknown => Stage::AskStaff,
            Said::State(state) => match state {
                ReplyState::Opening { bank, compartments, order_label, goods } => {
                    Stage::Opening(Errand { bank, doors: compartments, label: order_label, goods })
                }
                ReplyState::Open => self.with_errand(Stage::Open),
                ReplyState::StillOpen => self.with_errand(Stage::StillOpen),
                ReplyState::ClosedNotEmptied { may_open_again } => {
                    self.with_errand(|errand| Stage::NotEmptied { errand, may_open_again })
                }
                ReplyState::Collected => Stage::Collected,
                ReplyState::Deposited => Stage::Deposited,
                ReplyState::NotDeposited => Stage::NotDeposited,
                ReplyState::Stuck { compartment } => Stage::Stuck { door: compartment },
                ReplyState::LeftOpen { compartment } => Stage::LeftOpen { door: compartment },
                ReplyState::Refused { reason } => Stage::Refused(reason),
                ReplyState::Superseded | ReplyState::HelpCalled => Stage::AskStaff,
            },
        };
        self.enter(stage);
    }

    /// A door that the hub has not named is nothing that a visitor could find.
    fn with_errand(&self, stage: impl FnOnce(Errand) -> Stage) -> Stage {
        self.stage.errand().cloned().map_or(Stage::AskStaff, stage)
    }

    fn label(&self) -> Option<String> {
        self.stage.errand().map(|errand| errand.label.clone())
    }
}

fn touch(
    touch: On<Touch>,
    mut pick_up: ResMut<PickUp>,
    mut desk: ResMut<Desk>,
    mut session: ResMut<Session>,
) {
    let pick_up = &mut *pick_up;
    if *touch != Touch::Leave {
        session.touch();
    }
    match *touch {
        Touch::Digit(digit) if pick_up.stage == Stage::Typing => pick_up.digits.push(digit),
        Touch::Delete if pick_up.stage == Stage::Typing => pick_up.digits.pop(),
        Touch::Clear if pick_up.stage == Stage::Typing => pick_up.digits.wipe(),
        Touch::SwitchRole if pick_up.stage == Stage::Typing => {
            pick_up.digits.wipe();
            pick_up.role = match pick_up.role {
                Role::Customer => Role::Courier,
                Role::Courier => Role::Customer,
            };
        }
        Touch::Scan if pick_up.stage == Stage::Typing => {
            pick_up.scan = match pick_up.scan {
                Scan::Looking { .. } => Scan::Off,
                Scan::Off | Scan::NothingSeen | Scan::NoPicture => Scan::begin(),
            };
        }
        Touch::Send if pick_up.stage == Stage::Typing => {
            pick_up.scan = Scan::Off;
            if let Some(code) = pick_up.digits.code() {
                pick_up.digits.wipe();
                let ask = match pick_up.role {
                    Role::Customer => Ask::PickUp { code },
                    Role::Courier => Ask::Deposit { code },
                };
                desk.ask(Matter::Order, ask, crate::now());
                pick_up.door_request = desk.request(Matter::Order).cloned();
                pick_up.enter(Stage::Checking);
            }
        }
        Touch::OpenAgain => {
            if let Stage::NotEmptied { errand, may_open_again: true } = pick_up.stage.clone()
                && let Some(request) = pick_up.door_request.clone()
            {
                desk.ask(Matter::Order, Ask::OpenAgain { request }, crate::now());
                pick_up.enter(Stage::Opening(errand));
            }
        }
        Touch::Retry if !pick_up.stage.is_waiting() && pick_up.left.is_none() => {
            desk.forget(Matter::Order);
            pick_up.digits.wipe();
            pick_up.help = Help::Uncalled;
            pick_up.enter(Stage::Typing);
        }
        Touch::Help if matches!(pick_up.help, Help::Uncalled | Help::Failed) => {
            let ask = Ask::Help { screen: SCREEN.to_owned(), order: pick_up.label() };
            desk.ask(Matter::Help, ask, crate::now());
            pick_up.help = Help::Calling;
        }
        Touch::Leave => {
            desk.forget(Matter::Order);
            desk.forget(Matter::Help);
            pick_up.wipe();
        }
        _ => {}
    }
}

fn hear(mut desk: ResMut<Desk>, mut pick_up: ResMut<PickUp>, mut session: ResMut<Session>) {
    if !desk.has_answers() {
        return;
    }
    while let Some(said) = desk.answer(Matter::Order) {
        // The visitor stands at the door now, not at the screen: that the door moves is a sign of life.
        session.touch();
        pick_up.hear(said);
    }
    while let Some(said) = desk.answer(Matter::Help) {
        pick_up.help = if said == Said::State(ReplyState::HelpCalled) { Help::Called } else { Help::Failed };
    }
}

fn keep_time(
    time: Res<Time<Real>>,
    mut pick_up: ResMut<PickUp>,
    mut session: ResMut<Session>,
    mut commands: Commands,
) {
    // Whoever stands at an open door does not touch the screen. The desk gives a stream up that never ends.
    if matches!(pick_up.stage, Stage::Opening(_) | Stage::Open(_) | Stage::StillOpen(_)) {
        session.bypass_change_detection().touch();
    }
    let Some(left) = pick_up.left.filter(|_| !pick_up.stands_still) else { return };
    let before = pick_up.secs_left();
    let left = left.saturating_sub(time.delta());
    pick_up.bypass_change_detection().left = Some(left);
    if left == Duration::ZERO {
        match pick_up.stage {
            Stage::Collected | Stage::Deposited => commands.trigger(EndSession),
            _ => pick_up.enter(Stage::Typing),
        }
    } else if pick_up.secs_left() != before {
        pick_up.set_changed();
    }
}

#[cfg(test)]
mod tests {
    use bevy::time::TimeUpdateStrategy;

    use super::*;

    /// One update is one second; the hub's answers are put in by hand.
    fn app() -> App {
        let mut app = App::new();
        app.add_plugins((MinimalPlugins, crate::i18n::plugin, crate::session::plugin, plugin))
            .init_resource::<Desk>()
            .insert_resource(TimeUpdateStrategy::ManualDuration(Duration::from_secs(1)));
        app.update();
        app
    }

    fn touches(app: &mut App, touches: &[Touch]) {
        for touch in touches {
            app.world_mut().trigger(*touch);
        }
    }

    fn typed(app: &mut App) {
        touches(app, &[0, 4, 2, 1, 3, 7].map(Touch::Digit));
    }

    fn says(app: &mut App, state: ReplyState) -> &'static str {
        let mut pick_up = app.world_mut().resource_mut::<PickUp>();
        pick_up.hear(Said::State(state));
        pick_up.stage().word()
    }

    fn stage(app: &App) -> &Stage {
        app.world().resource::<PickUp>().stage()
    }

    fn opening() -> ReplyState {
        let good = Good { gtin: "2000000000015".to_owned(), name: [].into(), quantity: 1 };
        ReplyState::Opening {
            bank: DeviceId::parse("locker-a").unwrap(),
            compartments: vec![7],
            order_label: "0042".to_owned(),
            goods: vec![good],
        }
    }

    #[test]
    fn digits_are_typed_taken_back_and_never_more_than_six() {
        let mut app = app();
        touches(&mut app, &[Touch::Digit(1), Touch::Digit(2), Touch::Delete, Touch::Digit(3)]);
        let shown = |app: &App| {
            let digits = app.world().resource::<PickUp>().digits().clone();
            (0..CODE_DIGITS).filter_map(|place| digits.at(place)).collect::<String>()
        };
        assert_eq!(shown(&app), "13");
        touches(&mut app, &[Touch::Clear, Touch::Delete, Touch::Digit(10)]);
        assert_eq!(shown(&app), "");
        touches(&mut app, &[Touch::Digit(9); 8]);
        assert_eq!(shown(&app), "999999");
        assert!(!format!("{:?}", app.world().resource::<PickUp>()).contains('9'), "never printed");
    }

    #[test]
    fn half_a_code_is_not_sent_and_a_sent_one_is_wiped() {
        let mut app = app();
        touches(&mut app, &[Touch::Digit(1), Touch::Send]);
        assert_eq!(*stage(&app), Stage::Typing);
        touches(&mut app, &[Touch::Clear]);
        typed(&mut app);
        touches(&mut app, &[Touch::Send]);
        let pick_up = app.world().resource::<PickUp>();
        assert_eq!((pick_up.stage(), pick_up.digits().len()), (&Stage::Checking, 0));
        assert!(app.world().resource::<Desk>().request(Matter::Order).is_some());
    }

    #[test]
    fn a_pick_up_goes_from_the_door_to_the_thanks_and_ends_the_session() {
        let mut app = app();
        typed(&mut app);
        touches(&mut app, &[Touch::Send]);
        assert_eq!(says(&mut app, opening()), "opening");
        assert_eq!(says(&mut app, ReplyState::Open), "open");
        assert_eq!(stage(&app).errand().unwrap().doors, [7]);
        assert_eq!(says(&mut app, ReplyState::StillOpen), "still_open");
        assert_eq!(says(&mut app, ReplyState::Collected), "collected");
        let before = app.world().resource::<Session>().id();
        for _ in 0..THANKS_MAX.as_secs() + 1 {
            app.update();
        }
        assert_ne!(app.world().resource::<Session>().id(), before);
        assert_eq!(*stage(&app), Stage::Typing);
    }

    #[test]
    fn a_door_that_was_closed_too_early_is_opened_once_more() {
        let mut app = app();
        typed(&mut app);
        touches(&mut app, &[Touch::Send]);
        let first = app.world().resource::<Desk>().request(Matter::Order).cloned();
        says(&mut app, opening());
        says(&mut app, ReplyState::Open);
        says(&mut app, ReplyState::ClosedNotEmptied { may_open_again: true });
        touches(&mut app, &[Touch::OpenAgain]);
        assert_eq!(stage(&app).word(), "opening");
        assert_ne!(app.world().resource::<Desk>().request(Matter::Order).cloned(), first);
        says(&mut app, ReplyState::ClosedNotEmptied { may_open_again: false });
        touches(&mut app, &[Touch::OpenAgain]);
        assert_eq!(stage(&app).word(), "closed_not_emptied");
    }

    #[test]
    fn a_rate_limit_counts_down_and_cannot_be_skipped() {
        let mut app = app();
        says(&mut app, ReplyState::Refused { reason: Refusal::RateLimited { retry_after_s: 5 } });
        touches(&mut app, &[Touch::Retry]);
        assert_eq!(stage(&app).word(), "rate_limited");
        app.update();
        app.update();
        assert_eq!(app.world().resource::<PickUp>().secs_left(), Some(3));
        for _ in 0..3 {
            app.update();
        }
        assert_eq!(*stage(&app), Stage::Typing);
    }

    #[test]
    fn nobody_is_sent_away_from_an_open_door() {
        let mut app = app();
        says(&mut app, opening());
        says(&mut app, ReplyState::Open);
        let before = app.world().resource::<Session>().id();
        for _ in 0..150 {
            app.update();
        }
        assert_eq!(app.world().resource::<Session>().id(), before);
        says(&mut app, ReplyState::LeftOpen { compartment: 7 });
        for _ in 0..61 {
            app.update();
        }
        assert_ne!(app.world().resource::<Session>().id(), before, "the door is the staff's affair now");
    }

    #[test]
    fn a_door_that_was_never_named_is_not_shown() {
        let mut app = app();
        assert_eq!(says(&mut app, ReplyState::Open), "ask_staff");
    }

    #[test]
    fn help_is_on_its_way_only_when_the_hub_has_it() {
        let mut app = app();
        touches(&mut app, &[Touch::Help]);
        let help = |app: &App| app.world().resource::<PickUp>().help();
        assert_eq!(help(&app), Help::Calling);
        app.update();
        assert_eq!(help(&app), Help::Calling);
    }

    #[test]
    fn nothing_is_left_of_the_last_visitor() {
        for ended_by_leaving in [false, true] {
            let mut app = app();
            typed(&mut app);
            touches(&mut app, &[Touch::SwitchRole]);
            typed(&mut app);
            touches(&mut app, &[Touch::Send, Touch::Help]);
            says(&mut app, opening());
            if ended_by_leaving {
                app.world_mut().trigger(Touch::Leave);
            } else {
                app.world_mut().trigger(EndSession);
            }
            app.world_mut().flush();
            let pick_up = app.world().resource::<PickUp>();
            assert_eq!(
                (pick_up.stage(), pick_up.role, pick_up.help()),
                (&Stage::Typing, Role::Customer, Help::Uncalled)
            );
            assert!(pick_up.digits().is_empty() && pick_up.door_request.is_none());
        }
    }
}
