//! Goal: what once went wrong stays right. Each test tells its story.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::time::Duration;

use common::{Backing, MINUTE, directory, spawn_child, watchdog};
use slipring::{Consumer, FullPolicy, GroupOptions, Options, PublishError, Queue};

const SOON: Duration = Duration::from_secs(5);

fn exclusive() -> Options {
    Queue::options()
        .capacity(8)
        .max_message(96)
        .default_group(false)
}

fn sequences(consumer: &Consumer) -> Vec<(u64, u8)> {
    let mut seen = Vec::new();
    while let Ok(delivery) = consumer.recv_timeout(Duration::from_millis(150)) {
        seen.push((delivery.sequence(), delivery.delivery_count()));
        delivery.ack().unwrap();
    }
    seen
}

/// The first message of a batch of an exclusive group is handed over when the batch is made; a batch dropped before it was
/// read skipped it, and the floor stayed in front of it.
#[test]
fn a_batch_of_an_exclusive_group_dropped_unread_comes_again() {
    let _watchdog = watchdog("dropped batch", MINUTE);
    let queue = exclusive().capacity(4).in_memory().unwrap();
    let consumer = queue
        .create_group("x", GroupOptions::exclusive())
        .unwrap()
        .consumer()
        .unwrap();
    let mut producer = queue.producer().unwrap();
    producer.publish_batch(["0", "1", "2", "3"]).unwrap();
    drop(consumer.try_recv_batch(3).unwrap());
    assert_eq!(sequences(&consumer), [(0, 1), (1, 1), (2, 1), (3, 1)]);
    producer.publish_timeout("4", SOON).unwrap();
}

/// A batch whose first message was given back through an older guard handed that message over all the same.
#[test]
fn a_batch_knows_that_order_has_restarted_before_it() {
    let queue = exclusive().in_memory().unwrap();
    let consumer = queue
        .create_group("x", GroupOptions::exclusive())
        .unwrap()
        .consumer()
        .unwrap();
    queue.producer().unwrap().publish_batch(["0", "1"]).unwrap();
    let first = consumer.try_recv().unwrap();
    let mut batch = consumer.try_recv_batch(4).unwrap();
    first.nack().unwrap();
    let again = batch.next().unwrap().unwrap();
    assert_eq!((again.sequence(), again.delivery_count()), (0, 2));
    again.ack().unwrap();
    assert_eq!(batch.next().unwrap().unwrap().sequence(), 1);
}

/// A lossy queue whose slots had room, but whose arena was full, dropped nothing and waited for ever.
#[test]
fn a_lossy_queue_makes_room_in_its_arena() {
    let _watchdog = watchdog("lossy arena", MINUTE);
    let options = Queue::options()
        .capacity(64)
        .max_message(8192)
        .arena_size(4 * 8192);
    let queue = options
        .when_full(FullPolicy::DropOldest)
        .in_memory()
        .unwrap();
    let mut producer = queue.producer().unwrap();
    for n in 0..40u8 {
        producer.publish_timeout(&[n; 8000], SOON).unwrap();
    }
    let consumer = queue.consumer().unwrap();
    let newest = queue.stats().groups[0].ready;
    assert!((1..=4).contains(&newest), "{newest}");
    let first = consumer.recv().unwrap();
    assert_eq!(u64::from(first[0]), 40 - newest);
    assert_eq!(queue.stats().groups[0].lost, 40 - newest);
}

/// Loans that were leaked kept their segments beyond the life of their process' attachment.
#[test]
fn leaked_loans_are_freed_when_their_process_detaches() {
    let _watchdog = watchdog("leaked loans", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let keep = Queue::options()
        .max_message(8192)
        .arena_size(2 * 8192)
        .create(&path)
        .unwrap();
    for _ in 0..2 {
        let queue = Queue::open(&path).unwrap();
        let mut producer = queue.producer().unwrap();
        std::mem::forget(producer.loan(8000).unwrap());
    }
    keep.producer()
        .unwrap()
        .publish_timeout(&[1; 8000], SOON)
        .unwrap();
}

/// An ephemeral group whose maker left without ever joining it held producers back for ever.
#[test]
fn an_ephemeral_group_nobody_joined_goes_with_its_maker() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let keep = Queue::options().default_group(false).create(&path).unwrap();
    let maker = Queue::open(&path).unwrap();
    maker
        .create_group("e", GroupOptions::shared().ephemeral(true))
        .unwrap();
    keep.sweep();
    assert_eq!(keep.groups().len(), 1, "its maker may still join");
    drop(maker);
    assert_eq!(keep.groups().len(), 0);
}

