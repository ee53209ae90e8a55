//! The control block, the participant table and the segment table.

use super::words::held_by;
use super::{Examiner, Finding, Severity, damage};
use crate::examine::{Standing, Whole, decode};
use crate::layout::geometry::{
    CONTROL_SIZE, HEADER_SIZE, PARTICIPANT_SIZE, SEGMENT_SIZE, control, participant, segment,
};
use crate::layout::{EntryState, NAME_MAX, Offset, OwnedWord, OwnerId};
use crate::ring::{boot_check, boot_of};

const STATISTICS: &str = "statistics are wrong";

pub(super) fn check(examiner: &mut Examiner<'_>) {
    check_control(examiner);
    for id in examiner.file.geometry.participant_ids() {
        check_participant(examiner, id);
    }
    for number in 0..examiner.file.geometry.segment_count() {
        check_segment(examiner, number);
    }
    check_gaps(examiner);
}

fn check_control(examiner: &mut Examiner<'_>) {
    examiner.stays(tail);
    examiner.stays(sole);
    examiner.stays(|file| {
        let waiting = file.word(control::WAITING);
        let groups = file.geometry.shape().max_groups;
        let beyond = waiting.checked_shr(groups).unwrap_or(0) != 0;
        let wasted = "each publish wakes nobody, at the cost of a system call";
        beyond.then(|| {
            let found = format!("{waiting:#018x}");
            let expected = format!("bits of {groups} groups");
            damage("control.waiting", control::WAITING, found, expected, wasted)
        })
    });
    examiner.stays(|file| {
        let waiting = file.word(control::SPACE_WAITING);
        let wasted = "none: any number but 0 counts as 1";
        (waiting > 1).then(|| {
            let at = control::SPACE_WAITING;
            damage("control.space_waiting", at, waiting, "0 or 1", wasted)
        })
    });
    examiner.stays(|file| {
        let aborted = file.word(control::ABORTED);
        let possible = aborted == 0
            || file
                .first()
                .checked_add(aborted)
                .is_some_and(|end| file.is_behind_tail(end) || file.is_taken(end));
        let expected = "at most as many as sequences taken";
        (!possible).then(|| {
            damage(
                "control.aborted",
                control::ABORTED,
                aborted,
                expected,
                STATISTICS,
            )
        })
    });
    examiner.stays(boot);
    let fields = [
        (control::TAIL, 8),
        (control::WAITING, 8),
        (control::SPACE_WAITING, 8),
        (control::SPACE_EVENT, 4),
        (control::GENERATION, 8),
        (control::SOLE, 8),
        (control::LAST_PROBE, 8),
        (control::ABORTED, 24),
        (control::SYNCER, 8),
        (control::STARTED, 88),
        (control::SYNC_EVENT, 4),
        (control::EPOCH, 64),
        (control::CLEAN, 8),
    ]
    .map(|(offset, size)| (offset.0 - HEADER_SIZE, size));
    examiner.unused(
        "the control block",
        Offset(HEADER_SIZE),
        &fields,
        CONTROL_SIZE,
    );
}

fn boot(file: Whole<'_>) -> Option<Finding> {
    let found = file.word(control::BOOT_CHECK);
    let halves = [control::BOOT_FIRST, control::BOOT_SECOND].map(|at| file.word(at));
    let expected = boot_check(file.word(control::EPOCH), &boot_of(halves));
    (found != 0 && found != expected).then(|| {
        let (found, expected) = (format!("{found:#x}"), format!("0 or {expected:#x}"));
        let consequence = "who opens it recovers it: without durability, that drops its messages";
        damage(
            "control.boot_check",
            control::BOOT_CHECK,
            found,
            expected,
            consequence,
        )
    })
}

/// I6: all slots below the tail are taken.
fn tail(file: Whole<'_>) -> Option<Finding> {
    let tail = file.word(control::TAIL);
    let capacity = file.geometry.capacity();
    let window = tail.saturating_sub(capacity).max(file.first())..tail;
    let open = window.clone().find(|&sequence| !file.is_taken(sequence));
    let wrong = tail < file.first() || open.is_some();
    wrong.then(|| {
        let expected = match open {
            Some(open) => format!("at most {open}, the lowest sequence not taken"),
            None => format!("at least {}, the first sequence", file.first()),
        };
        let consequence = "messages below it may never be seen, and sequences are passed over";
        damage("control.tail", control::TAIL, tail, expected, consequence)
    })
}

