//! The skin screen: the picture with the measured regions, tone and redness with their uncertainty, or a kind word
//! about what stood in the way.
//!
//! Reads [`SkinView`]; triggers [`Measure`] when it is entered and on request; writes nothing else. Says on every
//! result that it is uncalibrated and cosmetic.

use bevy::prelude::*;
use vision::skin::{Metric, Status, Tone};

use super::{Screen, chrome, route::asks};
use crate::{
    camera::{CameraView, NeedsCamera, Which},
    i18n::Words,
    link::StoreFacts,
    skin::{Measure, SkinFinding, SkinPose, SkinTrouble, SkinView},
    textures::Pictures,
    theme::{
        Colour, Edge, Ground, Raised, Theme, Type, measured, space,
        widgets::{self, ButtonKind},
    },
};

pub(super) fn plugin(app: &mut App) {
    // Who leaves the screen leaves the picture: coming back looks anew.
    app.add_systems(OnExit(Screen::Skin), |mut view: ResMut<SkinView>| *view = SkinView::Idle)
        .add_systems(OnEnter(Screen::Skin), spawn)
        .add_systems(Update, (show, count).chain().run_if(in_state(Screen::Skin)));
}

/// Where the view is shown.
#[derive(Component)]
struct Slot;

/// The line below the mirror.
#[derive(Component)]
struct PoseLine;

/// Whether visitors see themselves.
fn is_live(view: &SkinView) -> bool {
    matches!(view, SkinView::Idle | SkinView::Posing | SkinView::Looking)
}

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::Skin, |page| {
        chrome::title(page, theme, "skin-title", "skin-note");
        page.spawn((Slot, Node { flex_grow: 1.0, min_height: px(0), ..widgets::column(space::CARD) }));
        chrome::footer(page, theme, |foot| {
            widgets::button(foot, theme, "Again", ButtonKind::Primary, Words::key("skin-again"))
                .observe(asks(Measure));
        });
    });
    commands.trigger(Measure);
}

fn show(
    mut commands: Commands,
    theme: Res<Theme>,
    view: Res<SkinView>,
    slot: Single<(Entity, Ref<Slot>)>,
    mut pictures: Pictures,
    mut was_live: Local<bool>,
) {
    let (slot, marker) = slot.into_inner();
    // The mirror stays while the picture is taken and looked at.
    let stays = is_live(&view) && *was_live;
    if !marker.is_added() && (!view.is_changed() || stays) {
        return;
    }
    *was_live = is_live(&view);
    let theme = &*theme;
    commands.entity(slot).despawn_children().with_children(|slot| match &*view {
        SkinView::Idle | SkinView::Posing | SkinView::Looking => mirror(slot, theme),
        SkinView::Unavailable(trouble) => {
            let key = match trouble {
                SkinTrouble::Camera => "trouble-camera",
                SkinTrouble::Models => "trouble-models",
                SkinTrouble::Broken => "trouble-broken",
            };
            widgets::notice(slot, theme, Words::key(key), Words::key(format!("{key}-note")));
            if *trouble == SkinTrouble::Camera {
                // A camera that comes back is noticed only by somebody who waits for it.
                slot.spawn((NeedsCamera(Which::Visitors), Node::default()));
            }
        }
        SkinView::Found(finding) => found(slot, theme, finding, &mut pictures),
    });
}

fn mirror(slot: &mut ChildSpawnerCommands, theme: &Theme) {
    let box_size = if theme.is_wide() { Vec2::new(1180.0, 420.0) } else { Vec2::new(984.0, 1000.0) };
    slot.spawn((
        Name::new("Mirror"),
        CameraView { box_size },
        Node {
            align_self: AlignSelf::Center,
            flex_shrink: 0.0,
            border_radius: BorderRadius::all(px(space::RADIUS)),
            ..default()
        },
        Raised::Card,
    ));
    slot.spawn((
        PoseLine,
        widgets::centred(theme, Type::Heading, Colour::Ink, Words::key("skin-pose-opening")),
    ));
    slot.spawn(widgets::centred(theme, Type::Body, Colour::InkSoft, Words::key("skin-looking-note")));
}

