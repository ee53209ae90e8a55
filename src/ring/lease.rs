//! Leases: in a group with an ack time-out a claim lasts until a deadline, which its owner can move, and is then given
//! back by whoever looks. The clock is the caller's.
//!
//! The claim word stays the truth: a lease ends by the same CAS to `Ready` that a sweep does, so the owner's late ack
//! fails, and a late lease word changes nothing. A lease word names its claim by lap and attempt. One that speaks of
//! another claim was not written yet, since its owner is between its two steps, or paused there; who finds that starts
//! the lease for it. Extending and ending compete for the lease word, so an extension that succeeded holds.
//!
//! Ending a lease takes two steps, and who ends it may be paused between them for as long as it likes. So within a lap a
//! claim word never comes back once it has been `Opened`: here no attempt is taken back, not by a release, not by a
//! decision on a parked message, and none is counted twice (`Terms::last_attempt`). By that a late ack, too, is told from
//! that of a later claim. `Claimed` may come back; nobody looks at such a message yet, and its owner finds out.
//!
//! Only members end leases: they keep the group from being made anew under them.
//!
//! A revoked owner may still be looking at the message when its bytes are overwritten. So consumers of such groups work
//! on a copy, and believe it only if the claim stands after copying ([`Ring::still_holds`]).

use super::{Claim, Ring};
use crate::layout::geometry::group;
use crate::layout::{ClaimState, ClaimWord, GroupId, LeaseWord, OwnerId};
use crate::mem::Word;
use crate::sync::{Ordering, fence};

/// A deadline that has passed for good: the claim is about to be given back.
const ENDED: u64 = 0;

/// Until when a claim lasts, if that has begun. Where it is not open yet, an ended lease may be that of a claim before it, which
/// looked the same: only what is opened is counted.
fn deadline_of(lease: LeaseWord, claim: ClaimWord) -> Option<u64> {
    let deadline = lease.deadline_of(claim)?;
    (deadline != ENDED || claim.state() == Some(ClaimState::Opened)).then_some(deadline)
}

