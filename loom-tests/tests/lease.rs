//! Leases: what a slow consumer does against who ends its claim.

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

use common::{Model, Outcomes, leased};
use loom::sync::Arc;
use loom::thread;
use slipring::layout::OwnerId;
use slipring::ring::{Claim, Effort, Settle};
use slipring::sync::{AtomicU64, Ordering};

const SLOW: OwnerId = OwnerId(1);

/// A message claimed by the slow one, with a lease to 100.
fn claimed() -> (Arc<Model>, Claim) {
    let m = leased();
    let mut p = m.publisher(0);
    m.publish(&mut p, 7).unwrap();
    let mut c = m.claimer(SLOW.0);
    let claim = m.ring.claim(&mut c, true, Effort::Once).unwrap().unwrap();
    m.ring.begin_lease(m.group, SLOW, claim, true, 100);
    (m, claim)
}

/// late_ack: of a late ack and the claim's next holder, one has the message.
#[test]
fn late_ack() {
    static SEEN: LazyLock<Outcomes<(bool, Option<u8>)>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, claim) = claimed();
        let acking = Arc::clone(&m);
        let slow =
            thread::spawn(move || acking.ring.settle(acking.group, SLOW, claim, Settle::Ack));
        m.ring.expire(m.group, 200);
        let mut c = m.claimer(2);
        let next = m.ring.claim(&mut c, true, Effort::Once).unwrap();
        SEEN.add((slow.join().unwrap(), next.map(|claim| claim.attempt)));
    });
    SEEN.are(&[
        ((true, None), "acked in time"),
        ((false, Some(2)), "given to another"),
    ]);
}

/// extend_or_end: an extension that succeeded holds, one that failed has lost the claim.
#[test]
fn extend_or_end() {
    static SEEN: LazyLock<Outcomes<(bool, u64)>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, claim) = claimed();
        let extending = Arc::clone(&m);
        let slow = thread::spawn(move || {
            extending
                .ring
                .extend_lease(extending.group, SLOW, claim, 300)
        });
        let ended = m.ring.expire(m.group, 200);
        let extended = slow.join().unwrap();
        assert_eq!(m.ring.still_holds(m.group, SLOW, claim), extended);
        SEEN.add((extended, ended));
    });
    SEEN.are(&[((true, 0), "extended in time"), ((false, 1), "ended")]);
}

/// copy_of_a_late_holder: a copy after which the claim still stands is whole, whoever ended the lease meanwhile and
/// whatever came to the slot. The bytes are read while they may be written, so they are atomics here, outside the queue.
#[test]
fn copy_of_a_late_holder() {
    static SEEN: LazyLock<Outcomes<(bool, [u64; 2])>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, claim) = claimed();
        m.publish(&mut m.publisher(0), 8).unwrap();
        let payload = Arc::new([AtomicU64::new(7), AtomicU64::new(7)]);
        let (copying, bytes) = (Arc::clone(&m), Arc::clone(&payload));
        let slow = thread::spawn(move || {
            let copy = [0, 1].map(|at: usize| bytes[at].load(Ordering::Relaxed));
            (copying.ring.still_holds(copying.group, SLOW, claim), copy)
        });
        assert_eq!(m.ring.expire(m.group, 200), 1);
        let mut c = m.claimer(2);
        let next = m.ring.claim(&mut c, true, Effort::Once).unwrap().unwrap();
        assert_eq!(next.attempt, 2);
        assert!(m.ring.settle(m.group, OwnerId(2), next, Settle::Ack));
        let mut p = m.publisher(0);
        let reserved = m.ring.reserve(&mut p).unwrap();
        assert_eq!(reserved.sequence, 2);
        for word in payload.iter() {
            word.store(9, Ordering::Relaxed);
        }
        m.ring.commit(&mut p, reserved).unwrap();
        SEEN.add(slow.join().unwrap());
    });
    SEEN.are(&[
        ((true, [7, 7]), "in time"),
        ((false, [7, 7]), "too late, and whole"),
        ((false, [7, 9]), "torn, and refused"),
        ((false, [9, 7]), "the same"),
        ((false, [9, 9]), "of the next message, and refused"),
    ]);
}

