//! Consumers: claim messages, one or several at a time, waiting or not.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::claims::{Claims, Iter};
use crate::dead::DeadQueue;
use crate::delivery::Delivery;
use crate::error::{AckError, ClaimError};
use crate::layout::geometry::group;
use crate::layout::{GroupId, OwnerId};
use crate::participant::{Attachment, Futex, VAIN_PER_PROBE};
use crate::ring::{Channel, Claimer, Cursor, Damage, Effort, Handed, Ring, Settle, Terms};
use crate::sync::Ordering;
use crate::wait::{Attempt, Deadline, WaitStrategy, Waitable, wait};

/// Attempts in vain, of those that do not wait, between two searches for what was given back without a word.
const VAIN_PER_SEARCH: u32 = 32 * VAIN_PER_PROBE;

/// Receives the messages of a group. It can be sent to another thread, not shared with one; a [`Delivery`] stays. Made by [`Queue::consumer`](crate::Queue::consumer) or
/// [`Group::consumer`](crate::Group::consumer); each thread has its own.
///
/// A receive makes no system call unless it waits, and takes no lock. It allocates nothing, but for a consumer's first batch,
/// and for batches that are there at once.
///
/// # Crash safety
/// Killed while it holds deliveries: they go to another consumer of the group, with a higher delivery count; those of a
/// batch not handed over yet go uncounted. What was acked never comes again.
#[derive(Debug)]
pub struct Consumer {
    pub(crate) attachment: Arc<Attachment>,
    pub(crate) group: GroupId,
    pub(crate) terms: Terms,
    /// A message delivered more often than this is dead.
    pub(crate) last_attempt: u8,
    /// Messages are handed over where they are, and as they are.
    pub(crate) in_place: bool,
    strategy: WaitStrategy,
    /// Padded: consumers of several threads may lie side by side.
    pub(crate) mode: CachePadded<RefCell<Mode>>,
    /// Deliveries whose guard exists.
    pub(crate) outstanding: Cell<u64>,
    /// Where the next batch keeps its claims, so that it need not allocate.
    pub(crate) spare: RefCell<VecDeque<Handed>>,
    counts: Cell<Counts>,
    /// Looks for a message in vain, by calls that do not wait.
    vain: Cell<u32>,
    /// In a group with leases: when this consumer last looked for those that have ended, in ms of the monotonic clock.
    pub(crate) last_expiry: Cell<u64>,
    pub(crate) dead_queue: RefCell<DeadQueue>,
}

#[derive(Debug)]
pub(crate) enum Mode {
    Shared(Claimer),
    StandBy,
    Active(Cursor),
}

/// Since the shared counters were last raised.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) delivered: u64,
    pub(crate) redelivered: u64,
    pub(crate) acked: u64,
}

/// Deliveries between two updates of the shared counters.
const COUNT_EVERY: u64 = 64;
/// The most messages one batch claims.
pub const BATCH_MAX: usize = 64;

impl Consumer {
    /// The caller has joined the group.
    pub(crate) fn new(attachment: Arc<Attachment>, group: GroupId) -> Self {
        let ring = attachment.ring();
        let mode = if ring.is_exclusive(group) {
            ring.take_over(group, attachment.me())
                .map_or(Mode::StandBy, Mode::Active)
        } else {
            Mode::Shared(ring.claimer(group, attachment.me()))
        };
        let dead_queue = DeadQueue::of(ring, group);
        Self {
            last_attempt: ring.terms(group).last_attempt(),
            in_place: ring.terms(group).ack_timeout_ms == 0 && !attachment.verifies(),
            terms: ring.terms(group),
            attachment,
            group,
            strategy: WaitStrategy::default(),
            mode: CachePadded::new(RefCell::new(mode)),
            outstanding: Cell::new(0),
            spare: RefCell::default(),
            counts: Cell::default(),
            vain: Cell::new(0),
            last_expiry: Cell::new(0),
            dead_queue: RefCell::new(dead_queue),
        }
    }

