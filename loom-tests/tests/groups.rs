//! Groups that come and go: a new one loses nothing, one that goes is gone for good and lets producers on, and whoever does
//! it may die anywhere.

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

use common::death::{bounded, each_death};
use common::{Model, Outcomes, grouped, model};
use loom::sync::Arc;
use loom::thread;
use slipring::layout::{EntryState, GroupId, OwnerId};
use slipring::mem::fault::dies;
use slipring::ring::{Claimer, Publisher, Settle, Start, Terms};

const DYING: u16 = 1;
const OTHER: u16 = 2;

const EPHEMERAL: Terms = Terms {
    exclusive: false,
    ephemeral: true,
    max_deliveries: 0,
    ack_timeout_ms: 0,
};

fn state(m: &Model, id: GroupId) -> EntryState {
    m.ring.group_state(id).entry_state().unwrap()
}

/// A producer that knows the group, and has no room left.
fn full(m: &Model) -> Publisher {
    let mut p = m.publisher(0);
    m.publish(&mut p, 1).unwrap();
    m.publish(&mut p, 2).unwrap();
    p
}

/// Nothing holds this producer back, nor does it ask anew: two laps.
fn runs_free(m: &Model, p: &mut Publisher) {
    for byte in 0..4 {
        assert!(
            m.publish(p, byte).is_some(),
            "stuck behind a group that is gone"
        );
    }
}

/// Claims up to `most` messages of a group that are its next, with the bytes they were published with.
fn follows(m: &Model, c: &mut Claimer, expected: &mut u64, most: usize) {
    for _ in 0..most {
        if let Some(claim) = m.claim(c) {
            assert_eq!(claim.sequence, *expected);
            assert_eq!(u64::from(m.read(claim)), claim.sequence + 1);
            *expected += 1;
        }
    }
}

/// A second group attaches while the first one acks and its producer goes on. Where it starts, if it can.
fn attaches_beside(start: Start) -> Option<u64> {
    let m = grouped(2, Terms::default());
    let mut p = full(&m);
    let first = m.claim(&mut m.claimer(0)).unwrap();
    let working = Arc::clone(&m);
    let worker = thread::spawn(move || {
        let owner = OwnerId(0);
        assert!(
            working
                .ring
                .settle(working.group, owner, first, Settle::Ack)
        );
        let third = working.publish(&mut p, 3);
        (p, third)
    });
    let joining = m.ring.begin_group(OwnerId(OTHER)).unwrap();
    let id = joining.id;
    let started = m.ring.finish_group(joining, Terms::default(), start).ok();
    if let Some(started) = started {
        let mut c = m.ring.claimer(id, OwnerId(OTHER));
        let mut expected = started;
        follows(&m, &mut c, &mut expected, 1);
        let (mut p, third) = worker.join().unwrap();
        follows(&m, &mut c, &mut expected, 2);
        assert_eq!(expected, 2 + u64::from(third.is_some()));
        // Nothing of it is acked: it holds the producer back.
        while expected < started + 2 {
            assert!(m.publish(&mut p, 9).is_some());
            expected += 1;
        }
        assert!(m.publish(&mut p, 9).is_none());
    } else {
        let (mut p, third) = worker.join().unwrap();
        // What was not made holds nobody back.
        assert!(third.is_some() || m.publish(&mut p, 3).is_some());
        assert_eq!(state(&m, id), EntryState::Free);
    }
    started
}

/// attach_earliest: it starts at what the first group has not settled, and nothing from there on is overwritten.
#[test]
fn attach_earliest() {
    static SEEN: LazyLock<Outcomes<Option<u64>>> = LazyLock::new(Outcomes::default);
    bounded(3, || SEEN.add(attaches_beside(Start::Earliest)));
    SEEN.are(&[(Some(0), "before the ack"), (Some(1), "after it")]);
}

/// attach_at: the same at a sequence, which may be out of reach by then.
#[test]
fn attach_at() {
    static SEEN: LazyLock<Outcomes<Option<u64>>> = LazyLock::new(Outcomes::default);
    bounded(3, || SEEN.add(attaches_beside(Start::At(0))));
    SEEN.are(&[(Some(0), "before the ack"), (None, "out of reach")]);
}

