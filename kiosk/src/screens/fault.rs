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
    theme::{
        Colour, Theme, Type,
        icon::{self, Icon},
        space, widgets,
    },
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
        page.spawn((Name::new("Parts"), Parts, widgets::column(space::LINE)));
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
    let columns = if theme.is_wide() { 2 } else { 1 };
    commands.entity(list).despawn_children().with_children(|list| {
        for row in conditions.chunks(columns) {
            list.spawn(Node { align_items: AlignItems::Stretch, ..widgets::row(space::LINE) }).with_children(
                |line| {
                    for (part, condition) in row {
                        line_of(line, theme, part, *condition);
                    }
                },
            );
        }
    });
}

fn line_of(parent: &mut ChildSpawnerCommands, theme: &Theme, part: &'static str, condition: Condition) {
    let (colour, drawn, state) = match condition {
        Condition::Fine => (Colour::Good, Icon::Check, "state-fine"),
        Condition::Waiting => (Colour::Calm, Icon::Wait, "state-waiting"),
        Condition::Away => (Colour::Caution, Icon::Help, "state-away"),
    };
    let own = match part {
        "part-hub" => Icon::Hub,
        "part-camera" => Icon::Camera,
        "part-skin" => Icon::Skin,
        _ => Icon::Origin,
    };
    let note = if condition == Condition::Away { format!("{part}-away") } else { format!("{part}-fine") };
    parent
        .spawn(widgets::card())
        .entry::<Node>()
        .and_modify(|mut node| {
            node.flex_grow = 1.0;
            node.flex_basis = px(0);
            node.min_width = px(0);
        })
        .entity()
        .with_children(|card| {
            card.spawn(Node { width: percent(100), ..widgets::row(space::CARD) }).with_children(|line| {
                icon::disc(line, own, 112, Colour::BrandSoft, Colour::Brand, Colour::AccentInk);
                line.spawn(Node {
                    flex_grow: 1.0,
                    flex_basis: px(0),
                    min_width: px(0),
                    ..widgets::column(4.0)
                })
                .with_children(|told| {
                    told.spawn(Node { width: percent(100), ..widgets::row(space::TIGHT) }).with_children(
                        |head| {
                            head.spawn(widgets::text(theme, Type::Label, Colour::Ink, Words::key(part)));
                            head.spawn(Node { flex_grow: 1.0, ..default() });
                            icon::icon(head, drawn, 32, colour, colour);
                            head.spawn(widgets::text(theme, Type::Caption, colour, Words::key(state)));
                        },
                    );
                    told.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, Words::key(note)));
                });
            });
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
