//! Shared groups: a consumer takes messages in order, each with one CAS that also says who holds it.
//!
//! Three places are looked at, in this order: what was given back (the ready hint), slots that were still being written
//! when this consumer stepped over them (its own list), and the walk from its own position. The head hint never passes
//! a slot that somebody may still have to find.

use super::floor::SEQUENCE_MAX;
use super::{Damage, Ring, SlotView};
use crate::layout::geometry::group;
use crate::layout::{ClaimState, ClaimWord, GroupId, OwnerId, ReadyHint};
use crate::sync::Ordering;

/// Slots being written that one consumer steps over before it rather waits.
const HOLES_MAX: usize = 64;
/// Times in a row that a consumer finds itself overtaken by a lap before it calls that nothing.
const JUMPS_MAX: u32 = 16;
/// Polls in vain between two looks for messages behind more than one slot being written.
const POLLS_PER_LOOK: u32 = 1024;
/// Polls in vain between two glances at the next slot.
const POLLS_PER_PEEK: u32 = 8;

/// What one consumer of a shared group knows: its position, and what it has stepped over.
#[derive(Debug)]
pub struct Claimer {
    pub(super) group: GroupId,
    owner: OwnerId,
    pub(super) position: u64,
    pub(super) holes: Vec<u64>,
    since_hint: u64,
    /// Polls in vain.
    polls: u32,
    /// Messages found without waiting for one.
    streak: u32,
    /// How hard the claim under way looks.
    effort: Effort,
}

/// How hard to look behind slots that are being written. Reading what producers write takes it from them each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// One poll of many.
    Poll,
    /// Behind one such slot.
    Once,
    /// Behind any number: before sleeping.
    Thorough,
}

/// A claim: which message, and how often it has now been handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The message.
    pub sequence: u64,
    /// Hand-overs counted in the claim word.
    pub attempt: u8,
    /// Somebody has decided that it is handed over once more, however often it has been.
    pub again: bool,
}

impl Ring {
    /// A consumer of participant `owner` in a shared group.
    #[must_use]
    pub fn claimer(&self, group: GroupId, owner: OwnerId) -> Claimer {
        Claimer {
            group,
            owner,
            position: self.known_head(group),
            holes: Vec::with_capacity(HOLES_MAX),
            since_hint: 0,
            polls: 1,
            streak: 0,
            effort: Effort::Once,
        }
    }

    fn known_head(&self, group: GroupId) -> u64 {
        // ORDERING: Relaxed; a hint: what stands below it, slots and claim words say themselves.
        self.group_word(group, group::HEAD)
            .load(Ordering::Relaxed)
            .min(SEQUENCE_MAX)
            .max(self.floor(group))
    }

    /// Claims the oldest message there is. `open` hands it over at once and counts the attempt; else [`Self::open`]
    /// has to follow.
    ///
    /// # Errors
    /// The file holds what no code writes.
    #[inline(always)]
    pub fn claim(
        &self,
        c: &mut Claimer,
        open: bool,
        effort: Effort,
    ) -> Result<Option<Claim>, Damage> {
        match self.claim_at_hand(c, open) {
            Some(claim) => Ok(Some(claim)),
            None => self.claim_any(c, open, effort),
        }
    }

    /// The message at our position, never claimed before, where nothing comes before it.
    #[inline(always)]
    pub fn claim_at_hand(&self, c: &mut Claimer, open: bool) -> Option<Claim> {
        let sequence = c.position;
        // ORDERING: Relaxed; who searches reads it again.
        let hint = ReadyHint(
            self.group_word(c.group, group::READY)
                .load(Ordering::Relaxed),
        );
        if hint.is_some() || !c.holes.is_empty() || !self.is_published(sequence) {
            return None;
        }
        let claim = self.take_first(c, sequence, open)?;
        self.expect_more(&mut c.streak, sequence);
        c.position = sequence + 1;
        self.count_for_hints(c);
        Some(claim)
    }

    #[inline(never)]
    fn claim_any(
        &self,
        c: &mut Claimer,
        open: bool,
        effort: Effort,
    ) -> Result<Option<Claim>, Damage> {
        c.effort = effort;
        let claim = match self.claim_given_back(c, open)? {
            Some(claim) => Some(claim),
            None => match self.claim_hole(c, open) {
                Some(claim) => Some(claim),
                None => self.walk(c, open)?,
            },
        };
        if claim.is_some() {
            self.count_for_hints(c);
        }
        Ok(claim)
    }

    #[inline(always)]
    fn count_for_hints(&self, c: &mut Claimer) {
        c.since_hint += 1;
        if c.since_hint >= self.hint_every {
            self.raise_hints(c);
        }
    }

