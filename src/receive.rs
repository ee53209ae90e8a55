//! From a claim to a delivery: reading the message, counting it, burying what was delivered too often; and leases.

use std::time::Duration;

use zerocopy::IntoBytes;

use crate::consumer::{Consumer, Mode};
use crate::delivery::{Delivery, Received};
use crate::durable::NotSynced;
use crate::error::{AckError, ClaimError};
use crate::layout::geometry::{group, slot};
use crate::layout::{Offset, SegmentPointer, SlotHeader, durability};
use crate::ring::{Cause, Claim, Damage, Handed, Observed, Settle};
use crate::sync::Ordering;
use crate::sys;

impl Consumer {
    /// Makes a guard of an opened claim. `None`: it was not to be handed over, or has been lost meanwhile.
    #[inline(always)]
    pub(crate) fn deliver(&self, handed: Handed) -> Option<Result<Delivery<'_>, ClaimError>> {
        if self.is_plain(handed) {
            Some(self.deliver_in_place(handed))
        } else {
            self.deliver_or_bury(handed)
        }
    }

    /// Whether there is nothing to do but to hand over what stands in the queue.
    #[inline(always)]
    pub(crate) fn is_plain(&self, handed: Handed) -> bool {
        self.in_place && handed.claim.attempt <= self.last_attempt
    }

    /// What [`Self::deliver`] does with a plain one, made where the caller wants it: moving what was written just now stalls
    /// the processor.
    #[inline(always)]
    pub(crate) fn deliver_in_place(&self, handed: Handed) -> Result<Delivery<'_>, ClaimError> {
        match self.read(handed.claim.sequence) {
            Ok((header, bytes)) => Ok(self.hand_over(handed, Received::in_place(header, bytes))),
            Err(damage) => Err(self.skip(handed, damage)),
        }
    }

    #[inline(always)]
    fn hand_over<'c>(&'c self, handed: Handed, received: Received<'c>) -> Delivery<'c> {
        self.bump(|counts| {
            counts.delivered += 1;
            counts.redelivered += u64::from(handed.claim.attempt > 1);
        });
        Delivery::new(self, handed, received)
    }

    /// A damaged message is told once, and counted as lost: given back, it would come first for ever.
    #[cold]
    fn skip(&self, handed: Handed, damage: Damage) -> ClaimError {
        let _told = self.end(&handed, Some(Settle::Ack));
        let lost = self.ring().group_word(self.group, group::LOST);
        // ORDERING: Relaxed; a counter.
        lost.add(1, Ordering::Relaxed);
        ClaimError::Corrupt(damage.into())
    }

    /// In groups whose claims can be taken away, and for messages delivered too often.
    #[inline(never)]
    pub(crate) fn deliver_or_bury(
        &self,
        handed: Handed,
    ) -> Option<Result<Delivery<'_>, ClaimError>> {
        let received = match self.receive(handed) {
            Ok(received) => received?,
            Err(damage) => return Some(Err(self.skip(handed, damage))),
        };
        if handed.claim.attempt > self.last_attempt && !handed.claim.again {
            let deliveries = self.terms.max_deliveries;
            let _lost = self.bury(handed, &received, deliveries, Cause::TooManyDeliveries, "");
            return None;
        }
        Some(Ok(self.hand_over(handed, received)))
    }

    /// The message of an opened claim: in place, or, where the claim can be taken away, a copy. `None`: it was taken away.
    fn receive(&self, handed: Handed) -> Result<Option<Received<'_>>, Damage> {
        let Claim { sequence, .. } = handed.claim;
        if self.terms.ack_timeout_ms == 0 {
            let (header, bytes) = self.read_checked(sequence)?;
            return Ok(Some(Received::in_place(header, bytes)));
        }
        let mut copy = Vec::new();
        let seen = self.ring().copy_message(sequence, &mut copy);
        let me = self.attachment.me();
        if !self.ring().still_holds(self.group, me, handed.claim) {
            self.lose();
            return Ok(None);
        }
        match seen {
            Observed::Message(header) => {
                if self.attachment.verifies() {
                    self.check_sum(sequence, &header, &copy)?;
                }
                Ok(Some(Received::copied(header, copy)))
            }
            _ => Err(Damage {
                offset: self.ring().geometry().slot(sequence),
                found: sequence,
                expected: "a header and a pointer that make sense",
            }),
        }
    }

    #[inline]
    pub(crate) fn begin_lease(&self, claim: Claim, open: bool) {
        if self.terms.ack_timeout_ms > 0 {
            self.begin_lease_now(claim, open);
        }
    }

    #[inline(never)]
    fn begin_lease_now(&self, claim: Claim, open: bool) {
        let timeout = self.terms.ack_timeout_ms;
        let now = sys::monotonic_ms();
        let ring = self.ring();
        let deadline = now.saturating_add(timeout);
        ring.begin_lease(self.group, self.attachment.me(), claim, open, deadline);
        // Consumers that never wait have to look for the leases of others, too.
        if now.wrapping_sub(self.last_expiry.get()) >= (timeout / 8).max(1) {
            self.last_expiry.set(now);
            ring.expire(self.group, now);
        }
    }

    /// Waits until all that was settled is on the disk.
    pub(crate) fn sync(&self) -> Result<(), AckError> {
        let mut publisher = self.ring().publisher(self.attachment.me(), false);
        self.attachment
            .sync(&mut publisher)
            .map_err(|error| match error {
                NotSynced::NotDurable => AckError::NotDurable,
                NotSynced::Failed(errno) => AckError::SyncFailed { errno },
            })
    }

    /// Whether a claim is still this consumer's.
    pub(crate) fn stands(&self, handed: Handed) -> bool {
        let ring = self.ring();
        match &*self.mode.borrow() {
            Mode::Shared(_) => ring.still_holds(self.group, self.attachment.me(), handed.claim),
            Mode::Active(cursor) => ring.cursor_valid(cursor, handed),
            Mode::StandBy => false,
        }
    }

    /// Moves the end of a claim's lease to so long from now. Where claims have none, it only checks that it stands.
    pub(crate) fn extend(&self, handed: Handed, by: Duration) -> Result<(), AckError> {
        if self.attachment.is_forked() {
            return Err(AckError::Forked);
        }
        let stands = if self.terms.ack_timeout_ms == 0 {
            self.stands(handed)
        } else {
            let by = u64::try_from(by.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            let deadline = sys::monotonic_ms().saturating_add(by.max(1));
            self.ring()
                .extend_lease(self.group, self.attachment.me(), handed.claim, deadline)
        };
        let sequence = handed.claim.sequence;
        stands.then_some(()).ok_or(AckError::Stale { sequence })
    }

    fn read_checked(&self, sequence: u64) -> Result<(SlotHeader, &[u8]), Damage> {
        let (header, bytes) = self.read(sequence)?;
        if self.attachment.verifies() {
            self.check_sum(sequence, &header, bytes)?;
        }
        Ok((header, bytes))
    }

    /// Compares a message with its checksum.
    #[inline(never)]
    fn check_sum(&self, sequence: u64, header: &SlotHeader, bytes: &[u8]) -> Result<(), Damage> {
        let id = &self.attachment.verified().queue_id;
        let sum = durability::record_sum(durability::payload_sum(bytes), header, id, sequence);
        if sum == header.crc {
            return Ok(());
        }
        Err(Damage {
            offset: self.ring().geometry().slot(sequence).plus(slot::HEADER),
            found: header.crc.into(),
            expected: "the checksum of the message",
        })
    }

    #[inline(always)]
    fn read(&self, sequence: u64) -> Result<(SlotHeader, &[u8]), Damage> {
        let ring = self.ring();
        let (mem, geometry) = (ring.mem(), ring.geometry());
        let start = geometry.slot(sequence);
        let header = ring.header(sequence);
        let damage = |field, found, expected| Damage {
            offset: start.plus(field),
            found,
            expected,
        };
        if header.flags & SlotHeader::IN_ARENA == 0 {
            // Without this, a scribbled length would reach into the next slot.
            if u64::from(header.length) > geometry.inline_max() {
                return Err(damage(
                    slot::HEADER,
                    header.length.into(),
                    "a length that fits the slot",
                ));
            }
            return Ok((header, mem.view(start.plus(slot::PAYLOAD), header.length)));
        }
        let bytes = self.read_arena(start, header.length)?;
        Ok((header, bytes))
    }

    #[inline(never)]
    fn read_arena(&self, start: Offset, length: u32) -> Result<&[u8], Damage> {
        let ring = self.ring();
        let (mem, geometry) = (ring.mem(), ring.geometry());
        let mut pointer = SegmentPointer {
            offset: 0,
            emptied: 0,
        };
        mem.copy_out(start.plus(slot::PAYLOAD), pointer.as_mut_bytes());
        // Without this, a scribbled pointer would reach anywhere.
        if geometry.segment_at(pointer.offset, length.into()).is_none() {
            return Err(Damage {
                offset: start.plus(slot::PAYLOAD),
                found: pointer.offset,
                expected: "an offset of that many bytes in one segment",
            });
        }
        Ok(mem.view(Offset(pointer.offset), length))
    }
}
