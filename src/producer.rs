//! Producers: publish by copy, or reserve, fill in place and commit.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::error::{AttachError, BatchError, PublishError, Rejected};
use crate::layout::OwnerId;
use crate::layout::header::FullPolicy;
use crate::message::Message;
use crate::participant::Attachment;
use crate::reservation::{Bytes, Reservation};
use crate::sender::Sender;
use crate::wait::{Attempt, Deadline, WaitStrategy};

/// Publishes messages. Made by [`Queue::producer`](crate::Queue::producer); each thread has its own.
///
/// A publish makes no system call unless it waits or somebody sleeps, allocates nothing and takes no lock.
///
/// # Crash safety
/// Killed at any instruction: the message is there whole, or not at all, and nobody else waits for it longer than it
/// takes to notice the death. A publish that returned is never lost, unless the queue drops its
/// oldest messages, or has no group.
#[derive(Debug)]
pub struct Producer {
    attachment: Arc<Attachment>,
    /// Padded: producers of several threads may lie side by side.
    sender: CachePadded<Sender>,
    scratch: Vec<u8>,
    sole: bool,
}

/// The sequences of a batch. Other producers' messages may lie between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How many messages.
    pub published: u64,
    /// Sequence of the first; `None` for an empty batch.
    pub first: Option<u64>,
    /// Sequence of the last.
    pub last: Option<u64>,
}

impl Producer {
    pub(crate) fn new(attachment: Arc<Attachment>) -> Result<Self, AttachError> {
        if attachment.is_forked() {
            return Err(AttachError::Forked);
        }
        let refused = |id| AttachError::SoleProducer {
            pid: attachment.pid_of(id),
        };
        or_sweep(&attachment, Attachment::add_producer).map_err(refused)?;
        Ok(Self::with(attachment, false))
    }

    pub(crate) fn sole(attachment: Arc<Attachment>) -> Result<Self, AttachError> {
        if attachment.is_forked() {
            return Err(AttachError::Forked);
        }
        let become_sole = |a: &Attachment| a.ring().become_sole(a.me());
        or_sweep(&attachment, become_sole).map_err(|id| AttachError::HasProducers {
            pid: attachment.pid_of(id),
        })?;
        Ok(Self::with(attachment, true))
    }

    fn with(attachment: Arc<Attachment>, sole: bool) -> Self {
        let sender = CachePadded::new(Sender::new(&attachment, sole));
        Self {
            attachment,
            sender,
            scratch: Vec::new(),
            sole,
        }
    }

    /// Whether there is a group that keeps what is published.
    pub(crate) fn has_readers(&self) -> bool {
        self.attachment.ring().gating() != (0, 0)
    }

    /// How this producer waits for room.
    #[must_use]
    pub fn wait_strategy(mut self, strategy: WaitStrategy) -> Self {
        self.sender.strategy = strategy;
        self
    }

