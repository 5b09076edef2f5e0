//! Icons and illustrations, all drawn by us on a grid of 48 units, in two tones that follow the look.
//!
//! A screen spawns [`icon`]; the mask is painted once for each size and kept. Nothing here knows a screen.

use std::{collections::HashMap, f32::consts::TAU};

use bevy::{
    asset::RenderAssetUsages,
    prelude::*,
    render::render_resource::{Extent3d, TextureDimension, TextureFormat},
};

use super::{
    Colour, Tint,
    vector::{Mask, Pen, Polyline, Stroke},
};
use crate::graphics;

/// Units of an icon's side.
const GRID: f32 = 48.0;

pub(super) fn plugin(app: &mut App) {
    app.init_resource::<Painted>()
        .add_systems(Update, paint_again.run_if(graphics::is_device_new))
        .add_systems(PostUpdate, paint.before(bevy::ui::UiSystems::Prepare));
}

/// A drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Icon {
    /// A face in a frame.
    Skin,
    /// A code, and the place that it comes from.
    Origin,
    /// A mirror with a sparkle.
    TryOn,
    /// A locker whose door opens.
    PickUp,
    /// A price tag.
    Offers,
    /// Two languages.
    Language,
    /// Light and dark.
    Contrast,
    /// To the left.
    Back,
    /// To the right.
    Next,
    /// Downwards.
    Down,
    /// A house.
    Home,
    /// A door with a way out.
    Leave,
    /// A lock.
    Lock,
    /// It is so.
    Check,
    /// Take care.
    Warning,
    /// Somebody who helps.
    Help,
    /// A camera.
    Camera,
    /// An eye.
    Eye,
    /// A shield that holds a picture.
    Shield,
    /// The store's network.
    Hub,
    /// An hourglass.
    Wait,
    /// A bottle.
    Bottle,
    /// A dropper bottle.
    Serum,
    /// A tin.
    Tin,
    /// A tube that stands on its cap.
    Tube,
    /// A lipstick.
    Lipstick,
    /// A tray with a fish.
    Tray,
    /// A parcel.
    Parcel,
    /// The world with the ways that products come.
    Globe,
}

impl Icon {
    /// All drawings.
    pub const ALL: [Self; 29] = [
        Self::Skin,
        Self::Origin,
        Self::TryOn,
        Self::PickUp,
        Self::Offers,
        Self::Language,
        Self::Contrast,
        Self::Back,
        Self::Next,
        Self::Down,
        Self::Home,
        Self::Leave,
        Self::Lock,
        Self::Check,
        Self::Warning,
        Self::Help,
        Self::Camera,
        Self::Eye,
        Self::Shield,
        Self::Hub,
        Self::Wait,
        Self::Bottle,
        Self::Serum,
        Self::Tin,
        Self::Tube,
        Self::Lipstick,
        Self::Tray,
        Self::Parcel,
        Self::Globe,
    ];

