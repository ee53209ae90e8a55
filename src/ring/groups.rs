//! Groups: making one so that no producer overwrites what it is going to read, and taking one away.
//!
//! Making: `Free -> Joining(me)`, clear the words, set a pin as floor; `-> Pinned(me)`, which gates; raise the generation;
//! full fence; only then choose the start; `-> Live(me)`. A producer with an older limit goes no further than a lap above
//! floors it read before its own fence, and the start chosen here is not below those.

use super::Ring;
use crate::layout::geometry::{control, group, participant};
use crate::layout::{ClaimState, ClaimWord, EntryState, GroupId, LeaseWord, OwnedWord, OwnerId};
use crate::sync::{Ordering, fence};

/// Where a new group starts to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the oldest message some other group has not settled; with no other group, as `Latest`.
    Earliest,
    /// At the next message published after the group exists.
    #[default]
    Latest,
    /// At this sequence, which must not be older than `Earliest` nor newer than `Latest`.
    At(u64),
}

/// What a group is made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// One consumer at a time, strict order.
    pub exclusive: bool,
    /// Vanishes with its last member.
    pub ephemeral: bool,
    /// Deliveries of a message before it is dead; 0: any number.
    pub max_deliveries: u8,
    /// How long a claim lasts, in ms; 0: as long as its owner lives.
    pub ack_timeout_ms: u64,
}

impl Terms {
    /// The attempt from which on a message is not handed over any more.
    #[must_use]
    pub fn last_attempt(&self) -> u8 {
        match self.max_deliveries {
            // The count stays at 255, and a claim counted twice could not be told from the one before (`lease.rs`).
            0 if self.ack_timeout_ms > 0 => u8::MAX - 1,
            0 => u8::MAX,
            most => most,
        }
    }
}

/// An entry this process is setting up.
#[derive(Clone, Copy, Debug)]
pub struct JoiningGroup {
    /// Which.
    pub id: GroupId,
    word: OwnedWord,
}

/// The sequences a group could have started at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfReach {
    /// The oldest.
    pub earliest: u64,
    /// The newest.
    pub latest: u64,
}

const EXCLUSIVE: u64 = 1;
const EPHEMERAL: u64 = 2;
/// Has had a member.
const JOINED: u64 = 4;

impl Ring {
    /// The state word of a group.
    #[inline]
    pub fn group_state(&self, id: GroupId) -> OwnedWord {
        // ORDERING: Acquire; pairs with finish_group's Release; everything else of the entry; model a_group_is_found_whole.
        OwnedWord(self.group_word(id, group::STATE).load(Ordering::Acquire))
    }

    /// True for an exclusive group.
    pub fn is_exclusive(&self, id: GroupId) -> bool {
        // ORDERING: Relaxed; written before the state that gates, which the caller has read with Acquire.
        self.group_word(id, group::FLAGS).load(Ordering::Relaxed) & EXCLUSIVE != 0
    }

    /// True for a group that vanishes with its last member.
    pub fn is_ephemeral(&self, id: GroupId) -> bool {
        // ORDERING: Relaxed; as above.
        self.group_word(id, group::FLAGS).load(Ordering::Relaxed) & EPHEMERAL != 0
    }

    /// Gives up a reserved entry.
    pub fn abandon_group(&self, joining: JoiningGroup) {
        self.free_group(joining.id, joining.word);
    }

    /// Reserves a free entry. The caller names it and goes on with [`Self::finish_group`]; one caller at a time, so that
    /// names stay unique.
    pub fn begin_group(&self, owner: OwnerId) -> Option<JoiningGroup> {
        self.geo.group_ids().find_map(|id| {
            let found = self.group_state(id);
            let word = OwnedWord::entry(found.tag() + 1, owner, EntryState::Joining);
            (found.entry_state() == Some(EntryState::Free)
                // ORDERING: Acquire; pairs with nothing that the state's load has not; what names us in the entry comes after;
                // no model: for a death in between, which loom takes in program order.
                && self.group_word(id, group::STATE).replace(found.0, word.0, Ordering::Acquire))
            .then_some(JoiningGroup { id, word })
        })
    }

    /// Sets up a reserved entry and puts it to use; returns where it starts.
    ///
    /// # Errors
    /// The chosen start cannot be had; the entry is free again.
    pub fn finish_group(
        &self,
        joining: JoiningGroup,
        terms: Terms,
        start: Start,
    ) -> Result<u64, OutOfReach> {
        self.finish_group_synced(joining, terms, start, || true)
            .map(|made| made.unwrap_or_default())
    }

