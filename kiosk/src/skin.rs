//! What the visitor's skin looks like: guided before the mirror, taken as a burst by itself when all is well, measured on
//! a worker, forgotten with the session.
//!
//! Owns [`SkinView`], [`SkinPose`] and [`SkinStatus`]. The networks are loaded on the worker when the kiosk starts;
//! without them the screen says so calmly and the log says what is missing. Pictures and reports live in memory only.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bevy::prelude::*;
use vision::{
    Analyser, Calibration, Picture, SkinReport,
    calibration::StripReport,
    skin::{BURST_MAX, Guidance, Guide, Measured, MetricId},
};

use crate::{
    camera::{Camera, CameraState, CameraStatus, Shutter},
    config::Models,
    jobs::{Outcome, Worker},
    paint::{Cut, Outline, Painting, Part, paint},
    pose::{Pose, PoseStep},
    session::{Consent, Session, SessionEnded},
    theme::motion::{Pace, WAITING},
};

/// Answers [`Measure`].
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<SkinView>()
        .init_resource::<SkinStatus>()
        .init_resource::<SkinPose>()
        .add_observer(measure)
        .add_observer(forget)
        .add_observer(|_: On<Recalibrate>, worker: Option<ResMut<SkinWorker>>| {
            if let Some(mut worker) = worker {
                worker.recalibrates = true;
            }
        })
        .add_observer(|_: On<PutAway>, mut view: ResMut<SkinView>, mut earlier: ResMut<Earlier>| {
            earlier.remember(&view);
            *view = SkinView::Idle;
        })
        .init_resource::<Earlier>()
        .init_resource::<ColourCalibration>()
        .add_observer(|_: On<SessionEnded>, mut view: ResMut<SkinView>, mut earlier: ResMut<Earlier>| {
            *view = SkinView::Idle;
            *earlier = Earlier::default();
        })
        .add_systems(Startup, load.run_if(resource_exists::<SkinWorker>))
        .add_systems(
            PreUpdate,
            (take_in, pose).chain().run_if(resource_exists::<SkinWorker>).run_if(resource_exists::<Camera>),
        )
        .add_systems(Update, wait);
}

/// Asks for a look at the visitor who stands before the camera.
#[derive(Event, Debug, Clone, Copy, Default)]
pub struct Measure;

/// The picture goes; what was measured on it is kept for the next look of the same visitor.
#[derive(Event, Debug, Clone, Copy, Default)]
pub struct PutAway;

/// The picture and all that was measured on it goes at once.
#[derive(Event, Debug, Clone, Copy, Default)]
pub struct Forget;

/// The colours' calibration is another one from now on.
#[derive(Event, Debug, Clone, Copy, Default)]
pub struct Recalibrate;

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
    /// The visitor wanted it gone, and it is.
    Forgotten,
    /// It could not be taken.
    Unavailable(SkinTrouble),
}

/// The visitor who is to be looked at: how long the camera has been seeing him, and what he should change.
#[derive(Resource, Debug, Clone, Copy, PartialEq, Default)]
pub struct SkinPose {
    pose: Pose,
    /// What is to be said now; nothing before the first frame was looked at.
    pub said: Option<Guidance>,
    guided: Duration,
}

/// A picture is taken after this long even when not all is well: the report then says what was not.
const GUIDE_MAX: Duration = Duration::from_secs(20);
/// Longest side of a painted face in pixels.
const FACE_PX_MAX: u32 = 820;

/// What was measured at the visitor's last look before this one.
#[derive(Resource, Debug, Default)]
pub struct Earlier(Vec<(MetricId, Measured)>);

/// How a metric changed between two looks at one visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// More of it.
    More,
    /// Less of it.
    Less,
    /// No more than two looks differ by anyway.
    None,
}

impl Earlier {
    /// How a metric changed; nothing when it was not measured before.
    #[must_use]
    pub fn change(&self, id: MetricId, now: &Measured) -> Option<Change> {
        let (_, before) = self.0.iter().find(|(other, _)| *other == id)?;
        Some(if before.ci[1] < now.ci[0] {
            Change::More
        } else if now.ci[1] < before.ci[0] {
            Change::Less
        } else {
            Change::None
        })
    }

