//! Every text of every screen, measured against its box: nothing is clipped, nothing lies on something else, nothing
//! leaves the screen; and everything that can be touched is large enough.
//!
//! Method: the kiosk's real layout with the real fonts, without a window and without anything that draws, in both
//! orientations, languages and looks, with an empty store, a full one and each state that a screen can be in.

use std::{fmt::Write as _, time::Duration};

use bevy::{
    camera::RenderTarget,
    log::LogPlugin,
    prelude::*,
    render::{RenderPlugin, settings::WgpuSettings},
    text::TextLayoutInfo,
    time::TimeUpdateStrategy,
    ui::{CalculatedClip, UiGlobalTransform},
    ui_widgets::{Button, ScrollArea},
    window::ExitCondition,
    winit::WinitPlugin,
};
use provenance::{Assessment, Coverage, Hop, ItemClaim, Names, Reason, Verdict};

use super::{
    Screen,
    route::{Feature, Wanted},
    testing::with_shelves,
};
use crate::{
    camera::Camera as Eye,
    config::{Config, Orientation},
    i18n::{I18n, Locale},
    link::{LinkState, StoreFacts},
    origin::{Answer, Finding, Form, OriginView, Product},
    session::Session,
    skin::{SkinTrouble, SkinView},
    theme::{Look, TOUCH_PX_MIN, Theme},
};

/// Rounding of layout and hinting of type may differ by this much.
const SLACK_PX: f32 = 2.0;

/// The space at the end of a broken line counts as its width, although nobody sees it.
const TRAILING_SPACE_PX: f32 = 14.0;

/// A screen in one of its states.
struct Case {
    name: &'static str,
    screen: Screen,
    prepare: fn(&mut App),
}

const CASES: [Case; 28] = [
    Case { name: "attract", screen: Screen::Attract, prepare: |_| {} },
    Case { name: "attract of a full store", screen: Screen::Attract, prepare: full_store },
    Case { name: "home", screen: Screen::Home, prepare: |_| {} },
    Case { name: "home of a full store", screen: Screen::Home, prepare: full_store },
    Case { name: "home with the question", screen: Screen::Home, prepare: forgotten },
    Case { name: "consent to skin", screen: Screen::Consent, prepare: |app| wanted(app, Feature::Skin) },
    Case { name: "consent to origin", screen: Screen::Consent, prepare: |app| wanted(app, Feature::Origin) },
    Case { name: "consent to try-on", screen: Screen::Consent, prepare: |app| wanted(app, Feature::TryOn) },
    Case { name: "skin, looking", screen: Screen::Skin, prepare: |app| skin(app, SkinView::Looking) },
    Case {
        name: "skin without models",
        screen: Screen::Skin,
        prepare: |app| skin(app, SkinView::Unavailable(SkinTrouble::Models)),
    },
    Case {
        name: "origin without a code",
        screen: Screen::Origin,
        prepare: |app| origin(app, Answer::NoCode),
    },
    Case { name: "origin of a genuine item", screen: Screen::Origin, prepare: genuine },
    Case { name: "origin of a forged item", screen: Screen::Origin, prepare: forged },
    Case { name: "try-on", screen: Screen::TryOn, prepare: |_| {} },
    Case { name: "pick-up without a hub", screen: Screen::PickUp, prepare: |_| {} },
    Case { name: "pick-up, typing", screen: Screen::PickUp, prepare: |app| pick_up(app, "typing") },
    Case { name: "pick-up, opening", screen: Screen::PickUp, prepare: |app| pick_up(app, "opening") },
    Case { name: "pick-up, open", screen: Screen::PickUp, prepare: |app| pick_up(app, "open") },
    Case {
        name: "pick-up, left inside",
        screen: Screen::PickUp,
        prepare: |app| pick_up(app, "closed-not-emptied"),
    },
    Case { name: "pick-up, collected", screen: Screen::PickUp, prepare: |app| pick_up(app, "collected") },
    Case { name: "pick-up, wrong code", screen: Screen::PickUp, prepare: |app| pick_up(app, "wrong-code") },
    Case { name: "pick-up, stuck", screen: Screen::PickUp, prepare: |app| pick_up(app, "stuck") },
    Case { name: "offers of an empty store", screen: Screen::Offers, prepare: |_| {} },
    Case { name: "offers of a full store", screen: Screen::Offers, prepare: full_store },
    Case { name: "offers, offline", screen: Screen::Offers, prepare: offline },
    Case { name: "staff, closed", screen: Screen::Staff, prepare: |_| {} },
    Case { name: "staff, open", screen: Screen::Staff, prepare: |app| canned(app, Screen::Staff, "open") },
    Case { name: "fault", screen: Screen::Fault, prepare: full_store },
];