/// an_old_lease: the lease of an earlier claim ends none that has not noted its own yet.
#[test]
fn an_old_lease() {
    static SEEN: LazyLock<Outcomes<Option<u64>>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, first) = claimed();
        assert!(m.ring.settle(m.group, SLOW, first, Settle::Nack));
        let claiming = Arc::clone(&m);
        let next = thread::spawn(move || {
            let mut c = claiming.claimer(2);
            let claim = claiming.ring.claim(&mut c, true, Effort::Once).unwrap();
            let claim = claim.unwrap();
            let owner = OwnerId(2);
            claiming
                .ring
                .begin_lease(claiming.group, owner, claim, true, 300);
            claim
        });
        // The first claim's lease has ended, the second's will not have; nor will one begun here.
        assert_eq!(m.ring.expire(m.group, 250), 0);
        let claim = next.join().unwrap();
        assert!(m.ring.still_holds(m.group, OwnerId(2), claim));
        assert_eq!(m.ring.expire(m.group, 299), 0);
        SEEN.add(
            [300, 350]
                .into_iter()
                .find(|&now| m.ring.expire(m.group, now) == 1),
        );
    });
    SEEN.are(&[(Some(300), "its own, also if one was begun here first")]);
}

/// The claim of `claimed` ends, and the next one has a lease to 400.
fn claimed_again(m: &Model, now: u64) -> Option<Claim> {
    let ended = m.ring.expire(m.group, now);
    let mut c = m.claimer(2);
    let next = m.ring.claim(&mut c, true, Effort::Once).unwrap()?;
    assert_eq!((ended, next.attempt), (1, 2));
    m.ring.begin_lease(m.group, OwnerId(2), next, true, 400);
    Some(next)
}

/// Of a claim whose lease was begun in time, that lease is what ends it.
fn ends_at(m: &Model, deadline: u64) {
    assert_eq!(m.ring.expire(m.group, deadline - 1), 0);
    assert_eq!(m.ring.expire(m.group, deadline), 1);
}

/// extend_or_claim_again: an extension that succeeded holds, also against who has claimed it since.
#[test]
fn extend_or_claim_again() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, claim) = claimed();
        let extending = Arc::clone(&m);
        let slow = thread::spawn(move || {
            extending
                .ring
                .extend_lease(extending.group, SLOW, claim, 300)
        });
        let next = claimed_again(&m, 200);
        let extended = slow.join().unwrap();
        assert!(extended != next.is_some());
        ends_at(&m, if extended { 300 } else { 400 });
        SEEN.add(extended);
    });
    SEEN.are(&[(true, "extended in time"), (false, "claimed again")]);
}

/// a_late_beginning: who was paused before it began its lease does not take the place of a later claim's.
#[test]
fn a_late_beginning() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = leased();
        m.publish(&mut m.publisher(0), 7).unwrap();
        let mut c = m.claimer(SLOW.0);
        let claim = m.ring.claim(&mut c, true, Effort::Once).unwrap().unwrap();
        // Somebody looks, and begins it in its place: to 100.
        assert_eq!(m.ring.expire(m.group, 0), 0);
        let beginning = Arc::clone(&m);
        let slow = thread::spawn(move || {
            beginning
                .ring
                .begin_lease(beginning.group, SLOW, claim, true, 500);
        });
        let next = claimed_again(&m, 200);
        slow.join().unwrap();
        ends_at(&m, if next.is_some() { 400 } else { 500 });
        SEEN.add(next.is_some());
    });
    SEEN.are(&[(true, "too late"), (false, "in time")]);
}

/// a_look_at_an_old_claim: who looks for ended leases meanwhile does not take a later claim's lease for none.
#[test]
fn a_look_at_an_old_claim() {
    loom::model(|| {
        let (m, first) = claimed();
        let again = Arc::clone(&m);
        let owner = thread::spawn(move || {
            assert!(again.ring.settle(again.group, SLOW, first, Settle::Nack));
            let mut c = again.claimer(SLOW.0);
            let next = again.ring.claim(&mut c, true, Effort::Once).unwrap();
            again
                .ring
                .begin_lease(again.group, SLOW, next.unwrap(), true, 300);
        });
        assert_eq!(m.ring.expire(m.group, 50), 0);
        owner.join().unwrap();
        ends_at(&m, 300);
    });
}
