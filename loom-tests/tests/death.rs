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
use std::sync::atomic::{AtomicU8, Ordering};

use common::death::each_death;
use common::{Model, Outcomes, grouped, leased, model, segmented};
use loom::sync::Arc;
use loom::thread;
use slipring::layout::{EntryState, OwnerId, SlotHeader};
use slipring::mem::fault::dies;
use slipring::ring::{Claim, Claimer, Effort, Publisher, Settle, Terms};

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

/// A publisher dies, in the first lap or the second, and a consumer looks meanwhile. (It lived, its message is there, the
/// consumer had it at once.)
fn a_publisher_dies_in(lap: u64, at: u64) -> (bool, bool, bool) {
    let m = model(false);
    m.enter(DYING);
    let mut c = m.claimer(OTHER);
    let mut p = m.publisher(0);
    for byte in 0..2 * lap {
        m.publish(&mut p, byte as u8).unwrap();
    }
    drain(&m, &mut c);
    let sequence = 2 * lap;
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
    let early = m.claim(&mut c).map(|claim| {
        ack(&m, OTHER, claim);
        m.read(claim)
    });
    let lived = producer.join().unwrap();
    let committed = m.is_published(sequence);
    m.publish(&mut p, 8).unwrap();
    let mut bytes: Vec<_> = early.into_iter().collect();
    bytes.extend(drain(&m, &mut c));
    let expected: &[u8] = if committed { &[7, 8] } else { &[8] };
    assert_eq!(bytes, expected);
    // A lap later its slot serves again.
    assert!(m.publish(&mut p, 9).is_some() && m.publish(&mut p, 10).is_some());
    assert_eq!(drain(&m, &mut c), [9, 10]);
    (lived, committed, early.is_some())
}

/// a_publisher_dies: its message is there or not, a consumer that meets the hole passes it, and the slot serves again.
#[test]
fn a_publisher_dies() {
    static SEEN: LazyLock<[Outcomes<(bool, bool, bool)>; 2]> = LazyLock::new(Default::default);
    for lap in 0..2 {
        each_death(3, 17, move |at| {
            let left = a_publisher_dies_in(lap, at);
            SEEN[lap as usize].add(left);
            !left.0
        });
        SEEN[lap as usize].are(&[
            ((false, false, false), "died before the commit"),
            ((false, true, false), "died after it, found later"),
            ((false, true, true), "died after it, found at once"),
            ((true, true, false), "lived, found later"),
            ((true, true, true), "lived, found at once"),
        ]);
    }
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
        let committed = m.is_published(0);
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
            assert!(consuming.ring.settle(consuming.group, owner, claim, settle));
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
    let attempts: Vec<_> = early
        .iter()
        .chain(&late)
        .map(|claim| claim.attempt)
        .collect();
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
    each_death(3, 12, |at| {
        let left = a_consumer_dies(Settle::Ack, at);
        let lived = left.0;
        SEEN.add(left);
        !lived
    });
    SEEN.are(&[
        ((true, true, vec![], 0), "lived and acked"),
        ((true, false, vec![1], 1), "lived, the other had it"),
        ((false, true, vec![], 0), "acked and died"),
        (
            (false, false, vec![1], 1),
            "died before its claim, or after the other's",
        ),
        (
            (false, false, vec![2], 0),
            "died with its claim, found later",
        ),
        (
            (false, false, vec![2], 1),
            "died with its claim, found at once",
        ),
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
        (
            (false, false, vec![1], 1),
            "died before its claim, or after the other's",
        ),
        (
            (false, false, vec![2], 0),
            "died with its claim or after, found later",
        ),
        ((false, false, vec![2], 1), "the same, found at once"),
    ]);
}

/// How far the dying one got, as it would have told: what it had been handed, and acked.
#[derive(Default)]
struct Told {
    handed: AtomicU8,
    acked: AtomicU8,
}

