//! Leases: in a group with an ack time-out a claim lasts until a deadline, which its owner can move, and is then given
//! back by whoever looks. The clock is the caller's.
//!
//! The claim word stays the truth: a lease ends by the same CAS to `Ready` that a sweep does, so the owner's late ack
//! fails, and a late lease word changes nothing. A lease word names its claim by lap and attempt. One that speaks of
//! another claim was not written yet, since its owner is between its two steps, or paused there; who finds that starts
//! the lease for it. Extending and ending compete for the lease word, so an extension that succeeded holds.
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

impl Ring {
    fn lease_word(&self, group: GroupId, sequence: u64) -> Word<'_> {
        self.word(self.geo.lease(group, sequence))
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
        let lease = LeaseWord::new(deadline_ms, self.signed(owner, claim, state));
        // ORDERING: Release; pairs with expire's Acquire. If we were paused since the claim, it may have ended already: then
        // this speaks of no claim, and the claim word tells us.
        self.lease_word(id, claim.sequence)
            .store(lease.0, Ordering::Release);
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
        // Bound: each failure is another process' step, and those that look take two each.
        loop {
            // ORDERING: Acquire; pairs with expire's CAS; read before the claim, so that it speaks of that or is older.
            let found = LeaseWord(word.load(Ordering::Acquire));
            // ORDERING: Acquire; pairs with expire's CAS on the claim.
            let claimed = self.claim_word(id, claim.sequence).load(Ordering::Acquire);
            if claimed != mine.0 || found.deadline_of(mine) == Some(ENDED) {
                return false;
            }
            let lease = LeaseWord::new(deadline_ms, mine);
            // ORDERING: AcqRel; pairs with expire's Acquire. Who ends a lease changes this word first.
            if word.replace(found.0, lease.0, Ordering::AcqRel) {
                return true;
            }
        }
    }

    /// Whether an opened claim is still `owner`'s, after copying its bytes: if so, the copy is whole.
    pub fn still_holds(&self, id: GroupId, owner: OwnerId, claim: Claim) -> bool {
        // ORDERING: Acquire fence; pairs with reserve's Release fence: had a byte of a later lap been copied, the claim
        // word's change, which came before it, would show below.
        fence(Ordering::Acquire);
        // ORDERING: Relaxed; after the fence.
        self.claim_word(id, claim.sequence).load(Ordering::Relaxed)
            == self.signed(owner, claim, ClaimState::Opened).0
    }

    /// Gives back every claim of a group whose lease has ended. Returns how many.
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
        // ORDERING: Acquire; pairs with set_lease's Release.
        let lease = LeaseWord(lease_word.load(Ordering::Acquire));
        // ORDERING: Acquire; pairs with take's Release; read after the lease, so an older lease cannot end a newer claim.
        let claim = ClaimWord(word.load(Ordering::Acquire));
        if !matches!(
            claim.state_in(self.geo.lap(sequence)),
            Some(ClaimState::Claimed | ClaimState::Opened)
        ) {
            return false;
        }
        match lease.deadline_of(claim) {
            Some(deadline) if deadline > now_ms => false,
            Some(_) => {
                let ended = LeaseWord::new(ENDED, claim);
                // ORDERING: AcqRel; pairs with extend_lease's Acquire: its CAS or ours comes first, and the other fails.
                if !lease_word.replace(lease.0, ended.0, Ordering::AcqRel) {
                    return false;
                }
                // The attempt stays, as in a sweep.
                // ORDERING: AcqRel; pairs with claim_given_back's Acquire.
                let ended = word.replace(
                    claim.0,
                    claim.with_state(ClaimState::Ready).0,
                    Ordering::AcqRel,
                );
                if ended {
                    self.note_ready(id, sequence);
                }
                ended
            }
            None => {
                let begun = LeaseWord::new(now_ms.saturating_add(timeout), claim);
                // ORDERING: AcqRel; as in set_lease.
                let _its_owner_was_quicker = lease_word.replace(lease.0, begun.0, Ordering::AcqRel);
                false
            }
        }
    }
}
