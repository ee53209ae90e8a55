//! Dead letters: where messages go that were delivered too often or rejected, and what is known of them there.
//!
//! Relies on `ring::dead` for parking, and on queues as any user does for the rest: a dead-letter queue is an ordinary
//! queue. What stands in front of a message there is described in `docs/format.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zerocopy::{FromBytes, IntoBytes};

use crate::consumer::Consumer;
use crate::delivery::Received;
use crate::error::{AckError, DeadQueueError, GeometryError, GroupError, OpenError, PublishError};
use crate::group::{Group, name_of};
use crate::layout::geometry::group;
use crate::layout::header::{DeadLetterHeader, FullPolicy};
use crate::layout::{DEAD_QUEUE_MAX, GroupId, NAME_MAX, REASON_MAX, SlotHeader};
use crate::message::Message;
use crate::participant::{Attachment, Futex};
use crate::ring::{Cause, Handed, Observed, Ring, Settle, cut};
use crate::sync::Ordering;
use crate::{Options, Producer, Queue, path};

/// The most that a dead-letter queue puts in front of a message, in bytes: its `max_message` is larger by as much.
pub const DEAD_LETTER_OVERHEAD: u64 =
    (size_of::<DeadLetterHeader>() + NAME_MAX + REASON_MAX) as u64;

/// What is known of a dead message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// [`Queue::id`] of the queue it comes from.
    pub queue_id: [u8; 16],
    /// The group it died in.
    pub group: String,
    /// Its sequence in that queue.
    pub sequence: u64,
    /// When it was published there, in ns since 1970; 0 if that queue takes no times.
    pub timestamp: u64,
    /// How often it was delivered.
    pub deliveries: u16,
    /// Why it is dead.
    pub cause: Cause,
    /// What the consumer said that rejected it.
    pub reason: String,
}

impl DeadLetter {
    fn new(ring: &Ring, id: GroupId, queue_id: [u8; 16], sequence: u64, cause: Cause) -> Self {
        Self {
            queue_id,
            group: name_of(ring, id),
            sequence,
            timestamp: 0,
            deliveries: 0,
            cause,
            reason: String::new(),
        }
    }

    /// What stands in front of a message, and where the message starts. `None` if it makes no sense.
    pub(crate) fn split(stored: &[u8]) -> Option<(Self, usize)> {
        let (header, rest) = DeadLetterHeader::read_from_prefix(stored).ok()?;
        let (group, rest) = rest.split_at_checked(header.group_length.into())?;
        let (reason, payload) = rest.split_at_checked(header.reason_length.into())?;
        let letter = Self {
            queue_id: header.queue_id,
            group: String::from_utf8_lossy(group).into_owned(),
            sequence: header.sequence,
            timestamp: header.timestamp,
            deliveries: header.deliveries,
            cause: Cause::from_number(header.cause)?,
            reason: String::from_utf8_lossy(reason).into_owned(),
        };
        Some((letter, stored.len() - payload.len()))
    }

    /// This in front of a message.
    fn enclose(&self, message: &[u8]) -> Vec<u8> {
        let (group, reason) = (cut(&self.group, NAME_MAX), cut(&self.reason, REASON_MAX));
        let length = |text: &str| u16::try_from(text.len()).unwrap_or(0);
        let header = DeadLetterHeader {
            queue_id: self.queue_id,
            sequence: self.sequence,
            timestamp: self.timestamp,
            deliveries: self.deliveries,
            cause: self.cause.number(),
            group_length: length(group),
            reason_length: length(reason),
        };
        [
            header.as_bytes(),
            group.as_bytes(),
            reason.as_bytes(),
            message,
        ]
        .concat()
    }
}

/// A consumer's way to the dead-letter queue of its group, opened when it is first needed.
#[derive(Debug)]
pub(crate) struct DeadQueue {
    name: String,
    producer: Option<Producer>,
    /// Which file that is: device and number.
    file: Option<(u64, u64)>,
}

impl DeadQueue {
    pub(crate) fn of(ring: &Ring, id: GroupId) -> Self {
        Self {
            name: queue_of(ring, id),
            producer: None,
            file: None,
        }
    }

