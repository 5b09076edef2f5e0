//! Published vectors and documents: the W3C's `eddsa-jcs-2022`, RFC 8785, and EPCIS 2.0 documents of others.
//!
//! They are not part of this repository. `STOREHUB_EVAL`, else `../shared/eval` beside the checkout, names their
//! place; without it these tests say so and pass.

use std::{fs, path::PathBuf};

use provenance::{Record, json, proof};

fn eval(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("STOREHUB_EVAL").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/eval")),
        PathBuf::from,
    );
    let folder = root.join("ar/provenance").join(folder);
    if !folder.is_dir() {
        println!("skipped: no evaluation data at {}", folder.display());
        return None;
    }
    Some(folder)
}

fn documents(folder: &PathBuf) -> Vec<(String, Vec<u8>)> {
    let mut documents: Vec<_> = fs::read_dir(folder)
        .expect("the evaluation data can be read")
        .map(|entry| entry.expect("the evaluation data can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json" || extension == "jsonld"))
        .map(|path| {
            (
                path.file_name().expect("the evaluation data can be read").to_string_lossy().into_owned(),
                fs::read(&path).expect("the evaluation data can be read"),
            )
        })
        .collect();
    documents.sort();
    documents
}

#[test]
fn the_w3c_vector_holds_and_its_changed_copies_do_not() {
    let Some(folder) = eval("vc-di-eddsa/eddsa-jcs-2022") else { return };
    let document = json::read(&fs::read(folder.join("signedJCS.json")).unwrap()).unwrap();
    let signed = proof::check(&document).unwrap();
    assert_eq!(signed.key.to_string(), "z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2");

    for (pointer, value) in [("/name", "Another Credential"), ("/proof/created", "2023-02-24T23:36:39Z")] {
        let mut changed = document.clone();
        *changed.pointer_mut(pointer).unwrap() = value.into();
        assert!(matches!(proof::check(&changed), Err(provenance::ProofError::Signature)), "{pointer}");
    }
}

#[test]
fn rfc_8785_documents_are_canonicalised_as_published() {
    let Some(folder) = eval("json-canonicalization") else { return };
    for (name, input) in documents(&folder.join("input")) {
        let expected = fs::read(folder.join("output").join(&name)).unwrap();
        let written = serde_json_canonicalizer::to_vec(&json::read(&input).unwrap()).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&written),
            String::from_utf8_lossy(&expected).trim_end(),
            "{name}"
        );
    }
}

#[test]
fn valid_documents_of_others_are_read_or_refused_with_a_place() {
    let Some(folder) = eval("openepcis-test-resources/Documents") else { return };
    let documents = documents(&folder);
    let total = documents.len();
    let mut read = 0;
    for (name, document) in documents {
        let document = json::read(&document).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        match Record::read(&document) {
            Ok(_) => read += 1,
            Err(error) => {
                println!("{name}: {error}");
                assert!(!error.field.is_empty() && error.event.is_some(), "{name}: {error}");
            }
        }
    }
    println!("{read} of {total} read");
    assert!(total * 9 / 10 <= read, "{read} of {total}");
}

#[test]
fn documents_of_the_hash_generator_are_read_or_refused_with_a_place() {
    let Some(folder) = eval("epcis-event-hash-generator") else { return };
    let mut read = 0;
    for (name, document) in documents(&folder) {
        let document = json::read(&document).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        match Record::read(&document) {
            Ok(_) => read += 1,
            Err(error) => {
                println!("{name}: {error}");
                assert!(!error.field.is_empty(), "{name}: {error}");
            }
        }
    }
    assert!(0 < read);
}

#[test]
fn every_invalid_document_of_others_is_refused() {
    let Some(folder) = eval("openepcis-test-resources/Invalid") else { return };
    let documents = documents(&folder);
    assert!(15 <= documents.len());
    for (name, document) in documents {
        let error = Record::read(&json::read(&document).unwrap()).expect_err(&name);
        println!("{name}: {error}");
    }
}
