//! Death: a participant stops for good before any one access of what it does, somebody sweeps it, and nothing is lost,
//! doubled or blocked. Meanwhile another participant works.

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

use common::death::each_death;
use common::{Model, Outcomes, model};
use loom::sync::Arc;
use loom::thread;
use slipring::layout::{OwnerId, SlotState};
use slipring::mem::fault::dies;
use slipring::ring::{Claim, Claimer, Settle};

const DYING: u16 = 1;
const OTHER: u16 = 2;

fn ack(m: &Model, id: u16, claim: Claim) {
    assert!(m.ring.settle(m.group, OwnerId(id), claim, Settle::Ack));
}

/// Takes and acks all there is.
fn drain(m: &Model, c: &mut Claimer) -> Vec<u8> {
    std::iter::from_fn(|| {
        let claim = m.claim(c)?;
        let byte = m.read(claim);
        ack(m, OTHER, claim);
        Some(byte)
    })
    .collect()
}

/// a_publisher_dies: its message is there or not, a consumer that meets the hole passes it, and the slot serves again.
#[test]
fn a_publisher_dies() {
    static SEEN: LazyLock<Outcomes<(bool, bool, bool)>> = LazyLock::new(Outcomes::default);
    each_death(3, 17, |at| {
        let m = model(false);
        m.enter(DYING);
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            let lived = dies(at, || {
                let mut p = producing.publisher(DYING);
                producing.publish(&mut p, 7).unwrap();
            });
            if lived.is_none() {
                producing.bury(DYING);
            }
            lived.is_some()
        });
        let mut c = m.claimer(OTHER);
        let early = m.claim(&mut c).map(|claim| {
            ack(&m, OTHER, claim);
            m.read(claim)
        });
        let lived = producer.join().unwrap();
        let committed = m.first_slot() == Some(SlotState::Published);
        let mut p = m.publisher(0);
        m.publish(&mut p, 8).unwrap();
        let mut bytes: Vec<_> = early.into_iter().collect();
        bytes.extend(drain(&m, &mut c));
        let expected: &[u8] = if committed { &[7, 8] } else { &[8] };
        assert_eq!(bytes, expected);
        assert!(m.publish(&mut p, 9).is_some() && m.publish(&mut p, 10).is_some());
        assert_eq!(drain(&m, &mut c), [9, 10]);
        SEEN.add((lived, committed, early.is_some()));
        !lived
    });
    SEEN.are(&[
        ((false, false, false), "died before the commit"),
        ((false, true, false), "died after it, found later"),
        ((false, true, true), "died after it, found at once"),
        ((true, true, false), "lived, found later"),
        ((true, true, true), "lived, found at once"),
    ]);
}

/// a_publisher_dies_beside_another: what both committed is there, in the order of its sequences.
#[test]
fn a_publisher_dies_beside_another() {
    static SEEN: LazyLock<Outcomes<(bool, Vec<u8>)>> = LazyLock::new(Outcomes::default);
    each_death(2, 17, |at| {
        let m = model(false);
        m.enter(DYING);
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            let lived = dies(at, || {
                let mut p = producing.publisher(DYING);
                producing.publish(&mut p, 7).unwrap();
            });
            if lived.is_none() {
                producing.bury(DYING);
            }
            lived.is_some()
        });
        let mut p = m.publisher(OTHER);
        m.publish(&mut p, 8).unwrap();
        let lived = producer.join().unwrap();
        let bytes = drain(&m, &mut m.claimer(OTHER));
        assert!(bytes.contains(&8));
        // Nothing the dead one left is in the way of a lap.
        assert!(m.publish(&mut p, 9).is_some() && m.publish(&mut p, 10).is_some());
        SEEN.add((lived, bytes));
        !lived
    });
    SEEN.are(&[
        ((false, vec![8]), "died before the commit"),
        ((false, vec![7, 8]), "died after it, was first"),
        ((false, vec![8, 7]), "died after it, was second"),
        ((true, vec![7, 8]), "lived, was first"),
        ((true, vec![8, 7]), "lived, was second"),
    ]);
}