/// a_batch_dies: of two claimed at once, each not acked is handed over once more, and only what was opened counts.
#[test]
fn a_batch_dies() {
    static SEEN: LazyLock<Outcomes<(u8, u8, usize)>> = LazyLock::new(Outcomes::default);
    each_death(3, 6, |at| {
        let m = model(false);
        m.enter(DYING);
        let mut p = m.publisher(0);
        m.publish(&mut p, 7).unwrap();
        m.publish(&mut p, 8).unwrap();
        let mut c = m.claimer(DYING);
        let batch: Vec<_> = (0..2)
            .map(|_| m.ring.claim(&mut c, false, Effort::Once).unwrap().unwrap())
            .collect();
        let told = std::sync::Arc::new(Told::default());
        let (consuming, tells) = (Arc::clone(&m), std::sync::Arc::clone(&told));
        let consumer = thread::spawn(move || {
            let lived = dies(at, || {
                let owner = OwnerId(DYING);
                let opened = consuming.ring.open(&c, batch[0]).unwrap();
                tells.handed.store(1, Ordering::Relaxed);
                assert!(
                    consuming
                        .ring
                        .settle(consuming.group, owner, opened, Settle::Ack)
                );
                tells.acked.store(1, Ordering::Relaxed);
                consuming.ring.unclaim(consuming.group, owner, batch[1]);
            });
            if lived.is_none() {
                consuming.bury(DYING);
            }
            lived.is_some()
        });
        let mut other = m.claimer(OTHER);
        let early: Vec<_> = m.claim(&mut other).into_iter().collect();
        let lived = consumer.join().unwrap();
        let early_count = early.len();
        let mut again = early;
        again.extend(std::iter::from_fn(|| m.claim(&mut other)));
        again.sort_by_key(|claim| claim.sequence);
        let (handed, acked) = (
            told.handed.load(Ordering::Relaxed),
            told.acked.load(Ordering::Relaxed),
        );
        let found: Vec<_> = again.iter().map(|c| (c.sequence, c.attempt)).collect();
        if acked == 1 {
            assert_eq!(found, [(1, 1)]);
        } else {
            assert_eq!(found, [(0, 1 + handed), (1, 1)]);
        }
        SEEN.add((handed, acked, early_count));
        !lived
    });
    SEEN.are(&[
        ((0, 0, 0), "nothing was opened, found later"),
        ((0, 0, 1), "nothing was opened, found at once"),
        ((1, 0, 0), "one was opened, found later"),
        ((1, 0, 1), "one was opened, found at once"),
        ((1, 1, 0), "one was acked, the other found later"),
        ((1, 1, 1), "one was acked, the other found at once"),
    ]);
}

/// a_sweeper_dies: the next does all of it, beside a consumer that works.
#[test]
fn a_sweeper_dies() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    each_death(2, 33, |at| {
        let m = grouped(2, Terms::default());
        m.enter(DYING);
        m.enter(OTHER);
        // The one long dead left a claim, a hole, and a group half made.
        let mut p = m.publisher(DYING);
        m.publish(&mut p, 7).unwrap();
        m.claim(&mut m.claimer(DYING)).unwrap();
        m.ring.reserve(&mut p).unwrap();
        let half = m.ring.begin_group(OwnerId(DYING)).unwrap().id;
        let sweeping = Arc::clone(&m);
        let sweeper = thread::spawn(move || {
            let lived = dies(at, || sweeping.bury(DYING));
            if lived.is_none() {
                sweeping.bury(OTHER);
                sweeping.bury(DYING);
            }
            lived.is_some()
        });
        let mut c = m.claimer(0);
        let early = m.claim(&mut c);
        if let Some(claim) = early {
            ack(&m, 0, claim);
        }
        let lived = sweeper.join().unwrap();
        let late = m.claim(&mut c);
        assert!(early.is_some() != late.is_some());
        let claim = early.or(late).unwrap();
        assert_eq!((claim.attempt, m.read(claim)), (2, 7));
        if late.is_some() {
            ack(&m, 0, claim);
        }
        let free = Some(EntryState::Free);
        assert_eq!(m.ring.group_state(half).entry_state(), free);
        assert_eq!(m.ring.participant_state(OwnerId(DYING)).entry_state(), free);
        let mut p = m.publisher(0);
        for byte in [8, 9] {
            m.publish(&mut p, byte).unwrap();
        }
        let claim = m.claim(&mut c).unwrap();
        assert_eq!((claim.sequence, m.read(claim)), (2, 8));
        SEEN.add((lived, early.is_some()));
        !lived
    });
    SEEN.are(&[
        ((false, false), "died, found later"),
        ((false, true), "died, found at once"),
        ((true, false), "lived, found later"),
        ((true, true), "lived, found at once"),
    ]);
}

/// Who ends a slow one's lease dies; the slow one acks meanwhile, or never. (The ender lived, acked.)
fn ends_a_lease(acks: bool, at: u64) -> (bool, bool) {
    let m = leased();
    m.enter(DYING);
    let mut p = m.publisher(0);
    m.publish(&mut p, 7).unwrap();
    let slow = OwnerId(OTHER);
    let claim = m.claim(&mut m.claimer(slow.0)).unwrap();
    m.ring.begin_lease(m.group, slow, claim, true, 100);
    let ending = Arc::clone(&m);
    let ender = thread::spawn(move || {
        let lived = dies(at, || ending.ring.expire(ending.group, 200));
        if lived.is_none() {
            ending.bury(DYING);
            ending.ring.expire(ending.group, 200);
        }
        lived.is_some()
    });
    let acked = acks && m.ring.settle(m.group, slow, claim, Settle::Ack);
    let lived = ender.join().unwrap();
    let next = m.claim(&mut m.claimer(0)).map(|claim| claim.attempt);
    assert_eq!(next, if acked { None } else { Some(2) });
    (lived, acked)
}

/// ending_a_lease_dies: between ending it and giving the message back, or anywhere else.
#[test]
fn ending_a_lease_dies() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    for acks in [false, true] {
        each_death(3, 16, move |at| {
            let left = ends_a_lease(acks, at);
            SEEN.add(left);
            !left.0
        });
    }
    SEEN.are(&[
        ((false, false), "died, the lease ended"),
        ((false, true), "died, acked in time"),
        ((true, false), "lived, the lease ended"),
        ((true, true), "lived, acked in time"),
    ]);
}

