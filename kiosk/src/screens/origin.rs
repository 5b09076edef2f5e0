//! The origin screen: the picture with its code, the verdict in plain words, and the way the product came.
//!
//! Reads [`OriginView`]; triggers [`Trace`] when it is entered and on request; writes nothing else. A verdict is about
//! the record, and the screen says so: a copied code still reads.

use bevy::prelude::*;
use jiff::tz::{Offset, TimeZone};
use provenance::{Assessment, Hop, Verdict};

use super::{Screen, chrome, route::asks};
use crate::{
    camera::{NeedsCamera, Which},
    i18n::Words,
    link::StoreFacts,
    origin::{Answer, Finding, OriginTrouble, OriginView, Product, STEPS_WITH_WORDS, Trace, verdict_key},
    textures::Pictures,
    theme::{
        Colour, Edge, Ground, Raised, Theme, Type, space, verdict_colour,
        widgets::{self, ButtonKind},
    },
};

pub(super) fn plugin(app: &mut App) {
    // Who leaves the screen leaves the picture: coming back looks anew.
    app.add_systems(OnExit(Screen::Origin), |mut view: ResMut<OriginView>| *view = OriginView::Idle)
        .add_systems(OnEnter(Screen::Origin), spawn)
        .add_systems(Update, show.run_if(in_state(Screen::Origin)));
}

/// Where the view is shown.
#[derive(Component)]
struct Slot;

fn spawn(mut commands: Commands, theme: Res<Theme>, facts: Res<StoreFacts>) {
    let theme = &*theme;
    chrome::page(&mut commands, theme, &facts, Screen::Origin, |page| {
        page.spawn((Slot, Node { flex_grow: 1.0, min_height: px(0), ..widgets::column(space::LINE) }));
        chrome::footer(page, theme, |foot| {
            widgets::button(foot, theme, "Again", ButtonKind::Primary, Words::key("origin-again"))
                .observe(asks(Trace));
        });
    });
    commands.trigger(Trace);
}

fn show(
    mut commands: Commands,
    theme: Res<Theme>,
    view: Res<OriginView>,
    slot: Single<(Entity, Ref<Slot>)>,
    mut pictures: Pictures,
) {
    let (slot, marker) = slot.into_inner();
    if !view.is_changed() && !marker.is_added() {
        return;
    }
    let theme = &*theme;
    commands.entity(slot).despawn_children().with_children(|slot| match &*view {
        OriginView::Idle | OriginView::Looking => {
            chrome::title(slot, theme, "origin-title", "origin-note");
            widgets::notice(slot, theme, Words::key("looking"), Words::key("origin-looking-note"));
            // The camera is open while a look is being taken, and no longer.
            slot.spawn((NeedsCamera(Which::Products), Node::default()));
        }
        OriginView::Unavailable(trouble) => {
            chrome::title(slot, theme, "origin-title", "origin-note");
            let key = match trouble {
                OriginTrouble::Camera => "trouble-camera",
                OriginTrouble::Broken => "trouble-broken",
            };
            widgets::notice(slot, theme, Words::key(key), Words::key(format!("{key}-note")));
        }
        OriginView::Found(finding) => found(slot, theme, finding, &mut pictures),
    });
}

fn found(slot: &mut ChildSpawnerCommands, theme: &Theme, finding: &Finding, pictures: &mut Pictures) {
    let wide = theme.is_wide();
    let column = |gap| Node { flex_grow: 1.0, flex_basis: px(0), min_height: px(0), ..widgets::column(gap) };
    let body = Node {
        flex_direction: if wide { FlexDirection::Row } else { FlexDirection::Column },
        row_gap: px(space::LINE),
        column_gap: px(space::CARD),
        flex_grow: 1.0,
        min_height: px(0),
        ..default()
    };
    slot.spawn(body).with_children(|body| {
        // A verdict that needs more words leaves the picture less room.
        let is_short = matches!(&finding.answer, Answer::Item { assessment, .. } if assessment.verdict == Verdict::Genuine);
        let box_size = match (wide, is_short) {
            (false, _) => Vec2::new(984.0, 330.0),
            (true, true) => Vec2::new(780.0, 320.0),
            (true, false) => Vec2::new(780.0, 210.0),
        };
        let seen = if wide { column(space::LINE) } else { widgets::column(space::LINE) };
        body.spawn(seen).with_children(|seen| {
            widgets::picture(seen, pictures, &finding.painting, box_size);
            match &finding.answer {
                Answer::NoCode => {
                    banner(seen, theme, Colour::Calm, Words::key("no-code"), Words::key("no-code-note"))
                }
                Answer::NotAProduct { text } => banner(
                    seen,
                    theme,
                    Colour::Calm,
                    Words::key("no-product"),
                    Words::key("no-product-note").with("text", text.clone()),
                ),
                Answer::Item { claim, product, assessment } => {
                    verdict(seen, theme, assessment);
                    product_line(seen, theme, claim, product.as_deref());
                }
            }
        });
        if let Answer::Item { assessment, .. } = &finding.answer {
            // Beside the picture the way has less height, so it gets more width: its lines then need not break.
            let told = Node { flex_grow: if wide { 1.3 } else { 1.0 }, ..column(space::LINE) };
            body.spawn(told).with_children(|told| journey(told, theme, assessment));
        }
    });
}