impl Ring {
    fn lease_word(&self, group: GroupId, sequence: u64) -> Word<'_> {
        self.word(self.geo.lease(group, sequence))
    }

    /// True for a group whose claims last until a deadline.
    pub fn has_leases(&self, id: GroupId) -> bool {
        self.terms(id).ack_timeout_ms > 0
    }

    fn signed(&self, owner: OwnerId, claim: Claim, state: ClaimState) -> ClaimWord {
        ClaimWord::new(self.geo.lap(claim.sequence), claim.attempt, owner, state)
    }

    /// Starts the lease of a claim just made; `open` says whether it is handed over already.
    pub fn begin_lease(
        &self,
        id: GroupId,
        owner: OwnerId,
        claim: Claim,
        open: bool,
        deadline_ms: u64,
    ) {
        let state = if open {
            ClaimState::Opened
        } else {
            ClaimState::Claimed
        };
        let mine = self.signed(owner, claim, state);
        let lease = LeaseWord::new(deadline_ms, mine);
        let word = self.lease_word(id, claim.sequence);
        // Bound: `turns`; each failure is another process' step, and those that look take two each.
        for _ in self.turns() {
            // ORDERING: Acquire; pairs with the CAS below; a later owner's lease shows its claim; model a_late_beginning.
            let found = LeaseWord(word.load(Ordering::Acquire));
            // If we were paused since the claim, its lease may have been begun for us and ended, or be another's.
            if deadline_of(found, mine) == Some(ENDED)
                // ORDERING: Relaxed; after the lease.
                || self.claim_word(id, claim.sequence).load(Ordering::Relaxed) != mine.0
                // ORDERING: Release; pairs with the loads of leases; our claim; model a_late_beginning.
                || word.replace(found.0, lease.0, Ordering::Release)
            {
                return;
            }
        }
    }

    /// Moves the lease of an opened claim. False: it has ended, or the claim is no longer `owner`'s.
    #[must_use = "a claim that was lost cannot be prolonged"]
    pub fn extend_lease(
        &self,
        id: GroupId,
        owner: OwnerId,
        claim: Claim,
        deadline_ms: u64,
    ) -> bool {
        let mine = self.signed(owner, claim, ClaimState::Opened);
        let word = self.lease_word(id, claim.sequence);
        // Bound: `turns`; each failure is another process' step, and those that look take two each.
        for _ in self.turns() {
            // ORDERING: Acquire; pairs with begin_lease's Release; a later owner's lease shows its claim; model
            // extend_or_claim_again.
            let found = LeaseWord(word.load(Ordering::Acquire));
            // ORDERING: Relaxed; after the lease.
            let claimed = self.claim_word(id, claim.sequence).load(Ordering::Relaxed);
            if claimed != mine.0 || found.deadline_of(mine) == Some(ENDED) {
                return false;
            }
            let lease = LeaseWord::new(deadline_ms, mine);
            // ORDERING: Relaxed; who ends a lease changes this word first: its CAS or ours fails.
            if word.replace(found.0, lease.0, Ordering::Relaxed) {
                return true;
            }
        }
        false
    }

    /// Whether an opened claim is still `owner`'s, after copying its bytes: if so, the copy is whole.
    pub fn still_holds(&self, id: GroupId, owner: OwnerId, claim: Claim) -> bool {
        // ORDERING: Acquire fence; pairs with take_slot's Release fence: had a byte of a later lap been copied, the claim
        // word's change, which came before it, would show below; model copy_of_a_late_holder.
        fence(Ordering::Acquire);
        // ORDERING: Relaxed; after the fence.
        self.claim_word(id, claim.sequence).load(Ordering::Relaxed)
            == self.signed(owner, claim, ClaimState::Opened).0
    }

    /// Gives back every claim of a group whose lease has ended. Returns how many. The caller is a member of the group.
    pub fn expire(&self, id: GroupId, now_ms: u64) -> u64 {
        let timeout = self.terms(id).ack_timeout_ms;
        if timeout == 0 {
            return 0;
        }
        let floor = self.first_open(id);
        let tail = self
            .true_tail()
            .min(floor.saturating_add(self.geo.capacity()));
        let expired = (floor..tail)
            .filter(|&sequence| self.expire_one(id, sequence, now_ms, timeout))
            .count() as u64;
        if expired > 0 {
            // ORDERING: Relaxed; a counter.
            self.group_word(id, group::EXPIRED)
                .add(expired, Ordering::Relaxed);
        }
        expired
    }

    fn expire_one(&self, id: GroupId, sequence: u64, now_ms: u64, timeout: u64) -> bool {
        let word = self.claim_word(id, sequence);
        let lease_word = self.lease_word(id, sequence);
        // ORDERING: Acquire; pairs with begin_lease's Release; a later claim's lease shows that claim; model
        // a_look_at_an_old_claim.
        let lease = LeaseWord(lease_word.load(Ordering::Acquire));
        // ORDERING: Relaxed; after the lease.
        let claim = ClaimWord(word.load(Ordering::Relaxed));
        if !matches!(
            claim.state_in(self.geo.lap(sequence)),
            Some(ClaimState::Claimed | ClaimState::Opened)
        ) {
            return false;
        }
        match deadline_of(lease, claim) {
            Some(deadline) if deadline > now_ms => false,
            Some(_) => {
                let ended = LeaseWord::new(ENDED, claim);
                // ORDERING: Relaxed; extend_lease's CAS or ours comes first, and the other fails.
                if !lease_word.replace(lease.0, ended.0, Ordering::Relaxed) {
                    return false;
                }
                // The attempt stays, as in a sweep.
                // ORDERING: Release; pairs with take's Acquire; the lease ends first; no model: for a death in between, which loom
                // takes in program order.
                let ended = word.replace(
                    claim.0,
                    claim.with_state(ClaimState::Ready).0,
                    Ordering::Release,
                );
                if ended {
                    self.note_ready(id, sequence);
                }
                ended
            }
            None => {
                let begun = LeaseWord::new(now_ms.saturating_add(timeout), claim);
                // ORDERING: Relaxed; it says nothing that its owner does not know.
                let _its_owner_was_quicker =
                    lease_word.replace(lease.0, begun.0, Ordering::Relaxed);
                false
            }
        }
    }
}
