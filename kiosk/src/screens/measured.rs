//! Every text of every screen, measured against its box: nothing is clipped, nothing lies on something else, nothing
//! leaves the screen; and everything that can be touched is large enough.
//!
//! Method: the kiosk's real layout with the real fonts, without a window and without anything that draws, in both
//! orientations, languages and looks, with an empty store, a full one and each state that a screen can be in.

use std::{fmt::Write as _, time::Duration};

use bevy::{
    camera::RenderTarget,
    log::LogPlugin,
    prelude::*,
    render::{RenderPlugin, settings::WgpuSettings},
    text::TextLayoutInfo,
    time::TimeUpdateStrategy,
    ui::{CalculatedClip, UiGlobalTransform},
    ui_widgets::{Button, ScrollArea},
    window::ExitCondition,
    winit::WinitPlugin,
};

use super::{
    Screen,
    states::{self, STATES},
};
use crate::{
    camera::Camera as Eye,
    config::{Config, Orientation},
    i18n::Locale,
    theme::{Look, TOUCH_PX_MIN, Theme},
};

/// Rounding of layout and hinting of type may differ by this much.
const SLACK_PX: f32 = 2.0;

/// The space at the end of a broken line counts as its width, although nobody sees it.
const TRAILING_SPACE_PX: f32 = 14.0;

/// The kiosk without anything that draws, on a screen of this shape; `None` where set-up has not made the fonts.
fn kiosk(orientation: Orientation) -> Option<App> {
    let path = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/kiosk.example.toml"));
    let mut display = Config::load(path).unwrap().display;
    display.orientation = orientation;
    if !display.font.is_file() || !display.font_bold.is_file() {
        eprintln!("skipped: `cargo xtask setup` has not made `{}`", display.font.display());
        return None;
    }
    let mut app = App::new();
    let nothing_draws = WgpuSettings { backends: None, ..default() };
    app.add_plugins(
        DefaultPlugins
            .set(WindowPlugin { primary_window: None, exit_condition: ExitCondition::DontExit, ..default() })
            .set(RenderPlugin { render_creation: nothing_draws.into(), ..default() })
            .disable::<WinitPlugin>()
            .disable::<LogPlugin>(),
    )
    .set_error_handler(bevy::ecs::error::panic)
    .add_plugins(crate::features)
    .insert_resource(Eye::default())
    .insert_resource(TimeUpdateStrategy::ManualDuration(Duration::ZERO));
    let theme = Theme::load(&display, &mut app.world_mut().resource_mut::<Assets<Font>>()).unwrap().0;
    app.insert_resource(theme).insert_state(Screen::Attract);
    let (width, height) = orientation.size();
    let size = bevy::render::render_resource::Extent3d { width, height, depth_or_array_layers: 1 };
    let target = app.world_mut().resource_mut::<Assets<Image>>().add(Image::new_uninit(
        size,
        bevy::render::render_resource::TextureDimension::D2,
        bevy::render::render_resource::TextureFormat::Rgba8UnormSrgb,
        bevy::asset::RenderAssetUsages::MAIN_WORLD,
    ));
    app.world_mut().spawn((Camera2d, RenderTarget::from(target), IsDefaultUiCamera));
    app.finish();
    app.cleanup();
    Some(app)
}

/// A node as it lies on the screen.
struct Seen {
    entity: Entity,
    rect: Rect,
    /// What is left of it after everything that clips it.
    visible: Rect,
    text: Option<(String, Vec2)>,
    is_button: bool,
    /// Everything that it lies in, the nearest first.
    within: Vec<Entity>,
    /// The question lies above the rest on purpose.
    layer: Option<Entity>,
}

fn seen(world: &mut World) -> Vec<Seen> {
    let mut nodes = world.query::<(
        Entity,
        &Node,
        &ComputedNode,
        &UiGlobalTransform,
        &InheritedVisibility,
        Option<&CalculatedClip>,
        Option<(&Text, &TextLayoutInfo)>,
        Has<Button>,
    )>();
    let mut all = Vec::new();
    for (entity, style, node, transform, visibility, clip, text, is_button) in nodes.iter(world) {
        let is_shown = visibility.get() && style.display != Display::None;
        if !is_shown || (text.is_none() && !is_button) {
            continue;
        }
        let rect = Rect::from_center_size(transform.translation, node.size());
        let visible = clip.map_or(rect, |clip| rect.intersect(clip.clip));
        let text =
            text.filter(|(text, _)| !text.0.is_empty()).map(|(text, info)| (text.0.clone(), info.size));
        if text.is_none() && !is_button {
            continue;
        }
        all.push(Seen { entity, rect, visible, text, is_button, within: Vec::new(), layer: None });
    }
    for seen in &mut all {
        let mut at = seen.entity;
        while let Some(parent) = world.get::<ChildOf>(at) {
            at = parent.parent();
            seen.within.push(at);
        }
        seen.layer = std::iter::once(&seen.entity)
            .chain(&seen.within)
            .find(|entity| world.get::<Name>(**entity).is_some_and(|name| name.as_str() == "Idle"))
            .copied();
    }
    // What lies in something that is not there is not there.
    let is_away =
        |entity: &Entity| world.get::<Node>(*entity).is_some_and(|node| node.display == Display::None);
    all.retain(|seen| !seen.within.iter().any(is_away));
    all
}

