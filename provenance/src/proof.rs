//! W3C Data Integrity proofs of the cryptosuite `eddsa-jcs-2022` (Recommendation of 2025-05-15).
//!
//! The signed message is SHA-256(JCS(proof without `proofValue`)) followed by SHA-256(JCS(document without
//! `proof`)), both canonicalised by RFC 8785. The key stands in the proof as a `did:key`; whether it may be believed
//! is the trust list's question, not this module's.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    json::{self, JsonError},
    key::{KeyError, PublicKey, SecretKey},
    record::{Record, RecordError},
    trust::{TrustError, TrustList},
};

const KIND: &str = "DataIntegrityProof";
const CRYPTOSUITE: &str = "eddsa-jcs-2022";
const PURPOSE: &str = "assertionMethod";
/// 64 bytes have at most 88 base58 characters.
const VALUE_BYTES_MAX: usize = 96;

/// Who signed, and when they said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The key that the signature was made with.
    pub key: PublicKey,
    /// When the signer says that it was made.
    pub created: Timestamp,
    /// When the signature ends to hold, if it does.
    pub expires: Option<Timestamp>,
}

/// Why a proof does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// There is none.
    #[error("the document has no `proof`")]
    Missing,
    /// A set of proofs, or something else.
    #[error("`proof` is not one object")]
    Shape,
    /// A member is missing or has another value than the cryptosuite asks for.
    #[error("`proof.{field}` is {found}, {wanted} is needed")]
    Field {
        /// Its name.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What is needed.
        wanted: &'static str,
    },
    /// The key cannot be used.
    #[error("`proof.verificationMethod` names no key")]
    Key {
        /// Why.
        source: KeyError,
    },
    /// The proof was made for another context than the document has.
    #[error("the document's `@context` does not begin with the proof's")]
    Context,
    /// A number that JCS cannot write.
    #[error("the document cannot be canonicalised")]
    Canonical {
        /// Why.
        source: serde_json::Error,
    },
    /// The bytes are not what was signed.
    #[error("the signature does not fit the document")]
    Signature,
}

/// Why a document was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It cannot be read.
    #[error("failed to read the document")]
    Json {
        /// Why.
        source: JsonError,
    },
    /// It is no record that a kiosk would read.
    #[error("the record is not one that may be signed")]
    Record {
        /// Why.
        source: RecordError,
    },
    /// It is no trust list.
    #[error("the trust list is not one that may be signed")]
    Trust {
        /// Why.
        source: TrustError,
    },
    /// It is signed already; a second proof would hide the first.
    #[error("the document has a `proof` already")]
    Already,
    /// It is no object.
    #[error("the document is no JSON object")]
    NoObject,
    /// It cannot be canonicalised.
    #[error("the document cannot be canonicalised")]
    Canonical {
        /// Why.
        source: serde_json::Error,
    },
}

/// SHA-256(JCS(configuration)) followed by SHA-256(JCS(document)).
fn message(configuration: &Value, document: &Value) -> Result<[u8; 64], serde_json::Error> {
    let mut message = [0; 64];
    for (half, value) in message.chunks_exact_mut(32).zip([configuration, document]) {
        half.copy_from_slice(&Sha256::digest(serde_json_canonicalizer::to_vec(value)?));
    }
    Ok(message)
}

/// Checks the proof of `document` (an object with a member `proof`) and says whose it is.
///
/// # Errors
/// When there is no proof, or it does not hold.
pub fn check(document: &Value) -> Result<Signed, ProofError> {
    let Value::Object(members) = document else { return Err(ProofError::Missing) };
    let proof = match members.get("proof") {
        None => return Err(ProofError::Missing),
        Some(Value::Object(proof)) => proof,
        Some(_) => return Err(ProofError::Shape),
    };
    for (field, wanted) in [("type", KIND), ("cryptosuite", CRYPTOSUITE), ("proofPurpose", PURPOSE)] {
        if text(proof, field, wanted)? != wanted {
            return Err(ProofError::Field { field, found: shown(proof.get(field)), wanted });
        }
    }
    let created = time(proof, "created")?.ok_or_else(|| ProofError::Field {
        field: "created",
        found: "missing".to_owned(),
        wanted: "an RFC 3339 time",
    })?;
    let expires = time(proof, "expires")?;
    let key = PublicKey::parse_did_key(text(proof, "verificationMethod", "a did:key")?)
        .map_err(|source| ProofError::Key { source })?;
    check_context(proof.get("@context"), members.get("@context"))?;
    let signature = signature(text(proof, "proofValue", "a base58btc signature")?)?;

    let mut configuration = proof.clone();
    configuration.remove("proofValue");
    let mut unsigned = members.clone();
    unsigned.remove("proof");
    let message = message(&Value::Object(configuration), &Value::Object(unsigned))
        .map_err(|source| ProofError::Canonical { source })?;
    if !key.verifies(&message, &signature) {
        return Err(ProofError::Signature);
    }
    Ok(Signed { key, created, expires })
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "missing".to_owned(), |value| value.to_string().chars().take(60).collect())
}

