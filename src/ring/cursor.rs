//! Exclusive groups: one active consumer, strict order, no claim words on the way. The floor is the cursor.
//!
//! What the active consumer has handed over and not settled lies in `[floor, OPENED)`. A successor turns that range into
//! attempts in the claim words (used for nothing else in such a group), so that a message that kills its consumer is
//! counted.

use std::collections::VecDeque;

use super::{Claim, Damage, Ring, Settle, SlotView};
use crate::layout::geometry::group;
use crate::layout::{ClaimState, ClaimWord, EntryState, GroupId, OwnedWord, OwnerId};
use crate::sync::Ordering;

/// What the active consumer of an exclusive group knows.
#[derive(Debug)]
pub struct Cursor {
    group: GroupId,
    owner: OwnerId,
    /// Next to hand over.
    position: u64,
    /// Everything below is settled.
    settled: u64,
    /// One past the highest sequence the shared OPENED word covers.
    opened: u64,
    /// Below this, a claim word may hold earlier attempts.
    retried_until: u64,
    /// Sequences whose guard exists, ascending: their bytes are being looked at (I3).
    held: VecDeque<u64>,
    /// Acked, above `settled`.
    early: Vec<u64>,
    /// Raised when order restarts from a message given back; guards of before are then stale.
    epoch: u32,
    /// Guards older than the epoch are good only below this.
    rewound_to: u64,
}

/// A message handed over, and the epoch its guard belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed {
    /// Which, and how often.
    pub claim: Claim,
    /// Of the cursor.
    pub epoch: u32,
}

impl Ring {
    /// Becomes the active consumer of an exclusive group, if there is none.
    pub fn take_over(&self, id: GroupId, owner: OwnerId) -> Option<Cursor> {
        let word = self.group_word(id, group::OWNER);
        // ORDERING: Acquire; pairs with hand_over's Release; cursor and attempts of the one before.
        let found = OwnedWord(word.load(Ordering::Acquire));
        if found.entry_state() != Some(EntryState::Free) {
            return None;
        }
        let mine = OwnedWord::entry(found.tag() + 1, owner, EntryState::Live);
        // ORDERING: AcqRel; as above, and the sweep then finds our name; model take_over_race.
        if !word.replace(found.0, mine.0, Ordering::AcqRel) {
            return None;
        }
        let settled = self.floor(id);
        // ORDERING: Acquire; pairs with cursor_next's Release by the one before.
        let opened = self.group_word(id, group::OPENED).load(Ordering::Acquire);
        // From the top, lowering OPENED as we go: dying here leaves the rest to the next successor.
        // Bound: a lap; what is open is above the floor.
        for sequence in (settled..opened.min(settled + self.geo.capacity())).rev() {
            let attempt = self.attempts_before(id, sequence).saturating_add(1);
            self.note_attempt(id, owner, sequence, attempt);
            // ORDERING: Release; pairs with the Acquire above; the attempt is counted first.
            self.group_word(id, group::OPENED)
                .store(sequence, Ordering::Release);
        }
        Some(Cursor {
            group: id,
            owner,
            position: settled,
            settled,
            opened: settled,
            // What the one before gave back by itself is counted in the words too, as far as a lap.
            retried_until: settled + self.geo.capacity(),
            held: VecDeque::new(),
            early: Vec::new(),
            epoch: 0,
            rewound_to: u64::MAX,
        })
    }

    fn attempts_before(&self, id: GroupId, sequence: u64) -> u8 {
        // ORDERING: Acquire; pairs with note_attempt's Release.
        let word = ClaimWord(self.claim_word(id, sequence).load(Ordering::Acquire));
        match word.state_in(self.geo.lap(sequence)) {
            Some(ClaimState::Never) | None => 0,
            Some(_) => word.attempt(),
        }
    }

    fn note_attempt(&self, id: GroupId, owner: OwnerId, sequence: u64, attempt: u8) {
        let word = ClaimWord::new(self.geo.lap(sequence), attempt, owner, ClaimState::Ready);
        // ORDERING: Release; pairs with attempts_before's Acquire.
        self.claim_word(id, sequence)
            .store(word.0, Ordering::Release);
    }

    /// Hands over the next message in order.
    ///
    /// # Errors
    /// The file holds what no code writes.
    pub fn cursor_next(&self, c: &mut Cursor) -> Result<Option<Handed>, Damage> {
        // Bound: every turn returns or passes an aborted or acked slot; a lap at most.
        loop {
            let sequence = c.position;
            // ORDERING: Acquire; pairs with publish::commit Release; header and payload; model publish_cursor.
            let raw = OwnedWord(self.slot_word(sequence).load(Ordering::Acquire));
            match self.slot_view(sequence, raw) {
                SlotView::Published => {
                    c.position = sequence + 1;
                    if c.early.is_empty() || !c.early.contains(&sequence) {
                        return Ok(Some(self.hand(c, sequence)));
                    }
                }
                SlotView::Aborted => {
                    c.position = sequence + 1;
                    if c.settled == sequence {
                        self.settle_until(c, sequence + 1);
                    }
                }
                SlotView::Writing | SlotView::Free | SlotView::Busy | SlotView::Behind => {
                    return Ok(None);
                }
                SlotView::Lapped { .. } | SlotView::Unknown => {
                    return Err(self.slot_damage(sequence, raw, "a lap the cursor has not passed"));
                }
            }
        }
    }

