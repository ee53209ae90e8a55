//! Segments of the arena: where messages live that do not fit a slot.
//!
//! A producer holds a segment only while it composes. What a message occupies is noted (`BUMP`, `USED_UNTIL`) before the
//! message is committed, so a death in between wastes room but never hands out published bytes.

use super::{Publisher, Ring, Stuck};
use crate::layout::geometry::segment;
use crate::layout::{EntryState, Offset, OwnedWord, SegmentPointer};
use crate::sync::{Ordering, fence};

/// A segment held by this process.
#[derive(Clone, Copy, Debug)]
pub struct HeldSegment {
    number: u64,
    word: OwnedWord,
    /// Where the message goes.
    pub bytes: Offset,
    bump_after: u64,
    emptied: u64,
}

impl HeldSegment {
    /// What the slot says in place of the payload.
    #[must_use]
    pub fn pointer(&self) -> SegmentPointer {
        SegmentPointer {
            offset: self.bytes.0,
            emptied: self.emptied,
        }
    }
}

impl Ring {
    fn segment_word(&self, number: u64, field: u64) -> crate::mem::Word<'_> {
        self.word(self.geo.segment(number).plus(field))
    }

    /// Takes a segment with room for `length` bytes.
    ///
    /// # Errors
    /// `ArenaFull`: every segment is held, or full of messages not yet settled.
    pub fn hold_segment(&self, p: &mut Publisher, length: u64) -> Result<HeldSegment, Stuck> {
        if let Some(held) = self.find_segment(p, length) {
            return Ok(held);
        }
        self.refresh_limit(p);
        self.find_segment(p, length).ok_or(Stuck::ArenaFull)
    }

    fn find_segment(&self, p: &mut Publisher, length: u64) -> Option<HeldSegment> {
        let size = length.next_multiple_of(64).max(64);
        let floor = p.lowest;
        let count = self.geo.segment_count();
        // The one used last comes first: its bytes are in the cache.
        let numbers = (p.segment..count).chain(0..p.segment.min(count));
        for number in numbers {
            if let Some(held) = self.try_hold(p, number, size, floor) {
                p.segment = number;
                return Some(held);
            }
        }
        None
    }

    fn try_hold(&self, p: &Publisher, number: u64, size: u64, floor: u64) -> Option<HeldSegment> {
        let state = self.segment_word(number, segment::STATE);
        // ORDERING: Acquire; pairs with open_segment's Release; bump and used_until as its last holder left them;
        // models two_share_a_segment, two_empty_a_segment.
        let found = OwnedWord(state.load(Ordering::Acquire));
        if !matches!(
            found.entry_state(),
            Some(EntryState::Free | EntryState::Closing)
        ) {
            return None;
        }
        // ORDERING: Relaxed; the CAS below succeeds only if nobody has held the segment since.
        let bump = self
            .segment_word(number, segment::BUMP)
            .load(Ordering::Relaxed);
        // ORDERING: Relaxed; as above.
        let used_until = self
            .segment_word(number, segment::USED_UNTIL)
            .load(Ordering::Relaxed);
        let empty = used_until <= floor;
        let start = if empty { 0 } else { bump };
        let end = start
            .checked_add(size)
            .filter(|&end| end <= self.geo.segment_size())?;
        let word = OwnedWord::entry(found.tag() + 1, p.owner, EntryState::Live);
        // ORDERING: Relaxed; the load above has acquired what there is, and the tag tells whether it still stands.
        if !state.replace(found.0, word.0, Ordering::Relaxed) {
            return None;
        }
        let emptied_word = self.segment_word(number, segment::EMPTIED);
        // ORDERING: Relaxed; only the holder writes it.
        let mut emptied = emptied_word.load(Ordering::Relaxed);
        if empty && bump > 0 {
            emptied = emptied.wrapping_add(1);
            // ORDERING: Relaxed; with the fence below: seen before any new byte.
            emptied_word.store(emptied, Ordering::Relaxed);
            // ORDERING: Relaxed; only the holder reads it, and a successor through the state word.
            self.segment_word(number, segment::BUMP)
                .store(0, Ordering::Relaxed);
            // ORDERING: Release fence; pairs with observe_bytes' Acquire fence; no model: for observers, whose copies
            // loom's cells forbid.
            fence(Ordering::Release);
        }
        let bytes = self.geo.segment_bytes(number).plus(start);
        Some(HeldSegment {
            number,
            word,
            bytes,
            bump_after: end,
            emptied,
        })
    }

    /// Notes that `sequence` points into it. Must come before the commit (I8).
    pub fn use_segment(&self, held: &HeldSegment, sequence: u64) {
        // ORDERING: Relaxed; the next holder reads it behind the state word, or behind our lock; the commit's Release keeps
        // it before the commit.
        self.segment_word(held.number, segment::BUMP)
            .store(held.bump_after, Ordering::Relaxed);
        // ORDERING: Relaxed; as above.
        self.segment_word(held.number, segment::USED_UNTIL)
            .raise(sequence + 1, Ordering::Relaxed);
    }

    /// Gives it back, with whatever room is left.
    pub fn open_segment(&self, held: &HeldSegment) {
        let open = held.word.with_state(EntryState::Closing);
        // ORDERING: SeqCst (Release part: bump and used_until); pairs with try_hold's Acquire; SeqCst against prepare, whose
        // caller looks at this word. Fails only if a sweep took us for dead; model two_share_a_segment; no model: SeqCst is
        // AcqRel to loom, and nothing is acquired.
        let _swept = self.segment_word(held.number, segment::STATE).replace(
            held.word.0,
            open.0,
            Ordering::SeqCst,
        );
    }

    /// Opens what a dead participant held. What it may have published from it is below the tail.
    pub(super) fn sweep_segments(&self, dead: crate::layout::OwnerId) {
        // The dead take nothing more: one look at the tail does for all.
        let mut tail = None;
        for number in 0..self.geo.segment_count() {
            let state = self.segment_word(number, segment::STATE);
            // ORDERING: Relaxed; what the dead one did is ours by its lock.
            let found = OwnedWord(state.load(Ordering::Relaxed));
            if found.entry_state() == Some(EntryState::Live) && found.owner() == dead {
                let tail = *tail.get_or_insert_with(|| self.true_tail());
                // ORDERING: Relaxed; stands before the segment is open.
                self.segment_word(number, segment::USED_UNTIL)
                    .raise(tail, Ordering::Relaxed);
                let open = found.with_state(EntryState::Closing);
                // ORDERING: Release; pairs with try_hold's Acquire; the dead one's bytes come before the next
                // holder's; model a_dead_composers_segment without refresh_limit's fence.
                let _raced = state.replace(found.0, open.0, Ordering::Release);
            }
        }
    }
}