    /// The strokes in the main tone, and those in the second one.
    #[rustfmt::skip]
    fn strokes(self) -> (&'static [Stroke], &'static [Stroke]) {
        const THIN: Pen = Pen::Line(1.8);
        const LINE: Pen = Pen::Line(2.6);
        const BOLD: Pen = Pen::Line(3.6);
        match self {
            Self::Skin => (
                &[
                    (LINE, "M 14 21 C 14 10 34 10 34 21 C 34 30 30 38 24 38 C 18 38 14 30 14 21 Z"),
                    (THIN, "M 18.5 22.5 C 19.5 21.3 21 21.3 22 22.5"),
                    (THIN, "M 26 22.5 C 27 21.3 28.5 21.3 29.5 22.5"),
                    (THIN, "M 20.5 30.5 C 22.5 32.3 25.5 32.3 27.5 30.5"),
                ],
                &[
                    (LINE, "M 5 14 L 5 8 C 5 6 6 5 8 5 L 14 5"),
                    (LINE, "M 34 5 L 40 5 C 42 5 43 6 43 8 L 43 14"),
                    (LINE, "M 43 34 L 43 40 C 43 42 42 43 40 43 L 34 43"),
                    (LINE, "M 14 43 L 8 43 C 6 43 5 42 5 40 L 5 34"),
                ],
            ),
            Self::Origin => (
                &[
                    (LINE, "R 6 6 13 13 3"), (Pen::Fill, "R 10.5 10.5 4 4 1"),
                    (LINE, "R 6 29 13 13 3"), (Pen::Fill, "R 10.5 33.5 4 4 1"),
                    (LINE, "M 26 7 L 30 7"), (LINE, "M 26 13 L 26 19"), (LINE, "M 32 13 L 32 14"),
                ],
                &[
                    (LINE, "M 34 43 C 29 36 25.5 32.5 25.5 28 C 25.5 23 29.5 19.5 34 19.5 C 38.5 19.5 42.5 23 42.5 28 C 42.5 32.5 39 36 34 43 Z"),
                    (Pen::Fill, "O 34 28 3.2"),
                ],
            ),
            Self::TryOn => (
                &[
                    (LINE, "O 22 19 14"),
                    (LINE, "M 22 33 L 22 40"), (LINE, "M 13 43 L 31 43"), (LINE, "M 17 43 C 18 41 26 41 27 43"),
                    (THIN, "M 13.5 19 C 13.5 14.5 17 11 21 10.6"),
                ],
                &[
                    (Pen::Fill, "M 38 22 C 38.8 26.2 39.8 27.2 44 28 C 39.8 28.8 38.8 29.8 38 34 C 37.2 29.8 36.2 28.8 32 28 C 36.2 27.2 37.2 26.2 38 22 Z"),
                    (Pen::Fill, "M 40 6 C 40.5 8.6 41.2 9.4 44 10 C 41.2 10.6 40.5 11.4 40 14 C 39.5 11.4 38.8 10.6 36 10 C 38.8 9.4 39.5 8.6 40 6 Z"),
                ],
            ),
            Self::PickUp => (
                &[
                    (LINE, "R 5 6 38 36 4"), (LINE, "M 18 6 L 18 42"), (LINE, "M 5 24 L 18 24"),
                    (LINE, "M 13.4 15 L 13.4 16"), (LINE, "M 13.4 33 L 13.4 34"),
                ],
                &[
                    (LINE, "M 24 13 L 37 9.5 L 37 38.5 L 24 35 Z"), (LINE, "M 33 23 L 33 26"),
                ],
            ),
            Self::Offers => (
                &[(LINE, "M 6 8 C 6 6.5 6.5 6 8 6 L 23 6 C 24.5 6 25 6.2 26 7.2 L 41.5 22.7 C 43 24.2 43 25.8 41.5 27.3 L 27.3 41.5 C 25.8 43 24.2 43 22.7 41.5 L 7.2 26 C 6.2 25 6 24.5 6 23 Z")],
                &[(LINE, "O 15 15 3.4"), (LINE, "M 20.5 28.5 L 27 35"), (LINE, "M 25.5 23.5 L 32 30")],
            ),
            Self::Language => (
                &[(LINE, "O 24 24 18"), (LINE, "M 6 24 L 42 24"), (LINE, "M 24 6 C 14.5 14 14.5 34 24 42"), (LINE, "M 24 6 C 33.5 14 33.5 34 24 42")],
                &[],
            ),
            Self::Contrast => (
                &[(LINE, "O 24 24 17"), (Pen::Fill, "M 24 7 C 33.4 7 41 14.6 41 24 C 41 33.4 33.4 41 24 41 Z")],
                &[],
            ),
            Self::Back => (&[(BOLD, "M 29 10 L 15 24 L 29 38")], &[]),
            Self::Next => (&[(BOLD, "M 19 10 L 33 24 L 19 38")], &[]),
            Self::Down => (&[(BOLD, "M 10 18 L 24 32 L 38 18")], &[]),
            Self::Home => (
                &[(LINE, "M 6 23 L 24 7 L 42 23"), (LINE, "M 11 19 L 11 38 C 11 40 12 41 14 41 L 34 41 C 36 41 37 40 37 38 L 37 19")],
                &[(LINE, "M 20 41 L 20 31 C 20 29 21 28 23 28 L 25 28 C 27 28 28 29 28 31 L 28 41")],
            ),
            Self::Leave => (
                &[(LINE, "M 27 8 L 12 8 C 10 8 9 9 9 11 L 9 37 C 9 39 10 40 12 40 L 27 40")],
                &[(LINE, "M 20 24 L 41 24"), (LINE, "M 33 16 L 41 24 L 33 32")],
            ),
            Self::Lock => (
                &[(LINE, "R 9 21 30 21 5"), (LINE, "M 15 21 L 15 15 C 15 3.5 33 3.5 33 15 L 33 21")],
                &[(LINE, "M 24 29 L 24 34")],
            ),
            Self::Check => (&[(BOLD, "M 9 26 L 19.5 36 L 39 13")], &[]),
            Self::Warning => (
                &[(LINE, "M 21.5 8.5 C 22.7 6.5 25.3 6.5 26.5 8.5 L 42 36 C 43.2 38.2 42 41 39.5 41 L 8.5 41 C 6 41 4.8 38.2 6 36 Z")],
                &[(BOLD, "M 24 18 L 24 27"), (BOLD, "M 24 34 L 24 34.3")],
            ),
            Self::Help => (
                &[(LINE, "O 24 15 8"), (LINE, "M 7 42 C 8 30 15 27 24 27 C 33 27 40 30 41 42")],
                &[(LINE, "M 17 36 L 22 40 L 31 33")],
            ),
            Self::Camera => (
                &[(LINE, "M 5 17 C 5 14 6.5 13 9 13 L 14 13 L 17 8 L 31 8 L 34 13 L 39 13 C 41.5 13 43 14 43 17 L 43 36 C 43 39 41.5 40 39 40 L 9 40 C 6.5 40 5 39 5 36 Z")],
                &[(LINE, "O 24 26 8"), (Pen::Fill, "O 24 26 3")],
            ),
            Self::Eye => (
                &[(LINE, "M 4 24 C 10 14 16 10 24 10 C 32 10 38 14 44 24 C 38 34 32 38 24 38 C 16 38 10 34 4 24 Z")],
                &[(LINE, "O 24 24 7")],
            ),
            Self::Shield => (
                &[(LINE, "M 24 4 L 40 10 L 40 23 C 40 33 33 40.5 24 44 C 15 40.5 8 33 8 23 L 8 10 Z")],
                &[(LINE, "O 24 20 4.6"), (LINE, "M 15.5 33 C 17 27.5 31 27.5 32.5 33")],
            ),
            Self::Hub => (
                &[(LINE, "M 7 20 L 10 8 L 38 8 L 41 20"), (LINE, "M 10 25 L 10 38 C 10 40 11 41 13 41 L 35 41 C 37 41 38 40 38 38 L 38 25"),
                  (LINE, "M 7 20 C 7 26 15.5 26 15.5 20 C 15.5 26 24 26 24 20 C 24 26 32.5 26 32.5 20 C 32.5 26 41 26 41 20 Z")],
                &[(LINE, "M 20 41 L 20 32 L 28 32 L 28 41")],
            ),
            Self::Wait => (
                &[(LINE, "O 24 24 18")],
                &[(LINE, "M 24 13 L 24 24 L 32 29")],
            ),
            Self::Bottle => (
                &[(LINE, "M 20.5 4 L 27.5 4 L 27.5 15 C 27.5 18 33 19 33 25 L 33 40 C 33 43 32 44 29 44 L 19 44 C 16 44 15 43 15 40 L 15 25 C 15 19 20.5 18 20.5 15 Z")],
                &[(LINE, "M 15 28 L 33 28"), (LINE, "M 15 37 L 33 37"), (LINE, "M 20.5 9 L 27.5 9")],
            ),
            Self::Serum => (
                &[(LINE, "R 13 22 22 22 5"), (LINE, "R 18 15 12 7 1.5"), (LINE, "M 21 15 L 21 7 C 21 3 27 3 27 7 L 27 15")],
                &[(Pen::Fill, "M 24 27 C 26.5 30.5 28 32.6 28 34.6 C 28 37 26.2 38.6 24 38.6 C 21.8 38.6 20 37 20 34.6 C 20 32.6 21.5 30.5 24 27 Z")],
            ),
            Self::Tin => (
                &[(LINE, "M 9 11 C 9 5 39 5 39 11 C 39 17 9 17 9 11 Z"), (LINE, "M 9 11 L 9 38 C 9 44 39 44 39 38 L 39 11")],
                &[(LINE, "M 9 22 C 13 26.5 35 26.5 39 22"), (LINE, "M 9 33 C 13 37.5 35 37.5 39 33")],
            ),
            Self::Tube => (
                &[(LINE, "M 13 5 L 35 5 L 32 33 L 16 33 Z"), (LINE, "R 17 33 14 10 2.5"), (THIN, "M 13.6 10 L 34.4 10")],
                &[(LINE, "O 24 21 4.2"), (THIN, "M 24 12.6 L 24 14"), (THIN, "M 15.8 21 L 17 21"), (THIN, "M 31 21 L 32.2 21"),
                  (THIN, "M 24 28 L 24 29.4")],
            ),
            Self::Lipstick => (
                &[(LINE, "R 14 27 20 17 2.5"), (LINE, "R 17 19 14 8 1.5"), (THIN, "M 14 32 L 34 32")],
                &[(LINE, "M 19 19 L 19 9 C 19 6 27 3 29 5 L 29 19"), (THIN, "M 19.5 10.5 C 23 11 27 9 28.6 6")],
            ),
            Self::Tray => (
                &[(LINE, "M 5 29 L 43 29 L 39 40 C 38.6 41 38 42 36 42 L 12 42 C 10 42 9.4 41 9 40 Z"),
                  (LINE, "M 9 17 C 14 8 27 8 33 17 C 27 26 14 26 9 17 Z"), (LINE, "M 33 17 L 41 10.5 L 41 23.5 Z")],
                &[(Pen::Fill, "O 15.5 15.6 1.7"), (LINE, "M 21 12.6 C 23.4 15.4 23.4 18.6 21 21.4"), (THIN, "M 14 35.5 L 34 35.5")],
            ),
            Self::Parcel => (
                &[(LINE, "M 24 4 L 42 13 L 42 35 L 24 44 L 6 35 L 6 13 Z"), (LINE, "M 6 13 L 24 22 L 42 13"), (LINE, "M 24 22 L 24 44")],
                &[(LINE, "M 15 8.5 L 33 17.5 L 33 26")],
            ),
            Self::Globe => (&[], &[]),
        }
    }
}