    /// The same, putting it to use only when `sync` has made all of it stable: after a power loss a live group is a whole
    /// one. `None`: it could not, and the entry is free again.
    ///
    /// # Errors
    /// As there.
    pub fn finish_group_synced(
        &self,
        joining: JoiningGroup,
        terms: Terms,
        start: Start,
        sync: impl FnOnce() -> bool,
    ) -> Result<Option<u64>, OutOfReach> {
        let JoiningGroup { id, word } = joining;
        let set = |field, value| {
            // ORDERING: Relaxed; stands before the state. A producer that reads it earlier has acquired what other groups'
            // floors and the generation say, and those have not let it go further.
            self.group_word(id, field).store(value, Ordering::Relaxed);
        };
        self.set_up(id, terms);
        // Floors only grow, and one group is made at a time: no start chosen below lies under this pin.
        let (shared, exclusive) = self.gating();
        let floors = GroupId::in_mask(shared | exclusive).map(|other| self.floor(other));
        let pin = floors.chain([self.tail_hint()]).min().unwrap_or(0);
        for field in [group::FLOOR, group::HEAD, group::OPENED, group::START] {
            set(field, pin);
        }
        let pinned = word.with_state(EntryState::Pinned);
        // ORDERING: Release; pairs with group_state's Acquire; set up before it gates; no model: the generation carries the
        // same to producers.
        self.group_word(id, group::STATE)
            .store(pinned.0, Ordering::Release);
        self.bump_generation();
        // ORDERING: SeqCst fence; pairs with refresh_limit's; models attach_against_cached_limit, attach_earliest.
        fence(Ordering::SeqCst);

        let latest = self.true_tail();
        let (shared, exclusive) = self.gating();
        let shared = GroupId::in_mask(shared & !id.bit())
            .map(|other| self.settled_until(other, self.oldest_open(other)));
        let exclusive = GroupId::in_mask(exclusive & !id.bit()).map(|other| self.floor(other));
        let earliest = shared.chain(exclusive).min().unwrap_or(latest);
        let chosen = match start {
            Start::Earliest => earliest,
            Start::Latest => latest,
            Start::At(sequence) if (earliest..=latest).contains(&sequence) => sequence,
            Start::At(_) => {
                self.free_group(id, pinned);
                return Err(OutOfReach { earliest, latest });
            }
        };
        for field in [group::FLOOR, group::HEAD, group::OPENED, group::START] {
            set(field, chosen);
        }
        if !sync() {
            self.free_group(id, pinned);
            return Ok(None);
        }
        let live = word.with_state(EntryState::Live);
        // ORDERING: Release; pairs with group_state's Acquire; the start; model a_group_is_found_whole.
        self.group_word(id, group::STATE)
            .store(live.0, Ordering::Release);
        Ok(Some(chosen))
    }

    /// A new group's words, all but those that say where it starts.
    fn set_up(&self, id: GroupId, terms: Terms) {
        let set = |offset, value| {
            // ORDERING: Relaxed; stands before the state.
            self.word(offset).store(value, Ordering::Relaxed);
        };
        let no_lease = self.no_lease(terms, self.tail_hint());
        for sequence in 0..self.geo.capacity() {
            set(self.geo.claim(id, sequence), 0);
            set(self.geo.lease(id, sequence), no_lease.0);
        }
        let flags = if terms.exclusive { EXCLUSIVE } else { 0 }
            | if terms.ephemeral { EPHEMERAL } else { 0 };
        // ORDERING: Relaxed; nobody else uses the entry.
        let owner = OwnedWord(self.group_word(id, group::OWNER).load(Ordering::Relaxed));
        for (field, value) in [
            (group::READY, 0),
            (group::DELIVERED, 0),
            (group::REDELIVERED, 0),
            (group::ACKED, 0),
            (group::DEAD_LETTERED, 0),
            (group::EXPIRED, 0),
            (group::LOST, 0),
            (group::MAX_DELIVERIES, terms.max_deliveries.into()),
            (group::ACK_TIMEOUT, terms.ack_timeout_ms),
            (group::FLAGS, flags),
            (group::OWNER, owner.with_state(EntryState::Free).0),
        ] {
            set(self.geo.group(id).plus(field), value);
        }
    }

    /// What a lease word says when it speaks of no claim.
    fn no_lease(&self, terms: Terms, tail: u64) -> LeaseWord {
        if terms.ack_timeout_ms == 0 {
            return LeaseWord(0);
        }
        // Of zeros, it would speak of a claim in every 4096th lap; of laps long ago, of none to come.
        let long_ago = self.geo.lap(tail).wrapping_sub(2048);
        LeaseWord::new(
            0,
            ClaimWord::new(long_ago, 0, OwnerId(0), ClaimState::Never),
        )
    }

    /// No lease of before a reboot, and its clock, is believed.
    #[cfg(not(slipring_loom))]
    pub(super) fn clear_leases(&self, id: GroupId, tail: u64) {
        let no_lease = self.no_lease(self.terms(id), tail);
        for sequence in 0..self.geo.capacity() {
            // ORDERING: Relaxed; nobody else is attached.
            self.word(self.geo.lease(id, sequence))
                .store(no_lease.0, Ordering::Relaxed);
        }
    }

    /// What a group was made with.
    pub fn terms(&self, id: GroupId) -> Terms {
        // ORDERING: Relaxed; written before the state that gates, which the caller has read with Acquire.
        let word = |field| self.group_word(id, field).load(Ordering::Relaxed);
        Terms {
            exclusive: self.is_exclusive(id),
            ephemeral: self.is_ephemeral(id),
            max_deliveries: u8::try_from(word(group::MAX_DELIVERIES)).unwrap_or(0),
            ack_timeout_ms: word(group::ACK_TIMEOUT),
        }
    }

