//! The result: the face with one metric drawn on it at a time, and for each metric what it means, how sure it is, and
//! how it changed since the visitor's last look.

use bevy::{prelude::*, ui_widgets::Activate};
use vision::skin::{Measured, Metric, MetricId, RegionId, Status, Tone};

use super::{advice_key, questions_instead};
use crate::{
    i18n::Words,
    screens::{choice, metric_key, route::asks},
    skin::{Change, Earlier, Forget, LAYERS, SkinFinding, SkinView},
    textures::Pictures,
    theme::{
        Colour, Edge, Ground, Theme, Type, measured, product, space,
        widgets::{self, ButtonKind},
    },
};

/// What is drawn on the face: nothing, or one of its layers.
#[derive(Resource, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Layer(Option<MetricId>);

/// The face, with every layer that it can take.
#[derive(Component)]
pub(super) struct FacePicture {
    plain: Handle<Image>,
    layers: Vec<(MetricId, Handle<Image>)>,
}

/// The button of a layer.
#[derive(Component)]
pub(super) struct LayerButton(Option<MetricId>);

pub(super) fn spawn(
    slot: &mut ChildSpawnerCommands,
    theme: &Theme,
    finding: &SkinFinding,
    earlier: &Earlier,
    pictures: &mut Pictures,
) {
    let wide = theme.is_wide();
    slot.spawn(Node {
        flex_direction: if wide { FlexDirection::Row } else { FlexDirection::Column },
        row_gap: px(space::CARD),
        column_gap: px(space::CARD),
        flex_grow: 1.0,
        min_height: px(0),
        ..default()
    })
    .with_children(|body| {
        // Beside the picture there is room for its buttons where the screen lies, below it where it stands.
        let side = if wide {
            Node { align_items: AlignItems::Start, ..widgets::row(space::LINE) }
        } else {
            widgets::column(space::LINE)
        };
        body.spawn(Node { flex_shrink: 0.0, ..side })
            .with_children(|side| face(side, theme, finding, pictures));
        let place =
            Node { flex_grow: 1.0, flex_basis: px(0), min_height: px(0), ..widgets::column(space::LINE) };
        widgets::scroller(body, theme, place, |results| {
            let report = &finding.report;
            if !report.capture.ok {
                advice(results, theme, &report.capture.advice);
                questions_instead(results, theme);
                return;
            }
            overview(results, theme, &report.metrics);
            choice::panel(results, theme);
            tone_card(results, theme, &report.tone);
            for metric in &report.metrics {
                metric_card(results, theme, metric, earlier);
            }
            for words in [
                Words::key("skin-disclosure"),
                Words::key("skin-reference"),
                timing(report.timing_ms.get("total").copied().unwrap_or_default()),
            ] {
                results.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, words));
            }
        });
    });
}

/// All scores at a glance: what is measured has a rail, what is not says so in a word.
fn overview(parent: &mut ChildSpawnerCommands, theme: &Theme, metrics: &[Metric]) {
    let mut card = parent.spawn((Name::new("Overview"), widgets::card()));
    card.entry::<Node>().and_modify(|mut node| node.row_gap = px(0));
    card.with_children(|card| {
        for metric in metrics {
            let line = Node { width: percent(100), min_height: px(50), ..widgets::row(space::LINE) };
            card.spawn(line).with_children(|line| glance(line, theme, metric));
        }
    });
}