    fn hand(&self, c: &mut Cursor, sequence: u64) -> Handed {
        if sequence >= c.opened {
            c.opened = sequence + 1;
            // ORDERING: Release; pairs with take_over's Acquire; stands before the handler runs.
            self.group_word(c.group, group::OPENED)
                .store(c.opened, Ordering::Release);
        }
        let before = if sequence < c.retried_until {
            self.attempts_before(c.group, sequence)
        } else {
            0
        };
        let at = c.held.partition_point(|&held| held <= sequence);
        c.held.insert(at, sequence);
        Handed {
            claim: Claim {
                sequence,
                attempt: before.saturating_add(1),
            },
            epoch: c.epoch,
        }
    }

    /// True if a guard can still settle.
    #[must_use]
    pub fn cursor_valid(&self, c: &Cursor, handed: Handed) -> bool {
        let sequence = handed.claim.sequence;
        sequence >= c.settled
            && !c.early.contains(&sequence)
            && (handed.epoch == c.epoch || sequence < c.rewound_to)
    }

    /// Settles a valid guard; the guard must be ended with [`Self::cursor_end`] as well.
    pub fn cursor_settle(&self, c: &mut Cursor, handed: Handed, how: Settle) {
        let Claim { sequence, attempt } = handed.claim;
        match how {
            Settle::Ack if sequence == c.settled => self.settle_until(c, sequence + 1),
            Settle::Ack => c.early.push(sequence),
            Settle::Nack => self.rewind(c, sequence, attempt),
            Settle::Release => self.rewind(c, sequence, attempt.saturating_sub(1)),
        }
    }

    /// Acks a guard's message and everything before it, the guard itself not ended yet. How many that are; `None` if the
    /// guard is stale.
    pub fn cursor_settle_all(&self, c: &mut Cursor, handed: Handed) -> Option<u64> {
        if !self.cursor_valid(c, handed) {
            return None;
        }
        let sequence = handed.claim.sequence;
        let counted = c.early.iter().filter(|&&early| early < sequence).count() as u64;
        let acked = sequence + 1 - c.settled - counted;
        self.settle_until(c, sequence + 1);
        Some(acked)
    }

    /// A guard is gone: its bytes may be overwritten once they are settled.
    pub fn cursor_end(&self, c: &mut Cursor, sequence: u64) {
        let at = c.held.partition_point(|&held| held < sequence);
        if c.held.get(at) == Some(&sequence) {
            c.held.remove(at);
        }
        if c.held.is_empty() {
            c.rewound_to = u64::MAX;
        }
        self.store_floor(c);
    }

    fn settle_until(&self, c: &mut Cursor, sequence: u64) {
        c.settled = sequence;
        // Bound: what was acked early, and aborted slots already passed.
        while c.settled < c.position {
            if let Some(at) = c.early.iter().position(|&early| early == c.settled) {
                c.early.swap_remove(at);
            } else if !self.is_aborted(c.settled) {
                break;
            }
            c.settled += 1;
        }
        c.early.retain(|&early| early >= c.settled);
        self.store_floor(c);
    }

    fn is_aborted(&self, sequence: u64) -> bool {
        // ORDERING: Acquire; pairs with the abort's Release.
        let raw = OwnedWord(self.slot_word(sequence).load(Ordering::Acquire));
        self.slot_view(sequence, raw) == SlotView::Aborted
    }

    fn store_floor(&self, c: &Cursor) {
        let floor = c
            .held
            .front()
            .map_or(c.settled, |&held| held.min(c.settled));
        let word = self.group_word(c.group, group::FLOOR);
        // ORDERING: Relaxed; only this consumer writes it.
        if word.load(Ordering::Relaxed) < floor {
            // ORDERING: SeqCst (Release part: our reads of the payloads below are over); pairs with floor's Acquire;
            // SeqCst against sleep::prepare by a producer; models cursor_then_reuse, ack_then_sleep.
            word.swap(floor, Ordering::SeqCst);
        }
    }

    /// Order restarts at `sequence`.
    fn rewind(&self, c: &mut Cursor, sequence: u64, attempt: u8) {
        self.note_attempt(c.group, c.owner, sequence, attempt);
        c.retried_until = c.retried_until.max(c.position);
        c.position = sequence;
        c.opened = sequence;
        c.epoch = c.epoch.wrapping_add(1);
        c.rewound_to = c.rewound_to.min(sequence);
        // ORDERING: Release; pairs with take_over's Acquire; the attempt is noted first.
        self.group_word(c.group, group::OPENED)
            .store(sequence, Ordering::Release);
    }

    /// Steps down as the active consumer. What is open but not settled goes to the successor, not counted.
    pub fn hand_over(&self, c: &mut Cursor) {
        // Guards that were leaked cannot look at their bytes any more: they borrowed the consumer.
        c.held.clear();
        self.store_floor(c);
        // ORDERING: Release; pairs with take_over's Acquire.
        self.group_word(c.group, group::OPENED)
            .store(c.settled, Ordering::Release);
        let word = self.group_word(c.group, group::OWNER);
        // ORDERING: Relaxed; we wrote it.
        let found = OwnedWord(word.load(Ordering::Relaxed));
        if found.owner() == c.owner && found.entry_state() == Some(EntryState::Live) {
            // ORDERING: Release; pairs with take_over's Acquire; cursor and attempts.
            let _swept = word.replace(
                found.0,
                found.with_state(EntryState::Free).0,
                Ordering::Release,
            );
        }
    }

    /// The lowest sequence not yet handed over.
    #[must_use]
    pub fn cursor_position(&self, c: &Cursor) -> u64 {
        c.position
    }
}
