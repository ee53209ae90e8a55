//! Sleeping and waking: no wake-up is lost. The modelled futex has no time-out, so a lost one is a deadlock.

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

use common::{Model, model};
use loom::sync::Arc;
use loom::thread;
use slipring::layout::OwnerId;
use slipring::ring::{Channel, Claim, Claimer, Effort, Publisher, Settle};

fn receive(m: &Model, c: &mut Claimer) -> Claim {
    let channel = Channel::Data(m.group);
    loop {
        let ticket = m.ring.prepare(channel);

        if let Some(claim) = m.ring.claim(c, true, Effort::Thorough).unwrap() {
            return claim;
        }
        m.sleep(channel, ticket);
    }
}

fn send(m: &Model, p: &mut Publisher, byte: u8) {
    loop {
        let ticket = m.ring.prepare(Channel::Space);
        if m.publish(p, byte).is_some() {
            m.ring.wake_consumers(&m.waker(Channel::Data(m.group)));
            return;
        }
        m.sleep(Channel::Space, ticket);
    }
}

fn ack(m: &Model, owner: u16, claim: Claim) {
    assert!(m.ring.settle(m.group, OwnerId(owner), claim, Settle::Ack));
    m.ring
        .wake_producer_after(m.group, claim.sequence, &m.waker(Channel::Space));
}

/// publish_then_sleep: a consumer about to sleep sees the message or is woken.
#[test]
fn publish_then_sleep() {
    loom::model(|| {
        let m = model(false);
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            let mut p = producing.publisher(1);
            producing.publish(&mut p, 7).unwrap();
            producing
                .ring
                .wake_consumers(&producing.waker(Channel::Data(producing.group)));
        });
        let mut c = m.claimer(2);
        let claim = receive(&m, &mut c);
        assert_eq!(m.read(claim), 7);
        producer.join().unwrap();
    });
}

/// publish_then_sleep, two consumers: each of two messages wakes somebody who takes it.
#[test]
fn two_messages_wake_two_consumers() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let m = model(false);
        let consumers: Vec<_> = [1, 2]
            .into_iter()
            .map(|id| {
                let m = Arc::clone(&m);
                thread::spawn(move || {
                    let mut c = m.claimer(id);
                    let claim = receive(&m, &mut c);
                    m.ring
                        .wake_consumer(m.group, &m.waker(Channel::Data(m.group)));
                    claim.sequence
                })
            })
            .collect();
        let mut p = m.publisher(0);
        for byte in [1, 2] {
            m.publish(&mut p, byte).unwrap();
            m.ring.wake_consumers(&m.waker(Channel::Data(m.group)));
        }
        let taken: Vec<_> = consumers
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        assert_ne!(taken[0], taken[1]);
    });
}

/// ack_then_sleep: a producer about to sleep for want of room sees the ack or is woken.
#[test]
fn ack_then_sleep() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let m = model(false);
        let mut p = m.publisher(1);
        m.publish(&mut p, 1).unwrap();
        m.publish(&mut p, 2).unwrap();
        let consuming = Arc::clone(&m);
        let consumer = thread::spawn(move || {
            let mut c = consuming.claimer(2);
            let claim = consuming
                .ring
                .claim(&mut c, true, Effort::Once)
                .unwrap()
                .unwrap();
            ack(&consuming, 2, claim);
        });
        send(&m, &mut p, 3);
        consumer.join().unwrap();
    });
}
