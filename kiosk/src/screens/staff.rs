//! The staff's screen: a PIN first; then how the kiosk is, from the light before its camera to its last errors.
//!
//! Reads [`StaffRoom`], [`Machine`], [`Logbook`] and what the features say about themselves; triggers [`Touch`] and
//! intents, and nothing else. It leaves by itself like every screen, with the session.

use std::time::{Duration, Instant};

use bevy::{
    prelude::*,
    time::common_conditions::on_timer,
    ui_widgets::{self, Activate},
};
use jiff::tz::TimeZone;

use super::{Screen, chrome};
use crate::{
    camera::{Camera, CameraState, CameraStatus, Which},
    i18n::Words,
    link::{Link, LinkState, StoreFacts},
    logbook::{Line, Logbook},
    origin::OriginWorker,
    skin::{ColourCalibration, SkinStatus},
    staff::{Gate, Light, Machine, StaffRoom, Touch, chart::Chart, pin::PIN_DIGITS},
    theme::{
        Colour, Edge, Ground, Theme, Type, space,
        widgets::{self, ButtonKind, PressColours},
    },
};

/// How often figures are read anew.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// Errors that are listed; the log has them all.
const LINES_SHOWN_MAX: usize = 12;
/// Characters of an error that are shown.
const LINE_CHARS_MAX: usize = 150;
/// Characters of a camera's mode that are shown.
const MODE_CHARS_MAX: usize = 26;
/// Characters of a digest that are shown: enough to compare.
const DIGEST_CHARS: usize = 24;

pub(super) fn plugin(app: &mut App) {
    app.add_systems(OnEnter(Screen::Staff), spawn)
        .add_systems(OnExit(Screen::Staff), |mut commands: Commands| commands.trigger(Touch::Leave))
        .add_systems(
            Update,
            (
                build,
                show_pin,
                (show_facts, show_light, show_chart, show_lines, show_exit)
                    .run_if(on_timer(REFRESH_EVERY).or_eager(room_has_changed)),
            )
                .chain()
                .run_if(in_state(Screen::Staff)),
        );
}

fn room_has_changed(room: Res<StaffRoom>, slots: Query<(), Added<Fact>>) -> bool {
    room.is_changed() || !slots.is_empty()
}

/// Where the screen's content is, and for whom it was built.
#[derive(Component, Default)]
struct Slot(Option<Who>);

#[derive(PartialEq, Clone, Copy)]
enum Who {
    Nobody,
    Stranger,
    Staff,
}

/// One dot for each digit.
#[derive(Component)]
struct Dot(usize);

/// What the gate says.
#[derive(Component)]
struct GateWords;

/// A figure that is read anew.
#[derive(Component, Clone, Copy, PartialEq, Eq)]
enum Fact {
    Hub,
    LastMessage,
    Queue,
    Camera,
    CameraMode,
    CameraCounts,
    ProductCamera,
    Skin,
    Calibration,
    Origin,
    Refused,
}

/// What the camera says about the light.
#[derive(Component)]
struct LightWords;

/// What came of the colour chart.
#[derive(Component)]
struct ChartWords;

/// The button that looks for the chart, and keeps what was found.
#[derive(Component)]
struct ChartKey;

/// Where the last errors are listed, and how many there were when it was built.
#[derive(Component)]
struct Lines(Option<u64>);

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::Staff, |page| {
        chrome::title(page, theme, "staff-title", "staff-note");
        page.spawn((
            Name::new("Staff"),
            Slot::default(),
            Node { flex_grow: 1.0, min_height: px(0), ..widgets::column(space::LINE) },
        ));
        chrome::footer(page, theme, |_| {});
    });
}

