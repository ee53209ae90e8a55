//! Goal: `verify` finds every flipped bit that breaks a rule; what it passes works, but for what a format without checksums
//! of its messages cannot know; and no damage makes it, or anybody who only reads, fail otherwise than by saying so.
//! Method: a queue with something in every kind of word is left alone; every bit of every word is flipped, one at a time, and
//! looked for. A flip that is not found is followed by draining the queue, which must give what it gives without.

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

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Backing, MINUTE, directory, watchdog};
use slipring::layout::geometry::{control, group, participant, segment, slot};
use slipring::layout::{
    ClaimState, ClaimWord, EntryState, FileHeader, GroupId, Offset, OwnedWord, OwnerId, SlotState,
};
use slipring::{Geometry, GroupOptions, Inspector, Queue, Severity, verify};
use tempfile::TempDir;

const LONG: [u8; 100] = [b'x'; 100];

/// A queue that nobody is attached to, in the middle of its second lap: messages in slots and in the arena, given back,
/// parked, acked out of order, not looked at; an exclusive group half way; a group with leases; groups that are no more.
fn scene() -> (TempDir, PathBuf) {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let options = Queue::options().capacity(8).slot_size(64).max_message(100);
    let options = options.arena_size(32 << 10).max_groups(5);
    let queue = options.max_participants(3).create(&path).unwrap();
    queue.create_group("gone", GroupOptions::shared()).unwrap();
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let leases = GroupOptions::shared().ack_timeout(Duration::from_secs(3600));
    queue.create_group("leases", leases).unwrap();
    queue.delete_group("gone").unwrap();
    let mut producer = queue.producer().unwrap();
    let consumers =
        ["default", "log", "leases"].map(|name| queue.group(name).unwrap().consumer().unwrap());
    for number in 0..5_u8 {
        producer.publish(&[number; 20]).unwrap();
        for consumer in &consumers {
            consumer.recv().unwrap().ack().unwrap();
        }
    }
    for number in 5..12_u8 {
        let payload = [number; 20];
        let long = number % 3 == 0;
        let sent = producer.publish(if long { &LONG[..] } else { &payload[..] });
        assert_eq!(sent, Ok(number.into()));
    }
    let [default, log, leases] = &consumers;
    let held: Vec<_> = (0..6).map(|_| default.recv().unwrap()).collect();
    for (number, delivery) in held.into_iter().enumerate() {
        match number {
            0 => delivery.nack().unwrap(),
            1 | 4 => delivery.ack().unwrap(),
            2 => delivery.reject("no good").unwrap(),
            _ => delivery.release().unwrap(),
        }
    }
    log.recv().unwrap().ack().unwrap();
    for exclusive_or_not in [log, leases] {
        let first = exclusive_or_not.recv().unwrap();
        exclusive_or_not.recv().unwrap().ack().unwrap();
        first.nack().unwrap();
    }
    drop((producer, consumers, queue));
    (dir, path)
}

/// By sequence.
type Messages = BTreeSet<(u64, Vec<u8>)>;

/// What comes out of the queue: for each group, its messages and what was parked; then whether it goes on working.
fn drain(path: &Path) -> Result<BTreeMap<String, Messages>, String> {
    let queue = Queue::open(path).map_err(|error| error.to_string())?;
    let mut found = BTreeMap::new();
    for name in ["default", "log", "leases"] {
        let group = queue
            .group(name)
            .map_err(|error| format!("{name}: {error}"))?;
        let consumer = group.consumer().map_err(|error| error.to_string())?;
        let mut messages = BTreeSet::new();
        for letter in group.dead_letters() {
            messages.insert((letter.sequence, b"parked".to_vec()));
            group
                .discard(letter.sequence)
                .map_err(|error| error.to_string())?;
        }
        loop {
            // One that waited in vain looks where no hint points.
            match consumer.recv_timeout(Duration::from_millis(1)) {
                Ok(delivery) => {
                    messages.insert((delivery.sequence(), delivery.to_vec()));
                    delivery.ack().map_err(|error| error.to_string())?;
                }
                Err(slipring::ClaimError::TimedOut) => break,
                Err(error) => return Err(format!("{name}: {error}")),
            }
        }
        found.insert(name.to_owned(), messages);
    }
    let mut producer = queue.producer().map_err(|error| error.to_string())?;
    for round in 0..20_u8 {
        let sent = producer.try_publish(&LONG[..usize::from(round) * 5]);
        let sequence = sent.map_err(|rejected| format!("publish: {}", rejected.reason))?;
        for name in ["default", "log", "leases"] {
            let consumer = queue.group(name).unwrap().consumer().unwrap();
            let delivery = consumer.recv_timeout(Duration::from_millis(5));
            let delivery = delivery.map_err(|error| format!("{name}: then: {error}"))?;
            if delivery.sequence() != sequence {
                return Err(format!(
                    "{name}: {} came, not {sequence}",
                    delivery.sequence()
                ));
            }
            delivery.ack().map_err(|error| error.to_string())?;
        }
    }
    Ok(found)
}

