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
