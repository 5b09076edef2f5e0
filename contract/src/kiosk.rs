//! What a kiosk asks the hub, and the states that the hub answers: pick-up, deposit, help.
//!
//! A kiosk publishes a [`Request`] to `kiosk/<kiosk>/request/<id>` (QoS 1, not retained, `<id>` a fresh
//! [`RequestId`](crate::RequestId)) and hears [`Reply`]s on `kiosk/<kiosk>/reply/<id>`: a stream of states of which the
//! newest counts, until one [`is final`](ReplyState::is_final). Topics are in [`crate::topic`].
//!
//! # Rules
//!
//! - The first reply comes within [`FIRST_REPLY_WITHIN_MS`]. A kiosk that hears none publishes the same request under
//!   the same id again: the hub answers with the state that the request is in and does nothing a second time. After
//!   [`GIVE_UP_AFTER_MS`] it tells the visitor that the hub does not answer.
//! - A request is never kept for later: when the hub cannot be reached it is dropped and the visitor told, or a door
//!   would open for nobody. The hub refuses what is older than [`REQUEST_AGE_MS_MAX`] by its own clock.
//! - After a lost connection the kiosk subscribes anew and repeats its request under the same id to hear the state.
//! - A stream ends with a final state within [`STREAM_ENDS_WITHIN_MS`] of its last request.
//! - Readers of replies ignore fields that they do not know. A state that is not known is shown as "ask the staff".
//!
//! # The streams
//!
//! ```text
//! pick_up:    opening ─▶ open ─▶ collected
//!                │         ├▶ still_open ─▶ collected | left_open
//!                │         └▶ closed_not_emptied {may_open_again: true} ─▶ opening (by `open_again`) | closed_not_emptied {false}
//!                └▶ stuck
//!             refused
//! deposit:    opening ─▶ open ─▶ deposited | not_deposited | still_open ─▶ … | left_open
//!                └▶ stuck          refused
//! open_again: its states come on its own reply topic; the stream of the pick-up ends with `superseded`
//! help:       help_called
//! ```

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    id::{DeviceId, RequestId},
    order::Good,
    time::Timestamp,
};

/// The first reply comes within this.
pub const FIRST_REPLY_WITHIN_MS: u64 = 3_000;
/// A kiosk that has heard nothing for this long since its first try tells its visitor so.
pub const GIVE_UP_AFTER_MS: u64 = 10_000;
/// Older requests are refused.
pub const REQUEST_AGE_MS_MAX: i64 = 120_000;
/// A door that has not reported open within this is stuck.
pub const DOOR_OPENS_WITHIN_MS: u64 = 10_000;
/// A door that has been open for this long is [`ReplyState::StillOpen`].
pub const STILL_OPEN_AFTER_MS: u64 = 60_000;
/// For this long `open_again` is taken after `closed_not_emptied`.
pub const OPEN_AGAIN_WITHIN_MS: u64 = 30_000;
/// A door that has been open for this long is [`ReplyState::LeftOpen`]: the stream ends and staff are called.
pub const LEFT_OPEN_AFTER_MS: u64 = 180_000;
/// The longest stream, so that a kiosk can forget one whose end it has missed.
pub const STREAM_ENDS_WITHIN_MS: u64 = 240_000;
/// Largest request in bytes.
pub const REQUEST_BYTES_MAX: usize = 1_024;
/// Digits of a code.
pub const CODE_DIGITS: usize = 6;
/// Longest screen name in a help request, in characters.
pub const SCREEN_CHARS_MAX: usize = 32;
/// Longest order label, in characters.
pub const LABEL_CHARS_MAX: usize = 16;

/// A code of six ASCII digits, of a customer or a courier. It is not printed: [`PickUpCode::reveal`] is the only way out.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PickUpCode([u8; CODE_DIGITS]);

/// Why a text is no code. It does not show the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a code has exactly {CODE_DIGITS} digits, 0 to 9")]
pub struct CodeError;

