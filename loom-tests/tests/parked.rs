//! Parked messages: who decides on one is the only one, and has looked at it before it is gone.

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
use slipring::layout::OwnerId;
use slipring::ring::{Cause, Claim, Settle, Stuck};

const PARKS: Settle = Settle::Park(Cause::Rejected);
const CONSUMER: u16 = 1;
const MEMBER: u16 = 2;

/// A full queue, its first message claimed.
fn claimed() -> (Arc<Model>, slipring::ring::Publisher, Claim) {
    let m = model(false);
    let mut p = m.publisher(0);
    m.publish(&mut p, 0).unwrap();
    m.publish(&mut p, 1).unwrap();
    let claim = m.next(&mut m.claimer(CONSUMER)).unwrap();
    (m, p, claim)
}

/// retry_or_discard: two members decide differently; one of them does, and so it is.
#[test]
fn retry_or_discard() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, _, claim) = claimed();
        assert!(m.end(CONSUMER, claim, PARKS));
        let deciding = Arc::clone(&m);
        let other = thread::spawn(move || {
            let dead = deciding.ring.dead_at(deciding.group, 0);
            dead.is_some_and(|dead| deciding.ring.decide(deciding.group, dead, false))
        });
        let dead = m.ring.dead_at(m.group, 0);
        let retried = dead.is_some_and(|dead| m.ring.decide(m.group, dead, true));
        assert!(retried != other.join().unwrap());
        let next = m.next(&mut m.claimer(MEMBER)).unwrap();
        assert_eq!((next.sequence, next.attempt), (u64::from(!retried), 1));
        SEEN.add(retried);
    });
    SEEN.are(&[(true, "retried"), (false, "discarded")]);
}

/// park_then_retry: who finds it parked gives it back, and it is delivered as if for the first time.
#[test]
fn park_then_retry() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, _, claim) = claimed();
        let parking = Arc::clone(&m);
        let consumer = thread::spawn(move || {
            assert_eq!(parking.read(claim), 0);
            assert!(parking.end(CONSUMER, claim, PARKS));
        });
        let dead = m.ring.dead_at(m.group, 0);
        if let Some(dead) = dead {
            assert_eq!((dead.attempt, dead.cause), (1, Cause::Rejected));
            assert!(m.ring.decide(m.group, dead, true));
        }
        let next = m.next(&mut m.claimer(MEMBER)).unwrap();
        assert_eq!(
            (next.sequence, next.attempt),
            (u64::from(dead.is_none()), 1)
        );
        consumer.join().unwrap();
        assert_eq!(m.ring.dead_at(m.group, 0).is_some(), dead.is_none());
        SEEN.add(dead.is_some());
    });
    SEEN.are(&[(true, "given back"), (false, "not parked yet")]);
}

/// discard_then_reuse: the slot of a discarded message is used again only after who decided has looked at it.
#[test]
fn discard_then_reuse() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, mut p, claim) = claimed();
        assert!(m.end(CONSUMER, claim, PARKS));
        let deciding = Arc::clone(&m);
        let member = thread::spawn(move || {
            let dead = deciding.ring.dead_at(deciding.group, 0).unwrap();
            assert_eq!(deciding.read(claim), 0);
            assert!(deciding.ring.decide(deciding.group, dead, false));
        });
        SEEN.add(m.publish(&mut p, 2).is_some());
        member.join().unwrap();
    });
    SEEN.are(&[(false, "still parked"), (true, "slot used again")]);
}

