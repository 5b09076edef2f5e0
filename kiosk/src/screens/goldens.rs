//! Pictures of every screen in every state that matters, against those that are kept in `kiosk/goldens`.
//!
//! Method: the whole kiosk as `--shot` draws it, with invented content, a clock that stands still and no worker that
//! could change anything; each picture is compared in blocks ([`likeness`]). `cargo xtask shots --goldens` makes the
//! kept ones anew: look at them before they are committed.

mod likeness;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bevy::{prelude::*, render::renderer::RenderDevice, time::TimeUpdateStrategy};
use image::{
    ExtendedColorType, ImageEncoder as _, RgbImage,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};

use super::{
    Screen,
    states::{self, STATES},
    testing,
};
use crate::{
    camera::Camera,
    config::{CameraSource, Config, Orientation},
    i18n::{I18n, Locale, Words},
    logbook::Logbook,
    origin::OriginWorker,
    pick_up::scan::ScanWorker,
    session::Session,
    shot::Studio,
    skin::{SkinStatus, SkinWorker},
    staff::{Machine, StaffWorker},
    theme::Look,
    try_on::TryOnWorker,
};
use likeness::{TOLERANCE, Unlikeness, quarter};

/// How each state is looked at: both languages, and the strong colours in the one whose signs are the finest.
const VIEWS: [(Locale, Look); 3] =
    [(Locale::ZhCn, Look::Light), (Locale::En, Look::Light), (Locale::ZhCn, Look::HighContrast)];

/// Set to make the kept pictures anew instead of comparing with them.
const REMAKE: &str = "STOREHUB_REMAKE_GOLDENS";

/// The kiosk with nothing left to chance; `None` where set-up has not made the fonts.
fn studio(orientation: Orientation) -> Option<Studio> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/kiosk.example.toml"));
    let mut config = Config::load(path).unwrap();
    (config.hub, config.display.orientation) = (None, orientation);
    if !config.display.font.is_file() || !config.display.font_bold.is_file() {
        eprintln!("skipped: `cargo xtask setup` has not made `{}`", config.display.font.display());
        return None;
    }
    let studio = Studio::open(&config, Screen::Attract, |app| {
        let world = app.world_mut();
        // What works beside the frames answers when it likes.
        world.remove_resource::<SkinWorker>();
        world.remove_resource::<TryOnWorker>();
        world.remove_resource::<OriginWorker>();
        world.remove_resource::<StaffWorker>();
        world.remove_resource::<ScanWorker>();
        world.insert_resource(Camera::new(Some(CameraSource::Synthetic)));
        world.insert_resource(SkinStatus::Ready);
        // What was logged meanwhile stays with the one that logs.
        world.insert_resource(Logbook::default());
        // Time stands still, and one state moves it by hand.
        world.resource_mut::<Session>().idle_max = Duration::from_secs(60);
        world.insert_resource(TimeUpdateStrategy::ManualDuration(Duration::ZERO));
        let versions = ["staff-version-kiosk", "staff-version-model", "staff-version-runtime"];
        world.insert_resource(Machine {
            calibration: None,
            strip: None,
            kiosk: "kiosk-01".to_owned(),
            hub: Some("127.0.0.1:1883".to_owned()),
            versions: versions.map(|part| (part, "1.2.3".to_owned())).to_vec(),
        });
        Ok(())
    });
    Some(studio.expect("the kiosk can be drawn: `cargo xtask setup` installs what it needs"))
}

fn folder_of(orientation: Orientation) -> PathBuf {
    let name = match orientation {
        Orientation::Portrait => "portrait",
        Orientation::Landscape => "landscape",
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name)
}

/// Where a failure leaves what it saw: beside the build's outputs.
fn failures_of(orientation: Orientation) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a file");
    let target = test.ancestors().nth(3).expect("a test lies in target/<profile>/deps");
    target.join("goldens-failed").join(folder_of(orientation).file_name().expect("it has a name"))
}

fn file_of(state: &str, locale: Locale, look: Look) -> String {
    let look = match look {
        Look::Light => "",
        Look::HighContrast => ".high-contrast",
    };
    format!("{}.{}{look}.png", state.replace(", ", "-").replace(' ', "-"), locale.tag())
}

fn save(folder: &Path, file: &str, picture: &RgbImage) {
    fs::create_dir_all(folder).unwrap();
    let mut bytes = Vec::new();
    // Flat grounds with few colours pack best as they stand.
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::NoFilter)
        .write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .unwrap();
    fs::write(folder.join(file), bytes).unwrap();
}