/// Builds the slot for whoever stands there.
fn build(
    mut commands: Commands,
    theme: Res<Theme>,
    room: Res<StaffRoom>,
    machine: Res<Machine>,
    mut slot: Single<(Entity, &mut Slot)>,
) {
    let who = match room.gate() {
        Gate::NoPin => Who::Nobody,
        Gate::Shut | Gate::Wrong | Gate::Checking => Who::Stranger,
        Gate::Open => Who::Staff,
    };
    let (entity, slot) = &mut *slot;
    if slot.0 == Some(who) {
        return;
    }
    slot.0 = Some(who);
    let theme = &*theme;
    commands.entity(*entity).despawn_children().with_children(|slot| match who {
        Who::Nobody => widgets::notice(slot, theme, Words::key("staff-away"), Words::key("staff-away-note")),
        Who::Stranger => gate(slot, theme),
        Who::Staff => room_of_staff(slot, theme, &machine),
    });
}

/// The PIN's keypad. Digits are dots: somebody may look over a shoulder.
fn gate(slot: &mut ChildSpawnerCommands, theme: &Theme) {
    let wide = theme.is_wide();
    let width = if wide { 760.0 } else { 820.0 };
    slot.spawn((
        Name::new("Gate"),
        Node {
            width: px(width),
            margin: UiRect::vertical(auto()),
            align_self: AlignSelf::Center,
            ..widgets::column(space::LINE)
        },
    ))
    .with_children(|gate| {
        gate.spawn((GateWords, widgets::centred(theme, Type::Heading, Colour::Ink, Words::key("staff-pin"))));
        gate.spawn(Node { align_self: AlignSelf::Center, ..widgets::row(22.0) }).with_children(|dots| {
            for place in 0..*PIN_DIGITS.end() {
                dots.spawn((
                    Dot(place),
                    Node {
                        width: px(34),
                        height: px(34),
                        border: UiRect::all(px(3)),
                        border_radius: BorderRadius::MAX,
                        ..default()
                    },
                    Ground(Colour::Clear),
                    Edge(Colour::QuietEdge),
                ));
            }
        });
        const ROWS: [[Touch; 3]; 4] = [
            [Touch::Digit(1), Touch::Digit(2), Touch::Digit(3)],
            [Touch::Digit(4), Touch::Digit(5), Touch::Digit(6)],
            [Touch::Digit(7), Touch::Digit(8), Touch::Digit(9)],
            [Touch::Delete, Touch::Digit(0), Touch::Enter],
        ];
        for row in ROWS {
            gate.spawn(Node { width: percent(100), ..widgets::row(16.0) }).with_children(|line| {
                for touch in row {
                    key(line, theme, touch);
                }
            });
        }
    });
}

fn key(line: &mut ChildSpawnerCommands, theme: &Theme, touch: Touch) {
    const NAMES: [&str; 10] =
        ["Pin0", "Pin1", "Pin2", "Pin3", "Pin4", "Pin5", "Pin6", "Pin7", "Pin8", "Pin9"];
    let (name, role, words) = match touch {
        Touch::Digit(digit) => {
            (NAMES[usize::from(digit % 10)], Type::Title, Words::verbatim(digit.to_string()))
        }
        Touch::Enter => ("PinEnter", Type::Label, Words::key("staff-enter")),
        _ => ("PinDelete", Type::Label, Words::key("pick-up-delete")),
    };
    line.spawn((
        Name::new(name),
        ui_widgets::Button,
        Node {
            flex_grow: 1.0,
            flex_basis: px(0),
            height: px(if theme.is_wide() { 96.0 } else { 156.0 }),
            border: UiRect::all(px(2)),
            border_radius: BorderRadius::all(px(space::RADIUS)),
            align_items: AlignItems::Center,
            justify_content: JustifyContent::Center,
            ..default()
        },
        Ground(Colour::Card),
        Edge(Colour::QuietEdge),
        PressColours { rest: Colour::Card, pressed: Colour::QuietPressed },
    ))
    .observe(touches(touch))
    .with_children(|key| {
        key.spawn(widgets::centred(theme, role, Colour::OnQuiet, words));
    });
}

fn touches(touch: Touch) -> impl Fn(On<Activate>, Commands) + Send + Sync + 'static {
    move |_, mut commands| commands.trigger(touch)
}

