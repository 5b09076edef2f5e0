//! The simulated store against the real hub and headquarters: what they believe is what is true.

use std::{collections::BTreeMap, path::Path};

use e2e::{
    harness::{Hq, Hub, HubSetup, Link, PATIENCE, Program, hub::STORE, wait_for},
    sim::truth::Line,
    world::Truth,
};
use serde_json::Value;

/// Reads the simulator's file: what is true, and each device's acknowledged numbers.
fn read_truth(path: &Path) -> (Truth, Vec<(String, u64)>) {
    let text = std::fs::read_to_string(path).expect("the simulator has written its file");
    let mut acked = Vec::new();
    let mut truth = None;
    for line in text.lines() {
        match serde_json::from_str(line).expect("each line is JSON") {
            Line::Acked { device, seq, reason } if reason < 0x80 => acked.push((device, seq)),
            Line::World(world) => truth = Some(world),
            _ => {}
        }
    }
    (truth.expect("the last line says what is true"), acked)
}

/// What differs between the hub's picture and the truth, in words.
fn difference(store: &Value, truth: &Truth) -> Option<String> {
    let list = |name: &str| store[name].as_array().cloned().unwrap_or_default();
    let pieces: BTreeMap<String, u64> = list("stock")
        .iter()
        .filter_map(|shelf| Some((shelf["shelf"].as_str()?.to_owned(), shelf["pieces"].as_u64()?)))
        .collect();
    let expected: BTreeMap<String, u64> =
        truth.pieces.iter().map(|(shelf, pieces)| (shelf.clone(), u64::from(*pieces))).collect();
    if pieces != expected {
        return Some(format!("shelves have {pieces:?}, in truth {expected:?}"));
    }
    let occupancy: BTreeMap<String, u64> = list("zones")
        .iter()
        .filter_map(|zone| Some((zone["zone"].as_str()?.to_owned(), zone["occupancy"].as_u64()?)))
        .collect();
    let expected: BTreeMap<String, u64> =
        truth.occupancy.iter().map(|(zone, people)| (zone.clone(), u64::from(*people))).collect();
    if occupancy != expected {
        return Some(format!("zones have {occupancy:?}, in truth {expected:?}"));
    }
    for bank in list("lockers") {
        let id = bank["bank"].as_str().unwrap_or_default();
        for (number, occupied) in &truth.lockers[id] {
            let seen = &bank["compartments"][number];
            if seen["occupied"] != *occupied || seen["door"] != "closed" {
                return Some(format!(
                    "compartment {number} of {id} is {seen}, in truth closed, occupied: {occupied}"
                ));
            }
        }
    }
    let counted = (store["traffic"]["count_in"].as_u64(), store["traffic"]["count_out"].as_u64());
    let expected = (Some(truth.came_in), Some(truth.went_out));
    (counted != expected).then(|| format!("people counted {counted:?}, in truth {expected:?}"))
}

async fn simulate(
    hub: &Hub,
    broker: std::net::SocketAddr,
    credentials: &Path,
    more: &[&str],
) -> (Truth, Vec<(String, u64)>) {
    let truth = hub.folder.dir().join("truth.jsonl");
    let mut args = vec!["--broker".to_owned(), broker.to_string(), "--seed".to_owned(), "42".to_owned()];
    args.extend(["--credentials".to_owned(), credentials.display().to_string()]);
    args.extend(["--truth".to_owned(), truth.display().to_string()]);
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    let sim = Program::new("store-sim", hub.folder.dir()).args(args).start();
    let status = sim.wait(3 * PATIENCE).await;
    assert!(status.success(), "store-sim ended with {status}");
    read_truth(&truth)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hub_believes_what_is_true_and_headquarters_has_it_all() {
    let headquarters = Hq::start().await;
    let folder = HubSetup::new().upstream(headquarters.mqtt).write();
    let credentials = folder.add_simulated_devices().await;
    let hub = folder.start().await;
    let (truth, acked) =
        simulate(&hub, hub.mqtt, &credentials, &["--speed", "60", "--messages", "2500"]).await;
    assert!(2_000 < acked.len(), "the store was busy: {}", acked.len());

    wait_for("the hub's picture is the truth", PATIENCE, async || {
        match difference(&hub.store().await?, &truth) {
            None => Ok(()),
            Some(difference) => Err(difference),
        }
    })
    .await;
    wait_for("headquarters has every acknowledged message once", PATIENCE, async || {
        let rows = headquarters.folder.readings(STORE)?;
        match acked.iter().find(|reading| rows.get(reading) != Some(&1)) {
            None => Ok(()),
            Some(reading) => Err(format!("{reading:?} has {:?} rows of {}", rows.get(reading), rows.len())),
        }
    })
    .await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faulty_sensors_do_not_shake_the_hub() {
    let headquarters = Hq::start().await;
    let link = Link::to(headquarters.mqtt).await;
    let folder = HubSetup::new().upstream(link.addr()).write();
    let credentials = folder.add_simulated_devices().await;
    let hub = folder.start().await;
    let faults = ["--speed", "60", "--messages", "1500", "--faults", "duplicates,clock,garbage,reconnect"];
    let (truth, acked) = simulate(&hub, hub.mqtt, &credentials, &faults).await;

    let store = wait_for("the hub has seen every shelf", PATIENCE, async || {
        let store = hub.store().await?;
        let shelves = store["stock"].as_array().map_or(0, Vec::len);
        if shelves == truth.pieces.len() { Ok(store) } else { Err(store.to_string()) }
    })
    .await;
    let rejected = store["counters"]
        .as_object()
        .expect("counters are a map")
        .iter()
        .filter(|(name, _)| name.contains("reject"));
    assert!(
        rejected.clone().any(|(_, count)| count.as_u64() != Some(0)),
        "garbage is counted: {}",
        store["counters"]
    );
    wait_for("headquarters has every acknowledged message", PATIENCE, async || {
        let rows = headquarters.folder.readings(STORE)?;
        match acked.iter().find(|reading| !rows.contains_key(reading)) {
            None => Ok(()),
            Some(reading) => Err(format!("{reading:?} is missing among {} rows", rows.len())),
        }
    })
    .await;
    hub.stop().await;
}
