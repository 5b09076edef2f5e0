//! Colour by role. A screen says what a colour is for; two palettes, light and high contrast, say which it is.
//!
//! Owns [`Look`], which the visitor may switch at any time, and the components that carry a role: [`Ink`] for text,
//! [`Ground`] for what lies behind, [`Edge`] for borders, [`Fade`] for two colours in one, [`Tint`] for icons and
//! [`Raised`] for what stands above the paper. Everything that carries one follows the look by itself.

use bevy::{
    prelude::*,
    ui::{BackgroundGradient, BoxShadow, ColorStop, LinearGradient},
};
use provenance::Verdict;

use crate::session::SessionEnded;

/// Makes everything that carries a role follow the look.
pub(super) fn plugin(app: &mut App) {
    app.init_resource::<Look>()
        .add_observer(|_: On<SessionEnded>, mut look: ResMut<Look>| {
            look.set_if_neq(Look::default());
        })
        .add_systems(
            PostUpdate,
            (clear, ink, ground, edge, fade, tint, raise).in_set(Paint).before(bevy::ui::UiSystems::Prepare),
        );
}

/// When roles become colours: after everything that decides what is shown.
#[derive(SystemSet, Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Paint;

/// How much contrast the visitor wants.
#[derive(Resource, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Look {
    /// Warm paper and jade.
    #[default]
    Light,
    /// White and yellow on black, with edges around everything; text has at least 7:1.
    HighContrast,
}

impl Look {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Light, Self::HighContrast];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Light => Self::HighContrast,
            Self::HighContrast => Self::Light,
        }
    }
}

/// What a colour is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Colour {
    /// Behind everything.
    Paper,
    /// Cards on paper.
    Card,
    /// The edge of a card.
    CardEdge,
    /// Hairlines, and the rail of a bar.
    Line,
    /// What dims a screen under a question.
    Veil,
    /// Text.
    Ink,
    /// Text of less weight.
    InkSoft,
    /// Figures, icons and names in the house colour, on paper and cards.
    Brand,
    /// A breath of the house colour.
    BrandSoft,
    /// What most people want to press.
    Action,
    /// The same under a finger.
    ActionPressed,
    /// Text on it.
    OnAction,
    /// What some people want to press.
    Quiet,
    /// The same under a finger.
    QuietPressed,
    /// Its edge.
    QuietEdge,
    /// Text on it.
    OnQuiet,
    /// The house colour as a large ground.
    Night,
    /// The same, deeper.
    NightDeep,
    /// What stands on it.
    NightRaised,
    /// The same under a finger.
    NightPressed,
    /// Its edge.
    NightEdge,
    /// Text on it.
    OnNight,
    /// Softer text on it.
    OnNightSoft,
    /// The second colour, for lines and ornaments.
    Accent,
    /// The same under a finger.
    AccentPressed,
    /// Text on it.
    OnAccent,
    /// The second colour as text on paper.
    AccentInk,
    /// A breath of it.
    AccentSoft,
    /// What is good.
    Good,
    /// What asks for a closer look.
    Caution,
    /// What is wrong.
    Bad,
    /// What is not known.
    Calm,
    /// Text on any of these four.
    OnState,
    /// Redness on a scale.
    Rose,
    /// Nothing.
    Clear,
}

impl Colour {
    /// All roles.
    pub const ALL: [Self; 35] = [
        Self::Paper,
        Self::Card,
        Self::CardEdge,
        Self::Line,
        Self::Veil,
        Self::Ink,
        Self::InkSoft,
        Self::Brand,
        Self::BrandSoft,
        Self::Action,
        Self::ActionPressed,
        Self::OnAction,
        Self::Quiet,
        Self::QuietPressed,
        Self::QuietEdge,
        Self::OnQuiet,
        Self::Night,
        Self::NightDeep,
        Self::NightRaised,
        Self::NightPressed,
        Self::NightEdge,
        Self::OnNight,
        Self::OnNightSoft,
        Self::Accent,
        Self::AccentPressed,
        Self::OnAccent,
        Self::AccentInk,
        Self::AccentSoft,
        Self::Good,
        Self::Caution,
        Self::Bad,
        Self::Calm,
        Self::OnState,
        Self::Rose,
        Self::Clear,
    ];

