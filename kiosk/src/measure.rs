//! How long frames take, said on standard output: one line of JSON, made for `cargo xtask bench kiosk`.
//!
//! Owns the clock of the frames. Draws as fast as it can for a while, says what it measured, then hands the pace back
//! to what the application had set before, so that idle costs can be looked at from outside.
//!
//! Units: milliseconds.

use std::time::Duration;

use bevy::{
    prelude::*,
    winit::{UpdateMode, WinitSettings},
};

/// Frames at the start that are not counted: windows, pipelines and glyphs are made in them.
const WARM_UP: Duration = Duration::from_secs(2);
/// More frames are not kept.
const FRAMES_MAX: usize = 100_000;

/// Measures for this long after the warm-up.
#[derive(Debug, Clone, Copy)]
pub struct MeasurePlugin {
    /// How long frames are counted.
    pub measured: Duration,
}

impl Plugin for MeasurePlugin {
    fn build(&self, app: &mut App) {
        let pace = app.world_mut().remove_resource::<WinitSettings>().unwrap_or_default();
        app.insert_resource(WinitSettings {
            focused_mode: UpdateMode::Continuous,
            unfocused_mode: UpdateMode::Continuous,
        })
        .insert_resource(Frames { pace: Some(pace), until: WARM_UP + self.measured, times_ms: Vec::new() })
        .add_systems(Last, count);
    }
}

#[derive(Resource)]
struct Frames {
    /// What the application had set; taken when it is given back.
    pace: Option<WinitSettings>,
    until: Duration,
    times_ms: Vec<f64>,
}

fn count(time: Res<Time<Real>>, mut frames: ResMut<Frames>, mut settings: ResMut<WinitSettings>) {
    if frames.pace.is_none() || time.elapsed() < WARM_UP {
        return;
    }
    if frames.times_ms.len() < FRAMES_MAX {
        frames.times_ms.push(time.delta_secs_f64() * 1e3);
    }
    if frames.until <= time.elapsed()
        && let Some(pace) = frames.pace.take()
    {
        println!("{}", summary(&mut frames.times_ms));
        *settings = pace;
    }
}

/// Count, middle, 99th percentile and longest of frame times.
fn summary(times_ms: &mut [f64]) -> serde_json::Value {
    times_ms.sort_by(f64::total_cmp);
    let nearest_rank = |hundredths: usize| {
        let rank = (times_ms.len() * hundredths).div_ceil(100);
        times_ms.get(rank.saturating_sub(1)).copied()
    };
    serde_json::json!({
        "frames": times_ms.len(),
        "p50_ms": nearest_rank(50),
        "p99_ms": nearest_rank(99),
        "max_ms": times_ms.last(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_frame_that_was_drawn() {
        let mut times: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let said = summary(&mut times);
        assert_eq!(said["frames"], 200);
        assert_eq!(said["p50_ms"], 100.0);
        assert_eq!(said["p99_ms"], 198.0);
        assert_eq!(said["max_ms"], 200.0);
    }

    #[test]
    fn no_frame_has_no_percentile() {
        assert_eq!(
            summary(&mut []),
            serde_json::json!({"frames": 0, "p50_ms": null, "p99_ms": null, "max_ms": null})
        );
    }
}
