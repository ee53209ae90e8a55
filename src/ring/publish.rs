//! Producers: reserve a slot, fill it, commit it; the room there is; dropping the oldest where a queue allows it.
//!
//! A producer's position has one invariant: *every slot below it is taken*. From it follows that a publish that begins
//! after another returned gets a higher sequence.

use super::floor::SEQUENCE_MAX;
use super::{Damage, Ring, SlotView};
use crate::layout::geometry::{control, group, slot};
use crate::layout::{
    ClaimState, ClaimWord, GROUPS_MAX, GroupId, Offset, OwnedWord, OwnerId, SlotHeader, SlotState,
};
use crate::sync::{Ordering, fence};
use zerocopy::IntoBytes;

const SLOT_WORD: &str = "a slot word";

/// Payload bytes in the first cache line of a slot.
const FIRST_LINE: usize = 32;

/// Slots between the one that a sole producer writes and the one it asks for. Producers that commit by CAS gain nothing by it
/// (`docs/performance.md`).
const AHEAD_TO_WRITE: u64 = 32;

/// What one producer knows: its position and how far it may go.
#[derive(Debug)]
pub struct Publisher {
    pub(super) owner: OwnerId,
    sole: bool,
    pub(super) next: u64,
    pub(super) limit: u64,
    /// Everything below is settled in every group.
    pub(super) lowest: u64,
    /// Generation the group masks belong to.
    generation: Option<u64>,
    /// Floors of shared groups, as far as this producer has found them in this generation.
    floors: [u64; GROUPS_MAX as usize],
    pub(super) shared: u64,
    pub(super) exclusive: u64,
    since_hint: u64,
    pub(super) segment: u64,
}

/// Why a message is not in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// No slot: a group has not settled enough.
    Full,
    /// No segment with room: all are held, or full of what is not settled.
    ArenaFull,
    /// No slot before a sync ends that begins now.
    Unsynced,
    /// A sweep took this producer for dead and aborted its reservation.
    Fenced,
    /// The file holds what no code writes.
    Damage(Damage),
}

/// A slot that is ours to fill.
#[derive(Clone, Copy, Debug)]
pub struct Reserved {
    /// Its sequence.
    pub sequence: u64,
    /// Its word, which only we, or a sweeper after our death, change now.
    before: OwnedWord,
}

impl From<Damage> for Stuck {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl Publisher {
    /// The floor of a shared group, as far as this producer has found it.
    pub(super) fn floor_of(&self, id: GroupId) -> u64 {
        self.floors.get(usize::from(id.0)).copied().unwrap_or(0)
    }

    /// How many more messages fit for sure.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.limit.saturating_sub(self.next)
    }
}

impl Ring {
    /// A producer for participant `owner`. A sole one must have taken the sole-producer word.
    #[must_use]
    pub fn publisher(&self, owner: OwnerId, sole: bool) -> Publisher {
        Publisher {
            owner,
            sole,
            next: self.tail_hint(),
            limit: 0,
            lowest: 0,
            generation: None,
            floors: [0; GROUPS_MAX as usize],
            shared: 0,
            exclusive: 0,
            since_hint: 0,
            segment: u64::from(owner.0) % self.geo.segment_count().max(1),
        }
    }

    /// Takes the next free slot. Between this and [`Self::commit`] nobody else writes it (I2).
    ///
    /// # Errors
    /// `Full`, `Unsynced`, or `Damage`.
    pub fn reserve(&self, p: &mut Publisher) -> Result<Reserved, Stuck> {
        match self.reserve_at_hand(p) {
            Some(reserved) => Ok(reserved),
            None => self.reserve_any(p),
        }
    }

