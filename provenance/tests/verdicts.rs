//! From a supplier's document to a verdict: one record, and everything that can be wrong with it.

use jiff::Timestamp;
use proptest::prelude::*;
use provenance::{
    Assessment, Coverage, ItemClaim, PublicKey, Reason, SecretKey, TrustError, TrustList, Verdict, sign,
    sign_event, sign_trust_list, verdict::judge, verify,
};
use serde_json::{Value, json};

const GTIN: &str = "09521234543213";
const OTHER_GTIN: &str = "09521234543220";
const SIGNED_AT: &str = "2026-03-20T08:00:00Z";
const NOW: &str = "2026-11-22T20:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().expect("a test's time is RFC 3339")
}

fn root() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}
fn winery() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}
fn carrier() -> SecretKey {
    SecretKey::from_seed(&[3; 32])
}
fn stranger() -> SecretKey {
    SecretKey::from_seed(&[9; 32])
}

fn trust_document() -> Value {
    json!({
        "type": "StorehubTrustList", "version": 3,
        "validFrom": "2026-01-01T00:00:00Z", "validUntil": "2027-01-01T00:00:00Z",
        "signers": [
            {"id": "winery", "names": {"en": "Winery", "zh": "酒庄"}, "publicKeyMultibase": winery().public().to_string(),
             "validFrom": "2025-01-01T00:00:00Z", "validUntil": "2027-01-01T00:00:00Z",
             "gcps": ["9521234"], "bizSteps": ["commissioning", "packing", "storing", "inspecting", "retail_selling"]},
            {"id": "carrier", "names": {"en": "Carrier"}, "publicKeyMultibase": carrier().public().to_string(),
             "validFrom": "2025-01-01T00:00:00Z", "validUntil": "2027-01-01T00:00:00Z", "bizSteps": ["transporting"]}
        ]
    })
}

fn trust_of(document: &Value) -> TrustList {
    let signed = sign_trust_list(document.to_string().as_bytes(), &root(), time("2026-01-01T00:00:00Z"))
        .expect("the test's own data is fine");
    TrustList::read(&signed, &root().public()).expect("the test's own data is fine")
}

fn trust() -> TrustList {
    trust_of(&trust_document())
}

fn item(serial: &str) -> String {
    format!("https://id.gs1.org/01/{GTIN}/10/L1/21/{serial}")
}

/// Made, packed, transported under a sensor of the carrier's own; two bottles of lot L1.
fn record() -> Value {
    let carried = json!({
        "type": "ObjectEvent", "action": "OBSERVE", "eventTime": "2026-03-10T08:00:00Z", "eventTimeZoneOffset": "+00:00",
        "epcList": ["https://id.gs1.org/00/395212340000000016"], "bizStep": "transporting", "disposition": "in_transit",
        "sensorElementList": [{"sensorReport": [
            {"type": "Temperature", "minValue": 11.2, "maxValue": 14.8, "meanValue": 12.9, "uom": "CEL", "time": "2026-03-10T07:00:00Z"}
        ]}]
    });
    let carried =
        sign_event(carried, &carrier(), time("2026-03-11T08:00:00Z")).expect("the test's own data is fine");
    json!({
        "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],
        "type": "EPCISDocument", "schemaVersion": "2.0", "creationDate": "2026-03-20T07:00:00Z", "id": "urn:uuid:1",
        "epcisHeader": {"epcisMasterData": {"vocabularyList": [{"type": "urn:epcglobal:epcis:vtype:Location",
            "vocabularyElementList": [{"id": "https://id.gs1.org/414/9521321000010", "attributes": [
                {"id": "cbvmda:latitude", "attribute": "44.93"}, {"id": "cbvmda:longitude", "attribute": "-0.65"},
                {"id": "ot:name", "attribute": {"en": "Bordeaux", "zh": "波尔多"}}]}]}]}},
        "epcisBody": {"eventList": [
            {"type": "ObjectEvent", "action": "ADD", "eventTime": "2026-02-01T08:00:00Z", "eventTimeZoneOffset": "+01:00",
             "epcList": [item("S1"), item("S2")], "bizStep": "commissioning", "disposition": "active",
             "bizLocation": {"id": "https://id.gs1.org/414/9521321000010"},
             "ilmd": {"cbvmda:itemExpirationDate": "2030-12-31"}},
            {"type": "AggregationEvent", "action": "ADD", "eventTime": "2026-03-01T08:00:00Z", "eventTimeZoneOffset": "+01:00",
             "parentID": "https://id.gs1.org/00/395212340000000016", "childEPCs": [item("S1"), item("S2")], "bizStep": "packing"},
            carried,
            {"type": "ObjectEvent", "action": "OBSERVE", "eventTime": "2026-03-19T08:00:00Z", "eventTimeZoneOffset": "+08:00",
             "epcList": [item("S2")], "bizStep": "storing"}
        ]}
    })
}