    /// False: there is none, or it cannot be had now, or it has no room, or no group that would keep the message.
    fn take(&mut self, attachment: &Attachment, message: Message<'_>) -> bool {
        if self.name.is_empty() {
            return false;
        }
        let place = place_of(attachment, &self.name);
        // One that was removed meanwhile takes messages that nobody will ever see.
        let file = file_at(&place);
        if self.producer.is_none() || self.file != file {
            let opened = Queue::open(place);
            // Replaced by this queue itself, letters would come round for ever.
            let another = |queue: &Queue| queue.id() != attachment.verified().queue_id;
            self.producer = opened
                .ok()
                .filter(another)
                .and_then(|queue| queue.producer().ok());
            self.file = file;
        }
        self.producer.as_mut().is_some_and(|producer| {
            producer.has_readers() && producer.try_publish(message).is_ok() && {
                // The disk must not learn of the ack and not of the letter.
                let durable = attachment.verified().durability.is_durable();
                !durable || !matches!(producer.flush(), Err(PublishError::SyncFailed { .. }))
            }
        })
    }
}

impl Consumer {
    /// Settles a message as dead: moves it to the dead-letter queue, or parks it.
    pub(crate) fn bury(
        &self,
        handed: Handed,
        received: &Received<'_>,
        deliveries: u8,
        cause: Cause,
        reason: &str,
    ) -> Result<(), AckError> {
        if self.attachment.is_forked() {
            return self.end(&handed, Some(Settle::Park(cause)));
        }
        let (ring, id, sequence) = (self.ring(), self.group, handed.claim.sequence);
        // Whoever has lost its claim buries nothing.
        let how = match self.stands(handed) {
            false => Settle::Ack,
            true if self.move_out(handed, received, deliveries, cause, reason) => Settle::Ack,
            true => {
                ring.write_note(id, sequence, reason);
                Settle::Park(cause)
            }
        };
        self.end(&handed, Some(how))
    }

    fn move_out(
        &self,
        handed: Handed,
        received: &Received<'_>,
        deliveries: u8,
        cause: Cause,
        reason: &str,
    ) -> bool {
        let header = &received.header;
        let mut message = Message {
            payload: received.stored(),
            kind: header.kind,
            key: header.key,
            flags: SlotHeader::DEAD_LETTER,
        };
        let queue_id = self.attachment.verified().queue_id;
        let enclosed;
        // What died before keeps the story of its first death.
        if header.flags & SlotHeader::DEAD_LETTER == 0 {
            let letter = DeadLetter {
                timestamp: header.timestamp,
                deliveries: deliveries.into(),
                reason: reason.to_owned(),
                ..DeadLetter::new(
                    self.ring(),
                    self.group,
                    queue_id,
                    handed.claim.sequence,
                    cause,
                )
            };
            enclosed = letter.enclose(message.payload);
            message.payload = &enclosed;
        }
        let moved = self.dead_queue.borrow_mut().take(&self.attachment, message);
        if moved {
            // ORDERING: Relaxed; a counter.
            self.ring()
                .group_word(self.group, group::DEAD_LETTERED)
                .add(1, Ordering::Relaxed);
        }
        moved
    }
}

impl Group {
    /// The messages parked in this group, oldest first: dead, and with no dead-letter queue that took them. They are kept,
    /// and one lap after the oldest producers wait, until somebody decides on them.
    ///
    /// Empty if the group is gone.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.as_member(|attachment, id| {
            let ring = attachment.ring();
            let most = ring.terms(id).last_attempt();
            let letter = |dead: crate::ring::DeadWord| {
                let queue_id = attachment.verified().queue_id;
                let timestamp = match ring.observe(dead.sequence, &mut Vec::new()) {
                    Observed::Message(header) => header.timestamp,
                    _ => 0,
                };
                DeadLetter {
                    timestamp,
                    deliveries: dead.attempt.min(most).into(),
                    reason: ring.read_note(id, dead.sequence),
                    ..DeadLetter::new(ring, id, queue_id, dead.sequence, dead.cause)
                }
            };
            ring.dead(id).map(letter).collect()
        })
        .unwrap_or_default()
    }

    /// Gives a parked message back to the group, as if it had never been delivered. In an exclusive group what was handed
    /// over after it and not acked comes again too. In a group with an ack time-out its count goes on, and it is delivered
    /// once more.
    ///
    /// # Errors
    /// [`GroupError::NotDead`] if it is not parked in this group, or has been delivered 255 times in one with an ack
    /// time-out; `NotFound` if the group is gone.
    pub fn retry(&self, sequence: u64) -> Result<(), GroupError> {
        self.decide(sequence, true)
    }

    /// Drops a parked message for good.
    ///
    /// # Errors
    /// As [`Self::retry`].
    pub fn discard(&self, sequence: u64) -> Result<(), GroupError> {
        self.decide(sequence, false)
    }

    fn decide(&self, sequence: u64, again: bool) -> Result<(), GroupError> {
        self.as_member(|attachment, id| {
            let ring = attachment.ring();
            let decided = ring
                .dead_at(id, sequence)
                .is_some_and(|dead| ring.decide(id, dead, again));
            if !decided {
                return Err(GroupError::NotDead { sequence });
            }
            // In an exclusive group it is the active consumer that acts on it.
            ring.wake_consumer(id, &Futex);
            ring.wake_producer(&Futex);
            Ok(())
        })
        .unwrap_or(Err(GroupError::NotFound))
    }

    /// The queue that this group's dead messages go to, as it was named.
    pub fn dead_letter_queue(&self) -> Option<String> {
        self.as_member(|attachment, id| queue_of(attachment.ring(), id))
            .filter(|name| !name.is_empty())
    }
}

