//! Which devices the simulated store has, and what lies on its shelves.

use std::fmt::Write as _;

use contract::topic::SensorKind;

/// The whole store.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Shelves with a scale.
    pub shelves: Vec<Shelf>,
    /// Locker banks.
    pub banks: Vec<Bank>,
    /// Line counters by id.
    pub entrances: Vec<String>,
    /// Zone sensors.
    pub zones: Vec<Zone>,
    /// Fridges and rooms.
    pub climates: Vec<Climate>,
}

/// A shelf with a scale.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// The sensor.
    pub id: String,
    /// The zone it stands in, by index.
    pub zone: usize,
    /// What lies on it.
    pub product: Product,
}

/// What lies on a shelf.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// GTIN-14, of the prefix that GS1 keeps for demonstrations.
    pub gtin: &'static str,
    /// Chinese name.
    pub name_zh: &'static str,
    /// English name.
    pub name_en: &'static str,
    /// Weight of a piece.
    pub unit_weight_g: f64,
    /// Weight of the empty shelf's insert.
    pub tare_g: f64,
    /// Pieces when full.
    pub capacity: u32,
}

/// A bank of lockers.
#[derive(Debug, Clone)]
pub struct Bank {
    /// Its controller.
    pub id: String,
    /// Compartments, numbered from 1.
    pub compartments: u16,
}

/// A zone of the floor with its sensor.
#[derive(Debug, Clone)]
pub struct Zone {
    /// The sensor.
    pub id: String,
    /// The zone's name.
    pub zone: String,
}

/// A fridge or a room with its sensor.
#[derive(Debug, Clone)]
pub struct Climate {
    /// The sensor.
    pub id: String,
    /// What the thermostat wants.
    pub set_point_c: f64,
}

const fn product(
    gtin: &'static str,
    name_zh: &'static str,
    name_en: &'static str,
    unit_weight_g: f64,
    tare_g: f64,
    capacity: u32,
) -> Product {
    Product { gtin, name_zh, name_en, unit_weight_g, tare_g, capacity }
}

/// Zone index and product of each shelf: goods of the demonstration's catalogue, so that every screen speaks of the
/// same ones.
const PRODUCTS: [(usize, Product); 12] = [
    (0, product("09521236000011", "青庭 保湿精华", "Aoniwa moisture serum", 182.0, 350.0, 24)),
    (0, product("09521236000028", "青庭 防晒乳 SPF50", "Aoniwa sunscreen SPF 50", 96.0, 350.0, 30)),
    (
        0,
        product(
            "09521238000101",
            "露玫 丝绒唇膏 正红",
            "Lumière Rosée velvet lipstick, Classic red",
            64.0,
            350.0,
            30,
        ),
    ),
    (
        1,
        product(
            "09521235000012",
            "图伊牧场 婴儿配方奶粉 3 段",
            "Tui Meadow infant formula stage 3",
            1120.0,
            800.0,
            12,
        ),
    ),
    (
        1,
        product(
            "09521235000029",
            "图伊牧场 婴儿配方奶粉 2 段",
            "Tui Meadow infant formula stage 2",
            1120.0,
            800.0,
            12,
        ),
    ),
    (
        2,
        product(
            "09521234543213",
            "金岸酒庄 干红葡萄酒 2022",
            "Château Rive d'Or red wine 2022",
            1240.0,
            900.0,
            12,
        ),
    ),
    (2, product("09521234543220", "金岸酒庄 起泡酒", "Château Rive d'Or sparkling wine", 1560.0, 900.0, 9)),
    (3, product("09521237000010", "北峡海产 冰鲜三文鱼", "Nordfjell fresh salmon", 465.0, 500.0, 20)),
    (0, product("09521236000035", "青庭 舒缓面霜", "Aoniwa soothing cream", 168.0, 350.0, 24)),
    (0, product("09521236000042", "青庭 控油洁面乳", "Aoniwa matt cleanser", 149.0, 350.0, 24)),
    (0, product("09521236000059", "青庭 匀净精华", "Aoniwa even tone serum", 121.0, 350.0, 24)),
    (0, product("09521236000066", "青庭 抗皱眼霜", "Aoniwa smoothing eye cream", 58.0, 350.0, 30)),
];
const ZONES: [&str; 4] = ["cosmetics", "mother-and-baby", "wine", "fresh"];