    pub(super) fn bump_generation(&self) {
        // ORDERING: Release; pairs with refresh_limit's Acquire; the state of the group that came or went; model
        // attach_earliest.
        self.word(control::GENERATION).add(1, Ordering::Release);
    }

    /// Says that participant `member` consumes in this group. False: the group is not, or no longer, in use.
    pub fn join_group(&self, id: GroupId, member: OwnerId) -> bool {
        let word = self.participant_word(member, participant::MEMBER_OF);
        // ORDERING: Relaxed; with the fence: either close_group's scan sees the bit, or we see Closing.
        word.set(id.bit(), Ordering::Relaxed);
        // ORDERING: SeqCst fence; pairs with has_members'; model close_or_join.
        fence(Ordering::SeqCst);
        if self.group_state(id).entry_state() == Some(EntryState::Live) {
            return true;
        }
        self.leave_group(id, member);
        false
    }

    /// Says that a member has come to stay: an ephemeral group that was joined is not kept for its maker any more.
    pub fn note_joined(&self, id: GroupId) {
        // ORDERING: Relaxed; who finds that the member has left finds this.
        self.group_word(id, group::FLAGS)
            .set(JOINED, Ordering::Relaxed);
    }

    /// Says that it no longer does. An ephemeral group without members is closed, a closing one without members freed.
    pub fn leave_group(&self, id: GroupId, member: OwnerId) {
        // ORDERING: Release; pairs with has_members' Acquire; our reads of the group's messages are over; model
        // overwritten_behind_a_reader without has_members's, reap_group's, refresh_limit's fence.
        self.participant_word(member, participant::MEMBER_OF)
            .clear(id.bit(), Ordering::Release);
        self.reap_group(id);
    }

    /// Closes an ephemeral group without members, unless its maker may still join it; frees a closing one without members.
    pub fn reap_group(&self, id: GroupId) {
        // ORDERING: SeqCst fence; pairs with has_members'; of a member that has gone and a closer, either that sees it gone,
        // or we, called after it went, see the group closing; models leave_then_free, sweep_or_close.
        fence(Ordering::SeqCst);
        let found = self.group_state(id);
        match found.entry_state() {
            Some(EntryState::Live) if self.is_ephemeral(id) && !self.has_members(id) => {
                // ORDERING: Relaxed; behind the members' words.
                let flags = self.group_word(id, group::FLAGS).load(Ordering::Relaxed);
                let maker = self.participant_state(found.owner()).entry_state();
                if flags & JOINED != 0 || maker != Some(EntryState::Live) {
                    self.close_group(id, found);
                }
            }
            Some(EntryState::Closing) if !self.has_members(id) => self.free_group(id, found),
            _ => {}
        }
    }

    /// Nothing is kept for `maker` any more, which leaves: whoever gets its number next would be taken for it.
    pub(super) fn disown_groups(&self, maker: OwnerId) {
        for id in self.geo.group_ids() {
            let found = self.group_state(id);
            if found.entry_state() == Some(EntryState::Live)
                && found.owner() == maker
                && self.is_ephemeral(id)
            {
                self.note_joined(id);
                self.reap_group(id);
            }
        }
    }

    /// The same for all groups, and producers look at the table anew: whoever should have done it may have died.
    pub fn reap_groups(&self) {
        for id in self.geo.group_ids() {
            self.reap_group(id);
        }
        // Always: who freed a group may have died before it said so.
        self.bump_generation();
    }

    /// Starts to delete a group; it gates until its last member has left. False: somebody else was quicker.
    pub fn close_group(&self, id: GroupId, found: OwnedWord) -> bool {
        let closing = found.with_state(EntryState::Closing);
        // ORDERING: Relaxed; with has_members' fence: a joiner sees Closing, or we see its bit.
        let closed = found.entry_state() == Some(EntryState::Live)
            && self
                .group_word(id, group::STATE)
                .replace(found.0, closing.0, Ordering::Relaxed);
        if closed && !self.has_members(id) {
            self.free_group(id, closing);
        }
        closed
    }

    fn has_members(&self, id: GroupId) -> bool {
        // ORDERING: SeqCst fence; pairs with join_group's and reap_group's; models close_or_join, leave_then_free.
        fence(Ordering::SeqCst);
        self.geo.participant_ids().any(|member| {
            // ORDERING: Acquire; pairs with leave_group's Release; their reads are over; model
            // overwritten_behind_a_reader without has_members's, reap_group's, refresh_limit's fence.
            self.participant_word(member, participant::MEMBER_OF)
                .load(Ordering::Acquire)
                & id.bit()
                != 0
        })
    }

    pub(super) fn free_group(&self, id: GroupId, found: OwnedWord) {
        let free = found.with_state(EntryState::Free);
        // ORDERING: Release; pairs with begin_group's Acquire; its last user's stores come before those of the next; no
        // model: loom keeps the stores to a word in the order it runs them.
        if self
            .group_word(id, group::STATE)
            .replace(found.0, free.0, Ordering::Release)
        {
            self.bump_generation();
        }
    }
}
