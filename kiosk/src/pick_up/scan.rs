//! A pick-up code shown as a QR code: looked for in one picture after another, on a worker, for a while.
//!
//! Only a code whose whole text is six digits counts. Pictures are dropped at once; nothing looks before the visitor
//! has pressed the button, nor when the only camera is one that the visitor has not agreed to.

use std::time::Duration;

use bevy::prelude::*;
use contract::kiosk::PickUpCode;
use vision::codes;

use super::{PickUp, Stage, Touch};
use crate::{
    camera::{self, Camera, Shutter, Which},
    jobs::{Outcome, Worker},
    session::{Consent, Session},
};

/// How long it is looked for a code.
const LOOK_MAX: Duration = Duration::from_secs(20);
/// Time between two looks, so that a fast camera does not cost a core.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks while the visitor wants it to.
pub(super) fn plugin(app: &mut App) {
    app.add_systems(Update, (look, hold_camera).chain().run_if(resource_exists::<ScanWorker>));
}

/// How the look for a code stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scan {
    /// Nobody has asked.
    #[default]
    Off,
    /// It is looked for.
    Looking {
        /// Since it was asked for.
        since: Duration,
        /// Since the last look.
        pause: Duration,
    },
    /// No code was seen in time.
    NothingSeen,
    /// There is no picture.
    NoPicture,
}

impl Scan {
    /// Begins to look.
    pub(super) fn begin() -> Self {
        Self::Looking { since: Duration::ZERO, pause: LOOK_EVERY }
    }
}

/// The camera that may look for a code: one for products, or one that the visitor has agreed to.
#[must_use]
pub fn eye(camera: &Camera, session: &Session) -> Option<Shutter> {
    if camera.has_product_camera() || session.consent() == Consent::Given {
        camera.product_shutter()
    } else {
        None
    }
}

/// The worker.
#[derive(Resource)]
pub struct ScanWorker(Worker<Shutter, Seen>);

/// What a picture shows.
#[derive(Debug)]
enum Seen {
    Code(PickUpCode),
    Nothing,
    NoPicture(String),
}

impl ScanWorker {
    /// Starts the worker.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> std::io::Result<Self> {
        Worker::start("pick-up-scan", |shutter: Shutter| see(&shutter)).map(Self)
    }
}

fn see(shutter: &Shutter) -> Seen {
    match shutter.take() {
        Ok(picture) => {
            let codes = codes::read(&picture);
            let code = codes.iter().find_map(|code| PickUpCode::parse(code.text.trim()).ok());
            code.map_or(Seen::Nothing, Seen::Code)
        }
        Err(error) => Seen::NoPicture(crate::chain(&error)),
    }
}

fn look(
    time: Res<Time<Real>>,
    mut worker: ResMut<ScanWorker>,
    mut pick_up: ResMut<PickUp>,
    session: Res<Session>,
    camera: Res<Camera>,
    mut commands: Commands,
) {
    let worker = &mut worker.bypass_change_detection().0;
    let seen = worker.poll();
    let Scan::Looking { since, pause } = pick_up.scan else { return };
    if pick_up.stage != Stage::Typing {
        pick_up.scan = Scan::Off;
        return;
    }
    match seen {
        Some((asked_by, Outcome::Done(Seen::Code(code)))) if asked_by == session.id() => {
            pick_up.scan = Scan::Off;
            pick_up.digits.fill(&code);
            commands.trigger(Touch::Send);
            return;
        }
        Some((asked_by, Outcome::Done(Seen::NoPicture(reason)))) if asked_by == session.id() => {
            warn!("the camera gives no picture: {reason}");
            pick_up.scan = Scan::NoPicture;
            return;
        }
        Some((_, Outcome::Broke)) => error!("the scan worker broke down on a picture"),
        _ => {}
    }
    let (since, mut pause) = (since + time.delta(), pause + time.delta());
    let Some(shutter) = eye(&camera, &session) else {
        pick_up.scan = Scan::NoPicture;
        return;
    };
    if LOOK_MAX <= since {
        pick_up.scan = Scan::NothingSeen;
        return;
    }
    if LOOK_EVERY <= pause && worker.submit(session.id(), shutter) {
        pause = Duration::ZERO;
    }
    pick_up.bypass_change_detection().scan = Scan::Looking { since, pause };
}

/// What keeps the camera open while a code is looked for.
#[derive(Component, Default)]
struct Scans;

fn hold_camera(mut commands: Commands, pick_up: Res<PickUp>, held: Option<Single<Entity, With<Scans>>>) {
    let is_looking = matches!(pick_up.scan, Scan::Looking { .. });
    camera::hold(&mut commands, is_looking, held, Which::Products);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{config::CameraSource, link::Desk};

    /// An app whose product camera sees a QR code with this text.
    fn app(text: &str) -> (App, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("code.png");
        let code = qrcode::QrCode::new(text).unwrap();
        code.render::<image::Luma<u8>>().min_dimensions(300, 300).build().save(&path).unwrap();
        let mut app = App::new();
        app.add_plugins((MinimalPlugins, crate::i18n::plugin, crate::session::plugin))
            .add_plugins((crate::camera::plugin, crate::pick_up::plugin))
            .init_resource::<Desk>()
            .insert_resource(Camera::new(None).with_product(Some(CameraSource::File(path))))
            .insert_resource(ScanWorker::start().unwrap());
        app.update();
        (app, dir)
    }

    fn pump(app: &mut App, until: impl Fn(&PickUp) -> bool) {
        let limit = Instant::now() + Duration::from_secs(60);
        while !until(app.world().resource::<PickUp>()) {
            assert!(Instant::now() < limit, "nothing happened within 60 s");
            app.update();
        }
    }

    #[test]
    fn a_code_that_is_shown_is_sent_as_if_it_had_been_typed() {
        let (mut app, _dir) = app("042137");
        app.update();
        assert_eq!(app.world().resource::<PickUp>().scan(), Scan::Off, "nothing looks before it was asked");
        app.world_mut().trigger(Touch::Scan);
        pump(&mut app, |pick_up| *pick_up.stage() == Stage::Checking);
        let pick_up = app.world().resource::<PickUp>();
        assert_eq!((pick_up.scan(), pick_up.digits().len()), (Scan::Off, 0));
    }

    #[test]
    fn another_code_is_none_and_the_look_ends() {
        let (mut app, _dir) = app("https://id.example/01/09521234543213");
        app.world_mut().trigger(Touch::Scan);
        app.insert_resource(bevy::time::TimeUpdateStrategy::ManualDuration(Duration::from_secs(1)));
        pump(&mut app, |pick_up| pick_up.scan() == Scan::NothingSeen);
        assert_eq!(*app.world().resource::<PickUp>().stage(), Stage::Typing);
    }

    #[test]
    fn a_visitor_s_camera_does_not_look_without_consent() {
        let source = Some(CameraSource::File("face.png".into()));
        let mut session = Session::default();
        let camera = Camera::new(source.clone());
        assert!(eye(&camera, &session).is_none());
        assert!(eye(&Camera::new(None).with_product(source), &session).is_some());
        session.answer(Consent::Given);
        assert!(eye(&camera, &session).is_some());
    }
}