/// The fields of an entry that may be anything, or anything near enough, with their sizes.
const FREE_FIELDS: [(&str, u64, u64); 10] = [
    ("participant.pid", participant::PID, 8),
    ("participant.attached_ns", participant::ATTACHED_NS, 8),
    ("participant.name", participant::NAME, 64),
    ("group.event", group::EVENT, 8),
    ("group.standby_event", group::OWNER + 8, 8),
    ("group.counters", group::DELIVERED, 40),
    ("group.lost", group::LOST, 8),
    ("group.notes", group::NOTES, 1024),
    ("segment.emptied", segment::EMPTIED, 8),
    ("group.name", group::NAME, 64),
];

/// What a word is called here.
fn name_of(geometry: &Geometry, offset: u64) -> String {
    let words: [(Offset, &str); 8] = [
        (control::TAIL, "tail"),
        (control::WAITING, "waiting"),
        (control::SPACE_WAITING, "space_waiting"),
        (control::SPACE_EVENT, "space_event"),
        (control::GENERATION, "generation"),
        (control::SOLE, "sole"),
        (control::LAST_PROBE, "last_probe"),
        (control::ABORTED, "aborted"),
    ];
    let regions = geometry.regions();
    let region = regions.iter().rev().find(|(_, start)| *start <= offset);
    let Some((region, start)) = region else {
        return "header".to_owned();
    };
    let within = |prefix: &str, size: u64| {
        let field = (offset - start) % size;
        let known = FREE_FIELDS.iter().find(|(name, at, length)| {
            name.starts_with(prefix) && (*at..at + length).contains(&field)
        });
        known.map_or_else(|| format!("{prefix}+{field}"), |known| known.0.to_owned())
    };
    match *region {
        "control" => match words.iter().find(|(at, _)| at.0 == offset) {
            Some((_, name)) => format!("control.{name}"),
            None => format!("control+{}", offset - start),
        },
        "participants" => within("participant", geometry.participant(OwnerId(1)).0 - start),
        "groups" => within("group", geometry.group(GroupId(1)).0 - start),
        "segments" => within("segment", geometry.segment(1).0 - start),
        "slots" => format!("slot+{}", (offset - start) % geometry.shape().slot_size),
        other => other.to_owned(),
    }
}

#[derive(Default)]
struct Tally {
    found: u32,
    harmless: u32,
    /// Not found, and the queue gives something else.
    harmful: BTreeMap<String, u32>,
}

/// Where a flip can change what comes out without breaking a rule: nothing in version 1 of the format says what a message,
/// a name, a setting or a choice of the user was.
const BEYOND_KNOWING: [(&str, &str); 14] = [
    ("slot+0", "a message that is called a hole"),
    ("group+1024", "how often a message is delivered"),
    ("slot+8", "length and kind of a message"),
    ("slot+32", "payload"),
    ("slot+40", "payload"),
    ("slot+48", "payload"),
    ("slot+56", "payload"),
    ("group.name", "the name asked for"),
    ("group+8", "shared or exclusive, or ephemeral"),
    ("group+24", "a shorter name"),
    ("group+1032", "ack time-out or none"),
    (
        "group+128",
        "a floor lower down, from which messages come again",
    ),
    ("group+136", "what the active consumer had in hand"),
    ("claims", "another state that could stand there"),
];