impl PickUpCode {
    /// Reads exactly six digits.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        let digits: [u8; CODE_DIGITS] = text.as_bytes().try_into().map_err(|_| CodeError)?;
        if digits.iter().all(u8::is_ascii_digit) { Ok(Self(digits)) } else { Err(CodeError) }
    }

    /// The digits, for a hash or the one who must read them; never for a log.
    #[must_use]
    pub fn reveal(&self) -> &str {
        std::str::from_utf8(&self.0).expect("six ASCII digits are text")
    }
}

impl fmt::Debug for PickUpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PickUpCode(…)")
    }
}

impl FromStr for PickUpCode {
    type Err = CodeError;
    fn from_str(text: &str) -> Result<Self, CodeError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for PickUpCode {
    type Error = CodeError;
    fn try_from(text: String) -> Result<Self, CodeError> {
        Self::parse(&text)
    }
}

impl From<PickUpCode> for String {
    fn from(code: PickUpCode) -> Self {
        code.reveal().to_owned()
    }
}

/// `kiosk/<kiosk>/request/<id>`, such as `{"at":"2026-01-02T03:04:05.000Z","kind":"pick_up","code":"042137"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RequestWire")]
pub struct Request {
    /// When the visitor asked, by the kiosk's clock.
    pub at: Timestamp,
    /// What is asked.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What a kiosk asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ask {
    /// A customer wants the goods.
    PickUp {
        /// The customer's code.
        code: PickUpCode,
    },
    /// A courier brings goods.
    Deposit {
        /// The courier's code.
        code: PickUpCode,
    },
    /// After `closed_not_emptied {may_open_again: true}`: the customer wants the door opened once more.
    OpenAgain {
        /// The request of the pick-up.
        request: RequestId,
    },
    /// Somebody needs the staff.
    Help {
        /// The screen that is shown, such as `pick_up`.
        screen: String,
        /// The label of the order that it is about, as a reply gave it.
        #[serde(skip_serializing_if = "Option::is_none")]
        order: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestWire {
    at: Timestamp,
    kind: String,
    code: Option<PickUpCode>,
    request: Option<RequestId>,
    screen: Option<String>,
    order: Option<String>,
}

/// Why JSON is no request. A code is never shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Another kind.
    #[error("field `kind` is none of `pick_up`, `deposit`, `open_again`, `help`")]
    Kind,
    /// A field that the kind needs is missing, or one is there that it does not have.
    #[error("a request of kind `{kind}` has exactly the fields {fields}")]
    Fields {
        /// The kind.
        kind: &'static str,
        /// Its fields.
        fields: &'static str,
    },
    /// A text that is too long or has control characters.
    #[error("field `{field}` has 1 to {max} characters, none of them a control character")]
    Text {
        /// Which field.
        field: &'static str,
        /// The limit.
        max: usize,
    },
    /// No JSON of a request.
    #[error("not the JSON of a request: {reason}")]
    Json {
        /// Where, and what is wrong.
        reason: String,
    },
}

fn short(field: &'static str, text: String, max: usize) -> Result<String, RequestError> {
    let fits = !text.is_empty() && text.chars().count() <= max && !text.contains(char::is_control);
    if fits { Ok(text) } else { Err(RequestError::Text { field, max }) }
}

impl TryFrom<RequestWire> for Request {
    type Error = RequestError;
    fn try_from(wire: RequestWire) -> Result<Self, RequestError> {
        let RequestWire { at, kind, code, request, screen, order } = wire;
        let fields = |kind, fields| Err(RequestError::Fields { kind, fields });
        let ask = match (kind.as_str(), code, request, screen, order) {
            ("pick_up", Some(code), None, None, None) => Ask::PickUp { code },
            ("pick_up", ..) => return fields("pick_up", "`at`, `kind`, `code`"),
            ("deposit", Some(code), None, None, None) => Ask::Deposit { code },
            ("deposit", ..) => return fields("deposit", "`at`, `kind`, `code`"),
            ("open_again", None, Some(request), None, None) => Ask::OpenAgain { request },
            ("open_again", ..) => return fields("open_again", "`at`, `kind`, `request`"),
            ("help", None, None, Some(screen), order) => Ask::Help {
                screen: short("screen", screen, SCREEN_CHARS_MAX)?,
                order: order.map(|order| short("order", order, LABEL_CHARS_MAX)).transpose()?,
            },
            ("help", ..) => return fields("help", "`at`, `kind`, `screen` and perhaps `order`"),
            _ => return Err(RequestError::Kind),
        };
        Ok(Self { at, ask })
    }
}

impl Request {
    /// Reads a request. The error never shows a value, since it could be a code.
    ///
    /// # Errors
    /// When it is too large, no JSON, or no request.
    pub fn parse(payload: &[u8]) -> Result<Self, RequestError> {
        if REQUEST_BYTES_MAX < payload.len() {
            let reason = format!("{} bytes, at most {REQUEST_BYTES_MAX} are allowed", payload.len());
            return Err(RequestError::Json { reason });
        }
        let wire: RequestWire = serde_json::from_slice(payload).map_err(|error| {
            let reason = format!("line {}, column {}", error.line(), error.column());
            RequestError::Json { reason }
        })?;
        wire.try_into()
    }
}

/// `kiosk/<kiosk>/reply/<id>`, such as `{"at":"…","final":true,"state":"refused","reason":"wrong_code"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ReplyWire", into = "ReplyWire")]
pub struct Reply {
    /// When the hub said it.
    pub at: Timestamp,
    /// How the request stands.
    pub state: ReplyState,
}

/// With `final`, which follows from the state, for readers in other languages.
#[derive(Serialize, Deserialize)]
struct ReplyWire {
    at: Timestamp,
    #[serde(rename = "final", default)]
    is_final: bool,
    #[serde(flatten)]
    state: ReplyState,
}

impl From<ReplyWire> for Reply {
    fn from(wire: ReplyWire) -> Self {
        Self { at: wire.at, state: wire.state }
    }
}

impl From<Reply> for ReplyWire {
    fn from(reply: Reply) -> Self {
        Self { at: reply.at, is_final: reply.state.is_final(), state: reply.state }
    }
}

/// How a request stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ReplyState {
    /// The door was told to open.
    Opening {
        /// The bank of lockers.
        bank: DeviceId,
        /// The numbers on the doors; one today.
        compartments: Vec<u16>,
        /// What the order is called aloud: the end of its number.
        order_label: String,
        /// What is in it; empty for a courier.
        goods: Vec<Good>,
    },
    /// The door is open.
    Open,
    /// The door has been open for long: ask for it to be closed.
    StillOpen,
    /// The door was closed and the goods are still inside. With `may_open_again` the kiosk may ask `open_again` within
    /// [`OPEN_AGAIN_WITHIN_MS`]; without it this is final, and the code stays good.
    ClosedNotEmptied {
        /// Whether the door may be opened once more now.
        may_open_again: bool,
    },
    /// Final: the goods are with the customer.
    Collected,
    /// Final: the goods are in the compartment.
    Deposited,
    /// Final: the courier closed the door and nothing is inside; the courier's code stays good.
    NotDeposited,
    /// Final: the door did not open. Staff are called.
    Stuck {
        /// The number on the door.
        compartment: u16,
    },
    /// Final: the door was not closed. Staff are called.
    LeftOpen {
        /// The number on the door.
        compartment: u16,
    },
    /// Final: another request goes on with this door.
    Superseded,
    /// Final: nothing was done.
    Refused {
        /// Why.
        #[serde(flatten)]
        reason: Refusal,
    },
    /// Final: staff see that this kiosk needs them.
    HelpCalled,
}

/// Why nothing was done. In JSON the member `reason` beside `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// No order has this code.
    WrongCode,
    /// The order was not picked up in time, or was cancelled.
    Expired,
    /// The goods were picked up (or brought) with this code already.
    AlreadyUsed,
    /// The goods are not here yet.
    NotReady,
    /// Too many wrong codes: this one was not even looked at.
    RateLimited {
        /// When to try again.
        retry_after_s: u32,
    },
    /// The hub does not keep up; try again in a moment.
    HubBusy,
    /// Somebody is at this order's door already.
    InUse,
    /// No compartment is free for the courier.
    NoFreeCompartment,
    /// The request is older than [`REQUEST_AGE_MS_MAX`], or the kiosk's clock is wrong.
    TooOld,
    /// `open_again` came too late, twice, or for another request.
    NotNow,
}

