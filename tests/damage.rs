//! Goal: a word scribbled into a queue while it is in use is an error that says where; it stops nobody's program, and a
//! message that alone is damaged costs only itself.
//! Method: overwrite bytes of the file beside an attached queue, and call everything that comes across them.

#![cfg(not(slipring_loom))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use common::{Backing, directory, take};
use slipring::layout::geometry::slot;
use slipring::layout::{OwnedWord, OwnerId, SlotHeader, SlotState};
use slipring::{
    ClaimError, Consumer, FormatError, FullPolicy, Geometry, GroupOptions, Inspector, Peeked,
    PublishError, Queue,
};
use tempfile::TempDir;

/// A word that no code writes.
const SCRIBBLE: u64 = u64::MAX;

/// A queue of four, with a shared group and an exclusive one, and its file.
struct Place {
    queue: Queue,
    inspector: Inspector,
    geometry: Geometry,
    file: File,
    _dir: TempDir,
}

fn place() -> Place {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = Queue::options()
        .capacity(4)
        .max_message(4096)
        .when_full(FullPolicy::Reject)
        .create(&path)
        .unwrap();
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let leases = GroupOptions::shared().ack_timeout(Duration::from_secs(60));
    queue.create_group("leased", leases).unwrap();
    let inspector = Inspector::open(&path).unwrap();
    let geometry = *inspector.geometry();
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).open(&path).unwrap();
    Place {
        queue,
        inspector,
        geometry,
        file,
        _dir: dir,
    }
}

impl Place {
    fn consumers(&self) -> [Consumer; 3] {
        ["default", "log", "leased"]
            .map(|group| self.queue.group(group).unwrap().consumer().unwrap())
    }

    /// Where the slot of a message begins.
    fn slot(&self, sequence: u64) -> u64 {
        self.geometry.slot(sequence).0
    }

    fn scribble(&self, offset: u64, word: u64) {
        self.file.write_all_at(&word.to_le_bytes(), offset).unwrap();
    }
}

/// Where an error says that the damage is.
fn place_in(error: &FormatError) -> u64 {
    match error {
        FormatError::Word { offset, .. } => *offset,
        other => panic!("{other}"),
    }
}

fn corrupt(error: ClaimError) -> u64 {
    match error {
        ClaimError::Corrupt(error) => place_in(&error),
        other => panic!("{other}"),
    }
}

#[test]
fn consumers_say_which_slot_word_is_damaged() {
    let place = place();
    let consumers = place.consumers();
    place.queue.producer().unwrap().publish("m").unwrap();
    let lap = place.geometry.lap(0);
    // Not a slot word; and one that only reservations have.
    let taken = OwnedWord::slot(lap, OwnerId(0), SlotState::Taken);
    for word in [SCRIBBLE, taken.0] {
        place.scribble(place.slot(0), word);
        for consumer in &consumers {
            let error = consumer.try_recv().unwrap_err();
            assert_eq!(corrupt(error), place.slot(0), "{word:#x}");
            let error = consumer.try_recv_batch(2).unwrap_err();
            assert_eq!(corrupt(error), place.slot(0), "{word:#x}");
        }
        assert_eq!(place.inspector.peek(0), Peeked::Damaged, "{word:#x}");
    }
    // Of a lap that cannot have begun. In a shared group the same says that others have settled the message.
    let later = OwnedWord::slot(lap + 7, OwnerId(0), SlotState::Published);
    place.scribble(place.slot(0), later.0);
    let [_, log, _] = &consumers;
    assert_eq!(corrupt(log.try_recv().unwrap_err()), place.slot(0));
    assert_eq!(place.inspector.peek(0), Peeked::Overwritten);
    // As it was, it is delivered.
    let word = OwnedWord::slot(lap, OwnerId(0), SlotState::Published);
    place.scribble(place.slot(0), word.0);
    for consumer in &consumers {
        assert_eq!(take(consumer), b"m");
    }
}

#[test]
fn who_looks_for_what_was_given_back_says_which_slot_word_is_damaged() {
    let place = place();
    let [consumer, ..] = place.consumers();
    place.queue.producer().unwrap().publish("m").unwrap();
    consumer.try_recv().unwrap().nack().unwrap();
    place.scribble(place.slot(0), SCRIBBLE);
    assert_eq!(corrupt(consumer.try_recv().unwrap_err()), place.slot(0));
}

#[test]
fn producers_say_which_slot_word_is_damaged() {
    let place = place();
    let mut producer = place.queue.producer().unwrap();
    place.scribble(place.slot(0), SCRIBBLE);
    for _ in 0..2 {
        let rejected = producer.try_publish("m").unwrap_err();
        let PublishError::Corrupt(error) = rejected.reason else {
            panic!("{}", rejected.reason);
        };
        assert_eq!(place_in(&error), place.slot(0));
        assert!(matches!(
            producer.publish("m"),
            Err(PublishError::Corrupt(_))
        ));
    }
}

#[test]
fn a_damaged_message_is_told_once_and_costs_only_itself() {
    let large = [7; 4096];
    let too_long = 1 << 31;
    let in_arena = u64::from(SlotHeader::IN_ARENA) << 32;
    for (payload, field, word) in [
        // The length comes first in its header, then the flags.
        (&b"small"[..], slot::HEADER, too_long),
        (&large[..], slot::HEADER, too_long | in_arena),
        // Nowhere in the arena.
        (&large[..], slot::PAYLOAD, 64),
        (&large[..], slot::PAYLOAD, SCRIBBLE),
    ] {
        let place = place();
        let consumers = place.consumers();
        let mut producer = place.queue.producer().unwrap();
        producer.publish(payload).unwrap();
        producer.publish("next").unwrap();
        place.scribble(place.slot(0) + field, word);
        assert_eq!(place.inspector.peek(0), Peeked::Damaged);
        for consumer in &consumers {
            let error = consumer.try_recv().unwrap_err();
            let slot = place.slot(0)..place.slot(1);
            assert!(slot.contains(&corrupt(error)), "{field} {word:#x}");
            assert_eq!(take(consumer), b"next");
        }
        for group in place.queue.stats().groups {
            assert_eq!(group.lost, 1, "{}", group.name);
        }
        // Its slot is used again.
        for _ in 0..8 {
            producer.publish("m").unwrap();
            for consumer in &consumers {
                assert_eq!(take(consumer), b"m");
            }
        }
    }
}
