//! Goal: what the public API promises, for one process, the same on heap memory, tmpfs and disk.
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

use std::time::{Duration, Instant};

use common::{Backing, MINUTE, Place, queue, take, watchdog};
use slipring::{
    AttachError, ClaimError, FullPolicy, GroupError, GroupOptions, Message, Options, PublishError,
    Queue, Start, Timestamps, ValueError, WaitStrategy,
};

on_every_backing!["behaviour.rs":

    what_is_published_arrives_in_order_and_once,
    a_delivery_says_what_it_is,
    every_length_up_to_the_maximum_arrives_whole,
    a_dropped_delivery_comes_again_uncounted,
    a_nacked_delivery_comes_again_counted_and_before_newer_ones,
    an_acked_message_never_comes_again,
    a_full_queue_hands_the_message_back,
    a_rejecting_queue_rejects_and_a_timeout_waits,
    a_blocked_publish_goes_on_when_there_is_room,
    a_waiting_consumer_gets_the_message,
    waiting_ends_with_its_timeout,
    a_lossy_queue_drops_the_oldest_and_counts_it,
    a_lossy_queue_does_not_drop_what_is_being_handled,
    a_lossy_queue_refuses_exclusive_groups,
    a_reservation_is_published_by_commit_only,
    a_loan_is_published_where_it_was_written,
    a_rejected_reservation_is_handed_back,
    a_batch_is_published_in_order,
    a_batch_that_does_not_fit_says_how_much_did,
    a_batch_waits_for_room,
    a_batch_is_claimed_and_counted_one_by_one,
    every_group_sees_every_message,
    a_shared_group_gives_each_message_to_one,
    groups_start_where_they_are_told,
    a_group_cannot_start_out_of_reach,
    group_names_are_checked_and_unique,
    a_group_is_opened_or_made,
    a_deleted_group_tells_its_members_and_frees_the_ring,
    an_ephemeral_group_vanishes_with_its_last_consumer,
    group_entries_are_used_again,
    a_sole_producer_is_alone,
    many_threads_share_one_queue,
    a_full_arena_is_a_full_queue,
    messages_wrap_around_many_laps,
    stats_tell_the_truth_when_nothing_moves,
    an_iterator_ends_with_its_group,
    values_keep_their_type,
    a_leaked_delivery_is_given_back_at_the_end,
];

fn small() -> Options {
    Queue::options()
        .capacity(8)
        .max_message(96)
        .max_groups(4)
        .max_participants(4)
}

fn what_is_published_arrives_in_order_and_once(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let mut producer = queue.producer().unwrap();
    let consumer = queue.consumer().unwrap();
    let sequences: Vec<_> = (0..8u8).map(|n| producer.publish(&[n]).unwrap()).collect();
    assert!(sequences.is_sorted_by(|a, b| a < b));
    for n in 0..8u8 {
        let delivery = consumer.recv().unwrap();
        assert_eq!(
            (&*delivery, delivery.sequence()),
            (&[n][..], sequences[usize::from(n)])
        );
        delivery.ack().unwrap();
    }
    assert_eq!(consumer.try_recv().unwrap_err(), ClaimError::Empty);
}

fn a_delivery_says_what_it_is(backing: Backing) {
    let before = std::time::SystemTime::now();
    for timestamps in [Timestamps::Off, Timestamps::Coarse, Timestamps::Precise] {
        let Place { queue, .. } = &queue(backing, &small().timestamps(timestamps));
        let message = Message::new(b"tagged").kind(7).key(0xdead_beef);
        queue.producer().unwrap().publish(message).unwrap();
        let consumer = queue.consumer().unwrap();
        let delivery = consumer.recv().unwrap();
        assert_eq!(delivery.payload(), b"tagged");
        assert_eq!((delivery.kind(), delivery.key()), (7, 0xdead_beef));
        assert_eq!((delivery.sequence(), delivery.delivery_count()), (0, 1));
        let since = before
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64;
        match timestamps {
            Timestamps::Off => assert_eq!(delivery.timestamp(), 0),
            // The tick may lie a little before `before`.
            _ => assert!(delivery.timestamp() > since - 1_000_000_000),
        }
        delivery.ack().unwrap();
    }
}

