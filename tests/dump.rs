//! Goal: a dump says what the words of a file say, and of damaged, truncated and foreign files shows what there is without
//! failing or reading beyond.
//! Method: a known queue; then files cut, scribbled over and made of noise.

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

use std::path::{Path, PathBuf};

use common::{Backing, directory};
use slipring::{Dump, DumpEntry, FormatError, GroupOptions, Message, Queue};
use tempfile::TempDir;

fn scene() -> (TempDir, PathBuf) {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let options = Queue::options().capacity(4).slot_size(64).max_message(500);
    let queue = options
        .max_participants(3)
        .max_groups(2)
        .create(&path)
        .unwrap();
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let mut producer = queue.producer().unwrap();
    producer
        .publish(Message::new(b"short").kind(7).key(8))
        .unwrap();
    producer.publish(&[b'l'; 400]).unwrap();
    let consumer = queue.consumer().unwrap();
    consumer.recv().unwrap().reject("no good").unwrap();
    consumer.recv().unwrap().nack().unwrap();
    (dir, path)
}

fn text<'a>(entry: &'a DumpEntry, field: &str) -> &'a str {
    let found = entry.fields.iter().find(|found| found.name == field);
    &found.unwrap_or_else(|| panic!("{field}: {entry:?}")).text
}

#[test]
fn words_are_decoded() {
    let (_dir, path) = scene();
    let dump = Dump::open(&path).unwrap();
    assert_eq!(dump.refused(), None);
    let header = dump.header();
    assert_eq!(text(&header, "magic"), "\"SLIPRING\"");
    assert_eq!(text(&header, "version"), "1");
    assert_eq!(text(&header, "capacity"), "4");
    assert_eq!(text(&header, "max_groups"), "2");
    assert_eq!(text(&header, "timestamps"), "1");
    assert_eq!(text(&dump.control(), "sole"), "Free");
    let participants: Vec<_> = dump.participants().collect();
    assert_eq!(participants.len(), 1);
    assert_eq!(
        text(&participants[0], "state"),
        "Free, incarnation 1, owner 0"
    );
    let groups: Vec<_> = dump.groups().collect();
    assert_eq!(text(&groups[0], "name"), "\"default\"");
    assert_eq!(text(&groups[0], "ready"), "from sequence 1");
    assert_eq!(text(&groups[0], "note of sequence 0"), "\"no good\"");
    assert_eq!(text(&groups[1], "flags"), "1");
    let slots: Vec<_> = dump.slots(0..u64::MAX).collect();
    assert_eq!(slots.len(), 4);
    assert_eq!(text(&slots[0], "word"), "Published, sequence 0, owner 0");
    assert_eq!(text(&slots[0], "reservation"), "Taken, sequence 0, owner 0");
    assert_eq!(
        text(&slots[0], "claim 0"),
        "Dead, sequence 0, attempt 1, cause 2"
    );
    assert_eq!(text(&slots[0], "claim 1"), "Never");
    assert_eq!(text(&slots[0], "payload"), "\"short\"");
    assert_eq!(
        (text(&slots[0], "kind"), text(&slots[0], "key")),
        ("7", "8")
    );
    assert_eq!(
        text(&slots[1], "claim 0"),
        "Ready, sequence 1, attempt 1, owner 0"
    );
    assert!(text(&slots[1], "pointer").contains(", in segment 0, emptied 0"));
    assert!(text(&slots[1], "payload").ends_with("l\"..."));
    assert_eq!(text(&slots[2], "word"), "Empty");
    let segments: Vec<_> = dump.segments().collect();
    assert_eq!((text(&segments[0], "bump"), segments.len()), ("448", 1));
    let some: Vec<_> = dump.slots(1..2).map(|slot| slot.name).collect();
    assert_eq!(
        (some, dump.index_of(9)),
        (vec!["slot 1".to_owned()], Some(1))
    );
}

/// Reads all there is; the bytes it says it has read lie in the file.
fn everything(path: &Path) -> usize {
    let dump = Dump::open(path).unwrap();
    let size = std::fs::metadata(path).unwrap().len();
    assert_eq!(dump.file_size(), size);
    let parts = [dump.header(), dump.control()].into_iter();
    let parts = parts.chain(dump.participants()).chain(dump.groups());
    let parts = parts.chain(dump.segments()).chain(dump.slots(0..u64::MAX));
    let fields: Vec<_> = parts.flat_map(|part| part.fields).collect();
    for field in &fields {
        let beyond = field.raw.is_some() && field.offset >= size;
        assert!(!beyond, "{field:?} of {size} bytes");
    }
    fields.len()
}

#[test]
fn of_a_truncated_file_there_is_what_is_left() {
    let (_dir, path) = scene();
    let whole = std::fs::read(&path).unwrap();
    let mut before = usize::MAX;
    for length in (0..whole.len()).rev().step_by(97) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let fields = everything(&path);
        assert!(fields <= before, "{length}");
        before = fields;
    }
    std::fs::write(&path, "").unwrap();
    assert_eq!(everything(&path), 0);
    let grown = [&whole[..], &[1; 5000]].concat();
    std::fs::write(&path, grown).unwrap();
    assert!(everything(&path) > 50);
}

#[test]
fn scribbled_words_are_shown_as_they_are() {
    let (_dir, path) = scene();
    let whole = std::fs::read(&path).unwrap();
    let noise = |bytes: &mut [u8], seed: u64| {
        let mut state = seed;
        for byte in bytes {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
    };
    for seed in 0..50 {
        let mut bytes = whole.clone();
        noise(&mut bytes[4096..], seed);
        std::fs::write(&path, &bytes).unwrap();
        assert!(everything(&path) > 50, "seed {seed}");
        noise(&mut bytes[12..120], seed);
        std::fs::write(&path, &bytes).unwrap();
        everything(&path);
        noise(&mut bytes, seed);
        std::fs::write(&path, &bytes).unwrap();
        let refused = Dump::open(&path).unwrap().refused();
        assert!(matches!(refused, Some(FormatError::Magic { .. })));
        everything(&path);
    }
}
