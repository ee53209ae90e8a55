//! Looking without taking part: for `inspect`, statistics and tools. Loads only, so it works on a read-only mapping.
//!
//! What is copied may be overwritten meanwhile; afterwards the slot's word, its reservation, the last slot before it is
//! used again (a sole producer reserves nothing) and the segment's count of emptyings tell.

use super::{Claim, Ring, SlotView};
use crate::layout::geometry::{group, segment, slot};
use crate::layout::{
    ClaimState, ClaimWord, EntryState, GroupId, OwnedWord, OwnerId, SegmentPointer, SlotHeader,
    SlotState,
};
use crate::sync::{Ordering, fence};
use zerocopy::FromBytes;

/// What an observer finds at a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Its header; the payload is in the buffer.
    Message(SlotHeader),
    /// Not published yet.
    NotYet,
    /// Nothing: its producer died.
    Hole,
    /// Something newer has taken its place.
    Overwritten,
    /// Header or pointer make no sense.
    Damaged,
}

/// How the messages of a shared group stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimCounts {
    /// The lowest sequence not settled.
    pub floor: u64,
    /// Published and not held by anybody.
    pub ready: u64,
    /// Claimed or opened.
    pub in_flight: u64,
    /// Parked.
    pub dead: u64,
    /// Settled, above the floor.
    pub done: u64,
}

/// A claim, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whose.
    pub owner: OwnerId,
    /// Which, and how often it has been handed over.
    pub claim: Claim,
}

impl Ring {
    /// Copies the message at `sequence` into `buffer`, if it is still there.
    pub fn observe(&self, sequence: u64, buffer: &mut Vec<u8>) -> Observed {
        let (before, view) = self.load_slot(sequence);
        match view {
            SlotView::Published => {}
            SlotView::Aborted => return Observed::Hole,
            SlotView::Lapped { .. } => return Observed::Overwritten,
            SlotView::Unknown => return Observed::Damaged,
            SlotView::Empty | SlotView::Earlier(_) => return Observed::NotYet,
        }
        let copied = self.observe_bytes(sequence, buffer);
        // ORDERING: Acquire fence; pairs with take_slot's, commit's and try_hold's Release fences: had a new byte been
        // copied, the word that announces it would show below; no model: loom's cells forbid such copies.
        fence(Ordering::Acquire);
        // ORDERING: Relaxed; after the fence.
        let after = OwnedWord(self.slot_word(sequence).load(Ordering::Relaxed));
        // ORDERING: Relaxed; after the fence.
        let taken = OwnedWord(self.reservation(sequence).load(Ordering::Relaxed));
        let retaken = taken.slot_state() == Some(SlotState::Taken)
            && taken.laps_ahead_of(self.geo.lap(sequence)) > 0;
        let last_of_lap = sequence.saturating_add(self.geo.capacity() - 1);
        // ORDERING: Relaxed; after the fence.
        let next = OwnedWord(self.slot_word(last_of_lap).load(Ordering::Relaxed));
        let may_be_written = matches!(
            self.slot_view(last_of_lap, next),
            SlotView::Published | SlotView::Aborted | SlotView::Lapped { .. }
        );
        if after != before || retaken || (may_be_written && !self.is_kept(sequence)) {
            return Observed::Overwritten;
        }
        copied
    }

    /// Whether some group has not settled `sequence`, so that no producer may have begun to overwrite it (I3).
    fn is_kept(&self, sequence: u64) -> bool {
        self.geo.group_ids().any(|id| {
            // Live, it started no lower than others had settled; one that is still pinned may seem to gate from below.
            self.group_state(id).entry_state() == Some(EntryState::Live)
                && self.floor(id) <= sequence
                && (self.is_exclusive(id) || !self.is_settled(id, sequence))
        })
    }

    /// Copies a message out whose claim may be taken away meanwhile. Good only if the claim stands afterwards
    /// ([`Self::still_holds`]).
    pub fn copy_message(&self, sequence: u64, buffer: &mut Vec<u8>) -> Observed {
        self.observe_bytes(sequence, buffer)
    }

    fn observe_bytes(&self, sequence: u64, buffer: &mut Vec<u8>) -> Observed {
        let start = self.geo.slot(sequence);
        let mut header = [0; size_of::<SlotHeader>()];
        self.mem
            .copy_out_torn(start.plus(slot::HEADER), &mut header);
        let Ok(header) = SlotHeader::read_from_bytes(&header) else {
            return Observed::Damaged;
        };
        if u64::from(header.length) > self.geo.shape().max_message {
            return Observed::Damaged;
        }
        buffer.resize(header.length as usize, 0);
        if header.flags & SlotHeader::IN_ARENA == 0 {
            if u64::from(header.length) > self.geo.inline_max() {
                return Observed::Damaged;
            }
            self.mem.copy_out_torn(start.plus(slot::PAYLOAD), buffer);
            return Observed::Message(header);
        }
        let mut pointer = [0; size_of::<SegmentPointer>()];
        self.mem
            .copy_out_torn(start.plus(slot::PAYLOAD), &mut pointer);
        let Ok(pointer) = SegmentPointer::read_from_bytes(&pointer) else {
            return Observed::Damaged;
        };
        let Some(number) = self.geo.segment_at(pointer.offset, header.length.into()) else {
            return Observed::Damaged;
        };
        self.mem
            .copy_out_torn(crate::layout::Offset(pointer.offset), buffer);
        // ORDERING: Acquire fence; pairs with try_hold's Release fence; no model: loom's cells forbid such copies.
        fence(Ordering::Acquire);
        // ORDERING: Relaxed; after the fence.
        let emptied = self
            .word(self.geo.segment(number).plus(segment::EMPTIED))
            .load(Ordering::Relaxed);
        if emptied == pointer.emptied {
            Observed::Message(header)
        } else {
            Observed::Overwritten
        }
    }

