//! States that a screen cannot reach without a hub, a customer or a PIN, put there for its picture.

use std::collections::BTreeMap;

use bevy::prelude::World;
use contract::{
    DeviceId, Timestamp,
    hub::{Compartment, LockerBank},
    kiosk::Refusal,
    native::Door,
    order::Good,
};

use crate::{
    link::{LinkState, StoreFacts},
    pick_up::{Errand, PickUp, Stage},
    screens::Screen,
    staff::{Light, StaffRoom},
};

/// Doors of the bank that is shown.
const DOORS: u16 = 18;
/// The door that is ours.
const OUR_DOOR: u16 = 8;

/// Puts `screen` into the state with a name.
///
/// # Errors
/// When the screen has no such state: the names that it has.
pub(crate) fn put(world: &mut World, screen: Screen, name: &str) -> Result<(), String> {
    match screen {
        Screen::PickUp => {
            let stages = stages();
            let Some((_, stage)) = stages.iter().find(|(known, _)| *known == name) else {
                return Err(stages.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", "));
            };
            let mut facts = world.resource_mut::<StoreFacts>();
            facts.link = LinkState::Online;
            facts.lockers.insert("locker-a".to_owned(), bank());
            world.resource_mut::<PickUp>().show(stage.clone());
            Ok(())
        }
        Screen::Staff if name == "open" => {
            world.resource_mut::<StaffRoom>().show(Light::Unknown);
            Ok(())
        }
        Screen::Staff => Err("open".to_owned()),
        _ => Err("none".to_owned()),
    }
}

fn stages() -> Vec<(&'static str, Stage)> {
    vec![
        ("typing", Stage::Typing),
        ("checking", Stage::Checking),
        ("opening", Stage::Opening(errand())),
        ("open", Stage::Open(errand())),
        ("still-open", Stage::StillOpen(errand())),
        ("closed-not-emptied", Stage::NotEmptied { errand: errand(), may_open_again: true }),
        ("collected", Stage::Collected),
        ("wrong-code", Stage::Refused(Refusal::WrongCode)),
        ("rate-limited", Stage::Refused(Refusal::RateLimited { retry_after_s: 300 })),
        ("stuck", Stage::Stuck { door: OUR_DOOR }),
        ("hub-away", Stage::HubAway),
    ]
}

fn errand() -> Errand {
    let good = |gtin: &str, zh: &str, en: &str, quantity| Good {
        gtin: gtin.to_owned(),
        name: [("zh".to_owned(), zh.to_owned()), ("en".to_owned(), en.to_owned())].into(),
        quantity,
    };
    Errand {
        bank: DeviceId::parse("locker-a").expect("a lower-case word is an id"),
        doors: vec![OUR_DOOR],
        label: "A042".to_owned(),
        goods: vec![
            good("2000000000015", "舒缓保湿精华液 30 毫升", "Calming hydrating serum, 30 ml", 1),
            good("2000000000022", "干红葡萄酒 750 毫升", "Dry red wine, 750 ml", 2),
        ],
    }
}

fn bank() -> LockerBank {
    let compartment = |number| Compartment {
        door: if number == OUR_DOOR { Door::Open } else { Door::Closed },
        occupied: Some(number % 3 == 0),
        tamper: false,
        busy: number % 3 == 0,
        stuck: false,
        order: None,
        at: Timestamp::UNIX_EPOCH,
    };
    let compartments: BTreeMap<u16, Compartment> =
        (1..=DOORS).map(|number| (number, compartment(number))).collect();
    let bank = DeviceId::parse("locker-a").expect("a lower-case word is an id");
    LockerBank { bank, compartments, at: Timestamp::UNIX_EPOCH }
}