/// Everything that staff look at.
fn room_of_staff(slot: &mut ChildSpawnerCommands, theme: &Theme, machine: &Machine) {
    let wide = theme.is_wide();
    let body = Node {
        flex_direction: if wide { FlexDirection::Row } else { FlexDirection::Column },
        row_gap: px(space::LINE),
        column_gap: px(space::CARD),
        flex_grow: 1.0,
        min_height: px(0),
        ..default()
    };
    let half = || Node {
        flex_grow: if wide { 1.0 } else { 0.0 },
        flex_basis: if wide { px(0) } else { auto() },
        min_height: px(0),
        ..widgets::column(space::LINE)
    };
    slot.spawn((Name::new("Room"), body)).with_children(|body| {
        if wide {
            body.spawn(half()).with_children(|first| parts(first, theme, machine));
            body.spawn(half()).with_children(|second| camera(second, theme));
            body.spawn(half()).with_children(|third| {
                chart(third, theme);
                errors(third, theme);
                exit(third, theme);
            });
        } else {
            parts(body, theme, machine);
            camera(body, theme);
            chart(body, theme);
            errors(body, theme);
            exit(body, theme);
        }
    });
}

/// The way out, last.
fn exit(column: &mut ChildSpawnerCommands, theme: &Theme) {
    column.spawn(Node { width: percent(100), flex_shrink: 0.0, ..widgets::row(space::LINE) }).with_children(
        |row| {
            if !theme.is_wide() {
                row.spawn(Node { flex_grow: 1.0, flex_basis: px(0), ..default() }).with_children(|told| {
                    told.spawn(widgets::text(
                        theme,
                        Type::Caption,
                        Colour::InkSoft,
                        Words::key("staff-exit-note"),
                    ));
                });
            }
            widgets::button(row, theme, "Exit", ButtonKind::Quiet, exit_words(false))
                .insert(ExitKey)
                .observe(touches(Touch::Exit));
        },
    );
}

/// The button that ends the kiosk; it asks once.
#[derive(Component)]
struct ExitKey;

fn exit_words(asks: bool) -> Words {
    Words::key(if asks { "staff-exit-sure" } else { "staff-exit" })
}

fn show_exit(room: Res<StaffRoom>, keys: Query<&Children, With<ExitKey>>, mut labels: Query<&mut Words>) {
    for label in keys.iter().flatten() {
        if let Ok(mut words) = labels.get_mut(*label) {
            words.set_if_neq(exit_words(room.asks_exit()));
        }
    }
}

fn tight_card(name: &'static str) -> impl Bundle {
    (
        Name::new(name),
        Node {
            padding: UiRect::axes(px(28), px(20)),
            border: UiRect::all(px(2)),
            border_radius: BorderRadius::all(px(space::RADIUS)),
            flex_shrink: 0.0,
            ..widgets::column(4.0)
        },
        Ground(Colour::Card),
        Edge(Colour::CardEdge),
    )
}

/// A label and what stands behind it.
fn line<'a>(
    card: &'a mut ChildSpawnerCommands,
    theme: &Theme,
    label: Words,
    value: Words,
) -> EntityCommands<'a> {
    let mut id = Entity::PLACEHOLDER;
    card.spawn(Node { width: percent(100), ..widgets::row(space::LINE) }).with_children(|line| {
        line.spawn((
            Node { flex_grow: 1.0, ..default() },
            widgets::text(theme, Type::Caption, Colour::InkSoft, label),
            TextLayout::linebreak(bevy::text::LineBreak::NoWrap),
        ));
        id = line
            .spawn((
                widgets::text(theme, Type::Caption, Colour::Ink, value),
                TextLayout { justify: Justify::Right, linebreak: bevy::text::LineBreak::NoWrap },
            ))
            .id();
    });
    card.commands_mut().entity(id)
}

fn parts(column: &mut ChildSpawnerCommands, theme: &Theme, machine: &Machine) {
    column.spawn(tight_card("Parts")).with_children(|card| {
        card.spawn(widgets::text(theme, Type::Label, Colour::Ink, Words::key("staff-network")));
        line(card, theme, Words::key("staff-kiosk"), Words::verbatim(machine.kiosk.clone()));
        let address = machine.hub.clone().map_or_else(|| Words::key("staff-no-hub"), Words::verbatim);
        line(card, theme, Words::key("staff-hub"), address);
        for (fact, label) in [
            (Fact::Hub, "staff-link"),
            (Fact::LastMessage, "staff-last-message"),
            (Fact::Queue, "staff-queue"),
            (Fact::Refused, "staff-refused"),
        ] {
            line(card, theme, Words::key(label), Words::verbatim("—")).insert(fact);
        }
        for (part, version) in &machine.versions {
            let version: String = version.chars().take(DIGEST_CHARS).collect();
            line(card, theme, Words::key(*part), Words::verbatim(version));
        }
    });
}

