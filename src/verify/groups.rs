//! Groups: their entries, their floors and hints (I6), their claim words, and what producers may have reused (I1).

use std::collections::BTreeMap;

use super::words::held_by;
use super::{Examiner, Finding, Severity, damage};
use crate::examine::decode::{claimed_at, sequence_at};
use crate::examine::{Standing, Whole, decode};
use crate::layout::geometry::{GROUP_SIZE, NOTE_SIZE, NOTES_PER_GROUP, group, note, participant};
use crate::layout::{
    ACK_TIMEOUT_MAX_MS, ClaimState, ClaimWord, DEAD_QUEUE_MAX, EntryState, GroupId, NAME_MAX,
    NOTE_MAX, Offset, OwnedWord, ReadyHint, SlotState,
};
use crate::ring::Cause;

const LOST: &str = "messages of this group are passed over, or come again";
const REUSED: &str = "the message was overwritten before this group had settled it";

/// What a group's entry says of it, for as long as its state word stays.
#[derive(Clone, Copy)]
struct Facts {
    id: GroupId,
    state: OwnedWord,
    exclusive: bool,
    start: u64,
    leases: bool,
}

impl Facts {
    /// Of a group that is in use, or being deleted.
    fn of(file: Whole<'_>, id: GroupId) -> Option<Self> {
        let entry = file.geometry.group(id);
        let state = OwnedWord(file.word(entry));
        let in_use = matches!(
            state.entry_state(),
            Some(EntryState::Live | EntryState::Closing)
        );
        in_use.then(|| Self {
            id,
            state,
            exclusive: file.word(entry.plus(group::FLAGS)) & 1 != 0,
            start: file.word(entry.plus(group::START)),
            leases: file.word(entry.plus(group::ACK_TIMEOUT)) != 0,
        })
    }

    fn word(&self, file: Whole<'_>, field: u64) -> u64 {
        file.word(file.geometry.group(self.id).plus(field))
    }

    /// Whether the entry is still the same group's: if not, what was read belongs together no more.
    fn stands(&self, file: Whole<'_>) -> bool {
        file.word(file.geometry.group(self.id)) == self.state.0
    }

    fn claim(&self, file: Whole<'_>, index: u64) -> ClaimWord {
        ClaimWord(file.word(file.geometry.claim(self.id, index)))
    }
}

impl Whole<'_> {
    /// Whether some group has not settled a message, so that no producer may write over it.
    pub(super) fn is_kept(&self, sequence: u64) -> bool {
        self.geometry.group_ids().any(|id| {
            Facts::of(*self, id).is_some_and(|facts| {
                let claim = facts.claim(*self, sequence % self.geometry.capacity());
                let settled = matches!(
                    claim.state_in(self.geometry.lap(sequence)),
                    None | Some(ClaimState::Done)
                );
                facts.state.entry_state() == Some(EntryState::Live)
                    && facts.word(*self, group::FLOOR) <= sequence
                    && (facts.exclusive || !settled)
            })
        })
    }
}

pub(super) fn check(examiner: &mut Examiner<'_>) {
    for id in examiner.file.geometry.group_ids() {
        examiner.stays(|file| state(file, id));
        if let Some(facts) = Facts::of(examiner.file, id) {
            check_settings(examiner, facts);
            examiner.stays(|file| positions(file, facts));
            examiner.stays(|file| empty_hint(file, facts));
            examiner.stays(|file| active(file, facts));
            examiner.stays(|file| members(file, facts));
            check_claims(examiner, facts);
        }
        check_notes(examiner, id);
        check_unused(examiner, id);
    }
    check_names(examiner);
}

fn about(id: GroupId, field: &str) -> String {
    format!("{field} of group {}", id.0)
}

fn state(file: Whole<'_>, id: GroupId) -> Option<Finding> {
    let at = file.geometry.group(id).plus(group::STATE);
    let word = OwnedWord(file.word(at));
    let finding = |expected: &str, consequence| {
        let found = decode::entry(word.0);
        damage(about(id, "state"), at, found, expected, consequence)
    };
    let nobody = "none: the group works; nobody can say who made it";
    let stuck = "the entry cannot be used, and may keep producers back";
    match word.entry_state() {
        None => Some(finding("an entry's state", stuck)),
        Some(EntryState::Joining | EntryState::Pinned) => {
            let consequence =
                "the entry cannot be used, and may keep producers back, until a sweep";
            let left = finding("a maker that lives, or Live", consequence);
            held_by(file, word.owner(), left, stuck).filter(|_| file.word(at) == word.0)
        }
        Some(_) => (file.standing(word.owner()) == Standing::Nobody)
            .then(|| finding("an owner that the participant table has", nobody)),
    }
}