/// close_or_join: the closer sees the member and leaves the group to it, or the joiner sees it closing.
#[test]
fn close_or_join() {
    static SEEN: LazyLock<Outcomes<(bool, &str)>> = LazyLock::new(Outcomes::default);
    bounded(3, || {
        let m = model(false);
        let mut p = full(&m);
        let closing = Arc::clone(&m);
        let closer = thread::spawn(move || {
            let found = closing.ring.group_state(closing.group);
            assert!(closing.ring.close_group(closing.group, found));
        });
        let joined = m.ring.join_group(m.group, OwnerId(OTHER));
        let early = match state(&m, m.group) {
            EntryState::Live => "live",
            EntryState::Closing => "closing",
            _ => "free",
        };
        closer.join().unwrap();
        if joined {
            assert_eq!(state(&m, m.group), EntryState::Closing);
            assert!(m.publish(&mut p, 3).is_none());
            m.ring.leave_group(m.group, OwnerId(OTHER));
        }
        assert_eq!(state(&m, m.group), EntryState::Free);
        runs_free(&m, &mut p);
        SEEN.add((joined, early));
    });
    SEEN.are(&[
        ((true, "live"), "joined, not closing yet"),
        ((true, "closing"), "joined, and closing"),
        ((false, "free"), "freed by either"),
    ]);
}

/// the_last_two_leave: of two members of an ephemeral group that leave at once, one closes it.
#[test]
fn the_last_two_leave() {
    bounded(3, || {
        let m = grouped(1, EPHEMERAL);
        for id in [DYING, OTHER] {
            assert!(m.ring.join_group(m.group, OwnerId(id)));
            m.ring.note_joined(m.group);
        }
        let mut p = full(&m);
        let leaving = Arc::clone(&m);
        let other = thread::spawn(move || leaving.ring.leave_group(leaving.group, OwnerId(DYING)));
        m.ring.leave_group(m.group, OwnerId(OTHER));
        other.join().unwrap();
        assert_eq!(state(&m, m.group), EntryState::Free);
        runs_free(&m, &mut p);
    });
}

/// sweep_or_close: of who sweeps a dead member and who closes its group, one frees it.
#[test]
fn sweep_or_close() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    bounded(3, || {
        let m = model(false);
        m.enter(DYING);
        assert!(m.ring.join_group(m.group, OwnerId(DYING)));
        let mut p = full(&m);
        let sweeping = Arc::clone(&m);
        let sweeper = thread::spawn(move || sweeping.bury(DYING));
        assert!(m.ring.close_group(m.group, m.ring.group_state(m.group)));
        SEEN.add(state(&m, m.group) == EntryState::Free);
        sweeper.join().unwrap();
        assert_eq!(state(&m, m.group), EntryState::Free);
        runs_free(&m, &mut p);
    });
    SEEN.are(&[(true, "freed by either"), (false, "freed by the sweeper")]);
}

/// leave_then_overwrite: what a member has read is overwritten only after it has left.
#[test]
fn leave_then_overwrite() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    bounded(3, || {
        let m = model(false);
        let member = OwnerId(OTHER);
        assert!(m.ring.join_group(m.group, member));
        let mut p = full(&m);
        assert!(m.ring.close_group(m.group, m.ring.group_state(m.group)));
        let reading = Arc::clone(&m);
        let reader = thread::spawn(move || {
            let claim = reading.claim(&mut reading.claimer(OTHER)).unwrap();
            assert_eq!(reading.read(claim), 1);
            reading.ring.leave_group(reading.group, member);
        });
        SEEN.add(m.publish(&mut p, 3).is_some());
        reader.join().unwrap();
        runs_free(&m, &mut p);
    });
    SEEN.are(&[(false, "held back"), (true, "slot used again")]);
}

/// leave_then_free: the same if it is another that frees the group, seeing that the member has left.
#[test]
fn leave_then_free() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    bounded(3, || {
        let m = model(false);
        let member = OwnerId(OTHER);
        assert!(m.ring.join_group(m.group, member));
        let mut p = full(&m);
        let reading = Arc::clone(&m);
        let reader = thread::spawn(move || {
            let claim = reading.claim(&mut reading.claimer(OTHER)).unwrap();
            assert_eq!(reading.read(claim), 1);
            reading.ring.leave_group(reading.group, member);
        });
        assert!(m.ring.close_group(m.group, m.ring.group_state(m.group)));
        SEEN.add(m.publish(&mut p, 3).is_some());
        reader.join().unwrap();
        assert_eq!(state(&m, m.group), EntryState::Free);
        runs_free(&m, &mut p);
    });
    SEEN.are(&[(false, "held back"), (true, "slot used again")]);
}

/// overwritten_behind_a_reader: the same, of the reads alone: whoever frees the group has seen that they are over.
#[test]
fn overwritten_behind_a_reader() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    bounded(3, || {
        let m = model(false);
        let member = OwnerId(OTHER);
        assert!(m.ring.join_group(m.group, member));
        let mut p = full(&m);
        let claim = m.claim(&mut m.claimer(OTHER)).unwrap();
        let reading = Arc::clone(&m);
        let reader = thread::spawn(move || {
            assert_eq!(reading.read(claim), 1);
            reading.ring.leave_group(reading.group, member);
        });
        m.ring.close_group(m.group, m.ring.group_state(m.group));
        SEEN.add(m.publish(&mut p, 3).is_some());
        reader.join().unwrap();
    });
    SEEN.are(&[(false, "held back"), (true, "slot used again")]);
}