    #[inline(never)]
    fn reserve_any(&self, p: &mut Publisher) -> Result<Reserved, Stuck> {
        let mut sequence = p.next;
        // Bound: `turns`; each returns, or passes a slot that another producer has taken meanwhile.
        for _ in self.turns() {
            if sequence >= p.limit {
                p.next = sequence;
                self.refresh_limit(p);
                if sequence >= p.limit {
                    return Err(self.why_stuck(p));
                }
            }
            let lap = self.geo.lap(sequence);
            let word = self.reservation(sequence);
            // ORDERING: Acquire; pairs with the CAS below; a taken slot here means all below are taken; and a lap below
            // has been settled, and read; model segment_behind_a_lap without refresh_limit's fence.
            let taken = OwnedWord(word.load(Ordering::Acquire));
            let fresh = taken.slot_state() == Some(SlotState::Empty);
            if !fresh && taken.laps_ahead_of(lap) >= 0 {
                let newest = self.later(sequence, taken.laps_ahead_of(lap));
                sequence = self.after(newest, self.geo.reservation(sequence), taken)?;
                continue;
            }
            let (slot, view) = self.load_slot(sequence);
            match view {
                SlotView::Published | SlotView::Aborted => sequence += 1,
                SlotView::Lapped { newest } => {
                    sequence = self.after(newest, self.geo.slot(sequence), slot)?;
                }
                SlotView::Earlier(true) | SlotView::Empty if fresh || view != SlotView::Empty => {
                    if let Some(reserved) = self.take_slot(p, sequence, taken, slot) {
                        return Ok(reserved);
                    }
                }
                // The message of the lap before is still being written.
                SlotView::Earlier(_) | SlotView::Empty => {
                    p.next = sequence;
                    return Err(Stuck::Full);
                }
                SlotView::Unknown => {
                    return Err(self.slot_damage(sequence, slot, SLOT_WORD).into());
                }
            }
        }
        p.next = sequence;
        Err(Stuck::Full)
    }

    /// The same, if there is room and nobody has taken the slot. `None`: nothing has been done.
    #[inline(always)]
    pub fn reserve_at_hand(&self, p: &mut Publisher) -> Option<Reserved> {
        let sequence = p.next;
        if sequence >= p.limit {
            return None;
        }
        let lap = self.geo.lap(sequence);
        let word = self.reservation(sequence);
        // ORDERING: Relaxed; beside a sole producer nobody takes slots, and otherwise the CAS in take_slot says whether it
        // still stands.
        let taken = OwnedWord(word.load(Ordering::Relaxed));
        // ORDERING: Acquire; pairs with commit's Release; with no group, only this word says that who wrote the slot a lap
        // ago has finished; model a_lap_nobody_reads.
        let before = OwnedWord(self.slot_word(sequence).load(Ordering::Acquire));
        let free = before.is_slot(lap - 1, SlotState::Published)
            && taken.is_slot(lap - 1, SlotState::Taken);
        let fresh = before.0 | taken.0 == 0;
        (free || fresh).then_some(())?;
        // Beyond the limit somebody may still be reading.
        if p.sole && sequence + AHEAD_TO_WRITE < p.limit {
            self.expect_to_write(sequence + AHEAD_TO_WRITE);
        }
        self.take_slot(p, sequence, taken, before)
    }

    /// Makes a free slot ours, unless another producer is quicker.
    #[inline(always)]
    fn take_slot(
        &self,
        p: &mut Publisher,
        sequence: u64,
        taken: OwnedWord,
        before: OwnedWord,
    ) -> Option<Reserved> {
        let mine = OwnedWord::slot(self.geo.lap(sequence), p.owner, SlotState::Taken);
        let word = self.reservation(sequence);
        // ORDERING: Release; pairs with newest_taken's Acquire; who sees it sees all below taken; model
        // a_producers_messages_are_claimed_in_order.
        if !p.sole && !word.replace(taken.0, mine.0, Ordering::Release) {
            return None;
        }
        // ORDERING: Release fence; pairs with observe's and still_holds's Acquire fence: who sees a byte of the new payload
        // sees what came before; model copy_of_a_late_holder without refresh_limit's fence.
        fence(Ordering::Release);
        p.next = sequence + u64::from(!p.sole);
        Some(Reserved { sequence, before })
    }

