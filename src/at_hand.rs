//! The way of most messages: claimed where the consumer stands, read where they lie, acked in turn.
//!
//! All of it is inlined where a user calls it, so that a delivery is made where it is wanted: what was written just now in
//! small pieces must not be moved in large ones (`docs/performance.md`). Whatever else can happen stands behind one call,
//! which does all of it anew.

use crate::consumer::{Consumer, Mode};
use crate::delivery::Delivery;
use crate::error::{AckError, ClaimError};
use crate::layout::EntryState;
use crate::participant::Futex;
use crate::ring::{Handed, Settle};

impl Consumer {
    /// The next message, if it is there and nothing is special about it. `None`: nothing has been done.
    #[inline(always)]
    pub(crate) fn receive_at_hand(&self) -> Option<Result<Delivery<'_>, ClaimError>> {
        if !self.in_place || self.attachment.is_forked() || !self.is_group_live() {
            return None;
        }
        let ring = self.ring();
        let handed = match &mut *self.mode.borrow_mut() {
            Mode::Shared(claimer) => {
                let claim = ring.claim_at_hand(claimer, true)?;
                Handed { claim, epoch: 0 }
            }
            Mode::Active(cursor) => ring.cursor_at_hand(cursor)?,
            Mode::StandBy => return None,
        };
        self.outstanding.set(self.outstanding.get() + 1);
        Some(self.deliver_in_place(handed))
    }

    #[inline(always)]
    pub(crate) fn is_group_live(&self) -> bool {
        self.ring().group_state(self.group).entry_state() == Some(EntryState::Live)
    }

    /// Acks a message.
    #[inline(always)]
    pub(crate) fn ack(&self, handed: Handed) -> Result<(), AckError> {
        if self.attachment.is_forked() || !self.ack_at_hand(handed) {
            return self.end(&handed, Some(Settle::Ack));
        }
        self.lose();
        self.ring()
            .wake_producer_after(self.group, handed.claim.sequence, &Futex);
        self.bump(|counts| counts.acked += 1);
        Ok(())
    }

    #[inline(always)]
    fn ack_at_hand(&self, handed: Handed) -> bool {
        let ring = self.ring();
        match &mut *self.mode.borrow_mut() {
            Mode::Shared(_) => {
                ring.settle(self.group, self.attachment.me(), handed.claim, Settle::Ack)
            }
            Mode::Active(cursor) => ring.cursor_ack_at_hand(cursor, handed.claim.sequence),
            Mode::StandBy => false,
        }
    }
}
