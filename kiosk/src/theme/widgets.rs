//! The pieces that screens are made of. Each takes its words and a role; nothing here knows a screen.

use bevy::{
    picking::events::{Drag, Pointer},
    prelude::*,
    text::LineHeight,
    ui_widgets::{self, Activate, ScrollArea},
};

pub use super::motion::PressColours;
use super::{
    Colour, Edge, Ground, Ink, Raised, Theme, Type,
    icon::{self, Icon},
    space,
};
use crate::{i18n::Words, paint::Painting, textures::Pictures};

/// Height of a button, and width of a round one; more than [`super::TOUCH_PX_MIN`], for hurried fingers.
pub const BUTTON_PX: f32 = 88.0;
/// Side of a drawing in a button.
const ICON_PX: u16 = 40;

/// Text in a role and a colour.
pub fn text(theme: &Theme, role: Type, colour: Colour, words: Words) -> impl Bundle {
    (words, theme.font(role), Ink(colour), LineHeight::RelativeToFont(role.line()))
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

impl ButtonKind {
    /// At rest, under a finger, ink, edge.
    fn colours(self) -> (Colour, Colour, Colour, Colour) {
        match self {
            Self::Primary => (Colour::Action, Colour::ActionPressed, Colour::OnAction, Colour::Clear),
            Self::Quiet => (Colour::Quiet, Colour::QuietPressed, Colour::OnQuiet, Colour::QuietEdge),
            Self::OnNight => (Colour::NightRaised, Colour::NightPressed, Colour::OnNight, Colour::Accent),
        }
    }
}

/// A button with words; the caller observes `Activate`.
pub fn button<'a>(
    parent: &'a mut ChildSpawnerCommands,
    theme: &Theme,
    name: &'static str,
    kind: ButtonKind,
    words: Words,
) -> EntityCommands<'a> {
    let mut button = empty_button(parent, name, kind);
    let (.., ink, _) = kind.colours();
    button.with_children(|button| label(button, theme, ink, words));
    button
}

/// A button with a drawing before its words.
pub fn icon_button<'a>(
    parent: &'a mut ChildSpawnerCommands,
    theme: &Theme,
    name: &'static str,
    kind: ButtonKind,
    drawn: Icon,
    words: Words,
) -> EntityCommands<'a> {
    let mut button = empty_button(parent, name, kind);
    let (.., ink, _) = kind.colours();
    button.with_children(|button| {
        icon::icon(button, drawn, ICON_PX, ink, ink);
        label(button, theme, ink, words);
    });
    button
}

/// A round button with nothing but a drawing.
pub fn round_button<'a>(
    parent: &'a mut ChildSpawnerCommands,
    name: &'static str,
    kind: ButtonKind,
    drawn: Icon,
) -> EntityCommands<'a> {
    let mut button = empty_button(parent, name, kind);
    let (.., ink, _) = kind.colours();
    button.with_children(|button| icon::icon(button, drawn, ICON_PX, ink, ink));
    button.entry::<Node>().and_modify(|mut node| {
        node.width = px(BUTTON_PX);
        node.height = px(BUTTON_PX);
        node.padding = UiRect::ZERO;
    });
    button
}

/// A large button over the whole width: the one thing to do here.
pub fn wide_button<'a>(
    parent: &'a mut ChildSpawnerCommands,
    theme: &Theme,
    name: &'static str,
    kind: ButtonKind,
    words: Words,
) -> EntityCommands<'a> {
    let mut button = button(parent, theme, name, kind, words);
    button.entry::<Node>().and_modify(|mut node| {
        node.width = percent(100);
        node.min_height = px(BUTTON_PX + 28.0);
    });
    button
}

fn empty_button<'a>(
    parent: &'a mut ChildSpawnerCommands,
    name: &'static str,
    kind: ButtonKind,
) -> EntityCommands<'a> {
    let (rest, pressed, _, line) = kind.colours();
    parent.spawn((
        Name::new(name),
        ui_widgets::Button,
        Node {
            min_height: px(BUTTON_PX),
            min_width: px(BUTTON_PX),
            padding: UiRect::axes(px(32), px(16)),
            border: UiRect::all(px(2)),
            border_radius: BorderRadius::MAX,
            justify_content: JustifyContent::Center,
            flex_shrink: 0.0,
            ..row(space::TIGHT)
        },
        Ground(rest),
        Edge(line),
        PressColours { rest, pressed },
    ))
}