fn full_store(app: &mut App) {
    with_shelves(app, 12);
    let mut facts = app.world_mut().resource_mut::<StoreFacts>();
    facts.link = LinkState::Online;
    let traffic = r#"{"day_start":"2026-11-22T00:00:00.000Z","count_in":21963,"count_out":21001,"at":"2026-11-22T20:00:00.000Z"}"#;
    facts.traffic = Some(serde_json::from_str(traffic).unwrap());
    let compartments: String = (1..=120).fold(String::new(), |mut text, number| {
        let comma = if number == 1 { "" } else { "," };
        write!(
            text,
            r#"{comma}"{number}":{{"door":"closed","occupied":false,"at":"2026-11-22T20:00:00.000Z"}}"#
        )
        .unwrap();
        text
    });
    let bank = format!(r#"{{"bank":"a","at":"2026-11-22T20:00:00.000Z","compartments":{{{compartments}}}}}"#);
    facts.lockers.insert("a".to_owned(), serde_json::from_str(&bank).unwrap());
}

fn canned(app: &mut App, screen: Screen, state: &str) {
    crate::shot::canned::put(app.world_mut(), screen, state).unwrap();
}

fn pick_up(app: &mut App, state: &str) {
    canned(app, Screen::PickUp, state);
}

fn offline(app: &mut App) {
    full_store(app);
    app.world_mut().resource_mut::<StoreFacts>().link = LinkState::Offline;
}

fn forgotten(app: &mut App) {
    full_store(app);
    let mut session = app.world_mut().resource_mut::<Session>();
    session.touch();
    let most = session.idle_max - Duration::from_secs(9);
    app.insert_resource(TimeUpdateStrategy::ManualDuration(most));
    app.update();
    app.insert_resource(TimeUpdateStrategy::ManualDuration(Duration::ZERO));
}

fn wanted(app: &mut App, feature: Feature) {
    app.insert_resource(Wanted(Some(feature)));
}

fn skin(app: &mut App, view: SkinView) {
    app.insert_resource(view);
}

fn origin(app: &mut App, answer: Answer) {
    let painting = crate::paint::Painting { width: 200, height: 150, rgba: vec![90; 200 * 150 * 4] };
    app.insert_resource(OriginView::Found(Box::new(Finding { painting, answer })));
}

fn names(zh: &str, en: &str) -> Names {
    Names::from([("zh".to_owned(), zh.to_owned()), ("en".to_owned(), en.to_owned())])
}

fn item(app: &mut App, verdict: Verdict, reasons: Vec<Reason>, hops: usize) {
    let hop = Hop {
        at: "2026-03-10T23:30:00Z".parse().unwrap(),
        offset: "+02:00".to_owned(),
        step: Some("retail_selling".to_owned()),
        disposition: None,
        place: None,
        signer: names("金岸酒庄（圣埃美隆）有限公司", "Château Rive d'Or, Saint-Émilion"),
        is_signed: true,
        temperature: None,
        certificates: Vec::new(),
        customs: Some("220120251000123456".to_owned()),
        supervision: None,
    };
    let product = Product {
        gtin: "09521234543213".to_owned(),
        name: names("金岸酒庄 干红葡萄酒 2022", "Château Rive d'Or red wine 2022"),
        maker: names("金岸酒庄", "Château Rive d'Or"),
        origin: names("法国圣埃美隆", "Saint-Émilion, France"),
        content: "750 ml".to_owned(),
        form: Form::Bottle,
        lip: None,
    };
    origin(
        app,
        Answer::Item {
            claim: ItemClaim::try_new("09521234543213", Some("L2022-0815"), Some("SN-000123456")).unwrap(),
            product: Some(product),
            assessment: Box::new(Assessment {
                verdict,
                reasons,
                coverage: Coverage::Item,
                journey: vec![hop; hops],
                signer: None,
                signed_at: None,
                is_demo: true,
            }),
        },
    );
}

fn genuine(app: &mut App) {
    item(app, Verdict::Genuine, Vec::new(), 9);
}

fn forged(app: &mut App) {
    item(app, Verdict::Invalid, vec![Reason::SignerUnknown("z6Mk".to_owned())], 0);
}

/// The kiosk without anything that draws, on a screen of this shape; `None` where set-up has not made the fonts.
fn kiosk(orientation: Orientation) -> Option<App> {
    let path = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/kiosk.example.toml"));
    let mut display = Config::load(path).unwrap().display;
    display.orientation = orientation;
    if !display.font.is_file() || !display.font_bold.is_file() {
        eprintln!("skipped: `cargo xtask setup` has not made `{}`", display.font.display());
        return None;
    }
    let mut app = App::new();
    let nothing_draws = WgpuSettings { backends: None, ..default() };
    app.add_plugins(
        DefaultPlugins
            .set(WindowPlugin { primary_window: None, exit_condition: ExitCondition::DontExit, ..default() })
            .set(RenderPlugin { render_creation: nothing_draws.into(), ..default() })
            .disable::<WinitPlugin>()
            .disable::<LogPlugin>(),
    )
    .set_error_handler(bevy::ecs::error::panic)
    .add_plugins(crate::features)
    .insert_resource(Eye::default())
    .insert_resource(TimeUpdateStrategy::ManualDuration(Duration::ZERO));
    let theme = Theme::load(&display, &mut app.world_mut().resource_mut::<Assets<Font>>()).unwrap();
    app.insert_resource(theme).insert_state(Screen::Attract);
    let (width, height) = orientation.size();
    let size = bevy::render::render_resource::Extent3d { width, height, depth_or_array_layers: 1 };
    let target = app.world_mut().resource_mut::<Assets<Image>>().add(Image::new_uninit(
        size,
        bevy::render::render_resource::TextureDimension::D2,
        bevy::render::render_resource::TextureFormat::Rgba8UnormSrgb,
        bevy::asset::RenderAssetUsages::MAIN_WORLD,
    ));
    app.world_mut().spawn((Camera2d, RenderTarget::from(target), IsDefaultUiCamera));
    app.finish();
    app.cleanup();
    Some(app)
}

/// A node as it lies on the screen.
struct Seen {
    entity: Entity,
    rect: Rect,
    /// What is left of it after everything that clips it.
    visible: Rect,
    text: Option<(String, Vec2)>,
    is_button: bool,
    /// Everything that it lies in, the nearest first.
    within: Vec<Entity>,
    /// The question and the button that says that there is more lie above the rest on purpose.
    layer: Option<Entity>,
}

fn seen(world: &mut World) -> Vec<Seen> {
    let mut nodes = world.query::<(
        Entity,
        &ComputedNode,
        &UiGlobalTransform,
        &InheritedVisibility,
        Option<&CalculatedClip>,
        Option<(&Text, &TextLayoutInfo)>,
        Has<Button>,
    )>();
    let mut all = Vec::new();
    for (entity, node, transform, visibility, clip, text, is_button) in nodes.iter(world) {
        if !visibility.get() || (text.is_none() && !is_button) {
            continue;
        }
        let rect = Rect::from_center_size(transform.translation, node.size());
        let visible = clip.map_or(rect, |clip| rect.intersect(clip.clip));
        let text =
            text.filter(|(text, _)| !text.0.is_empty()).map(|(text, info)| (text.0.clone(), info.size));
        if text.is_none() && !is_button {
            continue;
        }
        all.push(Seen { entity, rect, visible, text, is_button, within: Vec::new(), layer: None });
    }
    for seen in &mut all {
        let mut at = seen.entity;
        while let Some(parent) = world.get::<ChildOf>(at) {
            at = parent.parent();
            seen.within.push(at);
        }
        seen.layer = std::iter::once(&seen.entity)
            .chain(&seen.within)
            .find(|entity| {
                world.get::<Name>(**entity).is_some_and(|name| ["Idle", "More"].contains(&name.as_str()))
            })
            .copied();
    }
    all
}

fn area(rect: Rect) -> f32 {
    let size = rect.size();
    if size.x <= SLACK_PX || size.y <= SLACK_PX { 0.0 } else { size.x * size.y }
}

fn holds(outer: Rect, inner: Rect) -> bool {
    outer.min.x - SLACK_PX <= inner.min.x
        && outer.min.y - SLACK_PX <= inner.min.y
        && inner.max.x <= outer.max.x + SLACK_PX
        && inner.max.y <= outer.max.y + SLACK_PX
}

/// Everything that is wrong with what is shown.
fn faults(app: &mut App, screen: Rect) -> Vec<String> {
    let world = app.world_mut();
    let all = seen(world);
    let mut faults = Vec::new();
    for one in &all {
        let called = one.text.as_ref().map_or_else(
            || world.get::<Name>(one.entity).map_or("a button".to_owned(), |name| format!("button {name}")),
            |(text, _)| format!("“{text}”"),
        );
        let scroller = one.within.iter().position(|entity| world.get::<ScrollArea>(*entity).is_some());
        if scroller.is_none() && !holds(screen, one.rect) {
            faults.push(format!("{called} leaves the screen: {:?}", one.rect));
        }
        if let Some((_, size)) = &one.text {
            let node = world.get::<ComputedNode>(one.entity).unwrap();
            let room = node.size();
            if room.x + TRAILING_SPACE_PX < size.x || room.y + SLACK_PX < size.y {
                faults.push(format!("{called} needs {size} and has {room}"));
            }
            for outer in one.within.iter().take(scroller.unwrap_or(usize::MAX)) {
                let (Some(node), Some(transform)) =
                    (world.get::<ComputedNode>(*outer), world.get::<UiGlobalTransform>(*outer))
                else {
                    continue;
                };
                let outer_rect = Rect::from_center_size(transform.translation, node.size());
                if !holds(outer_rect, one.rect) {
                    faults.push(format!("{called} at {:?} leaves its place {outer_rect:?}", one.rect));
                    break;
                }
            }
        }
        if one.is_button && (one.rect.width() < TOUCH_PX_MIN - 0.5 || one.rect.height() < TOUCH_PX_MIN - 0.5)
        {
            faults.push(format!("{called} is only {} large", one.rect.size()));
        }
        for other in all.iter().filter(|other| one.entity < other.entity && one.layer == other.layer) {
            let is_nested = one.within.contains(&other.entity) || other.within.contains(&one.entity);
            if !is_nested && 0.0 < area(one.visible.intersect(other.visible)) {
                let other_called = other.text.as_ref().map_or("a button", |(text, _)| text.as_str());
                faults.push(format!(
                    "{called} and “{other_called}” lie on one another: {:?} {:?}",
                    one.rect, other.rect
                ));
            }
        }
    }
    faults
}

#[test]
fn no_text_is_cut_and_nothing_lies_on_something_else() {
    let mut report = String::new();
    for orientation in [Orientation::Portrait, Orientation::Landscape] {
        let Some(mut app) = kiosk(orientation) else { return };
        let (width, height) = orientation.size();
        #[expect(clippy::cast_precision_loss, reason = "a screen has a few thousand pixels")]
        let screen = Rect::from_corners(Vec2::ZERO, Vec2::new(width as f32, height as f32));
        app.update();
        for case in &CASES {
            for locale in Locale::ALL {
                for look in Look::ALL {
                    app.world_mut().trigger(crate::session::EndSession);
                    app.update();
                    *app.world_mut().resource_mut::<StoreFacts>() = StoreFacts::default();
                    // Some of a state decides how a screen begins, some of it is overwritten by its beginning.
                    (case.prepare)(&mut app);
                    app.world_mut().resource_mut::<NextState<Screen>>().set(case.screen);
                    app.update();
                    app.world_mut().resource_mut::<I18n>().set_locale(locale);
                    app.insert_resource(look);
                    (case.prepare)(&mut app);
                    // What is spawned in one frame is laid out in it, and what layout decides shows in the next.
                    for _ in 0..3 {
                        app.update();
                    }
                    assert!(!seen(app.world_mut()).is_empty(), "{} shows nothing", case.name);
                    for fault in faults(&mut app, screen) {
                        writeln!(
                            report,
                            "{orientation:?}, {}, {}, {look:?}: {fault}",
                            case.name,
                            locale.tag()
                        )
                        .unwrap();
                    }
                }
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}
