//! The condition of the kiosk in plain words: what does not work, and what still does. Calm; nothing blinks.
//!
//! Reads what the features say about themselves; writes nothing.

use bevy::prelude::*;

use super::{Screen, chrome};
use crate::{
    camera::Camera,
    i18n::Words,
    link::{LinkState, StoreFacts},
    origin::OriginWorker,
    skin::SkinStatus,
    theme::{Colour, Ground, Theme, Type, widgets},
};

pub(super) fn plugin(app: &mut App) {
    app.add_systems(OnEnter(Screen::Fault), spawn).add_systems(Update, show.run_if(in_state(Screen::Fault)));
}

/// Where the parts are listed.
#[derive(Component)]
struct Parts;

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::Fault, |page| {
        chrome::title(page, theme, "fault-title", "fault-note");
        page.spawn((Name::new("Parts"), Parts, widgets::card()));
        page.spawn(Node { flex_grow: 1.0, ..default() });
        chrome::footer(page, theme, |_| {});
    });
}

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Fine,
    Waiting,
    Away,
}

fn conditions(
    facts: &StoreFacts,
    camera: &Camera,
    skin: SkinStatus,
    has_origin: bool,
) -> [(&'static str, Condition); 4] {
    let fine = |is_fine| if is_fine { Condition::Fine } else { Condition::Away };
    [
        (
            "part-hub",
            match facts.link {
                LinkState::Online => Condition::Fine,
                LinkState::Connecting => Condition::Waiting,
                LinkState::Alone | LinkState::Offline => Condition::Away,
            },
        ),
        ("part-camera", fine(camera.is_present())),
        (
            "part-skin",
            match skin {
                SkinStatus::Ready => Condition::Fine,
                SkinStatus::Loading => Condition::Waiting,
                SkinStatus::Missing => Condition::Away,
            },
        ),
        ("part-origin", fine(has_origin)),
    ]
}

fn show(
    mut commands: Commands,
    theme: Res<Theme>,
    facts: Res<StoreFacts>,
    camera: Res<Camera>,
    skin: Res<SkinStatus>,
    origin: Option<Res<OriginWorker>>,
    list: Single<(Entity, Ref<Parts>)>,
) {
    let (list, marker) = list.into_inner();
    if !facts.is_changed() && !skin.is_changed() && !marker.is_added() {
        return;
    }
    let theme = &*theme;
    let conditions = conditions(&facts, &camera, *skin, origin.is_some());
    commands.entity(list).despawn_children().with_children(|list| {
        for (part, condition) in conditions {
            let (colour, state) = match condition {
                Condition::Fine => (Colour::Good, "state-fine"),
                Condition::Waiting => (Colour::Accent, "state-waiting"),
                Condition::Away => (Colour::Caution, "state-away"),
            };
            list.spawn(Node { width: percent(100), padding: UiRect::vertical(px(8)), ..widgets::row(24.0) })
                .with_children(|line| {
                    line.spawn((
                        Node {
                            width: px(22),
                            height: px(22),
                            flex_shrink: 0.0,
                            border_radius: BorderRadius::MAX,
                            ..default()
                        },
                        Ground(colour),
                    ));
                    line.spawn(Node { flex_grow: 1.0, flex_basis: px(0), ..widgets::column(0.0) })
                        .with_children(|told| {
                            told.spawn(widgets::text(theme, Type::Label, Colour::Ink, Words::key(part)));
                            let note = if condition == Condition::Away {
                                format!("{part}-away")
                            } else {
                                format!("{part}-fine")
                            };
                            told.spawn(widgets::text(
                                theme,
                                Type::Caption,
                                Colour::InkSoft,
                                Words::key(note),
                            ));
                        });
                    line.spawn(widgets::text(theme, Type::Caption, colour, Words::key(state)));
                });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        i18n::I18n,
        screens::testing::{activate, at, screen_app, shown},
    };

    #[test]
    fn each_part_is_told_as_it_is() {
        let facts = StoreFacts { link: LinkState::Online, ..default() };
        let camera = Camera::default();
        let told = conditions(&facts, &camera, SkinStatus::Missing, true).map(|(_, condition)| condition);
        assert_eq!(told, [Condition::Fine, Condition::Away, Condition::Away, Condition::Fine]);
    }

    #[test]
    fn it_follows_the_hub_and_leads_home() {
        let mut app = screen_app(Screen::Fault);
        app.world_mut().resource_mut::<StoreFacts>().link = LinkState::Online;
        app.update();
        app.update();
        let said = app.world().resource::<I18n>().say(&Words::key("part-hub-fine"));
        assert!(shown(&mut app).contains(&said));
        activate(&mut app, "Home");
        assert_eq!(at(&app), Screen::Home);
    }
}