fn camera(column: &mut ChildSpawnerCommands, theme: &Theme) {
    column.spawn(tight_card("Senses")).with_children(|card| {
        card.spawn(widgets::text(theme, Type::Label, Colour::Ink, Words::key("staff-senses")));
        for (fact, label) in [
            (Fact::Camera, "part-camera"),
            (Fact::CameraMode, "staff-camera-mode"),
            (Fact::CameraCounts, "staff-camera-counts"),
            (Fact::ProductCamera, "staff-camera-products"),
            (Fact::Skin, "part-skin"),
            (Fact::Calibration, "staff-calibration"),
            (Fact::Origin, "part-origin"),
        ] {
            line(card, theme, Words::key(label), Words::verbatim("—")).insert(fact);
        }
        routine(card, theme, "Light", Words::key("staff-light"), (LightWords, light_words(Light::Unknown)))
            .observe(touches(Touch::Measure));
    });
}

fn chart(column: &mut ChildSpawnerCommands, theme: &Theme) {
    column.spawn(tight_card("Chart")).with_children(|card| {
        routine(
            card,
            theme,
            "Calibrate",
            chart_action(&Chart::Unknown),
            (ChartWords, chart_words(&Chart::Unknown)),
        )
        .insert(ChartKey)
        .observe(touches(Touch::Calibrate));
    });
}

/// What came of something that staff do with the camera, and the button that does it.
fn routine<'a>(
    card: &'a mut ChildSpawnerCommands,
    theme: &Theme,
    name: &'static str,
    action: Words,
    (marker, told): (impl Component, Words),
) -> EntityCommands<'a> {
    // Three columns leave no room for words beside a button.
    let (row, place) = if theme.is_wide() {
        (widgets::column(space::TIGHT), Node::default())
    } else {
        (widgets::row(space::LINE), Node { flex_grow: 1.0, flex_basis: px(0), ..default() })
    };
    let mut id = Entity::PLACEHOLDER;
    card.spawn(Node { width: percent(100), margin: UiRect::top(px(8)), ..row }).with_children(|row| {
        row.spawn(place).with_children(|place| {
            place.spawn((marker, widgets::text(theme, Type::Caption, Colour::InkSoft, told)));
        });
        id = widgets::button(row, theme, name, ButtonKind::Quiet, action).id();
    });
    card.commands_mut().entity(id)
}

fn errors(column: &mut ChildSpawnerCommands, theme: &Theme) {
    let node = Node {
        flex_grow: 1.0,
        flex_basis: px(0),
        min_height: px(120),
        padding: UiRect::axes(px(28), px(20)),
        border: UiRect::all(px(2)),
        border_radius: BorderRadius::all(px(space::RADIUS)),
        ..widgets::column(6.0)
    };
    widgets::scroller(column, theme, node, |list| {
        list.spawn((
            Name::new("Errors"),
            Lines(None),
            Node { flex_shrink: 0.0, width: percent(100), ..widgets::column(6.0) },
        ));
    })
    .insert((Ground(Colour::Card), Edge(Colour::CardEdge)));
}

fn show_pin(
    room: Res<StaffRoom>,
    mut dots: Query<(&Dot, &mut Ground)>,
    mut words: Query<&mut Words, With<GateWords>>,
) {
    for (dot, mut ground) in &mut dots {
        let colour = if dot.0 < room.typed() { Colour::Brand } else { Colour::Clear };
        ground.set_if_neq(Ground(colour));
    }
    let said = match (room.pause(), room.gate()) {
        (Some(seconds), _) => Words::key("staff-pause").with("seconds", seconds.to_string()),
        (None, Gate::Wrong) if room.typed() == 0 => Words::key("staff-wrong"),
        (None, Gate::Checking) => Words::key("staff-checking"),
        _ => Words::key("staff-pin"),
    };
    for mut words in &mut words {
        words.set_if_neq(said.clone());
    }
}

