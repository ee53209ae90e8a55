//! Goal: a replay gives what the ring still holds, whole and in order, says what is gone, and holds nobody back.
//! Method: known messages, read again from every place; and readers beside producers that overwrite, each of whose messages
//! says what it is.

#![cfg(not(slipring_loom))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Backing, MINUTE, Stop, queue, watchdog};
use slipring::{FullPolicy, Message, NoTimestamps, Queue, ReplayFrom, Replayed, Timestamps};

fn sequences(found: impl Iterator<Item = Replayed>) -> Vec<String> {
    found
        .map(|one| match one {
            Replayed::Message(message) => message.sequence.to_string(),
            Replayed::Gap { from, to } => format!("gap {from} to {to}"),
            Replayed::Hole { sequence } => format!("hole {sequence}"),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn what_is_settled_can_be_read_again_until_it_is_overwritten() {
    let place = queue(Backing::Tmpfs, &Queue::options().capacity(4));
    let mut producer = place.queue.producer().unwrap();
    let consumer = place.queue.consumer().unwrap();
    let all = || sequences(place.queue.replay(ReplayFrom::Oldest).unwrap());
    assert!(all().is_empty());
    for number in 0..6_u8 {
        let payload = [number; 90];
        let message = Message::new(&payload).kind(number.into()).key(9);
        producer.publish(message).unwrap();
        consumer.recv().unwrap().ack().unwrap();
    }
    // The place of the next one may be being written already.
    assert_eq!(all(), ["3", "4", "5"]);
    let from = |sequence| {
        let replay = place.queue.replay(ReplayFrom::Sequence(sequence));
        sequences(replay.unwrap())
    };
    assert_eq!(from(1), ["gap 1 to 2", "3", "4", "5"]);
    assert_eq!(from(5), ["5"]);
    assert!(from(6).is_empty());
    let mut replay = place.queue.replay(ReplayFrom::Sequence(5)).unwrap();
    let Some(Replayed::Message(found)) = replay.next() else {
        panic!("it was there");
    };
    assert_eq!(found.payload, [5; 90]);
    assert_eq!((found.kind, found.key), (5, 9));
    assert!(found.timestamp > 0 && found.dead_letter.is_none());
    // It ends, and goes on.
    assert_eq!((replay.next(), replay.position()), (None, 6));
    producer.publish("later").unwrap();
    assert_eq!(sequences(replay), ["6"]);
    // What is not settled is kept, and replaying has claimed nothing.
    assert_eq!(&*consumer.recv().unwrap(), b"later");
}

#[test]
fn a_time_says_where_to_begin() {
    let precise = Queue::options().timestamps(Timestamps::Precise);
    let place = queue(Backing::Tmpfs, &precise);
    let mut producer = place.queue.producer().unwrap();
    for _ in 0..5 {
        producer.publish("m").unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let messages: Vec<_> = place.queue.replay(ReplayFrom::Oldest).unwrap().collect();
    let Replayed::Message(third) = &messages[2] else {
        panic!("a hole");
    };
    let at = |offset: i64| {
        let ns = third.timestamp.checked_add_signed(offset).unwrap();
        let time = UNIX_EPOCH + Duration::from_nanos(ns);
        sequences(place.queue.replay(ReplayFrom::Time(time)).unwrap())
    };
    assert_eq!(at(0), ["2", "3", "4"]);
    assert_eq!(at(1), ["3", "4"]);
    assert_eq!(at(-1_000_000), ["2", "3", "4"]);
    assert_eq!(at(-1_000_000_000_000).len(), 5);
    assert!(at(1_000_000_000_000).is_empty());
    let timeless = queue(Backing::Heap, &Queue::options().timestamps(Timestamps::Off));
    let refused = timeless.queue.replay(ReplayFrom::Time(SystemTime::now()));
    assert_eq!(refused.err(), Some(NoTimestamps));
}

#[test]
fn beside_producers_that_overwrite_every_message_is_whole_and_every_gap_is_told() {
    let _watchdog = watchdog("replaying beside producers", 2 * MINUTE);
    let options = Queue::options().capacity(16).slot_size(64).max_message(400);
    let options = options.when_full(FullPolicy::DropOldest);
    let place = queue(Backing::Tmpfs, &options);
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(stop);
        for _ in 0..2 {
            let mut producer = place.queue.producer().unwrap();
            scope.spawn(move || {
                let mut number = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let word = number.to_le_bytes();
                    let length = usize::try_from(number % 45).unwrap() + 1;
                    let _full = producer.try_publish(&word.repeat(length));
                }
            });
        }
        let mut replay = place.queue.replay(ReplayFrom::Sequence(0)).unwrap();
        let (mut next, mut messages, mut gaps) = (0, 0, 0);
        while messages < 20_000 {
            match replay.next() {
                None => std::thread::yield_now(),
                Some(Replayed::Gap { from, to }) => {
                    assert_eq!(from, next);
                    assert!(to >= from);
                    next = to + 1;
                    gaps += 1;
                }
                Some(Replayed::Message(message)) => {
                    assert_eq!(message.sequence, next);
                    let word = &message.payload[..8];
                    let number = u64::from_le_bytes(word.try_into().unwrap());
                    assert_eq!(message.payload.len() as u64, (number % 45 + 1) * 8);
                    assert!(message.payload.chunks(8).all(|chunk| chunk == word));
                    next += 1;
                    messages += 1;
                }
                Some(other) => panic!("{other:?}"),
            }
        }
        println!("{messages} messages, {gaps} gaps");
    });
}
