//! Publish and claim: visibility, mutual exclusion, order, reuse of slots over two laps.

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

use common::{Outcomes, model};
use loom::sync::Arc;
use loom::thread;
use slipring::ring::{Effort, Settle};

/// publish_claim: a claimed message is whole.
#[test]
fn publish_claim() {
    static SEEN: LazyLock<Outcomes<Option<u8>>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            let mut p = producing.publisher(1);
            producing.publish(&mut p, 7).unwrap();
        });
        let mut c = m.claimer(2);
        let claim = m.ring.claim(&mut c, true, Effort::Thorough).unwrap();
        SEEN.add(claim.map(|claim| m.read(claim)));
        producer.join().unwrap();
    });
    SEEN.are(&[(None, "came first"), (Some(7), "came after")]);
}

/// publish_publish: two producers take different slots, and both messages are there.
#[test]
fn publish_publish() {
    static SEEN: LazyLock<Outcomes<Vec<u8>>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        let threads: Vec<_> = [1u8, 2]
            .into_iter()
            .map(|id| {
                let m = Arc::clone(&m);
                thread::spawn(move || {
                    let mut p = m.publisher(id.into());
                    m.publish(&mut p, id).unwrap()
                })
            })
            .collect();
        let sequences: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        assert_ne!(sequences[0], sequences[1]);
        let mut c = m.claimer(0);
        let bytes = (0..2)
            .map(|_| {
                m.read(
                    m.ring
                        .claim(&mut c, true, Effort::Thorough)
                        .unwrap()
                        .unwrap(),
                )
            })
            .collect();
        assert!(
            m.ring
                .claim(&mut c, true, Effort::Thorough)
                .unwrap()
                .is_none()
        );
        SEEN.add(bytes);
    });
    SEEN.are(&[
        (vec![1, 2], "first one first"),
        (vec![2, 1], "second one first"),
    ]);
}

/// claim_claim: of two consumers exactly one gets the message.
#[test]
fn claim_claim() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        let mut p = m.publisher(0);
        m.publish(&mut p, 7).unwrap();
        let claiming = Arc::clone(&m);
        let other = thread::spawn(move || {
            let mut c = claiming.claimer(1);
            claiming
                .ring
                .claim(&mut c, true, Effort::Thorough)
                .unwrap()
                .is_some()
        });
        let mut c = m.claimer(2);
        let mine = m
            .ring
            .claim(&mut c, true, Effort::Thorough)
            .unwrap()
            .is_some();
        SEEN.add((mine, other.join().unwrap()));
    });
    SEEN.are(&[((true, false), "this one"), ((false, true), "the other")]);
}

/// order: a consumer that steps over a slot being written never gets a later message of the same producer first.
#[test]
fn a_producers_messages_are_claimed_in_order() {
    loom::model(|| {
        let m = model(false);
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            let mut p = producing.publisher(1);
            producing.publish(&mut p, 1).unwrap();
            producing.publish(&mut p, 2).unwrap();
        });
        let mut c = m.claimer(2);

        let mut seen = Vec::new();
        for _ in 0..2 {
            if let Some(claim) = m.ring.claim(&mut c, true, Effort::Thorough).unwrap() {
                seen.push(m.read(claim));
            }
        }
        assert!(matches!(seen[..], [] | [1] | [1, 2]), "{seen:?}");
        producer.join().unwrap();
    });
}

/// ack_then_reuse: the slot of an acked message is written again only after its reader has finished, over two laps.
#[test]
fn ack_then_reuse() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        let mut p = m.publisher(1);
        m.publish(&mut p, 1).unwrap();
        m.publish(&mut p, 2).unwrap();
        let consuming = Arc::clone(&m);
        let consumer = thread::spawn(move || {
            let mut c = consuming.claimer(2);
            let claim = consuming
                .ring
                .claim(&mut c, true, Effort::Thorough)
                .unwrap()
                .unwrap();
            assert_eq!(consuming.read(claim), 1);
            let owner = slipring::layout::OwnerId(2);
            assert!(
                consuming
                    .ring
                    .settle(consuming.group, owner, claim, Settle::Ack)
            );
        });
        // In the second lap, if the first message has been acked by then.
        SEEN.add(m.publish(&mut p, 3).is_some());
        consumer.join().unwrap();
    });
    SEEN.are(&[(false, "still held"), (true, "slot used again")]);
}

