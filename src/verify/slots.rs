//! Slots and reservations, and the messages in them: each word by itself, beside the other of its index, and after the one
//! of the sequence before.

use std::collections::BTreeMap;

use zerocopy::FromBytes;

use super::words::held_by;
use super::{Examiner, Finding, Severity, damage};
use crate::dead::DeadLetter;
use crate::examine::decode::sequence_at;
use crate::examine::{Standing, Whole, decode};
use crate::layout::durability::{payload_sum, record_sum};
use crate::layout::geometry::{segment, slot};
use crate::layout::header::FILE_HEADER_BYTES;
use crate::layout::{FileHeader, Offset, OwnedWord, SegmentPointer, SlotHeader, SlotState};

const READ_WRONG: &str = "the message cannot be read; consumers skip it and count it as lost";
const LED_AWAY: &str =
    "searches are led past sequences nobody has taken; producers or consumers stop here";

/// Where a long message lies. Such a place is a fact: whatever is written later belongs to another emptying.
#[derive(Clone, Copy)]
struct Extent {
    sequence: u64,
    start: u64,
    end: u64,
}

pub(super) fn check(examiner: &mut Examiner<'_>) {
    let mut extents: BTreeMap<(u64, u64), Vec<Extent>> = BTreeMap::new();
    for index in 0..examiner.file.geometry.capacity() {
        examiner.stays(|file| slot_word(file, index));
        examiner.stays(|file| reservation_word(file, index));
        examiner.stays(|file| both_words(file, index));
        let unsure = examiner.verification.online > 0;
        examiner.stays(|file| being_written(file, index, unsure));
        let mut counted = None;
        for _look in 0..2 {
            counted = message_at(examiner.file, index);
        }
        let Some(message) = counted else { continue };
        examiner.verification.messages += 1;
        examiner.stays(|file| message_at(file, index).and_then(|found| found.check(file)));
        if let Some((place, extent)) = message.extent(examiner.file) {
            extents.entry(place).or_default().push(extent);
        }
    }
    for (_, mut places) in extents {
        places.sort_by_key(|extent| extent.start);
        for pair in places.windows(2) {
            if let [lower, upper] = pair
                && lower.end > upper.start
            {
                examiner.note(overlap(examiner.file, *lower, *upper));
            }
        }
    }
}

fn overlap(file: Whole<'_>, lower: Extent, upper: Extent) -> Finding {
    let at = file.geometry.slot(upper.sequence).plus(slot::PAYLOAD);
    let what = format!("place of message {}", upper.sequence);
    let found = format!("from offset {}", upper.start);
    let (end, other) = (lower.end, lower.sequence);
    let expected = format!("beyond {end}, where message {other} ends");
    damage(
        what,
        at,
        found,
        expected,
        "one of the two has bytes of the other",
    )
}

fn slot_word(file: Whole<'_>, index: u64) -> Option<Finding> {
    let word = file.slot(index);
    let finding = |expected: &str, consequence| {
        let found = decode::slot(file.geometry, index, word.0);
        let what = format!("slot word of index {index}");
        let found = format!("{:#018x} ({found})", word.0);
        damage(what, file.slot_offset(index), found, expected, consequence)
    };
    match word.slot_state() {
        None | Some(SlotState::Taken) => {
            let consequence = "whoever comes to it fails with Corrupt";
            Some(finding("Empty, Published or Aborted", consequence))
        }
        Some(SlotState::Empty) => {
            (word.0 != 0).then(|| finding("0, being Empty", "none: it reads as never written"))
        }
        Some(SlotState::Published | SlotState::Aborted) => owner_and_lap(file, index, word)
            .map(|(expected, consequence)| finding(expected, consequence)),
    }
}

fn reservation_word(file: Whole<'_>, index: u64) -> Option<Finding> {
    let word = file.reservation(index);
    let finding = |expected: &str, consequence| {
        let found = decode::slot(file.geometry, index, word.0);
        let what = format!("reservation word of index {index}");
        let found = format!("{:#018x} ({found})", word.0);
        let at = file.geometry.reservation(index);
        damage(what, at, found, expected, consequence)
    };
    match word.slot_state() {
        Some(SlotState::Empty) => {
            (word.0 != 0).then(|| finding("0, being Empty", "none: it reads as never reserved"))
        }
        Some(SlotState::Taken) => owner_and_lap(file, index, word)
            .map(|(expected, consequence)| finding(expected, consequence)),
        _ => Some(finding("Empty or Taken", LED_AWAY)),
    }
}

/// What is wrong with the owner or the lap of a word that says that its sequence is taken.
fn owner_and_lap(
    file: Whole<'_>,
    index: u64,
    word: OwnedWord,
) -> Option<(&'static str, &'static str)> {
    if file.standing(word.owner()) == Standing::Nobody {
        let consequence = "none while the queue works; nobody can say who wrote it";
        return Some(("an owner that the participant table has", consequence));
    }
    let Some(sequence) = sequence_at(file.geometry, index, word) else {
        return Some(("a lap from the first on", LED_AWAY));
    };
    // What is taken stays taken, so what came before is still there to be seen.
    (!file.is_behind_tail(sequence)).then_some((
        "a lap whose sequences have all been taken up to here",
        LED_AWAY,
    ))
}