/// Says how long until the picture is taken.
fn count(view: Res<SkinView>, pose: Res<SkinPose>, mut line: Query<&mut Words, With<PoseLine>>) {
    let words = match (&*view, pose.0.seconds()) {
        (SkinView::Posing, Some(seconds)) => Words::key("skin-pose").with("seconds", seconds.to_string()),
        (SkinView::Looking, _) => Words::key("skin-pose-now"),
        _ => Words::key("skin-pose-opening"),
    };
    for mut line in &mut line {
        line.set_if_neq(words.clone());
    }
}

fn found(slot: &mut ChildSpawnerCommands, theme: &Theme, finding: &SkinFinding, pictures: &mut Pictures) {
    let wide = theme.is_wide();
    let box_size = if wide { Vec2::new(760.0, 590.0) } else { Vec2::new(984.0, 450.0) };
    slot.spawn(Node {
        flex_direction: if wide { FlexDirection::Row } else { FlexDirection::Column },
        row_gap: px(space::CARD),
        column_gap: px(space::CARD),
        flex_grow: 1.0,
        min_height: px(0),
        ..default()
    })
    .with_children(|body| {
        widgets::picture(body, pictures, &finding.painting, box_size);
        let place =
            Node { flex_grow: 1.0, flex_basis: px(0), min_height: px(0), ..widgets::column(space::LINE) };
        widgets::scroller(body, theme, place, |results| {
            let report = &finding.report;
            if !report.capture.ok {
                advice(results, theme, &report.capture.advice);
                return;
            }
            // Beside the picture there is room for two cards abreast, and then nothing needs to be scrolled.
            let flow = if wide {
                Node { align_items: AlignItems::Stretch, ..widgets::row(space::LINE) }
            } else {
                widgets::column(space::LINE)
            };
            results.spawn(Node { flex_shrink: 0.0, ..flow }).with_children(|cards| {
                tone_card(cards, theme, &report.tone);
                if let Some(redness) = report.metrics.iter().find(|metric| metric.id == "redness") {
                    redness_card(cards, theme, redness);
                }
            });
            results.spawn(widgets::text(
                theme,
                Type::Caption,
                Colour::InkSoft,
                Words::key("skin-disclosure"),
            ));
        });
    });
}

/// Advice that the locales know; another kind is answered with the general one.
const ADVICE_WITH_WORDS: [&str; 11] = [
    "come_closer",
    "face_the_light",
    "hold_still",
    "hold_your_head_straight",
    "less_light_on_the_face",
    "look_at_the_camera",
    "look_straight_ahead",
    "more_light_on_the_face",
    "move_to_the_middle",
    "one_person_at_a_time",
    "use_a_colour_camera",
];

fn advice_key(advice: &str) -> String {
    match ADVICE_WITH_WORDS.iter().find(|known| **known == advice) {
        Some(known) => format!("advice-{}", known.replace('_', "-")),
        None => "advice-other".to_owned(),
    }
}

fn advice(parent: &mut ChildSpawnerCommands, theme: &Theme, advice: &[&'static str]) {
    parent.spawn((Name::new("Advice"), widgets::card())).with_children(|card| {
        card.spawn(widgets::text(theme, Type::Heading, Colour::Ink, Words::key("skin-once-more")));
        for advice in advice {
            card.spawn(widgets::row(space::LINE)).with_children(|line| {
                line.spawn((
                    Node {
                        width: px(14),
                        height: px(14),
                        flex_shrink: 0.0,
                        border_radius: BorderRadius::MAX,
                        ..default()
                    },
                    Ground(Colour::Accent),
                ));
                line.spawn(widgets::text(theme, Type::Body, Colour::Ink, Words::key(advice_key(advice))));
            });
        }
        card.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, Words::key("skin-no-guess")));
    });
}

/// A card that shares its line with others where there is a line.
fn abreast<'a>(
    parent: &'a mut ChildSpawnerCommands,
    theme: &Theme,
    name: &'static str,
) -> EntityCommands<'a> {
    let mut card = parent.spawn((Name::new(name), widgets::card()));
    if theme.is_wide() {
        card.entry::<Node>().and_modify(|mut node| {
            node.flex_grow = 1.0;
            node.flex_basis = px(0);
            node.min_width = px(0);
        });
    }
    card
}