fn every_length_up_to_the_maximum_arrives_whole(backing: Backing) {
    let max = 3 << 20;
    let options = small().max_message(max as u64).arena_size(4 * max as u64);
    let Place { queue, .. } = &queue(backing, &options);
    let mut producer = queue.producer().unwrap();
    let consumer = queue.consumer().unwrap();
    for length in [
        0,
        1,
        7,
        8,
        63,
        64,
        95,
        96,
        97,
        128,
        4095,
        4096,
        4097,
        1 << 20,
        max - 1,
        max,
    ] {
        let payload: Vec<u8> = (0..length).map(|at| (at * 31 + length) as u8).collect();
        producer.publish(&payload).unwrap();
        assert_eq!(take(&consumer), payload, "length {length}");
    }
    let error = producer.publish(&vec![0; max + 1]).unwrap_err();
    assert_eq!(
        error,
        PublishError::TooLong {
            length: max as u64 + 1,
            max: max as u64
        }
    );
    let error = producer.reserve(max + 1).unwrap_err();
    assert_eq!(
        error,
        PublishError::TooLong {
            length: max as u64 + 1,
            max: max as u64
        }
    );
}

fn a_dropped_delivery_comes_again_uncounted(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let consumer = queue.consumer().unwrap();
    queue.producer().unwrap().publish("again").unwrap();
    for _ in 0..3 {
        assert_eq!(consumer.try_recv().unwrap().delivery_count(), 1);
    }
    consumer.try_recv().unwrap().release().unwrap();
    let delivery = consumer.try_recv().unwrap();
    assert_eq!((&*delivery, delivery.delivery_count()), (&b"again"[..], 1));
    delivery.ack().unwrap();
}

fn a_nacked_delivery_comes_again_counted_and_before_newer_ones(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let consumer = queue.consumer().unwrap();
    queue
        .producer()
        .unwrap()
        .publish_batch(["a", "b", "c"])
        .unwrap();
    let (a, b) = (consumer.try_recv().unwrap(), consumer.try_recv().unwrap());
    b.nack().unwrap();
    a.nack().unwrap();
    for (payload, count) in [(b"a", 2), (b"b", 2), (b"c", 1)] {
        let delivery = consumer.try_recv().unwrap();
        assert_eq!(
            (&*delivery, delivery.delivery_count()),
            (&payload[..], count)
        );
        delivery.ack().unwrap();
    }
    queue.producer().unwrap().publish("poison").unwrap();
    for _ in 0..300 {
        consumer.try_recv().unwrap().nack().unwrap();
    }
    assert_eq!(
        consumer.try_recv().unwrap().delivery_count(),
        255,
        "the count stays at its top"
    );
}

fn an_acked_message_never_comes_again(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let mut producer = queue.producer().unwrap();
    let (one, two) = (queue.consumer().unwrap(), queue.consumer().unwrap());
    for n in 0..100u8 {
        producer.publish(&[n]).unwrap();
        assert_eq!(take(if n % 2 == 0 { &one } else { &two }), [n]);
        assert_eq!(one.try_recv().unwrap_err(), ClaimError::Empty);
        assert_eq!(two.try_recv().unwrap_err(), ClaimError::Empty);
    }
}

fn a_full_queue_hands_the_message_back(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small().capacity(2));
    let mut producer = queue.producer().unwrap();
    let consumer = queue.consumer().unwrap();
    producer.try_publish("a").unwrap();
    producer.try_publish("b").unwrap();
    let rejected = producer.try_publish("c").unwrap_err();
    assert_eq!(
        (rejected.message.payload(), rejected.reason),
        (&b"c"[..], PublishError::Full)
    );
    let held = consumer.try_recv().unwrap();
    producer
        .try_publish("c")
        .expect_err("claimed is not settled");
    held.ack().unwrap();
    producer.try_publish("c").unwrap();
    assert_eq!(
        (take(&consumer), take(&consumer)),
        (b"b".to_vec(), b"c".to_vec())
    );
}

fn a_rejecting_queue_rejects_and_a_timeout_waits(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small().capacity(2).when_full(FullPolicy::Reject));
    let mut producer = queue.producer().unwrap();
    producer.publish("a").unwrap();
    producer.publish("b").unwrap();
    assert_eq!(producer.publish("c").unwrap_err(), PublishError::Full);
    let start = Instant::now();
    let timeout = Duration::from_millis(60);
    assert_eq!(
        producer.publish_timeout("c", timeout).unwrap_err(),
        PublishError::TimedOut
    );
    assert!(start.elapsed() >= timeout);
    assert_eq!(queue.stats().published, 2);
}

