//! Exclusive groups change hands: no message is skipped, none settled comes again, and the attempts are not below the
//! hand-overs.

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
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use common::death::{bounded, each_death};
use common::{Model, Outcomes, model};
use loom::sync::Arc;
use loom::thread;
use slipring::layout::OwnerId;
use slipring::mem::fault::dies;
use slipring::ring::{Cursor, Handed, Settle};

const FIRST: u16 = 1;
const SECOND: u16 = 2;
const THIRD: u16 = 0;

fn take_over(m: &Model, id: u16) -> Option<Cursor> {
    m.ring.take_over(m.group, OwnerId(id))
}

fn next(m: &Model, c: &mut Cursor) -> Option<Handed> {
    m.ring.cursor_next(c).unwrap()
}

/// The next one's sequence and attempt; its bytes are those it was published with.
fn read(m: &Model, handed: Handed) -> (u64, u8) {
    let claim = handed.claim;
    assert_eq!(u64::from(m.read(claim)), claim.sequence + 1);
    (claim.sequence, claim.attempt)
}

/// Hands over and acks all there is.
fn drain(m: &Model, c: &mut Cursor) -> Vec<(u64, u8)> {
    std::iter::from_fn(|| {
        let handed = next(m, c)?;
        let found = read(m, handed);
        assert!(m.ring.cursor_end(c, handed, Some(Settle::Ack)));
        Some(found)
    })
    .collect()
}

/// What a successor was handed, sequence and attempt: how many at once, and all.
type HandedOn = (usize, Vec<(u64, u8)>);

/// What the owner does with two messages before it steps down.
#[derive(Clone, Copy)]
enum Last {
    /// Acks the first, has the second open.
    AckOne,
    /// Acks both at once, with a guard of the first still there.
    AckBoth,
    /// Gives the first back, counted.
    Nack,
    /// Acks the second, not the first.
    AckSecond,
}

/// An owner steps down, having done `last`, while one who stands by takes over and a producer publishes a third message.
fn hands_over(last: Last) -> HandedOn {
    let m = model(true);
    let mut p = m.publisher(THIRD);
    m.publish(&mut p, 1).unwrap();
    m.publish(&mut p, 2).unwrap();
    let mut c = take_over(&m, FIRST).unwrap();
    let handed = [next(&m, &mut c).unwrap(), next(&m, &mut c).unwrap()];
    let owning = Arc::clone(&m);
    let owner = thread::spawn(move || {
        let m = owning;
        let [first, second] = handed;
        read(&m, first);
        read(&m, second);
        match last {
            Last::AckOne => assert!(m.ring.cursor_end(&mut c, first, Some(Settle::Ack))),
            Last::AckBoth => assert_eq!(m.ring.cursor_end_all(&mut c, second), Some(2)),
            Last::Nack => assert!(m.ring.cursor_end(&mut c, first, Some(Settle::Nack))),
            Last::AckSecond => assert!(m.ring.cursor_end(&mut c, second, Some(Settle::Ack))),
        }
        m.ring.hand_over(&mut c);
    });
    let producing = Arc::clone(&m);
    let producer = thread::spawn(move || {
        let third = producing.publish(&mut p, 3);
        (p, third)
    });
    let mut found = Vec::new();
    let mut successor = take_over(&m, SECOND);
    if let Some(c) = &mut successor
        && let Some(handed) = next(&m, c)
    {
        found.push(read(&m, handed));
        assert!(m.ring.cursor_end(c, handed, Some(Settle::Ack)));
    }
    let early = found.len();
    owner.join().unwrap();
    let (mut p, third) = producer.join().unwrap();
    let mut c = successor.or_else(|| take_over(&m, SECOND)).unwrap();
    found.extend(drain(&m, &mut c));
    if third.is_none() {
        assert_eq!(m.publish(&mut p, 3), Some(2));
        found.extend(drain(&m, &mut c));
    }
    (early, found)
}

