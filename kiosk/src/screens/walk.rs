//! A random walk over the whole kiosk, with a seed: any order of touches, camera and hub lost and back at any moment.
//!
//! Method: an app with every screen and feature, a hub that is played by the walk through the link's own channels, and
//! a camera that comes and goes. Each step presses a real button that it finds, or lets something happen to the hub,
//! the camera or the clock. After every step: nothing has panicked (errors of systems do), and there is something to
//! press. After every visit: nothing of it is left, in words, resources, entities or assets. A failure prints its seed
//! and step.

use std::time::Duration;

use bevy::{
    prelude::*,
    time::TimeUpdateStrategy,
    ui::InteractionDisabled,
    ui_widgets::{self, Activate},
};

use contract::experience::Experience;

use super::{Screen, testing::screen_app};
use crate::{
    camera::Camera,
    config::CameraSource,
    experience::Visit,
    i18n::{I18n, Locale, Words},
    link::{Desk, Link, LinkState, Matter, Played, StoreFacts},
    origin::{Answer, Finding, OriginTrouble, OriginView},
    paint::Painting,
    pick_up::{Help, PickUp, Role, Stage},
    session::{EndSession, Session, SessionId},
    skin::{SkinTrouble, SkinView},
    staff::{Gate, Light, StaffRoom},
    theme::icon::Painted,
};

const SEED: u64 = 0x5706_4EAB;
const STEPS: usize = 10_000;
const VISITS: usize = 10_000;
/// Visits after which everything that is made once has been made: resources are entities too.
const WARM_UP: usize = 100;
/// Visits after which the allocator has all the room that it will need, and how far it may grow beyond.
const SETTLED: usize = 2_000;
const GROWTH_KIB_MAX: u64 = 4 * 1024;
/// Stands in everything that belongs to a visitor.
const CANARY: &str = "canary-of-a-visitor";

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll() % sides as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len())]
    }
}