fn a_blocked_publish_goes_on_when_there_is_room(backing: Backing) {
    let _watchdog = watchdog("blocked publish", MINUTE);
    for strategy in [
        WaitStrategy::BusySpin,
        WaitStrategy::SpinThenPark,
        WaitStrategy::Park,
    ] {
        let Place { queue, .. } = &queue(backing, &small().capacity(2));
        let consumer = queue.consumer().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut producer = queue.producer().unwrap().wait_strategy(strategy);
                for n in 0..20u8 {
                    producer.publish(&[n]).unwrap();
                }
            });
            for n in 0..20u8 {
                if n % 5 == 0 {
                    std::thread::sleep(Duration::from_millis(5));
                }
                let delivery = consumer.recv().unwrap();
                assert_eq!(*delivery, [n]);
                delivery.ack().unwrap();
            }
        });
    }
}

fn a_waiting_consumer_gets_the_message(backing: Backing) {
    let _watchdog = watchdog("waiting consumer", MINUTE);
    for strategy in [
        WaitStrategy::BusySpin,
        WaitStrategy::SpinThenPark,
        WaitStrategy::Park,
    ] {
        let Place { queue, .. } = &queue(backing, &small());
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let consumer = queue.consumer().unwrap().wait_strategy(strategy);
                take_blocking(&consumer)
            });
            std::thread::sleep(Duration::from_millis(20));
            queue.producer().unwrap().publish("woken").unwrap();
            assert_eq!(receiver.join().unwrap(), b"woken");
        });
    }
}

fn take_blocking(consumer: &slipring::Consumer) -> Vec<u8> {
    let delivery = consumer.recv().unwrap();
    let payload = delivery.to_vec();
    delivery.ack().unwrap();
    payload
}

fn waiting_ends_with_its_timeout(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    for strategy in [
        WaitStrategy::BusySpin,
        WaitStrategy::SpinThenPark,
        WaitStrategy::Park,
    ] {
        let consumer = queue.consumer().unwrap().wait_strategy(strategy);
        for timeout in [Duration::ZERO, Duration::from_millis(70)] {
            let start = Instant::now();
            assert_eq!(
                consumer.recv_timeout(timeout).unwrap_err(),
                ClaimError::TimedOut
            );
            assert!(start.elapsed() >= timeout);
        }
        assert_eq!(
            consumer
                .recv_batch_timeout(4, Duration::from_millis(1))
                .unwrap_err(),
            ClaimError::TimedOut
        );
    }
}

fn a_lossy_queue_drops_the_oldest_and_counts_it(backing: Backing) {
    let options = small().capacity(4).when_full(FullPolicy::DropOldest);
    let Place { queue, .. } = &queue(backing, &options);
    queue
        .create_group("second", GroupOptions::shared())
        .unwrap();
    let mut producer = queue.producer().unwrap();
    for n in 0..100u8 {
        producer.publish(&[n]).unwrap();
    }
    let stats = queue.stats();
    assert_eq!(
        stats
            .groups
            .iter()
            .map(|group| group.lost)
            .collect::<Vec<_>>(),
        [96, 96]
    );
    let consumer = queue.consumer().unwrap();
    let rest: Vec<_> = (0..4).map(|_| take(&consumer)[0]).collect();
    assert_eq!(rest, [96, 97, 98, 99]);
    assert_eq!(consumer.try_recv().unwrap_err(), ClaimError::Empty);
}

fn a_lossy_queue_does_not_drop_what_is_being_handled(backing: Backing) {
    let options = small().capacity(2).when_full(FullPolicy::DropOldest);
    let Place { queue, .. } = &queue(backing, &options);
    let consumer = queue.consumer().unwrap();
    let mut producer = queue.producer().unwrap();
    producer.publish("held").unwrap();
    let held = consumer.try_recv().unwrap();
    producer.publish("b").unwrap();
    assert_eq!(
        producer.try_publish("c").unwrap_err().reason,
        PublishError::Full
    );
    assert_eq!(&*held, b"held");
    held.ack().unwrap();
    producer.try_publish("c").unwrap();
    producer.try_publish("d").unwrap();
    assert_eq!(
        (take(&consumer), take(&consumer)),
        (b"c".to_vec(), b"d".to_vec())
    );
}

