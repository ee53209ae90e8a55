//! The floor of a group: every sequence below it is settled. Whoever needs it moves it, so consumers pay nothing for it.

use super::{Ring, SlotView};
use crate::layout::geometry::{control, group};
use crate::layout::{ClaimState, ClaimWord, EntryState, GroupId};
use crate::sync::Ordering;

impl Ring {
    /// The floor as it was last noted. In an exclusive group it is exact.
    pub fn floor(&self, id: GroupId) -> u64 {
        // ORDERING: Acquire; pairs with advance_floor's raise and cursor's swap; the consumers' reads below it are over
        // (I1, I3); model ack_then_reuse.
        self.group_word(id, group::FLOOR).load(Ordering::Acquire)
    }

    /// Moves the floor of a shared group over all that is settled. Any number of processes may do so at once.
    pub fn advance_floor(&self, id: GroupId) -> u64 {
        let floor = self.floor(id);
        let mut reached = floor;
        // Bound: a lap; nothing can be settled further ahead.
        while reached - floor < self.geo.capacity() && self.is_settled(id, reached) {
            reached += 1;
        }
        if reached > floor {
            // ORDERING: AcqRel; pairs with floor's Acquire; passes on what the Acquire loads of is_settled saw.
            self.group_word(id, group::FLOOR)
                .raise(reached, Ordering::AcqRel);
        }
        reached
    }

    fn is_settled(&self, id: GroupId, sequence: u64) -> bool {
        // ORDERING: Acquire; pairs with settle's Release; the consumer's reads are over (I3); model ack_then_reuse.
        let claim = ClaimWord(self.claim_word(id, sequence).load(Ordering::Acquire));
        match claim.state_in(self.geo.lap(sequence)) {
            Some(ClaimState::Done) => true,
            // A later lap: our floor is old, and the slot has been settled long since.
            None => claim.laps_ahead_of(self.geo.lap(sequence)) > 0,
            Some(ClaimState::Never) => {
                matches!(
                    self.load_slot(sequence).1,
                    SlotView::Aborted | SlotView::Lapped { .. }
                )
            }
            Some(ClaimState::Claimed | ClaimState::Opened | ClaimState::Ready) => false,
        }
    }

    /// Masks of the groups that hold producers back: (shared, exclusive).
    pub fn gating(&self) -> (u64, u64) {
        let mut masks = (0, 0);
        for id in self.geo.group_ids() {
            let gates = matches!(
                self.group_state(id).entry_state(),
                Some(EntryState::Pinned | EntryState::Live | EntryState::Closing)
            );
            if gates && self.is_exclusive(id) {
                masks.1 |= id.bit();
            } else if gates {
                masks.0 |= id.bit();
            }
        }
        masks
    }

    /// The first sequence that nobody has taken, as far as this process can see now.
    pub fn true_tail(&self) -> u64 {
        // ORDERING: Acquire; pairs with publish::raise_tail; every slot below is taken.
        let mut sequence = self.word(control::TAIL).load(Ordering::Acquire);
        // Bound: producers cannot get more than a lap beyond the lowest floor; each turn passes a taken slot.
        while let Some(taken) = self.newest_taken(sequence) {
            sequence = taken + 1;
        }
        sequence
    }
}
