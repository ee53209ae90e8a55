//! Participants: entries of attached processes, and who may produce.
//!
//! Whether a participant lives is the kernel's business (a lock on its byte of the file); what is here are only words.
//! A participant's entry is taken after its lock and freed before it, so a free lock means dead or unused.

use super::Ring;
use crate::layout::geometry::{control, participant};
use crate::layout::{EntryState, OwnedWord, OwnerId};
use crate::sync::{Ordering, fence};

impl Ring {
    /// The state word of a participant.
    pub fn participant_state(&self, id: OwnerId) -> OwnedWord {
        // ORDERING: Relaxed; who acts on it holds the lock, which carries the rest.
        OwnedWord(
            self.participant_word(id, participant::STATE)
                .load(Ordering::Relaxed),
        )
    }

    /// Takes a free entry. The caller holds its lock.
    pub fn join(&self, id: OwnerId) -> Option<OwnedWord> {
        let found = self.participant_state(id);
        let live = OwnedWord::entry(found.tag() + 1, id, EntryState::Live);
        (found.entry_state() == Some(EntryState::Free)
            // ORDERING: Acquire; pairs with leave's Release, as the lock does; no word names us before; no model: for a death
            // in between, which loom takes in program order.
            && self.participant_word(id, participant::STATE).replace(found.0, live.0, Ordering::Acquire))
        .then_some(live)
    }

    /// Frees an entry: its own, or, holding its lock, a dead one whose words are swept. The lock is let go after.
    pub fn leave(&self, id: OwnerId, found: OwnedWord) {
        for field in [
            participant::MEMBER_OF,
            participant::PRODUCES,
            participant::PUBLISHED,
        ] {
            // ORDERING: Release; pairs with become_sole's and has_members' Acquire; what it published and read; no model: who
            // leaves has said so before, for each producer and group.
            self.participant_word(id, field).store(0, Ordering::Release);
        }
        self.disown_groups(id);
        let free = found.with_state(EntryState::Free);
        // ORDERING: Release; pairs with join's Acquire, as the lock does; no word names the participant any more (I7); no
        // model: for a death in between, which loom takes in program order.
        let _other = self.participant_word(id, participant::STATE).replace(
            found.0,
            free.0,
            Ordering::Release,
        );
    }

    /// Says that `id` has ordinary producers, unless there is a sole one; then, who it is.
    ///
    /// # Errors
    /// The participant that is the sole producer.
    pub fn become_producer(&self, id: OwnerId) -> Result<(), OwnerId> {
        let word = self.participant_word(id, participant::PRODUCES);
        // ORDERING: Relaxed; with the fence: either the sole producer sees this, or we see it.
        word.store(1, Ordering::Relaxed);
        // ORDERING: SeqCst fence; pairs with become_sole's; model sole_or_ordinary.
        fence(Ordering::SeqCst);
        // ORDERING: Acquire; pairs with end_sole's Release; all it published; model an_ordinary_behind_a_dead_sole without
        // refresh_limit's fence.
        let sole = OwnedWord(self.word(control::SOLE).load(Ordering::Acquire));
        if sole.entry_state() == Some(EntryState::Free) {
            return Ok(());
        }
        self.stop_producing(id);
        Err(sole.owner())
    }

    /// Says that `id` no longer has ordinary producers.
    pub fn stop_producing(&self, id: OwnerId) {
        // ORDERING: Release; pairs with become_sole's Acquire; its publishes are over; model ordinary_then_sole without
        // take_slot's, refresh_limit's fence.
        self.participant_word(id, participant::PRODUCES)
            .store(0, Ordering::Release);
    }

    /// Makes `id` the sole producer, unless somebody produces; then, who.
    ///
    /// # Errors
    /// A participant that produces.
    pub fn become_sole(&self, id: OwnerId) -> Result<(), OwnerId> {
        let word = self.word(control::SOLE);
        // ORDERING: Relaxed; the CAS below says whether it still stands.
        let found = OwnedWord(word.load(Ordering::Relaxed));
        let mine = OwnedWord::entry(found.tag() + 1, id, EntryState::Live);
        if found.entry_state() != Some(EntryState::Free) {
            return Err(found.owner());
        }
        // ORDERING: Acquire; pairs with end_sole's Release; all the one before published; model sole_then_sole without
        // become_sole's, refresh_limit's fence.
        if !word.replace(found.0, mine.0, Ordering::Acquire) {
            // ORDERING: Relaxed; only names the winner.
            return Err(OwnedWord(word.load(Ordering::Relaxed)).owner());
        }
        // ORDERING: SeqCst fence; pairs with become_producer's; model sole_or_ordinary.
        fence(Ordering::SeqCst);
        let other = self.geo.participant_ids().find(|&other| {
            // ORDERING: Acquire; pairs with stop_producing's Release; all they published; model ordinary_then_sole without
            // refresh_limit's fence.
            self.participant_word(other, participant::PRODUCES)
                .load(Ordering::Acquire)
                != 0
        });
        match other {
            None => Ok(()),
            Some(other) => {
                self.end_sole(id);
                Err(other)
            }
        }
    }

    /// Lets others produce again, if `id` is the sole producer.
    pub fn end_sole(&self, id: OwnerId) {
        let word = self.word(control::SOLE);
        // ORDERING: Relaxed; our own word, or that of a dead one whose lock we hold.
        let found = OwnedWord(word.load(Ordering::Relaxed));
        if found.entry_state() == Some(EntryState::Live) && found.owner() == id {
            // ORDERING: Release; pairs with become_sole's and become_producer's Acquire; all it published; model
            // sole_then_sole without become_sole's, take_slot's, refresh_limit's fence.
            let _swept = word.replace(
                found.0,
                found.with_state(EntryState::Free).0,
                Ordering::Release,
            );
        }
    }
}