fn card_head(card: &mut ChildSpawnerCommands, theme: &Theme, title: &'static str, status: Status) {
    card.spawn(Node { width: percent(100), ..widgets::row(space::LINE) }).with_children(|head| {
        head.spawn((
            Node { flex_grow: 1.0, ..default() },
            widgets::text(theme, Type::Heading, Colour::Ink, Words::key(title)),
        ));
        let key = match status {
            Status::Ok => "status-ok",
            Status::LowConfidence => "uncalibrated",
            Status::NotMeasurable => "not-measurable",
        };
        widgets::pill(head, theme, Colour::AccentSoft, Colour::AccentInk, Words::key(key));
    });
}

fn tone_card(parent: &mut ChildSpawnerCommands, theme: &Theme, tone: &Tone) {
    abreast(parent, theme, "Tone").with_children(|card| {
        card_head(card, theme, "tone-title", tone.status);
        let Some(values) = &tone.values else {
            card.spawn(widgets::text(theme, Type::Body, Colour::InkSoft, Words::key("too-little-skin")));
            return;
        };
        card.spawn(Node { width: percent(100), ..widgets::row(space::CARD) }).with_children(|line| {
            line.spawn((
                Node {
                    width: px(if theme.is_wide() { 96 } else { 128 }),
                    height: px(if theme.is_wide() { 96 } else { 128 }),
                    flex_shrink: 0.0,
                    border: UiRect::all(px(4)),
                    border_radius: BorderRadius::MAX,
                    ..default()
                },
                Edge(Colour::Line),
                measured(values.lightness, values.a, values.b),
            ));
            let lightness = Words::decimal(values.lightness, 0);
            figure(line, theme, "tone-lightness", lightness, spread(values.lightness_repeat, 0));
            for (label, value, repeat) in [
                ("tone-hue", values.hue, values.hue_repeat_deg),
                ("tone-ita", values.ita_deg, values.ita_repeat_deg),
            ] {
                figure(line, theme, label, degrees(Words::decimal(value, 0)), degrees(spread(repeat, 0)));
            }
        });
        let [low, high] = values.ita_ci;
        card.spawn(widgets::text(
            theme,
            Type::Caption,
            Colour::InkSoft,
            Words::key("tone-interval")
                .with("low", Words::decimal(low, 0))
                .with("high", Words::decimal(high, 0)),
        ));
    });
}

fn degrees(value: Words) -> Words {
    Words::key("degrees").with("value", value)
}

/// How far a value may be off, rounded up to its own last digit: never narrower than it is.
fn spread(half: f64, places: i32) -> Words {
    let unit = 10f64.powi(places);
    let half = (half * unit).ceil().max(1.0) / unit;
    Words::key("plus-minus").with("value", Words::decimal(half, usize::from(0 < places)))
}

fn figure(
    parent: &mut ChildSpawnerCommands,
    theme: &Theme,
    label: &'static str,
    value: Words,
    spread: Words,
) {
    parent.spawn(Node { flex_grow: 1.0, flex_basis: px(0), ..widgets::column(0.0) }).with_children(
        |figure| {
            // Two cards abreast leave no room beside a figure.
            let line = if theme.is_wide() {
                widgets::column(0.0)
            } else {
                Node { align_items: AlignItems::Baseline, ..widgets::row(10.0) }
            };
            figure.spawn(line).with_children(|line| {
                for (role, ink, words) in
                    [(Type::Figure, Colour::Brand, value), (Type::Caption, Colour::InkSoft, spread)]
                {
                    line.spawn((
                        widgets::text(theme, role, ink, words),
                        TextLayout::linebreak(bevy::text::LineBreak::NoWrap),
                    ));
                }
            });
            figure.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, Words::key(label)));
        },
    );
}

/// Differences beyond this fill a bar.
const REDNESS_FULL: f64 = 8.0;

