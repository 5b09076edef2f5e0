//! The one thing that the kiosk holds: detector and networks, loaded and verified once, used from any
//! thread.
//!
//! Owns where models and the runtime's library are looked for. A part that cannot be loaded is an error
//! at load, never a surprise at the first visitor.

use std::{
    borrow::Borrow,
    env,
    path::{Path, PathBuf},
};

use crate::{
    calibration::Calibration,
    cover::Covers,
    face::{DetectError, Detector, FaceBox},
    inference::{self, RUNTIME_VARIABLE, RUNTIME_VERSION},
    landmarks::{Face, Landmarker, MANIFEST_FILE},
    picture::{Grey, Picture},
    skin::{self, Decoding, Finder, Guidance, Guide, ModelIdentity, Reference, ReferenceError, SkinReport},
    skinmap::Skinmap,
};

pub use crate::inference::{NetworkError, RuntimeError};
pub use crate::model_file::ModelError;

/// Names the folder of models.
pub const MODELS_VARIABLE: &str = "STOREHUB_MODELS";
/// Names the folder for what is fetched once; default `~/.cache/storehub`.
pub const CACHE_VARIABLE: &str = "STOREHUB_CACHE";
/// Where models lie in a checkout and in a package.
const MODELS_FOLDER: &str = "models/weights";
/// Faces beyond these, the largest, are not looked at.
const FACES_MAX: usize = 16;