/// What is wrong with every state on a screen that hangs like this.
fn walk(orientation: Orientation) {
    let Some(mut studio) = studio(orientation) else { return };
    let (width, height) = orientation.size();
    let (kept, failed) = (folder_of(orientation), failures_of(orientation));
    let is_remade = std::env::var_os(REMAKE).is_some();
    let mut faults = Vec::new();
    fs::remove_dir_all(&failed).ok();
    for state in &STATES {
        for (locale, look) in VIEWS {
            states::enter(&mut studio.app, state, locale, look);
            let seen = quarter(&studio.picture().expect("a picture is drawn in time"), width, height);
            let file = file_of(state.name, locale, look);
            if is_remade {
                save(&kept, &file, &likeness::coarse(seen));
                continue;
            }
            let Ok(golden) = image::open(kept.join(&file)) else {
                save(&failed, &file, &seen);
                faults.push(format!("{file}: there is no such picture in `{}`", kept.display()));
                continue;
            };
            let unlikeness = Unlikeness::between(&golden.to_rgb8(), &seen);
            if TOLERANCE < unlikeness.worst() {
                save(&failed, &file, &seen);
                save(
                    &failed,
                    &file.replace(".png", ".difference.png"),
                    &unlikeness.map(seen.width(), seen.height()),
                );
                faults.push(format!(
                    "{file} differs by {:.1}, at most {TOLERANCE} is noise",
                    unlikeness.worst()
                ));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "\n{}\nwhat was seen, and where it differs: `{}`\nif it is meant: `cargo xtask shots --goldens`",
        faults.join("\n"),
        failed.display()
    );
}

#[test]
fn every_screen_that_stands_looks_as_it_did() {
    walk(Orientation::Portrait);
}

#[test]
fn every_screen_that_lies_looks_as_it_did() {
    walk(Orientation::Landscape);
}

/// The same picture as if every letter lay a quarter of a pixel further to the right: what another version of a font
/// renderer may do.
fn shifted(rgb: &[u8], width: u32) -> Vec<u8> {
    let row = width as usize * 3;
    let before = |at: usize| if at % row < 3 { rgb[at] } else { rgb[at - 3] };
    let blend = |at: usize| (u32::from(rgb[at]) * 3 + u32::from(before(at))) / 4;
    (0..rgb.len()).map(|at| u8::try_from(blend(at)).expect("a mean of bytes is a byte")).collect()
}

#[test]
fn a_moved_button_and_a_lost_word_are_noticed_and_the_edges_of_letters_are_not() {
    let orientation = Orientation::Portrait;
    let Some(mut studio) = studio(orientation) else { return };
    let (width, height) = orientation.size();
    let home = STATES.iter().find(|state| state.name == "home of a full store").unwrap();
    states::enter(&mut studio.app, home, Locale::En, Look::Light);
    let pixels = studio.picture().unwrap();
    let before = quarter(&pixels, width, height);
    let unlike = |after: &RgbImage| Unlikeness::between(&before, after).worst();

    let again = quarter(&studio.picture().unwrap(), width, height);
    assert_eq!(unlike(&again), 0.0, "the same screen gives the same picture");
    let noise = unlike(&quarter(&shifted(&pixels, width), width, height));
    assert!((0.1..TOLERANCE).contains(&noise), "{noise}");

    let world = studio.app.world_mut();
    let privacy = world.resource::<I18n>().say(&Words::key("privacy"));
    let (all_but_last, _) = privacy.rsplit_once(' ').expect("it has several words");
    let mut texts = world.query::<(&Text, &mut Words)>();
    let (_, mut words) = texts.iter_mut(world).find(|(text, _)| text.0 == privacy).expect("home says it");
    *words = Words::verbatim(all_but_last);
    let lost = unlike(&seen(&mut studio, orientation));
    assert!(2.0 * TOLERANCE < lost, "a lost word differs by {lost} only");

    states::enter(&mut studio.app, home, Locale::En, Look::Light);
    let end = testing::named(&mut studio.app, "End").expect("home has a way out");
    studio.app.world_mut().get_mut::<Node>(end).unwrap().right = px(12);
    let moved = unlike(&seen(&mut studio, orientation));
    assert!(2.0 * TOLERANCE < moved, "a moved button differs by {moved} only");
    eprintln!("noise {noise:.1}, a lost word {lost:.1}, a moved button {moved:.1}; tolerance {TOLERANCE}");
}

/// The screen as it is after what was changed in it has been laid out.
fn seen(studio: &mut Studio, orientation: Orientation) -> RgbImage {
    let (width, height) = orientation.size();
    studio.app.update();
    quarter(&studio.picture().expect("a picture is drawn in time"), width, height)
}

/// A driver takes its time to open another device.
const RENEWAL_LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_lost_graphics_device_is_made_anew_and_what_was_on_the_screen_comes_back() {
    let orientation = Orientation::Portrait;
    let Some(mut studio) = studio(orientation) else { return };
    for name in ["home of a full store", "skin, measured", "try-on"] {
        let state = STATES.iter().find(|state| state.name == name).expect("there is such a state");
        states::enter(&mut studio.app, state, Locale::ZhCn, Look::Light);
        let before = seen(&mut studio, orientation);
        let opened = |studio: &Studio| {
            studio.app.world().get_resource_ref::<RenderDevice>().map(|it| it.last_changed())
        };
        let lost = opened(&studio);
        studio.app.world().resource::<RenderDevice>().wgpu_device().destroy();
        let limit = Instant::now() + RENEWAL_LIMIT;
        while opened(&studio) == lost {
            assert!(Instant::now() < limit, "{name}: the lost device is still the one that draws");
            studio.frame();
        }
        // The hub says nothing here, so only the lost device makes a difference.
        let after = seen(&mut studio, orientation);
        assert_eq!(Unlikeness::between(&before, &after).worst(), 0.0, "{name}");
    }
}