/// drop_or_retry: of a lossy queue's producer and a member that gives it back, one has it.
#[test]
fn drop_or_retry() {
    static SEEN: LazyLock<Outcomes<(bool, u64)>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, mut p, claim) = claimed();
        assert!(m.end(CONSUMER, claim, PARKS));
        let deciding = Arc::clone(&m);
        let member = thread::spawn(move || {
            let dead = deciding.ring.dead_at(deciding.group, 0)?;
            let retried = deciding.ring.decide(deciding.group, dead, true);
            retried.then(|| deciding.next(&mut deciding.claimer(MEMBER)))?
        });
        assert!(m.publish(&mut p, 2).is_none());
        let dropped = m.ring.drop_oldest(&mut p, Stuck::Full);
        let next = member
            .join()
            .unwrap()
            .map_or(u64::MAX, |claim| claim.sequence);
        assert!(m.publish(&mut p, 2).is_some() || next == 0);
        SEEN.add((dropped, next));
    });
    SEEN.are(&[
        ((false, 0), "given back, and claimed again"),
        ((true, 0), "the same, and the drop came too late"),
        ((true, 1), "given back, and dropped before it was claimed"),
        ((true, u64::MAX), "dropped while parked"),
    ]);
}

/// The same two messages in an exclusive group, the first one handed over.
fn handed() -> (
    Arc<Model>,
    slipring::ring::Publisher,
    slipring::ring::Cursor,
    slipring::ring::Handed,
) {
    let m = model(true);
    let mut p = m.publisher(0);
    m.publish(&mut p, 0).unwrap();
    m.publish(&mut p, 1).unwrap();
    let mut c = m.ring.take_over(m.group, OwnerId(CONSUMER)).unwrap();
    let handed = m.ring.cursor_next(&mut c).unwrap().unwrap();
    (m, p, c, handed)
}

/// discard_in_order_then_reuse: as discard_then_reuse, for an exclusive group, whose consumer learns of it in passing.
#[test]
fn discard_in_order_then_reuse() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, mut p, mut c, first) = handed();
        assert!(m.ring.cursor_end(&mut c, first, Some(PARKS)));
        let deciding = Arc::clone(&m);
        let member = thread::spawn(move || {
            let dead = deciding.ring.dead_at(deciding.group, 0).unwrap();
            assert_eq!(deciding.read(first.claim), 0);
            assert!(deciding.ring.decide(deciding.group, dead, false));
        });
        let second = m.ring.cursor_next(&mut c).unwrap().unwrap();
        assert_eq!(second.claim.sequence, 1);
        SEEN.add(m.publish(&mut p, 2).is_some());
        member.join().unwrap();
    });
    SEEN.are(&[(false, "still parked"), (true, "slot used again")]);
}

/// A note of the user's, written before parking. Who finds the message parked finds it.
fn notes(park: impl FnOnce() + Send + 'static, find: impl FnOnce() -> bool) -> bool {
    let note = Arc::new(loom::cell::UnsafeCell::new(0));
    let noting = Arc::clone(&note);
    let consumer = thread::spawn(move || {
        // SAFETY: loom checks that nobody else is inside.
        noting.with_mut(|note| unsafe { *note = 7 });
        park();
    });
    let found = find();
    if found {
        // SAFETY: as above.
        note.with(|note| assert_eq!(unsafe { *note }, 7));
    }
    consumer.join().unwrap();
    found
}

/// a_parked_note: who finds a parked message finds what was noted of it.
#[test]
fn a_parked_note() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, _, claim) = claimed();
        let parking = Arc::clone(&m);
        SEEN.add(notes(
            move || assert!(parking.end(CONSUMER, claim, PARKS)),
            || m.ring.dead_at(m.group, 0).is_some(),
        ));
    });
    SEEN.are(&[(false, "not parked yet"), (true, "parked")]);
}

/// a_parked_note_in_order: the same in an exclusive group.
#[test]
fn a_parked_note_in_order() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let (m, _, mut c, first) = handed();
        let parking = Arc::clone(&m);
        SEEN.add(notes(
            move || assert!(parking.ring.cursor_end(&mut c, first, Some(PARKS))),
            || m.ring.dead_at(m.group, 0).is_some(),
        ));
    });
    SEEN.are(&[(false, "not parked yet"), (true, "parked")]);
}
