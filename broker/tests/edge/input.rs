//! Any bytes at all: never a panic, and others are served.
//!
//! A case that fails is written to `proptest-regressions/input.txt`, to be kept and tried again first.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Edge, connect, publish, publish2, subscribe, unsubscribe, will};

struct Fixture {
    runtime: tokio::runtime::Runtime,
    edge: Edge,
}

/// Panics on the broker's workers; a panicked task only looks like a closed connection.
static PANICS: AtomicUsize = AtomicUsize::new(0);
const WORKER: &str = "edge-under-fuzz";

/// One broker bears all cases: what an early one breaks, a later one finds broken.
fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() == Some(WORKER) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            previous(info);
        }));
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.thread_name(WORKER).enable_all().build().unwrap();
        let edge = runtime.block_on(Edge::start());
        Fixture { runtime, edge }
    })
}

fn valid_frames(level: u8) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(connect(level, "again", 2, 0, &[], &[])),
        Just(connect(level, "w", 6, 0, &[], &will(level, "é", b"x", &[]))),
        ("[a-z/+#$é\\x00]{0,6}", any::<bool>()).prop_map(move |(topic, retain)| publish(
            level,
            &topic,
            Some(3),
            b"payload",
            retain,
            false
        )),
        ("[a-zé/]{1,4}", 0..4_u16, any::<bool>())
            .prop_map(move |(topic, id, dup)| publish2(level, &topic, id, b"p", dup)),
        ("[a-z/+#$é]{0,6}", 0..64_u8)
            .prop_map(move |(filter, options)| subscribe(level, 9, &filter, options)),
        Just(unsubscribe(level, 4, &["a", "#"])),
        (prop_oneof![Just(0x40_u8), Just(0x50), Just(0x62), Just(0x70)], 0..3_u8)
            .prop_map(|(first, id)| vec![first, 2, 0, id]),
        Just(vec![0xc0, 0]),
        Just(vec![0xe0, 0]),
        Just(vec![0xe0, 1, 0]),
        proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

/// A session's bytes: mostly whole packets, then some of their bytes changed.
fn sessions() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(4_u8), Just(5_u8)].prop_flat_map(|level| {
        let packets = proptest::collection::vec(valid_frames(level), 0..8);
        let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
        let starts_well = prop::bool::weighted(0.9);
        (packets, changes, starts_well).prop_map(move |(packets, changes, starts_well)| {
            let mut bytes = packets.concat();
            for (index, value) in changes {
                if !bytes.is_empty() {
                    let at = index.index(bytes.len());
                    bytes[at] = value;
                }
            }
            let mut session = if starts_well { connect(level, "fuzz", 2, 0, &[], &[]) } else { Vec::new() };
            session.extend_from_slice(&bytes);
            session
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: Some(Box::new(
            proptest::test_runner::FileFailurePersistence::Direct("proptest-regressions/input.txt"),
        )),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_input_panics_or_keeps_others_from_being_served(session in sessions()) {
        let Fixture { runtime, edge } = fixture();
        runtime.block_on(async {
            let mut client = edge.open().await;
            drop(client.stream.write_all(&session).await);
            drop(client.stream.shutdown().await);
            let mut answers = Vec::new();
            let read = client.stream.read_to_end(&mut answers);
            drop(tokio::time::timeout(crate::support::PATIENCE, read).await.expect("the broker closes"));
            edge.serves_others().await;
            assert_eq!(edge.count("router_restarts"), 0);
            assert_eq!(PANICS.load(Ordering::Relaxed), 0);
        });
    }
}
