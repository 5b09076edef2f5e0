//! The camera before scripted devices: what is lost, what comes back, and what never opens.

use std::time::{Duration, Instant};

use super::*;

fn app() -> App {
    let folder = Settings { size: (64, 48), rate: 60, ..Settings::default() };
    let camera = Camera::start(Some(CameraSource::Synthetic), None, &folder).unwrap();
    let mut app = App::new();
    app.add_plugins((MinimalPlugins, AssetPlugin::default()))
        .init_asset::<Image>()
        .add_plugins((crate::i18n::plugin, crate::session::plugin, plugin))
        .insert_resource(camera);
    app
}

fn pump(app: &mut App, what: &str, is_reached: impl Fn(&mut World) -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !is_reached(app.world_mut()) {
        assert!(Instant::now() < limit, "not within 20 s: {what}");
        app.update();
    }
}

fn state(world: &mut World) -> CameraState {
    world.resource::<CameraStatus>().visitors
}

fn consent(app: &mut App, consent: Consent) {
    app.world_mut().resource_mut::<Session>().answer(consent);
}

/// Lets the thread do what it would.
fn settle(app: &mut App) {
    let until = Instant::now() + Duration::from_millis(150);
    while Instant::now() < until {
        app.update();
        assert_eq!(state(app.world_mut()), CameraState::Closed);
    }
}

#[test]
fn no_device_is_opened_without_both_a_need_and_consent() {
    let mut app = app();
    let opened = |app: &App| app.world().resource::<Camera>().counts(Which::Visitors).unwrap().opened;
    settle(&mut app);
    let need = app.world_mut().spawn(NeedsCamera(Which::Visitors)).id();
    settle(&mut app);
    consent(&mut app, Consent::Declined);
    settle(&mut app);
    app.world_mut().despawn(need);
    consent(&mut app, Consent::Given);
    settle(&mut app);
    assert_eq!(opened(&app), 0);

    let need = app.world_mut().spawn(NeedsCamera(Which::Visitors)).id();
    pump(&mut app, "a stream", |world| state(world) == CameraState::Streaming);
    app.world_mut().despawn(need);
    pump(&mut app, "a closed eye", |world| state(world) == CameraState::Closed);
    assert_eq!(opened(&app), 1);
}

#[test]
fn the_end_of_a_session_closes_the_eye_at_once_and_wipes_what_it_saw() {
    let mut app = app();
    consent(&mut app, Consent::Given);
    app.world_mut().spawn(CameraView { box_size: Vec2::new(640.0, 480.0) });
    pump(&mut app, "a preview", |world| {
        let camera = world.resource::<Camera>();
        camera.visitors.as_ref().is_some_and(|eye| !eye.previews().is_blank())
    });
    let shutter = app.world().resource::<Camera>().shutter().unwrap();
    app.world_mut().trigger(crate::session::EndSession);
    app.world_mut().flush();
    let eye = app.world().resource::<Camera>().visitors.as_ref().unwrap();
    assert_eq!(eye.state(), CameraState::Closed);
    assert!(eye.previews().is_blank());
    assert!(matches!(shutter.take(), Err(TakeError::Closed)));
    settle_closed(&mut app);
}

/// The next visitor has not agreed, so the eye stays closed although a view is still there.
fn settle_closed(app: &mut App) {
    app.update();
    settle(app);
}

#[test]
fn the_preview_is_one_image_that_keeps_its_shape_however_many_frames_come() {
    let mut app = app();
    consent(&mut app, Consent::Given);
    let view = app.world_mut().spawn(CameraView { box_size: Vec2::new(100.0, 100.0) }).id();
    pump(&mut app, "fifty frames", |world| {
        50 <= world.resource::<Camera>().counts(Which::Visitors).unwrap().taken
    });
    app.update();
    let images = app.world().resource::<Assets<Image>>().len();
    let node = app.world().get::<Node>(view).unwrap();
    assert_eq!((node.width, node.height), (px(100.0), px(75.0)), "64 x 48 in a square box");
    assert!(app.world().get::<ImageNode>(view).unwrap().flip_x, "it is a mirror");
    let taken = |world: &mut World| world.resource::<Camera>().counts(Which::Visitors).unwrap().taken;
    let so_far = taken(app.world_mut());
    pump(&mut app, "fifty more", |world| so_far + 50 <= taken(world));
    assert_eq!(app.world().resource::<Assets<Image>>().len(), images);
}

#[test]
fn the_light_is_on_for_exactly_as_long_as_the_eye_is_open() {
    let mut app = app();
    app.insert_resource(crate::theme::Theme::faceless(crate::config::Orientation::Portrait));
    let is_lit = |world: &mut World| {
        let mut names = world.query::<&Name>();
        names.iter(world).any(|name| name.as_str() == "CameraLight")
    };
    app.update();
    assert!(!is_lit(app.world_mut()));
    consent(&mut app, Consent::Given);
    let need = app.world_mut().spawn(NeedsCamera(Which::Products)).id();
    pump(&mut app, "the light", is_lit);
    app.world_mut().despawn(need);
    pump(&mut app, "darkness", |world| !is_lit(world));
}
