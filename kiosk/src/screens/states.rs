//! Every screen in each state that matters, put there with invented content: for tests of its layout and of its look.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, time::Duration};

use bevy::{prelude::*, time::TimeUpdateStrategy};
use provenance::{Assessment, Coverage, Hop, ItemClaim, Names, Reason, Verdict};
use vision::{
    Calibration, Picture,
    calibration::{Curve, Date, DeltaE},
    lips::Shade,
    skin::{
        CaptureReport, Measured, Metric, MetricId, ModelIdentity, RegionId, RegionValue, SCHEMA, SkinReport,
        Status, Tone, ToneColour, ToneValues,
    },
};

use super::{
    Screen,
    route::{Feature, Wanted},
    testing::with_shelves,
};
use crate::{
    care::{
        Answers,
        rules::{Care, Wish},
        slip::Signer,
    },
    i18n::{I18n, Locale},
    link::{LinkState, StoreFacts},
    origin::{Answer, Catalogue, Finding, Form, OriginView, Product},
    paint::{Outline, Painting, paint},
    session::{Age, Consent, EndSession, Session},
    skin::{LAYERS, SkinFinding, SkinTrouble, SkinView},
    staff::{
        StaffRoom,
        chart::Chart,
        pin::{Pin, PinHash},
    },
    theme::{Look, REGION_RGB},
    try_on::{Looks, ShadeOffer, Shades, TryOnTrouble, TryOnView},
};

/// A screen in one of its states.
pub(super) struct State {
    pub(super) name: &'static str,
    screen: Screen,
    prepare: fn(&mut App),
}

