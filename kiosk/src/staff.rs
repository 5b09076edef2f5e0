//! The staff's side of the kiosk: who is let in, and what they may do there.
//!
//! Owns [`StaffRoom`]: the PIN as it is typed, wrong tries and their pause, the lamp check. A PIN is verified on a
//! worker; a wrong one costs a growing pause that outlives screen, session and process ([`pin::BackOff`], [`tally`]).
//! Knows no screen; with the session the door is shut again.

pub mod chart;
pub mod pin;
pub mod tally;

use std::{path::PathBuf, time::Duration};

use bevy::prelude::*;
use vision::{Calibration, calibration::Strip};

use crate::{
    camera::{self, Camera, Shutter, Which},
    exits,
    jobs::{Outcome, Worker},
    session::{Session, SessionEnded},
    skin::Recalibrate,
    theme::motion::{Pace, WAITING},
};
use chart::Chart;
use pin::{BackOff, Pin, PinHash};
use tally::Tally;

/// Answers [`Touch`].
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<StaffRoom>()
        .init_resource::<Machine>()
        .add_observer(touch)
        .add_observer(|_: On<SessionEnded>, mut room: ResMut<StaffRoom>| room.shut())
        .add_systems(
            Update,
            (keep_time, take_in.run_if(resource_exists::<StaffWorker>), hold_camera).chain(),
        );
}

/// What staff do.
#[derive(Event, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// A key of the pad, 0 to 9.
    Digit(u8),
    /// Takes the last digit back.
    Delete,
    /// Takes all digits back.
    Clear,
    /// Let me in.
    Enter,
    /// Look through the camera once, for the light; the picture is dropped at once.
    Measure,
    /// Look for the colour chart before the camera; once it is found, keep what follows from it.
    Calibrate,
    /// End the process.
    Exit,
    /// Staff go away.
    Leave,
}

/// Who may see what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gate {
    /// There is no PIN, so nobody is let in.
    #[default]
    NoPin,
    /// A PIN is needed.
    Shut,
    /// The last PIN was wrong.
    Wrong,
    /// A PIN is being verified.
    Checking,
    /// Staff are in.
    Open,
}

/// What the camera says about the light.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Light {
    /// Nobody has asked.
    #[default]
    Unknown,
    /// A picture is being taken.
    Looking,
    /// How bright it is, and how much of it is lost.
    Seen {
        /// Mean brightness in %, of the sRGB scale.
        mean_pct: f64,
        /// Share of the picture that is all white, in %.
        white_pct: f64,
        /// Share of the picture that is all black, in %.
        black_pct: f64,
        /// Width and height in pixels.
        size: (u32, u32),
    },
    /// There is no picture.
    NoPicture,
}

/// What is built into this kiosk and what it is set up to do, for staff to read. No secrets.
#[derive(Resource, Debug, Default, Clone)]
pub struct Machine {
    /// The kiosk's id.
    pub kiosk: String,
    /// The hub's address.
    pub hub: Option<String>,
    /// Where the colours' calibration is kept; nowhere when absent.
    pub calibration: Option<PathBuf>,
    /// Where the strip on the bezel is, where there is one.
    pub strip: Option<Strip>,
    /// Parts and their versions or digests.
    pub versions: Vec<(&'static str, String)>,
}

/// See the module.
#[derive(Resource, Debug, Default)]
pub struct StaffRoom {
    hash: Option<PinHash>,
    gate: Gate,
    pin: Pin,
    back_off: BackOff,
    light: Light,
    chart: Chart,
    /// The way out was touched once.
    asks_exit: bool,
}

impl StaffRoom {
    /// Lets in who knows the PIN of this hash, after so many wrong ones before.
    #[must_use]
    pub fn new(hash: Option<PinHash>, wrong: u32) -> Self {
        let gate = if hash.is_some() { Gate::Shut } else { Gate::NoPin };
        Self { hash, gate, back_off: BackOff::resumed(wrong), ..default() }
    }

    /// Who may see what.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// Whether one more touch ends the kiosk.
    #[must_use]
    pub fn asks_exit(&self) -> bool {
        self.asks_exit
    }

