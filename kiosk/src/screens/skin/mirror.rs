//! The mirror: what the camera sees, where the face should be, and the one thing to change now.

use bevy::prelude::*;
use vision::skin::Towards;

use super::advice_key;
use crate::{
    camera::CameraView,
    i18n::Words,
    skin::{SkinPose, SkinView},
    theme::{Colour, Edge, Raised, Theme, Type, space, widgets},
};

/// The line below the mirror.
#[derive(Component)]
pub(super) struct GuideLine;

/// Height of the oval as a share of the picture's, and its width as one of its height: a face with room around it.
const OVAL: (f32, f32) = (0.8, 0.74);

pub(super) fn spawn(slot: &mut ChildSpawnerCommands, theme: &Theme) {
    let box_size = if theme.is_wide() { Vec2::new(1180.0, 420.0) } else { Vec2::new(984.0, 1000.0) };
    slot.spawn((
        Name::new("Mirror"),
        CameraView { box_size },
        Node {
            align_self: AlignSelf::Center,
            flex_shrink: 0.0,
            border_radius: BorderRadius::all(px(space::RADIUS)),
            justify_content: JustifyContent::Center,
            align_items: AlignItems::Center,
            ..default()
        },
        Raised::Card,
    ))
    .with_children(|mirror| {
        mirror.spawn((
            Name::new("Oval"),
            Node {
                height: percent(100.0 * OVAL.0),
                aspect_ratio: Some(OVAL.1),
                border: UiRect::all(px(5)),
                border_radius: BorderRadius::MAX,
                ..default()
            },
            Edge(Colour::Accent),
        ));
    });
    slot.spawn((
        GuideLine,
        widgets::centred(theme, Type::Heading, Colour::Ink, Words::key("skin-pose-opening")),
    ));
    slot.spawn(widgets::centred(theme, Type::Body, Colour::InkSoft, Words::key("skin-rest-note")));
}

/// Says what to change.
pub(super) fn guide(view: Res<SkinView>, pose: Res<SkinPose>, mut line: Query<&mut Words, With<GuideLine>>) {
    let words = match (&*view, pose.said) {
        (SkinView::Looking, _) => Words::key("skin-pose-now"),
        (SkinView::Posing, Some(said)) => Words::key(match said.towards {
            Some(towards) => towards_key(towards).to_owned(),
            None => advice_key(said.advice),
        }),
        _ => Words::key("skin-pose-opening"),
    };
    for mut line in &mut line {
        line.set_if_neq(words.clone());
    }
}

/// In a mirror, left of the picture is right, and that is the visitor's right too.
fn towards_key(towards: Towards) -> &'static str {
    match towards {
        Towards::Left => "guide-right",
        Towards::Right => "guide-left",
        Towards::Up => "guide-up",
        Towards::Down => "guide-down",
        Towards::Closer => "guide-closer",
        Towards::Back => "guide-back",
    }
}

#[cfg(test)]
mod tests {
    use vision::skin::Guidance;

    use super::*;
    use crate::{
        i18n::I18n,
        screens::{
            Screen,
            testing::{screen_app, shown},
        },
    };

    #[test]
    fn the_mirror_says_what_to_change_in_the_direction_that_the_visitor_sees() {
        let mut app = screen_app(Screen::Skin);
        for (advice, towards, key) in [
            ("move_to_the_middle", Some(Towards::Left), "guide-right"),
            ("look_straight_ahead", Some(Towards::Right), "guide-left"),
            ("come_closer", Some(Towards::Closer), "guide-closer"),
            ("more_light_on_the_face", None, "advice-more-light-on-the-face"),
            ("hold_still", None, "advice-hold-still"),
        ] {
            app.insert_resource(SkinView::Posing);
            app.world_mut().resource_mut::<SkinPose>().said = Some(Guidance { advice, towards, steady: 0 });
            app.update();
            app.update();
            let expected = app.world().resource::<I18n>().say(&Words::key(key));
            assert_ne!(expected, key);
            assert!(shown(&mut app).contains(&expected), "{expected}: {:?}", shown(&mut app));
        }
    }
}