/// closed_and_made_anew: who meant to close or free a group does nothing to a later one in its entry.
#[test]
fn closed_and_made_anew() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    bounded(3, || {
        let m = model(false);
        let mut p = full(&m);
        let found = m.ring.group_state(m.group);
        let closing = Arc::clone(&m);
        let closer = thread::spawn(move || closing.ring.close_group(closing.group, found));
        let closed = m.ring.close_group(m.group, found);
        let anew = m.ring.begin_group(OwnerId(0));
        let made = anew.is_some();
        if let Some(joining) = anew {
            let start = m
                .ring
                .finish_group(joining, Terms::default(), Start::Latest);
            assert_eq!(start, Ok(2));
        }
        assert!(closer.join().unwrap() != closed);
        if made {
            assert_eq!(state(&m, m.group), EntryState::Live);
            assert!(m.publish(&mut p, 3).is_some() && m.publish(&mut p, 4).is_some());
            assert!(m.publish(&mut p, 5).is_none());
        } else {
            assert_eq!(state(&m, m.group), EntryState::Free);
            runs_free(&m, &mut p);
        }
        SEEN.add((closed, made));
    });
    SEEN.are(&[
        ((true, true), "closed and made anew"),
        ((false, false), "the other is still at it"),
        ((false, true), "the other closed it, made anew"),
    ]);
}

/// a_closer_dies: between freeing a group and telling producers, or anywhere else.
#[test]
fn a_closer_dies() {
    static SEEN: LazyLock<Outcomes<(bool, bool, bool)>> = LazyLock::new(Outcomes::default);
    each_death(3, 8, |at| {
        let m = model(false);
        m.enter(DYING);
        let mut p = full(&m);
        let closing = Arc::clone(&m);
        let closer = thread::spawn(move || {
            let lived = dies(at, || {
                let found = closing.ring.group_state(closing.group);
                assert!(closing.ring.close_group(closing.group, found));
            });
            if lived.is_none() {
                closing.bury(DYING);
            }
            lived.is_some()
        });
        let early = m.publish(&mut p, 3).is_some();
        let lived = closer.join().unwrap();
        let free = state(&m, m.group) == EntryState::Free;
        if free {
            runs_free(&m, &mut p);
        } else {
            assert_eq!(state(&m, m.group), EntryState::Live);
            assert!(!early && m.publish(&mut p, 3).is_none());
        }
        SEEN.add((lived, free, early));
        !lived
    });
    SEEN.are(&[
        ((false, false, false), "died before closing"),
        ((false, true, false), "died closing, seen later"),
        ((false, true, true), "died closing, seen at once"),
        ((true, true, false), "lived, seen later"),
        ((true, true, true), "lived, seen at once"),
    ]);
}

/// a_maker_dies: half a group holds nobody back; a whole one loses nothing.
#[test]
fn a_maker_dies() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    each_death(2, 30, |at| {
        let m = model(false);
        m.enter(DYING);
        // Without a group for now: the producer may go a lap beyond its own position.
        assert!(m.ring.close_group(m.group, m.ring.group_state(m.group)));
        let mut p = m.publisher(0);
        m.publish(&mut p, 1).unwrap();
        let making = Arc::clone(&m);
        let maker = thread::spawn(move || {
            let lived = dies(at, || {
                let joining = making.ring.begin_group(OwnerId(DYING)).unwrap();
                making
                    .ring
                    .finish_group(joining, Terms::default(), Start::Latest)
                    .unwrap();
            });
            if lived.is_none() {
                making.bury(DYING);
            }
            lived.is_some()
        });
        let mut published = 1;
        for byte in 2..4 {
            published += u64::from(m.publish(&mut p, byte).is_some());
        }
        let lived = maker.join().unwrap();
        let live = state(&m, m.group) == EntryState::Live;
        if live {
            let start = m.ring.floor(m.group);
            assert!(start <= published && published - start <= 2);
            let mut expected = start;
            follows(&m, &mut m.claimer(OTHER), &mut expected, 2);
            assert_eq!(expected, published);
        } else {
            assert_eq!(state(&m, m.group), EntryState::Free);
            runs_free(&m, &mut p);
        }
        SEEN.add((lived, live));
        !lived
    });
    SEEN.are(&[
        ((false, false), "died making it"),
        ((false, true), "died after"),
        ((true, true), "lived"),
    ]);
}

