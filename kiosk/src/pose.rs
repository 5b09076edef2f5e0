//! The moments in which visitors see themselves before a picture is taken: a countdown that runs while the camera looks.
//!
//! Pure. A camera that comes back begins the countdown anew; one that stays away ends it.

use std::time::Duration;

use crate::camera::CameraState;

/// How long visitors see themselves before the picture is taken.
const POSE: Duration = Duration::from_secs(3);
/// How long a camera may take to open before the screen says that there is none.
const OPEN_MAX: Duration = Duration::from_secs(6);
/// How long a camera may be in trouble before the screen says so: a loose plug is back within a second.
const TROUBLE_MAX: Duration = Duration::from_secs(2);

/// How far a visitor's pose is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pose {
    left: Duration,
    waited: Duration,
    troubled: Duration,
}

/// What a moment has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoseStep {
    /// Not yet.
    Waiting,
    /// The picture is to be taken.
    Ready,
    /// There is no camera.
    NoCamera,
}

impl Default for Pose {
    fn default() -> Self {
        Self { left: POSE, waited: Duration::ZERO, troubled: Duration::ZERO }
    }
}

impl Pose {
    /// Whole seconds until the picture is taken; nothing as long as the camera does not look.
    #[must_use]
    pub fn seconds(&self) -> Option<u64> {
        (self.left < POSE).then(|| self.left.as_secs() + u64::from(self.left.subsec_nanos() != 0))
    }

    /// Lets time pass.
    pub(crate) fn step(&mut self, camera: CameraState, delta: Duration) -> PoseStep {
        if camera == CameraState::Streaming {
            self.left = self.left.saturating_sub(delta);
            return if self.left.is_zero() { PoseStep::Ready } else { PoseStep::Waiting };
        }
        if self.left < POSE {
            *self = Self::default();
        }
        self.waited += delta;
        if camera.is_trouble() {
            self.troubled += delta;
        }
        if OPEN_MAX <= self.waited || TROUBLE_MAX <= self.troubled {
            return PoseStep::NoCamera;
        }
        PoseStep::Waiting
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_countdown_runs_while_the_camera_looks_and_begins_anew_when_it_was_away() {
        let lost = CameraState::Lost { since: Instant::now() };
        let mut pose = Pose::default();
        assert_eq!((pose.step(CameraState::Opening, SECOND), pose.seconds()), (PoseStep::Waiting, None));
        assert_eq!((pose.step(CameraState::Streaming, SECOND), pose.seconds()), (PoseStep::Waiting, Some(2)));
        assert_eq!((pose.step(lost, SECOND), pose.seconds()), (PoseStep::Waiting, None));
        for left in [2, 1] {
            assert_eq!(
                (pose.step(CameraState::Streaming, SECOND), pose.seconds()),
                (PoseStep::Waiting, Some(left))
            );
        }
        assert_eq!(pose.step(CameraState::Streaming, SECOND), PoseStep::Ready);
    }

    #[test]
    fn a_camera_that_stays_away_or_never_opens_ends_it() {
        let absent = CameraState::Absent { since: Instant::now() };
        let mut pose = Pose::default();
        assert_eq!(
            [pose.step(absent, SECOND), pose.step(absent, SECOND)],
            [PoseStep::Waiting, PoseStep::NoCamera]
        );
        let mut pose = Pose::default();
        let last = (0..6).map(|_| pose.step(CameraState::Opening, SECOND)).last();
        assert_eq!(last, Some(PoseStep::NoCamera));
    }
}
