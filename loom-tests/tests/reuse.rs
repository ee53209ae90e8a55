//! Slots used again, lap after lap: only behind their readers, whoever noticed, and also where the laps' numbers wrap.

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
use common::{Outcomes, SMALL, model, shaped};
use loom::sync::Arc;
use loom::thread;
use slipring::layout::geometry::Shape;
use slipring::layout::word::LAP_BITS;
use slipring::ring::Terms;

/// The second lap of a queue of two has number 0 in its words, and in the shorter ones of claims as well.
const WRAPS: Shape = Shape {
    first_sequence: (1 << (LAP_BITS + 1)) - 4,
    ..SMALL
};

/// reuse_wraps: while a consumer works through a lap, the next ones follow behind it, over the wrap of the laps.
#[test]
fn reuse_wraps() {
    static SEEN: LazyLock<Outcomes<u64>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let first = WRAPS.first_sequence;
        let m = shaped(WRAPS, Terms::default());
        let mut p = m.publisher(1);
        assert_eq!(m.publish(&mut p, 0), Some(first));
        assert_eq!(m.publish(&mut p, 1), Some(first + 1));
        let consuming = Arc::clone(&m);
        let consumer = thread::spawn(move || {
            let mut c = consuming.claimer(2);
            for byte in 0..2 {
                let claim = consuming.next(&mut c).unwrap();
                assert_eq!(claim.sequence, first + u64::from(byte));
                assert_eq!(consuming.finish(2, claim), byte);
            }
            c
        });
        let early = (2..4)
            .map_while(|byte| m.publish(&mut p, byte))
            .inspect(|&sequence| assert!(sequence >= first + 2))
            .count() as u64;
        let mut c = consumer.join().unwrap();
        // The rest of the second lap, and the third.
        let mut sent = 2 + early;
        for expected in 2..6 {
            while sent < expected + 2 && sent < 6 {
                assert_eq!(m.publish(&mut p, sent as u8), Some(first + sent));
                sent += 1;
            }
            let claim = m.next(&mut c).unwrap();
            assert_eq!((claim.sequence, claim.attempt), (first + expected, 1));
            assert_eq!(u64::from(m.finish(2, claim)), expected);
        }
        SEEN.add(early);
    });
    SEEN.are(&[
        (0, "behind neither"),
        (1, "behind the first ack"),
        (2, "behind both"),
    ]);
}

/// floor_by_two: two consumers settle and move the floor at once, and the producer that goes on behind it has seen that
/// both readers have finished, even if it read only the floor.
#[test]
fn floor_by_two() {
    static SEEN: LazyLock<Outcomes<(bool, u64)>> = LazyLock::new(Outcomes::default);
    preempted(2, || {
        let m = model(false);
        let mut p = m.publisher(0);
        m.publish(&mut p, 0).unwrap();
        m.publish(&mut p, 1).unwrap();
        let claims = [1, 2].map(|id| m.next(&mut m.claimer(id)).unwrap());
        let settling = Arc::clone(&m);
        let first = thread::spawn(move || {
            settling.finish(1, claims[0]);
            settling.ring.raise_floor(settling.group)
        });
        let helping = Arc::clone(&m);
        let second = thread::spawn(move || {
            // Over the other's message alone, if at all.
            assert!(helping.ring.raise_floor(helping.group) <= 1);
            helping.finish(2, claims[1]);
            helping.ring.raise_floor(helping.group)
        });
        let early = m.publish(&mut p, 2).is_some();
        let most = first.join().unwrap().max(second.join().unwrap());
        let floor = m.ring.floor(m.group);
        assert!((most..=2).contains(&floor));
        assert_eq!(m.ring.raise_floor(m.group), 2);
        SEEN.add((early, floor));
    });
    SEEN.are(&[
        ((false, 1), "no room yet, and the floor lags"),
        ((false, 2), "no room yet"),
        ((true, 1), "room, and the floor lags"),
        ((true, 2), "room"),
    ]);
}

/// a_lap_nobody_reads: without groups, a producer writes over what another has written only when that one has finished.
#[test]
fn a_lap_nobody_reads() {
    static SEEN: LazyLock<Outcomes<Vec<u64>>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        assert!(m.ring.close_group(m.group, m.ring.group_state(m.group)));
        let mut p = m.publisher(1);
        assert_eq!(m.publish(&mut p, 0), Some(0));
        let producing = Arc::clone(&m);
        let other = thread::spawn(move || {
            producing.publish(&mut producing.publisher(2), 0).unwrap();
        });
        SEEN.add((0..2).map_while(|_| m.publish(&mut p, 0)).collect());
        other.join().unwrap();
    });
    SEEN.are(&[
        (vec![1, 2], "before the other, which has the next lap"),
        (vec![1, 3], "on both sides of the other"),
        (vec![2], "behind the other, which is still writing"),
        (vec![2, 3], "behind the other"),
    ]);
}