fn banner(parent: &mut ChildSpawnerCommands, theme: &Theme, colour: Colour, title: Words, note: Words) {
    parent.spawn((Name::new("Verdict"), widgets::panel(colour, 30.0))).with_children(|banner| {
        banner.spawn(widgets::text(theme, Type::Title, Colour::OnState, title));
        banner.spawn(widgets::text(theme, Type::Body, Colour::OnState, note));
    });
}

/// The verdict first; then, where it is not the best one, why.
fn verdict(parent: &mut ChildSpawnerCommands, theme: &Theme, assessment: &Assessment) {
    let key = verdict_key(assessment.verdict);
    // The first reason is the worst; a genuine item has none, and its banner explains what genuine means.
    let note = match assessment.reasons.first() {
        Some(reason) => Words::key(format!("reason-{}", reason.key())),
        None => Words::key("verdict-genuine-note"),
    };
    banner(parent, theme, verdict_colour(assessment.verdict), Words::key(format!("verdict-{key}")), note);
    if Verdict::Genuine < assessment.verdict {
        parent.spawn(widgets::text(
            theme,
            Type::Body,
            Colour::InkSoft,
            Words::key(format!("verdict-{key}-note")),
        ));
    }
}

fn product_line(
    parent: &mut ChildSpawnerCommands,
    theme: &Theme,
    claim: &provenance::ItemClaim,
    product: Option<&Product>,
) {
    parent.spawn(widgets::column(2.0)).with_children(|lines| {
        match product {
            Some(product) => {
                lines.spawn(widgets::text(
                    theme,
                    Type::Heading,
                    Colour::Ink,
                    Words::name(product.name.clone()),
                ));
                lines.spawn(widgets::text(
                    theme,
                    Type::Caption,
                    Colour::InkSoft,
                    Words::key("product-line")
                        .with("maker", product.maker.clone())
                        .with("origin", product.origin.clone())
                        .with("content", product.content.clone()),
                ));
            }
            None => {
                lines.spawn(widgets::text(theme, Type::Heading, Colour::Ink, Words::key("product-unknown")));
            }
        }
        let id = match (claim.lot(), claim.serial()) {
            (Some(lot), Some(serial)) => {
                Words::key("id-item").with("lot", lot.to_owned()).with("serial", serial.to_owned())
            }
            (Some(lot), None) => Words::key("id-lot").with("lot", lot.to_owned()),
            (None, Some(serial)) => Words::key("id-serial").with("serial", serial.to_owned()),
            (None, None) => Words::key("id-product"),
        };
        lines.spawn(widgets::text(
            theme,
            Type::Caption,
            Colour::InkSoft,
            id.with("gtin", claim.gtin().to_owned()),
        ));
    });
}

