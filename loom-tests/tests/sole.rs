//! The sole producer: it reserves nothing, so nobody else may produce; and what it publishes is as whole as any.

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
use slipring::layout::OwnerId;

const SOLE: OwnerId = OwnerId(1);
const ORDINARY: OwnerId = OwnerId(2);

/// sole_publish_claim: whole messages, in order.
#[test]
fn sole_publish_claim() {
    static SEEN: LazyLock<Outcomes<Vec<u8>>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            let mut p = producing.ring.publisher(SOLE, true);
            producing.publish(&mut p, 1).unwrap();
            producing.publish(&mut p, 2).unwrap();
        });
        let mut c = m.claimer(0);
        let bytes = (0..2)
            .filter_map(|_| m.next(&mut c))
            .map(|claim| m.read(claim));
        SEEN.add(bytes.collect());
        producer.join().unwrap();
    });
    SEEN.are(&[
        (vec![], "before both"),
        (vec![1], "between them"),
        (vec![1, 2], "after both"),
    ]);
}

/// sole_reuse: its second lap stays behind the reader of the first.
#[test]
fn sole_reuse() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        let mut p = m.ring.publisher(SOLE, true);
        m.publish(&mut p, 1).unwrap();
        m.publish(&mut p, 2).unwrap();
        let consuming = Arc::clone(&m);
        let consumer = thread::spawn(move || {
            let claim = consuming.next(&mut consuming.claimer(0)).unwrap();
            assert_eq!(consuming.finish(0, claim), 1);
        });
        SEEN.add(m.publish(&mut p, 3).is_some());
        consumer.join().unwrap();
    });
    SEEN.are(&[(false, "still held"), (true, "slot used again")]);
}

/// sole_or_ordinary: of who wants to be the only one, and who wants to be one of many, each sees the other.
#[test]
fn sole_or_ordinary() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        let becoming = Arc::clone(&m);
        let other = thread::spawn(move || becoming.ring.become_producer(ORDINARY));
        let sole = m.ring.become_sole(SOLE);
        let ordinary = other.join().unwrap();
        assert!(sole.is_ok() || sole == Err(ORDINARY));
        assert!(ordinary.is_ok() || ordinary == Err(SOLE));
        SEEN.add((sole.is_ok(), ordinary.is_ok()));
    });
    SEEN.are(&[
        ((true, false), "sole"),
        ((false, true), "ordinary"),
        ((false, false), "each saw the other"),
    ]);
}

/// two_soles: of two that want to be the only one, one is.
#[test]
fn two_soles() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        let becoming = Arc::clone(&m);
        let other = thread::spawn(move || becoming.ring.become_sole(SOLE).is_ok());
        let mine = m.ring.become_sole(ORDINARY).is_ok();
        SEEN.add((mine, other.join().unwrap()));
    });
    SEEN.are(&[((true, false), "this one"), ((false, true), "the other")]);
}

/// ordinary_then_sole: a sole producer starts behind all that an ordinary one published before it stopped.
#[test]
fn ordinary_then_sole() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        m.ring.become_producer(ORDINARY).unwrap();
        let producing = Arc::clone(&m);
        let ordinary = thread::spawn(move || {
            let mut p = producing.publisher(ORDINARY.0);
            assert_eq!(producing.publish(&mut p, 1), Some(0));
            producing.ring.stop_producing(ORDINARY);
        });
        let became = m.ring.become_sole(SOLE).is_ok();
        if became {
            let mut p = m.ring.publisher(SOLE, true);
            assert_eq!(m.publish(&mut p, 2), Some(1));
        }
        ordinary.join().unwrap();
        SEEN.add(became);
    });
    SEEN.are(&[(false, "still produces"), (true, "has stopped")]);
}

/// sole_then_ordinary: the same the other way round.
#[test]
fn sole_then_ordinary() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        m.ring.become_sole(SOLE).unwrap();
        let producing = Arc::clone(&m);
        let sole = thread::spawn(move || {
            let mut p = producing.ring.publisher(SOLE, true);
            assert_eq!(producing.publish(&mut p, 1), Some(0));
            producing.ring.end_sole(SOLE);
        });
        let became = m.ring.become_producer(ORDINARY).is_ok();
        if became {
            let mut p = m.publisher(ORDINARY.0);
            assert_eq!(m.publish(&mut p, 2), Some(1));
        }
        sole.join().unwrap();
        SEEN.add(became);
    });
    SEEN.are(&[(false, "still there"), (true, "has ended")]);
}

/// sole_then_sole: and one sole producer after the other.
#[test]
fn sole_then_sole() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = model(false);
        m.ring.become_sole(SOLE).unwrap();
        let producing = Arc::clone(&m);
        let sole = thread::spawn(move || {
            let mut p = producing.ring.publisher(SOLE, true);
            assert_eq!(producing.publish(&mut p, 1), Some(0));
            producing.ring.end_sole(SOLE);
        });
        let became = m.ring.become_sole(ORDINARY).is_ok();
        if became {
            let mut p = m.ring.publisher(ORDINARY, true);
            assert_eq!(m.publish(&mut p, 2), Some(1));
        }
        sole.join().unwrap();
        SEEN.add(became);
    });
    SEEN.are(&[(false, "still there"), (true, "has ended")]);
}
