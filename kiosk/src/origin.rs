//! Where a product comes from: a code in the picture, the record that the store has for it, and a verdict.
//!
//! Owns [`OriginView`], the one finding of the current visitor. Reading the picture, the code and the record happens
//! on a worker with one job in flight; a finding for a visitor who has left is dropped. Screens ask with [`Trace`].

mod store;

use std::sync::Arc;

use bevy::prelude::*;
use jiff::Timestamp;
use provenance::{Assessment, ItemClaim, Reason, Verdict};
use vision::{codes, gs1};

pub use store::{Catalogue, Form, LipColour, OriginStore, Product, StoreError};

use crate::{
    camera::{Camera, Shutter},
    jobs::{Outcome, Worker},
    paint::{Outline, Painting, paint},
    session::{Session, SessionEnded},
    theme::motion::{Pace, WAITING},
};

/// Business steps for which the locales have words; others are shown as they are written.
pub const STEPS_WITH_WORDS: [&str; 20] = [
    "accepting",
    "arriving",
    "commissioning",
    "departing",
    "holding",
    "inspecting",
    "loading",
    "other",
    "packing",
    "picking",
    "receiving",
    "repackaging",
    "retail_selling",
    "sampling",
    "sensor_reporting",
    "shipping",
    "stocking",
    "storing",
    "transporting",
    "unloading",
];

/// Answers [`Trace`].
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<OriginView>()
        .init_resource::<Catalogue>()
        .add_observer(trace)
        .add_observer(|_: On<SessionEnded>, mut view: ResMut<OriginView>| *view = OriginView::Idle)
        .add_systems(PreUpdate, take_in.run_if(resource_exists::<OriginWorker>))
        .add_systems(Update, wait);
}

/// Asks for a look at the product that is held before the camera.
#[derive(Event, Debug, Clone, Copy)]
pub struct Trace;

/// What the visitor sees.
#[derive(Resource, Debug, Clone, Default, PartialEq)]
pub enum OriginView {
    /// Nobody has asked.
    #[default]
    Idle,
    /// A look is being taken.
    Looking,
    /// It was taken.
    Found(Box<Finding>),
    /// It could not be taken.
    Unavailable(OriginTrouble),
}

/// Why no look can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginTrouble {
    /// There is no camera, or it gives no picture.
    Camera,
    /// The feature broke down.
    Broken,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The picture with every code outlined.
    pub painting: Painting,
    /// What was said about the item.
    pub answer: Answer,
}

/// What is said about the item.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// There is no code in the picture.
    NoCode,
    /// There is one, but it names no product.
    NotAProduct {
        /// What it says, cut to 120 characters.
        text: String,
    },
    /// It names a product.
    Item {
        /// What the code claims.
        claim: ItemClaim,
        /// The product, when the store sells it.
        product: Option<Box<Product>>,
        /// How far the claim can be believed.
        assessment: Box<Assessment>,
    },
}

/// The worker.
#[derive(Resource)]
pub struct OriginWorker(Worker<Shutter, Result<Finding, String>>);

impl OriginWorker {
    /// Starts the worker on what the store knows.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: OriginStore) -> std::io::Result<Self> {
        let store = Arc::new(store);
        Worker::start("origin", move |shutter: Shutter| look(&shutter, &store, Timestamp::now())).map(Self)
    }
}

fn trace(
    _: On<Trace>,
    session: Res<Session>,
    camera: Res<Camera>,
    worker: Option<ResMut<OriginWorker>>,
    mut view: ResMut<OriginView>,
) {
    let Some(mut worker) = worker else {
        *view = OriginView::Unavailable(OriginTrouble::Broken);
        return;
    };
    let Some(shutter) = camera.product_shutter() else {
        *view = OriginView::Unavailable(OriginTrouble::Camera);
        return;
    };
    // A job of the visitor before may still be in flight; `take_in` starts ours when it is done.
    worker.0.submit(session.id(), shutter);
    *view = OriginView::Looking;
}

fn take_in(
    mut worker: ResMut<OriginWorker>,
    session: Res<Session>,
    camera: Res<Camera>,
    mut view: ResMut<OriginView>,
) {
    let worker = &mut worker.bypass_change_detection().0;
    if let Some((asked_by, outcome)) = worker.poll()
        && asked_by == session.id()
    {
        *view = match outcome {
            Outcome::Done(Ok(finding)) => OriginView::Found(Box::new(finding)),
            Outcome::Done(Err(reason)) => {
                warn!("the camera gives no picture: {reason}");
                OriginView::Unavailable(OriginTrouble::Camera)
            }
            Outcome::Broke => {
                error!("the origin worker broke down on a picture");
                OriginView::Unavailable(OriginTrouble::Broken)
            }
        };
    }
    if *view == OriginView::Looking
        && !worker.is_busy()
        && let Some(shutter) = camera.product_shutter()
    {
        worker.submit(session.id(), shutter);
    }
}

