//! The pick-up screen: the keypad for a code, which door opens, what to take, and what to do when it does not work.
//!
//! Reads [`PickUp`] and the locker banks of [`StoreFacts`]; triggers [`Touch`] and intents, and nothing else. A key is
//! at least [`KEY_PX_MIN`] high. Each digit is a text of its own, so that no text of this screen is a whole code.

use bevy::{
    prelude::*,
    ui::InteractionDisabled,
    ui_widgets::{self, Activate},
};
use contract::{
    hub::LockerBank,
    kiosk::{CODE_DIGITS, Refusal},
};

use super::{Screen, chrome, place_name};
use crate::{
    camera::Camera,
    i18n::Words,
    link::{LinkState, StoreFacts},
    pick_up::{
        Errand, Help, PickUp, Role, Stage, Touch, refusal_word,
        scan::{self, Scan},
    },
    session::Session,
    theme::{
        Colour, Edge, Ground, Ink, Raised, Theme, Type,
        icon::Icon,
        motion::{Pace, WAITING},
        space,
        widgets::{self, ButtonKind, Mood, PressColours},
    },
};

/// Smallest height of a key, in pixels of the design.
const KEY_PX_MIN: f32 = 112.0;
/// Doors that the drawing of a bank shows; a larger bank is told by numbers alone.
const DOORS_DRAWN_MAX: usize = 60;
/// Doors beside one another in the drawing.
const DOORS_PER_ROW: usize = 6;
/// Kinds of goods that are listed; the rest is counted.
const GOODS_MAX: usize = 5;

pub(super) fn plugin(app: &mut App) {
    app.add_systems(OnEnter(Screen::PickUp), spawn)
        .add_systems(OnExit(Screen::PickUp), |mut commands: Commands| commands.trigger(Touch::Leave))
        .add_systems(
            Update,
            (build, show_digits, show_scan, show_help, show_countdown, wait)
                .chain()
                .run_if(in_state(Screen::PickUp)),
        );
}

/// Where the stage is shown, and which one it is.
#[derive(Component, Default)]
struct Slot(Option<Shown>);

/// What decides how the slot is built; digits and seconds only change texts in it.
#[derive(PartialEq, Clone)]
struct Shown {
    stage: Stage,
    role: Role,
    is_hub_there: bool,
    may_scan: bool,
}

/// One digit's place.
#[derive(Component)]
struct Cell(usize);

/// What can be pressed once the code is whole.
#[derive(Component)]
struct SendKey;

/// What the look for a code says.
#[derive(Component)]
struct ScanWords;

/// Its button.
#[derive(Component)]
struct ScanKey;

/// The words of the call for staff.
#[derive(Component)]
struct HelpWords;

/// The button of the call for staff.
#[derive(Component)]
struct HelpKey;

/// The seconds until another try.
#[derive(Component)]
struct Countdown;

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::PickUp, |page| {
        chrome::title(page, theme, "pick-up-title", "pick-up-note");
        page.spawn((
            Name::new("PickUp"),
            Slot::default(),
            Node { flex_grow: 1.0, min_height: px(0), ..widgets::column(space::CARD) },
        ));
        chrome::footer(page, theme, |_| {});
    });
}

/// What the hub answers and what the door does is seen as soon as it is said.
fn wait(pick_up: Res<PickUp>, mut pace: ResMut<Pace>) {
    if *pick_up.stage() != Stage::Typing || matches!(pick_up.scan(), Scan::Looking { .. }) {
        pace.within(WAITING);
    }
}