    /// How this consumer waits for messages.
    #[must_use]
    pub fn wait_strategy(mut self, strategy: WaitStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// True if this consumer gets messages: always in a shared group; in an exclusive one if it is the active one. Once
    /// true it stays so; false may be otherwise a moment later.
    pub fn is_active(&self) -> bool {
        !matches!(*self.mode.borrow(), Mode::StandBy)
    }

    /// The next message, waiting for one.
    ///
    /// # Errors
    /// [`ClaimError::GroupClosed`] when the group is deleted; `Corrupt` if the file is damaged: if only this message is, it
    /// is told once, skipped and counted as lost; `Forked`.
    #[inline(always)]
    pub fn recv(&self) -> Result<Delivery<'_>, ClaimError> {
        match self.receive_at_hand() {
            Some(received) => received,
            None => self.recv_until(Deadline::NEVER),
        }
    }

    /// The next message, if there is one now.
    ///
    /// # Errors
    /// [`ClaimError::Empty`], or as [`Self::recv`].
    ///
    /// # Examples
    /// ```
    /// # let queue = slipring::Queue::options().in_memory()?;
    /// # let consumer = queue.consumer()?;
    /// assert_eq!(consumer.try_recv().unwrap_err(), slipring::ClaimError::Empty);
    /// queue.producer()?.publish("now")?;
    /// assert_eq!(&*consumer.try_recv()?, b"now");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn try_recv(&self) -> Result<Delivery<'_>, ClaimError> {
        match self.receive_at_hand() {
            Some(received) => received,
            None => self.try_recv_any(),
        }
    }

    #[inline(never)]
    fn try_recv_any(&self) -> Result<Delivery<'_>, ClaimError> {
        // Bound: a lap; each turn buries a message, or loses one to somebody else.
        for _ in 0..self.ring().geometry().capacity() {
            let Some(handed) = self.next(true, Effort::Once)? else {
                break;
            };
            if self.is_plain(handed) {
                return self.deliver_in_place(handed);
            }
            if let Some(delivered) = self.deliver_or_bury(handed) {
                return delivered;
            }
        }
        self.after_vain_try();
        Err(ClaimError::Empty)
    }

    /// Who asks again and again without waiting looks whether somebody dead is in the way.
    fn after_vain_try(&self) {
        let vain = self.vain.get().wrapping_add(1);
        self.vain.set(vain);
        if vain.is_multiple_of(VAIN_PER_PROBE) {
            // Who gave something back may be paused before it says so.
            if vain.is_multiple_of(VAIN_PER_SEARCH)
                && let Mode::Shared(_) = &*self.mode.borrow()
            {
                self.ring().look_again(self.group);
            }
            self.attachment.look_around(self.suspect());
        }
    }

    fn suspect(&self) -> Option<OwnerId> {
        if self.attachment.is_forked() {
            return None;
        }
        match &*self.mode.borrow() {
            Mode::Shared(claimer) => self.ring().suspect_of_claimer(claimer),
            Mode::Active(cursor) => self.ring().suspect_of_cursor(cursor),
            Mode::StandBy => self.ring().suspect_of_stand_by(self.group),
        }
    }

    /// The next message, waiting so long at most.
    ///
    /// # Errors
    /// [`ClaimError::TimedOut`], or as [`Self::recv`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Delivery<'_>, ClaimError> {
        self.recv_until(Deadline::after(timeout))
    }

    #[inline(never)]
    fn recv_until(&self, deadline: Deadline) -> Result<Delivery<'_>, ClaimError> {
        let mut turns = 0;
        // Bound: the deadline; each turn buries a message, or loses one to somebody else. A lap of them takes time.
        loop {
            let handed = match self.next(true, Effort::Once)? {
                Some(handed) => handed,
                None => self.wait_for_next(deadline, true)?,
            };
            if self.is_plain(handed) {
                return self.deliver_in_place(handed);
            }
            if let Some(delivered) = self.deliver_or_bury(handed) {
                return delivered;
            }
            turns += 1;
            if turns > self.ring().geometry().capacity() && deadline.is_over() {
                return Err(ClaimError::TimedOut);
            }
        }
    }

    /// Up to `max` messages (at least 1, at most [`BATCH_MAX`]), waiting for the first. A message's attempt counts when the batch
    /// hands it over, not before; those it has not handed over when it is dropped go back uncounted.
    ///
    /// # Errors
    /// As [`Self::recv`].
    ///
    /// # Examples
    /// ```
    /// # let queue = slipring::Queue::options().in_memory()?;
    /// # let consumer = queue.consumer()?;
    /// queue.producer()?.publish_batch(["a", "b", "c"])?;
    /// for delivery in consumer.recv_batch(2)? {
    ///     delivery?.ack()?;
    /// }
    /// assert_eq!(&*consumer.recv()?, b"c");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_batch(&self, max: usize) -> Result<Claims<'_>, ClaimError> {
        self.batch_until(max, Deadline::NEVER)
    }

    /// As [`Self::recv_batch`], waiting so long at most.
    ///
    /// # Errors
    /// [`ClaimError::TimedOut`], or as [`Self::recv`].
    pub fn recv_batch_timeout(
        &self,
        max: usize,
        timeout: Duration,
    ) -> Result<Claims<'_>, ClaimError> {
        self.batch_until(max, Deadline::after(timeout))
    }

    /// As [`Self::recv_batch`], of what is there now.
    ///
    /// # Errors
    /// [`ClaimError::Empty`], or as [`Self::recv`].
    pub fn try_recv_batch(&self, max: usize) -> Result<Claims<'_>, ClaimError> {
        let Some(first) = self.next(false, Effort::Once)? else {
            self.after_vain_try();
            return Err(ClaimError::Empty);
        };
        self.batch_from(first, max)
    }

    fn batch_until(&self, max: usize, deadline: Deadline) -> Result<Claims<'_>, ClaimError> {
        let first = match self.next(false, Effort::Once)? {
            Some(first) => first,
            None => self.wait_for_next(deadline, false)?,
        };
        self.batch_from(first, max)
    }

    fn batch_from(&self, first: Handed, max: usize) -> Result<Claims<'_>, ClaimError> {
        let mut claims = Claims {
            consumer: self,
            claimed: self.spare.take(),
            more: 0,
        };
        claims.claimed.reserve(BATCH_MAX);
        claims.claimed.push_back(first);
        let wanted = max.clamp(1, BATCH_MAX);
        if let Mode::Shared(claimer) = &mut *self.mode.borrow_mut() {
            while claims.claimed.len() < wanted {
                match self.ring().claim(claimer, false, Effort::Once) {
                    Ok(Some(claim)) => {
                        self.begin_lease(claim, false);
                        claims.claimed.push_back(Handed { claim, epoch: 0 });
                    }
                    // What is claimed already is delivered first; the damage is met again.
                    Ok(None) | Err(_) => break,
                }
            }
        } else {
            // In order there is nothing to claim ahead.
            claims.more = wanted - 1;
        }
        self.outstanding
            .set(self.outstanding.get() + claims.claimed.len() as u64 - 1);
        if claims.claimed.len() == wanted {
            self.ring().wake_consumer(self.group, &Futex);
        }
        Ok(claims)
    }

    /// The messages, one after the other, waiting for each. Ends when the group is deleted.
    ///
    /// # Examples
    /// ```
    /// # let queue = slipring::Queue::options().in_memory()?;
    /// # let consumer = queue.consumer()?;
    /// # queue.producer()?.publish_batch(["a", "b"])?;
    /// for delivery in consumer.iter().take(2) {
    ///     delivery?.ack()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> Iter<'_> {
        Iter { consumer: self }
    }

    #[inline(always)]
    pub(crate) fn ring(&self) -> &Ring {
        self.attachment.ring()
    }

    /// Claims the next message: opened, or, of a shared group and for a batch, only claimed.
    #[inline]
    pub(crate) fn next(&self, open: bool, effort: Effort) -> Result<Option<Handed>, ClaimError> {
        if self.attachment.is_forked() {
            return Err(ClaimError::Forked);
        }
        if !self.is_group_live() {
            return Err(ClaimError::GroupClosed);
        }
        let ring = self.ring();
        let damage = |damage: Damage| ClaimError::Corrupt(damage.into());
        let mode = &mut *self.mode.borrow_mut();
        let handed = match mode {
            Mode::Shared(claimer) => {
                let claim = ring.claim(claimer, open, effort).map_err(damage)?;
                if let Some(claim) = claim {
                    self.begin_lease(claim, open);
                }
                claim.map(|claim| Handed { claim, epoch: 0 })
            }
            Mode::Active(cursor) => ring.cursor_next(cursor).map_err(damage)?,
            Mode::StandBy => self.next_in_place(mode).map_err(damage)?,
        };
        if handed.is_some() {
            self.outstanding.set(self.outstanding.get() + 1);
        } else {
            self.count();
        }
        Ok(handed)
    }

    /// Of a stand-by: nothing, unless it can become active.
    #[inline(never)]
    fn next_in_place(&self, mode: &mut Mode) -> Result<Option<Handed>, Damage> {
        let Some(mut cursor) = self.ring().take_over(self.group, self.attachment.me()) else {
            return Ok(None);
        };
        let handed = self.ring().cursor_next(&mut cursor);
        *mode = Mode::Active(cursor);
        handed
    }

    #[inline(never)]
    fn wait_for_next(&self, deadline: Deadline, open: bool) -> Result<Handed, ClaimError> {
        let mut next = Next {
            consumer: self,
            open,
        };
        match wait(&self.attachment, self.strategy, deadline, &mut next)? {
            None => Err(ClaimError::TimedOut),
            Some((handed, slept)) => {
                // One message wakes one consumer; if it finds more, it wakes the next.
                if slept {
                    self.ring().wake_consumer(self.group, &Futex);
                }
                Ok(handed)
            }
        }
    }

    /// Opens a claim of a batch. `None`: it is no longer ours, since somebody took us for dead, or since order restarted
    /// before it.
    #[inline(always)]
    pub(crate) fn open(&self, handed: Handed) -> Option<Handed> {
        if self.attachment.is_forked() {
            return None;
        }
        let ring = self.ring();
        match &mut *self.mode.borrow_mut() {
            Mode::Shared(claimer) => {
                let claim = ring.open(claimer, handed.claim)?;
                self.begin_lease(claim, true);
                Some(Handed { claim, ..handed })
            }
            Mode::Active(cursor) if ring.cursor_valid(cursor, handed) => Some(handed),
            Mode::Active(cursor) => {
                ring.cursor_end(cursor, handed, None);
                None
            }
            Mode::StandBy => None,
        }
    }

    /// A claim has ended, or turned out not to be ours any more.
    #[inline]
    pub(crate) fn lose(&self) {
        self.outstanding
            .set(self.outstanding.get().saturating_sub(1));
    }

    pub(crate) fn unclaim(&self, handed: Handed) {
        if self.attachment.is_forked() || !matches!(*self.mode.borrow(), Mode::Shared(_)) {
            // In order, the first of a batch has been handed over already.
            let _stale = self.end(&handed, Some(Settle::Release));
            return;
        }
        self.lose();
        self.ring()
            .unclaim(self.group, self.attachment.me(), handed.claim);
        self.ring().wake_consumer(self.group, &Futex);
    }

    /// Ends a guard: settles it so, or, for `None`, leaves it to a later cumulative ack.
    #[inline(never)]
    pub(crate) fn end(&self, handed: &Handed, how: Option<Settle>) -> Result<(), AckError> {
        self.lose();
        if self.attachment.is_forked() {
            return Err(AckError::Forked);
        }
        let ring = self.ring();
        let sequence = handed.claim.sequence;
        let settled = match (&mut *self.mode.borrow_mut(), how) {
            (Mode::Shared(_), None) => {
                let _given_back = ring.settle(
                    self.group,
                    self.attachment.me(),
                    handed.claim,
                    Settle::Release,
                );
                return Err(AckError::NotExclusive);
            }
            (Mode::Shared(_), Some(how)) => {
                ring.settle(self.group, self.attachment.me(), handed.claim, how)
            }
            (Mode::Active(cursor), how) => ring.cursor_end(cursor, *handed, how),
            (Mode::StandBy, _) => false,
        };
        self.after_settling(
            sequence,
            matches!(how, Some(Settle::Nack | Settle::Release)),
        );
        if !settled {
            return Err(AckError::Stale { sequence });
        }
        if how == Some(Settle::Ack) {
            self.bump(|counts| counts.acked += 1);
        }
        Ok(())
    }

    /// Ends a guard, acking its message and all before it.
    pub(crate) fn end_all(&self, handed: Handed) -> Result<(), AckError> {
        let sequence = handed.claim.sequence;
        if self.attachment.is_forked() {
            return Err(AckError::Forked);
        }
        let ring = self.ring();
        let acked = match &mut *self.mode.borrow_mut() {
            Mode::Active(cursor) => ring.cursor_end_all(cursor, handed),
            Mode::Shared(_) | Mode::StandBy => return Err(AckError::NotExclusive),
        };
        self.lose();
        self.after_settling(sequence, false);
        self.bump(|counts| counts.acked += acked.unwrap_or(0));
        acked.map(drop).ok_or(AckError::Stale { sequence })
    }

    fn after_settling(&self, sequence: u64, given_back: bool) {
        let ring = self.ring();
        if given_back {
            ring.wake_consumer(self.group, &Futex);
        }
        // Also then: in order, the end of a stale guard may be what the floor waited for.
        ring.wake_producer_after(self.group, sequence, &Futex);
    }

    #[inline(always)]
    pub(crate) fn bump(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
        if counts.delivered + counts.acked >= COUNT_EVERY {
            self.count();
        }
    }

    #[inline(never)]
    fn count(&self) {
        let Counts {
            delivered,
            redelivered,
            acked,
        } = self.counts.take();
        for (field, count) in [
            (group::DELIVERED, delivered),
            (group::REDELIVERED, redelivered),
            (group::ACKED, acked),
        ] {
            if count > 0 {
                // ORDERING: Relaxed; a counter.
                self.ring()
                    .group_word(self.group, field)
                    .add(count, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.attachment.is_forked() {
            return;
        }
        self.count();
        let ring = self.attachment.ring();
        if let Mode::Active(cursor) = self.mode.get_mut() {
            ring.hand_over(cursor);
            ring.wake_producer(&Futex);
            ring.wake_one(Channel::StandBy(self.group), &Futex);
        } else if self.outstanding.get() > 0 {
            self.attachment.note_leak();
        }
        if matches!(self.mode.get_mut(), Mode::Shared(_)) {
            self.attachment.ring().raise_floor(self.group);
        }
        self.attachment.leave_group(self.group);
        self.attachment.ring().wake_producer(&Futex);
    }
}

impl<'c> IntoIterator for &'c Consumer {
    type Item = Result<Delivery<'c>, ClaimError>;
    type IntoIter = Iter<'c>;

    fn into_iter(self) -> Iter<'c> {
        self.iter()
    }
}

struct Next<'c> {
    consumer: &'c Consumer,
    open: bool,
}

impl Waitable for Next<'_> {
    type Output = Handed;
    type Error = ClaimError;

    fn attempt(&mut self, attempt: Attempt) -> Result<Option<Handed>, ClaimError> {
        let consumer = self.consumer;
        if attempt == Attempt::Again
            && !consumer.attachment.is_forked()
            && matches!(*consumer.mode.borrow(), Mode::Shared(_))
        {
            consumer.ring().look_again(consumer.group);
        }
        let effort = if attempt == Attempt::Fresh {
            Effort::Poll
        } else {
            Effort::Thorough
        };
        consumer.next(self.open, effort)
    }

    fn channel(&self) -> Channel {
        match *self.consumer.mode.borrow() {
            Mode::StandBy => Channel::StandBy(self.consumer.group),
            Mode::Shared(_) | Mode::Active(_) => Channel::Data(self.consumer.group),
        }
    }

    fn suspect(&self) -> Option<OwnerId> {
        self.consumer.suspect()
    }
}
