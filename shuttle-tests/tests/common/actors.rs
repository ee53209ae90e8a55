//! What the participants of an execution do, each drawn from its seed.

use std::path::Path;

use slipring::{
    ClaimError, Consumer, Delivery, GroupError, GroupOptions, Message, Options, Producer,
    PublishError, Queue, Reservation, Start,
};

use super::ledger::{End, Held, attempt, deliver, end_both, published, refused};
use super::schedule::{Draw, wait};

/// Vain tries in a row after which somebody goes home.
const PATIENCE: u32 = 40;
/// A group that comes and goes, and that nobody consumes in.
pub const BRIEF: &str = "brief";

/// A participant at work.
pub struct Actor<'w> {
    pub by: u16,
    pub path: &'w Path,
    pub draw: Draw,
    pub large: usize,
}

impl Actor<'_> {
    fn open(&self) -> Queue {
        let name = self.by.to_string();
        Options::default().name(name).open(self.path).unwrap()
    }

    /// Publishes so many messages, if there is room for them in the end.
    pub fn produce(mut self, count: u64) {
        let queue = self.open();
        let mut producer = queue.producer().unwrap();
        for _ in 0..count {
            let length = match self.draw.below(4) {
                0 => self.large,
                _ => 16 + self.draw.below(45) as usize,
            };
            let mut vain = 0;
            while vain < PATIENCE && !self.publish(&mut producer, length) {
                vain += 1;
                wait();
            }
        }
    }

    /// One try, one way or another.
    fn publish(&mut self, producer: &mut Producer, length: usize) -> bool {
        let (id, payload) = attempt(self.by, length);
        let (kind, key) = (self.by, id as u32);
        let fill = |mut reservation: Reservation<'_>| {
            reservation.copy_from_slice(&payload);
            let reservation = reservation.kind(kind).key(key);
            reservation.try_commit().map_err(|rejected| rejected.reason)
        };
        let sent = match self.draw.below(6) {
            0 => producer.reserve(length).and_then(fill),
            1 => producer.loan(length).and_then(fill),
            _ => {
                let message = Message::new(&payload).kind(kind).key(key);
                producer
                    .try_publish(message)
                    .map_err(|rejected| rejected.reason)
            }
        };
        match sent {
            Ok(sequence) => published(id, sequence),
            Err(PublishError::Full) => refused(id),
            Err(error) => panic!("message {id}: {error}"),
        }
        sent.is_ok()
    }

    /// Consumes until nothing has come for long.
    pub fn consume(mut self, group: &'static str, most: u64) {
        let queue = self.open();
        let found = queue.group(group).unwrap();
        let exclusive = found.is_exclusive();
        let consumer = found.consumer().unwrap();
        let (mut taken, mut vain) = (0, 0);
        while taken < most && vain < PATIENCE {
            let some = match self.draw.below(6) {
                0 => self.take_several(group, &consumer),
                1 => self.take_two(group, exclusive, &consumer),
                _ => {
                    let held = self.take(group, &consumer);
                    held.map(|held| self.handle(held)).is_some()
                }
            };
            taken += u64::from(some);
            vain = if some { 0 } else { vain + 1 };
            if !some {
                wait();
            }
        }
    }

    fn take<'c>(&self, group: &'static str, consumer: &'c Consumer) -> Option<Held<'c>> {
        deliver(self.by, group, false, || one(consumer.try_recv()))
    }

    /// Two at a time, acked in any order, or together.
    fn take_two(&mut self, group: &'static str, exclusive: bool, consumer: &Consumer) -> bool {
        let Some(first) = self.take(group, consumer) else {
            return false;
        };
        let Some(second) = self.take(group, consumer) else {
            first.end(End::Ack);
            return true;
        };
        let for_a_while = |times| (0..times).for_each(|_| wait());
        match self.draw.below(3) {
            0 if exclusive && first.is_before(&second) => {
                end_both(first, second, || for_a_while(self.draw.below(8)));
            }
            1 => {
                first.end(End::Ack);
                second.end(End::Ack);
            }
            _ => {
                second.end(End::Ack);
                for_a_while(self.draw.below(8));
                first.end(End::Ack);
            }
        }
        true
    }

    /// Looks at it for a while, and ends it.
    fn handle(&mut self, held: Held<'_>) {
        for _ in 0..self.draw.below(3) {
            wait();
            held.look();
        }
        held.end(match self.draw.below(10) {
            0 => End::Nack,
            1 => End::Release,
            2 => End::Drop,
            _ => End::Ack,
        });
    }

    fn take_several(&mut self, group: &'static str, consumer: &Consumer) -> bool {
        let mut claims = None;
        let none = deliver(self.by, group, true, || {
            claims = consumer.try_recv_batch(3).ok();
            None
        });
        assert!(none.is_none());
        let Some(mut claims) = claims else {
            return false;
        };
        // The rest is given back.
        for _ in 0..1 + self.draw.below(3) {
            let next = deliver(self.by, group, true, || claims.next().map(Result::unwrap));
            let Some(held) = next else {
                break;
            };
            // In an exclusive group order restarts from what is given back, which ends what else is held.
            self.handle(held);
        }
        true
    }

    /// Sweeps, comes and goes, makes groups and deletes them.
    pub fn look_after(mut self, times: u64) {
        let queue = self.open();
        for _ in 0..times {
            match self.draw.below(4) {
                0 => drop(self.open()),
                1 => self.make_a_group(&queue),
                _ => drop(queue.sweep()),
            }
            wait();
        }
    }

    fn make_a_group(&mut self, queue: &Queue) {
        let options = GroupOptions::shared().ephemeral(self.draw.one_in(2));
        let start = match self.draw.below(2) {
            0 => Start::Earliest,
            _ => Start::Latest,
        };
        match queue.create_group(BRIEF, options.start(start)) {
            Ok(group) => {
                wait();
                group.delete().unwrap();
            }
            // Of somebody who died making or deleting it.
            Err(error) => assert!(
                matches!(error, GroupError::AlreadyExists | GroupError::Full { .. }),
                "{error}"
            ),
        }
    }
}

pub fn one<'c>(received: Result<Delivery<'c>, ClaimError>) -> Option<Delivery<'c>> {
    match received {
        Ok(delivery) => Some(delivery),
        Err(ClaimError::Empty) => None,
        Err(error) => panic!("{error}"),
    }
}
