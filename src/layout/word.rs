//! The packed 64-bit words: who holds a thing, in which lap, in which state.
//!
//! Relies on the newtypes of `layout`; `ring` is the only user. No mask or shift stands anywhere else.
//!
//! * [`OwnedWord`] `{ tag:48, owner:12, state:4 }`: slots and reservations (the tag is the lap), participants, groups, segments, the sole
//!   producer and the owner of an exclusive group (the tag is an incarnation, raised at every change of hands).
//! * [`ClaimWord`] `{ lap:40, attempt:8, owner:12, state:4 }`: one per slot and group.
//! * [`LeaseWord`] `{ deadline:44, attempt:8, lap:12 }`: until when a claim lasts, in groups with an ack time-out.
//! * [`ReadyHint`] `{ sequence:47, some:1, version:16 }`: where the lowest given-back message of a group may be.
//!
//! Tags and laps wrap; they are compared by wrapped distance, never by magnitude. The numbers below are part of the
//! file format.

use super::OwnerId;

const STATE_BITS: u32 = 4;
const OWNER_BITS: u32 = 12;
const TAG_SHIFT: u32 = STATE_BITS + OWNER_BITS;
const ATTEMPT_BITS: u32 = 8;
const CLAIM_LAP_SHIFT: u32 = TAG_SHIFT + ATTEMPT_BITS;

/// Bits of the lap in a slot word.
pub const LAP_BITS: u32 = 64 - TAG_SHIFT;
/// Bits of the lap in a claim word.
pub const CLAIM_LAP_BITS: u32 = 64 - CLAIM_LAP_SHIFT;
/// Bits of the sequence in a ready hint.
pub const READY_BITS: u32 = 47;

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// `to - from` for counters of `bits` bits, as a signed distance: negative when `to` is behind.
#[inline]
#[must_use]
pub const fn wrapped_distance(to: u64, from: u64, bits: u32) -> i64 {
    // Shifting the difference to the top of the word makes its own top bit the sign.
    (to.wrapping_sub(from) << (64 - bits)).cast_signed() >> (64 - bits)
}

#[inline]
const fn owner_of(raw: u64) -> OwnerId {
    // The mask keeps 12 bits, so nothing is cut.
    #[expect(clippy::cast_possible_truncation, reason = "masked to 12 bits")]
    OwnerId(((raw >> STATE_BITS) & mask(OWNER_BITS)) as u16)
}

#[inline]
const fn state_of(raw: u64) -> u8 {
    #[expect(clippy::cast_possible_truncation, reason = "masked to 4 bits")]
    let state = (raw & mask(STATE_BITS)) as u8;
    state
}

/// State of a slot, or of its reservation, for the lap in the word.
///
/// | state | of | meaning | leaves by |
/// |---|---|---|---|
/// | `Empty` | both | fresh file | the first reservation, the first message |
/// | `Taken` | reservation | its owner fills the slot for this lap, or has done so | a producer's CAS, next lap, when every group's floor has passed |
/// | `Published` | slot | whole and visible | the commit, or abort, of the next lap |
/// | `Aborted` | slot | a hole that everybody skips | the same |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SlotState {
    /// Never written.
    Empty = 0,
    /// Reserved.
    Taken = 1,
    /// Holds a message.
    Published = 2,
    /// Holds nothing; its producer died.
    Aborted = 3,
}

/// State of a participant, group, segment, sole-producer or exclusive-owner word.
///
/// | word | `Free` | `Joining` | `Pinned` | `Live` | `Closing` |
/// |---|---|---|---|---|---|
/// | participant | unused | | | attached | |
/// | group | unused | being made by its owner, does not gate | gates at its pin, start not chosen | in use | being deleted, still gates |
/// | segment | empty | | | held by its owner | open: has room |
/// | sole producer, exclusive owner | nobody | | | held | |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryState {
    /// Unused.
    Free = 0,
    /// Being set up by its owner.
    Joining = 1,
    /// A group that already holds producers back, but has not chosen where to start.
    Pinned = 2,
    /// In use.
    Live = 3,
    /// A group being deleted; a segment nobody holds that still has room.
    Closing = 4,
}

/// `{ tag:48, owner:12, state:4 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedWord(pub u64);

impl OwnedWord {
    /// Packs a slot word. The lap keeps its low 48 bits.
    #[inline]
    #[must_use]
    pub const fn slot(lap: u64, owner: OwnerId, state: SlotState) -> Self {
        Self::pack(lap, owner, state as u8)
    }

