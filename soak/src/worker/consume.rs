//! Consuming, in every way there is.

use std::time::Duration;

use anyhow::{Context, Result};
use slipring::{AckError, AttachError, ClaimError, Consumer, Delivery, GroupError, Queue};

use super::Worker;
use crate::fate::Fate;
use crate::group::{Group, PERMANENT};
use crate::payload;
use crate::random::mix;
use crate::record::{Event, How};

/// Guards held at once, at most.
const MOST_HELD: u64 = 8;

/// A consumer, and what it owes.
pub(super) struct Member {
    pub consumer: Consumer,
    pub group: Group,
    /// Something is left to a later cumulative ack.
    pub deferred: bool,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Some,
    Nothing,
    Closed,
}

type Held<'c> = Vec<(u64, Delivery<'c>)>;

impl Worker {
    /// Becomes a consumer; `None`: there is no such group any more.
    pub(super) fn join(&mut self, queue: &Queue, group: Group) -> Result<Option<Member>> {
        let found = match queue.group(&group.name()) {
            Ok(found) => found,
            Err(GroupError::NotFound | GroupError::Closing) if !group.is_permanent() => {
                return Ok(None);
            }
            Err(error) => return Err(error).context(group.name()),
        };
        self.say(Event::Joining { group: group.0 })?;
        match found.consumer() {
            Ok(consumer) => Ok(Some(Member {
                consumer: consumer.wait_strategy(self.strategy()),
                group,
                deferred: false,
            })),
            Err(AttachError::GroupClosed) if !group.is_permanent() => {
                self.say(Event::Left { group: group.0 })?;
                Ok(None)
            }
            Err(error) => Err(error).context(group.name()),
        }
    }

    pub(super) fn leave(&mut self, member: Member) -> Result<()> {
        let group = member.group.0;
        self.say(Event::Leaving { group })?;
        drop(member);
        self.say(Event::Left { group })?;
        Ok(())
    }

    /// Receives some messages, keeps them a while, and settles them.
    pub(super) fn receive(&mut self, member: &mut Member) -> Result<Came> {
        let Member {
            consumer,
            group,
            deferred,
        } = member;
        let mut held = Held::new();
        let came = if self.random.one_in(3) {
            self.receive_batch(consumer, *group, deferred, &mut held)?
        } else {
            let mut came = Came::Nothing;
            for _ in 0..self.random.between(1, MOST_HELD) {
                match self.receive_one(consumer, *group, &mut held)? {
                    Came::Some => came = Came::Some,
                    nothing if came != Came::Some => return Ok(nothing),
                    _ => break,
                }
            }
            came
        };
        if self.random.one_in(4) {
            self.rest();
        }
        if let Some(lease) = group.lease() {
            self.dawdle(&held, lease)?;
        }
        self.settle_all(*group, deferred, held)?;
        Ok(came)
    }

    /// Asks for more time for some, and takes more than it has, now and then.
    fn dawdle(&mut self, held: &Held<'_>, lease: Duration) -> Result<()> {
        for (guard, delivery) in held {
            if !self.random.one_in(6) {
                continue;
            }
            let guard = *guard;
            let ms = self.random.below(1000).pow(2) / 2000;
            self.say(Event::Fate(Fate::Extending { guard, ms }))?;
            let held = match delivery.extend(Duration::from_millis(ms)) {
                Ok(()) => true,
                Err(AckError::Stale { .. }) => false,
                Err(error) => return Err(error).context(format!("extending guard {guard}")),
            };
            self.say(Event::Fate(Fate::Extended { guard, held }))?;
        }
        if !held.is_empty() && self.random.one_in(30) {
            let lease = u64::try_from(lease.as_micros()).unwrap_or(0);
            std::thread::sleep(Duration::from_micros(self.random.below(2 * lease)));
        }
        Ok(())
    }

    fn patience(&mut self) -> Duration {
        let most = if self.random.one_in(4) {
            100_000
        } else {
            2_000
        };
        Duration::from_micros(self.random.below(most))
    }

