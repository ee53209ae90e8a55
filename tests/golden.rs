//! Goal: a file that an earlier version of this library has written is opened, found sound, and gives what was put into it.
//! Method: `tests/golden/version_1.queue`, kept as it was written by `write_the_file` below, with messages of all sizes, given
//! back, parked, acked out of order, and a consumer that had died. It has no durability, so its copies are told to be of this
//! machine's boot, whichever it was written in; one is told to be of another. When the format changes, the file stays, and a new one is
//! added for the new version.

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

use common::{Backing, directory, role, say, spawn_child};
use slipring::layout::FileHeader;
use slipring::{
    Cause, Dump, FullPolicy, Group, GroupOptions, Inspector, Message, PendingRecovery, Queue,
    ReplayFrom, Replayed, Severity, Timestamps, verify,
};
use zerocopy::IntoBytes;

const GOLDEN: &str = "tests/golden/version_1.queue";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN)
}

/// A copy, as if it had been written in that boot: in any other, a queue without durability is empty.
fn copied(path: &Path, boot_id: [u8; 16]) {
    let mut bytes = std::fs::read(golden()).unwrap();
    let mut verified = FileHeader::verify(&bytes, bytes.len() as u64).unwrap();
    verified.boot_id = boot_id;
    let header = FileHeader::new(&verified);
    bytes[..header.as_bytes().len()].copy_from_slice(header.as_bytes());
    std::fs::write(path, bytes).unwrap();
}

/// This machine's, as it puts it into a new file.
fn this_boot(dir: &Path) -> [u8; 16] {
    let path = dir.join("new");
    drop(Queue::options().capacity(2).create(&path).unwrap());
    let bytes = std::fs::read(&path).unwrap();
    let verified = FileHeader::verify(&bytes, bytes.len() as u64).unwrap();
    verified.boot_id
}

/// How long each message is.
fn length(sequence: u64) -> usize {
    usize::try_from(sequence * 29 % 200).unwrap()
}

#[test]
#[ignore = "makes the file anew, which only a new version of the format needs"]
fn write_the_file() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let options = Queue::options().capacity(16).slot_size(64).max_message(200);
    let options = options
        .arena_size(16 << 10)
        .max_groups(3)
        .max_participants(3);
    let options = options.when_full(FullPolicy::Reject).name("golden");
    let options = options.timestamps(Timestamps::Precise);
    let queue = options.create(&path).unwrap();
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let mut producer = queue.producer().unwrap();
    let shared = queue.consumer().unwrap();
    let log = queue.group("log").unwrap().consumer().unwrap();
    for sequence in 0..20 {
        let payload = vec![u8::try_from(sequence).unwrap(); length(sequence)];
        let message = Message::new(&payload).kind(7).key(99);
        assert_eq!(producer.publish(message), Ok(sequence));
        if sequence < 8 {
            shared.recv().unwrap().ack().unwrap();
            log.recv().unwrap().ack().unwrap();
        }
    }
    let held: Vec<_> = (8..12).map(|_| shared.recv().unwrap()).collect();
    for (number, delivery) in held.into_iter().enumerate() {
        match number {
            0 => delivery.reject("golden reason").unwrap(),
            1 => delivery.ack().unwrap(),
            _ => delivery.nack().unwrap(),
        }
    }
    drop((producer, shared, log, queue));
    let mut kid = spawn_child("holds", &path, &[]);
    assert_eq!(kid.next_line(), "ready");
    kid.kill();
    std::fs::create_dir_all(golden().parent().unwrap()).unwrap();
    std::fs::copy(&path, golden()).unwrap();
}

#[test]
#[ignore = "a child of other tests"]
fn child() {
    let Some((_role, path)) = role() else { return };
    let queue = Queue::options().name("golden").open(&path).unwrap();
    let consumer = queue.consumer().unwrap();
    let held = consumer.recv().unwrap();
    say("ready");
    std::thread::sleep(std::time::Duration::from_secs(600));
    drop(held);
}

