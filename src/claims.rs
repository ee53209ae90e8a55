//! Several messages at once: batches, and iteration without end.

use std::collections::VecDeque;

use crate::consumer::Consumer;
use crate::delivery::Delivery;
use crate::error::ClaimError;
use crate::ring::{Effort, Handed};

/// Messages without end: [`Consumer::iter`].
#[derive(Debug)]
pub struct Iter<'c> {
    pub(crate) consumer: &'c Consumer,
}

impl<'c> Iterator for Iter<'c> {
    type Item = Result<Delivery<'c>, ClaimError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.consumer.recv() {
            Err(ClaimError::GroupClosed) => None,
            next => Some(next),
        }
    }
}

/// A batch of claimed messages, handed over one by one: [`Consumer::recv_batch`].
#[derive(Debug)]
pub struct Claims<'c> {
    pub(crate) consumer: &'c Consumer,
    pub(crate) claimed: VecDeque<Handed>,
    /// Exclusive groups: how many more may be handed over, if they are there.
    pub(crate) more: usize,
}

impl<'c> Claims<'c> {
    /// The next one. `None`: it has been lost, or was the last.
    #[inline(always)]
    fn next_at_hand(&mut self) -> Option<Result<Delivery<'c>, ClaimError>> {
        if let Some(left) = self.more.checked_sub(1)
            && self.claimed.is_empty()
        {
            self.more = left;
            return match self.consumer.receive_at_hand() {
                Some(received) => Some(received),
                None => self.receive_any(),
            };
        }
        let handed = self.claimed.pop_front()?;
        let Some(opened) = self.consumer.open(handed) else {
            self.consumer.lose();
            return None;
        };
        if self.consumer.is_plain(opened) {
            Some(self.consumer.deliver_in_place(opened))
        } else {
            self.consumer.deliver_or_bury(opened)
        }
    }

    #[inline(never)]
    fn receive_any(&mut self) -> Option<Result<Delivery<'c>, ClaimError>> {
        match self.consumer.next(true, Effort::Once) {
            Ok(Some(handed)) => self.consumer.deliver(handed),
            Ok(None) => {
                self.more = 0;
                None
            }
            Err(error) => {
                self.more = 0;
                Some(Err(error))
            }
        }
    }
}

impl<'c> Iterator for Claims<'c> {
    type Item = Result<Delivery<'c>, ClaimError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        // Bound: as many as were asked for.
        while !self.claimed.is_empty() || self.more > 0 {
            if let Some(received) = self.next_at_hand() {
                return Some(received);
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Any of them may turn out to be lost.
        (0, Some(self.claimed.len() + self.more))
    }
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        while let Some(handed) = self.claimed.pop_front() {
            self.consumer.unclaim(handed);
        }
        self.consumer
            .spare
            .replace(std::mem::take(&mut self.claimed));
    }
}
