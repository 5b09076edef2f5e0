//! Orders that customers pick up in the store: what headquarters sends down, and the words for how they stand.
//!
//! An order is placed, extended and cancelled by [`OrderCommand`]s of headquarters. Its goods lie
//! in a compartment already, or a courier brings them with a code of its own.

mod mistake;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{DeviceId, OrderId},
    kiosk::PickUpCode,
    time::Timestamp,
};

/// Most kinds of goods in one order.
pub const GOODS_MAX: usize = 20;
/// Most pieces of one kind.
pub const QUANTITY_MAX: u32 = 999;
/// Longest name of a good, in characters.
pub const NAME_CHARS_MAX: usize = 80;
/// Most languages of a name.
pub const LANGUAGES_MAX: usize = 4;
/// Characters of an order's label: the end of its number, which a customer can find on a receipt.
const LABEL_CHARS: usize = 4;

/// What an order is called aloud and on screens: the last four characters of its id, in capitals.
#[must_use]
pub fn label(order: &OrderId) -> String {
    let id = order.as_str();
    id[id.len().saturating_sub(LABEL_CHARS)..].to_ascii_uppercase()
}

/// `stores/<store>/command/<id>`, besides [`upstream::Command`](crate::upstream::Command): what headquarters asks of a
/// store about an order. `<id>` is `[a-z0-9-]{1,64}`.
///
/// The result on `stores/<store>/command/<id>/result` is `accepted` when the store has the command on disk, later `done`
/// or `failed`. A command that comes again under its id is answered again and done once. Headquarters repeats it until it
/// has `done` or `failed`; the store remembers the outcome for at least a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command")]
pub enum OrderCommand {
    /// Keep goods for a customer.
    #[serde(rename = "order.place")]
    Place(PlaceOrder),
    /// End an order; its goods go back.
    #[serde(rename = "order.cancel")]
    Cancel(CancelOrder),
    /// Give the customer more time.
    #[serde(rename = "order.extend")]
    Extend(ExtendOrder),
}

/// Why bytes are no command. Values are not shown, since one of them could be a code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Larger than [`COMMAND_BYTES_MAX`].
    #[error("the command has {len} bytes, at most {COMMAND_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size.
        len: usize,
    },
    /// No JSON at all.
    #[error("not JSON from line {line}, column {column} on")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A field that is missing, unknown, or has another value than it needs.
    #[error("{}{reason}", named(field, value))]
    Field {
        /// With the tables and lists that it is in; empty when it is about the whole.
        field: String,
        /// What stands there as JSON, shortened; empty when nothing does. Never a code.
        value: String,
        /// What is needed.
        reason: String,
    },
    /// An order that cannot be.
    #[error("{cause}")]
    Order {
        /// What is wrong with it.
        cause: OrderError,
    },
}

fn named(field: &str, value: &str) -> String {
    match (field, value) {
        ("", "") => String::new(),
        ("", value) => format!("{value}: "),
        (field, "") => format!("`{field}` "),
        (field, value) => format!("`{field}` = {value}: "),
    }
}

impl CommandError {
    /// Which field it is about; empty when it is about the whole.
    #[must_use]
    pub fn field(&self) -> String {
        match self {
            Self::TooLarge { .. } | Self::Json { .. } => String::new(),
            Self::Field { field, .. } => field.clone(),
            Self::Order { cause } => cause.field(),
        }
    }

    /// What stands there, where that may be shown.
    #[must_use]
    pub fn value(&self) -> &str {
        match self {
            Self::Field { value, .. } => value,
            Self::TooLarge { .. } | Self::Json { .. } | Self::Order { .. } => "",
        }
    }
}

impl OrderCommand {
    /// Reads and checks a command.
    ///
    /// # Errors
    /// When it is too large, no JSON, unknown, or an order that cannot be.
    pub fn parse(payload: &[u8]) -> Result<Self, CommandError> {
        if COMMAND_BYTES_MAX < payload.len() {
            return Err(CommandError::TooLarge { len: payload.len() });
        }
        let command: Self = serde_json::from_slice(payload).map_err(|_| mistake::find(payload))?;
        if let Self::Place(order) = &command {
            order.check().map_err(|cause| CommandError::Order { cause })?;
        }
        Ok(command)
    }

