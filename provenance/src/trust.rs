//! The trust list: whose signatures count, for which products and steps, and until when.
//!
//! One JSON document of the type `StorehubTrustList`, signed by the root key that is pinned in the kiosk's
//! configuration. A list past `validUntil` still names the signers, but nothing is "genuine" by it any more, only
//! "genuine as of then".

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    json::{self, JsonError},
    key::PublicKey,
    proof::{self, ProofError},
};

/// A name by language tag (`zh`, `en`).
pub type Names = BTreeMap<String, String>;

/// Most signers that one list may name.
pub const SIGNERS_MAX: usize = 10_000;

/// Why a trust list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be read.
    #[error("failed to read the trust list")]
    Json {
        /// Why.
        source: JsonError,
    },
    /// Its proof does not hold.
    #[error("the trust list is not signed as it must be")]
    Proof {
        /// Why.
        source: ProofError,
    },
    /// It is signed well, but by another key.
    #[error("the trust list is signed by {found}, not by the pinned root key {pinned}")]
    Root {
        /// Who signed.
        found: String,
        /// Who should have.
        pinned: String,
    },
    /// A member is missing, unknown or of another type.
    #[error("the trust list has a wrong member")]
    Shape {
        /// Which one.
        source: serde_json::Error,
    },
    /// A value that is of the right type, but wrong.
    #[error("the trust list's `{field}` is wrong: {problem}")]
    Value {
        /// Where.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A party whose signature counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Its short id.
    pub id: String,
    /// Its name by language.
    pub names: Names,
    /// Its key.
    pub key: PublicKey,
    /// Signatures before this do not count.
    pub valid_from: Timestamp,
    /// Signatures after this do not count.
    pub valid_until: Timestamp,
    /// GS1 company prefixes of the products that it may vouch for; empty for parties that only sign steps.
    pub gcps: Vec<String>,
    /// Business steps that it may sign.
    pub biz_steps: Vec<String>,
    /// Set when its key was lost or misused: no signature counts any more.
    pub revoked: bool,
}

impl Signer {
    /// Whether a signature made at `created` lies in the key's time.
    #[must_use]
    pub fn is_valid_at(&self, created: Timestamp) -> bool {
        self.valid_from <= created && created <= self.valid_until
    }

    /// Whether it may vouch for the product with this GTIN-14.
    ///
    /// The company prefix of a GTIN-14 begins after the indicator digit.
    #[must_use]
    pub fn may_vouch_for(&self, gtin: &str) -> bool {
        gtin.get(1..).is_some_and(|rest| self.gcps.iter().any(|gcp| rest.starts_with(gcp.as_str())))
    }

    /// Whether it may sign this business step.
    #[must_use]
    pub fn may_sign_step(&self, step: &str) -> bool {
        self.biz_steps.iter().any(|allowed| allowed == step)
    }
}

/// A lot that must not be sold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recall {
    /// GTIN-14.
    pub gtin: String,
    /// The lot; every lot of the product when absent.
    #[serde(default)]
    pub lot: Option<String>,
}

/// Whose signatures count. Made by [`TrustList::read`] only, so that it is always signed by the pinned root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustList {
    version: u64,
    valid_from: Timestamp,
    valid_until: Timestamp,
    demo: bool,
    signers: Vec<Signer>,
    recalls: Vec<Recall>,
}

impl TrustList {
    /// Reads a trust list that the pinned root key signed.
    ///
    /// # Errors
    /// When it cannot be read, is not signed by `root`, or has a wrong member.
    pub fn read(document: &[u8], root: &PublicKey) -> Result<Self, TrustError> {
        let document = json::read(document).map_err(|source| TrustError::Json { source })?;
        let signed = proof::check(&document).map_err(|source| TrustError::Proof { source })?;
        if signed.key != *root {
            return Err(TrustError::Root { found: signed.key.to_string(), pinned: root.to_string() });
        }
        Self::parse(&document)
    }

