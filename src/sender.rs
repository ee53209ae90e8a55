//! The part of a producer that sends: one try, or waiting for room, and telling consumers afterwards.
//!
//! Apart from `producer`, since a reservation works with it while it borrows the rest.

use zerocopy::IntoBytes;

use crate::durable::NotSynced;
use crate::error::PublishError;
use crate::layout::geometry::participant;
use crate::layout::header::{FullPolicy, Timestamps};
use crate::layout::{Durability, OwnerId, SlotHeader, durability};
use crate::message::Message;
use crate::participant::{Attachment, Futex, VAIN_PER_PROBE};
use crate::ring::{Channel, HeldSegment, Publisher, Ring, Stuck};
use crate::sync::Ordering;
use crate::sys;
use crate::wait::{Attempt, Deadline, WaitStrategy, Waitable, wait};

/// What of a producer works on while a reservation borrows the rest.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) publisher: Publisher,
    pub(crate) strategy: WaitStrategy,
    pub(crate) policy: FullPolicy,
    timestamps: Timestamps,
    /// Of a queue with durability.
    durable: bool,
    /// Each publish waits for the disk.
    pub(crate) syncs: bool,
    /// Each message has a checksum.
    checksums: bool,
    /// Longest message that lies in its slot.
    short_max: u64,
    /// Published since the shared counter was last raised.
    uncounted: u64,
    /// Segments of reservations that exist.
    pub(crate) holding: u64,
    /// Refusals for want of room, by attempts that do not wait.
    refusals: u32,
}

/// Messages between two updates of the shared counter.
const COUNT_EVERY: u64 = 64;

impl Sender {
    pub(crate) fn new(attachment: &Attachment, sole: bool) -> Self {
        let verified = attachment.verified();
        let geometry = attachment.ring().geometry();
        Self {
            publisher: attachment.ring().publisher(attachment.me(), sole),
            strategy: WaitStrategy::default(),
            policy: verified.full_policy,
            timestamps: verified.timestamps,
            durable: verified.durability.is_durable(),
            syncs: verified.durability == Durability::Sync,
            checksums: verified.checksums,
            short_max: geometry.inline_max().min(geometry.shape().max_message),
            uncounted: 0,
            holding: 0,
            refusals: 0,
        }
    }

