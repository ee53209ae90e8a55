//! Long messages: a segment of the arena has one holder at a time, and is emptied only behind all readers (I8).

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

use common::data::preempted;
use common::{Model, Outcomes, SMALL, shaped};
use loom::sync::Arc;
use loom::thread;
use slipring::layout::geometry::Shape;
use slipring::ring::{Publisher, Terms};

/// One segment.
const ARENA: Shape = Shape {
    max_message: SEGMENT,
    arena_size: SEGMENT,
    ..SMALL
};
const SEGMENT: u64 = 4096;

/// segment_then_reuse: a segment is emptied only when the reader of its last message has finished.
#[test]
fn segment_then_reuse() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = shaped(ARENA, Terms::default());
        let mut p = m.publisher(1);
        m.publish_long(&mut p, 1, SEGMENT).unwrap();
        let consuming = Arc::clone(&m);
        let consumer = thread::spawn(move || {
            let mut c = consuming.claimer(2);
            let claim = consuming.next(&mut c).unwrap();
            assert_eq!(consuming.read_long(claim), 1);
            assert!(consuming.end(2, claim, slipring::ring::Settle::Ack));
            c
        });
        let early = m.publish_long(&mut p, 2, SEGMENT).is_some();
        let mut c = consumer.join().unwrap();
        assert!(early || m.publish_long(&mut p, 2, SEGMENT).is_some());
        let claim = m.next(&mut c).unwrap();
        assert_eq!(m.read_long(claim), 2);
        SEEN.add(early);
    });
    SEEN.are(&[(false, "still read"), (true, "emptied")]);
}

/// publish_long_claim: who sees the slot's word sees the bytes in the arena.
#[test]
fn publish_long_claim() {
    static SEEN: LazyLock<Outcomes<Option<u8>>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = shaped(ARENA, Terms::default());
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            let mut p = producing.publisher(1);
            producing.publish_long(&mut p, 7, SEGMENT).unwrap();
        });
        let claim = m.next(&mut m.claimer(2));
        SEEN.add(claim.map(|claim| m.read_long(claim)));
        producer.join().unwrap();
    });
    SEEN.are(&[(None, "came first"), (Some(7), "came after")]);
}

/// What two producers that want room for `length` bytes each get, and the messages they sent, in order.
fn two_want(length: u64, used_before: bool) -> (Vec<bool>, Vec<u8>) {
    let m = shaped(ARENA, Terms::default());
    let mut c = m.claimer(0);
    if used_before {
        // By one of the two, so that the segment's word could come back as it was.
        m.publish_long(&mut m.publisher(1), 9, SEGMENT).unwrap();
        let claim = m.next(&mut c).unwrap();
        assert!(m.end(0, claim, slipring::ring::Settle::Ack));
    }
    let producing = Arc::clone(&m);
    let other = thread::spawn(move || {
        let mut p = producing.publisher(1);
        producing.publish_long(&mut p, 1, length).is_some()
    });
    let mine = m.publish_long(&mut m.publisher(2), 2, length).is_some();
    let sent = vec![other.join().unwrap(), mine];
    let mut bytes: Vec<_> = std::iter::from_fn(|| m.next(&mut c))
        .map(|claim| m.read_long(claim))
        .collect();
    bytes.sort_unstable();
    (sent, bytes)
}

/// two_share_a_segment: two producers put messages of half a segment into it; each has its own half.
#[test]
fn two_share_a_segment() {
    static SEEN: LazyLock<Outcomes<(Vec<bool>, Vec<u8>)>> = LazyLock::new(Outcomes::default);
    preempted(3, || SEEN.add(two_want(SEGMENT / 2, false)));
    SEEN.are(&[
        ((vec![true, true], vec![1, 2]), "one after the other"),
        ((vec![true, false], vec![1]), "held by the first"),
        ((vec![false, true], vec![2]), "held by the second"),
    ]);
}

/// two_empty_a_segment: both find it full of settled messages; who empties it second finds the new one in it.
#[test]
fn two_empty_a_segment() {
    static SEEN: LazyLock<Outcomes<(Vec<bool>, Vec<u8>)>> = LazyLock::new(Outcomes::default);
    preempted(3, || SEEN.add(two_want(SEGMENT, true)));
    SEEN.are(&[
        ((vec![true, false], vec![1]), "the first"),
        ((vec![false, true], vec![2]), "the second"),
    ]);
}

/// A segment whose only message is acked, whose slot is then used again; a producer that has not looked at the ack, only
/// at what came after it, empties the segment. `knows`: what it does to learn of that. True if it found the segment free.
fn emptied_behind(knows: fn(&Model, &mut Publisher)) -> bool {
    let m = shaped(ARENA, Terms::default());
    let mut late = m.publisher(0);
    let mut p = m.publisher(1);
    m.publish_long(&mut p, 1, SEGMENT).unwrap();
    m.publish(&mut p, 2).unwrap();
    m.ring.refresh_limit(&mut late);
    let claim = m.next(&mut m.claimer(2)).unwrap();
    let consuming = Arc::clone(&m);
    let other = thread::spawn(move || {
        assert_eq!(consuming.read_long(claim), 1);
        assert!(consuming.end(2, claim, slipring::ring::Settle::Ack));
        consuming.publish(&mut p, 3);
    });
    knows(&m, &mut late);
    let held = m.ring.hold_segment(&mut late, SEGMENT).ok();
    if let Some(held) = held {
        m.ring.mem().copy_in(held.bytes, &[9; 8]);
    }
    other.join().unwrap();
    held.is_some()
}

/// segment_behind_the_tail: what lies a lap below the tail has been read, also for who has only looked at the tail.
#[test]
fn segment_behind_the_tail() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| SEEN.add(emptied_behind(|_, _| {})));
    SEEN.are(&[(false, "not yet acked"), (true, "emptied")]);
}

/// segment_behind_a_lap: the same for who has only met a reservation of the next lap.
#[test]
fn segment_behind_a_lap() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        SEEN.add(emptied_behind(|m, late| {
            // It may even get the slot, between the ack and the other's publish.
            let _reserved = m.ring.reserve(late);
        }));
    });
    SEEN.are(&[(false, "not yet acked"), (true, "emptied")]);
}