    /// The colour of this role in a look.
    #[must_use]
    pub fn of(self, look: Look) -> Color {
        let (light, contrast) = self.pair();
        match look {
            Look::Light => light,
            Look::HighContrast => contrast,
        }
    }

    /// Light, high contrast.
    fn pair(self) -> (Color, Color) {
        let clear = Color::NONE;
        match self {
            Self::Paper => (rgb(0xF6_F2EA), rgb(0x00_0000)),
            Self::Card => (rgb(0xFF_FDF9), rgb(0x00_0000)),
            Self::CardEdge => (rgb(0xF0_EADF), rgb(0xFF_FFFF)),
            Self::Line => (rgb(0xE3_DCCF), rgb(0x66_6666)),
            Self::Veil => (rgb(0x08_2A24).with_alpha(0.72), rgb(0x00_0000).with_alpha(0.85)),
            Self::Ink => (rgb(0x1B_2622), rgb(0xFF_FFFF)),
            Self::InkSoft => (rgb(0x52_5E58), rgb(0xEA_EAEA)),
            Self::Brand => (rgb(0x14_4D3F), rgb(0xFF_E066)),
            Self::BrandSoft => (rgb(0xE2_EDE7), rgb(0x26_2200)),
            Self::Action => (rgb(0x14_4D3F), rgb(0xFF_E066)),
            Self::ActionPressed => (rgb(0x0B_362C), rgb(0xFF_FFFF)),
            Self::OnAction => (rgb(0xFB_F7EE), rgb(0x00_0000)),
            Self::Quiet => (rgb(0xFF_FDF9), rgb(0x00_0000)),
            Self::QuietPressed => (rgb(0xDD_E9E2), rgb(0x4D_4600)),
            Self::QuietEdge => (rgb(0xD3_CBBB), rgb(0xFF_FFFF)),
            Self::OnQuiet => (rgb(0x14_4D3F), rgb(0xFF_FFFF)),
            Self::Night => (rgb(0x14_4D3F), rgb(0x00_0000)),
            Self::NightDeep => (rgb(0x08_2A24), rgb(0x00_0000)),
            Self::NightRaised => (rgb(0x1D_5447), rgb(0x00_0000)),
            Self::NightPressed => (rgb(0x2C_6656), rgb(0x4D_4600)),
            Self::NightEdge => (rgb(0x2F_6A5A), rgb(0xFF_FFFF)),
            Self::OnNight => (rgb(0xFB_F7EE), rgb(0xFF_FFFF)),
            Self::OnNightSoft => (rgb(0xCF_DED6), rgb(0xEA_EAEA)),
            Self::Accent => (rgb(0xC9_A263), rgb(0xFF_E066)),
            Self::AccentPressed => (rgb(0xB0_884A), rgb(0xFF_FFFF)),
            Self::OnAccent => (rgb(0x08_2A24), rgb(0x00_0000)),
            Self::AccentInk => (rgb(0x80_5A1C), rgb(0xFF_E066)),
            Self::AccentSoft => (rgb(0xF4_EAD8), rgb(0x26_2200)),
            Self::Good => (rgb(0x1B_7A4E), rgb(0x5C_FFA0)),
            Self::Caution => (rgb(0x96_5606), rgb(0xFF_B84D)),
            Self::Bad => (rgb(0xB0_2A1E), rgb(0xFF_9E94)),
            Self::Calm => (rgb(0x4B_606B), rgb(0xB8_D8E8)),
            Self::OnState => (rgb(0xFB_F7EE), rgb(0x00_0000)),
            Self::Rose => (rgb(0xC9_6A5F), rgb(0xFF_9E94)),
            Self::Clear => (clear, clear),
        }
    }
}

/// `0xRRGGBB`.
const fn rgb(code: u32) -> Color {
    let [_, red, green, blue] = code.to_be_bytes();
    Color::Srgba(Srgba::new(red as f32 / 255.0, green as f32 / 255.0, blue as f32 / 255.0, 1.0))
}