    /// Keeps what was measured; a look that measured nothing leaves what there was.
    fn remember(&mut self, view: &SkinView) {
        if let SkinView::Found(finding) = view
            && finding.report.capture.ok
        {
            let metrics = finding.report.metrics.iter();
            self.0 = metrics.filter_map(|metric| Some((metric.id, metric.measured.clone()?))).collect();
        }
    }
}

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
    /// The picture: of the face alone where something was measured.
    pub painting: Painting,
    /// The same picture with what a metric saw on it.
    pub layers: Vec<(MetricId, Painting)>,
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

/// The colour calibration in use.
#[derive(Resource, Debug, Clone, PartialEq, Default)]
pub enum ColourCalibration {
    /// There is none.
    #[default]
    Missing,
    /// There is one.
    Used {
        /// Its day.
        day: String,
        /// The mean ΔE of its chart.
        delta_e: f64,
    },
    /// There is one that is not used: the strip on the bezel says that light or camera have changed.
    Drifted {
        /// Its day.
        day: String,
        /// The mean ΔE of its chart.
        delta_e: f64,
    },
}

impl ColourCalibration {
    /// What the strip said at the last look.
    fn heed(&mut self, strip: &StripReport) {
        match (std::mem::take(self), strip.ok) {
            (Self::Used { day, delta_e }, false) => {
                let StripReport { delta_e: off, stops, reason, .. } = strip;
                warn!(
                    "the light or the camera has changed since {day}, a chart is needed: {off:?} {stops:?} {reason:?}"
                );
                *self = Self::Drifted { day, delta_e };
            }
            (Self::Drifted { day, delta_e }, true) => *self = Self::Used { day, delta_e },
            (same, _) => *self = same,
        }
    }
}

/// What the worker does.
#[derive(Debug)]
enum Job {
    Load,
    Recalibrate,
    Guide { shutter: Shutter, is_first: bool },
    Look(Shutter),
}

/// What it has done.
#[derive(Debug)]
enum Report {
    Loaded(ColourCalibration),
    Guided(Guidance),
    Found(Box<SkinFinding>),
    NoModels(String),
    NoPicture(String),
    Failed(String),
}

/// The worker.
#[derive(Resource)]
pub struct SkinWorker {
    worker: Worker<Job, Report>,
    /// There is a new calibration, which waits until the worker is free.
    recalibrates: bool,
}

impl SkinWorker {
    /// Starts the worker; the networks are loaded there.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(models: Models) -> std::io::Result<Self> {
        let mut analyser = None;
        let mut guide = Guide::default();
        Worker::start("skin", move |job| work(&mut analyser, &mut guide, &models, job))
            .map(|worker| Self { worker, recalibrates: false })
    }
}

fn work(analyser: &mut Option<Analyser>, guide: &mut Guide, models: &Models, job: Job) -> Report {
    if analyser.is_none() {
        let path = |path: &Option<PathBuf>| path.clone();
        match Analyser::load(path(&models.dir).as_deref(), path(&models.onnxruntime).as_deref()) {
            Ok(loaded) => *analyser = Some(calibrated(loaded, models)),
            Err(error) => return Report::NoModels(crate::chain(&error)),
        }
    }
    if matches!(job, Job::Recalibrate) {
        *analyser = analyser.take().map(|analyser| calibrated(analyser, models));
    }
    let Some(analyser) = analyser else { return Report::NoModels("they were not loaded".to_owned()) };
    match job {
        Job::Load | Job::Recalibrate => {
            let used = analyser.calibration();
            Report::Loaded(used.map_or(ColourCalibration::Missing, |used| ColourCalibration::Used {
                day: used.date().to_string(),
                delta_e: used.delta_e().mean_76,
            }))
        }
        Job::Guide { shutter, is_first } => {
            if is_first {
                *guide = Guide::default();
            }
            match shutter.take() {
                Ok(picture) => match analyser.guide(guide, &picture) {
                    Ok(said) => Report::Guided(said),
                    Err(error) => Report::Failed(crate::chain(&error)),
                },
                Err(error) => Report::NoPicture(crate::chain(&error)),
            }
        }
        Job::Look(shutter) => match shutter.burst(BURST_MAX) {
            Ok(pictures) => look(analyser, &pictures),
            Err(error) => Report::NoPicture(crate::chain(&error)),
        },
    }
}

/// With the store's calibration, where there is one that can be read; without it, visitors are told so.
fn calibrated(analyser: Analyser, models: &Models) -> Analyser {
    let Some(file) = models.calibration_file() else { return analyser };
    match Calibration::from_file(file) {
        Ok(calibration) => analyser.calibrated(calibration),
        Err(error) => {
            warn!("colours are not calibrated: `{}`: {}", file.display(), crate::chain(&error));
            analyser
        }
    }
}

