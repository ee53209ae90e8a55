//! Batches: claimed first and opened one by one, so that an attempt counts only for what was handed over.

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
use slipring::ring::{Claim, Claimer, Effort};

const BATCH: u16 = 1;
const OTHER: u16 = 2;

/// Two messages.
fn two() -> Arc<Model> {
    let m = model(false);
    let mut p = m.publisher(0);
    m.publish(&mut p, 0).unwrap();
    m.publish(&mut p, 1).unwrap();
    m
}

fn run(m: &Model, c: &mut Claimer) -> Vec<Claim> {
    (0..2)
        .map_while(|_| m.ring.claim(c, false, Effort::Once).unwrap())
        .collect()
}

/// batch_dropped: of a batch of two the first is opened and acked, the second given back; another consumer gets just that,
/// as if nobody had ever had it.
#[test]
fn batch_dropped() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = two();
        let mut c = m.claimer(BATCH);
        let batch = run(&m, &mut c);
        assert!(batch.iter().all(|claim| claim.attempt == 0));
        let working = Arc::clone(&m);
        let worker = thread::spawn(move || {
            let opened = working.ring.open(&c, batch[0]).unwrap();
            assert_eq!((opened.sequence, opened.attempt), (0, 1));
            assert_eq!(working.finish(BATCH, opened), 0);
            working
                .ring
                .unclaim(working.group, OwnerId(BATCH), batch[1]);
        });
        let mut other = m.claimer(OTHER);
        let early = m.next(&mut other);
        worker.join().unwrap();
        let late = m.next(&mut other);
        assert!(early.is_some() != late.is_some());
        let claim = early.or(late).unwrap();
        assert_eq!((claim.sequence, claim.attempt), (1, 1));
        assert_eq!(m.finish(OTHER, claim), 1);
        assert!(m.next(&mut other).is_none());
        SEEN.add(early.is_some());
    });
    SEEN.are(&[(false, "still in the batch"), (true, "given back")]);
}

/// batch_race: two consumers claim a batch each; every message is in one of them, and opens there.
#[test]
fn batch_race() {
    static SEEN: LazyLock<Outcomes<(Vec<u64>, Vec<u64>)>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = two();
        let batch = |m: &Model, id| {
            let mut c = m.claimer(id);
            let claims = run(m, &mut c);
            let opened: Vec<_> = claims
                .into_iter()
                .map(|claim| m.ring.open(&c, claim).unwrap())
                .collect();
            assert!(opened.iter().all(|claim| claim.attempt == 1));
            opened.iter().map(|claim| claim.sequence).collect()
        };
        let claiming = Arc::clone(&m);
        let other = thread::spawn(move || batch(&claiming, OTHER));
        let mine = batch(&m, BATCH);
        SEEN.add((mine, other.join().unwrap()));
    });
    SEEN.are(&[
        ((vec![0, 1], vec![]), "all"),
        ((vec![0], vec![1]), "the first"),
        ((vec![1], vec![0]), "the second"),
        ((vec![], vec![0, 1]), "none"),
    ]);
}
