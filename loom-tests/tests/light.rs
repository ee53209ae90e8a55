//! Fences on behalf of others: a sole producer and an exclusive consumer only store, and whoever sleeps makes them fence.
//! What such a fence is to the model checker, see `src/sync/light.rs`; the modelled futex has no time-out.

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

use std::cell::Cell;
use std::sync::LazyLock;

use common::{Model, Outcomes, model};
use loom::sync::Arc;
use loom::thread;
use slipring::layout::OwnerId;
use slipring::mem::Event;
use slipring::ring::{Channel, Claim, Effort, Publisher, Settle, Wake};
use slipring::sync::heavy_fence;

const SOLE: OwnerId = OwnerId(1);
const CONSUMER: OwnerId = OwnerId(2);

fn light(exclusive: bool) -> Arc<Model> {
    let mut model = model(exclusive);
    let alone = Arc::get_mut(&mut model).unwrap();
    alone.ring.let_waiters_fence(true);
    model
}

/// As `wait.rs` does.
fn receive(m: &Model) -> Claim {
    let channel = Channel::Data(m.group);
    let mut c = m.claimer(CONSUMER.0);
    loop {
        let ticket = m.ring.prepare(channel);
        if m.ring.has_light_fences(channel) {
            heavy_fence();
        }
        if let Some(claim) = m.ring.claim(&mut c, true, Effort::Thorough).unwrap() {
            return claim;
        }
        m.sleep(channel, ticket);
    }
}

fn publish(m: &Model, p: &mut Publisher, byte: u8) {
    m.publish(p, byte).unwrap();
    m.ring.wake_consumers(&m.waker(Channel::Data(m.group)));
}

/// light_publish_then_sleep: a consumer about to sleep sees what a sole producer only stored, or is woken.
#[test]
fn light_publish_then_sleep() {
    loom::model(|| {
        let m = light(false);
        m.ring.become_sole(SOLE).unwrap();
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            publish(&producing, &mut producing.ring.publisher(SOLE, true), 7);
        });
        assert_eq!(m.read(receive(&m)), 7);
        producer.join().unwrap();
    });
}

/// Counts whom it would wake.
#[derive(Default)]
struct Counted(Cell<u64>);

impl Wake for Counted {
    fn wake(&self, _event: Event<'_>, _count: i32) -> u64 {
        self.0.set(self.0.get() + 1);
        1
    }
}

/// Whether the producer sees that somebody sleeps, and the consumer, before it does, the message.
fn who_sees(fences: bool) -> (bool, bool) {
    let m = light(false);
    m.ring.become_sole(SOLE).unwrap();
    let producing = Arc::clone(&m);
    let producer = thread::spawn(move || {
        let mut p = producing.ring.publisher(SOLE, true);
        producing.publish(&mut p, 7).unwrap();
        let waker = Counted::default();
        producing.ring.wake_consumers(&waker);
        waker.0.get() > 0
    });
    let _ticket = m.ring.prepare(Channel::Data(m.group));
    if fences {
        heavy_fence();
    }
    let mut c = m.claimer(CONSUMER.0);
    let claimed = m.ring.claim(&mut c, true, Effort::Thorough).unwrap();
    (producer.join().unwrap(), claimed.is_some())
}

/// light_fence_pairs: with the fence on behalf of the producer, one sees the other.
#[test]
fn light_fence_pairs() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    loom::model(|| SEEN.add(who_sees(true)));
    SEEN.are(&[
        ((true, false), "woken"),
        ((false, true), "in time"),
        ((true, true), "both"),
    ]);
}

/// Without it neither may, so these models can tell.
#[test]
fn light_fence_missing() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    loom::model(|| SEEN.add(who_sees(false)));
    SEEN.are(&[
        ((false, false), "a lost wake-up"),
        ((true, false), "woken"),
        ((false, true), "in time"),
        ((true, true), "both"),
    ]);
}

/// light_late_sole: who becomes the sole producer when a consumer that saw none is about to sleep sees its bit.
#[test]
fn light_late_sole() {
    loom::model(|| {
        let m = light(false);
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            producing.ring.become_sole(SOLE).unwrap();
            publish(&producing, &mut producing.ring.publisher(SOLE, true), 7);
        });
        assert_eq!(m.read(receive(&m)), 7);
        producer.join().unwrap();
    });
}

/// light_cursor_then_sleep: a producer about to sleep sees the cursor that was only stored, or is woken.
#[test]
fn light_cursor_then_sleep() {
    loom::model(|| {
        let m = light(true);
        let mut p = m.publisher(0);
        m.publish(&mut p, 1).unwrap();
        m.publish(&mut p, 2).unwrap();
        let consuming = Arc::clone(&m);
        let consumer = thread::spawn(move || {
            let (ring, group) = (&consuming.ring, consuming.group);
            let mut c = ring.take_over(group, CONSUMER).unwrap();
            let handed = ring.cursor_next(&mut c).unwrap().unwrap();
            assert_eq!(consuming.read(handed.claim), 1);
            assert!(ring.cursor_end(&mut c, handed, Some(Settle::Ack)));
            ring.wake_producer_after(group, 0, &consuming.waker(Channel::Space));
        });
        loop {
            let ticket = m.ring.prepare(Channel::Space);
            if m.ring.has_light_fences(Channel::Space) {
                heavy_fence();
            }
            if m.publish(&mut p, 3).is_some() {
                break;
            }
            m.sleep(Channel::Space, ticket);
        }
        consumer.join().unwrap();
    });
}

/// light_cursor_then_reuse: a slot is written again only when the reads below a stored cursor are over.
#[test]
fn light_cursor_then_reuse() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    loom::model(|| {
        let m = light(true);
        let mut p = m.ring.publisher(SOLE, true);
        m.publish(&mut p, 1).unwrap();
        m.publish(&mut p, 2).unwrap();
        let consuming = Arc::clone(&m);
        let consumer = thread::spawn(move || {
            let ring = &consuming.ring;
            let mut c = ring.take_over(consuming.group, CONSUMER).unwrap();
            let handed = ring.cursor_next(&mut c).unwrap().unwrap();
            assert_eq!(consuming.read(handed.claim), 1);
            assert!(ring.cursor_end(&mut c, handed, Some(Settle::Ack)));
        });
        SEEN.add(m.publish(&mut p, 3).is_some());
        consumer.join().unwrap();
    });
    SEEN.are(&[(false, "still read"), (true, "slot used again")]);
}
