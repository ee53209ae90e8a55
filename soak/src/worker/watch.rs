//! Looking: sweeping on demand, statistics, messages seen by an observer; and whether all is free when all have gone.

use std::time::Duration;

use anyhow::{Context, Result};
use slipring::{Inspector, Peeked};

use super::{GROUPS, LONGEST, SEGMENTS, Worker};
use crate::group::{Group, PERMANENT};
use crate::payload;
use crate::record::Event;

impl Worker {
    pub(super) fn watch(&mut self) -> Result<()> {
        while !self.is_over()? {
            let queue = self.open()?;
            let inspector = Inspector::open(&self.orders.path)?;
            for _ in 0..self.random.between(1, 50) {
                if self.is_over()? {
                    break;
                }
                match self.random.below(4) {
                    0 => {
                        let participants = queue.sweep().participants;
                        self.say(Event::Swept { participants })?;
                    }
                    1 => {
                        // Nothing it says of a moving queue can be checked, other than that it says it.
                        let _stats = queue.stats();
                        self.say(Event::Alive)?;
                    }
                    _ => self.peek(&inspector)?,
                }
                std::thread::sleep(Duration::from_micros(self.random.below(5000)));
            }
        }
        Ok(())
    }

    fn peek(&mut self, inspector: &Inspector) -> Result<()> {
        let capacity = inspector.stats().capacity;
        for _ in 0..self.random.between(1, 20) {
            let tail = inspector.tail();
            let sequence = tail.saturating_sub(self.random.below(capacity));
            match inspector.peek(sequence) {
                Peeked::Message { payload, .. } => {
                    let (producer, number, whole) = payload::read(&payload);
                    self.say(Event::Peeked {
                        sequence,
                        producer,
                        number,
                        whole,
                    })?;
                }
                Peeked::Damaged => {
                    let text = format!("{sequence} is damaged");
                    self.say(Event::Fault(text.into()))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Everybody has left: whatever was taken can be taken again. What cannot fails here, or never ends.
    pub(super) fn audit(&mut self) -> Result<()> {
        let queue = self.open()?;
        drop(
            queue
                .sole_producer()
                .context("becoming the sole producer")?,
        );
        for number in PERMANENT.len() as u64..GROUPS.into() {
            let group = Group::passing(self.orders.id, number, false);
            let made = queue.create_group(&group.name(), group.options());
            made.with_context(|| format!("making group {number}"))?;
        }
        for group in queue.groups() {
            if Group::named(group.name()).is_none_or(|group| !group.is_permanent()) {
                group.delete()?;
            }
        }
        let mut producers = Vec::new();
        for _ in 0..SEGMENTS {
            producers.push(queue.producer()?);
        }
        let length = usize::try_from(LONGEST)?;
        let loans = producers.iter_mut().map(|producer| producer.loan(length));
        let loans: Result<Vec<_>, _> = loans.collect();
        drop(loans?);
        Ok(())
    }
}
