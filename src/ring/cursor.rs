//! Exclusive groups: one active consumer, strict order, no claim words on the way. The floor is the cursor.
//!
//! What the active consumer has handed over and not settled lies in `[floor, OPENED)`. A successor turns that range into
//! attempts in the claim words, so that a message that kills its consumer is counted. Beside that, claim words only hold
//! what was given back, and acks that came before those of older messages.

use super::held::Held;
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
    pub(super) position: u64,
    /// Everything below is settled.
    settled: u64,
    /// The shared floor, which only this consumer writes; reading it would fetch its line back from who waits for room.
    floor: u64,
    /// One past the highest sequence the shared OPENED word covers.
    opened: u64,
    /// Below this, a claim word may say something of a sequence.
    noted_until: u64,
    /// Sequences whose guard exists: their bytes are being looked at (I3).
    held: Held,
    /// Parked messages passed over. Somebody may decide on them.
    parked: Vec<u64>,
    /// Raised when order restarts from a message given back; guards of before are then stale.
    epoch: u64,
    /// Messages found without waiting for one.
    streak: u32,
    /// Where order restarted from, with the epoch that began so: older guards are good only below.
    restarts: Vec<(u64, u64)>,
}

/// A message handed over, and the epoch its guard belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed {
    /// Which, and how often.
    pub claim: Claim,
    /// Of the cursor.
    pub epoch: u64,
}

impl Ring {
    /// Becomes the active consumer of an exclusive group, if there is none.
    pub fn take_over(&self, id: GroupId, owner: OwnerId) -> Option<Cursor> {
        let word = self.group_word(id, group::OWNER);
        // ORDERING: Relaxed; the CAS below says whether it still stands.
        let found = OwnedWord(word.load(Ordering::Relaxed));
        if found.entry_state() != Some(EntryState::Free) {
            return None;
        }
        let mine = OwnedWord::entry(found.tag() + 1, owner, EntryState::Live);
        // ORDERING: Acquire; pairs with hand_over's Release; cursor and attempts of the one before; model
        // hand_over_to_stand_by.
        if !word.replace(found.0, mine.0, Ordering::Acquire) {
            return None;
        }
        let settled = self.floor(id);
        // ORDERING: Relaxed; behind the owner's word.
        let opened = self.group_word(id, group::OPENED).load(Ordering::Relaxed);
        // From the top, lowering OPENED as we go: dying here leaves the rest to the next successor.
        // Bound: a lap; what is open is above the floor.
        for sequence in (settled..opened.min(settled + self.geo.capacity())).rev() {
            let (attempts, state) = self.noted(id, sequence);
            // `Opened` is already counted, by a successor that died between this and lowering OPENED; or was parked, and given
            // back.
            if matches!(state, ClaimState::Never | ClaimState::Ready) {
                let counted = attempts.saturating_add(1);
                self.note(id, owner, sequence, counted, ClaimState::Opened);
            }
            // ORDERING: Release; pairs with the next successor's CAS; the attempt is counted first; no model: for a death in
            // between, which loom takes in program order.
            self.group_word(id, group::OPENED)
                .store(sequence, Ordering::Release);
        }
        Some(Cursor {
            group: id,
            owner,
            position: settled,
            settled,
            floor: settled,
            opened: settled,
            // What the one before gave back or acked early is noted too, as far as a lap.
            noted_until: settled + self.geo.capacity(),
            held: Held::default(),
            parked: Vec::new(),
            epoch: 0,
            streak: 0,
            restarts: Vec::new(),
        })
    }

    /// What a claim word says of a sequence: attempts so far, and `Ready` or `Done`; or `Never`.
    fn noted(&self, id: GroupId, sequence: u64) -> (u8, ClaimState) {
        // ORDERING: Acquire; pairs with decide's Release; who discarded a parked message has looked at it before; model
        // discard_in_order_then_reuse without refresh_limit's fence.
        let word = ClaimWord(self.claim_word(id, sequence).load(Ordering::Acquire));
        match word.state_in(self.geo.lap(sequence)) {
            Some(state) if state != ClaimState::Never => (word.attempt(), state),
            _ => (0, ClaimState::Never),
        }
    }

