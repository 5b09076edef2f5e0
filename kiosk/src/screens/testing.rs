//! What every headless test of a screen needs: no window, no GPU, time that moves when told.

use std::time::Duration;

use bevy::{
    ecs::schedule::{Schedules, SingleThreadedExecutor},
    prelude::*,
    state::app::StatesPlugin,
    time::TimeUpdateStrategy,
    ui_widgets::Activate,
};

use super::Screen;
use crate::{camera::Camera, config::Orientation, link::StoreFacts, theme::Theme};

/// One update is one second.
const FRAME: Duration = Duration::from_secs(1);

/// An app with every screen and feature, at one screen, whose features have no workers.
pub(crate) fn screen_app(screen: Screen) -> App {
    let mut app = App::new();
    app.add_plugins((MinimalPlugins, AssetPlugin::default(), StatesPlugin))
        .init_asset::<Font>()
        .init_asset::<Image>()
        .insert_resource(TimeUpdateStrategy::ManualDuration(FRAME))
        .insert_resource(Theme::faceless(Orientation::Portrait))
        .insert_resource(Camera::default())
        .insert_state(screen)
        .add_plugins(crate::features)
        .set_error_handler(bevy::ecs::error::panic);
    // The same order in every run, and no threads to wake for systems that take a microsecond.
    for (_, schedule) in app.world_mut().resource_mut::<Schedules>().iter_mut() {
        schedule.set_executor(SingleThreadedExecutor::new());
    }
    app.update();
    app
}

/// The entity with a name.
pub(crate) fn named(app: &mut App, name: &str) -> Option<Entity> {
    let mut names = app.world_mut().query::<(Entity, &Name)>();
    names.iter(app.world()).find(|(_, found)| found.as_str() == name).map(|(entity, _)| entity)
}

/// Presses the button with a name, and lets everything follow.
pub(crate) fn activate(app: &mut App, name: &str) {
    let entity = named(app, name).unwrap_or_else(|| panic!("there is no `{name}`"));
    app.world_mut().trigger(Activate { entity });
    app.update();
    app.update();
}

/// Where the app is.
pub(crate) fn at(app: &App) -> Screen {
    *app.world().resource::<State<Screen>>().get()
}

/// Every text that is shown.
pub(crate) fn shown(app: &mut App) -> Vec<String> {
    let mut texts = app.world_mut().query::<&Text>();
    texts.iter(app.world()).map(|text| text.0.clone()).collect()
}

/// Lets the hub say what lies on this many shelves, the first one empty, all with names of different lengths.
pub(crate) fn with_shelves(app: &mut App, count: u8) {
    let mut facts = app.world_mut().resource_mut::<StoreFacts>();
    for index in 0..count {
        let more = ", family size".repeat(usize::from(index % 3));
        let text = format!(
            r#"{{"shelf":"shelf-{index:02}","name":{{"zh":"婴儿配方奶粉 {index} 段","en":"Infant formula {index}{more}"}},
            "pieces":{},"capacity":40,"at":"2026-11-22T20:00:00.000Z"}}"#,
            u32::from(index) * 4,
        );
        let shelf = serde_json::from_str(&text).expect("it is a shelf");
        facts.shelves.insert(format!("shelf-{index:02}"), shelf);
    }
}
