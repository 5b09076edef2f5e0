//! The pieces that screens are made of. Each takes its words and a role; nothing here knows a screen.

use bevy::{
    asset::RenderAssetUsages,
    picking::events::{Drag, Pointer},
    prelude::*,
    text::LineHeight,
    ui::Pressed,
    ui_widgets::{self, ScrollArea},
};

use super::{Colour, Edge, Ground, Ink, Raised, Theme, Type, space};
use crate::{i18n::Words, paint::Painting};

/// Text in a role and a colour.
pub fn text(theme: &Theme, role: Type, colour: Colour, words: Words) -> impl Bundle {
    (words, theme.font(role), Ink(colour), LineHeight::RelativeToFont(1.38))
}

/// Text in the middle of its place.
pub fn centred(theme: &Theme, role: Type, colour: Colour, words: Words) -> impl Bundle {
    (text(theme, role, colour, words), TextLayout::justify(Justify::Center))
}

/// Things below one another.
pub fn column(gap: f32) -> Node {
    Node { flex_direction: FlexDirection::Column, row_gap: px(gap), ..default() }
}

/// Things beside one another, middles aligned.
pub fn row(gap: f32) -> Node {
    Node {
        flex_direction: FlexDirection::Row,
        column_gap: px(gap),
        align_items: AlignItems::Center,
        ..default()
    }
}

/// A card on paper.
pub fn card() -> impl Bundle {
    (plate(Colour::Card, space::CARD, Raised::Card), Edge(Colour::CardEdge))
}

/// What lies above cards, such as a question.
pub fn sheet() -> impl Bundle {
    (plate(Colour::Card, space::EDGE, Raised::Sheet), Edge(Colour::CardEdge))
}

/// A rounded panel of a colour.
pub fn panel(colour: Colour, padding: f32) -> impl Bundle {
    plate(colour, padding, Raised::Card)
}

fn plate(colour: Colour, padding: f32, raised: Raised) -> impl Bundle {
    (
        Node {
            padding: UiRect::all(px(padding)),
            border: UiRect::all(px(2)),
            border_radius: BorderRadius::all(px(space::RADIUS)),
            ..column(space::LINE)
        },
        Ground(colour),
        raised,
    )
}

/// What a button means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ButtonKind {
    /// What most people want.
    Primary,
    /// What some people want.
    Quiet,
    /// On the house colour.
    OnNight,
}

/// The grounds of something that can be pressed.
#[derive(Component, Debug, Clone, Copy)]
pub struct PressColours {
    /// At rest.
    pub rest: Colour,
    /// Under a finger.
    pub pressed: Colour,
}

/// A button with words; the caller observes `Activate`.
pub fn button<'a>(
    parent: &'a mut ChildSpawnerCommands,
    theme: &Theme,
    name: &'static str,
    kind: ButtonKind,
    words: Words,
) -> EntityCommands<'a> {
    let (rest, pressed, ink, line) = match kind {
        ButtonKind::Primary => (Colour::Action, Colour::ActionPressed, Colour::OnAction, Colour::Action),
        ButtonKind::Quiet => (Colour::Quiet, Colour::QuietPressed, Colour::OnQuiet, Colour::QuietEdge),
        ButtonKind::OnNight => (Colour::NightRaised, Colour::NightPressed, Colour::OnNight, Colour::Accent),
    };
    let mut entity = parent.spawn((
        Name::new(name),
        ui_widgets::Button,
        Node {
            min_height: px(super::TOUCH_PX_MIN + 28.0),
            min_width: px(super::TOUCH_PX_MIN + 28.0),
            padding: UiRect::axes(px(36), px(18)),
            border: UiRect::all(px(2)),
            border_radius: BorderRadius::MAX,
            justify_content: JustifyContent::Center,
            ..row(space::TIGHT)
        },
        Ground(rest),
        Edge(line),
        PressColours { rest, pressed },
    ));
    entity.with_children(|button| {
        button.spawn((
            text(theme, Type::Label, ink, words),
            TextLayout::linebreak(bevy::text::LineBreak::NoWrap),
        ));
    });
    entity
}