    fn note(&self, id: GroupId, owner: OwnerId, sequence: u64, attempts: u8, state: ClaimState) {
        let word = ClaimWord::new(self.geo.lap(sequence), attempts, owner, state);
        // ORDERING: Release; pairs with dead_at's Acquire; the note on a parked message; model a_parked_note_in_order.
        self.claim_word(id, sequence)
            .store(word.0, Ordering::Release);
    }

    /// Hands over the next message in order.
    ///
    /// # Errors
    /// The file holds what no code writes.
    #[inline(always)]
    pub fn cursor_next(&self, c: &mut Cursor) -> Result<Option<Handed>, Damage> {
        match self.cursor_at_hand(c) {
            Some(handed) => Ok(Some(handed)),
            None => self.cursor_search(c),
        }
    }

    /// The next message, if it is there and nothing is known of it.
    #[inline(always)]
    pub fn cursor_at_hand(&self, c: &mut Cursor) -> Option<Handed> {
        let sequence = c.position;
        if sequence < c.noted_until || !c.parked.is_empty() || !self.is_published(sequence) {
            return None;
        }
        self.expect_more(&mut c.streak, sequence);
        c.position = sequence + 1;
        Some(self.hand(c, sequence, 0))
    }

    /// Where there is nothing, or something was aborted, given back, parked or acked early.
    #[inline(never)]
    fn cursor_search(&self, c: &mut Cursor) -> Result<Option<Handed>, Damage> {
        if !c.parked.is_empty() {
            self.look_at_parked(c);
        }
        // Bound: `turns`; each returns or passes an aborted, acked or parked slot, a lap at most.
        for _ in self.turns() {
            let sequence = c.position;
            let (raw, view) = self.load_slot(sequence);
            match view {
                SlotView::Published => {
                    self.expect_more(&mut c.streak, sequence);
                    c.position = sequence + 1;
                    match self.noted_by_any(c, sequence) {
                        (_, ClaimState::Done) if c.settled == sequence => {
                            self.settle_until(c, sequence + 1);
                        }
                        (_, ClaimState::Done) => {}
                        (_, ClaimState::Dead) => self.pass_parked(c, sequence),
                        (attempts, state) => {
                            // From here on `Opened` would say that this hand-over is counted.
                            if state == ClaimState::Opened {
                                self.note(c.group, c.owner, sequence, attempts, ClaimState::Ready);
                            }
                            return Ok(Some(self.hand(c, sequence, attempts)));
                        }
                    }
                }
                SlotView::Aborted => {
                    c.position = sequence + 1;
                    if c.settled == sequence {
                        self.settle_until(c, sequence + 1);
                    }
                }
                SlotView::Empty | SlotView::Earlier(_) => {
                    c.streak = 0;
                    self.expect_message(sequence);
                    return Ok(None);
                }
                SlotView::Lapped { .. } | SlotView::Unknown => {
                    return Err(self.slot_damage(sequence, raw, "a lap the cursor has not passed"));
                }
            }
        }
        Ok(None)
    }

    fn pass_parked(&self, c: &mut Cursor, sequence: u64) {
        if !c.parked.contains(&sequence) {
            c.parked.push(sequence);
        }
    }

    /// Learns what somebody has decided on parked messages.
    fn look_at_parked(&self, c: &mut Cursor) {
        for sequence in std::mem::take(&mut c.parked) {
            match self.noted(c.group, sequence).1 {
                ClaimState::Dead => c.parked.push(sequence),
                ClaimState::Done if sequence == c.settled => self.settle_until(c, sequence + 1),
                ClaimState::Opened if sequence < c.position => self.rewind(c, sequence, 0),
                _ => {}
            }
        }
    }

    /// As [`Self::noted`], without looking where nothing can be.
    #[inline]
    fn noted_by_any(&self, c: &Cursor, sequence: u64) -> (u8, ClaimState) {
        if sequence < c.noted_until {
            self.noted(c.group, sequence)
        } else {
            (0, ClaimState::Never)
        }
    }