fn redness_card(parent: &mut ChildSpawnerCommands, theme: &Theme, redness: &Metric) {
    abreast(parent, theme, "Redness").with_children(|card| {
        card_head(card, theme, "redness-title", redness.status);
        if redness.value.is_none() {
            card.spawn(widgets::text(theme, Type::Body, Colour::InkSoft, Words::key("too-little-skin")));
            return;
        }
        for region in &redness.regions {
            card.spawn(Node { width: percent(100), ..widgets::row(space::LINE) }).with_children(|line| {
                line.spawn((
                    Node { width: px(if theme.is_wide() { 220 } else { 270 }), ..default() },
                    widgets::text(
                        theme,
                        Type::Body,
                        Colour::Ink,
                        Words::key(format!("region-{}", region.id.name().replace('_', "-"))),
                    ),
                    TextLayout::linebreak(bevy::text::LineBreak::NoWrap),
                ));
                bar(line, region.value);
                line.spawn((
                    Node { width: px(110), ..default() },
                    widgets::text(theme, Type::Label, Colour::Ink, Words::difference(region.value, 1)),
                    TextLayout::justify(Justify::Right),
                ));
                let [low, high] = region.ci;
                line.spawn((
                    Node { width: px(84), ..default() },
                    widgets::text(theme, Type::Caption, Colour::InkSoft, spread((high - low) / 2.0, 1)),
                    TextLayout::linebreak(bevy::text::LineBreak::NoWrap),
                ));
            });
        }
        let note = match redness.ci {
            Some([low, high]) => Words::key("redness-interval")
                .with("low", Words::difference(low, 1))
                .with("high", Words::difference(high, 1)),
            None => Words::key("redness-note"),
        };
        card.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, note));
    });
}

/// A bar from the middle: to the right redder than the face's own mean, to the left less.
#[expect(clippy::cast_possible_truncation, reason = "a share lies between 0 and 1")]
fn bar(parent: &mut ChildSpawnerCommands, value: f64) {
    let share = (value.abs() / REDNESS_FULL).min(1.0) as f32 * 50.0;
    parent
        .spawn((
            Node { flex_grow: 1.0, height: px(16), border_radius: BorderRadius::MAX, ..default() },
            Ground(Colour::Line),
        ))
        .with_children(|bar| {
            bar.spawn((
                Node {
                    position_type: PositionType::Absolute,
                    left: percent(if value < 0.0 { 50.0 - share } else { 50.0 }),
                    width: percent(share.max(1.0)),
                    height: percent(100),
                    border_radius: BorderRadius::MAX,
                    ..default()
                },
                Ground(if value < 0.0 { Colour::Calm } else { Colour::Rose }),
            ));
            bar.spawn((
                Node {
                    position_type: PositionType::Absolute,
                    left: percent(50),
                    top: px(-5),
                    width: px(3),
                    height: px(26),
                    ..default()
                },
                Ground(Colour::InkSoft),
            ));
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        i18n::I18n,
        screens::testing::{activate, at, named, screen_app, shown},
    };

    #[test]
    fn without_a_camera_it_says_so_and_leads_home() {
        let mut app = screen_app(Screen::Skin);
        app.insert_resource(SkinView::Unavailable(SkinTrouble::Camera));
        app.update();
        assert!(named(&mut app, "Notice").is_some());
        activate(&mut app, "Home");
        assert_eq!(at(&app), Screen::Home);
        assert!(named(&mut app, "Notice").is_none());
    }

    #[test]
    fn every_trouble_and_every_advice_has_words_in_both_languages() {
        let mut i18n = I18n::default();
        for _ in 0..2 {
            for key in ["trouble-camera", "trouble-models", "trouble-broken"] {
                assert_ne!(i18n.say(&Words::key(key)), key);
                assert_ne!(i18n.say(&Words::key(format!("{key}-note"))), format!("{key}-note"));
            }
            for advice in ADVICE_WITH_WORDS.into_iter().chain(["dance"]) {
                let key = advice_key(advice);
                assert_ne!(i18n.say(&Words::key(key.clone())), key);
            }
            i18n.toggle();
        }
    }

    #[test]
    fn a_view_is_shown_in_the_language_that_is_chosen_later() {
        let mut app = screen_app(Screen::Skin);
        app.insert_resource(SkinView::Unavailable(SkinTrouble::Models));
        app.update();
        activate(&mut app, "Language");
        assert!(
            shown(&mut app).iter().all(|text| text.is_ascii()
                || text == "中文"
                || text.contains('—')
                || text.contains('°')
                || text.contains('’')),
            "{:?}",
            shown(&mut app)
        );
    }

    #[test]
    fn a_view_of_an_earlier_visitor_is_gone() {
        let mut app = screen_app(Screen::Skin);
        app.insert_resource(SkinView::Unavailable(SkinTrouble::Models));
        app.update();
        activate(&mut app, "End");
        assert_eq!(at(&app), Screen::Attract);
        assert_eq!(*app.world().resource::<SkinView>(), SkinView::Idle);
    }
}
