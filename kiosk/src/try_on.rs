//! How a lip colour of the catalogue would look: asked for by the visitor, drawn on a worker, forgotten with the session.
//!
//! Owns [`TryOnView`], [`Shades`] and which shade is chosen. The picture is taken once and coloured in every shade, so
//! that choosing costs nothing; pictures live in memory only. Where the lips are and how they are coloured is
//! `vision::lips`.

use std::sync::Arc;

use bevy::prelude::*;
use provenance::Names;
use vision::{
    Analyser, Picture,
    lips::{self, LipError, Shade},
};

use crate::{
    camera::{Camera, CameraState, CameraStatus, Shutter},
    config::Models,
    jobs::{Outcome, Worker},
    link::StoreFacts,
    origin::OriginStore,
    paint::{Painting, paint},
    pose::{Pose, PoseStep},
    session::{Session, SessionEnded},
};

/// Shades beyond these are not shown: one row of a screen.
pub const SHADES_MAX: usize = 6;

/// Answers [`TryOn`].
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<TryOnView>()
        .init_resource::<TryOnPose>()
        .init_resource::<Choice>()
        .init_resource::<Shades>()
        .add_observer(begin)
        .add_observer(|_: On<SessionEnded>, mut view: ResMut<TryOnView>, mut choice: ResMut<Choice>| {
            *view = TryOnView::Idle;
            *choice = Choice::default();
        })
        .add_systems(
            PreUpdate,
            (take_in, pose).chain().run_if(resource_exists::<TryOnWorker>).run_if(resource_exists::<Camera>),
        );
}

/// Asks for a picture in every shade.
#[derive(Event, Debug, Clone, Copy)]
pub struct TryOn;

/// A product whose colour can be tried.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadeOffer {
    /// GTIN-14.
    pub gtin: String,
    /// Its names by language.
    pub name: Names,
    /// Its colour.
    pub shade: Shade,
}

/// What the catalogue has to try, in its order.
#[derive(Resource, Debug, Clone, Default, PartialEq)]
pub struct Shades(pub Vec<ShadeOffer>);

impl Shades {
    /// Of a store's catalogue.
    #[must_use]
    pub fn of(store: &OriginStore) -> Self {
        let offers = store.products().filter_map(|product| {
            let lip = product.lip.as_ref()?;
            let shade = Shade { rgb: lip.rgb(), cover: lip.cover() };
            Some(ShadeOffer { gtin: product.gtin.clone(), name: product.name.clone(), shade })
        });
        Self(offers.take(SHADES_MAX).collect())
    }
}

/// How many of a product the store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stock {
    /// So many, as the shelves say.
    Pieces(u32),
    /// None.
    None,
    /// No shelf says anything about it.
    Unknown,
}

impl Stock {
    /// Of a product.
    #[must_use]
    pub fn of(facts: &StoreFacts, gtin: &str) -> Self {
        let pieces: Vec<u32> = facts
            .shelves
            .values()
            .filter(|shelf| shelf.gtin.as_deref().is_some_and(|found| is_same(found, gtin)))
            .filter_map(|shelf| shelf.pieces)
            .collect();
        match pieces.iter().fold(0_u32, |sum, pieces| sum.saturating_add(*pieces)) {
            0 if pieces.is_empty() => Self::Unknown,
            0 => Self::None,
            pieces => Self::Pieces(pieces),
        }
    }
}

/// A GTIN may be written with or without the zeros that fill it up to 14 digits.
fn is_same(one: &str, other: &str) -> bool {
    one.trim_start_matches('0') == other.trim_start_matches('0')
}

/// What the visitor sees.
#[derive(Resource, Debug, Clone, Default, PartialEq)]
pub enum TryOnView {
    /// Nobody has asked.
    #[default]
    Idle,
    /// Visitors see themselves, and how long until the picture is taken.
    Posing,
    /// It is taken and coloured.
    Looking,
    /// It was.
    Found(Box<Looks>),
    /// It could not be.
    Unavailable(TryOnTrouble),
}