fn a_lossy_queue_refuses_exclusive_groups(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small().when_full(FullPolicy::DropOldest));
    let error = queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap_err();
    assert_eq!(error, GroupError::ExclusiveOnLossy);
}

fn a_reservation_is_published_by_commit_only(backing: Backing) {
    let options = small().max_message(10_000).arena_size(1 << 16);
    let Place { queue, .. } = &queue(backing, &options);
    let mut producer = queue.producer().unwrap();
    let consumer = queue.consumer().unwrap();
    for length in [3, 5000] {
        let mut dropped = producer.reserve(length).unwrap();
        dropped.fill(1);
        drop(dropped);
        assert_eq!(consumer.try_recv().unwrap_err(), ClaimError::Empty);
        let mut kept = producer.reserve(length).unwrap();
        assert_eq!(*kept, vec![0; length], "a reservation starts as zeros");
        kept.fill(2);
        kept.kind(3).key(4).commit().unwrap();
        let delivery = consumer.try_recv().unwrap();
        assert_eq!((delivery.kind(), delivery.key()), (3, 4));
        assert_eq!(*delivery, vec![2; length]);
        delivery.ack().unwrap();
    }
}

fn a_loan_is_published_where_it_was_written(backing: Backing) {
    let options = small().max_message(10_000).arena_size(1 << 16);
    let Place { queue, .. } = &queue(backing, &options);
    let mut producer = queue.producer().unwrap();
    let consumer = queue.consumer().unwrap();
    for length in [0, 1, 96, 9999] {
        let mut loan = producer.loan(length).unwrap();
        loan.fill(9);
        let written = loan.as_ptr();
        loan.commit().unwrap();
        let delivery = consumer.try_recv().unwrap();
        assert_eq!(*delivery, vec![9; length]);
        assert_eq!(delivery.as_ptr(), written, "same bytes, no copy");
        delivery.ack().unwrap();
    }
    let Place { queue, .. } = &common::queue(backing, &small());
    let error = queue.producer().unwrap().loan(1).unwrap_err();
    assert_eq!(
        error,
        PublishError::TooLong { length: 1, max: 0 },
        "no arena"
    );
}

fn a_rejected_reservation_is_handed_back(backing: Backing) {
    let options = small().capacity(2).max_message(10_000).arena_size(1 << 16);
    let Place { queue, .. } = &queue(backing, &options);
    let consumer = queue.consumer().unwrap();
    let mut producer = queue.producer().unwrap();
    producer.publish_batch(["a", "b"]).unwrap();
    for length in [5, 5000] {
        let mut reservation = producer.reserve(length).unwrap();
        reservation.fill(5);
        let rejected = reservation.try_commit().unwrap_err();
        assert_eq!(rejected.reason, PublishError::Full);
        take(&consumer);
        assert_eq!(*rejected.message, vec![5; length]);
        rejected.message.try_commit().unwrap();
    }
    assert_eq!(
        (take(&consumer), take(&consumer)),
        (vec![5; 5], vec![5; 5000])
    );
}

fn a_batch_is_published_in_order(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let mut producer = queue.producer().unwrap();
    let batch = producer.publish_batch(["a", "b", "c"]).unwrap();
    assert_eq!(
        (batch.published, batch.first, batch.last),
        (3, Some(0), Some(2))
    );
    let none: [&str; 0] = [];
    let batch = producer.publish_batch(none).unwrap();
    assert_eq!((batch.published, batch.first, batch.last), (0, None, None));
    let consumer = queue.consumer().unwrap();
    for payload in ["a", "b", "c"] {
        assert_eq!(take(&consumer), payload.as_bytes());
    }
}

fn a_batch_that_does_not_fit_says_how_much_did(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small().capacity(4).when_full(FullPolicy::Reject));
    let mut producer = queue.producer().unwrap();
    let error = producer.publish_batch(["a"; 6]).unwrap_err();
    assert_eq!((error.published, error.reason), (4, PublishError::Full));
    let too_long = [0; 97];
    let consumer = queue.consumer().unwrap();
    take(&consumer);
    let error = producer.publish_batch([&b"b"[..], &too_long]).unwrap_err();
    assert_eq!(
        (error.published, error.reason),
        (
            1,
            PublishError::TooLong {
                length: 97,
                max: 96
            }
        )
    );
}

