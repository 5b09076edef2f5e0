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
//! The symbol is taken as flat and the lens as free of distortion. On a bottle the pose is off by degrees, on a thin
//! tube by up to twenty, and [`Fit::agreement`] does not tell that. Lengths are in the unit of the given width.

mod align;
mod planar;
#[cfg(test)]
mod tests;

use glam::{DMat3, DVec2, DVec3};

use crate::{
    codes::{Code, Format},
    geometry::Point,
    picture::Grey,
};

/// The field of view along the longer side of a common webcam's picture, in degrees: what is assumed of a camera that
/// nobody has calibrated.
pub const ASSUMED_FOV_DEG: f64 = 64.4;
/// Focal lengths in pixels.
pub const FOCAL_PX: (f64, f64) = (1.0, 1e6);
/// Horizontal fields of view, in degrees; what is wider is no pinhole camera.
pub const FOV_DEG: (f64, f64) = (0.1, 170.0);

/// A fit below this agreement is no pose of that symbol on a plane.
///
/// Flat symbols in rendered pictures with noise and blur reach 0.9 and more.
pub const AGREEMENT_MIN: f64 = 0.7;

/// Poses whose symbols point in directions closer than this are one pose, in degrees.
const SAME_DEG: f64 = 1.0;

/// The other pose explains the picture as well when what it leaves unexplained is at most this many times as much.
const AMBIGUOUS_RATIO: f64 = 1.1;

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
    fn project(&self, point: DVec3) -> DVec2 {
        self.focal * point.truncate() / point.z + self.principal
    }

    /// Where the ray through a pixel meets the plane one unit before the camera.
    fn normalised(&self, pixel: Point) -> DVec2 {
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
    /// The symbol as a plane does not look like the picture.
    #[error(
        "no flat pose looks like the picture (agreement {0:.2}, least {AGREEMENT_MIN}): is it bent or hidden, or the \
         camera another one?"
    )]
    NotFlat(f64),
}

/// Where a symbol that was read in this picture is, when its top edge is `width` long.
///
/// # Errors
/// [`NoPose`] when the symbol or the picture gives none.
pub fn estimate(code: &Code, grey: &Grey, camera: &Intrinsics, width: f64) -> Result<SymbolPose, NoPose> {
    let modules = match (&code.modules, code.format) {
        (Some(modules), Format::Qr | Format::DataMatrix) => modules,
        _ => return Err(NoPose::NoMatrix),
    };
    if code.mirrored {
        return Err(NoPose::Mirrored);
    }
    let corners = std::array::from_fn(|at| camera.normalised(code.corners[(code.symbol_origin + at) % 4]));
    let starts = planar::poses(corners, modules.aspect()).ok_or(NoPose::Corners)?;
    let (smaller, scale) = align::comfortable(&starts[0], modules, grey, camera);
    let align_one = |start| match &smaller {
        Some(smaller) => {
            let found = align::to_picture(start, modules, smaller, &camera.scaled(scale))?;
            align::refined(found.pose, modules, grey, camera)
        }
        None => align::to_picture(start, modules, grey, camera),
    };
    let mut fits = starts.map(align_one).into_iter().flatten();
    let (Some(one), other) = (fits.next(), fits.next()) else { return Err(NoPose::Corners) };
    let other = other.filter(|other| SAME_DEG < one.pose.degrees_to(&other.pose));
    let (best, other) = match other {
        Some(other) if other.unexplained < one.unexplained => (other, Some(one)),
        other => (one, other),
    };
    if best.agreement < AGREEMENT_MIN {
        return Err(NoPose::NotFlat(best.agreement));
    }
    let ambiguous = other.is_some_and(|other| other.unexplained <= best.unexplained * AMBIGUOUS_RATIO);
    let scaled = |found: align::Aligned| Fit {
        camera_from_symbol: Rigid {
            translation: found.pose.translation * width,
            rotation: found.pose.rotation,
        },
        agreement: found.agreement,
    };
    Ok(SymbolPose { best: scaled(best), other: other.map(scaled), ambiguous })
}