/// Which tone of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Tone {
    Main,
    Second,
}

/// A node that shows one tone of a drawing.
#[derive(Component, Debug, Clone, Copy)]
#[require(ImageNode)]
struct Glyph {
    icon: Icon,
    tone: Tone,
    side: u16,
}

/// A drawing of `side` pixels of the design in two tones.
pub fn icon(parent: &mut ChildSpawnerCommands, icon: Icon, side: u16, main: Colour, second: Colour) {
    let node = Node { width: px(side), height: px(side), flex_shrink: 0.0, ..default() };
    parent.spawn((Pickable::IGNORE, node)).with_children(|place| layers(place, icon, side, main, second));
}

fn layers(place: &mut ChildSpawnerCommands, icon: Icon, side: u16, main: Colour, second: Colour) {
    for (tone, colour) in [(Tone::Main, main), (Tone::Second, second)] {
        place.spawn((
            Pickable::IGNORE,
            Node {
                position_type: PositionType::Absolute,
                width: percent(100),
                height: percent(100),
                ..default()
            },
            Glyph { icon, tone, side },
            Tint(colour),
        ));
    }
}

/// A drawing in the middle of a disc.
pub fn disc(
    parent: &mut ChildSpawnerCommands,
    drawn: Icon,
    side: u16,
    ground: Colour,
    main: Colour,
    second: Colour,
) {
    parent
        .spawn((
            Pickable::IGNORE,
            Node {
                width: px(side),
                height: px(side),
                flex_shrink: 0.0,
                align_items: AlignItems::Center,
                justify_content: JustifyContent::Center,
                border_radius: BorderRadius::MAX,
                ..default()
            },
            super::Ground(ground),
        ))
        .with_children(|disc| icon(disc, drawn, side * 9 / 16, main, second));
}