fn show_facts(
    facts: Res<StoreFacts>,
    link: Option<Res<Link>>,
    camera: Res<Camera>,
    eyes: Res<CameraStatus>,
    skin: Res<SkinStatus>,
    calibration: Res<ColourCalibration>,
    origin: Option<Res<OriginWorker>>,
    mut texts: Query<(&Fact, &mut Words)>,
) {
    let state = |is_fine| Words::key(if is_fine { "state-fine" } else { "state-away" });
    for (fact, mut words) in &mut texts {
        words.set_if_neq(match fact {
            Fact::Hub => Words::key(match facts.link {
                LinkState::Online => "hub-online",
                LinkState::Connecting => "hub-connecting",
                LinkState::Alone | LinkState::Offline => "hub-offline",
            }),
            Fact::LastMessage => facts.heard_at.map_or_else(
                || Words::verbatim("—"),
                |at| {
                    let seconds = Instant::now().saturating_duration_since(at).as_secs();
                    Words::key("staff-seconds-ago").with("seconds", seconds.to_string())
                },
            ),
            Fact::Queue => Words::verbatim(link.as_ref().map_or(0, |link| link.waiting()).to_string()),
            Fact::Refused => Words::verbatim(facts.refused.to_string()),
            Fact::Camera if camera.is_present() => eye_words(eyes.visitors),
            Fact::ProductCamera if camera.has_product_camera() => eye_words(eyes.products),
            Fact::Camera | Fact::ProductCamera => Words::key("staff-no-camera"),
            Fact::CameraMode => camera.about(Which::Visitors).map_or_else(
                || Words::verbatim("—"),
                |about| Words::verbatim(about.mode.chars().take(MODE_CHARS_MAX).collect::<String>()),
            ),
            Fact::CameraCounts => camera.counts(Which::Visitors).map_or_else(
                || Words::verbatim("—"),
                |counts| {
                    Words::verbatim(format!("{} · {} · {}", counts.opened, counts.taken, counts.damaged))
                },
            ),
            Fact::Skin => match *skin {
                SkinStatus::Loading => Words::key("state-waiting"),
                status => state(status == SkinStatus::Ready),
            },
            Fact::Calibration => match &*calibration {
                ColourCalibration::Missing => Words::key("uncalibrated"),
                ColourCalibration::Used { day, delta_e } => Words::key("staff-calibrated")
                    .with("day", day.clone())
                    .with("error", Words::decimal(*delta_e, 1)),
                ColourCalibration::Drifted { day, .. } => {
                    Words::key("staff-drifted").with("day", day.clone())
                }
            },
            Fact::Origin => state(origin.is_some()),
        });
    }
}

/// What a camera does, or what stands in its way and for how long.
fn eye_words(state: CameraState) -> Words {
    let (key, since) = match state {
        CameraState::Closed => ("staff-camera-closed", None),
        CameraState::Opening => ("staff-camera-opening", None),
        CameraState::Streaming => ("staff-camera-streaming", None),
        CameraState::Lost { since } => ("staff-camera-lost", Some(since)),
        CameraState::Busy { since } => ("staff-camera-busy", Some(since)),
        CameraState::Absent { since } => ("staff-camera-absent", Some(since)),
        CameraState::Unsuitable { since } => ("staff-camera-unsuitable", Some(since)),
    };
    match since {
        None => Words::key(key),
        Some(since) => {
            let seconds = Instant::now().saturating_duration_since(since).as_secs();
            Words::key("staff-camera-trouble")
                .with("trouble", Words::key(key))
                .with("seconds", seconds.to_string())
        }
    }
}

