//! The colour chart before the camera: found, fitted, and kept for this kiosk once staff have seen how well it fits.
//!
//! Pictures of it are dropped at once; what is kept is a curve, a matrix and their errors.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use vision::{
    Calibration, Picture,
    calibration::{
        CalibrateError, Date, DateError, DetectError, FitError, Strip, StripError, Watch, calibrate,
    },
};

/// How the calibration with a chart stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Chart {
    /// Nobody has asked.
    #[default]
    Unknown,
    /// A picture is being taken and measured.
    Looking,
    /// What was found is being written.
    Keeping,
    /// It fits; staff may keep it.
    Found {
        /// What would be kept.
        calibration: Box<Calibration>,
        /// Brightest over dimmest light on the chart.
        light_ratio: f64,
    },
    /// It was not found or does not fit: the key of what to change.
    Refused(&'static str),
    /// There is no picture.
    NoPicture,
    /// It is used from now on, and after a restart.
    Kept,
    /// It could not be written, or there is no place for it.
    NotKept,
}

/// Looks for the chart in a picture that was taken now, and at the strip on the bezel, where there is one.
pub(super) fn look(picture: &Picture, strip: Option<&Strip>) -> Chart {
    let today = match today() {
        Ok(today) => today,
        Err(_) => return Chart::Refused("chart-no-date"),
    };
    match calibrate(picture, today) {
        Ok(found) => {
            let light_ratio = found.fit.light_ratio;
            match watched(found.calibration, picture, strip) {
                Ok(calibration) => Chart::Found { calibration: Box::new(calibration), light_ratio },
                Err(error) => {
                    bevy::log::info!("the colour chart is not used: {error}");
                    Chart::Refused("chart-strip")
                }
            }
        }
        Err(error) => {
            bevy::log::info!("the colour chart is not used: {}", crate::chain(&error));
            Chart::Refused(advice(&error))
        }
    }
}

fn watched(
    calibration: Calibration,
    picture: &Picture,
    strip: Option<&Strip>,
) -> Result<Calibration, StripError> {
    let Some(strip) = strip else { return Ok(calibration) };
    let reference = strip.capture(picture, &calibration)?;
    Ok(calibration.watched(Watch { strip: *strip, reference }))
}

/// Writes what was found, whole or not at all.
pub(super) fn keep(calibration: &Calibration, path: &Path) -> Chart {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let kept = folder.map_err(|error| error.to_string());
    match kept.and_then(|()| calibration.to_file(path).map_err(|error| crate::chain(&error))) {
        Ok(()) => {
            bevy::log::info!("staff have calibrated the colours: `{}`", path.display());
            Chart::Kept
        }
        Err(error) => {
            bevy::log::error!("the calibration is not kept in `{}`: {error}", path.display());
            Chart::NotKept
        }
    }
}

fn today() -> Result<Date, DateError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Date::from_unix_secs(now.as_secs())
}

/// What staff can change, as the key of the words.
fn advice(error: &CalibrateError) -> &'static str {
    match error {
        CalibrateError::Detect(error) => match error {
            DetectError::NoChart => "chart-none",
            DetectError::OtherColours { .. } => "chart-other",
            DetectError::Several => "chart-several",
            DetectError::Mirrored => "chart-mirrored",
            DetectError::CutOff { .. } => "chart-cut-off",
            DetectError::TooSmall { .. } => "chart-small",
            DetectError::Clipped { .. } => "chart-bright",
            DetectError::TooDark { .. } => "chart-dark",
            DetectError::NotEven { .. } => "chart-shadow",
            DetectError::Monochrome => "chart-grey",
        },
        CalibrateError::Fit(FitError::Uneven { .. }) => "chart-uneven",
        CalibrateError::Fit(_) | CalibrateError::Curve(_) | CalibrateError::Matrix(_) => "chart-unfit",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use vision::calibration::{Area, Patch, chart::COLUMNS};

    use super::*;

    /// A chart as a perfect camera sees it: flat patches on black.
    pub(crate) fn chart() -> Picture {
        const PATCH: u32 = 60;
        const GAP: u32 = 12;
        const MARGIN: u32 = 90;
        let columns = u32::try_from(COLUMNS).unwrap();
        let (width, height) = (2 * MARGIN + columns * (PATCH + GAP), 2 * MARGIN + 4 * (PATCH + GAP));
        let mut rgb = vec![16; (width * height * 3) as usize];
        for patch in Patch::all() {
            let bytes = patch.linear_srgb().map(encode);
            let [column, row] = [patch.column(), patch.row()].map(|at| u32::try_from(at).unwrap());
            for y in 0..PATCH {
                for x in 0..PATCH {
                    let at = (MARGIN + row * (PATCH + GAP) + y) * width + MARGIN + column * (PATCH + GAP) + x;
                    rgb[at as usize * 3..at as usize * 3 + 3].copy_from_slice(&bytes);
                }
            }
        }
        Picture::from_rgb(width, height, rgb).unwrap()
    }

    /// IEC 61966-2-1.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of one is a byte")]
    fn encode(linear: f64) -> u8 {
        let linear = linear.clamp(0.0, 1.0);
        let encoded =
            if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
        (encoded * 255.0).round() as u8
    }

    #[test]
    fn a_strip_is_measured_with_the_chart_and_tells_when_the_light_has_changed() {
        // Five patches of the chart itself stand for the strip: what counts is that they are seen twice.
        let grey = [0.42, 0.68, 0.02, 0.02];
        let strip = Strip { areas: [grey; 5].map(|area| Area::try_from(area).unwrap()) };
        let picture = chart();
        let Chart::Found { calibration, .. } = look(&picture, Some(&strip)) else { panic!("it is there") };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calibration.json");
        assert_eq!(keep(&calibration, &path), Chart::Kept);
        let kept = Calibration::from_file(&path).unwrap();
        assert!(kept.strip(&picture).unwrap().ok);
        let dimmed = picture.rgb().iter().map(|byte| byte / 2).collect();
        let dimmed = Picture::from_rgb(picture.width(), picture.height(), dimmed).unwrap();
        let told = kept.strip(&dimmed).unwrap();
        assert!(!told.ok && told.stops.unwrap() < -0.5, "{told:?}");
        let beside = Strip { areas: [[0.0, 0.0, 0.001, 0.001]; 5].map(|area| Area::try_from(area).unwrap()) };
        assert_eq!(look(&picture, Some(&beside)), Chart::Refused("chart-strip"));
    }

    #[test]
    fn a_chart_is_found_and_kept_and_a_grey_wall_is_not() {
        let Chart::Found { calibration, light_ratio } = look(&chart(), None) else {
            panic!("{:?}", look(&chart(), None))
        };
        assert!(calibration.delta_e().mean_76 < 1.0 && light_ratio < 1.1, "{calibration:?}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/calibration.json");
        assert_eq!(keep(&calibration, &path), Chart::Kept);
        assert_eq!(Calibration::from_file(&path).unwrap().date(), calibration.date());
        assert_eq!(keep(&calibration, Path::new("/proc/calibration.json")), Chart::NotKept);
        let wall = Picture::from_rgb(64, 48, vec![128; 64 * 48 * 3]).unwrap();
        assert!(matches!(look(&wall, None), Chart::Refused(_)));
    }
}
