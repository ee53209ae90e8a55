//! What is given back: the ready hint may point too low, but nothing lies below it once its giver has returned (I6).

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
use slipring::layout::word::READY_BITS;
use slipring::ring::{Claim, Settle, Terms};

/// The hint's sequence wraps between its second message and its third.
const WRAPS: Shape = Shape {
    first_sequence: (1 << READY_BITS) - 2,
    ..SMALL
};
/// So many slots that a claim does not look at claim words again for the sake of the floor.
const LARGER: Shape = Shape {
    capacity: 8,
    ..SMALL
};
const LAST: u64 = WRAPS.first_sequence + 2;
const GIVER: u16 = 1;
const SEARCHER: u16 = 2;

/// Two messages, on both sides of the wrap, claimed by the giver.
fn two_claimed() -> (Arc<Model>, [Claim; 2]) {
    let m = shaped(WRAPS, Terms::default());
    let mut p = m.publisher(0);
    m.publish(&mut p, 9).unwrap();
    m.publish(&mut p, 0).unwrap();
    let mut c = m.claimer(GIVER);
    let first = m.next(&mut c).unwrap();
    assert_eq!(m.finish(GIVER, first), 9);
    m.publish(&mut p, 1).unwrap();
    let claims = [(); 2].map(|()| m.next(&mut c).unwrap());
    (m, claims)
}

/// nack_against_search: a searcher that found nothing does not take away the hint of what came meanwhile.
#[test]
fn nack_against_search() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, claims) = two_claimed();
        assert_eq!(m.finish(GIVER, claims[0]), 0);
        // As after a wait in vain: the hint says to look, and there is nothing.
        m.ring.look_again(m.group);
        m.ring.raise_floor(m.group);
        m.ring.note_ready(m.group, LAST);
        let giving = Arc::clone(&m);
        let giver = thread::spawn(move || assert!(giving.end(GIVER, claims[1], Settle::Nack)));
        let mut c = m.claimer(SEARCHER);
        let early = m.next(&mut c);
        giver.join().unwrap();
        let late = m.next(&mut c);
        assert!(early.is_some() != late.is_some());
        let claim = early.or(late).unwrap();
        assert_eq!((claim.sequence, claim.attempt), (LAST, 2));
        SEEN.add(early.is_some());
    });
    SEEN.are(&[(false, "not yet given back"), (true, "given back")]);
}

/// two_nacks: two consumers give back at once; the hint covers both.
#[test]
fn two_nacks() {
    loom::model(|| {
        let (m, claims) = two_claimed();
        let giving = Arc::clone(&m);
        let giver = thread::spawn(move || assert!(giving.end(GIVER, claims[0], Settle::Nack)));
        assert!(m.end(GIVER, claims[1], Settle::Nack));
        giver.join().unwrap();
        let mut c = m.claimer(SEARCHER);
        for (byte, given_back) in (0..).zip(claims) {
            let claim = m.next(&mut c).unwrap();
            assert_eq!((claim.sequence, claim.attempt), (given_back.sequence, 2));
            assert_eq!(m.finish(SEARCHER, claim), byte);
        }
        assert!(m.next(&mut c).is_none());
    });
}

/// two_search: two consumers look for what was given back; who takes it gives it back again, and it is found again.
#[test]
fn two_search() {
    static SEEN: LazyLock<Outcomes<(Option<u8>, Option<u8>)>> = LazyLock::new(Outcomes::default);
    preempted(3, || {
        let (m, claims) = two_claimed();
        assert_eq!(m.finish(GIVER, claims[0]), 0);
        assert!(m.end(GIVER, claims[1], Settle::Nack));
        let searching = Arc::clone(&m);
        let giver = thread::spawn(move || {
            let claim = searching.next(&mut searching.claimer(GIVER));
            claim.map(|claim| {
                assert!(searching.end(GIVER, claim, Settle::Nack));
                claim.attempt
            })
        });
        let mut c = m.claimer(SEARCHER);
        let early = m.next(&mut c).map(|claim| claim.attempt);
        let other = giver.join().unwrap();
        if early.is_none() {
            let late = m.next(&mut c).unwrap();
            assert_eq!((late.sequence, late.attempt), (LAST, 3));
        }
        SEEN.add((other, early));
    });
    SEEN.are(&[
        ((Some(2), None), "the other had it"),
        ((Some(2), Some(3)), "after the other"),
        ((None, Some(2)), "before the other"),
    ]);
}

/// What a user keeps beside the queue, and does something to while it holds a message.
type Beside = Arc<loom::cell::UnsafeCell<u8>>;

fn works(beside: &Beside) -> u8 {
    beside.with_mut(|work| {
        // SAFETY: loom checks that nobody else is inside.
        unsafe {
            *work += 1;
            *work
        }
    })
}

/// Who gets it again sees all that was done with it before. True if it was given back in time.
fn works_again(give_back: fn(&Model, Claim)) -> bool {
    let m = shaped(LARGER, Terms::default());
    m.enter(GIVER);
    m.publish(&mut m.publisher(0), 7).unwrap();
    let beside = Beside::default();
    // It stands before the message: it may find it given back before there is a hint.
    let mut searcher = m.claimer(SEARCHER);
    let claim = m.next(&mut m.claimer(GIVER)).unwrap();
    let (giving, working) = (Arc::clone(&m), Arc::clone(&beside));
    let giver = thread::spawn(move || {
        works(&working);
        give_back(&giving, claim);
    });
    let again = m.next(&mut searcher);
    if let Some(again) = again {
        assert_eq!((again.attempt, works(&beside)), (2, 2));
    }
    giver.join().unwrap();
    again.is_some()
}

/// redelivered_behind_a_nack: who gets it again sees what was done with it before, in the user's own memory, too.
#[test]
fn redelivered_behind_a_nack() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        SEEN.add(works_again(|m, claim| {
            assert!(m.end(GIVER, claim, Settle::Nack));
        }));
    });
    SEEN.are(&[(false, "not yet given back"), (true, "given back")]);
}

/// redelivered_behind_a_death: the same of one that died.
#[test]
fn redelivered_behind_a_death() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| SEEN.add(works_again(|m, _| assert_eq!(m.bury(GIVER).claims, 1))));
    SEEN.are(&[(false, "not yet swept"), (true, "swept")]);
}