    /// Packs an entry word. The incarnation keeps its low 48 bits.
    #[inline]
    #[must_use]
    pub const fn entry(incarnation: u64, owner: OwnerId, state: EntryState) -> Self {
        Self::pack(incarnation, owner, state as u8)
    }

    #[inline]
    const fn pack(tag: u64, owner: OwnerId, state: u8) -> Self {
        Self(
            (tag << TAG_SHIFT)
                | ((owner.0 as u64 & mask(OWNER_BITS)) << STATE_BITS)
                | (state as u64 & mask(STATE_BITS)),
        )
    }

    /// The lap or incarnation.
    #[inline]
    #[must_use]
    pub const fn tag(self) -> u64 {
        self.0 >> TAG_SHIFT
    }

    /// Who holds it.
    #[inline]
    #[must_use]
    pub const fn owner(self) -> OwnerId {
        owner_of(self.0)
    }

    /// The slot state, or `None` if the bits are not one (a scribbled file).
    #[inline]
    #[must_use]
    pub const fn slot_state(self) -> Option<SlotState> {
        match state_of(self.0) {
            0 => Some(SlotState::Empty),
            1 => Some(SlotState::Taken),
            2 => Some(SlotState::Published),
            3 => Some(SlotState::Aborted),
            _ => None,
        }
    }

    /// The entry state, or `None` if the bits are not one (a scribbled file).
    #[inline]
    #[must_use]
    pub const fn entry_state(self) -> Option<EntryState> {
        match state_of(self.0) {
            0 => Some(EntryState::Free),
            1 => Some(EntryState::Joining),
            2 => Some(EntryState::Pinned),
            3 => Some(EntryState::Live),
            4 => Some(EntryState::Closing),
            _ => None,
        }
    }

    /// The same word in another state.
    #[inline]
    #[must_use]
    pub const fn with_state(self, state: EntryState) -> Self {
        Self::pack(self.tag(), self.owner(), state as u8)
    }

    /// How many laps this word's lap is ahead of `lap` (negative: behind).
    #[inline]
    #[must_use]
    pub const fn laps_ahead_of(self, lap: u64) -> i64 {
        wrapped_distance(self.tag(), lap, LAP_BITS)
    }

    /// Whether it is a slot word of that lap and state, whoever holds it.
    #[inline]
    #[must_use]
    pub const fn is_slot(self, lap: u64, state: SlotState) -> bool {
        let owner = mask(OWNER_BITS) << STATE_BITS;
        self.0 & !owner == Self::slot(lap, OwnerId(0), state).0
    }
}

/// State of one group's claim on one slot, for the lap in its word. An older lap means *not yet claimed*.
///
/// | state | meaning | leaves by |
/// |---|---|---|
/// | `Never` | a new group's word | a consumer's CAS to `Claimed` or `Opened` |
/// | `Claimed` | held by its owner, handler not started | the owner's CAS to `Opened` or `Ready`; a sweeper's to `Ready` |
/// | `Opened` | the handler has it; the attempt counts | the owner's CAS to `Done`, `Dead` or `Ready`; a sweeper's to `Ready` |
/// | `Ready` | given back; goes out before newer ones | a consumer's CAS to `Claimed` or `Opened` |
/// | `Done` | acked, dead-lettered, or skipped | the next lap |
/// | `Dead` | parked: not given out any more, not gone either; the owner says why | a person's CAS to `Ready`, `Again` or `Done` |
/// | `Again` | as `Ready`, and handed over once more however often it has been (groups with leases) | as `Ready` |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ClaimState {
    /// Never claimed by this group.
    Never = 0,
    /// Taken in a batch, not yet handed over.
    Claimed = 1,
    /// Handed over.
    Opened = 2,
    /// Given back.
    Ready = 3,
    /// Settled for good.
    Done = 4,
    /// Parked until somebody decides.
    Dead = 5,
    /// Given back by that decision, in a group with leases: its count goes on.
    Again = 6,
}

/// `{ lap:40, attempt:8, owner:12, state:4 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimWord(pub u64);

impl ClaimWord {
    /// Packs a claim word. The lap keeps its low 40 bits.
    #[inline]
    #[must_use]
    pub const fn new(lap: u64, attempt: u8, owner: OwnerId, state: ClaimState) -> Self {
        Self(
            (lap << CLAIM_LAP_SHIFT)
                | ((attempt as u64) << TAG_SHIFT)
                | ((owner.0 as u64 & mask(OWNER_BITS)) << STATE_BITS)
                | (state as u64),
        )
    }