fn sole(file: Whole<'_>) -> Option<Finding> {
    let word = OwnedWord(file.word(control::SOLE));
    let stuck = "no producer can be made";
    let finding = |expected: &str| {
        let found = decode::entry(word.0);
        damage("control.sole", control::SOLE, found, expected, stuck)
    };
    match word.entry_state() {
        Some(EntryState::Free) => None,
        Some(EntryState::Live) => {
            let left = Finding {
                consequence: "no producer can be made until a sweep",
                ..finding("a sole producer that lives")
            };
            held_by(file, word.owner(), left, stuck)
        }
        _ => Some(finding("Free or Live")),
    }
}

fn check_participant(examiner: &mut Examiner<'_>, id: OwnerId) {
    let entry = examiner.file.geometry.participant(id);
    let what = format!("participant {}", id.0);
    examiner.stays(|file| participant_state(file, id));
    examiner.stays(|file| participant_fields(file, id));
    let used = [
        (participant::STATE, 48),
        (participant::NAME, NAME_MAX as u64 + 1),
        (participant::PUBLISHED, 8),
    ];
    examiner.unused(&what, entry, &used, PARTICIPANT_SIZE);
}

fn participant_state(file: Whole<'_>, id: OwnerId) -> Option<Finding> {
    let at = file.geometry.participant(id).plus(participant::STATE);
    let word = OwnedWord(file.word(at));
    let finding = |expected: &str, consequence| {
        let what = format!("state of participant {}", id.0);
        damage(what, at, decode::entry(word.0), expected, consequence)
    };
    let lost = "the entry cannot be taken any more, and what it holds is not given back";
    match word.entry_state() {
        Some(EntryState::Free | EntryState::Live) if word.0 != 0 && word.owner() != id => {
            Some(finding("its own number as owner", "none: nobody reads it"))
        }
        Some(EntryState::Free) => None,
        Some(EntryState::Live) => (file.standing(id) == Standing::Dead).then(|| {
            let held = "what it holds is not given back until a sweep";
            finding("its lock held, or Free", held).called(Severity::Leftover)
        }),
        _ => Some(finding("Free or Live", lost)),
    }
}

