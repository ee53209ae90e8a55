//! Producers: publish by copy, or reserve, fill in place and commit.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use zerocopy::IntoBytes;

use crate::error::{AttachError, BatchError, PublishError, Rejected};
use crate::layout::geometry::participant;
use crate::layout::header::{FullPolicy, Timestamps};
use crate::layout::{OwnerId, SlotHeader};
use crate::message::Message;
use crate::participant::{Attachment, Futex};
use crate::reservation::{Bytes, Reservation};
use crate::ring::{Channel, HeldSegment, Publisher, Stuck};
use crate::sync::Ordering;
use crate::sys;
use crate::wait::{Attempt, Deadline, WaitStrategy, Waitable, wait};

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

/// What of a producer works on while a reservation borrows the rest.
#[derive(Debug)]
pub(crate) struct Sender {
    publisher: Publisher,
    strategy: WaitStrategy,
    pub(crate) policy: FullPolicy,
    timestamps: Timestamps,
    /// Published since the shared counter was last raised.
    uncounted: u64,
    /// Segments of reservations that exist.
    pub(crate) holding: u64,
}

/// Messages between two updates of the shared counter.
const COUNT_EVERY: u64 = 64;

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
        let publisher = attachment.ring().publisher(attachment.me(), sole);
        let verified = attachment.verified();
        let sender = CachePadded::new(Sender {
            publisher,
            strategy: WaitStrategy::default(),
            policy: verified.full_policy,
            timestamps: verified.timestamps,
            uncounted: 0,
            holding: 0,
        });
        Self {
            attachment,
            sender,
            scratch: Vec::new(),
            sole,
        }
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
    pub fn publish<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<u64, PublishError> {
        let message = message.into();
        let sequence = match self.sender.policy {
            FullPolicy::Reject => {
                self.sender
                    .try_send(&self.attachment, &message, Attempt::Fresh)?
            }
            FullPolicy::Block | FullPolicy::DropOldest => {
                self.sender
                    .send(&self.attachment, &message, Deadline::NEVER)?
            }
        };
        self.sender.announce(&self.attachment);
        Ok(sequence)
    }

    /// Publishes a message if there is room for it now, or hands it back. Never waits.
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
    pub fn try_publish<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
    ) -> Result<u64, Rejected<Message<'m>>> {
        let message = message.into();
        match self
            .sender
            .try_send(&self.attachment, &message, Attempt::Fresh)
        {
            Ok(sequence) => {
                self.sender.announce(&self.attachment);
                Ok(sequence)
            }
            Err(reason) => Err(Rejected { message, reason }),
        }
    }

    /// Publishes a message, waiting for room so long at most, whatever the queue was created with.
    ///
    /// # Errors
    /// [`PublishError::TimedOut`], or as [`Self::publish`].
    pub fn publish_timeout<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
        timeout: Duration,
    ) -> Result<u64, PublishError> {
        let sequence =
            self.sender
                .send(&self.attachment, &message.into(), Deadline::after(timeout))?;
        self.sender.announce(&self.attachment);
        Ok(sequence)
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
            let mut sent = self
                .sender
                .try_send(&self.attachment, &message, Attempt::Fresh);
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
        if batch.published > 0 {
            self.sender.announce(&self.attachment);
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
            FullPolicy::Reject => self
                .sender
                .try_hold(&self.attachment, length, Attempt::Fresh)?,
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

impl Sender {
    fn check(&self, attachment: &Attachment, length: usize) -> Result<(), PublishError> {
        if attachment.is_forked() {
            return Err(PublishError::Forked);
        }
        let (length, max) = (
            length as u64,
            attachment.ring().geometry().shape().max_message,
        );
        if length > max {
            Err(PublishError::TooLong { length, max })
        } else {
            Ok(())
        }
    }

    pub(crate) fn header(&self, length: usize, kind: u16, key: u32) -> SlotHeader {
        let timestamp = match self.timestamps {
            Timestamps::Off => 0,
            Timestamps::Coarse => sys::coarse_wall_ns(),
            Timestamps::Precise => sys::wall_ns(),
        };
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        SlotHeader {
            length,
            flags: 0,
            kind,
            crc: 0,
            key,
            timestamp,
        }
    }

    /// One try; on a lossy queue after dropping what may be dropped.
    pub(crate) fn try_send(
        &mut self,
        attachment: &Attachment,
        message: &Message<'_>,
        attempt: Attempt,
    ) -> Result<u64, PublishError> {
        self.check(attachment, message.len())?;
        let header = self.header(message.len(), message.kind, message.key);
        self.retry_dropping(attachment, attempt, |sender| {
            let ring = attachment.ring();
            if message.len() as u64 <= ring.geometry().inline_max() {
                return sender.place(attachment, &header, message.payload);
            }
            // Not worth composing if there is no slot for it.
            if sender.publisher.room() == 0 {
                ring.refresh_limit(&mut sender.publisher);
                if sender.publisher.room() == 0 {
                    return Err(Stuck::Full);
                }
            }
            let held = ring.hold_segment(&mut sender.publisher, message.len() as u64)?;
            ring.mem().copy_in(held.bytes, message.payload);
            let sent = sender.place_segment(attachment, &header, &held);
            ring.open_segment(&held);
            ring.wake_producer(&Futex);
            sent
        })
    }

    pub(crate) fn retry_dropping<T>(
        &mut self,
        attachment: &Attachment,
        attempt: Attempt,
        mut send: impl FnMut(&mut Self) -> Result<T, Stuck>,
    ) -> Result<T, PublishError> {
        if attempt == Attempt::Again {
            attachment.ring().forget_groups(&mut self.publisher);
        }
        // Bound: each turn drops a message of every group that is in the way; the arena may need a lap of them.
        for _ in 0..=attachment.ring().geometry().capacity() {
            match send(self) {
                Ok(sent) => return Ok(sent),
                Err(stuck @ (Stuck::Full | Stuck::ArenaFull)) => {
                    let lossy = self.policy == FullPolicy::DropOldest;
                    if !lossy || !attachment.ring().drop_oldest(&mut self.publisher, stuck) {
                        break;
                    }
                }
                Err(Stuck::Fenced) => return Err(PublishError::Fenced),
                Err(Stuck::Damage(damage)) => return Err(PublishError::Corrupt(damage.into())),
            }
        }
        Err(PublishError::Full)
    }

    /// Reserve, fill, commit: the tens of ns in which a slot is ours.
    #[inline]
    fn place(
        &mut self,
        attachment: &Attachment,
        header: &SlotHeader,
        payload: &[u8],
    ) -> Result<u64, Stuck> {
        let ring = attachment.ring();
        let reserved = ring.reserve(&mut self.publisher)?;
        ring.fill(reserved, header, payload);
        ring.commit(&mut self.publisher, reserved)?;
        self.uncounted += 1;
        Ok(reserved.sequence)
    }

    pub(crate) fn place_segment(
        &mut self,
        attachment: &Attachment,
        header: &SlotHeader,
        held: &HeldSegment,
    ) -> Result<u64, Stuck> {
        let ring = attachment.ring();
        let header = SlotHeader {
            flags: SlotHeader::IN_ARENA,
            ..*header
        };
        let reserved = ring.reserve(&mut self.publisher)?;
        ring.use_segment(held, reserved.sequence);
        ring.fill(reserved, &header, held.pointer().as_bytes());
        ring.commit(&mut self.publisher, reserved)?;
        self.uncounted += 1;
        Ok(reserved.sequence)
    }

    fn try_hold(
        &mut self,
        attachment: &Attachment,
        length: usize,
        attempt: Attempt,
    ) -> Result<HeldSegment, PublishError> {
        self.retry_dropping(attachment, attempt, |sender| {
            attachment
                .ring()
                .hold_segment(&mut sender.publisher, length as u64)
        })
    }

    fn hold(
        &mut self,
        attachment: &Attachment,
        length: usize,
        deadline: Deadline,
    ) -> Result<HeldSegment, PublishError> {
        self.wait_for_room(attachment, deadline, |sender, attempt| {
            sender.try_hold(attachment, length, attempt)
        })
    }

    pub(crate) fn send(
        &mut self,
        attachment: &Attachment,
        message: &Message<'_>,
        deadline: Deadline,
    ) -> Result<u64, PublishError> {
        self.wait_for_room(attachment, deadline, |sender, attempt| {
            sender.try_send(attachment, message, attempt)
        })
    }

    pub(crate) fn wait_for_room<T>(
        &mut self,
        attachment: &Attachment,
        deadline: Deadline,
        mut attempt: impl FnMut(&mut Self, Attempt) -> Result<T, PublishError>,
    ) -> Result<T, PublishError> {
        match attempt(self, Attempt::Fresh) {
            Err(PublishError::Full) => {}
            done => return done,
        }
        let strategy = self.strategy;
        let mut room = Room {
            sender: self,
            attempt,
        };
        match wait(attachment, strategy, deadline, &mut room)? {
            None => Err(PublishError::TimedOut),
            Some((sent, slept)) => {
                // We took some of the room we were woken for; another may take the rest.
                if slept && self.publisher.room() > 0 {
                    attachment.ring().wake_producer(&Futex);
                }
                Ok(sent)
            }
        }
    }

    /// After publishing: counts, and wakes who sleeps.
    #[inline]
    pub(crate) fn announce(&mut self, attachment: &Attachment) {
        if self.uncounted >= COUNT_EVERY {
            self.count(attachment);
        }
        attachment.ring().wake_consumers(&Futex);
    }

    fn count(&mut self, attachment: &Attachment) {
        let word = attachment
            .ring()
            .participant_word(attachment.me(), participant::PUBLISHED);
        // ORDERING: Relaxed; a counter.
        word.add(self.uncounted, Ordering::Relaxed);
        self.uncounted = 0;
    }
}

struct Room<'s, F> {
    sender: &'s mut Sender,
    attempt: F,
}

impl<T, F: FnMut(&mut Sender, Attempt) -> Result<T, PublishError>> Waitable for Room<'_, F> {
    type Output = T;
    type Error = PublishError;

    fn attempt(&mut self, attempt: Attempt) -> Result<Option<T>, PublishError> {
        match (self.attempt)(self.sender, attempt) {
            Ok(sent) => Ok(Some(sent)),
            Err(PublishError::Full) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn channel(&self) -> Channel {
        Channel::Space
    }
}