fn text<'a>(
    proof: &'a Map<String, Value>,
    field: &'static str,
    wanted: &'static str,
) -> Result<&'a str, ProofError> {
    proof.get(field).and_then(Value::as_str).ok_or_else(|| ProofError::Field {
        field,
        found: shown(proof.get(field)),
        wanted,
    })
}

fn time(proof: &Map<String, Value>, field: &'static str) -> Result<Option<Timestamp>, ProofError> {
    let Some(value) = proof.get(field) else { return Ok(None) };
    value.as_str().and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| ProofError::Field {
        field,
        found: shown(Some(value)),
        wanted: "an RFC 3339 time",
    })
}

/// A proof made under a context holds only for documents that begin with the same one.
fn check_context(proof: Option<&Value>, document: Option<&Value>) -> Result<(), ProofError> {
    fn list(value: &Value) -> &[Value] {
        match value {
            Value::Array(items) => items,
            one => std::slice::from_ref(one),
        }
    }
    let Some(proof) = proof else { return Ok(()) };
    match document {
        Some(document) if list(document).starts_with(list(proof)) => Ok(()),
        _ => Err(ProofError::Context),
    }
}

fn signature(text: &str) -> Result<[u8; 64], ProofError> {
    let wrong = || ProofError::Field {
        field: "proofValue",
        found: text.chars().take(16).collect(),
        wanted: "a base58btc signature of 64 bytes",
    };
    let encoded = text.strip_prefix('z').filter(|_| text.len() <= VALUE_BYTES_MAX).ok_or_else(wrong)?;
    let bytes = bs58::decode(encoded).into_vec().map_err(|_| wrong())?;
    bytes.try_into().map_err(|_| wrong())
}

/// Adds a proof to an object that has none.
fn add_proof(document: Value, key: &SecretKey, created: Timestamp) -> Result<Value, SignError> {
    let Value::Object(mut members) = document else { return Err(SignError::NoObject) };
    if members.contains_key("proof") {
        return Err(SignError::Already);
    }
    let mut proof = json!({
        "type": KIND,
        "cryptosuite": CRYPTOSUITE,
        "created": created.to_string(),
        "verificationMethod": key.public().did_key(),
        "proofPurpose": PURPOSE,
    });
    if let Some(context) = members.get("@context") {
        proof["@context"] = context.clone();
    }
    let unsigned = Value::Object(members.clone());
    let message = message(&proof, &unsigned).map_err(|source| SignError::Canonical { source })?;
    proof["proofValue"] = Value::String(format!("z{}", bs58::encode(key.sign(&message)).into_string()));
    members.insert("proof".to_owned(), proof);
    Ok(Value::Object(members))
}

fn canonical(document: &Value) -> Result<Vec<u8>, SignError> {
    serde_json_canonicalizer::to_vec(document).map_err(|source| SignError::Canonical { source })
}

/// Signs a supplier's record and writes it in canonical form.
///
/// # Errors
/// When the document cannot be read, is no record (the error names event and field), or is signed already.
pub fn sign(document: &[u8], key: &SecretKey, created: Timestamp) -> Result<Vec<u8>, SignError> {
    let document = json::read(document).map_err(|source| SignError::Json { source })?;
    Record::read(&document).map_err(|source| SignError::Record { source })?;
    canonical(&add_proof(document, key, created)?)
}

/// Signs one event of a record by the party that saw it; the result goes into the record before [`sign`].
///
/// # Errors
/// When the event is no object or is signed already.
pub fn sign_event(event: Value, key: &SecretKey, created: Timestamp) -> Result<Value, SignError> {
    add_proof(event, key, created)
}

/// Signs a trust list with the root key and writes it in canonical form.
///
/// # Errors
/// When the document cannot be read, is no trust list, or is signed already.
pub fn sign_trust_list(document: &[u8], key: &SecretKey, created: Timestamp) -> Result<Vec<u8>, SignError> {
    let document = json::read(document).map_err(|source| SignError::Json { source })?;
    TrustList::parse(&document).map_err(|source| SignError::Trust { source })?;
    canonical(&add_proof(document, key, created)?)
}
