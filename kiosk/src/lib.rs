//! The kiosk: a touch screen that shows what a visitor's skin looks like, where a product comes from, and what is true
//! in the store right now.
//!
//! One plugin for each feature (`link`, `i18n`, `camera`, `skin`, `origin`, `session`) and each screen (`screens/`).
//! Features own resources, workers and threads; screens read them and own nothing. See [`KioskPlugin`] for the whole.
//!
//! # Invariants
//!
//! - No frame waits: pictures, networks, records and sockets live on named threads behind bounded channels.
//! - A visitor's session leaves nothing behind: results are tagged with it and dropped when it has ended.
//! - Pictures, outlines and reports never reach a disk or a socket.
//! - A part that is missing costs its own feature only: the log names it, the screen says so calmly.

pub mod camera;
pub mod config;
pub mod i18n;
mod jobs;
pub mod link;
pub mod measure;
pub mod origin;
pub mod paint;
pub mod said;
pub mod screens;
pub mod session;
pub mod shot;
pub mod skin;
pub mod theme;

use bevy::{
    prelude::*,
    render::error_handler::{RenderErrorHandler, RenderErrorPolicy},
};

use crate::{
    camera::Camera,
    config::Config,
    i18n::I18n,
    link::{Link, LinkState, StoreFacts},
    origin::{OriginStore, OriginWorker},
    screens::{
        Screen,
        route::{self, Wanted},
    },
    session::Session,
    skin::SkinWorker,
    theme::{FontError, Theme},
};

/// Every feature and every screen, without what needs the machine: threads, fonts, sockets.
pub(crate) fn features(app: &mut App) {
    app.add_plugins((
        i18n::plugin,
        session::plugin,
        link::plugin,
        skin::plugin,
        origin::plugin,
        theme::plugin,
        screens::plugin,
    ));
}

/// Why a kiosk cannot start. Everything else that is missing is logged and lived with.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is nothing to write with.
    #[error("failed to load the fonts")]
    Font(#[from] FontError),
    /// The system gives no thread.
    #[error("failed to start the worker `{name}`")]
    Worker {
        /// Which one.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// The kiosk. Needs `DefaultPlugins` before it.
#[derive(Debug, Clone, Copy)]
pub struct KioskPlugin;

impl Plugin for KioskPlugin {
    fn build(&self, app: &mut App) {
        app.add_plugins(features)
            .insert_resource(RenderErrorHandler(on_render_error))
            // A fault in one system must not take the screen down: it is logged, and the frame goes on.
            .set_error_handler(bevy::ecs::error::error);
    }
}

/// A lost device is made anew; anything else stops the picture, never the process: staff still reach it.
fn on_render_error(
    error: &bevy::render::error_handler::RenderError,
    _: &mut World,
    _: &mut World,
) -> RenderErrorPolicy {
    use bevy::render::error_handler::ErrorType;
    error!("rendering failed: {:?}: {}", error.ty, error.description);
    match error.ty {
        ErrorType::DeviceLost => {
            RenderErrorPolicy::Recover(bevy::render::settings::RenderCreation::default())
        }
        ErrorType::Validation => RenderErrorPolicy::Ignore,
        ErrorType::OutOfMemory | ErrorType::Internal => RenderErrorPolicy::StopRendering,
    }
}

/// Puts into `app` what `config` asks for: fonts, workers, the hub's link. Call after [`KioskPlugin`] was added.
///
/// # Errors
/// When there is no font or no thread; everything else that is missing is logged and lived with.
pub fn equip(app: &mut App, config: &Config, start_at: Screen) -> Result<(), StartError> {
    let world = app.world_mut();
    let theme = Theme::load(&config.display, &mut world.resource_mut::<Assets<Font>>())?;
    world.insert_resource(theme);
    world.resource_mut::<I18n>().set_locale(config.display.locale);
    {
        let mut session = world.resource_mut::<Session>();
        session.idle_max = config.display.idle;
        session.locale = config.display.locale;
    }
    if config.camera.is_none() {
        warn!("no camera is configured: set `[camera] source`; skin and origin show a notice");
    }
    world.insert_resource(Camera::new(config.camera.clone()).with_product(config.product_camera.clone()));
    let skin = SkinWorker::start(config.models.clone())
        .map_err(|source| StartError::Worker { name: "skin", source })?;
    world.insert_resource(skin);
    let store = config.origin.as_ref().map_or_else(OriginStore::default, OriginStore::load);
    let origin =
        OriginWorker::start(store).map_err(|source| StartError::Worker { name: "origin", source })?;
    world.insert_resource(origin);
    match &config.hub {
        None => info!("no hub is configured: the kiosk stands alone"),
        Some(hub) => match Link::start(config, hub) {
            Ok(link) => {
                world.insert_resource(link);
                world.resource_mut::<StoreFacts>().link = LinkState::Connecting;
            }
            Err(error) => {
                error!("the kiosk stands alone: {}", chain(&error));
                world.resource_mut::<StoreFacts>().link = LinkState::Offline;
            }
        },
    }
    // A feature that films puts its question first, also when the command line names it.
    let conditions =
        route::conditions(world.resource::<Session>(), Wanted::default(), world.resource::<Camera>());
    let (start_at, wanted) = route::admit(start_at, conditions);
    world.insert_resource(wanted);
    app.insert_state(start_at);
    Ok(())
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // A transparent error repeats its cause.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
