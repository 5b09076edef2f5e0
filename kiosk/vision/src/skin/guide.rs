//! Live guidance: what a visitor before the camera should change now, frame by frame, until a burst is worth taking.
//!
//! The detector looks at every third frame, in between the landmarks follow the face; on skin only as many pixels are
//! looked at as a median needs. Geometry and light are judged by the same gate as the burst itself, so what the guide
//! lets through is rarely refused afterwards.

use super::{
    colour::Decoding,
    gate::{self, Severity},
    regions,
};
use crate::{
    geometry::Point,
    landmarks::Face,
    picture::{Grey, Picture},
};

/// The detector looks at one of so many frames.
const DETECT_EVERY: u32 = 3;
/// So many frames in a row must be good.
pub const STEADY_FRAMES: u32 = 8;
/// Pixels of a region that are looked at.
const REGION_SAMPLES: f64 = 1500.0;
/// Share of the picture's shorter side that the face's box takes: further away is too small, nearer too large.
const FACE_SHARE: (f64, f64) = (0.42, 0.85);
/// Off the middle of the picture, as a share of the face's width.
const OFF_MIDDLE_MAX: f64 = 0.12;
/// In a head that stands in the middle, from crown to chin, eyes and mouth lie below it: in widths of the face.
const BELOW_MIDDLE: f64 = 0.1;
/// Movement between two frames, as a share of the distance of the eyes, beyond which nobody holds still.
const MOVED_MAX: f64 = 0.05;

/// What is remembered from frame to frame: places in pictures that are gone.
#[derive(Debug, Clone, Default)]
pub struct Guide {
    face: Option<Face>,
    frames: u32,
    steady: u32,
}

/// Towards where a visitor should move or turn, as seen in the picture; a mirror shows it the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    /// To the picture's left edge.
    Left,
    /// To the picture's right edge.
    Right,
    /// Up.
    Up,
    /// Down.
    Down,
    /// Nearer to the camera.
    Closer,
    /// Further away.
    Back,
}

/// What is to be said about one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    /// A stable name of what to do, such as `come_closer`; `hold_still` when there is nothing else.
    pub advice: &'static str,
    /// Where to, if anywhere.
    pub towards: Option<Towards>,
    /// How many good frames there are in a row, at most [`STEADY_FRAMES`].
    pub steady: u32,
}

impl Guidance {
    /// Whether the burst may be taken.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        STEADY_FRAMES <= self.steady
    }
}

/// What finds faces, so that the guide can be tested without networks.
pub(crate) trait Finder {
    type Error;

    fn detect(&self, picture: &Picture, grey: &Grey) -> Result<Vec<Face>, Self::Error>;

    fn follow(&self, picture: &Picture, face: &Face) -> Result<Option<Face>, Self::Error>;
}

impl Guide {
    /// Takes in the next frame.
    pub(crate) fn step<F: Finder>(&mut self, picture: &Picture, finder: &F) -> Result<Guidance, F::Error> {
        let grey = picture.to_grey();
        let before = self.face.take();
        let followed = match &before {
            Some(face) if !self.frames.is_multiple_of(DETECT_EVERY) => finder.follow(picture, face)?,
            _ => None,
        };
        self.frames = self.frames.wrapping_add(1);
        let faces = match followed {
            Some(face) => vec![face],
            None => finder.detect(picture, &grey)?,
        };
        let (advice, towards) = said(picture, &grey, &faces, before.as_ref());
        self.face = faces.into_iter().next();
        self.steady = if advice.is_none() { (self.steady + 1).min(STEADY_FRAMES) } else { 0 };
        Ok(Guidance { advice: advice.unwrap_or("hold_still"), towards, steady: self.steady })
    }
}

/// The one thing that is most in the way, or nothing.
fn said(
    picture: &Picture,
    grey: &Grey,
    faces: &[Face],
    before: Option<&Face>,
) -> (Option<&'static str>, Option<Towards>) {
    if let Some(face) = faces.first()
        && let Some((advice, towards)) = misplaced(picture, face)
    {
        return (Some(advice), Some(towards));
    }
    let outlines = faces.first().map(|face| regions::outlines(&face.landmarks)).unwrap_or_default();
    let regions: Vec<_> = outlines
        .into_iter()
        .map(|outline| regions::measure_some(picture, &Decoding::Srgb, outline, REGION_SAMPLES, |_| true))
        .collect();
    let capture = gate::judge(grey, faces, &regions);
    if let Some(problem) = capture.problems.iter().find(|problem| problem.severity == Severity::Reject) {
        // A head that is turned to the picture's left is to turn to its right.
        let towards = match (problem.id, capture.yaw_deg) {
            ("head_turned", Some(yaw)) => Some(if yaw < 0.0 { Towards::Right } else { Towards::Left }),
            ("face_too_small", _) => Some(Towards::Closer),
            _ => None,
        };
        return (Some(problem.advice), towards);
    }
    let moved = faces.first().zip(before).is_some_and(|(now, before)| {
        let nose = now.landmarks.nose_tip.distance(before.landmarks.nose_tip);
        MOVED_MAX * now.landmarks.eye_distance() < nose
    });
    (moved.then_some("hold_still"), None)
}