/// hand_over_to_stand_by: what is open goes to the successor and is not counted, what was given back is.
#[test]
fn hand_over_to_stand_by() {
    static SEEN: LazyLock<Outcomes<HandedOn>> = LazyLock::new(Outcomes::default);
    for last in [Last::AckOne, Last::AckBoth, Last::Nack, Last::AckSecond] {
        bounded(2, move || SEEN.add(hands_over(last)));
    }
    let acked_one = vec![(1, 1), (2, 1)];
    let acked_both = vec![(2, 1)];
    let nacked = vec![(0, 2), (1, 1), (2, 1)];
    let acked_second = vec![(0, 1), (2, 1)];
    SEEN.are(&[
        ((0, acked_one.clone()), "acked one, taken over later"),
        ((1, acked_one), "acked one, taken over at once"),
        ((0, acked_both.clone()), "acked both, taken over later"),
        ((1, acked_both), "acked both, taken over at once"),
        ((0, nacked.clone()), "gave one back, taken over later"),
        ((1, nacked), "gave one back, taken over at once"),
        (
            (0, acked_second.clone()),
            "acked the second, taken over later",
        ),
        ((1, acked_second), "acked the second, taken over at once"),
    ]);
}

/// What owners would have told before they died: hand-overs of each message, acks begun and done, and whether the last one
/// has begun to step down, after which what is open does not count.
#[derive(Default)]
struct Told {
    handed: [AtomicU8; 2],
    acking: AtomicU8,
    acked: AtomicU8,
    stepping_down: AtomicBool,
}

impl Told {
    fn next(&self, m: &Model, c: &mut Cursor) -> Option<Handed> {
        let handed = next(m, c)?;
        let (sequence, attempt) = read(m, handed);
        let before = self.handed[sequence as usize].fetch_add(1, Ordering::Relaxed);
        assert!(attempt > before, "counted less than handed over");
        Some(handed)
    }

    fn ack(&self, m: &Model, c: &mut Cursor, handed: Handed) {
        self.acking.fetch_add(1, Ordering::Relaxed);
        assert!(m.ring.cursor_end(c, handed, Some(Settle::Ack)));
        self.acked.fetch_add(1, Ordering::Relaxed);
    }

    /// One owner's life: acks the first message, gives the second back and takes it again, steps down.
    fn own(&self, m: &Model, id: u16) {
        let Some(mut c) = take_over(m, id) else {
            return;
        };
        if let Some(first) = self.next(m, &mut c) {
            self.ack(m, &mut c, first);
        }
        if let Some(second) = self.next(m, &mut c) {
            assert!(m.ring.cursor_end(&mut c, second, Some(Settle::Nack)));
            self.next(m, &mut c).unwrap();
        }
        self.stepping_down.store(true, Ordering::Relaxed);
        m.ring.hand_over(&mut c);
    }

    /// What a successor is handed that comes after them.
    fn check(&self, found: &[(u64, u8)]) {
        let range = self.acked.load(Ordering::Relaxed)..=self.acking.load(Ordering::Relaxed);
        let sequences: Vec<_> = found.iter().map(|&(sequence, _)| sequence).collect();
        let from = sequences.first().map_or(2, |&first| first as u8);
        assert!(range.contains(&from), "{from} is not in {range:?}");
        assert_eq!(sequences, (from.into()..2).collect::<Vec<_>>());
        for &(sequence, attempt) in found {
            let handed = self.handed[sequence as usize].load(Ordering::Relaxed);
            let uncounted = u8::from(self.stepping_down.load(Ordering::Relaxed));
            assert!(
                attempt + uncounted > handed,
                "counted less than handed over"
            );
            assert!(attempt <= handed + 2, "counted more than handed over");
        }
    }
}

/// (The owner lived, the stand-by was quick, what that was handed of the first two messages.)
type Succeeded = (bool, bool, Vec<(u64, u8)>);

/// Two messages, perhaps with an owner before that was handed both and is dead. The next owner dies somewhere, or steps
/// down; one who stands by tries meanwhile, and then for good; a third message is published when there is room.
fn an_owner_dies(at: u64, predecessor: bool) -> Succeeded {
    let m = model(true);
    m.enter(FIRST);
    m.enter(SECOND);
    let mut p = m.publisher(THIRD);
    m.publish(&mut p, 1).unwrap();
    m.publish(&mut p, 2).unwrap();
    let told = std::sync::Arc::new(Told::default());
    if predecessor {
        let mut c = take_over(&m, FIRST).unwrap();
        told.next(&m, &mut c).unwrap();
        told.next(&m, &mut c).unwrap();
        m.bury(FIRST);
    }
    let (owning, tells) = (Arc::clone(&m), std::sync::Arc::clone(&told));
    let owner = thread::spawn(move || {
        let lived = dies(at, || tells.own(&owning, SECOND));
        if lived.is_none() {
            owning.bury(SECOND);
        }
        lived.is_some()
    });
    let producing = Arc::clone(&m);
    let producer = thread::spawn(move || {
        let third = producing.publish(&mut p, 3);
        (p, third)
    });
    let successor = take_over(&m, THIRD);
    let quick = successor.is_some();
    let mut found = Vec::new();
    let mut c = successor.map(|mut c| {
        found = drain(&m, &mut c);
        c
    });
    let lived = owner.join().unwrap();
    let (mut p, third) = producer.join().unwrap();
    let c = c.get_or_insert_with(|| take_over(&m, THIRD).unwrap());
    found.extend(drain(&m, c));
    if third.is_none() {
        assert_eq!(m.publish(&mut p, 3), Some(2));
        found.extend(drain(&m, c));
    }
    assert_eq!(found.pop(), Some((2, 1)));
    told.check(&found);
    (lived, quick, found)
}