    #[inline(never)]
    fn raise_hints(&self, c: &mut Claimer) {
        c.since_hint = 0;
        let head = c
            .holes
            .iter()
            .copied()
            .min()
            .map_or(c.position, |hole| hole.min(c.position));
        self.raise_floor(c.group);
        // ORDERING: Relaxed; hint only.
        self.group_word(c.group, group::HEAD)
            .raise(head, Ordering::Relaxed);
    }

    fn claim_given_back(&self, c: &Claimer, open: bool) -> Result<Option<Claim>, Damage> {
        let word = self.group_word(c.group, group::READY);
        // ORDERING: Acquire; pairs with note_ready's Release; the word it points to says Ready; model nack_against_search.
        let hint = ReadyHint(word.load(Ordering::Acquire));
        if !hint.is_some() {
            return Ok(None);
        }
        self.search_given_back(c, open, hint)
    }

    #[inline(never)]
    fn search_given_back(
        &self,
        c: &Claimer,
        open: bool,
        hint: ReadyHint,
    ) -> Result<Option<Claim>, Damage> {
        let word = self.group_word(c.group, group::READY);
        let floor = self.raise_floor(c.group);
        let mut sequence = hint.sequence(floor).max(floor);
        // Bound: a lap above the floor; every turn passes a claimed or aborted slot.
        while sequence - floor < self.geo.capacity() {
            let (raw, view) = self.load_slot(sequence);
            match view {
                SlotView::Published => {
                    // ORDERING: Relaxed; taking it looks again.
                    let claim =
                        ClaimWord(self.claim_word(c.group, sequence).load(Ordering::Relaxed));
                    match claim.state_in(self.geo.lap(sequence)) {
                        Some(ClaimState::Ready | ClaimState::Again) => {
                            if let Some(claim) = self.take(c, sequence, open) {
                                // Whatever was given back below meanwhile has moved the version.
                                // ORDERING: Relaxed; a CAS hands on what the givers-back released.
                                let _raced = word.replace(
                                    hint.0,
                                    hint.raised_to(sequence + 1).0,
                                    Ordering::Relaxed,
                                );
                                return Ok(Some(claim));
                            }
                        }
                        // Never claimed: everything given back lies below, or its giver-back will say so.
                        Some(ClaimState::Never) => break,
                        _ => {}
                    }
                }
                SlotView::Aborted | SlotView::Lapped { .. } => {}
                SlotView::Empty | SlotView::Earlier(_) => {
                    if self.newest_taken(sequence).is_none() {
                        // ORDERING: Relaxed; as above.
                        let _raced = word.replace(hint.0, hint.cleared().0, Ordering::Relaxed);
                        return Ok(None);
                    }
                }
                SlotView::Unknown => return Err(self.slot_damage(sequence, raw, "a slot word")),
            }
            sequence += 1;
        }
        let raised = hint.raised_to(sequence);
        if raised != hint {
            // ORDERING: Relaxed; as above.
            let _raced = word.replace(hint.0, raised.0, Ordering::Relaxed);
        }
        Ok(None)
    }

    fn claim_hole(&self, c: &mut Claimer, open: bool) -> Option<Claim> {
        let mut at = 0;
        // Bound: the list; each turn goes on or shortens it.
        while let Some(&sequence) = c.holes.get(at) {
            match self.load_slot(sequence).1 {
                SlotView::Empty | SlotView::Earlier(_) => at += 1,
                SlotView::Published => {
                    c.holes.remove(at);
                    if let Some(claim) = self.take(c, sequence, open) {
                        return Some(claim);
                    }
                }
                _ => {
                    c.holes.remove(at);
                }
            }
        }
        None
    }

    /// Over slots that others have claimed, or that are being written, to the next message.
    fn walk(&self, c: &mut Claimer, open: bool) -> Result<Option<Claim>, Damage> {
        let mut jumps = 0;
        // Bound: `turns`; each returns, jumps or raises the position, which cannot get past the tail.
        for _ in self.turns() {
            let sequence = c.position;
            let (raw, view) = self.load_slot(sequence);
            match view {
                SlotView::Published => {
                    // Its producer may have published a slot we stepped over before it published this one.
                    if !c.holes.is_empty()
                        && let Some(claim) = self.claim_hole(c, open)
                    {
                        return Ok(Some(claim));
                    }
                    c.position += 1;
                    if let Some(claim) = self.take(c, sequence, open) {
                        self.expect_more(&mut c.streak, sequence);
                        return Ok(Some(claim));
                    }
                }
                SlotView::Aborted => c.position += 1,
                SlotView::Lapped { .. } => {
                    let head = self.known_head(c.group).max(self.raise_floor(c.group));
                    if head <= sequence {
                        return Err(self.slot_damage(
                            sequence,
                            raw,
                            "a lap the floor has not passed",
                        ));
                    }
                    c.position = head;
                    // Once, and again if the ring was filled between two loads.
                    jumps += 1;
                    if jumps > JUMPS_MAX {
                        return Ok(None);
                    }
                }
                SlotView::Empty | SlotView::Earlier(_) => {
                    c.streak = 0;
                    if c.holes.len() >= HOLES_MAX || !self.is_hole(c, sequence) {
                        self.expect_message(sequence);
                        return Ok(None);
                    }
                    c.holes.push(sequence);
                    c.position += 1;
                }
                SlotView::Unknown => return Err(self.slot_damage(sequence, raw, "a slot word")),
            }
        }
        Ok(None)
    }

