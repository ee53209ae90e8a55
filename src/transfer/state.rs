//! How far a group is, taken from a ring that others may be working on: from where on it has messages to settle, and what
//! has happened to each of those already.

use crate::dead::queue_of;
use crate::group::name_of;
use crate::layout::geometry::group;
use crate::layout::{ClaimState, ClaimWord, EntryState, GroupId, Offset, OwnedWord, SlotState};
use crate::ring::{Cause, Ring, Terms};
use crate::sync::Ordering;

/// A group, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupState {
    pub(super) name: String,
    pub(super) terms: Terms,
    pub(super) dead_queue: String,
    /// [`COUNTERS`].
    pub(super) counters: [u64; 6],
    /// Everything below it is settled.
    pub(super) position: u64,
    /// What has happened to messages from there on, ascending.
    pub(super) marks: Vec<Mark>,
}

/// What a group's entry counts.
pub(super) const COUNTERS: [u64; 6] = [
    group::DELIVERED,
    group::REDELIVERED,
    group::ACKED,
    group::DEAD_LETTERED,
    group::EXPIRED,
    group::LOST,
];

/// What has happened to a message in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) sequence: u64,
    /// How often it has been delivered.
    pub(super) attempt: u8,
    pub(super) fate: Fate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Settled,
    /// Given back, or about to be if its consumer does not settle it.
    Returned,
    /// Given back by a decision on a parked message.
    Again,
    Parked {
        cause: Cause,
        reason: String,
    },
}

fn load(ring: &Ring, offset: Offset) -> u64 {
    // ORDERING: Acquire; pairs with the Release of whoever settles, claims or hands over.
    ring.mem().word(offset).load(Ordering::Acquire)
}

impl GroupState {
    /// Of the groups in use that do not vanish with their members, below `end`.
    pub(super) fn of_all(ring: &Ring, end: u64) -> Vec<Self> {
        let live = |id: &GroupId| {
            ring.group_state(*id).entry_state() == Some(EntryState::Live) && !ring.is_ephemeral(*id)
        };
        let ids = ring.geometry().group_ids().filter(live);
        ids.map(|id| Self::of(ring, id, end)).collect()
    }

    fn of(ring: &Ring, id: GroupId, end: u64) -> Self {
        let entry = ring.geometry().group(id);
        let position = ring.first_open(id).min(end);
        // Before the claim words: what is handed over later is not counted twice.
        let opened = match ring.is_exclusive(id) {
            true => load(ring, entry.plus(group::OPENED)),
            false => 0,
        };
        let last = end.min(position.saturating_add(ring.geometry().capacity()));
        let marks = (position..last).filter_map(|sequence| mark(ring, id, sequence, opened));
        Self {
            name: name_of(ring, id),
            terms: ring.terms(id),
            dead_queue: queue_of(ring, id),
            counters: COUNTERS.map(|field| load(ring, entry.plus(field))),
            position,
            marks: marks.collect(),
        }
    }
}

fn mark(ring: &Ring, id: GroupId, sequence: u64, opened: u64) -> Option<Mark> {
    let geometry = ring.geometry();
    let lap = geometry.lap(sequence);
    let claim = ClaimWord(load(ring, geometry.claim(id, sequence)));
    let slot = OwnedWord(load(ring, geometry.slot(sequence)));
    if slot.slot_state() != Some(SlotState::Published) || slot.laps_ahead_of(lap) < 0 {
        return None;
    }
    // In an exclusive group what is in hand is counted when it changes hands.
    let in_hand = u8::from(sequence < opened);
    let (attempt, fate) = match claim.state_in(lap) {
        Some(ClaimState::Done) => (claim.attempt(), Fate::Settled),
        // Of a later lap: settled, and written over since.
        None => (0, Fate::Settled),
        Some(ClaimState::Never) if in_hand == 0 => return None,
        Some(ClaimState::Never) => (in_hand, Fate::Returned),
        Some(ClaimState::Ready) => (claim.attempt().saturating_add(in_hand), Fate::Returned),
        Some(ClaimState::Claimed | ClaimState::Opened) => (claim.attempt(), Fate::Returned),
        Some(ClaimState::Again) => (claim.attempt(), Fate::Again),
        Some(ClaimState::Dead) => {
            let cause = Cause::from_number(claim.owner().0).unwrap_or(Cause::Rejected);
            let reason = ring.read_note(id, sequence);
            (claim.attempt(), Fate::Parked { cause, reason })
        }
    };
    Some(Mark {
        sequence,
        attempt,
        fate,
    })
}