fn journey(parent: &mut ChildSpawnerCommands, theme: &Theme, assessment: &Assessment) {
    if assessment.journey.is_empty() {
        parent.spawn((Name::new("NoJourney"), widgets::card())).with_children(|card| {
            card.spawn(widgets::text(theme, Type::Heading, Colour::Ink, Words::key("journey-none")));
            let key = if assessment.verdict == Verdict::Invalid {
                "journey-none-invalid"
            } else {
                "journey-none-unverified"
            };
            card.spawn(widgets::text(theme, Type::Body, Colour::InkSoft, Words::key(key)));
            card.spawn(widgets::text(theme, Type::Body, Colour::Ink, Words::key("ask-staff")));
        });
        return;
    }
    let place = Node {
        flex_grow: 1.0,
        flex_basis: px(0),
        min_height: px(0),
        padding: UiRect::all(px(space::CARD)),
        border: UiRect::all(px(2)),
        border_radius: BorderRadius::all(px(space::RADIUS)),
        ..widgets::column(0.0)
    };
    let mut list = widgets::scroller(parent, theme, place, |list| {
        list.spawn(Node {
            width: percent(100),
            margin: UiRect::bottom(px(space::TIGHT)),
            flex_shrink: 0.0,
            ..widgets::row(space::LINE)
        })
        .with_children(|head| {
            head.spawn((
                Node { flex_grow: 1.0, ..default() },
                widgets::text(theme, Type::Heading, Colour::Ink, Words::key("journey-title")),
            ));
            if assessment.is_demo {
                widgets::pill(head, theme, Colour::AccentSoft, Colour::AccentInk, Words::key("demo-record"));
            }
        });
        let last = assessment.journey.len() - 1;
        for (index, hop) in assessment.journey.iter().enumerate() {
            hop_line(list, theme, hop, index == last);
        }
    });
    list.insert((Name::new("Journey"), Ground(Colour::Card), Edge(Colour::CardEdge), Raised::Card));
}

/// One station: a dot on the line of time, what happened where, when and by whose word.
fn hop_line(parent: &mut ChildSpawnerCommands, theme: &Theme, hop: &Hop, is_last: bool) {
    let is_alarm = hop.temperature.as_ref().is_some_and(|temperature| temperature.is_alarm);
    let colour = if is_alarm { Colour::Caution } else { Colour::Brand };
    parent
        .spawn((
            Name::new("Hop"),
            Node {
                width: percent(100),
                align_items: AlignItems::Stretch,
                flex_shrink: 0.0,
                ..widgets::row(24.0)
            },
        ))
        .with_children(|line| {
            line.spawn(Node {
                width: px(24),
                flex_shrink: 0.0,
                align_items: AlignItems::Center,
                ..widgets::column(4.0)
            })
            .with_children(|rail| {
                rail.spawn((
                    Node {
                        width: px(24),
                        height: px(24),
                        margin: UiRect::top(px(12)),
                        border: UiRect::all(px(6)),
                        border_radius: BorderRadius::MAX,
                        flex_shrink: 0.0,
                        ..default()
                    },
                    Edge(colour),
                ));
                if !is_last {
                    rail.spawn((Node { width: px(3), flex_grow: 1.0, ..default() }, Ground(Colour::Line)));
                }
            });
            line.spawn(Node {
                flex_grow: 1.0,
                flex_basis: px(0),
                padding: UiRect::bottom(px(10)),
                ..widgets::column(0.0)
            })
            .with_children(|told| {
                told.spawn(widgets::text(theme, Type::Label, Colour::Ink, headline(hop)));
                told.spawn(widgets::text(theme, Type::Caption, Colour::InkSoft, byline(hop)));
                if let Some(number) = &hop.customs {
                    told.spawn(widgets::text(
                        theme,
                        Type::Caption,
                        Colour::AccentInk,
                        Words::key("customs").with("number", number.clone()),
                    ));
                }
            });
            if let Some(temperature) = &hop.temperature {
                let (ground, ink) = if is_alarm {
                    (Colour::Caution, Colour::OnState)
                } else {
                    (Colour::BrandSoft, Colour::Brand)
                };
                line.spawn(Node { padding: UiRect::top(px(4)), ..default() }).with_children(|place| {
                    widgets::pill(
                        place,
                        theme,
                        ground,
                        ink,
                        Words::key("temperature-range")
                            .with("low", Words::decimal(temperature.min_c, 1))
                            .with("high", Words::decimal(temperature.max_c, 1)),
                    );
                });
            }
        });
}

fn headline(hop: &Hop) -> Words {
    let step = match hop.step.as_deref() {
        Some(step) if STEPS_WITH_WORDS.contains(&step) => {
            Words::key(format!("step-{}", step.replace('_', "-")))
        }
        Some(step) => Words::verbatim(step),
        None => Words::key("step-other"),
    };
    match &hop.place {
        Some(place) if !place.names.is_empty() => {
            Words::key("hop-at").with("step", step).with("place", place.names.clone())
        }
        _ => step,
    }
}