    /// The same word in another state.
    #[inline]
    #[must_use]
    pub const fn with_state(self, state: ClaimState) -> Self {
        Self(self.0 & !mask(STATE_BITS) | state as u64)
    }

    /// How many times a handler has been given the message. Stays at 255 once there.
    #[inline]
    #[must_use]
    pub const fn attempt(self) -> u8 {
        self.0.to_le_bytes()[2]
    }

    /// Who holds, or last held, the claim.
    #[inline]
    #[must_use]
    pub const fn owner(self) -> OwnerId {
        owner_of(self.0)
    }

    /// The state, or `None` if the bits are not one (a scribbled file).
    #[inline]
    #[must_use]
    pub const fn state(self) -> Option<ClaimState> {
        match state_of(self.0) {
            0 => Some(ClaimState::Never),
            1 => Some(ClaimState::Claimed),
            2 => Some(ClaimState::Opened),
            3 => Some(ClaimState::Ready),
            4 => Some(ClaimState::Done),
            5 => Some(ClaimState::Dead),
            6 => Some(ClaimState::Again),
            _ => None,
        }
    }

    /// How many laps this word's lap is ahead of `lap` (negative: behind).
    #[inline]
    #[must_use]
    pub const fn laps_ahead_of(self, lap: u64) -> i64 {
        wrapped_distance(self.0 >> CLAIM_LAP_SHIFT, lap, CLAIM_LAP_BITS)
    }

    /// Whether it is of that lap and state, whoever holds it and however often.
    #[inline]
    #[must_use]
    pub const fn is(self, lap: u64, state: ClaimState) -> bool {
        let others = mask(OWNER_BITS + ATTEMPT_BITS) << STATE_BITS;
        self.0 & !others == Self::new(lap, 0, OwnerId(0), state).0
    }

    /// The state in which this word stands for `lap`: an older lap is [`ClaimState::Never`].
    /// `None`: the word is of a later lap, or its bits are not a state.
    #[inline]
    #[must_use]
    pub const fn state_in(self, lap: u64) -> Option<ClaimState> {
        match (self.state(), self.laps_ahead_of(lap)) {
            (Some(ClaimState::Never), _) => Some(ClaimState::Never),
            (Some(state), 0) => Some(state),
            (Some(_), ahead) if ahead < 0 => Some(ClaimState::Never),
            _ => None,
        }
    }
}

/// `{ sequence:47, some:1, version:16 }`: the lowest sequence a group may have been given back, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyHint(pub u64);

impl ReadyHint {
    const VERSION_BITS: u32 = 16;

    /// Whether there is anything to look for.
    #[inline]
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 >> Self::VERSION_BITS & 1 == 1
    }

    /// The sequence, rebuilt from its low bits as the one nearest to `near`.
    #[inline]
    #[must_use]
    pub const fn sequence(self, near: u64) -> u64 {
        let distance = wrapped_distance(self.0 >> (Self::VERSION_BITS + 1), near, READY_BITS);
        near.wrapping_add_signed(distance)
    }

    /// Points to `sequence`, same version: what a searcher writes.
    #[inline]
    #[must_use]
    pub const fn raised_to(self, sequence: u64) -> Self {
        Self(sequence << (Self::VERSION_BITS + 1) | 1 << Self::VERSION_BITS | self.version())
    }

    /// Points nowhere, same version: what a searcher that found nothing writes.
    #[inline]
    #[must_use]
    pub const fn cleared(self) -> Self {
        Self(self.version())
    }

    /// Lowered to include `sequence`, next version: what a giver-back writes, so that no searcher that looked before
    /// can clear it.
    #[inline]
    #[must_use]
    pub const fn lowered_to(self, sequence: u64) -> Self {
        let lowest = if self.is_some() {
            let known = self.sequence(sequence);
            if known < sequence { known } else { sequence }
        } else {
            sequence
        };
        let version = (self.version() + 1) & mask(Self::VERSION_BITS);
        Self(lowest << (Self::VERSION_BITS + 1) | 1 << Self::VERSION_BITS | version)
    }

    const fn version(self) -> u64 {
        self.0 & mask(Self::VERSION_BITS)
    }
}

/// `{ deadline:44, attempt:8, lap:12 }`: one per slot and group, beside the claim word. It speaks of the claim with that
/// attempt and lap; of another one it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseWord(pub u64);