fn a_batch_waits_for_room(backing: Backing) {
    let _watchdog = watchdog("a waiting batch", MINUTE);
    let Place { queue, .. } = &queue(backing, &small());
    let mut producer = queue.producer().unwrap();
    let consumer = queue.consumer().unwrap();
    std::thread::scope(|scope| {
        // Twice what there is room for, so it wakes whoever makes room, and waits for it.
        let batch = scope.spawn(move || {
            let messages: Vec<[u8; 1]> = (0..16u8).map(|n| [n]).collect();
            producer.publish_batch(messages.iter().map(|message| &message[..]))
        });
        for n in 0..16u8 {
            let delivery = consumer.recv().unwrap();
            assert_eq!(&*delivery, [n]);
            delivery.ack().unwrap();
        }
        assert_eq!(batch.join().unwrap().unwrap().published, 16);
    });
}

fn a_batch_is_claimed_and_counted_one_by_one(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let (one, two) = (queue.consumer().unwrap(), queue.consumer().unwrap());
    queue
        .producer()
        .unwrap()
        .publish_batch(["a", "b", "c", "d"])
        .unwrap();
    {
        let mut claims = one.try_recv_batch(3).unwrap();
        assert_eq!(
            two.try_recv().unwrap().payload(),
            b"d",
            "the batch holds the first three"
        );
        claims.next().unwrap().unwrap().nack().unwrap();
    }
    // "a" was handed over and failed; "b" and "c" never were.
    for (payload, count) in [(b"a", 2), (b"b", 1), (b"c", 1), (b"d", 1)] {
        let delivery = two.try_recv().unwrap();
        assert_eq!(
            (&*delivery, delivery.delivery_count()),
            (&payload[..], count)
        );
        delivery.ack().unwrap();
    }
    assert_eq!(one.try_recv_batch(3).unwrap_err(), ClaimError::Empty);
}

fn every_group_sees_every_message(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let shared = queue
        .create_group("shared", GroupOptions::shared())
        .unwrap()
        .consumer()
        .unwrap();
    let log = queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap()
        .consumer()
        .unwrap();
    let consumer = queue.consumer().unwrap();
    let mut producer = queue.producer().unwrap();
    for n in 0..50u8 {
        producer.publish(&[n]).unwrap();
        for consumer in [&consumer, &shared, &log] {
            assert_eq!(take(consumer), [n]);
        }
    }
}

fn a_shared_group_gives_each_message_to_one(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let consumers: Vec<_> = (0..3).map(|_| queue.consumer().unwrap()).collect();
    let mut producer = queue.producer().unwrap();
    let mut seen = Vec::new();
    for round in 0..20u8 {
        producer
            .publish_batch([&[3 * round], &[3 * round + 1], &[3 * round + 2]])
            .unwrap();
        let held: Vec<_> = consumers
            .iter()
            .map(|consumer| consumer.try_recv().unwrap())
            .collect();
        assert_eq!(consumers[0].try_recv().unwrap_err(), ClaimError::Empty);
        for delivery in held {
            seen.push(delivery[0]);
            delivery.ack().unwrap();
        }
    }
    assert_eq!(seen, (0..60).collect::<Vec<u8>>());
}

fn groups_start_where_they_are_told(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small().max_groups(8));
    let mut producer = queue.producer().unwrap();
    let consumer = queue.consumer().unwrap();
    producer.publish_batch(["a", "b", "c", "d"]).unwrap();
    take(&consumer);
    for exclusive in [false, true] {
        let kind = if exclusive {
            GroupOptions::exclusive()
        } else {
            GroupOptions::shared()
        };
        for (start, expected) in [
            (Start::Earliest, Some("b")),
            (Start::At(2), Some("c")),
            (Start::Latest, None),
        ] {
            let name = format!("{exclusive} {start:?}");
            let found = queue
                .create_group(&name, kind.clone().start(start))
                .unwrap()
                .consumer()
                .unwrap();
            match expected {
                Some(payload) => assert_eq!(take(&found), payload.as_bytes()),
                None => assert_eq!(found.try_recv().unwrap_err(), ClaimError::Empty),
            }
        }
    }
}