    pub(super) fn receive_one<'c>(
        &mut self,
        consumer: &'c Consumer,
        group: Group,
        held: &mut Held<'c>,
    ) -> Result<Came> {
        let patience = self.patience();
        let batch = false;
        self.say(Event::Receiving {
            group: group.0,
            batch,
        })?;
        let received = if self.random.one_in(3) {
            consumer.try_recv()
        } else {
            consumer.recv_timeout(patience)
        };
        match received {
            Ok(delivery) => {
                held.push(self.received(group, delivery)?);
                Ok(Came::Some)
            }
            Err(error) => self.nothing(group, error),
        }
    }

    fn nothing(&mut self, group: Group, error: ClaimError) -> Result<Came> {
        let came = match error {
            ClaimError::Empty | ClaimError::TimedOut => Came::Nothing,
            ClaimError::GroupClosed if !group.is_permanent() => Came::Closed,
            error => return Err(error).context(format!("receiving from {}", group.name())),
        };
        self.say(Event::Nothing { group: group.0 })?;
        Ok(came)
    }

    pub(super) fn received<'c>(
        &mut self,
        group: Group,
        delivery: Delivery<'c>,
    ) -> Result<(u64, Delivery<'c>)> {
        let guard = self.guard;
        self.guard += 1;
        let (producer, number, whole) = payload::read(&delivery);
        self.say(Event::Received {
            guard,
            group: group.0,
            sequence: delivery.sequence(),
            count: delivery.delivery_count().into(),
            producer,
            number,
            whole,
        })?;
        Ok((guard, delivery))
    }

    /// A batch, settled as it goes or later, or dropped in the middle.
    fn receive_batch<'c>(
        &mut self,
        consumer: &'c Consumer,
        group: Group,
        deferred: &mut bool,
        held: &mut Held<'c>,
    ) -> Result<Came> {
        let most = usize::try_from(self.random.between(1, 20)).unwrap_or(1);
        let patience = self.patience();
        let batch = true;
        self.say(Event::Receiving {
            group: group.0,
            batch,
        })?;
        let claims = match consumer.recv_batch_timeout(most, patience) {
            Ok(claims) => claims,
            Err(error) => return self.nothing(group, error),
        };
        let part = self.random.one_in(10).then(|| self.random.below(4));
        let part = part.and_then(|part| usize::try_from(part).ok());
        let at_once = self.random.one_in(2);
        let mut all = part.is_none();
        for claim in claims.take(part.unwrap_or(usize::MAX)) {
            let delivery = match claim {
                Ok(delivery) => self.received(group, delivery)?,
                Err(ClaimError::GroupClosed) if !group.is_permanent() => {
                    all = false;
                    break;
                }
                Err(error) => return Err(error).context(format!("in a batch of {}", group.name())),
            };
            if at_once {
                self.settle_all(group, deferred, vec![delivery])?;
            } else {
                held.push(delivery);
            }
        }
        self.say(Event::BatchOver {
            group: group.0,
            all,
        })?;
        Ok(Came::Some)
    }

    /// Ends guards in any order.
    pub(super) fn settle_all(
        &mut self,
        group: Group,
        deferred: &mut bool,
        mut held: Held<'_>,
    ) -> Result<()> {
        while !held.is_empty() {
            let at = self.random.below(held.len() as u64);
            let at = usize::try_from(at).unwrap_or(0);
            let (guard, delivery) = held.swap_remove(at);
            // What a guard shows does not change while it exists (I3).
            let (producer, number, whole) = payload::read(&delivery);
            if !whole {
                let sequence = delivery.sequence();
                self.say(Event::Fault(
                    format!("{sequence} ({producer}, {number}) of guard {guard} changed").into(),
                ))?;
            }
            let how = self.how(group, deferred, mix(producer ^ mix(number)));
            self.settle(guard, delivery, how)?;
        }
        Ok(())
    }

    fn how(&mut self, group: Group, deferred: &mut bool, message: u64) -> How {
        if self.orders.role == crate::plan::Role::Drain {
            return How::Ack;
        }
        // Where it matters, some messages are no good, whoever gets them.
        if group.limit().is_some() && message.is_multiple_of(16) && !self.random.one_in(8) {
            let failed = [How::Nack, How::Nack, How::Nack, How::Reject];
            return *self.random.pick(&failed).unwrap_or(&How::Nack);
        }
        let how = match self.random.below(40) {
            0 => How::Nack,
            1 => How::Release,
            2 => How::Drop,
            3..6 if group.is_exclusive() => How::Defer,
            6..12 if group.is_exclusive() => How::AckUpTo,
            _ if *deferred => How::AckUpTo,
            _ => How::Ack,
        };
        *deferred = match how {
            How::Defer => true,
            How::AckUpTo => false,
            _ => *deferred,
        };
        how
    }

    fn settle(&mut self, guard: u64, delivery: Delivery<'_>, how: How) -> Result<()> {
        self.say(Event::Settling { guard, how })?;
        let settled = match how {
            How::Ack => delivery.ack(),
            How::AckUpTo => delivery.ack_up_to(),
            How::Defer => delivery.defer(),
            How::Nack => delivery.nack(),
            How::Reject => {
                let (producer, number, _) = payload::read(&delivery);
                delivery.reject(&payload::reason(producer, number))
            }
            How::Release => delivery.release(),
            How::Drop => {
                drop(delivery);
                Ok(())
            }
        };
        let held = match settled {
            Ok(()) => true,
            Err(AckError::Stale { .. }) => false,
            Err(error) => return Err(error).context(format!("settling guard {guard}")),
        };
        self.say(Event::Settled { guard, held })?;
        Ok(())
    }

    /// Consumes what is left in the permanent groups and of the dead, and deletes the other groups, until told to stop.
    /// Sweeps nothing by hand: waiting does.
    pub(super) fn drain(&mut self) -> Result<()> {
        let queue = self.open()?;
        let letters = self.open_letters()?.consumer()?;
        let mut members = Vec::new();
        for (group, _) in PERMANENT {
            members.extend(self.join(&queue, group)?);
        }
        while !self.is_over()? {
            for group in queue.groups() {
                if Group::named(group.name()).is_some_and(|group| !group.is_permanent()) {
                    // Another may have been quicker.
                    let _gone = group.delete();
                }
            }
            for member in &mut members {
                self.receive(member)?;
            }
            self.decide(&queue)?;
            self.read_letters(&queue, &letters)?;
        }
        for member in members {
            self.leave(member)?;
        }
        Ok(())
    }
}