fn label(button: &mut ChildSpawnerCommands, theme: &Theme, ink: Colour, words: Words) {
    button.spawn((
        Pickable::IGNORE,
        text(theme, Type::Label, ink, words),
        TextLayout::linebreak(bevy::text::LineBreak::NoWrap),
    ));
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
    moment(
        parent,
        theme,
        Moment { name: "Notice", drawn: Icon::Help, mood: Mood::Calm, title, body },
        |_| {},
    );
}

/// How a [`Moment`] is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Something is so, or is being done.
    Calm,
    /// Something went well.
    Good,
}

/// The one thing that a screen says right now.
#[derive(Debug, Clone)]
pub struct Moment {
    /// What the entity is called.
    pub name: &'static str,
    /// Its drawing.
    pub drawn: Icon,
    /// How it is meant.
    pub mood: Mood,
    /// What it is.
    pub title: Words,
    /// What it means, and what to do.
    pub body: Words,
}

/// Says one thing in the middle of all the room that there is; what can be done about it stands below, in reach.
pub fn moment(
    parent: &mut ChildSpawnerCommands,
    theme: &Theme,
    Moment { name, drawn, mood, title, body }: Moment,
    more: impl FnOnce(&mut ChildSpawnerCommands),
) {
    let (ground, ink, soft, disc, main, second) = match mood {
        Mood::Calm => {
            (Colour::Card, Colour::Ink, Colour::InkSoft, Colour::AccentSoft, Colour::Brand, Colour::AccentInk)
        }
        Mood::Good => {
            (Colour::Good, Colour::OnState, Colour::OnState, Colour::OnState, Colour::Good, Colour::Good)
        }
    };
    // Side of the drawing, distance of the parts and longest line, in pixels of the design.
    let (side, gap, line) =
        if theme.is_wide() { (120, space::LINE, 1280.0) } else { (280, space::CARD, 780.0) };
    let line = || Node { max_width: px(line), ..default() };
    parent
        .spawn((Name::new(name), plate(ground, space::EDGE, Raised::Card)))
        .entry::<Node>()
        .and_modify(move |mut node| {
            node.flex_grow = 1.0;
            node.min_height = px(0);
            node.row_gap = px(gap);
            node.align_items = AlignItems::Center;
            node.justify_content = JustifyContent::Center;
        })
        .entity()
        .insert(Edge(if mood == Mood::Calm { Colour::CardEdge } else { ground }))
        .with_children(|card| {
            icon::disc(card, drawn, side, disc, main, second);
            card.spawn((line(), centred(theme, Type::Title, ink, title)));
            card.spawn((line(), centred(theme, Type::Body, soft, body)));
            more(card);
        });
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
    pictures: &mut Pictures,
    painting: &Painting,
    box_size: Vec2,
) {
    let image = pictures.show(painting);
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

/// A picture of the visitor, who has just seen himself in a mirror: turned as there.
pub fn mirrored(image: Handle<Image>, size: Vec2, align_self: AlignSelf) -> impl Bundle {
    (
        ImageNode { image, flip_x: true, image_mode: bevy::ui::widget::NodeImageMode::Stretch, ..default() },
        Node {
            width: px(size.x),
            height: px(size.y),
            align_self,
            flex_shrink: 0.0,
            border_radius: BorderRadius::all(px(space::RADIUS)),
            ..default()
        },
        Raised::Card,
    )
}

/// What a finger drags, for those who know that there is more; visitors get a [`scroller`].
pub fn scrolling(node: Node) -> impl Bundle {
    (ScrollArea, Node { overflow: Overflow::scroll_y(), ..node })
}

/// The area whose hidden part a button brings into view.
#[derive(Component, Debug, Clone, Copy)]
pub(super) struct ShowsMore(Entity);

/// A part of a screen that may hold more than fits: a finger drags it, and a button says that there is more and
/// brings it into view, so that nothing is hidden from anybody.
pub fn scroller<'a>(
    parent: &'a mut ChildSpawnerCommands,
    theme: &Theme,
    node: Node,
    build: impl FnOnce(&mut ChildSpawnerCommands),
) -> EntityCommands<'a> {
    let mut place = parent.spawn(Node { padding: UiRect::ZERO, ..node.clone() });
    place.with_children(|place| {
        let area = place
            .spawn((
                Name::new("Scroller"),
                ScrollArea,
                Node {
                    overflow: Overflow::scroll_y(),
                    width: percent(100),
                    flex_grow: 1.0,
                    flex_basis: px(0),
                    min_height: px(0),
                    padding: node.padding,
                    ..column(if let Val::Px(gap) = node.row_gap { gap } else { 0.0 })
                },
            ))
            .with_children(build)
            .id();
        let mut more = icon_button(place, theme, "More", ButtonKind::Primary, Icon::Down, Words::key("more"));
        more.insert((ShowsMore(area), Visibility::Hidden)).observe(show_more);
        more.entry::<Node>().and_modify(|mut node| {
            // Under the area and never over it, where it would hide what it offers.
            node.display = Display::None;
            node.align_self = AlignSelf::Center;
            node.flex_shrink = 0.0;
            node.margin = UiRect::top(px(space::TIGHT));
        });
    });
    place
}

