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
