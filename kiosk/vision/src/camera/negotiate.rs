//! Which mode a camera is asked for, which controls are locked, and where what it does differs from that.
//!
//! Pure but for the device that is handed in.

use std::fmt;

use super::{
    Controls, Settings,
    device::{Device, Granted, Knob, Offer, Sizes},
};
use crate::frame::Layout;

/// What a camera is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) layout: Layout,
    pub(super) size: (u32, u32),
    pub(super) rate: u32,
}

/// Something that is not as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is, by the name of its configuration key.
    pub what: &'static str,
    /// What was asked for.
    pub wanted: String,
    /// What it is instead.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, wanted, found } = self;
        write!(f, "`{what}` is {found}, {wanted} was asked for")
    }
}

/// The mode nearest to the settings: a layout that has the size itself comes before one that has not, then the order of
/// [`Layout::ALL`] counts; of sizes, the one whose area is nearest.
pub(super) fn choose(offers: &[Offer], settings: &Settings) -> Option<Mode> {
    let allowed = Layout::ALL.into_iter().filter(|layout| settings.layout.is_none_or(|only| only == *layout));
    let rate = settings.rate;
    allowed
        .filter_map(|layout| {
            let offer = offers.iter().find(|offer| offer.fourcc == layout.fourcc())?;
            Some(Mode { layout, size: nearest(&offer.sizes, settings.size)?, rate })
        })
        .min_by_key(|mode| mode.size != settings.size)
}

fn nearest(sizes: &Sizes, (width, height): (u32, u32)) -> Option<(u32, u32)> {
    let area = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
    match sizes {
        Sizes::Listed(listed) => listed
            .iter()
            .map(|(width, height, _)| (*width, *height))
            .min_by_key(|size| (*size != (width, height), area(*size).abs_diff(area((width, height))))),
        Sizes::Between(least, most) => {
            Some((width.clamp(least.0, most.0.max(least.0)), height.clamp(least.1, most.1.max(least.1))))
        }
    }
}

