//! One screen as a picture file: no window, no display server; a software renderer will do.
//!
//! Pumps the app until what the screen waits for is settled and two pictures in a row agree and are not blank, with a
//! limit. Pipelines compile in the background, so the first frames are empty.

pub(crate) mod canned;

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    time::{Duration, Instant},
};

use bevy::{
    app::PluginsState,
    asset::RenderAssetUsages,
    camera::RenderTarget,
    image::TextureFormatPixelInfo,
    prelude::*,
    render::{
        RenderPlugin,
        render_resource::{Extent3d, PollType, TextureDimension, TextureFormat, TextureUsages},
        renderer::RenderDevice,
        view::screenshot::{Screenshot, ScreenshotCaptured},
    },
    window::ExitCondition,
    winit::WinitPlugin,
};

use crate::{
    KioskPlugin, StartError,
    config::Config,
    equip,
    link::{Link, LinkState, StoreFacts},
    logbook::log_plugin,
    origin::OriginView,
    said::said,
    screens::Screen,
    session::{Consent, Session},
    skin::{SkinStatus, SkinView},
    theme::Look,
    try_on::TryOnView,
};

/// Longest time for one picture; a cold software renderer on a busy machine needs some tens of seconds.
const LIMIT: Duration = Duration::from_secs(180);
/// Retained messages of the hub arrive within this time of the subscription.
const HUB_SETTLES: Duration = Duration::from_millis(1500);
/// Longest time for the hub to answer at all.
const HUB_LIMIT: Duration = Duration::from_secs(6);

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum ShotError {
    /// The kiosk cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Nothing can draw.
    #[error(
        "no graphics adapter was found: install `mesa-vulkan-drivers`, or set VK_ICD_FILENAMES to a driver's file"
    )]
    NoAdapter,
    /// The screen has no such state.
    #[error("the screen `{screen}` cannot be shown as `{state}`; it has {known}")]
    State {
        /// Which screen.
        screen: &'static str,
        /// What was asked for.
        state: String,
        /// What there is.
        known: String,
    },
    /// The screen was not finished in time.
    #[error("the screen `{screen}` was not finished within {} s ({waiting})", LIMIT.as_secs())]
    TimedOut {
        /// Which screen.
        screen: &'static str,
        /// What was waited for.
        waiting: &'static str,
    },
    /// The picture cannot be written.
    #[error("failed to write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
}

/// Renders `screen` as `config` makes it, and writes it to `path`; gives what it says ([`said`]). With `state`, as if
/// the screen had come to it, with an invented order.
///
/// # Errors
/// When the kiosk cannot start, nothing can draw, or the screen is not finished in time.
pub fn take(
    config: &Config,
    screen: Screen,
    state: Option<&str>,
    look: Look,
    path: &Path,
) -> Result<serde_json::Value, ShotError> {
    let mut studio = Studio::open(config, screen, |app| {
        if let Some(state) = state {
            canned::put(app.world_mut(), screen, state).map_err(|known| ShotError::State {
                screen: screen.name(),
                state: state.to_owned(),
                known,
            })?;
        }
        app.insert_resource(look);
        Ok(())
    })?;
    let pixels = studio.settle(screen)?;
    let (width, height) = config.display.orientation.size();
    image::save_buffer(path, &pixels, width, height, image::ColorType::Rgb8)
        .map_err(|source| ShotError::Write { path: path.to_owned(), source })?;
    Ok(said(studio.app.world(), screen))
}

/// The whole kiosk without a window: it is pumped by hand and draws on an image of the screen's size.
pub(crate) struct Studio {
    pub(crate) app: App,
    target: Handle<Image>,
}

impl Studio {
    /// Builds it, at `screen`; `prepare` changes what stands in it before its first frame.
    pub(crate) fn open(
        config: &Config,
        screen: Screen,
        prepare: impl FnOnce(&mut App) -> Result<(), ShotError>,
    ) -> Result<Self, ShotError> {
        let mut app = App::new();
        let log = log_plugin(&mut app, None).map_err(StartError::Log)?;
        app.add_plugins(
            DefaultPlugins
                .set(log)
                .set(WindowPlugin {
                    primary_window: None,
                    exit_condition: ExitCondition::DontExit,
                    ..default()
                })
                .set(RenderPlugin {
                    render_creation: crate::graphics::settings(),
                    synchronous_pipeline_compilation: true,
                    ..default()
                })
                .disable::<WinitPlugin>(),
        )
        .add_plugins(KioskPlugin);
        // Whoever asks for the picture of a screen agrees to what it does.
        app.world_mut().resource_mut::<Session>().answer(Consent::Given);
        equip(&mut app, config, screen)?;
        // Nobody touches a picture, and a slow renderer may take longer than a visitor's patience.
        app.world_mut().resource_mut::<Session>().idle_max = Duration::MAX;
        prepare(&mut app)?;

        let limit = Instant::now() + LIMIT;
        while app.plugins_state() == PluginsState::Adding {
            if limit < Instant::now() {
                return Err(ShotError::NoAdapter);
            }
            bevy::tasks::tick_global_task_pools_on_main_thread();
        }
        app.finish();
        app.cleanup();
        if app.world().get_resource::<RenderDevice>().is_none() {
            return Err(ShotError::NoAdapter);
        }
        let (width, height) = config.display.orientation.size();
        let target = canvas(app.world_mut(), width, height);
        Ok(Self { app, target })
    }