/// The colour of a verdict.
#[must_use]
pub fn verdict_colour(verdict: Verdict) -> Colour {
    match verdict {
        Verdict::Genuine | Verdict::GenuineStale => Colour::Good,
        Verdict::Caution => Colour::Caution,
        Verdict::Unverified => Colour::Calm,
        Verdict::Invalid => Colour::Bad,
    }
}

/// The colour of a verdict, brighter, for lines on pictures. The same in every look: the picture is.
#[must_use]
pub fn verdict_rgb(verdict: Verdict) -> [u8; 3] {
    match verdict {
        Verdict::Genuine | Verdict::GenuineStale => [0x3F, 0xD0, 0x8C],
        Verdict::Caution => [0xFF, 0xB0, 0x2E],
        Verdict::Unverified => [0xB8, 0xCB, 0xD6],
        Verdict::Invalid => [0xFF, 0x5A, 0x48],
    }
}

/// Lines around a visitor's regions, on pictures.
pub const REGION_RGB: [u8; 3] = [0xF2, 0xD9, 0xA6];

/// A measured colour (CIELAB), shown as itself in every look.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a colour's coordinates are about a hundred")]
pub fn measured(lightness: f64, a: f64, b: f64) -> BackgroundColor {
    BackgroundColor(Color::lab((lightness / 100.0) as f32, (a / 100.0) as f32, (b / 100.0) as f32))
}

/// A product's colour (sRGB), shown as itself in every look.
#[must_use]
pub fn product([red, green, blue]: [u8; 3]) -> BackgroundColor {
    BackgroundColor(Color::srgb_u8(red, green, blue))
}

/// The colour of a text.
#[derive(Component, Debug, Clone, Copy, PartialEq, Eq)]
#[require(TextColor)]
pub struct Ink(pub Colour);

/// The colour behind a node.
#[derive(Component, Debug, Clone, Copy, PartialEq, Eq)]
#[require(BackgroundColor)]
pub struct Ground(pub Colour);

/// The colour of a node's border.
#[derive(Component, Debug, Clone, Copy, PartialEq, Eq)]
#[require(BorderColor)]
pub struct Edge(pub Colour);

/// Two colours behind a node, from top left to bottom right.
#[derive(Component, Debug, Clone, Copy, PartialEq, Eq)]
#[require(BackgroundGradient)]
pub struct Fade(pub Colour, pub Colour);

/// The colour of an icon.
#[derive(Component, Debug, Clone, Copy, PartialEq, Eq)]
#[require(ImageNode)]
pub struct Tint(pub Colour);

/// How high a node stands above the paper.
#[derive(Component, Debug, Clone, Copy, PartialEq, Eq)]
#[require(BoxShadow)]
pub enum Raised {
    /// A card.
    Card,
    /// What lies above cards.
    Sheet,
}

fn clear(look: Res<Look>, mut behind: Option<ResMut<ClearColor>>) {
    if let Some(behind) = &mut behind
        && behind.0 != Colour::Paper.of(*look)
    {
        behind.0 = Colour::Paper.of(*look);
    }
}

fn ink(look: Res<Look>, mut nodes: Query<(Ref<Ink>, &mut TextColor)>) {
    for (role, mut colour) in &mut nodes {
        if look.is_changed() || role.is_changed() {
            colour.set_if_neq(TextColor(role.0.of(*look)));
        }
    }
}

fn ground(look: Res<Look>, mut nodes: Query<(Ref<Ground>, &mut BackgroundColor)>) {
    for (role, mut colour) in &mut nodes {
        if look.is_changed() || role.is_changed() {
            colour.set_if_neq(BackgroundColor(role.0.of(*look)));
        }
    }
}

fn edge(look: Res<Look>, mut nodes: Query<(Ref<Edge>, &mut BorderColor)>) {
    for (role, mut colour) in &mut nodes {
        if look.is_changed() || role.is_changed() {
            colour.set_if_neq(BorderColor::all(role.0.of(*look)));
        }
    }
}