/// Builds the slot anew when the order stands differently.
fn build(
    mut commands: Commands,
    theme: Res<Theme>,
    facts: Res<StoreFacts>,
    pick_up: Res<PickUp>,
    camera: Res<Camera>,
    session: Res<Session>,
    mut slot: Single<(Entity, &mut Slot)>,
    mut note: Single<&mut Node, With<chrome::Note>>,
) {
    let (entity, slot) = &mut *slot;
    let shown = Shown {
        stage: pick_up.stage().clone(),
        role: pick_up.role,
        is_hub_there: facts.link == LinkState::Online,
        may_scan: scan::eye(&camera, &session).is_some(),
    };
    let is_same = slot.0.as_ref().is_some_and(|before| {
        // While the visitor types, the hub may come and go without a key disappearing under a finger; a door that is
        // shown does not care either.
        before.stage == shown.stage
            && before.role == shown.role
            && (shown.stage != Stage::Typing
                || (before.is_hub_there, before.may_scan) == (shown.is_hub_there, shown.may_scan))
    });
    if is_same {
        return;
    }
    let theme = &*theme;
    // Once a door is concerned, a screen that lies needs the room of the explanation for the order.
    let is_explained = !theme.is_wide() || matches!(shown.stage, Stage::Typing | Stage::Checking);
    note.display = if is_explained { Display::Flex } else { Display::None };
    commands.entity(*entity).despawn_children().with_children(|slot| match &shown.stage {
        Stage::Typing => pad(slot, theme, &shown),
        Stage::Checking => waiting(slot, theme),
        Stage::Opening(errand) => door(slot, theme, &facts, errand, Moment::Opening, shown.role),
        Stage::Open(errand) => door(slot, theme, &facts, errand, Moment::Open, shown.role),
        Stage::StillOpen(errand) => door(slot, theme, &facts, errand, Moment::StillOpen, shown.role),
        Stage::NotEmptied { errand, may_open_again: true } => {
            door(slot, theme, &facts, errand, Moment::NotEmptied, shown.role);
        }
        Stage::Collected => thanks(slot, theme, "pick-up-collected"),
        Stage::Deposited => thanks(slot, theme, "pick-up-deposited"),
        stage => trouble(slot, theme, stage),
    });
    slot.0 = Some(shown);
}

/// The keypad and what is typed.
fn pad(slot: &mut ChildSpawnerCommands, theme: &Theme, shown: &Shown) {
    let &Shown { role, is_hub_there, .. } = shown;
    // Without a hub a code that is read opens nothing, and the words about that need the room.
    let may_scan = shown.may_scan && is_hub_there;
    let wide = theme.is_wide();
    let body = Node {
        flex_direction: if wide { FlexDirection::Row } else { FlexDirection::Column },
        row_gap: px(space::CARD),
        column_gap: px(space::EDGE),
        flex_grow: 1.0,
        min_height: px(0),
        ..default()
    };
    slot.spawn(body).with_children(|body| {
        let half = Node {
            flex_grow: if wide { 1.0 } else { 0.0 },
            flex_basis: if wide { px(0) } else { auto() },
            ..widgets::column(space::LINE)
        };
        body.spawn(half.clone()).with_children(|left| {
            let key = match role {
                Role::Customer => "pick-up-type",
                Role::Courier => "pick-up-type-courier",
            };
            left.spawn(widgets::text(theme, Type::Heading, Colour::Ink, Words::key(key)));
            cells(left, theme);
            if wide {
                send_key(left, theme, role);
                hub_away(left, theme, is_hub_there);
                left.spawn(Node { flex_grow: 1.0, ..default() });
                if may_scan {
                    scan_card(left, theme);
                }
                roles(left, theme, role);
            }
        });
        body.spawn(half).with_children(|right| {
            keys(right, theme);
            if !wide {
                send_key(right, theme, role);
                hub_away(right, theme, is_hub_there);
            }
        });
        if !wide {
            if may_scan {
                scan_card(body, theme);
            }
            body.spawn(Node { flex_grow: 1.0, ..default() });
            roles(body, theme, role);
        }
    });
}

/// Below what can be touched, so that no key moves under a finger when the hub goes.
fn hub_away(parent: &mut ChildSpawnerCommands, theme: &Theme, is_hub_there: bool) {
    if is_hub_there {
        return;
    }
    parent.spawn((Name::new("HubAway"), widgets::panel(Colour::AccentSoft, 24.0))).with_children(|note| {
        let words = Words::key("pick-up-hub-away-short");
        note.spawn(widgets::text(theme, Type::Body, Colour::AccentInk, words));
    });
}