pub(super) const STATES: [State; 44] = [
    State { name: "attract", screen: Screen::Attract, prepare: |_| {} },
    State { name: "attract of a full store", screen: Screen::Attract, prepare: full_store },
    State { name: "home", screen: Screen::Home, prepare: |_| {} },
    State { name: "home of a full store", screen: Screen::Home, prepare: full_store },
    State { name: "home with the question", screen: Screen::Home, prepare: forgotten },
    State { name: "consent, age", screen: Screen::Consent, prepare: |app| wanted(app, Feature::Skin, None) },
    State {
        name: "consent, too young",
        screen: Screen::Consent,
        prepare: |app| wanted(app, Feature::Skin, Some(Age::TooYoung)),
    },
    State { name: "consent to skin", screen: Screen::Consent, prepare: |app| asked(app, Feature::Skin) },
    State { name: "consent to origin", screen: Screen::Consent, prepare: |app| asked(app, Feature::Origin) },
    State { name: "consent to try-on", screen: Screen::Consent, prepare: |app| asked(app, Feature::TryOn) },
    State { name: "care", screen: Screen::Care, prepare: cared_for },
    State { name: "care without shelves", screen: Screen::Care, prepare: |_| {} },
    State { name: "care with the longest names", screen: Screen::Care, prepare: long_care },
    State { name: "skin, measured, with products", screen: Screen::Skin, prepare: measured_with_products },
    State { name: "skin, looking", screen: Screen::Skin, prepare: |app| skin(app, SkinView::Looking) },
    State { name: "skin, measured", screen: Screen::Skin, prepare: measured },
    State { name: "skin, forgotten", screen: Screen::Skin, prepare: |app| skin(app, SkinView::Forgotten) },
    State { name: "skin, not fit to measure", screen: Screen::Skin, prepare: unfit },
    State {
        name: "skin without models",
        screen: Screen::Skin,
        prepare: |app| skin(app, SkinView::Unavailable(SkinTrouble::Models)),
    },
    State {
        name: "origin without a code",
        screen: Screen::Origin,
        prepare: |app| origin(app, Answer::NoCode),
    },
    State { name: "origin of a genuine item", screen: Screen::Origin, prepare: genuine },
    State { name: "origin of a forged item", screen: Screen::Origin, prepare: forged },
    State { name: "try-on without a camera", screen: Screen::TryOn, prepare: no_camera },
    State { name: "try-on", screen: Screen::TryOn, prepare: tried_on },
    State { name: "pick-up without a hub", screen: Screen::PickUp, prepare: may_film },
    State {
        name: "pick-up, typing",
        screen: Screen::PickUp,
        prepare: |app| {
            may_film(app);
            pick_up(app, "typing");
        },
    },
    State { name: "pick-up, opening", screen: Screen::PickUp, prepare: |app| pick_up(app, "opening") },
    State { name: "pick-up, open", screen: Screen::PickUp, prepare: |app| pick_up(app, "open") },
    State {
        name: "pick-up, left inside",
        screen: Screen::PickUp,
        prepare: |app| pick_up(app, "closed-not-emptied"),
    },
    State { name: "pick-up, collected", screen: Screen::PickUp, prepare: |app| pick_up(app, "collected") },
    State { name: "pick-up, wrong code", screen: Screen::PickUp, prepare: |app| pick_up(app, "wrong-code") },
    State { name: "pick-up, stuck", screen: Screen::PickUp, prepare: |app| pick_up(app, "stuck") },
    State { name: "offers of an empty store", screen: Screen::Offers, prepare: |_| {} },
    State { name: "offers of a full store", screen: Screen::Offers, prepare: full_store },
    State { name: "offers with the longest names", screen: Screen::Offers, prepare: long_names },
    State { name: "home of the longest names", screen: Screen::Home, prepare: long_names },
    State { name: "attract of the largest figures", screen: Screen::Attract, prepare: long_names },
    State { name: "offers, offline", screen: Screen::Offers, prepare: offline },
    State { name: "staff, closed", screen: Screen::Staff, prepare: |_| {} },
    State { name: "staff, open", screen: Screen::Staff, prepare: |app| canned(app, Screen::Staff, "open") },
    State { name: "staff, with a chart", screen: Screen::Staff, prepare: charted },
    State {
        name: "staff, about to end the kiosk",
        screen: Screen::Staff,
        prepare: |app| {
            canned(app, Screen::Staff, "open");
            app.world_mut().trigger(crate::staff::Touch::Exit);
        },
    },
    State { name: "staff, at the door", screen: Screen::Staff, prepare: at_the_door },
    State { name: "fault", screen: Screen::Fault, prepare: full_store },
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

/// What no store has and every store may send.
fn long_names(app: &mut App) {
    full_store(app);
    let catalogue = r#"[{"gtin":"09506000134352","name":{"zh":"某","en":"one"},"maker":{"zh":"某","en":"one"},
        "origin":{"zh":"新西兰怀卡托地区汉密尔顿市图伊牧场东北岸第三号冷链加工中心保税仓","en":"Llanfairpwllgwyngyllgogery,
        Isle of Anglesey, Wales, United Kingdom of Great Britain"},"form":"tin"}]"#;
    let products: Vec<Product> = serde_json::from_str(&catalogue.replace('\n', " ")).unwrap();
    app.insert_resource(products.into_iter().collect::<Catalogue>());
    let mut facts = app.world_mut().resource_mut::<StoreFacts>();
    for index in 0..12 {
        let text = format!(
            r#"{{"shelf":"shelf-{index:02}","gtin":"09506000134352","name":{{"zh":"婴幼儿深度水解配方特殊医学用途奶粉礼盒装第{index}段全家",
            "en":"Extensively-hydrolysed Formula, Supercalifragilistic Family {index}"}},
            "pieces":{},"capacity":4000000000,"at":"2026-11-22T20:00:00.000Z"}}"#,
            u32::MAX - index,
        );
        facts.shelves.insert(format!("shelf-{index:02}"), serde_json::from_str(&text).unwrap());
    }
    let traffic = r#"{"day_start":"2026-11-22T00:00:00.000Z","count_in":9007199254740991,"count_out":0,"at":"2026-11-22T20:00:00.000Z"}"#;
    facts.traffic = Some(serde_json::from_str(traffic).unwrap());
}

fn canned(app: &mut App, screen: Screen, state: &str) {
    crate::shot::canned::put(app.world_mut(), screen, state).unwrap();
}

fn pick_up(app: &mut App, state: &str) {
    canned(app, Screen::PickUp, state);
}

/// The visitor has agreed to a camera, so that it is offered for codes, too.
fn may_film(app: &mut App) {
    app.world_mut().resource_mut::<Session>().answer(Consent::Given);
}

fn charted(app: &mut App) {
    canned(app, Screen::Staff, "open");
    let delta_e =
        DeltaE { mean_76: 5.9, max_76: 19.8, mean_2000: 5.1, max_2000: 12.2, left_out_mean_76: 7.9 };
    let date = Date::parse("2026-11-22").unwrap();
    let same = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let calibration = Box::new(Calibration::try_new(date, Curve::STRAIGHT, same, delta_e).unwrap());
    app.world_mut().resource_mut::<StaffRoom>().put(Chart::Found { calibration, light_ratio: 2.4 });
}

