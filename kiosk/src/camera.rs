//! What the kiosk sees: for now one picture file, read afresh each time somebody asks to be looked at.
//!
//! Owns where pictures come from. A picture lives in memory only, belongs to one session, and is wiped when dropped
//! (`vision::Picture`). Reading happens on the workers of the features, never inside a frame.

use std::{path::PathBuf, sync::Arc};

use bevy::prelude::*;
use vision::{Picture, PictureError};

use crate::config::CameraSource;

/// The camera, or its absence.
#[derive(Resource, Debug, Clone, Default)]
pub struct Camera {
    source: Option<CameraSource>,
    product: Option<CameraSource>,
}

impl Camera {
    /// The camera of a configuration.
    #[must_use]
    pub fn new(source: Option<CameraSource>) -> Self {
        Self { source, product: None }
    }

    /// The same with another one that looks at products.
    #[must_use]
    pub fn with_product(self, product: Option<CameraSource>) -> Self {
        Self { product, ..self }
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.source.is_some()
    }

    /// Whether products are seen by a camera of their own.
    #[must_use]
    pub fn has_product_camera(&self) -> bool {
        self.product.is_some()
    }

    /// What a worker needs to take a picture.
    #[must_use]
    pub fn shutter(&self) -> Option<Shutter> {
        self.source.as_ref().map(|CameraSource::File(path)| Shutter(path.clone()))
    }

    /// As [`Self::shutter`], of the camera that looks at products.
    #[must_use]
    pub fn product_shutter(&self) -> Option<Shutter> {
        match &self.product {
            Some(CameraSource::File(path)) => Some(Shutter(path.clone())),
            None => self.shutter(),
        }
    }
}

/// Takes one picture; goes to a worker.
#[derive(Debug, Clone)]
pub struct Shutter(PathBuf);

impl Shutter {
    /// Takes the picture. May take as long as reading a large file.
    ///
    /// # Errors
    /// When the file cannot be read or is no picture.
    pub fn take(&self) -> Result<Arc<Picture>, PictureError> {
        Picture::from_file(&self.0).map(Arc::new)
    }
}