    /// Checks what whoever takes a command first can know of it, and no store later: a GTIN is right or mistyped, and a
    /// time that is past now was wrong from the beginning.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check_as_new(&self, now: Timestamp) -> Result<(), OrderError> {
        let (goods, expires_at) = match self {
            Self::Place(order) => (&order.goods[..], order.expires_at),
            Self::Extend(order) => (&[][..], order.expires_at),
            Self::Cancel(_) => return Ok(()),
        };
        if expires_at <= now {
            return Err(OrderError::Past { expires_at, now });
        }
        for (index, Good { gtin, .. }) in goods.iter().enumerate() {
            let expected = check_digit(gtin.get(..gtin.len().saturating_sub(1)).unwrap_or_default());
            if !gtin.ends_with(expected) {
                return Err(OrderError::CheckDigit { index, gtin: gtin.clone(), expected });
            }
        }
        Ok(())
    }

    /// The order that the command is about.
    #[must_use]
    pub fn order(&self) -> &OrderId {
        match self {
            Self::Place(order) => &order.order,
            Self::Cancel(order) => &order.order,
            Self::Extend(order) => &order.order,
        }
    }

    /// The command's word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Place(_) => "order.place",
            Self::Cancel(_) => "order.cancel",
            Self::Extend(_) => "order.extend",
        }
    }
}

/// The last digit of a GTIN that begins with these digits: weights 3, 1, 3, 1 … from the right.
fn check_digit(digits: &str) -> char {
    let weights = [3, 1].into_iter().cycle();
    let sum: u32 = digits
        .chars()
        .rev()
        .zip(weights)
        .map(|(digit, weight)| digit.to_digit(10).unwrap_or(0) * weight)
        .sum();
    char::from_digit((10 - sum % 10) % 10, 10).expect("a digit")
}

/// Largest command in bytes.
pub const COMMAND_BYTES_MAX: usize = 12 * 1024;

/// One kind of goods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Good {
    /// Its GTIN: 8, 12, 13 or 14 digits.
    pub gtin: String,
    /// Its names by language tag (`zh`, `en`).
    #[serde(default)]
    pub name: BTreeMap<String, String>,
    /// How many pieces.
    pub quantity: u32,
}

/// One door.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The bank's controller.
    pub bank: DeviceId,
    /// The number on the door.
    pub compartment: u16,
}

/// A new order. Exactly one of `deposit_code` and `compartment`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceOrder {
    /// Its number, unique for the store.
    pub order: OrderId,
    /// What the customer types. No two open orders of a store may have the same one.
    pub pick_up_code: PickUpCode,
    /// What it is.
    pub goods: Vec<Good>,
    /// Until when it can be picked up.
    pub expires_at: Timestamp,
    /// What the courier types who brings the goods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deposit_code: Option<PickUpCode>,
    /// Where the goods lie already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compartment: Option<Place>,
}

/// Ends an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    /// Which.
    pub order: OrderId,
}

/// Gives the customer more time, also after the order has expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendOrder {
    /// Which.
    pub order: OrderId,
    /// The new end.
    pub expires_at: Timestamp,
}