/// a_sole_publisher_dies: what it committed is there, nothing is left open, and others may produce.
#[test]
fn a_sole_publisher_dies() {
    static SEEN: LazyLock<Outcomes<(bool, bool, bool)>> = LazyLock::new(Outcomes::default);
    each_death(3, 20, |at| {
        let m = model(false);
        m.enter(DYING);
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            let lived = dies(at, || {
                producing.ring.become_sole(OwnerId(DYING)).unwrap();
                let mut p = producing.ring.publisher(OwnerId(DYING), true);
                producing.publish(&mut p, 7).unwrap();
                producing.ring.end_sole(OwnerId(DYING));
            });
            if lived.is_none() {
                assert_eq!(producing.bury(DYING).holes, 0);
            }
            lived.is_some()
        });
        let mut c = m.claimer(OTHER);
        let early = m.claim(&mut c).map(|claim| {
            ack(&m, OTHER, claim);
            m.read(claim)
        });
        let lived = producer.join().unwrap();
        let committed = m.first_slot() == Some(SlotState::Published);
        m.ring.become_producer(OwnerId(0)).unwrap();
        let mut p = m.publisher(0);
        m.publish(&mut p, 8).unwrap();
        let mut bytes: Vec<_> = early.into_iter().collect();
        bytes.extend(drain(&m, &mut c));
        let expected: &[u8] = if committed { &[7, 8] } else { &[8] };
        assert_eq!(bytes, expected);
        SEEN.add((lived, committed, early.is_some()));
        !lived
    });
    SEEN.are(&[
        ((false, false, false), "died before the commit"),
        ((false, true, false), "died after it, found later"),
        ((false, true, true), "died after it, found at once"),
        ((true, true, false), "lived, found later"),
        ((true, true, true), "lived, found at once"),
    ]);
}

/// What a consumer leaves of one message: (it lived, acked, attempts of each later hand-over, of those at once).
type Left = (bool, bool, Vec<u8>, usize);

/// The dying one's message is the first and only; another consumer looks once meanwhile, and then for good.
fn a_consumer_dies(settle: Settle, at: u64) -> Left {
    let m = model(false);
    m.enter(DYING);
    let mut p = m.publisher(0);
    m.publish(&mut p, 7).unwrap();
    let consuming = Arc::clone(&m);
    let consumer = thread::spawn(move || {
        let lived = dies(at, || {
            let mut c = consuming.claimer(DYING);
            let Some(claim) = consuming.claim(&mut c) else {
                return;
            };
            let owner = OwnerId(DYING);
            assert!(
                consuming
                    .ring
                    .settle(consuming.group, owner, claim, settle)
            );
        });
        if lived.is_none() {
            consuming.bury(DYING);
        }
        lived.is_some()
    });
    let mut c = m.claimer(OTHER);
    let early = m.claim(&mut c);
    let lived = consumer.join().unwrap();
    let late = m.claim(&mut c);
    let acked = early.is_none() && late.is_none();
    let attempts: Vec<_> = early.iter().chain(&late).map(|claim| claim.attempt).collect();
    for claim in early.into_iter().chain(late) {
        assert_eq!(m.read(claim), 7);
        ack(&m, OTHER, claim);
    }
    // Settled, whoever did it: a lap later its slot serves again.
    assert!(m.publish(&mut p, 8).is_some() && m.publish(&mut p, 9).is_some());
    assert_eq!(drain(&m, &mut c), [8, 9]);
    (lived, acked, attempts, early.iter().count())
}

/// a_consumer_dies, acking.
#[test]
fn a_consumer_dies_acking() {
    static SEEN: LazyLock<Outcomes<Left>> = LazyLock::new(Outcomes::default);
    each_death(3, 10, |at| {
        let left = a_consumer_dies(Settle::Ack, at);
        let lived = left.0;
        SEEN.add(left);
        !lived
    });
    SEEN.are(&[
        ((true, true, vec![], 0), "lived and acked"),
        ((true, false, vec![1], 1), "lived, the other had it"),
        ((false, true, vec![], 0), "acked and died"),
        ((false, false, vec![1], 1), "died before its claim, or after the other's"),
        ((false, false, vec![2], 0), "died with its claim, found later"),
        ((false, false, vec![2], 1), "died with its claim, found at once"),
    ]);
}

/// a_consumer_dies, giving back.
#[test]
fn a_consumer_dies_giving_back() {
    static SEEN: LazyLock<Outcomes<Left>> = LazyLock::new(Outcomes::default);
    each_death(3, 12, |at| {
        let left = a_consumer_dies(Settle::Nack, at);
        let lived = left.0;
        SEEN.add(left);
        !lived
    });
    SEEN.are(&[
        ((true, false, vec![1], 1), "lived, the other had it"),
        ((true, false, vec![2], 0), "lived, found later"),
        ((true, false, vec![2], 1), "lived, found at once"),
        ((false, false, vec![1], 1), "died before its claim, or after the other's"),
        ((false, false, vec![2], 0), "died with its claim or after, found later"),
        ((false, false, vec![2], 1), "the same, found at once"),
    ]);
}