#[test]
fn every_flipped_bit_is_found_or_does_no_harm() {
    let _watchdog = watchdog("flipping bits", 10 * MINUTE);
    let (_dir, path) = scene();
    let whole = std::fs::read(&path).unwrap();
    let geometry = *Inspector::open(&path).unwrap().geometry();
    assert_eq!(verify(&path).unwrap().findings, []);
    let copy = path.with_file_name("copy");
    std::fs::write(&copy, &whole).unwrap();
    let expected = drain(&copy).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    // What lies behind the slots is unused, and then the bytes of messages, or nobody's.
    let end = geometry.slot(0).0 + geometry.capacity() * geometry.shape().slot_size + 16;
    for (at, word) in (0..end).step_by(8).zip(whole.chunks_exact(8)) {
        let good = u64::from_le_bytes(word.try_into().unwrap());
        let name = name_of(&geometry, at);
        // Some bits do for the many words that are unused, or never used yet.
        let is_free = FREE_FIELDS.iter().any(|(free, ..)| name == *free);
        let bits = if is_free && name != "group.name" {
            BTreeSet::from([at / 8 % 64])
        } else if good == 0 && at > 120 {
            BTreeSet::from([at / 8 % 64, 0, 3, 16])
        } else {
            (0..64).collect()
        };
        for bit in bits {
            let bad = good ^ 1 << bit;
            file.write_all_at(&bad.to_le_bytes(), at).unwrap();
            let tally = tallies.entry(name.clone()).or_default();
            if verify(&path).unwrap().is_sound() {
                std::fs::copy(&path, &copy).unwrap();
                match drain(&copy) {
                    Ok(found) if found == expected => tally.harmless += 1,
                    other => {
                        let told = other.err().unwrap_or_else(|| "others came".to_owned());
                        *tally.harmful.entry(told).or_default() += 1;
                    }
                }
            } else {
                tally.found += 1;
            }
        }
        file.write_all_at(&good.to_le_bytes(), at).unwrap();
    }
    let mut wrong = Vec::new();
    for (name, tally) in &tallies {
        println!(
            "{name}: {} found, {} harmless, {:?}",
            tally.found, tally.harmless, tally.harmful
        );
        let known = BEYOND_KNOWING.iter().any(|(beyond, _)| name == beyond);
        if !tally.harmful.is_empty() && !known {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "not found, and harmful: {wrong:?}");
    // Where little else could stand, most is found, whether it does harm or not.
    for name in ["header", "reservations", "slot+0", "claims"] {
        let tally = &tallies[name];
        assert!(tally.found > 3 * tally.harmless, "{name}");
    }
    assert_eq!(tallies["header"].harmless, 0);
    assert_eq!(verify(&path).unwrap().findings, []);
}

/// One word made wrong, and what is said of it. The flips above pass over some of these, since they take more than a bit.
#[test]
fn every_rule_is_told_by_what_breaks_it() {
    let (_dir, path) = scene();
    let geometry = *Inspector::open(&path).unwrap().geometry();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let group = |id, field| geometry.group(GroupId(id)).plus(field);
    let claim = |id, sequence| geometry.claim(GroupId(id), sequence);
    let segment = |field| geometry.segment(0).plus(field);
    let live = OwnedWord::entry(9, OwnerId(2), EntryState::Live).0;
    let joining = OwnedWord::entry(9, OwnerId(2), EntryState::Joining).0;
    let held = |state| ClaimWord::new(geometry.lap(8), 1, OwnerId(2), state).0;
    let slot = |lap, state| OwnedWord::slot(lap, OwnerId(0), state).0;
    let lap = geometry.lap(8);
    let long = geometry.slot(9).plus(slot::PAYLOAD);
    let other = geometry.slot(6).plus(slot::PAYLOAD);
    let bytes = std::fs::read(&path).unwrap();
    let word = |at: Offset| {
        let at = usize::try_from(at.0).unwrap();
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    };
    // 5 was given back, 11 not looked at; the log is at 6; the tail is 12.
    let rules: [(Offset, u64, &str); 22] = [
        (control::TAIL, 13, "control.tail"),
        (control::SOLE, live, "control.sole"),
        (control::ABORTED, 13, "control.aborted"),
        (group(0, group::FLOOR), 6, "floor of group 0"),
        (group(0, group::HEAD), 12, "head of group 0"),
        (group(0, group::HEAD), 13, "head of group 0"),
        (group(0, group::START), 6, "floor of group 0"),
        (group(0, group::READY), 0, "ready of group 0"),
        (group(0, group::STATE), joining, "state of group 0"),
        (group(2, group::FLOOR), 2, "floor of group 2"),
        (group(2, group::OPENED), 13, "opened of group 2"),
        (group(2, group::OWNER), live, "owner of group 2"),
        (
            claim(0, 8),
            held(ClaimState::Opened),
            "claim word of group 0",
        ),
        (
            claim(0, 8),
            held(ClaimState::Claimed),
            "claim word of group 0",
        ),
        (
            claim(0, 11),
            held(ClaimState::Ready) + (1 << 24),
            "claim word of group 0",
        ),
        (
            geometry.slot(8),
            slot(lap - 1, SlotState::Published),
            "slot word of index 0",
        ),
        (
            geometry.slot(8),
            slot(lap + 1, SlotState::Published),
            "slot word of index 0",
        ),
        (
            geometry.reservation(8),
            slot(lap + 2, SlotState::Taken),
            "reservation word",
        ),
        (segment(segment::STATE), live, "state of segment 0"),
        (segment(segment::USED_UNTIL), 14, "used_until of segment 0"),
        (segment(segment::BUMP), 0, "segment 0"),
        (long, word(other), "place of message"),
    ];
    for (at, wrong, what) in rules {
        let good = word(at);
        file.write_all_at(&wrong.to_le_bytes(), at.0).unwrap();
        let found = verify(&path).unwrap();
        let told = found.damage().any(|one| one.what.starts_with(what));
        assert!(told, "{what}, {wrong:#x}: {:#?}", found.findings);
        file.write_all_at(&good.to_le_bytes(), at.0).unwrap();
        assert_eq!(verify(&path).unwrap().findings, [], "{what}");
    }
}

#[test]
fn a_header_is_checked_field_by_field() {
    let (_dir, path) = scene();
    let whole = std::fs::read(&path).unwrap();
    let check = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let found = verify(&path).unwrap();
        assert!(!found.is_sound());
        let texts = found.findings.iter().map(|one| one.what.clone());
        texts.collect::<Vec<_>>()
    };
    assert_eq!(check(&|bytes| bytes.truncate(100)), ["file"]);
    assert_eq!(check(&|bytes| bytes.clear()), ["file"]);
    assert_eq!(check(&|bytes| bytes.truncate(20_000)), ["file, truncated,"]);
    assert_eq!(check(&|bytes| bytes.push(0)), ["file, grown,"]);
    assert_eq!(check(&|bytes| bytes[0] = b'Z'), ["header field magic"]);
    assert_eq!(check(&|bytes| bytes[8] = 2), ["header field version"]);
    assert_eq!(check(&|bytes| bytes[50] ^= 1), ["header field crc"]);
    // Two at once are both told.
    let two = |bytes: &mut Vec<u8>| {
        bytes[112] = 9;
        bytes[116] = 9;
        reseal(bytes);
    };
    let told = ["header field full_policy", "header field timestamps"];
    assert_eq!(check(&two), told);
    let odd = |bytes: &mut Vec<u8>| {
        bytes[64] = 9;
        reseal(bytes);
    };
    assert_eq!(check(&odd), ["header field capacity"]);
    let unused = |bytes: &mut Vec<u8>| bytes[3000] = 1;
    assert_eq!(check(&unused), ["unused byte of header"]);
}

