//! Makes the demonstration store's origin data: `assets/demo/trust.json`, `records/*.json` and `codes/*.png`.
//!
//! Run from the checkout: `cargo run -p storehub-provenance --example demo_store`. The keys are derived from their
//! published names, so everybody knows their secrets: only the demonstration's trust list, which says `demo`, trusts
//! them. Companies are invented, places are real, GTINs are of GS1's range for examples (952). The same input gives
//! the same bytes, so the committed files can be checked by making them again.

use std::{fs, path::Path};

use image::{ImageError, Rgb, RgbImage};
use jiff::Timestamp;
use provenance::{SecretKey, sign, sign_event, sign_trust_list};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

type Failure = Box<dyn std::error::Error>;

/// A key whose secret is its published name.
fn demo_key(name: &str) -> SecretKey {
    SecretKey::from_seed(&Sha256::digest(format!("storehub demonstration key: {name}")).into())
}

fn place(id: &str, zh: &str, en: &str, latitude: &str, longitude: &str) -> Value {
    json!({"id": format!("https://id.gs1.org/414/{id}"), "attributes": [
        {"id": "cbvmda:latitude", "attribute": latitude}, {"id": "cbvmda:longitude", "attribute": longitude},
        {"id": "ot:name", "attribute": {"zh": zh, "en": en}}]})
}