#[test]
fn a_file_of_version_1_is_sound_and_gives_what_it_has() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    copied(&path, this_boot(dir.path()));
    let found = verify(&path).unwrap();
    // The oldest in a full ring may be being written over.
    assert_eq!((found.messages, found.online), (15, 0));
    let mut left = found.findings.iter();
    assert!(left.all(|one| one.severity == Severity::Leftover));
    assert_eq!(found.findings.len(), 2, "a participant, and its claim");
    let dump = Dump::open(&path).unwrap();
    assert_eq!((dump.refused(), dump.slots(0..99).count()), (None, 16));
    let replay = Inspector::open(&path).unwrap();
    let messages = replay.replay(ReplayFrom::Oldest).unwrap();
    let sequences: Vec<_> = messages
        .map(|one| match one {
            Replayed::Message(message) => {
                assert_eq!(message.payload.len(), length(message.sequence));
                assert!(message.timestamp > 0);
                message.sequence
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sequences, (5..20).collect::<Vec<_>>());
    drained(&path);
    assert_eq!(verify(&path).unwrap().findings, []);
}

#[test]
fn a_file_of_version_1_is_moved_into_another_shape() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    copied(&path, this_boot(dir.path()));
    let shape = Queue::options().capacity(64).max_message(1000);
    let done = shape.resize(&path, &mut |_, _| {}).unwrap();
    assert_eq!((done.messages, done.groups), (12, 2));
    assert_eq!(verify(&path).unwrap().findings, []);
    drained(&path);
}

#[test]
fn a_file_of_version_1_of_another_boot_is_empty_and_of_use() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let mut another = this_boot(dir.path());
    another[0] ^= 1;
    copied(&path, another);
    let found = verify(&path).unwrap();
    assert_eq!(found.pending_recovery, Some(PendingRecovery::Drop));
    assert_eq!(found.messages, 15);
    let queue = Queue::open(&path).unwrap();
    assert!(queue.recovery().unwrap().dropped >= 12);
    for name in ["default", "log"] {
        assert_eq!(drain(&queue.group(name).unwrap()), []);
    }
    let sequence = queue.producer().unwrap().try_publish("on").unwrap();
    assert!(sequence > 20 << 10, "{sequence}");
    assert_eq!(verify(&path).unwrap().findings, []);
}

/// What is in it: 8 is parked, 9 acked; 10 and 11 were given back, 10 held when its consumer died; the log has it all.
fn drained(path: &Path) {
    let queue = Queue::open(path).unwrap();
    assert_eq!(queue.full_policy(), FullPolicy::Reject);
    let shared = queue.group("default").unwrap();
    let parked = shared.dead_letters();
    let [letter] = &parked[..] else {
        panic!("{parked:?}");
    };
    assert_eq!((letter.sequence, letter.cause), (8, Cause::Rejected));
    assert_eq!(
        (letter.deliveries, letter.reason.as_str()),
        (1, "golden reason")
    );
    let counts = drain(&shared);
    let mut expected = vec![(10, 3), (11, 2)];
    expected.extend((12..20).map(|sequence| (sequence, 1)));
    assert_eq!(counts, expected);
    let expected: Vec<_> = (8..20).map(|sequence| (sequence, 1)).collect();
    assert_eq!(drain(&queue.group("log").unwrap()), expected);
    shared.discard(8).unwrap();
    assert_eq!(queue.producer().unwrap().try_publish("on").unwrap(), 20);
}

/// The sequences and delivery counts of all its messages, each of which is as it was written.
fn drain(group: &Group) -> Vec<(u64, u8)> {
    let consumer = group.consumer().unwrap();
    let mut found = Vec::new();
    while let Ok(delivery) = consumer.try_recv() {
        let sequence = delivery.sequence();
        let byte = u8::try_from(sequence).unwrap();
        assert_eq!(*delivery, vec![byte; length(sequence)]);
        assert_eq!((delivery.kind(), delivery.key()), (7, 99));
        found.push((sequence, delivery.delivery_count()));
        delivery.ack().unwrap();
    }
    found
}
