//! Where a printed matrix symbol (QR code, DataMatrix) is in space, from one picture.
//!
//! Two steps. The four corners of the decoder give the two poses that a plane seen in perspective can have
//! ([`planar`]); they are whole pixels, good to degrees. From each of them the symbol itself, every module of which is
//! known once it is read, is aligned to the picture ([`align`]): hundreds of edges instead of four points.
//! The better of the two is the pose; the other is kept, and where the picture does not tell them apart, that is said.
//!
//! Frames, both right-handed. The camera's: origin in the centre of projection, x to the right, y downwards, z forward.
//! The symbol's: origin in its centre, x along its top edge, y down its left edge, z into the paper.
//! `camera_from_symbol` takes a point of the symbol to the camera's frame.
//!
//! The symbol lies on a plane or around a cylinder, upright or lying, whose radius is found along with the pose; what explains
//! the picture better is taken. The lens is taken as free of distortion. Lengths are in the unit of the given width.

pub(crate) mod align;
pub(crate) mod planar;
pub(crate) mod points;
pub(crate) mod surface;
#[cfg(test)]
mod tests;

use glam::{DMat3, DVec2, DVec3};

use align::{Aligned, Start};
use surface::Bend;
pub use surface::{Axis, Surface};

use crate::{
    codes::{Code, Format},
    geometry::Point,
    modules::Pattern,
    picture::Grey,
};

/// The field of view along the longer side of a common webcam's picture, in degrees: what is assumed of a camera that
/// nobody has calibrated.
pub const ASSUMED_FOV_DEG: f64 = 64.4;
/// Focal lengths in pixels.
pub const FOCAL_PX: (f64, f64) = (1.0, 1e6);
/// Horizontal fields of view, in degrees; what is wider is no pinhole camera.
pub const FOV_DEG: (f64, f64) = (0.1, 170.0);

/// A fit below this agreement is no pose of that symbol.
///
/// Flat symbols in rendered pictures with noise and blur reach 0.9 and more.
pub const AGREEMENT_MIN: f64 = 0.7;

/// Poses whose symbols point in directions closer than this are one pose, in degrees.
const SAME_DEG: f64 = 1.0;

/// A surface is bent when that leaves less than this share of what a plane leaves unexplained, and when its curvature, the
/// symbol's width over the radius, is more than this.
const BENT_RATIO: f64 = 0.95;
const CURVATURE_MIN: f64 = 0.05;
/// Rough fits that leave more than so many times as much unexplained as the best are not refined.
const RIVAL_RATIO: f64 = 1.5;
/// The curvature at which one is looked for.
const CURVATURE_AT_FIRST: f64 = 0.3;

/// The other pose explains the picture as well when what it leaves unexplained is at most this many times as much.
const AMBIGUOUS_RATIO: f64 = 1.25;

/// A pinhole camera without lens distortion: pixel = focal length · direction + principal point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intrinsics {
    focal: DVec2,
    principal: DVec2,
}

/// Numbers that no camera has.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum IntrinsicsError {
    /// A focal length that is none.
    #[error("focal length {0} must be from {least} to {most} pixels", least = FOCAL_PX.0, most = FOCAL_PX.1)]
    Focal(f64),
    /// A camera looks through its picture.
    #[error("principal point {x}, {y} lies outside the picture of {width} x {height} pixels")]
    Principal {
        /// Pixels to the right.
        x: f64,
        /// Pixels downwards.
        y: f64,
        /// Width of the picture in pixels.
        width: u32,
        /// Height of the picture in pixels.
        height: u32,
    },
    /// No camera sees this much or this little.
    #[error("field of view {0} must be from {least} to {most} degrees", least = FOV_DEG.0, most = FOV_DEG.1)]
    FieldOfView(f64),
}

impl Intrinsics {
    /// Focal lengths and principal point in pixels of a picture of this size; pixel centres are at integers.
    ///
    /// # Errors
    /// When a focal length is not within [`FOCAL_PX`], or the principal point lies outside the picture.
    pub fn new([fx, fy, cx, cy]: [f64; 4], width: u32, height: u32) -> Result<Self, IntrinsicsError> {
        if let Some(bad) = [fx, fy].into_iter().find(|focal| !(FOCAL_PX.0..=FOCAL_PX.1).contains(focal)) {
            return Err(IntrinsicsError::Focal(bad));
        }
        let inside = |at: f64, side: u32| (-0.5..=f64::from(side) - 0.5).contains(&at);
        if !(inside(cx, width) && inside(cy, height)) {
            return Err(IntrinsicsError::Principal { x: cx, y: cy, width, height });
        }
        Ok(Self { focal: DVec2::new(fx, fy), principal: DVec2::new(cx, cy) })
    }

