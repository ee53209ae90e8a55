//! Goal: words that no running code writes do not make the library panic, go on for ever or far too long. All but the last
//! test fail over the library as it once was.
//! Method: a queue on tmpfs is made, its file is changed as the story says, and the operation is run while its accesses are
//! counted, so that one that does not end fails instead of hanging. Found by reading; `fuzz/hostile_words` and
//! `tests/scribbler.rs` go on looking.

#![cfg(feature = "crash-points")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;

use common::{Backing, directory};
use slipring::layout::geometry::{control, group, segment};
use slipring::layout::{GroupId, Offset, OwnedWord, OwnerId, SlotState};
use slipring::mem::fault;
use slipring::{FullPolicy, Geometry, GroupOptions, Inspector, Options, PublishError, Queue};
use tempfile::TempDir;

/// Accesses that are enough for any one operation here. A floor may lag by 131,072 messages, and is looked for in each group.
const ENOUGH: u64 = 600_000;

/// No sequence gets here; what is above is cut off.
const SEQUENCE_MAX: u64 = u64::MAX - (1 << 61);

struct Stage {
    queue: Queue,
    geometry: Geometry,
    file: File,
    dir: TempDir,
}

impl Stage {
    fn new(options: &Options) -> Self {
        let dir = directory(Backing::Tmpfs);
        let path = dir.path().join("queue");
        let queue = options.create(&path).unwrap();
        let geometry = *Inspector::open(&path).unwrap().geometry();
        let file = File::options().write(true).open(&path).unwrap();
        Self {
            queue,
            geometry,
            file,
            dir,
        }
    }

    fn small() -> Self {
        Self::new(&Queue::options().capacity(4).max_message(96).max_groups(2))
    }

    fn inspector(&self) -> Inspector {
        Inspector::open(self.dir.path().join("queue")).unwrap()
    }

    fn write(&self, offset: Offset, word: u64) {
        self.file
            .write_all_at(&word.to_le_bytes(), offset.0)
            .unwrap();
    }

    fn group(&self, id: u8, field: u64) -> Offset {
        self.geometry.group(GroupId(id)).plus(field)
    }

    fn slot_words(&self, lap: impl Fn(u64) -> u64, state: SlotState) {
        for index in 0..self.geometry.capacity() {
            let word = OwnedWord::slot(lap(index), OwnerId(1), state);
            self.write(self.geometry.slot(index), word.0);
        }
    }

    fn reservations(&self, lap: impl Fn(u64) -> u64) {
        for index in 0..self.geometry.capacity() {
            let word = OwnedWord::slot(lap(index), OwnerId(1), SlotState::Taken);
            self.write(self.geometry.reservation(index), word.0);
        }
    }
}

fn counted<T>(operation: impl FnOnce() -> T) -> T {
    fault::install(|count| assert!(count < ENOUGH, "{count} accesses, and no end"));
    let done = operation();
    fault::remove();
    done
}

/// A head near the end of numbers became a consumer's position, which then overflowed.
#[test]
fn a_head_beyond_all_sequences_is_cut_off() {
    let stage = Stage::small();
    stage.write(stage.group(0, group::HEAD), u64::MAX);
    let consumer = stage.queue.consumer().unwrap();
    stage.slot_words(|_| stage.geometry.lap(u64::MAX), SlotState::Published);
    for _ in 0..8 {
        let _nothing_good = counted(|| consumer.try_recv().map(drop));
    }
}

/// The count of how often a segment was emptied overflowed.
#[test]
fn a_count_of_emptyings_wraps() {
    let stage = Stage::new(&Queue::options().capacity(4).max_message(500).slot_size(64));
    for number in 0..stage.geometry.segment_count() {
        let entry = stage.geometry.segment(number);
        stage.write(entry.plus(segment::EMPTIED), u64::MAX);
        stage.write(entry.plus(segment::BUMP), 64);
    }
    let mut producer = stage.queue.producer().unwrap();
    counted(|| producer.try_publish(&[1; 400])).unwrap();
    let consumer = stage.queue.consumer().unwrap();
    assert_eq!(*consumer.try_recv().unwrap(), [1; 400]);
}

/// Slots that all claim to be laps ahead count as settled; the floor went up to them by a step for each lap, in one call.
#[test]
fn slots_far_ahead_do_not_keep_a_consumer_looking() {
    let stage = Stage::small();
    stage.slot_words(|_| 1 << 46, SlotState::Published);
    let consumer = stage.queue.consumer().unwrap();
    for _ in 0..3 {
        counted(|| consumer.try_recv().map(drop)).unwrap_err();
    }
}

