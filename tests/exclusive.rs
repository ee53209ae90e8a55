//! Goal: what exclusive groups promise, for one process, the same on heap memory, tmpfs and disk.
//! Method: each behaviour is one function, run on every backing.

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

mod common;

use common::{Backing, MINUTE, Place, queue, take, watchdog};
use slipring::{AckError, ClaimError, Consumer, GroupOptions, Options, Queue};

on_every_backing![
    "exclusive.rs":
    an_exclusive_group_is_strictly_ordered,
    an_exclusive_stand_by_takes_over,
    an_exclusive_nack_restarts_the_order,
    exclusive_acks_may_come_in_any_order,
    what_was_acked_before_order_restarted_counts_after_it,
    an_early_exclusive_ack_survives_a_hand_over,
    older_exclusive_guards_stay_good_below_every_restart,
    exclusive_acks_can_be_cumulative,
    a_stale_exclusive_guard_pins_its_bytes,
];

fn small() -> Options {
    Queue::options()
        .capacity(8)
        .max_message(96)
        .max_groups(4)
        .max_participants(4)
}

fn log(queue: &Queue) -> Consumer {
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap()
        .consumer()
        .unwrap()
}

fn an_exclusive_group_is_strictly_ordered(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let consumer = log(queue);
    let default = queue.consumer().unwrap();
    let mut producer = queue.producer().unwrap();
    for n in 0..100u8 {
        producer.publish(&[n]).unwrap();
        assert_eq!(take(&consumer), [n]);
        take(&default);
    }
    producer.publish_batch(["x", "y", "z"]).unwrap();
    let batch: Vec<_> = consumer
        .recv_batch(8)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        batch.iter().map(|d| d.to_vec()).collect::<Vec<_>>(),
        [b"x", b"y", b"z"]
    );
    for delivery in batch {
        delivery.ack().unwrap();
    }
}

fn an_exclusive_stand_by_takes_over(backing: Backing) {
    let _watchdog = watchdog("stand-by", MINUTE);
    let Place { queue, .. } = &queue(backing, &small());
    let group = queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let (active, stand_by) = (group.consumer().unwrap(), group.consumer().unwrap());
    assert!(active.is_active() && !stand_by.is_active());
    queue
        .producer()
        .unwrap()
        .publish_batch(["a", "b", "c"])
        .unwrap();
    assert_eq!(take(&active), b"a");
    active.try_recv().unwrap().nack().unwrap();
    assert_eq!(stand_by.try_recv().unwrap_err(), ClaimError::Empty);
    drop(active);
    let delivery = stand_by.recv().unwrap();
    assert!(stand_by.is_active());
    assert_eq!(
        (&*delivery, delivery.delivery_count()),
        (&b"b"[..], 2),
        "the count goes on"
    );
    delivery.ack().unwrap();
    let delivery = stand_by.recv().unwrap();
    assert_eq!((&*delivery, delivery.delivery_count()), (&b"c"[..], 1));
    delivery.ack().unwrap();
}

fn an_exclusive_nack_restarts_the_order(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let consumer = log(queue);
    queue
        .producer()
        .unwrap()
        .publish_batch(["a", "b", "c"])
        .unwrap();
    let next = || consumer.try_recv().unwrap();
    let (a, b, c) = (next(), next(), next());
    b.nack().unwrap();
    assert_eq!(c.ack().unwrap_err(), AckError::Stale { sequence: 2 });
    a.ack().unwrap();
    for (payload, count) in [(b"b", 2), (b"c", 1)] {
        let delivery = next();
        assert_eq!(
            (&*delivery, delivery.delivery_count()),
            (&payload[..], count)
        );
        delivery.ack().unwrap();
    }
    assert_eq!(queue.stats().groups[1].lag, 0);
}

fn exclusive_acks_may_come_in_any_order(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let consumer = log(queue);
    queue
        .producer()
        .unwrap()
        .publish_batch(["a", "b", "c"])
        .unwrap();
    let next = || consumer.try_recv().unwrap();
    let (a, b, c) = (next(), next(), next());
    c.ack().unwrap();
    b.ack().unwrap();
    assert_eq!(queue.stats().groups[1].floor, 0, "the oldest is still open");
    a.ack().unwrap();
    assert_eq!(queue.stats().groups[1].floor, 3);
}