/// nack_claim: what one consumer gives back another finds, with its count.
#[test]
fn nack_claim() {
    static SEEN: LazyLock<Outcomes<Option<u8>>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        let mut p = m.publisher(0);
        m.publish(&mut p, 7).unwrap();
        let mut c = m.claimer(1);
        let claim = m
            .ring
            .claim(&mut c, true, Effort::Thorough)
            .unwrap()
            .unwrap();
        let giving = Arc::clone(&m);
        let giver = thread::spawn(move || {
            let owner = slipring::layout::OwnerId(1);
            assert!(giving.ring.settle(giving.group, owner, claim, Settle::Nack));
        });
        let mut other = m.claimer(2);
        let early = m.ring.claim(&mut other, true, Effort::Thorough).unwrap();
        giver.join().unwrap();
        // Given back for sure now: if not taken already, it is found.
        let late = m.ring.claim(&mut other, true, Effort::Thorough).unwrap();
        assert!(early.is_some() != late.is_some());
        assert_eq!(early.or(late).unwrap().attempt, 2);
        SEEN.add(early.map(|claim| claim.attempt));
    });
    SEEN.are(&[(None, "not yet given back"), (Some(2), "given back")]);
}

/// publish_cursor, cursor_then_reuse: an exclusive consumer reads whole messages, and its cursor frees their slots.
#[test]
fn cursor_then_reuse() {
    loom::model(|| {
        let m = model(true);
        let mut p = m.publisher(1);
        m.publish(&mut p, 1).unwrap();
        m.publish(&mut p, 2).unwrap();
        let consuming = Arc::clone(&m);
        let consumer = thread::spawn(move || {
            let owner = slipring::layout::OwnerId(2);
            let mut c = consuming.ring.take_over(consuming.group, owner).unwrap();
            let handed = consuming.ring.cursor_next(&mut c).unwrap().unwrap();
            assert_eq!(consuming.read(handed.claim), 1);
            assert!(consuming.ring.cursor_end(&mut c, handed, Some(Settle::Ack)));
        });
        m.publish(&mut p, 3);
        consumer.join().unwrap();
    });
}

/// take_over_race: of two stand-bys exactly one becomes active.
#[test]
fn take_over_race() {
    loom::model(|| {
        let m = model(true);
        let taking = Arc::clone(&m);
        let other = thread::spawn(move || {
            taking
                .ring
                .take_over(taking.group, slipring::layout::OwnerId(1))
                .is_some()
        });
        let mine = m
            .ring
            .take_over(m.group, slipring::layout::OwnerId(2))
            .is_some();
        assert!(mine != other.join().unwrap());
    });
}

/// attach_against_cached_limit: a group that attaches sees whole every message from its start on, although a producer
/// had computed its limit before.
#[test]
fn attach_against_cached_limit() {
    static SEEN: LazyLock<Outcomes<(u64, u64)>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        // Without a group for now: the producer may go a lap beyond its own position.
        assert!(m.ring.close_group(m.group, m.ring.group_state(m.group)));
        let mut p = m.publisher(1);
        m.publish(&mut p, 1).unwrap();
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            1 + (2..5)
                .map_while(|byte| producing.publish(&mut p, byte))
                .count() as u64
        });
        let joining = m.ring.begin_group(slipring::layout::OwnerId(2)).unwrap();
        let id = joining.id;
        let start = m
            .ring
            .finish_group(
                joining,
                slipring::ring::Terms::default(),
                slipring::ring::Start::Latest,
            )
            .unwrap();
        let mut c = m.ring.claimer(id, slipring::layout::OwnerId(2));
        let (mut expected, sent) = (start, producer.join().unwrap());
        // Nothing is acked, so nothing from the start on may be overwritten or lost.
        while let Some(claim) = m.ring.claim(&mut c, true, Effort::Thorough).unwrap() {
            assert_eq!(claim.sequence, expected);
            assert_eq!(u64::from(m.read(claim)), claim.sequence + 1);
            expected += 1;
        }
        assert_eq!(expected, sent);
        SEEN.add((start, sent));
    });
    SEEN.are(&[
        ((1, 3), "at once, and to the end of its lap"),
        (
            (2, 3),
            "behind one, and the producer was held back by the pin",
        ),
        ((2, 4), "behind one, and to the end"),
        (
            (3, 3),
            "behind two, and the producer was held back by the pin",
        ),
        ((3, 4), "behind two"),
        ((4, 4), "behind all"),
    ]);
}