/// Masks that were painted, by drawing, tone and side. Bounded by the drawings and the sizes that screens use.
#[derive(Resource, Default)]
pub(crate) struct Painted(HashMap<(Icon, Tone, u16), Handle<Image>>);

#[cfg(test)]
impl Painted {
    /// How many there are so far.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

fn paint(
    mut painted: ResMut<Painted>,
    mut images: ResMut<Assets<Image>>,
    mut glyphs: Query<(&Glyph, &mut ImageNode), Added<Glyph>>,
) {
    for (glyph, mut node) in &mut glyphs {
        let image = painted
            .0
            .entry((glyph.icon, glyph.tone, glyph.side))
            .or_insert_with(|| images.add(image_of(&mask(glyph.icon, glyph.tone, glyph.side))));
        node.image = image.clone();
    }
}

/// The next graphics device knows no image of the one before.
fn paint_again(painted: Res<Painted>, mut images: ResMut<Assets<Image>>) {
    for ((icon, tone, side), image) in &painted.0 {
        // It is there: this handle keeps it.
        let _ = images.insert(image.id(), image_of(&mask(*icon, *tone, *side)));
    }
}

fn mask(icon: Icon, tone: Tone, side: u16) -> Mask {
    let mut mask = Mask::new(u32::from(side), GRID);
    match (icon, tone) {
        (Icon::Globe, Tone::Main) => globe(&mut mask),
        (Icon::Globe, Tone::Second) => routes(&mut mask),
        (icon, Tone::Main) => mask.draw(icon.strokes().0),
        (icon, Tone::Second) => mask.draw(icon.strokes().1),
    }
    mask
}

fn image_of(mask: &Mask) -> Image {
    let size = Extent3d { width: mask.side(), height: mask.side(), depth_or_array_layers: 1 };
    Image::new(
        size,
        TextureDimension::D2,
        mask.rgba(),
        TextureFormat::Rgba8UnormSrgb,
        RenderAssetUsages::RENDER_WORLD,
    )
}

/// The globe's radius in units; the ways rise above it.
const GLOBE_RADIUS: f32 = 18.5;
/// Longitude and latitude, in degrees, of the point of the globe that faces the visitor.
const FACING: [f32; 2] = [92.0, 8.0];
/// Where the ways end: Hangzhou.
const STORE: [f32; 2] = [120.2, 30.3];
/// Where they begin: Saint-Émilion, Waikato, Shizuoka, Bodø.
const PLACES: [[f32; 2]; 4] = [[-0.2, 44.9], [175.3, -37.8], [138.4, 35.0], [14.4, 67.3]];
/// Steps of a way and of a meridian.
const WAY_STEPS: u8 = 48;

/// A direction from the globe's middle.
fn direction([longitude, latitude]: [f32; 2]) -> [f32; 3] {
    let (longitude, latitude) = (longitude.to_radians(), latitude.to_radians());
    [latitude.cos() * longitude.sin(), latitude.sin(), latitude.cos() * longitude.cos()]
}

/// Where a direction lies on the drawing, and how far it faces the visitor (negative: behind).
fn seen([x, y, z]: [f32; 3]) -> ([f32; 2], f32) {
    let [longitude, latitude] = FACING.map(f32::to_radians);
    let (across, deep) =
        (x * longitude.cos() - z * longitude.sin(), x * longitude.sin() + z * longitude.cos());
    let (up, towards) =
        (y * latitude.cos() - deep * latitude.sin(), y * latitude.sin() + deep * latitude.cos());
    ([GRID / 2.0 + across * GLOBE_RADIUS, GRID / 2.0 - up * GLOBE_RADIUS], towards)
}

/// Parallels and meridians, fainter towards the edge and faintest behind.
fn globe(mask: &mut Mask) {
    let degrees =
        |count: u8, step: f32, from: f32| (0..count).map(move |index| from + f32::from(index) * step);
    let parallels = degrees(11, 15.0, -75.0)
        .map(|latitude| degrees(73, 5.0, 0.0).map(|longitude| [longitude, latitude]).collect::<Vec<_>>());
    let meridians = degrees(24, 15.0, 0.0)
        .map(|longitude| degrees(31, 5.0, -75.0).map(|latitude| [longitude, latitude]).collect::<Vec<_>>());
    for line in parallels.chain(meridians) {
        for pair in line.windows(2) {
            let (from, depth) = seen(direction(pair[0]));
            let (to, _) = seen(direction(pair[1]));
            let strength = if depth < 0.0 { 0.03 } else { 0.07 + 0.17 * depth };
            mask.line(&[from, to], 0.11, strength);
        }
    }
    let edge: Polyline = (0..=96_u8)
        .map(|step| {
            let angle = f32::from(step) / 96.0 * TAU;
            [GRID / 2.0 + GLOBE_RADIUS * angle.cos(), GRID / 2.0 + GLOBE_RADIUS * angle.sin()]
        })
        .collect();
    mask.line(&edge, 0.14, 0.45);
}

/// The way of place `index`, as points of the drawing from the place to the store, within 0 and 1.
#[must_use]
pub fn way(index: usize) -> Vec<[f32; 2]> {
    let (from, to) = (direction(PLACES[index % PLACES.len()]), direction(STORE));
    let dot = (0..3).map(|axis| from[axis] * to[axis]).sum::<f32>().clamp(-1.0, 1.0);
    let angle = dot.acos();
    (0..=WAY_STEPS)
        .map(|step| {
            let at = f32::from(step) / f32::from(WAY_STEPS);
            let weights = [((1.0 - at) * angle).sin() / angle.sin(), (at * angle).sin() / angle.sin()];
            // The way rises above the globe like a thrown ball.
            let height = 1.0 + 0.22 * angle * (4.0 * at * (1.0 - at)) * 0.6;
            let point = [0, 1, 2].map(|axis| (from[axis] * weights[0] + to[axis] * weights[1]) * height);
            seen(point).0.map(|value| value / GRID)
        })
        .collect()
}

/// How many ways lead to the store.
pub const WAYS: usize = PLACES.len();

fn routes(mask: &mut Mask) {
    for index in 0..WAYS {
        let line: Polyline = way(index).into_iter().map(|point| point.map(|value| value * GRID)).collect();
        mask.line(&line, 0.26, 0.95);
        if let Some(place) = line.first() {
            mask.line(&[*place, *place], 0.85, 1.0);
        }
    }
    let (store, _) = seen(direction(STORE));
    mask.line(&[store, store], 1.3, 1.0);
    let ring: Polyline = (0..=48_u8)
        .map(|step| {
            let angle = f32::from(step) / 48.0 * TAU;
            [store[0] + 1.35 * angle.cos(), store[1] + 1.35 * angle.sin()]
        })
        .collect();
    mask.line(&ring, 0.16, 0.8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drawing_has_ink_and_stays_on_its_paper() {
        for icon in Icon::ALL {
            // The globe is drawn with fine lines and is shown large.
            let side: u16 = if icon == Icon::Globe { 480 } else { 96 };
            let masks = [Tone::Main, Tone::Second].map(|tone| mask(icon, tone, side).rgba());
            let side = usize::from(side);
            let opacity = |at: usize| masks.iter().map(|rgba| rgba[at * 4 + 3]).max().unwrap_or_default();
            let inked = (0..side * side).filter(|at| 128 < opacity(*at)).count();
            assert!(150 < inked, "{icon:?} has {inked} dark points");
            for edge in 0..side {
                let last = side - 1;
                let touched = [edge, last * side + edge, edge * side, edge * side + last].map(opacity);
                assert_eq!(touched, [0; 4], "{icon:?} is cut at its edge");
            }
        }
    }

    #[test]
    fn every_way_ends_at_the_store() {
        let ends: Vec<_> = (0..WAYS).map(|index| way(index).pop().unwrap()).collect();
        for end in &ends {
            assert!((end[0] - ends[0][0]).abs() < 1e-3 && (end[1] - ends[0][1]).abs() < 1e-3);
        }
    }
}