/// Composes in a segment and publishes; `tell` is told where the message lies before it can be seen.
fn publish_long(m: &Model, p: &mut Publisher, tell: &mut u64) {
    let held = m.ring.hold_segment(p, 64).unwrap();
    *tell = held.bytes.0;
    let reserved = m.ring.reserve(p).unwrap();
    m.ring.use_segment(&held, reserved.sequence);
    m.ring.fill(reserved, &SlotHeader::default(), &[7; 8]);
    m.ring.commit(p, reserved).unwrap();
    m.ring.open_segment(&held);
}

/// a_composer_dies: what it published is not written over, and its segment serves others.
#[test]
fn a_composer_dies() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    each_death(2, 30, |at| {
        let m = segmented(1, 2, Terms::default());
        m.enter(DYING);
        let composing = Arc::clone(&m);
        let composer = thread::spawn(move || {
            let mut bytes = 0;
            let lived = dies(at, || {
                let mut p = composing.publisher(DYING);
                publish_long(&composing, &mut p, &mut bytes);
            });
            if lived.is_none() {
                composing.bury(DYING);
            }
            (lived.is_some(), bytes)
        });
        let mut p = m.publisher(OTHER);
        let mut mine = 0;
        publish_long(&m, &mut p, &mut mine);
        let (lived, theirs) = composer.join().unwrap();
        let committed = m.is_published(0) && m.is_published(1);
        // Both segments can be had, and not where a message lies that is not settled.
        let mut q = m.publisher(0);
        for p in [&mut p, &mut q] {
            let held = m.ring.hold_segment(p, 64).unwrap();
            assert_ne!(held.bytes.0, mine);
            assert!(!committed || held.bytes.0 != theirs);
        }
        SEEN.add((lived, committed));
        !lived
    });
    SEEN.are(&[
        ((false, false), "died before the commit"),
        ((false, true), "died after it"),
        ((true, true), "lived"),
    ]);
}

/// a_dead_producers_slot: what a dead producer wrote into its slot comes before what the next lap's writes there.
#[test]
fn a_dead_producers_slot() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        m.enter(DYING);
        let mut dying = m.publisher(DYING);
        let reserved = m.ring.reserve(&mut dying).unwrap();
        let mut p = m.publisher(0);
        assert_eq!(m.publish(&mut p, 1), Some(1));
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            producing
                .ring
                .fill(reserved, &SlotHeader::default(), &[7; 8]);
            assert_eq!(producing.bury(DYING).holes, 1);
        });
        let sent = m.publish(&mut p, 2);
        producer.join().unwrap();
        SEEN.add(sent == Some(2));
    });
    SEEN.are(&[(false, "still being written"), (true, "its slot again")]);
}

/// a_dead_composers_segment: what a dead producer wrote into a segment comes before what the next holder writes there.
#[test]
fn a_dead_composers_segment() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = segmented(1, 1, Terms::default());
        m.enter(DYING);
        let mut p = m.publisher(DYING);
        let held = m.ring.hold_segment(&mut p, 64).unwrap();
        let composing = Arc::clone(&m);
        let composer = thread::spawn(move || {
            composing.ring.mem().copy_in(held.bytes, &[7; 8]);
            composing.bury(DYING);
        });
        let held = m.ring.hold_segment(&mut m.publisher(OTHER), 64).ok();
        if let Some(held) = held {
            m.ring.mem().copy_in(held.bytes, &[8; 8]);
        }
        composer.join().unwrap();
        SEEN.add(held.is_some());
    });
    SEEN.are(&[(false, "still held"), (true, "swept")]);
}

/// an_ordinary_behind_a_dead_sole: whoever may produce after it sees all that it has published.
#[test]
fn an_ordinary_behind_a_dead_sole() {
    static SEEN: LazyLock<Outcomes<(bool, Option<u64>)>> = LazyLock::new(Outcomes::default);
    each_death(2, 14, |at| {
        let m = model(false);
        m.enter(DYING);
        m.ring.become_sole(OwnerId(DYING)).unwrap();
        let producing = Arc::clone(&m);
        let sole = thread::spawn(move || {
            let lived = dies(at, || {
                let mut p = producing.ring.publisher(OwnerId(DYING), true);
                producing.publish(&mut p, 7).unwrap();
            });
            if lived.is_none() {
                producing.bury(DYING);
            }
            lived.is_some()
        });
        let became = m.ring.become_producer(OwnerId(OTHER)).is_ok();
        let sent = became.then(|| m.publish(&mut m.publisher(OTHER), 8).unwrap());
        let lived = sole.join().unwrap();
        if let Some(sent) = sent {
            assert_eq!(m.is_published(0) && sent == 1, m.is_published(1));
        }
        SEEN.add((lived, sent));
        !lived
    });
    SEEN.are(&[
        ((true, None), "lives"),
        ((false, None), "not yet swept"),
        ((false, Some(0)), "died before it published"),
        ((false, Some(1)), "after it"),
    ]);
}
