//! What suits a visitor, of what lies on the shelves: the products, why, where, and a slip to take along.
//!
//! A panel that stands on the skin screen and on the one with questions. Reads [`Choice`] and what it rests on.

use bevy::{prelude::*, text::LineBreak};

use super::{drawing, place_name};
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

/// Columns of a name and of a maker's claim in a card, and of a name on a slip.
const NAME_COLUMNS_MAX: usize = 40;
const CLAIM_COLUMNS_MAX: usize = 76;
const SLIP_COLUMNS_MAX: usize = 36;
/// Letters of a shelf's name.
const PLACE_CHARS_MAX: usize = 8;

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
    mut was_known: Local<bool>,
    panels: Query<(Entity, Ref<Panel>)>,
) {
    let Some(theme) = theme else { return };
    // Whether anything is known of the shelves, and how fresh: the rest of the facts changes nothing here.
    let is_known = !facts.shelves.is_empty();
    let has_changed =
        choice.is_changed() || answers.is_changed() || i18n.is_changed() || *was_known != is_known;
    *was_known = is_known;
    for (panel, marker) in &panels {
        if !has_changed && !marker.is_added() {
            continue;
        }
        commands.entity(panel).despawn_children().with_children(|panel| {
            if choice.0.is_empty() {
                let key = match (is_known, facts.link) {
                    (true, _) => "care-none",
                    (false, LinkState::Online) => "care-empty",
                    (false, _) => "care-unknown",
                };
                panel.spawn((Name::new("NoChoice"), widgets::card())).with_children(|card| {
                    card.spawn(widgets::text(&theme, Type::Body, Colour::InkSoft, Words::key(key)));
                });
                return;
            }
            panel.spawn((Name::new("Suggestions"), widgets::card())).with_children(|card| {
                card.spawn(widgets::text(&theme, Type::Heading, Colour::Ink, Words::key("care-choice")));
                for suggestion in &choice.0 {
                    line(card, &theme, suggestion);
                }
            });
            let slip = signer
                .as_ref()
                .and_then(|signer| signer.sign(&text(&i18n, &choice, &view, &answers, signer)));
            if let Some(code) = slip.and_then(|slip| slip::code(&slip)) {
                take_along(panel, &theme, &mut pictures, &code);
            }
        });
    }
}

fn because(because: Because) -> Words {
    match because {
        Because::Measured(id) => Words::key("because-measured")
            .with("metric", Words::key(format!("metric-{}", id.name().replace('_', "-")))),
        Because::Said(wish) => {
            Words::key("because-said").with("wish", Words::key(format!("wish-{}", wish.name())))
        }
        Because::Everybody => Words::key("because-everybody"),
    }
}

pub(super) fn place(suggestion: &Suggestion) -> Words {
    // An id may have 64 letters; a shelf has two digits.
    let mut name: String = place_name(&suggestion.shelf).chars().take(PLACE_CHARS_MAX).collect();
    if PLACE_CHARS_MAX < place_name(&suggestion.shelf).chars().count() {
        name.push('…');
    }
    Words::key("place").with("shelf", name)
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
    let metric = |id: vision::skin::MetricId| Words::key(format!("metric-{}", id.name().replace('_', "-")));
    match view {
        SkinView::Found(finding) if finding.report.capture.ok => {
            for found in &finding.report.metrics {
                let scored = found.measured.as_ref().and_then(|found| found.score.zip(found.score_ci));
                if let Some((score, [low, high])) = scored {
                    lines.push(
                        Words::key("slip-score")
                            .with("metric", metric(found.id))
                            .with("score", Words::count(usize::from(score)))
                            .with("low", Words::count(usize::from(low)))
                            .with("high", Words::count(usize::from(high))),
                    );
                }
            }
        }
        _ => lines.extend(answers.wishes().map(|wish| because(Because::Said(wish)))),
    }
    for suggestion in &choice.0 {
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
    use crate::screens::{
        Screen,
        states::{care_for_skin, measured_finding},
        testing::{activate, named, screen_app},
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
        assert!(Signer::fixed().sign(&told).is_some(), "it fits into a code: {}", told.len());
        app.world_mut().resource_mut::<I18n>().toggle();
        let told = said(&app);
        assert!(Signer::fixed().sign(&told).is_some(), "it fits into a code: {}", told.len());
    }

    #[test]
    fn a_kiosk_that_knows_no_shelf_says_so() {
        let mut app = screen_app(Screen::Care);
        app.update();
        assert!(named(&mut app, "NoChoice").is_some());
        assert!(named(&mut app, "Slip").is_none());
    }
}