fn glance(line: &mut ChildSpawnerCommands, theme: &Theme, metric: &Metric) {
    let word = |line: &mut ChildSpawnerCommands, width: f32, role, ink, words| {
        line.spawn((
            Node { width: px(width), flex_shrink: 0.0, ..default() },
            widgets::text(theme, role, ink, words),
            TextLayout::linebreak(bevy::text::LineBreak::NoWrap),
        ));
    };
    let name = Words::key(metric_key(metric.id));
    word(line, 230.0, Type::Body, Colour::Ink, name);
    let scored = metric.measured.as_ref().and_then(|found| found.score.zip(found.score_ci));
    let Some((score, [low, high])) = scored else {
        let key = if metric.measured.is_some() { "metric-below" } else { "not-measurable" };
        word(line, 260.0, Type::Caption, Colour::InkSoft, Words::key(key));
        return;
    };
    line.spawn(Node { flex_grow: 1.0, ..default() }).with_children(|place| {
        rail(place, f32::from(score), [low, high].map(f32::from));
    });
    // A doubt stands beside its figure, not only where it is explained.
    let (ink, doubt) = match metric.status {
        Status::Ok => (Colour::Brand, Words::verbatim("")),
        _ => (Colour::InkSoft, Words::key("status-low")),
    };
    word(line, 64.0, Type::Label, ink, Words::count(usize::from(score)));
    word(line, 130.0, Type::Caption, Colour::AccentInk, doubt);
}

fn timing(milliseconds: f64) -> Words {
    Words::key("skin-timing").with("seconds", Words::decimal(milliseconds / 1e3, 1))
}

fn face(parent: &mut ChildSpawnerCommands, theme: &Theme, finding: &SkinFinding, pictures: &mut Pictures) {
    let box_size = if theme.is_wide() { Vec2::new(560.0, 560.0) } else { Vec2::new(984.0, 620.0) };
    let plain = pictures.show(&finding.painting);
    let layers: Vec<_> = finding.layers.iter().map(|(id, painting)| (*id, pictures.show(painting))).collect();
    let size = widgets::fitted(&finding.painting, box_size);
    let has_layers = !layers.is_empty();
    parent.spawn((
        Name::new("Picture"),
        widgets::mirrored(
            plain.clone(),
            size,
            if theme.is_wide() { AlignSelf::Start } else { AlignSelf::Center },
        ),
        FacePicture { plain, layers },
    ));
    let chips = if theme.is_wide() {
        widgets::column(space::TIGHT)
    } else {
        Node {
            flex_wrap: FlexWrap::Wrap,
            row_gap: px(space::TIGHT),
            justify_content: JustifyContent::Center,
            align_self: AlignSelf::Center,
            max_width: px(box_size.x),
            ..widgets::row(space::TIGHT)
        }
    };
    parent.spawn(chips).with_children(|chips| {
        if has_layers {
            layer_chip(chips, theme, "Layer none", None, None);
            for (name, (id, colour)) in
                ["Layer lines", "Layer spots", "Layer redness", "Layer shine"].into_iter().zip(LAYERS)
            {
                layer_chip(chips, theme, name, Some(id), Some(colour));
            }
        }
        chip(chips, theme, "Forget", Words::key("skin-forget")).observe(asks(Forget));
    });
}

fn chip<'a>(
    parent: &'a mut ChildSpawnerCommands,
    theme: &Theme,
    name: &'static str,
    words: Words,
) -> EntityCommands<'a> {
    let mut button = widgets::button(parent, theme, name, ButtonKind::Quiet, words);
    button.entry::<Node>().and_modify(|mut node| {
        node.padding = UiRect::axes(px(22), px(12));
        node.border = UiRect::all(px(4));
    });
    button
}

/// A button that draws a layer; a dot shows its colour.
fn layer_chip(
    parent: &mut ChildSpawnerCommands,
    theme: &Theme,
    name: &'static str,
    id: Option<MetricId>,
    colour: Option<[u8; 3]>,
) {
    let key = id.map_or_else(|| "skin-layer-none".to_owned(), metric_key);
    let mut button = chip(parent, theme, name, Words::key(key));
    button.insert(LayerButton(id)).observe(move |_: On<Activate>, mut layer: ResMut<Layer>| layer.0 = id);
    if let Some(colour) = colour {
        button.with_children(|button| {
            button.spawn((
                Pickable::IGNORE,
                Node { width: px(22), height: px(22), border_radius: BorderRadius::MAX, ..default() },
                product(colour),
            ));
        });
    }
}

