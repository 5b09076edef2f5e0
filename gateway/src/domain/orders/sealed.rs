//! What people typed and what headquarters sent, as the journal has it: codes are keyed hashes from here on.
//!
//! The edge makes these from the contract's types before anything is written, with the store's key; the domain never sees
//! a code. Two hashes are compared in time that does not depend on where they differ.

use contract::{
    OrderId, RequestId, Timestamp,
    kiosk::{Ask, PickUpCode, Request},
    order::{CancelOrder, ExtendOrder, Good, OrderCommand, Place},
};
use serde::{Deserialize, Serialize};

/// Bytes of a hash.
pub const HASH_BYTES: usize = 16;

/// A keyed hash of a code: without the store's key it tells nothing, although there are only a million codes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CodeHash([u8; HASH_BYTES]);

/// Constant in time.
impl PartialEq for CodeHash {
    fn eq(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(other.0).fold(0, |differing, (a, b)| differing | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl Eq for CodeHash {}

impl CodeHash {
    /// A hash from its bytes.
    #[must_use]
    pub fn new(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }
}

impl From<CodeHash> for String {
    fn from(hash: CodeHash) -> Self {
        hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for CodeHash {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "a code's hash has 32 hexadecimal digits";
        let mut bytes = [0; HASH_BYTES];
        if text.len() != 2 * HASH_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong);
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong)?;
        }
        Ok(Self(bytes))
    }
}

/// A [`Request`] without its code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SealedRequest {
    pub(super) at: Timestamp,
    pub(super) ask: SealedAsk,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SealedAsk {
    PickUp(CodeHash),
    Deposit(CodeHash),
    OpenAgain(RequestId),
    Help { screen: String, order: Option<String> },
}

impl SealedRequest {
    /// Replaces the code by its hash.
    #[must_use]
    pub fn new(request: Request, hash: impl Fn(&PickUpCode) -> CodeHash) -> Self {
        let ask = match request.ask {
            Ask::PickUp { code } => SealedAsk::PickUp(hash(&code)),
            Ask::Deposit { code } => SealedAsk::Deposit(hash(&code)),
            Ask::OpenAgain { request } => SealedAsk::OpenAgain(request),
            Ask::Help { screen, order } => SealedAsk::Help { screen, order },
        };
        Self { at: request.at, ask }
    }

    /// As the journal keeps it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        crate::domain::json(self)
    }
}

/// An [`OrderCommand`] without its codes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealedCommand {
    /// Keep goods for a customer.
    Place(SealedOrder),
    /// End an order.
    Cancel(CancelOrder),
    /// Give the customer more time.
    Extend(ExtendOrder),
}

/// A [`contract::order::PlaceOrder`] without its codes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SealedOrder {
    pub(super) order: OrderId,
    pub(super) code: CodeHash,
    pub(super) goods: Vec<Good>,
    pub(super) expires_at: Timestamp,
    pub(super) deposit: Option<CodeHash>,
    pub(super) compartment: Option<Place>,
    /// The mark of the key that has hashed the codes; older releases did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
}

impl SealedCommand {
    /// Replaces the codes by their hashes, beside the mark of the key that hashes them.
    #[must_use]
    pub fn new(command: OrderCommand, hash: impl Fn(&PickUpCode) -> CodeHash, key: Option<String>) -> Self {
        match command {
            OrderCommand::Place(order) => Self::Place(SealedOrder {
                key,
                code: hash(&order.pick_up_code),
                deposit: order.deposit_code.as_ref().map(hash),
                order: order.order,
                goods: order.goods,
                expires_at: order.expires_at,
                compartment: order.compartment,
            }),
            OrderCommand::Cancel(cancel) => Self::Cancel(cancel),
            OrderCommand::Extend(extend) => Self::Extend(extend),
        }
    }

    /// As the journal keeps it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        crate::domain::json(self)
    }
}

/// What staff do at the hub's own command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaffAction {
    /// Open a door, or try again at one that is stuck.
    Open(Place),
    /// A stuck door works again.
    Resolve(Place),
    /// A kiosk's call for help was answered.
    HelpDone {
        /// Which kiosk.
        kiosk: contract::KioskId,
    },
}

impl StaffAction {
    /// As the journal keeps it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        crate::domain::json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_journal_keeps_has_no_code_and_reads_back() {
        let hash = |code: &PickUpCode| {
            let mut bytes = [7; HASH_BYTES];
            bytes[0] = code.reveal().as_bytes()[0];
            CodeHash::new(bytes)
        };
        let code = PickUpCode::parse("942137").unwrap();
        let request = Request { at: Timestamp::UNIX_EPOCH, ask: Ask::PickUp { code } };
        let sealed = SealedRequest::new(request, hash);
        let bytes = sealed.to_bytes();
        assert!(!String::from_utf8_lossy(&bytes).contains("942137"));
        assert_eq!(serde_json::from_slice::<SealedRequest>(&bytes).unwrap(), sealed);
        let other = SealedAsk::PickUp(hash(&PickUpCode::parse("142137").unwrap()));
        assert_ne!(sealed.ask, other);
    }
}