    /// Publishes a message and returns its sequence. On a full queue it does what the queue was created with: waits,
    /// fails with `Full`, or drops the oldest message nobody is working on (and waits only if somebody is).
    ///
    /// # Errors
    /// [`PublishError::TooLong`]; `Full` on a rejecting queue; `Fenced`, `Corrupt`, `Forked`.
    ///
    /// # Examples
    /// ```
    /// # let queue = slipring::Queue::options().in_memory()?;
    /// let mut producer = queue.producer()?;
    /// let first = producer.publish("one")?;
    /// let second = producer.publish(b"two")?;
    /// assert!(second > first);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn publish<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<u64, PublishError> {
        let message = message.into();
        let sequence = match self.sender.send_at_hand(&self.attachment, &message) {
            Some(sent) => sent?,
            None => self.send_any(message)?,
        };
        self.sender.finish(&self.attachment, sequence)
    }

    #[inline(never)]
    fn send_any(&mut self, message: Message<'_>) -> Result<u64, PublishError> {
        let (sender, attachment) = (&mut *self.sender, &self.attachment);
        match sender.policy {
            FullPolicy::Reject => sender.send_now_any(attachment, &message),
            FullPolicy::Block | FullPolicy::DropOldest => {
                sender.send(attachment, &message, Deadline::NEVER)
            }
        }
    }

    /// Publishes a message, and returns when it is on the disk: it survives a power loss after that. While one process waits
    /// for the disk, all that others publish so waits for the next sync, and shares it. Consumers may get it before.
    ///
    /// # Errors
    /// [`PublishError::NotDurable`] in a queue made without durability; `SyncFailed`, which says whether the message is
    /// published; as [`Self::publish`].
    ///
    /// # Examples
    /// ```no_run
    /// use slipring::{Durability, Queue};
    /// # use std::time::Duration;
    /// let every = Duration::from_millis(100);
    /// let queue = Queue::options().durability(Durability::Interval(every)).create("/var/tmp/orders")?;
    /// let mut producer = queue.producer()?;
    /// producer.publish("on the disk about 100 ms later")?;
    /// producer.publish_durable("on the disk now, as is the one before")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_durable<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
    ) -> Result<u64, PublishError> {
        if !self.attachment.verified().durability.is_durable() {
            return Err(PublishError::NotDurable);
        }
        let sequence = self.publish(message)?;
        // Where every publish syncs, that was it.
        if !self.sender.syncs {
            self.sender.sync(&self.attachment, Some(sequence))?;
        }
        Ok(sequence)
    }

    /// Returns when all that was published before, by anybody, is on the disk.
    ///
    /// # Errors
    /// [`PublishError::NotDurable`] in a queue made without durability; `SyncFailed`, `Forked`.
    pub fn flush(&mut self) -> Result<(), PublishError> {
        self.sender.check(&self.attachment, 0)?;
        self.sender.sync(&self.attachment, None)
    }

    /// Publishes a message if there is room for it now, or hands it back. Never waits, but where the disk
    /// has to be waited for: for every message of a queue with [`Durability::Sync`](crate::Durability::Sync), and once in a
    /// while in one with an interval.
    ///
    /// # Errors
    /// The message, with the reason: as [`Self::publish`].
    ///
    /// # Examples
    /// ```
    /// # let queue = slipring::Queue::options().capacity(2).in_memory()?;
    /// let mut producer = queue.producer()?;
    /// producer.try_publish("one")?;
    /// producer.try_publish("two")?;
    /// let rejected = producer.try_publish("three").unwrap_err();
    /// assert_eq!(rejected.message.payload(), b"three");
    /// assert_eq!(rejected.reason, slipring::PublishError::Full);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn try_publish<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
    ) -> Result<u64, Rejected<Message<'m>>> {
        let message = message.into();
        let sent = self.sender.send_now(&self.attachment, &message);
        sent.and_then(|sequence| self.sender.finish(&self.attachment, sequence))
            .map_err(|reason| Rejected { message, reason })
    }

    /// Publishes a message, waiting for room so long at most, whatever the queue was created with.
    ///
    /// # Errors
    /// [`PublishError::TimedOut`], or as [`Self::publish`].
    #[inline]
    pub fn publish_timeout<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
        timeout: Duration,
    ) -> Result<u64, PublishError> {
        let message = message.into();
        let sequence = match self.sender.send_at_hand(&self.attachment, &message) {
            Some(sent) => sent?,
            None => self
                .sender
                .send(&self.attachment, &message, Deadline::after(timeout))?,
        };
        self.sender.finish(&self.attachment, sequence)
    }

    /// Publishes messages one after the other, and looks for sleeping consumers once. Waits for room if the queue blocks.
    ///
    /// # Errors
    /// How many are in, and why the next one is not: as [`Self::publish`].
    ///
    /// # Crash safety
    /// A batch is not one transaction: who dies in the middle has published its first part.
    ///
    /// # Examples
    /// ```
    /// # let queue = slipring::Queue::options().in_memory()?;
    /// let batch = queue.producer()?.publish_batch(["a", "b", "c"])?;
    /// assert_eq!(batch.published, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_batch<'m, M: Into<Message<'m>>>(
        &mut self,
        messages: impl IntoIterator<Item = M>,
    ) -> Result<Batch, BatchError> {
        let mut batch = Batch {
            published: 0,
            first: None,
            last: None,
        };
        for message in messages {
            let message = message.into();
            let mut sent = self.sender.send_now(&self.attachment, &message);
            if sent == Err(PublishError::Full) && self.sender.policy != FullPolicy::Reject {
                // Nobody makes room for us who has not been told of what is there.
                self.sender.announce(&self.attachment);
                sent = self
                    .sender
                    .send(&self.attachment, &message, Deadline::NEVER);
            }
            match sent {
                Ok(sequence) => {
                    batch.published += 1;
                    batch.first = batch.first.or(Some(sequence));
                    batch.last = Some(sequence);
                }
                Err(reason) => {
                    self.sender.announce(&self.attachment);
                    return Err(BatchError {
                        published: batch.published,
                        reason,
                    });
                }
            }
        }
        if let Some(last) = batch.last {
            let synced = self.sender.finish(&self.attachment, last);
            synced.map_err(|reason| BatchError {
                published: batch.published,
                reason,
            })?;
        }
        Ok(batch)
    }

    /// A buffer of `length` zero bytes to fill and commit. One that fits a slot is this producer's own memory; a longer
    /// one lies in the arena already, and is published without another copy.
    ///
    /// # Errors
    /// [`PublishError::TooLong`]; for the arena, what [`Self::publish`] says to a full queue.
    ///
    /// # Examples
    /// ```
    /// # let queue = slipring::Queue::options().in_memory()?;
    /// # let mut producer = queue.producer()?;
    /// let mut reservation = producer.reserve(4)?;
    /// reservation.copy_from_slice(b"fill");
    /// let sequence = reservation.commit()?;
    /// # assert_eq!(sequence, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reserve(&mut self, length: usize) -> Result<Reservation<'_>, PublishError> {
        let inline = self.attachment.ring().geometry().inline_max();
        if length as u64 > inline {
            let mut reservation = self.loan(length)?;
            reservation.fill(0);
            return Ok(reservation);
        }
        self.sender.check(&self.attachment, length)?;
        self.scratch.clear();
        self.scratch.resize(length, 0);
        Ok(Reservation {
            attachment: &self.attachment,
            sender: &mut self.sender,
            bytes: Bytes::Scratch(&mut self.scratch),
            kind: 0,
            key: 0,
        })
    }

    /// A buffer of `length` bytes in the arena, of whatever length and content: what is written there is published
    /// without being copied. Costs a cache line more on the way than a message in its slot.
    ///
    /// # Errors
    /// [`PublishError::TooLong`], also if the queue has no arena; what [`Self::publish`] says to a full queue.
    pub fn loan(&mut self, length: usize) -> Result<Reservation<'_>, PublishError> {
        self.sender.check(&self.attachment, length)?;
        let geometry = self.attachment.ring().geometry();
        if geometry.segment_count() == 0 {
            return Err(PublishError::TooLong {
                length: length as u64,
                max: 0,
            });
        }
        let held = match self.sender.policy {
            FullPolicy::Reject => {
                let held = self
                    .sender
                    .try_hold(&self.attachment, length, Attempt::Fresh);
                self.sender.after_refusal(&self.attachment, held)?
            }
            FullPolicy::Block | FullPolicy::DropOldest => {
                self.sender
                    .hold(&self.attachment, length, Deadline::NEVER)?
            }
        };
        self.sender.holding += 1;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let loan = self.attachment.ring().mem().loan(held.bytes, length);
        Ok(Reservation {
            attachment: &self.attachment,
            sender: &mut self.sender,
            bytes: Bytes::Arena(held, loan),
            kind: 0,
            key: 0,
        })
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.attachment.is_forked() {
            return;
        }
        if self.sender.holding > 0 {
            self.attachment.note_leak();
        }
        self.sender.count(&self.attachment);
        self.attachment
            .ring()
            .raise_tail(&mut self.sender.publisher);
        if self.sole {
            self.attachment.ring().end_sole(self.attachment.me());
        } else {
            self.attachment.remove_producer();
        }
    }
}

/// Tries; if a participant stands in the way that may be dead, sweeps and tries again.
fn or_sweep(
    attachment: &Attachment,
    attempt: impl Fn(&Attachment) -> Result<(), OwnerId>,
) -> Result<(), OwnerId> {
    attempt(attachment).or_else(|_| {
        attachment.sweep();
        attempt(attachment)
    })
}
