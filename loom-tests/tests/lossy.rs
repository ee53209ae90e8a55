//! Lossy queues: the oldest message goes only if nobody is working on it, and of a drop and a claim one wins.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    missing_docs,
    reason = "a test may fail loudly"
)]
#![cfg(slipring_loom)]

mod common;

use std::sync::LazyLock;

use common::{Model, Outcomes, model};
use loom::sync::Arc;
use loom::thread;
use slipring::ring::{Publisher, Settle, Stuck};

const CONSUMER: u16 = 2;

/// A full queue, and its producer.
fn full() -> (Arc<Model>, Publisher) {
    let m = model(false);
    let mut p = m.publisher(1);
    m.publish(&mut p, 0).unwrap();
    m.publish(&mut p, 1).unwrap();
    (m, p)
}

/// Publishes on a lossy queue.
fn push(m: &Model, p: &mut Publisher, byte: u8) -> bool {
    m.publish(p, byte).is_some()
        || (m.ring.drop_oldest(p, Stuck::Full) && m.publish(p, byte).is_some())
}

/// drop_or_claim: the oldest message is dropped, or a consumer has it, whole, until it acks.
#[test]
fn drop_or_claim() {
    static SEEN: LazyLock<Outcomes<(u64, bool)>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, mut p) = full();
        let consuming = Arc::clone(&m);
        let consumer = thread::spawn(move || {
            let claim = consuming.next(&mut consuming.claimer(CONSUMER)).unwrap();
            assert_eq!(u64::from(consuming.finish(CONSUMER, claim)), claim.sequence);
            claim.sequence
        });
        let pushed = push(&m, &mut p, 2);
        SEEN.add((consumer.join().unwrap(), pushed));
    });
    SEEN.are(&[
        ((0, false), "claimed"),
        ((0, true), "acked"),
        ((1, true), "dropped"),
    ]);
}

/// drop_or_nack: a message given back is dropped only after its reader has finished, and is then not redelivered.
#[test]
fn drop_or_nack() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, mut p) = full();
        let claim = m.next(&mut m.claimer(CONSUMER)).unwrap();
        let consuming = Arc::clone(&m);
        let consumer = thread::spawn(move || {
            assert_eq!(consuming.read(claim), 0);
            assert!(consuming.end(CONSUMER, claim, Settle::Nack));
        });
        let pushed = push(&m, &mut p, 2);
        consumer.join().unwrap();
        let next = m.next(&mut m.claimer(0)).unwrap();
        assert_eq!(next.sequence, u64::from(pushed));
        assert_eq!(u64::from(m.read(next)), next.sequence);
        SEEN.add(pushed);
    });
    SEEN.are(&[(false, "held"), (true, "dropped")]);
}