/// The two words of an index beside each other. Both only go up, one lap at a time.
fn both_words(file: Whole<'_>, index: u64) -> Option<Finding> {
    let reservation = file.reservation(index);
    let slot = file.slot(index);
    let is_taken = reservation.slot_state() == Some(SlotState::Taken);
    let is_fresh = reservation.slot_state() == Some(SlotState::Empty);
    let is_complete = matches!(
        slot.slot_state(),
        Some(SlotState::Published | SlotState::Aborted)
    );
    let first_lap = file.geometry.lap(file.first());
    let distance = match (is_taken, is_complete) {
        (true, true) => reservation.laps_ahead_of(slot.tag()),
        (true, false) if slot.slot_state() == Some(SlotState::Empty) => {
            reservation.laps_ahead_of(first_lap) + 1
        }
        // A sole producer reserves nothing; one that died leaves the word of the lap before.
        (false, true) if is_fresh => -1 - slot.laps_ahead_of(first_lap),
        _ => return None,
    };
    let wrong = !(-1..=1).contains(&distance);
    (wrong && file.reservation(index) == reservation).then(|| {
        let found = decode::slot(file.geometry, index, slot.0);
        let reserved = decode::slot(file.geometry, index, reservation.0);
        let what = format!("slot word of index {index}");
        let at = file.slot_offset(index);
        let expected = format!("within a lap of its reservation ({reserved})");
        let consequence = "a message is lost, or producers wait here for ever";
        damage(what, at, found, expected, consequence)
    })
}

/// A reservation without its message: tens of ns of a live producer, or for a sweep to end.
fn being_written(file: Whole<'_>, index: u64, online: bool) -> Option<Finding> {
    let reservation = file.reservation(index);
    let slot = file.slot(index);
    let open =
        slot.slot_state() == Some(SlotState::Empty) || slot.laps_ahead_of(reservation.tag()) < 0;
    if reservation.slot_state() != Some(SlotState::Taken) || !open {
        return None;
    }
    let finding = damage(
        format!("slot word of index {index}"),
        file.slot_offset(index),
        decode::slot(file.geometry, index, slot.0),
        format!(
            "what its reservation announces ({})",
            decode::slot(file.geometry, index, reservation.0)
        ),
        "a producer died here: consumers in strict order wait until a sweep makes it a hole",
    );
    let stuck = "everybody waits behind it, and no sweep ends it";
    let found = match file.standing(reservation.owner()) {
        Standing::Alive if online => Some(Finding {
            consequence: "its producer is paused here, or the word is damaged: consumers in strict order wait",
            ..finding.called(Severity::Unsure)
        }),
        _ => held_by(file, reservation.owner(), finding, stuck),
    };
    found.filter(|_| file.reservation(index) == reservation && file.slot(index) == slot)
}

/// A message as it was copied, whole.
struct Found {
    sequence: u64,
    header: SlotHeader,
    pointer: SegmentPointer,
    /// Some group has not settled it.
    kept: bool,
}

/// The message at an index, if there is one and nobody can have been writing while it was copied.
fn message_at(file: Whole<'_>, index: u64) -> Option<Found> {
    let word = file.slot(index);
    if word.slot_state() != Some(SlotState::Published) {
        return None;
    }
    let sequence = sequence_at(file.geometry, index, word)?;
    let start = file.geometry.slot(index);
    let header: [u8; size_of::<SlotHeader>()] = file.bytes(start.plus(slot::HEADER));
    let pointer: [u8; size_of::<SegmentPointer>()] = file.bytes(start.plus(slot::PAYLOAD));
    let retaken = file.newest_at(sequence) != Some(sequence) || file.slot(index) != word;
    let last_of_lap = sequence.checked_add(file.geometry.capacity() - 1)?;
    // A sole producer writes without saying so, but not over what a group keeps (I1).
    let may_be_written = file.is_taken(last_of_lap);
    let kept = file.is_kept(sequence);
    (!retaken && (kept || !may_be_written)).then_some(Found {
        sequence,
        header: SlotHeader::read_from_bytes(&header).ok()?,
        pointer: SegmentPointer::read_from_bytes(&pointer).ok()?,
        kept,
    })
}

impl Found {
    fn in_arena(&self) -> bool {
        self.header.flags & SlotHeader::IN_ARENA != 0
    }

    fn finding(
        &self,
        file: Whole<'_>,
        field: &str,
        offset: u64,
        found: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) -> Finding {
        let what = format!("{field} of message {}", self.sequence);
        let at = file.geometry.slot(self.sequence).plus(offset);
        damage(what, at, found, expected, READ_WRONG)
    }

