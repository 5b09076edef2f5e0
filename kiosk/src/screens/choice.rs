//! What suits a visitor, of what lies on the shelves: the products, why, where, and a slip to take along.
//!
//! A panel that stands on the skin screen and on the one with questions. Reads [`Choice`] and what it rests on.

use bevy::{log::warn_once, prelude::*, text::LineBreak};
use vision::skin::Status;

use super::{drawing, metric_key, place_name};
use crate::{
    care::{
        Answers, Choice, Choose,
        rules::{Because, Suggestion},
        slip::{self, HOLDS, Signer},
    },
    i18n::{I18n, Words},
    link::{LinkState, StoreFacts},
    paint::Painting,
    skin::SkinView,
    textures::Pictures,
    theme::{Colour, Theme, Type, icon, space, widgets},
};

/// Columns of a name and of a maker's claim in a card, and of a name on a slip: the longest slip of all still fits into
/// its code.
const NAME_COLUMNS_MAX: usize = 40;
const CLAIM_COLUMNS_MAX: usize = 76;
const SLIP_COLUMNS_MAX: usize = 25;

pub(super) fn plugin(app: &mut App) {
    app.add_systems(Update, fill.after(Choose));
}

/// Where the choice is shown.
#[derive(Component)]
struct Panel;

/// What suits the visitor, kept true as long as it stands there.
pub(super) fn panel(parent: &mut ChildSpawnerCommands, theme: &Theme) {
    // What does not fit is scrolled, and never made smaller.
    let place = Node { flex_shrink: 0.0, ..widgets::column(space::LINE) };
    parent.spawn((Name::new("Choice"), Panel, place));
    for words in ["care-rules", "care-claims"] {
        parent.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, Words::key(words)));
    }
}

#[expect(clippy::too_many_arguments, reason = "a system's arguments are what it reads")]
fn fill(
    mut commands: Commands,
    theme: Option<Res<Theme>>,
    i18n: Res<I18n>,
    facts: Res<StoreFacts>,
    choice: Res<Choice>,
    answers: Res<Answers>,
    view: Res<SkinView>,
    signer: Option<Res<Signer>>,
    mut pictures: Pictures,
    mut told: Local<&'static str>,
    panels: Query<(Entity, Ref<Panel>)>,
) {
    let Some(theme) = theme else { return };
    // Nothing but these words changes with the store's facts; the choice has changed already where they count.
    let without_choice = match (facts.shelves.is_empty(), facts.link) {
        (false, _) => "care-none",
        (true, LinkState::Online) => "care-empty",
        (true, _) => "care-unknown",
    };
    let has_changed =
        choice.is_changed() || answers.is_changed() || i18n.is_changed() || *told != without_choice;
    *told = without_choice;
    for (panel, marker) in &panels {
        if !has_changed && !marker.is_added() {
            continue;
        }
        commands.entity(panel).despawn_children().with_children(|panel| {
            if choice.suggestions.is_empty() {
                panel.spawn((Name::new("NoChoice"), widgets::card())).with_children(|card| {
                    let words = Words::key(without_choice);
                    card.spawn(widgets::text(&theme, Type::Body, Colour::InkSoft, words));
                });
                return;
            }
            panel.spawn((Name::new("Suggestions"), widgets::card())).with_children(|card| {
                card.spawn(widgets::text(&theme, Type::Heading, Colour::Ink, Words::key("care-choice")));
                for suggestion in &choice.suggestions {
                    line(card, &theme, suggestion);
                }
                for need in &choice.missing {
                    let words = Words::key("care-missing").with("need", need_words(*need));
                    card.spawn(widgets::text(&theme, Type::Caption, Colour::InkSoft, words));
                }
            });
            let Some(signer) = &signer else { return };
            let slip = signer.sign(&text(&i18n, &choice, &view, &answers, signer));
            match slip.and_then(|slip| slip::code(&slip)) {
                Some(code) => take_along(panel, &theme, &mut pictures, &code),
                None => warn_once!("a slip is too long for a code and is not shown"),
            }
        });
    }
}

