//! Signed origin records: what a supplier says about a product's way to the store, and how far it can be believed.
//!
//! Owns: strict JSON reading, the `eddsa-jcs-2022` proof, the subset of EPCIS 2.0 that a record may use, the trust
//! list, and the verdict. Does not own: files, clocks, sockets, pictures, words on a screen. The caller brings the
//! bytes, the trust list, the item that the code claims to be, and the time.
//!
//! # Invariants
//!
//! - A verdict is never better than the evidence: every [`Reason`] has a ceiling, and the verdict is the lowest one.
//! - Nothing of a record is shown as fact ([`Assessment::journey`]) unless its signature holds and its signer is
//!   trusted for this product.
//! - The same bytes, trust list, claim and time give the same assessment everywhere.
//! - A signature proves a *record*, never the object that carries the code: a copied code still reads.

pub mod json;
pub mod key;
pub mod proof;
pub mod record;
pub mod trust;
pub mod verdict;

pub use json::JsonError;
pub use key::{KeyError, PublicKey, SecretKey};
pub use proof::{ProofError, SignError, sign, sign_event, sign_trust_list};
pub use record::{Record, RecordError};
pub use trust::{Names, TrustError, TrustList};
pub use verdict::{Assessment, ClaimError, Coverage, Hop, ItemClaim, Reason, Temperature, Verdict, verify};