/// Why there is no analyser.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No folder of models was given and none was found.
    #[error(
        "found no folder `{MODELS_FOLDER}` with `{MANIFEST_FILE}` beside or above the program or the current \
         folder: name it (`--models DIR`, or `[models] dir` of a kiosk) or set {MODELS_VARIABLE}"
    )]
    NoModels,
    /// The home directory is unknown, so the library's default place is too.
    #[error("no place to look for the ONNX Runtime library: set {RUNTIME_VARIABLE} or {CACHE_VARIABLE}")]
    NoCache,
    /// The library.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The face detector.
    #[error(transparent)]
    Detector(#[from] DetectError),
    /// What scores are compared with.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A network.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Why a picture was not analysed.
#[derive(Debug, thiserror::Error)]
pub enum AnalyseError {
    /// The face detector failed.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// A burst of nothing.
    #[error("there is no picture to look at")]
    NoPicture,
    /// A network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// Detector and networks, ready to use. `Send` and `Sync`; one job at a time is what it is made for.
pub struct Analyser {
    detector: Detector,
    landmarker: Landmarker,
    covers: Covers,
    skinmap: Skinmap,
    reference: Reference,
    decoding: Decoding,
}

impl Analyser {
    /// Loads and verifies everything.
    ///
    /// `models_dir`: default `$STOREHUB_MODELS`, else `models/weights` beside or above the program or the
    /// current folder. `ort_lib`: default `$ORT_DYLIB_PATH`, else the library that `cargo xtask setup`
    /// put into the cache folder.
    ///
    /// # Errors
    /// When a part is missing, damaged or does not fit; the message names the file and what to do.
    pub fn load(models_dir: Option<&Path>, ort_lib: Option<&Path>) -> Result<Self, LoadError> {
        let models_dir = models_dir.map(Path::to_owned).or_else(find_models).ok_or(LoadError::NoModels)?;
        let ort_lib = ort_lib.map(Path::to_owned).or_else(find_runtime).ok_or(LoadError::NoCache)?;
        inference::load_runtime(&ort_lib)?;
        let landmarker = Landmarker::load(&models_dir)?;
        let skinmap = Skinmap::load(&models_dir)?;
        Ok(Self {
            detector: Detector::try_new()?,
            landmarker,
            covers: Covers::load(&models_dir)?,
            reference: Reference::load(&models_dir, &skinmap.identity())?,
            skinmap,
            decoding: Decoding::default(),
        })
    }

    /// Sees the colours of one camera under one light as they are. Only pictures of that camera are looked at then.
    #[must_use]
    pub fn calibrated(mut self, calibration: Calibration) -> Self {
        self.decoding = Decoding::Calibrated(Box::new(calibration));
        self
    }

    /// The calibration that [`Self::calibrated`] gave.
    #[must_use]
    pub fn calibration(&self) -> Option<&Calibration> {
        match &self.decoding {
            Decoding::Srgb => None,
            Decoding::Calibrated(calibration) => Some(calibration),
        }
    }

    /// The names of a face's points, in the order of [`Face::points`].
    #[must_use]
    pub fn point_names(&self) -> &[String] {
        self.landmarker.point_names()
    }

    /// All faces, the largest first.
    ///
    /// # Errors
    /// When the detector or the network fails; no face is no error.
    pub fn faces(&self, picture: &Picture) -> Result<Vec<Face>, AnalyseError> {
        let boxes = self.detector.detect(&picture.to_grey())?;
        let faces = self.locate(picture, &boxes);
        self.forget_faces()?;
        faces
    }

    /// What the skin looks like in this picture, or why that cannot be said.
    ///
    /// # Errors
    /// When the detector or a network fails. A picture that is refused gives a report that says why.
    pub fn skin(&self, picture: &Picture) -> Result<SkinReport, AnalyseError> {
        self.skin_burst(std::slice::from_ref(picture))
    }

    /// What the skin looks like in pictures taken one right after the other, at most [`skin::BURST_MAX`] of which are
    /// looked at.
    ///
    /// # Errors
    /// When there is no picture, or the detector or a network fails.
    pub fn skin_burst<P: Borrow<Picture>>(&self, pictures: &[P]) -> Result<SkinReport, AnalyseError> {
        let mut clock = skin::Stopwatch::start();
        let pictures = &pictures[..pictures.len().min(skin::BURST_MAX)];
        let pictures: Vec<&Picture> = pictures.iter().map(Borrow::borrow).collect();
        let greys: Vec<Grey> = pictures.iter().map(|picture| picture.to_grey()).collect();
        let boxes = self.detector.detect(greys.first().ok_or(AnalyseError::NoPicture)?)?;
        clock.lap("box");
        // A calibration that holds no longer is none.
        let strip =
            self.calibration().zip(pictures.first()).and_then(|(known, picture)| known.strip(picture));
        let plain = Decoding::default();
        let decoding = if strip.as_ref().is_none_or(|strip| strip.ok) { &self.decoding } else { &plain };
        let stops = strip.as_ref().and_then(|strip| strip.stops);
        let looks = self.looks(&pictures, &greys, &boxes, (decoding, stops), &mut clock);
        self.forget_faces()?;
        self.skinmap.forget()?;
        clock.lap("forget");
        let looks = looks?;
        let model = ModelIdentity {
            landmark: self.landmarker.identity(),
            cover: self.covers.identity(),
            skinmap: self.skinmap.identity(),
        };
        let mut report = skin::report(looks, decoding, &self.reference, model, clock);
        report.capture.strip = strip;
        Ok(report)
    }

    fn looks(
        &self,
        pictures: &[&Picture],
        greys: &[Grey],
        boxes: &[FaceBox],
        (decoding, stops): (&Decoding, Option<f64>),
        clock: &mut skin::Stopwatch,
    ) -> Result<Vec<skin::Look>, AnalyseError> {
        let mut looks = Vec::with_capacity(pictures.len());
        for (picture, grey) in pictures.iter().zip(greys) {
            // Within a burst nobody moves by more than the second pass of the landmarks follows.
            let faces = self.locate(picture, boxes)?;
            clock.lap("landmarks");
            let maps = match faces.first() {
                Some(face) => self.skinmap.look(picture, decoding, &face.landmarks)?,
                None => None,
            };
            clock.lap("maps");
            looks.push(skin::look(picture, decoding, grey, &faces, maps, stops));
            clock.lap("regions");
        }
        Ok(looks)
    }

    /// What the visitor in this frame of a live picture should change.
    ///
    /// # Errors
    /// When the detector or a network fails.
    pub fn guide(&self, guide: &mut Guide, picture: &Picture) -> Result<Guidance, AnalyseError> {
        let said = guide.step(picture, self);
        self.forget_faces()?;
        said
    }

    /// The boxes alone, the largest first: for live guidance.
    ///
    /// # Errors
    /// When the detector fails.
    pub fn face_boxes(&self, picture: &Picture) -> Result<Vec<FaceBox>, AnalyseError> {
        Ok(self.detector.detect(&picture.to_grey())?)
    }

    /// Whatever came of a picture, nothing of the face stays in the runtime's buffers.
    fn forget_faces(&self) -> Result<(), NetworkError> {
        self.landmarker.forget()?;
        self.covers.forget()
    }

    fn locate(&self, picture: &Picture, boxes: &[FaceBox]) -> Result<Vec<Face>, AnalyseError> {
        let found: Result<Vec<Face>, NetworkError> =
            boxes.iter().take(FACES_MAX).map(|bounds| self.landmarker.locate(picture, *bounds)).collect();
        let mut faces = found?;
        if let Some(face) = faces.first_mut() {
            face.cover = Some(self.covers.look(picture, &face.landmarks)?);
        }
        Ok(faces)
    }
}

impl Finder for Analyser {
    type Error = AnalyseError;

    fn detect(&self, picture: &Picture, grey: &Grey) -> Result<Vec<Face>, AnalyseError> {
        let boxes = self.detector.detect(grey)?;
        self.locate(picture, &boxes)
    }

    fn follow(&self, picture: &Picture, face: &Face) -> Result<Option<Face>, AnalyseError> {
        let mut followed = self.landmarker.follow(picture, face)?;
        if let Some(face) = &mut followed {
            face.cover = Some(self.covers.look(picture, &face.landmarks)?);
        }
        Ok(followed)
    }
}

fn find_models() -> Option<PathBuf> {
    if let Some(folder) = variable(MODELS_VARIABLE) {
        return Some(folder);
    }
    let program = env::current_exe().ok();
    let starts = [program, env::current_dir().ok()];
    starts
        .iter()
        .flatten()
        .flat_map(|start| start.ancestors())
        .map(|folder| folder.join(MODELS_FOLDER))
        .find(|folder| folder.join(MANIFEST_FILE).is_file())
}

/// Where the runtime's library is expected when nobody says otherwise.
#[must_use]
pub fn find_runtime() -> Option<PathBuf> {
    if let Some(file) = variable(RUNTIME_VARIABLE) {
        return Some(file);
    }
    let cache =
        variable(CACHE_VARIABLE).or_else(|| env::home_dir().map(|home| home.join(".cache/storehub")))?;
    Some(cache.join("onnxruntime").join(format!("libonnxruntime.so.{RUNTIME_VERSION}")))
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_analyser_can_be_shared_between_threads() {
        fn check<T: Send + Sync>() {}
        check::<Analyser>();
    }
}
