//! The picture that a visitor sees of himself: newest frame, mirrored, one texture for as long as its size stays.
//!
//! The camera's thread makes the bytes; the render world takes the newest and writes it into the texture, at most once a
//! frame and only when there is a new one. The bytes never become an asset: assets are copied and dropped unwiped.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use bevy::{
    asset::AssetId,
    prelude::*,
    render::{
        Extract, ExtractSchedule, Render, RenderApp, RenderSystems,
        render_asset::RenderAssets,
        renderer::{RenderDevice, RenderQueue},
        texture::GpuImage,
    },
};
use vision::Picture;

use super::{Camera, Which};
use crate::{
    graphics,
    paint::Painting,
    textures::{self, Darkroom},
};

/// Longer sides are halved, thirded and so on: no place on a screen is larger.
const SIDE_MAX: u32 = 1280;

/// Shows the newest frame where a [`CameraView`] stands.
pub(super) fn plugin(app: &mut App) {
    app.init_resource::<PreviewImage>().add_systems(
        Update,
        (resize, fit).chain().run_if(resource_exists::<Camera>).run_if(resource_exists::<Assets<Image>>),
    );
    if let Some(render) = app.get_sub_app_mut(RenderApp) {
        render
            .init_resource::<Target>()
            .add_systems(ExtractSchedule, extract)
            .add_systems(Render, upload.in_set(RenderSystems::PrepareResources));
    }
}

/// A place where a visitor sees what the camera sees, mirrored, as large as fits into a box.
#[derive(Component, Debug, Clone, Copy)]
#[require(super::NeedsCamera = super::NeedsCamera(Which::Visitors), Node)]
pub struct CameraView {
    /// The box.
    pub box_size: Vec2,
}

/// One frame, ready for a texture. Its bytes are wiped when it is dropped.
pub(super) struct Preview(Painting);

impl Preview {
    /// A copy that is small enough, in memory that is used again.
    pub(super) fn of(picture: &Picture, mut rgba: Vec<u8>) -> Self {
        let factor = picture.width().max(picture.height()).div_ceil(SIDE_MAX).max(1);
        let (width, height) = ((picture.width() / factor).max(1), (picture.height() / factor).max(1));
        rgba.clear();
        rgba.reserve_exact(width as usize * height as usize * 4);
        let row = picture.width() as usize * 3;
        if factor == 1 {
            for pixel in picture.rgb().chunks_exact(3) {
                rgba.extend_from_slice(&[pixel[0], pixel[1], pixel[2], u8::MAX]);
            }
        } else {
            let factor = factor as usize;
            let count = u32::try_from(factor * factor).unwrap_or(1);
            for y in 0..height as usize {
                for x in 0..width as usize {
                    let mut sum = [0_u32; 3];
                    for line in picture.rgb()[y * factor * row..].chunks_exact(row).take(factor) {
                        for pixel in line[x * factor * 3..].chunks_exact(3).take(factor) {
                            for (sum, value) in sum.iter_mut().zip(pixel) {
                                *sum += u32::from(*value);
                            }
                        }
                    }
                    rgba.extend(sum.map(|sum| u8::try_from(sum / count).unwrap_or(u8::MAX)));
                    rgba.push(u8::MAX);
                }
            }
        }
        Self(Painting { width, height, rgba })
    }
}

/// The slot between the camera's thread and the texture: one frame waits, a newer one takes its place.
#[derive(Default)]
pub(super) struct Previews {
    slot: Mutex<Slot>,
    uploads: AtomicU64,
}

#[derive(Default)]
struct Slot {
    waiting: Option<Preview>,
    spare: Option<Preview>,
    /// What was put in last; nothing after a wipe.
    size: Option<UVec2>,
}

impl Previews {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, preview: Preview) {
        let mut slot = self.lock();
        slot.size = Some(UVec2::new(preview.0.width, preview.0.height));
        if let Some(before) = slot.waiting.replace(preview) {
            slot.spare = Some(before);
        }
    }

    /// Memory of a frame that was shown or overtaken.
    pub(super) fn spare(&self) -> Vec<u8> {
        self.lock().spare.take().map(|mut preview| std::mem::take(&mut preview.0.rgba)).unwrap_or_default()
    }

    pub(super) fn is_blank(&self) -> bool {
        self.lock().size.is_none()
    }

    /// Wipes what waits.
    pub(super) fn clear(&self) {
        *self.lock() = Slot::default();
    }

    fn size(&self) -> Option<UVec2> {
        self.lock().size
    }

    /// The frame that waits, when it has this size.
    fn take(&self, size: UVec2) -> Option<Preview> {
        let mut slot = self.lock();
        let fits = |preview: &Preview| UVec2::new(preview.0.width, preview.0.height) == size;
        slot.waiting.take_if(|preview| fits(preview))
    }

    fn give_back(&self, preview: Preview) {
        let mut slot = self.lock();
        // After a wipe nothing is kept, not even as spare memory.
        if slot.size.is_some() {
            slot.spare = Some(preview);
        }
    }

    /// How many frames were written into the texture.
    pub(super) fn uploads(&self) -> u64 {
        self.uploads.load(Ordering::Relaxed)
    }
}