/// What was measured or said.
fn need_words(because: Because) -> Words {
    match because {
        Because::Measured(id) => Words::key(metric_key(id)),
        Because::Said(wish) => Words::key(format!("wish-{}", wish.name())),
        Because::Everybody => Words::key("because-everybody"),
    }
}

fn because(because: Because) -> Words {
    match because {
        Because::Measured(_) => Words::key("because-measured").with("metric", need_words(because)),
        Because::Said(_) => Words::key("because-said").with("wish", need_words(because)),
        Because::Everybody => need_words(because),
    }
}

pub(super) fn place(suggestion: &Suggestion) -> Words {
    Words::key("place").with("shelf", place_name(&suggestion.shelf))
}

fn line(card: &mut ChildSpawnerCommands, theme: &Theme, suggestion: &Suggestion) {
    let row = Node { width: percent(100), align_items: AlignItems::Center, ..widgets::row(space::LINE) };
    card.spawn((Name::new("Suggestion"), row)).with_children(|row| {
        icon::disc(row, drawing(suggestion.form), 88, Colour::AccentSoft, Colour::Brand, Colour::AccentInk);
        row.spawn(Node { flex_grow: 1.0, flex_basis: px(0), min_width: px(0), ..widgets::column(2.0) })
            .with_children(|told| {
                let name = Words::brief(suggestion.name.clone(), NAME_COLUMNS_MAX);
                let claim = Words::brief(suggestion.claim.clone(), CLAIM_COLUMNS_MAX);
                for (role, ink, words) in [
                    (Type::Label, Colour::Ink, name),
                    (Type::Caption, Colour::InkSoft, claim),
                    (Type::Caption, Colour::AccentInk, because(suggestion.because)),
                ] {
                    told.spawn((
                        widgets::text(theme, role, ink, words),
                        TextLayout::linebreak(LineBreak::WordOrCharacter),
                    ));
                }
            });
        widgets::pill(row, theme, Colour::BrandSoft, Colour::Brand, place(suggestion));
    });
}

fn take_along(parent: &mut ChildSpawnerCommands, theme: &Theme, pictures: &mut Pictures, code: &Painting) {
    let row = Node { width: percent(100), ..widgets::row(space::CARD) };
    parent.spawn((Name::new("Slip"), widgets::card())).with_children(|card| {
        card.spawn(row).with_children(|row| {
            // Module by module, so that no edge of the code is blurred.
            #[expect(clippy::cast_precision_loss, reason = "a code has some hundred pixels")]
            widgets::picture(row, pictures, code, Vec2::splat(code.width as f32));
            let told = Node { flex_grow: 1.0, flex_basis: px(0), ..widgets::column(space::TIGHT) };
            row.spawn(told).with_children(|told| {
                told.spawn(widgets::text(theme, Type::Heading, Colour::Ink, Words::key("slip-title")));
                told.spawn(widgets::text(theme, Type::Body, Colour::InkSoft, Words::key("slip-note")));
            });
        });
    });
}

