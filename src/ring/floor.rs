//! The floor of a group: every sequence below it is settled. Producers find out for themselves how far it could be, and
//! keep that; consumers note it now and then.

use super::{Ring, SlotView};
use crate::layout::geometry::{control, group};
use crate::layout::{ClaimState, ClaimWord, EntryState, GroupId, PARTICIPANTS_MAX};
use crate::sync::Ordering;

/// No sequence gets here in any queue's life: what a scribbled word says is cut off at it, so that sums do not overflow.
pub(super) const SEQUENCE_MAX: u64 = u64::MAX - (1 << 61);

impl Ring {
    /// The floor as it was last noted. In an exclusive group it is exact.
    pub fn floor(&self, id: GroupId) -> u64 {
        // ORDERING: Acquire; pairs with raise_floor's raise and cursor's swap; the consumers' reads below it are over
        // (I1, I3); model ack_then_reuse.
        self.group_word(id, group::FLOOR)
            .load(Ordering::Acquire)
            .min(SEQUENCE_MAX)
    }

    /// Where the floor of a shared group could be, looking from `from`, at or below it.
    pub fn settled_until(&self, id: GroupId, from: u64) -> u64 {
        let mut reached = from;
        // Bound: nothing is settled beyond the tail, a lap above the true floor; and `from` lags by what the members of a
        // group claim between two notes, 32 messages each.
        let most = 2 * self.geo.capacity() + u64::from(PARTICIPANTS_MAX) * 32;
        while reached - from < most && self.is_settled(id, reached) {
            reached += 1;
        }
        reached
    }

    /// Where what is not settled begins. In a shared group the floor as noted may be a lap lower, and what is held or parked
    /// then lie more than a lap above it.
    pub(super) fn first_open(&self, id: GroupId) -> u64 {
        let floor = self.floor(id);
        if self.is_exclusive(id) {
            floor
        } else {
            self.settled_until(id, floor)
        }
    }

    /// Moves the floor of a shared group over all that is settled. Only its members may: a producer that is paused in
    /// here could raise the floor of another group, made meanwhile in the same entry.
    pub fn raise_floor(&self, id: GroupId) -> u64 {
        let floor = self.floor(id);
        let reached = self.settled_until(id, floor);
        if reached > floor {
            // ORDERING: AcqRel; pairs with floor's Acquire; passes on what the Acquire loads of is_settled saw.
            self.group_word(id, group::FLOOR)
                .raise(reached, Ordering::AcqRel);
        }
        reached
    }

    pub(super) fn is_settled(&self, id: GroupId, sequence: u64) -> bool {
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
            Some(
                ClaimState::Claimed | ClaimState::Opened | ClaimState::Ready | ClaimState::Dead,
            ) => false,
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
        let mut sequence = self.tail_hint();
        // Bound: producers cannot get more than a lap beyond the lowest floor; each turn goes on by a taken slot.
        while let Some(taken) = self
            .newest_taken(sequence)
            .filter(|&taken| taken >= sequence)
        {
            sequence = taken + 1;
        }
        sequence
    }

    /// A sequence below which all slots are taken.
    pub fn tail_hint(&self) -> u64 {
        // ORDERING: Acquire; pairs with raise_tail's Release; every slot below is taken.
        self.word(control::TAIL)
            .load(Ordering::Acquire)
            .min(SEQUENCE_MAX)
    }
}