/// Gives a header a good checksum.
fn reseal(bytes: &mut [u8]) {
    use zerocopy::{FromBytes, IntoBytes};
    let mut header = FileHeader::read_from_bytes(&bytes[..120]).unwrap();
    header.crc = header.checksum();
    bytes[..120].copy_from_slice(header.as_bytes());
}

#[test]
fn a_file_of_noise_is_told_of_without_end_but_not_listed_without_end() {
    let (_dir, path) = scene();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    let found = verify(&path).unwrap();
    assert!(!found.is_sound());
    assert!(found.findings.len() <= slipring::Verification::MOST_FINDINGS);
    let offsets: Vec<_> = found.findings.iter().map(|one| one.offset).collect();
    assert!(offsets.is_sorted());
    assert!(
        found
            .findings
            .iter()
            .all(|one| one.severity == Severity::Damage)
    );
    // What is no queue is not looked into.
    std::fs::write(&path, [0xa5; 9000]).unwrap();
    assert_eq!(verify(&path).unwrap().findings.len(), 1);
    std::fs::write(&path, "").unwrap();
    assert_eq!(verify(&path).unwrap().findings.len(), 1);
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let (dir, _path) = scene();
    assert!(verify(dir.path()).is_err());
    assert!(verify(dir.path().join("none")).is_err());
}