/// An ephemeral group of one who lives; `dying` works with it, and another joins it. True if that could join and the dying
/// one lived. In the end the group has gone.
fn a_member_dies(at: u64, dying: fn(&Model)) -> (bool, bool) {
    let m = grouped(1, EPHEMERAL);
    for id in [0, DYING] {
        m.enter(id);
    }
    let mut p = full(&m);
    let leaving = Arc::clone(&m);
    let member = thread::spawn(move || {
        let lived = dies(at, || dying(&leaving));
        if lived.is_none() {
            leaving.bury(DYING);
        }
        lived.is_some()
    });
    let other = OwnerId(OTHER);
    let joined = m.ring.join_group(m.group, other);
    if joined {
        m.ring.note_joined(m.group);
        assert_ne!(state(&m, m.group), EntryState::Free);
    }
    let lived = member.join().unwrap();
    if joined {
        assert_ne!(state(&m, m.group), EntryState::Free);
        m.ring.leave_group(m.group, other);
    }
    assert_eq!(state(&m, m.group), EntryState::Free);
    runs_free(&m, &mut p);
    (lived, joined)
}

/// a_member_dies: joining an ephemeral group, or leaving it.
#[test]
fn a_member_dies_coming_and_going() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    each_death(2, 15, |at| {
        let (lived, joined) = a_member_dies(at, |m| {
            if m.ring.join_group(m.group, OwnerId(DYING)) {
                m.ring.note_joined(m.group);
                m.ring.leave_group(m.group, OwnerId(DYING));
            }
        });
        SEEN.add((lived, joined));
        !lived
    });
    SEEN.are(&[
        ((false, false), "died, the group has gone"),
        ((false, true), "died, the group is the other's"),
        ((true, false), "lived, the group has gone"),
        ((true, true), "lived, the group is the other's"),
    ]);
}

/// The maker of an ephemeral group leaves, perhaps dying, and another gets its number; meanwhile somebody joins the group,
/// or only looks for groups to close. (It lived, somebody joined.)
fn a_maker_leaves_to(joiner: bool, at: u64) -> (bool, bool) {
    let m = model(false);
    assert!(m.ring.close_group(m.group, m.ring.group_state(m.group)));
    let mine = m.enter(DYING);
    let maker = OwnerId(DYING);
    let joining = m.ring.begin_group(maker).unwrap();
    let id = joining.id;
    m.ring
        .finish_group(joining, EPHEMERAL, Start::Latest)
        .unwrap();
    let mut p = full(&m);
    let leaving = Arc::clone(&m);
    let leaver = thread::spawn(move || {
        let lived = dies(at, || leaving.ring.leave(maker, mine));
        if lived.is_none() {
            leaving.bury(DYING);
        }
        // The next one with this number, who has its lock.
        leaving.enter(DYING);
        lived.is_some()
    });
    let joined = joiner && m.ring.join_group(id, OwnerId(OTHER));
    if joined {
        m.ring.note_joined(id);
    } else {
        m.ring.reap_groups();
    }
    let lived = leaver.join().unwrap();
    if joined {
        assert_ne!(state(&m, id), EntryState::Free);
        m.ring.leave_group(id, OwnerId(OTHER));
    }
    assert_eq!(state(&m, id), EntryState::Free);
    runs_free(&m, &mut p);
    (lived, joined)
}

/// a_maker_leaves: what it made is not kept for whoever gets its number next, even if it dies leaving.
#[test]
fn a_maker_leaves() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    for joiner in [false, true] {
        each_death(2, 12, move |at| {
            let left = a_maker_leaves_to(joiner, at);
            SEEN.add(left);
            !left.0
        });
    }
    SEEN.are(&[
        ((false, false), "died, the group has gone"),
        ((false, true), "died, the group is the other's"),
        ((true, false), "lived, the group has gone"),
        ((true, true), "lived, the group is the other's"),
    ]);
}

/// a_group_is_found_whole: who finds that there is a group finds its terms, where it starts, and nothing claimed.
#[test]
fn a_group_is_found_whole() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = grouped(2, Terms::default());
        m.publish(&mut m.publisher(0), 1).unwrap();
        let id = GroupId(1);
        let making = Arc::clone(&m);
        let maker = thread::spawn(move || {
            let joining = making.ring.begin_group(OwnerId(OTHER)).unwrap();
            assert_eq!(joining.id, id);
            let terms = Terms {
                max_deliveries: 3,
                ..Terms::default()
            };
            let started = making.ring.finish_group(joining, terms, Start::Latest);
            assert_eq!(started, Ok(1));
        });
        let found = state(&m, id) == EntryState::Live;
        if found {
            assert_eq!(m.ring.terms(id).max_deliveries, 3);
            assert_eq!(m.ring.floor(id), 1);
        }
        maker.join().unwrap();
        SEEN.add(found);
    });
    SEEN.are(&[(false, "not there yet"), (true, "there")]);
}