    /// Digits typed so far.
    #[must_use]
    pub fn typed(&self) -> usize {
        self.pin.len()
    }

    /// Whether what is typed may be a PIN.
    #[must_use]
    pub fn may_enter(&self) -> bool {
        self.pin.is_whole() && self.pause().is_none() && matches!(self.gate, Gate::Shut | Gate::Wrong)
    }

    /// How long nothing is tried after wrong PINs, in whole seconds.
    #[must_use]
    pub fn pause(&self) -> Option<u64> {
        self.back_off.left().map(|left| left.as_secs() + u64::from(0 < left.subsec_nanos()))
    }

    /// What the camera says about the light.
    #[must_use]
    pub fn light(&self) -> Light {
        self.light
    }

    /// How the calibration with a chart stands.
    #[must_use]
    pub fn chart(&self) -> &Chart {
        &self.chart
    }

    /// As if the PIN had been right: for pictures of the screen.
    pub fn show(&mut self, light: Light) {
        self.gate = Gate::Open;
        self.light = light;
        self.chart = Chart::Unknown;
        self.asks_exit = false;
    }

    /// As if staff had looked for the chart.
    #[cfg(test)]
    pub(crate) fn put(&mut self, chart: Chart) {
        self.chart = chart;
    }

    fn shut(&mut self) {
        self.pin.wipe();
        self.light = Light::Unknown;
        self.chart = Chart::Unknown;
        self.asks_exit = false;
        self.gate = if self.hash.is_some() { Gate::Shut } else { Gate::NoPin };
    }
}

/// What the worker does.
#[derive(Debug)]
enum Job {
    Verify {
        pin: Pin,
        hash: PinHash,
        /// Wrong ones before it.
        wrong: u32,
    },
    Measure(Shutter),
    Chart {
        shutter: Shutter,
        strip: Option<Strip>,
    },
    Keep {
        calibration: Box<Calibration>,
        path: PathBuf,
    },
}

/// What it has done.
#[derive(Debug)]
enum Report {
    Verified(bool),
    Measured(Result<Light, String>),
    Charted(Result<Chart, String>),
}

/// The worker.
#[derive(Resource)]
pub struct StaffWorker(Worker<Job, Report>);

impl StaffWorker {
    /// Starts the worker.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(tally: Tally) -> std::io::Result<Self> {
        Worker::start("staff", move |job| work(&tally, job)).map(Self)
    }
}

fn work(tally: &Tally, job: Job) -> Report {
    match job {
        Job::Verify { pin, hash, wrong } => {
            tally.keep(wrong.saturating_add(1));
            let is_right = hash.is(&pin);
            if is_right {
                tally.keep(0);
            }
            Report::Verified(is_right)
        }
        Job::Measure(shutter) => Report::Measured(measure(&shutter)),
        Job::Chart { shutter, strip } => Report::Charted(
            shutter
                .take()
                .map(|picture| chart::look(&picture, strip.as_ref()))
                .map_err(|error| crate::chain(&error)),
        ),
        Job::Keep { calibration, path } => Report::Charted(Ok(chart::keep(&calibration, &path))),
    }
}

fn measure(shutter: &Shutter) -> Result<Light, String> {
    /// Brighter or darker than this is lost: sensors end a little before the ends of the scale.
    const WHITE: u8 = 252;
    const BLACK: u8 = 3;
    let picture = shutter.take().map_err(|error| crate::chain(&error))?;
    let grey = picture.to_grey();
    let luma = grey.luma();
    if luma.is_empty() {
        return Err("the picture is empty".to_owned());
    }
    #[expect(clippy::cast_precision_loss, reason = "a picture has far fewer pixels than 2^52")]
    let share = |count: usize| 100.0 * count as f64 / luma.len() as f64;
    let sum: u64 = luma.iter().map(|value| u64::from(*value)).sum();
    #[expect(clippy::cast_precision_loss, reason = "a sum of pixels is far below 2^52")]
    let mean = sum as f64 / luma.len() as f64;
    Ok(Light::Seen {
        mean_pct: 100.0 * mean / 255.0,
        white_pct: share(luma.iter().filter(|value| WHITE <= **value).count()),
        black_pct: share(luma.iter().filter(|value| **value <= BLACK).count()),
        size: (picture.width(), picture.height()),
    })
}

