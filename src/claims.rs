//! Several messages at once: batches, and iteration without end.

use crate::consumer::{BATCH_MAX, Consumer};
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
    pub(crate) claimed: [Handed; BATCH_MAX],
    pub(crate) next: usize,
    pub(crate) end: usize,
    /// Exclusive groups: how many more may be handed over, if they are there.
    pub(crate) more: usize,
}

impl<'c> Claims<'c> {
    fn pop(&mut self) -> Option<Handed> {
        let handed = self.claimed.get(self.next..self.end)?.first().copied();
        self.next += usize::from(handed.is_some());
        handed
    }
}

impl<'c> Iterator for Claims<'c> {
    type Item = Result<Delivery<'c>, ClaimError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while let Some(handed) = self.pop() {
            match self.consumer.open(handed) {
                Some(opened) => {
                    if let Some(delivered) = self.consumer.deliver(opened) {
                        return Some(delivered);
                    }
                }
                None => self.consumer.lose(),
            }
        }
        // Bound: as many as were asked for.
        while let Some(left) = self.more.checked_sub(1) {
            self.more = left;
            if let Some(received) = self.consumer.receive_at_hand() {
                return Some(received);
            }
            match self.consumer.next(true, Effort::Once) {
                Ok(Some(handed)) => {
                    if let Some(delivered) = self.consumer.deliver(handed) {
                        return Some(delivered);
                    }
                }
                Ok(None) => self.more = 0,
                Err(error) => {
                    self.more = 0;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Any of them may turn out to be lost.
        (0, Some(self.end - self.next + self.more))
    }
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        while let Some(handed) = self.pop() {
            self.consumer.unclaim(handed);
        }
    }
}
