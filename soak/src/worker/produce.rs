//! Publishing, in every way there is.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use slipring::{Message, Producer, PublishError};

use super::Worker;
use crate::payload;
use crate::record::Event;

/// Bytes that fit a slot, and bytes of the longest message.
const INLINE: u64 = 96;
/// The longest message.
pub const LONGEST: u64 = 4096;
/// Producers that can compose one at a time: few, so that one that is never given back is missed.
pub const SEGMENTS: u64 = 4;

impl Worker {
    /// Publishes something, or nearly does. May wait for room without end, so not for workers that also consume: nobody
    /// else makes room in a group while its active consumer waits for it.
    pub(super) fn publish(&mut self, producer: &mut Producer) -> Result<()> {
        match self.random.below(16) {
            0..5 => {
                self.compose(INLINE);
                self.announce(1)?;
                let sent = producer.publish(&self.buffer);
                self.conclude(sent)
            }
            5..8 => self.publish_batch(producer),
            8 => {
                self.compose(LONGEST);
                self.announce(1)?;
                let sent = producer.publish(Message::new(&self.buffer).kind(1).key(2));
                self.conclude(sent)
            }
            9..11 => self.publish_in_time(producer),
            11..13 => self.reserve(producer, true),
            13 => self.reserve(producer, false),
            14 => self.lend(producer, true),
            _ => self.lend(producer, false),
        }
    }

    /// Publishes something, if there is room for it soon.
    pub(super) fn publish_in_time(&mut self, producer: &mut Producer) -> Result<()> {
        let longest = if self.random.one_in(4) {
            LONGEST
        } else {
            INLINE
        };
        self.compose(longest);
        self.announce(1)?;
        let sent = if self.random.one_in(2) {
            let sent = producer.try_publish(&self.buffer);
            sent.map_err(PublishError::from)
        } else {
            let timeout = Duration::from_micros(self.random.below(20_000));
            producer.publish_timeout(&self.buffer, timeout)
        };
        self.conclude(sent)
    }

    /// Writes the next message, of up to `longest` bytes.
    fn compose(&mut self, longest: u64) {
        let length = self.random.between(payload::SHORTEST as u64, longest);
        self.buffer
            .resize(usize::try_from(length).unwrap_or(payload::SHORTEST), 0);
        payload::fill(&mut self.buffer, self.orders.id, self.number);
    }

    fn announce(&mut self, count: u64) -> Result<()> {
        let number = self.number;
        self.say(Event::Publishing { number, count })?;
        Ok(())
    }

    fn conclude(&mut self, sent: Result<u64, PublishError>) -> Result<()> {
        let number = self.number;
        self.number += 1;
        match sent {
            Ok(sequence) => self.say(Event::Published {
                number,
                first: sequence,
                last: sequence,
            })?,
            Err(PublishError::Full | PublishError::TimedOut) => {
                self.say(Event::Refused { number })?;
            }
            Err(error) => return Err(error).context(format!("publishing {number}")),
        }
        Ok(())
    }

    fn publish_batch(&mut self, producer: &mut Producer) -> Result<()> {
        let count = self.random.between(1, 24);
        let number = self.number;
        let messages: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let longest = if self.random.one_in(16) {
                    LONGEST
                } else {
                    INLINE
                };
                self.compose(longest);
                self.number += 1;
                self.buffer.clone()
            })
            .collect();
        self.say(Event::Publishing { number, count })?;
        let batch = producer
            .publish_batch(&messages)
            .with_context(|| format!("publishing {number} and on"))?;
        let (Some(first), Some(last), true) = (batch.first, batch.last, batch.published == count)
        else {
            bail!("publishing {number} and on, {count} of them: {batch:?}");
        };
        self.say(Event::Published {
            number,
            first,
            last,
        })?;
        Ok(())
    }

    /// A reservation that is committed, or dropped: then its number is attempted by nobody, ever.
    fn reserve(&mut self, producer: &mut Producer, commit: bool) -> Result<()> {
        let longest = if self.random.one_in(4) {
            LONGEST
        } else {
            INLINE
        };
        self.compose(longest);
        let mut reservation = producer.reserve(self.buffer.len()).context("reserving")?;
        reservation.copy_from_slice(&self.buffer);
        if !commit {
            self.number += 1;
            drop(reservation);
            return Ok(());
        }
        self.announce(1)?;
        let sent = if self.random.one_in(2) {
            reservation.commit()
        } else {
            // On a full queue it is handed back, and dropped here.
            reservation.try_commit().map_err(|rejected| rejected.reason)
        };
        self.conclude(sent)
    }

    /// The same, in the arena, held for a while.
    fn lend(&mut self, producer: &mut Producer, commit: bool) -> Result<()> {
        self.compose(LONGEST);
        let mut loan = producer.loan(self.buffer.len()).context("borrowing")?;
        loan.copy_from_slice(&self.buffer);
        if self.random.one_in(4) {
            self.rest();
        }
        if !commit {
            self.number += 1;
            drop(loan);
            return Ok(());
        }
        self.announce(1)?;
        let sent = loan.commit();
        self.conclude(sent)
    }
}
