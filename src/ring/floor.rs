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
        // (I1, I3); models floor_by_two, cursor_then_reuse without refresh_limit's fence.
        self.group_word(id, group::FLOOR)
            .load(Ordering::Acquire)
            .min(SEQUENCE_MAX)
    }

    /// The same for searches: FLOOR is noted by consumers only, and may be as old as the last of them. What has been taken
    /// for a later lap was settled in every group (I1).
    pub(super) fn oldest_open(&self, id: GroupId) -> u64 {
        let lap_below = self.tail_hint().saturating_sub(self.geo.capacity());
        self.floor(id).max(lap_below)
    }

    /// Where what is not settled begins. In a shared group the floor as noted may be a lap lower, and what is held or parked
    /// then lie more than a lap above it.
    pub(crate) fn first_open(&self, id: GroupId) -> u64 {
        if self.is_exclusive(id) {
            self.floor(id)
        } else {
            self.settled_until(id, self.oldest_open(id))
        }
    }

    /// Where the floor of a shared group could be, looking from `from`, at or below it.
    pub fn settled_until(&self, id: GroupId, from: u64) -> u64 {
        let mut reached = from;
        // Bound: nothing is settled beyond the tail, a lap above the true floor; and `from` lags by what the members of a
        // group claim between two notes, 32 messages each.
        let most = 2 * self.geo.capacity() + u64::from(PARTICIPANTS_MAX) * 32;
        // What says so from further ahead than any floor lags is damage: believed, it would lead every search that far.
        let lag = 16 * most;
        while reached - from < most
            && (self.is_done(id, reached)
                || self.settled_by(id, reached).is_some_and(|by| by <= lag))
        {
            reached += 1;
        }
        reached
    }

    /// Whether it was acked: the way to be settled that most messages take.
    #[inline(always)]
    fn is_done(&self, id: GroupId, sequence: u64) -> bool {
        // ORDERING: Acquire; as in settled_by; models floor_by_two, ack_then_reuse without refresh_limit's fence.
        let claim = ClaimWord(self.claim_word(id, sequence).load(Ordering::Acquire));
        claim.is(self.geo.lap(sequence), ClaimState::Done)
    }

    /// Moves the floor of a shared group over all that is settled. Only its members may: a producer that is paused in
    /// here could raise the floor of another group, made meanwhile in the same entry.
    pub fn raise_floor(&self, id: GroupId) -> u64 {
        let reached = self.settled_until(id, self.oldest_open(id));
        if reached > self.floor(id) {
            // ORDERING: Release; pairs with floor's Acquire; passes on what the Acquire loads of is_settled saw; model
            // floor_by_two.
            self.group_word(id, group::FLOOR)
                .raise(reached, Ordering::Release);
        }
        reached
    }

    pub(super) fn is_settled(&self, id: GroupId, sequence: u64) -> bool {
        self.settled_by(id, sequence).is_some()
    }

    /// How far ahead of a settled sequence is what says that it is settled; `None`: nothing does.
    fn settled_by(&self, id: GroupId, sequence: u64) -> Option<u64> {
        // ORDERING: Acquire; pairs with settle's Release; the consumer's reads are over (I3); models floor_by_two,
        // ack_then_reuse without refresh_limit's fence.
        let claim = ClaimWord(self.claim_word(id, sequence).load(Ordering::Acquire));
        match claim.state_in(self.geo.lap(sequence)) {
            Some(ClaimState::Done) => Some(0),
            // A later lap: our floor is old, and the slot has been settled long since.
            None => {
                let laps = claim.laps_ahead_of(self.geo.lap(sequence));
                (laps > 0).then(|| self.later(sequence, laps).saturating_sub(sequence))
            }
            Some(ClaimState::Never) => match self.load_slot(sequence).1 {
                SlotView::Aborted => Some(0),
                SlotView::Lapped { newest } => Some(newest.saturating_sub(sequence)),
                _ => None,
            },
            Some(
                ClaimState::Claimed
                | ClaimState::Opened
                | ClaimState::Ready
                | ClaimState::Dead
                | ClaimState::Again,
            ) => None,
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
        // Bound: `turns`; each goes on by a taken slot, and producers cannot get more than a lap beyond the lowest floor.
        for _ in self.turns() {
            match self.newest_taken(sequence) {
                Some(taken) if taken >= sequence => sequence = taken + 1,
                _ => break,
            }
        }
        sequence
    }

    /// A sequence below which all slots are taken.
    pub fn tail_hint(&self) -> u64 {
        // ORDERING: Acquire; pairs with raise_tail's Release; what is a lap below has been settled, and read; model
        // segment_behind_the_tail without refresh_limit's fence.
        self.word(control::TAIL)
            .load(Ordering::Acquire)
            .min(SEQUENCE_MAX)
    }
}