/// Six places, three and three.
fn cells(parent: &mut ChildSpawnerCommands, theme: &Theme) {
    parent.spawn((Name::new("Code"), Node { width: percent(100), ..widgets::row(14.0) })).with_children(
        |row| {
            for place in 0..CODE_DIGITS {
                if place == CODE_DIGITS / 2 {
                    row.spawn((
                        Node {
                            width: px(22),
                            height: px(6),
                            border_radius: BorderRadius::MAX,
                            flex_shrink: 0.0,
                            ..default()
                        },
                        Ground(Colour::Accent),
                    ));
                }
                row.spawn((
                    Node {
                        flex_grow: 1.0,
                        flex_basis: px(0),
                        height: px(if theme.is_wide() { 124.0 } else { 150.0 }),
                        border: UiRect::all(px(3)),
                        border_radius: BorderRadius::all(px(20)),
                        align_items: AlignItems::Center,
                        justify_content: JustifyContent::Center,
                        ..default()
                    },
                    Ground(Colour::Card),
                    Edge(Colour::QuietEdge),
                ))
                .with_children(|cell| {
                    cell.spawn((
                        Cell(place),
                        widgets::centred(theme, Type::Display, Colour::Brand, Words::verbatim("")),
                    ));
                });
            }
        },
    );
}

/// One to nine, then clear, nought and delete.
fn keys(parent: &mut ChildSpawnerCommands, theme: &Theme) {
    const ROWS: [[Touch; 3]; 4] = [
        [Touch::Digit(1), Touch::Digit(2), Touch::Digit(3)],
        [Touch::Digit(4), Touch::Digit(5), Touch::Digit(6)],
        [Touch::Digit(7), Touch::Digit(8), Touch::Digit(9)],
        [Touch::Clear, Touch::Digit(0), Touch::Delete],
    ];
    parent.spawn(Node { width: percent(100), ..widgets::column(16.0) }).with_children(|pad| {
        for row in ROWS {
            pad.spawn(Node { width: percent(100), ..widgets::row(16.0) }).with_children(|line| {
                for touch in row {
                    key(line, theme, touch);
                }
            });
        }
    });
}

fn key(line: &mut ChildSpawnerCommands, theme: &Theme, touch: Touch) {
    const NAMES: [&str; 10] =
        ["Key0", "Key1", "Key2", "Key3", "Key4", "Key5", "Key6", "Key7", "Key8", "Key9"];
    let (name, role, words) = match touch {
        Touch::Digit(digit) => {
            (NAMES[usize::from(digit % 10)], Type::Title, Words::verbatim(digit.to_string()))
        }
        Touch::Clear => ("Clear", Type::Label, Words::key("pick-up-clear")),
        _ => ("Delete", Type::Label, Words::key("pick-up-delete")),
    };
    line.spawn((
        Name::new(name),
        ui_widgets::Button,
        Node {
            flex_grow: 1.0,
            flex_basis: px(0),
            height: px(if theme.is_wide() { KEY_PX_MIN } else { 156.0 }),
            border: UiRect::all(px(2)),
            border_radius: BorderRadius::all(px(space::RADIUS)),
            align_items: AlignItems::Center,
            justify_content: JustifyContent::Center,
            ..default()
        },
        Ground(Colour::Card),
        Edge(Colour::QuietEdge),
        Raised::Card,
        PressColours { rest: Colour::Card, pressed: Colour::QuietPressed },
    ))
    .observe(touches(touch))
    .with_children(|key| {
        key.spawn(widgets::centred(theme, role, Colour::OnQuiet, words));
    });
}

/// What a button observes that means one touch.
fn touches(touch: Touch) -> impl Fn(On<Activate>, Commands) + Send + Sync + 'static {
    move |_, mut commands| commands.trigger(touch)
}

fn send_key(parent: &mut ChildSpawnerCommands, theme: &Theme, role: Role) {
    let key = match role {
        Role::Customer => "pick-up-open",
        Role::Courier => "pick-up-open-courier",
    };
    widgets::button(parent, theme, "Send", ButtonKind::Primary, Words::key(key))
        .insert((SendKey, InteractionDisabled))
        .observe(touches(Touch::Send));
}

/// The code as a picture before the camera.
fn scan_card(parent: &mut ChildSpawnerCommands, theme: &Theme) {
    parent
        .spawn((
            Name::new("ScanCard"),
            Node {
                width: percent(100),
                padding: UiRect::axes(px(28), px(20)),
                border: UiRect::all(px(2)),
                border_radius: BorderRadius::all(px(space::RADIUS)),
                ..widgets::row(space::LINE)
            },
            Ground(Colour::Card),
            Edge(Colour::CardEdge),
        ))
        .with_children(|card| {
            card.spawn(Node { flex_grow: 1.0, flex_basis: px(0), ..default() }).with_children(|told| {
                told.spawn((
                    ScanWords,
                    widgets::text(theme, Type::Body, Colour::InkSoft, scan_words(Scan::Off)),
                ));
            });
            widgets::button(card, theme, "Scan", ButtonKind::Quiet, scan_label(Scan::Off))
                .insert(ScanKey)
                .observe(touches(Touch::Scan));
        });
}

