//! Sweeps against the living: nothing of theirs is taken; two sweeps at once do what one does; and one that is wrong about
//! its participant's death is heard of by that.

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
use slipring::layout::{EntryState, OwnerId, SlotHeader};
use slipring::ring::{Publisher, Settle, Stuck};

const SWEPT: u16 = 1;
const OTHER: u16 = 2;

/// A message that the dead one had claimed, and a hole behind it.
fn left_behind() -> Arc<Model> {
    let m = model(false);
    m.enter(SWEPT);
    let mut p = m.publisher(SWEPT);
    m.publish(&mut p, 7).unwrap();
    m.claim(&mut m.claimer(SWEPT)).unwrap();
    m.ring.reserve(&mut p).unwrap();
    m
}

/// two_sweepers: each step is done once, whoever does it.
#[test]
fn two_sweepers() {
    static SEEN: LazyLock<Outcomes<(u64, u64)>> = LazyLock::new(Outcomes::default);
    common::death::bounded(2, || {
        let m = left_behind();
        let found = m.ring.participant_state(OwnerId(SWEPT));
        let sweeping = Arc::clone(&m);
        let other = thread::spawn(move || sweeping.ring.sweep(OwnerId(SWEPT), found));
        let mine = m.ring.sweep(OwnerId(SWEPT), found);
        let theirs = other.join().unwrap();
        assert_eq!(mine.and(theirs).holes, 1);
        assert_eq!(mine.and(theirs).claims, 1);
        let state = m.ring.participant_state(OwnerId(SWEPT));
        assert_eq!(state.entry_state(), Some(EntryState::Free));
        let mut c = m.claimer(OTHER);
        let claim = m.claim(&mut c).unwrap();
        assert_eq!((claim.sequence, claim.attempt), (0, 2));
        assert!(m.claim(&mut c).is_none());
        assert!(m.ring.settle(m.group, OwnerId(OTHER), claim, Settle::Ack));
        let mut p = m.publisher(OTHER);
        assert_eq!(
            (m.publish(&mut p, 8), m.publish(&mut p, 9)),
            (Some(2), Some(3))
        );
        SEEN.add((mine.holes, mine.claims));
    });
    SEEN.are(&[
        ((0, 0), "the other did all"),
        ((0, 1), "the other aborted, this one gave back"),
        ((1, 0), "this one aborted, the other gave back"),
        ((1, 1), "this one did all"),
    ]);
}

/// sweep_beside_the_living: what another reserves, publishes, claims and acks meanwhile is its own.
#[test]
fn sweep_beside_the_living() {
    static SEEN: LazyLock<Outcomes<(u64, u8)>> = LazyLock::new(Outcomes::default);
    common::death::bounded(3, || {
        let m = model(false);
        m.enter(SWEPT);
        let mut p = m.publisher(SWEPT);
        m.ring.reserve(&mut p).unwrap();
        let sweeping = Arc::clone(&m);
        let sweeper = thread::spawn(move || sweeping.bury(SWEPT));
        let mut p = m.publisher(OTHER);
        assert_eq!(m.publish(&mut p, 8), Some(1));
        let mut c = m.claimer(OTHER);
        let claim = m.claim(&mut c).unwrap();
        assert_eq!(m.read(claim), 8);
        assert!(m.ring.settle(m.group, OwnerId(OTHER), claim, Settle::Ack));
        assert_eq!(sweeper.join().unwrap().holes, 1);
        SEEN.add((claim.sequence, claim.attempt));
    });
    SEEN.are(&[((1, 1), "its own")]);
}

fn try_publish(m: &Model, p: &mut Publisher) -> Result<(), Stuck> {
    let reserved = m.ring.reserve(p)?;
    let header = SlotHeader {
        length: 8,
        ..SlotHeader::default()
    };
    m.ring.fill(reserved, &header, &[7; 8]);
    m.ring.commit(p, reserved)
}

/// commit_or_abort: of a commit and the abort by somebody who takes its producer for dead, one holds.
#[test]
fn commit_or_abort() {
    static SEEN: LazyLock<Outcomes<(bool, u64)>> = LazyLock::new(Outcomes::default);
    common::death::bounded(3, || {
        let m = model(false);
        m.enter(SWEPT);
        let sweeping = Arc::clone(&m);
        let wrong = thread::spawn(move || sweeping.bury(SWEPT));
        let mut p = m.publisher(SWEPT);
        let committed = try_publish(&m, &mut p);
        assert!(matches!(committed, Ok(()) | Err(Stuck::Fenced)));
        let holes = wrong.join().unwrap().holes;
        let found = m.claim(&mut m.claimer(OTHER)).map(|claim| m.read(claim));
        assert_eq!(found, committed.is_ok().then_some(7));
        // It goes on behind the hole.
        assert_eq!(m.publish(&mut p, 8), Some(1));
        SEEN.add((committed.is_ok(), holes));
    });
    SEEN.are(&[((true, 0), "committed"), ((false, 1), "aborted")]);
}

/// ack_or_sweep: of an ack and the return by somebody who takes its consumer for dead, one holds.
#[test]
fn ack_or_sweep() {
    static SEEN: LazyLock<Outcomes<(bool, u64)>> = LazyLock::new(Outcomes::default);
    common::death::bounded(3, || {
        let m = model(false);
        m.enter(SWEPT);
        let mut p = m.publisher(OTHER);
        m.publish(&mut p, 7).unwrap();
        let claim = m.claim(&mut m.claimer(SWEPT)).unwrap();
        let sweeping = Arc::clone(&m);
        let wrong = thread::spawn(move || sweeping.bury(SWEPT));
        let acked = m.ring.settle(m.group, OwnerId(SWEPT), claim, Settle::Ack);
        let claims = wrong.join().unwrap().claims;
        let again = m.claim(&mut m.claimer(OTHER)).map(|claim| claim.attempt);
        assert_eq!(again, if acked { None } else { Some(2) });
        SEEN.add((acked, claims));
    });
    SEEN.are(&[((true, 0), "acked"), ((false, 1), "given back")]);
}

/// two_sweepers, exclusive: the successor is not taken for its dead predecessor.
#[test]
fn two_sweepers_and_a_successor() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    common::death::bounded(3, || {
        let m = model(true);
        m.enter(SWEPT);
        let mut p = m.publisher(OTHER);
        m.publish(&mut p, 7).unwrap();
        let mut dead = m.ring.take_over(m.group, OwnerId(SWEPT)).unwrap();
        m.ring.cursor_next(&mut dead).unwrap().unwrap();
        let found = m.ring.participant_state(OwnerId(SWEPT));
        let sweeping = Arc::clone(&m);
        let other = thread::spawn(move || sweeping.ring.sweep(OwnerId(SWEPT), found));
        m.ring.sweep(OwnerId(SWEPT), found);
        let mut c = m.ring.take_over(m.group, OwnerId(OTHER)).unwrap();
        let handed = m.ring.cursor_next(&mut c).unwrap().unwrap();
        assert_eq!((handed.claim.sequence, handed.claim.attempt), (0, 2));
        other.join().unwrap();
        assert!(m.ring.take_over(m.group, OwnerId(0)).is_none());
        SEEN.add(m.ring.cursor_end(&mut c, handed, Some(Settle::Ack)));
    });
    SEEN.are(&[(true, "acked by the successor")]);
}