fn look(analyser: &Analyser, pictures: &[Arc<Picture>]) -> Report {
    let mut report = match analyser.skin_burst(pictures) {
        Ok(report) => report,
        Err(error) => return Report::Failed(crate::chain(&error)),
    };
    let Some(picture) = pictures.get(report.shown) else {
        return Report::Failed("the report is about a picture that was not taken".to_owned());
    };
    // The maps are painted here, and go with this job.
    let Some(overlay) = report.overlay.take() else {
        let outlines: Vec<Outline> = report.outlines.iter().map(|region| outline(&region.polygon)).collect();
        let painting = paint(picture, &outlines);
        return Report::Found(Box::new(SkinFinding { painting, layers: Vec::new(), report }));
    };
    let (from, to) = overlay.bounds();
    let cut = Cut::of(picture, Part::between(picture, [from.x, from.y], [to.x, to.y]), FACE_PX_MAX);
    let layers = LAYERS.map(|(id, colour)| {
        (id, cut.tinted(colour, |[x, y]| overlay.strength(id, vision::Point::new(x, y))))
    });
    let finding = SkinFinding { painting: cut.plain(), layers: layers.into(), report };
    Report::Found(Box::new(finding))
}

/// What can be shown on the face, each in its colour.
pub const LAYERS: [(MetricId, [u8; 3]); 4] = [
    (MetricId::Lines, [0, 214, 143]),
    (MetricId::Spots, [255, 176, 32]),
    (MetricId::Redness, [232, 46, 84]),
    (MetricId::Shine, [64, 156, 255]),
];

#[expect(clippy::cast_possible_truncation, reason = "a place in a picture fits an f32")]
fn outline(polygon: &[vision::Point]) -> Outline {
    Outline {
        corners: polygon.iter().map(|point| [point.x as f32, point.y as f32]).collect(),
        colour: crate::theme::REGION_RGB,
        fill: 0.10,
    }
}

fn load(mut worker: ResMut<SkinWorker>, session: Res<Session>) {
    worker.worker.submit(session.id(), Job::Load);
}