/// What the hub may say to a request; goods and label are a visitor's.
fn replies() -> Vec<String> {
    let opening = format!(
        r#""state":"opening","bank":"locker-a","compartments":[7],"order_label":"{CANARY}",
            "goods":[{{"gtin":"2000000000015","name":{{"zh":"{CANARY}"}},"quantity":2}}]"#
    );
    [
        opening.as_str(),
        r#""state":"open""#,
        r#""state":"still_open""#,
        r#""state":"closed_not_emptied","may_open_again":true"#,
        r#""state":"closed_not_emptied","may_open_again":false"#,
        r#""state":"collected""#,
        r#""state":"deposited""#,
        r#""state":"not_deposited""#,
        r#""state":"stuck","compartment":7"#,
        r#""state":"left_open","compartment":7"#,
        r#""state":"superseded""#,
        r#""state":"refused","reason":"wrong_code""#,
        r#""state":"refused","reason":"rate_limited","retry_after_s":20"#,
        r#""state":"refused","reason":"expired""#,
        r#""state":"help_called""#,
        r#""state":"from_the_future""#,
        r#""state":"#,
    ]
    .map(|state| format!(r#"{{"at":"2026-01-01T00:00:00.000Z",{state}}}"#))
    .to_vec()
}

struct Walk {
    app: App,
    hub: Played,
    dice: Dice,
    /// Requests that the hub has heard and may still answer.
    asked: Vec<String>,
    replies: Vec<String>,
    visit: SessionId,
    visits: usize,
    told: usize,
    /// Entities and images on the attract screen with nobody there.
    rest: Option<(usize, usize)>,
    is_warm: bool,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut app = screen_app(Screen::Attract);
        let (link, hub) = Link::played();
        app.insert_resource(link)
            .insert_resource(TimeUpdateStrategy::ManualDuration(Duration::from_millis(200)));
        let visit = app.world().resource::<Session>().id();
        let mut walk = Self {
            app,
            hub,
            dice: Dice(seed),
            asked: Vec::new(),
            replies: replies(),
            visit,
            visits: 0,
            told: 0,
            rest: None,
            is_warm: false,
        };
        walk.store();
        walk
    }

    /// The store as the hub tells it: always the same, so that the attract screen is.
    fn store(&mut self) {
        self.hub.online();
        self.hub.message(
            "hub/lockers/locker-a",
            r#"{"bank":"locker-a","at":"2026-11-22T20:00:00.000Z","compartments":{
                "7":{"door":"closed","occupied":true,"at":"2026-11-22T20:00:00.000Z"},
                "8":{"door":"closed","occupied":false,"at":"2026-11-22T20:00:00.000Z"}}}"#,
        );
    }

    fn update(&mut self) {
        self.app.update();
        let (asked, told) = self.hub.heard();
        for event in told {
            self.told += 1;
            let text = String::from_utf8(event).unwrap();
            let event: Experience = serde_json::from_str(&text).unwrap();
            assert!(!text.contains(CANARY) && text.len() < 256, "{text}");
            // Nothing but this: two events of one visitor have nothing in common that others have not.
            assert_eq!(serde_json::to_string(&event).unwrap(), text);
        }
        for id in asked {
            // A hub that forgets is a hub that does not answer.
            self.asked.truncate(7);
            self.asked.insert(0, id);
        }
    }

    fn at(&self) -> Screen {
        *self.app.world().resource::<State<Screen>>().get()
    }

    fn buttons(&mut self) -> Vec<(Entity, String)> {
        let mut buttons = self
            .app
            .world_mut()
            .query_filtered::<(Entity, Option<&Name>, &Node), (With<ui_widgets::Button>, Without<InteractionDisabled>)>();
        buttons
            .iter(self.app.world())
            .filter(|(_, _, node)| node.display != Display::None)
            .map(|(entity, name, _)| (entity, name.map(|name| name.as_str().to_owned()).unwrap_or_default()))
            .collect()
    }

    fn press(&mut self) {
        let buttons = self.buttons();
        let (entity, _) = self.dice.pick(&buttons);
        self.app.world_mut().trigger(Activate { entity: *entity });
        if self.dice.below(8) == 0 {
            // Two touches in one frame, the second perhaps on what the first has removed.
            let (entity, _) = self.dice.pick(&buttons);
            let entity = *entity;
            if self.app.world().get_entity(entity).is_ok() {
                self.app.world_mut().trigger(Activate { entity });
            }
        }
    }

    /// One thing happens.
    fn step(&mut self) {
        match self.dice.below(100) {
            0..=59 => self.press(),
            60..=69 => {
                if !self.asked.is_empty() {
                    let id = self.dice.pick(&self.asked).clone();
                    let reply = self.dice.pick(&self.replies).clone();
                    self.hub.reply(&id, &reply);
                }
            }
            70..=74 => self.hub.offline(),
            75..=79 => self.hub.online(),
            80..=82 => {
                let there = self.dice.below(2) == 0;
                let source = there.then(|| CameraSource::File("/nowhere/at/all.png".into()));
                self.app.insert_resource(Camera::new(source));
            }
            83..=86 => self.result(),
            87..=88 => self.app.world_mut().resource_mut::<StaffRoom>().show(Light::NoPicture),
            89..=90 => self.app.world_mut().trigger(EndSession),
            // Time goes by: sometimes longer than a visitor's patience.
            _ => {
                for _ in 0..self.dice.below(40) {
                    self.update();
                }
            }
        }
        self.update();
    }

    /// A feature comes to something; its workers are not there, so it is put in.
    fn result(&mut self) {
        let painting = Painting { width: 2, height: 1, rgba: vec![7; 8] };
        let found = Answer::NotAProduct { text: CANARY.to_owned() };
        match (self.at(), self.dice.below(3)) {
            (Screen::Origin, 0) => {
                self.app.insert_resource(OriginView::Found(Box::new(Finding { painting, answer: found })));
            }
            (Screen::Origin, 1) => {
                let answer = Answer::NoCode;
                self.app.insert_resource(OriginView::Found(Box::new(Finding { painting, answer })));
            }
            (Screen::Origin, _) => {
                self.app.insert_resource(OriginView::Unavailable(OriginTrouble::Camera));
            }
            (Screen::Skin, 0) => {
                self.app.insert_resource(SkinView::Unavailable(SkinTrouble::Models));
            }
            (Screen::Skin, _) => {
                self.app.insert_resource(SkinView::Looking);
            }
            _ => {}
        }
    }

    /// What must hold after every step.
    fn check(&mut self) {
        assert!(!self.buttons().is_empty(), "{:?} is a dead end", self.at());
        let visit = self.app.world().resource::<Session>().id();
        if visit != self.visit {
            self.visit = visit;
            self.visits += 1;
            self.check_forgotten();
        }
    }

    fn check_forgotten(&mut self) {
        // The screen that is left goes with the next transition, its images a frame later.
        for _ in 0..3 {
            self.update();
        }
        let world = self.app.world_mut();
        let words: Vec<String> = world
            .query::<(&Text, Option<&Words>)>()
            .iter(world)
            .map(|(text, words)| format!("{text:?} {words:?}"))
            .filter(|said| said.contains(CANARY))
            .collect();
        assert_eq!(words, Vec::<String>::new());
        let pick_up = world.resource::<PickUp>();
        assert!(pick_up.digits().is_empty());
        assert_eq!(
            (pick_up.stage(), pick_up.role, pick_up.help()),
            (&Stage::Typing, Role::Customer, Help::Uncalled)
        );
        let desk = world.resource::<Desk>();
        assert!(!desk.has_answers());
        assert!(desk.request(Matter::Order).is_none() && desk.request(Matter::Help).is_none());
        assert_eq!(*world.resource::<OriginView>(), OriginView::Idle);
        assert_eq!(*world.resource::<SkinView>(), SkinView::Idle);
        assert_ne!(world.resource::<StaffRoom>().gate(), Gate::Open);
        assert_eq!(world.resource::<I18n>().locale(), Locale::default());
        assert!(!format!("{:?}", world.resource::<Visit>()).contains(CANARY));
        assert!(!format!("{pick_up:?}", pick_up = world.resource::<PickUp>()).contains(CANARY));
    }

    /// Entities and images when nobody is there; the same after every visit.
    fn check_rest(&mut self) {
        self.app.world_mut().trigger(EndSession);
        self.hub.online();
        self.app.insert_resource(Camera::default());
        for _ in 0..4 {
            self.update();
        }
        self.visit = self.app.world().resource::<Session>().id();
        assert_eq!(self.at(), Screen::Attract);
        let world = self.app.world_mut();
        let entities = world.query::<Entity>().iter(world).count();
        // Our own drawings are painted once, when they are first needed, and kept.
        let drawings = world.resource::<Painted>().count();
        let now = (entities, world.resource::<Assets<Image>>().len() - drawings);
        let rest = *self.rest.get_or_insert(now);
        // During the warm-up there may be more each time; afterwards nothing may be left.
        if self.is_warm {
            assert_eq!(now, rest, "entities and images with nobody there");
        }
    }
}