/// Why nothing can be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryOnTrouble {
    /// There is no camera, or it gives no picture.
    Camera,
    /// The networks or the library that runs them are missing or damaged.
    Models,
    /// The feature broke down.
    Broken,
    /// The catalogue has no shade.
    NoShades,
    /// There is no face in the picture.
    NoFace,
    /// There is one, but its lips cannot be seen well.
    NoLips,
}

/// The visitor as he is, and in every shade.
#[derive(Debug, Clone, PartialEq)]
pub struct Looks {
    /// As he is.
    pub before: Painting,
    /// In the order of [`Shades`].
    pub after: Vec<Painting>,
}

/// Which of [`Looks`] is shown.
#[derive(Resource, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choice {
    /// The shade.
    pub shade: usize,
    /// Whether the picture without it is shown, for as long as a finger asks for it.
    pub is_before: bool,
}

/// The pose of the visitor who wants to try.
#[derive(Resource, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TryOnPose(pub Pose);

/// What the worker does.
struct Job {
    shutter: Shutter,
    shades: Vec<Shade>,
}

/// What it has done.
enum Report {
    Done(Box<Looks>),
    NoModels(String),
    NoPicture(String),
    NoFace,
    NoLips(LipError),
    Failed(String),
}

/// The worker.
#[derive(Resource)]
pub struct TryOnWorker(Worker<Job, Report>);

impl TryOnWorker {
    /// Starts the worker; the networks are loaded there when somebody asks for the first time.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(models: Models) -> std::io::Result<Self> {
        let mut analyser = None;
        Worker::start("try-on", move |job| work(&mut analyser, &models, &job)).map(Self)
    }
}

fn work(analyser: &mut Option<Analyser>, models: &Models, job: &Job) -> Report {
    let analyser = match analyser {
        Some(analyser) => analyser,
        None => match Analyser::load(models.dir.as_deref(), models.onnxruntime.as_deref()) {
            Ok(loaded) => analyser.insert(loaded),
            Err(error) => return Report::NoModels(crate::chain(&error)),
        },
    };
    match job.shutter.take() {
        Ok(picture) => draw(analyser, &picture, &job.shades),
        Err(error) => Report::NoPicture(crate::chain(&error)),
    }
}

fn draw(analyser: &Analyser, picture: &Arc<Picture>, shades: &[Shade]) -> Report {
    let faces = match analyser.faces(picture) {
        Ok(faces) => faces,
        Err(error) => return Report::Failed(crate::chain(&error)),
    };
    // The largest face is the one that stands in front.
    let Some(face) = faces.first() else { return Report::NoFace };
    match lips::find(picture, face, analyser.point_names()) {
        Ok(mask) => Report::Done(Box::new(Looks {
            before: paint(picture, &[]),
            after: shades.iter().map(|shade| paint(&mask.colour(picture, *shade), &[])).collect(),
        })),
        Err(error) => Report::NoLips(error),
    }
}

fn begin(
    _: On<TryOn>,
    camera: Res<Camera>,
    shades: Res<Shades>,
    worker: Option<Res<TryOnWorker>>,
    mut view: ResMut<TryOnView>,
    mut pose: ResMut<TryOnPose>,
    mut choice: ResMut<Choice>,
) {
    // Nobody is filmed for what cannot be shown.
    *view = if worker.is_none() {
        TryOnView::Unavailable(TryOnTrouble::Broken)
    } else if shades.0.is_empty() {
        TryOnView::Unavailable(TryOnTrouble::NoShades)
    } else if camera.is_present() {
        *pose = TryOnPose::default();
        choice.is_before = false;
        TryOnView::Posing
    } else {
        TryOnView::Unavailable(TryOnTrouble::Camera)
    };
}

fn pose(
    time: Res<Time>,
    status: Res<CameraStatus>,
    mut view: ResMut<TryOnView>,
    mut pose: ResMut<TryOnPose>,
) {
    let state = status.visitors;
    if *view == TryOnView::Unavailable(TryOnTrouble::Camera) && state == CameraState::Streaming {
        *pose = TryOnPose::default();
        *view = TryOnView::Posing;
    }
    if *view != TryOnView::Posing {
        return;
    }
    match pose.0.step(state, time.delta()) {
        PoseStep::Waiting => {}
        PoseStep::Ready => *view = TryOnView::Looking,
        PoseStep::NoCamera => *view = TryOnView::Unavailable(TryOnTrouble::Camera),
    }
}