fn signed(record: &Value, key: &SecretKey) -> Vec<u8> {
    sign(record.to_string().as_bytes(), key, time(SIGNED_AT)).expect("the test's own data is fine")
}

fn claim(lot: Option<&str>, serial: Option<&str>) -> ItemClaim {
    ItemClaim::try_new(GTIN, lot, serial).expect("the test's own data is fine")
}

fn s1() -> ItemClaim {
    claim(Some("L1"), Some("S1"))
}

fn assess(record: &Value) -> Assessment {
    verify(&signed(record, &winery()), &trust(), &s1(), time(NOW))
}

#[test]
fn a_good_record_is_genuine_and_tells_the_items_own_way() {
    let assessment = assess(&record());
    assert_eq!((assessment.verdict, assessment.coverage), (Verdict::Genuine, Coverage::Item));
    assert_eq!(assessment.reasons, []);
    let steps: Vec<_> = assessment.journey.iter().filter_map(|hop| hop.step.as_deref()).collect();
    assert_eq!(
        steps,
        ["commissioning", "packing", "transporting"],
        "the step of the other bottle is not told"
    );
    assert_eq!(assessment.journey[0].place.as_ref().unwrap().names["zh"], "波尔多");
    assert_eq!(assessment.journey[2].signer["en"], "Carrier");
    let temperature = assessment.journey[2].temperature.as_ref().unwrap();
    assert_eq!((temperature.min_c, temperature.max_c, temperature.is_alarm), (11.2, 14.8, false));
}

#[test]
fn the_claim_decides_how_far_the_record_reaches() {
    let document = signed(&record(), &winery());
    let cases = [
        (s1(), Verdict::Genuine, Coverage::Item, None),
        (claim(None, Some("S1")), Verdict::Genuine, Coverage::Item, None),
        (claim(Some("L1"), None), Verdict::Caution, Coverage::Lot, Some(Reason::LotOnly)),
        (
            claim(Some("L2"), Some("S1")),
            Verdict::Unverified,
            Coverage::Product,
            Some(Reason::ItemNotInRecord),
        ),
        (
            claim(Some("L1"), Some("S9")),
            Verdict::Unverified,
            Coverage::Product,
            Some(Reason::ItemNotInRecord),
        ),
        (claim(Some("L2"), None), Verdict::Unverified, Coverage::Product, Some(Reason::ItemNotInRecord)),
        (claim(None, None), Verdict::Unverified, Coverage::Product, Some(Reason::ProductOnly)),
    ];
    for (claim, verdict, coverage, reason) in cases {
        let assessment = verify(&document, &trust(), &claim, time(NOW));
        assert_eq!((assessment.verdict, assessment.coverage), (verdict, coverage), "{claim:?}");
        assert_eq!(assessment.reasons.first(), reason.as_ref(), "{claim:?}");
        assert_eq!(assessment.journey.is_empty(), Verdict::Caution < verdict, "{claim:?}");
    }
}