impl ReplyState {
    /// Whether nothing follows.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::Opening { .. }
                | Self::Open
                | Self::StillOpen
                | Self::ClosedNotEmptied { may_open_again: true }
        )
    }
}

/// `hub/help`, retained: who waits for the staff.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelpCalls {
    /// Open calls by kiosk.
    pub kiosks: BTreeMap<String, HelpCall>,
}

/// One open call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelpCall {
    /// When it was made.
    pub at: Timestamp,
    /// The screen that was shown.
    pub screen: String,
    /// The label of the order that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

/// `hub/help`
pub const HELP_TOPIC: &str = "hub/help";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_six_digits_and_is_never_printed() {
        let code = PickUpCode::parse("042137").unwrap();
        assert_eq!(code.reveal(), "042137");
        assert!(!format!("{code:?}").contains("042"));
        for wrong in ["", "12345", "1234567", "12345a", "12 456", "１２３４５６", "-12345", "+12345"] {
            let error = PickUpCode::parse(wrong).unwrap_err().to_string();
            assert!(wrong.len() < 5 || !error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn a_request_reads_back_and_unknown_or_foreign_fields_are_refused_without_showing_a_code() {
        let at = Timestamp::UNIX_EPOCH;
        let code = PickUpCode::parse("042137").unwrap();
        let help = Ask::Help { screen: "pick_up".to_owned(), order: Some("0042".to_owned()) };
        let again = Ask::OpenAgain { request: RequestId::parse("r-1").unwrap() };
        for ask in [Ask::PickUp { code }, Ask::Deposit { code }, again, help] {
            let request = Request { at, ask };
            assert_eq!(Request::parse(&serde_json::to_vec(&request).unwrap()), Ok(request));
        }
        let text = r#"{"at":"1970-01-01T00:00:00.000Z","kind":"pick_up","code":"042137"}"#;
        assert_eq!(Request::parse(text.as_bytes()).unwrap().ask, Ask::PickUp { code });
        for wrong in [
            r#"{"at":"1970-01-01T00:00:00.000Z","kind":"pick_up","code":"9421377"}"#,
            r#"{"at":"1970-01-01T00:00:00.000Z","kind":"pick_up","code":942137}"#,
            r#"{"at":"1970-01-01T00:00:00.000Z","kind":"pick_up","code":"942137","x":1}"#,
            r#"{"at":"1970-01-01T00:00:00.000Z","kind":"help","screen":"s","code":"942137"}"#,
            r#"{"at":"1970-01-01T00:00:00.000Z","kind":"942137"}"#,
            r#"{"kind":"pick_up","code":"942137"}"#,
        ] {
            let error = Request::parse(wrong.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains("94213"), "{wrong}: {error}");
        }
        assert!(Request::parse(&vec![b' '; REQUEST_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_reply_says_whether_it_is_final_and_reads_back() {
        let reply = |state| Reply { at: Timestamp::UNIX_EPOCH, state };
        let limited = reply(ReplyState::Refused { reason: Refusal::RateLimited { retry_after_s: 30 } });
        assert_eq!(
            serde_json::to_value(&limited).unwrap(),
            serde_json::json!({
                "at": "1970-01-01T00:00:00.000Z", "final": true,
                "state": "refused", "reason": "rate_limited", "retry_after_s": 30,
            })
        );
        let opening = reply(ReplyState::Opening {
            bank: DeviceId::parse("b-1").unwrap(),
            compartments: vec![3],
            order_label: "0042".to_owned(),
            goods: Vec::new(),
        });
        assert!(!opening.state.is_final());
        for reply in [limited, opening, reply(ReplyState::Open), reply(ReplyState::Stuck { compartment: 7 })]
        {
            let text = serde_json::to_string(&reply).unwrap();
            assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply, "{text}");
        }
    }
}
