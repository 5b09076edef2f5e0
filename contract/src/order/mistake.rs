//! What is wrong with a command that serde has refused: which field, with which value, and what it needs.
//!
//! To find the word of a command, serde sets its other fields aside first, and so forgets where a mistake stands. This
//! walks through the same JSON with tables of what the types in [`super`] need; it is asked after a refusal alone.
//! No value that could be a code is shown.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::CommandError;
use crate::{
    id::{DeviceId, OrderId},
    kiosk::{CODE_DIGITS, PickUpCode},
    time::Timestamp,
};

/// Characters of a value that are shown.
const SHOWN_CHARS_MAX: usize = 60;
/// Characters of an unknown field's name that are shown.
const NAME_CHARS_MAX: usize = 40;

const COMMANDS: [(&str, &[Field]); 3] =
    [("order.place", PLACE_ORDER), ("order.cancel", CANCEL_ORDER), ("order.extend", EXTEND_ORDER)];

const PLACE_ORDER: &[Field] = &[
    ORDER,
    Field { name: "pick_up_code", need: Need::Always, shape: Shape::Code, needs: CODE },
    Field { name: "goods", need: Need::Always, shape: Shape::List(GOOD), needs: "a list of goods" },
    EXPIRES_AT,
    Field { name: "deposit_code", need: Need::OrNull, shape: Shape::Code, needs: CODE },
    Field { name: "compartment", need: Need::OrNull, shape: Shape::Table(PLACE), needs: COMPARTMENT },
];
const CANCEL_ORDER: &[Field] = &[ORDER];
const EXTEND_ORDER: &[Field] = &[ORDER, EXPIRES_AT];
const GOOD: &[Field] = &[
    value("gtin", is::<String>, "a GTIN as a text, such as \"2000000000015\""),
    Field { need: Need::OrAbsent, ..value("name", is::<BTreeMap<String, String>>, NAMES) },
    value("quantity", is::<u32>, "a number of pieces, such as 1"),
];
const PLACE: &[Field] = &[
    value("bank", is::<DeviceId>, "the id of a locker bank, such as \"collect-a\""),
    value("compartment", is::<u16>, "the number on the door, such as 3"),
];
const ORDER: Field = value("order", is::<OrderId>, "1 to 64 characters of `a-z`, `0-9` and `-` as a text");
const EXPIRES_AT: Field =
    value("expires_at", is::<Timestamp>, "a time with an offset, such as \"2026-11-22T20:18:00Z\"");
const CODE: &str = "six digits as a text, such as \"042137\"";
const NAMES: &str = "names by language, such as {\"en\":\"Serum\"}";
const COMPARTMENT: &str = "a bank and a door, such as {\"bank\":\"collect-a\",\"compartment\":3}";

/// One field of a table.
struct Field {
    name: &'static str,
    need: Need,
    shape: Shape,
    needs: &'static str,
}

enum Need {
    Always,
    OrAbsent,
    OrNull,
}

enum Shape {
    Value(fn(&Value) -> bool),
    /// Its value is never shown.
    Code,
    Table(&'static [Field]),
    List(&'static [Field]),
}

const fn value(name: &'static str, fits: fn(&Value) -> bool, needs: &'static str) -> Field {
    Field { name, need: Need::Always, shape: Shape::Value(fits), needs }
}

fn is<T: DeserializeOwned>(value: &Value) -> bool {
    T::deserialize(value).is_ok()
}

/// Why `payload` is no command; it was refused.
pub(super) fn find(payload: &[u8]) -> CommandError {
    let table = match serde_json::from_slice(payload) {
        Ok(Value::Object(table)) => table,
        Ok(other) => return wrong("", &shown(&other), "needs a JSON object"),
        Err(error) => return CommandError::Json { line: error.line(), column: error.column() },
    };
    let words = listed(COMMANDS.iter().map(|(word, _)| *word));
    let Some(command) = table.get("command") else {
        return wrong("command", "", &format!("is missing; it is one of {words}"));
    };
    let Some((_, fields)) = COMMANDS.iter().find(|(word, _)| command == word) else {
        return wrong("command", &shown(command), &format!("is not known; there are {words}"));
    };
    in_table("", &table, fields)
        .unwrap_or_else(|| wrong("", "", "a field stands there twice, or a number is too large"))
}

fn wrong(field: &str, value: &str, reason: &str) -> CommandError {
    CommandError::Field { field: field.to_owned(), value: value.to_owned(), reason: reason.to_owned() }
}

fn listed(names: impl Iterator<Item = &'static str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The first mistake in a table that stands at `path`.
fn in_table(path: &str, table: &Map<String, Value>, fields: &'static [Field]) -> Option<CommandError> {
    let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let is_known =
        |name: &str| fields.iter().any(|field| field.name == name) || (path.is_empty() && name == "command");
    if let Some(unknown) = table.keys().find(|name| !is_known(name)) {
        let is_word = unknown.len() <= NAME_CHARS_MAX
            && unknown.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | '.'));
        let names = listed(fields.iter().map(|field| field.name));
        return Some(wrong(
            &at(if is_word { unknown } else { "…" }),
            "",
            &format!("is not known; there are {names}"),
        ));
    }
    fields.iter().find_map(|field| in_field(&at(field.name), table.get(field.name), field))
}

fn in_field(path: &str, value: Option<&Value>, field: &Field) -> Option<CommandError> {
    let Field { need, shape, needs, .. } = field;
    let value = match (value, need) {
        (None, Need::Always) => return Some(wrong(path, "", &format!("is missing; needs {needs}"))),
        (None, _) | (Some(Value::Null), Need::OrNull) => return None,
        (Some(value), _) => value,
    };
    let refuse = |shown: &str| Some(wrong(path, shown, &format!("needs {needs}")));
    match (shape, value) {
        (Shape::Value(fits), value) if fits(value) => None,
        (Shape::Code, value) if is::<PickUpCode>(value) => None,
        (Shape::Code, value) => refuse(&described(value)),
        (Shape::Table(fields), Value::Object(table)) => in_table(path, table, fields),
        (Shape::List(fields), Value::Array(entries)) => {
            entries.iter().enumerate().find_map(|(index, entry)| match entry {
                Value::Object(table) => in_table(&format!("{path}[{index}]"), table, fields),
                other => Some(wrong(&format!("{path}[{index}]"), &shown(other), "needs a JSON object")),
            })
        }
        _ => refuse(&shown(value)),
    }
}

/// What a code's field has instead of a code, without it.
fn described(value: &Value) -> String {
    match value {
        Value::String(text) => format!("(a text of {} characters)", text.chars().count()),
        Value::Number(_) => "(a number)".to_owned(),
        _ => "(neither text nor number)".to_owned(),
    }
}

/// A value as JSON, unless a code may stand in it in the wrong place: about as many digits in a row.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    let about = CODE_DIGITS - 1..=CODE_DIGITS + 1;
    if text.split(|c: char| !c.is_ascii_digit()).any(|digits| about.contains(&digits.len())) {
        return "(digits that may be a code)".to_owned();
    }
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