impl LeaseWord {
    const LAP_BITS: u32 = 12;
    const DEADLINE_SHIFT: u32 = Self::LAP_BITS + ATTEMPT_BITS;
    /// The latest deadline, in ms of the monotonic clock: 557 years.
    const LATEST: u64 = mask(64 - Self::DEADLINE_SHIFT);

    /// Packs the deadline, in ms of the monotonic clock, of a claim.
    #[must_use]
    pub const fn new(deadline_ms: u64, claim: ClaimWord) -> Self {
        let deadline = if deadline_ms < Self::LATEST {
            deadline_ms
        } else {
            Self::LATEST
        };
        Self(deadline << Self::DEADLINE_SHIFT | Self::binding(claim))
    }

    const fn binding(claim: ClaimWord) -> u64 {
        let lap = claim.0 >> CLAIM_LAP_SHIFT & mask(Self::LAP_BITS);
        (claim.attempt() as u64) << Self::LAP_BITS | lap
    }

    /// Until when `claim` lasts, if the word speaks of it.
    #[must_use]
    pub const fn deadline_of(self, claim: ClaimWord) -> Option<u64> {
        if self.0 & mask(Self::DEADLINE_SHIFT) == Self::binding(claim) {
            Some(self.0 >> Self::DEADLINE_SHIFT)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_word_keeps_its_fields() {
        let word = OwnedWord::slot(0x1234_5678_9abc, OwnerId(0xfed), SlotState::Published);
        assert_eq!(word.tag(), 0x1234_5678_9abc);
        assert_eq!(word.owner(), OwnerId(0xfed));
        assert_eq!(word.slot_state(), Some(SlotState::Published));
        assert_eq!(word.0, 0x1234_5678_9abc_fed2);
    }

    #[test]
    fn laps_are_compared_across_the_wrap() {
        let last = OwnedWord::slot(mask(LAP_BITS), OwnerId(0), SlotState::Published);
        assert_eq!(last.laps_ahead_of(mask(LAP_BITS) + 1), -1);
        assert_eq!(last.laps_ahead_of(mask(LAP_BITS) - 1), 1);
        let first = OwnedWord::slot(1 << LAP_BITS, OwnerId(0), SlotState::Published);
        assert_eq!(first.laps_ahead_of(mask(LAP_BITS)), 1);
    }

    #[test]
    fn a_claim_word_of_an_older_lap_counts_as_never_claimed() {
        let word = ClaimWord::new(7, 3, OwnerId(9), ClaimState::Done);
        assert_eq!(word.attempt(), 3);
        assert_eq!(word.owner(), OwnerId(9));
        assert_eq!(word.state_in(7), Some(ClaimState::Done));
        assert_eq!(word.state_in(8), Some(ClaimState::Never));
        assert_eq!(word.state_in(6), None);
        let wrapped = ClaimWord::new(mask(CLAIM_LAP_BITS), 1, OwnerId(0), ClaimState::Done);
        assert_eq!(
            wrapped.state_in(1 << CLAIM_LAP_BITS),
            Some(ClaimState::Never)
        );
    }

    #[test]
    fn a_lease_speaks_of_one_claim_only() {
        let claim = |lap, attempt| ClaimWord::new(lap, attempt, OwnerId(3), ClaimState::Opened);
        let lease = LeaseWord::new(123_456, claim(7, 2));
        assert_eq!(lease.deadline_of(claim(7, 2)), Some(123_456));
        assert_eq!(lease.deadline_of(claim(7, 3)), None);
        assert_eq!(lease.deadline_of(claim(8, 2)), None);
        let last = LeaseWord::new(u64::MAX, claim(7, 2));
        assert_eq!(last.deadline_of(claim(7, 2)), Some(LeaseWord::LATEST));
    }

    #[test]
    fn a_ready_hint_only_falls_for_givers_and_only_rises_for_searchers() {
        let none = ReadyHint(0);
        let ten = none.lowered_to(10);
        assert!(ten.is_some());
        assert_eq!(ten.sequence(12), 10);
        let still_ten = ten.lowered_to(11);
        assert_eq!(still_ten.sequence(12), 10);
        assert_ne!(
            still_ten, ten,
            "the version moves even when the sequence does not"
        );
        let cleared = still_ten.cleared();
        assert!(!cleared.is_some());
        assert_ne!(cleared, none);
        let far = none.lowered_to((1 << 60) + 5);
        assert_eq!(far.sequence((1 << 60) + 99), (1 << 60) + 5);
    }
}