/// Runs steps and says where a failure happened.
fn walked(seed: u64, steps: usize, mut each: impl FnMut(&mut Walk, usize)) -> Walk {
    let mut walk = Walk::new(seed);
    for step in 0..steps {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| each(&mut walk, step)));
        if let Err(panic) = told {
            eprintln!("seed {seed:#x}, step {step}, on {:?}", walk.at());
            std::panic::resume_unwind(panic);
        }
    }
    walk
}

#[test]
fn ten_thousand_random_steps_find_no_panic_no_dead_end_and_no_trace_of_a_visitor() {
    let walk = walked(SEED, STEPS, |walk, _| {
        walk.step();
        walk.check();
    });
    assert!(100 < walk.visits, "only {} visits", walk.visits);
    assert!(100 < walk.told, "only {} experience events", walk.told);
}

#[test]
fn ten_thousand_visits_leave_no_entity_no_image_and_no_memory_behind() {
    let mut settled = 0;
    walked(SEED + 1, VISITS, |walk, visit| {
        for _ in 0..8 {
            walk.step();
        }
        if visit == SETTLED {
            settled = resident_kib();
        }
        if visit == WARM_UP {
            walk.rest = None;
            walk.is_warm = true;
        }
        walk.check_rest();
    });
    let grown = resident_kib().saturating_sub(settled);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB more than the {settled} KiB after {SETTLED} visits");
}

/// What this process holds of the machine's memory.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn an_offline_kiosk_is_no_dead_end() {
    let mut walk = Walk::new(SEED + 2);
    walk.hub.offline();
    for _ in 0..500 {
        walk.press();
        walk.update();
        walk.check();
    }
    assert_eq!(walk.app.world().resource::<StoreFacts>().link, LinkState::Offline);
}
