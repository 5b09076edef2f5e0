//! Orders that customers pick up in the store: what headquarters sends down, and the words for how they stand.
//!
//! An order is placed, extended and cancelled by [`OrderCommand`]s of headquarters. Its goods lie
//! in a compartment already, or a courier brings them with a code of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{DeviceId, OrderId},
    kiosk::{CodeError, PickUpCode},
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
    /// No JSON of a command that this release knows.
    #[error("not the JSON of a command that is known here: line {line}, column {column}{field}")]
    Json {
        /// From 1.
        line: usize,
        /// From 1, 0 when it is about the whole.
        column: usize,
        /// The field that is missing or unknown, or that a code is none, where it is that.
        field: String,
    },
    /// An order that cannot be.
    #[error("{cause}")]
    Order {
        /// What is wrong with it.
        cause: OrderError,
    },
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
        let command: Self = serde_json::from_slice(payload).map_err(|error| {
            let text = error.to_string();
            // These messages name fields of ours or the sender's, never values.
            let names = ["missing field `", "unknown field `", "unknown variant `"];
            let field = names.iter().find(|name| text.starts_with(**name)).and_then(|name| {
                let name: String = text.chars().skip(name.len()).take_while(|c| *c != '`').take(40).collect();
                let is_name = name.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '.'));
                is_name.then(|| format!(", see `{name}`"))
            });
            let code = || text.starts_with(&CodeError.to_string()).then(|| format!(": {CodeError}"));
            let (line, column) = (error.line(), error.column());
            CommandError::Json { line, column, field: field.or_else(code).unwrap_or_default() }
        })?;
        if let Self::Place(order) = &command {
            order.check().map_err(|cause| CommandError::Order { cause })?;
        }
        Ok(command)
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
    /// The two codes are the same.
    #[error("`deposit_code` and `pick_up_code` are the same: the courier would have the customer's code")]
    SameCodes,
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
        assert!(short.contains("a code has exactly 6 digits"), "{short}");
        let missing = OrderCommand::parse(br#"{"command":"order.cancel"}"#).unwrap_err();
        assert!(missing.to_string().contains("`order`"), "{missing}");
    }

    #[test]
    fn a_label_is_the_end_of_the_number() {
        assert_eq!(label(&OrderId::parse("o-20260102-a042").unwrap()), "A042");
        assert_eq!(label(&OrderId::parse("7").unwrap()), "7");
    }
}
