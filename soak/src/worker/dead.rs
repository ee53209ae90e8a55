//! The dead: read in their own queue, and decided on where they are parked.

use std::time::Duration;

use anyhow::{Context, Result};
use slipring::{Cause, ClaimError, Consumer, DeadLetter, Delivery, GroupError, Queue};

use super::Worker;
use crate::fate::{Fate, Why};
use crate::group::{DEAD_QUEUE, Group, PERMANENT};
use crate::payload;
use crate::plan::Role;
use crate::record::Event;

impl Worker {
    pub(super) fn mind_the_dead(&mut self) -> Result<()> {
        while !self.is_over()? {
            let queue = self.open()?;
            let letters = self.open_letters()?.consumer()?;
            for _ in 0..self.random.between(1, 200) {
                if self.is_over()? {
                    break;
                }
                self.decide(&queue)?;
                self.read_letters(&queue, &letters)?;
                self.say(Event::Alive)?;
                self.rest();
            }
        }
        Ok(())
    }

    pub(super) fn open_letters(&self) -> Result<Queue> {
        self.open_at(&self.orders.path.with_file_name(DEAD_QUEUE))
    }

    /// Gives parked messages back, or drops them; some of them, or, when everybody else has left, all.
    pub(super) fn decide(&mut self, queue: &Queue) -> Result<()> {
        for (group, name) in PERMANENT {
            let parked = queue.group(name)?;
            for letter in parked.dead_letters() {
                let (sequence, why) = (letter.sequence, why(letter.cause)?);
                self.say(Event::Fate(Fate::Parked {
                    group: group.0,
                    sequence,
                    count: letter.deliveries.into(),
                    why,
                }))?;
                if self.orders.role != Role::Drain && self.random.one_in(4) {
                    continue;
                }
                let again = self.random.one_in(2);
                self.say(Event::Fate(Fate::Deciding {
                    group: group.0,
                    sequence,
                    again,
                }))?;
                let decided = if again {
                    parked.retry(sequence)
                } else {
                    parked.discard(sequence)
                };
                let done = match decided {
                    Ok(()) => true,
                    Err(GroupError::NotDead { .. }) => false,
                    Err(error) => return Err(error).context(format!("deciding on {sequence}")),
                };
                self.say(Event::Fate(Fate::Decided { done }))?;
            }
        }
        Ok(())
    }

    /// Reads some of the dead, mostly once.
    pub(super) fn read_letters(&mut self, queue: &Queue, letters: &Consumer) -> Result<()> {
        for _ in 0..self.random.between(1, 40) {
            let delivery = match letters.recv_timeout(Duration::from_millis(1)) {
                Ok(delivery) => delivery,
                Err(ClaimError::TimedOut) => break,
                Err(error) => return Err(error).context("reading the dead"),
            };
            self.read_letter(queue, &delivery)?;
            match self.random.below(20) {
                0 => delivery.nack(),
                1 => delivery.release(),
                _ => delivery.ack(),
            }
            .context("a letter")?;
        }
        Ok(())
    }

    fn read_letter(&mut self, queue: &Queue, delivery: &Delivery<'_>) -> Result<()> {
        let letter = delivery.dead_letter().context("no letter")?;
        let (producer, number, whole) = payload::read(delivery);
        let DeadLetter {
            group, sequence, ..
        } = &letter;
        let why = why(letter.cause)?;
        let reason = match why {
            Why::Limit => String::new(),
            Why::Rejected => payload::reason(producer, number),
        };
        let told = letter.reason == reason && letter.queue_id == queue.id();
        self.say(Event::Fate(Fate::Letter {
            letter: delivery.sequence(),
            group: Group::named(group).map_or(u64::MAX, |group| group.0),
            sequence: *sequence,
            count: letter.deliveries.into(),
            why,
            producer,
            number,
            whole: whole && told,
        }))?;
        Ok(())
    }
}

fn why(cause: Cause) -> Result<Why> {
    match cause {
        Cause::TooManyDeliveries => Ok(Why::Limit),
        Cause::Rejected => Ok(Why::Rejected),
        other => anyhow::bail!("dead of {other:?}"),
    }
}