#[test]
fn a_record_of_another_product_is_invalid_for_this_one() {
    let claim = ItemClaim::try_new(OTHER_GTIN, Some("L1"), Some("S1")).unwrap();
    let assessment = verify(&signed(&record(), &winery()), &trust(), &claim, time(NOW));
    assert_eq!(assessment.verdict, Verdict::Invalid);
    assert_eq!(assessment.reasons, [Reason::OtherProduct]);
    assert!(assessment.journey.is_empty());
}

#[test]
fn a_forger_with_a_key_of_his_own_is_invalid() {
    let assessment = verify(&signed(&record(), &stranger()), &trust(), &s1(), time(NOW));
    assert_eq!(assessment.verdict, Verdict::Invalid);
    assert!(matches!(assessment.reasons[..], [Reason::SignerUnknown(_)]), "{:?}", assessment.reasons);
    assert!(assessment.journey.is_empty() && assessment.signer.is_none());
}

#[test]
fn a_trusted_party_may_not_vouch_for_what_is_not_its_own() {
    // The carrier is trusted for transport; it signs a whole record of the winery's product.
    let assessment = verify(&signed(&record(), &carrier()), &trust(), &s1(), time(NOW));
    assert_eq!(assessment.verdict, Verdict::Invalid);
    let keys: Vec<_> = assessment.reasons.iter().map(Reason::key).collect();
    assert!(keys.contains(&"signer-not-for-product") && keys.contains(&"signer-not-for-step"), "{keys:?}");
    assert!(assessment.journey.is_empty());
}

#[test]
fn an_unsigned_record_proves_nothing() {
    let assessment = verify(record().to_string().as_bytes(), &trust(), &s1(), time(NOW));
    assert_eq!((assessment.verdict, &assessment.reasons[..]), (Verdict::Unverified, &[Reason::Unsigned][..]));
}

#[test]
fn what_the_record_says_about_the_item_lowers_the_verdict() {
    let cases: [(&str, Value, Verdict, &str); 7] = [
        ("/epcisBody/eventList/0/disposition", json!("recalled"), Verdict::Invalid, "recalled"),
        ("/epcisBody/eventList/0/disposition", json!("stolen"), Verdict::Invalid, "stolen"),
        ("/epcisBody/eventList/0/disposition", json!("damaged"), Verdict::Caution, "damaged"),
        ("/epcisBody/eventList/0/disposition", json!("retail_sold"), Verdict::Caution, "already-sold"),
        (
            "/epcisBody/eventList/0/ilmd/cbvmda:itemExpirationDate",
            json!("2026-11-21"),
            Verdict::Caution,
            "product-expired",
        ),
        (
            "/epcisBody/eventList/0/eventTime",
            json!("2026-03-20T09:00:00Z"),
            Verdict::Caution,
            "dated-after-signature",
        ),
        ("/epcisBody/eventList/0/bizStep", json!("killing"), Verdict::Invalid, "signer-not-for-step"),
    ];
    for (pointer, value, verdict, key) in cases {
        let mut record = record();
        *record.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.clone();
        let assessment = assess(&record);
        assert_eq!(assessment.verdict, verdict, "{pointer} = {value}");
        assert_eq!(assessment.reasons[0].key(), key, "{pointer} = {value}");
    }
}

#[test]
fn an_alarm_on_the_way_is_caution() {
    let mut record = record();
    let event = &mut record["epcisBody"]["eventList"][2];
    event.as_object_mut().unwrap().remove("proof");
    event["sensorElementList"][0]["sensorReport"][0]["exception"] = json!("ALARM_CONDITION");
    *event = sign_event(event.clone(), &carrier(), time("2026-03-11T08:00:00Z")).unwrap();
    let assessment = assess(&record);
    assert_eq!(
        (assessment.verdict, &assessment.reasons[..]),
        (Verdict::Caution, &[Reason::ColdChainAlarm][..])
    );
    assert!(assessment.journey[2].temperature.as_ref().unwrap().is_alarm);
}

