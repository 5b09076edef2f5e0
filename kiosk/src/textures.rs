//! Textures that show visitors: they are filled through buffers of our own, and nothing is left when they are let go of.
//!
//! The usual ways copy a picture through staging memory that nobody wipes, and the graphics allocator keeps the content
//! of a texture that was dropped until something else comes to lie there. Here a picture goes through a [`Tray`], a
//! buffer that we map, fill and wipe ourselves, and a texture is overwritten with zeros before it is let go of.
//!
//! Owns: the way of a [`Painting`] to the graphics device and its end there. Does not own: who shows what, and for how
//! long; a texture is let go of when its image is dropped or replaced.
//!
//! A graphics device that was lost takes its textures with it: each painting is kept as long as its image, and goes to
//! the next device from there.
//!
//! Invariants: a tray that lies ready holds zeros; no texture that has shown a picture is dropped with it.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU8, Ordering},
};

use bevy::{
    asset::{AssetId, RenderAssetUsages},
    ecs::system::SystemParam,
    prelude::*,
    render::{
        Render, RenderApp, RenderStartup, RenderSystems,
        render_asset::RenderAssets,
        render_resource::{
            Buffer, BufferDescriptor, BufferUsages, CommandEncoderDescriptor, Extent3d, MapMode, PollType,
            TexelCopyBufferInfo, TexelCopyBufferLayout, Texture, TextureDimension, TextureFormat,
            TextureUsages,
        },
        renderer::{RenderDevice, RenderQueue},
        texture::GpuImage,
    },
};

use crate::{graphics::is_device_new, paint::Painting};

/// Trays on their way at once, at most: one that fills, one that is copied, and one for what a screen changes meanwhile.
const TRAYS_MAX: usize = 4;

/// Takes paintings to their textures.
pub(crate) fn plugin(app: &mut App) {
    let album = Album::default();
    app.insert_resource(album.clone()).add_systems(
        Update,
        (forget_dropped, expose_again.run_if(is_device_new)).chain().run_if(resource_exists::<Assets<Image>>),
    );
    if let Some(render) = app.get_sub_app_mut(RenderApp) {
        render
            .insert_resource(album)
            .init_resource::<Darkroom>()
            .add_systems(RenderStartup, open)
            .add_systems(Render, develop.in_set(RenderSystems::PrepareResources));
    }
}

/// A painting on a screen.
struct Shown {
    image: AssetId<Image>,
    painting: Painting,
    /// Whether its texture shows it.
    is_exposed: bool,
}

/// What is shown, and what is about to be.
#[derive(Resource, Clone, Default)]
struct Album(Arc<Mutex<Vec<Shown>>>);

impl Album {
    fn lock(&self) -> MutexGuard<'_, Vec<Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Images of paintings.
#[derive(SystemParam)]
pub struct Pictures<'w> {
    images: ResMut<'w, Assets<Image>>,
    album: Res<'w, Album>,
}

impl Pictures<'_> {
    /// A painting as an image that lives as long as somebody holds it.
    pub fn show(&mut self, painting: &Painting) -> Handle<Image> {
        let handle = self.images.add(blank(painting.width, painting.height));
        let shown = Shown { image: handle.id(), painting: painting.clone(), is_exposed: false };
        self.album.lock().push(shown);
        handle
    }
}

/// An image without content, to be filled by [`Darkroom::expose`].
pub(crate) fn blank(width: u32, height: u32) -> Image {
    let mut image = Image::new_uninit(
        Extent3d { width, height, depth_or_array_layers: 1 },
        TextureDimension::D2,
        TextureFormat::Rgba8UnormSrgb,
        RenderAssetUsages::RENDER_WORLD,
    );
    image.texture_descriptor.usage = TextureUsages::TEXTURE_BINDING | TextureUsages::COPY_DST;
    image
}

/// Nobody will see what belongs to an image that is gone.
fn forget_dropped(images: Res<Assets<Image>>, album: Res<Album>) {
    album.lock().retain(|shown| images.contains(shown.image));
}

/// The next device knows no image: each gets a new texture there.
fn expose_again(mut images: ResMut<Assets<Image>>, album: Res<Album>) {
    for shown in album.lock().iter_mut() {
        // It is there: what was dropped is forgotten before.
        let _ = images.insert(shown.image, blank(shown.painting.width, shown.painting.height));
        shown.is_exposed = false;
    }
}

/// What was with another device is gone with it.
fn open(mut darkroom: ResMut<Darkroom>) {
    *darkroom = Darkroom::default();
}

/// A buffer that the graphics device reads and we write.
struct Tray {
    buffer: Buffer,
    place: Arc<AtomicU8>,
}

/// Where a tray is: mapped and all zeros; with the device; mapped again with what was last in it; lost with its device.
const READY: u8 = 0;
const OUT: u8 = 1;
const BACK: u8 = 2;
const LOST: u8 = 3;

impl Tray {
    fn new(device: &RenderDevice, size: u64) -> Self {
        // A new buffer is all zeros: WebGPU wants it so.
        let buffer = device.create_buffer(&BufferDescriptor {
            label: Some("tray"),
            size,
            usage: BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        });
        Self { buffer, place: Arc::new(AtomicU8::new(READY)) }
    }