    /// A camera with square pixels that looks through the middle of a picture of this size, `degrees` from its left
    /// edge to its right one.
    ///
    /// # Errors
    /// When the angle is not within [`FOV_DEG`].
    pub fn from_horizontal_fov(width: u32, height: u32, degrees: f64) -> Result<Self, IntrinsicsError> {
        Self::through_the_middle(width, height, width, degrees)
    }

    /// A common webcam, held either way: [`ASSUMED_FOV_DEG`] along the longer side.
    #[must_use]
    pub fn assumed(width: u32, height: u32) -> Self {
        Self::through_the_middle(width, height, width.max(height), ASSUMED_FOV_DEG)
            .expect("a picture has pixels, and the angle is one")
    }

    fn through_the_middle(width: u32, height: u32, side: u32, degrees: f64) -> Result<Self, IntrinsicsError> {
        if !(FOV_DEG.0..=FOV_DEG.1).contains(&degrees) {
            return Err(IntrinsicsError::FieldOfView(degrees));
        }
        let focal = f64::from(side) / 2.0 / (degrees.to_radians() / 2.0).tan();
        let middle = |side: u32| f64::from(side) / 2.0 - 0.5;
        Self::new(
            [focal.max(FOCAL_PX.0), focal.max(FOCAL_PX.0), middle(width), middle(height)],
            width,
            height,
        )
    }

    /// The same camera when its picture begins at another pixel.
    fn cropped(&self, left: u32, top: u32) -> Self {
        Self { principal: self.principal - DVec2::new(f64::from(left), f64::from(top)), ..*self }
    }

    /// The same camera when its picture is scaled.
    fn scaled(&self, by: DVec2) -> Self {
        Self { focal: self.focal * by, principal: (self.principal + 0.5) * by - 0.5 }
    }

    /// `[fx, fy, cx, cy]`.
    #[must_use]
    pub fn to_array(self) -> [f64; 4] {
        [self.focal.x, self.focal.y, self.principal.x, self.principal.y]
    }

    /// The pixel in which a point before the camera is seen.
    pub(crate) fn project(&self, point: DVec3) -> DVec2 {
        self.focal * point.truncate() / point.z + self.principal
    }

    /// Where the ray through a pixel meets the plane one unit before the camera.
    pub(crate) fn normalised(&self, pixel: Point) -> DVec2 {
        (DVec2::new(pixel.x, pixel.y) - self.principal) / self.focal
    }
}

/// A rotation and then a translation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rigid {
    /// A proper rotation.
    pub rotation: DMat3,
    /// In the unit of the symbol's width.
    pub translation: DVec3,
}

impl Rigid {
    /// Takes a point from the one frame to the other.
    #[must_use]
    pub fn apply(&self, point: DVec3) -> DVec3 {
        self.rotation * point + self.translation
    }

    /// The angle of the rotation from this one's to another's, in degrees.
    #[must_use]
    pub fn degrees_to(&self, other: &Self) -> f64 {
        let between = self.rotation.transpose() * other.rotation;
        let trace = between.x_axis.x + between.y_axis.y + between.z_axis.z;
        ((trace - 1.0) / 2.0).clamp(-1.0, 1.0).acos().to_degrees()
    }

    /// The angle between the symbol's normal and the line of sight to its centre, in degrees: 0 where it is seen
    /// straight on.
    #[must_use]
    pub fn tilt_deg(&self) -> f64 {
        let cosine = self.rotation.z_axis.dot(self.translation.normalize_or_zero());
        cosine.clamp(-1.0, 1.0).acos().to_degrees()
    }
}

/// One pose and how well it explains the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// Takes a point of the symbol to the camera's frame.
    pub camera_from_symbol: Rigid,
    /// What the symbol is stuck to.
    pub surface: Surface,
    /// Normalised cross-correlation of the symbol and the picture, at most 1.
    pub agreement: f64,
}

/// Where a symbol is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SymbolPose {
    /// The pose that explains the picture best.
    pub best: Fit,
    /// The other pose of a plane that looks alike, where there is one.
    pub other: Option<Fit>,
    /// Whether the picture does not tell the two apart.
    pub ambiguous: bool,
}