fn touch(
    touch: On<Touch>,
    mut room: ResMut<StaffRoom>,
    mut session: ResMut<Session>,
    worker: Option<ResMut<StaffWorker>>,
    camera: Res<Camera>,
    machine: Res<Machine>,
    mut exit: MessageWriter<AppExit>,
) {
    let is_typing = matches!(room.gate, Gate::Shut | Gate::Wrong);
    if *touch != Touch::Leave {
        session.touch();
    }
    if *touch != Touch::Exit {
        room.asks_exit = false;
    }
    match *touch {
        Touch::Digit(digit) if is_typing => room.pin.push(digit),
        Touch::Delete if is_typing => room.pin.pop(),
        Touch::Clear if is_typing => room.pin.wipe(),
        Touch::Enter if room.may_enter() => {
            let Some(hash) = room.hash.clone() else { return };
            let pin = std::mem::take(&mut room.pin);
            let job = Job::Verify { pin, hash, wrong: room.back_off.count() };
            let is_taken = worker.is_some_and(|mut worker| worker.0.submit(session.id(), job));
            // A worker that is busy with the light is free again in a moment: the PIN is typed anew.
            room.gate = if is_taken { Gate::Checking } else { Gate::Shut };
        }
        Touch::Measure if room.gate == Gate::Open => {
            let job = camera.shutter().map(Job::Measure);
            let is_taken =
                job.is_some_and(|job| worker.is_some_and(|mut worker| worker.0.submit(session.id(), job)));
            room.light = if is_taken { Light::Looking } else { Light::NoPicture };
        }
        Touch::Calibrate
            if room.gate == Gate::Open && !matches!(room.chart, Chart::Looking | Chart::Keeping) =>
        {
            let (job, otherwise) = match (&room.chart, &machine.calibration) {
                (Chart::Found { calibration, .. }, Some(path)) => {
                    let (calibration, path) = (calibration.clone(), path.clone());
                    (Some(Job::Keep { calibration, path }), Chart::NotKept)
                }
                (Chart::Found { .. }, None) => (None, Chart::NotKept),
                _ => {
                    let job = camera.shutter().map(|shutter| Job::Chart { shutter, strip: machine.strip });
                    (job, Chart::NoPicture)
                }
            };
            let is_taken =
                job.is_some_and(|job| worker.is_some_and(|mut worker| worker.0.submit(session.id(), job)));
            // Only a new look opens the camera.
            room.chart = match (is_taken, &room.chart) {
                (true, Chart::Found { .. }) => Chart::Keeping,
                (true, _) => Chart::Looking,
                (false, _) => otherwise,
            };
        }
        Touch::Exit if room.gate == Gate::Open && !room.asks_exit => room.asks_exit = true,
        Touch::Exit if room.gate == Gate::Open => {
            info!("staff end the kiosk");
            exits::announce();
            exit.write(AppExit::Success);
        }
        Touch::Leave => room.shut(),
        _ => {}
    }
}

fn take_in(
    mut worker: ResMut<StaffWorker>,
    session: Res<Session>,
    mut room: ResMut<StaffRoom>,
    mut commands: Commands,
) {
    let Some((asked_by, outcome)) = worker.bypass_change_detection().0.poll() else { return };
    match outcome {
        Outcome::Done(Report::Verified(is_right)) => {
            // A wrong PIN counts also for somebody who has walked away meanwhile.
            if is_right {
                room.back_off.right();
            } else {
                warn!("a wrong staff PIN was typed");
                room.back_off.wrong();
            }
            if asked_by == session.id() && room.gate == Gate::Checking {
                room.gate = if is_right { Gate::Open } else { Gate::Wrong };
            }
        }
        Outcome::Done(Report::Measured(light)) => {
            if asked_by == session.id() && room.gate == Gate::Open {
                room.light = light.unwrap_or_else(|reason| {
                    warn!("the camera gives no picture: {reason}");
                    Light::NoPicture
                });
            }
        }
        Outcome::Done(Report::Charted(chart)) => {
            let chart = chart.unwrap_or_else(|reason| {
                warn!("the camera gives no picture: {reason}");
                Chart::NoPicture
            });
            // It is used also when whoever has kept it has gone meanwhile.
            if chart == Chart::Kept {
                commands.trigger(Recalibrate);
            }
            if asked_by == session.id() && room.gate == Gate::Open {
                room.chart = chart;
            }
        }
        Outcome::Broke => {
            error!("the staff worker broke down");
            room.shut();
        }
    }
}

