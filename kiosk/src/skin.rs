//! What the visitor's skin looks like in one picture: asked for by the visitor, measured on a worker, forgotten with
//! the session.
//!
//! Owns [`SkinView`] and [`SkinStatus`]. The networks are loaded on the worker when the kiosk starts; without them the
//! screen says so calmly and the log says what is missing. Pictures and reports live in memory only.

use std::path::PathBuf;

use bevy::prelude::*;
use vision::{Analyser, SkinReport};

use crate::{
    camera::{Camera, CameraState, CameraStatus, Shutter},
    config::Models,
    jobs::{Outcome, Worker},
    paint::{Outline, Painting, paint},
    pose::{Pose, PoseStep},
    session::{Session, SessionEnded},
    theme::motion::{Pace, WAITING},
};

/// Answers [`Measure`].
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<SkinView>()
        .init_resource::<SkinStatus>()
        .init_resource::<SkinPose>()
        .add_observer(measure)
        .add_observer(|_: On<SessionEnded>, mut view: ResMut<SkinView>| *view = SkinView::Idle)
        .add_systems(Startup, load.run_if(resource_exists::<SkinWorker>))
        .add_systems(
            PreUpdate,
            (take_in, pose).chain().run_if(resource_exists::<SkinWorker>).run_if(resource_exists::<Camera>),
        )
        .add_systems(Update, wait);
}

/// Asks for a look at the visitor who stands before the camera.
#[derive(Event, Debug, Clone, Copy)]
pub struct Measure;

/// What the visitor sees.
#[derive(Resource, Debug, Clone, Default, PartialEq)]
pub enum SkinView {
    /// Nobody has asked.
    #[default]
    Idle,
    /// Visitors see themselves, and how long until the picture is taken.
    Posing,
    /// A look is being taken.
    Looking,
    /// It was taken.
    Found(Box<SkinFinding>),
    /// It could not be taken.
    Unavailable(SkinTrouble),
}

/// The pose of the visitor who is to be looked at.
#[derive(Resource, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SkinPose(pub Pose);

/// Why no look can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkinTrouble {
    /// There is no camera, or it gives no picture.
    Camera,
    /// The networks or the library that runs them are missing or damaged.
    Models,
    /// The feature broke down.
    Broken,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq)]
pub struct SkinFinding {
    /// The picture with the regions outlined.
    pub painting: Painting,
    /// What was measured, or why not.
    pub report: SkinReport,
}

/// Whether the networks are there.
#[derive(Resource, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SkinStatus {
    /// They are being loaded.
    #[default]
    Loading,
    /// They are.
    Ready,
    /// They are not.
    Missing,
}

/// What the worker does.
#[derive(Debug)]
enum Job {
    Load,
    Look(Shutter),
}

/// What it has done.
#[derive(Debug)]
enum Report {
    Loaded,
    Found(Box<SkinFinding>),
    NoModels(String),
    NoPicture(String),
    Failed(String),
}

/// The worker.
#[derive(Resource)]
pub struct SkinWorker(Worker<Job, Report>);

impl SkinWorker {
    /// Starts the worker; the networks are loaded there.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(models: Models) -> std::io::Result<Self> {
        let mut analyser = None;
        Worker::start("skin", move |job| work(&mut analyser, &models, job)).map(Self)
    }
}