/// Why there is no pose.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum NoPose {
    /// A bar code is a line: it gives no pose in two directions.
    #[error("a bar code has no pose: show a QR code or DataMatrix")]
    NoMatrix,
    /// The symbol is seen from behind or in a mirror.
    #[error("the symbol is seen mirrored")]
    Mirrored,
    /// The corners are not those of a rectangle before the camera.
    #[error("its corners are not those of a rectangle before this camera")]
    Corners,
    /// The symbol, flat or bent, does not look like the picture.
    #[error(
        "no pose looks like the picture (agreement {0:.2}, least {AGREEMENT_MIN}): is it crumpled or hidden, or the \
         camera another one?"
    )]
    NotAlike(f64),
}

/// Where a symbol that was read in this picture is, when its top edge is `width` long.
///
/// # Errors
/// [`NoPose`] when the symbol or the picture gives none.
pub fn estimate(code: &Code, grey: &Grey, camera: &Intrinsics, width: f64) -> Result<SymbolPose, NoPose> {
    let search = Search::of(code, grey, camera)?;
    let known = code.surface.map(|surface| Bend::of(surface, 1.0));
    let (best, other) = search.best(known).ok_or(NoPose::Corners)?;
    if best.agreement < AGREEMENT_MIN {
        return Err(NoPose::NotAlike(best.agreement));
    }
    let ambiguous = other.is_some_and(|other| other.unexplained <= best.unexplained * AMBIGUOUS_RATIO);
    Ok(SymbolPose {
        best: Fit::of(&best, width),
        other: other.map(|other| Fit::of(&other, width)),
        ambiguous,
    })
}

/// Where a symbol is in the next frame of a camera, from where it was: one alignment instead of several, on the same
/// surface, and never the other of two poses that look alike.
///
/// # Errors
/// [`NoPose`] when the symbol or the picture gives none: then [`estimate`] may.
pub fn follow(
    previous: &Fit,
    code: &Code,
    grey: &Grey,
    camera: &Intrinsics,
    width: f64,
) -> Result<Fit, NoPose> {
    let search = Search::of(code, grey, camera)?;
    let pose = Rigid {
        translation: previous.camera_from_symbol.translation / width,
        rotation: previous.camera_from_symbol.rotation,
    };
    let start = Start { pose, bend: Bend::of(previous.surface, width), bends: false };
    let moved = search.by_corners(start).ok_or(NoPose::Corners)?;
    let rough = search.roughly(moved).ok_or(NoPose::Corners)?;
    let found = search.refined(rough.again(false)).ok_or(NoPose::Corners)?;
    if found.agreement < AGREEMENT_MIN {
        return Err(NoPose::NotAlike(found.agreement));
    }
    Ok(Fit::of(&found, width))
}

impl Fit {
    fn of(found: &Aligned, width: f64) -> Self {
        Self {
            camera_from_symbol: Rigid {
                translation: found.pose.translation * width,
                rotation: found.pose.rotation,
            },
            surface: found.bend.surface(width),
            agreement: found.agreement,
        }
    }
}

/// One symbol in one picture.
struct Search<'a> {
    pattern: Pattern,
    /// As seen, the symbol's own top left one first.
    corners: [Point; 4],
    grey: &'a Grey,
    camera: &'a Intrinsics,
    /// The two poses of a plane with these corners.
    flat: [Rigid; 2],
    /// Where modules have many pixels: a picture with fewer, and its camera.
    smaller: Option<(Grey, Intrinsics)>,
}

impl<'a> Search<'a> {
    fn of(code: &Code, grey: &'a Grey, camera: &'a Intrinsics) -> Result<Self, NoPose> {
        let modules = match (&code.modules, code.format) {
            (Some(modules), Format::Qr | Format::DataMatrix) => modules,
            _ => return Err(NoPose::NoMatrix),
        };
        if code.mirrored {
            return Err(NoPose::Mirrored);
        }
        let corners: [Point; 4] = std::array::from_fn(|at| code.corners[(code.symbol_origin + at) % 4]);
        let flat = planar::poses(corners.map(|corner| camera.normalised(corner)), modules.aspect())
            .ok_or(NoPose::Corners)?;
        let pattern = Pattern::from(modules);
        let smaller = align::comfortable(&flat[0], &pattern, &corners, grey, camera);
        Ok(Self { pattern, corners, grey, camera, flat, smaller })
    }

