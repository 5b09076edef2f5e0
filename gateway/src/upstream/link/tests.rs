//! What the link does by itself, without a broker.

use super::*;

fn row(seq: u64, data: &str) -> Row {
    Row {
        seq,
        at: Timestamp::UNIX_EPOCH,
        kind: "shelf.reading".to_owned(),
        device: Some("shelf-01".to_owned()),
        data: RawValue::from_string(data.to_owned()).unwrap(),
    }
}

fn batch_bytes(rows: Vec<Row>) -> usize {
    let store = contract::StoreId::parse(&"s".repeat(64)).unwrap();
    let data = BatchData { stream: Stream::Experience, epoch: u64::MAX, prev_seq: 0, rows };
    encoded(&Batch::new(&store, Timestamp::UNIX_EPOCH, data)).len()
}

#[test]
fn a_batch_ends_before_it_grows_beyond_its_bytes_or_rows() {
    let rows = || (1..=1_000).map(|seq| row(seq, "{\"weight_g\":1.5}")).collect::<Vec<_>>();
    assert_eq!(shape(rows(), 500, BATCH_BYTES_MAX).rows.len(), 500);
    let shaped = shape(rows(), 500, 10_000);
    assert!(shaped.rows.len() < 500 && 20 < shaped.rows.len());
    assert!(batch_bytes(shaped.rows) <= 10_000);
}

#[test]
fn a_row_that_no_batch_can_hold_goes_without_its_content_and_is_counted() {
    let large = format!("\"{}\"", "x".repeat(BATCH_BYTES_MAX));
    let shaped = shape(vec![row(1, "1"), row(2, &large), row(3, "3")], 500, BATCH_BYTES_MAX);
    assert_eq!(shaped.oversized, 1);
    assert_eq!(shaped.rows.len(), 3);
    assert_eq!(shaped.rows[1].data.get(), format!("{{\"storehub_left_out_bytes\":{}}}", large.len()));
    assert!(batch_bytes(shaped.rows) <= BATCH_BYTES_MAX);
}