fn light_words(light: Light) -> Words {
    match light {
        Light::Unknown => Words::key("staff-light-note"),
        Light::Looking => Words::key("looking"),
        Light::NoPicture => Words::key("trouble-camera"),
        Light::Seen { mean_pct, white_pct, black_pct, size: (width, height) } => {
            let verdict = if mean_pct < 25.0 {
                "staff-light-dark"
            } else if 80.0 < mean_pct || 10.0 < white_pct {
                "staff-light-bright"
            } else {
                "staff-light-good"
            };
            Words::key("staff-light-seen")
                .with("verdict", Words::key(verdict))
                .with("mean", format!("{mean_pct:.0}"))
                .with("white", format!("{white_pct:.1}"))
                .with("black", format!("{black_pct:.1}"))
                .with("size", format!("{width} × {height}"))
        }
    }
}

fn show_light(room: Res<StaffRoom>, mut texts: Query<&mut Words, With<LightWords>>) {
    for mut words in &mut texts {
        words.set_if_neq(light_words(room.light()));
    }
}

fn chart_words(chart: &Chart) -> Words {
    match chart {
        Chart::Unknown => Words::key("chart-note"),
        Chart::Looking | Chart::Keeping => Words::key("looking"),
        Chart::Found { calibration, light_ratio } => Words::key("chart-found")
            .with("mean", Words::decimal(calibration.delta_e().mean_76, 1))
            .with("most", Words::decimal(calibration.delta_e().max_76, 1))
            .with("light", Words::decimal(*light_ratio, 1)),
        Chart::Refused(key) => Words::key(*key),
        Chart::NoPicture => Words::key("trouble-camera"),
        Chart::Kept => Words::key("chart-kept"),
        Chart::NotKept => Words::key("chart-not-kept"),
    }
}

fn chart_action(chart: &Chart) -> Words {
    Words::key(if matches!(chart, Chart::Found { .. }) { "chart-keep" } else { "chart-look" })
}

fn show_chart(
    room: Res<StaffRoom>,
    mut texts: Query<&mut Words, With<ChartWords>>,
    keys: Query<&Children, With<ChartKey>>,
    mut labels: Query<&mut Words, Without<ChartWords>>,
) {
    for mut words in &mut texts {
        words.set_if_neq(chart_words(room.chart()));
    }
    for label in keys.iter().flatten() {
        if let Ok(mut words) = labels.get_mut(*label) {
            words.set_if_neq(chart_action(room.chart()));
        }
    }
}

fn show_lines(
    mut commands: Commands,
    theme: Res<Theme>,
    logbook: Res<Logbook>,
    mut list: Query<(Entity, &mut Lines)>,
) {
    for (entity, mut lines) in &mut list {
        let count = logbook.count();
        if lines.0 == Some(count) {
            continue;
        }
        lines.0 = Some(count);
        let theme = &*theme;
        // Nothing in the list can be pressed, so it may be built anew at any time.
        commands.entity(entity).despawn_children().with_children(|list| {
            list.spawn(widgets::text(
                theme,
                Type::Label,
                Colour::Ink,
                Words::key("staff-errors").with("count", count.to_string()),
            ));
            if count == 0 {
                list.spawn(widgets::text(
                    theme,
                    Type::Caption,
                    Colour::InkSoft,
                    Words::key("staff-no-errors"),
                ));
            }
            for line in logbook.lines().iter().take(LINES_SHOWN_MAX) {
                log_line(list, theme, line);
            }
        });
    }
}

