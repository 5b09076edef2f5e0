//! What a screen says, as one line of JSON: for tests and for those who cannot see pixels.
//!
//! `--shot` prints it on standard output. Keys and words are stable; translated words, measured numbers, pictures and
//! outlines are left out on purpose: a visitor's report never leaves memory.

use std::io::Write as _;

use bevy::{
    prelude::*,
    ui::{CalculatedClip, InteractionDisabled, UiGlobalTransform},
    ui_widgets::Button,
};
use serde_json::{Map, Value, json};

use crate::{
    care::Choice,
    i18n::I18n,
    link::{LinkState, StoreFacts},
    origin::{Answer, OriginTrouble, OriginView, verdict_key},
    pick_up::PickUp,
    screens::Screen,
    session::{Age, Session},
    skin::{SkinTrouble, SkinView},
    staff::{Gate, StaffRoom},
    try_on::{TryOnTrouble, TryOnView},
};

/// Prints what the screen says, and where it can be touched, as one line of JSON whenever that changes.
pub fn aloud(app: &mut App) {
    app.add_systems(Last, say_changes);
}

type Touchable = (
    &'static Name,
    &'static ComputedNode,
    &'static UiGlobalTransform,
    &'static InheritedVisibility,
    Option<&'static CalculatedClip>,
);

fn say_changes(
    world: &mut World,
    buttons: &mut QueryState<Touchable, (With<Button>, Without<InteractionDisabled>)>,
    mut before: Local<Value>,
    mut is_mute: Local<bool>,
) {
    if *is_mute {
        return;
    }
    let Some(screen) = world.get_resource::<State<Screen>>().map(|screen| *screen.get()) else { return };
    let mut said = said(world, screen);
    // Two buttons of one name would hide one another; the last one that is spawned lies on top.
    let places: Map<String, Value> = buttons
        .iter(world)
        .filter(|(_, _, _, visibility, _)| visibility.get())
        .filter_map(|(name, node, transform, _, clip)| {
            let rect = Rect::from_center_size(transform.translation, node.size());
            let seen = clip.map_or(rect, |clip| rect.intersect(clip.clip));
            let IVec2 { x, y } = seen.center().as_ivec2();
            (!seen.is_empty()).then(|| (name.to_string(), json!([x, y])))
        })
        .collect();
    said["touch"] = Value::Object(places);
    if *before != said {
        if let Err(error) = writeln!(std::io::stdout(), "{said}") {
            // Visitors need no listener.
            warn!("nobody hears what the kiosk says any more: {error}");
            *is_mute = true;
        }
        *before = said;
    }
}

/// What `screen` says in this world.
///
/// `{"screen", "locale", "hub"}`, and with them for `attract` and `home` `"store"`, for `skin` `"skin"`, for `care` `"care"`, for `consent`
/// `"consent"`, for `origin` `"origin"`, for `pick-up` `"pick_up"`, for `staff` `"staff"`.
#[must_use]
pub fn said(world: &World, screen: Screen) -> Value {
    let facts = world.resource::<StoreFacts>();
    let mut said = json!({
        "screen": screen.name(),
        "locale": world.resource::<I18n>().locale().tag(),
        "hub": match facts.link {
            LinkState::Alone => "alone",
            LinkState::Connecting => "connecting",
            LinkState::Online => "online",
            LinkState::Offline => "offline",
        },
    });
    match screen {
        Screen::Attract | Screen::Home => said["store"] = store(facts),
        Screen::Skin => said["skin"] = skin(world.resource::<SkinView>()),
        Screen::Origin => said["origin"] = origin(world.resource::<OriginView>()),
        Screen::PickUp => {
            let pick_up = world.resource::<PickUp>();
            said["pick_up"] = json!({"state": pick_up.stage().word(), "digits": pick_up.digits().len()});
        }
        Screen::Staff => {
            let room = world.resource::<StaffRoom>();
            said["staff"] = json!({
                "is_open": room.gate() == Gate::Open,
                "gate": match room.gate() {
                    Gate::NoPin => "no_pin",
                    Gate::Shut => "shut",
                    Gate::Wrong => "wrong",
                    Gate::Checking => "checking",
                    Gate::Open => "open",
                },
                "digits": room.typed(),
                "pauses": room.pause().is_some(),
            });
        }
        Screen::TryOn => said["try_on"] = try_on(world.resource::<TryOnView>()),
        // How many, and never which: they follow from what was measured or said.
        Screen::Care => said["care"] = json!({"suggestions": world.resource::<Choice>().suggestions.len()}),
        Screen::Consent => {
            let age = world.resource::<Session>().age();
            said["consent"] = json!({"asks": match age {
                None => "age",
                Some(Age::OldEnough) => "consent",
                Some(Age::TooYoung) => "nothing",
            }});
        }
        Screen::Offers | Screen::Fault => {}
    }
    said
}