    /// The sequence after one that the word at `offset` says is taken.
    fn after(&self, newest: u64, offset: Offset, raw: OwnedWord) -> Result<u64, Damage> {
        // Without this, who is sent to where sequences end would be sent there again.
        if newest >= SEQUENCE_MAX {
            return Err(Damage {
                offset,
                found: raw.0,
                expected: "a lap that sequences reach",
            });
        }
        Ok(newest + 1)
    }

    /// Writes what a reserved slot holds. `payload` is the message, or its pointer into the arena.
    #[inline(always)]
    pub fn fill(&self, reserved: Reserved, header: &SlotHeader, payload: &[u8]) {
        // The first line, which readers poll, comes last and all at once: each earlier touch would cost it another trip.
        let start = self.geo.slot(reserved.sequence);
        let (first, rest) = payload.split_at(payload.len().min(FIRST_LINE));
        self.mem
            .copy_in(start.plus(slot::PAYLOAD + FIRST_LINE as u64), rest);
        self.mem.copy_in(start.plus(slot::PAYLOAD), first);
        self.mem
            .copy_in(start.plus(slot::HEADER), header.as_bytes());
    }

    /// Makes a reserved and filled slot visible.
    ///
    /// # Errors
    /// `Fenced`: somebody took us for dead; the message is not in the queue.
    #[inline(always)]
    pub fn commit(&self, p: &mut Publisher, reserved: Reserved) -> Result<(), Stuck> {
        let Reserved { sequence, before } = reserved;
        let lap = self.geo.lap(sequence);
        let published = OwnedWord::slot(lap, p.owner, SlotState::Published).0;
        let word = self.slot_word(sequence);
        if p.sole {
            self.store_before_looking(word, published);
            let taken = OwnedWord::slot(lap, p.owner, SlotState::Taken);
            // ORDERING: Release; pairs with newest_taken's Acquire; follows the slot, so a death leaves nothing open; no
            // model: for a death in between, which loom takes in program order.
            self.reservation(sequence).store(taken.0, Ordering::Release);
            p.next = sequence + 1;
        } else if
        // ORDERING: SeqCst (Release part: header and payload); as for a sole producer; models
        // publish_claim, publish_long_claim, publish_then_sleep, commit_or_abort; no model: SeqCst is AcqRel to loom, and
        // nothing is acquired.
        !word.replace(before.0, published, Ordering::SeqCst) {
            return Err(Stuck::Fenced);
        }
        p.since_hint += 1;
        if p.since_hint >= self.hint_every {
            self.raise_tail(p);
        }
        Ok(())
    }

    /// Tells newcomers how far this producer knows the queue to be taken.
    #[inline(never)]
    pub fn raise_tail(&self, p: &mut Publisher) {
        p.since_hint = 0;
        // ORDERING: Release; pairs with tail_hint's Acquire; what is a lap below has been settled, and read; model
        // segment_behind_the_tail without take_slot's, refresh_limit's fence.
        self.word(control::TAIL).raise(p.next, Ordering::Release);
    }