/// What one product's record is made of.
struct Story {
    file: &'static str,
    maker: &'static str,
    item: String,
    expires: &'static str,
    created: &'static str,
    /// Place id, names and degrees.
    places: [(&'static str, &'static str, &'static str, &'static str, &'static str); 4],
    /// Time, offset, step, place, and who signs when it is not the maker.
    steps: [(&'static str, &'static str, &'static str, usize, Option<&'static str>); 6],
    /// Lowest and highest temperature in transit, and whether the sensor raised an alarm.
    temperature: (f64, f64, bool),
    customs: &'static str,
}

fn record(story: &Story) -> Result<Vec<u8>, Failure> {
    let mut events = Vec::new();
    for &(at, offset, step, place, signer) in &story.steps {
        let mut event = json!({
            "type": "ObjectEvent", "action": if step == "commissioning" { "ADD" } else { "OBSERVE" },
            "eventTime": at, "eventTimeZoneOffset": offset, "epcList": [story.item], "bizStep": step,
            "bizLocation": {"id": format!("https://id.gs1.org/414/{}", story.places[place].0)},
        });
        match step {
            "commissioning" => event["ilmd"] = json!({"cbvmda:itemExpirationDate": story.expires}),
            "transporting" => {
                let (low, high, is_alarm) = story.temperature;
                let mut report = json!({"type": "Temperature", "minValue": low, "maxValue": high, "uom": "CEL", "time": at});
                if is_alarm {
                    report["exception"] = json!("ALARM_CONDITION");
                }
                event["disposition"] = json!("in_transit");
                event["sensorElementList"] = json!([{"sensorReport": [report]}]);
            }
            "inspecting" => {
                event["disposition"] = json!("conformant");
                event["ot:customsDeclaration"] = json!(story.customs);
                event["ot:supervision"] = json!("1210");
            }
            _ => {}
        }
        let created: Timestamp = story.created.parse()?;
        events.push(match signer {
            Some(name) => sign_event(event, &demo_key(name), created)?,
            None => event,
        });
    }
    let places: Vec<Value> =
        story.places.iter().map(|(id, zh, en, lat, lon)| place(id, zh, en, lat, lon)).collect();
    let document = json!({
        "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", {"ot": "https://storehub.example/origin#"}],
        "type": "EPCISDocument", "schemaVersion": "2.0", "creationDate": story.created,
        "epcisHeader": {"epcisMasterData": {"vocabularyList": [
            {"type": "urn:epcglobal:epcis:vtype:Location", "vocabularyElementList": places}]}},
        "epcisBody": {"eventList": events}
    });
    Ok(sign(document.to_string().as_bytes(), &demo_key(story.maker), story.created.parse()?)?)
}

fn trust_list() -> Result<Vec<u8>, Failure> {
    let signer = |id: &str, zh: &str, en: &str, gcps: &[&str], steps: &[&str]| {
        json!({"id": id, "names": {"zh": zh, "en": en}, "publicKeyMultibase": demo_key(id).public().to_string(),
            "validFrom": "2024-01-01T00:00:00Z", "validUntil": "2036-01-01T00:00:00Z", "gcps": gcps, "bizSteps": steps})
    };
    let own = ["commissioning", "packing"];
    let document = json!({
        "type": "StorehubTrustList", "version": 1, "demo": true,
        "validFrom": "2026-01-01T00:00:00Z", "validUntil": "2036-01-01T00:00:00Z",
        "signers": [
            signer("rive-dor", "金岸酒庄", "Château Rive d'Or", &["9521234"], &own),
            signer("tui-meadow", "图伊牧场", "Tui Meadow", &["9521235"], &own),
            signer("nordfjell", "北峡海产", "Nordfjell Seafood", &["9521237"], &own),
            signer("blue-lane", "蓝道冷链", "Blue Lane Logistics", &[], &["transporting"]),
            signer("xiasha-broker", "下沙报关行", "Xiasha Customs Brokers", &[], &["inspecting"]),
            signer("yunqi-store", "云栖优选", "Yunqi Select", &[], &["receiving", "stocking"]),
        ]
    });
    Ok(sign_trust_list(document.to_string().as_bytes(), &demo_key("root"), "2026-01-01T00:00:00Z".parse()?)?)
}

fn link(gtin: &str, lot: &str, serial: &str) -> String {
    format!("https://id.gs1.org/01/{gtin}/10/{lot}/21/{serial}")
}

fn stories() -> [Story; 4] {
    let hub = ("9521000000027", "杭州下沙综合保税区", "Xiasha bonded zone, Hangzhou", "30.31", "120.37");
    let shop = ("9521000000034", "杭州云栖优选门店", "Yunqi Select store, Hangzhou", "30.27", "120.15");
    let wine = |file, maker, lot: &str, serial: &str| Story {
        file,
        maker,
        item: link("09521234543213", lot, serial),
        expires: "2040-12-31",
        created: "2026-09-20T08:00:00Z",
        places: [
            ("9521234000017", "法国圣埃美隆", "Saint-Émilion, France", "44.89", "-0.16"),
            ("9521000000010", "法国勒阿弗尔港", "Port of Le Havre, France", "49.48", "0.11"),
            hub,
            shop,
        ],
        steps: [
            ("2025-04-18T08:00:00Z", "+02:00", "commissioning", 0, None),
            ("2026-06-02T07:30:00Z", "+02:00", "packing", 0, None),
            ("2026-07-11T06:00:00Z", "+02:00", "transporting", 1, Some("blue-lane")),
            ("2026-08-24T02:00:00Z", "+08:00", "inspecting", 2, Some("xiasha-broker")),
            ("2026-09-10T01:30:00Z", "+08:00", "receiving", 3, Some("yunqi-store")),
            ("2026-09-12T01:30:00Z", "+08:00", "stocking", 3, Some("yunqi-store")),
        ],
        temperature: (11.2, 14.8, false),
        customs: "223320261000012345",
    };
    [
        wine("wine.json", "rive-dor", "L2022-07", "RD000147"),
        // The same story, told by somebody whom nobody trusts.
        wine("wine-forged.json", "forger", "L2022-99", "RD900001"),
        Story {
            file: "formula.json",
            maker: "tui-meadow",
            item: link("09521235000012", "TM2605", "00458812"),
            expires: "2028-05-20",
            created: "2026-09-01T08:00:00Z",
            places: [
                ("9521235000043", "新西兰怀卡托", "Waikato, New Zealand", "-37.79", "175.28"),
                ("9521000000041", "新西兰陶朗加港", "Port of Tauranga, New Zealand", "-37.66", "176.18"),
                hub,
                shop,
            ],
            steps: [
                ("2026-05-20T21:00:00Z", "+12:00", "commissioning", 0, None),
                ("2026-05-25T21:00:00Z", "+12:00", "packing", 0, None),
                ("2026-06-15T20:00:00Z", "+12:00", "transporting", 1, Some("blue-lane")),
                ("2026-07-20T02:00:00Z", "+08:00", "inspecting", 2, Some("xiasha-broker")),
                ("2026-08-11T01:30:00Z", "+08:00", "receiving", 3, Some("yunqi-store")),
                ("2026-08-12T01:30:00Z", "+08:00", "stocking", 3, Some("yunqi-store")),
            ],
            temperature: (14.1, 21.6, false),
            customs: "223320261000023456",
        },
        Story {
            file: "salmon.json",
            maker: "nordfjell",
            item: link("09521237000010", "NF2647", "5501"),
            expires: "2027-03-31",
            created: "2026-11-21T00:00:00Z",
            places: [
                ("9521237000041", "挪威博德", "Bodø, Norway", "67.28", "14.40"),
                ("9521000000058", "挪威奥斯陆机场", "Oslo Airport, Norway", "60.19", "11.10"),
                hub,
                shop,
            ],
            steps: [
                ("2026-11-17T06:00:00Z", "+01:00", "commissioning", 0, None),
                ("2026-11-17T10:00:00Z", "+01:00", "packing", 0, None),
                ("2026-11-18T15:00:00Z", "+01:00", "transporting", 1, Some("blue-lane")),
                ("2026-11-19T06:00:00Z", "+08:00", "inspecting", 2, Some("xiasha-broker")),
                ("2026-11-20T01:30:00Z", "+08:00", "receiving", 3, Some("yunqi-store")),
                ("2026-11-20T02:30:00Z", "+08:00", "stocking", 3, Some("yunqi-store")),
            ],
            temperature: (0.8, 7.9, true),
            customs: "223320261000034567",
        },
    ]
}

/// A package on a table with its code on a label; drawn, not photographed.
fn scene(text: &str, body: [u8; 3], half_width: f32) -> Result<RgbImage, Failure> {
    const SIZE: (u32, u32) = (1280, 720);
    const QUIET: usize = 4;
    let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::M)?;
    let (modules, dark) = (code.width(), code.to_colors());
    let all = modules + 2 * QUIET;
    let label = 330.0_f32;
    Ok(RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
        #[expect(clippy::cast_precision_loss, reason = "pixel positions are small")]
        let (dx, dy) = (x as f32 - 640.0, y as f32 - 390.0);
        let shade = |rgb: [u8; 3], factor: f32| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
            Rgb(rgb.map(|value| (f32::from(value) * factor).clamp(0.0, 255.0) as u8))
        };
        let half = label / 2.0;
        if dx.abs() < half && dy.abs() < half {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "inside the label"
            )]
            let module = |value: f32| ((value + half) / label * all as f32) as usize;
            let (column, row) = (module(dx), module(dy));
            let inside = |at: usize| (QUIET..QUIET + modules).contains(&at);
            let is_dark = inside(column)
                && inside(row)
                && dark[(row - QUIET) * modules + column - QUIET] == qrcode::Color::Dark;
            return if is_dark { Rgb([26, 30, 28]) } else { Rgb([250, 246, 238]) };
        }
        if dx.abs() < half + 24.0 && (-half - 60.0..half + 24.0).contains(&dy) {
            let is_rule = (-half - 34.0..-half - 28.0).contains(&dy) && dx.abs() < 110.0;
            return if is_rule { Rgb([176, 138, 78]) } else { Rgb([250, 246, 238]) };
        }
        if dx.abs() < half_width && -340.0 < dy {
            // A round body: bright left of the middle, dark at its edges.
            let across = dx / half_width;
            let light = 1.25 * (1.0 - (across + 0.35).powi(2) * 0.75).max(0.22);
            return shade(body, light);
        }
        if dy > 230.0 {
            shade([196, 178, 150], 1.0 - (dy - 230.0) / 900.0)
        } else {
            shade([226, 220, 208], 1.0 + dy / 2600.0)
        }
    }))
}

