//! The diary: notes which feature's screen is shown and what its feature came to, for anonymous experience events.
//!
//! Reads the state and the features' results; writes [`Visit`] and nothing else.

use bevy::prelude::*;
use provenance::Verdict;

use super::Screen;
use crate::{
    care::Answers,
    experience::{Feature, Visit},
    origin::{Answer, OriginView, verdict_key},
    pick_up::{PickUp, Stage},
    session::SessionEnded,
    skin::SkinView,
    try_on::TryOnView,
};

pub(super) fn plugin(app: &mut App) {
    app.add_systems(Update, turn_page).add_systems(PostUpdate, note).add_observer(
        |_: On<SessionEnded>, time: Res<Time<Real>>, mut visit: ResMut<Visit>| visit.end(time.elapsed()),
    );
}

fn feature(screen: Screen) -> Option<Feature> {
    match screen {
        // The same wish, without a camera.
        Screen::Skin | Screen::Care => Some(Feature::Skin),
        Screen::Origin => Some(Feature::Origin),
        Screen::TryOn => Some(Feature::TryOn),
        Screen::PickUp => Some(Feature::PickUp),
        Screen::Offers => Some(Feature::Offers),
        Screen::Attract | Screen::Home | Screen::Consent | Screen::Staff | Screen::Fault => None,
    }
}

fn turn_page(
    mut transitions: MessageReader<StateTransitionEvent<Screen>>,
    time: Res<Time<Real>>,
    mut visit: ResMut<Visit>,
) {
    for transition in transitions.read() {
        match transition.entered.and_then(feature) {
            Some(feature) => visit.begin(feature, time.elapsed()),
            None => visit.end(time.elapsed()),
        }
    }
}

/// Results are noted while they are there: the end of a session wipes them.
fn note(
    screen: Res<State<Screen>>,
    skin: Res<SkinView>,
    answers: Res<Answers>,
    origin: Res<OriginView>,
    pick_up: Res<PickUp>,
    try_on: Res<TryOnView>,
    mut visit: ResMut<Visit>,
) {
    match screen.get() {
        Screen::Skin if skin.is_changed() => match &*skin {
            SkinView::Idle | SkinView::Posing | SkinView::Looking | SkinView::Forgotten => {}
            SkinView::Found(finding) => {
                visit.came_to(if finding.report.capture.ok { "found" } else { "not_fit" }, None);
            }
            SkinView::Unavailable(_) => visit.came_to("unavailable", None),
        },
        Screen::Care if answers.is_changed() && 0 < answers.wishes().count() => {
            visit.came_to("answered", None);
        }
        Screen::Origin if origin.is_changed() => match &*origin {
            OriginView::Idle | OriginView::Looking => {}
            OriginView::Unavailable(_) => visit.came_to("unavailable", None),
            OriginView::Found(finding) => match &finding.answer {
                Answer::NoCode => visit.came_to("no_code", None),
                Answer::NotAProduct { .. } => visit.came_to("no_product", None),
                Answer::Item { claim, assessment, .. } => {
                    visit.came_to(&word(assessment.verdict), Some(claim.gtin()));
                }
            },
        },
        Screen::TryOn if try_on.is_changed() => match &*try_on {
            TryOnView::Idle | TryOnView::Posing | TryOnView::Looking => {}
            TryOnView::Unavailable(_) => visit.came_to("unavailable", None),
            TryOnView::Found(_) => visit.came_to("found", None),
        },
        // Typing is no outcome: whoever has seen a refusal and types again has been refused so far.
        Screen::PickUp if pick_up.is_changed() && *pick_up.stage() != Stage::Typing => {
            let product = pick_up.stage().errand().and_then(|errand| errand.goods.first());
            match product {
                Some(good) => visit.came_to(pick_up.stage().word(), Some(&good.gtin)),
                None => visit.went_on_to(pick_up.stage().word()),
            }
        }
        _ => {}
    }
}

fn word(verdict: Verdict) -> String {
    verdict_key(verdict).replace('-', "_")
}
