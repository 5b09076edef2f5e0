//! Strict JSON: the bytes of a signed document mean one thing or nothing.
//!
//! A reader that keeps the last of two equal keys and a signer that kept the first would vouch for different
//! documents. So duplicate keys, numbers that JavaScript cannot hold exactly, and documents that are too large or
//! too deep are refused before anybody looks at a signature.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Largest document in bytes; a record of 200 events with sensor data has about 200 kB.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting; a sensor report inside an event lies at depth 8.
pub const DEPTH_MAX: usize = 24;
/// Largest whole number that a double holds exactly (RFC 7493, section 2.2).
const INTEGER_MAX: u64 = 9_007_199_254_740_991;

/// Why bytes are no document.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Larger than [`DOCUMENT_BYTES_MAX`].
    #[error("the document has {len} bytes, at most {DOCUMENT_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size.
        len: usize,
    },
    /// No JSON, or JSON that could be read in two ways.
    #[error("the document is no strict JSON")]
    Syntax {
        /// What and where.
        source: serde_json::Error,
    },
}

/// Reads one JSON document.
///
/// # Errors
/// When it is too large, too deep, no JSON, has a duplicate key, or a whole number beyond 2^53 - 1.
pub fn read(document: &[u8]) -> Result<Value, JsonError> {
    if DOCUMENT_BYTES_MAX < document.len() {
        return Err(JsonError::TooLarge { len: document.len() });
    }
    let mut reader = serde_json::Deserializer::from_slice(document);
    let syntax = |source| JsonError::Syntax { source };
    let value = Strict { depth: 0 }.deserialize(&mut reader).map_err(syntax)?;
    reader.end().map_err(syntax)?;
    Ok(value)
}

/// Builds a [`Value`] and knows how deep it is.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        if DEPTH_MAX <= self.depth {
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        if INTEGER_MAX < value {
            return Err(E::custom(format_args!("the number {value} is beyond 2^53 - 1")));
        }
        Ok(value.into())
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        if INTEGER_MAX < value.unsigned_abs() {
            return Err(E::custom(format_args!("the number {value} is beyond 2^53 - 1")));
        }
        Ok(value.into())
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            if members.contains_key(&key) {
                return Err(de::Error::custom(format_args!("the key `{key}` stands twice in one object")));
            }
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(document: &str) -> String {
        let error = read(document.as_bytes()).unwrap_err();
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
    }

    #[test]
    fn ordinary_json_reads_as_serde_json_reads_it() {
        let text = r#"{"a":[1,-2,3.5,true,null,"\u00e4"],"b":{"c":{}}}"#;
        assert_eq!(read(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let deep = format!("{}{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
        let cases = [
            (r#"{"a":1,"a":2}"#, "`a` stands twice"),
            (r#"{"a":{"b":1,"\u0062":2}}"#, "`b` stands twice"),
            ("9007199254740992", "beyond 2^53"),
            ("1e999", "number out of range"),
            (r#""\ud800""#, "hex escape"),
            ("{} {}", "trailing characters"),
            (deep.as_str(), "nested deeper than 24"),
        ];
        for (text, reason) in cases {
            let said = refusal(text);
            assert!(said.contains(reason), "{text}: {said}");
        }
    }

    #[test]
    fn the_deepest_and_the_largest_allowed_documents_are_read() {
        let deep = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert!(read(deep.as_bytes()).is_ok());
        let large = format!("\"{}\"", "a".repeat(DOCUMENT_BYTES_MAX - 2));
        assert!(read(large.as_bytes()).is_ok());
        assert!(matches!(read(format!("{large} ").as_bytes()), Err(JsonError::TooLarge { .. })));
    }
}
