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
pub mod care;
pub mod check;
pub mod config;
pub mod consent;
pub mod exits;
pub mod experience;
mod files;
pub mod graphics;
pub mod i18n;
mod jobs;
pub mod link;
pub mod logbook;
pub mod measure;
pub mod origin;
pub mod paint;
pub mod pick_up;
pub mod pose;
mod presence;
pub mod said;
pub mod screens;
pub mod session;
pub mod shot;
pub mod skin;
pub mod staff;
mod tap;
pub mod textures;
pub mod theme;
pub mod try_on;
pub mod watchdog;
pub mod window;

use std::path::Path;

use bevy::prelude::*;

use crate::{
    camera::Camera,
    care::slip::Signer,
    config::Config,
    i18n::I18n,
    link::{Link, LinkState, StoreFacts},
    logbook::{LogError, Logbook},
    origin::{OriginStore, OriginWorker},
    pick_up::scan::ScanWorker,
    presence::Standing,
    screens::{
        Screen,
        route::{self, Wanted},
    },
    session::Session,
    skin::SkinWorker,
    staff::{Machine, StaffRoom, StaffWorker, tally::Tally},
    theme::{FontError, Theme},
    try_on::{Shades, TryOnWorker},
};

/// Every feature and every screen, without what needs the machine: threads, fonts, sockets.
pub(crate) fn features(app: &mut App) {
    app.add_plugins((tap::plugin, textures::plugin, care::plugin)).add_plugins((
        i18n::plugin,
        session::plugin,
        link::plugin,
        presence::plugin,
        experience::plugin,
        camera::plugin,
        skin::plugin,
        origin::plugin,
        try_on::plugin,
        pick_up::plugin,
        staff::plugin,
        watchdog::plugin,
        logbook::plugin,
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
    /// There is no place for log files.
    #[error(transparent)]
    Log(#[from] LogError),
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
        app.add_plugins((features, graphics::plugin))
            // A fault in one system must not take the screen down: it is logged, and the frame goes on.
            .set_error_handler(bevy::ecs::error::error);
    }
}

/// Puts into `app` what `config` asks for: fonts, workers, the hub's link. Call after [`KioskPlugin`] was added.
///
/// # Errors
/// When there is no font or no thread; everything else that is missing is logged and lived with.
pub fn equip(app: &mut App, config: &Config, start_at: Screen) -> Result<(), StartError> {
    let world = app.world_mut();
    let (theme, repertoire) = Theme::load(&config.display, &mut world.resource_mut::<Assets<Font>>())?;
    world.insert_resource(theme);
    {
        let mut i18n = world.resource_mut::<I18n>();
        i18n.draw_with(repertoire);
        i18n.set_locale(config.display.locale);
    }
    {
        let mut session = world.resource_mut::<Session>();
        session.idle_max = config.display.idle;
        session.locale = config.display.locale;
        session.age_min = config.age_min;
    }
    if let Some(zone) = &config.display.zone {
        world.insert_resource(Standing::new(zone.clone()));
    }
    if config.camera.is_none() {
        warn!("no camera is configured: set `[camera] source`; skin and origin show a notice");
    }
    let camera = Camera::start(config.camera.clone(), config.product_camera.clone(), &config.camera_settings)
        .map_err(|source| StartError::Worker { name: "camera", source })?;
    world.insert_resource(camera);
    let skin = SkinWorker::start(config.models.clone())
        .map_err(|source| StartError::Worker { name: "skin", source })?;
    world.insert_resource(skin);
    let store = config.origin.as_ref().map_or_else(OriginStore::default, OriginStore::load);
    world.insert_resource(Shades::of(&store));
    let try_on = TryOnWorker::start(config.models.clone())
        .map_err(|source| StartError::Worker { name: "try-on", source })?;
    world.insert_resource(try_on);
    world.insert_resource(store.catalogue());
    match Signer::open(config.data_dir.as_deref(), config.id.clone()) {
        Ok(signer) => {
            info!("slips are signed with {}", signer.public());
            world.insert_resource(signer);
        }
        Err(error) => error!("there are no slips to take along: {}", chain(&error)),
    }
    let origin =
        OriginWorker::start(store).map_err(|source| StartError::Worker { name: "origin", source })?;
    world.insert_resource(origin);
    if let Some(dir) = &config.data_dir
        && let Err(error) = files::try_folder(dir)
    {
        warn!(
            "`kiosk.data_dir`: `{}` cannot be written, a restart forgets wrong PINs: {error}",
            dir.display()
        );
    }
    let tally = Tally::in_folder(config.data_dir.as_deref());
    let wrong_pins = tally.wrong();
    let staff = StaffWorker::start(tally).map_err(|source| StartError::Worker { name: "staff", source })?;
    world.insert_resource(staff);
    let scan = ScanWorker::start().map_err(|source| StartError::Worker { name: "pick-up-scan", source })?;
    world.insert_resource(scan);
    world.insert_resource(StaffRoom::new(config.staff_pin.clone(), wrong_pins));
    world.insert_resource(machine(config));
    if let Some(logbook) = world.get_resource::<Logbook>()
        && let Some(password) = config.hub.as_ref().and_then(|hub| hub.password.as_deref())
    {
        logbook.hide(password);
    }
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

/// What staff may read about this kiosk.
fn machine(config: &Config) -> Machine {
    let unknown = || "—".to_owned();
    let digest = config.models.dir.as_ref().and_then(|dir| {
        let manifest = std::fs::read_to_string(dir.join(vision::landmarks::MANIFEST_FILE)).ok()?;
        let manifest: serde_json::Value = serde_json::from_str(&manifest).ok()?;
        Some(manifest.get("sha256")?.as_str()?.to_owned())
    });
    let runtime = config.models.onnxruntime.clone().or_else(vision::analyser::find_runtime);
    // The library's file name carries its version when the link behind it is followed.
    let runtime = runtime
        .and_then(|path| std::fs::canonicalize(path).ok())
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    Machine {
        kiosk: config.id.to_string(),
        hub: config.hub.as_ref().map(|hub| hub.mqtt.to_string()),
        calibration: config.models.calibration_place().map(Path::to_owned),
        strip: config.camera_strip,
        versions: vec![
            ("staff-version-kiosk", env!("CARGO_PKG_VERSION").to_owned()),
            ("staff-version-model", digest.unwrap_or_else(unknown)),
            ("staff-version-runtime", runtime.unwrap_or_else(unknown)),
            ("staff-version-consent", consent::ConsentText::current().to_string()),
        ],
    }
}

/// The wall clock.
pub(crate) fn now() -> contract::Timestamp {
    contract::Timestamp::saturating_from_millis(jiff::Timestamp::now().as_millisecond())
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