/// The same words, seen by a producer of a lossy queue: each of its turns moved the floor on a little, a lap of turns long.
#[test]
fn slots_far_ahead_do_not_keep_a_lossy_producer_looking() {
    let options = Queue::options()
        .capacity(1024)
        .max_message(96)
        .max_groups(2);
    let stage = Stage::new(&options.when_full(FullPolicy::DropOldest));
    let mut producer = stage.queue.producer().unwrap();
    stage.slot_words(|_| 1 << 46, SlotState::Published);
    let _whatever = counted(|| {
        producer
            .try_publish("x")
            .map_err(|rejected| rejected.reason)
    });
}

/// A sequence beyond which none can be was passed by going to itself: a producer that started from such a tail never returned.
#[test]
fn a_tail_at_the_end_of_sequences_ends_the_walk() {
    for gated in [false, true] {
        let options = Queue::options().capacity(4).max_message(96);
        let stage = Stage::new(&options.default_group(gated));
        stage.write(control::TAIL, u64::MAX);
        if gated {
            stage.write(stage.group(0, group::FLOOR), u64::MAX);
        }
        stage.reservations(|index| stage.geometry.lap(SEQUENCE_MAX + index) + 8);
        let mut producer = stage.queue.producer().unwrap();
        let sent = counted(|| {
            producer
                .try_publish("x")
                .map_err(|rejected| rejected.reason)
        });
        assert!(
            matches!(sent, Err(PublishError::Corrupt(_) | PublishError::Full)),
            "{sent:?}"
        );
        stage.reservations(|_| 0);
        stage.slot_words(
            |index| stage.geometry.lap(SEQUENCE_MAX + index) + 8,
            SlotState::Published,
        );
        let sent = counted(|| {
            producer
                .try_publish("x")
                .map_err(|rejected| rejected.reason)
        });
        assert!(
            matches!(sent, Err(PublishError::Corrupt(_) | PublishError::Full)),
            "{sent:?}"
        );
    }
}

/// Laps are compared as distances, so words a third of the way round apart are each ahead of the one before: the search for the
/// tail goes round and round, up to the end of numbers. With a word of 48 bits it gets there.
#[test]
fn words_ahead_of_each_other_do_not_send_anybody_round_for_ever() {
    let stage = Stage::new(
        &Queue::options()
            .capacity(4)
            .max_message(96)
            .default_group(false),
    );
    stage.reservations(round);
    let inspector = stage.inspector();
    counted(|| inspector.tail());
    counted(|| inspector.stats());
    let mut producer = stage.queue.producer().unwrap();
    let _sent = counted(|| producer.try_publish("x").map(drop).map_err(drop));
}

/// Laps that are each ahead of the one before, all the way round.
fn round(index: u64) -> u64 {
    1 + index * ((1 << 48) / 3)
}

/// Each segment that somebody dead seemed to hold had the tail looked for anew.
#[test]
fn a_dead_holder_of_all_segments_is_swept_with_one_look_at_the_tail() {
    let options = Queue::options().capacity(4).max_message(100).slot_size(64);
    let stage = Stage::new(&options.arena_size(1024 * 4096));
    stage.reservations(round);
    let path = stage.dir.path().join("queue");
    let dead = Queue::open(&path).unwrap();
    for number in 0..stage.geometry.segment_count() {
        let held = OwnedWord::entry(1, OwnerId(1), slipring::layout::EntryState::Live);
        stage.write(stage.geometry.segment(number).plus(segment::STATE), held.0);
    }
    fault::die();
    drop(dead);
    fault::revive();
    let swept = counted(|| stage.queue.sweep());
    assert_eq!(swept.participants, 1);
}

/// An exclusive group's cursor and the range its last owner had open, both absurd.
#[test]
fn an_absurd_cursor_is_taken_over() {
    let stage = Stage::small();
    let group = stage
        .queue
        .create_group("x", GroupOptions::exclusive())
        .unwrap();
    for (floor, opened) in [(u64::MAX, 0), (0, u64::MAX), (SEQUENCE_MAX, u64::MAX)] {
        stage.write(stage.group(1, group::FLOOR), floor);
        stage.write(stage.group(1, group::OPENED), opened);
        let consumer = counted(|| group.consumer()).unwrap();
        let _nothing_good = counted(|| consumer.try_recv().map(drop));
        counted(|| drop(consumer));
    }
}