fn check_settings(examiner: &mut Examiner<'_>, facts: Facts) {
    let limits: [(&str, u64, std::ops::RangeInclusive<u64>, &'static str); 5] = [
        (
            "flags",
            group::FLAGS,
            0..=7,
            "none now: unknown flags are ignored",
        ),
        (
            "name_length",
            group::NAME_LENGTH,
            1..=NAME_MAX as u64,
            "the group is not found by its name",
        ),
        (
            "max_deliveries",
            group::MAX_DELIVERIES,
            0..=254,
            "messages are delivered any number of times",
        ),
        (
            "ack_timeout",
            group::ACK_TIMEOUT,
            0..=ACK_TIMEOUT_MAX_MS,
            "claims never end while their process lives",
        ),
        (
            "dead_queue_length",
            group::DEAD_QUEUE_LENGTH,
            0..=DEAD_QUEUE_MAX as u64,
            "the dead-letter queue is not found",
        ),
    ];
    for (name, field, range, consequence) in limits {
        examiner.stays(|file| {
            let found = facts.word(file, field);
            let wrong = !range.contains(&found) && facts.stands(file);
            wrong.then(|| {
                let at = file.geometry.group(facts.id).plus(field);
                let expected = format!("{} to {}", range.start(), range.end());
                damage(about(facts.id, name), at, found, expected, consequence)
            })
        });
    }
    examiner.stays(|file| {
        let wrong = facts.exclusive && facts.leases && facts.stands(file);
        wrong.then(|| {
            let at = file.geometry.group(facts.id).plus(group::ACK_TIMEOUT);
            let found = facts.word(file, group::ACK_TIMEOUT);
            let expected = "0, the group being exclusive";
            damage(about(facts.id, "ack_timeout"), at, found, expected, LOST)
        })
    });
    check_text(
        examiner,
        facts,
        "name",
        group::NAME,
        group::NAME_LENGTH,
        NAME_MAX,
    );
    let (text, length) = (group::DEAD_QUEUE, group::DEAD_QUEUE_LENGTH);
    check_text(examiner, facts, "dead_queue", text, length, DEAD_QUEUE_MAX);
}

fn check_text(
    examiner: &mut Examiner<'_>,
    facts: Facts,
    name: &'static str,
    text: u64,
    length: u64,
    most: usize,
) {
    examiner.stays(|file| {
        let found = read_text(file, facts, text, length, most);
        let good = std::str::from_utf8(&found).is_ok_and(|text| !text.contains(char::is_control));
        (!good && facts.stands(file)).then(|| {
            let at = file.geometry.group(facts.id).plus(text);
            let found = format!("\"{}\"", found.escape_ascii());
            let expected = "UTF-8 without control characters";
            let consequence = "it is not found by its name";
            damage(about(facts.id, name), at, found, expected, consequence)
        })
    });
}

fn read_text(file: Whole<'_>, facts: Facts, text: u64, length: u64, most: usize) -> Vec<u8> {
    let length = usize::try_from(facts.word(file, length)).map_or(most, |found| found.min(most));
    let mut bytes = vec![0; length];
    file.copy(file.geometry.group(facts.id).plus(text), &mut bytes);
    bytes
}

/// I6: what the positions of a group say lies behind them has been taken, and not before the group's start.
fn positions(file: Whole<'_>, facts: Facts) -> Option<Finding> {
    let fields = [
        ("start", group::START),
        ("floor", group::FLOOR),
        ("head", group::HEAD),
        ("opened", group::OPENED),
    ];
    fields.into_iter().find_map(|(name, field)| {
        let found = facts.word(file, field);
        let expected = if found < facts.start {
            format!("at least {}, where the group started", facts.start)
        } else if !file.is_behind_tail(found) {
            "at most one past the highest sequence taken".to_owned()
        } else {
            return None;
        };
        facts.stands(file).then(|| {
            let at = file.geometry.group(facts.id).plus(field);
            damage(about(facts.id, name), at, found, expected, LOST)
        })
    })
}

/// The active consumer of an exclusive group.
fn active(file: Whole<'_>, facts: Facts) -> Option<Finding> {
    let at = file.geometry.group(facts.id).plus(group::OWNER);
    let word = OwnedWord(file.word(at));
    let stuck = "nobody becomes the active consumer any more";
    let finding = |expected: &str| {
        let what = about(facts.id, "owner");
        damage(what, at, decode::entry(word.0), expected, stuck)
    };
    let found = match word.entry_state() {
        Some(EntryState::Free) => None,
        Some(EntryState::Live) if facts.exclusive => {
            let left = Finding {
                consequence: "nobody becomes the active consumer until a sweep",
                ..finding("an active consumer that lives")
            };
            held_by(file, word.owner(), left, stuck)
        }
        Some(EntryState::Live) => Some(finding("Free, the group being shared")),
        _ => Some(finding("Free or Live")),
    };
    found.filter(|_| file.word(at) == word.0 && facts.stands(file))
}

/// A group that should have been freed with its last member.
fn members(file: Whole<'_>, facts: Facts) -> Option<Finding> {
    let has_members = file.geometry.participant_ids().any(|id| {
        let entry = file.geometry.participant(id);
        file.word(entry.plus(participant::MEMBER_OF)) & facts.id.bit() != 0
    });
    let flags = facts.word(file, group::FLAGS);
    let (ephemeral, joined) = (flags & 2 != 0, flags & 4 != 0);
    let ended = match facts.state.entry_state() {
        Some(EntryState::Closing) => true,
        _ => ephemeral && (joined || file.standing(facts.state.owner()) != Standing::Alive),
    };
    (ended && !has_members && facts.stands(file)).then(|| {
        let at = file.geometry.group(facts.id).plus(group::STATE);
        let found = format!("{}, without members", decode::entry(facts.state.0));
        let consequence = "producers are kept back until somebody looks for the dead";
        damage(about(facts.id, "state"), at, found, "Free", consequence).called(Severity::Leftover)
    })
}

fn check_claims(examiner: &mut Examiner<'_>, facts: Facts) {
    let between = examiner.between_steps();
    for index in 0..examiner.file.geometry.capacity() {
        examiner.stays(|file| claim_word(file, facts, index));
        examiner.stays(|file| settled(file, facts, index));
        examiner.stays(|file| reused(file, facts, index));
        if !facts.exclusive {
            examiner.stays(|file| unhinted(file, facts, index, between));
        }
        if !facts.leases {
            examiner.stays(|file| {
                let at = file.geometry.lease(facts.id, index);
                let found = file.word(at);
                (found != 0 && facts.stands(file)).then(|| {
                    let what = format!("{} at index {index}", about(facts.id, "lease word"));
                    let found = format!("{found:#018x}");
                    let expected = "0, the group having no ack time-out";
                    damage(what, at, found, expected, "none: nobody reads it")
                })
            });
        }
    }
}

/// A claim word by itself, and beside the slot word it speaks of.
fn claim_word(file: Whole<'_>, facts: Facts, index: u64) -> Option<Finding> {
    let claim = facts.claim(file, index);
    // What was claimed had been published before.
    let slot = file.slot(index);
    let finding = |expected: &str, consequence| {
        let found = decode::claim(file.geometry, index, claim.0, slot.0);
        let what = format!("{} at index {index}", about(facts.id, "claim word"));
        let found = format!("{:#018x} ({found})", claim.0);
        let at = file.geometry.claim(facts.id, index);
        damage(what, at, found, expected, consequence)
    };
    let never = "a message is not delivered, or delivered again";
    let stuck = "the message is delivered to nobody, and no sweep gives it back";
    let found = match claim.state() {
        None => Some(finding("a claim's state", stuck)),
        Some(ClaimState::Never) => {
            (claim.0 != 0).then(|| finding("0, being Never", "none: it reads as never claimed"))
        }
        Some(state) => {
            let sequence = claimed_at(file.geometry, index, claim, slot);
            let held = matches!(state, ClaimState::Claimed | ClaimState::Opened);
            let ahead = claim.laps_ahead_of(slot.tag());
            let aborted = slot.slot_state() == Some(SlotState::Aborted)
                // The cursor of an exclusive group passes holes, and may note them so.
                && !(facts.exclusive && state == ClaimState::Done);
            let cause = Cause::from_number(claim.owner().0);
            if sequence.is_none_or(|sequence| sequence < facts.start) {
                Some(finding("a sequence from the group's start on", never))
            } else if matches!(slot.slot_state(), Some(SlotState::Empty)) || ahead > 0 {
                Some(finding("a sequence that has been published", never))
            } else if ahead == 0 && aborted {
                Some(finding(
                    "Never, the slot being a hole",
                    "none: holes are skipped",
                ))
            } else if state == ClaimState::Dead && cause.is_none() {
                Some(finding("a cause, 1 or 2", "it is listed as rejected"))
            } else if facts.exclusive || !held {
                (state != ClaimState::Dead && file.standing(claim.owner()) == Standing::Nobody)
                    .then(|| {
                        finding(
                            "an owner that the participant table has",
                            "none: it is only told",
                        )
                    })
            } else if state == ClaimState::Opened && claim.attempt() == 0 {
                Some(finding("an attempt counted", "a delivery is not counted"))
            } else {
                let consequence = "the message is delivered to nobody until a sweep";
                let left = finding("a holder that lives", consequence);
                held_by(file, claim.owner(), left, stuck)
            }
        }
    };
    found.filter(|_| facts.claim(file, index) == claim && facts.stands(file))
}

/// I6: what lies below the floor is settled, and below the head claimed.
fn settled(file: Whole<'_>, facts: Facts, index: u64) -> Option<Finding> {
    let floor = facts.word(file, group::FLOOR);
    let head = facts.word(file, group::HEAD);
    let slot = file.slot(index);
    // Settled and claimed are for good, so what lay below then shows now.
    let claim = facts.claim(file, index);
    let sequence = sequence_at(file.geometry, index, slot)?;
    if slot.slot_state() != Some(SlotState::Published) || sequence < facts.start {
        return None;
    }
    let state = claim.state_in(file.geometry.lap(sequence));
    let open = if facts.exclusive {
        state == Some(ClaimState::Dead)
    } else {
        !matches!(state, None | Some(ClaimState::Done))
    };
    let unclaimed = !facts.exclusive && state == Some(ClaimState::Never);
    let (name, field, found) = if open && sequence < floor {
        ("floor", group::FLOOR, floor)
    } else if unclaimed && sequence < head {
        ("head", group::HEAD, head)
    } else {
        return None;
    };
    facts.stands(file).then(|| {
        let at = file.geometry.group(facts.id).plus(field);
        let claimed = decode::claim(file.geometry, index, claim.0, slot.0);
        let expected = format!("at most {sequence}, whose claim word is {claimed}");
        damage(about(facts.id, name), at, found, expected, LOST)
    })
}

/// I1: no slot is used again before its last message is settled.
fn reused(file: Whole<'_>, facts: Facts, index: u64) -> Option<Finding> {
    let newest = file.newest_at(index)?;
    // Settled before the slot was taken again, so it shows now.
    let floor = facts.word(file, group::FLOOR);
    let slot = file.slot(index);
    let claim = facts.claim(file, index);
    let before = newest.checked_sub(file.geometry.capacity())?;
    let claimed = claimed_at(file.geometry, index, claim, slot);
    let at = file.geometry.claim(facts.id, index);
    let open = match claim.state() {
        Some(ClaimState::Never | ClaimState::Done) | None => false,
        Some(ClaimState::Dead) => claimed.is_some_and(|claimed| claimed < newest),
        Some(_) => !facts.exclusive && claimed.is_some_and(|claimed| claimed < newest),
    };
    let passed = facts.exclusive && before >= facts.start && floor <= before;
    let finding = if open {
        let found = decode::claim(file.geometry, index, claim.0, slot.0);
        let what = format!("{} at index {index}", about(facts.id, "claim word"));
        let expected = format!("Done, since sequence {newest} has its slot");
        damage(what, at, found, expected, REUSED)
    } else if passed {
        let at = file.geometry.group(facts.id).plus(group::FLOOR);
        let expected = format!("above {before}, since sequence {newest} has its slot");
        damage(about(facts.id, "floor"), at, floor, expected, REUSED)
    } else {
        return None;
    };
    (facts.claim(file, index) == claim && facts.stands(file)).then_some(finding)
}

fn empty_hint(file: Whole<'_>, facts: Facts) -> Option<Finding> {
    let hint = ReadyHint(facts.word(file, group::READY));
    let wrong = !hint.is_some() && hint.sequence(0) != 0 && facts.stands(file);
    wrong.then(|| {
        let at = file.geometry.group(facts.id).plus(group::READY);
        let found = format!("{:#018x}", hint.0);
        let expected = "a sequence of 0 with nothing given back";
        damage(
            about(facts.id, "ready"),
            at,
            found,
            expected,
            "none: nobody reads it",
        )
    })
}

/// I6: what was given back does not lie below the ready hint.
fn unhinted(file: Whole<'_>, facts: Facts, index: u64, between_steps: Severity) -> Option<Finding> {
    let slot = file.slot(index);
    let claim = facts.claim(file, index);
    let floor = facts.word(file, group::FLOOR);
    let hint = ReadyHint(facts.word(file, group::READY));
    let at = file.geometry.group(facts.id).plus(group::READY);
    let found = decode::ready(hint.0, floor);
    let late = "it is found only by a consumer that has waited in vain";
    let sequence = claimed_at(file.geometry, index, claim, slot)?;
    let given_back = matches!(claim.state(), Some(ClaimState::Ready | ClaimState::Again));
    let finding = if given_back && !(hint.is_some() && hint.sequence(floor) <= sequence) {
        let expected = format!("at most {sequence}, which was given back");
        damage(about(facts.id, "ready"), at, found, expected, late).called(between_steps)
    } else {
        return None;
    };
    (facts.claim(file, index) == claim && facts.stands(file)).then_some(finding)
}

fn check_notes(examiner: &mut Examiner<'_>, id: GroupId) {
    let notes = examiner.file.geometry.group(id).plus(group::NOTES);
    for number in 0..NOTES_PER_GROUP {
        examiner.stays(|file| {
            let start = notes.plus(number * NOTE_SIZE);
            let length = file.word(start.plus(note::LENGTH));
            let sequence = file.word(start.plus(note::SEQUENCE));
            let elsewhere = sequence != 0 && (sequence - 1) % NOTES_PER_GROUP != number;
            let (at, found, expected) = if elsewhere {
                let expected = "a sequence of this place, plus 1";
                (start.plus(note::SEQUENCE), sequence, expected)
            } else if length > NOTE_MAX as u64 {
                (start.plus(note::LENGTH), length, "0 to 112")
            } else {
                return None;
            };
            let what = format!("note {number} of group {}", id.0);
            Some(damage(what, at, found, expected, "a reason is not told"))
        });
    }
}

fn check_unused(examiner: &mut Examiner<'_>, id: GroupId) {
    let entry = examiner.file.geometry.group(id);
    let used = [
        (group::STATE, 32),
        (group::NAME, NAME_MAX as u64 + 1),
        (group::FLOOR, 16),
        (group::HEAD, 8),
        (group::READY, 8),
        (group::OWNER, 12),
        (group::EVENT, 4),
        (group::DELIVERED, 40),
        (group::LOST, 8),
        (group::MAX_DELIVERIES, 24),
        (group::DEAD_QUEUE, DEAD_QUEUE_MAX as u64 + 1),
        (group::NOTES, NOTES_PER_GROUP * NOTE_SIZE),
    ];
    examiner.unused(&format!("group {}", id.0), entry, &used, GROUP_SIZE);
}

/// No two groups have one name.
fn check_names(examiner: &mut Examiner<'_>) {
    let mut names: BTreeMap<Vec<u8>, GroupId> = BTreeMap::new();
    let file = examiner.file;
    let named = |id| {
        let facts = Facts::of(file, id)?;
        let name = read_text(file, facts, group::NAME, group::NAME_LENGTH, NAME_MAX);
        facts.stands(file).then_some((facts, name))
    };
    for id in file.geometry.group_ids() {
        let Some((facts, name)) = named(id) else {
            continue;
        };
        if let Some(other) = names.insert(name.clone(), id) {
            let at: Offset = file.geometry.group(id).plus(group::NAME);
            // The other may have ended, and this one been made, since.
            if named(other).is_none_or(|(_, found)| found != name) || !facts.stands(file) {
                continue;
            }
            let found = format!("\"{}\"", name.escape_ascii());
            let expected = format!("another name than that of group {}", other.0);
            let consequence = "one of them is not found by its name";
            examiner.note(damage(about(id, "name"), at, found, expected, consequence));
        }
    }
}
