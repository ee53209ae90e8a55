//! Who is in the way: the participant that somebody who makes no progress should ask the kernel about first. A guess from
//! words that may have changed since; the kernel's answer decides.

use super::{Claimer, Cursor, Publisher, Ring};
use crate::layout::geometry::group;
use crate::layout::{ClaimState, ClaimWord, EntryState, GroupId, OwnedWord, OwnerId, SlotState};
use crate::sync::Ordering;

impl Ring {
    /// In the way of a consumer of a shared group: who is writing what it waits for, or else who holds the oldest message.
    pub fn suspect_of_claimer(&self, c: &Claimer) -> Option<OwnerId> {
        let mut written = c.holes.iter().copied().chain([c.position]);
        written
            .find_map(|sequence| self.writer(sequence))
            .or_else(|| {
                self.holder(
                    c.group,
                    self.settled_until(c.group, self.oldest_open(c.group)),
                )
            })
    }

    /// In the way of the active consumer of an exclusive group.
    pub fn suspect_of_cursor(&self, c: &Cursor) -> Option<OwnerId> {
        self.writer(c.position)
    }

    /// In the way of one that stands by.
    pub fn suspect_of_stand_by(&self, id: GroupId) -> Option<OwnerId> {
        // ORDERING: Relaxed; a guess.
        let owner = OwnedWord(self.group_word(id, group::OWNER).load(Ordering::Relaxed));
        (owner.entry_state() == Some(EntryState::Live)).then_some(owner.owner())
    }

    /// In the way of a producer without room: who holds, or is writing, the oldest message of the slowest group.
    pub fn suspect_of_publisher(&self, p: &Publisher) -> Option<OwnerId> {
        let floors = GroupId::in_mask(p.shared).map(|id| (p.floor_of(id), id));
        let cursors = GroupId::in_mask(p.exclusive).map(|id| (self.floor(id), id));
        let (floor, id) = floors.chain(cursors).min()?;
        let held = || {
            if self.is_exclusive(id) {
                self.suspect_of_stand_by(id)
            } else {
                self.holder(id, floor)
            }
        };
        self.writer(p.next.saturating_sub(self.geo.capacity()))
            .or_else(|| self.writer(floor))
            .or_else(held)
    }

    /// Who has reserved a sequence and not completed it.
    pub(super) fn writer(&self, sequence: u64) -> Option<OwnerId> {
        // ORDERING: Relaxed; a guess.
        let taken = OwnedWord(self.reservation(sequence).load(Ordering::Relaxed));
        // ORDERING: Relaxed; a guess.
        let slot = OwnedWord(self.slot_word(sequence).load(Ordering::Relaxed));
        let open = taken.slot_state() == Some(SlotState::Taken)
            && (slot.slot_state() == Some(SlotState::Empty) || slot.laps_ahead_of(taken.tag()) < 0);
        open.then_some(taken.owner())
    }

    /// Who holds a claim on a sequence.
    fn holder(&self, id: GroupId, sequence: u64) -> Option<OwnerId> {
        // ORDERING: Relaxed; a guess.
        let claim = ClaimWord(self.claim_word(id, sequence).load(Ordering::Relaxed));
        matches!(
            claim.state_in(self.geo.lap(sequence)),
            Some(ClaimState::Claimed | ClaimState::Opened)
        )
        .then_some(claim.owner())
    }
}