fn fade(look: Res<Look>, mut nodes: Query<(Ref<Fade>, &mut BackgroundGradient)>) {
    for (role, mut gradient) in &mut nodes {
        if look.is_changed() || role.is_changed() {
            let stops =
                vec![ColorStop::percent(role.0.of(*look), 0), ColorStop::percent(role.1.of(*look), 100)];
            gradient.set_if_neq(BackgroundGradient(vec![LinearGradient::to_bottom_right(stops).into()]));
        }
    }
}

fn tint(look: Res<Look>, mut nodes: Query<(Ref<Tint>, &mut ImageNode)>) {
    for (role, mut image) in &mut nodes {
        let colour = role.0.of(*look);
        if (look.is_changed() || role.is_changed()) && image.color != colour {
            image.color = colour;
        }
    }
}

fn raise(look: Res<Look>, mut nodes: Query<(Ref<Raised>, &mut BoxShadow)>) {
    for (raised, mut shadow) in &mut nodes {
        if look.is_changed() || raised.is_changed() {
            shadow.set_if_neq(raised.shadow(*look));
        }
    }
}

impl Raised {
    /// In high contrast edges do what shadows do in light.
    fn shadow(self, look: Look) -> BoxShadow {
        let colour = |alpha| rgb(0x14_2420).with_alpha(alpha);
        match (look, self) {
            (Look::HighContrast, _) => BoxShadow::default(),
            (Look::Light, Self::Card) => BoxShadow::new(colour(0.10), px(0), px(10), px(-4), px(36)),
            (Look::Light, Self::Sheet) => BoxShadow::new(colour(0.30), px(0), px(24), px(-6), px(72)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contrast(one: Color, other: Color) -> f32 {
        let (a, b) = (one.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_can_be_read_on_what_it_stands_on() {
        use Colour::*;
        for (text, ground) in [
            (Ink, Paper),
            (Ink, Card),
            (InkSoft, Paper),
            (InkSoft, Card),
            (Brand, Paper),
            (Brand, Card),
            (Brand, BrandSoft),
            (AccentInk, Paper),
            (AccentInk, Card),
            (AccentInk, AccentSoft),
            (OnAction, Action),
            (OnAction, ActionPressed),
            (OnQuiet, Quiet),
            (OnQuiet, QuietPressed),
            (OnNight, Night),
            (OnNight, NightRaised),
            (OnNight, NightPressed),
            (OnNightSoft, Night),
            (OnNightSoft, NightDeep),
            (OnNightSoft, NightRaised),
            (OnAccent, Accent),
            (OnAccent, AccentPressed),
            (OnState, Good),
            (OnState, Caution),
            (OnState, Bad),
            (OnState, Calm),
            (Good, Card),
            (Caution, Card),
            (Bad, Card),
            (Calm, Card),
        ] {
            for (look, wanted) in [(Look::Light, 4.5), (Look::HighContrast, 7.0)] {
                let contrast = contrast(text.of(look), ground.of(look));
                assert!(wanted <= contrast, "{text:?} on {ground:?} in {look:?} has {contrast:.2}:1");
            }
        }
    }

    #[test]
    fn everything_follows_the_look() {
        let mut app = App::new();
        app.add_plugins(plugin);
        let node =
            app.world_mut().spawn((Node::default(), Ground(Colour::Card), Edge(Colour::CardEdge))).id();
        let text = app.world_mut().spawn((Text::default(), Ink(Colour::Ink))).id();
        for look in Look::ALL {
            app.insert_resource(look);
            app.update();
            let world = app.world();
            assert_eq!(world.get::<BackgroundColor>(node).unwrap().0, Colour::Card.of(look));
            assert_eq!(world.get::<BorderColor>(node).unwrap().top, Colour::CardEdge.of(look));
            assert_eq!(world.get::<TextColor>(text).unwrap().0, Colour::Ink.of(look));
        }
        app.world_mut().trigger(SessionEnded);
        assert_eq!(*app.world().resource::<Look>(), Look::Light, "the next visitor begins in light");
    }
}