fn a_group_cannot_start_out_of_reach(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let mut producer = queue.producer().unwrap();
    let consumer = queue.consumer().unwrap();
    producer.publish_batch(["a", "b", "c", "d"]).unwrap();
    take(&consumer);
    let error = |at| {
        queue
            .create_group("late", GroupOptions::shared().start(Start::At(at)))
            .unwrap_err()
    };
    assert_eq!(
        error(5),
        GroupError::Start {
            asked: 5,
            earliest: 1,
            latest: 4
        }
    );
    assert_eq!(
        error(0),
        GroupError::Start {
            asked: 0,
            earliest: 1,
            latest: 4
        }
    );
    assert_eq!(queue.groups().len(), 1, "nothing is left of the attempt");
    let latest = queue
        .create_group("late", GroupOptions::shared().start(Start::At(4)))
        .unwrap();
    producer.publish("e").unwrap();
    assert_eq!(take(&latest.consumer().unwrap()), b"e");
}

fn group_names_are_checked_and_unique(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let longest = "x".repeat(63);
    for bad in ["", "a\nb", &"x".repeat(64)] {
        let error = queue.create_group(bad, GroupOptions::shared()).unwrap_err();
        assert!(matches!(error, GroupError::Name { length, .. } if length == bad.len()));
    }
    queue
        .create_group(&longest, GroupOptions::shared())
        .unwrap();
    let error = queue
        .create_group(&longest, GroupOptions::exclusive())
        .unwrap_err();
    assert_eq!(error, GroupError::AlreadyExists);
    let error = queue
        .open_or_create_group(&longest, GroupOptions::exclusive())
        .unwrap_err();
    assert_eq!(error, GroupError::KindDiffers { exclusive: false });
    assert!(
        !queue
            .open_or_create_group(&longest, GroupOptions::shared())
            .unwrap()
            .is_exclusive()
    );
    let names: Vec<_> = queue
        .groups()
        .iter()
        .map(|group| group.name().to_owned())
        .collect();
    assert_eq!(names, ["default", &longest]);
    queue.create_group("three", GroupOptions::shared()).unwrap();
    queue.create_group("four", GroupOptions::shared()).unwrap();
    let error = queue
        .create_group("five", GroupOptions::shared())
        .unwrap_err();
    assert_eq!(error, GroupError::Full { max: 4 });
    assert_eq!(queue.group("none").unwrap_err(), GroupError::NotFound);
}

fn a_group_is_opened_or_made(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let options = GroupOptions::exclusive();
    for _ in 0..2 {
        let group = queue.open_or_create_group("log", options.clone()).unwrap();
        assert!(group.is_exclusive());
        assert_eq!(queue.groups().len(), 2);
    }
    let error = queue.open_or_create_group("log", GroupOptions::shared());
    assert_eq!(
        error.unwrap_err(),
        GroupError::KindDiffers { exclusive: true }
    );
}

fn a_deleted_group_tells_its_members_and_frees_the_ring(backing: Backing) {
    let _watchdog = watchdog("deleted group", MINUTE);
    let Place { queue, .. } = &queue(backing, &small().capacity(2));
    let group = queue.create_group("slow", GroupOptions::shared()).unwrap();
    let slow = group.consumer().unwrap();
    let fast = queue.consumer().unwrap();
    let mut producer = queue.producer().unwrap();
    producer.publish_batch(["a", "b"]).unwrap();
    take(&fast);
    take(&fast);
    producer
        .try_publish("c")
        .expect_err("held back by the slow group");
    let held = slow.try_recv().unwrap();
    queue.delete_group("slow").unwrap();
    assert_eq!(queue.delete_group("slow").unwrap_err(), GroupError::Closing);
    assert_eq!(
        queue
            .create_group("slow", GroupOptions::shared())
            .unwrap_err(),
        GroupError::Closing
    );
    producer
        .try_publish("c")
        .expect_err("a member is still working");
    assert_eq!(&*held, b"a");
    held.ack().unwrap();
    assert_eq!(slow.recv().unwrap_err(), ClaimError::GroupClosed);
    assert_eq!(group.consumer().unwrap_err(), AttachError::GroupClosed);
    drop(slow);
    producer.try_publish("c").unwrap();
    assert_eq!(queue.group("slow").unwrap_err(), GroupError::NotFound);
}

fn an_ephemeral_group_vanishes_with_its_last_consumer(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let options = GroupOptions::shared().ephemeral(true);
    let group = queue.create_group("passing", options).unwrap();
    let (one, two) = (group.consumer().unwrap(), group.consumer().unwrap());
    drop(one);
    assert!(queue.group("passing").is_ok());
    drop(two);
    assert_eq!(queue.group("passing").unwrap_err(), GroupError::NotFound);
    assert_eq!(group.consumer().unwrap_err(), AttachError::GroupClosed);
}