/// Each of these whether the stand-by was quick or not.
fn named(died: &[(u64, u8)], none: u8, lived: u8) -> Vec<(Succeeded, &'static str)> {
    let untouched = vec![(0, none), (1, none)];
    let mut named = vec![
        ((true, true, untouched.clone()), "the stand-by was first"),
        (
            (true, true, vec![(1, lived)]),
            "stepped down, taken over at once",
        ),
        (
            (true, false, vec![(1, lived)]),
            "stepped down, taken over later",
        ),
    ];
    for quick in [false, true] {
        named.push((
            (false, quick, untouched.clone()),
            "died, handed out nothing",
        ));
        named.push((
            (false, quick, vec![(0, none + 1), (1, none)]),
            "died with the first",
        ));
        for &second in died {
            named.push(((false, quick, vec![second]), "died, the first acked"));
        }
    }
    named
}

/// an_owner_dies: anywhere in taking over, handing out, acking, giving back or stepping down.
#[test]
fn an_owner_dies_first() {
    static SEEN: LazyLock<Outcomes<Succeeded>> = LazyLock::new(Outcomes::default);
    each_death(2, 26, |at| {
        let left = an_owner_dies(at, false);
        let lived = left.0;
        SEEN.add(left);
        !lived
    });
    SEEN.are(&named(&[(1, 1), (1, 2), (1, 3)], 1, 2));
}

/// an_owner_dies, as a successor: what its predecessor had open is counted once.
#[test]
fn a_successor_dies() {
    static SEEN: LazyLock<Outcomes<Succeeded>> = LazyLock::new(Outcomes::default);
    each_death(2, 34, |at| {
        let left = an_owner_dies(at, true);
        let lived = left.0;
        SEEN.add(left);
        !lived
    });
    SEEN.are(&named(&[(1, 2), (1, 3), (1, 4)], 2, 3));
}

/// a_publisher_dies, exclusive: the consumer waits at the hole, and passes it once it is swept.
#[test]
fn a_publisher_dies_before_a_cursor() {
    static SEEN: LazyLock<Outcomes<(bool, Option<u64>, usize)>> = LazyLock::new(Outcomes::default);
    each_death(3, 21, |at| {
        let m = model(true);
        m.enter(FIRST);
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            let lived = dies(at, || {
                let mut p = producing.publisher(FIRST);
                producing.publish(&mut p, 1).unwrap();
            });
            if lived.is_none() {
                producing.bury(FIRST);
            }
            lived.is_some()
        });
        // A message behind it, or before it.
        let mut p = m.publisher(THIRD);
        let mine = m.publish(&mut p, 1).unwrap();
        let mut c = take_over(&m, SECOND).unwrap();
        let early = next(&m, &mut c).map(|handed| handed.claim.sequence);
        let lived = producer.join().unwrap();
        let mut found: Vec<_> = early.into_iter().collect();
        while let Some(handed) = next(&m, &mut c) {
            found.push(handed.claim.sequence);
        }
        let there: Vec<_> = (0..2)
            .filter(|&sequence| m.is_published(sequence))
            .collect();
        assert_eq!(found, there);
        assert!(found.contains(&mine));
        SEEN.add((lived, early, found.len()));
        !lived
    });
    SEEN.are(&[
        ((false, None, 1), "died, the hole passed later"),
        ((false, Some(1), 1), "died, the hole passed at once"),
        ((false, Some(0), 1), "died, and had not reserved, or behind"),
        ((false, None, 2), "committed, found later, and died"),
        ((false, Some(0), 2), "committed and died"),
        ((true, None, 2), "lived, found later"),
        ((true, Some(0), 2), "lived"),
    ]);
}