/// Why an order cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Both ways for the goods to come, or none.
    #[error("an order has exactly one of `deposit_code` and `compartment`")]
    Way,
    /// No goods or too many.
    #[error("`goods` has {len} entries, allowed are 1 to {GOODS_MAX}")]
    Goods {
        /// How many.
        len: usize,
    },
    /// A number of pieces.
    #[error("`goods[{index}].quantity` is {quantity}, allowed are 1 to {QUANTITY_MAX}")]
    Quantity {
        /// Which entry.
        index: usize,
        /// Its quantity.
        quantity: u32,
    },
    /// No GTIN.
    #[error("`goods[{index}].gtin` is no GTIN: 8, 12, 13 or 14 digits are")]
    Gtin {
        /// Which entry.
        index: usize,
    },
    /// Too many languages, or a tag or name that is too long, empty, or has control characters.
    #[error(
        "`goods[{index}].name` needs at most {LANGUAGES_MAX} languages, tags of 2 to 8 letters, and names of 1 to \
         {NAME_CHARS_MAX} characters"
    )]
    Name {
        /// Which entry.
        index: usize,
    },
    /// A digit of a GTIN is mistyped.
    #[error(
        "`goods[{index}].gtin` = `{gtin}`: a digit is wrong, for its check digit (the last one) would be {expected}"
    )]
    CheckDigit {
        /// Which entry.
        index: usize,
        /// Its GTIN.
        gtin: String,
        /// The digit that its other digits have.
        expected: char,
    },
    /// It would have expired before it is placed.
    #[error("`expires_at` = `{expires_at}` is past: it is {now} now")]
    Past {
        /// The end.
        expires_at: Timestamp,
        /// When it was checked.
        now: Timestamp,
    },
    /// The two codes are the same.
    #[error("`deposit_code` and `pick_up_code` are the same: the courier would have the customer's code")]
    SameCodes,
}

impl OrderError {
    /// Which field it is about.
    #[must_use]
    pub fn field(&self) -> String {
        match self {
            Self::Way | Self::SameCodes => "deposit_code".to_owned(),
            Self::Goods { .. } => "goods".to_owned(),
            Self::Quantity { index, .. } => format!("goods[{index}].quantity"),
            Self::Gtin { index } | Self::CheckDigit { index, .. } => format!("goods[{index}].gtin"),
            Self::Name { index } => format!("goods[{index}].name"),
            Self::Past { .. } => "expires_at".to_owned(),
        }
    }
}

impl PlaceOrder {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), OrderError> {
        if self.deposit_code.is_some() == self.compartment.is_some() {
            return Err(OrderError::Way);
        }
        if self.deposit_code == Some(self.pick_up_code) {
            return Err(OrderError::SameCodes);
        }
        if !(1..=GOODS_MAX).contains(&self.goods.len()) {
            return Err(OrderError::Goods { len: self.goods.len() });
        }
        for (index, good) in self.goods.iter().enumerate() {
            good.check(index)?;
        }
        Ok(())
    }
}

impl Good {
    fn check(&self, index: usize) -> Result<(), OrderError> {
        let Self { gtin, name, quantity } = self;
        if !(1..=QUANTITY_MAX).contains(quantity) {
            return Err(OrderError::Quantity { index, quantity: *quantity });
        }
        if !matches!(gtin.len(), 8 | 12..=14) || !gtin.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(OrderError::Gtin { index });
        }
        let tag_fits = |tag: &str| {
            (2..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-')
        };
        let name_fits = |name: &str| {
            (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.contains(char::is_control)
        };
        let fits =
            name.len() <= LANGUAGES_MAX && name.iter().all(|(tag, name)| tag_fits(tag) && name_fits(name));
        if fits { Ok(()) } else { Err(OrderError::Name { index }) }
    }
}

/// How an order stands. Its events at headquarters are named `order.<stage>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStage {
    /// Waits for its courier.
    Placed,
    /// Lies in its compartment.
    Ready,
    /// Its door was told to open.
    Opening,
    /// Its door is open.
    Open,
    /// Its door did not open.
    Stuck,
    /// The customer has it.
    Collected,
    /// Nobody came in time.
    Expired,
    /// Headquarters has ended it.
    Cancelled,
}