/// A visitor who waits sees the answer as soon as it is there.
fn wait(view: Res<OriginView>, pace: Option<ResMut<Pace>>) {
    if *view == OriginView::Looking
        && let Some(mut pace) = pace
    {
        pace.within(WAITING);
    }
}

/// Takes a picture and says what it shows.
fn look(shutter: &Shutter, store: &OriginStore, now: Timestamp) -> Result<Finding, String> {
    let picture = shutter.take().map_err(|error| crate::chain(&error))?;
    let codes = codes::read(&picture);
    let named =
        codes.iter().enumerate().find_map(|(index, code)| gs1::parse(code).ok().map(|item| (index, item)));
    let (shown, answer) = match (&named, codes.first()) {
        (Some((index, item)), _) => {
            let claim = ItemClaim::try_new(item.gtin.as_str(), item.lot.as_deref(), item.serial.as_deref());
            match claim {
                Ok(claim) => (Some(*index), store.answer(claim, now)),
                Err(error) => (Some(*index), Answer::NotAProduct { text: error.to_string() }),
            }
        }
        (None, Some(code)) => (Some(0), Answer::NotAProduct { text: code.text.chars().take(120).collect() }),
        (None, None) => (None, Answer::NoCode),
    };
    let outlines: Vec<Outline> = codes
        .iter()
        .enumerate()
        .map(|(index, code)| Outline {
            corners: code.corners.iter().map(|corner| corner_of(*corner)).collect(),
            colour: if Some(index) == shown { colour_of(&answer) } else { [200, 200, 200] },
            fill: if Some(index) == shown { 0.12 } else { 0.0 },
        })
        .collect();
    Ok(Finding { painting: paint(&picture, &outlines), answer })
}

#[expect(clippy::cast_possible_truncation, reason = "a place in a picture fits an f32")]
fn corner_of(point: vision::Point) -> [f32; 2] {
    [point.x as f32, point.y as f32]
}

fn colour_of(answer: &Answer) -> [u8; 3] {
    match answer {
        Answer::Item { assessment, .. } => crate::theme::verdict_rgb(assessment.verdict),
        Answer::NoCode | Answer::NotAProduct { .. } => crate::theme::verdict_rgb(Verdict::Unverified),
    }
}

/// The key of a verdict's words.
#[must_use]
pub fn verdict_key(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Genuine => "genuine",
        Verdict::GenuineStale => "genuine-stale",
        Verdict::Caution => "caution",
        Verdict::Unverified => "unverified",
        Verdict::Invalid => "invalid",
    }
}

impl OriginStore {
    /// What the store can say about a claim at `now`.
    #[must_use]
    pub fn answer(&self, claim: ItemClaim, now: Timestamp) -> Answer {
        let assessment = self.assess(&claim, now);
        for reason in &assessment.reasons {
            info!("origin of {}: {reason}", claim.gtin());
        }
        if matches!(assessment.reasons[..], [Reason::NoRecord]) {
            info!("origin of {}: put its supplier's record into the records folder", claim.gtin());
        }
        Answer::Item {
            product: self.product(claim.gtin()).cloned().map(Box::new),
            claim,
            assessment: Box::new(assessment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CameraSource;

    /// A camera that sees nothing.
    fn blind() -> Camera {
        let nowhere = CameraSource::File("/nowhere/at/all.png".into());
        Camera::new(Some(nowhere))
    }

    fn app() -> App {
        let mut app = App::new();
        app.add_plugins(MinimalPlugins)
            .add_plugins((crate::i18n::plugin, crate::session::plugin, plugin))
            .insert_resource(OriginWorker::start(OriginStore::default()).unwrap());
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
    fn without_a_camera_the_screen_is_told() {
        let mut app = app();
        app.insert_resource(Camera::default());
        app.world_mut().trigger(Trace);
        assert_eq!(*app.world().resource::<OriginView>(), OriginView::Unavailable(OriginTrouble::Camera));
    }

    #[test]
    fn a_picture_that_is_none_is_a_camera_that_gives_none() {
        let mut app = app();
        app.insert_resource(blind());
        app.world_mut().trigger(Trace);
        assert_eq!(*app.world().resource::<OriginView>(), OriginView::Looking);
        pump(&mut app, |app| *app.world().resource::<OriginView>() != OriginView::Looking);
        assert_eq!(*app.world().resource::<OriginView>(), OriginView::Unavailable(OriginTrouble::Camera));
    }

    #[test]
    fn a_finding_for_a_visitor_who_has_left_is_dropped() {
        let mut app = app();
        app.insert_resource(blind());
        app.world_mut().trigger(Trace);
        app.world_mut().trigger(crate::session::EndSession);
        app.world_mut().flush();
        assert_eq!(*app.world().resource::<OriginView>(), OriginView::Idle);
        pump(&mut app, |app| !app.world().resource::<OriginWorker>().0.is_busy());
        assert_eq!(
            *app.world().resource::<OriginView>(),
            OriginView::Idle,
            "the late result changes nothing"
        );
    }
}
