//! Shared groups: ending a claim. Each is one CAS from exactly what the claim wrote, so a claim that was lost cannot
//! settle anything.

use super::{Cause, Claim, Ring};
use crate::layout::geometry::group;
use crate::layout::{ClaimState, ClaimWord, GroupId, OwnerId, ReadyHint};
use crate::sync::Ordering;

/// How a claim ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// Done with, for good (I5).
    Ack,
    /// Given back; the attempt counts.
    Nack,
    /// Given back as if never handed over. In a group with leases it counts all the same (`lease.rs`).
    Release,
    /// Parked: not handed over any more, and kept until somebody decides.
    Park(Cause),
}

impl Ring {
    /// Ends an opened claim. False: the claim was no longer `owner`'s.
    #[inline(always)]
    #[must_use = "a claim that was lost has settled nothing"]
    pub fn settle(&self, group: GroupId, owner: OwnerId, claim: Claim, how: Settle) -> bool {
        let lap = self.geo.lap(claim.sequence);
        let opened = ClaimWord::new(lap, claim.attempt, owner, ClaimState::Opened);
        let (attempt, state) = match how {
            Settle::Ack => (claim.attempt, ClaimState::Done),
            Settle::Nack => (claim.attempt, ClaimState::Ready),
            Settle::Release if self.has_leases(group) => (claim.attempt, ClaimState::Ready),
            Settle::Release => (claim.attempt.saturating_sub(1), ClaimState::Ready),
            Settle::Park(_) => (claim.attempt, ClaimState::Dead),
        };
        let signed = if let Settle::Park(cause) = how {
            cause.signature()
        } else {
            owner
        };
        let ended = ClaimWord::new(lap, attempt, signed, state);
        // ORDERING: SeqCst (Release part: our reads of the payload are over); pairs with floor's Acquire; SeqCst against
        // sleep::prepare by a producer; models ack_then_reuse, floor_by_two, segment_then_reuse, ack_then_sleep; no
        // model: SeqCst is AcqRel to loom, and nothing is acquired.
        let settled =
            self.claim_word(group, claim.sequence)
                .replace(opened.0, ended.0, Ordering::SeqCst);
        if settled && state == ClaimState::Ready {
            self.note_ready(group, claim.sequence);
        }
        settled
    }

    /// Gives back a claim of a batch that was never opened.
    pub fn unclaim(&self, group: GroupId, owner: OwnerId, claim: Claim) {
        let lap = self.geo.lap(claim.sequence);
        let claimed = ClaimWord::new(lap, claim.attempt, owner, ClaimState::Claimed);
        let state = if claim.again {
            ClaimState::Again
        } else {
            ClaimState::Ready
        };
        let ready = ClaimWord::new(lap, claim.attempt, owner, state);
        // ORDERING: SeqCst; as in settle, against a sleeping consumer; no model: SeqCst is AcqRel to loom, and a message not
        // yet opened carries nothing.
        if self
            .claim_word(group, claim.sequence)
            .replace(claimed.0, ready.0, Ordering::SeqCst)
        {
            self.note_ready(group, claim.sequence);
        }
    }

    /// Lets searchers find what was given back.
    #[inline(never)]
    pub fn note_ready(&self, group: GroupId, sequence: u64) {
        let word = self.group_word(group, group::READY);
        // ORDERING: Relaxed; the CAS below says whether it still stands.
        let mut found = word.load(Ordering::Relaxed);
        // Bound: each failure is another process' progress.
        while let Err(now) =
            // ORDERING: SeqCst (Release part: the claim word says Ready); pairs with claim_given_back's Acquire; SeqCst against
            // prepare, whose caller looks at this word; models nack_claim, nack_against_search, two_nacks; no model: SeqCst
            // is AcqRel to loom, and nothing is acquired.
            word.exchange(
                found,
                ReadyHint(found).lowered_to(sequence).0,
                Ordering::SeqCst,
            )
        {
            found = now;
        }
    }
}