fn scan_words(scan: Scan) -> Words {
    Words::key(match scan {
        Scan::Off => "pick-up-scan-note",
        Scan::Looking { .. } => "pick-up-scan-looking",
        Scan::NothingSeen => "pick-up-scan-nothing",
        Scan::NoPicture => "pick-up-scan-no-picture",
    })
}

fn scan_label(scan: Scan) -> Words {
    Words::key(if matches!(scan, Scan::Looking { .. }) { "pick-up-scan-stop" } else { "pick-up-scan" })
}

fn show_scan(
    pick_up: Res<PickUp>,
    mut told: Query<&mut Words, With<ScanWords>>,
    keys: Query<&Children, With<ScanKey>>,
    mut labels: Query<&mut Words, Without<ScanWords>>,
) {
    for mut words in &mut told {
        words.set_if_neq(scan_words(pick_up.scan()));
    }
    for children in &keys {
        for child in children {
            if let Ok(mut words) = labels.get_mut(*child) {
                words.set_if_neq(scan_label(pick_up.scan()));
            }
        }
    }
}

/// Where the code is found, and who stands there.
fn roles(parent: &mut ChildSpawnerCommands, theme: &Theme, role: Role) {
    let where_key = match role {
        Role::Customer => "pick-up-where",
        Role::Courier => "pick-up-where-courier",
    };
    parent.spawn(Node { width: percent(100), ..widgets::row(space::LINE) }).with_children(|row| {
        row.spawn(Node { flex_grow: 1.0, flex_basis: px(0), ..default() }).with_children(|told| {
            told.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, Words::key(where_key)));
        });
        let key = match role {
            Role::Customer => "pick-up-i-am-courier",
            Role::Courier => "pick-up-i-am-customer",
        };
        widgets::button(row, theme, "Role", ButtonKind::Quiet, Words::key(key))
            .observe(touches(Touch::SwitchRole));
    });
}

/// The hub looks at the code.
fn waiting(slot: &mut ChildSpawnerCommands, theme: &Theme) {
    let moment = widgets::Moment {
        name: "Checking",
        drawn: Icon::Wait,
        mood: Mood::Calm,
        title: Words::key("pick-up-checking"),
        body: Words::key("pick-up-checking-note"),
    };
    widgets::moment(slot, theme, moment, |_| {});
}

/// What the door does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Opening,
    Open,
    StillOpen,
    NotEmptied,
}

/// Which door, drawn where it is, and what lies behind it.
fn door(
    slot: &mut ChildSpawnerCommands,
    theme: &Theme,
    facts: &StoreFacts,
    errand: &Errand,
    moment: Moment,
    role: Role,
) {
    let wide = theme.is_wide();
    let body = Node {
        flex_direction: if wide { FlexDirection::Row } else { FlexDirection::Column },
        align_items: if wide { AlignItems::FlexStart } else { AlignItems::Stretch },
        row_gap: px(space::CARD),
        column_gap: px(space::CARD),
        flex_grow: 1.0,
        min_height: px(0),
        ..default()
    };
    slot.spawn(body).with_children(|body| {
        let half = Node {
            flex_grow: if wide { 1.0 } else { 0.0 },
            flex_basis: if wide { px(0) } else { auto() },
            ..widgets::column(space::LINE)
        };
        let tell = |told: &mut ChildSpawnerCommands| {
            let colour = match moment {
                Moment::Opening => Colour::Action,
                Moment::Open => Colour::Good,
                Moment::StillOpen | Moment::NotEmptied => Colour::Caution,
            };
            let ink = if moment == Moment::Opening { Colour::OnAction } else { Colour::OnState };
            told.spawn((Name::new("Door"), widgets::panel(colour, 40.0))).with_children(|card| {
                let (title, note) = door_words(moment, role);
                card.spawn(widgets::text(theme, Type::Label, ink, Words::key(title)));
                card.spawn(widgets::text(
                    theme,
                    Type::Display,
                    ink,
                    Words::key("pick-up-door").with("door", numbers(errand)),
                ));
                card.spawn(widgets::text(theme, Type::Body, ink, Words::key(note)));
            });
            if moment == Moment::NotEmptied {
                widgets::button(
                    told,
                    theme,
                    "OpenAgain",
                    ButtonKind::Primary,
                    Words::key("pick-up-open-again"),
                )
                .observe(touches(Touch::OpenAgain));
            }
            if role == Role::Customer {
                goods(told, theme, errand);
            }
        };
        // On a screen that lies, a long order with a long explanation does not fit beside the drawing.
        if wide {
            let place = Node { align_self: AlignSelf::Stretch, min_height: px(0), ..half.clone() };
            widgets::scroller(body, theme, place, tell);
        } else {
            body.spawn(half.clone()).with_children(tell);
        }
        body.spawn(half).with_children(|place| {
            if let Some(bank) = facts.lockers.values().find(|bank| bank.bank == errand.bank) {
                map(place, theme, bank, errand);
            }
            help(place, theme, ButtonKind::Quiet);
        });
    });
}