    /// The list in a document whose proof somebody else has checked, or is about to make.
    pub(crate) fn parse(document: &Value) -> Result<Self, TrustError> {
        let wire = TrustListWire::deserialize(document).map_err(|source| TrustError::Shape { source })?;
        let wrong = |field: String, problem: &str| TrustError::Value { field, problem: problem.to_owned() };
        if wire.kind != "StorehubTrustList" {
            return Err(wrong("type".to_owned(), "it is not `StorehubTrustList`"));
        }
        if wire.valid_until.0 <= wire.valid_from.0 {
            return Err(wrong("validUntil".to_owned(), "it is not after `validFrom`"));
        }
        if SIGNERS_MAX < wire.signers.len() {
            return Err(wrong("signers".to_owned(), "there are more than 10000"));
        }
        let mut signers: Vec<Signer> = Vec::with_capacity(wire.signers.len());
        for (index, signer) in wire.signers.into_iter().enumerate() {
            let signer = signer.check(index)?;
            if signers.iter().any(|known| known.key == signer.key || known.id == signer.id) {
                return Err(wrong(format!("signers[{index}]"), "its id or key stands there twice"));
            }
            signers.push(signer);
        }
        Ok(Self {
            version: wire.version,
            valid_from: wire.valid_from.0,
            valid_until: wire.valid_until.0,
            demo: wire.demo,
            signers,
            recalls: wire.recalls,
        })
    }

    /// Grows with every list; a kiosk refuses to go back.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Until when the list is fresh.
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// Whether it trusts demonstration keys, whose secrets everybody knows.
    #[must_use]
    pub fn is_demo(&self) -> bool {
        self.demo
    }

    /// Whether the list speaks for `now`.
    #[must_use]
    pub fn is_fresh_at(&self, now: Timestamp) -> bool {
        self.valid_from <= now && now <= self.valid_until
    }

    /// The party that a key belongs to.
    #[must_use]
    pub fn signer(&self, key: &PublicKey) -> Option<&Signer> {
        self.signers.iter().find(|signer| signer.key == *key)
    }

    /// Whether a lot of a product is recalled.
    #[must_use]
    pub fn is_recalled(&self, gtin: &str, lot: Option<&str>) -> bool {
        self.recalls
            .iter()
            .any(|recall| recall.gtin == gtin && (recall.lot.is_none() || recall.lot.as_deref() == lot))
    }
}

/// An RFC 3339 time.
struct Time(Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| {
            serde::de::Error::custom(format_args!(
                "`{}` is no RFC 3339 time",
                text.chars().take(40).collect::<String>()
            ))
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TrustListWire {
    #[serde(rename = "type")]
    kind: String,
    version: u64,
    valid_from: Time,
    valid_until: Time,
    #[serde(default)]
    demo: bool,
    signers: Vec<SignerWire>,
    #[serde(default)]
    recalls: Vec<Recall>,
    #[serde(default, rename = "proof")]
    _proof: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SignerWire {
    id: String,
    names: Names,
    public_key_multibase: String,
    valid_from: Time,
    valid_until: Time,
    #[serde(default)]
    gcps: Vec<String>,
    biz_steps: Vec<String>,
    #[serde(default)]
    revoked: bool,
}

impl SignerWire {
    fn check(self, index: usize) -> Result<Signer, TrustError> {
        let wrong = |field: &str, problem: String| TrustError::Value {
            field: format!("signers[{index}].{field}"),
            problem,
        };
        let key = PublicKey::parse(&self.public_key_multibase)
            .map_err(|error| wrong("publicKeyMultibase", error.to_string()))?;
        // A prefix shorter than four digits would let one party vouch for half a country.
        for gcp in &self.gcps {
            if !(4..=12).contains(&gcp.len()) || !gcp.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(wrong("gcps", format!("`{gcp}` is no GS1 company prefix of 4 to 12 digits")));
            }
        }
        if self.names.is_empty() {
            return Err(wrong("names", "there is none".to_owned()));
        }
        Ok(Signer {
            id: self.id,
            names: self.names,
            key,
            valid_from: self.valid_from.0,
            valid_until: self.valid_until.0,
            gcps: self.gcps,
            biz_steps: self.biz_steps,
            revoked: self.revoked,
        })
    }
}