/// The day is the one on the calendar at the place.
fn byline(hop: &Hop) -> Words {
    let offset = hop.offset.parse::<LocalOffset>().map_or(Offset::UTC, |LocalOffset(offset)| offset);
    let day = hop.at.to_zoned(TimeZone::fixed(offset)).date();
    let key = if hop.is_signed { "hop-by" } else { "hop-told-by" };
    Words::key(key).with("date", Words::date(day)).with("signer", hop.signer.clone())
}

/// `+02:00`, whose form the record's reader has checked.
struct LocalOffset(Offset);

impl std::str::FromStr for LocalOffset {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (sign, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (1, rest),
            Some(("-", rest)) => (-1, rest),
            _ => return Err(()),
        };
        let (hours, minutes) = rest.split_once(':').ok_or(())?;
        let seconds =
            hours.parse::<i32>().map_err(|_| ())? * 3600 + minutes.parse::<i32>().map_err(|_| ())? * 60;
        Offset::from_seconds(sign * seconds).map(Self).map_err(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use provenance::{Coverage, ItemClaim, Names, Reason};

    use super::*;
    use crate::screens::testing::{activate, named, screen_app, shown};

    fn finding(answer: Answer) -> OriginView {
        let painting = crate::paint::Painting { width: 2, height: 1, rgba: vec![0; 8] };
        OriginView::Found(Box::new(Finding { painting, answer }))
    }

    fn item(verdict: Verdict, reasons: Vec<Reason>, journey: Vec<Hop>) -> Answer {
        Answer::Item {
            claim: ItemClaim::try_new("09521234543213", Some("L1"), Some("S1")).unwrap(),
            product: None,
            assessment: Box::new(Assessment {
                verdict,
                reasons,
                coverage: Coverage::Item,
                journey,
                signer: None,
                signed_at: None,
                is_demo: true,
            }),
        }
    }

    fn hop(offset: &str) -> Hop {
        Hop {
            at: "2026-03-10T23:30:00Z".parse().unwrap(),
            offset: offset.to_owned(),
            step: Some("packing".to_owned()),
            disposition: None,
            place: None,
            signer: Names::from([
                ("zh".to_owned(), "酒庄".to_owned()),
                ("en".to_owned(), "Winery".to_owned()),
            ]),
            is_signed: true,
            temperature: None,
            certificates: Vec::new(),
            customs: None,
            supervision: None,
        }
    }

    #[test]
    fn a_genuine_item_tells_its_way_with_the_day_on_its_own_calendar() {
        let mut app = screen_app(Screen::Origin);
        app.insert_resource(finding(item(Verdict::Genuine, vec![], vec![hop("+02:00")])));
        app.update();
        app.update();
        activate(&mut app, "Language");
        let texts = shown(&mut app);
        assert!(
            texts.iter().any(|text| text.contains("11 March 2026") && text.contains("Winery")),
            "{texts:?}"
        );
        assert!(named(&mut app, "Journey").is_some());
    }

    #[test]
    fn a_forged_item_is_called_so_and_tells_nothing() {
        let mut app = screen_app(Screen::Origin);
        app.insert_resource(finding(item(
            Verdict::Invalid,
            vec![Reason::SignerUnknown("z6Mk".to_owned())],
            vec![],
        )));
        app.update();
        app.update();
        assert!(named(&mut app, "Journey").is_none() && named(&mut app, "NoJourney").is_some());
        let i18n = app.world().resource::<crate::i18n::I18n>();
        let said = i18n.say(&Words::key("verdict-invalid"));
        assert!(shown(&mut app).contains(&said));
    }

    #[test]
    fn a_picture_without_a_code_says_so() {
        let mut app = screen_app(Screen::Origin);
        app.insert_resource(finding(Answer::NoCode));
        app.update();
        app.update();
        let said = app.world().resource::<crate::i18n::I18n>().say(&Words::key("no-code"));
        assert!(shown(&mut app).contains(&said));
    }

    #[test]
    fn looking_again_asks_again() {
        let mut app = screen_app(Screen::Origin);
        app.insert_resource(finding(Answer::NoCode));
        app.update();
        activate(&mut app, "Again");
        // This app has no worker, so the answer is that the feature is away.
        assert_eq!(*app.world().resource::<OriginView>(), OriginView::Unavailable(OriginTrouble::Broken));
    }
}
