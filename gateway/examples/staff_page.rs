//! Serves the staff page over a made-up store, to look at it: `cargo run -p storehub-gateway --example staff_page`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use contract::{
    DeviceId, IdError, StoreId, Timestamp,
    hub::{
        Climate, Compartment, CompartmentOrder, Health, LockerBank, OrderView, SensorSeen, ShelfStock,
        StoreView, Traffic, Uplink, Zone,
    },
    kiosk::{HelpCall, HelpCalls},
    native::Door,
    order::OrderStage,
};
use tokio::{net::TcpListener, sync::watch};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/", listener.local_addr()?);
    let (view, seen) = watch::channel(Arc::new(made_up(0)?));
    let keep_living = async move {
        for beat in 1.. {
            tokio::time::sleep(Duration::from_secs(2)).await;
            view.send_replace(Arc::new(made_up(beat)?));
        }
        anyhow::Ok(())
    };
    let until_interrupted = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = keep_living => {}
        }
    };
    gateway::http::serve(listener, seen, gateway::http::Counts::default(), until_interrupted).await?;
    Ok(())
}

const GOODS: [(&str, &str, Option<u32>, u32); 9] = [
    ("保湿精华液 30 ml", "Moisturising serum 30 ml", Some(18), 24),
    ("婴儿配方奶粉 2 段 900 g", "Infant formula stage 2, 900 g", Some(3), 12),
    ("波尔多红葡萄酒 2020", "Bordeaux red 2020", Some(11), 12),
    ("石英腕表", "Quartz wristwatch", Some(0), 6),
    ("冷鲜三文鱼 200 g", "Chilled salmon 200 g", Some(7), 20),
    ("防晒霜 SPF 50+", "Sunscreen SPF 50+", Some(15), 20),
    ("蓝莓 125 g", "Blueberries 125 g", Some(16), 18),
    ("有机橄榄油 500 ml", "Organic olive oil 500 ml", None, 10),
    ("护手霜", "Hand cream", Some(22), 24),
];

fn made_up(beat: u32) -> Result<StoreView, IdError> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let at = Timestamp::saturating_from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    let ago = |secs: i64| at.plus_millis(-secs * 1_000);
    let mut stock = Vec::new();
    for (number, (zh, en, pieces, capacity)) in (1..).zip(GOODS) {
        stock.push(ShelfStock {
            shelf: DeviceId::parse(&format!("shelf-{number:02}"))?,
            gtin: None,
            name: BTreeMap::from([("zh".to_owned(), zh.to_owned()), ("en".to_owned(), en.to_owned())]),
            pieces: pieces.map(|pieces| if number == 1 { pieces - beat % 3 } else { pieces }),
            capacity: Some(capacity),
            at: ago(i64::from(number) * 7),
        });
    }
    let compartment = |number: u16| Compartment {
        door: if number == 5 { Door::Open } else { Door::Closed },
        occupied: Some(number.is_multiple_of(3)),
        tamper: number == 11,
        busy: matches!(number, 3 | 6),
        stuck: number == 6,
        order: match number {
            3 => Some(CompartmentOrder { label: "A042".to_owned(), stage: OrderStage::Ready }),
            6 => Some(CompartmentOrder { label: "A043".to_owned(), stage: OrderStage::Stuck }),
            _ => None,
        },
        at: ago(40),
    };
    let lockers = vec![LockerBank {
        bank: DeviceId::parse("locker-a")?,
        compartments: (1..=16).map(|number| (number, compartment(number))).collect(),
        at: ago(40),
    }];
    let zone = |zone: &str, occupancy, dwell_mean_s| Zone {
        zone: zone.to_owned(),
        occupancy,
        dwell_mean_s,
        at: ago(4),
    };
    let sensor = |device: &str, kind: &str, online, secs, battery_pct| {
        let kind = kind.to_owned();
        DeviceId::parse(device).map(|device| SensorSeen {
            device,
            kind,
            online,
            last_seen: ago(secs),
            battery_pct,
        })
    };
    Ok(StoreView {
        store: StoreId::parse("hz-xiasha-01")?,
        at,
        stock,
        lockers,
        orders: vec![OrderView {
            label: "A044".to_owned(),
            stage: OrderStage::Placed,
            place: None,
            expires_at: ago(-86_400),
            is_left_open: false,
        }],
        help: HelpCalls {
            kiosks: [(
                "kiosk-1".to_owned(),
                HelpCall { at: ago(30), screen: "pick_up".to_owned(), order: Some("A043".to_owned()) },
            )]
            .into(),
        },
        traffic: Some(Traffic {
            day_start: ago(36_000),
            count_in: 482 + u64::from(beat),
            count_out: 455,
            at: ago(9),
        }),
        zones: vec![
            zone("护肤", 6, Some(184.0)),
            zone("母婴", 2, Some(312.5)),
            zone("酒水", 1, None),
            zone("收银", 4, Some(71.0)),
        ],
        climate: vec![
            Climate {
                device: DeviceId::parse("fridge-1")?,
                temperature_c: Some(3.8),
                humidity_pct: Some(61.0),
                at: ago(12),
            },
            Climate {
                device: DeviceId::parse("room-1")?,
                temperature_c: Some(22.4),
                humidity_pct: Some(48.0),
                at: ago(25),
            },
        ],
        sensors: vec![
            sensor("shelf-01", "shelf", Some(true), 7, Some(91.0))?,
            sensor("shelf-02", "shelf", None, 14, Some(78.0))?,
            sensor("locker-a", "locker", Some(true), 40, None)?,
            sensor("door-main", "traffic", Some(true), 9, None)?,
            sensor("fridge-1", "climate", Some(false), 5_400, Some(12.0))?,
            sensor("bin-1", "bin", None, 90_000, None)?,
        ],
        uplink: Uplink {
            online: false,
            waiting_rows: 1_284,
            oldest_waiting_at: Some(ago(310)),
            last_ack_at: Some(ago(312)),
        },
        health: Health {
            notices: Vec::new(),
            degraded: vec!["uplink: no route to headquarters".to_owned()],
            uplink_online: false,
            waiting_rows: 1_284,
            at,
        },
        counters: [
            ("readings.repeated", 14),
            ("readings.refused.range", 2),
            ("traffic.interval_repeated", 3),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .into(),
    })
}