    fn is_at(&self, place: u8) -> bool {
        self.place.load(Ordering::Acquire) == place
    }

    fn wipe(&self) {
        self.buffer.slice(..).get_mapped_range_mut().slice(..).fill(0);
        self.place.store(READY, Ordering::Release);
    }
}

/// A texture that shows somebody.
struct Exposed {
    image: AssetId<Image>,
    texture: Texture,
}

/// The trays, and the textures that show somebody.
#[derive(Resource, Default)]
pub(crate) struct Darkroom {
    trays: Vec<Tray>,
    exposed: Vec<Exposed>,
}

impl Darkroom {
    /// Copies RGBA rows of its size into an image's texture. `false` when all trays are out: later, then.
    pub(crate) fn expose(
        &mut self,
        (device, queue): (&RenderDevice, &RenderQueue),
        image: AssetId<Image>,
        texture: &Texture,
        rgba: &[u8],
    ) -> bool {
        if !self.copy((device, queue), texture, Some(rgba)) {
            return false;
        }
        if !self.exposed.iter().any(|known| known.texture.id() == texture.id()) {
            self.exposed.push(Exposed { image, texture: texture.clone() });
        }
        true
    }

    /// Copies rows into a texture, or zeros. `false` when all trays are out.
    fn copy(
        &mut self,
        (device, queue): (&RenderDevice, &RenderQueue),
        texture: &Texture,
        rgba: Option<&[u8]>,
    ) -> bool {
        let size = texture.size();
        let row = size.width as usize * 4;
        let padded = RenderDevice::align_copy_bytes_per_row(row);
        let needed = padded as u64 * u64::from(size.height);
        let ready = |tray: &&Tray| tray.is_at(READY) && needed <= tray.buffer.size();
        let tray = match self.trays.iter().position(|tray| ready(&tray)) {
            Some(at) => &self.trays[at],
            None => {
                // What lies ready is too small.
                self.trays.retain(|tray| !tray.is_at(READY));
                if TRAYS_MAX <= self.trays.len() {
                    return false;
                }
                self.trays.push(Tray::new(device, needed));
                self.trays.last().expect("it was just put there")
            }
        };
        if let Some(rgba) = rgba {
            let mut mapped = tray.buffer.slice(..needed).get_mapped_range_mut();
            for (line, pixels) in rgba.chunks_exact(row).take(size.height as usize).enumerate() {
                mapped.slice(line * padded..line * padded + row).copy_from_slice(pixels);
            }
        }
        tray.buffer.unmap();
        tray.place.store(OUT, Ordering::Release);
        let layout = TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: u32::try_from(padded).ok(),
            rows_per_image: Some(size.height),
        };
        let mut encoder =
            device.create_command_encoder(&CommandEncoderDescriptor { label: Some("darkroom") });
        encoder.copy_buffer_to_texture(
            TexelCopyBufferInfo { buffer: &tray.buffer, layout },
            texture.as_image_copy(),
            size,
        );
        queue.submit([encoder.finish()]);
        let place = tray.place.clone();
        tray.buffer.slice(..).map_async(MapMode::Write, move |mapped| {
            place.store(if mapped.is_ok() { BACK } else { LOST }, Ordering::Release);
        });
        true
    }

    /// Overwrites the textures that nobody shows any more.
    fn let_go(&mut self, device: (&RenderDevice, &RenderQueue), images: &RenderAssets<GpuImage>) {
        let is_shown = |exposed: &Exposed| {
            images.get(exposed.image).is_some_and(|image| image.texture.id() == exposed.texture.id())
        };
        let (shown, mut gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.exposed).into_iter().partition(is_shown);
        gone.retain(|exposed| !self.copy(device, &exposed.texture, None));
        self.exposed = shown;
        // Those for which no tray was there.
        self.exposed.append(&mut gone);
    }

    /// Wipes the trays that have come back; keeps none when nobody is shown.
    fn tidy(&mut self, device: &RenderDevice) {
        if self.trays.iter().any(|tray| tray.is_at(OUT)) {
            // A device that is lost is the render error handler's affair.
            let _ = device.poll(PollType::Poll);
        }
        for tray in self.trays.iter().filter(|tray| tray.is_at(BACK)) {
            tray.wipe();
        }
        let nobody = self.exposed.is_empty();
        self.trays.retain(|tray| !(tray.is_at(LOST) || nobody && tray.is_at(READY)));
    }
}

fn develop(
    album: Res<Album>,
    mut darkroom: ResMut<Darkroom>,
    images: Res<RenderAssets<GpuImage>>,
    device: Res<RenderDevice>,
    queue: Res<RenderQueue>,
) {
    let device = (&*device, &*queue);
    darkroom.tidy(device.0);
    darkroom.let_go(device, &images);
    for shown in album.lock().iter_mut().filter(|shown| !shown.is_exposed) {
        if let Some(image) = images.get(shown.image) {
            shown.is_exposed = darkroom.expose(device, shown.image, &image.texture, &shown.painting.rgba);
        }
    }
}