/// Too far, too near, or not in the middle.
fn misplaced(picture: &Picture, face: &Face) -> Option<(&'static str, Towards)> {
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    let size = face.bounds.width;
    let share = size / width.min(height);
    if share < FACE_SHARE.0 {
        return Some(("come_closer", Towards::Closer));
    }
    if FACE_SHARE.1 < share {
        return Some(("step_back", Towards::Back));
    }
    let points = &face.landmarks;
    let middle =
        points.eye_left.middle(points.eye_right).middle(points.mouth_left.middle(points.mouth_right));
    let off = Point::new(middle.x - width / 2.0, middle.y - height / 2.0 - BELOW_MIDDLE * size);
    let limit = OFF_MIDDLE_MAX * size;
    let towards = if limit < off.x.abs() && off.y.abs() <= off.x.abs() {
        if off.x < 0.0 { Towards::Right } else { Towards::Left }
    } else if limit < off.y.abs() {
        if off.y < 0.0 { Towards::Down } else { Towards::Up }
    } else {
        return None;
    };
    Some(("move_to_the_middle", towards))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, convert::Infallible};

    use super::*;
    use crate::{HeadTurn, face::FaceBox, landmarks::FivePoints};

    /// Faces wherever the test says, and how often each way of finding was used.
    #[derive(Default)]
    struct Told {
        faces: Vec<Face>,
        detected: Cell<u32>,
        followed: Cell<u32>,
    }

    impl Finder for Told {
        type Error = Infallible;

        fn detect(&self, _: &Picture, _: &Grey) -> Result<Vec<Face>, Infallible> {
            self.detected.set(self.detected.get() + 1);
            Ok(self.faces.clone())
        }

        fn follow(&self, _: &Picture, _: &Face) -> Result<Option<Face>, Infallible> {
            self.followed.set(self.followed.get() + 1);
            Ok(self.faces.first().cloned())
        }
    }

    /// A face of `size` pixels with its middle at a place.
    fn face(x: f64, y: f64, size: f64, yaw_deg: f64) -> Face {
        let at = |dx: f64, dy: f64| Point::new(x + dx * size, y + dy * size);
        let landmarks = FivePoints {
            eye_left: at(-0.18, -0.19),
            eye_right: at(0.18, -0.19),
            nose_tip: at(0.0, 0.0),
            mouth_left: at(-0.144, 0.19),
            mouth_right: at(0.144, 0.19),
        };
        let bounds = FaceBox { x: x - size / 2.0, y: y - size / 2.0, width: size, height: size, score: 30.0 };
        let turn = Some(HeadTurn { yaw_deg, pitch_deg: 0.0, roll_deg: 0.0 });
        Face { bounds, landmarks, points: Vec::new(), spread: Vec::new(), unsure: 0.05, turn, cover: None }
    }

    /// Skin with two dark eyes, where `face(640, 500, 600, 0)` has them.
    fn skin() -> Picture {
        let mut random = 1_u32;
        let rgb = (0..1000_u32).flat_map(|y| (0..1280_u32).map(move |x| (x, y))).flat_map(|(x, y)| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = u8::try_from(random >> 31).unwrap();
            let eye = (375..397).contains(&y) && ((512..552).contains(&x) || (728..768).contains(&x));
            if eye { [30, 20, 20] } else { [190 + grain, 140 + grain, 115 + grain] }
        });
        Picture::from_rgb(1280, 1000, rgb.collect()).unwrap()
    }

    fn guided(faces: Vec<Face>) -> Guidance {
        let told = Told { faces, ..Told::default() };
        Guide::default().step(&skin(), &told).unwrap()
    }

    #[test]
    fn each_way_of_standing_wrong_has_its_words_and_its_direction() {
        let cases = [
            (vec![], "look_at_the_camera", None),
            (vec![face(640.0, 500.0, 300.0, 0.0)], "come_closer", Some(Towards::Closer)),
            (vec![face(640.0, 500.0, 900.0, 0.0)], "step_back", Some(Towards::Back)),
            (vec![face(400.0, 500.0, 600.0, 0.0)], "move_to_the_middle", Some(Towards::Right)),
            (vec![face(640.0, 680.0, 600.0, 0.0)], "move_to_the_middle", Some(Towards::Up)),
            (vec![face(640.0, 420.0, 600.0, 0.0)], "move_to_the_middle", Some(Towards::Down)),
            (vec![face(640.0, 500.0, 600.0, 20.0)], "look_straight_ahead", Some(Towards::Left)),
            (
                vec![face(640.0, 500.0, 600.0, 0.0), face(200.0, 300.0, 400.0, 0.0)],
                "one_person_at_a_time",
                None,
            ),
        ];
        for (faces, advice, towards) in cases {
            let said = guided(faces);
            assert_eq!((said.advice, said.towards, said.steady), (advice, towards, 0));
        }
    }

    #[test]
    fn a_face_that_holds_still_is_ready_after_eight_frames_and_is_followed_between_looks() {
        let picture = skin();
        let mut told = Told { faces: vec![face(640.0, 500.0, 600.0, 0.0)], ..Told::default() };
        let mut guide = Guide::default();
        for steady in 1..=STEADY_FRAMES {
            let said = guide.step(&picture, &told).unwrap();
            assert_eq!((said.advice, said.steady), ("hold_still", steady));
            assert_eq!(said.is_ready(), steady == STEADY_FRAMES);
        }
        assert_eq!((told.detected.get(), told.followed.get()), (3, 5));
        // Who moves begins anew.
        told.faces = vec![face(670.0, 500.0, 600.0, 0.0)];
        assert_eq!(guide.step(&picture, &told).unwrap().steady, 0);
    }
}