/// What keeps the camera open while staff look at the light or the chart.
#[derive(Component, Default)]
struct LooksAtLight;

fn hold_camera(
    mut commands: Commands,
    room: Res<StaffRoom>,
    mut pace: ResMut<Pace>,
    held: Option<Single<Entity, With<LooksAtLight>>>,
) {
    // What the worker answers is seen as soon as it is said.
    let is_looking = room.light == Light::Looking || room.chart == Chart::Looking;
    if is_looking || room.chart == Chart::Keeping || room.gate == Gate::Checking {
        pace.within(WAITING);
    }
    camera::hold(&mut commands, is_looking, held, Which::Staff);
}

fn keep_time(time: Res<Time<Real>>, mut room: ResMut<StaffRoom>) {
    let Some(before) = room.pause() else { return };
    let delta: Duration = time.delta();
    room.bypass_change_detection().back_off.tick(delta);
    if room.pause() != Some(before) {
        room.set_changed();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bevy::time::TimeUpdateStrategy;

    use super::*;
    use crate::session::EndSession;

    fn app() -> App {
        app_with(Tally::default())
    }

    fn app_with(tally: Tally) -> App {
        let hash = PinHash::parse(&Pin::parse("4711").unwrap().hash().unwrap()).unwrap();
        let mut app = App::new();
        app.add_plugins((MinimalPlugins, crate::i18n::plugin, crate::session::plugin, plugin))
            .insert_resource(TimeUpdateStrategy::ManualDuration(Duration::from_millis(10)))
            .insert_resource(Camera::default())
            .init_resource::<Pace>()
            .insert_resource(StaffRoom::new(Some(hash), tally.wrong()))
            .insert_resource(StaffWorker::start(tally).unwrap());
        app.update();
        app
    }

    fn gate(app: &App) -> Gate {
        app.world().resource::<StaffRoom>().gate()
    }

    /// Types a PIN and waits for the verdict.
    fn enter(app: &mut App, digits: [u8; 4]) -> Gate {
        for digit in digits {
            app.world_mut().trigger(Touch::Digit(digit));
        }
        app.world_mut().trigger(Touch::Enter);
        let limit = Instant::now() + Duration::from_secs(60);
        while gate(app) == Gate::Checking {
            assert!(Instant::now() < limit, "no verdict within 60 s");
            app.update();
        }
        gate(app)
    }

    #[test]
    fn the_right_pin_opens_and_the_end_of_the_session_shuts() {
        let mut app = app();
        assert_eq!(enter(&mut app, [4, 7, 1, 1]), Gate::Open);
        assert_eq!(app.world().resource::<StaffRoom>().typed(), 0);
        app.world_mut().trigger(EndSession);
        app.world_mut().flush();
        assert_eq!(gate(&app), Gate::Shut);
    }

    #[test]
    fn wrong_pins_cost_a_pause_that_outlives_screen_and_session() {
        let mut app = app();
        for _ in 0..3 {
            assert_eq!(enter(&mut app, [1, 1, 1, 1]), Gate::Wrong);
        }
        app.world_mut().trigger(Touch::Leave);
        app.world_mut().trigger(EndSession);
        app.world_mut().flush();
        assert_eq!(enter(&mut app, [4, 7, 1, 1]), Gate::Shut, "not even looked at");
        assert!(app.world().resource::<StaffRoom>().pause().is_some());
    }

    #[test]
    fn a_restart_forgives_nothing_and_the_right_pin_everything() {
        let folder = tempfile::tempdir().unwrap();
        let tally = Tally::in_folder(Some(folder.path()));
        let mut first = app_with(tally.clone());
        for _ in 0..3 {
            assert_eq!(enter(&mut first, [1, 1, 1, 1]), Gate::Wrong);
        }
        drop(first);
        let mut second = app_with(tally.clone());
        assert_eq!(enter(&mut second, [4, 7, 1, 1]), Gate::Shut, "not even looked at");
        assert_eq!(second.world().resource::<StaffRoom>().pause(), Some(30));
        second.insert_resource(TimeUpdateStrategy::ManualDuration(Duration::from_secs(31)));
        second.update();
        second.insert_resource(TimeUpdateStrategy::ManualDuration(Duration::from_millis(10)));
        second.world_mut().trigger(Touch::Clear);
        assert_eq!(enter(&mut second, [4, 7, 1, 1]), Gate::Open);
        drop(second);
        assert_eq!(app_with(tally).world().resource::<StaffRoom>().pause(), None);
    }

    #[test]
    fn nobody_ends_the_kiosk_from_outside_and_staff_do() {
        let mut app = app();
        let exits =
            |app: &App| app.world().resource::<Messages<AppExit>>().iter_current_update_messages().count();
        app.world_mut().trigger(Touch::Exit);
        app.world_mut().trigger(Touch::Measure);
        assert_eq!((exits(&app), app.world().resource::<StaffRoom>().light()), (0, Light::Unknown));
        enter(&mut app, [4, 7, 1, 1]);
        app.world_mut().trigger(Touch::Measure);
        assert_eq!(app.world().resource::<StaffRoom>().light(), Light::NoPicture, "there is no camera");
        app.world_mut().trigger(Touch::Exit);
        app.world_mut().trigger(Touch::Measure);
        app.world_mut().trigger(Touch::Exit);
        assert_eq!(exits(&app), 0, "whoever does something else between has not meant it");
        app.world_mut().trigger(Touch::Exit);
        assert_eq!(exits(&app), 1);
    }

    /// Waits until a chart was looked for, or kept.
    fn calibrate(app: &mut App) -> Chart {
        app.world_mut().trigger(Touch::Calibrate);
        let chart = |app: &App| app.world().resource::<StaffRoom>().chart().clone();
        let limit = Instant::now() + Duration::from_secs(60);
        while matches!(chart(app), Chart::Looking | Chart::Keeping) {
            assert!(Instant::now() < limit, "no chart within 60 s");
            app.update();
        }
        chart(app)
    }

    #[test]
    fn staff_keep_the_calibration_that_they_have_seen_and_nobody_else_makes_one() {
        let folder = tempfile::tempdir().unwrap();
        let picture = chart::tests::chart();
        let (file, kept) = (folder.path().join("chart.png"), folder.path().join("calibration.json"));
        let mut png = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_raw(picture.width(), picture.height(), picture.rgb().to_vec())
            .unwrap()
            .write_to(&mut png, image::ImageFormat::Png)
            .unwrap();
        std::fs::write(&file, png.into_inner()).unwrap();
        let mut app = app();
        app.add_plugins(crate::camera::plugin)
            .insert_resource(Camera::new(Some(crate::config::CameraSource::File(file))))
            .insert_resource(Machine { calibration: Some(kept.clone()), ..default() });
        #[derive(Resource, Default)]
        struct Told(usize);
        app.init_resource::<Told>().add_observer(|_: On<Recalibrate>, mut told: ResMut<Told>| told.0 += 1);
        assert_eq!(calibrate(&mut app), Chart::Unknown, "behind the door");
        enter(&mut app, [4, 7, 1, 1]);
        assert!(matches!(calibrate(&mut app), Chart::Found { .. }));
        assert!(!kept.exists(), "nothing is kept that nobody has seen");
        assert_eq!(calibrate(&mut app), Chart::Kept);
        assert!(Calibration::from_file(&kept).is_ok());
        assert_eq!(app.world().resource::<Told>().0, 1);
        app.insert_resource(Machine::default());
        assert!(matches!(calibrate(&mut app), Chart::Found { .. }));
        assert_eq!(calibrate(&mut app), Chart::NotKept, "there is no place");
    }

    #[test]
    fn without_a_pin_nobody_is_let_in() {
        let mut app = app();
        app.insert_resource(StaffRoom::new(None, 0));
        assert_eq!(enter(&mut app, [0, 0, 0, 0]), Gate::NoPin);
    }
}