    /// Finds out how far a producer may go: a lap beyond the lowest floor of the groups that gate. With no group, a lap
    /// beyond its own position.
    pub fn refresh_limit(&self, p: &mut Publisher) {
        // Bound: another turn only if a group came or went meanwhile; after 64 the old limit, which is lower, stays.
        for _ in 0..64 {
            // ORDERING: Acquire; pairs with bump_generation's Release; the states of the groups of this generation; model
            // leave_then_overwrite.
            let generation = self.word(control::GENERATION).load(Ordering::Acquire);
            if p.generation != Some(generation) {
                (p.shared, p.exclusive) = self.gating();
                p.generation = Some(generation);
                p.floors = [0; GROUPS_MAX as usize];
            }
            let mut lowest = None;
            for id in GroupId::in_mask(p.shared) {
                let floor = self.find_floor(p, id);
                lowest = Some(lowest.map_or(floor, |lowest: u64| lowest.min(floor)));
            }
            for id in GroupId::in_mask(p.exclusive) {
                let floor = self.floor(id);
                lowest = Some(lowest.map_or(floor, |lowest: u64| lowest.min(floor)));
            }
            let lowest = lowest.unwrap_or(p.next);
            // ORDERING: SeqCst fence; pairs with finish_group's; either the re-read below sees the new group, or that
            // group chooses its start after seeing the floors used here; model attach_against_cached_limit.
            fence(Ordering::SeqCst);
            // ORDERING: Relaxed; after the fence.
            if self.word(control::GENERATION).load(Ordering::Relaxed) == generation {
                p.lowest = lowest;
                p.limit = self.clamp_to_disk(lowest.saturating_add(self.geo.capacity()));
                return;
            }
        }
    }

    /// Makes the next refresh look at the group table itself: for a producer that has been stuck.
    pub fn forget_groups(&self, p: &mut Publisher) {
        p.generation = None;
    }

    fn find_floor(&self, p: &mut Publisher, id: GroupId) -> u64 {
        let Some(known) = p.floors.get_mut(usize::from(id.0)) else {
            return 0;
        };
        // All below is taken, so a lap below that is settled everywhere (I1).
        let settled = p.next.saturating_sub(self.geo.capacity());
        *known = self.settled_until(id, self.oldest_open(id).max(*known).max(settled));
        *known
    }

    /// Lossy queues: settles the oldest message of every group that holds this producer back, unless a consumer is
    /// working on it. For a slot those are the groups a lap behind; for a segment, those at the lowest floor. True if
    /// there may be room now.
    pub fn drop_oldest(&self, p: &mut Publisher, stuck: Stuck) -> bool {
        self.refresh_limit(p);
        let lowest = p.lowest;
        if stuck == Stuck::Full && p.room() > 0 {
            return true;
        }
        let oldest = GroupId::in_mask(p.shared)
            .map(|id| self.find_floor(p, id))
            .min();
        // Somebody has settled it meanwhile.
        let mut dropped = oldest.is_some_and(|oldest| oldest > lowest);
        for id in GroupId::in_mask(p.shared) {
            let oldest = p.floor_of(id);
            if oldest == lowest && oldest < p.next {
                if !self.drop_one(p, id, oldest) {
                    return false;
                }
                dropped = true;
            }
        }
        self.refresh_limit(p);
        dropped
    }

    /// False: somebody is working on it. True: dropped, or it was settled meanwhile, or somebody else was quicker.
    fn drop_one(&self, p: &Publisher, id: GroupId, oldest: u64) -> bool {
        match self.load_slot(oldest).1 {
            SlotView::Published => {}
            SlotView::Aborted | SlotView::Lapped { .. } => return true,
            SlotView::Empty | SlotView::Earlier(_) | SlotView::Unknown => return false,
        }
        let lap = self.geo.lap(oldest);
        let word = self.claim_word(id, oldest);
        // ORDERING: Relaxed; the CAS below says whether it still stands.
        let claim = ClaimWord(word.load(Ordering::Relaxed));
        match claim.state_in(lap) {
            Some(ClaimState::Never | ClaimState::Ready | ClaimState::Dead | ClaimState::Again) => {}
            Some(ClaimState::Done) | None => return true,
            Some(ClaimState::Claimed | ClaimState::Opened) => return false,
        }
        let done = ClaimWord::new(lap, claim.attempt(), p.owner, ClaimState::Done);
        // ORDERING: Relaxed; a CAS hands on to is_settled what givers-back released, and nobody else has read.
        if word.replace(claim.0, done.0, Ordering::Relaxed) {
            // ORDERING: Relaxed; a counter.
            self.group_word(id, group::LOST).add(1, Ordering::Relaxed);
        }
        true
    }
}