fn work(analyser: &mut Option<Analyser>, models: &Models, job: Job) -> Report {
    if analyser.is_none() {
        let path = |path: &Option<PathBuf>| path.clone();
        match Analyser::load(path(&models.dir).as_deref(), path(&models.onnxruntime).as_deref()) {
            Ok(loaded) => *analyser = Some(loaded),
            Err(error) => return Report::NoModels(crate::chain(&error)),
        }
    }
    let Some(analyser) = analyser else { return Report::NoModels("they were not loaded".to_owned()) };
    let Job::Look(shutter) = job else { return Report::Loaded };
    let picture = match shutter.take() {
        Ok(picture) => picture,
        Err(error) => return Report::NoPicture(crate::chain(&error)),
    };
    match analyser.skin(&picture) {
        Ok(report) => {
            let outlines: Vec<Outline> =
                report.outlines.iter().map(|region| outline(&region.polygon)).collect();
            Report::Found(Box::new(SkinFinding { painting: paint(&picture, &outlines), report }))
        }
        Err(error) => Report::Failed(crate::chain(&error)),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a place in a picture fits an f32")]
fn outline(polygon: &[vision::Point]) -> Outline {
    Outline {
        corners: polygon.iter().map(|point| [point.x as f32, point.y as f32]).collect(),
        colour: crate::theme::REGION_RGB,
        fill: 0.10,
    }
}

fn load(mut worker: ResMut<SkinWorker>, session: Res<Session>) {
    worker.0.submit(session.id(), Job::Load);
}

fn measure(
    _: On<Measure>,
    camera: Res<Camera>,
    worker: Option<Res<SkinWorker>>,
    status: Res<SkinStatus>,
    mut view: ResMut<SkinView>,
    mut pose: ResMut<SkinPose>,
) {
    if worker.is_none() {
        *view = SkinView::Unavailable(SkinTrouble::Broken);
        return;
    }
    // Nobody is filmed for what cannot be measured.
    *view = if *status == SkinStatus::Missing {
        SkinView::Unavailable(SkinTrouble::Models)
    } else if camera.is_present() {
        *pose = SkinPose::default();
        SkinView::Posing
    } else {
        SkinView::Unavailable(SkinTrouble::Camera)
    };
}

/// Counts down while the camera looks, then takes the picture. A camera that comes back begins anew.
fn pose(time: Res<Time>, status: Res<CameraStatus>, mut view: ResMut<SkinView>, mut pose: ResMut<SkinPose>) {
    let state = status.visitors;
    if *view == SkinView::Unavailable(SkinTrouble::Camera) && state == CameraState::Streaming {
        *pose = SkinPose::default();
        *view = SkinView::Posing;
    }
    if *view != SkinView::Posing {
        return;
    }
    match pose.0.step(state, time.delta()) {
        PoseStep::Waiting => {}
        // `take_in` submits the look as soon as the worker is free.
        PoseStep::Ready => *view = SkinView::Looking,
        PoseStep::NoCamera => *view = SkinView::Unavailable(SkinTrouble::Camera),
    }
}

fn take_in(
    mut worker: ResMut<SkinWorker>,
    session: Res<Session>,
    camera: Res<Camera>,
    mut view: ResMut<SkinView>,
    mut status: ResMut<SkinStatus>,
) {
    let worker = &mut worker.bypass_change_detection().0;
    if let Some((asked_by, outcome)) = worker.poll() {
        let seen = settle(outcome, &mut status);
        if let Some(seen) = seen
            && asked_by == session.id()
            && matches!(*view, SkinView::Posing | SkinView::Looking)
        {
            *view = seen;
        }
    }
    if *view == SkinView::Looking
        && !worker.is_busy()
        && let Some(shutter) = camera.shutter()
    {
        worker.submit(session.id(), Job::Look(shutter));
    }
}

/// A visitor who waits sees the answer as soon as it is there.
fn wait(view: Res<SkinView>, pace: Option<ResMut<Pace>>) {
    if *view == SkinView::Looking
        && let Some(mut pace) = pace
    {
        pace.within(WAITING);
    }
}

/// Logs what a job came to, and says what a visitor who waits for it sees.
fn settle(outcome: Outcome<Report>, status: &mut SkinStatus) -> Option<SkinView> {
    match outcome {
        Outcome::Done(Report::Loaded) => {
            *status = SkinStatus::Ready;
            None
        }
        Outcome::Done(Report::Found(finding)) => {
            *status = SkinStatus::Ready;
            Some(SkinView::Found(finding))
        }
        Outcome::Done(Report::NoModels(reason)) => {
            warn!("skin analysis is not available: {reason}");
            *status = SkinStatus::Missing;
            Some(SkinView::Unavailable(SkinTrouble::Models))
        }
        Outcome::Done(Report::NoPicture(reason)) => {
            warn!("the camera gives no picture: {reason}");
            Some(SkinView::Unavailable(SkinTrouble::Camera))
        }
        Outcome::Done(Report::Failed(reason)) => {
            error!("the skin analysis failed: {reason}");
            Some(SkinView::Unavailable(SkinTrouble::Broken))
        }
        Outcome::Broke => {
            error!("the skin worker broke down on a picture");
            Some(SkinView::Unavailable(SkinTrouble::Broken))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CameraSource;

    fn app() -> App {
        let models = Models {
            dir: Some("/nowhere/models".into()),
            onnxruntime: Some("/nowhere/libonnxruntime.so".into()),
        };
        let nowhere = CameraSource::File("/nowhere.png".into());
        let camera = Camera::new(Some(nowhere));
        let mut app = App::new();
        app.add_plugins(MinimalPlugins)
            .add_plugins((crate::i18n::plugin, crate::session::plugin, crate::camera::plugin, plugin))
            .insert_resource(camera)
            .insert_resource(SkinWorker::start(models).unwrap());
        app
    }

    fn pump(app: &mut App, until: impl Fn(&App) -> bool) {
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !until(app) {
            assert!(std::time::Instant::now() < limit, "nothing happened within 20 s");
            app.update();
        }
    }

    #[test]
    fn without_models_the_screen_is_told_and_the_rest_goes_on() {
        let mut app = app();
        app.update();
        app.world_mut().trigger(Measure);
        let is_waiting = |view: &SkinView| matches!(view, SkinView::Posing | SkinView::Looking);
        pump(&mut app, |app| !is_waiting(app.world().resource::<SkinView>()));
        assert_eq!(*app.world().resource::<SkinView>(), SkinView::Unavailable(SkinTrouble::Models));
        assert_eq!(*app.world().resource::<SkinStatus>(), SkinStatus::Missing);
    }

    #[test]
    fn a_report_for_a_visitor_who_has_left_is_dropped() {
        let mut app = app();
        app.world_mut().trigger(Measure);
        app.world_mut().trigger(crate::session::EndSession);
        app.update();
        pump(&mut app, |app| !app.world().resource::<SkinWorker>().0.is_busy());
        assert_eq!(*app.world().resource::<SkinView>(), SkinView::Idle);
    }
}
