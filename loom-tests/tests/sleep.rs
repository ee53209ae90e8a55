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

use common::data::preempted;
use common::{Model, SMALL, model, shaped};
use loom::sync::Arc;
use loom::thread;
use slipring::layout::OwnerId;
use slipring::layout::geometry::Shape;
use slipring::ring::{Cause, Channel, Claim, Claimer, Effort, Publisher, Settle, Terms};

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
    let mut slept = false;
    loop {
        let ticket = m.ring.prepare(Channel::Space);
        if m.publish(p, byte).is_some() {
            m.ring.wake_consumers(&m.waker(Channel::Data(m.group)));
            // Of the room we were woken for, another may take the rest.
            if slept && p.room() > 0 {
                m.ring.wake_producer(&m.waker(Channel::Space));
            }
            return;
        }
        m.sleep(Channel::Space, ticket);
        slept = true;
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

/// sole_then_sleep: the same with a sole producer's swap in place of a CAS.
#[test]
fn sole_then_sleep() {
    loom::model(|| {
        let m = model(false);
        let producing = Arc::clone(&m);
        let producer = thread::spawn(move || {
            let mut p = producing.ring.publisher(OwnerId(1), true);
            send(&producing, &mut p, 7);
        });
        let claim = receive(&m, &mut m.claimer(2));
        assert_eq!(m.read(claim), 7);
        producer.join().unwrap();
    });
}

/// cursor_then_sleep: a producer sees the cursor of an exclusive group move, or is woken.
#[test]
fn cursor_then_sleep() {
    loom::model(|| {
        let m = model(true);
        let mut p = m.publisher(1);
        m.publish(&mut p, 1).unwrap();
        m.publish(&mut p, 2).unwrap();
        let consuming = Arc::clone(&m);
        let consumer = thread::spawn(move || {
            let mut c = consuming
                .ring
                .take_over(consuming.group, OwnerId(2))
                .unwrap();
            let handed = consuming.ring.cursor_next(&mut c).unwrap().unwrap();
            assert!(consuming.ring.cursor_end(&mut c, handed, Some(Settle::Ack)));
            consuming.ring.wake_producer_after(
                consuming.group,
                0,
                &consuming.waker(Channel::Space),
            );
        });
        send(&m, &mut p, 3);
        consumer.join().unwrap();
    });
}

/// nack_then_sleep: a consumer about to sleep sees what another gives back, or is woken.
#[test]
fn nack_then_sleep() {
    loom::model(|| {
        let m = model(false);
        m.publish(&mut m.publisher(0), 7).unwrap();
        let claim = m.next(&mut m.claimer(1)).unwrap();
        let giving = Arc::clone(&m);
        let giver = thread::spawn(move || {
            assert!(giving.end(1, claim, Settle::Nack));
            giving
                .ring
                .wake_consumer(giving.group, &giving.waker(Channel::Data(giving.group)));
        });
        assert_eq!(receive(&m, &mut m.claimer(2)).attempt, 2);
        giver.join().unwrap();
    });
}

/// decide_then_sleep: a producer about to sleep behind a parked message sees it discarded, or is woken.
#[test]
fn decide_then_sleep() {
    loom::model(|| {
        let m = model(false);
        let mut p = m.publisher(1);
        m.publish(&mut p, 1).unwrap();
        m.publish(&mut p, 2).unwrap();
        let claim = m.next(&mut m.claimer(2)).unwrap();
        assert!(m.end(2, claim, Settle::Park(Cause::Rejected)));
        let deciding = Arc::clone(&m);
        let member = thread::spawn(move || {
            let dead = deciding.ring.dead_at(deciding.group, 0).unwrap();
            assert!(deciding.ring.decide(deciding.group, dead, false));
            let waker = deciding.waker(Channel::Space);
            deciding.ring.wake_producer_after(deciding.group, 0, &waker);
        });
        send(&m, &mut p, 3);
        member.join().unwrap();
    });
}

/// segment_then_sleep: a producer about to sleep for want of a segment sees the one that is handed back, or is woken.
#[test]
fn segment_then_sleep() {
    const ARENA: Shape = Shape {
        max_message: 4096,
        arena_size: 4096,
        ..SMALL
    };
    preempted(2, || {
        let m = shaped(ARENA, Terms::default());
        let threads: Vec<_> = [0u16, 1]
            .into_iter()
            .map(|id| {
                let m = Arc::clone(&m);
                thread::spawn(move || {
                    let mut p = m.publisher(id);
                    loop {
                        let ticket = m.ring.prepare(Channel::Space);
                        if m.publish_long(&mut p, 1, 2048).is_some() {
                            break;
                        }
                        m.sleep(Channel::Space, ticket);
                    }
                    m.ring.wake_producer(&m.waker(Channel::Space));
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// both_ways: producer and consumer sleep in turn, each on its own channel, and each wakes the other.
#[test]
fn both_ways() {
    preempted(2, || {
        let m = model(false);
        let mut p = m.publisher(1);
        m.publish(&mut p, 0).unwrap();
        m.publish(&mut p, 1).unwrap();
        let consuming = Arc::clone(&m);
        let consumer = thread::spawn(move || {
            let mut c = consuming.claimer(2);
            for byte in 0..3 {
                let claim = receive(&consuming, &mut c);
                assert_eq!(consuming.read(claim), byte);
                ack(&consuming, 2, claim);
            }
        });
        send(&m, &mut p, 2);
        consumer.join().unwrap();
    });
}

/// room_is_passed_on: one ack makes room for two producers, and wakes one; that one wakes the other.
#[test]
fn room_is_passed_on() {
    preempted(2, || {
        let m = model(false);
        let mut p = m.publisher(0);
        m.publish(&mut p, 0).unwrap();
        m.publish(&mut p, 1).unwrap();
        let mut c = m.claimer(0);
        let claims = [(); 2].map(|()| m.next(&mut c).unwrap());
        let producers: Vec<_> = [1, 2]
            .into_iter()
            .map(|id| {
                let m = Arc::clone(&m);
                thread::spawn(move || send(&m, &mut m.publisher(id), 7))
            })
            .collect();
        // The younger one first: only the second ack moves the floor.
        for claim in claims.into_iter().rev() {
            ack(&m, 0, claim);
        }
        for producer in producers {
            producer.join().unwrap();
        }
    });
}