fn door_words(moment: Moment, role: Role) -> (&'static str, &'static str) {
    match (moment, role) {
        (Moment::Opening, _) => ("pick-up-opening", "pick-up-opening-note"),
        (Moment::Open, Role::Customer) => ("pick-up-is-open", "pick-up-take"),
        (Moment::Open, Role::Courier) => ("pick-up-is-open", "pick-up-put"),
        (Moment::StillOpen, _) => ("pick-up-still-open", "pick-up-close"),
        (Moment::NotEmptied, _) => ("pick-up-not-emptied", "pick-up-not-emptied-note"),
    }
}

fn numbers(errand: &Errand) -> String {
    errand.doors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" · ")
}

fn goods(parent: &mut ChildSpawnerCommands, theme: &Theme, errand: &Errand) {
    if errand.goods.is_empty() {
        return;
    }
    parent.spawn((Name::new("Goods"), widgets::card())).with_children(|card| {
        card.spawn(widgets::text(
            theme,
            Type::Label,
            Colour::Ink,
            Words::key("pick-up-order").with("label", errand.label.clone()),
        ));
        for good in errand.goods.iter().take(GOODS_MAX) {
            card.spawn(Node { width: percent(100), ..widgets::row(space::LINE) }).with_children(|line| {
                let name = if good.name.is_empty() {
                    Words::verbatim(good.gtin.clone())
                } else {
                    Words::name(good.name.clone())
                };
                line.spawn(Node { flex_grow: 1.0, flex_basis: px(0), ..default() }).with_children(|place| {
                    place.spawn(widgets::text(theme, Type::Body, Colour::Ink, name));
                });
                line.spawn((
                    widgets::text(
                        theme,
                        Type::Label,
                        Colour::Brand,
                        Words::verbatim(format!("× {}", good.quantity)),
                    ),
                    TextLayout::linebreak(bevy::text::LineBreak::NoWrap),
                ));
            });
        }
        if let Some(more) = errand.goods.len().checked_sub(GOODS_MAX).filter(|more| 0 < *more) {
            card.spawn(widgets::text(
                theme,
                Type::Caption,
                Colour::InkSoft,
                Words::key("pick-up-more").with("count", more.to_string()),
            ));
        }
    });
}

/// The bank as it stands in the store, with the door in colour.
fn map(parent: &mut ChildSpawnerCommands, theme: &Theme, bank: &LockerBank, errand: &Errand) {
    if DOORS_DRAWN_MAX < bank.compartments.len() {
        return;
    }
    let numbers: Vec<u16> = bank.compartments.keys().copied().collect();
    parent.spawn((Name::new("Bank"), widgets::card())).with_children(|card| {
        card.spawn(widgets::text(
            theme,
            Type::Caption,
            Colour::InkSoft,
            Words::key("pick-up-bank").with("bank", place_name(bank.bank.as_str())),
        ));
        for row in numbers.chunks(DOORS_PER_ROW) {
            card.spawn(Node { width: percent(100), ..widgets::row(12.0) }).with_children(|line| {
                for place in 0..DOORS_PER_ROW.min(numbers.len()) {
                    match row.get(place) {
                        Some(number) => drawn_door(line, theme, *number, errand.doors.contains(number)),
                        None => {
                            line.spawn(Node { flex_grow: 1.0, flex_basis: px(0), ..default() });
                        }
                    }
                }
            });
        }
    });
}