/// Shows the layer that is chosen; a new picture begins without one.
pub(super) fn choose(
    view: Res<SkinView>,
    mut layer: ResMut<Layer>,
    mut faces: Query<(&FacePicture, &mut ImageNode)>,
    mut buttons: Query<(&LayerButton, &mut Edge)>,
) {
    if view.is_changed() {
        layer.set_if_neq(Layer::default());
    }
    for (face, mut node) in &mut faces {
        let drawn = face.layers.iter().find(|(id, _)| Some(*id) == layer.0);
        let image = drawn.map_or(&face.plain, |(_, image)| image);
        if node.image != *image {
            node.image = image.clone();
        }
    }
    for (button, mut edge) in &mut buttons {
        edge.set_if_neq(Edge(if button.0 == layer.0 { Colour::Accent } else { Colour::QuietEdge }));
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

fn card_head(card: &mut ChildSpawnerCommands, theme: &Theme, title: String, status: Status) {
    card.spawn(Node { width: percent(100), ..widgets::row(space::LINE) }).with_children(|head| {
        head.spawn((
            Node { flex_grow: 1.0, ..default() },
            widgets::text(theme, Type::Heading, Colour::Ink, Words::key(title)),
        ));
        let key = match status {
            Status::Ok => "status-ok",
            Status::LowConfidence => "status-low",
            Status::NotMeasurable => "not-measurable",
        };
        widgets::pill(head, theme, Colour::AccentSoft, Colour::AccentInk, Words::key(key));
    });
}

fn tone_card(parent: &mut ChildSpawnerCommands, theme: &Theme, tone: &Tone) {
    parent.spawn((Name::new("Tone"), widgets::card())).with_children(|card| {
        card_head(card, theme, "tone-title".to_owned(), tone.status);
        let Some(values) = &tone.values else {
            card.spawn(widgets::text(theme, Type::Body, Colour::InkSoft, Words::key("too-little-skin")));
            return;
        };
        card.spawn(Node { width: percent(100), ..widgets::row(space::CARD) }).with_children(|line| {
            if let Some(colour) = values.colour {
                line.spawn((
                    Node {
                        width: px(104),
                        height: px(104),
                        flex_shrink: 0.0,
                        border: UiRect::all(px(4)),
                        border_radius: BorderRadius::MAX,
                        ..default()
                    },
                    Edge(Colour::Line),
                    measured(values.lightness, colour.a, colour.b),
                ));
            }
            let lightness = Words::decimal(values.lightness, 0);
            figure(line, theme, "tone-lightness", lightness, spread(values.lightness_repeat, 0));
            if let Some(colour) = values.colour {
                let hue = Words::key("degrees").with("value", Words::decimal(colour.hue, 0));
                let off = Words::key("degrees").with("value", spread(colour.hue_repeat_deg, 0));
                figure(line, theme, "tone-hue", hue, off);
            }
        });
        let note = if tone.reason == Some("uncalibrated") { "tone-uncalibrated" } else { "tone-calibrated" };
        card.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, Words::key(note)));
    });
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
            let line = Node { align_items: AlignItems::Baseline, ..widgets::row(10.0) };
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

fn metric_card(parent: &mut ChildSpawnerCommands, theme: &Theme, metric: &Metric, earlier: &Earlier) {
    let key = metric_key(metric.id);
    parent.spawn((Name::new(metric.id.name()), widgets::card())).with_children(|card| {
        card_head(card, theme, key.clone(), metric.status);
        let Some(found) = &metric.measured else {
            let reason = metric.reason.map_or("too-little-skin", reason_key);
            card.spawn(widgets::text(theme, Type::Body, Colour::InkSoft, Words::key(reason)));
            return;
        };
        score(card, theme, &key, found);
        let note = |card: &mut ChildSpawnerCommands, words| {
            card.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, words));
        };
        note(card, Words::key(format!("{key}-note")));
        if let Some(most) = most(found) {
            note(card, Words::key("metric-most").with("region", Words::key(region_key(most))));
        }
        if let Some(change) = earlier.change(metric.id, found) {
            let key = match change {
                Change::More => "change-more",
                Change::Less => "change-less",
                Change::None => "change-none",
            };
            card.spawn(widgets::text(theme, Type::Body, Colour::Brand, Words::key(key)));
        }
        if let Some(doubt) = metric.reason {
            note(card, Words::key(reason_key(doubt)));
        }
    });
}