fn write_code(dir: &Path, name: &str, text: &str, body: [u8; 3], half_width: f32) -> Result<(), Failure> {
    let result: Result<(), ImageError> = scene(text, body, half_width)?.save(dir.join(name));
    Ok(result?)
}

fn main() -> Result<(), Failure> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo");
    let (records, codes) = (demo.join("records"), demo.join("codes"));
    fs::create_dir_all(&records)?;
    fs::create_dir_all(&codes)?;
    fs::write(demo.join("trust.json"), trust_list()?)?;
    for story in stories() {
        fs::write(records.join(story.file), record(&story)?)?;
    }
    let bottle = [44, 62, 48];
    write_code(&codes, "wine.png", &link("09521234543213", "L2022-07", "RD000147"), bottle, 250.0)?;
    write_code(&codes, "wine-forged.png", &link("09521234543213", "L2022-99", "RD900001"), bottle, 250.0)?;
    write_code(&codes, "formula.png", &link("09521235000012", "TM2605", "00458812"), [92, 138, 158], 330.0)?;
    write_code(&codes, "salmon.png", &link("09521237000010", "NF2647", "5501"), [196, 118, 96], 380.0)?;
    write_code(&codes, "serum-unknown.png", &link("09521236000011", "A1", "1"), [120, 150, 128], 230.0)?;
    println!("trust_root = \"{}\"", demo_key("root").public());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_records_are_what_this_makes() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo");
        assert_eq!(fs::read(demo.join("trust.json")).unwrap(), trust_list().unwrap(), "trust.json");
        for story in stories() {
            let committed = fs::read(demo.join("records").join(story.file)).unwrap();
            assert_eq!(committed, record(&story).unwrap(), "{}", story.file);
        }
    }
}
