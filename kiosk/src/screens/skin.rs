//! The skin screen: a mirror that says what to change, then the face with what was measured on it, or a kind word about
//! what stood in the way.
//!
//! Reads [`SkinView`]; triggers [`Measure`] when it is entered and on request, and forgets on request; writes nothing
//! else. Says on every result that it is cosmetic, and what it is not sure of.

mod mirror;
mod result;

use bevy::prelude::*;

use super::{
    Screen, chrome,
    route::{Feature, Intent, asks, sends},
};
use crate::{
    camera::{NeedsCamera, Which},
    i18n::Words,
    link::StoreFacts,
    skin::{Earlier, Measure, PutAway, SkinTrouble, SkinView},
    textures::Pictures,
    theme::{
        Theme, space,
        widgets::{self, ButtonKind},
    },
};

pub(super) fn plugin(app: &mut App) {
    app.init_resource::<result::Layer>()
        // Who leaves the screen leaves the picture: coming back looks anew.
        .add_systems(OnExit(Screen::Skin), |mut commands: Commands| commands.trigger(PutAway))
        .add_systems(OnEnter(Screen::Skin), spawn)
        .add_systems(Update, (show, mirror::guide, result::choose).chain().run_if(in_state(Screen::Skin)));
}

/// Where the view is shown.
#[derive(Component)]
struct Slot;

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
                .observe(asks(Measure))
                // Who has had everything deleted has taken his word back: he is asked again.
                .observe(sends(Intent::Choose(Feature::Skin)));
        });
    });
    commands.trigger(Measure);
}

fn show(
    mut commands: Commands,
    theme: Res<Theme>,
    view: Res<SkinView>,
    earlier: Res<Earlier>,
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
        SkinView::Idle | SkinView::Posing | SkinView::Looking => mirror::spawn(slot, theme),
        SkinView::Forgotten => {
            widgets::notice(slot, theme, Words::key("skin-forgotten"), Words::key("skin-forgotten-note"));
        }
        SkinView::Unavailable(trouble) => {
            let key = match trouble {
                SkinTrouble::Camera => "trouble-camera",
                SkinTrouble::Models => "trouble-models",
                SkinTrouble::Broken => "trouble-broken",
            };
            widgets::notice(slot, theme, Words::key(key), Words::key(format!("{key}-note")));
            questions_instead(slot, theme);
            if *trouble == SkinTrouble::Camera {
                // A camera that comes back is noticed only by somebody who waits for it.
                slot.spawn((NeedsCamera(Which::Visitors), Node::default()));
            }
        }
        SkinView::Found(finding) => result::spawn(slot, theme, finding, &earlier, &mut pictures),
    });
}

/// The way that needs neither camera nor networks.
fn questions_instead(parent: &mut ChildSpawnerCommands, theme: &Theme) {
    let words = Words::key("consent-questions");
    widgets::wide_button(parent, theme, "Questions", ButtonKind::Quiet, words)
        .observe(sends(Intent::Choose(Feature::Care)));
}

/// Advice that the locales know; another kind is answered with the general one.
const ADVICE_WITH_WORDS: [&str; 15] = [
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
    "step_back",
    "take_off_your_glasses",
    "uncover_your_face",
    "use_a_colour_camera",
    "white_light_on_the_face",
];

fn advice_key(advice: &str) -> String {
    match ADVICE_WITH_WORDS.iter().find(|known| **known == advice) {
        Some(known) => format!("advice-{}", known.replace('_', "-")),
        None => "advice-other".to_owned(),
    }
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
    fn whom_the_camera_fails_is_asked_instead() {
        let mut app = screen_app(Screen::Skin);
        app.insert_resource(SkinView::Unavailable(SkinTrouble::Broken));
        app.update();
        activate(&mut app, "Questions");
        assert_eq!(at(&app), Screen::Care);
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