/// How far a touch of the button scrolls: a little less than what is seen, so that the eye finds its place again.
const SCROLL_SHARE: f32 = 0.8;
/// Less than this is not worth a button, in pixels of the design.
const HIDDEN_PX_MIN: f32 = 12.0;

fn hidden(node: &ComputedNode) -> f32 {
    ((node.content_size().y - node.size().y) * node.inverse_scale_factor).max(0.0)
}

fn show_more(
    asked: On<Activate>,
    buttons: Query<&ShowsMore>,
    mut areas: Query<(&ComputedNode, &UiGlobalTransform, &mut ScrollPosition)>,
    children: Query<&Children>,
    cards: Query<(&ComputedNode, &UiGlobalTransform), With<Raised>>,
) {
    let Ok(ShowsMore(area)) = buttons.get(asked.entity) else { return };
    let Ok((node, transform, mut position)) = areas.get_mut(*area) else { return };
    let scale = node.inverse_scale_factor;
    let height = node.size().y * scale;
    let top = transform.translation.y * scale - height / 2.0;
    let step = height * SCROLL_SHARE;
    // A card that is cut off below comes to the top, so that one which fits is seen whole.
    let cut_off = children.iter_descendants(*area).filter_map(|child| {
        let (card, at) = cards.get(child).ok()?;
        let half = card.size().y * scale / 2.0;
        let middle = at.translation.y * scale - top;
        (HIDDEN_PX_MIN < middle - half && height < middle + half && middle - half <= step)
            .then_some(middle - half)
    });
    let step = cut_off.fold(step, f32::min);
    position.y = (position.y + step).min(hidden(node));
}

/// The button is there exactly while something lies below. Its room is there as long as the area does not fit without
/// it, so that nothing moves at the end of the way.
pub(super) fn tell_more(
    areas: Query<(&ComputedNode, &ScrollPosition, &ChildOf)>,
    places: Query<&ComputedNode>,
    mut buttons: Query<(&ShowsMore, &mut Node, &mut Visibility)>,
) {
    for (ShowsMore(area), mut button, mut visibility) in &mut buttons {
        let Ok((node, position, place)) = areas.get(*area) else { continue };
        let Ok(place) = places.get(place.parent()) else { continue };
        let needs_room = place.size().y + HIDDEN_PX_MIN < node.content_size().y;
        let display = if needs_room { Display::Flex } else { Display::None };
        if button.display != display {
            button.display = display;
        }
        let has_more = HIDDEN_PX_MIN < hidden(node) - position.y;
        visibility.set_if_neq(if has_more { Visibility::Inherited } else { Visibility::Hidden });
    }
}

/// Lets a finger drag what a [`scroller`] holds.
pub(super) fn drag(
    drag: On<Pointer<Drag>>,
    mut areas: Query<(&ComputedNode, &mut ScrollPosition), With<ScrollArea>>,
) {
    if let Ok((node, mut position)) = areas.get_mut(drag.entity) {
        position.y = (position.y - drag.delta.y).clamp(0.0, hidden(node));
    }
}