    pub(crate) fn check(&self, attachment: &Attachment, length: usize) -> Result<(), PublishError> {
        if attachment.is_forked() {
            return Err(PublishError::Forked);
        }
        if self.durable {
            attachment
                .ring()
                .check_poison()
                .map_err(|poisoned| not_synced(poisoned.into(), None))?;
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

    #[inline(always)]
    pub(crate) fn header(&self, length: usize, kind: u16, key: u32) -> SlotHeader {
        let timestamp = match self.timestamps {
            Timestamps::Off => 0,
            taken => timestamp(taken),
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
        let header = SlotHeader {
            flags: message.flags,
            ..self.header(message.len(), message.kind, message.key)
        };
        self.retry_dropping(attachment, attempt, |sender| {
            let ring = attachment.ring();
            if message.len() as u64 <= ring.geometry().inline_max() {
                return sender.place(attachment, &header, message.payload);
            }
            // Not worth composing if there is no slot for it.
            if sender.publisher.room() == 0 {
                ring.refresh_limit(&mut sender.publisher);
                if sender.publisher.room() == 0 {
                    return Err(ring.why_stuck(&sender.publisher));
                }
            }
            let held = ring.hold_segment(&mut sender.publisher, message.len() as u64)?;
            ring.mem().copy_in(held.bytes, message.payload);
            let sum = sender.payload_sum(message.payload);
            let sent = sender.place_segment(attachment, &header, &held, sum);
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
                // Nothing is in the way but the disk.
                Err(Stuck::Unsynced) => attachment
                    .sync(&mut self.publisher)
                    .map_err(|error| not_synced(error, None))?,
                Err(Stuck::Fenced) => return Err(PublishError::Fenced),
                Err(Stuck::Damage(damage)) => return Err(PublishError::Corrupt(damage.into())),
            }
        }
        Err(PublishError::Full)
    }

    /// One try of somebody who does not wait.
    #[inline(always)]
    pub(crate) fn send_now(
        &mut self,
        attachment: &Attachment,
        message: &Message<'_>,
    ) -> Result<u64, PublishError> {
        if let Some(sent) = self.send_at_hand(attachment, message) {
            return sent;
        }
        self.send_now_any(attachment, message)
    }

    #[inline(never)]
    pub(crate) fn send_now_any(
        &mut self,
        attachment: &Attachment,
        message: &Message<'_>,
    ) -> Result<u64, PublishError> {
        let sent = self.try_send(attachment, message, Attempt::Fresh);
        self.after_refusal(attachment, sent)
    }

    /// After an attempt that does not wait: who is refused again and again looks whether somebody dead is in the way.
    pub(crate) fn after_refusal<T>(
        &mut self,
        attachment: &Attachment,
        sent: Result<T, PublishError>,
    ) -> Result<T, PublishError> {
        if matches!(sent, Err(PublishError::Full)) {
            self.refusals = self.refusals.wrapping_add(1);
            if self.refusals.is_multiple_of(VAIN_PER_PROBE) {
                attachment.look_around(attachment.ring().suspect_of_publisher(&self.publisher));
            }
        }
        sent
    }

    /// The part of a checksum that takes time, before a slot is held.
    #[inline]
    pub(crate) fn payload_sum(&self, payload: &[u8]) -> Option<u32> {
        self.checksums.then(|| durability::payload_sum(payload))
    }

    /// A short message for which there is room. `None`: not so simple; nothing has been done. Inlined where a user calls it:
    /// each store on the way, to a stack, too, waits behind those to lines that consumers have.
    #[inline(always)]
    pub(crate) fn send_at_hand(
        &mut self,
        attachment: &Attachment,
        message: &Message<'_>,
    ) -> Option<Result<u64, PublishError>> {
        let ring = attachment.ring();
        // A checksum, a sync or a failed one is not so simple.
        if self.checksums || attachment.is_forked() || message.len() as u64 > self.short_max {
            return None;
        }
        let header = SlotHeader {
            flags: message.flags,
            ..self.header(message.len(), message.kind, message.key)
        };
        let reserved = ring.reserve_at_hand(&mut self.publisher)?;
        ring.fill(reserved, &header, message.payload);
        if ring.commit(&mut self.publisher, reserved).is_err() {
            return Some(Err(PublishError::Fenced));
        }
        self.uncounted += 1;
        Some(Ok(reserved.sequence))
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
        let sum = self.payload_sum(payload);
        let reserved = ring.reserve(&mut self.publisher)?;
        let header = sealed(attachment, *header, sum, reserved.sequence);
        ring.fill(reserved, &header, payload);
        ring.commit(&mut self.publisher, reserved)?;
        self.uncounted += 1;
        Ok(reserved.sequence)
    }

    pub(crate) fn place_segment(
        &mut self,
        attachment: &Attachment,
        header: &SlotHeader,
        held: &HeldSegment,
        sum: Option<u32>,
    ) -> Result<u64, Stuck> {
        let ring = attachment.ring();
        let header = SlotHeader {
            flags: header.flags | SlotHeader::IN_ARENA,
            ..*header
        };
        let reserved = ring.reserve(&mut self.publisher)?;
        ring.use_segment(held, reserved.sequence);
        let header = sealed(attachment, header, sum, reserved.sequence);
        ring.fill(reserved, &header, held.pointer().as_bytes());
        ring.commit(&mut self.publisher, reserved)?;
        self.uncounted += 1;
        Ok(reserved.sequence)
    }

    pub(crate) fn try_hold(
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

    pub(crate) fn hold(
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
            ring: attachment.ring(),
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
    #[inline(always)]
    pub(crate) fn announce(&mut self, attachment: &Attachment) {
        if self.uncounted >= COUNT_EVERY {
            self.count(attachment);
        }
        attachment.ring().wake_consumers(&Futex);
    }

    /// The end of every publish: tells who sleeps, and waits for the disk where a publish does.
    #[inline(always)]
    pub(crate) fn finish(
        &mut self,
        attachment: &Attachment,
        sequence: u64,
    ) -> Result<u64, PublishError> {
        self.announce(attachment);
        if self.syncs {
            return self.sync(attachment, Some(sequence)).map(|()| sequence);
        }
        Ok(sequence)
    }

    /// Waits until all that was published is on the disk.
    #[cold]
    #[inline(never)]
    pub(crate) fn sync(
        &mut self,
        attachment: &Attachment,
        published: Option<u64>,
    ) -> Result<(), PublishError> {
        attachment
            .sync(&mut self.publisher)
            .map_err(|error| not_synced(error, published))
    }

    #[inline(never)]
    pub(crate) fn count(&mut self, attachment: &Attachment) {
        let word = attachment
            .ring()
            .participant_word(attachment.me(), participant::PUBLISHED);
        // ORDERING: Relaxed; a counter.
        word.add(self.uncounted, Ordering::Relaxed);
        self.uncounted = 0;
    }
}

/// When a message was published.
#[inline(never)]
fn timestamp(kind: Timestamps) -> u64 {
    match kind {
        Timestamps::Off => 0,
        Timestamps::Coarse => sys::coarse_wall_ns(),
        Timestamps::Precise => sys::wall_ns(),
    }
}

fn not_synced(error: NotSynced, published: Option<u64>) -> PublishError {
    match error {
        NotSynced::NotDurable => PublishError::NotDurable,
        NotSynced::Failed(errno) => PublishError::SyncFailed { errno, published },
    }
}

/// The header with the record's checksum, if it has one.
#[inline]
fn sealed(
    attachment: &Attachment,
    header: SlotHeader,
    payload_sum: Option<u32>,
    sequence: u64,
) -> SlotHeader {
    let crc = payload_sum.map_or(0, |sum| {
        durability::record_sum(sum, &header, &attachment.verified().queue_id, sequence)
    });
    SlotHeader { crc, ..header }
}

struct Room<'s, F> {
    ring: &'s Ring,
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

    fn suspect(&self) -> Option<OwnerId> {
        self.ring.suspect_of_publisher(&self.sender.publisher)
    }
}