/// The one image of the preview.
#[derive(Resource, Debug, Default)]
pub(super) struct PreviewImage {
    handle: Option<Handle<Image>>,
    size: Option<UVec2>,
}

/// Makes the image when the first frame comes, and a blank one in its place when the size changes, the eye closes, or
/// another graphics device draws.
fn resize(
    camera: Res<Camera>,
    device: Option<Res<RenderDevice>>,
    mut image: ResMut<PreviewImage>,
    mut images: ResMut<Assets<Image>>,
) {
    let size = camera.eye(Which::Visitors).and_then(|eye| eye.previews().size());
    if size == image.size && image.handle.is_some() && !graphics::is_device_new(device) {
        return;
    }
    let extent = size.unwrap_or(UVec2::ONE);
    let blank = textures::blank(extent.x, extent.y);
    match &image.handle {
        Some(handle) => {
            // The handle is ours, so its place is there.
            let _ = images.insert(handle.id(), blank);
        }
        None => image.handle = Some(images.add(blank)),
    }
    image.size = size;
}

/// Gives each place its picture and its shape.
fn fit(
    mut commands: Commands,
    image: Res<PreviewImage>,
    mut views: Query<(Entity, &CameraView, &mut Node, Has<ImageNode>)>,
) {
    let Some(handle) = &image.handle else { return };
    for (entity, view, mut node, has_image) in &mut views {
        if !has_image {
            let image_mode = bevy::ui::widget::NodeImageMode::Stretch;
            // A screen may take its place away in the same frame.
            commands.entity(entity).try_insert(ImageNode {
                image: handle.clone(),
                // A visitor expects a mirror; the picture that is measured is not mirrored.
                flip_x: true,
                image_mode,
                ..default()
            });
        }
        let size = image.size.map_or(view.box_size, |size| {
            let size = size.as_vec2();
            size * (view.box_size / size).min_element()
        });
        if (node.width, node.height) != (px(size.x), px(size.y)) {
            (node.width, node.height) = (px(size.x), px(size.y));
        }
    }
}

/// What the render world needs to know.
#[derive(Resource, Default)]
struct Target {
    previews: Option<Arc<Previews>>,
    image: Option<AssetId<Image>>,
}

fn extract(
    camera: Extract<Option<Res<Camera>>>,
    image: Extract<Res<PreviewImage>>,
    mut target: ResMut<Target>,
) {
    target.previews =
        camera.as_ref().and_then(|camera| camera.eye(Which::Visitors)).map(super::Eye::previews);
    target.image = image.handle.as_ref().map(Handle::id);
}

/// Writes the newest frame into the texture.
fn upload(
    target: Res<Target>,
    images: Res<RenderAssets<GpuImage>>,
    mut darkroom: ResMut<Darkroom>,
    device: Res<RenderDevice>,
    queue: Res<RenderQueue>,
) {
    let (Some(previews), Some(image)) = (&target.previews, target.image) else { return };
    let Some(texture) = images.get(image).map(|shown| &shown.texture) else { return };
    let Some(preview) = previews.take(UVec2::new(texture.width(), texture.height())) else { return };
    // While the device is behind, a frame is skipped: a newer one comes.
    if darkroom.expose((&device, &queue), image, texture, &preview.0.rgba) {
        previews.uploads.fetch_add(1, Ordering::Relaxed);
    }
    previews.give_back(preview);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, value: u8) -> Picture {
        Picture::from_rgb(width, height, vec![value; (width * height * 3) as usize]).unwrap()
    }

    #[test]
    fn a_newer_frame_takes_the_place_of_one_that_waits_and_memory_is_used_again() {
        let previews = Previews::default();
        previews.put(Preview::of(&picture(8, 4, 1), previews.spare()));
        previews.put(Preview::of(&picture(8, 4, 2), previews.spare()));
        let place = {
            let spare = previews.spare();
            assert_eq!(spare.capacity(), 8 * 4 * 4);
            spare.as_ptr()
        };
        assert!(!place.is_null());
        let taken = previews.take(UVec2::new(8, 4)).unwrap();
        assert_eq!(&taken.0.rgba[..4], &[2, 2, 2, 255]);
        assert!(previews.take(UVec2::new(8, 4)).is_none(), "a frame is shown once");
        previews.give_back(taken);
        assert_eq!(previews.spare().capacity(), 8 * 4 * 4);
    }

    #[test]
    fn after_a_wipe_nothing_is_left_and_nothing_comes_back() {
        let previews = Previews::default();
        previews.put(Preview::of(&picture(8, 4, 1), Vec::new()));
        let taken = previews.take(UVec2::new(8, 4)).unwrap();
        previews.clear();
        previews.give_back(taken);
        assert!(previews.is_blank() && previews.spare().is_empty());
        assert!(previews.take(UVec2::new(8, 4)).is_none());
    }

    #[test]
    fn a_large_picture_is_shrunk_by_whole_numbers() {
        let preview = Preview::of(&picture(2600, 1300, 77), Vec::new());
        assert_eq!((preview.0.width, preview.0.height), (866, 433));
        assert!(preview.0.rgba.chunks_exact(4).all(|pixel| pixel == [77, 77, 77, 255]));
    }
}