    /// Whether there is, or may be, something behind a slot without a message. The reservation words would tell at once,
    /// but reading them at every poll would take them from the producers each time.
    fn is_hole(&self, c: &mut Claimer, sequence: u64) -> bool {
        let poll = c.polls;
        c.polls = poll.wrapping_add(1);
        if c.effort == Effort::Poll && !poll.is_multiple_of(POLLS_PER_PEEK) {
            return false;
        }
        let behind = self.load_slot(sequence + 1).1;
        let look = c.effort == Effort::Thorough || poll.is_multiple_of(POLLS_PER_LOOK);
        !matches!(behind, SlotView::Empty | SlotView::Earlier(_))
            || (look && self.newest_taken(sequence).is_some())
    }

    /// As [`Self::take`], of a message that nobody has claimed in its lap.
    #[inline(always)]
    fn take_first(&self, c: &Claimer, sequence: u64, open: bool) -> Option<Claim> {
        let lap = self.geo.lap(sequence);
        let word = self.claim_word(c.group, sequence);
        // ORDERING: Relaxed; the CAS below says whether it still stands.
        let found = ClaimWord(word.load(Ordering::Relaxed));
        if !found.is(lap - 1, ClaimState::Done) && found.state() != Some(ClaimState::Never) {
            return None;
        }
        let (attempt, state) = if open {
            (1, ClaimState::Opened)
        } else {
            (0, ClaimState::Claimed)
        };
        let mine = ClaimWord::new(lap, attempt, c.owner, state);
        // ORDERING: Relaxed; nobody has had the message before us.
        word.replace(found.0, mine.0, Ordering::Relaxed)
            .then_some(Claim {
                sequence,
                attempt,
                again: false,
            })
    }

    /// One CAS both takes the message and signs for it (I4).
    fn take(&self, c: &Claimer, sequence: u64, open: bool) -> Option<Claim> {
        let lap = self.geo.lap(sequence);
        let word = self.claim_word(c.group, sequence);
        // ORDERING: Relaxed; the CAS below says whether it still stands.
        let found = ClaimWord(word.load(Ordering::Relaxed));
        let state = found.state_in(lap)?;
        let before = match state {
            ClaimState::Never => 0,
            ClaimState::Ready | ClaimState::Again => found.attempt(),
            ClaimState::Claimed | ClaimState::Opened | ClaimState::Done | ClaimState::Dead => {
                return None;
            }
        };
        let again = state == ClaimState::Again;
        let (attempt, state) = if open {
            (before.saturating_add(1), ClaimState::Opened)
        } else {
            (before, ClaimState::Claimed)
        };
        let mine = ClaimWord::new(lap, attempt, c.owner, state);
        // ORDERING: Acquire; pairs with settle's Release; what the one before did with the message before it gave it back;
        // model redelivered_behind_a_nack.
        word.replace(found.0, mine.0, Ordering::Acquire)
            .then_some(Claim {
                sequence,
                attempt,
                again,
            })
    }

    /// Hands over a message of a batch: from here on the attempt counts. `None`: somebody took us for dead.
    #[inline(always)]
    pub fn open(&self, c: &Claimer, claim: Claim) -> Option<Claim> {
        let lap = self.geo.lap(claim.sequence);
        let attempt = claim.attempt.saturating_add(1);
        let claimed = ClaimWord::new(lap, claim.attempt, c.owner, ClaimState::Claimed);
        let opened = ClaimWord::new(lap, attempt, c.owner, ClaimState::Opened);
        // ORDERING: Acquire; pairs with nothing; the handler runs after the count; no model: for a death in between, which
        // loom takes in program order.
        self.claim_word(c.group, claim.sequence)
            .replace(claimed.0, opened.0, Ordering::Acquire)
            .then_some(Claim { attempt, ..claim })
    }

    /// Looks for given-back messages from the floor on, whatever the hint says: for a consumer that has waited in vain.
    pub fn look_again(&self, group: GroupId) {
        self.note_ready(group, self.floor(group));
    }
}