fn log_line(list: &mut ChildSpawnerCommands, theme: &Theme, line: &Line) {
    let colour = if line.is_error { Colour::Bad } else { Colour::Caution };
    let at = jiff::Timestamp::from_millisecond(line.at.as_millis())
        .map(|at| at.to_zoned(TimeZone::system()).strftime("%m-%d %H:%M:%S").to_string())
        .unwrap_or_default();
    let mut text: String = line.text.chars().take(LINE_CHARS_MAX).collect();
    if LINE_CHARS_MAX < line.text.chars().count() {
        text.push('…');
    }
    let words = Words::verbatim(format!("{at} · {} · {text}", line.part));
    list.spawn(widgets::text(theme, Type::Caption, colour, words));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        i18n::I18n,
        screens::testing::{activate, at, named, screen_app, shown},
        session::Session,
        staff::pin::{Pin, PinHash},
    };

    fn app() -> App {
        let mut app = screen_app(Screen::Staff);
        let hash = PinHash::parse(&Pin::parse("4711").unwrap().hash().unwrap()).unwrap();
        app.insert_resource(StaffRoom::new(Some(hash), 0));
        app.update();
        app.update();
        app
    }

    fn open(app: &mut App) {
        app.world_mut().resource_mut::<StaffRoom>().show(Light::Unknown);
        for _ in 0..3 {
            app.update();
        }
    }

    #[test]
    fn a_pin_is_typed_as_dots_and_never_shown() {
        let mut app = app();
        for key in ["Pin4", "Pin7", "Pin1"] {
            activate(&mut app, key);
        }
        let mut dots = app.world_mut().query::<(&Dot, &Ground)>();
        let filled = dots.iter(app.world()).filter(|(_, ground)| ground.0 == Colour::Brand).count();
        assert_eq!(filled, 3);
        assert!(named(&mut app, "Room").is_none() && named(&mut app, "Exit").is_none());
    }

    #[test]
    fn the_room_tells_facts_in_both_languages_and_is_left_without_a_trace() {
        let mut app = app();
        open(&mut app);
        for _ in 0..2 {
            assert!(named(&mut app, "Errors").is_some());
            let bare: Vec<_> =
                shown(&mut app).into_iter().filter(|text| text.starts_with("staff-")).collect();
            assert_eq!(bare, Vec::<String>::new());
            activate(&mut app, "Language");
        }
        activate(&mut app, "Home");
        assert_eq!(at(&app), Screen::Home);
        assert_eq!(app.world().resource::<StaffRoom>().gate(), Gate::Shut);
    }

    #[test]
    fn staff_who_walk_away_leave_the_door_shut() {
        let mut app = app();
        open(&mut app);
        app.world_mut().resource_mut::<Session>().touch();
        for _ in 0..70 {
            app.update();
        }
        assert_eq!(at(&app), Screen::Attract);
        assert_eq!(app.world().resource::<StaffRoom>().gate(), Gate::Shut);
    }

    #[test]
    fn the_exit_ends_the_kiosk() {
        let mut app = app();
        open(&mut app);
        let exits =
            |app: &App| app.world().resource::<Messages<AppExit>>().iter_current_update_messages().count();
        let exit = named(&mut app, "Exit").unwrap();
        app.world_mut().trigger(Activate { entity: exit });
        app.world_mut().flush();
        assert_eq!(exits(&app), 0, "a touch by mistake ends nothing");
        app.update();
        app.update();
        let sure = app.world().resource::<I18n>().say(&exit_words(true));
        assert!(shown(&mut app).contains(&sure));
        app.world_mut().trigger(Activate { entity: exit });
        app.world_mut().flush();
        assert_eq!(exits(&app), 1);
    }

    #[test]
    fn what_stands_in_a_cameras_way_is_told_in_both_languages() {
        let since = Instant::now();
        let states = [
            CameraState::Closed,
            CameraState::Opening,
            CameraState::Streaming,
            CameraState::Lost { since },
            CameraState::Busy { since },
            CameraState::Absent { since },
            CameraState::Unsuitable { since },
        ];
        let mut i18n = I18n::default();
        for _ in 0..2 {
            let said: std::collections::BTreeSet<String> =
                states.iter().map(|state| i18n.say(&eye_words(*state))).collect();
            assert_eq!(said.len(), states.len(), "{said:?}");
            assert!(said.iter().all(|words| !words.contains("staff-")), "{said:?}");
            i18n.toggle();
        }
    }

    #[test]
    fn light_is_told_with_a_verdict() {
        let app = app();
        let i18n = app.world().resource::<I18n>();
        let seen = |mean_pct| {
            i18n.say(&light_words(Light::Seen { mean_pct, white_pct: 0.0, black_pct: 0.0, size: (640, 480) }))
        };
        assert_ne!(seen(10.0).split(' ').next(), seen(50.0).split(' ').next());
        assert!(seen(50.0).contains("640 × 480"));
    }
}