fn drawn_door(line: &mut ChildSpawnerCommands, theme: &Theme, number: u16, is_ours: bool) {
    let (ground, edge, ink) = if is_ours {
        (Colour::Accent, Colour::AccentPressed, Colour::OnAccent)
    } else {
        (Colour::Paper, Colour::QuietEdge, Colour::InkSoft)
    };
    line.spawn((
        Node {
            flex_grow: 1.0,
            flex_basis: px(0),
            height: px(if theme.is_wide() { 76.0 } else { 92.0 }),
            padding: UiRect::all(px(8)),
            border: UiRect::all(px(if is_ours { 6.0 } else { 2.0 })),
            border_radius: BorderRadius::all(px(12)),
            align_items: AlignItems::Center,
            justify_content: JustifyContent::Center,
            ..default()
        },
        Ground(ground),
        Edge(edge),
    ))
    .with_children(|door| {
        let role = if is_ours { Type::Heading } else { Type::Caption };
        door.spawn(widgets::centred(theme, role, ink, Words::verbatim(number.to_string())));
    });
}

fn thanks(slot: &mut ChildSpawnerCommands, theme: &Theme, key: &'static str) {
    let moment = widgets::Moment {
        name: "Thanks",
        drawn: Icon::Check,
        mood: Mood::Good,
        title: Words::key(key),
        body: Words::key("pick-up-thanks"),
    };
    widgets::moment(slot, theme, moment, |card| {
        card.spawn((Countdown, widgets::text(theme, Type::Caption, Colour::OnState, Words::verbatim(""))));
    });
}

/// What did not work, why, and what to do now.
fn trouble(slot: &mut ChildSpawnerCommands, theme: &Theme, stage: &Stage) {
    let (key, door) = match stage {
        Stage::Refused(refusal) => {
            (format!("pick-up-refused-{}", refusal_word(*refusal).replace('_', "-")), None)
        }
        Stage::Stuck { door } => ("pick-up-stuck".to_owned(), Some(*door)),
        Stage::LeftOpen { door } => ("pick-up-left-open".to_owned(), Some(*door)),
        Stage::NotEmptied { .. } => ("pick-up-goods-inside".to_owned(), None),
        Stage::NotDeposited => ("pick-up-not-deposited".to_owned(), None),
        Stage::HubAway => ("pick-up-hub-away".to_owned(), None),
        Stage::NoAnswer => ("pick-up-no-answer".to_owned(), None),
        _ => ("pick-up-ask-staff".to_owned(), None),
    };
    // Nothing that is typed again helps where a door does not obey.
    let needs_staff =
        matches!(stage, Stage::Stuck { .. } | Stage::LeftOpen { .. } | Stage::NotEmptied { .. })
            || key == "pick-up-ask-staff";
    let with_door = |words: Words| match door {
        Some(door) => words.with("door", door.to_string()),
        None => words,
    };
    let moment = widgets::Moment {
        name: "Trouble",
        drawn: if needs_staff { Icon::Help } else { Icon::Warning },
        mood: Mood::Calm,
        title: with_door(Words::key(key.clone())),
        body: with_door(Words::key(format!("{key}-note"))),
    };
    let waits = matches!(stage, Stage::Refused(Refusal::RateLimited { .. }));
    widgets::moment(slot, theme, moment, |card| {
        if waits {
            card.spawn((Countdown, widgets::text(theme, Type::Figure, Colour::Brand, Words::verbatim(""))));
        }
    });
    let retry = |slot: &mut ChildSpawnerCommands, kind| {
        if !waits {
            widgets::button(slot, theme, "Retry", kind, Words::key("pick-up-retry"))
                .observe(touches(Touch::Retry));
        }
    };
    // What helps comes first.
    if needs_staff {
        help(slot, theme, ButtonKind::Primary);
        retry(slot, ButtonKind::Quiet);
    } else {
        retry(slot, ButtonKind::Primary);
        help(slot, theme, ButtonKind::Quiet);
    }
}