/// Makes sure that a dead-letter queue exists and takes every message of this queue. Returns its name as it is kept.
pub(crate) fn prepare_queue(attachment: &Attachment, name: &str) -> Result<String, GroupError> {
    let refuse = |field, found, expected| {
        Err(GroupError::Option(GeometryError {
            field,
            found,
            expected,
        }))
    };
    let name = kept_name(name);
    if name.is_empty() || name.len() > DEAD_QUEUE_MAX {
        return refuse(
            "dead_letters",
            name.len() as u64,
            "a name of 1 to 255 bytes",
        );
    }
    let fail = |error: OpenError| GroupError::DeadQueue(DeadQueueError(Arc::new(error)));
    let max_message = attachment.verified().geometry.shape().max_message;
    let needed = max_message.saturating_add(DEAD_LETTER_OVERHEAD);
    let place = place_of(attachment, &name);
    let queue = match Queue::open(&place) {
        Err(error) if matches!(error.kind(), crate::OpenErrorKind::NotFound) => like(attachment)
            .max_message(needed)
            .open_or_create(&place)
            .map_err(fail)?,
        opened => opened.map_err(fail)?,
    };
    if queue.id() == attachment.verified().queue_id {
        return refuse("dead_letters", 0, "another queue than this one");
    }
    if queue.full_policy() == FullPolicy::DropOldest {
        return refuse(
            "dead_letters",
            0,
            "a queue that does not drop its oldest messages",
        );
    }
    if queue.max_message() < needed {
        let expected = "a queue whose max_message is larger than this one's by at least 358";
        return refuse("dead_letters", queue.max_message(), expected);
    }
    Ok(name)
}

/// A dead-letter queue's name as it is kept: other processes have other working directories.
pub(crate) fn kept_name(name: &str) -> String {
    let absolute = name
        .contains('/')
        .then(|| std::path::absolute(name).ok())
        .flatten();
    absolute
        .as_deref()
        .and_then(Path::to_str)
        .unwrap_or(name)
        .to_owned()
}

/// A new dead-letter queue may be used by whoever may use this queue.
fn like(attachment: &Attachment) -> Options {
    use std::os::unix::fs::MetadataExt;
    let mode = attachment
        .path()
        .and_then(|path| path.metadata().ok())
        .map_or(0o600, |metadata| metadata.mode());
    Queue::options()
        .file_mode(mode & 0o777)
        .durability(attachment.verified().durability)
}

/// A bare name is a file beside this queue's own.
fn place_of(attachment: &Attachment, name: &str) -> PathBuf {
    match attachment.path().and_then(Path::parent) {
        Some(directory) if !name.contains('/') => directory.join(name),
        _ => PathBuf::from(name),
    }
}

/// Device and number of a file.
fn file_at(place: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = path::resolve(place).ok()?.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

pub(crate) fn write_queue(ring: &Ring, id: GroupId, name: &str) {
    let entry = ring.geometry().group(id);
    ring.mem()
        .copy_in(entry.plus(group::DEAD_QUEUE), name.as_bytes());
    // ORDERING: Release; pairs with queue_of's Acquire; the name's bytes.
    ring.group_word(id, group::DEAD_QUEUE_LENGTH)
        .store(name.len() as u64, Ordering::Release);
}

/// The name of a group's dead-letter queue; empty if it has none.
pub(crate) fn queue_of(ring: &Ring, id: GroupId) -> String {
    // ORDERING: Acquire; pairs with write_queue's Release.
    let length = ring
        .group_word(id, group::DEAD_QUEUE_LENGTH)
        .load(Ordering::Acquire);
    let length =
        usize::try_from(length).map_or(DEAD_QUEUE_MAX, |length| length.min(DEAD_QUEUE_MAX));
    let mut bytes = vec![0; length];
    ring.mem().copy_out_torn(
        ring.geometry().group(id).plus(group::DEAD_QUEUE),
        &mut bytes,
    );
    String::from_utf8_lossy(&bytes).into_owned()
}