fn store(facts: &StoreFacts) -> Value {
    let lockers = facts.lockers_free();
    json!({
        "visitors": facts.visitors(),
        "lockers_free": lockers.map(|(free, _)| free),
        "lockers": lockers.map(|(_, all)| all),
        "pieces": facts.pieces(),
        "shelves": facts.shelves.len(),
    })
}

fn skin(view: &SkinView) -> Value {
    match view {
        SkinView::Idle | SkinView::Posing | SkinView::Looking => json!({"state": "looking"}),
        SkinView::Forgotten => json!({"state": "forgotten"}),
        SkinView::Unavailable(trouble) => json!({
            "state": "unavailable",
            "trouble": match trouble {
                SkinTrouble::Camera => "camera",
                SkinTrouble::Models => "models",
                SkinTrouble::Broken => "broken",
            },
        }),
        SkinView::Found(finding) => {
            let report = &finding.report;
            let mut metrics = serde_json::Map::from_iter([("tone".to_owned(), json!(report.tone.status))]);
            metrics.extend(
                report.metrics.iter().map(|metric| (metric.id.name().to_owned(), json!(metric.status))),
            );
            json!({
                "state": "found",
                "fit_to_measure": report.capture.ok,
                "advice": report.capture.advice,
                "metrics": metrics,
            })
        }
    }
}

fn try_on(view: &TryOnView) -> Value {
    match view {
        TryOnView::Idle | TryOnView::Posing | TryOnView::Looking => json!({"state": "looking"}),
        TryOnView::Unavailable(trouble) => json!({
            "state": "unavailable",
            "trouble": match trouble {
                TryOnTrouble::Camera => "camera",
                TryOnTrouble::Models => "models",
                TryOnTrouble::Broken => "broken",
                TryOnTrouble::NoShades => "no_shades",
                TryOnTrouble::NoFace => "no_face",
                TryOnTrouble::NoLips => "no_lips",
            },
        }),
        TryOnView::Found(looks) => json!({"state": "found", "shades": looks.after.len()}),
    }
}

fn origin(view: &OriginView) -> Value {
    match view {
        OriginView::Idle | OriginView::Looking => json!({"state": "looking"}),
        OriginView::Unavailable(trouble) => json!({
            "state": "unavailable",
            "trouble": match trouble {
                OriginTrouble::Camera => "camera",
                OriginTrouble::Broken => "broken",
            },
        }),
        OriginView::Found(finding) => match &finding.answer {
            Answer::NoCode => json!({"state": "no_code"}),
            Answer::NotAProduct { .. } => json!({"state": "no_product"}),
            Answer::Item { claim, product, assessment } => json!({
                "state": "found",
                "gtin": claim.gtin(),
                "sold_here": product.is_some(),
                "verdict": verdict_key(assessment.verdict),
                "reasons": assessment.reasons.iter().map(provenance::Reason::key).collect::<Vec<_>>(),
                "hops": assessment.journey.len(),
                "demo": assessment.is_demo,
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{origin::Finding, paint::Painting, screens::testing::screen_app};

    #[test]
    fn a_screen_says_where_it_is_in_which_language_and_what_stands_in_the_way() {
        let mut app = screen_app(Screen::Skin);
        app.insert_resource(SkinView::Unavailable(SkinTrouble::Models));
        assert_eq!(
            said(app.world(), Screen::Skin),
            json!({"screen": "skin", "locale": "zh-CN", "hub": "alone",
                "skin": {"state": "unavailable", "trouble": "models"}})
        );
        assert_eq!(said(app.world(), Screen::Home)["store"]["visitors"], Value::Null);
    }

    #[test]
    fn a_picture_without_a_code_is_said_so() {
        let mut app = screen_app(Screen::Origin);
        let painting = Painting { width: 1, height: 1, rgba: vec![0; 4] };
        app.insert_resource(OriginView::Found(Box::new(Finding { painting, answer: Answer::NoCode })));
        assert_eq!(said(app.world(), Screen::Origin)["origin"], json!({"state": "no_code"}));
    }
}