    #[inline(always)]
    fn hand(&self, c: &mut Cursor, sequence: u64, attempts: u8) -> Handed {
        if sequence >= c.opened {
            c.opened = sequence + 1;
            // ORDERING: Relaxed; a successor reads it behind the owner's word, or behind its lock.
            self.group_word(c.group, group::OPENED)
                .store(c.opened, Ordering::Relaxed);
        }
        c.held.insert(sequence);
        Handed {
            claim: Claim {
                again: false,
                sequence,
                attempt: attempts.saturating_add(1),
            },
            epoch: c.epoch,
        }
    }

    /// True if a guard can still settle.
    #[inline]
    #[must_use]
    pub fn cursor_valid(&self, c: &Cursor, handed: Handed) -> bool {
        let sequence = handed.claim.sequence;
        sequence >= c.settled
            && !matches!(
                self.noted_by_any(c, sequence).1,
                ClaimState::Done | ClaimState::Dead
            )
            && c.restarts
                .iter()
                .all(|&(epoch, from)| epoch <= handed.epoch || sequence < from)
    }

    /// Ends a guard, settling it so; `None`: leaves it to a later cumulative ack. False: it was stale. Its bytes may be
    /// overwritten once they are settled.
    #[inline(always)]
    pub fn cursor_end(&self, c: &mut Cursor, handed: Handed, how: Option<Settle>) -> bool {
        let acked =
            matches!(how, Some(Settle::Ack)) && self.cursor_ack_at_hand(c, handed.claim.sequence);
        acked || self.cursor_end_any(c, handed, how)
    }

    /// Acks the only message handed over and not settled, with nothing known of it or those behind it. False: it is not.
    #[inline(always)]
    #[must_use = "nothing has been done"]
    pub fn cursor_ack_at_hand(&self, c: &mut Cursor, sequence: u64) -> bool {
        let next = sequence + 1;
        let only = sequence == c.settled
            && next == c.position
            && sequence >= c.noted_until
            && c.restarts.is_empty()
            && c.held.remove_only(sequence);
        if only {
            (c.settled, c.floor) = (next, next);
            self.store_before_looking(self.group_word(c.group, group::FLOOR), next);
        }
        only
    }

    #[inline(never)]
    fn cursor_end_any(&self, c: &mut Cursor, handed: Handed, how: Option<Settle>) -> bool {
        let valid = self.cursor_valid(c, handed);
        self.unhold(c, handed);
        let Claim {
            sequence, attempt, ..
        } = handed.claim;
        match how.filter(|_| valid) {
            Some(Settle::Ack) if sequence == c.settled => self.settle_until(c, sequence + 1),
            Some(Settle::Ack) => {
                self.note(c.group, c.owner, sequence, attempt, ClaimState::Done);
                c.noted_until = c.noted_until.max(sequence + 1);
            }
            Some(Settle::Park(cause)) => {
                self.note(
                    c.group,
                    cause.signature(),
                    sequence,
                    attempt,
                    ClaimState::Dead,
                );
                c.noted_until = c.noted_until.max(sequence + 1);
                self.pass_parked(c, sequence);
            }
            Some(Settle::Nack) => self.rewind(c, sequence, attempt),
            Some(Settle::Release) => self.rewind(c, sequence, attempt.saturating_sub(1)),
            None => {}
        }
        self.store_floor(c);
        valid
    }