/// Shows what is under a finger.
pub(super) fn show_presses(
    mut pressed: Query<(&PressColours, &mut Ground), Added<Pressed>>,
    mut released: RemovedComponents<Pressed>,
    mut all: Query<(&PressColours, &mut Ground), Without<Pressed>>,
) {
    for (colours, mut ground) in &mut pressed {
        ground.0 = colours.pressed;
    }
    for entity in released.read() {
        if let Ok((colours, mut ground)) = all.get_mut(entity) {
            ground.0 = colours.rest;
        }
    }
}

/// A short word in a coloured capsule.
pub fn pill(parent: &mut ChildSpawnerCommands, theme: &Theme, ground: Colour, ink: Colour, words: Words) {
    parent
        .spawn((
            Node {
                padding: UiRect::axes(px(24), px(8)),
                border_radius: BorderRadius::MAX,
                align_self: AlignSelf::Start,
                flex_shrink: 0.0,
                ..row(0.0)
            },
            Ground(ground),
        ))
        .with_children(|pill| {
            pill.spawn((
                text(theme, Type::Caption, ink, words),
                TextLayout::linebreak(bevy::text::LineBreak::NoWrap),
            ));
        });
}

/// A calm notice: what does not work, what still does, and nothing that blinks.
pub fn notice(parent: &mut ChildSpawnerCommands, theme: &Theme, title: Words, body: Words) {
    parent.spawn((Name::new("Notice"), card())).with_children(|card| {
        card.spawn((
            Node { width: px(72), height: px(8), border_radius: BorderRadius::MAX, ..default() },
            Ground(Colour::Accent),
        ));
        card.spawn(text(theme, Type::Heading, Colour::Ink, title));
        card.spawn(text(theme, Type::Body, Colour::InkSoft, body));
    });
}

/// A painting as an image that lives as long as somebody shows it.
pub fn image_of(painting: &Painting, images: &mut Assets<Image>) -> Handle<Image> {
    use bevy::render::render_resource::{Extent3d, TextureDimension, TextureFormat};
    let size = Extent3d { width: painting.width, height: painting.height, depth_or_array_layers: 1 };
    images.add(Image::new(
        size,
        TextureDimension::D2,
        painting.rgba.clone(),
        TextureFormat::Rgba8UnormSrgb,
        RenderAssetUsages::RENDER_WORLD,
    ))
}

/// How large a painting is when it fits into a box.
#[must_use]
pub fn fitted(painting: &Painting, box_size: Vec2) -> Vec2 {
    #[expect(clippy::cast_precision_loss, reason = "a painting's side is at most 1200")]
    let size = Vec2::new(painting.width as f32, painting.height as f32);
    size * (box_size / size).min_element()
}

/// A painting in a rounded frame, as large as fits into `box_size`.
pub fn picture(
    parent: &mut ChildSpawnerCommands,
    images: &mut Assets<Image>,
    painting: &Painting,
    box_size: Vec2,
) {
    let image = image_of(painting, images);
    let shown = fitted(painting, box_size);
    parent.spawn((
        Name::new("Picture"),
        ImageNode { image, image_mode: bevy::ui::widget::NodeImageMode::Stretch, ..default() },
        Node {
            width: px(shown.x),
            height: px(shown.y),
            align_self: AlignSelf::Center,
            flex_shrink: 0.0,
            border_radius: BorderRadius::all(px(space::RADIUS)),
            ..default()
        },
        Raised::Card,
    ));
}

/// What scrolls: by wheel, and by a finger that drags it.
pub fn scrolling(node: Node) -> impl Bundle {
    (ScrollArea, Node { overflow: Overflow::scroll_y(), ..node })
}

/// Lets a finger drag what [`scrolling`] made.
pub(super) fn drag(
    drag: On<Pointer<Drag>>,
    mut areas: Query<(&ComputedNode, &mut ScrollPosition), With<ScrollArea>>,
) {
    if let Ok((node, mut position)) = areas.get_mut(drag.entity) {
        let hidden = (node.content_size().y - node.size().y) * node.inverse_scale_factor;
        position.y = (position.y - drag.delta.y).clamp(0.0, hidden.max(0.0));
    }
}