    fn check(&self, file: Whole<'_>) -> Option<Finding> {
        let SlotHeader {
            length, flags, crc, ..
        } = self.header;
        let length = u64::from(length);
        let most = if self.in_arena() {
            file.geometry.shape().max_message
        } else {
            file.geometry.inline_max()
        };
        if length > most {
            let expected = format!("at most {most}");
            return Some(self.finding(file, "length", slot::HEADER, length, expected));
        }
        if flags & !(SlotHeader::IN_ARENA | SlotHeader::DEAD_LETTER) != 0 {
            let expected = "flags of version 1";
            let found = format!("{flags:#x}");
            let at = slot::HEADER + 4;
            let consequence = "none now; a later version may give them a meaning";
            let finding = self.finding(file, "flags", at, found, expected);
            return Some(Finding {
                consequence,
                ..finding
            });
        }
        let id = sealed_with(file);
        if id.is_none() && crc != 0 {
            let found = format!("{crc:#010x}");
            let finding = self.finding(file, "crc", slot::HEADER + 8, found, "0");
            let consequence = "none: messages of this queue have no checksums";
            return Some(Finding {
                consequence,
                ..finding
            });
        }
        let finding = if self.in_arena() {
            self.check_pointer(file, length)
        } else {
            self.check_letter(file, self.place(file))
        };
        finding.or_else(|| self.check_sum(file, &id?))
    }

    /// What nobody keeps may be half overwritten.
    fn check_sum(&self, file: Whole<'_>, id: &[u8; 16]) -> Option<Finding> {
        let mut payload = vec![0; self.header.length as usize];
        file.copy(self.place(file), &mut payload);
        let sum = record_sum(payload_sum(&payload), &self.header, id, self.sequence);
        let crc = self.header.crc;
        (self.kept && sum != crc).then(|| {
            let (found, expected) = (format!("{crc:#010x}"), format!("{sum:#010x}"));
            self.finding(file, "crc", slot::HEADER + 8, found, expected)
        })
    }

    fn place(&self, file: Whole<'_>) -> Offset {
        if self.in_arena() {
            Offset(self.pointer.offset)
        } else {
            file.geometry.slot(self.sequence).plus(slot::PAYLOAD)
        }
    }

    fn check_pointer(&self, file: Whole<'_>, length: u64) -> Option<Finding> {
        let SegmentPointer { offset, emptied } = self.pointer;
        let number = file.geometry.segment_at(offset, length);
        let Some(number) = number.filter(|_| offset.is_multiple_of(64)) else {
            let expected = "a multiple of 64 in one segment of the arena";
            return Some(self.finding(file, "pointer", slot::PAYLOAD, offset, expected));
        };
        let entry = file.geometry.segment(number);
        let until = file.word(entry.plus(segment::USED_UNTIL));
        let bump = file.word(entry.plus(segment::BUMP));
        let now = file.word(entry.plus(segment::EMPTIED));
        if now != emptied {
            // I8.
            return self.kept.then(|| {
                let expected = format!("{now}, as segment {number} has it");
                self.finding(file, "emptied", slot::PAYLOAD + 8, emptied, expected)
            });
        }
        let end = (offset - file.geometry.segment_bytes(number).0) + length;
        if until <= self.sequence || bump < end {
            let what = format!("segment {number}");
            let found = format!("used until sequence {until}, {bump} bytes");
            let sequence = self.sequence;
            let expected = format!("at least {}, {end}, for message {sequence}", sequence + 1);
            let consequence = "the message may be overwritten before it is consumed";
            return Some(damage(
                what,
                entry.plus(segment::BUMP),
                found,
                expected,
                consequence,
            ));
        }
        self.check_letter(file, Offset(offset))
            .filter(|_| file.word(entry.plus(segment::EMPTIED)) == emptied)
    }

    fn check_letter(&self, file: Whole<'_>, start: Offset) -> Option<Finding> {
        if self.header.flags & SlotHeader::DEAD_LETTER == 0 {
            return None;
        }
        let mut payload = vec![0; self.header.length as usize];
        file.copy(start, &mut payload);
        DeadLetter::split(&payload).is_none().then(|| {
            let what = format!("dead-letter header of message {}", self.sequence);
            let found = format!("{} bytes that make none", payload.len());
            let expected = "a dead-letter header that fits the message";
            let consequence = "the message is delivered without saying where it comes from";
            damage(what, start, found, expected, consequence)
        })
    }

    /// Its place in the arena: (segment, emptied), and from where to where.
    fn extent(&self, file: Whole<'_>) -> Option<((u64, u64), Extent)> {
        let length = u64::from(self.header.length);
        let SegmentPointer { offset, emptied } = self.pointer;
        let number = file.geometry.segment_at(offset, length)?;
        let size = length.next_multiple_of(64).max(64);
        self.in_arena().then_some((
            (number, emptied),
            Extent {
                sequence: self.sequence,
                start: offset,
                end: offset + size,
            },
        ))
    }
}

/// What the checksums of messages are made with, if there are any.
fn sealed_with(file: Whole<'_>) -> Option<[u8; 16]> {
    let header: [u8; FILE_HEADER_BYTES] = file.bytes(Offset(0));
    let header = FileHeader::read_from_bytes(&header).ok()?;
    (header.checksums == 1).then_some(header.queue_id)
}