impl Plan {
    /// The store of the demonstration and the journeys.
    #[must_use]
    pub fn demo() -> Self {
        let shelf = |(index, &(zone, product)): (usize, &(usize, Product))| Shelf {
            id: format!("shelf-{:02}", index + 1),
            zone,
            product,
        };
        let climate = |(id, set_point_c): (&str, f64)| Climate { id: id.to_owned(), set_point_c };
        Self {
            shelves: PRODUCTS.iter().enumerate().map(shelf).collect(),
            banks: vec![Bank { id: "lockers-a".to_owned(), compartments: 12 }],
            entrances: vec!["door-main".to_owned(), "door-mall".to_owned()],
            zones: ZONES
                .iter()
                .map(|zone| Zone { id: format!("zone-{zone}"), zone: (*zone).to_owned() })
                .collect(),
            climates: [("fridge-01", 4.0), ("wine-cellar", 13.0), ("sales-floor", 23.0)]
                .map(climate)
                .to_vec(),
        }
    }

    /// Every device with the kind to register it as.
    #[must_use]
    pub fn devices(&self) -> Vec<(String, SensorKind)> {
        let mut devices: Vec<(String, SensorKind)> = Vec::new();
        devices.extend(self.shelves.iter().map(|shelf| (shelf.id.clone(), SensorKind::Shelf)));
        devices.extend(self.banks.iter().map(|bank| (bank.id.clone(), SensorKind::Locker)));
        devices.extend(self.entrances.iter().map(|id| (id.clone(), SensorKind::Traffic)));
        devices.extend(self.zones.iter().map(|zone| (zone.id.clone(), SensorKind::Traffic)));
        devices.extend(self.climates.iter().map(|climate| (climate.id.clone(), SensorKind::Climate)));
        devices
    }

    /// The planogram as the gateway reads it.
    #[must_use]
    pub fn planogram_toml(&self) -> String {
        let mut text = String::from("# Written by `store-sim --planogram`.\n");
        for shelf in &self.shelves {
            let Product { gtin, name_zh, name_en, unit_weight_g, tare_g, capacity } = shelf.product;
            write!(
                text,
                "\n[shelf.{}]\ngtin = \"{gtin}\"\nname = {{ zh = \"{name_zh}\", en = \"{name_en}\" }}\n\
                 unit_weight_g = {unit_weight_g:.1}\ntare_g = {tare_g:.1}\ncapacity = {capacity}\n",
                shelf.id
            )
            .expect("writing to a string cannot fail");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_an_id_of_its_own_that_the_contract_allows() {
        let devices = Plan::demo().devices();
        let mut ids: Vec<_> = devices.iter().map(|(id, _)| contract::DeviceId::parse(id).unwrap()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), devices.len());
    }

    #[test]
    fn every_gtin_checks() {
        for (_, Product { gtin, .. }) in PRODUCTS {
            let digits = gtin.bytes().rev().map(|byte| u32::from(byte - b'0'));
            let sum: u32 = digits.enumerate().map(|(i, d)| if i % 2 == 0 { d } else { 3 * d }).sum();
            assert_eq!((gtin.len(), sum % 10), (14, 0), "{gtin}");
        }
    }

    #[test]
    fn every_product_is_in_the_catalogue_under_the_same_names() {
        let catalogue = include_str!("../../../assets/catalogue.json");
        let catalogue: serde_json::Value = serde_json::from_str(catalogue).unwrap();
        let known = catalogue["products"].as_array().unwrap();
        for (_, Product { gtin, name_zh, name_en, .. }) in PRODUCTS {
            let found = known.iter().find(|product| product["gtin"] == gtin).expect(gtin);
            assert_eq!(found["name"], serde_json::json!({ "zh": name_zh, "en": name_en }));
        }
    }

    #[test]
    fn the_planogram_is_toml_with_every_shelf() {
        let plan = Plan::demo();
        let table: toml::Table = plan.planogram_toml().parse().unwrap();
        assert_eq!(table["shelf"].as_table().unwrap().len(), plan.shelves.len());
    }
}