fn take_in(
    mut worker: ResMut<TryOnWorker>,
    session: Res<Session>,
    camera: Res<Camera>,
    shades: Res<Shades>,
    mut view: ResMut<TryOnView>,
) {
    let worker = &mut worker.bypass_change_detection().0;
    if let Some((asked_by, outcome)) = worker.poll() {
        let seen = settle(outcome);
        if asked_by == session.id() && *view == TryOnView::Looking {
            *view = seen;
        }
    }
    if *view == TryOnView::Looking
        && !worker.is_busy()
        && let Some(shutter) = camera.shutter()
    {
        let shades = shades.0.iter().map(|offer| offer.shade).collect();
        worker.submit(session.id(), Job { shutter, shades });
    }
}

/// Logs what a job came to, and says what a visitor who waits for it sees.
fn settle(outcome: Outcome<Report>) -> TryOnView {
    TryOnView::Unavailable(match outcome {
        Outcome::Done(Report::Done(looks)) => return TryOnView::Found(looks),
        Outcome::Done(Report::NoFace) => TryOnTrouble::NoFace,
        Outcome::Done(Report::NoLips(error)) => {
            info!("nothing is tried on: {error}");
            TryOnTrouble::NoLips
        }
        Outcome::Done(Report::NoModels(reason)) => {
            warn!("try-on is not available: {reason}");
            TryOnTrouble::Models
        }
        Outcome::Done(Report::NoPicture(reason)) => {
            warn!("the camera gives no picture: {reason}");
            TryOnTrouble::Camera
        }
        Outcome::Done(Report::Failed(reason)) => {
            error!("try-on failed: {reason}");
            TryOnTrouble::Broken
        }
        Outcome::Broke => {
            error!("the try-on worker broke down on a picture");
            TryOnTrouble::Broken
        }
    })
}

#[cfg(test)]
mod tests {
    use contract::hub::ShelfStock;

    use super::*;

    fn facts(shelves: &[(&str, Option<u32>)]) -> StoreFacts {
        let mut facts = StoreFacts::default();
        for (index, (gtin, pieces)) in shelves.iter().enumerate() {
            let shelf: ShelfStock = serde_json::from_value(serde_json::json!({
                "shelf": format!("s{index}"), "gtin": gtin, "pieces": pieces, "at": "2026-11-22T20:00:00.000Z",
            }))
            .unwrap();
            facts.shelves.insert(format!("s{index}"), shelf);
        }
        facts
    }

    #[test]
    fn stock_is_what_the_shelves_say_and_unknown_where_none_does() {
        let facts =
            facts(&[("09521238000101", Some(2)), ("9521238000101", Some(3)), ("09521238000118", Some(0))]);
        assert_eq!(Stock::of(&facts, "09521238000101"), Stock::Pieces(5));
        assert_eq!(Stock::of(&facts, "09521238000118"), Stock::None);
        assert_eq!(Stock::of(&facts, "09521238000125"), Stock::Unknown);
    }

    #[test]
    fn without_a_shade_or_a_camera_nobody_is_filmed() {
        let mut app = App::new();
        app.add_plugins((
            MinimalPlugins,
            crate::i18n::plugin,
            crate::session::plugin,
            crate::camera::plugin,
            plugin,
        ))
        .insert_resource(Camera::default())
        .insert_resource(TryOnWorker::start(Models::default()).unwrap());
        let view = |app: &mut App| {
            app.world_mut().trigger(TryOn);
            app.world().resource::<TryOnView>().clone()
        };
        assert_eq!(view(&mut app), TryOnView::Unavailable(TryOnTrouble::NoShades));
        let shade = Shade { rgb: [150, 20, 40], cover: 0.7 };
        let offer = ShadeOffer { gtin: "09521238000101".to_owned(), name: Names::default(), shade };
        app.insert_resource(Shades(vec![offer]));
        assert_eq!(view(&mut app), TryOnView::Unavailable(TryOnTrouble::Camera));
    }
}