impl OrderStage {
    /// All stages.
    pub const ALL: [Self; 8] = [
        Self::Placed,
        Self::Ready,
        Self::Opening,
        Self::Open,
        Self::Stuck,
        Self::Collected,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The stage's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Ready => "ready",
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Stuck => "stuck",
            Self::Collected => "collected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a customer can no more come for it.
    #[must_use]
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Collected | Self::Expired | Self::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> PlaceOrder {
        let good = Good { gtin: "2000000000015".to_owned(), name: BTreeMap::new(), quantity: 1 };
        PlaceOrder {
            order: OrderId::parse("o-20260102-0042").unwrap(),
            pick_up_code: PickUpCode::parse("042137").unwrap(),
            goods: vec![good],
            expires_at: Timestamp::UNIX_EPOCH,
            deposit_code: Some(PickUpCode::parse("555555").unwrap()),
            compartment: None,
        }
    }

    #[test]
    fn what_the_types_cannot_say_is_checked_field_by_field() {
        assert_eq!(order().check(), Ok(()));
        let place = Some(Place { bank: DeviceId::parse("b").unwrap(), compartment: 1 });
        let changed = |change: fn(&mut PlaceOrder)| {
            let mut order = order();
            change(&mut order);
            order.check().unwrap_err()
        };
        assert_eq!(PlaceOrder { compartment: place, ..order() }.check(), Err(OrderError::Way));
        assert_eq!(changed(|order| order.deposit_code = None), OrderError::Way);
        assert_eq!(changed(|order| order.deposit_code = Some(order.pick_up_code)), OrderError::SameCodes);
        assert_eq!(changed(|order| order.goods.clear()), OrderError::Goods { len: 0 });
        assert_eq!(
            changed(|order| order.goods[0].quantity = 0),
            OrderError::Quantity { index: 0, quantity: 0 }
        );
        assert_eq!(
            changed(|order| order.goods[0].gtin = "12x45678".to_owned()),
            OrderError::Gtin { index: 0 }
        );
        let long = |order: &mut PlaceOrder| {
            order.goods[0].name.insert("en".to_owned(), "x".repeat(NAME_CHARS_MAX + 1));
        };
        assert_eq!(changed(long), OrderError::Name { index: 0 });
    }

    #[test]
    fn a_command_is_read_strictly_and_its_errors_show_no_code() {
        let place = r#"{"command":"order.place","order":"o-1","pick_up_code":"942137","goods":[{"gtin":"2000000000015","name":{"en":"Serum"},"quantity":1}],"expires_at":"2026-01-02T00:00:00Z","deposit_code":"555555"}"#;
        let command = OrderCommand::parse(place.as_bytes()).unwrap();
        assert_eq!((command.word(), command.order().as_str()), ("order.place", "o-1"));
        let text = serde_json::to_vec(&command).unwrap();
        assert_eq!(OrderCommand::parse(&text).unwrap(), command);
        for (from, to) in [
            ("\"942137\"", "942137"),
            ("\"942137\"", "\"9421377\""),
            ("\"deposit_code\":\"555555\"", "\"942137\":1"),
            (",\"deposit_code\":\"555555\"", ""),
            ("\"order.place\"", "\"942137\""),
        ] {
            let wrong = place.replace(from, to);
            assert_ne!(wrong, place);
            let error = OrderCommand::parse(wrong.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains("94213"), "{wrong}: {error}");
        }
        let short = OrderCommand::parse(place.replace("942137", "94213").as_bytes()).unwrap_err().to_string();
        assert!(short.contains("`pick_up_code` = (a text of 5 characters): needs six digits"), "{short}");
        let missing = OrderCommand::parse(br#"{"command":"order.cancel"}"#).unwrap_err();
        assert!(missing.to_string().contains("`order`"), "{missing}");
    }

    #[test]
    fn a_mistake_is_named_with_its_field_its_value_and_what_is_needed() {
        let place = r#"{"command":"order.place","order":"o-1","pick_up_code":"942137","goods":[{"gtin":"2000000000015","name":{"en":"Serum"},"quantity":1}],"expires_at":"2026-01-02T00:00:00Z","deposit_code":"555555"}"#;
        let cases = [
            (
                "\"942137\"",
                "\"42\"",
                "pick_up_code",
                "`pick_up_code` = (a text of 2 characters): needs six digits",
            ),
            (
                "\"942137\"",
                "942137",
                "pick_up_code",
                "`pick_up_code` = (a number): needs six digits as a text",
            ),
            (
                "\"deposit_code\":\"555555\"",
                "\"compartment\":3",
                "compartment",
                "`compartment` = 3: needs a bank and a door",
            ),
            (
                "\"deposit_code\":\"555555\"",
                "\"compartment\":{\"bank\":\"a\"}",
                "compartment.compartment",
                "`compartment.compartment` is missing; needs the number on the door",
            ),
            (
                "2026-01-02T00:00:00Z",
                "2030-01-01",
                "expires_at",
                "`expires_at` = \"2030-01-01\": needs a time with an offset",
            ),
            (
                "{\"en\":\"Serum\"}",
                "\"serum\"",
                "goods[0].name",
                "`goods[0].name` = \"serum\": needs names by language",
            ),
            ("{\"en\":\"Serum\"}", "null", "goods[0].name", "`goods[0].name` = null: needs names"),
            (
                "\"quantity\":1",
                "\"quantity\":\"1\"",
                "goods[0].quantity",
                "`goods[0].quantity` = \"1\": needs a number",
            ),
            (
                "\"quantity\":1",
                "\"pieces\":1",
                "goods[0].pieces",
                "is not known; there are `gtin`, `name`, `quantity`",
            ),
            ("\"quantity\":1", "\"quantity\":0", "goods[0].quantity", "`goods[0].quantity` is 0"),
            ("o-1", "O-1", "order", "`order` = \"O-1\": needs 1 to 64"),
            ("o-1", "O942137", "order", "`order` = (digits that may be a code): needs 1 to 64"),
            (
                "order.place",
                "order.plaec",
                "command",
                "`command` = \"order.plaec\": is not known; there are `order.place`, `order.cancel`, `order.extend`",
            ),
            ("\"order\":\"o-1\"", "\"order\":\"o-1\",\"order\":\"o-1\"", "", "stands there twice"),
        ];
        for (from, to, field, reason) in cases {
            let text = place.replace(from, to);
            assert_ne!(text, place, "{from}");
            let error = OrderCommand::parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(reason), "{to}: {error}");
            assert_eq!(error.field(), field, "{error}");
        }
        let cut = OrderCommand::parse(&place.as_bytes()[..40]).unwrap_err();
        assert_eq!(cut, CommandError::Json { line: 1, column: 40 });
        let list = OrderCommand::parse(b"[]").unwrap_err();
        assert!(list.to_string().contains("needs a JSON object"), "{list}");
    }

    #[test]
    fn a_new_command_has_a_gtin_that_checks_and_an_end_that_is_to_come() {
        let placed = |gtin: &str| {
            let goods = vec![Good { gtin: gtin.to_owned(), name: BTreeMap::new(), quantity: 1 }];
            OrderCommand::Place(PlaceOrder { goods, ..order() })
        };
        let before = Timestamp::saturating_from_millis(-1);
        for gtin in ["2000000000015", "96385074", "036000291452", "06901234567892"] {
            assert_eq!(placed(gtin).check_as_new(before), Ok(()), "{gtin}");
        }
        let wrong = placed("2000000000016").check_as_new(before).unwrap_err();
        assert_eq!(wrong.to_string().matches("`2000000000016`: a digit is wrong").count(), 1, "{wrong}");
        assert_eq!(wrong.field(), "goods[0].gtin");
        let extend =
            OrderCommand::Extend(ExtendOrder { order: order().order, expires_at: Timestamp::UNIX_EPOCH });
        for command in [placed("2000000000015"), extend] {
            assert_eq!(command.check_as_new(before), Ok(()));
            let past = command.check_as_new(Timestamp::UNIX_EPOCH).unwrap_err();
            assert_eq!(past.field(), "expires_at", "{past}");
        }
    }

    #[test]
    fn a_label_is_the_end_of_the_number() {
        assert_eq!(label(&OrderId::parse("o-20260102-a042").unwrap()), "A042");
        assert_eq!(label(&OrderId::parse("7").unwrap()), "7");
    }
}