/// The way to a person, always.
fn help(parent: &mut ChildSpawnerCommands, theme: &Theme, kind: ButtonKind) {
    parent
        .spawn((Name::new("HelpLine"), Node { width: percent(100), ..widgets::row(space::LINE) }))
        .with_children(|line| {
            line.spawn(Node { flex_grow: 1.0, flex_basis: px(0), ..default() }).with_children(|told| {
                told.spawn((
                    HelpWords,
                    widgets::text(theme, Type::Body, Colour::InkSoft, help_words(Help::Uncalled)),
                ));
            });
            widgets::button(line, theme, "Help", kind, Words::key("pick-up-help"))
                .insert(HelpKey)
                .observe(touches(Touch::Help));
        });
}

fn help_words(help: Help) -> Words {
    Words::key(match help {
        Help::Uncalled => "pick-up-help-uncalled",
        Help::Calling => "pick-up-help-calling",
        Help::Called => "pick-up-help-called",
        Help::Failed => "pick-up-help-failed",
    })
}

fn show_digits(
    mut commands: Commands,
    pick_up: Res<PickUp>,
    mut cells: Query<(&Cell, &mut Words)>,
    send: Query<(Entity, Ref<SendKey>, Has<InteractionDisabled>, &Children)>,
) {
    for (cell, mut words) in &mut cells {
        let digit = pick_up.digits().at(cell.0).map(String::from).unwrap_or_default();
        words.set_if_neq(Words::verbatim(digit));
    }
    let is_whole = pick_up.digits().is_whole();
    for (key, made, is_disabled, children) in &send {
        if is_whole != is_disabled && !pick_up.is_changed() && !made.is_added() {
            continue;
        }
        let (ground, edge, ink) = if is_whole {
            (Colour::Action, Colour::Action, Colour::OnAction)
        } else {
            (Colour::Paper, Colour::QuietEdge, Colour::InkSoft)
        };
        let mut key = commands.entity(key);
        key.insert((Ground(ground), Edge(edge)));
        if is_whole {
            key.remove::<InteractionDisabled>();
        } else {
            key.insert(InteractionDisabled);
        }
        for words in children {
            commands.entity(*words).insert(Ink(ink));
        }
    }
}

fn show_help(
    pick_up: Res<PickUp>,
    mut texts: Query<(&mut Words, &mut Ink), With<HelpWords>>,
    mut keys: Query<&mut Node, With<HelpKey>>,
) {
    let help = pick_up.help();
    for (mut words, mut ink) in &mut texts {
        words.set_if_neq(help_words(help));
        ink.set_if_neq(Ink(match help {
            Help::Called => Colour::Good,
            Help::Failed => Colour::Caution,
            Help::Uncalled | Help::Calling => Colour::InkSoft,
        }));
    }
    // Who was called does not have to be called again.
    let display = if matches!(help, Help::Uncalled | Help::Failed) { Display::Flex } else { Display::None };
    for mut node in &mut keys {
        if node.display != display {
            node.display = display;
        }
    }
}

