//! A delivered message: a guard that is settled once, and given back if it is dropped.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use zerocopy::FromBytes;

use crate::consumer::Consumer;
use crate::dead::DeadLetter;
use crate::error::AckError;
use crate::layout::SlotHeader;
use crate::message::ValueError;
use crate::ring::{Cause, Handed, Settle};

/// A message, held by this consumer until it is settled: derefs to its payload.
///
/// Exactly one of [`ack`](Self::ack), [`nack`](Self::nack), [`release`](Self::release), [`reject`](Self::reject) (or, in an exclusive group,
/// [`ack_up_to`](Self::ack_up_to), [`defer`](Self::defer)) ends it; dropped, it is released, or, by a panic, nacked. Each
/// says whether the claim was still this consumer's.
///
/// The payload is the message's bytes in the queue itself, not a copy. They stay as they are while the guard exists,
/// provided every process that can write the file runs this library; see the crate's notes on trust.
///
/// A guard that is leaked keeps its message, and at most a lap of later ones, until the process ends.
#[must_use = "dropped unsettled, a delivery goes back to its group"]
pub struct Delivery<'c> {
    consumer: &'c Consumer,
    handed: Handed,
    received: Received<'c>,
    settled: bool,
}

/// A message as it came out of the queue.
pub(crate) struct Received<'c> {
    pub(crate) header: SlotHeader,
    /// All its bytes, in the queue; unless there is a copy, since the claim can be taken away.
    in_place: &'c [u8],
    copy: Option<Box<[u8]>>,
    /// Where the payload starts: behind what a dead-letter queue puts in front.
    payload: usize,
}

impl<'c> Received<'c> {
    #[inline(always)]
    pub(crate) fn in_place(header: SlotHeader, bytes: &'c [u8]) -> Self {
        Self {
            header,
            in_place: bytes,
            copy: None,
            payload: payload_start(&header, bytes),
        }
    }

    pub(crate) fn copied(header: SlotHeader, bytes: Vec<u8>) -> Self {
        Self {
            header,
            in_place: &[],
            payload: payload_start(&header, &bytes),
            copy: Some(bytes.into()),
        }
    }

    /// All bytes that are in the queue.
    #[inline]
    pub(crate) fn stored(&self) -> &[u8] {
        self.copy.as_deref().unwrap_or(self.in_place)
    }

    #[inline]
    fn payload(&self) -> &[u8] {
        self.stored().get(self.payload..).unwrap_or_default()
    }
}

#[inline(always)]
fn payload_start(header: &SlotHeader, stored: &[u8]) -> usize {
    if header.flags & SlotHeader::DEAD_LETTER == 0 {
        return 0;
    }
    DeadLetter::split(stored).map_or(0, |(_, start)| start)
}

impl<'c> Delivery<'c> {
    #[inline(always)]
    pub(crate) fn new(consumer: &'c Consumer, handed: Handed, received: Received<'c>) -> Self {
        Self {
            consumer,
            handed,
            received,
            settled: false,
        }
    }