    /// One frame, drawn to its end.
    pub(crate) fn frame(&mut self) {
        self.app.update();
        let device = self.app.world().resource::<RenderDevice>().clone();
        // A device that is lost is the render error handler's affair; the limit ends this.
        let _ = device.wgpu_device().poll(PollType::Wait { submission_index: None, timeout: None });
    }

    /// Pumps until the screen is finished; gives its pixels as RGB.
    fn settle(&mut self, screen: Screen) -> Result<Vec<u8>, ShotError> {
        let started = Instant::now();
        let limit = started + LIMIT;
        let mut waiting = "for its content";
        let mut online_since = None;
        while Instant::now() < limit {
            self.frame();
            if is_settled(self.app.world(), screen, started, &mut online_since) {
                break;
            }
        }
        // A busy store would never give two equal pictures: from here on the facts stand still.
        self.app.world_mut().remove_resource::<Link>();
        let mut before: Option<Vec<u8>> = None;
        while Instant::now() < limit {
            waiting = "for two equal pictures";
            let Some(pixels) = self.picture() else { break };
            if before.as_ref() == Some(&pixels) && !is_blank(&pixels) {
                return Ok(pixels);
            }
            before = Some(pixels);
        }
        Err(ShotError::TimedOut { screen: screen.name(), waiting })
    }

    /// What is drawn now, as RGB; nothing when that is not known in time.
    pub(crate) fn picture(&mut self) -> Option<Vec<u8>> {
        let (send, receive) = sync_channel::<Image>(1);
        self.app.world_mut().spawn(Screenshot::image(self.target.clone())).observe(
            move |captured: On<ScreenshotCaptured>| {
                // Nobody receives after the limit, and then nobody wants it.
                let _ = send.try_send(captured.image.clone());
            },
        );
        let image = self.wait(&receive)?;
        let size = image.texture_descriptor.format.pixel_size().ok()?;
        Some(image.data?.chunks_exact(size).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect())
    }

    fn wait(&mut self, image: &Receiver<Image>) -> Option<Image> {
        let limit = Instant::now() + LIMIT;
        while Instant::now() < limit {
            self.frame();
            match image.try_recv() {
                Ok(image) => return Some(image),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return None,
            }
        }
        None
    }
}

/// An image to draw on, and a camera that does.
fn canvas(world: &mut World, width: u32, height: u32) -> Handle<Image> {
    let size = Extent3d { width, height, depth_or_array_layers: 1 };
    let mut image = Image::new_uninit(
        size,
        TextureDimension::D2,
        TextureFormat::Rgba8UnormSrgb,
        RenderAssetUsages::RENDER_WORLD,
    );
    image.texture_descriptor.usage |= TextureUsages::RENDER_ATTACHMENT;
    let handle = world.resource_mut::<Assets<Image>>().add(image);
    world.spawn((Camera2d, RenderTarget::from(handle.clone()), Msaa::Off, IsDefaultUiCamera));
    handle
}

fn is_blank(pixels: &[u8]) -> bool {
    let first = pixels.get(..3);
    pixels.chunks_exact(3).all(|pixel| Some(pixel) == first)
}

/// Whether what the screen shows has come to rest.
fn is_settled(world: &World, screen: Screen, started: Instant, online_since: &mut Option<Instant>) -> bool {
    let is_hub_settled = match world.resource::<StoreFacts>().link {
        LinkState::Alone => true,
        LinkState::Online => HUB_SETTLES <= online_since.get_or_insert_with(Instant::now).elapsed(),
        LinkState::Connecting => false,
        LinkState::Offline => HUB_LIMIT <= started.elapsed(),
    };
    let is_content_settled = match screen {
        Screen::Attract
        | Screen::Home
        | Screen::Consent
        | Screen::Care
        | Screen::PickUp
        | Screen::Offers
        | Screen::Staff => true,
        Screen::Skin => {
            !matches!(world.resource::<SkinView>(), SkinView::Idle | SkinView::Posing | SkinView::Looking)
        }
        Screen::TryOn => {
            !matches!(world.resource::<TryOnView>(), TryOnView::Idle | TryOnView::Posing | TryOnView::Looking)
        }
        Screen::Origin => !matches!(world.resource::<OriginView>(), OriginView::Idle | OriginView::Looking),
        Screen::Fault => *world.resource::<SkinStatus>() != SkinStatus::Loading,
    };
    is_hub_settled && is_content_settled
}