    /// What explains the picture best, on any surface, and the other pose that may as well. `known`: how the symbol is bent,
    /// about, where that is known.
    fn best(&self, known: Option<Bend>) -> Option<(Aligned, Option<Aligned>)> {
        let mut flat: Vec<Aligned> =
            self.flat.iter().filter_map(|pose| self.roughly(Start::flat(*pose))).collect();
        keep_rivals(&mut flat);
        let from_flat = flat.iter().flat_map(|fit| {
            [Axis::Upright, Axis::Lying].map(|axis| Start::bent(fit.pose, axis, CURVATURE_AT_FIRST))
        });
        let from_known = self.flat.iter().filter_map(|pose| {
            let moved = self.by_corners(Start { pose: *pose, bend: known?, bends: false })?;
            Some(Start { bends: true, ..moved })
        });
        let mut bent: Vec<Aligned> =
            from_flat.chain(from_known).filter_map(|start| self.roughly(start)).collect();
        keep_rivals(&mut bent);
        let (bent, straightened): (Vec<Aligned>, Vec<Aligned>) = bent
            .iter()
            .filter_map(|fit| self.refined(fit.again(true)))
            .partition(|fit| CURVATURE_MIN < fit.bend.curvature);
        // A bend that went away has led to a plane that the first look did not find.
        let straightened = straightened.iter().map(|fit| Start::flat(fit.pose));
        let flat = flat.iter().map(|fit| fit.again(false)).chain(straightened);
        let mut flat: Vec<Aligned> = flat.filter_map(|start| self.refined(start)).collect();
        if let Some(best) = flat.iter().min_by(|a, b| a.unexplained.total_cmp(&b.unexplained)) {
            // Where the tilt is slight, both first looks may have led to the same of the two.
            flat.extend(self.refined(Start::flat(planar::mirrored(&best.pose))));
        }
        let best_flat = best_two(flat.into_iter());
        let best_bent = best_two(bent.into_iter());
        match (best_flat, best_bent) {
            (Some(flat), Some(bent)) => {
                Some(if bent.0.unexplained < BENT_RATIO * flat.0.unexplained { bent } else { flat })
            }
            (flat, bent) => flat.or(bent),
        }
    }

    /// A start that is moved so that its corners are where they are seen.
    fn by_corners(&self, start: Start) -> Option<Start> {
        let half = 0.5 * f64::from(self.pattern.rows()) / f64::from(self.pattern.columns());
        let own = [(-0.5, -half), (0.5, -half), (0.5, half), (-0.5, half)];
        let points: [(DVec2, DVec2); 4] = std::array::from_fn(|at| {
            let (own, seen) = (own[at], self.corners[at]);
            (DVec2::new(own.0, own.1), DVec2::new(seen.x, seen.y))
        });
        let found = points::fitted(start, &points, self.camera)?;
        Some(Start { pose: found.pose, ..start })
    }

    fn roughly(&self, start: Start) -> Option<Aligned> {
        match &self.smaller {
            Some((grey, camera)) => align::roughly(start, &self.pattern, grey, camera),
            None => align::roughly(start, &self.pattern, self.grey, self.camera),
        }
    }

    fn refined(&self, start: Start) -> Option<Aligned> {
        let start = match &self.smaller {
            Some((grey, camera)) => align::refined(start, &self.pattern, grey, camera)?.again(start.bends),
            None => start,
        };
        align::refined(start, &self.pattern, self.grey, self.camera)
    }
}

/// Keeps what explains the picture nearly as well as the best, that one first.
fn keep_rivals(fits: &mut Vec<Aligned>) {
    fits.sort_by(|a, b| a.unexplained.total_cmp(&b.unexplained));
    let least = fits.first().map_or(0.0, |best| best.unexplained);
    fits.retain(|fit| fit.unexplained <= RIVAL_RATIO * least);
}

/// The fit that leaves least unexplained, and the best of those that are another pose.
fn best_two(fits: impl Iterator<Item = Aligned>) -> Option<(Aligned, Option<Aligned>)> {
    let mut fits: Vec<Aligned> = fits.collect();
    fits.sort_by(|a, b| a.unexplained.total_cmp(&b.unexplained));
    let best = fits.first().copied()?;
    let other = fits.into_iter().find(|fit| SAME_DEG < best.pose.degrees_to(&fit.pose));
    Some((best, other))
}