/// The score with its interval on a rail; where the reference gives none, the value alone.
fn score(card: &mut ChildSpawnerCommands, theme: &Theme, key: &str, found: &Measured) {
    let Some((score, [low, high])) = found.score.zip(found.score_ci) else {
        let value = Words::key("metric-value")
            .with("value", Words::decimal(found.value, 1))
            .with("low", Words::decimal(found.ci[0], 1))
            .with("high", Words::decimal(found.ci[1], 1));
        card.spawn(widgets::text(theme, Type::Body, Colour::Ink, value));
        return;
    };
    card.spawn(Node { width: percent(100), ..widgets::row(space::CARD) }).with_children(|line| {
        line.spawn((
            Node { min_width: px(92), ..default() },
            widgets::text(theme, Type::Figure, Colour::Brand, Words::count(usize::from(score))),
            TextLayout::linebreak(bevy::text::LineBreak::NoWrap),
        ));
        line.spawn(Node { flex_grow: 1.0, ..widgets::column(space::TIGHT) }).with_children(|side| {
            rail(side, f32::from(score), [low, high].map(f32::from));
            side.spawn(Node {
                width: percent(100),
                justify_content: JustifyContent::SpaceBetween,
                ..widgets::row(space::LINE)
            })
            .with_children(|ends| {
                for end in ["low", "high"] {
                    let words = Words::key(format!("{key}-{end}"));
                    ends.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, words));
                }
            });
        });
    });
}

/// A rail from 0 to 100 with a band for the interval and a mark for the score.
fn rail(parent: &mut ChildSpawnerCommands, score: f32, [low, high]: [f32; 2]) {
    let mark = |left: f32, width: Val, height: f32, colour| {
        (
            Node {
                position_type: PositionType::Absolute,
                left: percent(left),
                width,
                height: px(height),
                top: px((24.0 - height) / 2.0),
                border_radius: BorderRadius::MAX,
                ..default()
            },
            Ground(colour),
        )
    };
    parent.spawn(Node { width: percent(100), height: px(24), ..default() }).with_children(|rail| {
        rail.spawn(mark(0.0, percent(100), 8.0, Colour::Line));
        rail.spawn(mark(low.min(99.0), percent((high - low).max(1.0)), 12.0, Colour::Accent));
        // The mark's own width must not carry it over the end of the rail.
        rail.spawn(mark(score * 0.98, px(12), 24.0, Colour::Brand));
    });
}

/// The region that shows most of it.
fn most(found: &Measured) -> Option<RegionId> {
    let most = found.regions.iter().max_by(|a, b| a.value.total_cmp(&b.value))?;
    // One that stands out of its own uncertainty.
    (0.0 < most.ci[0] && 1 < found.regions.len()).then_some(most.id)
}

/// The report's left and right are the camera picture's; the words for them are the visitor's own, as in a mirror.
fn region_key(region: RegionId) -> String {
    format!("region-{}", region.name().replace('_', "-"))
}

