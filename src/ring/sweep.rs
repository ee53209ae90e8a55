//! Repair of what a dead participant left behind.
//!
//! The caller holds the dead one's lock, so at most one process sweeps it at a time; every step is an idempotent CAS all
//! the same (I9), and the entry is freed last, so a sweeper that dies leaves a participant that is still to be swept.

use super::Ring;
use crate::layout::geometry::{control, group, participant};
use crate::layout::{ClaimState, ClaimWord, EntryState, GroupId, OwnedWord, OwnerId, SlotState};
use crate::sync::Ordering;

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Dead participants.
    pub participants: u64,
    /// Reservations aborted.
    pub holes: u64,
    /// Claims given back.
    pub claims: u64,
}

impl Swept {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            participants: self.participants + other.participants,
            holes: self.holes + other.holes,
            claims: self.claims + other.claims,
        }
    }

    /// What came to this since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            participants: self.participants.saturating_sub(before.participants),
            holes: self.holes.saturating_sub(before.holes),
            claims: self.claims.saturating_sub(before.claims),
        }
    }
}

impl Ring {
    /// Repairs everything that names `dead`, whose entry reads `found`, and frees the entry.
    pub fn sweep(&self, dead: OwnerId, found: OwnedWord) -> Swept {
        let holes = self.sweep_slots(dead);
        let mut claims = 0;
        for id in self.geo.group_ids() {
            claims += self.sweep_group(id, dead);
        }
        self.sweep_segments(dead);
        self.end_sole(dead);
        self.sweep_syncer(dead);
        // ORDERING: Relaxed; the dead read nothing any more.
        self.participant_word(dead, participant::MEMBER_OF)
            .store(0, Ordering::Relaxed);
        // ORDERING: Relaxed; counters.
        self.word(control::RETURNED).add(claims, Ordering::Relaxed);
        // ORDERING: Relaxed; as above.
        self.word(control::BURIED).add(1, Ordering::Relaxed);
        self.leave(dead, found);
        self.reap_groups();
        Swept {
            participants: 1,
            holes,
            claims,
        }
    }

    fn sweep_slots(&self, dead: OwnerId) -> u64 {
        let mut holes = 0;
        for index in 0..self.geo.capacity() {
            // ORDERING: Relaxed; what the dead one did is ours by its lock.
            let taken = OwnedWord(self.reservation(index).load(Ordering::Relaxed));
            if taken.slot_state() != Some(SlotState::Taken) || taken.owner() != dead {
                continue;
            }
            // ORDERING: Relaxed; as above.
            let slot = OwnedWord(self.slot_word(index).load(Ordering::Relaxed));
            let open =
                slot.slot_state() == Some(SlotState::Empty) || slot.laps_ahead_of(taken.tag()) < 0;
            let aborted = OwnedWord::slot(taken.tag(), dead, SlotState::Aborted);
            // ORDERING: Release; pairs with load_slot's Acquire; the dead one's bytes come before the next producer's; model
            // a_dead_producers_slot without refresh_limit's fence.
            if open
                && self
                    .slot_word(index)
                    .replace(slot.0, aborted.0, Ordering::Release)
            {
                holes += 1;
            }
        }
        // ORDERING: Relaxed; a counter.
        self.word(control::ABORTED).add(holes, Ordering::Relaxed);
        holes
    }

    fn sweep_group(&self, id: GroupId, dead: OwnerId) -> u64 {
        let state = self.group_state(id);
        match state.entry_state() {
            Some(EntryState::Joining | EntryState::Pinned) if state.owner() == dead => {
                self.free_group(id, state);
                return 0;
            }
            Some(EntryState::Live | EntryState::Closing) => {}
            _ => return 0,
        }
        if self.is_exclusive(id) {
            let word = self.group_word(id, group::OWNER);
            // ORDERING: Relaxed; what the dead one did is ours by its lock.
            let owner = OwnedWord(word.load(Ordering::Relaxed));
            if owner.entry_state() == Some(EntryState::Live) && owner.owner() == dead {
                // ORDERING: Release; pairs with take_over's Acquire; the dead one's cursor and attempts; model an_owner_dies_first.
                let _raced = word.replace(
                    owner.0,
                    owner.with_state(EntryState::Free).0,
                    Ordering::Release,
                );
            }
            return 0;
        }
        let mut claims = 0;
        for index in 0..self.geo.capacity() {
            let word = self.claim_word(id, index);
            // ORDERING: Relaxed; what the dead one did is ours by its lock.
            let claim = ClaimWord(word.load(Ordering::Relaxed));
            let held = matches!(
                claim.state(),
                Some(ClaimState::Claimed | ClaimState::Opened)
            );
            if held && claim.owner() == dead {
                // The attempt stays: an opened message had begun, a claimed one had not been counted.
                // ORDERING: Release; pairs with take's Acquire; what the dead one did with the message; model
                // redelivered_behind_a_death.
                if word.replace(
                    claim.0,
                    claim.with_state(ClaimState::Ready).0,
                    Ordering::Release,
                ) {
                    claims += 1;
                }
            }
        }
        // Always: the dead may have given back a claim and not said so.
        self.look_again(id);
        claims
    }
}