/// A slip's lines in the visitor's language: words and figures that are on the screen too.
fn text(i18n: &I18n, choice: &Choice, view: &SkinView, answers: &Answers, signer: &Signer) -> String {
    let day = |time: jiff::Timestamp| Words::date(time.to_zoned(jiff::tz::TimeZone::system()).date());
    let now = signer.now();
    let head = if matches!(view, SkinView::Found(_)) { "slip-head" } else { "slip-head-care" };
    let mut lines = vec![Words::key(head).with("brand", Words::key("brand")).with("date", day(now))];
    match view {
        SkinView::Found(finding) if finding.report.capture.ok => {
            for found in &finding.report.metrics {
                let scored = found.measured.as_ref().and_then(|found| found.score.zip(found.score_ci));
                // A doubt goes along with its figure.
                let key = if found.status == Status::Ok { "slip-score" } else { "slip-score-low" };
                if let Some((score, [low, high])) = scored {
                    lines.push(
                        Words::key(key)
                            .with("metric", Words::key(metric_key(found.id)))
                            .with("score", Words::count(usize::from(score)))
                            .with("low", Words::count(usize::from(low)))
                            .with("high", Words::count(usize::from(high))),
                    );
                }
            }
            if 1 < lines.len() {
                lines.push(Words::key("slip-scale"));
            }
        }
        _ => lines.extend(answers.wishes().map(|wish| because(Because::Said(wish)))),
    }
    for suggestion in &choice.suggestions {
        lines.push(
            Words::key("slip-product")
                .with("name", Words::brief(suggestion.name.clone(), SLIP_COLUMNS_MAX))
                .with("place", place(suggestion)),
        );
    }
    let until = now.saturating_add(HOLDS).unwrap_or(jiff::Timestamp::MAX);
    lines.push(Words::key("slip-foot").with("date", day(until)));
    lines.iter().map(|words| i18n.say(words)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use vision::skin::MetricId;

    use crate::{
        care::rules::{SUGGESTIONS_MAX, SUGGESTIONS_MIN},
        screens::{
            Screen,
            states::{care_for_skin, long_care, measured_finding},
            testing::{activate, named, screen_app},
        },
    };

    #[test]
    fn a_slip_says_what_the_screen_says_and_no_more() {
        let mut app = screen_app(Screen::Care);
        care_for_skin(&mut app);
        app.insert_resource(Signer::fixed());
        activate(&mut app, "Wish sun");
        assert!(named(&mut app, "Slip").is_some());
        let said = |app: &App| {
            let world = app.world();
            text(world.resource(), world.resource(), world.resource(), world.resource(), world.resource())
        };
        assert!(said(&app).contains("防晒"), "{}", said(&app));
        app.insert_resource(SkinView::Found(Box::new(measured_finding())));
        app.update();
        let told = said(&app);
        assert!(told.contains("41") && !told.contains("28.8"), "scores, and no tone: {told}");
        assert!(told.contains("100：最不明显"), "{told}");
        assert!(Signer::fixed().sign(&told).is_some(), "it fits into a code: {}", told.len());
        app.world_mut().resource_mut::<I18n>().toggle();
        let told = said(&app);
        assert!(Signer::fixed().sign(&told).is_some(), "it fits into a code: {}", told.len());
    }

    #[test]
    fn the_longest_slip_of_all_fits_into_its_code_and_says_its_doubts() {
        let mut app = screen_app(Screen::Care);
        long_care(&mut app);
        let mut finding = measured_finding();
        for metric in &mut finding.report.metrics {
            metric.status = Status::LowConfidence;
            metric.measured =
                metric.measured.take().or_else(|| measured_finding().report.metrics[0].measured.clone());
            let found = metric.measured.as_mut().unwrap();
            (found.score, found.score_ci) = (Some(100), Some([0, 100]));
        }
        app.insert_resource(SkinView::Found(Box::new(finding)));
        let mut facts = app.world_mut().resource_mut::<StoreFacts>();
        for shelf in facts.shelves.values_mut() {
            shelf.shelf = contract::DeviceId::parse(&format!("shelf-{}", "x".repeat(58))).unwrap();
        }
        app.update();
        assert_eq!(app.world().resource::<Choice>().suggestions.len(), SUGGESTIONS_MIN);
        let signer = Signer::fixed_of(&"k".repeat(64));
        for doubt in ["把握较小", "less sure"] {
            let mut choice = app.world().resource::<Choice>().clone();
            let more = choice.suggestions[0].clone();
            choice.suggestions.resize(SUGGESTIONS_MAX, more);
            let world = app.world();
            let told = text(world.resource(), &choice, world.resource(), world.resource(), &signer);
            assert_eq!(told.matches(doubt).count(), MetricId::ALL.len(), "{told}");
            let slip = signer.sign(&told).unwrap_or_else(|| panic!("{} bytes: {told}", told.len()));
            assert!(slip::code(&slip).is_some());
            app.world_mut().resource_mut::<I18n>().toggle();
        }
    }

    #[test]
    fn a_kiosk_that_knows_no_shelf_says_so() {
        let mut app = screen_app(Screen::Care);
        app.update();
        assert!(named(&mut app, "NoChoice").is_some());
        assert!(named(&mut app, "Slip").is_none());
    }
}