/// Killed with a message acked ahead of an older one whose stale guard kept the floor down: the successor skipped it
/// without moving the floor, which then never moved again.
#[test]
fn a_successor_passes_what_was_acked_ahead_of_the_floor() {
    let _watchdog = watchdog("acked ahead", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = exclusive().create(&path).unwrap();
    let group = queue.create_group("x", GroupOptions::exclusive()).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.publish_batch(["0", "1", "2"]).unwrap();
    drop(spawn_child("acks-ahead", &path, &[]).0.wait());
    let consumer = group.consumer().unwrap();
    assert_eq!(sequences(&consumer), [(2, 1)]);
    for n in 3..30 {
        assert_eq!(producer.publish_timeout("n", SOON), Ok(n));
        consumer.recv_timeout(SOON).unwrap().ack().unwrap();
    }
    assert_eq!(queue.stats().groups[0].floor, 30);
}

/// Killed after a cumulative ack while the guard of an older message existed: what was acked came again.
#[test]
fn a_cumulative_ack_survives_its_process() {
    let _watchdog = watchdog("cumulative ack", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = exclusive().create(&path).unwrap();
    let group = queue.create_group("x", GroupOptions::exclusive()).unwrap();
    queue
        .producer()
        .unwrap()
        .publish_batch(["0", "1", "2"])
        .unwrap();
    drop(spawn_child("acks-all", &path, &[]).0.wait());
    assert_eq!(sequences(&group.consumer().unwrap()), [(2, 1)]);
}

/// A slot header that somebody scribbled over was given back and came first for ever. Now it is told once, and lost.
#[test]
fn a_damaged_message_is_told_once() {
    use std::os::unix::fs::FileExt;
    for kind in [GroupOptions::shared(), GroupOptions::exclusive()] {
        let dir = directory(Backing::Tmpfs);
        let path = dir.path().join("queue");
        let queue = exclusive().create(&path).unwrap();
        let consumer = queue.create_group("x", kind).unwrap().consumer().unwrap();
        queue
            .producer()
            .unwrap()
            .publish_batch(["bad", "good"])
            .unwrap();
        let slot = slipring::Inspector::open(&path).unwrap().geometry().slot(0);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&u32::MAX.to_le_bytes(), slot.0 + 8)
            .unwrap();
        let told = consumer.try_recv().unwrap_err();
        assert!(told.to_string().contains("damaged queue"), "{told}");
        assert_eq!(&*consumer.try_recv().unwrap(), b"good");
        assert_eq!(queue.stats().groups[0].lost, 1);
    }
}

/// Where to look for what is parked, held, or held for too long began at the floor as it was last noted, and ended a lap
/// later. After a decision on a message that had been parked for a lap, what was claimed next lay beyond: its lease did
/// not end, statistics knew of no holder, and rejected it was parked where nobody found it.
#[test]
fn what_is_held_or_parked_a_lap_above_the_noted_floor_is_found() {
    let capacity = 64;
    let options = Queue::options().capacity(capacity).max_message(96);
    let queue = options.default_group(false).in_memory().unwrap();
    let leased = GroupOptions::shared().ack_timeout(Duration::from_millis(1));
    let group = queue.create_group("jobs", leased).unwrap();
    let (consumer, mut producer) = (group.consumer().unwrap(), queue.producer().unwrap());
    for _ in 0..capacity {
        producer.try_publish("old").unwrap();
    }
    let parked = consumer.try_recv().unwrap();
    parked.extend(SOON).unwrap();
    parked.reject("").unwrap();
    for _ in 1..capacity {
        let delivery = consumer.try_recv().unwrap();
        delivery.extend(SOON).unwrap();
        delivery.ack().unwrap();
    }
    group.discard(0).unwrap();
    producer.try_publish("new").unwrap();
    let late = consumer.try_recv().unwrap();
    let holder = queue.stats().participants.remove(0);
    assert_eq!((holder.holds, holder.oldest_held), (1, Some(capacity)));
    std::thread::sleep(Duration::from_millis(50));
    queue.sweep();
    assert!(late.ack().is_err(), "its lease has ended");
    assert_eq!(queue.stats().groups[0].expired, 1);
    let again = consumer.try_recv().unwrap();
    again.extend(SOON).unwrap();
    again.reject("").unwrap();
    let found: Vec<u64> = group
        .dead_letters()
        .iter()
        .map(|dead| dead.sequence)
        .collect();
    assert_eq!(found, [capacity]);
}

/// A cumulative ack spared what was parked, but of several parked messages only the oldest was looked for: a later one that
/// somebody had just given back was acked, and never delivered again.
#[test]
fn a_cumulative_ack_spares_what_was_parked_and_is_to_come_again() {
    let queue = exclusive().in_memory().unwrap();
    let group = queue.create_group("x", GroupOptions::exclusive()).unwrap();
    let (consumer, mut producer) = (group.consumer().unwrap(), queue.producer().unwrap());
    producer.publish_batch(["0", "1", "2", "3"]).unwrap();
    consumer.recv().unwrap().reject("").unwrap();
    consumer.recv().unwrap().defer().unwrap();
    consumer.recv().unwrap().reject("").unwrap();
    let last = consumer.recv().unwrap();
    group.retry(2).unwrap();
    last.ack_up_to().unwrap();
    assert_eq!(sequences(&consumer), [(2, 1)]);
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child() {
    let Some((role, path)) = common::role() else {
        return;
    };
    let consumer = Queue::open(&path)
        .unwrap()
        .group("x")
        .unwrap()
        .consumer()
        .unwrap();
    let (first, second) = (consumer.recv().unwrap(), consumer.recv().unwrap());
    let _stale = if role == "acks-all" {
        second.ack_up_to().unwrap();
        first
    } else {
        first.nack().unwrap();
        let (first, again) = (consumer.recv().unwrap(), consumer.recv().unwrap());
        again.ack().unwrap();
        first.ack().unwrap();
        second
    };
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

/// A message longer than the queue's messages may be, but not than a slot, was published where there was room at hand, and
/// refused everywhere else. Consumers with leases, and replays, then took it for damage.
#[test]
fn a_message_that_fits_its_slot_but_is_too_long_for_the_queue_is_always_refused() {
    let queue = Queue::options()
        .slot_size(128)
        .max_message(64)
        .in_memory()
        .unwrap();
    let mut producer = queue.producer().unwrap();
    let refused = Err(PublishError::TooLong {
        length: 65,
        max: 64,
    });
    for _ in 0..3 {
        assert_eq!(producer.publish(&[0; 65]), refused);
        producer.publish(&[0; 64]).unwrap();
        let rejected = producer
            .try_publish(&[0; 65])
            .map_err(|rejected| rejected.reason);
        assert_eq!(rejected, refused);
    }
}