fn show_countdown(pick_up: Res<PickUp>, mut texts: Query<&mut Words, With<Countdown>>) {
    let Some(seconds) = pick_up.secs_left() else { return };
    let key = match pick_up.stage() {
        Stage::Refused(_) => "pick-up-again-in",
        _ => "pick-up-ends-in",
    };
    for mut words in &mut texts {
        words.set_if_neq(Words::key(key).with("seconds", seconds.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use contract::{DeviceId, order::Good};

    use super::*;
    use crate::screens::testing::{activate, at, named, screen_app, shown};

    fn errand() -> Errand {
        let good = Good {
            gtin: "2000000000015".to_owned(),
            name: [("zh".to_owned(), "面霜".to_owned()), ("en".to_owned(), "Cream".to_owned())].into(),
            quantity: 2,
        };
        Errand {
            bank: DeviceId::parse("locker-a").unwrap(),
            doors: vec![7],
            label: "0042".to_owned(),
            goods: vec![good],
        }
    }

    fn every_stage() -> Vec<Stage> {
        let refusals = [
            Refusal::WrongCode,
            Refusal::Expired,
            Refusal::AlreadyUsed,
            Refusal::NotReady,
            Refusal::RateLimited { retry_after_s: 40 },
            Refusal::HubBusy,
            Refusal::InUse,
            Refusal::NoFreeCompartment,
            Refusal::TooOld,
            Refusal::NotNow,
        ];
        [
            Stage::Typing,
            Stage::Checking,
            Stage::Opening(errand()),
            Stage::Open(errand()),
            Stage::StillOpen(errand()),
            Stage::NotEmptied { errand: errand(), may_open_again: true },
            Stage::NotEmptied { errand: errand(), may_open_again: false },
            Stage::Collected,
            Stage::Deposited,
            Stage::NotDeposited,
            Stage::Stuck { door: 7 },
            Stage::LeftOpen { door: 7 },
            Stage::HubAway,
            Stage::NoAnswer,
            Stage::AskStaff,
        ]
        .into_iter()
        .chain(refusals.map(Stage::Refused))
        .collect()
    }

    fn show(app: &mut App, stage: Stage) {
        app.world_mut().resource_mut::<PickUp>().show(stage);
        app.update();
        app.update();
    }

    #[test]
    fn every_stage_has_words_in_both_languages() {
        let mut app = screen_app(Screen::PickUp);
        for stage in every_stage() {
            for _ in 0..2 {
                show(&mut app, stage.clone());
                let bare: Vec<_> =
                    shown(&mut app).into_iter().filter(|text| text.starts_with("pick-up")).collect();
                assert_eq!(bare, Vec::<String>::new(), "{stage:?}");
                activate(&mut app, "Language");
            }
        }
    }

    #[test]
    fn digits_appear_in_their_places_and_the_door_opens_only_with_a_whole_code() {
        let mut app = screen_app(Screen::PickUp);
        app.update();
        for key in ["Key0", "Key4", "Key2"] {
            activate(&mut app, key);
        }
        let digits = |app: &mut App| {
            let mut cells = app.world_mut().query::<(&Cell, &Text)>();
            let mut cells: Vec<_> =
                cells.iter(app.world()).map(|(cell, text)| (cell.0, text.0.clone())).collect();
            cells.sort();
            cells.into_iter().map(|(_, text)| text).collect::<String>()
        };
        assert_eq!(digits(&mut app), "042");
        activate(&mut app, "Delete");
        assert_eq!(digits(&mut app), "04");
        let send = named(&mut app, "Send").unwrap();
        assert!(app.world().get::<InteractionDisabled>(send).is_some());
        for key in ["Key9"; 4] {
            activate(&mut app, key);
        }
        assert!(app.world().get::<InteractionDisabled>(send).is_none());
        activate(&mut app, "Send");
        // This app has no hub.
        assert_eq!(*app.world().resource::<PickUp>().stage(), Stage::HubAway);
        assert_eq!(digits(&mut app), "", "nothing that was typed is shown any more");
        activate(&mut app, "Retry");
        assert!(named(&mut app, "Key1").is_some());
    }

    #[test]
    fn the_door_is_named_drawn_and_forgotten_when_the_visitor_leaves() {
        let mut app = screen_app(Screen::PickUp);
        let bank = r#"{"bank":"locker-a","at":"2026-11-22T20:00:00.000Z","compartments":{
            "6":{"door":"closed","at":"2026-11-22T20:00:00.000Z"},
            "7":{"door":"open","at":"2026-11-22T20:00:00.000Z"}}}"#;
        app.world_mut()
            .resource_mut::<StoreFacts>()
            .lockers
            .insert("locker-a".to_owned(), serde_json::from_str(bank).unwrap());
        show(&mut app, Stage::Open(errand()));
        assert!(named(&mut app, "Bank").is_some());
        let texts = shown(&mut app);
        assert!(
            texts.contains(&"面霜".to_owned()) && texts.iter().any(|text| text.contains('7')),
            "{texts:?}"
        );
        activate(&mut app, "Home");
        assert_eq!(at(&app), Screen::Home);
        assert_eq!(*app.world().resource::<PickUp>().stage(), Stage::Typing);
        assert!(!shown(&mut app).contains(&"面霜".to_owned()));
    }

    #[test]
    fn a_courier_is_asked_for_the_courier_s_code() {
        let mut app = screen_app(Screen::PickUp);
        app.update();
        let before = shown(&mut app);
        activate(&mut app, "Role");
        assert_eq!(app.world().resource::<PickUp>().role, Role::Courier);
        assert_ne!(shown(&mut app), before);
    }
}