/// Found by the model: the floor stopped in front of a message acked before an older one was given back, so a full queue
/// stayed full.
fn what_was_acked_before_order_restarted_counts_after_it(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small().capacity(2).default_group(false));
    let consumer = log(queue);
    let mut producer = queue.producer().unwrap();
    producer.publish_batch(["a", "b"]).unwrap();
    let (a, b) = (consumer.try_recv().unwrap(), consumer.try_recv().unwrap());
    b.ack().unwrap();
    a.nack().unwrap();
    assert_eq!(take(&consumer), b"a");
    producer.try_publish("c").unwrap();
    producer.try_publish("d").unwrap();
    assert_eq!(
        (take(&consumer), take(&consumer)),
        (b"c".to_vec(), b"d".to_vec())
    );
}

/// Found by the model: what was acked before an older message was settled came again after a hand-over.
fn an_early_exclusive_ack_survives_a_hand_over(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let group = queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let consumer = group.consumer().unwrap();
    queue
        .producer()
        .unwrap()
        .publish_batch(["a", "b", "c"])
        .unwrap();
    consumer.try_recv().unwrap().defer().unwrap();
    consumer.try_recv().unwrap().ack().unwrap();
    drop(consumer);
    let successor = group.consumer().unwrap();
    assert_eq!(
        (take(&successor), take(&successor)),
        (b"a".to_vec(), b"c".to_vec())
    );
    assert_eq!(queue.stats().groups[1].floor, 3);
}

/// Found by the model: of two restarts of the order, only the lower one was remembered.
fn older_exclusive_guards_stay_good_below_every_restart(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let consumer = log(queue);
    queue.producer().unwrap().publish_batch(["a", "b"]).unwrap();
    let next = || consumer.try_recv().unwrap();
    let (first, stale) = (next(), next());
    first.release().unwrap();
    let (a, b) = (next(), next());
    b.release().unwrap();
    a.ack().unwrap();
    assert_eq!(stale.ack().unwrap_err(), AckError::Stale { sequence: 1 });
    assert_eq!(take(&consumer), b"b");
}

fn exclusive_acks_can_be_cumulative(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let consumer = log(queue);
    let shared = queue.consumer().unwrap();
    queue
        .producer()
        .unwrap()
        .publish_batch(["a", "b", "c", "d"])
        .unwrap();
    let held = consumer.try_recv().unwrap();
    consumer.try_recv().unwrap().defer().unwrap();
    consumer.try_recv().unwrap().ack_up_to().unwrap();
    assert_eq!(
        queue.stats().groups[1].floor,
        0,
        "a guard of the first still exists"
    );
    assert_eq!(held.ack().unwrap_err(), AckError::Stale { sequence: 0 });
    assert_eq!(queue.stats().groups[1].floor, 3);
    // A shared group cannot, and keeps the claim given back.
    assert_eq!(
        shared.try_recv().unwrap().ack_up_to().unwrap_err(),
        AckError::NotExclusive
    );
    assert_eq!(
        shared.try_recv().unwrap().defer().unwrap_err(),
        AckError::NotExclusive
    );
    assert_eq!(shared.try_recv().unwrap().delivery_count(), 1);
}

fn a_stale_exclusive_guard_pins_its_bytes(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small().capacity(2).default_group(false));
    let consumer = log(queue);
    let mut producer = queue.producer().unwrap();
    producer.publish_batch(["a", "b"]).unwrap();
    let (a, b) = (consumer.try_recv().unwrap(), consumer.try_recv().unwrap());
    a.nack().unwrap();
    take(&consumer);
    take(&consumer);
    producer.try_publish("c").unwrap();
    producer
        .try_publish("d")
        .expect_err("the stale guard still shows its bytes");
    assert_eq!(&*b, b"b");
    drop(b);
    producer.try_publish("d").unwrap();
}