fn at_the_door(app: &mut App) {
    let hash = Pin::parse("4711").unwrap().hash().unwrap();
    app.insert_resource(StaffRoom::new(Some(PinHash::parse(&hash).unwrap()), 0));
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

fn wanted(app: &mut App, feature: Feature, age: Option<Age>) {
    app.insert_resource(Wanted(Some(feature)));
    if let Some(age) = age {
        app.world_mut().resource_mut::<Session>().is_of(age);
    }
}

fn asked(app: &mut App, feature: Feature) {
    wanted(app, feature, Some(Age::OldEnough));
}

/// A catalogue with a product for every wish, on shelves.
pub(super) fn care_for_skin(app: &mut App) {
    let efficacies = [
        "moisturising",
        "soothing",
        "oil-control",
        "brightening",
        "anti-wrinkle",
        "sun-protection",
        "cleansing",
    ];
    let product = |(index, efficacy): (usize, &str)| -> Product {
        let gtin = format!("0952123600{index:04}");
        let json = serde_json::json!({
            "gtin": gtin, "name": {"zh": "青庭 舒缓保湿精华乳", "en": "Aoniwa calming moisture emulsion"},
            "maker": names("青庭", "Aoniwa"), "origin": names("日本静冈", "Shizuoka, Japan"), "form": "dropper",
            "care": {"efficacy": [efficacy], "claim": {"zh": "保湿、舒缓，适合日常护理", "en": "Moisturises and soothes, for every day"}},
        });
        serde_json::from_value(json).unwrap()
    };
    app.insert_resource(efficacies.into_iter().enumerate().map(product).collect::<Catalogue>());
    let mut facts = app.world_mut().resource_mut::<StoreFacts>();
    facts.link = LinkState::Online;
    for index in 0..efficacies.len() {
        let shelf = serde_json::json!({"shelf": format!("shelf-{index:02}"), "gtin": format!("0952123600{index:04}"),
            "pieces": 6, "at": "2026-11-22T20:00:00.000Z"});
        facts.shelves.insert(format!("shelf-{index:02}"), serde_json::from_value(shelf).unwrap());
    }
}

fn cared_for(app: &mut App) {
    care_for_skin(app);
    app.insert_resource(Signer::fixed());
    let mut answers = Answers::default();
    [Wish::Calm, Wish::Sun].into_iter().for_each(|wish| answers.toggle(wish));
    app.insert_resource(answers);
}

/// Names and claims that no catalogue should have and every one may.
pub(super) fn long_care(app: &mut App) {
    cared_for(app);
    let long = names(
        &"婴幼儿深度水解配方特殊用途舒缓保湿精华乳礼盒装全家".repeat(4),
        &"Extensively soothing Supercalifragilisticexpialidocious moisture emulsion ".repeat(4),
    );
    let catalogue = app.world().resource::<Catalogue>().clone();
    let products =
        (0..7).filter_map(|index| catalogue.product(&format!("0952123600{index:04}"))).map(|product| {
            let care = product.care.clone().map(|care| Care { claim: long.clone(), ..care });
            Product { name: long.clone(), care, ..product.clone() }
        });
    app.insert_resource(products.collect::<Catalogue>());
}

fn measured_with_products(app: &mut App) {
    care_for_skin(app);
    app.insert_resource(Signer::fixed());
    measured(app);
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
        care: None,
    };
    origin(
        app,
        Answer::Item {
            claim: ItemClaim::try_new("09521234543213", Some("L2022-0815"), Some("SN-000123456")).unwrap(),
            product: Some(Box::new(product)),
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

/// The face that our own renderer drew, with a frame where a cheek is.
fn portrait() -> Painting {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/demo/portrait.png"));
    let picture = Picture::from_file(path).unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a picture has a few thousand pixels")]
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let corners = [[0.3, 0.55], [0.4, 0.55], [0.4, 0.68], [0.3, 0.68]].map(|[x, y]| [x * width, y * height]);
    paint(&picture, &[Outline { corners: corners.to_vec(), colour: REGION_RGB, fill: 0.1 }])
}

/// What was measured on an invented face, or that nothing could be.
pub(crate) fn report(is_fit: bool) -> SkinReport {
    let values = ToneValues {
        lightness: 60.4,
        lightness_repeat: 0.6,
        colour: Some(ToneColour { a: 14.2, b: 18.9, hue: 53.1, hue_repeat_deg: 1.3 }),
        ita_deg: 28.8,
        ita_ci: [-10.3, 47.0],
        ita_repeat_deg: 1.6,
        ita_systematic_deg: 12.9,
    };
    let metric = |id: MetricId, score: u8| {
        let region = |id, value| RegionValue { id, value, ci: [value - 0.3, value + 0.3] };
        let measured = Measured {
            value: 1.4,
            unit: id.unit(),
            ci: [1.1, 1.7],
            score: Some(score),
            score_ci: Some([score.saturating_sub(6), (score + 6).min(100)]),
            direction: id.direction(),
            count: None,
            regions: vec![region(RegionId::Forehead, 1.8), region(RegionId::CheekL, 0.4)],
        };
        let (status, reason) = match id {
            MetricId::Redness => (Status::LowConfidence, Some("uncalibrated")),
            _ => (Status::Ok, None),
        };
        Metric { id, kind: "measure", status, reason, measured: Some(measured) }
    };
    let pores = Metric {
        id: MetricId::Pores,
        kind: "measure",
        status: Status::NotMeasurable,
        reason: Some("px_per_mm<8"),
        measured: None,
    };
    let scores = [100, 64, 41, 0, 77, 52];
    let metrics = MetricId::ALL.into_iter().zip(scores).map(|(id, score)| metric(id, score)).chain([pores]);
    SkinReport {
        schema: SCHEMA,
        model: ModelIdentity {
            landmark: "sha256:0".to_owned(),
            cover: "sha256:2".to_owned(),
            skinmap: "sha256:1".to_owned(),
        },
        capture: CaptureReport {
            ok: is_fit,
            face_px: None,
            px_per_mm: None,
            yaw: None,
            pitch: None,
            roll: None,
            blur_pct: None,
            clip_pct: None,
            noise_db: None,
            light_ratio_lr: None,
            hidden: None,
            glasses: None,
            occlusion: vec!["none"],
            calibration: "uncalibrated".to_owned(),
            calib_de: None,
            strip: None,
            problems: Vec::new(),
            advice: if is_fit { vec!["ok"] } else { vec!["face_the_light", "more_light_on_the_face"] },
        },
        tone: Tone {
            status: Status::LowConfidence,
            reason: Some("uncalibrated"),
            values: Some(values),
            calibration: "uncalibrated".to_owned(),
            measured_on: vec![RegionId::CheekL, RegionId::CheekR],
            regions: BTreeMap::new(),
        },
        metrics: metrics.collect(),
        regions: BTreeMap::new(),
        disclosures: ["cosmetic-not-medical", "appearance-in-this-photo", "no-image-stored"],
        timing_ms: BTreeMap::from([("total", 612.0)]),
        shown: 0,
        outlines: Vec::new(),
        overlay: None,
    }
}

/// A look that measured everything but pores, with invented figures.
pub(super) fn measured_finding() -> SkinFinding {
    let layers = LAYERS.map(|(id, _)| (id, portrait())).into();
    SkinFinding { painting: portrait(), layers, report: report(true) }
}

fn measured(app: &mut App) {
    skin(app, SkinView::Found(Box::new(measured_finding())));
}

fn unfit(app: &mut App) {
    let finding = SkinFinding { painting: portrait(), layers: Vec::new(), report: report(false) };
    skin(app, SkinView::Found(Box::new(finding)));
}

fn no_camera(app: &mut App) {
    app.insert_resource(TryOnView::Unavailable(TryOnTrouble::Camera));
}

fn tried_on(app: &mut App) {
    let offer = |index: u8| ShadeOffer {
        gtin: format!("0952123800010{index}"),
        name: names("丝绒哑光唇膏 玫瑰木色", "Velvet matte lipstick, rosewood"),
        shade: Shade { rgb: [120 + 20 * index, 30, 60], cover: 0.7 },
    };
    app.insert_resource(Shades((0..6).map(offer).collect()));
    let portrait = portrait();
    let looks = Looks { before: portrait.clone(), after: vec![portrait; 6] };
    app.insert_resource(TryOnView::Found(Box::new(looks)));
}

/// Brings the kiosk there, from wherever it is, as if a visitor had just come.
pub(super) fn enter(app: &mut App, state: &State, locale: Locale, look: Look) {
    app.world_mut().trigger(EndSession);
    app.update();
    *app.world_mut().resource_mut::<StoreFacts>() = StoreFacts::default();
    app.insert_resource(Catalogue::default());
    // Some of a state decides how a screen begins, some of it is overwritten by its beginning.
    (state.prepare)(app);
    app.world_mut().resource_mut::<NextState<Screen>>().set(state.screen);
    app.update();
    app.world_mut().resource_mut::<I18n>().set_locale(locale);
    app.insert_resource(look);
    (state.prepare)(app);
    // What is spawned in one frame is laid out in it, and what layout decides shows in the next.
    for _ in 0..3 {
        app.update();
    }
}
