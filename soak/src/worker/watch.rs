//! Looking: sweeping on demand, statistics, and messages seen by an observer.

use std::time::Duration;

use anyhow::Result;
use slipring::{Inspector, Peeked};

use super::Worker;
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
}