#[test]
fn an_event_that_was_changed_after_its_party_signed_it_is_invalid() {
    let mut record = record();
    record["epcisBody"]["eventList"][2]["sensorElementList"][0]["sensorReport"][0]["maxValue"] = json!(13.0);
    let assessment = assess(&record);
    assert_eq!(assessment.verdict, Verdict::Invalid);
    assert_eq!(assessment.reasons[0].key(), "event-proof");
}

#[test]
fn time_changes_what_a_signature_is_worth() {
    let document = signed(&record(), &winery());
    let at = |now| verify(&document, &trust(), &s1(), time(now)).verdict;
    assert_eq!(at("2026-12-31T00:00:00Z"), Verdict::Genuine);
    assert_eq!(at("2027-01-02T00:00:00Z"), Verdict::GenuineStale, "the list is no longer fresh");
    assert_eq!(at("2026-03-01T00:00:00Z"), Verdict::Invalid, "signed in the future");

    for (field, value, key) in [
        ("validUntil", json!("2026-03-01T00:00:00Z"), "signer-out-of-time"),
        ("revoked", json!(true), "signer-revoked"),
        ("gcps", json!(["8888888"]), "signer-not-for-product"),
    ] {
        let mut list = trust_document();
        list["signers"][0][field] = value;
        let assessment = verify(&document, &trust_of(&list), &s1(), time(NOW));
        assert_eq!((assessment.verdict, assessment.reasons[0].key()), (Verdict::Invalid, key));
    }

    let mut list = trust_document();
    list["recalls"] = json!([{"gtin": GTIN, "lot": "L1"}]);
    let assessment = verify(&document, &trust_of(&list), &s1(), time(NOW));
    assert_eq!((assessment.verdict, &assessment.reasons[..]), (Verdict::Invalid, &[Reason::Recalled][..]));
    assert!(!assessment.journey.is_empty(), "the record itself holds and may be shown");
}

#[test]
fn only_the_pinned_root_makes_a_trust_list() {
    let created = time("2026-01-01T00:00:00Z");
    let document = trust_document().to_string();
    let forged = sign_trust_list(document.as_bytes(), &stranger(), created).unwrap();
    assert!(matches!(TrustList::read(&forged, &root().public()), Err(TrustError::Root { .. })));
    assert!(matches!(TrustList::read(document.as_bytes(), &root().public()), Err(TrustError::Proof { .. })));

    for (pointer, value, said) in [
        ("/signers/0/gcps", json!(["95"]), "signers[0].gcps"),
        ("/signers/1/id", json!("winery"), "signers[1]"),
        ("/type", json!("EPCISDocument"), "`type`"),
        ("/validUntil", json!("2025-01-01T00:00:00Z"), "`validUntil`"),
    ] {
        let mut list = trust_document();
        *list.pointer_mut(pointer).unwrap() = value;
        let error = sign_trust_list(list.to_string().as_bytes(), &root(), created).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(said), "{pointer}: {source}");
    }
}

#[test]
fn a_record_that_is_none_is_not_signed_and_the_place_is_named() {
    for (pointer, value, said) in [
        ("/epcisBody/eventList/1/action", json!("CREATE"), "event 2, field `action`"),
        ("/epcisBody/eventList/0/eventTime", json!("22-07-2026"), "event 1, field `eventTime`"),
        (
            "/epcisBody/eventList/2/sensorElementList/0/sensorReport/0/minValue",
            json!("cold"),
            "event 3, field `sensorElementList[0].sensorReport[0].minValue`",
        ),
        ("/epcisBody/eventList/3/bizStep", json!("teleporting"), "event 4, field `bizStep`"),
        ("/epcisBody/eventList", json!([]), "field `epcisBody.eventList`: has 0 events"),
    ] {
        let mut record = record();
        *record.pointer_mut(pointer).unwrap() = value;
        let error = sign(record.to_string().as_bytes(), &winery(), time(SIGNED_AT)).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(said), "{pointer}: {source}");
    }
    let twice = signed(&record(), &winery());
    assert!(matches!(sign(&twice, &winery(), time(SIGNED_AT)), Err(provenance::SignError::Already)));
}