    /// The payload, in place; in a group with an [`ack_timeout`](crate::GroupOptions::ack_timeout), a copy.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.received.payload()
    }

    /// The payload as a plain value, if it has the size of one: what [`Message::value`](crate::Message::value) wrote.
    ///
    /// # Errors
    /// The two sizes, if they differ.
    ///
    /// # Examples
    /// ```
    /// use slipring::{Message, Queue};
    /// # let queue = Queue::options().in_memory()?;
    /// queue.producer()?.publish(Message::value(&[1.5f64, -2.0]))?;
    /// let consumer = queue.consumer()?;
    /// let delivery = consumer.recv()?;
    /// assert_eq!(delivery.value::<[f64; 2]>()?, [1.5, -2.0]);
    /// assert!(delivery.value::<u8>().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn value<T: FromBytes>(&self) -> Result<T, ValueError> {
        let error = ValueError {
            expected: size_of::<T>(),
            found: self.payload().len(),
        };
        T::read_from_bytes(self.payload()).map_err(|_| error)
    }

    /// Its place in the queue; grows from message to message, and is never used again.
    pub fn sequence(&self) -> u64 {
        self.handed.claim.sequence
    }

    /// How often it has been handed over, this time included: 1 at first. Stays at 255 once there.
    pub fn delivery_count(&self) -> u8 {
        self.handed.claim.attempt
    }

    /// The publisher's tag for its type.
    pub fn kind(&self) -> u16 {
        self.received.header.kind
    }

    /// The publisher's hash of its key.
    pub fn key(&self) -> u32 {
        self.received.header.key
    }

    /// When it was published, in ns since 1970 of the wall clock; 0 if the queue takes no times.
    pub fn timestamp(&self) -> u64 {
        self.received.header.timestamp
    }

    /// In a dead-letter queue: where the message comes from, and why it is here.
    pub fn dead_letter(&self) -> Option<DeadLetter> {
        if self.received.header.flags & SlotHeader::DEAD_LETTER == 0 {
            return None;
        }
        DeadLetter::split(self.received.stored()).map(|(letter, _)| letter)
    }

    /// Done with it, for good. In an exclusive group acks may come in any order; those ahead of an older message not
    /// settled yet count once that one is.
    ///
    /// # Errors
    /// [`AckError::Stale`] if the claim was no longer this consumer's: the message may be handled again. `Forked`.
    #[inline(always)]
    pub fn ack(mut self) -> Result<(), AckError> {
        self.settled = true;
        self.consumer.ack(self.handed)
    }

    /// The same, and returns when the disk has it: the message does not come again after a power loss either.
    ///
    /// # Errors
    /// [`AckError::NotDurable`] in a queue made without durability, and `SyncFailed`: then it is acked all the same. As
    /// [`Self::ack`].
    pub fn ack_durable(mut self) -> Result<(), AckError> {
        self.end(Some(Settle::Ack))?;
        self.consumer.sync()
    }

    /// Failed: it goes back to the group now, and the attempt counts; after the last one its group allows
    /// ([`max_deliveries`](crate::GroupOptions::max_deliveries)) it is dead and buried instead. In an exclusive group everything after it comes
    /// again too, and guards already given out for that are stale.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub fn nack(mut self) -> Result<(), AckError> {
        self.fail()
    }

    /// Not started: it goes back to the group now, as if it had not been handed over. Otherwise as [`Self::nack`]. In
    /// a group with an ack time-out, where every hand-over counts, this one does too.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub fn release(mut self) -> Result<(), AckError> {
        self.end(Some(Settle::Release))
    }

    /// No good, whoever gets it: it goes to the group's dead-letter queue with this reason (at most 255 bytes of it), or,
    /// without one, or if that has no room, is parked ([`Group::dead_letters`](crate::Group::dead_letters), with 112 bytes
    /// of the reason).
    ///
    /// # Errors
    /// As [`Self::ack`].
    ///
    /// # Crash safety
    /// Killed in here: it is rejected, or still to be delivered. It may be in the dead-letter queue *and* be delivered, or
    /// buried, again; source and sequence tell.
    ///
    /// # Examples
    /// ```
    /// # let queue = slipring::Queue::options().in_memory()?;
    /// queue.producer()?.publish("{ not json")?;
    /// queue.consumer()?.recv()?.reject("no closing brace")?;
    ///
    /// let dead = queue.group("default")?.dead_letters();
    /// assert_eq!((dead[0].sequence, &*dead[0].reason), (0, "no closing brace"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reject(mut self, reason: &str) -> Result<(), AckError> {
        self.bury(Cause::Rejected, reason)
    }

    /// In a group with an [`ack_timeout`](crate::GroupOptions::ack_timeout): the claim lasts until so long from now, at least
    /// 1 ms. In others it only says whether the claim stands.
    ///
    /// # Errors
    /// [`AckError::Stale`] if it has ended already: another consumer may have the message. `Forked`.
    pub fn extend(&self, by: Duration) -> Result<(), AckError> {
        self.consumer.extend(self.handed, by)
    }

    /// Exclusive groups: acks this and everything before it, but not what is parked. Bytes of older guards that still exist stay theirs until
    /// they are dropped.
    ///
    /// # Errors
    /// [`AckError::NotExclusive`], or as [`Self::ack`].
    ///
    /// # Examples
    /// ```
    /// use slipring::{GroupOptions, Queue};
    /// # let queue = Queue::options().in_memory()?;
    /// let log = queue.create_group("log", GroupOptions::exclusive())?.consumer()?;
    /// queue.producer()?.publish_batch(["a", "b", "c"])?;
    /// log.recv()?.defer()?;
    /// log.recv()?.defer()?;
    /// log.recv()?.ack_up_to()?;
    /// # assert_eq!(queue.stats().groups[1].lag, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ack_up_to(mut self) -> Result<(), AckError> {
        let ended = self.consumer.end_all(self.handed);
        // Refused by a shared group, it is still to be given back.
        self.settled = ended != Err(AckError::NotExclusive);
        ended
    }

    /// Exclusive groups: processed, but left to a later [`ack_up_to`](Self::ack_up_to). If that never comes, a successor
    /// gets the message again.
    ///
    /// # Errors
    /// [`AckError::NotExclusive`], and then it is released; or as [`Self::ack`].
    pub fn defer(mut self) -> Result<(), AckError> {
        self.end(None)
    }

    fn fail(&mut self) -> Result<(), AckError> {
        let limit = self.consumer.terms.max_deliveries;
        if limit == 0 || self.delivery_count() < limit {
            return self.end(Some(Settle::Nack));
        }
        self.bury(Cause::TooManyDeliveries, "")
    }

    fn bury(&mut self, cause: Cause, reason: &str) -> Result<(), AckError> {
        self.settled = true;
        self.consumer.bury(
            self.handed,
            &self.received,
            self.delivery_count(),
            cause,
            reason,
        )
    }

    #[inline(never)]
    fn give_back(&mut self) {
        // A stale claim has nothing to give back. Unwinding, the handler has had its try: a message that makes every
        // handler panic has to get somewhere.
        let _stale = if std::thread::panicking() {
            self.fail()
        } else {
            self.end(Some(Settle::Release))
        };
    }

    #[inline]
    fn end(&mut self, how: Option<Settle>) -> Result<(), AckError> {
        self.settled = true;
        self.consumer.end(&self.handed, how)
    }
}

impl Deref for Delivery<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.payload()
    }
}

impl fmt::Debug for Delivery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("sequence", &self.sequence())
            .field("delivery_count", &self.delivery_count())
            .field("kind", &self.kind())
            .field("length", &self.payload().len())
            .finish_non_exhaustive()
    }
}

impl Drop for Delivery<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.settled {
            self.give_back();
        }
    }
}