    /// Counts how the messages of a shared group stand. A lap of loads; each was true at some moment of the scan.
    pub fn count_claims(&self, id: GroupId, tail: u64) -> ClaimCounts {
        let mut counts = ClaimCounts {
            floor: self.settled_until(id, self.oldest_open(id)),
            ..ClaimCounts::default()
        };
        let mut at_floor = true;
        for sequence in counts.floor..tail.min(counts.floor.saturating_add(self.geo.capacity())) {
            // ORDERING: Relaxed; true at some moment.
            let claim = ClaimWord(self.claim_word(id, sequence).load(Ordering::Relaxed));
            let settled = match (
                self.load_slot(sequence).1,
                claim.state_in(self.geo.lap(sequence)),
            ) {
                (SlotView::Aborted | SlotView::Lapped { .. }, _) | (_, None) => true,
                (SlotView::Published, Some(ClaimState::Done)) => {
                    counts.done += u64::from(!at_floor);
                    true
                }
                (SlotView::Published, Some(ClaimState::Claimed | ClaimState::Opened)) => {
                    counts.in_flight += 1;
                    false
                }
                (
                    SlotView::Published,
                    Some(ClaimState::Never | ClaimState::Ready | ClaimState::Again),
                ) => {
                    counts.ready += 1;
                    false
                }
                (SlotView::Published, Some(ClaimState::Dead)) => {
                    counts.dead += 1;
                    false
                }
                _ => false,
            };
            at_floor &= settled;
            if at_floor {
                counts.floor = sequence + 1;
            }
        }
        counts
    }

    /// The same for an exclusive group.
    pub fn count_cursor(&self, id: GroupId, tail: u64) -> ClaimCounts {
        let floor = self.floor(id);
        let opened = self.opened_until(id);
        let mut counts = ClaimCounts {
            floor,
            ..ClaimCounts::default()
        };
        for sequence in floor..tail.min(floor.saturating_add(self.geo.capacity())) {
            // ORDERING: Relaxed; true at some moment.
            let claim = ClaimWord(self.claim_word(id, sequence).load(Ordering::Relaxed));
            match claim.state_in(self.geo.lap(sequence)) {
                _ if self.load_slot(sequence).1 != SlotView::Published => {}
                Some(ClaimState::Done) | None => counts.done += 1,
                Some(ClaimState::Dead) => counts.dead += 1,
                _ if sequence < opened => counts.in_flight += 1,
                _ => counts.ready += 1,
            }
        }
        counts
    }

    fn opened_until(&self, id: GroupId) -> u64 {
        // ORDERING: Relaxed; true at some moment.
        self.group_word(id, group::OPENED).load(Ordering::Relaxed)
    }

    /// What is held in a group, oldest first: by whom, and how often it has been handed over.
    pub fn held(&self, id: GroupId, tail: u64) -> impl Iterator<Item = Held> {
        let exclusive = self.is_exclusive(id);
        let active = self.suspect_of_stand_by(id);
        let opened = if exclusive {
            self.opened_until(id)
        } else {
            tail
        };
        let floor = self.first_open(id);
        let end = tail
            .min(opened)
            .min(floor.saturating_add(self.geo.capacity()));
        (floor..end).filter_map(move |sequence| {
            // ORDERING: Relaxed; true at some moment.
            let claim = ClaimWord(self.claim_word(id, sequence).load(Ordering::Relaxed));
            let (state, attempt) = (claim.state_in(self.geo.lap(sequence)), claim.attempt());
            let (owner, attempt) = match state? {
                ClaimState::Done | ClaimState::Dead => return None,
                // A cursor's claim words only count what came before.
                ClaimState::Never if exclusive => (active?, 1),
                _ if exclusive => (active?, attempt.saturating_add(1)),
                ClaimState::Claimed | ClaimState::Opened => (claim.owner(), attempt),
                ClaimState::Never | ClaimState::Ready | ClaimState::Again => return None,
            };
            let held = Held {
                owner,
                claim: Claim {
                    sequence,
                    attempt,
                    again: false,
                },
            };
            (self.load_slot(sequence).1 == SlotView::Published).then_some(held)
        })
    }

    /// Who is writing, once for each slot.
    pub fn writers(&self) -> impl Iterator<Item = OwnerId> {
        (0..self.geo.capacity()).filter_map(|index| self.writer(index))
    }
}
