//! What the kiosk sees: one eye for visitors, and where there is one, another for products.
//!
//! Owns who may look and when. An eye is open while somebody needs it ([`NeedsCamera`]) and, where it sees the visitor,
//! while the visitor has agreed; otherwise its device is closed. A picture lives in memory only, belongs to one session,
//! and is wiped when it is dropped (`vision::Picture`). Looking happens on threads of its own, never inside a frame.
//! Knows no screen: whatever needs the camera carries [`NeedsCamera`] and takes it along when it goes.

mod eye;
mod light;
mod preview;

use std::io;

use bevy::{
    prelude::*,
    winit::{EventLoopProxyWrapper, WinitUserEvent},
};
use vision::camera::{About, Settings};

use crate::{
    config::CameraSource,
    session::{Consent, Session, SessionEnded},
};
use eye::{Eye, Limits};

pub use eye::{CameraCounts, CameraState, Shutter, TakeError};
pub use preview::CameraView;

/// Opens and closes the eyes, and shows that one is open.
pub(crate) fn plugin(app: &mut App) {
    app.add_plugins((preview::plugin, light::plugin))
        .init_resource::<CameraStatus>()
        .add_observer(|_: On<SessionEnded>, camera: Option<Res<Camera>>| {
            // At once, not when the screen has gone: whoever leaves leaves nothing.
            if let Some(camera) = camera {
                camera.eyes().for_each(|eye| eye.want(false, false));
            }
        })
        .add_systems(First, report.run_if(resource_exists::<Camera>))
        .add_systems(Last, look.run_if(resource_exists::<Camera>))
        .add_systems(
            PostStartup,
            wake.run_if(resource_exists::<Camera>).run_if(resource_exists::<EventLoopProxyWrapper>),
        );
}

/// Whom an eye looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Visitors; only with their consent.
    Visitors,
    /// The light in the room, for staff who have said their PIN: through the visitors' eye, without anybody's consent,
    /// because no picture of it is shown or kept.
    Staff,
    /// Products; where there is no eye of their own, the visitors' one, with its condition.
    Products,
}

/// Something that needs the camera for as long as it is there.
#[derive(Component, Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeedsCamera(pub Which);

/// What the eyes do now.
#[derive(Resource, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CameraStatus {
    /// The one that looks at visitors.
    pub visitors: CameraState,
    /// The one that looks at products, where there is one.
    pub products: CameraState,
}

/// The camera, or its absence.
#[derive(Resource, Default)]
pub struct Camera {
    visitors: Option<Eye>,
    products: Option<Eye>,
}

impl Camera {
    /// Starts a thread for each source. No device is opened.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        visitors: Option<CameraSource>,
        products: Option<CameraSource>,
        settings: &Settings,
    ) -> io::Result<Self> {
        let eye = |name, source: Option<CameraSource>| {
            source
                .map(|source| {
                    let camera = vision::camera::Camera::new(source, settings.clone());
                    Eye::start(name, camera, Limits::default())
                })
                .transpose()
        };
        Ok(Self { visitors: eye("camera", visitors)?, products: eye("product-camera", products)? })
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.visitors.is_some()
    }

    /// Whether products are seen by a camera of their own.
    #[must_use]
    pub fn has_product_camera(&self) -> bool {
        self.products.is_some()
    }

    /// What a worker needs to take a picture of the visitor, from now on.
    #[must_use]
    pub fn shutter(&self) -> Option<Shutter> {
        self.visitors.as_ref().map(Eye::shutter)
    }

    /// As [`Self::shutter`], of the camera that looks at products.
    #[must_use]
    pub fn product_shutter(&self) -> Option<Shutter> {
        self.products.as_ref().or(self.visitors.as_ref()).map(Eye::shutter)
    }

    /// What was opened last, with what differs from the configuration; for staff.
    #[must_use]
    pub fn about(&self, which: Which) -> Option<About> {
        self.eye(which)?.about()
    }

    /// What was counted since the start; for staff.
    #[must_use]
    pub fn counts(&self, which: Which) -> Option<CameraCounts> {
        self.eye(which).map(Eye::counts)
    }

    /// How many frames the preview has shown.
    #[must_use]
    pub fn previews_shown(&self) -> u64 {
        self.visitors.as_ref().map_or(0, |eye| eye.previews().uploads())
    }

    /// A camera for tests, which have threads.
    #[cfg(test)]
    pub(crate) fn new(source: Option<CameraSource>) -> Self {
        Self::start(source, None, &Settings::default()).expect("a test has threads")
    }

    /// The same with another one that looks at products.
    #[cfg(test)]
    pub(crate) fn with_product(self, product: Option<CameraSource>) -> Self {
        let Self { products, .. } =
            Self::start(None, product, &Settings::default()).expect("a test has threads");
        Self { products, ..self }
    }

    fn eye(&self, which: Which) -> Option<&Eye> {
        match which {
            Which::Visitors | Which::Staff => self.visitors.as_ref(),
            Which::Products => self.products.as_ref(),
        }
    }

    fn eyes(&self) -> impl Iterator<Item = &Eye> {
        self.visitors.iter().chain(&self.products)
    }
}

/// Keeps a camera open for a feature that shows no preview: there is one `C` for as long as it is needed.
pub(crate) fn hold<C: Component + Default>(
    commands: &mut Commands,
    is_needed: bool,
    held: Option<Single<Entity, With<C>>>,
    which: Which,
) {
    match (is_needed, held) {
        (true, None) => {
            commands.spawn((C::default(), NeedsCamera(which)));
        }
        (false, Some(held)) => commands.entity(*held).despawn(),
        (true, Some(_)) | (false, None) => {}
    }
}

/// Takes over what the threads say.
fn report(camera: Res<Camera>, mut status: ResMut<CameraStatus>) {
    let state = |eye: &Option<Eye>| eye.as_ref().map(Eye::state).unwrap_or_default();
    status.set_if_neq(CameraStatus { visitors: state(&camera.visitors), products: state(&camera.products) });
}

/// Opens what is needed and allowed, closes the rest.
fn look(
    camera: Res<Camera>,
    session: Option<Res<Session>>,
    needs: Query<&NeedsCamera>,
    views: Query<(), With<CameraView>>,
) {
    let needs = |which| needs.iter().any(|need| need.0 == which);
    let is_allowed = session.is_some_and(|session| session.consent() == Consent::Given);
    if let Some(eye) = &camera.visitors {
        let is_needed = needs(Which::Visitors) || (camera.products.is_none() && needs(Which::Products));
        let is_wanted = is_needed && is_allowed;
        eye.want(is_wanted || needs(Which::Staff), is_wanted && !views.is_empty());
    }
    if let Some(eye) = &camera.products {
        eye.want(needs(Which::Products), false);
    }
}

/// A kiosk that rests between touches is woken by a new picture.
fn wake(camera: Res<Camera>, proxy: Res<EventLoopProxyWrapper>) {
    for eye in camera.eyes() {
        let proxy = (**proxy).clone();
        // A loop that is gone needs no waking.
        eye.wake_with(move || {
            let _ = proxy.send_event(WinitUserEvent::WakeUp);
        });
    }
}

#[cfg(test)]
mod tests;