fn area(rect: Rect) -> f32 {
    let size = rect.size();
    if size.x <= SLACK_PX || size.y <= SLACK_PX { 0.0 } else { size.x * size.y }
}

fn holds(outer: Rect, inner: Rect) -> bool {
    outer.min.x - SLACK_PX <= inner.min.x
        && outer.min.y - SLACK_PX <= inner.min.y
        && inner.max.x <= outer.max.x + SLACK_PX
        && inner.max.y <= outer.max.y + SLACK_PX
}

/// Everything that is wrong with what is shown.
fn faults(app: &mut App, screen: Rect) -> Vec<String> {
    let world = app.world_mut();
    let all = seen(world);
    let mut faults = Vec::new();
    for one in &all {
        let called = one.text.as_ref().map_or_else(
            || world.get::<Name>(one.entity).map_or("a button".to_owned(), |name| format!("button {name}")),
            |(text, _)| format!("“{text}”"),
        );
        let scroller = one.within.iter().position(|entity| world.get::<ScrollArea>(*entity).is_some());
        if scroller.is_none() && !holds(screen, one.rect) {
            faults.push(format!("{called} leaves the screen: {:?}", one.rect));
        }
        if let Some((_, size)) = &one.text {
            let node = world.get::<ComputedNode>(one.entity).unwrap();
            let room = node.size();
            if room.x + TRAILING_SPACE_PX < size.x || room.y + SLACK_PX < size.y {
                faults.push(format!("{called} needs {size} and has {room}"));
            }
            for outer in one.within.iter().take(scroller.unwrap_or(usize::MAX)) {
                let (Some(node), Some(transform)) =
                    (world.get::<ComputedNode>(*outer), world.get::<UiGlobalTransform>(*outer))
                else {
                    continue;
                };
                let outer_rect = Rect::from_center_size(transform.translation, node.size());
                if !holds(outer_rect, one.rect) {
                    faults.push(format!("{called} at {:?} leaves its place {outer_rect:?}", one.rect));
                    break;
                }
            }
        }
        if one.is_button && (one.rect.width() < TOUCH_PX_MIN - 0.5 || one.rect.height() < TOUCH_PX_MIN - 0.5)
        {
            faults.push(format!("{called} is only {} large", one.rect.size()));
        }
        for other in all.iter().filter(|other| one.entity < other.entity && one.layer == other.layer) {
            let is_nested = one.within.contains(&other.entity) || other.within.contains(&one.entity);
            if !is_nested && 0.0 < area(one.visible.intersect(other.visible)) {
                let other_called = other.text.as_ref().map_or("a button", |(text, _)| text.as_str());
                faults.push(format!(
                    "{called} and “{other_called}” lie on one another: {:?} {:?}",
                    one.rect, other.rect
                ));
            }
        }
    }
    faults
}

#[test]
fn no_text_is_cut_and_nothing_lies_on_something_else() {
    let mut report = String::new();
    for orientation in [Orientation::Portrait, Orientation::Landscape] {
        let Some(mut app) = kiosk(orientation) else { return };
        let (width, height) = orientation.size();
        #[expect(clippy::cast_precision_loss, reason = "a screen has a few thousand pixels")]
        let screen = Rect::from_corners(Vec2::ZERO, Vec2::new(width as f32, height as f32));
        app.update();
        for state in &STATES {
            for locale in Locale::ALL {
                for look in Look::ALL {
                    states::enter(&mut app, state, locale, look);
                    assert!(!seen(app.world_mut()).is_empty(), "{} shows nothing", state.name);
                    for fault in faults(&mut app, screen) {
                        writeln!(
                            report,
                            "{orientation:?}, {}, {}, {look:?}: {fault}",
                            state.name,
                            locale.tag()
                        )
                        .unwrap();
                    }
                }
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}