#[test]
fn customs_numbers_are_checked_in_shape() {
    for (number, is_fine) in [("223320261000012345", true), ("223320265000012345", false), ("2233", false)] {
        let mut record = record();
        record["epcisBody"]["eventList"][0]["ot:customsDeclaration"] = json!(number);
        assert_eq!(
            sign(record.to_string().as_bytes(), &winery(), time(SIGNED_AT)).is_ok(),
            is_fine,
            "{number}"
        );
    }
}

#[test]
fn every_single_bit_and_every_lost_or_doubled_byte_of_a_signed_record_is_noticed() {
    let document = signed(&record(), &winery());
    let (trust, claim, now) = (trust(), s1(), time(NOW));
    let mut tried = 0;
    let mut check = |changed: &[u8], what: &str| {
        let assessment = verify(changed, &trust, &claim, now);
        assert!(
            Verdict::Unverified <= assessment.verdict && assessment.journey.is_empty(),
            "{what}: {:?} {:?}",
            assessment.verdict,
            assessment.reasons
        );
        tried += 1;
    };
    for position in 0..document.len() {
        for bit in 0..8 {
            let mut changed = document.clone();
            changed[position] ^= 1 << bit;
            check(&changed, &format!("bit {bit} of byte {position}"));
        }
        let mut shorter = document.clone();
        shorter.remove(position);
        check(&shorter, &format!("byte {position} lost"));
    }
    for cut in 0..document.len() {
        check(&document[..cut], &format!("cut at {cut}"));
    }
    println!("{tried} changed records refused");
}

#[test]
fn check_digits_of_a_claim_are_checked() {
    assert!(
        ItemClaim::try_new("09521234543214", None, None)
            .unwrap_err()
            .to_string()
            .contains("check digit is 3")
    );
    assert!(ItemClaim::try_new("9521234543213", None, None).is_err());
}

fn reasons() -> impl Strategy<Value = Vec<Reason>> {
    let one = prop_oneof![
        Just(Reason::TrustStale),
        Just(Reason::LotOnly),
        Just(Reason::ColdChainAlarm),
        Just(Reason::Unsigned),
        Just(Reason::ProductOnly),
        Just(Reason::Recalled),
        Just(Reason::OtherProduct),
    ];
    proptest::collection::vec(one, 0..6)
}

proptest! {
    #[test]
    fn another_reason_never_makes_a_verdict_better(reasons in reasons(), more in reasons()) {
        let mut all = reasons.clone();
        all.extend(more);
        prop_assert!(judge(&reasons) <= judge(&all));
    }

    #[test]
    fn no_byte_of_a_record_can_be_replaced(position in 0usize..100_000, byte: u8) {
        let document = signed(&record(), &winery());
        let position = position % document.len();
        let mut changed = document.clone();
        changed[position] = byte;
        let assessment = verify(&changed, &trust(), &s1(), time(NOW));
        prop_assert_eq!(changed == document, assessment.verdict == Verdict::Genuine);
    }

    #[test]
    fn nothing_that_is_thrown_at_it_makes_it_panic_or_say_more_than_invalid(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(verify(&bytes, &trust(), &s1(), time(NOW)).verdict, Verdict::Invalid);
    }
}

#[test]
fn json_that_is_no_record_is_invalid_even_without_a_signature() {
    for json in ["0", "null", "[]", "{}", "\"a record\""] {
        let assessment = verify(json.as_bytes(), &trust(), &s1(), time(NOW));
        assert_eq!(assessment.verdict, Verdict::Invalid, "{json}");
    }
}

#[test]
fn the_keys_of_reasons_are_listed() {
    let key: PublicKey = winery().public();
    for reason in [Reason::SignerUnknown(key.to_string()), Reason::TrustStale, Reason::NoRecord] {
        assert!(Reason::KEYS.contains(&reason.key()));
    }
    assert_eq!(Assessment::no_record().verdict, Verdict::Unverified);
}
