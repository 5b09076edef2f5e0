//! The light that says that a camera looks: over every screen, for exactly as long as a device is open.
//!
//! No screen can forget it or cover it, because no screen owns it.

use bevy::prelude::*;

use super::CameraStatus;
use crate::{
    camera::CameraState,
    i18n::Words,
    theme::{
        Colour, Ground, Theme, Type, space,
        widgets::{self},
    },
};

/// Above everything that a screen may show.
const ABOVE_ALL: i32 = 1000;

pub(super) fn plugin(app: &mut App) {
    app.add_systems(Update, show.run_if(resource_exists::<Theme>));
}

/// The light.
#[derive(Component)]
struct CameraLight;

fn show(
    mut commands: Commands,
    theme: Res<Theme>,
    status: Res<CameraStatus>,
    light: Option<Single<Entity, With<CameraLight>>>,
) {
    let is_open = [status.visitors, status.products]
        .into_iter()
        .any(|state| matches!(state, CameraState::Opening | CameraState::Streaming));
    match (is_open, light) {
        (true, None) => spawn(&mut commands, &theme),
        (false, Some(light)) => commands.entity(*light).despawn(),
        (true, Some(_)) | (false, None) => {}
    }
}

fn spawn(commands: &mut Commands, theme: &Theme) {
    commands
        .spawn((
            Name::new("CameraLight"),
            CameraLight,
            GlobalZIndex(ABOVE_ALL),
            Pickable::IGNORE,
            Node {
                position_type: PositionType::Absolute,
                top: px(0),
                width: percent(100),
                justify_content: JustifyContent::Center,
                ..default()
            },
        ))
        .with_children(|edge| {
            edge.spawn((
                Pickable::IGNORE,
                Node {
                    padding: UiRect::axes(px(space::LINE), px(4)),
                    border_radius: BorderRadius::bottom(px(space::LINE)),
                    ..widgets::row(space::TIGHT)
                },
                Ground(Colour::Bad),
            ))
            .with_children(|pill| {
                pill.spawn((
                    Pickable::IGNORE,
                    Node {
                        width: px(16),
                        height: px(16),
                        flex_shrink: 0.0,
                        border_radius: BorderRadius::MAX,
                        ..default()
                    },
                    Ground(Colour::OnState),
                ));
                pill.spawn((
                    Pickable::IGNORE,
                    widgets::text(theme, Type::Caption, Colour::OnState, Words::key("camera-on")),
                ));
            });
        });
}