/// What is offered, as a list of names.
pub(super) fn names(offers: &[Offer]) -> String {
    let names: Vec<_> = offers.iter().map(|offer| String::from_utf8_lossy(&offer.fourcc)).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Where the driver's mode differs from the settings.
pub(super) fn compare(settings: &Settings, granted: Granted) -> Vec<Difference> {
    let mut differences = Vec::new();
    let text = |(width, height): (u32, u32)| format!("{width}x{height}");
    if granted.size != settings.size {
        let (wanted, found) = (text(settings.size), text(granted.size));
        differences.push(Difference { what: "camera.size", wanted, found });
    }
    // A driver rounds 30 to 30.000 or 29.97: a twentieth is no difference.
    let wanted = settings.rate * 1000;
    if granted.rate_milli.is_none_or(|rate| wanted / 20 < rate.abs_diff(wanted)) {
        let found = granted
            .rate_milli
            .map_or_else(|| "unknown".to_owned(), |rate| format!("{}.{:03}", rate / 1000, rate % 1000));
        differences.push(Difference { what: "camera.rate", wanted: settings.rate.to_string(), found });
    }
    differences
}

/// `V4L2_EXPOSURE_MANUAL` of the kernel's `linux/v4l2-controls.h`.
const EXPOSURE_MANUAL: i32 = 1;
/// The kernel counts exposure in 100 µs.
const EXPOSURE_STEP_US: u32 = 100;

/// A knob that must have a value, and what must be switched off before it can.
struct Lock {
    what: &'static str,
    automatic: &'static [(Knob, i32)],
    knob: Knob,
    value: i32,
}

fn locks(controls: &Controls) -> Vec<Lock> {
    let value = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    // `V4L2_CID_POWER_LINE_FREQUENCY_*`.
    let power_line = |hz| match hz {
        0 => 0,
        50 => 1,
        _ => 2,
    };
    let lock = |wanted: Option<i32>, what, automatic, knob| {
        wanted.map(|value| Lock { what, automatic, knob, value })
    };
    [
        lock(
            controls.power_line_hz.map(power_line),
            "camera.controls.power_line_hz",
            &[] as &[_],
            Knob::PowerLine,
        ),
        lock(
            controls.exposure_us.map(|us| value(us / EXPOSURE_STEP_US)),
            "camera.controls.exposure_us",
            // Priority 0 keeps the frame rate where the exposure would lower it.
            &[(Knob::ExposureAuto, EXPOSURE_MANUAL), (Knob::ExposureAutoPriority, 0)],
            Knob::Exposure,
        ),
        lock(controls.gain.map(value), "camera.controls.gain", &[(Knob::GainAuto, 0)], Knob::Gain),
        lock(
            controls.white_balance_k.map(value),
            "camera.controls.white_balance_k",
            &[(Knob::WhiteBalanceAuto, 0)],
            Knob::WhiteBalance,
        ),
        lock(controls.focus.map(value), "camera.controls.focus", &[(Knob::FocusAuto, 0)], Knob::Focus),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Switches what is automatic off, sets the values, reads them back. A camera that does not take one still streams: it
/// is a difference, not an error. Values are in the kernel's own units.
pub(super) fn lock(device: &mut dyn Device, present: &[Knob], controls: &Controls) -> Vec<Difference> {
    locks(controls)
        .into_iter()
        .filter_map(|Lock { what, automatic, knob, value }| {
            let differs = |found: String| Some(Difference { what, wanted: value.to_string(), found });
            if !present.contains(&knob) {
                return differs("not a control of this camera".to_owned());
            }
            for (automatic, off) in automatic {
                if present.contains(automatic)
                    && let Err(error) = device.set_knob(*automatic, *off)
                {
                    return differs(format!("automatic ({error})"));
                }
            }
            if let Err(error) = device.set_knob(knob, value) {
                return differs(format!("refused ({error})"));
            }
            match device.knob(knob) {
                Ok(found) if found == value => None,
                Ok(found) => differs(found.to_string()),
                Err(error) => differs(format!("not readable ({error})")),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(layout: Layout, sizes: &[(u32, u32)]) -> Offer {
        let sizes = sizes.iter().map(|(width, height)| (*width, *height, 30_000)).collect();
        Offer { fourcc: layout.fourcc(), sizes: Sizes::Listed(sizes) }
    }

    #[test]
    fn a_layout_that_has_the_size_is_preferred_then_the_order_counts() {
        let both = [(640, 480), (1280, 720)];
        let settings = Settings::default();
        let cases = [
            (
                vec![listed(Layout::Yuyv, &both), listed(Layout::Mjpg, &both)],
                Some((Layout::Mjpg, (1280, 720))),
            ),
            (
                vec![listed(Layout::Mjpg, &both[..1]), listed(Layout::Nv12, &both)],
                Some((Layout::Nv12, (1280, 720))),
            ),
            (vec![listed(Layout::Yuyv, &[(320, 240), (1920, 1080)])], Some((Layout::Yuyv, (320, 240)))),
            (
                vec![Offer { fourcc: *b"NV12", sizes: Sizes::Between((16, 16), (1024, 2048)) }],
                Some((Layout::Nv12, (1024, 720))),
            ),
            (vec![Offer { fourcc: *b"H264", sizes: Sizes::Listed(vec![(1280, 720, 30_000)]) }], None),
            (vec![], None),
        ];
        for (offers, expected) in cases {
            let chosen = choose(&offers, &settings).map(|mode| (mode.layout, mode.size));
            assert_eq!(chosen, expected, "{}", names(&offers));
        }
    }

    #[test]
    fn a_layout_that_the_operator_names_is_the_only_one() {
        let offers = [listed(Layout::Mjpg, &[(1280, 720)])];
        let settings = Settings { layout: Some(Layout::Yuyv), ..Settings::default() };
        assert_eq!(choose(&offers, &settings), None);
    }
}
