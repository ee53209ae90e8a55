//! What several checks ask of a file: who is behind a number, whether a sequence is taken, whether unused bytes are zero.

use super::{Examiner, Finding, Severity, damage};
use crate::examine::decode::sequence_at;
use crate::examine::{Standing, Whole};
use crate::layout::geometry::slot;
use crate::layout::{Offset, OwnedWord, OwnerId, SlotState};

const UNUSED: &str = "none now; a later version may give these bytes a meaning";

impl Whole<'_> {
    pub(super) fn slot_offset(&self, index: u64) -> Offset {
        self.geometry.slot(index).plus(slot::WORD)
    }

    pub(super) fn slot(&self, index: u64) -> OwnedWord {
        OwnedWord(self.word(self.slot_offset(index)))
    }

    pub(super) fn reservation(&self, index: u64) -> OwnedWord {
        OwnedWord(self.word(self.geometry.reservation(index)))
    }

    pub(super) fn first(&self) -> u64 {
        self.geometry.shape().first_sequence
    }

    /// Whether a sequence, or one some laps on, has been taken. Once it has, it stays so.
    pub(super) fn is_taken(&self, sequence: u64) -> bool {
        self.newest_at(sequence)
            .is_some_and(|newest| newest >= sequence)
    }

    /// The highest sequence that has been taken at the index of this one.
    pub(super) fn newest_at(&self, sequence: u64) -> Option<u64> {
        let index = sequence % self.geometry.capacity();
        let reservation = self.reservation(index);
        let reserved = (reservation.slot_state() == Some(SlotState::Taken))
            .then(|| sequence_at(self.geometry, index, reservation));
        let slot = self.slot(index);
        let complete = matches!(
            slot.slot_state(),
            Some(SlotState::Published | SlotState::Aborted)
        )
        .then(|| sequence_at(self.geometry, index, slot));
        reserved.flatten().max(complete.flatten())
    }

    /// Whether everything below a position has been taken, as the word at `offset` says.
    pub(super) fn is_behind_tail(&self, position: u64) -> bool {
        position == self.first() || position > self.first() && self.is_taken(position - 1)
    }
}

/// A word that names somebody who holds something: fine if that one lives.
pub(super) fn held_by(
    file: Whole<'_>,
    owner: OwnerId,
    left: Finding,
    stuck: &'static str,
) -> Option<Finding> {
    match file.standing(owner) {
        Standing::Alive => None,
        Standing::Dead => Some(left.called(Severity::Leftover)),
        Standing::Free | Standing::Nobody => Some(Finding {
            expected: "an owner that is attached".to_owned(),
            consequence: stuck,
            ..left
        }),
    }
}

impl Examiner<'_> {
    /// Checks that the bytes of an entry that no table names are zero. `used` are its fields, as (offset, size), in order.
    pub(super) fn unused(&mut self, what: &str, start: Offset, used: &[(u64, u64)], size: u64) {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.file.copy(start, &mut bytes);
        let mut from = 0;
        for &(offset, length) in used.iter().chain([&(size, 0)]) {
            let gap = from..offset;
            from = offset + length;
            let written = gap
                .into_iter()
                .find(|&at| usize::try_from(at).is_ok_and(|at| bytes.get(at) != Some(&0)));
            if let Some(at) = written {
                let found = usize::try_from(at).ok().and_then(|at| bytes.get(at));
                let found = format!("{:#04x}", found.copied().unwrap_or(0));
                let what = format!("unused byte of {what}");
                self.note(damage(what, start.plus(at), found, "0", UNUSED));
            }
        }
    }
}