fn group_entries_are_used_again(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let mut producer = queue.producer().unwrap();
    let default = queue.consumer().unwrap();
    for round in 0..20u8 {
        let kind = if round % 2 == 0 {
            GroupOptions::shared()
        } else {
            GroupOptions::exclusive()
        };
        let group = queue.create_group("round", kind).unwrap();
        let consumer = group.consumer().unwrap();
        producer.publish(&[round]).unwrap();
        assert_eq!(
            take(&consumer),
            [round],
            "sees what came after it, and nothing older"
        );
        assert_eq!(consumer.try_recv().unwrap_err(), ClaimError::Empty);
        take(&default);
        group.delete().unwrap();
    }
}

fn a_sole_producer_is_alone(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let pid = u64::from(std::process::id());
    let ordinary = queue.producer().unwrap();
    assert_eq!(
        queue.sole_producer().unwrap_err(),
        AttachError::HasProducers { pid }
    );
    drop(ordinary);
    let mut sole = queue.sole_producer().unwrap();
    assert!(queue.stats().participants[0].sole_producer);
    assert_eq!(
        queue.producer().unwrap_err(),
        AttachError::SoleProducer { pid }
    );
    assert!(queue.sole_producer().is_err());
    let consumer = queue.consumer().unwrap();
    for n in 0..50u8 {
        sole.publish(&[n]).unwrap();
        assert_eq!(take(&consumer), [n]);
    }
    drop(sole);
    let mut ordinary = queue.producer().unwrap();
    assert_eq!(
        ordinary.publish("on").unwrap(),
        50,
        "goes on where the sole one ended"
    );
}

fn many_threads_share_one_queue(backing: Backing) {
    let _watchdog = watchdog("many threads", 2 * MINUTE);
    const EACH: u64 = 3000;
    let Place { queue, .. } = &queue(backing, &small().capacity(16));
    let counts = std::thread::scope(|scope| {
        for producer in 0..3u64 {
            scope.spawn(move || {
                let mut handle = queue.producer().unwrap();
                for n in 0..EACH {
                    handle.publish(Message::value(&[producer, n])).unwrap();
                }
            });
        }
        let consumers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let consumer = queue.consumer().unwrap();
                    let mut last = [None; 3];
                    let mut count = 0;
                    while let Ok(delivery) = consumer.recv_timeout(Duration::from_secs(2)) {
                        let [producer, n] = delivery.value::<[u64; 2]>().unwrap();
                        let last = &mut last[producer as usize];
                        assert!(*last < Some(n), "producer {producer}: {n} after {last:?}");
                        *last = Some(n);
                        count += 1;
                        delivery.ack().unwrap();
                    }
                    count
                })
            })
            .collect();
        consumers
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<u64>>()
    });
    assert_eq!(counts.iter().sum::<u64>(), 3 * EACH);
}

fn a_full_arena_is_a_full_queue(backing: Backing) {
    let options = small().max_message(4096).arena_size(2 * 4096);
    let Place { queue, .. } = &queue(backing, &options);
    let mut producer = queue.producer().unwrap();
    let consumer = queue.consumer().unwrap();
    for round in 0..20u8 {
        let payload = [round; 4096];
        producer.try_publish(&payload).unwrap();
        producer.try_publish(&payload).unwrap();
        assert_eq!(
            producer.try_publish(&payload).unwrap_err().reason,
            PublishError::Full
        );
        producer.try_publish("short ones still fit").unwrap();
        assert_eq!(
            (take(&consumer), take(&consumer)),
            (payload.to_vec(), payload.to_vec())
        );
        take(&consumer);
    }
}