    /// Ends a guard, acking its message and everything before it. How many that are; `None`: it was stale.
    pub fn cursor_end_all(&self, c: &mut Cursor, handed: Handed) -> Option<u64> {
        let valid = self.cursor_valid(c, handed);
        self.unhold(c, handed);
        let sequence = handed.claim.sequence;
        let acked = valid.then(|| {
            // Nobody acks a parked message by acking a later one, not even if somebody has given it back meanwhile: the floor
            // stays below it.
            let open: Vec<u64> = (c.settled..=sequence)
                .filter(|s| !c.parked.contains(s) && self.is_open(c, *s))
                .collect();
            let parked = c
                .parked
                .iter()
                .copied()
                .filter(|&s| s >= c.settled && s <= sequence)
                .min();
            if let Some(parked) = parked {
                for &s in open.iter().filter(|&&s| s > parked) {
                    self.note(c.group, c.owner, s, 0, ClaimState::Done);
                }
                c.noted_until = c.noted_until.max(sequence + 1);
            }
            self.settle_until(c, parked.unwrap_or(sequence + 1));
            open.len() as u64
        });
        self.store_floor(c);
        acked
    }

    fn is_open(&self, c: &Cursor, sequence: u64) -> bool {
        let settled = matches!(
            self.noted_by_any(c, sequence).1,
            ClaimState::Done | ClaimState::Dead
        );
        !settled && !self.is_aborted(sequence)
    }

    fn unhold(&self, c: &mut Cursor, handed: Handed) {
        c.held.remove(handed.claim.sequence);
        if c.held.is_empty() {
            c.restarts.clear();
        }
    }

    fn settle_until(&self, c: &mut Cursor, sequence: u64) {
        let from = c.settled;
        c.settled = sequence;
        // Bound: a lap; nothing is noted, or aborted and passed, further ahead.
        while self.noted_by_any(c, c.settled).1 == ClaimState::Done
            || (c.settled < c.position && self.is_aborted(c.settled))
        {
            c.settled += 1;
        }
        // What was acked before order restarted may reach beyond the new position.
        c.position = c.position.max(c.settled);
        // The floor stays below an older guard; a successor is told what is settled above it.
        if let Some(held) = c.held.first() {
            for settled in from.max(held)..c.settled {
                self.note(c.group, c.owner, settled, 0, ClaimState::Done);
            }
            c.noted_until = c.noted_until.max(c.settled);
        }
        self.store_floor(c);
    }

    fn is_aborted(&self, sequence: u64) -> bool {
        self.load_slot(sequence).1 == SlotView::Aborted
    }

    fn store_floor(&self, c: &mut Cursor) {
        let first = c.held.first();
        let floor = first.map_or(c.settled, |held| held.min(c.settled));
        if c.floor < floor {
            c.floor = floor;
            self.store_before_looking(self.group_word(c.group, group::FLOOR), floor);
        }
    }

    /// Order restarts at `sequence`.
    fn rewind(&self, c: &mut Cursor, sequence: u64, attempts: u8) {
        self.note(c.group, c.owner, sequence, attempts, ClaimState::Ready);
        c.noted_until = c.noted_until.max(sequence + 1);
        c.position = sequence;
        c.opened = sequence;
        c.epoch += 1;
        // A lower restart outdoes the higher ones before it.
        c.restarts.retain(|&(_, from)| from < sequence);
        c.restarts.push((c.epoch, sequence));
        // ORDERING: Release; pairs with the successor's CAS; the attempt is noted first; no model: for a death in between, which loom takes in program order.
        self.group_word(c.group, group::OPENED)
            .store(sequence, Ordering::Release);
    }

    /// Steps down as the active consumer. What is open but not settled goes to the successor, not counted.
    pub fn hand_over(&self, c: &mut Cursor) {
        // Guards that were leaked cannot look at their bytes any more: they borrowed the consumer.
        c.held.clear();
        self.store_floor(c);
        // ORDERING: Relaxed; stands before the owner's word is free.
        self.group_word(c.group, group::OPENED)
            .store(c.settled, Ordering::Relaxed);
        let word = self.group_word(c.group, group::OWNER);
        // ORDERING: Relaxed; we wrote it.
        let found = OwnedWord(word.load(Ordering::Relaxed));
        if found.owner() == c.owner && found.entry_state() == Some(EntryState::Live) {
            // ORDERING: Release; pairs with take_over's Acquire; cursor and attempts; model hand_over_to_stand_by.
            let _swept = word.replace(
                found.0,
                found.with_state(EntryState::Free).0,
                Ordering::Release,
            );
        }
    }
}