fn measure(
    _: On<Measure>,
    camera: Res<Camera>,
    session: Res<Session>,
    worker: Option<Res<SkinWorker>>,
    status: Res<SkinStatus>,
    mut view: ResMut<SkinView>,
    mut pose: ResMut<SkinPose>,
    mut earlier: ResMut<Earlier>,
) {
    if session.consent() == Consent::Unasked && *view == SkinView::Forgotten {
        // The question comes first.
        return;
    }
    earlier.remember(&view);
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

fn forget(
    _: On<Forget>,
    mut view: ResMut<SkinView>,
    mut earlier: ResMut<Earlier>,
    mut session: ResMut<Session>,
) {
    session.answer(Consent::Unasked);
    *earlier = Earlier::default();
    *view = if matches!(*view, SkinView::Found(_)) { SkinView::Forgotten } else { SkinView::Idle };
}

/// Waits until all is well before the camera, then takes the burst. A camera that comes back begins anew.
fn pose(time: Res<Time>, status: Res<CameraStatus>, mut view: ResMut<SkinView>, mut pose: ResMut<SkinPose>) {
    let state = status.visitors;
    if *view == SkinView::Unavailable(SkinTrouble::Camera) && state == CameraState::Streaming {
        *pose = SkinPose::default();
        *view = SkinView::Posing;
    }
    if *view != SkinView::Posing {
        return;
    }
    if state != CameraState::Streaming {
        (pose.said, pose.guided) = (None, Duration::ZERO);
    }
    match pose.pose.step(state, time.delta()) {
        PoseStep::Waiting => {}
        PoseStep::Ready => {
            pose.guided += time.delta();
            // `take_in` submits the look as soon as the worker is free.
            if pose.said.is_some_and(|said| said.is_ready()) || GUIDE_MAX <= pose.guided {
                *view = SkinView::Looking;
            }
        }
        PoseStep::NoCamera => *view = SkinView::Unavailable(SkinTrouble::Camera),
    }
}

fn take_in(
    mut worker: ResMut<SkinWorker>,
    session: Res<Session>,
    camera: Res<Camera>,
    mut view: ResMut<SkinView>,
    mut pose: ResMut<SkinPose>,
    mut status: ResMut<SkinStatus>,
    mut calibration: ResMut<ColourCalibration>,
) {
    let SkinWorker { worker, recalibrates } = worker.bypass_change_detection();
    if let Some((asked_by, outcome)) = worker.poll() {
        let is_here = asked_by == session.id();
        let waits = matches!(*view, SkinView::Posing | SkinView::Looking);
        match settle(outcome, &mut status, &mut calibration) {
            Settled::Guided(said) if is_here && *view == SkinView::Posing => pose.said = Some(said),
            Settled::Seen(seen) if is_here && waits => *view = seen,
            Settled::Guided(_) | Settled::Seen(_) | Settled::Nothing => {}
        }
    }
    if worker.is_busy() {
        return;
    }
    if std::mem::take(recalibrates) {
        worker.submit(session.id(), Job::Recalibrate);
        return;
    }
    let job = |shutter| match *view {
        SkinView::Posing => Some(Job::Guide { shutter, is_first: pose.said.is_none() }),
        SkinView::Looking => Some(Job::Look(shutter)),
        _ => None,
    };
    if let Some(job) = camera.shutter().and_then(job) {
        worker.submit(session.id(), job);
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

/// What a job came to.
enum Settled {
    Nothing,
    Guided(Guidance),
    Seen(SkinView),
}

/// Logs what a job came to, and says what a visitor who waits for it sees.
fn settle(outcome: Outcome<Report>, status: &mut SkinStatus, calibration: &mut ColourCalibration) -> Settled {
    let unavailable = |trouble| Settled::Seen(SkinView::Unavailable(trouble));
    match outcome {
        Outcome::Done(Report::Loaded(used)) => {
            *status = SkinStatus::Ready;
            *calibration = used;
            Settled::Nothing
        }
        Outcome::Done(Report::Guided(said)) => Settled::Guided(said),
        Outcome::Done(Report::Found(finding)) => {
            *status = SkinStatus::Ready;
            if let Some(strip) = &finding.report.capture.strip {
                calibration.heed(strip);
            }
            Settled::Seen(SkinView::Found(finding))
        }
        Outcome::Done(Report::NoModels(reason)) => {
            warn!("skin analysis is not available: {reason}");
            *status = SkinStatus::Missing;
            unavailable(SkinTrouble::Models)
        }
        Outcome::Done(Report::NoPicture(reason)) => {
            warn!("the camera gives no picture: {reason}");
            unavailable(SkinTrouble::Camera)
        }
        Outcome::Done(Report::Failed(reason)) => {
            error!("the skin analysis failed: {reason}");
            unavailable(SkinTrouble::Broken)
        }
        Outcome::Broke => {
            error!("the skin worker broke down on a picture");
            unavailable(SkinTrouble::Broken)
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
            calibration: None,
            kept_calibration: None,
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
    fn a_strip_that_has_changed_is_told_to_staff_until_it_is_as_it_was() {
        let strip = |ok| StripReport { ok, delta_e: Some(4.0), stops: Some(0.0), reason: None };
        let used = ColourCalibration::Used { day: "2026-11-22".to_owned(), delta_e: 1.2 };
        let mut calibration = used.clone();
        calibration.heed(&strip(true));
        assert_eq!(calibration, used);
        calibration.heed(&strip(false));
        assert!(matches!(calibration, ColourCalibration::Drifted { .. }));
        calibration.heed(&strip(true));
        assert_eq!(calibration, used);
    }

    #[test]
    fn a_change_is_told_only_where_two_looks_differ_by_more_than_they_may() {
        let measured = |value: f64| Measured {
            value,
            unit: MetricId::Spots.unit(),
            ci: [value - 1.0, value + 1.0],
            score: None,
            score_ci: None,
            direction: MetricId::Spots.direction(),
            count: None,
            regions: Vec::new(),
        };
        let earlier = Earlier(vec![(MetricId::Spots, measured(5.0))]);
        let change = |value: f64| earlier.change(MetricId::Spots, &measured(value));
        assert_eq!(
            [change(2.0), change(6.5), change(7.5)].map(Option::unwrap),
            [Change::Less, Change::None, Change::More]
        );
        assert_eq!(earlier.change(MetricId::Lines, &measured(5.0)), None);
    }

    #[test]
    fn a_report_for_a_visitor_who_has_left_is_dropped() {
        let mut app = app();
        app.world_mut().trigger(Measure);
        app.world_mut().trigger(crate::session::EndSession);
        app.update();
        pump(&mut app, |app| !app.world().resource::<SkinWorker>().worker.is_busy());
        assert_eq!(*app.world().resource::<SkinView>(), SkinView::Idle);
    }
}