fn messages_wrap_around_many_laps(backing: Backing) {
    for capacity in [2, 4] {
        // Laps in claim words wrap after 2^40, in slots after 2^48.
        for lap in [0, (1 << 40) - 3, (1 << 48) - 3, (1 << 60) / capacity] {
            let options = small().capacity(capacity).first_sequence(lap * capacity);
            let Place { queue, .. } = &queue(backing, &options);
            let log = queue
                .create_group("log", GroupOptions::exclusive())
                .unwrap()
                .consumer()
                .unwrap();
            let consumer = queue.consumer().unwrap();
            let mut producer = queue.producer().unwrap();
            for n in 0..capacity * 8 {
                let sequence = producer.publish(Message::value(&n)).unwrap();
                assert_eq!(sequence, lap * capacity + n);
                consumer.try_recv().unwrap().nack().unwrap();
                let delivery = consumer.try_recv().unwrap();
                assert_eq!(
                    (delivery.value::<u64>().unwrap(), delivery.delivery_count()),
                    (n, 2)
                );
                delivery.ack().unwrap();
                let delivery = log.try_recv().unwrap();
                assert_eq!(
                    (delivery.value::<u64>().unwrap(), delivery.sequence()),
                    (n, sequence)
                );
                delivery.ack().unwrap();
            }
        }
    }
}

fn stats_tell_the_truth_when_nothing_moves(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small().name("truth"));
    let mut producer = queue.producer().unwrap();
    let consumer = queue.consumer().unwrap();
    producer.publish_batch(["a", "b", "c", "d", "e"]).unwrap();
    take(&consumer);
    consumer.try_recv().unwrap().nack().unwrap();
    let held = consumer.try_recv().unwrap();
    let third = consumer.try_recv().unwrap();
    third.ack().unwrap();
    drop(producer);
    let stats = queue.stats();
    assert_eq!(
        (stats.tail, stats.published, stats.depth, stats.capacity),
        (5, 5, 4, 8)
    );
    assert_eq!(stats.bytes_in_use, 4 * 128);
    let group = &stats.groups[0];
    assert_eq!((group.floor, group.oldest), (1, Some(1)));
    assert_eq!(
        (group.lag, group.ready, group.in_flight, group.members),
        (3, 2, 1, 1)
    );
    let participant = &stats.participants[0];
    assert_eq!(
        (participant.name.as_str(), participant.published),
        ("truth", 5)
    );
    assert_eq!(participant.pid, u64::from(std::process::id()));
    assert_eq!(participant.groups, ["default"]);
    held.ack().unwrap();
    drop(consumer);
    let stats = queue.stats();
    let group = &stats.groups[0];
    assert_eq!((group.delivered, group.redelivered, group.acked), (4, 1, 3));
    assert_eq!((group.members, group.lag, group.in_flight), (0, 2, 0));
}

fn an_iterator_ends_with_its_group(backing: Backing) {
    let _watchdog = watchdog("iterator", MINUTE);
    let Place { queue, .. } = &queue(backing, &small());
    queue.producer().unwrap().publish_batch(["a", "b"]).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let consumer = queue.consumer().unwrap();
            consumer
                .iter()
                .map(|delivery| delivery.unwrap().ack().unwrap())
                .count()
        });
        while queue.stats().groups[0].lag > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        queue.delete_group("default").unwrap();
        assert_eq!(reader.join().unwrap(), 2);
    });
    assert_eq!(queue.consumer().unwrap_err(), AttachError::NoDefaultGroup);
}

fn values_keep_their_type(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    queue
        .producer()
        .unwrap()
        .publish(Message::value(&[1.5f64, 2.5]))
        .unwrap();
    let consumer = queue.consumer().unwrap();
    let delivery = consumer.recv().unwrap();
    assert_eq!(delivery.value::<[f64; 2]>().unwrap(), [1.5, 2.5]);
    assert_eq!(
        delivery.value::<u64>().unwrap_err(),
        ValueError {
            expected: 8,
            found: 16
        }
    );
    delivery.ack().unwrap();
}

fn a_leaked_delivery_is_given_back_at_the_end(backing: Backing) {
    let dir = common::directory(backing);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    queue.producer().unwrap().publish_batch(["a", "b"]).unwrap();
    {
        let other = Queue::open(&path).unwrap();
        let consumer = other.consumer().unwrap();
        std::mem::forget(consumer.try_recv().unwrap());
        std::mem::forget(consumer.try_recv_batch(1).unwrap());
    }
    let consumer = queue.consumer().unwrap();
    for (payload, count) in [(b"a", 2), (b"b", 1)] {
        let delivery = consumer.try_recv().unwrap();
        assert_eq!(
            (&*delivery, delivery.delivery_count()),
            (&payload[..], count)
        );
        delivery.ack().unwrap();
    }
    assert_eq!(queue.stats().participants.len(), 1);
}