/// What an entry that is not in use has been left with, and what no entry has.
fn participant_fields(file: Whole<'_>, id: OwnerId) -> Option<Finding> {
    let entry = file.geometry.participant(id);
    let state = file.word(entry);
    let is_free = OwnedWord(state).entry_state() == Some(EntryState::Free);
    let groups = file.geometry.shape().max_groups;
    let name_max = NAME_MAX as u64;
    let kept = "a group is kept from being freed";
    let checks: [(&str, u64, Limit, &str, &'static str); 4] = [
        (
            "member_of",
            participant::MEMBER_OF,
            Limit::Bits(groups),
            "bits of groups, 0 if the entry is free",
            kept,
        ),
        (
            "produces",
            participant::PRODUCES,
            Limit::Most(1),
            "0 or 1, 0 if the entry is free",
            "no sole producer can be made",
        ),
        (
            "published",
            participant::PUBLISHED,
            Limit::Any,
            "0, the entry being free",
            STATISTICS,
        ),
        (
            "name_length",
            participant::NAME_LENGTH,
            Limit::Name(name_max),
            "0 to 63",
            "none: longer ones are cut",
        ),
    ];
    checks
        .into_iter()
        .find_map(|(name, field, limit, expected, consequence)| {
            let found = file.word(entry.plus(field));
            let wrong = match limit {
                Limit::Bits(bits) => {
                    is_free && found != 0 || found.checked_shr(bits).unwrap_or(0) != 0
                }
                Limit::Most(most) => is_free && found != 0 || found > most,
                Limit::Any => is_free && found != 0,
                Limit::Name(most) => found > most,
            };
            // Whoever has taken or left the entry meanwhile writes all of them.
            (wrong && file.word(entry) == state).then(|| {
                let what = format!("{name} of participant {}", id.0);
                damage(
                    what,
                    entry.plus(field),
                    format!("{found:#x}"),
                    expected,
                    consequence,
                )
            })
        })
}

/// What a field of a participant may be. All but the name's length are 0 in an entry that is free.
enum Limit {
    Bits(u32),
    Most(u64),
    Any,
    Name(u64),
}

fn check_segment(examiner: &mut Examiner<'_>, number: u64) {
    let entry = examiner.file.geometry.segment(number);
    examiner.stays(|file| segment_state(file, number));
    examiner.stays(|file| segment_bump(file, number));
    examiner.stays(|file| segment_use(file, number));
    examiner.unused(
        &format!("segment entry {number}"),
        entry,
        &[(segment::STATE, 32)],
        SEGMENT_SIZE,
    );
}

fn segment_state(file: Whole<'_>, number: u64) -> Option<Finding> {
    let at = file.geometry.segment(number).plus(segment::STATE);
    let word = OwnedWord(file.word(at));
    let stuck = "its bytes are lost to producers of long messages";
    let finding = |expected: &str| {
        let what = format!("state of segment {number}");
        damage(what, at, decode::entry(word.0), expected, stuck)
    };
    match word.entry_state() {
        Some(EntryState::Free) if word.0 == 0 => None,
        Some(EntryState::Closing) => None,
        Some(EntryState::Live) => {
            let left = Finding {
                consequence: "its bytes are lost to producers of long messages until a sweep",
                ..finding("a holder that lives")
            };
            // Given back, and taken again: another word.
            held_by(file, word.owner(), left, stuck).filter(|_| file.word(at) == word.0)
        }
        _ => Some(finding("Free and never used, Live, or Closing")),
    }
}

fn segment_bump(file: Whole<'_>, number: u64) -> Option<Finding> {
    let at = file.geometry.segment(number).plus(segment::BUMP);
    let bump = file.word(at);
    let size = file.geometry.segment_size();
    (bump > size || !bump.is_multiple_of(64)).then(|| {
        let expected = format!("a multiple of 64 up to {size}");
        let what = format!("bump of segment {number}");
        let consequence = "its bytes are lost to producers of long messages, or misaligned";
        damage(what, at, bump, expected, consequence)
    })
}

/// I8, seen from the segment: no message lies in it that nobody has reserved. A sole producer reserves nothing, and says
/// what it will use before it commits.
fn segment_use(file: Whole<'_>, number: u64) -> Option<Finding> {
    let at = file.geometry.segment(number).plus(segment::USED_UNTIL);
    let until = file.word(at);
    (until != 0 && !file.is_behind_tail(until - 1)).then(|| {
        let expected = "0, or at most two past the highest sequence taken";
        let what = format!("used_until of segment {number}");
        let consequence = "it is not emptied before the queue gets there";
        damage(what, at, until, expected, consequence)
    })
}

/// Between the end of a region and the start of the next.
fn check_gaps(examiner: &mut Examiner<'_>) {
    let geometry = examiner.file.geometry;
    let shape = geometry.shape();
    let words = shape.capacity * 8;
    let stride = words.next_multiple_of(crate::layout::LINE);
    let arrays = 2 * u64::from(shape.max_groups) + 1;
    let mut starts = geometry.regions().into_iter();
    let claims = starts.find(|(name, _)| *name == "claims");
    let claims = claims.map_or(0, |(_, start)| start);
    for array in 0..arrays {
        let end = claims + array * stride + words;
        let gap = stride - words;
        examiner.unused("the end of an array of words", Offset(end), &[], gap);
    }
    let segments_end = geometry.segment(0).0 + geometry.segment_count() * SEGMENT_SIZE;
    let slots = geometry.slot(0).0;
    let gap = slots - segments_end;
    examiner.unused(
        "the end of the segment table",
        Offset(segments_end),
        &[],
        gap,
    );
    let slots_end = slots + shape.capacity * shape.slot_size;
    let gap = geometry.segment_bytes(0).0 - slots_end;
    examiner.unused("the end of the slots", Offset(slots_end), &[], gap);
}