/// Why something was not measured, or is to be doubted, in words that a visitor can do something with.
fn reason_key(reason: &str) -> &'static str {
    match reason {
        "uncalibrated" => "doubt-uncalibrated",
        "px_per_mm<8" => "doubt-resolution",
        "not_sharp" => "doubt-not-sharp",
        "uneven_light" => "doubt-uneven-light",
        "over_exposed" => "doubt-over-exposed",
        "too_dark" | "too_dark_or_noisy" => "doubt-too-dark",
        "colour_cast" => "doubt-colour-cast",
        "face_too_small" => "doubt-too-small",
        "wide_interval" => "doubt-wide",
        "glasses" => "doubt-glasses",
        _ => "too-little-skin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        i18n::I18n,
        screens::{
            Screen,
            states::measured_finding,
            testing::{activate, named, screen_app},
        },
        skin::PutAway,
    };

    #[test]
    fn a_touch_draws_a_metric_on_the_face_and_another_takes_it_away() {
        let mut app = screen_app(Screen::Skin);
        app.insert_resource(SkinView::Found(Box::new(measured_finding())));
        app.update();
        app.update();
        let shown = |app: &mut App| {
            let picture = named(app, "Picture").unwrap();
            let face = app.world().get::<FacePicture>(picture).unwrap();
            let image = &app.world().get::<ImageNode>(picture).unwrap().image;
            face.layers.iter().find(|(_, layer)| layer == image).map(|(id, _)| *id)
        };
        assert_eq!(shown(&mut app), None);
        activate(&mut app, "Layer redness");
        assert_eq!(shown(&mut app), Some(MetricId::Redness));
        activate(&mut app, "Layer none");
        assert_eq!(shown(&mut app), None);
    }

    #[test]
    fn deleting_leaves_neither_the_picture_nor_what_a_later_look_could_be_compared_with() {
        let mut app = screen_app(Screen::Skin);
        app.insert_resource(SkinView::Found(Box::new(measured_finding())));
        app.update();
        app.update();
        let known = |app: &App| {
            let finding = measured_finding();
            let measured = finding.report.metrics[0].measured.as_ref().unwrap();
            app.world().resource::<Earlier>().change(finding.report.metrics[0].id, measured)
        };
        activate(&mut app, "Forget");
        assert_eq!(*app.world().resource::<SkinView>(), SkinView::Forgotten);
        assert!(named(&mut app, "Picture").is_none());
        assert_eq!(known(&app), None);
        // Put away is not deleted: the same visitor's next look is compared with it.
        app.insert_resource(SkinView::Found(Box::new(measured_finding())));
        app.world_mut().trigger(PutAway);
        assert_eq!((known(&app), app.world().resource::<SkinView>()), (Some(Change::None), &SkinView::Idle));
        app.world_mut().trigger(crate::session::EndSession);
        app.update();
        assert_eq!(known(&app), None);
    }

    #[test]
    fn every_metric_reason_and_region_has_words_in_both_languages() {
        let mut i18n = I18n::default();
        let metrics = MetricId::ALL
            .into_iter()
            .flat_map(|id| ["", "-note", "-low", "-high"].map(|end| format!("{}{end}", metric_key(id))));
        let reasons = [
            "uncalibrated",
            "px_per_mm<8",
            "not_sharp",
            "uneven_light",
            "over_exposed",
            "too_dark_or_noisy",
            "colour_cast",
            "face_too_small",
            "wide_interval",
            "glasses",
            "something_else",
        ]
        .map(|reason| reason_key(reason).to_owned());
        let regions = [
            RegionId::Forehead,
            RegionId::Glabella,
            RegionId::Nose,
            RegionId::UnderEyeL,
            RegionId::UnderEyeR,
            RegionId::CheekL,
            RegionId::CheekR,
            RegionId::Chin,
        ]
        .map(region_key);
        let keys: Vec<String> = metrics.chain(reasons).chain(regions).collect();
        for _ in 0..2 {
            for key in &keys {
                assert_ne!(i18n.say(&Words::key(key.clone())), *key);
            }
            i18n.toggle();
        }
    }
}
