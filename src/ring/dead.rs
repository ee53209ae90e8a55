//! Dead messages: delivered too often, or rejected, and parked where they are because there is nowhere else to put them.
//!
//! A parked message is not handed over any more, and its group's floor stays below it, so nothing overwrites it: one lap
//! later producers wait. Somebody has to decide: give it back, or discard it. Why it is dead stands in a note; notes are
//! for people, written and read without any order, and a later one takes the place of an older one.

use super::{Ring, SlotView};
use crate::layout::geometry::note;
use crate::layout::{ClaimState, ClaimWord, GroupId, NOTE_MAX, OwnerId};
use crate::sync::Ordering;

/// Why a message is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Delivered as often as its group allows, and never acked.
    TooManyDeliveries,
    /// A consumer said that it is no good.
    Rejected,
}

impl Cause {
    /// The number that stands for it in the file.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::TooManyDeliveries => 1,
            Self::Rejected => 2,
        }
    }

    /// What a number stands for.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::TooManyDeliveries),
            2 => Some(Self::Rejected),
            _ => None,
        }
    }

    /// What a parked message's claim word has in place of an owner.
    pub(super) const fn signature(self) -> OwnerId {
        OwnerId(self.number())
    }
}

/// A parked message, as its claim word has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadWord {
    /// The message.
    pub sequence: u64,
    /// How often it was handed over or buried.
    pub attempt: u8,
    /// Why it is dead.
    pub cause: Cause,
    word: ClaimWord,
}

impl Ring {
    /// The message at `sequence`, if it is parked in this group.
    pub fn dead_at(&self, id: GroupId, sequence: u64) -> Option<DeadWord> {
        // ORDERING: Acquire; pairs with settle's and the cursor's Release; the note; model a_parked_note.
        let word = ClaimWord(self.claim_word(id, sequence).load(Ordering::Acquire));
        (word.state_in(self.geo.lap(sequence)) == Some(ClaimState::Dead)).then(|| DeadWord {
            sequence,
            attempt: word.attempt(),
            cause: Cause::from_number(word.owner().0).unwrap_or(Cause::Rejected),
            word,
        })
    }

    /// All messages parked in this group, oldest first.
    pub fn dead(&self, id: GroupId) -> impl Iterator<Item = DeadWord> {
        let floor = self.first_open(id);
        (floor..floor.saturating_add(self.geo.capacity()))
            .filter_map(move |sequence| self.dead_at(id, sequence))
            .filter(|dead| self.load_slot(dead.sequence).1 == SlotView::Published)
    }

    /// Gives a parked message back, as if never handed over, or discards it. False: somebody else was quicker, or it has
    /// been claimed too often to be told from what it was. The caller is a member of the group, and wakes whoever waits.
    #[must_use = "another may have decided"]
    pub fn decide(&self, id: GroupId, dead: DeadWord, again: bool) -> bool {
        let lap = self.geo.lap(dead.sequence);
        let leases = self.has_leases(id);
        if again && leases && dead.attempt == u8::MAX {
            return false;
        }
        let (attempt, state) = match again {
            false => (dead.attempt, ClaimState::Done),
            true if leases => (dead.attempt, ClaimState::Again),
            // Counted, by nobody: it is not a hand-over of the range that a successor counts (`cursor.rs`).
            true if self.is_exclusive(id) => (0, ClaimState::Opened),
            true => (0, ClaimState::Ready),
        };
        let decided = ClaimWord::new(lap, attempt, OwnerId(0), state);
        // ORDERING: SeqCst; as in settle, against sleeping consumers and producers; models discard_then_reuse,
        // retry_or_discard, decide_then_sleep; no model: SeqCst is AcqRel to loom, and nothing is acquired.
        let first =
            self.claim_word(id, dead.sequence)
                .replace(dead.word.0, decided.0, Ordering::SeqCst);
        if first && again {
            self.note_ready(id, dead.sequence);
        }
        first
    }

    /// Notes why a message is about to be parked; what is longer than a note is cut.
    pub fn write_note(&self, id: GroupId, sequence: u64, reason: &str) {
        let start = self.geo.note(id, sequence);
        let store = |field, value| {
            // ORDERING: Relaxed; for people to read only.
            self.word(start.plus(field)).store(value, Ordering::Relaxed);
        };
        let reason = cut(reason, NOTE_MAX);
        store(note::SEQUENCE, 0);
        for (at, chunk) in (0_u64..).zip(reason.as_bytes().chunks(8)) {
            let mut bytes = [0; 8];
            for (to, from) in bytes.iter_mut().zip(chunk) {
                *to = *from;
            }
            store(note::REASON + 8 * at, u64::from_le_bytes(bytes));
        }
        store(note::LENGTH, reason.len() as u64);
        store(note::SEQUENCE, sequence.wrapping_add(1));
    }

    /// What was noted about a parked message; empty if nothing, or if a later note has taken its place.
    pub fn read_note(&self, id: GroupId, sequence: u64) -> String {
        let start = self.geo.note(id, sequence);
        let load = |field| {
            // ORDERING: Relaxed; for people to read only.
            self.word(start.plus(field)).load(Ordering::Relaxed)
        };
        if load(note::SEQUENCE) != sequence.wrapping_add(1) {
            return String::new();
        }
        let length = usize::try_from(load(note::LENGTH)).map_or(NOTE_MAX, |n| n.min(NOTE_MAX));
        let mut bytes: Vec<u8> = (0..NOTE_MAX as u64 / 8)
            .flat_map(|at| load(note::REASON + 8 * at).to_le_bytes())
            .collect();
        bytes.truncate(length);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// As much of a text as fits `most` bytes.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=text.len().min(most))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    text.get(..end).unwrap_or_default()
}
