//! Reservations: messages filled in place and then committed.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::error::{PublishError, Rejected};
use crate::layout::header::FullPolicy;
use crate::mem::Loan;
use crate::message::Message;
use crate::participant::{Attachment, Futex};
use crate::ring::HeldSegment;
use crate::sender::Sender;
use crate::wait::{Attempt, Deadline};

/// Where the bytes are meanwhile.
pub(crate) enum Bytes<'p> {
    Scratch(&'p mut Vec<u8>),
    Arena(HeldSegment, Loan<'p>),
}

/// A message being made: derefs to its bytes. Nothing is published until [`commit`](Self::commit); dropped, it never was.
///
/// # Crash safety
/// No slot of the queue is held meanwhile: dying, or thinking for long, with a reservation costs nobody anything but a
/// segment of the arena, which is freed at death.
#[must_use = "a reservation that is dropped is not published"]
pub struct Reservation<'p> {
    pub(crate) attachment: &'p Attachment,
    pub(crate) sender: &'p mut Sender,
    pub(crate) bytes: Bytes<'p>,
    pub(crate) kind: u16,
    pub(crate) key: u32,
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("length", &self.len())
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Reservation<'_> {
    /// Tags it: [`Message::kind`].
    pub fn kind(mut self, kind: u16) -> Self {
        self.kind = kind;
        self
    }

    /// Tags it: [`Message::key`].
    pub fn key(mut self, key: u32) -> Self {
        self.key = key;
        self
    }

    /// Publishes it and returns its sequence. On a full queue as [`Producer::publish`](crate::Producer::publish); if that fails, what was filled in
    /// is gone: where it must not be, use [`Self::try_commit`].
    ///
    /// # Errors
    /// As [`Producer::publish`](crate::Producer::publish).
    pub fn commit(mut self) -> Result<u64, PublishError> {
        let wait = self.sender.policy != FullPolicy::Reject;
        self.send(wait)
    }

    /// Publishes it if there is room now, or hands it back. Never waits.
    ///
    /// # Errors
    /// The reservation, with the reason.
    #[expect(
        clippy::result_large_err,
        reason = "handing the reservation back is the point"
    )]
    pub fn try_commit(mut self) -> Result<u64, Rejected<Self>> {
        self.send(false).map_err(|reason| Rejected {
            message: self,
            reason,
        })
    }

    fn send(&mut self, wait: bool) -> Result<u64, PublishError> {
        let Self {
            attachment,
            sender,
            bytes,
            kind,
            key,
        } = self;
        let sent = match bytes {
            Bytes::Scratch(scratch) => {
                let message = Message {
                    payload: scratch,
                    kind: *kind,
                    key: *key,
                    flags: 0,
                };
                if wait {
                    sender.send(attachment, &message, Deadline::NEVER)
                } else {
                    sender.send_now(attachment, &message)
                }
            }
            Bytes::Arena(held, loan) => {
                let header = sender.header(loan.len(), *kind, *key);
                let sum = sender.payload_sum(loan);
                let attempt = |sender: &mut Sender, attempt| {
                    sender.retry_dropping(attachment, attempt, |sender| {
                        sender.place_segment(attachment, &header, held, sum)
                    })
                };
                if attachment.is_forked() {
                    Err(PublishError::Forked)
                } else if wait {
                    sender.wait_for_room(attachment, Deadline::NEVER, attempt)
                } else {
                    let sent = attempt(sender, Attempt::Fresh);
                    sender.after_refusal(attachment, sent)
                }
            }
        };
        let sequence = sent?;
        sender.finish(attachment, sequence)
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Scratch(scratch) => scratch,
            Bytes::Arena(_, loan) => loan,
        }
    }
}

impl DerefMut for Reservation<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.bytes {
            Bytes::Scratch(scratch) => scratch,
            Bytes::Arena(_, loan) => loan,
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let Bytes::Arena(held, _) = &self.bytes
            && !self.attachment.is_forked()
        {
            self.attachment.ring().open_segment(held);
            self.attachment.ring().wake_producer(&Futex);
            self.sender.holding -= 1;
        }
    }
}
